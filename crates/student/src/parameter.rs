//! What a network is made of: named tensors in one flat list, and the places of projections in it.
//!
//! Loading, saving, the optimizer, adapters and checkpoints are loops over that list.

use burn::tensor::{Device, Tensor};

use crate::weights::Array;

/// The device that models live on.
pub(crate) fn device() -> Device {
    Device::flex()
}

/// One named tensor.
#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    /// Its name in Hugging Face's files.
    pub(crate) name: String,
    /// Its value; tracked while it is trained.
    pub(crate) value: Value,
    /// Whether training changes it.
    pub(crate) is_trained: bool,
}

impl Parameter {
    /// The path of the module that a weight belongs to.
    pub(crate) fn path(&self) -> &str {
        self.name.trim_end_matches(".weight")
    }
}

/// A tensor of one of the two ranks that a decoder has.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Norms and biases.
    Vector(Tensor<1>),
    /// Projections and embeddings.
    Matrix(Tensor<2>),
}

/// Applies the same expression to a tensor of either rank.
macro_rules! each_rank {
    ($value:expr, $tensor:ident => $body:expr) => {
        match $value {
            Value::Vector($tensor) => Value::Vector($body),
            Value::Matrix($tensor) => Value::Matrix($body),
        }
    };
}

impl Value {
    pub(crate) fn new(array: Array, device: &Device) -> Self {
        if array.shape.len() == 1 {
            Self::Vector(array.vector(device))
        } else {
            Self::Matrix(array.matrix(device))
        }
    }

    pub(crate) fn to_array(&self) -> Array {
        match self {
            Self::Vector(tensor) => Array::of(tensor),
            Self::Matrix(tensor) => Array::of(tensor),
        }
    }

    /// A matrix without gradients.
    pub(crate) fn to_matrix(&self) -> Tensor<2> {
        match self {
            Self::Matrix(tensor) => tensor.clone().inner(),
            Self::Vector(_) => unreachable!("a projection is a matrix"),
        }
    }

    pub(crate) fn shape(&self) -> Vec<usize> {
        match self {
            Self::Vector(tensor) => tensor.dims().to_vec(),
            Self::Matrix(tensor) => tensor.dims().to_vec(),
        }
    }

    /// Without gradients, whatever it was.
    pub(crate) fn plain(self) -> Self {
        each_rank!(self, tensor => tensor.inner())
    }

    /// On the autodiff device, tracked if it is trained.
    pub(crate) fn tracked(self, is_trained: bool) -> Self {
        if is_trained {
            each_rank!(self, tensor => tensor.inner().autodiff().require_grad())
        } else {
            each_rank!(self, tensor => tensor.inner().autodiff())
        }
    }
}

/// A projection: places in the list of parameters.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    /// `[out, in]`
    pub(crate) weight: usize,
    pub(crate) bias: Option<usize>,
    pub(crate) lora: Option<Lora>,
}

/// The low-rank branch of a projection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lora {
    /// `[rank, in]`
    pub(crate) a: usize,
    /// `[out, rank]`
    pub(crate) b: usize,
    pub(crate) scale: f32,
}

/// The names and shapes of a model's parameters, in order.
#[derive(Default)]
pub(crate) struct Plan(pub(crate) Vec<(String, Vec<usize>)>);

impl Plan {
    pub(crate) fn add(&mut self, name: String, shape: Vec<usize>) -> usize {
        self.0.push((name, shape));
        self.0.len() - 1
    }

    pub(crate) fn linear(
        &mut self,
        path: &str,
        out: usize,
        input: usize,
        has_bias: bool,
    ) -> Linear {
        let weight = self.add(format!("{path}.weight"), vec![out, input]);
        let bias = has_bias.then(|| self.add(format!("{path}.bias"), vec![out]));
        Linear {
            weight,
            bias,
            lora: None,
        }
    }
}

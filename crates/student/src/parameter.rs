//! What a network is made of: named tensors in one flat list, and the places of projections in it.
//!
//! Loading, saving, the optimizer, adapters and checkpoints are loops over that list.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};

use crate::ops;
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
    /// A projection or an embedding.
    pub(crate) fn matrix(&self) -> &Tensor<2> {
        match &self.value {
            Value::Matrix(tensor) => tensor,
            Value::Vector(_) => unreachable!("{} is a matrix", self.name),
        }
    }

    /// A norm or a bias.
    pub(crate) fn vector(&self) -> &Tensor<1> {
        match &self.value {
            Value::Vector(tensor) => tensor,
            Value::Matrix(_) => unreachable!("{} is a vector", self.name),
        }
    }
}

/// A tensor of one of the two ranks that a network has.
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

/// [`ops::linear`] or its twin for generation.
pub(crate) type Product = fn(Tensor<2>, &Tensor<2>, Option<&Tensor<1>>) -> Tensor<2>;

/// Puts rows through a projection and its branch; `product` is for one without a branch.
pub(crate) fn linear(
    parameters: &[Parameter],
    x: &Tensor<2>,
    linear: &Linear,
    product: Product,
) -> Tensor<2> {
    let (x, weight) = (x.clone(), parameters[linear.weight].matrix());
    let bias = linear.bias.map(|at| parameters[at].vector());
    match linear.lora {
        Some(Lora { a, b, scale }) => {
            let (a, b) = (parameters[a].matrix(), parameters[b].matrix());
            ops::lora_linear(x, weight, bias, a, b, scale)
        }
        None => product(x, weight, bias),
    }
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

    /// The parameters, from arrays of all planned names.
    pub(crate) fn parameters(self, mut arrays: BTreeMap<String, Array>) -> Vec<Parameter> {
        let device = device();
        let of = |(name, _): (String, Vec<usize>)| {
            let array = arrays.remove(&name);
            let array = array.expect("every planned tensor was given");
            Parameter {
                value: Value::new(array, &device),
                name,
                is_trained: false,
            }
        };
        self.0.into_iter().map(of).collect()
    }
}

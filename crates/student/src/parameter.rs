//! What a network is made of: named tensors in one flat list, and the places of projections in it.
//!
//! Loading, saving, the optimizer, adapters and checkpoints are loops over that list.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use rayon::prelude::*;

use crate::device::host;
use crate::error::Result;
use crate::ops::{self, AtRest, Branch, Dropout, Freezing, Frozen, Weight};
use crate::weights::{self, Array, Source};

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

    /// A projection or an embedding.
    pub(crate) fn matrix(&self) -> &Tensor<2> {
        match &self.value {
            Value::Matrix(tensor) => tensor,
            _ => unreachable!("{} is a matrix", self.name),
        }
    }

    /// A projection, trained or at rest.
    pub(crate) fn weight(&self) -> Weight<'_> {
        match &self.value {
            Value::Frozen(frozen) => Weight::Frozen(frozen),
            _ => Weight::Tensor(self.matrix()),
        }
    }

    /// A norm or a bias.
    pub(crate) fn vector(&self) -> &Tensor<1> {
        match &self.value {
            Value::Vector(tensor) => tensor,
            _ => unreachable!("{} is a vector", self.name),
        }
    }
}

/// A tensor of one of the two ranks that a network has, or a weight at rest.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Norms and biases.
    Vector(Tensor<1>),
    /// Projections and embeddings.
    Matrix(Tensor<2>),
    /// A projection that is not trained, in as few bytes as were asked for.
    Frozen(Arc<Frozen>),
}

/// Applies the same expression to a tensor of either rank; a weight at rest stays as it is.
macro_rules! each_rank {
    ($value:expr, $tensor:ident => $body:expr) => {
        match $value {
            Value::Vector($tensor) => Value::Vector($body),
            Value::Matrix($tensor) => Value::Matrix($body),
            Value::Frozen(frozen) => Value::Frozen(frozen),
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
            Self::Frozen(frozen) => Array {
                shape: frozen.shape().to_vec(),
                values: frozen.rows(0..frozen.shape()[0]),
            },
        }
    }

    /// Where it is.
    pub(crate) fn device(&self) -> Device {
        match self {
            Self::Vector(tensor) => tensor.device().inner(),
            Self::Matrix(tensor) => tensor.device().inner(),
            Self::Frozen(_) => host(),
        }
    }

    /// On another device; a weight at rest is written out there.
    pub(crate) fn on(&self, device: &Device) -> Self {
        Self::new(self.to_array(), device)
    }

    pub(crate) fn shape(&self) -> Vec<usize> {
        match self {
            Self::Vector(tensor) => tensor.dims().to_vec(),
            Self::Matrix(tensor) => tensor.dims().to_vec(),
            Self::Frozen(frozen) => frozen.shape().to_vec(),
        }
    }

    /// The memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Frozen(frozen) => frozen.bytes(),
            _ => 4 * self.shape().iter().product::<usize>(),
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
    /// What is dropped of its input in a pass of training; nothing in any other.
    pub(crate) dropout: Option<Dropout>,
}

/// [`ops::through`] or its twin for generation.
pub(crate) type Product = fn(Tensor<2>, Weight<'_>, Option<&Tensor<1>>) -> Tensor<2>;

/// Puts rows through a projection and its branch; `product` is for one without a branch.
pub(crate) fn linear(
    parameters: &[Parameter],
    x: &Tensor<2>,
    linear: &Linear,
    product: Product,
) -> Tensor<2> {
    let (x, weight) = (x.clone(), parameters[linear.weight].weight());
    let bias = linear.bias.map(|at| parameters[at].vector());
    match linear.lora {
        Some(lora) => {
            let branch = Branch {
                a: parameters[lora.a].matrix(),
                b: parameters[lora.b].matrix(),
                scale: lora.scale,
                dropout: lora.dropout,
            };
            ops::lora_linear(x, weight, bias, branch)
        }
        None => product(x, weight, bias),
    }
}

/// A parameter before it has values.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    /// Its name in Hugging Face's files.
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    /// Whether it is the weight of a projection, which can rest in few bytes.
    pub(crate) is_projection: bool,
}

/// Reads a model folder's parameters, each in portions straight into the form in which it rests:
/// projections as asked for, all others in f32, as are those when f32 is asked for.
pub(crate) fn load(
    folder: &Path,
    plan: &[Planned],
    at_rest: AtRest,
) -> Result<BTreeMap<String, Value>> {
    let pairs = plan.iter().map(|p| (p.name.as_str(), p.shape.as_slice()));
    let sources = weights::locate(folder, pairs)?;
    let of = |(planned, source): (&Planned, &Source)| -> Result<(String, Value)> {
        let value = match planned.shape[..] {
            [size_out, size_in] if planned.is_projection && at_rest != AtRest::F32 => {
                let mut freezing = Freezing::new([size_out, size_in], at_rest);
                source.read(|portion| freezing.push(portion))?;
                Value::Frozen(Arc::new(freezing.finish()))
            }
            _ => Value::new(source.array()?, &host()),
        };
        Ok((planned.name.clone(), value))
    };
    plan.par_iter().zip(&sources).map(of).collect()
}

/// A model's parameters before they have values, in order.
#[derive(Default)]
pub(crate) struct Plan(pub(crate) Vec<Planned>);

impl Plan {
    pub(crate) fn add(&mut self, name: String, shape: Vec<usize>) -> usize {
        self.0.push(Planned {
            name,
            shape,
            is_projection: false,
        });
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
        self.0[weight].is_projection = true;
        let bias = has_bias.then(|| self.add(format!("{path}.bias"), vec![out]));
        Linear {
            weight,
            bias,
            lora: None,
        }
    }

    /// The parameters, from values of all planned names.
    pub(crate) fn parameters(self, mut values: BTreeMap<String, Value>) -> Vec<Parameter> {
        let of = |planned: Planned| {
            let value = values.remove(&planned.name);
            Parameter {
                value: value.expect("every planned tensor was given"),
                name: planned.name,
                is_trained: false,
            }
        };
        self.0.into_iter().map(of).collect()
    }
}

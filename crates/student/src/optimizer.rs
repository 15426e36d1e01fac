//! `AdamW` with clipping by the global norm, and the schedule of its learning rate.

use burn::tensor::Gradients;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ops::{self, AdamwStep, Moments};
use crate::parameter::{Parameter, Value};

/// How the learning rate rises at the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Warmup {
    /// Over this share of all steps.
    Ratio(f64),
    /// Over this many steps.
    Steps(usize),
}

/// How the learning rate falls after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// It stays.
    Constant {},
    /// In a straight line.
    Linear {
        /// The share of the full rate that is left at the end.
        #[serde(default)]
        floor: f64,
    },
    /// Along half a cosine.
    Cosine {
        /// The share of the full rate that is left at the end.
        #[serde(default)]
        floor: f64,
    },
}

impl Warmup {
    /// How many steps of `total` warm up.
    pub(crate) fn steps(self, total: usize) -> usize {
        match self {
            Self::Ratio(ratio) => crate::options::count(ratio * total as f64),
            Self::Steps(steps) => steps,
        }
    }

    pub(crate) fn check(self) -> Result<()> {
        match self {
            Self::Ratio(ratio) if !(0.0..=1.0).contains(&ratio) => Err(Error::option(
                "student.train.warmup.ratio",
                format!("{ratio} is not between 0 and 1"),
            )),
            _ => Ok(()),
        }
    }
}

impl Schedule {
    /// The share of the full learning rate in step `step` of `total`, counted from 1.
    ///
    /// The first step of a warm-up has 1 / warm-up of the rate, not 0: a step that changes nothing
    /// is no step.
    pub(crate) fn share(self, step: usize, warmup: usize, total: usize) -> f64 {
        if step <= warmup {
            return step as f64 / warmup as f64;
        }
        let done = (step - warmup - 1) as f64 / (total.saturating_sub(warmup)).max(1) as f64;
        let left = |floor: f64, share: f64| floor + (1.0 - floor) * share;
        match self {
            Self::Constant {} => 1.0,
            Self::Linear { floor } => left(floor, 1.0 - done),
            Self::Cosine { floor } => {
                left(floor, 0.5 * (1.0 + (std::f64::consts::PI * done).cos()))
            }
        }
    }

    pub(crate) fn check(self) -> Result<()> {
        match self {
            Self::Linear { floor } | Self::Cosine { floor } if !(0.0..=1.0).contains(&floor) => {
                Err(Error::option(
                    "student.train.schedule.floor",
                    format!("{floor} is not between 0 and 1"),
                ))
            }
            _ => Ok(()),
        }
    }
}

/// The gradients of the trained parameters, in their order.
#[derive(Debug)]
pub(crate) struct Gradient(Vec<Option<Value>>);

impl Gradient {
    /// Takes the gradients of the trained parameters out of a backward pass.
    pub(crate) fn take(parameters: &[Parameter], gradients: &mut Gradients) -> Self {
        let take = |parameter: &Parameter| match &parameter.value {
            Value::Vector(tensor) => tensor.grad_remove(gradients).map(Value::Vector),
            Value::Matrix(tensor) => tensor.grad_remove(gradients).map(Value::Matrix),
            Value::Frozen(_) => None,
        };
        Self(trained(parameters).map(take).collect())
    }

    /// Adds the gradients of another micro-batch.
    pub(crate) fn add(self, other: Self) -> Self {
        let sum = |pair: (Option<Value>, Option<Value>)| match pair {
            (Some(Value::Vector(a)), Some(Value::Vector(b))) => Some(Value::Vector(a + b)),
            (Some(Value::Matrix(a)), Some(Value::Matrix(b))) => Some(Value::Matrix(a + b)),
            (a, b) => a.or(b),
        };
        Self(self.0.into_iter().zip(other.0).map(sum).collect())
    }

    /// The sum of squares of each tensor's gradient, where one arrived.
    pub(crate) fn squared_norms(&self) -> Vec<Option<f64>> {
        let row = |value: &Value| match value {
            Value::Vector(tensor) => tensor.clone(),
            Value::Matrix(tensor) => tensor.clone().flatten(0, 1),
            Value::Frozen(_) => unreachable!("what rests has no gradient"),
        };
        let rows = self.0.iter().flatten().map(row);
        let mut norms = ops::squared_norms(rows.collect()).into_iter();
        let of = |value: &Option<Value>| value.is_some().then(|| norms.next()).flatten();
        self.0.iter().map(of).collect()
    }

    #[cfg(test)]
    pub(crate) fn values(&self) -> &[Option<Value>] {
        &self.0
    }
}

/// The running means of one trained parameter.
#[derive(Clone, Debug)]
pub(crate) enum State {
    Vector(Moments<1>),
    Matrix(Moments<2>),
}

/// The memory of `AdamW`: one state a trained parameter, in their order.
#[derive(Debug)]
pub(crate) struct Optimizer {
    pub(crate) states: Vec<State>,
}

impl Optimizer {
    /// Before the first update.
    pub(crate) fn new(parameters: &[Parameter]) -> Self {
        let zero = |parameter: &Parameter| match &parameter.value {
            Value::Vector(tensor) => State::Vector(Moments::zeros_like(tensor)),
            Value::Matrix(tensor) => State::Matrix(Moments::zeros_like(tensor)),
            Value::Frozen(_) => unreachable!("{} rests and is not trained", parameter.name),
        };
        Self {
            states: trained(parameters).map(zero).collect(),
        }
    }

    /// Updates every trained parameter; weights of norms and biases do not decay.
    pub(crate) fn update(
        &mut self,
        parameters: &mut [Parameter],
        gradient: Gradient,
        step: &AdamwStep,
    ) {
        let undecayed = AdamwStep {
            weight_decay: 0.0,
            ..*step
        };
        let states = std::mem::take(&mut self.states);
        let trained = parameters
            .iter_mut()
            .filter(|parameter| parameter.is_trained);
        self.states = trained
            .zip(states)
            .zip(gradient.0)
            .map(
                |((parameter, state), grad)| match (&mut parameter.value, state, grad) {
                    (Value::Vector(tensor), State::Vector(moments), Some(Value::Vector(grad))) => {
                        let (new, moments) = ops::adamw(take(tensor), grad, moments, &undecayed);
                        *tensor = new;
                        State::Vector(moments)
                    }
                    (Value::Matrix(tensor), State::Matrix(moments), Some(Value::Matrix(grad))) => {
                        let (new, moments) = ops::adamw(take(tensor), grad, moments, step);
                        *tensor = new;
                        State::Matrix(moments)
                    }
                    (_, state, _) => state,
                },
            )
            .collect();
    }
}

/// Moves a tensor out, so that the update can work in place; an empty one stands in.
fn take<const D: usize>(tensor: &mut burn::tensor::Tensor<D>) -> burn::tensor::Tensor<D> {
    let empty = burn::tensor::Tensor::empty([0; D], &tensor.device().inner());
    std::mem::replace(tensor, empty)
}

/// The parameters that training changes.
pub(crate) fn trained(parameters: &[Parameter]) -> impl Iterator<Item = &Parameter> {
    parameters.iter().filter(|parameter| parameter.is_trained)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_then_falls_to_its_floor() {
        let shares = |schedule: Schedule| -> Vec<f64> {
            (1..=6).map(|step| schedule.share(step, 2, 6)).collect()
        };
        assert_eq!(
            shares(Schedule::Constant {}),
            [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]
        );
        assert_eq!(
            shares(Schedule::Linear { floor: 0.0 }),
            [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
        );
        assert!((shares(Schedule::Linear { floor: 0.5 })[5] - 0.625).abs() < 1e-12);
        let cosine = shares(Schedule::Cosine { floor: 0.1 });
        assert!(
            cosine.windows(2).skip(2).all(|pair| pair[0] > pair[1]),
            "{cosine:?}"
        );
        assert!((cosine[4] - 0.55).abs() < 1e-12, "{cosine:?}");
    }

    #[test]
    fn a_warm_up_longer_than_the_training_only_rises() {
        let shares: Vec<f64> = (1..=3)
            .map(|step| Schedule::Cosine { floor: 0.0 }.share(step, 10, 3))
            .collect();
        assert_eq!(shares, [0.1, 0.2, 0.3]);
        assert_eq!(Warmup::Ratio(0.1).steps(25), 3);
    }
}

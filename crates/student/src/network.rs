//! What a model computes with, whatever its kind: all other files see a network, not a decoder.
//!
//! It gives its parameters to the optimizer, to adapters and to checkpoints, and the states that
//! the output head reads to losses and scores.

use burn::tensor::Tensor;

use crate::batch::Packed;
use crate::config::Config;
use crate::decoder::Decoder;
use crate::ops::{Head, KvCache, Layout};
use crate::parameter::{Linear, Parameter, Value};

/// A network with its parameters.
#[derive(Clone, Debug)]
pub(crate) enum Network {
    /// Reads prompt and completion as one text.
    Decoder(Decoder),
}

impl Network {
    /// What `config.json` says.
    pub(crate) fn config(&self) -> &Config {
        match self {
            Self::Decoder(decoder) => &decoder.config,
        }
    }

    /// All tensors, in the order in which they are saved; an adapter's stand last.
    pub(crate) fn parameters(&self) -> &[Parameter] {
        match self {
            Self::Decoder(decoder) => &decoder.parameters,
        }
    }

    /// See [`Self::parameters`].
    pub(crate) fn parameters_mut(&mut self) -> &mut Vec<Parameter> {
        match self {
            Self::Decoder(decoder) => &mut decoder.parameters,
        }
    }

    /// The projections of all layers, each of which can carry a branch.
    pub(crate) fn linears_mut(&mut self) -> Box<dyn Iterator<Item = &mut Linear> + '_> {
        match self {
            Self::Decoder(decoder) => Box::new(decoder.linears_mut()),
        }
    }

    /// Keeps sequences to at most `tokens`.
    pub(crate) fn limit_context(&mut self, tokens: usize) {
        match self {
            Self::Decoder(decoder) => decoder.limit_context(tokens),
        }
    }

    /// The same network without gradients; it shares the values.
    pub(crate) fn plain(&self) -> Self {
        self.with_values(|parameter| parameter.value.clone().plain())
    }

    /// The same network ready to be trained; it shares the values.
    pub(crate) fn tracked(&self) -> Self {
        self.with_values(|parameter| parameter.value.clone().tracked(parameter.is_trained))
    }

    fn with_values(&self, value: impl Fn(&Parameter) -> Value) -> Self {
        let mut network = self.clone();
        for parameter in network.parameters_mut() {
            parameter.value = value(parameter);
        }
        network
    }

    /// The states that the output head reads, `[tokens, hidden]`, one a packed token.
    pub(crate) fn states(&self, packed: &Packed) -> Tensor<2> {
        match self {
            Self::Decoder(decoder) => decoder.states(&packed.tokens, &packed.layout),
        }
    }

    /// The output head.
    pub(crate) fn head(&self) -> Head<'_> {
        match self {
            Self::Decoder(decoder) => decoder.head(),
        }
    }

    /// See [`Decoder::states_cached`].
    pub(crate) fn states_cached(
        &self,
        tokens: &[u32],
        layout: &Layout,
        slots: &[usize],
        cache: &mut KvCache,
    ) -> Tensor<2> {
        match self {
            Self::Decoder(decoder) => decoder.states_cached(tokens, layout, slots, cache),
        }
    }

    /// An empty cache for this network.
    pub(crate) fn cache(&self, n_slots: usize) -> KvCache {
        match self {
            Self::Decoder(decoder) => decoder.cache(n_slots),
        }
    }
}

//! What a model computes with, whatever its kind: all other files see a network, not a decoder.
//!
//! It gives its parameters to the optimizer, to adapters and to checkpoints, and the states that
//! the output head reads to losses and scores.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Tensor;

use crate::batch::Packed;
use crate::config::Config;
use crate::decoder::Decoder;
use crate::error::Result;
use crate::ops::{Dropout, Head, KvCache, Layout};
use crate::parameter::{Linear, Parameter, Planned, Value};

/// A network with its parameters.
#[derive(Clone, Debug)]
pub(crate) enum Network {
    /// Reads prompt and completion as one text.
    Decoder(Decoder),
}

impl Network {
    /// The parameters that a model folder's `config.json` promises, and the longest sequence.
    pub(crate) fn plan(folder: &Path) -> Result<(Vec<Planned>, usize)> {
        let config = Config::load(folder)?;
        let context = config.context;
        // A network is not built without its values, but what it asks for is all there is to know.
        let asked = Decoder::build(config, |plan| Err::<BTreeMap<_, _>, _>(plan.to_vec()));
        Ok((asked.err().unwrap_or_default(), context))
    }

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

    /// The same network, whose branches drop this in each forward pass; it shares the values.
    pub(crate) fn dropping(&self, dropout: Dropout) -> Self {
        let mut network = self.clone();
        for linear in network.linears_mut() {
            if let Some(lora) = &mut linear.lora {
                let name = &self.parameters()[lora.a].name;
                lora.dropout = Some(dropout.of(name));
            }
        }
        network
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

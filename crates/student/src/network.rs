//! What a model computes with, whatever its kind: all other files see a network, not a decoder.
//!
//! It gives its parameters to the optimizer, to adapters and to checkpoints, and the states that
//! the output head reads to losses and scores.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Tensor};

use crate::batch::{Packed, Reading};
use crate::config::Config;
use crate::decoder::Decoder;
use crate::error::Result;
use crate::interface::Interface;
use crate::ops::{self, Dropout, Head, KvCache, Layout, SourceCache};
use crate::parameter::{Linear, Parameter, Planned, Value};
use crate::seq2seq::{self, EncoderDecoder};
use crate::weights;

/// A network with its parameters.
#[derive(Clone, Debug)]
pub(crate) enum Network {
    /// Reads prompt and completion as one text.
    Decoder(Decoder),
    /// Reads the prompt with one half and writes the completion with the other.
    EncoderDecoder(EncoderDecoder),
}

/// What a network keeps of the texts that it writes.
#[derive(Clone, Debug)]
pub(crate) enum Cache {
    Decoder(KvCache),
    EncoderDecoder(SourceCache),
}

impl Cache {
    /// Makes one slot hold what another holds, for several continuations of one prompt.
    pub(crate) fn copy_slot(&mut self, from: usize, to: usize) {
        match self {
            Self::Decoder(cache) => cache.copy_slot(from, to),
            Self::EncoderDecoder(cache) => cache.copy_slot(from, to),
        }
    }

    /// Empties one slot and frees its memory.
    pub(crate) fn clear_slot(&mut self, slot: usize) {
        match self {
            Self::Decoder(cache) => cache.clear_slot(slot),
            Self::EncoderDecoder(cache) => cache.clear_slot(slot),
        }
    }
}

impl Network {
    /// The parameters that a model folder's `config.json` promises, and the longest sequence.
    pub(crate) fn plan(folder: &Path) -> Result<(Vec<Planned>, usize)> {
        // A network is not built without its values, but what it asks for is all there is to know.
        let asked = |plan: &[Planned]| Err::<BTreeMap<_, _>, _>(plan.to_vec());
        let context = Interface::load(folder)?.context;
        let plan = match seq2seq::Config::load(folder)? {
            Some(config) => {
                let is_tied = !weights::holds(folder, "lm_head.weight")?;
                EncoderDecoder::build(config, is_tied, asked).err()
            }
            None => Decoder::build(Config::load(folder)?, asked).err(),
        };
        Ok((plan.unwrap_or_default(), context))
    }

    /// What texts it reads and writes.
    pub(crate) fn interface(&self) -> Interface {
        match self {
            Self::Decoder(decoder) => decoder.config.interface(),
            Self::EncoderDecoder(network) => network.config.interface(),
        }
    }

    /// The `config.json` to save.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Decoder(decoder) => decoder.config.to_json(),
            Self::EncoderDecoder(network) => network.config.to_json(),
        }
    }

    /// All tensors, in the order in which they are saved; an adapter's stand last.
    pub(crate) fn parameters(&self) -> &[Parameter] {
        match self {
            Self::Decoder(decoder) => &decoder.parameters,
            Self::EncoderDecoder(network) => &network.parameters,
        }
    }

    /// See [`Self::parameters`].
    pub(crate) fn parameters_mut(&mut self) -> &mut Vec<Parameter> {
        match self {
            Self::Decoder(decoder) => &mut decoder.parameters,
            Self::EncoderDecoder(network) => &mut network.parameters,
        }
    }

    /// The projections of all layers, each of which can carry a branch.
    pub(crate) fn linears_mut(&mut self) -> Box<dyn Iterator<Item = &mut Linear> + '_> {
        match self {
            Self::Decoder(decoder) => Box::new(decoder.linears_mut()),
            Self::EncoderDecoder(network) => Box::new(network.linears_mut()),
        }
    }

    /// Keeps sequences to at most `tokens`.
    pub(crate) fn limit_context(&mut self, tokens: usize) {
        match self {
            Self::Decoder(decoder) => decoder.limit_context(tokens),
            Self::EncoderDecoder(network) => network.limit_context(tokens),
        }
    }

    /// Where the parameters are.
    pub(crate) fn device(&self) -> Device {
        self.head().weight.device().inner()
    }

    /// Brings the parameters to a device, one by one.
    pub(crate) fn move_to(&mut self, device: &Device) {
        if self.device() == *device {
            return;
        }
        for parameter in self.parameters_mut() {
            parameter.value = parameter.value.on(device);
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
    ///
    /// Tokens that several sequences share are read once, and their states stand in the place of each.
    pub(crate) fn states(&self, packed: &Packed) -> Tensor<2> {
        match (self, &packed.shared) {
            (Self::Decoder(decoder), None) => decoder.states(&packed.tokens, &packed.layout),
            (Self::Decoder(decoder), Some(shared)) => {
                let states = decoder.states(&shared.tokens, &shared.layout);
                // Its backward adds up the gradients of all places that have a row's state.
                ops::embedding(&states, &shared.rows)
            }
            (Self::EncoderDecoder(network), _) => {
                let source = packed.source.as_ref();
                let source = source.expect("packed for this model, prompts stand apart");
                network.states(&packed.tokens, &packed.layout, source)
            }
        }
    }

    /// The decoder, where that is all there is.
    pub(crate) fn decoder(&self) -> Option<&Decoder> {
        match self {
            Self::Decoder(decoder) => Some(decoder),
            Self::EncoderDecoder(_) => None,
        }
    }

    /// The output head.
    pub(crate) fn head(&self) -> Head<'_> {
        match self {
            Self::Decoder(decoder) => decoder.head(),
            Self::EncoderDecoder(network) => network.head(),
        }
    }

    /// An empty cache for this network.
    pub(crate) fn cache(&self, n_slots: usize) -> Cache {
        match self {
            Self::Decoder(decoder) => Cache::Decoder(decoder.cache(n_slots)),
            Self::EncoderDecoder(network) => Cache::EncoderDecoder(network.cache(n_slots)),
        }
    }

    /// Reads prompts into empty slots, one each: the states after the last token of each,
    /// `[prompts, hidden]`; a row's bits do not depend on the prompts beside it.
    pub(crate) fn begin(
        &self,
        prompts: &[&Reading],
        slots: &[usize],
        cache: &mut Cache,
    ) -> Tensor<2> {
        match (self, cache) {
            (Self::Decoder(decoder), Cache::Decoder(cache)) => {
                let lengths: Vec<usize> = prompts.iter().map(|p| p.tokens.len()).collect();
                let tokens: Vec<&[u32]> = prompts.iter().map(|p| &p.tokens[..]).collect();
                let layout = Layout::new(&lengths);
                let last: Vec<u32> = layout.sequences().map(|rows| rows.end as u32 - 1).collect();
                let states = decoder.states_cached(&tokens.concat(), &layout, slots, cache);
                ops::embedding(&states, &last)
            }
            (Self::EncoderDecoder(network), Cache::EncoderDecoder(cache)) => {
                let states = prompts.iter().zip(slots).map(|(prompt, &slot)| {
                    let layout = Layout::new(&[prompt.source.len()]);
                    network.read(&prompt.source, &layout, &[slot], cache);
                    network.states_cached(&prompt.tokens, &[slot], cache)
                });
                Tensor::cat(states.collect(), 0)
            }
            _ => unreachable!("the cache was made by this network"),
        }
    }

    /// Reads one further token a slot: the states after each, `[slots, hidden]`; a row's bits do
    /// not depend on the rows beside it.
    pub(crate) fn advance(&self, tokens: &[u32], slots: &[usize], cache: &mut Cache) -> Tensor<2> {
        match (self, cache) {
            (Self::Decoder(decoder), Cache::Decoder(cache)) => {
                let layout = Layout::new(&vec![1; tokens.len()]);
                decoder.states_cached(tokens, &layout, slots, cache)
            }
            (Self::EncoderDecoder(network), Cache::EncoderDecoder(cache)) => {
                network.states_cached(tokens, slots, cache)
            }
            _ => unreachable!("the cache was made by this network"),
        }
    }
}

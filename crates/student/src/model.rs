//! A student: a network, its tokenizer, and the folder form they are loaded from and saved to.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Tensor;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use stillhouse_core::fs;

use crate::adapter::{self, LoraOptions};
use crate::batch::Reading;
use crate::config::Config;
use crate::decoder::Decoder;
use crate::device::Place;
use crate::error::{Error, Result};
use crate::interface::Interface;
use crate::network::Network;
use crate::ops::{AtRest, Frozen};
use crate::parameter::{self, Lora, Value};
use crate::seq2seq::{self, EncoderDecoder};
use crate::tokenizer::Tokenizer;
use crate::weights::{self, Array};

/// The shape of a student that starts from random weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ArchitectureOptions {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Number of layers.
    pub layers: usize,
    /// Query heads; they share the width.
    pub heads: usize,
    /// Key and value heads; a divisor of `heads`.
    pub kv_heads: usize,
    /// Width inside the gated feed-forward block.
    pub intermediate_size: usize,
    /// Tokens of the byte-level tokenizer that is trained on the training split.
    pub vocabulary: usize,
    /// Longest sequence, in tokens.
    pub context: usize,
}

impl Default for ArchitectureOptions {
    fn default() -> Self {
        Self {
            hidden_size: 256,
            layers: 4,
            heads: 4,
            kv_heads: 2,
            intermediate_size: 704,
            vocabulary: 2048,
            context: 1024,
        }
    }
}

/// A model with its tokenizer, perhaps with an adapter beside its weights.
#[derive(Clone, Debug)]
pub struct Model {
    pub(crate) network: Network,
    pub(crate) lora: Option<LoraOptions>,
    /// A copy of the output head for generation, which reads all of it for every token.
    pub(crate) resting_head: Option<Arc<Frozen>>,
    tokenizer: Tokenizer,
    /// The base model's name, for an adapter's config.
    source: String,
}

impl Model {
    /// Loads a Hugging Face model folder: `config.json`, safetensors, `tokenizer.json`.
    pub fn load(folder: &Path) -> Result<Self> {
        Self::load_at_rest(folder, AtRest::F32)
    }

    /// Loads a model folder whose projections will not be trained, and rest in fewer bytes; it is
    /// never whole in f32 on the way.
    pub fn load_at_rest(folder: &Path, at_rest: AtRest) -> Result<Self> {
        let tokenizer = Tokenizer::load(folder, &Interface::load(folder)?)?;
        let values = |plan: &[_]| parameter::load(folder, plan, at_rest);
        let network = match seq2seq::Config::load(folder)? {
            Some(config) => {
                let is_tied = !weights::holds(folder, "lm_head.weight")?;
                Network::EncoderDecoder(EncoderDecoder::build(config, is_tied, values)?)
            }
            None => Network::Decoder(Decoder::build(Config::load(folder)?, values)?),
        };
        Ok(Self {
            network,
            lora: None,
            resting_head: None,
            tokenizer,
            source: folder.display().to_string(),
        })
    }

    /// Begins from random weights, with a tokenizer trained on the given texts.
    pub fn random<'a>(
        options: &ArchitectureOptions,
        texts: impl Iterator<Item = &'a str> + Send,
        seed: u64,
    ) -> Result<Self> {
        let ArchitectureOptions {
            hidden_size,
            layers,
            heads,
            kv_heads,
            intermediate_size,
            vocabulary,
            context,
        } = *options;
        let path = Path::new("student.architecture");
        if heads == 0 || hidden_size % heads != 0 {
            return Err(Error::option(
                "student.architecture.heads",
                format!("{heads} does not divide hidden_size {hidden_size}"),
            ));
        }
        let tokenizer = Tokenizer::train(texts, vocabulary)?;
        // A small text has fewer merges than were asked for.
        let config = json!({
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": false,
            "bos_token_id": 1,
            "dtype": "float32",
            "eos_token_id": 2,
            "head_dim": hidden_size / heads,
            "hidden_act": "silu",
            "hidden_size": hidden_size,
            "initializer_range": 0.02,
            "intermediate_size": intermediate_size,
            "max_position_embeddings": context,
            "mlp_bias": false,
            "model_type": "llama",
            "num_attention_heads": heads,
            "num_hidden_layers": layers,
            "num_key_value_heads": kv_heads,
            "pad_token_id": 0,
            "rms_norm_eps": 1e-5,
            "rope_parameters": { "rope_theta": 10_000.0, "rope_type": "default" },
            "rope_scaling": null,
            "rope_theta": 10_000.0,
            "tie_word_embeddings": true,
            "torch_dtype": "float32",
            "vocab_size": tokenizer.vocabulary(),
        });
        let decoder = Decoder::random(Config::from_json(path, config)?, seed);
        Ok(Self {
            network: Network::Decoder(decoder),
            lora: None,
            resting_head: None,
            tokenizer,
            source: "random".to_owned(),
        })
    }

    /// Brings the model to a device, with its adapter; there, weights at rest are written out in f32.
    #[must_use]
    pub fn on(mut self, place: &Place) -> Self {
        self.network.move_to(place.tensors());
        self
    }

    /// Puts a PEFT adapter beside the weights.
    pub fn with_adapter(mut self, folder: &Path) -> Result<Self> {
        if self.lora.is_some() {
            return Err(Error::folder(
                folder,
                "the model carries an adapter already; merge it first",
            ));
        }
        self.lora = Some(adapter::load(&mut self.network, folder)?);
        Ok(self)
    }

    /// Takes the adapter away; the weights are as they were before it.
    #[must_use]
    pub fn without_adapter(&self) -> Self {
        let (network, _) = adapter::take_off(&self.network);
        Self {
            network,
            lora: None,
            ..self.clone()
        }
    }

    /// The name of the base model, for the adapters that are trained on it; at first, its folder.
    pub fn set_name(&mut self, name: &str) {
        name.clone_into(&mut self.source);
    }

    /// Folds the adapter into the weights.
    #[must_use]
    pub fn merged(&self) -> Self {
        Self {
            network: adapter::merge(&self.network),
            lora: None,
            ..self.clone()
        }
    }

    /// The same model for speaking alone: the adapter folded in, the projections at rest, and beside
    /// the output head a copy of it at rest, which generation reads.
    ///
    /// The embedding stays in f32, also where it is the head too: a token reads one row of it, but
    /// the whole head.
    /// Projections that rest already stay as they are; in f32 nothing changes but the adapter.
    #[must_use]
    pub fn resting(&self, at_rest: AtRest) -> Self {
        let mut model = self.merged();
        if at_rest == AtRest::F32 {
            return model;
        }
        let weights: Vec<usize> = model.network.linears_mut().map(|l| l.weight).collect();
        let parameters = model.network.parameters();
        let resting: Vec<(usize, Value)> = weights
            .into_par_iter()
            .filter_map(|at| match &parameters[at].value {
                Value::Matrix(matrix) => Some((at, Value::Frozen(frozen(matrix, at_rest)))),
                _ => None,
            })
            .collect();
        for (at, value) in resting {
            model.network.parameters_mut()[at].value = value;
        }
        model.resting_head = Some(frozen(model.network.head().weight, at_rest));
        model
    }

    /// Saves a complete Hugging Face folder, in f32 so that it generates what this model generates;
    /// an adapter is merged, onto what the weights at rest stand for.
    pub fn save(&self, folder: &Path) -> Result<()> {
        // One tensor at a time: a merged model is never whole in memory.
        let (network, branches) = adapter::take_off(&self.network);
        let branches: HashMap<usize, Lora> = branches.into_iter().collect();
        fs::create_folder(folder)?;
        self.tokenizer.save(folder)?;
        let plan: Vec<_> = network
            .parameters()
            .iter()
            .map(|p| (p.name.clone(), p.value.shape()))
            .collect();
        weights::save_file(
            &folder.join("model.safetensors"),
            &plan,
            |i| match branches.get(&i) {
                Some(lora) => Array::of(&adapter::folded(&self.network, i, *lora)),
                None => network.parameters()[i].value.to_array(),
            },
        )?;
        Ok(fs::write_json(
            &folder.join("config.json"),
            &network.to_json(),
        )?)
    }

    /// Saves the adapter alone, in PEFT's form; a model without one is an error.
    pub fn save_adapter(&self, folder: &Path) -> Result<()> {
        match &self.lora {
            Some(options) => adapter::save(&self.network, options, &self.source, folder),
            None => Err(Error::folder(folder, "the model has no adapter to save")),
        }
    }

    /// What texts the model reads and writes.
    pub fn interface(&self) -> Interface {
        self.network.interface()
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The longest sequence, prompt and completion together, in tokens.
    pub fn context_tokens(&self) -> usize {
        self.interface().context
    }

    /// Keeps sequences to at most `tokens`, where the model would take more.
    pub fn limit_context(&mut self, tokens: usize) {
        self.network.limit_context(tokens);
    }

    /// How many tokens a prompt takes, with what stands before every prompt, and after it where an
    /// encoder reads it.
    pub fn prompt_tokens(&self, prompt: &str) -> usize {
        self.interface().prompt(&self.tokenizer, prompt).len()
    }

    /// What is read before the first token of a completion.
    pub(crate) fn reading(&self, prompt: &str) -> Reading {
        let interface = self.interface();
        let prompt = interface.prompt(&self.tokenizer, prompt);
        let (source, tokens) = match interface.start {
            Some(start) => (prompt, vec![start]),
            None => (Vec::new(), prompt),
        };
        Reading { source, tokens }
    }

    /// How many tokens a completion takes, with the end token that closes it.
    pub fn completion_tokens(&self, completion: &str) -> usize {
        self.tokenizer.completion(completion).len() + 1
    }

    /// Numbers in all tensors.
    pub fn n_parameters(&self) -> usize {
        self.network
            .parameters()
            .iter()
            .map(|p| p.value.shape().iter().product::<usize>())
            .sum()
    }
}

/// A matrix at rest.
fn frozen(matrix: &Tensor<2>, at_rest: AtRest) -> Arc<Frozen> {
    let array = Array::of(&matrix.clone().inner());
    let [size_out, size_in] = matrix.dims();
    Arc::new(Frozen::new(&array.values, [size_out, size_in], at_rest))
}

//! What a folder says of its encoder or classifier: shape, pooling, longest text, labels.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use stillhouse_core::{Error, Result, fs};
use stillhouse_kernels::activation::Activation;

use super::family::{self, Family};
use super::pooling::Pooling;

/// Beyond it a config is taken for a slip.
const MOST_LAYERS: usize = 1000;

/// All that the folder's JSON files say.
#[derive(Debug)]
pub(super) struct Layout {
    /// The folder of weights and tokenizer.
    pub(super) transformer: PathBuf,
    pub(super) config: Config,
    pub(super) pooling: Pooling,
    pub(super) is_lowercased: bool,
    /// Tokens of a text that are read, special tokens counted.
    pub(super) max_tokens: usize,
}

/// The shape of the model, from `config.json`.
#[derive(Debug, Deserialize)]
pub(super) struct Config {
    hidden_act: String,
    #[serde(default)]
    position_embedding_type: Option<String>,
    #[serde(default)]
    pad_token_id: Option<u32>,
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    #[serde(default = "default_epsilon")]
    pub(super) layer_norm_eps: f32,
    pub(super) max_position_embeddings: usize,
    pub(super) num_attention_heads: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) vocab_size: usize,
    #[serde(default = "default_buckets")]
    pub(super) relative_attention_num_buckets: usize,
    /// The labels of a classifier by their number.
    #[serde(default)]
    pub(super) id2label: BTreeMap<usize, String>,
    #[serde(default)]
    pub(super) problem_type: Option<String>,
    #[serde(skip, default = "family::bert")]
    pub(super) family: &'static Family,
    #[serde(skip, default = "default_activation")]
    pub(super) activation: Activation,
}

fn default_epsilon() -> f32 {
    1e-12
}

fn default_buckets() -> usize {
    32
}

fn default_activation() -> Activation {
    Activation::Gelu
}

#[derive(Deserialize)]
struct Module {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

/// Reads the JSON files of an encoder; where there is no `modules.json`, the tokens are averaged,
/// as sentence-transformers does.
pub(super) fn read(folder: &Path) -> Result<Layout> {
    let modules = folder.join("modules.json");
    let mut transformer = folder.to_owned();
    let mut pooling = Pooling::Mean;
    if modules.exists() {
        for module in fs::read_json::<Vec<Module>>(&modules)? {
            match module.kind.rsplit('.').next() {
                Some("Transformer") => transformer = folder.join(&module.path),
                Some("Pooling") => pooling = Pooling::read(&folder.join(&module.path))?,
                // Vectors are always brought to length 1.
                Some("Normalize") => {}
                _ => {
                    let what = format!("a module of type `{}` is not supported", module.kind);
                    return Err(Error::file(modules, what));
                }
            }
        }
    }
    let config = Config::read(&transformer)?;
    refuse_prompts(&folder.join("config_sentence_transformers.json"))?;
    let limits = read_optional(&transformer.join("sentence_bert_config.json"))?;
    let max_tokens = match limits["max_seq_length"].as_u64() {
        Some(n) => config.n_positions().min(n as usize),
        None => config.max_tokens(&transformer)?,
    };
    Ok(Layout {
        transformer,
        pooling,
        is_lowercased: limits["do_lower_case"].as_bool().unwrap_or(false),
        max_tokens,
        config,
    })
}

impl Config {
    /// Reads and checks the `config.json` of a folder.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        // Another architecture has other keys; its name says more than the first that is missing.
        let value: Value = fs::read_json(&path)?;
        let model_type = value["model_type"].as_str().unwrap_or_default();
        let family = family::find(model_type).map_err(|what| Error::file(&path, what))?;
        let mut config: Self = fs::read_json(&path)?;
        config.family = family;
        config.check().map_err(|what| Error::file(path, what))?;
        Ok(config)
    }

    /// The tokens that the transformer has positions for.
    pub(super) fn n_positions(&self) -> usize {
        let before = self
            .padding_before_positions()
            .map_or(0, |id| id as usize + 1);
        self.max_position_embeddings.saturating_sub(before)
    }

    /// The padding token, where positions begin after its id.
    pub(super) fn padding_before_positions(&self) -> Option<u32> {
        let padding = self.pad_token_id.unwrap_or(self.family.padding);
        self.family.positions_follow_padding.then_some(padding)
    }

    /// What the tokenizer's settings and the positions allow.
    pub(super) fn max_tokens(&self, folder: &Path) -> Result<usize> {
        let settings = read_optional(&folder.join("tokenizer_config.json"))?;
        // One without a limit has a number there that is no u64.
        let limit = settings["model_max_length"].as_u64();
        Ok(limit
            .map_or(usize::MAX, |n| n as usize)
            .min(self.n_positions()))
    }

    fn check(&mut self) -> Result<(), String> {
        let (hidden, heads) = (self.hidden_size, self.num_attention_heads);
        self.activation = match self.hidden_act.as_str() {
            "gelu" => Activation::Gelu,
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Activation::GeluTanh,
            "relu" => Activation::Relu,
            other => {
                return Err(format!(
                    "hidden_act is `{other}`, supported are `gelu`, `gelu_new` and `relu`"
                ));
            }
        };
        if let Some(kind) = &self.position_embedding_type
            && kind != "absolute"
        {
            return Err(format!(
                "position_embedding_type is `{kind}`, expected `absolute`"
            ));
        }
        if heads == 0 || hidden == 0 || hidden % heads != 0 {
            return Err(format!(
                "hidden_size {hidden} does not divide into {heads} heads"
            ));
        }
        if self.num_hidden_layers > MOST_LAYERS {
            let n = self.num_hidden_layers;
            return Err(format!(
                "num_hidden_layers is {n}, expected at most {MOST_LAYERS}"
            ));
        }
        if self.n_positions() < 3 {
            let n = self.max_position_embeddings;
            return Err(format!(
                "max_position_embeddings is {n}, too few for any text"
            ));
        }
        let buckets = self.relative_attention_num_buckets;
        if self.family.has_distances && (buckets == 0 || !buckets.is_multiple_of(4)) {
            return Err(format!(
                "relative_attention_num_buckets is {buckets}, expected a multiple of 4"
            ));
        }
        Ok(())
    }
}

/// An encoder that expects a prompt before each text would give other vectors without it.
fn refuse_prompts(path: &Path) -> Result<()> {
    match read_optional(path)?["default_prompt_name"].as_str() {
        Some(prompt) => {
            let what =
                format!("it puts the prompt `{prompt}` before texts, which is not supported");
            Err(Error::file(path, what))
        }
        None => Ok(()),
    }
}

fn read_optional(path: &Path) -> Result<Value> {
    if path.exists() {
        fs::read_json(path)
    } else {
        Ok(Value::Null)
    }
}

//! What the `config.json` of a T5 model says, in our words: the original, version 1.1 and Flan.

use std::path::Path;

use serde_json::{Value, json};

use stillhouse_core::fs;

use crate::error::{Error, Result};
use crate::interface::Interface;
use crate::ops::{Activation, Buckets};

/// The family, as `architectures` in `config.json` names it.
pub(crate) const ARCHITECTURE: &str = "T5ForConditionalGeneration";

/// The shape of an encoder-decoder of the T5 family.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    /// Width of the residual stream (`d_model`).
    pub(crate) hidden_size: usize,
    /// Width inside the feed-forward block (`d_ff`).
    pub(crate) intermediate_size: usize,
    pub(crate) encoder_layers: usize,
    pub(crate) decoder_layers: usize,
    pub(crate) heads: usize,
    /// Width of one head (`d_kv`); `heads` of them need not make the hidden size.
    pub(crate) head_size: usize,
    pub(crate) vocabulary: usize,
    pub(crate) context: usize,
    pub(crate) n_buckets: usize,
    /// From this distance on all relative positions share a bucket.
    pub(crate) max_distance: usize,
    /// Between the two products of a feed-forward block; "gelu" behind a gate is the one by tanh.
    pub(crate) activation: Activation,
    /// Two products before the activation, one of which it gates (`wi_0`, `wi_1`).
    pub(crate) is_gated: bool,
    pub(crate) norm_epsilon: f64,
    /// Whether the head reads states times one over the root of the hidden size.
    pub(crate) is_scaled: bool,
    /// The token that a completion is begun with.
    pub(crate) start: u32,
    pub(crate) eos: Vec<u32>,
    /// The file as it was read.
    pub(crate) json: Value,
}

impl Config {
    /// Reads `config.json` and `generation_config.json` of a model folder; `None` where they are
    /// of another family, or not there.
    pub(crate) fn load(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join("config.json");
        if !path.is_file() {
            return Ok(None);
        }
        let json: Value = fs::read_json(&path)?;
        if json["architectures"][0] != ARCHITECTURE {
            return Ok(None);
        }
        let mut config = Self::from_json(&path, json)?;
        let path = folder.join("generation_config.json");
        if path.is_file() {
            let json: Value = fs::read_json(&path)?;
            if let Some(eos) = tokens(&json["eos_token_id"]) {
                config.eos = eos;
            }
        }
        Ok(Some(config))
    }

    /// Reads what `config.json` holds; `path` is named in complaints.
    pub(crate) fn from_json(path: &Path, json: Value) -> Result<Self> {
        let wrong = |key: &str, what: &str| Error::folder(path, format!("`{key}`: {what}"));
        let count = |key: &str, default: Option<usize>| match (json[key].as_u64(), default) {
            (Some(n), _) if n > 0 => Ok(n as usize),
            (None, Some(default)) if json[key].is_null() => Ok(default),
            _ => {
                let what = format!("expected a number above 0, found {}", json[key]);
                Err(wrong(key, &what))
            }
        };
        let feed = json["feed_forward_proj"].as_str().unwrap_or("relu");
        let (is_gated, function) = match feed.strip_prefix("gated-") {
            Some(function) => (true, function),
            None => (false, feed),
        };
        let activation = match function {
            "relu" => Activation::Relu,
            "gelu" if is_gated => Activation::GeluTanh,
            "gelu_new" | "gelu_pytorch_tanh" => Activation::GeluTanh,
            "gelu" => Activation::Gelu,
            "silu" | "swish" => Activation::Silu,
            _ => {
                let supported = "relu, gelu, gelu_new, silu, alone or after gated-";
                let what = format!("`{feed}` is not supported; supported: {supported}");
                return Err(wrong("feed_forward_proj", &what));
            }
        };
        if !json["quantization_config"].is_null() {
            let what = "quantised weights; supported: f32, f16, bf16";
            return Err(wrong("quantization_config", what));
        }
        let encoder_layers = count("num_layers", None)?;
        let n_buckets = count("relative_attention_num_buckets", Some(32))?;
        let max_distance = count("relative_attention_max_distance", Some(128))?;
        if n_buckets < 4 || n_buckets % 2 != 0 || max_distance <= n_buckets / 2 {
            let what = format!("{n_buckets} buckets do not divide {max_distance} positions");
            return Err(wrong("relative_attention_num_buckets", &what));
        }
        // Of transformers 5 on, the scale has a key of its own; before, it went with tying.
        let is_tied = json["tie_word_embeddings"].as_bool().unwrap_or(true);
        let pad = json["pad_token_id"].as_u64().unwrap_or(0);
        Ok(Self {
            hidden_size: count("d_model", None)?,
            intermediate_size: count("d_ff", None)?,
            encoder_layers,
            decoder_layers: count("num_decoder_layers", Some(encoder_layers))?,
            heads: count("num_heads", None)?,
            head_size: count("d_kv", None)?,
            vocabulary: count("vocab_size", None)?,
            context: count("n_positions", Some(512))?,
            n_buckets,
            max_distance,
            activation,
            is_gated,
            norm_epsilon: json["layer_norm_epsilon"].as_f64().unwrap_or(1e-6),
            is_scaled: json["scale_decoder_outputs"].as_bool().unwrap_or(is_tied),
            start: json["decoder_start_token_id"].as_u64().unwrap_or(pad) as u32,
            eos: tokens(&json["eos_token_id"]).unwrap_or_else(|| vec![1]),
            json,
        })
    }

    /// The `config.json` to save: as it was read, with the type of the saved weights.
    pub(crate) fn to_json(&self) -> Value {
        let mut json = self.json.clone();
        if let Some(map) = json.as_object_mut() {
            map.insert("dtype".to_owned(), json!("float32"));
            map.insert("torch_dtype".to_owned(), json!("float32"));
        }
        json
    }

    /// What texts the model reads and writes.
    pub(crate) fn interface(&self) -> Interface {
        Interface {
            vocabulary: self.vocabulary,
            context: self.context,
            bos: None,
            eos: self.eos.clone(),
            start: Some(self.start),
        }
    }

    /// The buckets of relative positions, of the encoder or of the decoder.
    pub(crate) fn buckets(&self, is_encoder: bool) -> Buckets {
        Buckets {
            n: self.n_buckets,
            max_distance: self.max_distance,
            is_bidirectional: is_encoder,
        }
    }
}

/// One token id or a list of them.
fn tokens(json: &Value) -> Option<Vec<u32>> {
    let one = |v: &Value| v.as_u64().map(|id| id as u32);
    match json {
        Value::Array(list) => Some(list.iter().filter_map(one).collect()),
        _ => one(json).map(|id| vec![id]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t5(change: impl FnOnce(&mut Value)) -> Result<Config> {
        let mut json = json!({
            "architectures": ["T5ForConditionalGeneration"], "d_model": 12, "d_kv": 5, "d_ff": 20,
            "num_layers": 2, "num_heads": 3, "vocab_size": 30, "eos_token_id": 1,
        });
        change(&mut json);
        Config::from_json(Path::new("config.json"), json)
    }

    #[test]
    fn the_scale_goes_with_tying_unless_it_is_written_down() {
        let scale = |change: fn(&mut Value)| t5(change).unwrap().is_scaled;
        assert!(scale(|_| ()), "the original says nothing");
        assert!(!scale(|j| j["tie_word_embeddings"] = json!(false)));
        assert!(!scale(|j| j["scale_decoder_outputs"] = json!(false)));
    }

    #[test]
    fn gelu_behind_a_gate_is_the_one_by_tanh() {
        let read = |name: &str| {
            let config = t5(|j| j["feed_forward_proj"] = json!(name)).unwrap();
            (config.is_gated, config.activation)
        };
        assert_eq!(read("relu"), (false, Activation::Relu));
        assert_eq!(read("gated-gelu"), (true, Activation::GeluTanh));
        assert_eq!(read("gelu"), (false, Activation::Gelu));
        assert_eq!(read("gated-silu"), (true, Activation::Silu));
    }

    #[test]
    fn complaints_name_the_key() {
        let says = |change: fn(&mut Value), text: &str| {
            let error = t5(change).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        };
        says(
            |j| j["d_kv"] = json!(0),
            "`d_kv`: expected a number above 0",
        );
        says(
            |j| j["feed_forward_proj"] = json!("tanh"),
            "`tanh` is not supported",
        );
        says(
            |j| j["relative_attention_num_buckets"] = json!(3),
            "3 buckets",
        );
    }
}

//! What a model's `config.json` says, in our words; a family is data and one `match` line here.
//!
//! Both dialects of the rotary settings are read: `rope_theta` with `rope_scaling`, and the newer
//! `rope_parameters`.

use std::path::Path;

use serde_json::{Value, json};

use stillhouse_core::fs;

use crate::error::{Error, Result};

/// The shape of a decoder and the few things in which families differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the gated feed-forward block.
    pub intermediate_size: usize,
    /// Number of layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_size: usize,
    /// Rows of the embedding; may be more than the tokenizer has.
    pub vocabulary: usize,
    /// Longest sequence, in tokens.
    pub context: usize,
    /// Added to the mean square in RMS norms.
    pub norm_epsilon: f64,
    /// Rotary settings.
    pub rope: Rope,
    /// Whether the output head is the embedding.
    pub is_tied: bool,
    /// Which projections carry a bias.
    pub biases: Biases,
    /// The beginning-of-text token.
    pub bos: Option<u32>,
    /// The tokens that end a text.
    pub eos: Vec<u32>,
    /// The file as it was read, so that saving keeps what we do not use.
    pub json: Value,
}

/// Which projections carry a bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Biases {
    /// `q_proj`, `k_proj`, `v_proj`.
    pub qkv: bool,
    /// `o_proj`.
    pub output: bool,
    /// `gate_proj`, `up_proj`, `down_proj`.
    pub mlp: bool,
}

/// Rotary position settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// How the frequencies are stretched for long contexts.
    pub scaling: Scaling,
}

/// How rotary frequencies are stretched.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    /// Not at all.
    Default,
    /// Every frequency divided by the factor.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3.1: low frequencies divided, high ones kept, a ramp between.
    Llama3 {
        /// The divisor of the low frequencies.
        factor: f64,
        /// Wavelengths above `original_context / low` are divided.
        low: f64,
        /// Wavelengths below `original_context / high` are kept.
        high: f64,
        /// The context before stretching.
        original_context: f64,
    },
}

/// What distinguishes one family from another: data only.
struct Family {
    biases: Biases,
    window: Option<usize>,
}

const SUPPORTED: &str = "LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM";

impl Config {
    /// Reads `config.json` and `generation_config.json` of a model folder.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        if !folder.is_dir() {
            return Err(Error::folder(
                folder,
                "no such folder; expected a Hugging Face model folder",
            ));
        }
        if !path.is_file() {
            return Err(Error::folder(
                folder,
                "no config.json; expected a Hugging Face model folder",
            ));
        }
        let mut config = Self::from_json(&path, fs::read_json(&path)?)?;
        let path = folder.join("generation_config.json");
        if path.is_file() {
            let json: Value = fs::read_json(&path)?;
            if let Some(eos) = tokens(&json["eos_token_id"]) {
                config.eos = eos;
            }
        }
        Ok(config)
    }

    /// Reads what `config.json` holds; `path` is named in complaints.
    pub fn from_json(path: &Path, json: Value) -> Result<Self> {
        let fields = Fields { path, json: &json };
        let family = fields.family()?;
        if let Some(text) = ["hidden_act", "hidden_activation"]
            .iter()
            .find_map(|k| json[k].as_str())
            && text != "silu"
        {
            return Err(fields.wrong("hidden_act", &format!("`{text}`; supported: silu")));
        }
        if !json["quantization_config"].is_null() {
            return Err(fields.wrong(
                "quantization_config",
                "quantised weights; supported: f32, f16, bf16",
            ));
        }
        let hidden_size = fields.count("hidden_size")?;
        let heads = fields.count("num_attention_heads")?;
        let kv_heads = fields.count_or("num_key_value_heads", heads)?;
        let head_size = fields.count_or("head_dim", hidden_size / heads)?;
        if heads % kv_heads != 0 {
            return Err(fields.wrong(
                "num_key_value_heads",
                &format!("{kv_heads} does not divide {heads} heads"),
            ));
        }
        if head_size % 2 != 0 {
            return Err(fields.wrong(
                "head_dim",
                &format!("{head_size} is odd; rotary positions need pairs"),
            ));
        }
        // A sliding window shows only beyond its length: within it, full attention is the same.
        let context = fields.count("max_position_embeddings")?;
        let context = family.window.map_or(context, |window| window.min(context));
        Ok(Self {
            hidden_size,
            intermediate_size: fields.count("intermediate_size")?,
            layers: fields.count("num_hidden_layers")?,
            heads,
            kv_heads,
            head_size,
            vocabulary: fields.count("vocab_size")?,
            context,
            norm_epsilon: json["rms_norm_eps"].as_f64().unwrap_or(1e-6),
            rope: fields.rope(head_size)?,
            is_tied: json["tie_word_embeddings"].as_bool().unwrap_or(false),
            biases: family.biases,
            bos: tokens(&json["bos_token_id"]).and_then(|ids| ids.first().copied()),
            eos: tokens(&json["eos_token_id"]).unwrap_or_default(),
            json,
        })
    }

    /// The `config.json` to save: as it was read, with the type of the saved weights.
    pub fn to_json(&self) -> Value {
        let mut json = self.json.clone();
        if let Some(map) = json.as_object_mut() {
            map.insert("dtype".to_owned(), json!("float32"));
            map.insert("torch_dtype".to_owned(), json!("float32"));
        }
        json
    }

    /// Rotary frequencies, one a pair of a head's features: `[head_size / 2]`.
    pub fn frequencies(&self) -> Vec<f32> {
        let pairs = self.head_size / 2;
        let plain = (0..pairs).map(|i| self.rope.theta.powf(-(i as f64) / pairs as f64));
        plain
            .map(|frequency| self.rope.scaling.stretch(frequency) as f32)
            .collect()
    }
}

impl Scaling {
    fn stretch(&self, frequency: f64) -> f64 {
        match *self {
            Self::Default => frequency,
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 {
                factor,
                low,
                high,
                original_context,
            } => {
                // As in transformers' `_compute_llama3_parameters`.
                let turns = original_context * frequency / std::f64::consts::TAU;
                let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                (1.0 - kept) * frequency / factor + kept * frequency
            }
        }
    }
}

struct Fields<'a> {
    path: &'a Path,
    json: &'a Value,
}

impl Fields<'_> {
    fn wrong(&self, key: &str, what: &str) -> Error {
        Error::folder(self.path, format!("`{key}`: {what}"))
    }

    fn family(&self) -> Result<Family> {
        let flag = |key: &str| self.json[key].as_bool().unwrap_or(false);
        let window = |on: bool| {
            self.json["sliding_window"]
                .as_u64()
                .filter(|_| on)
                .map(|n| n as usize)
        };
        let attention = flag("attention_bias");
        let name = self.json["architectures"][0]
            .as_str()
            .unwrap_or("none given");
        let (biases, window) = match name {
            "LlamaForCausalLM" => (
                Biases {
                    qkv: attention,
                    output: attention,
                    mlp: flag("mlp_bias"),
                },
                None,
            ),
            "MistralForCausalLM" => (Biases::default(), window(true)),
            "Qwen2ForCausalLM" => (
                Biases {
                    qkv: true,
                    ..Biases::default()
                },
                window(flag("use_sliding_window")),
            ),
            _ => {
                return Err(self.wrong(
                    "architectures",
                    &format!("`{name}` is not supported; supported: {SUPPORTED}"),
                ));
            }
        };
        Ok(Family { biases, window })
    }

    fn count(&self, key: &str) -> Result<usize> {
        match self.json[key].as_u64() {
            Some(n) if n > 0 => Ok(n as usize),
            _ => Err(self.wrong(
                key,
                &format!("expected a number above 0, found {}", self.json[key]),
            )),
        }
    }

    fn count_or(&self, key: &str, default: usize) -> Result<usize> {
        if self.json[key].is_null() {
            Ok(default)
        } else {
            self.count(key)
        }
    }

    fn rope(&self, head_size: usize) -> Result<Rope> {
        let newer = &self.json["rope_parameters"];
        let older = &self.json["rope_scaling"];
        let settings = if newer.is_object() { newer } else { older };
        let theta = newer["rope_theta"]
            .as_f64()
            .or(self.json["rope_theta"].as_f64())
            .unwrap_or(10_000.0);
        for place in [newer, self.json] {
            if place["partial_rotary_factor"]
                .as_f64()
                .is_some_and(|share| (share - 1.0).abs() > 1e-9)
            {
                return Err(self.wrong(
                    "partial_rotary_factor",
                    &format!("only whole heads of {head_size} are supported"),
                ));
            }
        }
        let number = |key: &str| {
            let found = settings[key].as_f64();
            found.ok_or_else(|| {
                self.wrong(
                    "rope_scaling",
                    &format!("`{key}`: expected a number, found {}", settings[key]),
                )
            })
        };
        let kind = settings["rope_type"]
            .as_str()
            .or(settings["type"].as_str())
            .unwrap_or("default");
        let scaling = match kind {
            "default" => Scaling::Default,
            "linear" => Scaling::Linear {
                factor: number("factor")?,
            },
            "llama3" => Scaling::Llama3 {
                factor: number("factor")?,
                low: number("low_freq_factor")?,
                high: number("high_freq_factor")?,
                original_context: number("original_max_position_embeddings")?,
            },
            _ => {
                return Err(self.wrong(
                    "rope_scaling",
                    &format!("`{kind}` is not supported; supported: default, linear, llama3"),
                ));
            }
        };
        Ok(Rope { theta, scaling })
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

    fn llama(change: impl FnOnce(&mut Value)) -> Result<Config> {
        let mut json = json!({
            "architectures": ["LlamaForCausalLM"], "hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "vocab_size": 100, "max_position_embeddings": 64, "rope_theta": 500_000.0,
            "eos_token_id": [2, 5],
        });
        change(&mut json);
        Config::from_json(Path::new("config.json"), json)
    }

    #[test]
    fn both_rotary_dialects_say_the_same() {
        let older =
            llama(|j| j["rope_scaling"] = json!({"type": "linear", "factor": 4.0})).unwrap();
        let newer = llama(|j| {
            j["rope_theta"] = json!(1.0);
            j["rope_parameters"] =
                json!({"rope_theta": 500_000.0, "rope_type": "linear", "factor": 4.0});
        });
        let newer = newer.unwrap();
        assert_eq!(older.rope, newer.rope);
        assert_eq!(older.frequencies(), newer.frequencies());
        assert_eq!(older.eos, [2, 5]);
    }

    #[test]
    fn llama3_keeps_high_frequencies_and_divides_low_ones() {
        let config = llama(|j| {
            j["rope_scaling"] = json!({
                "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            });
        });
        let (stretched, plain) = (
            config.unwrap().frequencies(),
            llama(|_| ()).unwrap().frequencies(),
        );
        assert!(
            (stretched[0] - plain[0]).abs() < 1e-7,
            "64 / 2 pi turns are more than 4"
        );
        assert!(
            (stretched[3] * 8.0 - plain[3]).abs() < 1e-7,
            "far less than one turn"
        );
    }

    #[test]
    fn complaints_name_the_key_and_what_is_supported() {
        let says = |result: Result<Config>, text: &str| {
            let error = result.unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        };
        says(
            llama(|j| j["architectures"] = json!(["T5Model"])),
            "`T5Model` is not supported; supported: LlamaForCausalLM",
        );
        says(
            llama(|j| j["vocab_size"] = json!(null)),
            "`vocab_size`: expected a number above 0",
        );
        says(
            llama(|j| j["num_key_value_heads"] = json!(3)),
            "3 does not divide 4 heads",
        );
        says(
            llama(|j| j["rope_scaling"] = json!({"rope_type": "yarn"})),
            "`yarn` is not supported",
        );
        says(
            llama(|j| j["hidden_act"] = json!("gelu")),
            "`gelu`; supported: silu",
        );
    }

    #[test]
    fn a_family_is_data() {
        let qwen = llama(|j| j["architectures"] = json!(["Qwen2ForCausalLM"])).unwrap();
        assert_eq!(
            qwen.biases,
            Biases {
                qkv: true,
                output: false,
                mlp: false
            }
        );
        let mistral = llama(|j| {
            j["architectures"] = json!(["MistralForCausalLM"]);
            j["sliding_window"] = json!(16);
        });
        assert_eq!(mistral.unwrap().context, 16);
    }
}

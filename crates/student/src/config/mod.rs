//! What a model's `config.json` says, in our words; a family is data in `family.rs`.
//!
//! Both dialects of the rotary settings are read: `rope_theta` with `rope_scaling`, and the newer
//! `rope_parameters`.

mod family;
mod rope;

use std::path::Path;

use serde_json::{Value, json};

use stillhouse_core::fs;

use crate::error::{Error, Result};
use crate::ops::Activation;

pub(crate) use family::{Family, Mlp, NormKind, Rule};
pub use rope::{Rope, Scaling};

use family::{SoftCaps, Windows, family, supported};
use rope::Place;

/// The shape of a decoder and the things in which families differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Names of tensors and the order of operations.
    pub(crate) family: &'static Family,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// What each layer's attention sees.
    pub layers: Vec<LayerAttention>,
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
    /// Added to the mean square in norms.
    pub norm_epsilon: f64,
    /// Rotary settings; layers choose among them.
    pub ropes: Vec<Rope>,
    /// What scores are multiplied by.
    pub attention_scale: f64,
    /// The cap of scores.
    pub attention_soft_cap: Option<f64>,
    /// The cap of logits.
    pub head_soft_cap: Option<f64>,
    /// What embeddings are multiplied by.
    pub embedding_scale: f64,
    /// The activation of the feed-forward block.
    pub activation: Activation,
    /// Whether the output head is the embedding.
    pub is_tied: bool,
    /// Which projections carry a bias.
    pub biases: Biases,
    /// Whether each head's queries and keys are normalised.
    pub has_qk_norms: bool,
    /// The beginning-of-text token.
    pub bos: Option<u32>,
    /// The tokens that end a text.
    pub eos: Vec<u32>,
    /// The file as it was read, so that saving keeps what we do not use.
    pub json: Value,
}

/// What one layer's attention sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerAttention {
    /// How many tokens, itself included; all before it where `None`.
    pub window: Option<usize>,
    /// Which of the rotary settings turns it.
    pub rope: usize,
}

/// Which projections carry a bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Biases {
    /// Queries, keys and values.
    pub qkv: bool,
    /// What follows the attention.
    pub output: bool,
    /// The feed-forward block.
    pub mlp: bool,
}

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
        fields.refuse_unsupported()?;
        let hidden_size = fields.count("hidden_size")?;
        let heads = fields.count("num_attention_heads")?;
        let kv_heads = fields.count_or("num_key_value_heads", heads)?;
        let shared = family.head_size.unwrap_or(hidden_size / heads);
        let head_size = fields.count_or("head_dim", shared)?;
        if heads % kv_heads != 0 {
            return Err(fields.wrong(
                "num_key_value_heads",
                &format!("{kv_heads} does not divide {heads} heads"),
            ));
        }
        let (windows, ropes) = (fields.windows(family)?, fields.ropes(family, head_size)?);
        let rope = |window: &Option<usize>| usize::from(ropes.len() > 1 && window.is_none());
        let layer = |window| LayerAttention {
            rope: rope(&window),
            window,
        };
        let epsilon = ["rms_norm_eps", "layer_norm_eps"]
            .iter()
            .find_map(|key| json[key].as_f64());
        let scalar = json["query_pre_attn_scalar"].as_f64();
        let scalar = family.query_scalar.map(|default| scalar.unwrap_or(default));
        let cap = |key: &str, default: Option<f64>| {
            let is_missing = json.get(key).is_none();
            json[key].as_f64().or(default.filter(|_| is_missing))
        };
        let (attention_soft_cap, head_soft_cap) = match family.soft_caps {
            SoftCaps::None => (None, None),
            SoftCaps::Head => (None, cap("final_logit_softcapping", None)),
            SoftCaps::Both(attention, head) => (
                cap("attn_logit_softcapping", Some(attention)),
                cap("final_logit_softcapping", Some(head)),
            ),
        };
        Ok(Self {
            family,
            hidden_size,
            intermediate_size: fields.count("intermediate_size")?,
            layers: windows.into_iter().map(layer).collect(),
            heads,
            kv_heads,
            head_size,
            vocabulary: fields.count("vocab_size")?,
            context: fields.count("max_position_embeddings")?,
            norm_epsilon: epsilon.unwrap_or(family.epsilon),
            attention_scale: scalar.unwrap_or(head_size as f64).sqrt().recip(),
            attention_soft_cap,
            head_soft_cap,
            embedding_scale: if family.scales_embedding {
                (hidden_size as f64).sqrt()
            } else {
                1.0
            },
            activation: fields.activation(family)?,
            is_tied: fields.flag("tie_word_embeddings", family.is_tied),
            biases: Biases {
                qkv: fields.rule(family.qkv_bias),
                output: fields.rule(family.output_bias),
                mlp: fields.rule(family.mlp_bias),
            },
            has_qk_norms: fields.rule(family.has_qk_norms),
            bos: tokens(&json["bos_token_id"]).and_then(|ids| ids.first().copied()),
            eos: tokens(&json["eos_token_id"]).unwrap_or_default(),
            ropes,
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
}

/// `config.json` and where it stands.
struct Fields<'a> {
    path: &'a Path,
    json: &'a Value,
}

impl Fields<'_> {
    fn wrong(&self, key: &str, what: &str) -> Error {
        Error::folder(self.path, format!("`{key}`: {what}"))
    }

    fn family(&self) -> Result<&'static Family> {
        let name = self.json["architectures"][0]
            .as_str()
            .unwrap_or("none given");
        family(name).ok_or_else(|| {
            self.wrong(
                "architectures",
                &format!("`{name}` is not supported; supported: {}", supported()),
            )
        })
    }

    fn refuse_unsupported(&self) -> Result<()> {
        let quantised = &self.json["quantization_config"];
        if !quantised.is_null() {
            let what = format!(
                "weights quantised by {} are not read; take the model that they were made from, in f32, f16 or bf16, and student.train.base = \"nf4\"",
                quantised["quant_method"]
                    .as_str()
                    .unwrap_or("another program")
            );
            return Err(self.wrong("quantization_config", &what));
        }
        if self.flag("use_bidirectional_attention", false) {
            return Err(self.wrong(
                "use_bidirectional_attention",
                "supported: false, where each token sees those before it",
            ));
        }
        Ok(())
    }

    fn activation(&self, family: &Family) -> Result<Activation> {
        let (key, default) = family.activation;
        let Some(name) = self.json[key].as_str() else {
            return Ok(default);
        };
        match name {
            "silu" | "swish" => Ok(Activation::Silu),
            "gelu" if family.gelu_is_tanh => Ok(Activation::GeluTanh),
            "gelu" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
            "relu" => Ok(Activation::Relu),
            _ => Err(self.wrong(
                key,
                &format!(
                    "`{name}`; supported: silu, gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, relu"
                ),
            )),
        }
    }

    /// Each layer's window.
    fn windows(&self, family: &Family) -> Result<Vec<Option<usize>>> {
        let n_layers = self.count("num_hidden_layers")?;
        let window = match family.windows {
            Windows::Never => None,
            Windows::Late if !self.flag("use_sliding_window", false) => None,
            _ if self.json["sliding_window"].is_null() => None,
            _ => Some(self.count("sliding_window")?),
        };
        if let Some(kinds) = self.json["layer_types"].as_array()
            && !matches!(family.windows, Windows::Never | Windows::All)
        {
            return self.listed(kinds, n_layers, window);
        }
        let first_late = self.json["max_window_layers"].as_u64().unwrap_or(0) as usize;
        let is_local: Box<dyn Fn(usize) -> bool> = match family.windows {
            Windows::Never | Windows::All => Box::new(|_| true),
            Windows::Late => Box::new(move |layer| layer >= first_late),
            Windows::AllBut(n) => {
                let n = self.count_or("sliding_window_pattern", n)?;
                Box::new(move |layer| (layer + 1) % n != 0)
            }
        };
        Ok((0..n_layers)
            .map(|layer| window.filter(|_| is_local(layer)))
            .collect())
    }

    fn listed(
        &self,
        kinds: &[Value],
        n_layers: usize,
        window: Option<usize>,
    ) -> Result<Vec<Option<usize>>> {
        if kinds.len() != n_layers {
            let what = format!("{} kinds for {n_layers} layers", kinds.len());
            return Err(self.wrong("layer_types", &what));
        }
        let of = |kind: &Value| match kind.as_str() {
            Some("full_attention") => Ok(None),
            Some("sliding_attention") => Ok(window),
            _ => Err(self.wrong(
                "layer_types",
                &format!("{kind}; supported: full_attention, sliding_attention"),
            )),
        };
        kinds.iter().map(of).collect()
    }

    /// One setting for all layers, or one for those with a window and one for the others.
    fn ropes(&self, family: &Family, head_size: usize) -> Result<Vec<Rope>> {
        let (newer, older) = (&self.json["rope_parameters"], &self.json["rope_scaling"]);
        let number = |key: &str| self.json[key].as_f64();
        let theta = number("rope_theta");
        let place = |newer, older, theta| Place {
            newer,
            older,
            theta,
            head_size,
            share: family.rotary_share,
        };
        let Some(local_theta) = family.local_theta else {
            let place = place(newer, older, theta.unwrap_or(10_000.0));
            return Ok(vec![Rope::read(self, &place)?]);
        };
        let local_theta = number("rope_local_base_freq").unwrap_or(local_theta);
        let global_theta = theta.unwrap_or(1_000_000.0);
        let local = place(&newer["sliding_attention"], &Value::Null, local_theta);
        let global = place(&newer["full_attention"], older, global_theta);
        Ok(vec![Rope::read(self, &local)?, Rope::read(self, &global)?])
    }

    fn rule(&self, rule: Rule) -> bool {
        match rule {
            Rule::Never => false,
            Rule::Always => true,
            Rule::If(key) => self.flag(key, false),
        }
    }

    fn flag(&self, key: &str, default: bool) -> bool {
        self.json[key].as_bool().unwrap_or(default)
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
        assert_eq!(older.ropes, newer.ropes);
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
            config.unwrap().ropes[0].frequencies(),
            llama(|_| ()).unwrap().ropes[0].frequencies(),
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
            llama(|j| j["architectures"] = json!(["T5Model"])),
            "Gemma3ForCausalLM, T5ForConditionalGeneration",
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
            llama(|j| j["rope_scaling"] = json!({"rope_type": "proportional"})),
            "`proportional` is not supported; supported: default, linear",
        );
        says(
            llama(|j| j["rope_scaling"] = json!({"rope_type": "longrope", "short_factor": [1.0]})),
            "`short_factor`: expected 4 numbers, found 1",
        );
        says(
            llama(|j| j["hidden_act"] = json!("mish")),
            "`mish`; supported: silu",
        );
        says(
            llama(|j| j["head_dim"] = json!(7)),
            "`head_dim`: 7 of 7 features",
        );
    }

    fn of(architecture: &str, change: impl FnOnce(&mut Value)) -> Config {
        let named = |j: &mut Value| {
            j["architectures"] = json!([architecture]);
            j["num_hidden_layers"] = json!(6);
            change(j);
        };
        llama(named).unwrap()
    }

    #[test]
    fn a_family_is_data() {
        let qwen = of("Qwen2ForCausalLM", |_| ());
        let biases = Biases {
            qkv: true,
            ..Biases::default()
        };
        assert_eq!((qwen.biases, qwen.head_size), (biases, 8));
        let phi = of("PhiForCausalLM", |j| {
            j["partial_rotary_factor"] = json!(0.25);
        });
        assert_eq!(
            (phi.ropes[0].size, phi.activation),
            (2, Activation::GeluTanh)
        );
        let gemma = of("GemmaForCausalLM", |j| j["hidden_act"] = json!("gelu"));
        assert_eq!(
            (gemma.head_size, gemma.activation),
            (256, Activation::GeluTanh)
        );
        assert!(gemma.is_tied && (gemma.embedding_scale - 32f64.sqrt()).abs() < 1e-9);
    }

    #[test]
    fn each_family_says_which_layers_have_a_window() {
        let check = |config: Config, expected: [u8; 6]| {
            let found = config
                .layers
                .iter()
                .map(|layer| u8::from(layer.window.is_some()));
            assert_eq!(found.collect::<Vec<_>>(), expected, "{:?}", config.json);
        };
        let window = |j: &mut Value| j["sliding_window"] = json!(16);
        check(of("LlamaForCausalLM", window), [0; 6]);
        check(of("MistralForCausalLM", window), [1; 6]);
        check(
            of("MistralForCausalLM", |j| j["sliding_window"] = json!(null)),
            [0; 6],
        );
        check(of("Qwen2ForCausalLM", window), [0; 6]);
        let late = |j: &mut Value| {
            window(j);
            j["use_sliding_window"] = json!(true);
            j["max_window_layers"] = json!(4);
        };
        check(of("Qwen3ForCausalLM", late), [0, 0, 0, 0, 1, 1]);
        check(of("Gemma2ForCausalLM", window), [1, 0, 1, 0, 1, 0]);
        check(of("Gemma3ForCausalLM", window), [1, 1, 1, 1, 1, 0]);
        let older = |j: &mut Value| {
            window(j);
            j["sliding_window_pattern"] = json!(3);
        };
        check(of("Gemma3ForCausalLM", older), [1, 1, 0, 1, 1, 0]);
        let newer = |j: &mut Value| {
            window(j);
            let [full, local] = ["full_attention", "sliding_attention"];
            j["layer_types"] = json!([full, local, local, full, full, local]);
        };
        check(of("Gemma3ForCausalLM", newer), [0, 1, 1, 0, 0, 1]);
    }

    #[test]
    fn gemma_3_turns_its_layers_by_two_bases_in_both_dialects() {
        let older = of("Gemma3ForCausalLM", |j| {
            j["sliding_window"] = json!(8);
            j["rope_theta"] = json!(1e6);
            j["rope_local_base_freq"] = json!(1e4);
            j["rope_scaling"] = json!({"rope_type": "linear", "factor": 8.0});
        });
        let newer = of("Gemma3ForCausalLM", |j| {
            j["sliding_window"] = json!(8);
            j["rope_parameters"] = json!({
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            });
        });
        assert_eq!(older.ropes, newer.ropes);
        assert_eq!(older.ropes[0].scaling, Scaling::Default);
        assert_eq!(older.ropes[1].scaling, Scaling::Linear { factor: 8.0 });
        let turned: Vec<usize> = older.layers.iter().map(|layer| layer.rope).collect();
        assert_eq!(turned, [0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn a_missing_cap_is_the_family_s_and_null_is_none() {
        let caps = |config: Config| (config.attention_soft_cap, config.head_soft_cap);
        assert_eq!(
            caps(of("Gemma2ForCausalLM", |_| ())),
            (Some(50.0), Some(30.0))
        );
        let null = |j: &mut Value| j["final_logit_softcapping"] = json!(null);
        assert_eq!(caps(of("Gemma2ForCausalLM", null)), (Some(50.0), None));
        assert_eq!(caps(of("LlamaForCausalLM", |_| ())), (None, None));
    }
}

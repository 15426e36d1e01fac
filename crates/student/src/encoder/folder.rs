//! What a sentence-transformers folder says of its encoder: shape, pooling, longest text.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use tokenizers::{Tokenizer, TruncationParams};

use stillhouse_core::{Error, Result, fs};

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
    model_type: String,
    hidden_act: String,
    #[serde(default)]
    position_embedding_type: Option<String>,
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) layer_norm_eps: f32,
    pub(super) max_position_embeddings: usize,
    pub(super) num_attention_heads: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) vocab_size: usize,
}

/// How the vectors of the tokens become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooling {
    /// The mean over all tokens.
    Mean,
    /// The first token, `[CLS]`.
    Cls,
}

impl Pooling {
    /// The pooled vector of `states [tokens, hidden]`, with length 1.
    pub(super) fn unit_vector(self, states: &[f32], hidden: usize) -> Vec<f32> {
        let mut vector = states[..hidden].to_vec();
        if self == Self::Mean {
            let rows = states.chunks_exact(hidden);
            let n = rows.len() as f32;
            for row in rows.skip(1) {
                for (sum, x) in vector.iter_mut().zip(row) {
                    *sum += x;
                }
            }
            for x in &mut vector {
                *x /= n;
            }
        }
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
        for x in &mut vector {
            *x /= length;
        }
        vector
    }
}

#[derive(Deserialize)]
struct Module {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

/// Reads the folder's JSON files; a folder without `modules.json` is a plain BERT, and its tokens
/// are averaged, as sentence-transformers does.
pub(super) fn read(folder: &Path) -> Result<Layout> {
    let modules = folder.join("modules.json");
    let mut transformer = folder.to_owned();
    let mut pooling = Pooling::Mean;
    if modules.exists() {
        for module in fs::read_json::<Vec<Module>>(&modules)? {
            match module.kind.rsplit('.').next() {
                Some("Transformer") => transformer = folder.join(&module.path),
                Some("Pooling") => pooling = read_pooling(&folder.join(&module.path))?,
                // Vectors are always brought to length 1.
                Some("Normalize") => {}
                _ => {
                    let what = format!("a module of type `{}` is not supported", module.kind);
                    return Err(Error::file(modules, what));
                }
            }
        }
    }
    let path = transformer.join("config.json");
    let config: Config = fs::read_json(&path)?;
    check(&config).map_err(|what| Error::file(path, what))?;
    refuse_prompts(&folder.join("config_sentence_transformers.json"))?;
    let limits = read_optional(&transformer.join("sentence_bert_config.json"))?;
    let tokens = read_optional(&transformer.join("tokenizer_config.json"))?;
    let max_tokens = limits["max_seq_length"]
        .as_u64()
        .or(tokens["model_max_length"].as_u64());
    let max_tokens = max_tokens.map_or(usize::MAX, |n| n as usize);
    Ok(Layout {
        transformer,
        pooling,
        is_lowercased: limits["do_lower_case"].as_bool().unwrap_or(false),
        max_tokens: max_tokens.min(config.max_position_embeddings),
        config,
    })
}

fn check(config: &Config) -> Result<(), String> {
    let Config {
        model_type,
        hidden_act,
        hidden_size,
        num_attention_heads: heads,
        ..
    } = config;
    if model_type != "bert" {
        return Err(format!("model_type is `{model_type}`, expected `bert`"));
    }
    if hidden_act != "gelu" {
        return Err(format!("hidden_act is `{hidden_act}`, expected `gelu`"));
    }
    if let Some(kind) = config
        .position_embedding_type
        .as_deref()
        .filter(|k| *k != "absolute")
    {
        return Err(format!(
            "position_embedding_type is `{kind}`, expected `absolute`"
        ));
    }
    if *heads == 0 || hidden_size % heads != 0 || *hidden_size == 0 {
        return Err(format!(
            "hidden_size {hidden_size} does not divide into {heads} heads"
        ));
    }
    Ok(())
}

fn read_pooling(folder: &Path) -> Result<Pooling> {
    let path = folder.join("config.json");
    let settings: Value = fs::read_json(&path)?;
    // Newer versions name the mode, older ones have a switch for each.
    let mut modes: Vec<&str> = settings["pooling_mode"].as_str().into_iter().collect();
    for (key, value) in settings.as_object().into_iter().flatten() {
        if let (Some(mode), Some(true)) = (key.strip_prefix("pooling_mode_"), value.as_bool()) {
            modes.push(mode);
        }
    }
    match modes[..] {
        ["mean_tokens" | "mean"] => Ok(Pooling::Mean),
        ["cls_token" | "cls"] => Ok(Pooling::Cls),
        _ => {
            let what = format!(
                "pooling by `{}`, expected the mean or [CLS]",
                modes.join("` and `")
            );
            Err(Error::file(path, what))
        }
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

/// The folder's tokenizer, cutting at `max_tokens` and never padding.
///
/// The file's own settings are not taken: all-MiniLM-L6-v2 says to cut at 128 and to pad
/// everything to 128, which sentence-transformers overrides too.
pub(super) fn tokenizer(folder: &Path, max_tokens: usize, n_vocab: usize) -> Result<Tokenizer> {
    let path = folder.join("tokenizer.json");
    let bad = |what: String| Error::file(&path, what);
    let mut tokenizer = Tokenizer::from_bytes(fs::read(&path)?)
        .map_err(|e| bad(format!("is not a tokenizer: {e}")))?;
    tokenizer.with_padding(None);
    let found = tokenizer.get_vocab_size(true);
    if found > n_vocab {
        return Err(bad(format!(
            "has {found} tokens, the model knows {n_vocab}"
        )));
    }
    truncated(tokenizer, max_tokens).map_err(bad)
}

/// The tokenizer with another length limit.
pub(super) fn truncated(mut tokenizer: Tokenizer, max_tokens: usize) -> Result<Tokenizer, String> {
    let truncation = TruncationParams {
        max_length: max_tokens,
        ..TruncationParams::default()
    };
    match tokenizer.with_truncation(Some(truncation)) {
        Ok(_) => Ok(tokenizer),
        Err(e) => Err(format!("cannot cut texts at {max_tokens} tokens: {e}")),
    }
}

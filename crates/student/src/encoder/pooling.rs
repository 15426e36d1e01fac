//! How the vectors of a text's tokens become one.

use std::path::Path;

use serde_json::Value;

use stillhouse_core::{Error, Result, fs};

/// Always over all tokens, special ones too; the result is brought to length 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooling {
    /// Their mean; over the root of their number, where the sum is asked to be divided by that,
    /// it differs only in length.
    Mean,
    /// The first token's, `[CLS]` or `<s>`.
    Cls,
    /// The largest entry of each feature.
    Max,
}

impl Pooling {
    /// Reads the `config.json` of a Pooling module's folder.
    pub(super) fn read(folder: &Path) -> Result<Self> {
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
            ["mean_tokens" | "mean" | "mean_sqrt_len_tokens"] => Ok(Self::Mean),
            ["cls_token" | "cls"] => Ok(Self::Cls),
            ["max_tokens" | "max"] => Ok(Self::Max),
            _ => {
                let found = modes.join("` and `");
                let what = format!("pooling by `{found}`, expected one of mean, [CLS] and max");
                Err(Error::file(path, what))
            }
        }
    }

    /// As signatures and cache keys call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Cls => "cls",
            Self::Max => "max",
        }
    }

    /// The pooled vector of `states [tokens, hidden]`, with length 1.
    pub(super) fn unit_vector(self, states: &[f32], hidden: usize) -> Vec<f32> {
        let mut vector = states[..hidden].to_vec();
        let others = states.chunks_exact(hidden).skip(1);
        match self {
            Self::Cls => {}
            Self::Mean => {
                others.for_each(|row| combine(&mut vector, row, |sum, x| sum + x));
                let n = (states.len() / hidden) as f32;
                for x in &mut vector {
                    *x /= n;
                }
            }
            Self::Max => others.for_each(|row| combine(&mut vector, row, f32::max)),
        }
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
        for x in &mut vector {
            *x /= length;
        }
        vector
    }
}

fn combine(vector: &mut [f32], row: &[f32], f: impl Fn(f32, f32) -> f32) {
    for (x, other) in vector.iter_mut().zip(row) {
        *x = f(*x, *other);
    }
}

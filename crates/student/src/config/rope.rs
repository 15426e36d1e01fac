//! Rotary positions: what `config.json` says of them in either dialect, and the frequencies that follow.

use std::f64::consts::{PI, TAU};

use serde_json::Value;

use super::Fields;
use crate::error::Result;

/// Rotary position settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// Features of a head that turn, the first ones; the others stay as they are.
    pub size: usize,
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
    /// `YaRN` (Peng et al. 2023): the same with a ramp over the features, and longer vectors.
    Yarn {
        /// The divisor of the low frequencies.
        factor: f64,
        /// Turns within the original context below which a frequency is divided.
        slow: f64,
        /// Turns within the original context above which it is kept.
        fast: f64,
        /// Whether the ramp's ends are whole features.
        is_truncated: bool,
        /// The context before stretching.
        original_context: f64,
        /// What the turned features are multiplied by.
        magnitude: f64,
    },
    /// `LongRoPE` (Ding et al. 2024): a divisor for each frequency, others beyond the original context.
    Long {
        /// The divisors up to the original context.
        short: Vec<f64>,
        /// The divisors of longer sequences.
        long: Vec<f64>,
        /// The context before stretching.
        original_context: usize,
        /// What the turned features are multiplied by.
        magnitude: f64,
    },
}

const SUPPORTED: &str = "default, linear, dynamic, llama3, yarn, longrope";

impl Rope {
    /// Frequencies, one a pair of a head's features: `[size / 2]`.
    pub fn frequencies(&self) -> Vec<f32> {
        match &self.scaling {
            Scaling::Long { short, .. } => self.divided(short),
            _ => (0..self.size / 2)
                .map(|i| self.frequency(i) as f32)
                .collect(),
        }
    }

    /// The context beyond which sequences have other frequencies, and these.
    pub fn long_frequencies(&self) -> Option<(usize, Vec<f32>)> {
        match &self.scaling {
            Scaling::Long {
                long,
                original_context,
                ..
            } => Some((*original_context, self.divided(long))),
            _ => None,
        }
    }

    /// What the turned features are multiplied by.
    pub fn magnitude(&self) -> f32 {
        match self.scaling {
            Scaling::Yarn { magnitude, .. } | Scaling::Long { magnitude, .. } => magnitude as f32,
            _ => 1.0,
        }
    }

    fn plain(&self, pair: usize) -> f64 {
        self.theta.powf(-(2.0 * pair as f64) / self.size as f64)
    }

    fn divided(&self, divisors: &[f64]) -> Vec<f32> {
        let of = |(i, divisor): (usize, &f64)| (self.plain(i) / divisor) as f32;
        divisors.iter().enumerate().map(of).collect()
    }

    fn frequency(&self, pair: usize) -> f64 {
        let frequency = self.plain(pair);
        match self.scaling {
            Scaling::Default | Scaling::Long { .. } => frequency,
            Scaling::Linear { factor } => frequency / factor,
            Scaling::Llama3 {
                factor,
                low,
                high,
                original_context,
            } => {
                // As in transformers' `_compute_llama3_parameters`.
                let turns = original_context * frequency / TAU;
                let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                (1.0 - kept) * frequency / factor + kept * frequency
            }
            Scaling::Yarn {
                factor,
                slow,
                fast,
                is_truncated,
                original_context,
                ..
            } => {
                // As in transformers' `_compute_yarn_parameters`: the feature that turns so often.
                let size = self.size as f64;
                let at = |turns: f64| {
                    size * (original_context / (turns * 2.0 * PI)).ln() / (2.0 * self.theta.ln())
                };
                let (mut low, mut high) = (at(fast), at(slow));
                if is_truncated {
                    (low, high) = (low.floor(), high.ceil());
                }
                let (low, high) = (low.max(0.0), high.min(size - 1.0));
                let width = (high - low).max(0.001);
                let kept = 1.0 - ((pair as f64 - low) / width).clamp(0.0, 1.0);
                (1.0 - kept) * frequency / factor + kept * frequency
            }
        }
    }
}

/// Where the settings of one kind of layer stand.
pub(super) struct Place<'a> {
    /// The newer dialect's `rope_parameters`, or its part for this kind of layer.
    pub(super) newer: &'a Value,
    /// The older dialect's `rope_scaling`.
    pub(super) older: &'a Value,
    /// The base where neither says it.
    pub(super) theta: f64,
    /// The width of a head and the share of it that turns, where neither says it.
    pub(super) head_size: usize,
    pub(super) share: f64,
}

impl Rope {
    pub(super) fn read(fields: &Fields<'_>, place: &Place<'_>) -> Result<Self> {
        let Place { newer, older, .. } = place;
        let settings = if newer.is_object() { newer } else { older };
        let theta = newer["rope_theta"].as_f64().unwrap_or(place.theta);
        let share = [*newer, fields.json]
            .iter()
            .find_map(|json| json["partial_rotary_factor"].as_f64())
            .unwrap_or(place.share);
        let turning = place.head_size as f64 * share;
        let mut sizes = (0..=place.head_size).rev();
        let size = sizes.find(|size| *size as f64 <= turning);
        let size = size.unwrap_or(0);
        if size == 0 || !size.is_multiple_of(2) || size > place.head_size {
            let key = if size == place.head_size {
                "head_dim"
            } else {
                "partial_rotary_factor"
            };
            let what = format!("{size} of {} features", place.head_size);
            return Err(fields.wrong(key, &format!("{what}; rotary positions need pairs")));
        }
        Ok(Self {
            theta,
            size,
            scaling: Settings {
                fields,
                json: settings,
            }
            .scaling(size)?,
        })
    }
}

struct Settings<'a> {
    fields: &'a Fields<'a>,
    json: &'a Value,
}

impl Settings<'_> {
    fn scaling(&self, size: usize) -> Result<Scaling> {
        let kind = self.json["rope_type"]
            .as_str()
            .or(self.json["type"].as_str())
            .unwrap_or("default");
        // Phi-3's first files say "su" and "yarn" for what became LongRoPE.
        let is_long = !self.json["long_factor"].is_null();
        Ok(match kind {
            // "dynamic" stretches beyond the context alone, where no sequence goes.
            "default" | "dynamic" => Scaling::Default,
            "linear" => Scaling::Linear {
                factor: self.number("factor")?,
            },
            "llama3" => Scaling::Llama3 {
                factor: self.number("factor")?,
                low: self.number("low_freq_factor")?,
                high: self.number("high_freq_factor")?,
                original_context: self.original_context()? as f64,
            },
            "longrope" | "su" => self.long(size)?,
            "yarn" if is_long => self.long(size)?,
            "yarn" => self.yarn()?,
            _ => {
                return Err(self.fields.wrong(
                    "rope_scaling",
                    &format!("`{kind}` is not supported; supported: {SUPPORTED}"),
                ));
            }
        })
    }

    fn yarn(&self) -> Result<Scaling> {
        let original_context = self.original_context()? as f64;
        let factor = self.factor(original_context)?;
        let given = |key: &str| self.json[key].as_f64().filter(|v| *v != 0.0);
        let longer = |by: f64| {
            if factor <= 1.0 {
                1.0
            } else {
                0.1 * by * factor.ln() + 1.0
            }
        };
        let magnitude = match (
            given("attention_factor"),
            given("mscale"),
            given("mscale_all_dim"),
        ) {
            (Some(magnitude), ..) => magnitude,
            (None, Some(one), Some(all)) => longer(one) / longer(all),
            _ => longer(1.0),
        };
        Ok(Scaling::Yarn {
            factor,
            slow: given("beta_slow").unwrap_or(1.0),
            fast: given("beta_fast").unwrap_or(32.0),
            is_truncated: self.json["truncate"].as_bool().unwrap_or(true),
            original_context,
            magnitude,
        })
    }

    fn long(&self, size: usize) -> Result<Scaling> {
        let original_context = self.original_context()?;
        let factor = self.factor(original_context as f64)?;
        let magnitude = self.json["attention_factor"].as_f64().unwrap_or_else(|| {
            if factor <= 1.0 {
                1.0
            } else {
                (1.0 + factor.ln() / (original_context as f64).ln()).sqrt()
            }
        });
        Ok(Scaling::Long {
            short: self.divisors("short_factor", size / 2)?,
            long: self.divisors("long_factor", size / 2)?,
            original_context,
            magnitude,
        })
    }

    /// By how much the context was stretched.
    fn factor(&self, original_context: f64) -> Result<f64> {
        if self.json["factor"].is_null() {
            return Ok(self.fields.count("max_position_embeddings")? as f64 / original_context);
        }
        self.number("factor")
    }

    /// The context before stretching; Phi-3 writes it beside the settings.
    fn original_context(&self) -> Result<usize> {
        const KEY: &str = "original_max_position_embeddings";
        let places = [&self.fields.json[KEY], &self.json[KEY]];
        match places.iter().find_map(|json| json.as_u64()) {
            Some(tokens) if tokens > 1 => Ok(tokens as usize),
            Some(tokens) => Err(self.fields.wrong(KEY, &format!("{tokens} is too few"))),
            None => self.fields.count("max_position_embeddings"),
        }
    }

    fn divisors(&self, key: &str, n: usize) -> Result<Vec<f64>> {
        let list = self.json[key].as_array().map(Vec::as_slice);
        let list = list.unwrap_or_default().iter().filter_map(Value::as_f64);
        let list: Vec<f64> = list.collect();
        if list.len() == n {
            return Ok(list);
        }
        let what = format!("`{key}`: expected {n} numbers, found {}", list.len());
        Err(self.fields.wrong("rope_scaling", &what))
    }

    fn number(&self, key: &str) -> Result<f64> {
        let found = self.json[key].as_f64();
        found.ok_or_else(|| {
            self.fields.wrong(
                "rope_scaling",
                &format!("`{key}`: expected a number, found {}", self.json[key]),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use stillhouse_core::fs;

    use super::*;

    #[test]
    fn every_stretch_equals_that_of_transformers() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../fixtures/decoders/ropes.json"
        );
        let cases: Value = fs::read_json(Path::new(path)).unwrap();
        for case in cases.as_array().unwrap() {
            let json = serde_json::json!({"max_position_embeddings": 256});
            let fields = Fields {
                path: Path::new("config.json"),
                json: &json,
            };
            let place = Place {
                newer: &case["rope"],
                older: &Value::Null,
                theta: 1.0,
                head_size: 16,
                share: 1.0,
            };
            let rope = Rope::read(&fields, &place).unwrap();
            let expected = case["frequencies"].as_array().unwrap().iter();
            let expected: Vec<f64> = expected.map(|v| v.as_f64().unwrap()).collect();
            assert_eq!(rope.frequencies().len(), expected.len());
            for (found, expected) in rope.frequencies().iter().zip(&expected) {
                let difference = (f64::from(*found) - expected).abs() / expected;
                assert!(difference < 1e-6, "{rope:?}: {found}, expected {expected}");
            }
            let magnitude = case["magnitude"].as_f64().unwrap();
            assert!(
                (f64::from(rope.magnitude()) - magnitude).abs() < 1e-6,
                "{rope:?}"
            );
        }
    }
}

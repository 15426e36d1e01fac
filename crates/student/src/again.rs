//! The options of answering the test again: samples for a vote, and changed examples.

use serde::{Deserialize, Serialize};
use stillhouse_core::evaluate::answer::Change;

use crate::error::{Error, Result};
use crate::generate::Sampling;

/// Answering the test again, apart from the predictions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgainOptions {
    /// Samples drawn for each test example; the answer that most of them give is one more system,
    /// of equals the one that came first (self-consistency, Wang et al. 2023).
    pub samples: Option<usize>,
    /// Higher is more varied.
    pub temperature: f64,
    /// Choose among the likeliest tokens that together have this probability.
    pub top_p: f64,
    /// Changes of the test examples that should change no answer.
    pub changes: Vec<Change>,
}

impl Default for AgainOptions {
    fn default() -> Self {
        Self {
            samples: None,
            temperature: 0.7,
            top_p: 1.0,
            changes: Vec::new(),
        }
    }
}

impl AgainOptions {
    /// How samples are drawn.
    pub fn sampling(&self) -> Sampling {
        Sampling::Random {
            temperature: self.temperature,
            top_k: None,
            top_p: self.top_p,
        }
    }

    /// Complains of values that cannot work, by their keys.
    pub fn check(&self) -> Result<()> {
        let wrong =
            |key: &str, what: String| Err(Error::option(format!("student.again.{key}"), what));
        if let Some(samples) = self.samples.filter(|samples| *samples < 2) {
            return wrong("samples", format!("{samples} cannot vote; use 2 or more"));
        }
        if !(self.temperature.is_finite() && self.temperature > 0.0) {
            return wrong(
                "temperature",
                format!("{} is not above 0", self.temperature),
            );
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return wrong(
                "top_p",
                format!("{} is not above 0 and at most 1", self.top_p),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_cannot_work_are_named() {
        let check = |change: fn(&mut AgainOptions), expected: &str| {
            let mut options = AgainOptions::default();
            change(&mut options);
            let found = options
                .check()
                .map_or_else(|e| e.to_string(), |()| "fine".into());
            assert_eq!(found, expected);
        };
        check(|_| {}, "fine");
        check(
            |o| o.samples = Some(1),
            "student.again.samples: 1 cannot vote; use 2 or more",
        );
        check(
            |o| o.temperature = 0.0,
            "student.again.temperature: 0 is not above 0",
        );
    }
}

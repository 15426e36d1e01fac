//! What is compared.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stillhouse_core::select::{Method, NAMES, named};

use crate::error::Result;

/// What an ablation is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AblateOptions {
    /// Selectors by name; the one that the others are compared with is "random", or the first.
    pub select: Vec<String>,
    /// Numbers to keep for each example.
    pub keep: Vec<usize>,
    /// Seeds of training and of choices by lot: the RUN's own and those after it.
    pub seeds: usize,
    /// What is equal in all cells.
    pub budget: Budget,
    /// By what test examples are called simple or complex.
    pub complexity: Complexity,
    /// Let every student answer the test split, and count right answers.
    pub generate: bool,
    /// Keep the trained students.
    pub keep_models: bool,
    /// Folder of the cells and of the result; unset, `ablate` in each run directory.
    pub out: Option<PathBuf>,
}

impl Default for AblateOptions {
    fn default() -> Self {
        let select = ["none", "random", "accuracy", "diversity", "morsd", "rsr"];
        Self {
            select: select.map(str::to_owned).to_vec(),
            keep: vec![1, 2, 4, 6, 8],
            seeds: 3,
            budget: Budget::default(),
            complexity: Complexity::default(),
            generate: false,
            keep_models: false,
            out: None,
        }
    }
}

/// What is equal in all cells of one RUN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// Updates, as many as the RUN as it stands would make.
    #[default]
    Steps,
    /// Tokens read in training, as many as the RUN as it stands would read.
    Tokens,
    /// Passes over what was kept.
    Epochs,
}

/// By what test examples are called simple or complex; the median divides them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Complexity {
    /// The mean number of steps of the example's right candidates.
    #[default]
    Steps,
    /// How unlikely the untrained student finds the gold answer.
    Prior,
}

/// One cell that is to be there.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) select: String,
    pub(super) method: Method,
    /// None where everything is kept.
    pub(super) keep: Option<usize>,
    /// Counted from 0; the seed is the RUN's own plus it.
    pub(super) seed: usize,
}

impl Wanted {
    /// The cell's folder below `ablate/`.
    pub(super) fn folder(&self) -> PathBuf {
        let keep = self.keep.map_or("all".to_owned(), |keep| keep.to_string());
        PathBuf::from(format!("{}-{keep}", self.select)).join(format!("seed-{}", self.seed))
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.keep {
            Some(keep) => write!(f, "{}, keep {keep}, seed {}", self.select, self.seed),
            None => write!(f, "{}, seed {}", self.select, self.seed),
        }
    }
}

impl AblateOptions {
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |key: &str, what: String| Err(stillhouse_core::Error::option(key, what).into());
        if let Some(name) = self.select.iter().find(|name| named(name, 1).is_none()) {
            let what = format!(
                "`{name}` is no selector; expected {}, some with +accuracy or +diversity behind",
                NAMES.join(", ")
            );
            return wrong("--select", what);
        }
        if self.select.is_empty() {
            return wrong("--select", "names no selector".into());
        }
        if self.keep.is_empty() || self.keep.contains(&0) {
            return wrong("--keep", "expected numbers of at least 1".into());
        }
        if self.seeds == 0 {
            return wrong("--seeds", "is 0, expected at least 1".into());
        }
        Ok(())
    }

    /// All cells, in the order of the table; what keeps everything has one number only.
    pub(super) fn cells(&self) -> Vec<Wanted> {
        let mut cells = Vec::new();
        for select in &self.select {
            let keeps: Vec<Option<usize>> = if select == "none" {
                vec![None]
            } else {
                self.keep.iter().copied().map(Some).collect()
            };
            for keep in keeps {
                let Some(method) = named(select, keep.unwrap_or(1)) else {
                    continue;
                };
                cells.extend((0..self.seeds).map(|seed| Wanted {
                    select: select.clone(),
                    method: method.clone(),
                    keep,
                    seed,
                }));
            }
        }
        cells
    }

    /// The selector that the others are compared with.
    pub fn baseline(&self) -> &str {
        let random = self.select.iter().find(|name| *name == "random");
        random.or(self.select.first()).map_or("", String::as_str)
    }
}

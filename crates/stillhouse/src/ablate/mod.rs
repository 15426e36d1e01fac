//! The same rationales under several selections: which few teach the most, at equal cost.
//!
//! The teacher is asked once, in the RUN's own directory; all candidates are scored once; every
//! selector, number to keep and seed is a run of its own below `ablate/`, which takes data and
//! rationales as they are, and is not done again once it has been measured.

mod cell;
mod measure;
mod options;
mod show;
mod table;
#[cfg(test)]
mod tests;
mod told;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stillhouse_core::event::Observer;
use stillhouse_core::fs;
use stillhouse_core::run::Stage;

use crate::config::Config;
use crate::error::Result;
use crate::pipeline::{self, Request, World};

use told::Told;

pub use cell::{Cell, Cost};
pub use measure::{Measured, Measures};
pub use options::{AblateOptions, Budget, Complexity};
pub use show::{Form, show};
pub use table::{Average, Compared, Row, Table, table};

/// One RUN file and its cells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AblatedRun {
    /// The data set's name.
    pub name: String,
    /// The kind of its answers: "number", "label", "option", ...
    pub task: String,
    /// How complex each test example is, the larger the more.
    pub complexity: BTreeMap<String, f64>,
    /// Candidates of the training and validation examples.
    pub candidates: usize,
    /// Seconds that it took to score all of them, for selectors that need it.
    pub scoring_seconds: f64,
    /// The student before training.
    pub untrained: Measures,
    /// Every selector, number to keep and seed.
    pub cells: Vec<Cell>,
}

/// Everything that was found (`ablation.json`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ablation {
    /// The format of this record.
    pub version: u32,
    /// What was asked for.
    pub options: AblateOptions,
    /// The RUN files in their order.
    pub runs: Vec<AblatedRun>,
}

/// What an ablation leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Ablated {
    /// The records.
    pub ablation: Ablation,
    /// Where they were written.
    pub folder: PathBuf,
}

/// Carries out what is not done yet, and puts all of it together.
pub fn ablate(
    configs: &[Config],
    options: &AblateOptions,
    world: &World<'_>,
    observe: &mut Observer<'_>,
) -> Result<Ablated> {
    options.check()?;
    let mut runs = Vec::new();
    for config in configs {
        let request = Request {
            to: Some(Stage::Teacher),
            ..Request::default()
        };
        pipeline::run(config, request, world, observe)?;
        runs.push(one_run(config, options, world, observe)?);
    }
    let ablation = Ablation {
        version: 1,
        options: options.clone(),
        runs,
    };
    let folder = match (&options.out, configs.first()) {
        (Some(out), _) => out.clone(),
        (None, Some(first)) => first.run.out.join("ablate"),
        (None, None) => PathBuf::new(),
    };
    fs::create_folder(&folder)?;
    fs::write_json(&folder.join("ablation.json"), &ablation)?;
    for (name, form) in [
        ("ablation.md", Form::Markdown),
        ("ablation.html", Form::Html),
    ] {
        fs::write(&folder.join(name), show(&ablation, form))?;
    }
    Ok(Ablated { ablation, folder })
}

fn one_run(
    config: &Config,
    options: &AblateOptions,
    world: &World<'_>,
    observe: &mut Observer<'_>,
) -> Result<AblatedRun> {
    let base = cell::Base::new(config, options, world, observe)?;
    let wanted = options.cells();
    let mut cells: Vec<Cell> = Vec::new();
    let mut told = Told::default();
    for (place, cell) in wanted.iter().enumerate() {
        let begun = (world.clock)();
        let (found, origin) = base.cell(cell, &cells, world, &mut told.only_news(observe))?;
        cells.push(found);
        let seconds = (world.clock)() - begun;
        told.cell((place + 1, wanted.len()), cell, origin, seconds, observe)?;
    }
    Ok(base.done(cells))
}

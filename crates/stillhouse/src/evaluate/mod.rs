//! Evaluates files of predictions, without a run: `stillhouse evaluate`.

mod read;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use stillhouse_core::evaluate::summary::MetricsFile;
use stillhouse_core::evaluate::{self, Embed, EvaluateOptions, Evaluation, Models};
use stillhouse_core::event::Observer;
use stillhouse_core::jsonl;
use stillhouse_student::encoder::Encoder;

use self::read::Gathered;
pub use self::read::{Columns, FIELDS, Source};
use crate::HubOptions;
use crate::error::Result;

/// The files to evaluate, and how.
///
/// JSONL, JSON, CSV, TSV, Parquet, or plain text with one prediction a line; rows have the fields
/// of [`FIELDS`].
#[derive(Clone, Debug)]
pub struct Files {
    /// Predictions, of one system or several a file.
    pub predictions: Vec<Source>,
    /// References of their own, by `id`, where the predictions carry none.
    pub references: Option<PathBuf>,
    /// Which column holds which field.
    pub columns: Columns,
    /// The metrics.
    pub options: EvaluateOptions,
    /// The seed of the bootstrap and of the random-pair floor.
    pub seed: u64,
}

/// Measures every system of the files beside the baselines that the files allow.
pub fn evaluate(files: &Files, hub: &HubOptions, observe: &mut Observer<'_>) -> Result<Evaluation> {
    let gathered = Gathered::read(
        &files.predictions,
        files.references.as_deref(),
        &files.columns,
    )?;
    let mut options = files.options.clone();
    if !gathered.has_gold {
        options.metrics.retain(|metric| !metric.is_of_labels());
    }
    let mut encoder = None;
    if options.needs_encoder() {
        let folder = crate::pull(&options.encoder, hub, &mut |_| {})?;
        encoder = Some(Encoder::load(&folder, &options.encoder)?);
    }
    let models = Models {
        encoder: encoder.as_mut().map(|encoder| encoder as &mut dyn Embed),
        ..Models::default()
    };
    let input = gathered.input();
    Ok(evaluate::evaluate(
        &input, &options, files.seed, models, observe,
    )?)
}

/// Writes each metric of each pair, one JSON object a line.
pub fn save_pairs(path: &Path, evaluation: &Evaluation) -> Result<()> {
    Ok(jsonl::write(path, &evaluation.pairs)?)
}

/// A table with a column a system: each metric's value with its interval.
pub fn table(metrics: &MetricsFile) -> String {
    let names: Vec<&String> = {
        let mut names: Vec<&String> = metrics
            .systems
            .iter()
            .flat_map(|system| system.metrics.keys())
            .collect();
        names.sort();
        names.dedup();
        names
    };
    let cell = |system: &evaluate::summary::SystemMetrics, name: &String| {
        let metric = system.metrics.get(name)?;
        let value = metric.value?;
        let interval = metric
            .interval
            .map_or(String::new(), |i| format!(" [{:.3}, {:.3}]", i.low, i.high));
        Some(format!("{value:.4}{interval}"))
    };
    let mut text = format!("{:<16}", "metric");
    for system in &metrics.systems {
        write!(text, " {:>26}", system.system).expect("writing to a String cannot fail");
    }
    for name in names {
        write!(text, "\n{name:<16}").expect("writing to a String cannot fail");
        for system in &metrics.systems {
            let shown = cell(system, name).unwrap_or_else(|| "-".into());
            write!(text, " {shown:>26}").expect("writing to a String cannot fail");
        }
    }
    text.push('\n');
    text
}

//! Evaluates files of predictions, without a run: `stillhouse evaluate`.

mod output;
mod read;
mod stress;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use stillhouse_core::evaluate::agreement::{
    Agreement, AgreementOptions, RatingRecord, Ratings, Scored, agree,
};
use stillhouse_core::evaluate::{self, EvaluateOptions, Evaluation, Input};
use stillhouse_core::event::Observer;
use stillhouse_core::jsonl;
use stillhouse_core::table::{self, TableOptions};

pub use self::output::{Output, show, show_stress};
use self::read::Gathered;
pub use self::read::{Columns, FIELDS, Source};
pub use self::stress::{StressFiles, stress};
use crate::HubOptions;
use crate::error::Result;
use crate::models::{Loaded, vectors_folder};

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
    /// Ratings of the predictions by people: `id`, `system` where there are several, `rating`; or
    /// a run's `judgements.jsonl`.
    pub human: Option<PathBuf>,
    /// The metrics.
    pub options: EvaluateOptions,
    /// Whether vectors of sentences are kept on disk, for the next time.
    pub cache: bool,
    /// The seed of the bootstrap and of the random-pair floor.
    pub seed: u64,
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Evaluated {
    /// Every metric of every system and pair.
    pub evaluation: Evaluation,
    /// How the metrics agree with people, where ratings were given.
    pub agreement: Option<Agreement>,
}

/// Measures every system of the files beside the baselines that the files allow.
pub fn evaluate(files: &Files, hub: &HubOptions, observe: &mut Observer<'_>) -> Result<Evaluated> {
    let gathered = Gathered::read(
        &files.predictions,
        files.references.as_deref(),
        &files.columns,
    )?;
    let mut options = files.options.clone();
    if !gathered.has_gold {
        options.metrics.retain(|metric| !metric.is_of_labels());
    }
    let cache = files.cache.then(|| vectors_folder(hub));
    let mut loaded = Loaded::new(&options, cache.as_deref(), |name| {
        crate::pull(name, hub, &mut |_| {})
    })?;
    let input = gathered.input();
    let evaluation = evaluate::evaluate(&input, &options, files.seed, loaded.models(), observe)?;
    let agreement = match &files.human {
        Some(path) => Some(agreement(path, &input, &evaluation, files)?),
        None => None,
    };
    Ok(Evaluated {
        evaluation,
        agreement,
    })
}

/// Joins human ratings with what the metrics say.
fn agreement(
    path: &Path,
    input: &Input<'_>,
    evaluation: &Evaluation,
    files: &Files,
) -> Result<Agreement> {
    let mut records: Vec<RatingRecord> = Vec::new();
    table::read_each(path, &TableOptions::default(), |place, row| {
        let mut row = row;
        // Cells of CSV are texts; one that is no number is left to the complaint.
        if let Some(Value::String(text)) = row.get("rating") {
            let rating = match text.trim() {
                "" => Value::Null,
                text => text.parse::<f64>().map_or(Value::from(text), Value::from),
            };
            row.insert("rating".to_owned(), rating);
        }
        // A judgement (`judgements.jsonl`) is a rating of a rationale, by criteria.
        if let (None, Some(Value::Object(ratings))) = (row.get("rating"), row.get("ratings")) {
            let each: Vec<f64> = ratings.values().filter_map(Value::as_f64).collect();
            let mean = (!each.is_empty()).then(|| each.iter().sum::<f64>() / each.len() as f64);
            row.insert("rating".to_owned(), mean.into());
            if let (None, Some(id)) = (row.get("id"), row.get("rationale").cloned()) {
                row.insert("id".to_owned(), id);
            }
        }
        let record = RatingRecord::deserialize(Value::Object(row));
        records.push(record.map_err(|e| place.error(format!("a rating: {e}")))?);
        Ok(())
    })?;
    let mut systems: Vec<&str> = input
        .predictions
        .iter()
        .map(|p| p.system.as_str())
        .collect();
    systems.sort_unstable();
    systems.dedup();
    let ratings = Ratings::new(records, &systems)?;
    let words = input.predictions.iter().map(|p| {
        let n = p.explanation.split_whitespace().count();
        ((p.id.clone(), p.system.clone()), n)
    });
    let scored = Scored {
        pairs: &evaluation.pairs,
        words: &words.collect(),
    };
    let options = AgreementOptions {
        resamples: files.options.resamples,
        seed: files.seed,
    };
    Ok(agree(scored, &ratings, options)?)
}

/// Writes each metric of each pair, one JSON object a line.
pub fn save_pairs(path: &Path, evaluated: &Evaluated) -> Result<()> {
    Ok(jsonl::write(path, &evaluated.evaluation.pairs)?)
}

//! Retention as a metric: the numbers, dates and names of the reference that an explanation keeps.
//!
//! The Causal Distillation paper names their loss as a fault of its students; no metric of its
//! table sees it.

use super::causal::Retention;
use super::column::{Aggregate, Column, Statistic, Unscored};
use super::signature::Signature;

/// In the order of [`statistics`].
pub(super) const COLUMNS: [Column; 3] = [
    column("retained_numbers", "Numbers of the reference that are kept"),
    column("retained_dates", "Dates of the reference that are kept"),
    column("retained_names", "Names of the reference that are kept"),
];

const fn column(name: &'static str, title: &'static str) -> Column {
    Column {
        name,
        title,
        shown: Some(name),
        aggregate: Aggregate::Mean,
    }
}

/// One pair's statistics, in the order of [`COLUMNS`].
pub(super) fn statistics(found: &Retention) -> [Result<Statistic, Unscored>; 3] {
    let kinds = [
        (&found.numbers, "no number in the reference"),
        (&found.dates, "no date in the reference"),
        (&found.names, "no name in the reference"),
    ];
    kinds.map(|(kept, reason)| {
        let share = kept.share.map(Statistic::Value);
        share.ok_or_else(|| Unscored::new(reason))
    })
}

pub(super) fn signature(column: &str, sentences: &str) -> Signature {
    Signature::new(column)
        .with("sentences", sentences)
        .with("rules", "en-1")
        .with("over", "mean")
}

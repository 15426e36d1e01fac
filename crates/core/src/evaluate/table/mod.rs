//! Tables of what was measured: for the terminal, for Markdown, for LaTeX and as CSV.
//!
//! CSV holds every digit and splits intervals into columns; the others round for people.

mod grid;
mod stress;
#[cfg(test)]
mod tests;

use self::grid::{Cell, Grid};
pub use self::stress::stress;
use super::MetricName;
use super::agreement::{Agreement, Estimate};
use super::summary::{Difference, Metric, MetricsFile};

/// How a table is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Columns under each other, for the terminal.
    #[default]
    Plain,
    /// A pipe table.
    Markdown,
    /// A `tabular` with the rules of the `booktabs` package.
    Latex,
    /// Comma-separated values with a head line (RFC 4180), numbers in full.
    Csv,
}

/// The CEC paper's columns: its name, and our keys for it with what they are divided by; the first
/// key that some system has counts.
const PAPER: [(&str, &[(&str, f64)]); 7] = [
    (
        "BLEU",
        &[
            ("bleu_hf_corpus", 1.0),
            ("bleu_hf", 1.0),
            ("bleu_corpus", 100.0),
            ("bleu", 100.0),
        ],
    ),
    ("ROUGE-1", &[("rouge1", 1.0)]),
    ("ROUGE-2", &[("rouge2", 1.0)]),
    ("ROUGE-L", &[("rougeL", 1.0)]),
    ("METEOR", &[("meteor", 1.0)]),
    ("BERTScore", &[("bertscore", 1.0)]),
    ("CEC", &[("cec", 1.0)]),
];

/// The layout of the CEC paper's Table 1: a row a system, BLEU, ROUGE, METEOR, `BERTScore` and CEC
/// from 0 to 1, a dash for what was not measured.
///
/// BLEU is that of the corpus as `evaluate` prints it, where it is there.
pub fn paper(metrics: &MetricsFile, format: Format) -> String {
    let is_there = |key: &str| metrics.systems.iter().any(|s| s.metrics.contains_key(key));
    let keys = PAPER.map(|(_, keys)| keys.iter().find(|(key, _)| is_there(key)));
    let mut grid = Grid::new("System", PAPER.map(|(name, _)| name));
    for system in &metrics.systems {
        let cells = keys.map(|key| {
            let value = key.and_then(|(key, scale)| Some(system.metrics.get(*key)?.value? / scale));
            Cell::number(value, 3)
        });
        grid.row(&system.system, cells);
    }
    grid.write(format)
}

/// Every metric of every system with its interval: a row a metric, a column a system.
///
/// The number of examples stands beside a value that does not rest on all of them.
pub fn full(metrics: &MetricsFile, format: Format) -> String {
    let systems = metrics.systems.iter().map(|system| system.system.as_str());
    let mut grid = Grid::new("Metric", systems);
    for name in names(metrics) {
        let cells = metrics.systems.iter().map(|system| {
            let Some(metric) = system.metrics.get(name) else {
                return Cell::estimate(None, None, 3).with_n(0, false);
            };
            let cell = Cell::estimate(metric.value, metric.interval, digits(name, Some(metric)));
            cell.with_n(metric.n, metric.n < metrics.n_examples)
        });
        grid.row(name, cells.collect::<Vec<_>>());
    }
    grid.write(format)
}

/// The differences between systems with their tests: a row a metric and a pair of systems.
pub fn differences(metrics: &MetricsFile, format: Format) -> String {
    let head = [
        "Minus",
        "n",
        "Difference",
        "BCa",
        "t",
        "p(t)",
        "p(Wilcoxon)",
        "p(perm.)",
        "p(Holm)",
        "p(BH)",
        "d_z",
        "d_av",
        "g_av",
    ];
    let mut grid = Grid::new("Metric", head);
    for difference in &metrics.differences {
        grid.row(&difference.metric, difference_cells(metrics, difference));
    }
    grid.write(format)
}

fn difference_cells(metrics: &MetricsFile, difference: &Difference) -> [Cell; 13] {
    let of_metric = |system: &str| metrics.system(system)?.metrics.get(&difference.metric);
    let digits = digits(&difference.metric, of_metric(&difference.system));
    let tests = difference.tests.as_ref();
    let number = |value: Option<f64>| Cell::number(value, 2);
    [
        Cell::Text(difference.minus.clone()),
        Cell::Count(difference.n),
        Cell::estimate(difference.value, difference.interval, digits),
        Cell::range(difference.bca, digits),
        number(tests.and_then(|tests| tests.t.t)),
        Cell::P(tests.and_then(|tests| tests.t.p)),
        Cell::P(tests.and_then(|tests| tests.wilcoxon.p)),
        Cell::P(tests.map(|tests| tests.permutation.p)),
        Cell::P(tests.map(|tests| tests.adjusted.holm)),
        Cell::P(tests.map(|tests| tests.adjusted.bh)),
        number(tests.and_then(|tests| tests.effect.d_z)),
        number(tests.and_then(|tests| tests.effect.d_av)),
        number(tests.and_then(|tests| tests.effect.g_av)),
    ]
}

/// How each metric agrees with people: a row a metric, baselines last.
pub fn agreement(agreement: &Agreement, format: Format) -> String {
    let head = [
        "n",
        "Pearson",
        "Spearman",
        "Kendall",
        "Pair accuracy",
        "Pairs",
        "Spearman minus words",
    ];
    let mut grid = Grid::new("Metric", head);
    let estimate = |found: Option<Estimate>| {
        let interval = found.and_then(|found| found.interval);
        Cell::estimate(found.map(|found| found.value), interval, 3)
    };
    for metric in &agreement.metrics {
        grid.row(
            &metric.metric,
            [
                Cell::Count(metric.n),
                estimate(metric.pearson),
                estimate(metric.spearman),
                estimate(metric.kendall),
                estimate(metric.pair_accuracy),
                Cell::Count(metric.n_pairs),
                estimate(metric.spearman_minus_words),
            ],
        );
    }
    grid.write(format)
}

/// The metrics that some system has: those of [`MetricName`] in its order, then others by name.
fn names(metrics: &MetricsFile) -> Vec<&str> {
    let known: Vec<&str> = MetricName::ALL
        .iter()
        .flat_map(|metric| metric.columns())
        .map(|column| column.name)
        .collect();
    let mut names: Vec<&str> = metrics
        .systems
        .iter()
        .flat_map(|system| system.metrics.keys().map(String::as_str))
        .collect();
    let place = |name: &str| known.iter().position(|k| *k == name).unwrap_or(known.len());
    names.sort_unstable_by_key(|name| (place(name), *name));
    names.dedup();
    names
}

/// Two digits after the point where the scale goes to 100, else three.
fn digits(name: &str, metric: Option<&Metric>) -> usize {
    let scale = metric.and_then(|metric| metric.signature.get("scale"));
    if scale == Some("100") || name.starts_with("chrf") {
        2
    } else {
        3
    }
}

//! From cells to a table: means over seeds, data sets and kinds of task, and paired tests.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use stillhouse_core::evaluate::statistics::correction::Correction;
use stillhouse_core::evaluate::statistics::describe;
use stillhouse_core::evaluate::statistics::permutation::SignFlips;
use stillhouse_core::evaluate::statistics::{Alternative, t_test};

use super::cell::Cell;
use super::measure::Measured;
use super::{AblatedRun, Ablation};

const FLIPS: usize = 9_999;

/// Everything that the pages show, measure by measure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The measure's name.
    pub measure: String,
    /// The selector that the others are compared with.
    pub baseline: String,
    /// One row for each RUN, selector and number to keep.
    pub rows: Vec<Row>,
    /// Means over RUNs, one for each selector and number to keep and each group of RUNs: "all", or
    /// a kind of task.
    pub averages: Vec<Average>,
}

/// One selector and number to keep on one data set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The data set.
    pub run: String,
    /// The selector.
    pub select: String,
    /// The number to keep; none where everything is kept.
    pub keep: Option<usize>,
    /// Mean over test examples and seeds.
    pub value: Option<f64>,
    /// Standard deviation of the seeds' means.
    pub seeds_sd: Option<f64>,
    /// The same mean over simple and over complex examples.
    pub simple: Option<f64>,
    /// See `simple`.
    pub complex: Option<f64>,
    /// Against the baseline at the same number to keep.
    pub compared: Option<Compared>,
    /// Mean costs of its cells: rationales, teacher tokens, steps, training tokens, seconds.
    pub cost: [f64; 5],
    /// Share of training and validation examples with a rationale.
    pub coverage: f64,
}

/// A paired difference over test examples, each the mean over seeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compared {
    /// The mean difference.
    pub difference: f64,
    /// Its 95 % interval by Student's t.
    pub interval: Option<[f64; 2]>,
    /// By random signs.
    pub p: f64,
    /// Corrected by Holm over all comparisons of this measure.
    pub p_holm: f64,
}

/// A mean over RUNs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Average {
    /// "all", or a kind of task.
    pub group: String,
    /// How many RUNs.
    pub runs: usize,
    /// The selector.
    pub select: String,
    /// The number to keep.
    pub keep: Option<usize>,
    /// The mean of the RUNs' values.
    pub value: f64,
    /// The mean of their differences from the baseline.
    pub difference: Option<f64>,
}

/// The measures that any cell has, each as a table.
pub fn table(ablation: &Ablation) -> Vec<Table> {
    let has = |name: &&str| {
        let mut cells = ablation.runs.iter().flat_map(|run| &run.cells);
        cells.any(|cell| cell.measures.values().any(|m| m.of(name).is_some()))
    };
    let names = Measured::NAMES.into_iter().filter(has);
    names.map(|name| of_measure(ablation, name)).collect()
}

fn of_measure(ablation: &Ablation, measure: &str) -> Table {
    let baseline = ablation.options.baseline();
    let mut rows: Vec<Row> = ablation
        .runs
        .iter()
        .flat_map(|run| of_run(run, measure, baseline))
        .collect();
    let ps: Vec<f64> = rows.iter().filter_map(|r| Some(r.compared?.p)).collect();
    let mut adjusted = Correction::Holm.adjust(&ps).into_iter();
    for compared in rows.iter_mut().filter_map(|row| row.compared.as_mut()) {
        compared.p_holm = adjusted.next().unwrap_or(1.0);
    }
    Table {
        measure: measure.to_owned(),
        baseline: baseline.to_owned(),
        averages: averages(&ablation.runs, &rows),
        rows,
    }
}

fn of_run(run: &AblatedRun, measure: &str, baseline: &str) -> Vec<Row> {
    let mut groups: Vec<(&str, Option<usize>, Vec<&Cell>)> = Vec::new();
    for cell in &run.cells {
        let found = groups
            .iter_mut()
            .find(|(select, keep, _)| *select == cell.select && *keep == cell.keep);
        match found {
            Some((.., cells)) => cells.push(cell),
            None => groups.push((&cell.select, cell.keep, vec![cell])),
        }
    }
    let border = median(run.complexity.values().copied().collect());
    let is_complex = |id: &str| Some(*run.complexity.get(id)? > border?);
    let means: Vec<BTreeMap<&str, f64>> = groups
        .iter()
        .map(|(.., cells)| by_example(cells, measure))
        .collect();
    let row = |at: usize| {
        let (select, keep, cells) = &groups[at];
        let own = &means[at];
        let of_seed = |cell: &&Cell| mean(cell.measures.values().filter_map(|m| m.of(measure)));
        let seeds: Vec<f64> = cells.iter().filter_map(of_seed).collect();
        let side = |complex: bool| {
            mean(
                own.iter()
                    .filter(|(id, _)| is_complex(id) == Some(complex))
                    .map(|(_, v)| *v),
            )
        };
        // What keeps everything has one row; the others meet it at their own number.
        let other = groups
            .iter()
            .position(|(s, k, _)| *s == baseline && (k == keep || k.is_none()));
        let compared = other
            .filter(|_| *select != baseline)
            .and_then(|other| compare(own, &means[other]));
        Row {
            run: run.name.clone(),
            select: (*select).to_owned(),
            keep: *keep,
            value: mean(own.values().copied()),
            seeds_sd: describe::sd(&seeds),
            simple: side(false),
            complex: side(true),
            compared,
            cost: cost(cells),
            coverage: mean(
                cells
                    .iter()
                    .map(|c| c.covered[0] as f64 / c.covered[1].max(1) as f64),
            )
            .unwrap_or(0.0),
        }
    };
    (0..groups.len()).map(row).collect()
}

/// Each example's mean over seeds, where every seed has a number.
fn by_example<'a>(cells: &[&'a Cell], measure: &str) -> BTreeMap<&'a str, f64> {
    let mut means = BTreeMap::new();
    let Some(first) = cells.first() else {
        return means;
    };
    for id in first.measures.keys() {
        let values = cells.iter().map(|c| c.measures.get(id)?.of(measure));
        if let Some(values) = values.collect::<Option<Vec<f64>>>() {
            means.extend(mean(values.into_iter()).map(|m| (id.as_str(), m)));
        }
    }
    means
}

fn compare(own: &BTreeMap<&str, f64>, other: &BTreeMap<&str, f64>) -> Option<Compared> {
    let both = own.iter().filter_map(|(id, v)| Some(v - other.get(id)?));
    let differences: Vec<f64> = both.collect();
    let flips = SignFlips {
        flips: FLIPS,
        seed: 0,
    };
    let t = t_test::paired(&differences, Alternative::TwoSided, 0.95);
    Some(Compared {
        difference: mean(differences.iter().copied())?,
        interval: t.and_then(|t| Some([t.low?, t.high?])),
        p: flips.test(&differences)?.p,
        p_holm: 1.0,
    })
}

fn cost(cells: &[&Cell]) -> [f64; 5] {
    let over = |of: &dyn Fn(&Cell) -> f64| mean(cells.iter().map(|c| of(c))).unwrap_or(0.0);
    [
        over(&|c| c.cost.rationales as f64),
        over(&|c| c.cost.teacher_tokens as f64),
        over(&|c| c.cost.steps as f64),
        over(&|c| c.cost.tokens as f64),
        over(&|c| c.cost.train_seconds),
    ]
}

/// Over all RUNs, and where there are several kinds of task, over each kind.
fn averages(runs: &[AblatedRun], rows: &[Row]) -> Vec<Average> {
    let tasks: BTreeSet<&str> = runs.iter().map(|run| run.task.as_str()).collect();
    let mut groups: Vec<(&str, Vec<&str>)> =
        vec![("all", runs.iter().map(|run| run.name.as_str()).collect())];
    if tasks.len() > 1 {
        groups.extend(tasks.into_iter().map(|task| {
            let own = runs.iter().filter(|run| run.task == task);
            (task, own.map(|run| run.name.as_str()).collect())
        }));
    }
    let mut averages: Vec<Average> = Vec::new();
    for (group, names) in groups {
        for row in rows.iter().filter(|row| names.contains(&row.run.as_str())) {
            let is_there = averages
                .iter()
                .any(|a| a.group == group && a.select == row.select && a.keep == row.keep);
            if is_there {
                continue;
            }
            let own = rows.iter().filter(|r| {
                names.contains(&r.run.as_str()) && r.select == row.select && r.keep == row.keep
            });
            let Some(value) = mean(own.clone().filter_map(|r| r.value)) else {
                continue;
            };
            averages.push(Average {
                group: group.to_owned(),
                runs: names.len(),
                select: row.select.clone(),
                keep: row.keep,
                value,
                difference: mean(own.filter_map(|r| Some(r.compared?.difference))),
            });
        }
    }
    averages
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    describe::mean(&values.collect::<Vec<f64>>())
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}

//! Resampling without measuring again: whatever a metric needs of its examples is a row of
//! numbers that are added up, so that a resample is a sum of rows.
//!
//! Columns over equally many examples share their draws, which makes their differences paired, and
//! are summed side by side.

use super::bootstrap::Bootstrap;
use super::column::{Aggregate, Statistic};
use super::{bleu, chrf};
use crate::random::Random;

/// The rows of one column: `[n, width]`.
#[derive(Clone, Debug)]
pub(super) struct Table {
    aggregate: Aggregate,
    width: usize,
    rows: Vec<f64>,
    /// The first statistic: how sums of such counts are read.
    first: Option<Statistic>,
}

/// BLEU's matches and totals of four orders, and both lengths.
const BLEU_WIDTH: usize = 10;
/// chrF's matches and totals of both sides.
const CHRF_WIDTH: usize = 3 * chrf::MOST_ORDERS;
/// Gold, predicted and correct of one label.
const LABEL_WIDTH: usize = 3;

impl Table {
    /// One row a statistic.
    pub(super) fn new(aggregate: Aggregate, statistics: &[&Statistic]) -> Self {
        let width = match aggregate {
            Aggregate::Mean => 1,
            Aggregate::CorpusBleu | Aggregate::CorpusBleuHf => BLEU_WIDTH,
            Aggregate::CorpusChrf => CHRF_WIDTH,
            Aggregate::MacroF1 => {
                let places = statistics.iter().filter_map(|s| match s {
                    Statistic::Label(pair) => Some(pair.gold.max(pair.predicted.unwrap_or(0))),
                    _ => None,
                });
                LABEL_WIDTH * (places.max().unwrap_or(0) + 1)
            }
        };
        let mut rows = vec![0.0; width * statistics.len()];
        for (row, statistic) in rows.chunks_mut(width).zip(statistics) {
            match (aggregate, statistic) {
                (Aggregate::Mean, statistic) => row[0] = statistic.value(),
                (_, Statistic::Bleu(counts)) => {
                    let lengths = [counts.explanation_tokens, counts.reference_tokens];
                    let all = counts.matches.iter().chain(&counts.totals);
                    fill(row, all.chain(&lengths));
                }
                (_, Statistic::Chrf(counts)) => {
                    let all = counts.matches.iter().chain(&counts.explanation);
                    fill(row, all.chain(&counts.reference));
                }
                (_, Statistic::Label(pair)) => {
                    row[LABEL_WIDTH * pair.gold] += 1.0;
                    if let Some(predicted) = pair.predicted {
                        row[LABEL_WIDTH * predicted + 1] += 1.0;
                        row[LABEL_WIDTH * predicted + 2] += f64::from(u8::from(pair.is_correct()));
                    }
                }
                (_, Statistic::Value(_) | Statistic::Triple(_)) => {}
            }
        }
        Self {
            aggregate,
            width,
            rows,
            first: statistics.first().map(|first| **first),
        }
    }

    /// How many examples there are.
    pub(super) fn n(&self) -> usize {
        self.rows.len() / self.width
    }

    /// The examples' values, if the metric is their mean.
    pub(super) fn values(&self) -> Option<&[f64]> {
        (self.aggregate == Aggregate::Mean).then_some(&self.rows)
    }

    /// The metric of n examples whose rows have this sum.
    fn of_sum(&self, sum: &[f64], n: usize) -> Option<f64> {
        if n == 0 {
            return None;
        }
        match self.aggregate {
            Aggregate::Mean => Some(sum[0] / n as f64),
            Aggregate::CorpusBleu => Some(self.bleu_counts(sum).corpus()),
            Aggregate::CorpusBleuHf => self.bleu_counts(sum).hf(),
            Aggregate::CorpusChrf => Some(self.chrf_counts(sum).score()),
            Aggregate::MacroF1 => {
                let tallies = sum.chunks(LABEL_WIDTH).filter(|tally| tally[0] > 0.0);
                let f1 = tallies.map(|tally| 2.0 * tally[2] / (tally[0] + tally[1]));
                let (sum, n) = f1.fold((0.0, 0), |(sum, n), f1| (sum + f1, n + 1));
                (n > 0).then(|| sum / f64::from(n))
            }
        }
    }

    fn bleu_counts(&self, sum: &[f64]) -> bleu::Counts {
        let [explanation_tokens, reference_tokens] = counts(sum, 8);
        bleu::Counts {
            matches: counts(sum, 0),
            totals: counts(sum, 4),
            explanation_tokens,
            reference_tokens,
            options: match self.first {
                Some(Statistic::Bleu(first)) => first.options,
                _ => bleu::BleuOptions::default(),
            },
        }
    }

    fn chrf_counts(&self, sum: &[f64]) -> chrf::Counts {
        chrf::Counts {
            matches: counts(sum, 0),
            explanation: counts(sum, chrf::MOST_ORDERS),
            reference: counts(sum, 2 * chrf::MOST_ORDERS),
            beta: match self.first {
                Some(Statistic::Chrf(first)) => first.beta,
                _ => chrf::ChrfOptions::default().beta,
            },
        }
    }

    fn sum(&self) -> Vec<f64> {
        let mut sum = vec![0.0; self.width];
        for row in self.rows.chunks(self.width) {
            for (sum, value) in sum.iter_mut().zip(row) {
                *sum += value;
            }
        }
        sum
    }

    /// The metric over all examples.
    pub(super) fn value(&self) -> Option<f64> {
        self.of_sum(&self.sum(), self.n())
    }

    /// The metric without each example in turn.
    pub(super) fn without_each(&self) -> Vec<Option<f64>> {
        let all = self.sum();
        let mut rest = all.clone();
        let rows = self.rows.chunks(self.width);
        rows.map(|row| {
            for ((rest, all), value) in rest.iter_mut().zip(&all).zip(row) {
                *rest = all - value;
            }
            self.of_sum(&rest, self.n() - 1)
        })
        .collect()
    }
}

fn fill<'a>(row: &mut [f64], counts: impl Iterator<Item = &'a u64>) {
    for (cell, count) in row.iter_mut().zip(counts) {
        *cell = *count as f64;
    }
}

/// N counts of a sum, from the first one on.
#[expect(clippy::cast_sign_loss, reason = "sums of counts are not negative")]
fn counts<const N: usize>(sum: &[f64], first: usize) -> [u64; N] {
    std::array::from_fn(|n| sum[first + n] as u64)
}

/// Numbers that are summed side by side.
const LANES: usize = 8;

impl Bootstrap {
    /// Each table's metric over each resample of its examples; tables of one length share their
    /// draws. Nothing for a table below two examples, where nothing can vary.
    pub(super) fn resample(&self, tables: &[Table]) -> Vec<Vec<Option<f64>>> {
        let mut found = vec![Vec::new(); tables.len()];
        let mut lengths: Vec<usize> = tables.iter().map(Table::n).filter(|n| *n > 1).collect();
        lengths.sort_unstable();
        lengths.dedup();
        for n in lengths {
            let places: Vec<usize> = (0..tables.len())
                .filter(|at| tables[*at].n() == n)
                .collect();
            let of_length: Vec<&Table> = places.iter().map(|at| &tables[*at]).collect();
            for (at, values) in places.into_iter().zip(self.resample_equal(n, &of_length)) {
                found[at] = values;
            }
        }
        found
    }

    fn resample_equal(&self, n: usize, tables: &[&Table]) -> Vec<Vec<Option<f64>>> {
        let blocks = blocks(n, tables);
        let mut sums = vec![0.0; blocks.len() * LANES];
        let mut found = vec![Vec::with_capacity(self.resamples); tables.len()];
        let mut random = Random::new(self.seed, "bootstrap");
        let mut drawn = vec![0; n];
        for _ in 0..self.resamples {
            drawn.fill_with(|| random.below(n));
            for (block, sums) in blocks.iter().zip(sums.chunks_mut(LANES)) {
                sums.copy_from_slice(&sum_of(block, &drawn));
            }
            let mut first = 0;
            for (table, values) in tables.iter().zip(&mut found) {
                values.push(table.of_sum(&sums[first..first + table.width], n));
                first += table.width;
            }
        }
        found
    }
}

/// The columns of all tables, eight by eight: `[block][n][8]`.
fn blocks(n: usize, tables: &[&Table]) -> Vec<Vec<[f64; LANES]>> {
    let columns: Vec<(&Table, usize)> = tables
        .iter()
        .flat_map(|table| (0..table.width).map(move |column| (*table, column)))
        .collect();
    let block = |columns: &[(&Table, usize)]| {
        let mut block = vec![[0.0; LANES]; n];
        for (lane, (table, column)) in columns.iter().enumerate() {
            for (cells, row) in block.iter_mut().zip(table.rows.chunks(table.width)) {
                cells[lane] = row[*column];
            }
        }
        block
    };
    columns.chunks(LANES).map(block).collect()
}

fn sum_of(block: &[[f64; LANES]], drawn: &[usize]) -> [f64; LANES] {
    let mut sums = [0.0; LANES];
    for at in drawn {
        for (sum, value) in sums.iter_mut().zip(&block[*at]) {
            *sum += value;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::label;
    use super::*;

    fn bleu(counts: (u64, u64, u64)) -> Statistic {
        Statistic::Bleu(bleu::Counts {
            matches: [counts.0, counts.0 / 2, counts.0 / 3, 0],
            totals: [counts.1, counts.1, counts.1, counts.2],
            explanation_tokens: counts.1,
            reference_tokens: counts.2,
            options: bleu::BleuOptions::default(),
        })
    }

    fn chrf(counts: (u64, u64, u64)) -> Statistic {
        let of = |count: u64| std::array::from_fn(|order| count.saturating_sub(order as u64));
        Statistic::Chrf(chrf::Counts {
            matches: of(counts.0),
            explanation: of(counts.1),
            reference: of(counts.2.max(counts.0)),
            beta: 3,
        })
    }

    proptest! {
        /// `Aggregate::over` is the plain definition.
        #[test]
        fn sums_say_what_the_examples_say(
            rows in prop::collection::vec((0u64..9, 9u64..20, 1u64..20, 0usize..3, 0usize..4), 2..12),
        ) {
            let names = label::Names::new(["a", "b", "c"]);
            let label = |gold: usize, predicted: usize| {
                let name = |at: usize| ["a", "b", "c"].get(at).copied();
                Statistic::Label(names.pair(name(gold).unwrap(), name(predicted)).unwrap())
            };
            let of = |kind: fn(f64) -> Statistic| -> Vec<Statistic> {
                rows.iter().map(|row| kind(row.0 as f64)).collect()
            };
            let counts: Vec<Statistic> = rows.iter().map(|r| bleu((r.0, r.1, r.2))).collect();
            let chrf_counts = rows.iter().map(|r| chrf((r.0, r.1, r.2))).collect();
            let labels: Vec<Statistic> = rows.iter().map(|row| label(row.3, row.4)).collect();
            let columns = [
                (Aggregate::Mean, of(Statistic::Value)),
                (Aggregate::Mean, labels.clone()),
                (Aggregate::MacroF1, labels),
                (Aggregate::CorpusBleu, counts.clone()),
                (Aggregate::CorpusBleuHf, counts),
                (Aggregate::CorpusChrf, chrf_counts),
            ];
            let bootstrap = Bootstrap { resamples: 5, seed: 3 };
            let all: Vec<Vec<&Statistic>> = columns.iter().map(|c| c.1.iter().collect()).collect();
            let tables: Vec<Table> = columns.iter().zip(&all).map(|(c, s)| Table::new(c.0, s)).collect();
            let resampled = bootstrap.resample(&tables);

            for (((aggregate, _), all), (table, resampled)) in
                columns.iter().zip(&all).zip(tables.iter().zip(&resampled))
            {
                prop_assert_eq!(table.value(), aggregate.over(all.iter().copied()));
                let left_out = |at: usize| {
                    let rest = all.iter().enumerate().filter(|(i, _)| *i != at);
                    aggregate.over(rest.map(|(_, s)| *s))
                };
                for (at, found) in table.without_each().into_iter().enumerate() {
                    let close = found.zip(left_out(at)).map(|(a, b)| (a - b).abs() < 1e-9);
                    prop_assert!(close.unwrap_or(found.is_none() && left_out(at).is_none()));
                }
                let mut random = Random::new(3, "bootstrap");
                for value in resampled {
                    let drawn: Vec<usize> = all.iter().map(|_| random.below(all.len())).collect();
                    prop_assert_eq!(*value, aggregate.over(drawn.iter().map(|at| all[*at])));
                }
            }
        }
    }
}

//! Systems against each other: every metric's value with its interval, and every paired
//! difference with its tests.
//!
//! The tests are those of [`super::statistics`]; they need a value for each example, so that a
//! metric of the corpus has intervals alone.

mod record;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use self::record::{
    AdjustedRecord, EffectRecord, PermutationRecord, TRecord, Tests, WilcoxonRecord,
};
use super::bootstrap::{Bootstrap, Interval};
use super::column::{Column, Statistic};
use super::resample::Table;
use super::signature::Signature;
use super::statistics::bca::bca;
use super::statistics::correction::Correction;
use super::statistics::effect::effects;
use super::statistics::permutation::SignFlips;
use super::statistics::wilcoxon::{WilcoxonOptions, signed_rank};
use super::statistics::{Alternative, describe, t_test};
use super::summary::{Difference, Measured, Metric};

/// Random choices of signs in a permutation test that cannot try them all; the observed one makes
/// them ten thousand.
const FLIPS: usize = 9_999;

/// Why a statistic of equal differences is null.
const ALL_THE_SAME: &str = "every difference is the same";
/// Why a statistic of differences that are all 0 is null.
const ALL_ZERO: &str = "every difference is 0";
/// Why an effect size is null.
const NO_SPREAD: &str = "what stands below the line does not vary";

/// What is to be told of systems.
pub(super) struct Compared {
    /// Each system's metrics, in the order of its columns.
    pub(super) metrics: Vec<Vec<Metric>>,
    /// One system minus each other, metric by metric.
    pub(super) differences: Vec<Difference>,
}

/// Computes all values, intervals and tests; `systems` are names and columns, of which `first` is
/// compared with each other, and `sign` gets the number of scored and unscored examples.
pub(super) fn compare(
    systems: &[(&str, Vec<Measured>)],
    first: usize,
    bootstrap: &Bootstrap,
    sign: impl Fn(&Column, usize, usize) -> Signature,
) -> Compared {
    let mut tables = Tables::default();
    let own: Vec<Vec<usize>> = systems
        .iter()
        .map(|(_, columns)| columns.iter().map(|column| tables.own(column)).collect())
        .collect();
    let mut pairs = Vec::new();
    let others = systems.iter().enumerate().filter(|(at, _)| *at != first);
    for (other, (name, columns)) in others {
        for (at, ours) in systems[first].1.iter().enumerate() {
            let same = |theirs: &Measured| theirs.column.name == ours.column.name;
            if let Some(place) = columns.iter().position(same) {
                let owned = (own[first][at], own[other][place]);
                pairs.push(Pair {
                    metric: ours.column.name,
                    minus: name,
                    sides: tables.both(ours, &columns[place], owned),
                });
            }
        }
    }
    let resampled = bootstrap.resample(&tables.0);

    let metrics = systems.iter().zip(&own).map(|((_, columns), own)| {
        let each = columns.iter().zip(own);
        each.map(|(measured, at)| measured.metric(&tables.0[*at], &resampled[*at], &sign))
            .collect()
    });
    Compared {
        metrics: metrics.collect(),
        differences: systems.get(first).map_or_else(Vec::new, |(system, _)| {
            differences(system, &pairs, &tables.0, &resampled, bootstrap)
        }),
    }
}

/// One metric of two systems: the tables of both over the examples that both are scored on.
struct Pair<'a> {
    metric: &'static str,
    minus: &'a str,
    sides: (usize, usize),
}

#[derive(Default)]
struct Tables(Vec<Table>);

impl Tables {
    fn own(&mut self, measured: &Measured) -> usize {
        let scored = measured.items.iter().filter_map(|item| item.as_ref().ok());
        self.push(measured, &scored.collect::<Vec<_>>())
    }

    /// The tables that are there already if both sides are scored on the same examples.
    fn both(&mut self, a: &Measured, b: &Measured, own: (usize, usize)) -> (usize, usize) {
        let each = || a.items.iter().zip(&b.items);
        if each().all(|(a, b)| a.is_ok() == b.is_ok()) {
            return own;
        }
        let both = each().filter_map(|(a, b)| Some((a.as_ref().ok()?, b.as_ref().ok()?)));
        let (of_a, of_b): (Vec<&Statistic>, Vec<&Statistic>) = both.unzip();
        (self.push(a, &of_a), self.push(b, &of_b))
    }

    fn push(&mut self, measured: &Measured, statistics: &[&Statistic]) -> usize {
        self.0
            .push(Table::new(measured.column.aggregate, statistics));
        self.0.len() - 1
    }
}

fn differences(
    system: &str,
    pairs: &[Pair<'_>],
    tables: &[Table],
    resampled: &[Vec<Option<f64>>],
    bootstrap: &Bootstrap,
) -> Vec<Difference> {
    let values: Vec<Option<Values<'_>>> = pairs
        .iter()
        .map(|pair| {
            let (a, b) = (&tables[pair.sides.0], &tables[pair.sides.1]);
            Values::new(a.values()?, b.values()?)
        })
        .collect();
    let tested: Vec<&[f64]> = values
        .iter()
        .flatten()
        .map(|v| v.differences.as_slice())
        .collect();
    let flips = SignFlips {
        flips: FLIPS,
        seed: bootstrap.seed,
    };
    let permutations = flips.test_all(&tested);
    let mut permutations = permutations.into_iter();

    let mut found: Vec<Difference> = Vec::new();
    for (pair, values) in pairs.iter().zip(&values) {
        let (a, b) = pair.sides;
        let minus = |(a, b): (&Option<f64>, &Option<f64>)| Some((*a)? - (*b)?);
        let value = minus((&tables[a].value(), &tables[b].value()));
        let moved: Vec<f64> = resampled[a]
            .iter()
            .zip(&resampled[b])
            .filter_map(minus)
            .collect();
        let left_out = tables[a]
            .without_each()
            .into_iter()
            .zip(tables[b].without_each());
        let jackknife: Option<Vec<f64>> = left_out.map(|(a, b)| minus((&a, &b))).collect();
        let corrected = value.zip(jackknife).filter(|_| !moved.is_empty());
        let interval = Interval::of(moved.clone());
        let tests = values.as_ref().and_then(|values| {
            let permutation = permutations.next().flatten()?;
            let record = PermutationRecord {
                p: permutation.p,
                choices: permutation.choices,
                exact: permutation.is_exact,
            };
            values.tests(record)
        });
        found.push(Difference {
            metric: pair.metric.to_owned(),
            system: system.to_owned(),
            minus: pair.minus.to_owned(),
            value,
            interval,
            excludes_zero: interval.map(|interval| interval.excludes_zero()),
            n: tables[a].n(),
            bca: corrected
                .and_then(|(value, jackknife)| bca(moved, value, &jackknife))
                .map(|bca| bca.interval),
            tests,
        });
    }
    for family in found.chunk_by_mut(|a, b| a.minus == b.minus) {
        adjust(family, bootstrap.seed);
    }
    found
}

/// Corrects the p-values of one family, which are all metrics between two systems.
fn adjust(family: &mut [Difference], seed: u64) {
    let mut tests: Vec<&mut Tests> = family.iter_mut().filter_map(|d| d.tests.as_mut()).collect();
    let p: Vec<f64> = tests.iter().map(|tests| tests.permutation.p).collect();
    let holm = Correction::Holm.adjust(&p);
    let bh = Correction::BenjaminiHochberg.adjust(&p);
    let size = tests.len();
    for ((tests, holm), bh) in tests.iter_mut().zip(holm).zip(bh) {
        tests.adjusted = AdjustedRecord {
            family: size,
            holm,
            bh,
        };
        let choices = if tests.permutation.exact {
            "all".to_owned()
        } else {
            tests.permutation.choices.to_string()
        };
        tests.signature = Signature::new("paired")
            .with("sides", "two")
            .with("t", "student")
            .with("wilcoxon", format!("zeros-out,{}", tests.wilcoxon.method))
            .with("permutations", choices)
            .with("seed", seed)
            .with("adjusted", "permutation,holm+bh")
            .with("family", format!("{size}-metrics"))
            .with("like", "scipy-1.17");
    }
}

/// The values of two systems, example by example.
struct Values<'a> {
    a: &'a [f64],
    b: &'a [f64],
    differences: Vec<f64>,
}

impl<'a> Values<'a> {
    /// Nothing below two examples.
    fn new(a: &'a [f64], b: &'a [f64]) -> Option<Self> {
        let differences = describe::differences(a, b);
        (differences.len() > 1).then_some(Self { a, b, differences })
    }

    fn tests(&self, permutation: PermutationRecord) -> Option<Tests> {
        let t = t_test::paired(&self.differences, Alternative::TwoSided, 0.95)?;
        let wilcoxon = signed_rank(&self.differences, WilcoxonOptions::default())?;
        let effect = effects(self.a, self.b);
        let mut undefined = BTreeMap::new();
        let mut why = |name: &str, is_null: bool, reason: &str| {
            if is_null {
                undefined.insert(name.to_owned(), reason.to_owned());
            }
        };
        let finite = t.t.filter(|t| t.is_finite());
        let is_zero = t.t.is_none();
        why(
            "t",
            finite.is_none(),
            if is_zero { ALL_ZERO } else { ALL_THE_SAME },
        );
        why("wilcoxon", wilcoxon.p.is_none(), ALL_ZERO);
        why("d_z", effect.d_z.is_none(), ALL_THE_SAME);
        why("d_av", effect.d_av.is_none(), NO_SPREAD);
        Some(Tests {
            t: TRecord {
                t: finite,
                df: t.df,
                p: t.p,
                interval: t.low.zip(t.high).map(|(low, high)| Interval { low, high }),
            },
            wilcoxon: WilcoxonRecord {
                w: wilcoxon.w,
                p: wilcoxon.p,
                method: wilcoxon.used.name().to_owned(),
            },
            permutation,
            effect: EffectRecord {
                d_z: effect.d_z,
                d_av: effect.d_av,
                g_av: effect.g_av,
            },
            adjusted: AdjustedRecord {
                family: 1,
                holm: permutation.p,
                bh: permutation.p,
            },
            undefined,
            signature: Signature::new("paired"),
        })
    }
}

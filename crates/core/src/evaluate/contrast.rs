//! The CEC paper's own test (arXiv 2505.19511, section 4.3): two metrics of the same texts, on a
//! sample of 100 of them, with a paired t test and Wilcoxon's.
//!
//! It is offered because it was published, and it comes with a sentence that says what it can show:
//! that two numbers on two scales have two means.

use serde::{Deserialize, Serialize};

use super::pair::PairRecord;
use super::statistics::wilcoxon::{WilcoxonOptions, signed_rank};
use super::statistics::{Alternative, describe, effect, t_test};
use crate::random::Random;

/// How many pairs the paper drew.
pub const PAPER_SAMPLE: usize = 100;

/// Two metrics of the same texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contrast {
    /// The first metric.
    pub metric: String,
    /// The second metric.
    pub minus: String,
    /// How many pairs were drawn.
    pub n: usize,
    /// How many there were to draw from: those that both metrics score.
    pub of: usize,
    /// The seed of the draw.
    pub seed: u64,
    /// The first metric's mean.
    pub mean: f64,
    /// Its standard deviation.
    pub sd: f64,
    /// The second metric's mean.
    pub minus_mean: f64,
    /// Its standard deviation.
    pub minus_sd: f64,
    /// Pearson's correlation of both; null if one is constant.
    pub r: Option<f64>,
    /// Paired t with n - 1 degrees of freedom; null where all differences are the same.
    pub t: Option<f64>,
    /// Its two-sided p-value; null where all differences are 0.
    pub p: Option<f64>,
    /// Mean difference over the SD of the differences.
    pub d_z: Option<f64>,
    /// Wilcoxon's W, the smaller sum of ranks.
    pub w: f64,
    /// Its two-sided p-value; null where all differences are 0.
    pub wilcoxon_p: Option<f64>,
    /// What this shows, and what it does not.
    pub says: String,
}

/// A metric's name and its values, example by example; `None` where it has none.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// Its name for people.
    pub name: &'a str,
    /// Its values.
    pub values: &'a [Option<f64>],
}

/// The values of one metric in records of one system.
pub fn values(pairs: &[PairRecord], system: &str, metric: &str) -> Vec<Option<f64>> {
    let of_system = pairs.iter().filter(|pair| pair.system == system);
    of_system.map(|pair| pair.number(metric)).collect()
}

/// The paper's test: CEC against `BERTScore` on [`PAPER_SAMPLE`] texts of one system; `None` where
/// fewer than two have both.
pub fn of_paper(pairs: &[PairRecord], system: &str, seed: u64) -> Option<Contrast> {
    let (cec, bertscore) = (
        values(pairs, system, "cec"),
        values(pairs, system, "bertscore"),
    );
    let side = |name, values| Side { name, values };
    contrast(
        side("CEC", &cec),
        side("BERTScore", &bertscore),
        PAPER_SAMPLE,
        seed,
    )
}

/// Tests two metrics against each other on at most `sample` examples that both score, drawn
/// without replacement; `None` below two.
pub fn contrast(a: Side<'_>, b: Side<'_>, sample: usize, seed: u64) -> Option<Contrast> {
    let both = a.values.iter().zip(b.values);
    let mut both: Vec<(f64, f64)> = both
        .filter_map(|(a, b)| Some(((*a)?, (*b)?)))
        .filter(|(a, b)| a.is_finite() && b.is_finite())
        .collect();
    let of = both.len();
    if of > sample {
        Random::new(seed, "contrast").shuffle(&mut both);
        both.truncate(sample);
    }
    let (of_a, of_b): (Vec<f64>, Vec<f64>) = both.into_iter().unzip();
    let d = describe::differences(&of_a, &of_b);
    let t = t_test::paired(&d, Alternative::TwoSided, 0.95)?;
    let wilcoxon = signed_rank(&d, WilcoxonOptions::default())?;
    let effects = effect::effects(&of_a, &of_b);
    let mut found = Contrast {
        metric: a.name.to_owned(),
        minus: b.name.to_owned(),
        n: d.len(),
        of,
        seed,
        mean: describe::mean(&of_a)?,
        sd: describe::sd(&of_a)?,
        minus_mean: describe::mean(&of_b)?,
        minus_sd: describe::sd(&of_b)?,
        r: effects.r,
        t: t.t.filter(|t| t.is_finite()),
        p: t.p,
        d_z: effects.d_z,
        w: wilcoxon.w,
        wilcoxon_p: wilcoxon.p,
        says: String::new(),
    };
    found.says = found.in_words();
    Some(found)
}

impl Contrast {
    fn in_words(&self) -> String {
        let Self { metric, minus, .. } = self;
        let or_undefined = |value: Option<f64>, digits: usize| {
            value.map_or("undefined".to_owned(), |value| format!("{value:.digits$}"))
        };
        let p = |value: Option<f64>| match value {
            None => "undefined".to_owned(),
            Some(p) if p < 0.001 => format!("{p:.1e}"),
            Some(p) => format!("{p:.3}"),
        };
        let drawn = if self.n < self.of {
            format!(
                "{} of {} pairs, drawn with seed {}",
                self.n, self.of, self.seed
            )
        } else {
            format!("all {} pairs", self.n)
        };
        format!(
            "Over {drawn}, {metric} has a mean of {:.3} (SD {:.3}) and {minus} one of {:.3} (SD {:.3}): \
             t({}) = {}, p = {}, d_z = {}, Wilcoxon's W = {} (p = {}). \
             This shows whether two metrics give these texts numbers of different size, as any two \
             metrics on different scales do: adding a constant to one of them changes t at will. \
             It does not show that either is valid, agrees better with people, tells good \
             explanations from bad ones or ranks systems rightly; that takes human ratings of the \
             same texts.",
            self.mean,
            self.sd,
            self.minus_mean,
            self.minus_sd,
            self.n - 1,
            or_undefined(self.t, 2),
            p(self.p),
            or_undefined(self.d_z, 2),
            self.w,
            p(self.wilcoxon_p),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::evaluate::pair::{PairValue, Triple};

    fn side<'a>(name: &'a str, values: &'a [Option<f64>]) -> Side<'a> {
        Side { name, values }
    }

    #[test]
    fn a_seed_draws_one_sample_of_what_both_score() {
        let mut random = Random::new(1, "test");
        let mut column = |mean: f64, sd: f64| -> Vec<Option<f64>> {
            (0..250)
                .map(|_| Some(mean + sd * random.normal()))
                .collect()
        };
        let (mut cec, bert) = (column(0.9, 0.02), column(0.7, 0.05));
        cec[3] = None;
        let of = |seed| {
            contrast(
                side("CEC", &cec),
                side("BERTScore", &bert),
                PAPER_SAMPLE,
                seed,
            )
            .unwrap()
        };
        let found = of(7);
        assert_eq!((found.n, found.of), (100, 249));
        assert_eq!(found, of(7));
        assert_ne!(found.says, of(8).says);
        assert!((found.t.unwrap() - found.d_z.unwrap() * 10.0).abs() < 1e-9);
        assert!(
            found
                .says
                .starts_with("Over 100 of 249 pairs, drawn with seed 7, CEC has a mean of 0.")
        );
        assert!(found.says.contains("does not show that either is valid"));

        // A constant added to one side makes any t; the sample and its spread stay.
        let moved: Vec<Option<f64>> = cec.iter().map(|v| v.map(|v| v + 10.0)).collect();
        let moved = contrast(
            side("CEC", &moved),
            side("BERTScore", &bert),
            PAPER_SAMPLE,
            7,
        )
        .unwrap();
        assert!(moved.t.unwrap() > 10.0 * found.t.unwrap() && (moved.sd - found.sd).abs() < 1e-9);
    }

    #[test]
    fn the_paper_s_test_takes_both_metrics_of_one_system() {
        let pair = |id: u32, system: &str, cec: Option<f64>| PairRecord {
            links: None,
            retention: None,
            id: id.to_string(),
            system: system.to_owned(),
            metrics: BTreeMap::from([
                ("cec".to_owned(), cec.map(PairValue::Number)),
                (
                    "bertscore".to_owned(),
                    Some(PairValue::Triple(Triple::new(0.5, 0.5))),
                ),
            ]),
            unscored: BTreeMap::new(),
            alignment: None,
        };
        let pairs = [
            pair(1, "a", Some(0.9)),
            pair(1, "b", Some(0.1)),
            pair(2, "a", Some(0.7)),
            pair(3, "a", None),
        ];
        let found = of_paper(&pairs, "a", 7).unwrap();
        assert_eq!((found.n, found.of), (2, 2));
        assert!((found.mean - 0.8).abs() < 1e-12 && (found.minus_mean - 0.5).abs() < 1e-12);
        assert_eq!(of_paper(&pairs, "b", 7), None);
    }

    #[test]
    fn few_or_equal_values_are_no_panic() {
        assert_eq!(
            contrast(side("a", &[Some(1.0)]), side("b", &[Some(2.0)]), 100, 7),
            None
        );
        assert_eq!(contrast(side("a", &[]), side("b", &[]), 100, 7), None);
        let same = [Some(1.0), Some(2.0), Some(3.0)];
        let found = contrast(side("a", &same), side("b", &same), 100, 7).unwrap();
        assert_eq!((found.t, found.p, found.d_z), (None, None, None));
        assert!(
            found.says.contains("t(2) = undefined, p = undefined"),
            "{}",
            found.says
        );
    }
}

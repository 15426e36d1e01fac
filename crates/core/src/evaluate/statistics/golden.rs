//! The statistics against `SciPy` and statsmodels, over `fixtures/statistics` (made by the script
//! that stands there, with pinned versions).
//!
//! Both sides add the same floats in other orders: 1e-9 relative is far above that, and 1e-6 for
//! p-values below 1e-12, whose logarithm is what is computed.

use std::path::PathBuf;

use serde_json::Value;

use super::bca::bca;
use super::correction::Correction;
use super::correlation::{Correlation, fisher_interval, pearson, spearman};
use super::kendall::{Tau, kendall};
use super::permutation::SignFlips;
use super::wilcoxon::{Method, WilcoxonOptions, Zeros, signed_rank};
use super::{Alternative, describe, effect, t_test};
use crate::evaluate::bootstrap::Interval;

fn golden() -> Value {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/statistics/golden.json");
    crate::fs::read_json(&path).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    let list = value.as_array().unwrap();
    list.iter().map(|v| v.as_f64().unwrap()).collect()
}

/// The scale below which a number counts as 0, beside its relative tolerance.
const ZERO: f64 = 1e-13;

#[derive(Default)]
struct Found {
    checked: usize,
    wrong: Vec<String>,
}

impl Found {
    /// Null stands for what is undefined, "inf" and "-inf" for an open or infinite side.
    fn check(&mut self, place: &str, expected: &Value, found: Option<f64>) {
        self.checked += 1;
        let is_right = match (expected, found) {
            (Value::Null, None) => true,
            (Value::String(side), None) => side.ends_with("inf"),
            (Value::String(side), Some(found)) => side.parse() == Ok(found),
            (Value::Number(expected), Some(found)) => {
                let expected = expected.as_f64().unwrap();
                let is_p = place.rsplit('.').next() == Some("p");
                let tolerance = if is_p && expected < 1e-12 { 1e-6 } else { 1e-9 };
                // SciPy takes an exact upper tail as 1 minus the lower one, and loses its digits.
                let zero = match place {
                    _ if place.contains("/exact") => 4e-16,
                    _ if is_p => 0.0,
                    _ => ZERO,
                };
                (found - expected).abs() <= (tolerance * expected.abs()).max(zero)
            }
            _ => false,
        };
        if !is_right {
            self.wrong
                .push(format!("{place}: expected {expected}, found {found:?}"));
        }
    }

    fn interval(&mut self, place: &str, expected: &Value, low: Option<f64>, high: Option<f64>) {
        if expected.is_null() {
            return self.check(place, expected, low);
        }
        // SciPy has NaN for the open side where every difference is 0.
        let is_open = |side: &Value, found: Option<f64>| side.is_null() && found.is_none();
        if !is_open(&expected[0], low) {
            self.check(&format!("{place}.low"), &expected[0], low);
        }
        if !is_open(&expected[1], high) {
            self.check(&format!("{place}.high"), &expected[1], high);
        }
    }

    fn set(&mut self, set: &Value) {
        let name = set["name"].as_str().unwrap();
        let (x, y) = (numbers(&set["x"]), numbers(&set["y"]));
        let d = describe::differences(&x, &y);
        for (key, expected) in set.as_object().unwrap() {
            let place = format!("{name}.{key}");
            match key.as_str() {
                "ttest_rel" => self.t_test(&place, expected, &d),
                "wilcoxon" => self.wilcoxon(&place, expected, &d),
                "effect" => self.effect(&place, expected, &x, &y),
                "pearson" => self.correlation(&place, expected, "r", pearson(&x, &y)),
                "spearman" => self.correlation(&place, expected, "r", spearman(&x, &y)),
                "kendall_b" => self.correlation(&place, expected, "tau", kendall(&x, &y, Tau::B)),
                "kendall_c" => self.correlation(&place, expected, "tau", kendall(&x, &y, Tau::C)),
                "pearson_ci95" => {
                    let found = pearson(&x, &y).and_then(|r| fisher_interval(r.r, x.len(), 0.95));
                    self.interval(&place, expected, found.map(|f| f.0), found.map(|f| f.1));
                }
                "diff" => self.diff(&place, expected, &d),
                "bootstrap_fixed" => self.bootstrap(&place, expected, &d),
                "permutation" => {
                    let flips = SignFlips { flips: 0, seed: 0 };
                    self.check(&format!("{place}.p"), expected, flips.test(&d).map(|t| t.p));
                }
                "name" | "n" | "x" | "y" => {}
                other => self.wrong.push(format!("{name}: unknown key {other}")),
            }
        }
    }

    fn t_test(&mut self, place: &str, expected: &Value, d: &[f64]) {
        for (side, expected) in expected.as_object().unwrap() {
            let test = t_test::paired(d, alternative(side), 0.95);
            let place = format!("{place}.{side}");
            self.check(
                &format!("{place}.t"),
                &expected["t"],
                test.and_then(|t| t.t),
            );
            self.check(
                &format!("{place}.p"),
                &expected["p"],
                test.and_then(|t| t.p),
            );
            self.check(
                &format!("{place}.df"),
                &expected["df"],
                test.map(|t| t.df as f64),
            );
            let (low, high) = (test.and_then(|t| t.low), test.and_then(|t| t.high));
            self.interval(&format!("{place}.ci95"), &expected["ci95"], low, high);
        }
    }

    fn wilcoxon(&mut self, place: &str, expected: &Value, d: &[f64]) {
        for (mode, expected) in expected.as_object().unwrap() {
            let mut options = WilcoxonOptions::default();
            for word in mode.split('/') {
                match word {
                    "wilcox" => options.zeros = Zeros::Wilcox,
                    "pratt" => options.zeros = Zeros::Pratt,
                    "zsplit" => options.zeros = Zeros::Split,
                    "auto" => options.method = Method::Auto,
                    "exact" => options.method = Method::Exact,
                    "asymptotic" => options.method = Method::Asymptotic,
                    "cc" => options.is_corrected = true,
                    side => options.alternative = alternative(side),
                }
            }
            let test = signed_rank(d, options);
            let place = format!("{place}.{mode}");
            self.check(&format!("{place}.W"), &expected["W"], test.map(|t| t.w));
            self.check(
                &format!("{place}.p"),
                &expected["p"],
                test.and_then(|t| t.p),
            );
            if expected.get("z").is_some() {
                self.check(
                    &format!("{place}.z"),
                    &expected["z"],
                    test.and_then(|t| t.z),
                );
            }
        }
    }

    fn effect(&mut self, place: &str, expected: &Value, x: &[f64], y: &[f64]) {
        let effects = effect::effects(x, y);
        for (key, expected) in expected.as_object().unwrap() {
            let found = match key.as_str() {
                "d_z" => effects.d_z,
                "d_av" => effects.d_av,
                "d_pooled" => effects.d_pooled,
                "d_rm" => effects.d_rm,
                "g_av" => effects.g_av,
                "glass_delta_y" => effects.glass,
                "r" => effects.r,
                other => panic!("unknown effect {other}"),
            };
            // Where r is 1, d_rm is 0 up to the root of the rounding.
            if key == "d_rm" && effects.r.is_some_and(|r| r > 1.0 - 1e-12) {
                assert!(found.unwrap_or(0.0).abs() < 1e-5);
                continue;
            }
            self.check(&format!("{place}.{key}"), expected, found);
        }
    }

    fn correlation(
        &mut self,
        place: &str,
        expected: &Value,
        key: &str,
        found: Option<Correlation>,
    ) {
        let r = &expected[key];
        self.check(&format!("{place}.{key}"), r, found.map(|f| f.r));
        // p of a perfect correlation is nothing but the rounding of r.
        let is_perfect = r.as_f64().is_some_and(|r| r.abs() > 1.0 - 1e-12) && key == "r";
        let p = found.and_then(|f| f.p);
        if is_perfect {
            assert!(p.is_none_or(|p| p < 1e-5), "{place} {p:?}");
        } else {
            self.check(&format!("{place}.p"), &expected["p"], p);
        }
    }

    fn diff(&mut self, place: &str, expected: &Value, d: &[f64]) {
        let sd = describe::sd(d);
        let sem = sd.map(|sd| sd / (d.len() as f64).sqrt());
        self.check(
            &format!("{place}.mean"),
            &expected["mean"],
            describe::mean(d),
        );
        self.check(&format!("{place}.sd"), &expected["sd"], sd);
        self.check(
            &format!("{place}.median"),
            &expected["median"],
            describe::median(d),
        );
        self.check(&format!("{place}.sem"), &expected["sem"], sem);
    }

    fn bootstrap(&mut self, place: &str, expected: &Value, d: &[f64]) {
        let draws = expected["indices"].as_array().unwrap().iter().map(numbers);
        #[expect(clippy::cast_sign_loss, reason = "places in a list")]
        let means = draws.map(|drawn| {
            let values: Vec<f64> = drawn.iter().map(|at| d[*at as usize]).collect();
            describe::mean(&values).unwrap()
        });
        let means: Vec<f64> = means.collect();
        let percentile = Interval::of(means.clone()).unwrap();
        let ends = |interval: Interval| (Some(interval.low), Some(interval.high));
        let (low, high) = ends(percentile);
        self.interval(
            &format!("{place}.percentile"),
            &expected["percentile"],
            low,
            high,
        );

        let sum: f64 = d.iter().sum();
        let jackknife: Vec<f64> = d.iter().map(|v| (sum - v) / (d.len() - 1) as f64).collect();
        let found = bca(means, describe::mean(d).unwrap(), &jackknife).unwrap();
        self.check(&format!("{place}.z0"), &expected["z0"], Some(found.z0));
        self.check(
            &format!("{place}.accel"),
            &expected["accel"],
            Some(found.acceleration),
        );
        let (low, high) = (Some(found.levels.0), Some(found.levels.1));
        self.interval(&format!("{place}.alpha"), &expected["alpha"], low, high);
        let (low, high) = ends(found.interval);
        self.interval(&format!("{place}.bca"), &expected["bca"], low, high);
    }

    fn corrections(&mut self, number: usize, family: &Value) {
        let p = numbers(&family["p"]);
        for (method, expected) in family.as_object().unwrap() {
            let correction = match method.as_str() {
                "bonferroni" => Correction::Bonferroni,
                "sidak" => Correction::Sidak,
                "holm" => Correction::Holm,
                "holm-sidak" => Correction::HolmSidak,
                "simes-hochberg" => Correction::Hochberg,
                "hommel" => Correction::Hommel,
                "fdr_bh" => Correction::BenjaminiHochberg,
                "fdr_by" => Correction::BenjaminiYekutieli,
                "p" => continue,
                other => panic!("unknown correction {other}"),
            };
            let adjusted = correction.adjust(&p);
            let all = expected["adjusted"].as_array().unwrap();
            let reject = expected["reject"].as_array().unwrap();
            for (at, (expected, reject)) in all.iter().zip(reject).enumerate() {
                let found = adjusted[at];
                self.check(
                    &format!("correction {number} {method}.p"),
                    expected,
                    Some(found),
                );
                let is_at_the_edge = (found - 0.05).abs() < 1e-12;
                assert!(is_at_the_edge || Some(found <= 0.05) == reject.as_bool());
            }
        }
    }
}

fn alternative(name: &str) -> Alternative {
    match name {
        "two-sided" => Alternative::TwoSided,
        "greater" => Alternative::Greater,
        "less" => Alternative::Less,
        other => panic!("unknown side {other}"),
    }
}

#[test]
fn every_number_is_that_of_the_reference() {
    let golden = golden();
    let mut found = Found::default();
    for set in golden["sets"].as_array().unwrap() {
        found.set(set);
    }
    for (number, family) in golden["corrections"].as_array().unwrap().iter().enumerate() {
        found.corrections(number, family);
    }
    assert!(found.wrong.is_empty(), "{}", found.wrong.join("\n"));
    assert!(found.checked > 500, "{}", found.checked);
}

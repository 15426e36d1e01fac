//! Differences against the functions that each number comes from.

use super::*;
use crate::evaluate::column::{Aggregate, Unscored};
use crate::random::Random;

const BOOTSTRAP: Bootstrap = Bootstrap {
    resamples: 500,
    seed: 7,
};

fn column(name: &'static str, items: Vec<Option<f64>>) -> Measured {
    let item = |value: Option<f64>| value.ok_or_else(|| Unscored::new("no prediction"));
    Measured {
        column: Column {
            name,
            title: name,
            shown: None,
            aggregate: Aggregate::Mean,
        },
        items: items
            .into_iter()
            .map(|value| item(value).map(Statistic::Value))
            .collect(),
    }
}

fn compared(systems: &[(&str, Vec<Measured>)]) -> Vec<Difference> {
    compare(systems, 0, &BOOTSTRAP, |column, _, _| {
        Signature::new(column.name)
    })
    .differences
}

fn normal(n: usize, shift: f64, seed: u64) -> Vec<Option<f64>> {
    let mut random = Random::new(seed, "test");
    (0..n).map(|_| Some(random.normal() + shift)).collect()
}

#[test]
fn the_tests_are_those_of_the_examples_that_both_are_scored_on() {
    let mut a = normal(30, 0.5, 1);
    let mut b = normal(30, 0.0, 2);
    let other = || {
        (
            column("x", normal(30, 0.0, 3)),
            column("x", normal(30, 0.0, 4)),
        )
    };
    let pick = |side: &[Option<f64>]| -> Vec<f64> {
        let each = side
            .iter()
            .enumerate()
            .filter(|(at, _)| ![3, 9].contains(at));
        each.map(|(_, v)| v.unwrap()).collect()
    };
    let d = describe::differences(&pick(&a), &pick(&b));
    (a[3], b[9]) = (None, None);
    let (x, y) = other();
    let found = compared(&[
        ("a", vec![column("m", a), x]),
        ("b", vec![column("m", b), y]),
    ]);

    let first = &found[0];
    let tests = first.tests.as_ref().unwrap();
    let t = t_test::paired(&d, Alternative::TwoSided, 0.95).unwrap();
    assert_eq!((first.n, tests.t.df, tests.adjusted.family), (28, 27, 2));
    assert!((first.value.unwrap() - describe::mean(&d).unwrap()).abs() < 1e-12);
    assert!((tests.t.t.unwrap() - t.t.unwrap()).abs() < 1e-12);
    let w = signed_rank(&d, WilcoxonOptions::default()).unwrap();
    assert_eq!(
        (tests.wilcoxon.p, tests.wilcoxon.method.as_str()),
        (w.p, "exact")
    );
    let (interval, bca) = (first.interval.unwrap(), first.bca.unwrap());
    assert!((interval.low - bca.low).abs() < 0.2 && (interval.high - bca.high).abs() < 0.2);
    assert!(tests.permutation.p <= tests.adjusted.bh && tests.adjusted.bh <= tests.adjusted.holm);
}

#[test]
fn each_pair_of_systems_is_a_family_and_corpus_metrics_have_no_test() {
    let system = |seed| {
        let corpus = Measured {
            column: Column {
                aggregate: Aggregate::CorpusBleu,
                ..column("corpus", Vec::new()).column
            },
            items: (0..20)
                .map(|_| Ok(Statistic::Bleu(crate::evaluate::bleu::Counts::default())))
                .collect(),
        };
        vec![
            column("m", normal(20, 0.0, seed)),
            corpus,
            column("k", normal(20, 1.0, seed + 9)),
        ]
    };
    let found = compared(&[("a", system(1)), ("b", system(2)), ("c", system(3))]);
    assert_eq!(found.len(), 6);
    for difference in &found {
        assert_eq!(difference.tests.is_none(), difference.metric == "corpus");
        if let Some(tests) = &difference.tests {
            assert_eq!(tests.adjusted.family, 2);
            assert_eq!(tests.signature.get("family"), Some("2-metrics"));
        }
    }
}

#[test]
fn what_is_undefined_is_null_with_the_reason() {
    let check = |a: f64, expected: &[(&str, &str)]| {
        let items = |shift: f64| (0..15).map(|at| Some(f64::from(at) + shift)).collect();
        let found = compared(&[
            ("a", vec![column("m", items(a))]),
            ("b", vec![column("m", items(0.0))]),
        ]);
        let tests = found[0].tests.clone().unwrap();
        let expected: BTreeMap<String, String> = expected
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        assert_eq!(tests.undefined, expected);
        let text = serde_json::to_string(&tests).unwrap();
        assert_eq!(serde_json::from_str::<Tests>(&text).unwrap(), tests);
        tests
    };
    let shifted = check(0.5, &[("t", ALL_THE_SAME), ("d_z", ALL_THE_SAME)]);
    assert_eq!((shifted.t.t, shifted.t.p), (None, Some(0.0)));
    let same = check(
        0.0,
        &[
            ("t", ALL_ZERO),
            ("wilcoxon", ALL_ZERO),
            ("d_z", ALL_THE_SAME),
        ],
    );
    assert_eq!((same.t.p, same.wilcoxon.p), (None, None));
    assert!(same.permutation.p > 0.999);
    let one = compared(&[
        ("a", vec![column("m", normal(1, 0.0, 1))]),
        ("b", vec![column("m", normal(1, 0.0, 2))]),
    ]);
    assert_eq!(
        (&one[0].tests, one[0].interval, one[0].bca),
        (&None, None, None)
    );
}

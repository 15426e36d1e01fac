//! Rules of the join, and the same numbers by the slow way.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::evaluate::pair::PairValue;
use crate::evaluate::statistics::correlation::{pearson, spearman};
use crate::evaluate::statistics::kendall::{Tau, kendall};

const OPTIONS: AgreementOptions = AgreementOptions {
    resamples: 200,
    seed: 7,
};

fn pair(id: &str, system: &str, value: Option<f64>) -> PairRecord {
    PairRecord {
        id: id.to_owned(),
        system: system.to_owned(),
        metrics: BTreeMap::from([("m".to_owned(), value.map(PairValue::Number))]),
        unscored: BTreeMap::new(),
        alignment: None,
        links: None,
        retention: None,
    }
}

fn rating(id: &str, system: &str, rating: f64) -> RatingRecord {
    RatingRecord {
        id: id.to_owned(),
        system: Some(system.to_owned()),
        rating: Some(rating),
    }
}

/// Each row is item, metric and rating; candidates of an item are systems 0, 1, ...
fn run(rows: &[(u32, Option<f64>, f64)]) -> Result<Agreement> {
    let mut seen: BTreeMap<u32, u32> = BTreeMap::new();
    let (mut pairs, mut records, mut words) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (item, value, rated) in rows {
        let system = seen.entry(*item).and_modify(|n| *n += 1).or_default();
        let (id, system) = (format!("{item:04}"), format!("{system}"));
        pairs.push(pair(&id, &system, *value));
        records.push(rating(&id, &system, *rated));
        let n = (0..100)
            .take_while(|n| f64::from(*n) < 10.0 * rated)
            .count();
        words.insert((id, system), n);
    }
    let scored = Scored {
        pairs: &pairs,
        words: &words,
    };
    agree(scored, &Ratings::new(records, &[])?, OPTIONS)
}

fn metric<'a>(agreement: &'a Agreement, name: &str) -> &'a MetricAgreement {
    agreement.metrics.iter().find(|m| m.metric == name).unwrap()
}

#[test]
fn several_ratings_of_a_candidate_are_averaged_and_the_rest_is_counted() {
    let pairs = [
        pair("a", "x", Some(0.9)),
        pair("b", "x", Some(0.2)),
        pair("c", "x", Some(0.5)),
        pair("a", "baseline", Some(0.1)),
    ];
    let mut records = vec![
        rating("a", "x", 1.0),
        rating("a", "x", 0.0),
        rating("b", "x", 0.25),
        rating("z", "x", 1.0),
        rating("c", "x", f64::NAN),
    ];
    records.push(RatingRecord {
        id: "c".to_owned(),
        system: None,
        rating: None,
    });
    let ratings = Ratings::new(records, &["x"]).unwrap();
    let scored = Scored {
        pairs: &pairs,
        words: &BTreeMap::new(),
    };
    let found = agree(scored, &ratings, OPTIONS).unwrap();
    assert_eq!(
        (
            found.n,
            found.n_items,
            found.without_prediction,
            found.without_rating
        ),
        (2, 2, 1, 1)
    );
    let unscored: Vec<(&str, usize)> = found
        .unscored_ratings
        .iter()
        .map(|(k, n)| (k.as_str(), *n))
        .collect();
    assert_eq!(
        unscored,
        [
            ("the rating is empty", 1),
            ("the rating is not a finite number", 1)
        ]
    );
    assert!((found.mean_ratings - 1.5).abs() < 1e-12);
    assert!((metric(&found, "m").pearson.unwrap().value - 1.0).abs() < 1e-12);
    assert!(metric(&found, RANDOM).n == 2 && found.metrics.len() == 2);
}

#[test]
fn what_cannot_be_joined_is_an_error() {
    let check = |pairs: &[PairRecord], records: Vec<RatingRecord>, expected: &str| {
        let scored = Scored {
            pairs,
            words: &BTreeMap::new(),
        };
        let ratings = Ratings::new(records, &["x", "y"]);
        let found = ratings.and_then(|ratings| agree(scored, &ratings, OPTIONS));
        assert_eq!(found.unwrap_err().to_string(), expected);
    };
    let pairs = [pair("1", "x", Some(0.5))];
    check(
        &pairs,
        vec![rating("1", "y", 1.0)],
        "human: no rating has a prediction with its id and system; the first rating is for `1` of `y`, the first prediction `1` of `x`",
    );
    check(
        &pairs,
        Vec::new(),
        "human: there is no rating that is a number",
    );
    let nameless = RatingRecord {
        system: None,
        ..rating("1", "", 1.0)
    };
    check(
        &pairs,
        vec![nameless],
        "example `1`: a rating names no `system`, and the predictions have 2",
    );
}

#[test]
fn pairs_are_taken_within_items_and_ties_count_half() {
    // Item 1: right, tied by people, tied by the metric. Item 2: wrong.
    let rows = [
        (1, 0.9, 1.0),
        (1, 0.5, 0.0),
        (1, 0.5, 1.0),
        (2, 0.1, 1.0),
        (2, 0.8, 0.0),
    ];
    let rows: Vec<_> = rows.iter().map(|(i, m, r)| (*i, Some(*m), *r)).collect();
    let found = run(&rows).unwrap();
    let found = metric(&found, "m");
    assert_eq!(
        (found.n_pairs, found.pair_accuracy.unwrap().value),
        (3, 0.5)
    );
}

#[test]
fn a_constant_side_has_no_correlation_and_says_why() {
    let found = run(&[(1, Some(0.5), 1.0), (2, Some(0.5), 0.0), (3, None, 0.5)]).unwrap();
    let m = metric(&found, "m");
    assert_eq!((m.n, m.unscored, m.pearson, m.kendall), (2, 1, None, None));
    assert_eq!(
        m.undefined["spearman"],
        "the metric has the same value everywhere"
    );
    assert_eq!(
        m.undefined["pair_accuracy"],
        "no item has two candidates that people rate differently"
    );
    let found = run(&[(1, Some(0.5), 1.0), (1, Some(0.6), 1.0)]).unwrap();
    assert_eq!(
        metric(&found, "m").undefined["pearson"],
        "every rating is the same"
    );
    assert_eq!(found.alpha, None);
}

#[test]
fn records_read_texts_numbers_and_other_columns() {
    let read = |text: &str| serde_json::from_str::<RatingRecord>(text);
    let found = read(r#"{"id": 7, "rating": 0.5, "annotator": "p3"}"#).unwrap();
    assert_eq!(
        (found.id.as_str(), found.system, found.rating),
        ("7", None, Some(0.5))
    );
    assert_eq!(
        read(r#"{"id": "a", "system": "s", "rating": null}"#)
            .unwrap()
            .rating,
        None
    );
    assert!(read(r#"{"id": ["a"], "rating": 1}"#).is_err());
}

#[test]
fn the_order_of_the_files_does_not_matter() {
    let mut pairs: Vec<PairRecord> = Vec::new();
    let mut records = Vec::new();
    for at in 0..40u32 {
        let (id, system) = ((at / 4).to_string(), (at % 4).to_string());
        pairs.push(pair(&id, &system, Some(f64::from(at * 7 % 11))));
        records.push(rating(&id, &system, f64::from(at * 3 % 5) / 3.0));
        records.push(rating(&id, &system, f64::from(at * 5 % 7) / 3.0));
    }
    let found = |pairs: &[PairRecord], records: &[RatingRecord]| {
        let scored = Scored {
            pairs,
            words: &BTreeMap::new(),
        };
        agree(
            scored,
            &Ratings::new(records.to_vec(), &[]).unwrap(),
            OPTIONS,
        )
        .unwrap()
    };
    let first = found(&pairs, &records);
    Random::new(1, "test").shuffle(&mut pairs);
    Random::new(2, "test").shuffle(&mut records);
    assert_eq!(found(&pairs, &records), first);
}

#[test]
fn alpha_is_that_of_the_reference() {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/statistics/golden.json");
    let golden: serde_json::Value = crate::fs::read_json(&path).unwrap();
    for case in golden["ratings"].as_array().unwrap() {
        let units: Vec<Vec<f64>> = serde_json::from_value(case["units"].clone()).unwrap();
        let units: Vec<&[f64]> = units.iter().map(Vec::as_slice).collect();
        let expected = case["alpha"].as_f64().unwrap();
        assert!(
            (alpha(&units).unwrap() - expected).abs() < 1e-9,
            "{expected}"
        );
    }
    assert_eq!(alpha(&[&[1.0], &[2.0]]), None);
    assert_eq!(alpha(&[&[0.1, 0.1], &[0.1, 0.1, 0.1]]), None);
    assert_eq!(alpha(&[&[0.0, 0.0], &[1.0, 1.0]]), Some(1.0));
}

#[test]
fn noise_has_wide_intervals_and_signal_beats_the_baselines() {
    let mut random = Random::new(3, "test");
    let rows: Vec<(u32, Option<f64>, f64)> = (0..300)
        .map(|at| {
            let rated = f64::from(u32::try_from(random.below(4)).unwrap()) / 3.0;
            (at / 5, Some(rated + 0.5 * random.normal()), rated)
        })
        .collect();
    let found = run(&rows).unwrap();
    let (m, chance) = (metric(&found, "m"), metric(&found, RANDOM));
    let (rho, noise) = (m.spearman.unwrap(), chance.spearman.unwrap());
    assert!(rho.interval.unwrap().low > 0.4 && rho.interval.unwrap().low < rho.value);
    assert!(!noise.interval.unwrap().excludes_zero(), "{noise:?}");
    assert!((chance.pair_accuracy.unwrap().value - 0.5).abs() < 0.1);
    // Here the number of words is the rating itself.
    let minus = m.spearman_minus_words.unwrap();
    assert!(minus.value < 0.0 && minus.interval.unwrap().excludes_zero());
    assert_eq!(metric(&found, WORDS).spearman_minus_words, None);
}

proptest! {
    #[test]
    fn values_are_those_of_the_plain_formulas_in_any_order(
        rows in prop::collection::vec((0u32..6, prop::option::of(0i32..5), 0i32..4), 3..25),
    ) {
        let rows: Vec<(u32, Option<f64>, f64)> = rows
            .into_iter()
            .map(|(item, m, r)| (item, m.map(f64::from), f64::from(r)))
            .collect();
        let found = run(&rows).unwrap();
        let both: Vec<(f64, f64)> = rows.iter().filter_map(|(_, m, r)| Some(((*m)?, *r))).collect();
        let (a, b): (Vec<f64>, Vec<f64>) = both.into_iter().unzip();
        if let Some(m) = found.metrics.iter().find(|m| m.metric == "m") {
            let close = |found: Option<Estimate>, expected: Option<f64>| match (found, expected) {
                (Some(found), Some(expected)) => (found.value - expected).abs() < 1e-9,
                (found, expected) => found.is_none() && expected.is_none(),
            };
            prop_assert!(close(m.pearson, pearson(&a, &b).map(|r| r.r)));
            prop_assert!(close(m.spearman, spearman(&a, &b).map(|r| r.r)));
            prop_assert!(close(m.kendall, kendall(&a, &b, Tau::B).map(|r| r.r)));
            prop_assert_eq!(m.pearson.is_none(), m.undefined.contains_key("pearson"));
        }
        let text = serde_json::to_string(&found).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Agreement>(&text).unwrap(), &found);
    }
}

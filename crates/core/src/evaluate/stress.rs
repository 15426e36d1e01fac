//! How every metric reacts to texts that were changed on purpose.
//!
//! Versions of a reference are measured against it as if each kind were a system: given ones
//! (`same_close`, `reversed_far`, `paraphrase`), or those that [`super::causal::perturb`] makes.
//! A metric that means anything puts the good versions above the bad ones; the chance that it does
//! is the area under the ROC curve, 0.5 for chance.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::causal::{
    Comparison, Detection, Lexicon, Observation, Perturbation, Reaction, Source, Width, contrasts,
    detection, perturb, reactions,
};
use super::pair::PairValue;
use super::{EvaluateOptions, Input, Models, evaluate, split};
use crate::error::{Error, Result};
use crate::event::{Event, Observer, tell};
use crate::record::{Example, Outcome, Prediction, Split};

/// The kinds that keep what the reference says.
pub const GOOD: [&str; 4] = ["same_close", "same_far", PARAPHRASE, IDENTICAL];
/// The kinds that a file may give.
pub const GIVEN: [&str; 8] = [
    "same_close",
    "same_far",
    "reversed_close",
    "reversed_far",
    "negated_close",
    "negated_far",
    "other_cause",
    PARAPHRASE,
];
const PARAPHRASE: &str = "paraphrase";
/// The reference itself.
const IDENTICAL: &str = "identical";
/// How many texts lend sentences to one that irrelevant ones are put into.
const LENDERS: usize = 8;

/// A reference and versions of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// Its name, unique over all items.
    pub id: String,
    /// Whom it is from; findings are counted for each by itself.
    pub group: String,
    /// The text that the versions are compared with.
    pub reference: String,
    /// Versions by kind.
    pub versions: BTreeMap<String, String>,
}

/// How every metric reacted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stress {
    /// Items in all.
    pub n: usize,
    /// One row a metric: means by kind, and good kinds against bad ones.
    pub reactions: Vec<Reaction>,
    /// What the comparison of causal links found, by group.
    pub detection: BTreeMap<String, Detection>,
}

/// Measures the versions of all items; where no version but a paraphrase is given, they are made.
pub fn stress(
    items: &[Item],
    options: &EvaluateOptions,
    seed: u64,
    models: Models<'_>,
    observe: &mut Observer<'_>,
) -> Result<Stress> {
    let mut ids = BTreeSet::new();
    if let Some(twice) = items.iter().find(|item| !ids.insert(&item.id)) {
        let what = "stands twice among the items".to_owned();
        return Err(Error::Example {
            id: twice.id.clone(),
            what,
        });
    }
    let is_given = |item: &Item| item.versions.keys().any(|kind| kind != PARAPHRASE);
    let made: Vec<BTreeMap<String, String>> = if items.iter().any(is_given) {
        items.iter().map(|item| item.versions.clone()).collect()
    } else {
        make(items, seed)
    };
    let mut predictions = Vec::new();
    for (item, versions) in items.iter().zip(&made) {
        let versions = versions.iter();
        predictions.extend(versions.map(|(kind, text)| prediction(item, kind, text)));
    }
    let references = items
        .iter()
        .map(|item| (item.id.clone(), vec![item.reference.clone()]));
    let examples: Vec<Example> = items.iter().map(example).collect();
    let input = Input {
        examples: &examples,
        training_labels: &[],
        references: &references.collect(),
        predictions: &predictions,
        sentences: &BTreeMap::new(),
    };
    let mut options = options.clone();
    options.metrics.retain(|metric| metric.is_of_references());
    let evaluation = evaluate(&input, &options, seed, models, observe)?;

    let known = items.iter().zip(&made);
    let known: BTreeMap<&str, (&str, &BTreeMap<String, String>)> = known
        .map(|(item, versions)| (item.id.as_str(), (item.group.as_str(), versions)))
        .collect();
    let mut observations = Vec::new();
    let mut compared: BTreeMap<&str, Vec<(&str, &str, Comparison)>> = BTreeMap::new();
    for pair in &evaluation.pairs {
        let (group, versions) = known[pair.id.as_str()];
        if !versions.contains_key(&pair.system) {
            continue;
        }
        let values = pair.metrics.keys().filter(|metric| *metric != "causal");
        let values = values.filter_map(|metric| Some((metric.clone(), pair.number(metric)?)));
        let mut values: BTreeMap<String, f64> = values.collect();
        if let Some(Some(PairValue::Links(links))) = pair.metrics.get("causal") {
            let comparison: Comparison = (*links).into();
            values.extend(comparison.values());
            let of_group = compared.entry(group).or_default();
            of_group.push((&pair.id, &pair.system, comparison));
        }
        observations.push(Observation {
            item: pair.id.clone(),
            kind: pair.system.clone(),
            values,
        });
    }
    let kinds: BTreeSet<String> = observations.iter().map(|o| o.kind.clone()).collect();
    let detected = compared.into_iter().map(|(group, versions)| {
        let versions = versions.iter().map(|(id, kind, found)| (*id, *kind, found));
        (group.to_owned(), detection(versions, &GOOD))
    });
    tell(
        observe,
        Event::Progress {
            unit: "versions".to_owned(),
            done: observations.len(),
            total: observations.len(),
        },
    )?;
    Ok(Stress {
        n: items.len(),
        reactions: reactions(&observations, &contrasts(&kinds, &GOOD)),
        detection: detected.collect(),
    })
}

/// Perturbed references, and the reference itself.
fn make(items: &[Item], seed: u64) -> Vec<BTreeMap<String, String>> {
    // The narrow one: what is turned round must surely be a cause.
    let lexicon = Lexicon::new(Width::Core);
    let split: Vec<Vec<String>> = items
        .iter()
        .map(|item| split::sentences(&item.reference))
        .collect();
    let versions = items.iter().enumerate().map(|(at, item)| {
        let lenders = (1..=LENDERS.min(items.len() - 1)).map(|by| (at + by) % items.len());
        let others: Vec<String> = lenders.flat_map(|other| split[other].clone()).collect();
        let paraphrase = item
            .versions
            .get(PARAPHRASE)
            .map(|text| split::sentences(text));
        let source = Source {
            id: &item.id,
            sentences: &split[at],
            others: &others,
            paraphrase: paraphrase.as_deref(),
        };
        let made = Perturbation::ALL.into_iter().filter_map(|kind| {
            let changed = perturb(kind, &source, &lexicon, seed)?;
            Some((kind.name().to_owned(), changed.sentences.join(" ")))
        });
        let itself = (IDENTICAL.to_owned(), item.reference.clone());
        made.chain([itself]).collect()
    });
    versions.collect()
}

fn example(item: &Item) -> Example {
    Example {
        id: item.id.clone(),
        claim: String::new(),
        evidence: vec![],
        notes: vec![],
        label: String::new(),
        strata: BTreeMap::new(),
        split: Split::Test,
    }
}

fn prediction(item: &Item, kind: &str, text: &str) -> Prediction {
    Prediction {
        id: item.id.clone(),
        system: kind.to_owned(),
        label: None,
        explanation: text.to_owned(),
        outcome: Outcome::Ok,
        completion: text.to_owned(),
        evidence_dropped: 0,
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::super::MetricName;
    use super::*;

    fn item(id: &str, reference: &str, versions: &[(&str, &str)]) -> Item {
        let versions = versions.iter();
        Item {
            id: id.to_owned(),
            group: "one".to_owned(),
            reference: reference.to_owned(),
            versions: versions
                .map(|(kind, text)| ((*kind).to_owned(), (*text).to_owned()))
                .collect(),
        }
    }

    fn run(items: &[Item]) -> Result<Stress> {
        let options = EvaluateOptions {
            metrics: vec![MetricName::Rouge],
            resamples: 100,
            ..EvaluateOptions::default()
        };
        stress(items, &options, 7, Models::default(), &mut |_| {
            ControlFlow::Continue(())
        })
    }

    #[test]
    fn given_versions_are_measured_and_none_are_made() {
        let items = [
            item(
                "1",
                "a b c d",
                &[("same_close", "a b c x"), ("reversed_close", "a x y z")],
            ),
            item("2", "e f g h", &[("same_close", "e f g h")]),
        ];
        let found = run(&items).unwrap();
        let rouge = found
            .reactions
            .iter()
            .find(|r| r.metric == "rouge1")
            .unwrap();
        let kinds: Vec<&str> = rouge.means.keys().map(String::as_str).collect();
        assert_eq!(kinds, ["reversed_close", "same_close"]);
        assert_eq!(rouge.means["same_close"].n, 2);
        assert!((rouge.contrasts[0].auc - 1.0).abs() < 1e-12);
    }

    #[test]
    fn without_versions_perturbed_ones_are_made() {
        let text = "The field flooded because the dam broke. It cost 300 pounds.";
        let other = "The road closed because snow fell. Nobody came.";
        let found = run(&[item("1", text, &[]), item("2", other, &[])]).unwrap();
        let means = &found.reactions[0].means;
        for kind in ["identical", "reverse", "numbers", "irrelevant", "shuffle"] {
            assert!(means.contains_key(kind), "{kind} is missing");
        }
        assert_eq!(means["numbers"].n, 1);
    }

    #[test]
    fn an_item_that_stands_twice_is_an_error() {
        let error = run(&[item("1", "a", &[]), item("1", "b", &[])]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "example `1`: stands twice among the items"
        );
    }
}

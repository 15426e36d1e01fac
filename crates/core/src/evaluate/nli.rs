//! What an inference model says of an explanation: does it follow from the evidence and from the
//! reference, does it contradict them, and does it say what its label says?
//!
//! Every sentence is judged against every sentence of the other side, and takes the highest
//! probability (as SummaC-ZS does, Laban et al., TACL 2022); a text takes the mean of its sentences.
//! Any classifier of premise and hypothesis serves; a number is worth as much as the classifier is.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::column::{Aggregate, Column, Statistic, Unscored};
use super::sentences::Sentences;
use super::signature::Signature;
use super::system::System;
use super::{Entail, Input};
use crate::error::{Error, Result};
use crate::event::Observer;
use crate::record::Example;

/// In the order of [`Judgements::measure`].
pub(super) const COLUMNS: [Column; 5] = [
    column(
        "nli_entailed_by_evidence",
        "Sentences that follow from the evidence, mean probability",
    ),
    column(
        "nli_contradicted_by_evidence",
        "Sentences that contradict the evidence, mean probability (lower is better)",
    ),
    column(
        "nli_entailed_by_reference",
        "Sentences that follow from the reference, mean probability",
    ),
    column(
        "nli_contradicted_by_reference",
        "Sentences that contradict the reference, mean probability (lower is better)",
    ),
    column(
        "nli_label_agreement",
        "Explanations that say of the claim what their label says",
    ),
];

const fn column(name: &'static str, title: &'static str) -> Column {
    Column {
        name,
        title,
        shown: Some(name),
        aggregate: Aggregate::Mean,
    }
}

/// The inference model and what the labels mean to it (`[evaluate.nli]`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nli {
    /// A folder or hub id of a classifier with the labels entailment, neutral and contradiction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What each label says of the claim; a label that is not here is read by its name (support,
    /// entail, true: entailment; refut, contradict, false: contradiction; not enough, neutral:
    /// neutral).
    pub labels: BTreeMap<String, Verdict>,
}

/// What a text says of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It follows.
    Entailment,
    /// Neither.
    Neutral,
    /// It cannot be true as well.
    Contradiction,
}

impl Verdict {
    /// The likeliest of the three probabilities, in the order of the variants.
    fn likeliest(probabilities: [f32; 3]) -> Self {
        let [entailment, neutral, contradiction] = probabilities;
        if entailment >= neutral && entailment >= contradiction {
            Self::Entailment
        } else if contradiction >= neutral {
            Self::Contradiction
        } else {
            Self::Neutral
        }
    }

    /// What a label's name says; `None` where it says nothing that is known.
    fn of_name(label: &str) -> Option<Self> {
        let label = label.to_lowercase().replace(['_', '-'], " ");
        let says = |words: &[&str]| words.iter().any(|word| label.contains(word));
        // "not enough info" and "unsupported" before the words that they hold.
        if says(&["not enough", "neutral", "nei", "unverif"]) {
            Some(Self::Neutral)
        } else if says(&["refut", "contradict", "false", "unsupport", "not support"]) {
            Some(Self::Contradiction)
        } else if says(&["support", "entail", "true"]) {
            Some(Self::Entailment)
        } else {
            None
        }
    }
}

impl Nli {
    fn verdict_of(&self, label: &str) -> Option<Verdict> {
        let known = self.labels.get(label).copied();
        known.or_else(|| Verdict::of_name(label))
    }
}

/// Probabilities for every pair of texts that was judged.
#[derive(Debug)]
pub(super) struct Judgements {
    model: String,
    of: HashMap<(String, String), [f32; 3]>,
}

/// What one explanation is judged by.
pub(super) struct Judged<'a> {
    pub(super) text: &'a str,
    pub(super) label: Option<&'a str>,
    pub(super) example: &'a Example,
    /// The main reference, where there is one.
    pub(super) reference: Option<&'a str>,
}

impl Judgements {
    /// Judges every pair of sentences that [`Self::measure`] will look at, each different pair once.
    pub(super) fn new(
        input: &Input<'_>,
        systems: &[System<'_>],
        sentences: &Sentences,
        judge: &mut dyn Entail,
        observe: &mut Observer<'_>,
    ) -> Result<Self> {
        let mut pairs: HashSet<(&str, &str)> = HashSet::new();
        for example in input.examples {
            for system in systems.iter().filter(|system| system.explains) {
                let Some(answer) = system.prediction(&example.id) else {
                    continue;
                };
                let premises = sentences.of_all(&example.evidence);
                let reference = input.references_of(example).next().unwrap_or_default();
                let premises: Vec<&String> = premises.chain(sentences.of(reference)).collect();
                for hypothesis in sentences.of(&answer.explanation) {
                    pairs.extend(premises.iter().map(|p| (p.as_str(), hypothesis.as_str())));
                }
                if !example.claim.is_empty() && answer.label.is_some() {
                    pairs.insert((answer.explanation.as_str(), example.claim.as_str()));
                }
            }
        }
        let mut pairs: Vec<(&str, &str)> = pairs.into_iter().collect();
        // The order of a hash set must not decide what is computed beside what.
        pairs.sort_unstable();
        let found = judge.judge(&pairs, observe)?;
        if found.len() != pairs.len() {
            let (name, n, expected) = (judge.name(), found.len(), pairs.len());
            let what = format!("`{name}` judged {n} of {expected} pairs");
            return Err(Error::option("evaluate.nli.model", what));
        }
        let pairs = pairs.into_iter().map(|(a, b)| (a.to_owned(), b.to_owned()));
        Ok(Self {
            model: judge.name().to_owned(),
            of: pairs.zip(found).collect(),
        })
    }

    /// One pair's statistics, in the order of [`COLUMNS`].
    pub(super) fn measure(
        &self,
        judged: &Judged<'_>,
        sentences: &Sentences,
        options: &Nli,
    ) -> [Result<Statistic, Unscored>; 5] {
        let own = sentences.of(judged.text);
        let evidence: Vec<&String> = sentences.of_all(&judged.example.evidence).collect();
        let reference = judged.reference.map(|text| sentences.of(text));
        let reference: Vec<&String> = reference.into_iter().flatten().collect();
        let mean_of = |premises: &[&String], class: usize, missing: &str| {
            if own.is_empty() {
                return Err(Unscored::new("the explanation has no sentence"));
            }
            if premises.is_empty() {
                return Err(Unscored::new(missing));
            }
            let most = own.iter().map(|hypothesis| {
                let each = premises
                    .iter()
                    .map(|premise| self.get(premise, hypothesis)[class]);
                f64::from(each.fold(0.0, f32::max))
            });
            Ok(Statistic::Value(most.sum::<f64>() / own.len() as f64))
        };
        [
            mean_of(&evidence, 0, "no evidence"),
            mean_of(&evidence, 2, "no evidence"),
            mean_of(&reference, 0, "no reference"),
            mean_of(&reference, 2, "no reference"),
            self.agreement(judged, options),
        ]
    }

    fn agreement(&self, judged: &Judged<'_>, options: &Nli) -> Result<Statistic, Unscored> {
        let label = judged.label.ok_or_else(|| Unscored::new("no label"))?;
        if judged.example.claim.is_empty() {
            return Err(Unscored::new("no claim"));
        }
        if judged.text.trim().is_empty() {
            return Err(Unscored::new("the explanation has no sentence"));
        }
        let stated = options.verdict_of(label).ok_or_else(|| {
            Unscored::new(format!(
                "evaluate.nli.labels does not say what `{label}` means"
            ))
        })?;
        let said = Verdict::likeliest(self.get(judged.text, &judged.example.claim));
        Ok(Statistic::Value(f64::from(u8::from(said == stated))))
    }

    fn get(&self, premise: &str, hypothesis: &str) -> [f32; 3] {
        // Pairs are judged beforehand; equal pairs once.
        let key = (premise.to_owned(), hypothesis.to_owned());
        *self.of.get(&key).expect("every pair was judged beforehand")
    }

    pub(super) fn signature(&self, column: &str, sentences: &str) -> Signature {
        Signature::new(column)
            .with("model", &self.model)
            .with("sentences", sentences)
            .with("over", "mean")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_read_by_its_name_unless_its_meaning_is_given() {
        let mut options = Nli::default();
        let check = |options: &Nli, label: &str, expected| {
            assert_eq!(options.verdict_of(label), expected, "{label}");
        };
        check(&options, "SUPPORTS", Some(Verdict::Entailment));
        check(&options, "refuted", Some(Verdict::Contradiction));
        check(&options, "NOT_ENOUGH_INFO", Some(Verdict::Neutral));
        check(&options, "unsupported", Some(Verdict::Contradiction));
        check(&options, "DISPUTED", None);
        options
            .labels
            .insert("DISPUTED".to_owned(), Verdict::Neutral);
        check(&options, "DISPUTED", Some(Verdict::Neutral));
    }

    #[test]
    fn the_likeliest_verdict_counts() {
        assert_eq!(Verdict::likeliest([0.4, 0.3, 0.3]), Verdict::Entailment);
        assert_eq!(Verdict::likeliest([0.2, 0.3, 0.5]), Verdict::Contradiction);
        assert_eq!(Verdict::likeliest([0.2, 0.5, 0.3]), Verdict::Neutral);
    }
}

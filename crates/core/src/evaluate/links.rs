//! Causal links as a metric: which links of the reference an explanation covers, misses, turns
//! round or denies, and CEC weighted by what it gets right.
//!
//! Extraction and comparison are [`super::causal`]'s.
//! Where the reference has no link, or none is matched, there is no number and the reason is
//! counted: silence means "not judged", never "right".

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::causal::{
    CompareOptions, Comparison, Differences, Lexicon, Link, Linked, Width, compare, extract,
    phrases,
};
use super::column::{Aggregate, Column, Statistic, Unscored};
use super::pair::Links as LinkCounts;
use super::sentences::Sentences;
use super::signature::Signature;
use super::vectors::Vectors;

/// In the order of [`statistics`].
pub(super) const COLUMNS: [Column; 7] = [
    column("cec_causal", Some("cec_causal"), "CEC x causal fidelity"),
    column(
        "link_recall",
        None,
        "Causal links of the reference that are covered",
    ),
    column(
        "link_precision",
        None,
        "Causal links of the explanation that the reference has",
    ),
    column("link_fidelity", None, "Matched causal links that are right"),
    column(
        "link_errors",
        None,
        "Explanations with a reversed or contradicted link, of those with a matched one (lower is better)",
    ),
    column(
        "links_per_sentence",
        None,
        "Causal links found, a sentence of the explanation",
    ),
    column(
        "sentence_fidelity",
        Some("sentence_fidelity"),
        "Aligned sentences with the same numbers and negations",
    ),
];

const fn column(name: &'static str, shown: Option<&'static str>, title: &'static str) -> Column {
    Column {
        name,
        title,
        shown,
        aggregate: Aggregate::Mean,
    }
}

/// How causal links are found and judged (`[evaluate.causal]`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Causal {
    /// Which words make a link.
    pub lexicon: Width,
    /// When two links are the same.
    pub compare: CompareOptions,
}

/// The links of every text.
#[derive(Debug)]
pub(super) struct Links {
    /// The lexicon's name and version, for signatures.
    lexicon: String,
    of: HashMap<String, Vec<Link>>,
}

impl Links {
    /// Reads each different text once.
    pub(super) fn new<'a>(
        texts: impl Iterator<Item = &'a str>,
        sentences: &Sentences,
        options: Causal,
    ) -> Self {
        let lexicon = Lexicon::new(options.lexicon);
        let mut of = HashMap::new();
        for text in texts {
            if !of.contains_key(text) {
                of.insert(text.to_owned(), extract(sentences.of(text), &lexicon));
            }
        }
        Self {
            lexicon: lexicon.name(),
            of,
        }
    }

    /// What must be embedded.
    pub(super) fn phrases(&self) -> impl Iterator<Item = &str> {
        self.of.values().flat_map(|links| phrases(links))
    }

    pub(super) fn signature(
        &self,
        column: &str,
        encoder: &str,
        sentences: &str,
        options: Causal,
    ) -> Signature {
        let CompareOptions {
            tau,
            margin,
            near,
            lexical,
            order,
            parity,
        } = options.compare;
        Signature::new(column)
            .with("encoder", encoder)
            .with("sentences", sentences)
            .with("lexicon", &self.lexicon)
            .with("tau", tau)
            .with("margin", margin)
            .with("near", near)
            .with("lexical", lexical)
            .with("order", if order { "yes" } else { "no" })
            .with("parity", if parity { "yes" } else { "no" })
            .with("over", "mean")
    }

    /// Compares an explanation with its reference.
    pub(super) fn compare(
        &self,
        text: &str,
        reference: &str,
        sentences: &Sentences,
        vectors: &Vectors,
        options: Causal,
    ) -> Comparison {
        let linked = |text: &str| Linked {
            sentences: sentences.of(text),
            links: self.of.get(text).map(Vec::as_slice).unwrap_or_default(),
        };
        let vector_of = |phrase: &str| Some(vectors.of(phrase));
        compare(
            linked(reference),
            linked(text),
            &vector_of,
            &options.compare,
        )
    }
}

/// One pair's statistics, in the order of [`COLUMNS`].
pub(super) fn statistics(
    found: &Comparison,
    cec: Result<f64, Unscored>,
    sentences: &Differences,
) -> [Result<Statistic, Unscored>; 7] {
    let none = |reason: &str| Unscored::new(reason);
    let no_link = "no causal link found in the reference";
    let not_judged = found.unscored.as_deref().unwrap_or(no_link);
    let fidelity = found.fidelity.ok_or_else(|| none(not_judged));
    let is_wrong = found.reversed + found.contradicted > 0;
    let values = [
        cec.and_then(|cec| fidelity.clone().map(|fidelity| cec * fidelity)),
        found.recall.ok_or_else(|| none(no_link)),
        found
            .precision
            .ok_or_else(|| none("no causal link found in the explanation")),
        fidelity.clone(),
        fidelity.map(|_| f64::from(u8::from(is_wrong))),
        Ok(found.prediction_links_per_sentence),
        sentences
            .fidelity
            .ok_or_else(|| none("no sentence of the explanation is near one of the reference")),
    ];
    values.map(|value| value.map(Statistic::Value))
}

/// What `pairs.jsonl` shows of a comparison.
pub(super) fn counts(found: &Comparison) -> LinkCounts {
    LinkCounts {
        reference_links: found.reference_links,
        prediction_links: found.prediction_links,
        covered: found.covered,
        missing: found.missing,
        unsupported: found.unsupported,
        reversed: found.reversed,
        contradicted: found.contradicted,
        skipped: found.skipped,
        recall: found.recall,
        precision: found.precision,
        fidelity: found.fidelity,
    }
}

//! What several metrics look at, made once for all systems: sentences, vectors, matched tokens.

use std::collections::HashSet;

use super::baseline::OTHER_REFERENCE;
use super::cec::Similarities;
use super::judge::Judged;
use super::links::Links;
use super::nli::Judgements;
use super::sentences::Sentences;
use super::system::System;
use super::vectors::Vectors;
use super::{Embed, EvaluateOptions, Input, MetricName, Models, bertscore};
use crate::error::{Error, Result};
use crate::event::Observer;
use crate::record::Example;

/// Sentences of every text, and what an encoder says of them.
#[derive(Debug)]
pub(super) struct Material {
    pub(super) sentences: Sentences,
    /// Where a metric compares sentences.
    pub(super) vectors: Option<Vectors>,
    /// Where BERTScore is asked for.
    pub(super) tokens: Option<bertscore::Scores>,
    /// Where causal links are compared.
    pub(super) links: Option<Links>,
    /// Where an inference model is asked.
    pub(super) judgements: Option<Judgements>,
    /// Where a judge was asked.
    pub(super) judged: Option<Judged>,
    /// The mean CEC of two explanations of different claims; none below two references.
    pub(super) floor: Option<f64>,
}

impl Material {
    pub(super) fn gather(
        input: &Input<'_>,
        systems: &[System<'_>],
        options: &EvaluateOptions,
        mut models: Models<'_>,
        observe: &mut Observer<'_>,
    ) -> Result<Self> {
        let wants = |metric| options.metrics.contains(&metric);
        let with_claims = wants(MetricName::Roscoe);
        let sentences = Sentences::new(texts(input, systems, with_claims), input.sentences);
        let mut links = None;
        let mut vectors = None;
        if options.metrics.iter().any(|metric| metric.needs_vectors()) {
            let embedder = needed(&mut models.encoder)?;
            let mut strings: HashSet<&str> = sentences.all().collect();
            let sources: Vec<String>;
            if wants(MetricName::Roscoe) {
                sources = input.examples.iter().map(source).collect();
                strings.extend(sources.iter().map(String::as_str));
                strings.extend(texts(input, systems, false));
            }
            if wants(MetricName::Causal) {
                let texts = texts(input, systems, false);
                let found = Links::new(texts, &sentences, options.causal);
                strings.extend(links.insert(found).phrases());
            }
            vectors = Some(Vectors::new(strings.into_iter(), embedder, observe)?);
        }
        let mut tokens = None;
        if wants(MetricName::Bertscore) {
            let embedder = needed(&mut models.encoder)?;
            tokens = Some(bertscore::Scores::new(
                input,
                systems,
                &options.bertscore,
                embedder,
                observe,
            )?);
        }
        let mut judgements = None;
        if wants(MetricName::Nli) {
            let Some(judge) = models.judge else {
                let what = "\"nli\" needs a classifier of premise and hypothesis; name one here";
                return Err(Error::option("evaluate.nli.model", what));
            };
            let found = Judgements::new(input, systems, &sentences, judge, observe)?;
            judgements = Some(found);
        }
        if wants(MetricName::Judge) && models.judged.is_none() {
            let what = "\"judge\" is measured in a run, by the judge of [teacher.judge]";
            return Err(Error::option("evaluate.metrics", what));
        }
        let mut material = Self {
            judged: models.judged.cloned(),
            sentences,
            vectors,
            tokens,
            links,
            judgements,
            floor: None,
        };
        if wants(MetricName::Cec) {
            material.floor = material.floor(input, systems, options);
        }
        Ok(material)
    }

    /// The vectors of a text's sentences.
    pub(super) fn vectors_of(&self, text: &str) -> Vec<&[f32]> {
        self.known().of_all(self.sentences.of(text))
    }

    /// The vectors of the sentences of several passages.
    pub(super) fn vectors_of_all(&self, passages: &[String]) -> Vec<&[f32]> {
        self.known().of_all(self.sentences.of_all(passages))
    }

    /// The vector of a whole text.
    pub(super) fn vector_of(&self, text: &str) -> &[f32] {
        self.known().of(text)
    }

    /// All vectors; they are there where a metric compares strings.
    pub(super) fn known(&self) -> &Vectors {
        let vectors = self.vectors.as_ref();
        vectors.expect("strings are embedded before a metric compares them")
    }

    /// What the "other reference" baseline reaches.
    fn floor(
        &self,
        input: &Input<'_>,
        systems: &[System<'_>],
        options: &EvaluateOptions,
    ) -> Option<f64> {
        let other = systems.iter().find(|s| s.name == OTHER_REFERENCE)?;
        let scores = input.examples.iter().filter_map(|example| {
            let text = self.vectors_of(&other.prediction(&example.id)?.explanation);
            let best = input.references_of(example).filter_map(|reference| {
                let similarities = Similarities::new(&text, &self.vectors_of(reference)).ok()?;
                Some(similarities.cec(options.cosine).symmetric)
            });
            best.reduce(f64::max)
        });
        let scores: Vec<f64> = scores.collect();
        (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
    }
}

/// What an explanation speaks about: the claim and the evidence.
pub(super) fn source(example: &Example) -> String {
    let mut text = example.claim.clone();
    for passage in &example.evidence {
        text.push(' ');
        text.push_str(passage);
    }
    text
}

fn needed<'a>(embedder: &'a mut Option<&mut dyn Embed>) -> Result<&'a mut dyn Embed> {
    if let Some(embedder) = embedder {
        return Ok(&mut **embedder);
    }
    let what = "\"bertscore\", \"cec\" and what follows them need an encoder and none was given";
    Err(Error::option("evaluate.metrics", what))
}

/// Every text whose sentences may be compared.
fn texts<'a>(
    input: &'a Input<'_>,
    systems: &'a [System<'_>],
    with_claims: bool,
) -> impl Iterator<Item = &'a str> {
    input.examples.iter().flat_map(move |example| {
        let explanations = systems
            .iter()
            .filter(|system| system.explains)
            .filter_map(|system| Some(system.prediction(&example.id)?.explanation.as_str()));
        let given = example
            .evidence
            .iter()
            .chain(with_claims.then_some(&example.claim));
        input
            .references_of(example)
            .chain(explanations)
            .chain(given.map(String::as_str))
    })
}

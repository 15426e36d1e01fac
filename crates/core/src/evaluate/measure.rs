//! One pair at a time: asks each metric that is wanted, and writes down what it says.
//!
//! A new metric is a file with columns, and one arm in [`Measure::pair`] and in
//! [`Measure::signature`].

use std::collections::BTreeMap;

use super::bootstrap::Bootstrap;
use super::causal::{Comparison, Retention, differences, retention};
use super::cec::{self, Cec, Similarities};
use super::column::{Column, Statistic, Unscored};
use super::judge::Judged;
use super::label::{self, Names};
use super::links::{self, Links};
use super::material::{self, Material};
use super::nli::{self, Judgements};
use super::pair::{Alignment, PairRecord, PairValue, Triple};
use super::signature::Signature;
use super::summary::Measured;
use super::system::System;
use super::{
    EvaluateOptions, Input, MetricName, bleu, chrf, grounding, meteor, retained, roscoe, rouge,
    split_name,
};
use crate::record::{Example, Prediction};

/// What is needed to measure any pair.
pub(super) struct Measure<'a> {
    input: &'a Input<'a>,
    options: &'a EvaluateOptions,
    labels: Names,
    material: &'a Material,
}

/// One metric's say on one pair: a statistic or a reason for each of its columns.
#[derive(Default)]
struct Said {
    statistics: Vec<Result<Statistic, Unscored>>,
    alignment: Option<Alignment>,
    links: Option<Comparison>,
    retention: Option<Retention>,
}

/// One explanation and what it is compared with.
struct Pair<'a> {
    /// Where the system and the example stand.
    place: (usize, usize),
    example: &'a Example,
    text: &'a str,
    /// The stated label.
    label: Option<&'a str>,
    references: Vec<&'a str>,
}

impl Said {
    fn scored(statistics: impl IntoIterator<Item = Statistic>) -> Self {
        Self {
            statistics: statistics.into_iter().map(Ok).collect(),
            ..Self::default()
        }
    }

    fn of(statistics: impl IntoIterator<Item = Result<Statistic, Unscored>>) -> Self {
        Self {
            statistics: statistics.into_iter().collect(),
            ..Self::default()
        }
    }

    fn unscored(metric: MetricName, reason: &Unscored) -> Self {
        Self::of(metric.columns().iter().map(|_| Err(reason.clone())))
    }
}

impl<'a> Measure<'a> {
    pub(super) fn new(
        input: &'a Input<'a>,
        options: &'a EvaluateOptions,
        material: &'a Material,
    ) -> Self {
        let labels = Names::new(input.examples.iter().map(|example| example.label.as_str()));
        Self {
            input,
            options,
            labels,
            material,
        }
    }

    /// Every column of one system, and a record a pair.
    pub(super) fn system(&self, n: usize, system: &System<'_>) -> (Vec<Measured>, Vec<PairRecord>) {
        let mut wanted: Vec<MetricName> = self.options.metrics.clone();
        wanted.sort_unstable();
        wanted.dedup();
        wanted.retain(|metric| match metric {
            MetricName::Judge => !system.is_baseline(),
            _ if metric.is_of_labels() => system.labels,
            _ => system.explains,
        });

        let columns = wanted.iter().flat_map(|metric| metric.columns());
        let mut measured: Vec<Measured> = columns
            .map(|column| Measured {
                column: *column,
                items: Vec::new(),
            })
            .collect();
        let mut records = Vec::new();
        for (place, example) in self.input.examples.iter().enumerate() {
            let mut record = PairRecord {
                id: example.id.clone(),
                system: system.name.clone(),
                metrics: BTreeMap::new(),
                unscored: BTreeMap::new(),
                alignment: None,
                links: None,
                retention: None,
            };
            let mut at = 0;
            for metric in &wanted {
                let said = self.say(*metric, (n, place), system.prediction(&example.id));
                record.alignment = record.alignment.or(said.alignment);
                if let Some(links) = said.links {
                    let counts = PairValue::Links(links::counts(&links));
                    record.metrics.insert("causal".to_owned(), Some(counts));
                    record.links = Some(links.findings);
                }
                record.retention = record.retention.or(said.retention);
                for statistic in said.statistics {
                    note(&mut record, &measured[at].column, &statistic);
                    measured[at].items.push(statistic);
                    at += 1;
                }
            }
            records.push(record);
        }
        (measured, records)
    }

    fn say(&self, metric: MetricName, place: (usize, usize), answer: Option<&Prediction>) -> Said {
        let example = &self.input.examples[place.1];
        let Some(answer) = answer else {
            return Said::unscored(metric, &Unscored::new("no prediction"));
        };
        if metric.is_of_labels() {
            return match label::measure(&self.labels, &example.label, answer.label.as_deref()) {
                Some(statistic) => Said::scored([statistic]),
                None => Said::unscored(metric, &Unscored::new("no gold label")),
            };
        }
        if metric == MetricName::Judge {
            return Said::of(self.judged().measure(&example.id, &answer.system));
        }
        let pair = Pair {
            place,
            example,
            text: answer.explanation.as_str(),
            label: answer.label.as_deref(),
            references: self.input.references_of(example).collect(),
        };
        if pair.references.is_empty() && metric.is_of_references() {
            return Said::unscored(metric, &Unscored::new("no reference"));
        }
        self.pair(metric, &pair)
    }

    fn pair(&self, metric: MetricName, pair: &Pair<'_>) -> Said {
        let mode = self.options.cosine;
        let vectors = || self.material.vectors_of(pair.text);
        match metric {
            MetricName::Accuracy | MetricName::MacroF1 | MetricName::Judge => Said::default(),
            MetricName::Bleu => Said::of(bleu::measure(
                pair.text,
                &pair.references,
                &self.options.bleu,
            )),
            MetricName::Rouge => {
                let stemmer = self.options.stemmer;
                Said::of(rouge::measure(pair.text, &pair.references, stemmer))
            }
            MetricName::Meteor => Said::of([self.meteor(pair)]),
            MetricName::Chrf => Said::of(chrf::measure(
                pair.text,
                &pair.references,
                &self.options.chrf,
            )),
            MetricName::Bertscore => Said::of([self.bertscore(pair)]),
            MetricName::Cec => self.cec(pair),
            MetricName::Grounding => {
                let evidence = self.material.vectors_of_all(&pair.example.evidence);
                let said = grounding::grounding(&vectors(), &evidence, mode);
                Said::of([said.map(|(value, _)| value)])
            }
            MetricName::Repetition => Said::of([grounding::repetition(&vectors(), mode)]),
            MetricName::Causal => self.causal(pair),
            MetricName::Retention => self.retention(pair),
            MetricName::Roscoe => self.roscoe(pair),
            MetricName::Nli => self.nli(pair),
        }
    }

    fn meteor(&self, pair: &Pair<'_>) -> Result<Statistic, Unscored> {
        let text = |whole| meteor::Text {
            whole,
            sentences: self.material.sentences.of(whole),
        };
        let references: Vec<_> = pair
            .references
            .iter()
            .map(|reference| text(reference))
            .collect();
        meteor::measure(text(pair.text), &references, &self.options.meteor)
    }

    fn bertscore(&self, pair: &Pair<'_>) -> Result<Statistic, Unscored> {
        let scores = self.material.tokens.as_ref();
        let scores = scores.expect("evaluate matches tokens before it measures BERTScore");
        let score = scores.of(pair.place.0, pair.place.1);
        score
            .map(Statistic::Triple)
            .ok_or_else(|| Unscored::new("no reference"))
    }

    /// CEC against the reference that it is highest for.
    fn cec(&self, pair: &Pair<'_>) -> Said {
        let mode = self.options.cosine;
        let of_text = self.material.vectors_of(pair.text);
        let mut best: Option<(Cec, Similarities, &str)> = None;
        let mut reason = Unscored::new("no reference");
        for reference in &pair.references {
            match Similarities::new(&of_text, &self.material.vectors_of(reference)) {
                Err(unscored) => reason = unscored,
                Ok(similarities) => {
                    let score = similarities.cec(mode);
                    if best
                        .as_ref()
                        .is_none_or(|(best, ..)| score.symmetric > best.symmetric)
                    {
                        best = Some((score, similarities, reference));
                    }
                }
            }
        }
        let Some((score, similarities, reference)) = best else {
            return Said::unscored(MetricName::Cec, &reason);
        };
        let Triple {
            precision,
            recall,
            f1,
        } = score.triple;
        let assigned = similarities.assigned(mode);
        let values = [score.symmetric, precision, recall, f1, assigned];
        let above = self.material.floor.map(|floor| score.above(floor));
        let above = above
            .map(Statistic::Value)
            .ok_or_else(|| Unscored::new("a floor needs two references"));
        let sentences = |text| self.material.sentences.of(text);
        Said {
            statistics: values
                .map(|value| Ok(Statistic::Value(value)))
                .into_iter()
                .chain([above])
                .collect(),
            alignment: Some(similarities.alignment(sentences(pair.text), sentences(reference))),
            ..Said::default()
        }
    }

    /// Causal links against those of the main reference.
    fn causal(&self, pair: &Pair<'_>) -> Said {
        let (material, options) = (self.material, self.options.causal);
        let reference = pair.references[0];
        let (sentences, vectors) = (&material.sentences, material.known());
        let found = self
            .links()
            .compare(pair.text, reference, sentences, vectors, options);
        let (own, expected) = (sentences.of(pair.text), sentences.of(reference));
        let of_pair = (
            material.vectors_of(pair.text),
            material.vectors_of(reference),
        );
        let similarities = Similarities::new(&of_pair.0, &of_pair.1);
        let partners = similarities.as_ref().map(|s| s.of_explanation.as_slice());
        let differences = differences(own, expected, partners.unwrap_or_default());
        let cec = similarities.map(|found| found.cec(self.options.cosine).symmetric);
        Said {
            links: Some(found.clone()),
            ..Said::of(links::statistics(&found, cec, &differences))
        }
    }

    /// What is kept of the main reference's particulars.
    fn retention(&self, pair: &Pair<'_>) -> Said {
        let sentences = |text| self.material.sentences.of(text);
        let found = retention(sentences(pair.references[0]), sentences(pair.text));
        Said {
            retention: Some(found.clone()),
            ..Said::of(retained::statistics(&found))
        }
    }

    fn links(&self) -> &Links {
        let links = self.material.links.as_ref();
        links.expect("links are found before they are compared")
    }

    fn nli(&self, pair: &Pair<'_>) -> Said {
        let judged = nli::Judged {
            text: pair.text,
            label: pair.label,
            example: pair.example,
            reference: pair.references.first().copied(),
        };
        let material = self.material;
        Said::of(
            self.judgements()
                .measure(&judged, &material.sentences, &self.options.nli),
        )
    }

    fn judgements(&self) -> &Judgements {
        let judgements = self.material.judgements.as_ref();
        judgements.expect("the classifier is asked before its answers are measured")
    }

    fn judged(&self) -> &Judged {
        let judged = self.material.judged.as_ref();
        judged.expect("a judge's ratings are there before they are measured")
    }

    /// ROSCOE against the main reference.
    fn roscoe(&self, pair: &Pair<'_>) -> Said {
        let material = self.material;
        let reference = pair.references[0];
        let mut of_source = material.vectors_of(&pair.example.claim);
        of_source.extend(material.vectors_of_all(&pair.example.evidence));
        let source = material::source(pair.example);
        let sides = roscoe::Sides {
            explanation: &material.vectors_of(pair.text),
            source: &of_source,
            reference: &material.vectors_of(reference),
            whole_explanation: material.vector_of(pair.text),
            whole_source: material.vector_of(&source),
            whole_reference: material.vector_of(reference),
        };
        Said::of(roscoe::measure(&sides, self.options.roscoe))
    }

    /// The split of the examples; "mixed" if there are several.
    pub(super) fn split(&self) -> &'static str {
        let mut splits = self.input.examples.iter().map(|example| example.split);
        match splits.next() {
            Some(first) if splits.all(|split| split == first) => split_name(first),
            Some(_) => "mixed",
            None => "none",
        }
    }

    /// What a column's number means, for so many scored and unscored examples.
    pub(super) fn signature(
        &self,
        column: &Column,
        n: usize,
        unscored: usize,
        bootstrap: &Bootstrap,
    ) -> Signature {
        let metric = MetricName::ALL
            .into_iter()
            .find(|metric| {
                metric
                    .columns()
                    .iter()
                    .any(|known| known.name == column.name)
            })
            .expect("every column belongs to a metric");
        let vectors = self.material.vectors.as_ref();
        let encoder = vectors.map_or("none", |vectors| vectors.encoder.as_str());
        let splitter = self.material.sentences.splitter.as_str();
        let own = match metric {
            MetricName::Accuracy | MetricName::MacroF1 => label::signature(column.name),
            MetricName::Bleu => bleu::signature(column.name, &self.options.bleu),
            MetricName::Rouge => rouge::signature(column.name, self.options.stemmer),
            MetricName::Chrf => chrf::signature(column.name, &self.options.chrf),
            MetricName::Meteor => meteor::signature(column.name, &self.options.meteor, splitter),
            MetricName::Bertscore => {
                let scores = self.material.tokens.as_ref();
                let scores = scores.expect("BERTScore has a column only where it was asked for");
                scores.signature(column.name, &self.options.bertscore)
            }
            MetricName::Cec => {
                let floor = self.material.floor;
                cec::signature(column.name, encoder, self.options.cosine, splitter, floor)
            }
            MetricName::Grounding | MetricName::Repetition => {
                grounding::signature(column.name, encoder, self.options.cosine, splitter)
            }
            MetricName::Causal => {
                let options = self.options.causal;
                self.links()
                    .signature(column.name, encoder, splitter, options)
            }
            MetricName::Retention => retained::signature(column.name, splitter),
            MetricName::Roscoe => {
                roscoe::signature(column.name, encoder, splitter, self.options.roscoe)
            }
            MetricName::Nli => self.judgements().signature(column.name, splitter),
            MetricName::Judge => self.judged().signature(column.name),
        };
        let mut first = vec![("split", self.split().to_owned()), ("n", n.to_string())];
        if unscored > 0 {
            first.push(("unscored", unscored.to_string()));
        }
        if metric.is_of_references() {
            first.push(("refs", self.reference_counts()));
        }
        own.after(&first)
            .with("interval", "percentile-95")
            .with("resamples", bootstrap.resamples)
            .with("seed", bootstrap.seed)
    }

    /// How many references an example has: "1", or "1-3".
    fn reference_counts(&self) -> String {
        let counts = || {
            self.input
                .examples
                .iter()
                .map(|e| self.input.references_of(e).count())
                .filter(|n| *n > 0)
        };
        match (counts().min(), counts().max()) {
            (Some(least), Some(most)) if least < most => format!("{least}-{most}"),
            (Some(least), _) => least.to_string(),
            _ => "0".to_owned(),
        }
    }
}

/// Puts a statistic into a pair's record, or the reason for which there is none.
fn note(record: &mut PairRecord, column: &Column, statistic: &Result<Statistic, Unscored>) {
    let Some(key) = column.shown else { return };
    match statistic {
        Ok(statistic) => {
            record.metrics.insert(key.to_owned(), statistic.shown());
        }
        Err(reason) => {
            record.metrics.insert(key.to_owned(), None);
            record.unscored.insert(key.to_owned(), reason.to_string());
        }
    }
}

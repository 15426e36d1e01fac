//! BERTScore (Zhang et al., ICLR 2020) over any encoder, as the Python package bert-score 0.3.13
//! computes it.
//!
//! Every token takes its best cosine with a token of the other side; the special tokens at both
//! ends may be partners and carry no weight themselves.
//! With `idf` a token weighs log((N + 1) / (references that have it + 1)) over N references.
//! Of several references precision, recall and F1 each take the highest.
//! A text without a token of its own scores 0, as there.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::baseline::OTHER_REFERENCE;
use super::column::{Aggregate, Column};
use super::pair::Triple;
use super::signature::Signature;
use super::system::System;
use super::{Embed, Input, TokenMatch, TokenSide};
use crate::error::{Error, Result};
use crate::event::Observer;
use crate::fs;
use crate::record::Example;

/// F1; precision and recall stand in `pairs.jsonl`.
pub(super) const COLUMNS: [Column; 1] = [Column {
    name: "bertscore",
    title: "BERTScore, F1",
    shown: Some("bertscore"),
    aggregate: Aggregate::Mean,
}];

/// How BERTScore is computed (`[evaluate.bertscore]`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bertscore {
    /// The encoder's layer whose states are compared; unset, the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<usize>,
    /// Weigh each token by how few references have it.
    pub idf: bool,
    /// A baseline file in bert-score's form (`LAYER,P,R,F`, one line a layer): scores become
    /// (score - baseline) / (1 - baseline).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
}

/// The scores of every explanation of every system.
#[derive(Debug)]
pub(super) struct Scores {
    encoder: String,
    layer: usize,
    of: HashMap<(usize, usize), Triple>,
}

impl Scores {
    /// Embeds and compares; `explanations` are left out where they are missing.
    pub(super) fn new(
        input: &Input<'_>,
        systems: &[System<'_>],
        options: &Bertscore,
        embedder: &mut dyn Embed,
        observe: &mut Observer<'_>,
    ) -> Result<Self> {
        let layer = options.layer.unwrap_or(embedder.n_layers());
        let baseline = match &options.baseline {
            Some(path) => Some(read_baseline(path.as_ref(), layer)?),
            None => None,
        };
        let mut places = Vec::new();
        let mut texts = Vec::new();
        for at in order(input, systems) {
            let example = &input.examples[at];
            for (n, system) in systems.iter().enumerate().filter(|(_, s)| s.explains) {
                let Some(answer) = system.prediction(&example.id) else {
                    continue;
                };
                for reference in input.references_of(example) {
                    places.push((n, at));
                    texts.push((answer.explanation.as_str(), reference));
                }
            }
        }
        let matches = embedder.match_tokens(&texts, layer, observe)?;
        if matches.len() != texts.len() {
            let what = format!(
                "`{}` matched {} of {} pairs",
                embedder.name(),
                matches.len(),
                texts.len()
            );
            return Err(Error::option("evaluate.encoder", what));
        }
        let weights = options.idf.then(|| Idf::new(&places, &texts, &matches));
        let mut of: HashMap<(usize, usize), Triple> = HashMap::new();
        for (place, pair) in places.into_iter().zip(&matches) {
            let score = score(pair, weights.as_ref());
            let best = of.entry(place).or_insert(score);
            best.precision = best.precision.max(score.precision);
            best.recall = best.recall.max(score.recall);
            best.f1 = best.f1.max(score.f1);
        }
        if let Some(baseline) = baseline {
            for score in of.values_mut() {
                *score = rescaled(*score, baseline);
            }
        }
        Ok(Self {
            encoder: embedder.name().to_owned(),
            layer,
            of,
        })
    }

    /// One explanation against its references, by the places of system and example.
    pub(super) fn of(&self, system: usize, example: usize) -> Option<Triple> {
        self.of.get(&(system, example)).copied()
    }

    pub(super) fn signature(&self, column: &str, options: &Bertscore) -> Signature {
        Signature::new(column)
            .with("encoder", &self.encoder)
            .with("layer", self.layer)
            .with("idf", if options.idf { "references" } else { "no" })
            .with("rescaled", options.baseline.as_deref().unwrap_or("no"))
            .with("value", "f1")
            .with("over", "mean")
            .with("like", "bert-score-0.3.13")
    }
}

/// The examples so that a text is needed again soon: after each example comes the one whose
/// reference its "other reference" is. An embedder then reads few texts twice.
fn order(input: &Input<'_>, systems: &[System<'_>]) -> Vec<usize> {
    let main = |example: &Example| input.references_of(example).next();
    let known = input.examples.iter().enumerate();
    let by_reference: HashMap<&str, usize> = known
        .filter_map(|(at, example)| Some((main(example)?, at)))
        .collect();
    let other = systems.iter().find(|system| system.name == OTHER_REFERENCE);
    let mut is_placed = vec![false; input.examples.len()];
    let mut order = Vec::with_capacity(input.examples.len());
    for first in 0..input.examples.len() {
        let mut next = Some(first);
        while let Some(at) = next.filter(|at| !is_placed[*at]) {
            is_placed[at] = true;
            order.push(at);
            let answer = other.and_then(|system| system.prediction(&input.examples[at].id));
            next = answer.and_then(|answer| by_reference.get(answer.explanation.as_str()).copied());
        }
    }
    order
}

/// How much each token weighs.
struct Idf {
    of: HashMap<u32, f64>,
    /// Of a token that no reference has.
    unseen: f64,
}

impl Idf {
    /// Over the references of all examples; one that two examples share counts twice, as in the
    /// package.
    fn new(places: &[(usize, usize)], texts: &[(&str, &str)], matches: &[TokenMatch]) -> Self {
        let mut documents: HashMap<u32, usize> = HashMap::new();
        let mut seen = HashSet::new();
        let mut n = 0usize;
        for (((_, example), (_, reference)), pair) in places.iter().zip(texts).zip(matches) {
            if !seen.insert((*example, *reference)) {
                continue;
            }
            n += 1;
            let tokens: HashSet<u32> = pair.reference.ids.iter().copied().collect();
            for token in tokens {
                *documents.entry(token).or_default() += 1;
            }
        }
        let weight = |documents: usize| ((n + 1) as f64 / (documents + 1) as f64).ln();
        Self {
            of: documents.iter().map(|(id, n)| (*id, weight(*n))).collect(),
            unseen: weight(0),
        }
    }
}

/// Precision over the explanation's tokens, recall over the reference's.
fn score(pair: &TokenMatch, idf: Option<&Idf>) -> Triple {
    // By their ids: one that is written in the text weighs nothing either, as in the package.
    let sides = [&pair.explanation, &pair.reference];
    let marked = sides.iter().flat_map(|s| s.ids.iter().zip(&s.is_special));
    let special: HashSet<u32> = marked.filter(|(_, is)| **is).map(|(id, _)| *id).collect();
    let mean = |side: &TokenSide| {
        let (mut sum, mut total) = (0.0, 0.0);
        for (id, best) in side.ids.iter().zip(&side.best) {
            let weight = match idf {
                _ if special.contains(id) => 0.0,
                None => 1.0,
                Some(idf) => idf.of.get(id).copied().unwrap_or(idf.unseen),
            };
            sum += weight * f64::from(*best);
            total += weight;
        }
        (total > 0.0).then(|| sum / total)
    };
    match (mean(&pair.explanation), mean(&pair.reference)) {
        (Some(precision), Some(recall)) => {
            let sum = precision + recall;
            let f1 = if sum == 0.0 {
                0.0
            } else {
                2.0 * precision * recall / sum
            };
            Triple {
                precision,
                recall,
                f1,
            }
        }
        _ => Triple::default(),
    }
}

fn rescaled(score: Triple, baseline: Triple) -> Triple {
    let over = |x: f64, b: f64| (x - b) / (1.0 - b);
    Triple {
        precision: over(score.precision, baseline.precision),
        recall: over(score.recall, baseline.recall),
        f1: over(score.f1, baseline.f1),
    }
}

/// The line of a layer in a file of `LAYER,P,R,F` (commas or tabs, one line of names first).
fn read_baseline(path: &Path, layer: usize) -> Result<Triple> {
    let text = fs::read_text(path)?;
    for (number, line) in text.lines().enumerate().skip(1) {
        let mut cells = line.split([',', '\t']).map(str::trim);
        let at = cells.next().and_then(|cell| cell.parse::<usize>().ok());
        let scores: Vec<f64> = cells.filter_map(|cell| cell.parse().ok()).collect();
        match (at, &scores[..]) {
            (Some(at), &[precision, recall, f1]) => {
                if at == layer {
                    return Ok(Triple {
                        precision,
                        recall,
                        f1,
                    });
                }
            }
            _ if line.trim().is_empty() => {}
            _ => {
                let what = format!("`{line}` is not LAYER,P,R,F");
                return Err(Error::record(path, number + 1, what));
            }
        }
    }
    Err(Error::file(path, format!("has no line for layer {layer}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(ids: &[u32], best: &[f32]) -> TokenSide {
        let n = ids.len();
        TokenSide {
            ids: ids.to_vec(),
            is_special: (0..n).map(|at| at == 0 || at == n - 1).collect(),
            best: best.to_vec(),
        }
    }

    fn assert_near(found: Triple, expected: [f64; 3]) {
        for (found, expected) in [found.precision, found.recall, found.f1]
            .iter()
            .zip(expected)
        {
            assert!((found - expected).abs() < 1e-7, "{found} is not {expected}");
        }
    }

    #[test]
    fn special_tokens_weigh_nothing_even_in_the_text() {
        let pair = TokenMatch {
            explanation: side(&[101, 7, 102, 8, 102], &[0.1, 0.5, 0.1, 1.0, 0.1]),
            reference: side(&[101, 8, 102], &[0.1, 1.0, 0.1]),
        };
        assert_near(score(&pair, None), [0.75, 1.0, 1.5 / 1.75]);
    }

    #[test]
    fn a_text_without_a_token_of_its_own_scores_0() {
        let pair = TokenMatch {
            explanation: side(&[101, 102], &[0.1, 0.1]),
            reference: side(&[101, 8, 102], &[0.1, 1.0, 0.1]),
        };
        assert_near(score(&pair, None), [0.0, 0.0, 0.0]);
    }

    /// Token 7 is in both references, token 8 in one: ln(3/3) = 0 and ln(3/2); 9 in none: ln 3.
    #[test]
    fn idf_weighs_by_the_references_that_have_a_token() {
        let pairs = [
            TokenMatch {
                explanation: side(&[1, 8, 9, 2], &[0.0, 0.5, 1.0, 0.0]),
                reference: side(&[1, 7, 8, 2], &[0.0, 0.25, 0.5, 0.0]),
            },
            TokenMatch {
                explanation: side(&[1, 7, 2], &[0.0; 3]),
                reference: side(&[1, 7, 2], &[0.0; 3]),
            },
        ];
        let idf = Idf::new(&[(0, 0), (0, 1)], &[("a", "r"), ("b", "s")], &pairs);
        let (one, none) = (1.5f64.ln(), 3f64.ln());
        let precision = (0.5 * one + none) / (one + none);
        let f1 = 2.0 * precision * 0.5 / (precision + 0.5);
        assert_near(score(&pairs[0], Some(&idf)), [precision, 0.5, f1]);
    }

    #[test]
    fn a_baseline_file_moves_its_layer_to_0() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("baseline.tsv");
        fs::write(&path, b"LAYER,P,R,F\n0,0.1,0.1,0.1\n1,0.5,0.25,0.5\n").unwrap();
        let baseline = read_baseline(&path, 1).unwrap();
        let score = Triple {
            precision: 0.75,
            recall: 0.25,
            f1: 1.0,
        };
        assert_near(rescaled(score, baseline), [0.5, 0.0, 1.0]);
        let error = read_baseline(&path, 7).unwrap_err().to_string();
        assert!(error.ends_with("has no line for layer 7"), "{error}");
        fs::write(&path, b"LAYER,P,R,F\n1;0.5\n").unwrap();
        let error = read_baseline(&path, 1).unwrap_err().to_string();
        assert!(error.contains(":2: `1;0.5` is not LAYER,P,R,F"), "{error}");
    }
}

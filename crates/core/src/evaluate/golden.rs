//! The metrics against their reference implementations, over `fixtures/metrics` (made by the
//! script that stands there, with pinned versions).
//!
//! Both sides count the same integers and differ by rounding in the last place: 1e-12 of the
//! scale is far above that and far below any digit that is printed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::cec::{Cosine, Similarities};
use super::pair::Triple;
use super::{bleu, chrf, meteor, rouge, words};

const TOLERANCE: f64 = 1e-12;

#[derive(Deserialize)]
struct Pair {
    explanation: String,
    references: Vec<String>,
    bleu: f64,
    bleu_hf: Option<f64>,
    rouge: Modes<Rouge>,
}

#[derive(Deserialize)]
struct Modes<T> {
    plain: T,
    stemmed: T,
}

#[derive(Deserialize)]
struct Rouge {
    #[serde(rename = "rouge1")]
    words: [f64; 3],
    #[serde(rename = "rouge2")]
    word_pairs: [f64; 3],
    #[serde(rename = "rougeL")]
    subsequence: [f64; 3],
    #[serde(rename = "rougeLsum")]
    lines: [f64; 3],
}

#[derive(Deserialize)]
struct Totals {
    bleu_corpus: f64,
    bleu_hf_corpus: f64,
    bleu: BTreeMap<String, f64>,
    chrf: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Lexical {
    explanation: String,
    references: Vec<String>,
    explanation_sentences: Vec<String>,
    reference_sentences: Vec<Vec<String>>,
    words: Vec<String>,
    meteor: BTreeMap<String, f64>,
    bleu: BTreeMap<String, f64>,
    bleu_hf_smooth: Option<f64>,
    chrf: BTreeMap<String, f64>,
}

impl Lexical {
    fn references(&self) -> Vec<&str> {
        self.references.iter().map(String::as_str).collect()
    }
}

#[derive(Deserialize)]
struct Vectors {
    explanation: Vec<Vec<f32>>,
    reference: Vec<Vec<f32>>,
    cec: CosineModes,
    best_of_explanation: Vec<usize>,
    best_of_reference: Vec<usize>,
}

/// Symmetric, precision, recall, F1.
#[derive(Deserialize)]
struct CosineModes {
    raw: [f64; 4],
    clipped: [f64; 4],
    scaled: [f64; 4],
}

fn read<T: serde::de::DeserializeOwned>(name: &str) -> Vec<T> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/metrics");
    crate::jsonl::read(&folder.join(name)).unwrap()
}

#[track_caller]
fn assert_close(found: f64, expected: f64, scale: f64, what: &str) {
    assert!(
        (found - expected).abs() <= TOLERANCE * scale,
        "{what}: {found} is not {expected}"
    );
}

#[test]
fn bleu_equals_sacrebleu_and_evaluate() {
    let options = bleu::BleuOptions::default();
    let (mut sacre, mut hf) = (bleu::Counts::default(), bleu::Counts::default());
    for pair in read::<Pair>("pairs.jsonl") {
        let references: Vec<&str> = pair.references.iter().map(String::as_str).collect();
        let of_sacre = bleu::sacre_counts(&pair.explanation, &references, &options);
        let of_hf = bleu::hf_counts(&pair.explanation, &references, &options);
        assert_close(of_sacre.sentence(), pair.bleu, 100.0, &pair.explanation);
        assert_eq!(
            of_hf.hf().is_none(),
            pair.bleu_hf.is_none(),
            "{:?}",
            pair.explanation
        );
        assert_close(
            of_hf.hf().unwrap_or(0.0),
            pair.bleu_hf.unwrap_or(0.0),
            1.0,
            &pair.explanation,
        );
        if references.len() == 1 {
            sacre.add(&of_sacre);
            hf.add(&of_hf);
        }
    }
    let expected = &read::<Totals>("corpus.jsonl")[0];
    assert_close(sacre.corpus(), expected.bleu_corpus, 100.0, "corpus");
    assert_close(hf.hf().unwrap(), expected.bleu_hf_corpus, 1.0, "corpus");
}

fn bleu_mode(name: &str) -> bleu::BleuOptions {
    let smooth = match name {
        "none" => bleu::Smooth::None,
        "floor" => bleu::Smooth::Floor { value: 0.1 },
        "add_k" => bleu::Smooth::AddK { value: 1.0 },
        _ => bleu::Smooth::Exp,
    };
    bleu::BleuOptions {
        lowercase: name == "lc",
        smooth,
        smooth_hf: true,
    }
}

#[test]
fn bleu_equals_sacrebleu_in_every_mode() {
    let mut totals: BTreeMap<String, bleu::Counts> = BTreeMap::new();
    for pair in read::<Lexical>("lexical.jsonl") {
        let references = pair.references();
        for (name, expected) in &pair.bleu {
            let counts = bleu::sacre_counts(&pair.explanation, &references, &bleu_mode(name));
            assert_close(counts.sentence(), *expected, 100.0, &pair.explanation);
        }
        let hf = bleu::hf_counts(&pair.explanation, &references, &bleu_mode("hf")).hf();
        assert_eq!(hf.is_none(), pair.bleu_hf_smooth.is_none());
        let (found, expected) = (hf.unwrap_or(0.0), pair.bleu_hf_smooth.unwrap_or(0.0));
        assert_close(found, expected, 1.0, &pair.explanation);
    }
    let expected = &read::<Totals>("corpus.jsonl")[0];
    for pair in read::<Pair>("pairs.jsonl") {
        if let [reference] = pair.references.as_slice() {
            for name in expected.bleu.keys() {
                let counts = bleu::sacre_counts(&pair.explanation, &[reference], &bleu_mode(name));
                totals.entry(name.clone()).or_default().add(&counts);
            }
        }
    }
    for (name, expected) in &expected.bleu {
        assert_close(totals[name].corpus(), *expected, 100.0, name);
    }
}

fn chrf_mode(name: &str) -> chrf::ChrfOptions {
    let plain = chrf::ChrfOptions::default();
    match name {
        "words" => chrf::ChrfOptions {
            word_order: 2,
            ..plain
        },
        "lc" => chrf::ChrfOptions {
            lowercase: true,
            word_order: 1,
            ..plain
        },
        "space" => chrf::ChrfOptions {
            whitespace: true,
            char_order: 4,
            beta: 3,
            ..plain
        },
        _ => plain,
    }
}

#[test]
fn chrf_equals_sacrebleu_in_every_mode() {
    for pair in read::<Lexical>("lexical.jsonl") {
        for (name, expected) in &pair.chrf {
            let counts = chrf::counts(&pair.explanation, &pair.references(), &chrf_mode(name));
            let found = counts.unwrap().score();
            assert_close(found, *expected, 100.0, &pair.explanation);
        }
    }
    let mut totals: BTreeMap<String, chrf::Counts> = BTreeMap::new();
    let expected = &read::<Totals>("corpus.jsonl")[0];
    for pair in read::<Pair>("pairs.jsonl") {
        if let [reference] = pair.references.as_slice() {
            for name in expected.chrf.keys() {
                let counts = chrf::counts(&pair.explanation, &[reference], &chrf_mode(name));
                let total = totals.entry(name.clone()).or_default();
                total.add(&counts.unwrap());
            }
        }
    }
    for (name, expected) in &expected.chrf {
        assert_close(totals[name].score(), *expected, 100.0, name);
    }
}

#[test]
fn meteor_and_its_words_equal_nltk() {
    for pair in read::<Lexical>("lexical.jsonl") {
        let sentences = pair.explanation_sentences.iter();
        let words: Vec<String> = sentences.flat_map(|s| words::words(s)).collect();
        assert_eq!(words, pair.words);
        let explanation = meteor::Text {
            whole: &pair.explanation,
            sentences: &pair.explanation_sentences,
        };
        let references: Vec<meteor::Text<'_>> = pair
            .references
            .iter()
            .zip(&pair.reference_sentences)
            .map(|(whole, sentences)| meteor::Text { whole, sentences })
            .collect();
        for (name, expected) in &pair.meteor {
            let mut options = meteor::MeteorOptions::default();
            match name.as_str() {
                "line" => options.tokens = meteor::Tokens::PreserveLine,
                "space" => options.tokens = meteor::Tokens::Whitespace,
                "other" => (options.alpha, options.beta, options.gamma) = (0.85, 0.2, 0.6),
                _ => {}
            }
            let found = meteor::score(explanation, &references, &options);
            assert_close(found.unwrap(), *expected, 1.0, &pair.explanation);
        }
    }
}

#[test]
fn rouge_equals_rouge_score() {
    for pair in read::<Pair>("pairs.jsonl") {
        let references: Vec<&str> = pair.references.iter().map(String::as_str).collect();
        for (stemmer, expected) in [(false, &pair.rouge.plain), (true, &pair.rouge.stemmed)] {
            let found = rouge::best_scores(&pair.explanation, &references, stemmer);
            let all = [
                (found.rouge1, expected.words),
                (found.rouge2, expected.word_pairs),
                (found.rouge_l.unwrap(), expected.subsequence),
                (found.rouge_lsum.unwrap(), expected.lines),
            ];
            for (
                Triple {
                    precision,
                    recall,
                    f1,
                },
                expected,
            ) in all
            {
                for (found, expected) in [precision, recall, f1].into_iter().zip(expected) {
                    assert_close(found, expected, 1.0, &pair.explanation);
                }
            }
        }
    }
}

/// The vectors are single precision here and double precision there: 1e-6.
#[test]
fn cec_equals_its_formula() {
    for vectors in read::<Vectors>("vectors.jsonl") {
        let explanation: Vec<&[f32]> = vectors.explanation.iter().map(Vec::as_slice).collect();
        let reference: Vec<&[f32]> = vectors.reference.iter().map(Vec::as_slice).collect();
        let similarities = Similarities::new(&explanation, &reference).unwrap();
        let places = |best: &[(usize, f64)]| best.iter().map(|(at, _)| *at).collect::<Vec<_>>();
        assert_eq!(
            places(&similarities.of_explanation),
            vectors.best_of_explanation
        );
        assert_eq!(
            places(&similarities.of_reference),
            vectors.best_of_reference
        );
        let modes = [
            (Cosine::Raw, vectors.cec.raw),
            (Cosine::Clipped, vectors.cec.clipped),
            (Cosine::Scaled, vectors.cec.scaled),
        ];
        for (mode, expected) in modes {
            let cec = similarities.cec(mode);
            let Triple {
                precision,
                recall,
                f1,
            } = cec.triple;
            let found = [cec.symmetric, precision, recall, f1];
            for (found, expected) in found.into_iter().zip(expected) {
                assert!(
                    (found - expected).abs() < 1e-6,
                    "{mode:?}: {found} is not {expected}"
                );
            }
        }
    }
}

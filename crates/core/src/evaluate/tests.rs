//! The whole stage with an encoder that needs no weights, and rules that hold for any text.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use proptest::prelude::*;

use super::cec::Similarities;
use super::pair::PairValue;
use super::*;

/// Counts letters into a unit vector: deterministic, and equal for equal texts.
#[derive(Default)]
struct Letters {
    embedded: Vec<String>,
}

impl Embed for Letters {
    fn name(&self) -> &'static str {
        "letters@1"
    }

    fn embed(&mut self, texts: &[&str], _: &mut Observer<'_>) -> Result<Vec<Vec<f32>>> {
        self.embedded
            .extend(texts.iter().map(|text| (*text).to_owned()));
        Ok(texts.iter().map(|text| letters(text)).collect())
    }

    /// A word is a token, and meets only itself.
    fn match_tokens(
        &mut self,
        pairs: &[(&str, &str)],
        _: usize,
        _: &mut Observer<'_>,
    ) -> Result<Vec<TokenMatch>> {
        let side = |text: &str, other: &str| {
            let words: Vec<&str> = text.split_whitespace().collect();
            let is_there = |word: &&str| other.split_whitespace().any(|known| known == *word);
            TokenSide {
                ids: words.iter().map(|word| word.len() as u32).collect(),
                is_special: vec![false; words.len()],
                best: words
                    .iter()
                    .map(|w| f32::from(u8::from(is_there(w))))
                    .collect(),
            }
        };
        let pairs = pairs.iter();
        Ok(pairs
            .map(|(a, b)| TokenMatch {
                explanation: side(a, b),
                reference: side(b, a),
            })
            .collect())
    }
}

fn letters(text: &str) -> Vec<f32> {
    let mut vector = [0.5f32; 27];
    for c in text.chars() {
        let c = c.to_ascii_lowercase();
        vector[if c.is_ascii_lowercase() {
            c as usize - 'a' as usize
        } else {
            26
        }] += 1.0;
    }
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter().map(|x| x / length).collect()
}

fn example(id: &str, label: &str) -> Example {
    Example {
        id: id.to_owned(),
        claim: "Ice floats.".to_owned(),
        evidence: vec![
            "Ice is less dense.".to_owned(),
            "Water is denser.".to_owned(),
        ],
        notes: vec![],
        label: label.to_owned(),
        strata: BTreeMap::new(),
        split: Split::Test,
    }
}

fn prediction(id: &str, system: &str, label: Option<&str>, explanation: &str) -> Prediction {
    Prediction {
        id: id.to_owned(),
        system: system.to_owned(),
        label: label.map(str::to_owned),
        explanation: explanation.to_owned(),
        outcome: if label.is_some() {
            Outcome::Ok
        } else {
            Outcome::Unparsable
        },
        completion: explanation.to_owned(),
        evidence_dropped: 0,
    }
}

struct Case {
    examples: Vec<Example>,
    references: BTreeMap<String, Vec<String>>,
    predictions: Vec<Prediction>,
}

/// Four examples; the student misses `d`, has no label for `c` and explains nothing for `b`.
fn case() -> Case {
    let label = |id: &str| if id == "b" { "refuted" } else { "supported" };
    let reference = |id: &str| vec![format!("Reference {id}. It floats since it is light.")];
    let ids = ["a", "b", "c", "d"];
    Case {
        examples: ids.iter().map(|id| example(id, label(id))).collect(),
        references: ids
            .iter()
            .map(|id| ((*id).to_owned(), reference(id)))
            .collect(),
        predictions: vec![
            prediction(
                "a",
                "student",
                Some("supported"),
                "Reference a. It floats since it is light.",
            ),
            prediction("b", "student", Some("supported"), ""),
            prediction("c", "student", None, "It is light."),
            prediction("a", "untrained", Some("refuted"), "Zzz."),
            prediction("b", "untrained", Some("refuted"), "Qqq zzz."),
            prediction("c", "untrained", Some("other"), "Xxx."),
            prediction("d", "untrained", None, "Www."),
        ],
    }
}

fn run(case: &Case, options: &EvaluateOptions, letters: &mut Letters) -> Result<Evaluation> {
    let sentences = BTreeMap::new();
    let input = Input {
        examples: &case.examples,
        training_labels: &["supported", "supported", "refuted"],
        references: &case.references,
        predictions: &case.predictions,
        sentences: &sentences,
    };
    let models = Models {
        encoder: Some(letters),
        ..Models::default()
    };
    evaluate(&input, options, 7, models, &mut |_| {
        ControlFlow::Continue(())
    })
}

fn quick() -> EvaluateOptions {
    EvaluateOptions {
        resamples: 200,
        ..EvaluateOptions::default()
    }
}

#[test]
fn systems_are_those_of_the_predictions_and_then_the_baselines() {
    let evaluation = run(&case(), &quick(), &mut Letters::default()).unwrap();
    let names: Vec<&str> = evaluation
        .metrics
        .systems
        .iter()
        .map(|s| s.system.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "student",
            "untrained",
            "copy-evidence",
            "other-reference",
            "majority-label"
        ]
    );
    let has = |system: &str, metric: &str| {
        evaluation
            .metrics
            .system(system)
            .unwrap()
            .metrics
            .contains_key(metric)
    };
    assert!(has("student", "accuracy") && has("student", "cec"));
    assert!(!has("copy-evidence", "accuracy") && has("copy-evidence", "cec"));
    assert!(has("majority-label", "accuracy") && !has("majority-label", "cec"));
}

#[test]
fn what_is_missing_is_counted_with_its_reason() {
    let evaluation = run(&case(), &quick(), &mut Letters::default()).unwrap();
    let student = evaluation.metrics.system("student").unwrap();
    let check = |metric: &str, n: usize, unscored: &[(&str, usize)]| {
        let metric = &student.metrics[metric];
        let expected: BTreeMap<String, usize> = unscored
            .iter()
            .map(|(reason, n)| ((*reason).to_owned(), *n))
            .collect();
        assert_eq!((metric.n, &metric.unscored), (n, &expected));
    };
    check("accuracy", 3, &[("no prediction", 1)]);
    check("rouge1", 3, &[("no prediction", 1)]);
    check(
        "cec",
        2,
        &[("no prediction", 1), ("the explanation has no sentence", 1)],
    );
    assert_eq!(student.outcomes["missing"], 1);
    assert_eq!(student.labels.as_ref().unwrap().no_label, 1);
    assert!((student.metrics["accuracy"].value.unwrap() - 1.0 / 3.0).abs() < 1e-12);

    let record = &evaluation.pairs[3];
    assert_eq!(
        (record.id.as_str(), record.system.as_str()),
        ("d", "student")
    );
    assert_eq!(record.metrics["cec"], None);
    assert_eq!(record.unscored["cec"], "no prediction");
}

#[test]
fn a_copy_of_the_reference_scores_in_full_and_is_aligned() {
    let evaluation = run(&case(), &quick(), &mut Letters::default()).unwrap();
    let record = &evaluation.pairs[0];
    let number = |metric| record.number(metric).unwrap();
    assert!((number("cec") - 1.0).abs() < 1e-6 && (number("bleu") - 100.0).abs() < 1e-9);
    assert_eq!(record.metrics["correct"], Some(PairValue::Truth(true)));
    let alignment = record.alignment.as_ref().unwrap();
    let best: Vec<usize> = alignment
        .explanation
        .iter()
        .map(|aligned| aligned.best)
        .collect();
    assert_eq!(best, [0, 1]);
}

#[test]
fn differences_are_the_student_minus_each_other_over_shared_examples() {
    let evaluation = run(&case(), &quick(), &mut Letters::default()).unwrap();
    let difference = evaluation
        .metrics
        .differences
        .iter()
        .find(|d| d.minus == "untrained" && d.metric == "cec")
        .unwrap();
    assert_eq!((difference.system.as_str(), difference.n), ("student", 2));
    assert!(difference.value.unwrap() > 0.0);
    let interval = difference.interval.unwrap();
    assert_eq!(difference.excludes_zero, Some(interval.excludes_zero()));
    assert!(
        evaluation
            .metrics
            .differences
            .iter()
            .all(|d| d.system == "student" && d.minus != "student")
    );
}

#[test]
fn each_different_sentence_is_embedded_once() {
    let mut letters = Letters::default();
    run(&case(), &quick(), &mut letters).unwrap();
    let n = letters.embedded.len();
    letters.embedded.sort_unstable();
    letters.embedded.dedup();
    assert_eq!(letters.embedded.len(), n);
}

#[test]
fn equal_seeds_give_equal_bytes_and_the_records_read_back() {
    let once = || run(&case(), &quick(), &mut Letters::default()).unwrap();
    let text = serde_json::to_string(&once().metrics).unwrap();
    assert_eq!(text, serde_json::to_string(&once().metrics).unwrap());
    let read: MetricsFile = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
    for pair in once().pairs {
        let text = serde_json::to_string(&pair).unwrap();
        let read: PairRecord = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }
}

/// Says that a text follows from one that begins like it, and else contradicts.
struct FirstWord;

impl Entail for FirstWord {
    fn name(&self) -> &'static str {
        "first-word@1"
    }

    fn judge(&mut self, pairs: &[(&str, &str)], _: &mut Observer<'_>) -> Result<Vec<[f32; 3]>> {
        let first = |text: &str| text.split(' ').next().map(str::to_owned);
        let judged = pairs.iter().map(|(premise, hypothesis)| {
            if first(premise) == first(hypothesis) {
                [1.0, 0.0, 0.0]
            } else {
                [0.0, 0.25, 0.75]
            }
        });
        Ok(judged.collect())
    }
}

#[test]
fn an_inference_model_is_asked_about_evidence_reference_and_label() {
    let mut case = case();
    case.predictions = vec![
        prediction("a", "student", Some("supported"), "Ice melts. It floats."),
        prediction("b", "student", Some("refuted"), "Water rises."),
        prediction("c", "student", None, "Water rises."),
    ];
    let sentences = BTreeMap::new();
    let input = Input {
        examples: &case.examples,
        training_labels: &[],
        references: &case.references,
        predictions: &case.predictions,
        sentences: &sentences,
    };
    let options = EvaluateOptions {
        metrics: vec![MetricName::Nli],
        ..quick()
    };
    let ask = |judge: Option<&mut dyn Entail>| {
        let models = Models {
            judge,
            ..Models::default()
        };
        evaluate(&input, &options, 7, models, &mut |_| {
            ControlFlow::Continue(())
        })
    };
    let evaluation = ask(Some(&mut FirstWord)).unwrap();
    let value = |at: usize, key: &str| evaluation.pairs[at].number(key);
    // "Ice" begins a sentence of the evidence, "It" one of the reference.
    assert_eq!(value(0, "nli_entailed_by_evidence"), Some(0.5));
    assert_eq!(value(0, "nli_contradicted_by_evidence"), Some(0.75));
    assert_eq!(value(0, "nli_entailed_by_reference"), Some(0.5));
    assert_eq!(value(0, "nli_label_agreement"), Some(1.0));
    assert_eq!(value(1, "nli_label_agreement"), Some(1.0));
    assert_eq!(
        evaluation.pairs[2].unscored["nli_label_agreement"],
        "no label"
    );
    let error = ask(None).unwrap_err().to_string();
    assert!(error.starts_with("evaluate.nli.model: "), "{error}");
}

#[test]
fn signatures_say_what_was_measured() {
    let evaluation = run(&case(), &quick(), &mut Letters::default()).unwrap();
    let student = evaluation.metrics.system("student").unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let check = |metric: &str, expected: &str| {
        let expected =
            format!("{expected}|interval:percentile-95|resamples:200|seed:7|stillhouse:{version}");
        assert_eq!(student.metrics[metric].signature.to_string(), expected);
    };
    check(
        "accuracy",
        "accuracy|split:test|n:3|unscored:1|over:mean|no_label:wrong",
    );
    check(
        "bleu",
        "bleu|split:test|n:3|unscored:1|refs:1|case:mixed|eff:yes|tok:13a|smooth:exp|scale:100|over:sentences|like:sacrebleu-2.6",
    );
    check(
        "rougeL",
        "rougeL|split:test|n:3|unscored:1|refs:1|case:lc|stem:no|value:f1|over:mean|like:rouge_score-0.1.2",
    );
    check(
        "cec",
        "cec|split:test|n:2|unscored:2|refs:1|encoder:letters@1|sentences:uax29-en-1|cosine:raw|over:mean",
    );
}

#[test]
fn wrong_input_is_refused_with_its_place() {
    let message = |change: fn(&mut Case)| {
        let mut case = case();
        change(&mut case);
        run(&case, &quick(), &mut Letters::default())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        message(|case| case.predictions.push(case.predictions[0].clone())),
        "example `a`: two predictions of system `student`"
    );
    assert_eq!(
        message(|case| case.predictions[0].system = "copy-evidence".to_owned()),
        "example `a`: the system name `copy-evidence` belongs to a baseline; choose another"
    );
    assert_eq!(
        message(|case| case.examples.push(case.examples[0].clone())),
        "example `a`: stands twice among the examples to evaluate"
    );
    let few = EvaluateOptions {
        resamples: 9,
        ..quick()
    };
    let error = run(&case(), &few, &mut Letters::default())
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "evaluate.resamples: 9 is too few for a 95 % interval; use 100 or more"
    );
}

#[test]
fn predictions_of_unknown_examples_are_told() {
    let mut case = case();
    case.predictions
        .push(prediction("zzz", "student", None, "?"));
    let sentences = BTreeMap::new();
    let input = Input {
        examples: &case.examples,
        training_labels: &[],
        references: &case.references,
        predictions: &case.predictions,
        sentences: &sentences,
    };
    let mut told = Vec::new();
    let mut observe = |event| {
        told.push(event);
        ControlFlow::Continue(())
    };
    evaluate(
        &input,
        &quick(),
        7,
        Models {
            encoder: Some(&mut Letters::default()),
            ..Models::default()
        },
        &mut observe,
    )
    .unwrap();
    assert!(told.iter().any(
        |event| matches!(event, Event::Warning { text } if text.starts_with("1 predictions"))
    ));
}

#[test]
fn nothing_to_evaluate_gives_no_values_and_no_panic() {
    let empty = Case {
        examples: vec![],
        references: BTreeMap::new(),
        predictions: vec![],
    };
    let evaluation = run(&empty, &quick(), &mut Letters::default()).unwrap();
    assert!(evaluation.pairs.is_empty() && evaluation.metrics.systems.is_empty());
}

#[test]
fn options_are_read_by_name_and_unknown_ones_are_refused() {
    let options: EvaluateOptions =
        serde_json::from_str(r#"{"metrics": ["macro_f1", "cec"], "cosine": "scaled"}"#).unwrap();
    assert_eq!(options.metrics, [MetricName::MacroF1, MetricName::Cec]);
    assert_eq!((options.cosine, options.resamples), (Cosine::Scaled, 2000));
    assert!(serde_json::from_str::<EvaluateOptions>(r#"{"metric": []}"#).is_err());
    assert!(serde_json::from_str::<EvaluateOptions>(r#"{"metrics": ["blue"]}"#).is_err());
}

fn similarities(a: &[String], b: &[String]) -> Similarities {
    let vectors = |texts: &[String]| texts.iter().map(|t| letters(t)).collect::<Vec<_>>();
    let (a, b) = (vectors(a), vectors(b));
    let a: Vec<&[f32]> = a.iter().map(Vec::as_slice).collect();
    let b: Vec<&[f32]> = b.iter().map(Vec::as_slice).collect();
    Similarities::new(&a, &b).unwrap()
}

proptest! {
    #[test]
    fn every_lexical_metric_is_within_its_bounds(a in "\\PC{0,40}", b in "\\PC{0,40}", stemmer: bool) {
        let counts = bleu::sacre_counts(&a, &[&b], &bleu::BleuOptions::default());
        for score in [counts.sentence(), counts.corpus()] {
            prop_assert!((0.0..=100.0 + 1e-9).contains(&score));
        }
        if let Some(score) = bleu::hf_counts(&a, &[&b], &bleu::BleuOptions::default()).hf() {
            prop_assert!((0.0..=1.0 + 1e-12).contains(&score));
        }
        let scores = rouge::scores(&a, &b, stemmer);
        for triple in [scores.rouge1, scores.rouge2, scores.rouge_l.unwrap(), scores.rouge_lsum.unwrap()] {
            for value in [triple.precision, triple.recall, triple.f1] {
                prop_assert!((0.0..=1.0).contains(&value));
            }
        }
    }

    #[test]
    fn swapping_the_sides_swaps_precision_and_recall(a in "[a-d ]{0,30}", b in "[a-d ]{0,30}") {
        let (there, back) = (rouge::scores(&a, &b, false), rouge::scores(&b, &a, false));
        for (there, back) in [(there.rouge1, back.rouge1), (there.rouge2, back.rouge2), (there.rouge_l.unwrap(), back.rouge_l.unwrap())] {
            prop_assert_eq!((there.precision, there.recall), (back.recall, back.precision));
        }
    }

    #[test]
    fn a_text_equals_itself(words in proptest::collection::vec("[a-z]{1,8}", 4..12)) {
        let text = words.join(" ");
        let counts = bleu::sacre_counts(&text, &[&text], &bleu::BleuOptions::default());
        prop_assert!((counts.sentence() - 100.0).abs() < 1e-9);
        prop_assert!((rouge::scores(&text, &text, true).rouge_lsum.unwrap().f1 - 1.0).abs() < 1e-12);
        prop_assert!((similarities(&words, &words).cec(Cosine::Raw).symmetric - 1.0).abs() < 1e-6);
    }

    #[test]
    fn cec_is_symmetric_bounded_and_blind_to_order(
        a in proptest::collection::vec("[a-f]{1,6}", 1..5),
        b in proptest::collection::vec("[a-f]{1,6}", 1..5),
    ) {
        let (there, back) = (similarities(&a, &b), similarities(&b, &a));
        let reversed: Vec<String> = a.iter().rev().cloned().collect();
        for mode in [Cosine::Raw, Cosine::Clipped, Cosine::Scaled] {
            let (there, back) = (there.cec(mode), back.cec(mode));
            prop_assert!((there.symmetric - back.symmetric).abs() < 1e-12);
            prop_assert!((there.triple.precision - back.triple.recall).abs() < 1e-12);
            prop_assert!((-1.0..=1.0).contains(&there.symmetric));
            let shuffled = similarities(&reversed, &b).cec(mode);
            prop_assert!((there.symmetric - shuffled.symmetric).abs() < 1e-12);
        }
    }
}

#[test]
fn a_judge_s_ratings_are_a_metric_of_what_was_rated() {
    let case = case();
    let input = Input {
        examples: &case.examples,
        training_labels: &[],
        references: &case.references,
        predictions: &case.predictions,
        sentences: &BTreeMap::new(),
    };
    let options = EvaluateOptions {
        metrics: vec![MetricName::Judge],
        ..quick()
    };
    let measure = |judged| {
        let models = Models {
            judged,
            ..Models::default()
        };
        evaluate(&input, &options, 7, models, &mut |_| {
            ControlFlow::Continue(())
        })
    };
    let error = measure(None).unwrap_err().to_string();
    assert!(error.contains("by the judge of [teacher.judge]"), "{error}");
    let rate = |id: &str, rating: u8| {
        let ratings = ["faithful", "complete", "causal"].map(|name| (name.to_owned(), rating));
        (
            (id.to_owned(), "student".to_owned()),
            BTreeMap::from(ratings),
        )
    };
    let judged = super::judge::Judged {
        model: "strict".into(),
        of: [rate("a", 9), rate("c", 4)].into(),
    };
    let found = measure(Some(&judged)).unwrap().metrics;
    let student = &found.system("student").unwrap().metrics["judge"];
    assert_eq!((student.value, student.n), (Some(6.5), 2));
    assert_eq!(student.unscored["no rating"], 1);
    assert_eq!(student.unscored["no prediction"], 1);
    let baseline = found
        .system("copy-evidence")
        .map(|system| system.metrics.len());
    assert_eq!(baseline, Some(0));
}

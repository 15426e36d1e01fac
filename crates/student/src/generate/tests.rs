//! What a completion depends on, and beams against transformers.

use std::path::Path;

use super::*;
use crate::golden::{case_in, items};

fn base() -> Model {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/quickstart/base"
    );
    Model::load(Path::new(folder)).unwrap()
}

fn say(model: &Model, prompts: &[String], options: &GenerateOptions) -> Vec<Vec<Completion>> {
    let mut found = vec![Vec::new(); prompts.len()];
    let mut keep = |index: usize, completion: Completion| {
        found[index].push(completion);
        Ok(())
    };
    let mut silent = |_| std::ops::ControlFlow::Continue(());
    generate(model, prompts, options, 5, &mut silent, &mut keep).unwrap();
    for completions in &mut found {
        completions.sort_by_key(|completion| completion.sample);
    }
    found
}

#[test]
fn the_logits_of_a_row_do_not_depend_on_the_rows_beside_it() {
    let network = base().network;
    let rows = |n: usize| {
        let mut cache = network.cache(n);
        let slots: Vec<usize> = (0..n).collect();
        let prompt = Reading {
            source: Vec::new(),
            tokens: (20..27).collect(),
        };
        for slot in &slots {
            let _ = network.begin(&[&prompt], &[*slot], &mut cache);
        }
        let states = network.advance(&vec![30; n], &slots, &mut cache);
        let logits = ops::head_rows(states, network.head(), None);
        let logits = logits.try_into_vec_as::<f32>().unwrap();
        let bits: Vec<u32> = logits.into_iter().map(f32::to_bits).collect();
        bits.chunks_exact(network.interface().vocabulary)
            .map(<[u32]>::to_vec)
            .collect::<Vec<_>>()
    };
    let alone = rows(1);
    for n in [2, 3, 5, 8, 16] {
        assert!(rows(n).iter().all(|row| *row == alone[0]), "{n} at once");
    }
}

#[test]
fn a_resting_student_thinks_much_as_before_and_speaks_alone_as_beside_others() {
    let prompts = ["claim: ice.", "claim: iron floats. verdict:", "b c d"];
    let prompts = prompts.map(str::to_owned);
    for model in [case_in("t5-tiny", "flan").model, base()] {
        let first_logits = |model: &Model| {
            let mut cache = model.network.cache(1);
            let reading = model.reading(&prompts[1]);
            let states = model.network.begin(&[&reading], &[0], &mut cache);
            logits(&model.network, model.resting_head.as_ref(), states)
        };
        let exact = first_logits(&model);
        let largest = exact.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        for (weights, most) in [
            (Base::F32, 0.0),
            (Base::Bf16, 0.03),
            (Base::Int8, 0.05),
            (Base::Nf4, 0.6),
        ] {
            let found = first_logits(&model.resting(weights.at_rest(true)));
            let pairs = found.iter().zip(&exact);
            let worst = pairs.fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / largest;
            assert!(worst <= most, "{weights:?}: {worst}");
            let options = |batch_size| GenerateOptions {
                max_new_tokens: 8,
                weights,
                batch_size,
                ..GenerateOptions::default()
            };
            let together = say(&model, &prompts, &options(3));
            assert_eq!(say(&model, &prompts, &options(1)), together, "{weights:?}");
        }
    }
}

#[test]
fn completions_depend_on_their_prompt_alone_whatever_the_kind() {
    let t5 = case_in("t5-tiny", "flan").model;
    let prompts = [
        "claim: ice.",
        "claim: iron floats. verdict:",
        "a",
        "claim: ice.",
        "b c d",
    ];
    let prompts = prompts.map(str::to_owned);
    let kinds = [
        (Sampling::Greedy {}, 1),
        (
            Sampling::Random {
                temperature: 1.3,
                top_k: Some(20),
                top_p: 0.9,
            },
            3,
        ),
        (
            Sampling::Beam {
                beams: 3,
                length_penalty: 1.0,
                early_stopping: EarlyStopping::Likely,
            },
            2,
        ),
    ];
    for (sampling, n) in kinds {
        for model in [&t5, &base()] {
            let options = |batch_size| GenerateOptions {
                max_new_tokens: 8,
                sampling,
                n,
                batch_size,
                ..GenerateOptions::default()
            };
            let together = say(model, &prompts, &options(16));
            assert!(
                together.iter().all(|found| found.len() == n),
                "{sampling:?}"
            );
            assert_eq!(together[0], together[3], "equal prompts get equal texts");
            assert_eq!(say(model, &prompts, &options(4)), together, "{sampling:?}");
            let alone = say(model, &prompts[1..2], &options(16));
            assert_eq!(alone[0], together[1]);
        }
    }
}

#[test]
fn several_draws_differ_and_the_first_is_that_of_one() {
    let options = |n| GenerateOptions {
        max_new_tokens: 12,
        n,
        sampling: Sampling::Random {
            temperature: 1.5,
            top_k: None,
            top_p: 1.0,
        },
        ..GenerateOptions::default()
    };
    let prompts = ["Claim: ice floats.".to_owned()];
    let one = say(&base(), &prompts, &options(1)).remove(0);
    let four = say(&base(), &prompts, &options(4)).remove(0);
    assert_eq!(four[0], one[0]);
    assert!(
        (1..4).all(|sample| four[sample].text != four[0].text),
        "{four:?}"
    );
}

#[test]
fn a_stop_text_ends_a_completion_wherever_tokens_are_cut() {
    let model = base();
    let prompts = ["Claim: ice floats.".to_owned()];
    let options = |stop: &[&str]| GenerateOptions {
        max_new_tokens: 60,
        stop: stop.iter().map(|text| (*text).to_owned()).collect(),
        ..GenerateOptions::default()
    };
    let whole = say(&model, &prompts, &options(&[]))
        .remove(0)
        .remove(0)
        .text;
    let chars: Vec<char> = whole.chars().collect();
    for (start, n) in [(3, 2), (7, 5), (20, 9)] {
        let stop: String = chars[start..start + n].iter().collect();
        let found = say(&model, &prompts, &options(&["never said", &stop]))
            .remove(0)
            .remove(0);
        assert_eq!(found.text, whole[..whole.find(&stop).unwrap()], "{stop:?}");
        assert!(!found.is_truncated);
    }
}

#[test]
fn beams_agree_with_transformers_token_by_token() {
    for name in ["original", "flan"] {
        let case = case_in("t5-tiny", name);
        let prompts: Vec<String> = items(&case.json)
            .into_iter()
            .map(|item| item.prompt)
            .collect();
        for (label, length_penalty, early_stopping, no_repeat_ngram) in [
            ("plain", 1.0, EarlyStopping::Likely, None),
            ("short", 0.2, EarlyStopping::Full, None),
            ("long", 2.0, EarlyStopping::Likely, Some(2)),
            ("sure", 2.0, EarlyStopping::Sure, None),
        ] {
            let options = GenerateOptions {
                max_new_tokens: 20,
                sampling: Sampling::Beam {
                    beams: 3,
                    length_penalty,
                    early_stopping,
                },
                n: 3,
                repetition_penalty: 1.0,
                no_repeat_ngram,
                penalise_prompt: true,
                ..GenerateOptions::default()
            };
            let found = say(&case.model, &prompts, &options);
            let found: Vec<Vec<Vec<u32>>> = found
                .into_iter()
                .map(|beams| beams.into_iter().map(|beam| beam.tokens).collect())
                .collect();
            let expected: Vec<Vec<Vec<u32>>> =
                serde_json::from_value(case.json["beams"][label].clone()).unwrap();
            assert_eq!(found, expected, "{name} {label}");
        }
    }
}

#[test]
fn options_that_cannot_work_are_named() {
    check(|o| o.n = 2, "student.generate.n");
    check(|o| o.n = 0, "student.generate.n");
    check(|o| o.batch_size = 0, "student.generate.batch_size");
    let random = |top_k| Sampling::Random {
        temperature: 1.0,
        top_k,
        top_p: 1.0,
    };
    check(
        |o| o.sampling = random(Some(0)),
        "student.generate.sampling.top_k",
    );
    check(
        |o| {
            o.n = 3;
            o.sampling = Sampling::Beam {
                beams: 2,
                length_penalty: 1.0,
                early_stopping: EarlyStopping::Likely,
            };
        },
        "student.generate.n",
    );
    GenerateOptions {
        n: 5,
        sampling: random(None),
        ..GenerateOptions::default()
    }
    .check()
    .unwrap();
}

fn check(change: impl FnOnce(&mut GenerateOptions), expected: &str) {
    let mut options = GenerateOptions::default();
    change(&mut options);
    let error = options.check().unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

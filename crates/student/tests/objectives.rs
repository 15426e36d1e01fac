//! What a user may rely on when a student learns more than the next token.

use std::ops::ControlFlow;
use std::path::Path;

use stillhouse_core::event::Event;
use stillhouse_core::{fs, jsonl, record};
use stillhouse_student::objective::{
    ConsistencyOptions, ContrastOptions, Counterfactual, Hints, Objectives, Part, SemanticOptions,
    TeacherOptions, TeacherToken, TopKOptions, TwoPrompts,
};
use stillhouse_student::ops::Divergence;
use stillhouse_student::optimizer::Warmup;
use stillhouse_student::train::{Criterion, Material, Method, TrainOptions, Trained, train_with};
use stillhouse_student::{ArchitectureOptions, Error, Item, Model, Result};

const SAID: [[&str; 3]; 4] = [
    ["Ice floats.", "Ice is light.", "yes"],
    ["Iron floats.", "Iron is heavy, so it sinks.", "no"],
    ["Bats are birds.", "Bats nurse their young.", "no"],
    ["Sound needs air.", "A vacuum is silent.", "yes"],
];
const OTHER: &str = "It is known.";

fn item(id: &str, prompt: &str, completion: &str) -> Item {
    Item {
        id: id.to_owned(),
        prompt: prompt.to_owned(),
        completion: completion.to_owned(),
        weight: 1.0,
    }
}

/// Two rationales and a wrong one for each claim, with everything that an objective may ask for.
fn taught() -> (Vec<Item>, Vec<Hints>) {
    let (mut items, mut hints) = (Vec::new(), Vec::new());
    for [claim, why, answer] in SAID {
        for (text, part) in [
            (why, Part::Whole),
            (OTHER, Part::Whole),
            (OTHER, Part::Counterfactual),
        ] {
            let is_wrong = part == Part::Counterfactual;
            let answer = match (is_wrong, answer) {
                (true, "yes") => "no",
                (true, _) => "yes",
                (false, answer) => answer,
            };
            let completion = format!(" {text} The answer is {answer}.");
            let at = completion.rfind(answer).expect("it stands at the end");
            let said = completion[..text.len()]
                .char_indices()
                .map(|(start, c)| TeacherToken {
                    start,
                    text: c.to_string(),
                    top: vec![(c.to_string(), -0.2), ("e".to_owned(), -2.5)],
                });
            hints.push(Hints {
                unit: Some(claim.to_owned()),
                part,
                answer: Some(at..at + answer.len()),
                explanation: Some(1..1 + text.len()),
                is_paired: !is_wrong,
                teacher_tokens: said.collect(),
                perturbed: vec![" The answer is what it is.".to_owned()],
                embedding: vec![0.6, -0.8, if text == OTHER { 0.5 } else { 0.0 }],
            });
            items.push(item(
                claim,
                &format!("Claim: {claim}\nVerdict:"),
                &completion,
            ));
        }
    }
    (items, hints)
}

/// Without merges, so that a character is a token.
fn tiny(seed: u64) -> Model {
    let options = ArchitectureOptions {
        hidden_size: 24,
        layers: 1,
        heads: 2,
        kv_heads: 1,
        intermediate_size: 32,
        vocabulary: 259,
        context: 128,
    };
    Model::random(&options, std::iter::once("abc"), seed).expect("the options are sound")
}

fn options(objectives: Objectives) -> TrainOptions {
    TrainOptions {
        steps: Some(6),
        batch_size: 3,
        learning_rate: 5e-3,
        warmup: Warmup::Steps(2),
        objectives,
        ..Default::default()
    }
}

fn run(
    folder: &Path,
    options: &TrainOptions,
    observe: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<Trained> {
    let (items, hints) = taught();
    // As a student of another size would say it: any function of the model will do.
    let judge = |model: &Model, _: &mut stillhouse_core::event::Observer<'_>| {
        let found = stillhouse_student::score::log_likelihood(model, "Claim:", " Ice is light.")?;
        Ok(found.perplexity().map(f64::recip))
    };
    let material = Material {
        train: &items,
        hints: &hints,
        validation: &items[..2],
        validation_hints: &hints[..2],
        teacher: options.objectives.teacher.as_ref().map(|_| tiny(5)),
        judge: Some(Box::new(judge)),
        memory: None,
    };
    train_with(tiny(1), material, options, 7, folder, &|| 0.0, observe)
}

fn cases() -> Vec<(&'static str, Objectives)> {
    let none = Objectives::default;
    let teacher = TeacherOptions {
        model: "large".to_owned(),
        divergence: Divergence::Jsd { beta: 0.3 },
        ..TeacherOptions::default()
    };
    let all = Objectives {
        counterfactual: Some(Counterfactual::default()),
        teacher: Some(teacher.clone()),
        top_k: Some(TopKOptions::default()),
        consistency: Some(ConsistencyOptions::default()),
        contrast: Some(ContrastOptions::default()),
        semantic: Some(SemanticOptions::default()),
        ..none()
    };
    let two_prompts = Some(TwoPrompts::default());
    vec![
        (
            "two_prompts",
            Objectives {
                two_prompts,
                ..none()
            },
        ),
        (
            "counterfactual",
            Objectives {
                counterfactual: all.counterfactual,
                ..none()
            },
        ),
        (
            "teacher",
            Objectives {
                teacher: all.teacher.clone(),
                cross_entropy: 0.0,
                ..none()
            },
        ),
        (
            "top_k",
            Objectives {
                top_k: all.top_k,
                ..none()
            },
        ),
        (
            "consistency",
            Objectives {
                consistency: all.consistency,
                ..none()
            },
        ),
        (
            "contrast",
            Objectives {
                contrast: all.contrast.clone(),
                ..none()
            },
        ),
        (
            "semantic",
            Objectives {
                semantic: all.semantic,
                ..none()
            },
        ),
        ("all", all),
    ]
}

fn remains(folder: &Path) -> Vec<Vec<u8>> {
    let names = [
        "steps.jsonl",
        "model/model.safetensors",
        "adapter/adapter_model.safetensors",
    ];
    names
        .map(|name| fs::read(&folder.join(name)).unwrap_or_default())
        .to_vec()
}

#[test]
fn every_objective_goes_on_bit_for_bit_where_it_was_stopped() {
    for (name, objectives) in cases() {
        for method in [Method::Full, Method::Lora] {
            let options = TrainOptions {
                method,
                choose_by: if name == "all" {
                    Criterion::Cec
                } else {
                    Criterion::Loss
                },
                ..options(objectives.clone())
            };
            let undisturbed = tempfile::tempdir().unwrap();
            run(undisturbed.path(), &options, &mut |_| {
                ControlFlow::Continue(())
            })
            .unwrap();
            let folder = tempfile::tempdir().unwrap();
            let mut stop = |event: Event| match event {
                Event::Step { step: 3, .. } => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            };
            let stopped = run(folder.path(), &options, &mut stop);
            assert!(matches!(
                stopped,
                Err(Error::Core(stillhouse_core::Error::Stopped))
            ));
            let mut resumed = false;
            let mut listen = |event: Event| {
                resumed |= matches!(event, Event::Resumed { .. });
                ControlFlow::Continue(())
            };
            run(folder.path(), &options, &mut listen).unwrap();
            assert!(resumed, "{name}");
            let same = remains(folder.path()) == remains(undisturbed.path());
            assert!(same, "{name}, {method:?}");
        }
    }
}

#[test]
fn a_stop_while_texts_are_judged_loses_the_step_and_nothing_else() {
    let options = TrainOptions {
        choose_by: Criterion::Cec,
        validate_every: Some(2),
        checkpoint_seconds: 0.0,
        ..options(Objectives::default())
    };
    let undisturbed = tempfile::tempdir().unwrap();
    run(undisturbed.path(), &options, &mut |_| {
        ControlFlow::Continue(())
    })
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (items, hints) = taught();
    let mut judged = 0;
    let judge = |_: &Model, _: &mut stillhouse_core::event::Observer<'_>| {
        judged += 1;
        // Before step 1, after step 2, and now after step 4.
        if judged == 3 {
            Err(stillhouse_core::Error::Stopped.into())
        } else {
            Ok(Some(0.0))
        }
    };
    let material = Material {
        train: &items,
        hints: &hints,
        validation: &items[..2],
        validation_hints: &hints[..2],
        judge: Some(Box::new(judge)),
        ..Material::default()
    };
    let mut go_on = |_: Event| ControlFlow::Continue(());
    train_with(
        tiny(1),
        material,
        &options,
        7,
        folder.path(),
        &|| 0.0,
        &mut go_on,
    )
    .unwrap_err();
    let mut resumed = String::new();
    let mut listen = |event: Event| {
        if let Event::Resumed { what } = event {
            resumed = what;
        }
        ControlFlow::Continue(())
    };
    run(folder.path(), &options, &mut listen).unwrap();
    assert_eq!(resumed, "step 3 of 6");
}

#[test]
fn the_student_is_the_one_with_the_highest_cec() {
    let folder = tempfile::tempdir().unwrap();
    let (items, _) = taught();
    // The judge likes the second measurement best, whatever the loss says.
    let mut scores = [0.1, 0.7, 0.3, 0.2, 0.1]
        .into_iter()
        .map(Some)
        .chain([None, None]);
    let judge = move |_: &Model, _: &mut stillhouse_core::event::Observer<'_>| {
        Ok(scores.next().expect("seven measurements are enough"))
    };
    let options = TrainOptions {
        choose_by: Criterion::Cec,
        validate_every: Some(1),
        patience: Some(3),
        ..options(Objectives::default())
    };
    let material = Material {
        train: &items,
        validation: &items[..2],
        judge: Some(Box::new(judge)),
        ..Material::default()
    };
    let mut go_on = |_: Event| ControlFlow::Continue(());
    let trained = train_with(
        tiny(1),
        material,
        &options,
        7,
        folder.path(),
        &|| 0.0,
        &mut go_on,
    )
    .unwrap();
    assert_eq!((trained.best_step, trained.steps), (1, 4));
    assert_eq!(trained.validation_cec, Some(0.7));
    let steps: Vec<record::Step> = jsonl::read(&folder.path().join("steps.jsonl")).unwrap();
    let cecs: Vec<f64> = steps
        .iter()
        .filter_map(|step| step.validation_cec)
        .collect();
    assert_eq!(cecs, [0.7, 0.3, 0.2, 0.1]);
}

#[test]
fn every_objective_falls_when_it_is_learnt_alone() {
    for (name, mut objectives) in cases() {
        // Two answers of a random student are the same already.
        if matches!(
            name,
            "two_prompts" | "counterfactual" | "consistency" | "all"
        ) {
            continue;
        }
        objectives.cross_entropy = objectives.cross_entropy.min(0.01);
        if let Some(contrast) = &mut objectives.contrast {
            contrast.weight = 1.0;
        }
        if let Some(semantic) = &mut objectives.semantic {
            semantic.weight = 1.0;
        }
        let folder = tempfile::tempdir().unwrap();
        let options = TrainOptions {
            steps: Some(40),
            batch_size: 4,
            ..options(objectives)
        };
        run(folder.path(), &options, &mut |_| ControlFlow::Continue(())).unwrap();
        let steps: Vec<record::Step> = jsonl::read(&folder.path().join("steps.jsonl")).unwrap();
        let (first, last) = (&steps[0].objectives[name], &steps[39].objectives[name]);
        assert!(last < first, "{name}: {first} before, {last} after");
    }
}

#[test]
fn the_projection_is_not_saved() {
    let folder = tempfile::tempdir().unwrap();
    let objectives = Objectives {
        semantic: Some(SemanticOptions::default()),
        ..Objectives::default()
    };
    let trained = run(folder.path(), &options(objectives), &mut |_| {
        ControlFlow::Continue(())
    });
    assert_eq!(
        trained.unwrap().model.n_parameters(),
        tiny(1).n_parameters()
    );
    Model::load(&folder.path().join("model")).unwrap();
}

#[test]
fn what_an_objective_lacks_is_said() {
    let check = |objectives: Objectives, hints: &[Hints], expected: &str| {
        let folder = tempfile::tempdir().unwrap();
        let (items, _) = taught();
        let has_teacher = objectives.teacher.is_some();
        let other = ArchitectureOptions {
            vocabulary: 262,
            hidden_size: 16,
            heads: 2,
            kv_heads: 1,
            ..ArchitectureOptions::default()
        };
        let material = Material {
            train: &items,
            hints,
            teacher: has_teacher
                .then(|| Model::random(&other, ["the the the"; 3].into_iter(), 1).unwrap()),
            ..Material::default()
        };
        let mut go_on = |_: Event| ControlFlow::Continue(());
        let options = options(objectives);
        let done = train_with(
            tiny(1),
            material,
            &options,
            7,
            folder.path(),
            &|| 0.0,
            &mut go_on,
        );
        let error = done.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let all = cases();
    let of = |name: &str| all.iter().find(|case| case.0 == name).unwrap().1.clone();
    check(
        of("semantic"),
        &[],
        "no item has the embedding of a reference",
    );
    check(
        of("top_k"),
        &[],
        "no token of the teacher is a token of the student",
    );
    check(
        of("teacher"),
        &[],
        "the teacher's tokenizer is not the student's",
    );
    let alone = Objectives {
        cross_entropy: 0.0,
        ..Objectives::default()
    };
    check(alone, &[], "leaves nothing that teaches what to say");
}

#[test]
fn recomputed_activations_give_the_same_student_bit_for_bit() {
    let (_, all) = cases().pop().unwrap();
    for (objectives, method) in [
        (Objectives::default(), Method::Full),
        (Objectives::default(), Method::Lora),
        (all, Method::Lora),
    ] {
        let done = [false, true].map(|recompute| {
            let options = TrainOptions {
                recompute,
                method,
                micro_batch_tokens: 100,
                ..options(objectives.clone())
            };
            let folder = tempfile::tempdir().unwrap();
            run(folder.path(), &options, &mut |_| ControlFlow::Continue(())).unwrap();
            remains(folder.path())
        });
        assert!(done[0] == done[1], "{method:?}");
    }
}

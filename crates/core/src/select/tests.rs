//! Rules of selection over small made-up records.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use proptest::prelude::*;

use super::likelihood::Toy;
use super::*;
use crate::prompt::Template;
use crate::record::Outcome;

fn example(id: &str, split: Split) -> Example {
    Example {
        id: id.into(),
        claim: "why does ice melt".into(),
        label: "yes".into(),
        split,
        ..Example::default()
    }
}

fn rationale(example: &str, number: usize, label: Option<&str>, text: &str) -> Rationale {
    Rationale {
        id: format!("{example}/{number}"),
        example: example.into(),
        label: label.map(Into::into),
        text: text.into(),
        outcome: if text.is_empty() {
            Outcome::Empty
        } else {
            Outcome::Ok
        },
        label_was_shown: false,
        source: "test".into(),
        prompt: None,
        usage: None,
    }
}

fn quiet(_: crate::event::Event) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn template() -> Template {
    Template::new(
        "Question: {{ claim }}\n{% for e in evidence %}{{ e }} {% endfor %}",
        false,
    )
    .unwrap()
}

/// Scores by the toy, then the choices.
fn chosen(
    examples: &[Example],
    rationales: &[Rationale],
    options: &SelectOptions,
    seed: u64,
) -> Vec<Choice> {
    let vectors = Vectors::new();
    let mut input = Input {
        examples,
        rationales,
        scores: &[],
        judgements: &[],
        vectors: &vectors,
    };
    let mut toy = Toy {
        context: 60,
        n_asked: 0,
    };
    let wanted = Wanted::of(options);
    let questions = to_score(&input, options);
    let scores = if wanted.any() {
        score(&questions, &template(), wanted, true, &mut toy, &mut quiet).unwrap()
    } else {
        vec![]
    };
    input.scores = &scores;
    choose(&input, options, seed).unwrap()
}

fn with(method: Method) -> SelectOptions {
    SelectOptions {
        method,
        ..SelectOptions::default()
    }
}

/// The rule of each candidate, or "kept".
fn rules(choices: &[Choice]) -> String {
    let word = |c: &Choice| {
        if c.kept {
            "kept".into()
        } else {
            format!("{:?}", c.rule)
        }
    };
    choices.iter().map(word).collect::<Vec<String>>().join(" ")
}

/// Lines of "label text", one candidate each, against the rules that decide them.
fn check(method: &Method, candidates: &str, expected: &str) {
    let parse = |(n, line): (usize, &str)| {
        let (label, text) = line.trim().split_once(' ').unwrap();
        let label = (label != "-").then_some(label);
        rationale("a", n, label, text.trim_matches('_'))
    };
    let rationales: Vec<Rationale> = candidates.lines().enumerate().map(parse).collect();
    let choices = chosen(
        &[example("a", Split::Train)],
        &rationales,
        &with(method.clone()),
        7,
    );
    assert_eq!(rules(&choices), expected);
}

#[test]
fn rules_apply_in_order_and_the_first_that_drops_is_named() {
    let diverse = |keep| Method::Diverse {
        keep,
        max_similarity: 0.5,
    };
    let five = "yes ice melts because it is warm\nno the sun went out\nyes ice melts because it is very warm\nyes __\nyes heat breaks the bonds of the crystal";
    check(&diverse(3), five, "kept Accuracy Diversity Outcome kept");
    check(&diverse(1), five, "kept Accuracy Diversity Outcome Keep");
    check(&Method::All, five, "kept kept kept Outcome kept");
    check(
        &diverse(2),
        "- no label at all\nno wrong label here",
        "Accuracy Accuracy",
    );
    // A near-duplicate of a wrong candidate is no near-duplicate of a kept one.
    check(
        &diverse(2),
        "no ice melts because it is warm\nyes ice melts because it is warm",
        "Accuracy kept",
    );
}

#[test]
fn exact_duplicates_go_but_for_the_first() {
    let twice = "yes it is warm\nyes it is warm\nno it is warm";
    check(
        &Method::Accuracy { keep: 9 },
        twice,
        "kept Duplicate Accuracy",
    );
    check(&Method::All, twice, "kept kept kept");
}

#[test]
fn difficulty_ranks_what_accuracy_and_diversity_leave() {
    let morsd = |keep| Method::Morsd {
        keep,
        max_similarity: 0.5,
        difficulty: Difficulty::Plain,
    };
    // The toy finds a word easier the later it was said before: the second says it last.
    let four = "yes yes it is because heat breaks bonds\nyes heat breaks the crystal so yes\nno no and yes\nyes heat breaks the crystal so yes yes";
    check(&morsd(6), four, "kept kept Accuracy Diversity");
    check(&morsd(1), four, "Difficulty kept Accuracy Diversity");
    let ranked = Ranked {
        keep: 1,
        ..Ranked::default()
    };
    // The last two say it equally late: the earlier one is kept.
    check(
        &Method::RdMin(ranked.clone()),
        four,
        "Difficulty kept Difficulty Difficulty",
    );
    check(
        &Method::RdMax(ranked),
        four,
        "kept Difficulty Difficulty Difficulty",
    );
}

#[test]
fn diversity_alone_takes_the_farthest_first() {
    let method = Method::Diversity {
        keep: 2,
        max_similarity: 0.9,
    };
    let three = "yes ice melts because it is warm\nyes ice melts because it is warm today\nno heat breaks bonds";
    check(&method, three, "kept Keep kept");
}

#[test]
fn the_test_split_is_never_selected_from_and_bare_examples_are_counted() {
    let examples = [
        example("a", Split::Train),
        example("b", Split::Test),
        example("c", Split::Validation),
    ];
    let rationales = [
        rationale("a", 0, Some("no"), "x"),
        rationale("b", 0, Some("yes"), "y"),
    ];
    let choices = chosen(&examples, &rationales, &SelectOptions::default(), 7);
    assert_eq!(choices.len(), 1);
    assert_eq!(choices[0].rule, Rule::Accuracy);
    assert_eq!(uncovered(&examples, &choices), ["a", "c"]);
    let vectors = Vectors::new();
    let input = Input {
        examples: &examples,
        rationales: &rationales,
        scores: &[],
        judgements: &[],
        vectors: &vectors,
    };
    let counts = coverage(&input, &choices);
    assert_eq!((counts.examples, counts.covered, counts.bare), (2, 0, 1));
    assert_eq!((counts.never_right, counts.single), (1, 1));
    assert_eq!(counts.lost, BTreeMap::from([(Rule::Accuracy, 1)]));
}

#[test]
fn what_cannot_be_scored_is_dropped_with_its_reason() {
    let long = "because ".repeat(80);
    let rationales = [
        rationale("a", 0, Some("yes"), &long),
        rationale("a", 1, Some("yes"), "it is warm"),
    ];
    let mut examples = [example("a", Split::Train)];
    let options = with(Method::RdMin(Ranked::default()));
    let choices = chosen(&examples, &rationales, &options, 7);
    assert_eq!(rules(&choices), "Difficulty kept");
    assert!(
        choices[0].reason.contains("context of 60"),
        "{}",
        choices[0].reason
    );

    examples[0].label = " ".into();
    let choices = chosen(&examples, &rationales, &options, 7);
    assert_eq!(rules(&choices), "Difficulty Difficulty");
    assert!(
        choices[1].reason.contains("the gold answer is empty"),
        "{}",
        choices[1].reason
    );

    examples[0].claim = "why ".repeat(100);
    let choices = chosen(&examples, &rationales, &options, 7);
    assert!(choices[1].reason.contains("do not fit") || choices[1].reason.contains("does not fit"));
    assert!(chosen(&examples, &[], &options, 7).is_empty());
}

#[test]
fn a_shown_label_has_no_difficulty() {
    let examples = [example("a", Split::Train)];
    let rationales = [rationale("a", 0, Some("yes"), "x")];
    let questions = [Question {
        example: &examples[0],
        candidates: rationales.iter().collect(),
    }];
    let shown = Template::new("{{ claim }} {{ label }}", true).unwrap();
    let wanted = Wanted {
        given: true,
        ..Wanted::default()
    };
    let mut toy = Toy {
        context: 60,
        n_asked: 0,
    };
    let error = score(&questions, &shown, wanted, true, &mut toy, &mut quiet).unwrap_err();
    assert!(error.to_string().contains("data.show_label"), "{error}");
}

#[test]
fn the_divisor_is_asked_for_only_where_questions_are_compared() {
    let examples = [example("a", Split::Train)];
    let rationales = [
        rationale("a", 0, Some("yes"), "it is warm. So yes."),
        rationale(
            "a",
            1,
            Some("yes"),
            "heat breaks bonds. Then it flows. The answer is yes.",
        ),
    ];
    let asked = |options: &SelectOptions| {
        let vectors = Vectors::new();
        let input = Input {
            examples: &examples,
            rationales: &rationales,
            scores: &[],
            judgements: &[],
            vectors: &vectors,
        };
        let mut toy = Toy {
            context: 60,
            n_asked: 0,
        };
        let wanted = Wanted::of(options);
        let questions = to_score(&input, options);
        let scores = score(&questions, &template(), wanted, true, &mut toy, &mut quiet).unwrap();
        assert!(scores.iter().all(|s| wanted.is_met_by(s)));
        (toy.n_asked, scores)
    };
    let plain = with(Method::RdMin(Ranked::default()));
    assert_eq!(asked(&plain).0, 2);
    let budget = SelectOptions {
        budget: Some(5),
        ..plain.clone()
    };
    assert_eq!(asked(&budget).0, 3);
    let all = SelectOptions {
        record: vec![
            Score::Rd,
            Score::RdStripped,
            Score::RdControl,
            Score::Steps,
            Score::Ifd,
        ],
        ..plain
    };
    let (_, scores) = asked(&all);
    let answer = scores[1].answer.as_ref().unwrap();
    assert_eq!(answer.mentions, Some(true));
    assert_eq!(answer.steps.len(), 3);
    let sum: f64 = answer.steps.iter().sum();
    assert!((sum - (answer.alone.unwrap() - answer.given)).abs() < 1e-9);
    // Without the statement the answer was said longer ago, or never.
    assert!(answer.stripped.unwrap() > answer.given);
}

fn methods(keep: usize) -> Vec<Method> {
    let ranked = Ranked {
        keep,
        ..Ranked::default()
    };
    let (max_similarity, difficulty) = (0.5, Difficulty::Plain);
    vec![
        Method::Random { keep },
        Method::Accuracy { keep },
        Method::Diversity {
            keep,
            max_similarity,
        },
        Method::Diverse {
            keep,
            max_similarity,
        },
        Method::Morsd {
            keep,
            max_similarity,
            difficulty,
        },
        Method::RdMin(ranked.clone()),
        Method::RdMax(ranked.clone()),
        Method::Rsr(ranked.clone()),
        Method::Perplexity(ranked.clone()),
        Method::Length(ranked.clone()),
        Method::Judge(ranked),
        Method::Ifd {
            keep,
            accuracy: true,
            max_similarity: None,
            ratio: IfdRatio::default(),
        },
        Method::Joint {
            keep,
            accuracy: true,
            objective: Objective::Mmr,
            weight: 0.5,
            difficulty,
        },
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_selection_is_a_subset_of_the_right_size(
        keep in 1usize..5,
        budget in proptest::option::of(1usize..6),
        texts in proptest::collection::vec("(yes |no |ab |cd ){0,6}", 0..9),
        seed in 0u64..99,
    ) {
        let examples = [example("a", Split::Train), example("b", Split::Train)];
        let rationales: Vec<Rationale> = texts
            .iter()
            .enumerate()
            .map(|(n, text)| rationale(["a", "b"][n % 2], n, Some(["yes", "no"][n % 3 / 2]), text.trim()))
            .collect();
        for method in methods(keep) {
            let options = SelectOptions { budget, ..with(method.clone()) };
            let choices = chosen(&examples, &rationales, &options, seed);
            prop_assert_eq!(choices.len(), texts.len());
            for example in &examples {
                let kept = choices.iter().filter(|c| c.kept && c.example == example.id);
                prop_assert!(kept.count() <= keep);
            }
            prop_assert!(choices.iter().filter(|c| c.kept).count() <= budget.unwrap_or(usize::MAX));
            for choice in &choices {
                let own = rationales.iter().find(|r| r.id == choice.rationale).unwrap();
                prop_assert!(!choice.kept || !own.text.is_empty());
                prop_assert!(!choice.kept || !options.method.plan().accuracy || own.label.as_deref() == Some("yes"));
                prop_assert!(choice.scores.values().all(|v| v.is_finite()));
                prop_assert!((choice.weight > 0.0) == choice.kept);
            }
            prop_assert_eq!(&chosen(&examples, &rationales, &options, seed), &choices);
            // With a larger number to keep, what was kept stays.
            if budget.is_none() && !matches!(method, Method::Judge(_)) {
                let more = methods(keep + 1);
                let same = more.iter().find(|m| std::mem::discriminant(*m) == std::mem::discriminant(&method)).unwrap();
                let wider = chosen(&examples, &rationales, &with(same.clone()), seed);
                prop_assert!(choices.iter().zip(&wider).all(|(a, b)| !a.kept || b.kept), "{:?}", method);
            }
        }
    }
}

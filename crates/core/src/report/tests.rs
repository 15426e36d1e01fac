//! Both pages from synthetic records.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::*;
use crate::error::Result;
use crate::evaluate::{Embed, EvaluateOptions, Input, MetricName, Models, evaluate};
use crate::event::Observer;
use crate::random::Random;
use crate::record::Outcome;
use crate::select;

const FIELDS: [&str; 6] = ["ice", "kelp", "steel", "bees", "vaccines", "rivers"];
const CLAIM: &str = "<script>alert(1)</script> & \"quotes\" | `code` *stars*";

/// Words as directions: texts that share words are close.
struct Words;

impl Embed for Words {
    fn name(&self) -> &'static str {
        "words@1"
    }

    fn embed(&mut self, texts: &[&str], _: &mut Observer<'_>) -> Result<Vec<Vec<f32>>> {
        let one = |text: &&str| {
            let mut vector = vec![0.05f32; 64];
            for word in text.to_lowercase().split(|c: char| !c.is_alphanumeric()) {
                vector[(crate::random::hash(word.as_bytes(), 1) % 64) as usize] += 1.0;
            }
            let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            vector.into_iter().map(|x| x / length).collect()
        };
        Ok(texts.iter().map(one).collect())
    }
}

fn example(n: usize) -> Example {
    let field = FIELDS[n % FIELDS.len()];
    Example {
        id: format!("{}-{n:03}", &field[..1].to_uppercase()),
        claim: if n == 0 {
            CLAIM.to_owned()
        } else {
            format!("Warm years leave less {field} behind than cold years do.")
        },
        evidence: vec![
            format!(
                "Surveys of {field} were made in each of the last {} years.",
                5 + n % 9
            ),
            format!("In warm years the amount of {field} fell by a third."),
            "The observers were not told the temperature.".to_owned(),
        ],
        notes: vec![],
        label: ["supported", "refuted", "not enough evidence"][n % 3].to_owned(),
        strata: BTreeMap::new(),
        split: Split::Test,
    }
}

fn reference(n: usize) -> String {
    let field = FIELDS[n % FIELDS.len()];
    format!(
        "The surveys found less {field} after warm years, by about a third. Heat reaches {field} before anything else does, so a warm year takes its share early. Because nobody was told the temperature, the count of {field} cannot have followed a hope."
    )
}

/// What both students say, with gaps: an empty explanation, and answers without a label.
fn predictions(examples: &[Example], random: &mut Random) -> Vec<Prediction> {
    let mut predictions = Vec::new();
    for (n, example) in examples.iter().enumerate() {
        let field = FIELDS[n % FIELDS.len()];
        let label = if random.below(3) < 2 {
            &example.label
        } else {
            "refuted"
        };
        let trained = format!(
            "The claim holds for {field}. The surveys found less {field} in warm years. It is the heat that does it, and the heat is the heat."
        );
        let untrained =
            format!("The {field} of the the. A number of people were there in the end.");
        let untrained = if n == 5 { String::new() } else { untrained };
        for (system, label, text, outcome) in [
            ("student", Some(label), trained, Outcome::Ok),
            (
                "untrained",
                Some(label).filter(|_| n % 4 == 0),
                untrained,
                Outcome::Truncated,
            ),
        ] {
            predictions.push(Prediction {
                id: example.id.clone(),
                system: system.to_owned(),
                label: label.map(str::to_owned),
                completion: text.clone(),
                explanation: text,
                outcome,
                evidence_dropped: 0,
            });
        }
    }
    predictions
}

fn steps(random: &mut Random) -> Vec<Step> {
    let falling = |step: usize| (-(step as f64) / 60.0).exp();
    let step = |step: usize| Step {
        step,
        epoch: step as f64 / 86.0,
        loss: 2.1 + 2.6 * falling(step) + 0.12 * random.normal(),
        learning_rate: 2e-3,
        gradient_norm: 1.0,
        tokens: 4000,
        supervised_tokens: 700,
        objectives: BTreeMap::new(),
        validation_loss: step
            .is_multiple_of(40)
            .then(|| 2.35 + 2.2 * falling(step) + 0.0006 * step.abs_diff(200) as f64),
        validation_cec: None,
    };
    (1..=320).map(step).collect()
}

/// Selection as a run would show it, with every part.
fn selected() -> Selected {
    let candidate = |text: &str, reason: &str| Candidate {
        text: text.to_owned(),
        reason: reason.to_owned(),
        scores: BTreeMap::from([("rd".to_owned(), 0.25)]),
        steps: vec![(text.to_owned(), 2.0)],
    };
    Selected {
        coverage: select::Coverage {
            candidates: 1150,
            right: 922,
            duplicates: 3,
            examples: 230,
            covered: 228,
            never_right: 2,
            ..select::Coverage::default()
        },
        scores: vec![(
            "rd".to_owned(),
            (1..60).map(|n| (f64::from(n) / 30.0, n % 3 > 0)).collect(),
        )],
        shown: vec![Shown {
            id: "I-000".to_owned(),
            claim: CLAIM.to_owned(),
            kept: vec![candidate(CLAIM, "passed every rule")],
            dropped: vec![candidate(
                "It is the heat.",
                "place 7 of 9 by rd; 6 are kept",
            )],
        }],
        selectors: vec![(
            "morsd".to_owned(),
            BTreeMap::from([("flawed".to_owned(), [12, 218])]),
        )],
    }
}

/// A report as a run would give it; everything in it is made up.
fn synthetic() -> Report {
    let mut random = Random::new(3, "synthetic report");
    let examples: Vec<Example> = (0..40).map(example).collect();
    let references: BTreeMap<String, Vec<String>> = examples
        .iter()
        .enumerate()
        .map(|(n, e)| (e.id.clone(), vec![reference(n)]))
        .collect();
    let predictions = predictions(&examples, &mut random);
    let input = Input {
        examples: &examples,
        training_labels: &["supported", "supported", "refuted"],
        references: &references,
        predictions: &predictions,
        sentences: &BTreeMap::new(),
    };
    let mut metrics = MetricName::DEFAULT.to_vec();
    metrics.retain(|metric| *metric != MetricName::Bertscore);
    let options = EvaluateOptions {
        metrics,
        resamples: 100,
        ..EvaluateOptions::default()
    };
    let models = Models {
        encoder: Some(&mut Words),
        ..Models::default()
    };
    let mut quiet = |_| ControlFlow::Continue(());
    let evaluation = evaluate(&input, &options, 7, models, &mut quiet).unwrap();
    let reference = |(id, explanations)| Reference {
        id,
        explanations,
        roles: BTreeMap::new(),
    };
    Report {
        title: "quickstart".to_owned(),
        tool: "stillhouse 0.1.0".to_owned(),
        seed: 7,
        facts: vec![("student".to_owned(), "stillhouse-nano".to_owned())],
        config: "seed = 7\n\n[data]\npath = \"claims.jsonl\"\n".to_owned(),
        dataset: Dataset::of("made up", &examples),
        selection: Some(Funnel {
            candidates: 1150,
            dropped: BTreeMap::from([(Rule::Accuracy, 228), (Rule::Diversity, 232)]),
            kept: 690,
            examples: 230,
            examples_kept: 228,
            roles: BTreeMap::from([("reference".to_owned(), [230, 0])]),
            label_was_shown: true,
        }),
        selected: Some(selected()),
        steps: steps(&mut random),
        metrics: evaluation.metrics,
        pairs: evaluation.pairs,
        references: references.into_iter().map(reference).collect(),
        examples,
        predictions,
        times: vec![StageTime {
            stage: Stage::Train,
            seconds: 151.2,
        }],
        notes: vec!["3 prompts lost evidence sentences.".to_owned()],
        warnings: vec!["12 of 40 untrained answers hold no label.".to_owned()],
    }
}

#[test]
fn every_text_is_escaped() {
    let report = synthetic();
    let page = html(&Report {
        seed: seed_that_shows_the_first(&report),
        ..report.clone()
    });
    assert!(!page.contains("<script"));
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;quotes&quot;"));
    let page = markdown(&Report {
        title: CLAIM.to_owned(),
        ..report
    });
    assert!(page.starts_with(
        "# &lt;script&gt;alert(1)&lt;/script&gt; &amp; \"quotes\" \\| \\`code\\` \\*stars\\*\n"
    ));
}

fn seed_that_shows_the_first(report: &Report) -> u64 {
    (0..100)
        .find(|seed| {
            let report = Report {
                seed: *seed,
                ..report.clone()
            };
            examples::shown(&report)[0].example.claim == CLAIM
        })
        .unwrap()
}

#[test]
fn the_page_asks_no_network_for_anything_and_needs_no_script() {
    let page = html(&synthetic());
    for forbidden in [
        "http:", "https:", "<script", "url(", "@import", "<img", "<iframe", "//cdn",
    ] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
}

#[test]
fn the_same_records_give_the_same_bytes() {
    let (a, b) = (synthetic(), synthetic());
    assert_eq!(html(&a), html(&b));
    assert_eq!(markdown(&a), markdown(&b));
}

#[test]
fn elements_are_closed_in_order() {
    let page = html(&synthetic());
    let mut open: Vec<&str> = Vec::new();
    let body = page.split_once("</style>").unwrap().1;
    for tag in body.split('<').skip(1) {
        let (inside, _) = tag.split_once('>').expect("a tag ends");
        let name = inside
            .trim_start_matches('/')
            .split([' ', '/'])
            .next()
            .unwrap();
        if inside.starts_with('/') {
            if name != "head" {
                assert_eq!(
                    open.pop(),
                    Some(name).filter(|name| *name != "html"),
                    "</{name}>"
                );
            }
        } else if !inside.ends_with('/') {
            open.push(name);
        }
        if name == "html" {
            break;
        }
    }
}

#[test]
fn both_pages_hold_the_same_numbers_and_sections() {
    let report = synthetic();
    let (page, text) = (html(&report), markdown(&report));
    let cec = report.metrics.system("student").unwrap().metrics["cec"]
        .value
        .unwrap();
    for expected in [
        format!("{cec:.3}").as_str(),
        "What these numbers do not say",
        "Selection",
        "Signatures",
        "vacuous",
        "Training",
        "Rationale Difficulty",
        "218 of 230",
        "922 of 1,150 candidates are right",
    ] {
        assert!(
            page.contains(expected) && text.contains(expected),
            "{expected}"
        );
    }
    assert_eq!(page.matches("<article").count(), examples::SHOWN);
    assert!(page.contains("best checkpoint: "));
}

#[test]
fn a_run_without_training_selection_or_predictions_still_has_a_page() {
    let mut report = synthetic();
    report.steps.clear();
    report.selection = None;
    report.selected = None;
    report.metrics.systems.clear();
    report.metrics.differences.clear();
    report.pairs.clear();
    report.predictions.clear();
    report.examples.clear();
    report.dataset = Dataset::default();
    let (page, text) = (html(&report), markdown(&report));
    assert!(
        page.contains("Nothing was evaluated.") && !page.contains("NaN") && !text.contains("NaN")
    );
}

#[test]
fn a_funnel_counts_rules_roles_and_examples() {
    let rationale = |id: &str, text: &str| Rationale {
        id: id.to_owned(),
        example: id[..1].to_owned(),
        label: None,
        text: text.to_owned(),
        outcome: Outcome::Ok,
        label_was_shown: false,
        source: "file".to_owned(),
        prompt: None,
        usage: None,
    };
    let choice = |id: &str, kept: bool, rule: Rule| Choice {
        rationale: id.to_owned(),
        example: id[..1].to_owned(),
        kept,
        rule,
        reason: String::new(),
        weight: f64::from(u8::from(kept)),
        scores: BTreeMap::new(),
    };
    let roles = BTreeMap::from([
        ("x".to_owned(), "reference".to_owned()),
        ("y".to_owned(), "flawed".to_owned()),
    ]);
    let funnel = Funnel::of(
        &[
            rationale("a/1", "x"),
            rationale("a/2", "y"),
            rationale("b/1", "z"),
        ],
        &[
            choice("a/1", true, Rule::Keep),
            choice("a/2", false, Rule::Accuracy),
            choice("b/1", false, Rule::Diversity),
        ],
        &[Reference {
            id: "a".to_owned(),
            explanations: vec![],
            roles,
        }],
    );
    assert_eq!(
        (
            funnel.candidates,
            funnel.kept,
            funnel.examples,
            funnel.examples_kept
        ),
        (3, 1, 2, 1)
    );
    assert_eq!(
        funnel.dropped,
        BTreeMap::from([(Rule::Accuracy, 1), (Rule::Diversity, 1)])
    );
    assert_eq!(funnel.roles["reference"], [1, 0]);
    assert_eq!(funnel.roles["flawed"], [0, 1]);
}

//! A judge rates each usable rationale through the same ledger and caps.

use std::ops::ControlFlow;
use std::time::Instant;

use stillhouse_core::record::{Judgement, Outcome, Rationale};
use stillhouse_teacher::{
    AboutRationales, Access, JudgeOptions, Ledger, Setup, TeacherOptions, as_judge, ask,
    estimate_tokens, judgements,
};

use crate::server::{Behaviour, Fault, Server};
use crate::world::{examples, options};

fn rationale(at: usize, outcome: Outcome) -> Rationale {
    Rationale {
        id: format!("e{at}/0"),
        example: format!("e{at}"),
        label: Some("supported".into()),
        text: format!("Warm air melts ice number {at}."),
        outcome,
        label_was_shown: false,
        source: "large".into(),
        prompt: None,
        usage: None,
    }
}

fn judge(server: &Server, teacher: &TeacherOptions, judge: &JudgeOptions) -> Vec<Judgement> {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&folder.path().join("ledger.sqlite"), "run").unwrap();
    let examples = examples(6);
    let mut rationales: Vec<Rationale> = (0..5).map(|at| rationale(at, Outcome::Ok)).collect();
    rationales.push(rationale(5, Outcome::Refused));
    let access = Access::from_vars(teacher, |_| None).unwrap();
    let (options, access) = as_judge(teacher, judge, &access);
    let questions = AboutRationales::new(&examples, &rationales, &options);
    let begun = Instant::now();
    let setup = Setup {
        options: &options,
        access: &access,
        count: &estimate_tokens,
        seed: 7,
        clock: &|| begun.elapsed().as_secs_f64(),
        purpose: "judgement",
    };
    for _ in 0..2 {
        ask(&questions, &ledger, &setup, &mut |_| {
            ControlFlow::Continue(())
        })
        .unwrap();
    }
    assert_eq!(
        server.seen().requests,
        5,
        "a judgement is paid once, a refusal is not judged"
    );
    judgements(&questions, &ledger, &options, &access).unwrap()
}

#[test]
fn each_usable_rationale_is_rated_once_by_the_judge_s_own_model() {
    let server = Server::start(Behaviour {
        text: Some(r#"{"faithful": 8, "complete": 6, "causal": 9}"#.into()),
        ..Behaviour::default()
    });
    let strict = JudgeOptions {
        model: Some("strict".into()),
        ..JudgeOptions::default()
    };
    let found = judge(&server, &options(&server.url, 8), &strict);
    assert_eq!(found.len(), 5);
    assert_eq!(
        (found[2].rationale.as_str(), found[2].outcome),
        ("e2/0", Outcome::Ok)
    );
    assert_eq!(found[2].ratings.values().sum::<u8>(), 23);
    let body = &server.seen().bodies[0];
    assert!(
        body.contains("\"model\":\"strict\"") && body.contains("\"temperature\":0.0"),
        "{body}"
    );
    assert!(body.contains("Warm air melts ice number"), "{body}");
}

#[test]
fn a_judge_that_does_not_rate_is_counted() {
    let server = Server::start(Behaviour {
        faults: vec![Fault::Refusal],
        share: 1.0,
        ..Behaviour::default()
    });
    let found = judge(&server, &options(&server.url, 1), &JudgeOptions::default());
    assert!(
        found
            .iter()
            .all(|j| j.outcome == Outcome::Refused && j.ratings.is_empty())
    );
}

//! Batches: in parts, late, incomplete, interrupted, and paid once.

use stillhouse_core::event::Event;
use stillhouse_core::record::Outcome;
use stillhouse_teacher::{Kind, Price, TeacherOptions};

use crate::server::{Behaviour, Server, Trouble};
use crate::world::{examples, options, run, spent};

fn batched(url: &str, samples: usize) -> TeacherOptions {
    let mut options = options(url, samples);
    options.kind = Kind::Batch;
    options.batch.poll_seconds = 0.005;
    options.batch.requests = 50;
    options
}

#[test]
fn what_a_batch_leaves_out_is_asked_for_in_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.sqlite");
    let server = Server::start(Behaviour {
        share: 0.2,
        ..Behaviour::default()
    });
    let options = batched(&server.url, 2);
    let outcome = run(&ledger, &examples(60), &options, &[], |_| false);
    assert_eq!(outcome.asked.unwrap().failed, []);
    for rationale in &outcome.rationales {
        let about = format!("<claim {}>", rationale.example.trim_start_matches('e'));
        assert!(rationale.outcome == Outcome::Ok && rationale.text.contains(&about));
    }
    let spent = spent(&ledger);
    assert_eq!((spent.answers, server.seen().whole), (120, 120));
    // The same questions asked one by one are the same requests: nothing is left to ask.
    let single = TeacherOptions {
        kind: Kind::Http,
        ..options
    };
    let asked = run(&ledger, &examples(60), &single, &[], |_| false)
        .asked
        .unwrap();
    assert_eq!(asked.from_ledger, 120);
}

#[test]
fn a_batch_that_was_sent_is_found_again_and_not_paid_twice() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.sqlite");
    let server = Server::start(Behaviour {
        trouble: Some(Trouble::HangsUpOnFirst),
        ..Behaviour::default()
    });
    let options = batched(&server.url, 1);
    // The end point hangs up after making the batch, and someone stops the wait for it.
    let outcome = run(
        &ledger,
        &examples(30),
        &options,
        &[],
        |event| matches!(event, Event::Note { text } if text.contains("is sent")),
    );
    assert!(outcome.asked.unwrap_err().to_string().contains("stopped"));
    assert_eq!(
        outcome
            .rationales
            .iter()
            .filter(|r| r.outcome == Outcome::Ok)
            .count(),
        0
    );
    run(&ledger, &examples(30), &options, &[], |_| false)
        .asked
        .unwrap();
    assert_eq!((server.seen().whole, spent(&ledger).requests), (30, 30));
}

#[test]
fn a_batch_that_fails_says_why_and_frees_its_requests() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.sqlite");
    let failing = Server::start(Behaviour {
        trouble: Some(Trouble::Fails),
        ..Behaviour::default()
    });
    let mut options = batched(&failing.url, 1);
    let error = run(&ledger, &examples(5), &options, &[], |_| false)
        .asked
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("batch_0 failed: the model does not do batches"),
        "{error}"
    );
    options.kind = Kind::Http;
    run(&ledger, &examples(5), &options, &[], |_| false)
        .asked
        .unwrap();
}

#[test]
fn a_cap_holds_for_batches_at_their_price() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.sqlite");
    let server = Server::start(Behaviour::default());
    let mut options = batched(&server.url, 1);
    options.price = Some(Price {
        prompt: 100.0,
        completion: 100.0,
        currency: "USD".into(),
        batch: 0.5,
    });
    options.sampling.max_tokens = 40;
    options.max_cost = Some(0.2);
    let error = run(&ledger, &examples(100), &options, &[], |_| false)
        .asked
        .unwrap_err()
        .to_string();
    assert!(error.contains("teacher.max_cost is reached"), "{error}");
    let spent = spent(&ledger);
    assert!(spent.cost <= 0.2 && spent.cost > 0.15, "{spent:?}");
}

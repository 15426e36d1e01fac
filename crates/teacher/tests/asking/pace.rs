//! How fast, how much, and for how much money.

use std::time::{Duration, Instant};

use stillhouse_teacher::Price;

use crate::server::{Behaviour, Server};
use crate::world::{examples, options, run, spent};

#[test]
fn sixty_four_in_flight_come_near_the_ideal_rate() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.sqlite");
    let server = Server::start(Behaviour {
        latency: Duration::from_millis(200),
        ..Behaviour::default()
    });
    let mut options = options(&server.url, 1);
    options.concurrency = 64;
    let n = crate::faults::n_requests().max(640) / 64 * 64;
    let outcome = run(&ledger, &examples(n), &options, &[], |_| false);
    outcome.asked.unwrap();
    assert_eq!(server.seen().most_at_once, 64);
    let ideal = (n / 64) as f64 * 0.2;
    println!(
        "{n} requests: {:.2} s, {:.1} % of the ideal rate",
        outcome.seconds,
        100.0 * ideal / outcome.seconds
    );
    // Generous: other tests run beside this one.
    assert!(
        outcome.seconds < 3.0 * ideal,
        "{:.2} s, ideal is {ideal} s",
        outcome.seconds
    );
}

#[test]
fn a_ledger_alone_is_read_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.sqlite");
    let server = Server::start(Behaviour {
        gives_n: true,
        ..Behaviour::default()
    });
    let mut options = options(&server.url, 8);
    options.sampling.by = stillhouse_teacher::By::N;
    let n = if crate::faults::n_requests() > 1000 {
        1000
    } else {
        100
    };
    run(&ledger, &examples(n), &options, &[], |_| false)
        .asked
        .unwrap();
    let begun = Instant::now();
    let outcome = run(&ledger, &examples(n), &options, &[], |_| false);
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(outcome.asked.unwrap().from_ledger, 8 * n);
    println!("{n} x 8 from the ledger: {seconds:.2} s");
    assert!(seconds < 10.0, "{seconds}");
}

#[test]
fn a_rate_of_requests_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(Behaviour::default());
    let mut options = options(&server.url, 1);
    options.limits.requests_per_minute = Some(60.0 * 40.0);
    let outcome = run(
        &folder.path().join("l.sqlite"),
        &examples(60),
        &options,
        &[],
        |_| false,
    );
    outcome.asked.unwrap();
    // A second's worth goes at once, the other 20 take half a second.
    assert!(outcome.seconds > 0.45, "{}", outcome.seconds);
}

#[test]
fn an_end_point_that_asks_for_a_pause_gets_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(Behaviour {
        headers: vec![
            ("x-ratelimit-remaining-requests".into(), "0".into()),
            ("x-ratelimit-reset-requests".into(), "300ms".into()),
        ],
        ..Behaviour::default()
    });
    let mut options = options(&server.url, 1);
    options.concurrency = 2;
    let outcome = run(
        &folder.path().join("l.sqlite"),
        &examples(6),
        &options,
        &[],
        |_| false,
    );
    outcome.asked.unwrap();
    assert!(outcome.seconds > 0.58, "{}", outcome.seconds);
}

#[test]
fn caps_stop_cleanly_and_never_pay_more() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.sqlite");
    let server = Server::start(Behaviour::default());
    let mut options = options(&server.url, 1);
    options.price = Some(Price {
        prompt: 100.0,
        completion: 100.0,
        currency: "USD".into(),
        batch: 0.5,
    });
    options.sampling.max_tokens = 40;
    options.max_cost = Some(0.25);
    let stopped = |options: &_, expected: &str| {
        let error = run(&ledger, &examples(100), options, &[], |_| false)
            .asked
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
        spent(&ledger)
    };
    let first = stopped(&options, "teacher.max_cost is reached");
    assert!(first.cost <= 0.25 && first.cost > 0.15, "{first:?}");
    assert_eq!(server.seen().whole, first.answers);
    // The same cap holds over all sittings of a run.
    assert_eq!(
        stopped(&options, "teacher.max_cost is reached").requests,
        first.requests
    );
    options.max_cost = None;
    options.max_requests = Some(first.requests + 5);
    assert_eq!(
        stopped(&options, "teacher.max_requests is reached").requests,
        first.requests + 5
    );
    options.max_requests = None;
    run(&ledger, &examples(100), &options, &[], |_| false)
        .asked
        .unwrap();
    let all = spent(&ledger);
    assert_eq!((all.answers, server.seen().requests), (100, 100));
    // What is there costs nothing again, whatever the cap.
    options.max_cost = Some(0.0);
    run(&ledger, &examples(100), &options, &[], |_| false)
        .asked
        .unwrap();
}

#[test]
fn tokens_are_estimated_where_the_end_point_counts_none() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.sqlite");
    let server = Server::start(Behaviour {
        without_usage: true,
        ..Behaviour::default()
    });
    let outcome = run(&ledger, &examples(3), &options(&server.url, 1), &[], |_| {
        false
    });
    let usage = outcome.rationales[0].usage.unwrap();
    assert!((50..200).contains(&usage.prompt_tokens), "{usage:?}");
    assert!((15..40).contains(&usage.completion_tokens), "{usage:?}");
}

//! A process may die at any moment: it loses at most what was in flight.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use stillhouse_core::event::Event;
use stillhouse_core::random::Random;

use crate::faults::n_requests;
use crate::server::{ALL, Behaviour, Server};
use crate::world::{examples, options, run, spent};

const CONCURRENCY: u64 = 16;

/// The process that is killed: this test binary, told by variables what to ask.
#[test]
fn child() {
    let (Ok(url), Ok(ledger)) = (
        std::env::var("STILLHOUSE_CHILD_URL"),
        std::env::var("STILLHOUSE_CHILD_LEDGER"),
    ) else {
        return;
    };
    let n: usize = std::env::var("STILLHOUSE_CHILD_N")
        .unwrap()
        .parse()
        .unwrap();
    let outcome = run(
        Path::new(&ledger),
        &examples(n),
        &options(&url, 1),
        &[],
        |_| false,
    );
    outcome.asked.unwrap();
}

fn spawn(url: &str, ledger: &Path, n: usize) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kills::child", "--quiet"])
        .env("STILLHOUSE_CHILD_URL", url)
        .env("STILLHOUSE_CHILD_LEDGER", ledger)
        .env("STILLHOUSE_CHILD_N", n.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_kill_loses_at_most_what_was_in_flight_and_it_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.sqlite");
    let n = n_requests();
    let n_kills: u64 = if n > 1000 { 10 } else { 3 };
    let server = Server::start(Behaviour {
        latency: Duration::from_millis(10),
        faults: ALL.to_vec(),
        share: 0.1,
        ..Behaviour::default()
    });
    let mut random = Random::new(7, "kills");
    for kill in 1..=n_kills {
        let mut child = spawn(&server.url, &ledger, n);
        // Somewhere on its way: when the server has seen its share of the requests.
        let until = n as u64 * (10 * kill - random.below(10) as u64) / (10 * (n_kills + 1));
        while server.seen().whole < until && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let outcome = run(&ledger, &examples(n), &options(&server.url, 1), &[], |_| {
        false
    });
    let asked = outcome.asked.unwrap();
    assert_eq!((asked.wanted, asked.failed.len()), (n, 0));
    // Responses may still be on their way to nobody.
    std::thread::sleep(Duration::from_millis(50));
    let (served, spent) = (server.seen(), spent(&ledger));
    let killed = spent.losses.get("killed").copied().unwrap_or(0);
    let lost: u64 = spent.losses.values().sum();
    assert_eq!(spent.answers, n as u64);
    assert!(killed <= n_kills * CONCURRENCY, "{spent:?}");
    assert!(
        served.whole - spent.answers <= killed,
        "{served:?} {spent:?}"
    );
    assert!(served.paid <= spent.answers + lost, "{served:?} {spent:?}");
    if n > 1000 {
        println!(
            "{n} with {n_kills} kills: {} served whole, {} kept, losses {:?}",
            served.whole, spent.answers, spent.losses
        );
    }
}

#[test]
fn two_processes_share_the_work_and_pay_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.sqlite");
    let n = 100;
    let server = Server::start(Behaviour {
        latency: Duration::from_millis(20),
        ..Behaviour::default()
    });
    let mut children = [
        spawn(&server.url, &ledger, n),
        spawn(&server.url, &ledger, n),
    ];
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(server.seen().requests, n as u64);
    assert_eq!(spent(&ledger).answers, n as u64);
}

#[test]
fn a_wish_to_stop_waits_for_what_is_in_flight() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.sqlite");
    let server = Server::start(Behaviour {
        latency: Duration::from_millis(20),
        ..Behaviour::default()
    });
    let options = options(&server.url, 1);
    let mut n_answered = 0;
    let outcome = run(&ledger, &examples(200), &options, &[], |event| {
        n_answered += u32::from(matches!(event, Event::Answered { .. }));
        n_answered >= 20
    });
    let error = outcome.asked.unwrap_err().to_string();
    assert!(error.contains("stopped"), "{error}");
    let (served, spent) = (server.seen(), spent(&ledger));
    assert_eq!(served.whole, spent.answers);
    assert!((20..80).contains(&spent.answers), "{}", spent.answers);
    assert!(spent.losses.is_empty());
}

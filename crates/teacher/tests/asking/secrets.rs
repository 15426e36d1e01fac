//! A key is sent to its end point and is seen nowhere else.

use stillhouse_core::record::Outcome;

use crate::server::{Behaviour, Server};
use crate::world::{examples, options, run};

const CANARY: &str = "sk-canary-0123456789";

#[test]
fn a_key_is_nowhere_but_on_the_wire() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.sqlite");
    // The right key, and a server that puts it into its answers.
    let server = Server::start(Behaviour {
        key: Some(CANARY.into()),
        text: Some(format!(
            "Label: supported\nYour key is {CANARY}, is it not?"
        )),
        ..Behaviour::default()
    });
    let options = options(&server.url, 2);
    let outcome = run(
        &ledger,
        &examples(5),
        &options,
        &[("OPENAI_API_KEY", CANARY)],
        |_| false,
    );
    outcome.asked.unwrap();
    assert!(outcome.rationales.iter().all(|r| r.outcome == Outcome::Ok));
    let mut shown = format!("{:?} {:?} {options:?}", outcome.rationales, outcome.events);
    shown += &serde_json::to_string(&options).unwrap();

    // The wrong key, and a server that quotes it.
    let other = Server::start(Behaviour {
        key: Some("another".into()),
        ..Behaviour::default()
    });
    let options = crate::world::options(&other.url, 1);
    let outcome = run(
        &ledger,
        &examples(5),
        &options,
        &[("OPENAI_API_KEY", CANARY)],
        |_| false,
    );
    let error = outcome.asked.unwrap_err();
    let events = format!("{:?}", outcome.events);
    shown = [shown, error.to_string(), format!("{error:?}"), events].concat();
    assert!(
        shown.contains("Incorrect API key provided: Bearer [hidden]"),
        "{shown}"
    );
    assert!(!shown.contains(CANARY), "{shown}");

    for (name, _) in stillhouse_core::fs::list(folder.path()).unwrap() {
        let bytes = stillhouse_core::fs::read(&folder.path().join(&name)).unwrap();
        let found = bytes
            .windows(CANARY.len())
            .any(|window| window == CANARY.as_bytes());
        assert!(!found, "{name} holds the key");
    }
}

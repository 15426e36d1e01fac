//! Examples, options and one call that asks about them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use stillhouse_core::event::Event;
use stillhouse_core::prompt::teacher::{BUILT_IN, Setting, TeacherTemplate};
use stillhouse_core::record::{Example, Rationale, Split};
use stillhouse_teacher::{
    AboutExamples, Access, Asked, Error, Kind, Ledger, Retry, Setup, TeacherOptions, Timeouts, ask,
    estimate_tokens, rationales,
};

pub(crate) fn examples(n: usize) -> Vec<Example> {
    (0..n)
        .map(|at| Example {
            id: format!("e{at}"),
            claim: format!("claim {at}"),
            evidence: vec!["The air in the valley is warm in the spring.".into()],
            label: "supported".into(),
            notes: vec![],
            strata: BTreeMap::new(),
            split: Split::Train,
        })
        .collect()
}

pub(crate) fn options(base_url: &str, samples: usize) -> TeacherOptions {
    TeacherOptions {
        kind: Kind::Http,
        base_url: Some(base_url.into()),
        model: Some("large".into()),
        samples: Some(samples),
        concurrency: 16,
        timeouts: Timeouts {
            connect_seconds: 2.0,
            first_byte_seconds: 2.0,
            answer_seconds: 2.0,
        },
        retry: Retry {
            tries: 10,
            backoff_seconds: 0.01,
            longest_seconds: 0.1,
            max_failed: 0.0,
        },
        ..TeacherOptions::default()
    }
}

pub(crate) fn template(source: &str) -> TeacherTemplate {
    let labels = ["supported", "refuted"].map(|name| (name.to_owned(), vec![]));
    let setting = Setting {
        labels: labels.into(),
        ..Setting::default()
    };
    TeacherTemplate::new(source, setting).unwrap()
}

/// Asks with the variables `vars` for an environment, and gives what came with the events.
pub(crate) struct Outcome {
    pub(crate) asked: Result<Asked, Error>,
    pub(crate) rationales: Vec<Rationale>,
    pub(crate) events: Vec<Event>,
    pub(crate) seconds: f64,
}

pub(crate) fn run(
    ledger: &Path,
    examples: &[Example],
    options: &TeacherOptions,
    vars: &[(&str, &str)],
    mut stop: impl FnMut(&Event) -> bool,
) -> Outcome {
    let access = Access::from_vars(options, |name| {
        let found = vars.iter().find(|(n, _)| *n == name);
        found.map(|(_, value)| (*value).to_owned())
    })
    .unwrap();
    let template = template(BUILT_IN[0].1);
    let questions = AboutExamples::new(examples, &template, options);
    let ledger = Ledger::open(ledger, "run").unwrap();
    let begun = Instant::now();
    let setup = Setup {
        options,
        access: &access,
        count: &estimate_tokens,
        seed: 7,
        clock: &|| begun.elapsed().as_secs_f64(),
        purpose: "rationale",
    };
    let mut events = Vec::new();
    let asked = ask(&questions, &ledger, &setup, &mut |event| {
        let wish = stop(&event);
        if !matches!(event, Event::Progress { .. }) {
            events.push(event);
        }
        if wish {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    let mut found = Vec::new();
    rationales(
        &questions,
        &ledger,
        options,
        &access,
        &mut |rationale, _| {
            found.push(rationale);
            Ok(())
        },
    )
    .unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    Outcome {
        asked,
        rationales: found,
        events,
        seconds,
    }
}

/// What a run has spent.
pub(crate) fn spent(ledger: &Path) -> stillhouse_teacher::Spent {
    Ledger::open(ledger, "run").unwrap().spent().unwrap()
}

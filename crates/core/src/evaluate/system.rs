//! Who is compared: the systems of the predictions, in their order, and the baselines.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::{Input, baseline};
use crate::error::{Error, Result};
use crate::event::{Event, Observer, tell};
use crate::record::Prediction;

/// One system and what it says of each example.
#[derive(Debug)]
pub(super) struct System<'a> {
    pub(super) name: String,
    /// Whether it gives labels at all.
    pub(super) labels: bool,
    /// Whether it gives explanations at all.
    pub(super) explains: bool,
    predictions: HashMap<String, Cow<'a, Prediction>>,
}

impl System<'_> {
    /// What it says of an example.
    pub(super) fn prediction(&self, id: &str) -> Option<&Prediction> {
        self.predictions.get(id).map(AsRef::as_ref)
    }

    /// Whether it is one of ours.
    pub(super) fn is_baseline(&self) -> bool {
        baseline::NAMES.contains(&self.name.as_str())
    }
}

/// Groups the predictions by system and adds the baselines that have something to say.
pub(super) fn gather<'a>(
    input: &Input<'a>,
    seed: u64,
    observe: &mut Observer<'_>,
) -> Result<Vec<System<'a>>> {
    let mut ids = HashSet::new();
    for example in input.examples {
        if !ids.insert(example.id.as_str()) {
            return Err(complaint(
                &example.id,
                "stands twice among the examples to evaluate",
            ));
        }
    }
    let mut systems: Vec<System<'a>> = Vec::new();
    let mut unknown = 0;
    for prediction in input.predictions {
        let name = &prediction.system;
        if baseline::NAMES.contains(&name.as_str()) {
            let what = format!("the system name `{name}` belongs to a baseline; choose another");
            return Err(complaint(&prediction.id, what));
        }
        if !ids.contains(prediction.id.as_str()) {
            unknown += 1;
            continue;
        }
        let at = systems
            .iter()
            .position(|system| system.name == *name)
            .unwrap_or_else(|| {
                systems.push(System {
                    name: name.clone(),
                    labels: true,
                    explains: true,
                    predictions: HashMap::new(),
                });
                systems.len() - 1
            });
        let before = systems[at]
            .predictions
            .insert(prediction.id.clone(), Cow::Borrowed(prediction));
        if before.is_some() {
            return Err(complaint(
                &prediction.id,
                format!("two predictions of system `{name}`"),
            ));
        }
    }
    if unknown > 0 {
        let text = format!(
            "{unknown} predictions are left out: their ids are not among the examples to evaluate"
        );
        tell(observe, Event::Warning { text })?;
    }
    let baselines = [
        (baseline::copy_evidence(input.examples), false),
        (
            baseline::other_reference(input.examples, input.references, seed),
            false,
        ),
        (
            baseline::majority_label(input.examples, input.training_labels),
            true,
        ),
    ];
    for (predictions, labels) in baselines {
        let Some(first) = predictions.first() else {
            continue;
        };
        systems.push(System {
            name: first.system.clone(),
            labels,
            explains: !labels,
            predictions: predictions
                .into_iter()
                .map(|p| (p.id.clone(), Cow::Owned(p)))
                .collect(),
        });
    }
    Ok(systems)
}

fn complaint(id: &str, what: impl Into<String>) -> Error {
    Error::Example {
        id: id.to_owned(),
        what: what.into(),
    }
}

//! Every objective against `PyTorch`: the loss, each part of it, gradients by name and their norm.
//!
//! As in `crate::golden`, both sides compute in f32 in other orders; the bounds are some ten times
//! what that leaves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value as Json;

use stillhouse_core::fs;

use super::{Aims, Hints, Objectives, Part, Pass, TeacherToken, projection, units};
use crate::batch::{Item, LossOn};
use crate::device::{self, Place};
use crate::model::Model;
use crate::optimizer::trained;
use crate::parameter::Value;
use crate::weights::{self, Array};

#[derive(Deserialize)]
struct Case {
    objectives: Objectives,
    items: Vec<GivenItem>,
    hints: Vec<GivenHints>,
    loss: f64,
    parts: BTreeMap<String, f64>,
    norm: f64,
}

#[derive(Clone, Deserialize)]
struct GivenItem {
    id: String,
    prompt: String,
    completion: String,
    weight: f64,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct GivenHints {
    unit: Option<String>,
    part: String,
    answer: Option<[usize; 2]>,
    explanation: Option<[usize; 2]>,
    is_paired: bool,
    teacher_tokens: Vec<Json>,
    perturbed: Vec<String>,
    embedding: Vec<f32>,
}

impl From<GivenItem> for Item {
    fn from(given: GivenItem) -> Self {
        let GivenItem {
            id,
            prompt,
            completion,
            weight,
        } = given;
        Self {
            id,
            prompt,
            completion,
            weight,
        }
    }
}

impl From<GivenHints> for Hints {
    fn from(given: GivenHints) -> Self {
        let span = |span: Option<[usize; 2]>| span.map(|[from, to]| from..to);
        let token = |json: &Json| TeacherToken {
            start: json["start"].as_u64().unwrap() as usize,
            text: json["text"].as_str().unwrap().to_owned(),
            top: serde_json::from_value(json["top"].clone()).unwrap(),
        };
        Self {
            unit: given.unit,
            part: match given.part.as_str() {
                "label" => Part::Label,
                "rationale" => Part::Rationale,
                "counterfactual" => Part::Counterfactual,
                _ => Part::Whole,
            },
            answer: span(given.answer),
            explanation: span(given.explanation),
            is_paired: given.is_paired,
            teacher_tokens: given.teacher_tokens.iter().map(token).collect(),
            perturbed: given.perturbed,
            embedding: given.embedding,
        }
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

fn student() -> Model {
    let mut model = Model::load(&fixtures().join("decoders/tied")).unwrap();
    for parameter in model.network.parameters_mut() {
        parameter.is_trained = true;
    }
    model
}

/// The largest difference, as a share of the largest expected entry.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    let pairs = found.iter().zip(expected);
    pairs.fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest
}

#[test]
fn every_objective_agrees_with_pytorch() {
    let folder = fixtures().join("objectives");
    let cases: BTreeMap<String, Case> = fs::read_json(&folder.join("golden.json")).unwrap();
    let (tensors, _) = weights::load_file(&folder.join("golden.safetensors")).unwrap();
    for (name, case) in cases {
        for place in device::all() {
            // All in one pass, and each unit in a pass of its own.
            check(&name, &case, &tensors, usize::MAX, false, &place);
            check(&name, &case, &tensors, 1, false, &place);
            check(&name, &case, &tensors, usize::MAX, true, &place);
        }
    }
}

fn check(
    name: &str,
    case: &Case,
    tensors: &BTreeMap<String, Array>,
    most: usize,
    recompute: bool,
    place: &Place,
) {
    let what = format!(
        "{name}, at most {most} tokens, recompute {recompute}, {}",
        place.name()
    );
    let mut model = student().on(place);
    let objectives = &case.objectives;
    let items: Vec<Item> = case.items.iter().cloned().map(Item::from).collect();
    let hints: Vec<Hints> = case.hints.iter().cloned().map(Hints::from).collect();
    let (units, left) = units(&model, &items, &hints, LossOn::Completion, objectives).unwrap();
    assert!(left.refused.is_empty(), "{what}: {:?}", left.refused);
    let mut at = None;
    if objectives.semantic.is_some() {
        let mut matrix = projection(6, 16, 1);
        matrix.value = Value::new(tensors["projection"].clone(), place.tensors());
        at = Some(model.network.parameters().len());
        model.network.parameters_mut().push(matrix);
    }
    let teacher = objectives.teacher.as_ref().map(|_| {
        Model::load(&fixtures().join("decoders/untied"))
            .unwrap()
            .on(place)
    });
    let aims = Aims {
        objectives,
        teacher,
        projection: at,
        recompute,
    };
    let network = model.network.tracked();
    let passes = Pass::pack(&units, most, true, objectives);
    assert_eq!(passes.len(), if most == 1 { units.len() } else { 1 });
    let outcome = aims.loss_and_gradient(&network, &passes, None);
    let near =
        |found: f64, expected: f64| (found - expected).abs() < 1e-5 * expected.abs().max(0.1);
    assert!(
        near(outcome.loss, case.loss),
        "{what}: {} for {}",
        outcome.loss,
        case.loss
    );
    for (part, value) in &outcome.objectives {
        let expected = case.parts[part];
        assert!(
            near(*value, expected),
            "{what}, {part}: {value} for {expected}"
        );
    }
    let norms = outcome.gradient.squared_norms();
    let norm = norms.iter().flatten().sum::<f64>().sqrt();
    assert!(
        near(norm, case.norm),
        "{what}: norm {norm} for {}",
        case.norm
    );
    let mut seen = 0;
    for (parameter, value) in trained(network.parameters()).zip(outcome.gradient.values()) {
        if let Some(expected) = tensors.get(&format!("{name}.{}", parameter.name)) {
            let found = value.as_ref().expect("a gradient arrives").to_array();
            let worst = difference(&found.values, &expected.values);
            assert!(worst < 3e-5, "{what}, {}: {worst:e}", parameter.name);
            seen += 1;
        }
    }
    assert_eq!(seen, 3 + usize::from(at.is_some()), "{what}");
}

//! What training needs to go on after a kill: trained tensors, the optimizer's memory, the best so far.
//!
//! The files of a checkpoint carry its step in their names, and `checkpoint.json`, which names them,
//! is replaced in one rename after they are whole; so the last checkpoint is never half-written.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use stillhouse_core::fs;

use crate::batch::Sequence;
use crate::error::{Error, Result};
use crate::objective::Lesson;
use crate::ops::Moments;
use crate::optimizer::{Optimizer, State, trained};
use crate::options::TrainOptions;
use crate::parameter::{Parameter, Value};
use crate::weights::{self, Array};

const VERSION: u32 = 2;

/// The best trained tensors by validation.
#[derive(Clone, Debug)]
pub(crate) struct Best {
    pub(crate) step: usize,
    pub(crate) loss: f64,
    pub(crate) cec: Option<f64>,
    /// One a trained parameter, in their order.
    pub(crate) values: Vec<Value>,
}

/// Where training stands at a step's end.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Steps done.
    pub(crate) step: usize,
    pub(crate) best: Option<Best>,
    /// The validation loss before step 1.
    pub(crate) first_validation_loss: Option<f64>,
    /// Validations since the best one.
    pub(crate) n_waited: usize,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    version: u32,
    /// Of everything that the trained tensors depend on.
    fingerprint: String,
    step: usize,
    state: String,
    best: Option<BestFile>,
    first_validation_loss: Option<Exact>,
    n_waited: usize,
}

#[derive(Serialize, Deserialize)]
struct BestFile {
    step: usize,
    loss: Exact,
    cec: Option<Exact>,
    file: String,
}

/// A number by its bits: what is read from decimal digits may differ in the last of them.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Exact {
    bits: u64,
}

impl From<f64> for Exact {
    fn from(value: f64) -> Self {
        Self {
            bits: value.to_bits(),
        }
    }
}

impl From<Exact> for f64 {
    fn from(exact: Exact) -> Self {
        Self::from_bits(exact.bits)
    }
}

/// The checkpoint's folder inside a run directory.
pub(crate) fn folder(run: &Path) -> PathBuf {
    run.join("checkpoint")
}

/// Saves where training stands; until the last rename the checkpoint before it is the valid one.
pub(crate) fn save(
    run: &Path,
    fingerprint: &str,
    parameters: &[Parameter],
    optimizer: &Optimizer,
    progress: &Progress,
) -> Result<()> {
    let folder = folder(run);
    fs::create_folder(&folder)?;
    let old = read_manifest(&folder);
    let state = format!("state-{}.safetensors", progress.step);
    let live: Vec<&Parameter> = trained(parameters).collect();
    let plan = state_plan(&live);
    weights::save_file(&folder.join(&state), &plan, |i| {
        match (i % 3, &optimizer.states[i / 3]) {
            (0, _) => live[i / 3].value.to_array(),
            (1, State::Vector(moments)) => Array::of(&moments.first),
            (1, State::Matrix(moments)) => Array::of(&moments.first),
            (_, State::Vector(moments)) => Array::of(&moments.second),
            (_, State::Matrix(moments)) => Array::of(&moments.second),
        }
    })?;
    let best = match &progress.best {
        Some(best) => {
            let file = format!("best-{}.safetensors", best.step);
            if !folder.join(&file).is_file() {
                let plan: Vec<_> = live
                    .iter()
                    .map(|p| (p.name.clone(), p.value.shape()))
                    .collect();
                weights::save_file(&folder.join(&file), &plan, |i| best.values[i].to_array())?;
            }
            Some(BestFile {
                step: best.step,
                loss: best.loss.into(),
                cec: best.cec.map(Exact::from),
                file,
            })
        }
        None => None,
    };
    let manifest = Manifest {
        version: VERSION,
        fingerprint: fingerprint.to_owned(),
        step: progress.step,
        state,
        best,
        first_validation_loss: progress.first_validation_loss.map(Exact::from),
        n_waited: progress.n_waited,
    };
    fs::write_json(&folder.join("checkpoint.json"), &manifest)?;
    for file in old
        .iter()
        .flat_map(files)
        .filter(|file| !files(&manifest).contains(file))
    {
        fs::remove(&folder.join(file))?;
    }
    Ok(())
}

/// Puts trained tensors and optimizer back to the last checkpoint; `None` where there is none that
/// fits the fingerprint, and the reason where there is another.
pub(crate) fn load(
    run: &Path,
    fingerprint: &str,
    parameters: &mut [Parameter],
    optimizer: &mut Optimizer,
) -> Result<Result<Progress, Option<String>>> {
    let folder = folder(run);
    let path = folder.join("checkpoint.json");
    if !path.is_file() {
        return Ok(Err(None));
    }
    let manifest: Manifest = match fs::read_json(&path) {
        Ok(manifest) => manifest,
        Err(error) => {
            return Ok(Err(Some(format!(
                "the checkpoint cannot be read ({error})"
            ))));
        }
    };
    if manifest.version != VERSION {
        return Ok(Err(Some(format!(
            "the checkpoint has version {}, this program writes {VERSION}",
            manifest.version
        ))));
    }
    if manifest.fingerprint != fingerprint {
        return Ok(Err(Some(
            "the checkpoint was made from other data, options, seed or weights".to_owned(),
        )));
    }
    let plan = state_plan(&trained(parameters).collect::<Vec<_>>());
    let mut arrays = read(&folder.join(&manifest.state), &plan)?.into_iter();
    let mut next = || arrays.next().expect("as many arrays as were planned");
    let states = parameters
        .iter_mut()
        .filter(|p| p.is_trained)
        .map(|parameter| {
            let device = parameter.value.device();
            parameter.value = Value::new(next(), &device).tracked(true);
            moments(Value::new(next(), &device), Value::new(next(), &device))
        });
    optimizer.states = states.collect();
    let best = match manifest.best {
        Some(best) => {
            let plan: Vec<_> = trained(parameters)
                .map(|p| (p.name.clone(), p.value.shape()))
                .collect();
            let values = read(&folder.join(best.file), &plan)?
                .into_iter()
                .zip(trained(parameters))
                .map(|(array, parameter)| Value::new(array, &parameter.value.device()));
            Some(Best {
                step: best.step,
                loss: best.loss.into(),
                cec: best.cec.map(f64::from),
                values: values.collect(),
            })
        }
        None => None,
    };
    let Manifest { step, n_waited, .. } = manifest;
    let first_validation_loss = manifest.first_validation_loss.map(f64::from);
    Ok(Ok(Progress {
        step,
        best,
        first_validation_loss,
        n_waited,
    }))
}

/// A hash of everything that the trained tensors depend on; the parameters are the student's and a
/// teacher's.
pub(crate) fn fingerprint<'a>(
    parameters: impl Iterator<Item = &'a Parameter>,
    lessons: impl Iterator<Item = &'a Lesson>,
    watched: &[Sequence],
    options: &TrainOptions,
    seed: u64,
) -> String {
    let options = TrainOptions {
        checkpoint_seconds: 0.0,
        general_text: None,
        ..options.clone()
    };
    let mut bytes = serde_json::to_vec(&(options, seed)).expect("options are JSON");
    lessons.for_each(|lesson| lesson.write(&mut bytes));
    for sequence in watched {
        let targets = sequence
            .targets
            .iter()
            .map(|target| target.map_or(u32::MAX, |token| token));
        bytes.extend(
            sequence
                .source
                .iter()
                .chain(&sequence.tokens)
                .copied()
                .chain(targets)
                .flat_map(u32::to_le_bytes),
        );
        bytes.extend(sequence.weight.to_le_bytes());
    }
    for parameter in parameters {
        bytes.extend(parameter.name.as_bytes());
        // A few of each tensor's values tell one model from another.
        let few: Vec<f32> = match &parameter.value {
            Value::Vector(tensor) => {
                let n = tensor.dims()[0].min(8);
                tensor.clone().narrow(0, 0, n).into_data().iter().collect()
            }
            Value::Matrix(tensor) => {
                let [rows, columns] = tensor.dims().map(|n| n.min(8));
                let corner = tensor.clone().slice([0..rows, 0..columns]);
                corner.into_data().iter().collect()
            }
            // The same corner, since on a GPU the same weights are a matrix.
            Value::Frozen(frozen) => {
                let [n_rows, n] = frozen.shape();
                let rows = frozen.rows(0..n_rows.min(8));
                rows.chunks_exact(n)
                    .flat_map(|row| row[..n.min(8)].to_vec())
                    .collect()
            }
        };
        bytes.extend(few.into_iter().flat_map(f32::to_le_bytes));
    }
    fs::sha256_of(&bytes)
}

/// Removes the checkpoint of a finished training.
pub(crate) fn remove(run: &Path) -> Result<()> {
    Ok(fs::remove(&folder(run))?)
}

fn state_plan(live: &[&Parameter]) -> Vec<(String, Vec<usize>)> {
    let three = |p: &&Parameter| {
        ["", ".first", ".second"].map(|suffix| (format!("{}{suffix}", p.name), p.value.shape()))
    };
    live.iter().flat_map(three).collect()
}

fn moments(first: Value, second: Value) -> State {
    match (first, second) {
        (Value::Vector(first), Value::Vector(second)) => State::Vector(Moments { first, second }),
        (Value::Matrix(first), Value::Matrix(second)) => State::Matrix(Moments { first, second }),
        _ => unreachable!("both moments have the parameter's shape"),
    }
}

fn read(path: &Path, plan: &[(String, Vec<usize>)]) -> Result<Vec<Array>> {
    let (mut arrays, _) = weights::load_file(path)?;
    let take = |(name, shape): &(String, Vec<usize>)| match arrays.remove(name) {
        Some(array) if array.shape == *shape => Ok(array),
        _ => Err(Error::folder(
            path,
            format!("{name} {shape:?} is missing; remove the checkpoint folder to start over"),
        )),
    };
    plan.iter().map(take).collect()
}

fn read_manifest(folder: &Path) -> Option<Manifest> {
    let path = folder.join("checkpoint.json");
    path.is_file().then(|| fs::read_json(&path).ok()).flatten()
}

fn files(manifest: &Manifest) -> Vec<&String> {
    std::iter::once(&manifest.state)
        .chain(manifest.best.as_ref().map(|best| &best.file))
        .collect()
}

//! The run directory: which stages are done, with which inputs, and where an unfinished one was.
//!
//! A stage works in `work/<stage>/`; what it finished is written down there, moved into the run
//! directory, and entered in `manifest.json`, in this order, so that a kill at any moment either
//! repeats a step or finds it done. A stage is done again only when its key changes: the hash of
//! its options, its input files, the seed and the tool's version.

mod manifest;

use std::path::{Path, PathBuf};

pub use manifest::{Manifest, Stage, StageRecord, State};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::event::{Event, Observer, tell};
use crate::fs;

/// The format of everything in a run directory; `docs/FORMAT.md` describes it.
pub const FORMAT: u32 = 1;

/// What makes a run this run.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The tool's version.
    pub version: String,
    /// The resolved config.
    pub config: Value,
    /// The seed of everything random.
    pub seed: u64,
    /// Where the student works: "cpu".
    pub device: String,
}

/// What a stage depends on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs {
    /// The options that it reads, resolved.
    pub options: Value,
    /// Name and SHA-256 (or revision) of each thing that it reads.
    pub files: Vec<(String, String)>,
}

/// An open run directory; no other process works in it meanwhile.
#[derive(Debug)]
pub struct Run {
    folder: PathBuf,
    manifest: Manifest,
    redo: bool,
    _lock: fs::Lock,
}

/// Whether a stage has something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// It finished with the same inputs.
    Skip,
    /// It was begun with the same inputs and goes on.
    Continue,
    /// It begins.
    Begin,
}

impl Run {
    /// Opens or makes the run directory `folder`.
    ///
    /// With `redo`, finished stages whose options or inputs have changed are done again and
    /// their results replaced; without, that is an error, because results would be lost.
    pub fn open(folder: &Path, identity: &Identity, redo: bool) -> Result<Self> {
        fs::create_folder(&folder.join("work"))?;
        let lock = fs::Lock::take(&folder.join("work").join("lock"))?.ok_or_else(|| {
            Error::file(folder, "another stillhouse works in this run directory; wait for it or choose another --out")
        })?;
        let path = folder.join("manifest.json");
        let mut manifest = if path.exists() {
            Manifest::load(&path)?
        } else {
            Manifest::default()
        };
        manifest.version.clone_from(&identity.version);
        manifest.config = identity.config.clone();
        manifest.seed = identity.seed;
        manifest.device.clone_from(&identity.device);
        Ok(Self {
            folder: folder.to_owned(),
            manifest,
            redo,
            _lock: lock,
        })
    }

    /// The run directory.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is written down of the run so far.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where a file of the run directory is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The name and the hash of a finished stage's output, as an input for a later stage.
    pub fn input(&self, name: &str) -> Result<(String, String)> {
        let find = |record: &StageRecord| record.outputs.get(name).cloned();
        let hash = self.manifest.stages.values().find_map(find);
        let missing = || {
            let what = format!(
                "{} is not there, for its stage has not been run; begin earlier",
                self.path(name).display()
            );
            Error::option("--from", what)
        };
        Ok((name.to_owned(), hash.ok_or_else(missing)?))
    }

    /// What there is to do for `stage`, given what it depends on.
    pub fn plan(&self, stage: Stage, inputs: &Inputs) -> Result<Plan> {
        let Some(record) = self.manifest.stages.get(&stage) else {
            return Ok(Plan::Begin);
        };
        let changed = self.changes(record, inputs);
        match (record.state, changed.is_empty()) {
            (State::Done, true) => Ok(if self.is_whole(record)? {
                Plan::Skip
            } else {
                Plan::Begin
            }),
            (State::Begun, true) => Ok(Plan::Continue),
            (_, false) if self.redo => Ok(Plan::Begin),
            (state, false) => {
                let state = if state == State::Done {
                    "done"
                } else {
                    "begun"
                };
                let folder = self.folder.display();
                let what = format!(
                    "in {folder}, stage {stage} was {state} with another config or version: {}; \
                     choose another --out to keep both, or --redo to replace the results here",
                    changed.join("; ")
                );
                Err(Error::option("out", what))
            }
        }
    }

    fn changes(&self, record: &StageRecord, inputs: &Inputs) -> Vec<String> {
        let mut changes = Vec::new();
        if record.version != self.manifest.version {
            changes.push(format!(
                "version was {}, now {}",
                record.version, self.manifest.version
            ));
        }
        if record.seed != self.manifest.seed {
            changes.push(format!(
                "seed was {}, now {}",
                record.seed, self.manifest.seed
            ));
        }
        manifest::differences("", &record.options, &inputs.options, &mut changes);
        for (name, hash) in &inputs.files {
            if record.inputs.get(name) != Some(hash) {
                changes.push(format!("{name} has changed"));
            }
        }
        changes
    }

    /// Whether all outputs are there as they were written.
    fn is_whole(&self, record: &StageRecord) -> Result<bool> {
        for (name, hash) in &record.outputs {
            let path = self.path(name);
            if !path.exists() || fs::sha256_of_tree(&path)? != *hash {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Does a stage's `work` in its own folder, unless it is done; `work` returns the names of
    /// its outputs in that folder. `clock` gives seconds.
    pub fn stage<E: From<Error>>(
        &mut self,
        stage: Stage,
        inputs: &Inputs,
        clock: &dyn Fn() -> f64,
        observe: &mut Observer<'_>,
        work: impl FnOnce(&Path, &mut Observer<'_>) -> Result<Outputs, E>,
    ) -> Result<(), E> {
        let begun = clock();
        let folder = self.folder.join("work").join(stage.to_string());
        let done = folder.join("done.json");
        let plan = self.plan(stage, inputs)?;
        if plan == Plan::Skip {
            return Ok(tell(observe, Event::StageSkipped { stage })?);
        }
        if plan == Plan::Begin {
            fs::remove(&folder)?;
            let mut record = StageRecord {
                options: inputs.options.clone(),
                ..StageRecord::default()
            };
            record.version.clone_from(&self.manifest.version);
            record.seed = self.manifest.seed;
            record.inputs = inputs.files.iter().cloned().collect();
            self.manifest.stages.insert(stage, record);
            self.save()?;
        }
        fs::create_folder(&folder)?;
        tell(observe, Event::StageStarted { stage })?;

        if !done.exists() {
            let worked = work(&folder, observe);
            self.record(stage).seconds += clock() - begun;
            let outputs = match worked {
                Ok(outputs) => outputs,
                Err(error) => {
                    // Best effort: the seconds of an interrupted sitting are worth no second error.
                    let _ = self.save();
                    return Err(error);
                }
            };
            let mut hashes = Vec::new();
            for name in &outputs.names {
                hashes.push((name.clone(), fs::sha256_of_tree(&folder.join(name))?));
            }
            fs::write_json(&done, &(hashes, outputs.facts))?;
        }
        let (hashes, facts): (Vec<(String, String)>, Value) = fs::read_json(&done)?;
        for (name, _) in &hashes {
            let from = folder.join(name);
            if from.exists() {
                fs::rename(&from, &self.path(name))?;
            }
        }
        let record = self.record(stage);
        record.outputs = hashes.into_iter().collect();
        record.facts = facts;
        record.state = State::Done;
        let seconds = record.seconds;
        self.save()?;
        fs::remove(&folder)?;
        // The work is safe: a wish to stop now takes effect at the next stage.
        let _ = observe(Event::StageFinished { stage, seconds });
        Ok(())
    }

    fn record(&mut self, stage: Stage) -> &mut StageRecord {
        self.manifest.stages.entry(stage).or_default()
    }

    fn save(&self) -> Result<()> {
        fs::write_json(&self.folder.join("manifest.json"), &self.manifest)
    }
}

/// What a stage leaves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outputs {
    /// Files and folders, by name, in the stage's folder.
    pub names: Vec<String>,
    /// Facts for the manifest and the report.
    pub facts: Value,
}

impl Outputs {
    /// Outputs without further facts.
    pub fn of<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self {
            names: names.into_iter().map(Into::into).collect(),
            facts: Value::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::ops::ControlFlow;

    use serde_json::json;

    use super::*;

    fn identity(config: Value) -> Identity {
        Identity {
            version: "1.0.0".into(),
            config,
            seed: 7,
            device: "cpu".into(),
        }
    }

    fn inputs(options: Value) -> Inputs {
        Inputs {
            options,
            files: vec![("in.jsonl".into(), "abc".into())],
        }
    }

    fn go(
        run: &mut Run,
        options: Value,
        work: impl FnOnce(&Path) -> Result<Outputs>,
    ) -> Result<Vec<String>> {
        let mut told = Vec::new();
        let mut observe = |event: Event| {
            told.push(
                serde_json::to_value(&event).unwrap()["event"]
                    .as_str()
                    .unwrap()
                    .to_owned(),
            );
            ControlFlow::Continue(())
        };
        run.stage(
            Stage::Select,
            &inputs(options),
            &|| 0.0,
            &mut observe,
            |folder, _| work(folder),
        )?;
        Ok(told)
    }

    fn writes(text: &'static str) -> impl FnOnce(&Path) -> Result<Outputs> {
        move |folder| {
            fs::write(&folder.join("out.jsonl"), text)?;
            Ok(Outputs::of(["out.jsonl"]))
        }
    }

    #[test]
    fn a_stage_is_done_once_and_again_only_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let open = |redo| Run::open(folder.path(), &identity(json!({})), redo).unwrap();

        let mut run = open(false);
        assert_eq!(
            go(&mut run, json!({"keep": 3}), writes("a")).unwrap(),
            ["stage_started", "stage_finished"]
        );
        assert_eq!(
            go(&mut run, json!({"keep": 3}), writes("b")).unwrap(),
            ["stage_skipped"]
        );
        assert_eq!(fs::read(&run.path("out.jsonl")).unwrap(), b"a");

        let error = go(&mut run, json!({"keep": 4}), writes("b"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("keep was 3, now 4") && error.contains("--redo"),
            "{error}"
        );
        drop(run);
        let mut run = open(true);
        assert_eq!(
            go(&mut run, json!({"keep": 4}), writes("b")).unwrap().len(),
            2
        );
        assert_eq!(fs::read(&run.path("out.jsonl")).unwrap(), b"b");

        // A damaged result is no result.
        fs::write(&run.path("out.jsonl"), "damaged").unwrap();
        assert_eq!(
            go(&mut run, json!({"keep": 4}), writes("c")).unwrap().len(),
            2
        );
    }

    #[test]
    fn an_unfinished_stage_finds_its_folder_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = Run::open(folder.path(), &identity(json!({})), false).unwrap();
        let half = |folder: &Path| {
            fs::write(&folder.join("half"), "1")?;
            Err(Error::Stopped)
        };
        assert!(matches!(go(&mut run, json!({}), half), Err(Error::Stopped)));
        let seen = Cell::new(false);
        let rest = |folder: &Path| {
            seen.set(folder.join("half").exists());
            writes("whole")(folder)
        };
        go(&mut run, json!({}), rest).unwrap();
        assert!(seen.get());
        assert!(!folder.path().join("work/select").exists());
    }

    #[test]
    fn a_kill_between_the_work_and_the_manifest_repeats_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = Run::open(folder.path(), &identity(json!({})), false).unwrap();
        let _ = go(&mut run, json!({}), |_| Err(Error::Stopped));
        // As the killed process left it: one output moved, the other not yet.
        let work = folder.path().join("work/select");
        fs::write(&work.join("b"), "2").unwrap();
        fs::write(&run.path("a"), "1").unwrap();
        let hash = |text: &str| fs::sha256_of(text.as_bytes());
        fs::write_json(
            &work.join("done.json"),
            &([("a", hash("1")), ("b", hash("2"))], Value::Null),
        )
        .unwrap();
        go(&mut run, json!({}), |_| panic!("the work was done")).unwrap();
        assert_eq!(
            go(&mut run, json!({}), |_| panic!("the work was done")).unwrap(),
            ["stage_skipped"]
        );
        assert_eq!(fs::read(&run.path("b")).unwrap(), b"2");
    }

    #[test]
    fn one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Run::open(folder.path(), &identity(json!({})), false).unwrap();
        let error = Run::open(folder.path(), &identity(json!({})), false).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("another stillhouse works in this run directory")
        );
    }

    #[test]
    fn another_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            &folder.path().join("manifest.json"),
            r#"{"format": 99, "later": true}"#,
        )
        .unwrap();
        let error = Run::open(folder.path(), &identity(json!({})), true)
            .unwrap_err()
            .to_string();
        assert!(error.contains("format 99"), "{error}");
    }
}

//! The order of the stages; no other file knows it.

use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;

use serde_json::json;
use stillhouse_core::event::{Event, Observer};
use stillhouse_core::jsonl::Log;
use stillhouse_core::run::{Identity, Inputs, Outputs, Plan, Run, Stage};
use stillhouse_student::memory::Memory;
use stillhouse_teacher::Estimate;

use crate::HubOptions;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::job::Job;
use crate::memory;
use crate::stage::{data, evaluate, generate, judge, report, select, teacher, train};

/// What to do of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Begin at this stage; the ones before are taken as they are.
    pub from: Option<Stage>,
    /// End with this stage.
    pub to: Option<Stage>,
    /// Do finished stages again whose options or inputs have changed.
    pub redo: bool,
}

/// The outside world, handed in.
pub struct World<'a> {
    /// Seconds since some fixed moment.
    pub clock: &'a dyn Fn() -> f64,
    /// Where models are looked up.
    pub hub: &'a HubOptions,
    /// Looks up a variable of the environment: the teacher's key, its address, its proxy.
    pub vars: &'a dyn Fn(&str) -> Option<String>,
    /// The bytes of memory that a program may still take, where that is known.
    pub available_memory: Option<u64>,
}

/// What a run leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The headline of the report, empty when the run ended before it.
    pub headline: String,
    /// The report's page, if it was written.
    pub page: Option<PathBuf>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline)?;
        self.page
            .as_ref()
            .map_or(Ok(()), |page| writeln!(f, "report: {}", page.display()))
    }
}

type MakeInputs = fn(&Job<'_>, &Run, &mut Observer<'_>) -> Result<Inputs>;
type Work = fn(&Job<'_>, &std::path::Path, &mut Observer<'_>) -> Result<Outputs>;

/// The figure in the paper, one line a stage: what it depends on, and what it does.
const STAGES: [(Stage, MakeInputs, Work); 7] = [
    (Stage::Data, data::inputs, data::work),
    (Stage::Teacher, teacher::inputs, teacher::work),
    (Stage::Select, select::inputs, select::work),
    (Stage::Train, train::inputs, train::work),
    (Stage::Generate, generate::inputs, generate::work),
    (Stage::Evaluate, evaluate::inputs, evaluate::work),
    (Stage::Report, report::inputs, report::work),
];

/// Carries a config out; a stage whose inputs have not changed is skipped.
pub fn run(
    config: &Config,
    request: Request,
    world: &World<'_>,
    observe: &mut Observer<'_>,
) -> Result<Summary> {
    let stages = wanted(request)?;
    let job = Job::new(config, world)?;
    let mut run = Run::open(&config.run.out, &identity(config)?, request.redo)?;
    let (mut log, _) = Log::open::<serde_json::Value>(&run.path("events.jsonl"))?;
    let mut unwritten = None;
    let mut tell = |event: Event| {
        if !matches!(event, Event::Progress { .. }) {
            let line = json!({ "seconds": (world.clock)(), "event": event });
            if let Err(error) = log.push(&line) {
                unwritten = Some(error);
                return ControlFlow::Break(());
            }
        }
        observe(event)
    };
    let mut done = before_spending(&job, request, &mut tell);
    for (stage, inputs, work) in stages {
        if done.is_err() {
            break;
        }
        done = inputs(&job, &run, &mut tell)
            .and_then(|inputs| {
                run.stage(stage, &inputs, world.clock, &mut tell, |folder, observe| {
                    work(&job, folder, observe)
                })
            })
            .map_err(|source| Error::Stage {
                stage,
                source: Box::new(source),
            });
    }
    if let Some(error) = unwritten {
        return Err(error.into());
    }
    done?;
    report::summary(&job)
}

/// Finds what later stages need, before earlier ones have spent an hour.
fn before_spending(job: &Job<'_>, request: Request, observe: &mut Observer<'_>) -> Result<()> {
    let has =
        |stage| wanted(request).is_ok_and(|mut stages| stages.any(|(wanted, ..)| wanted == stage));
    let of = |stage, source| Error::Stage {
        stage,
        source: Box::new(source),
    };
    if has(Stage::Teacher) {
        teacher::before_spending(job).map_err(|e| of(Stage::Teacher, e))?;
    }
    if has(Stage::Train) {
        job.config
            .student
            .train
            .check()
            .map_err(|e| of(Stage::Train, e.into()))?;
        job.base_input(observe).map_err(|e| of(Stage::Train, e))?;
        train::check_order(job).map_err(|e| of(Stage::Train, e))?;
        if job.config.student.train.objectives.teacher.is_some() {
            job.local_teacher(observe)
                .map_err(|e| of(Stage::Train, e))?;
        }
        memory::check(job, observe).map_err(|e| of(Stage::Train, e))?;
    }
    if has(Stage::Generate) {
        job.config
            .student
            .generate
            .check()
            .and_then(|()| job.config.student.again.check())
            .map_err(|e| of(Stage::Generate, e.into()))?;
        generate::check(job).map_err(|e| of(Stage::Generate, e))?;
    }
    if has(Stage::Evaluate) && evaluate::wants_judge(job) {
        judge::required(job).map_err(|e| of(Stage::Evaluate, e.into()))?;
    }
    if has(Stage::Evaluate) && job.config.evaluate.needs_encoder() {
        job.encoder(observe).map_err(|e| of(Stage::Evaluate, e))?;
    }
    Ok(())
}

/// What a run would do.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Each stage with what there is to do for it.
    pub stages: Vec<(Stage, Plan)>,
    /// The run directory.
    pub out: PathBuf,
    /// What asking the teacher would take, where it would be asked.
    pub teacher: Option<Estimate>,
    /// The memory that training would take, where there would be one and its model is at hand.
    pub memory: Option<Memory>,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "run directory: {}", self.out.display())?;
        for (stage, plan) in &self.stages {
            let words = match plan {
                Plan::Skip => "unchanged, would be skipped",
                Plan::Continue => "was begun, would go on",
                Plan::Begin => "would run",
            };
            writeln!(f, "{stage:<9} {words}")?;
            if let Some(estimate) = self.teacher.as_ref().filter(|_| *stage == Stage::Teacher) {
                for line in estimate.to_string().lines() {
                    writeln!(f, "          {line}")?;
                }
            }
            if let Some(memory) = self.memory.filter(|_| *stage == Stage::Train) {
                writeln!(f, "          takes {memory}")?;
            }
        }
        Ok(())
    }
}

/// Checks a config and says what each stage would do, without doing or writing anything.
pub fn plan(config: &Config, request: Request, world: &World<'_>) -> Result<Planned> {
    let job = Job::new(config, world)?;
    let mut stages = Vec::new();
    let out = config.run.out.clone();
    if !out.join("manifest.json").exists() {
        data::inputs_of(&job, &mut |_| ControlFlow::Continue(()))?;
        stages.extend(wanted(request)?.map(|(stage, ..)| (stage, Plan::Begin)));
        let teacher = teacher::estimate(&job, &stages)?;
        return Ok(Planned {
            memory: memory_of(&job, &stages)?,
            stages,
            out,
            teacher,
        });
    }
    let run = Run::open(&out, &identity(config)?, request.redo)?;
    let mut begins = false;
    for (stage, inputs, _) in wanted(request)? {
        // What follows a stage that runs depends on its results.
        let plan = if begins {
            Plan::Begin
        } else {
            let inputs = inputs(&job, &run, &mut |_| ControlFlow::Continue(()));
            inputs
                .and_then(|inputs| Ok(run.plan(stage, &inputs)?))
                .map_err(|source| Error::Stage {
                    stage,
                    source: Box::new(source),
                })?
        };
        begins |= plan != Plan::Skip;
        stages.push((stage, plan));
    }
    let teacher = teacher::estimate(&job, &stages)?;
    Ok(Planned {
        memory: memory_of(&job, &stages)?,
        stages,
        out,
        teacher,
    })
}

fn memory_of(job: &Job<'_>, stages: &[(Stage, Plan)]) -> Result<Option<Memory>> {
    let is_due = |(stage, plan): &(Stage, Plan)| *stage == Stage::Train && *plan != Plan::Skip;
    if stages.iter().any(is_due) {
        memory::estimate_at_hand(job)
    } else {
        Ok(None)
    }
}

fn wanted(request: Request) -> Result<impl Iterator<Item = (Stage, MakeInputs, Work)>> {
    let from = request.from.unwrap_or(Stage::Data);
    let to = request.to.unwrap_or(Stage::Report);
    if from > to {
        let what = format!("stage {from} comes after --to {to}");
        return Err(stillhouse_core::Error::option("--from", what).into());
    }
    Ok(STAGES
        .into_iter()
        .filter(move |(stage, ..)| (from..=to).contains(stage)))
}

/// Opens the student's device, so that one that is not there is known before anything is done.
fn identity(config: &Config) -> Result<Identity> {
    Ok(Identity {
        version: env!("CARGO_PKG_VERSION").into(),
        config: serde_json::to_value(&config.run).expect("a config of plain values is JSON"),
        seed: config.run.seed,
        device: config.run.student.place()?.name().into(),
    })
}

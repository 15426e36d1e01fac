//! One selector, one number to keep, one seed: a run of its own, trained and measured.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;
use stillhouse_core::event::{Event, Observer, tell};
use stillhouse_core::fs;
use stillhouse_core::jsonl::{self, Log};
use stillhouse_core::record::{Choice, Example, Prediction, Rationale, Split, Step};
use stillhouse_core::run::{Manifest, Stage};
use stillhouse_core::select::{self, Method, Score, SelectOptions};
use stillhouse_student::Model;

use super::AblatedRun;
use super::measure::{self, Measures};
use super::options::{AblateOptions, Budget, Complexity, Wanted};
use super::told::Origin;
use crate::config::Config;
use crate::error::Result;
use crate::job::Job;
use crate::likelihood::Scorer;
use crate::pipeline::{self, Request, World};
use crate::stage::generate;

/// Test examples that are measured together.
const TOGETHER: usize = 32;

/// What a cell found (`cell.json`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// The selector's name.
    pub select: String,
    /// The number to keep; none where everything is kept.
    pub keep: Option<usize>,
    /// Which of the seeds, counted from 0.
    pub seed: usize,
    /// What decides the result: equal keys, equal students.
    pub key: String,
    /// Training and validation examples with a kept candidate, of all.
    pub covered: [usize; 2],
    /// What it took.
    pub cost: Cost,
    /// What it is worth, by test example.
    pub measures: Measures,
}

/// What a cell took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Rationales kept for training.
    pub rationales: usize,
    /// Tokens of the teacher's answers that the selector had to have: all candidates, but for a
    /// choice by lot, which needs no more than it keeps.
    pub teacher_tokens: u64,
    /// Whether these are counted by the student's tokenizer, for the teacher counted none.
    pub teacher_is_estimated: bool,
    /// Updates.
    pub steps: usize,
    /// Tokens read in training.
    pub tokens: u64,
    /// Tokens that carried loss.
    pub supervised_tokens: u64,
    /// Seconds of training.
    pub train_seconds: f64,
}

/// What all cells of one RUN share.
pub(super) struct Base<'a> {
    config: &'a Config,
    options: &'a AblateOptions,
    folder: PathBuf,
    examples: Vec<Example>,
    rationales: Vec<Rationale>,
    name: String,
    task: String,
    /// Tokens of prompt and completion, and of the rationale alone, by the rationale's id.
    tokens: HashMap<String, [u64; 2]>,
    /// Updates and tokens that the RUN as it stands would take.
    own: [f64; 2],
    scoring_seconds: f64,
    untrained: Measures,
}

impl<'a> Base<'a> {
    /// Scores all candidates, once, and measures the student before training.
    pub(super) fn new(
        config: &'a Config,
        options: &'a AblateOptions,
        world: &World<'_>,
        observe: &mut Observer<'_>,
    ) -> Result<Self> {
        let job = Job::new(config, world)?;
        let folder = match &options.out {
            Some(out) => out.join(&job.dataset.name),
            None => config.run.out.join("ablate"),
        };
        fs::create_folder(&folder)?;
        let examples: Vec<Example> = jsonl::read(&config.run.out.join("examples.jsonl"))?;
        let rationales: Vec<Rationale> = jsonl::read(&config.run.out.join("rationales.jsonl"))?;
        let mut base = Self {
            config,
            options,
            folder,
            name: job.dataset.name.clone(),
            task: serde_json::to_value(job.dataset.answer.kind)
                .ok()
                .and_then(|kind| kind.as_str().map(str::to_owned))
                .unwrap_or_default(),
            examples,
            rationales,
            tokens: HashMap::new(),
            own: [0.0; 2],
            scoring_seconds: 0.0,
            untrained: Measures::new(),
        };
        base.score_all(world, observe)?;
        let model = job.untrained(&base.examples, observe)?;
        base.tokens = base.count_tokens(&job, &model)?;
        base.own = base.own_updates(world, observe)?;
        let path = base.folder.join("untrained.json");
        base.untrained = if path.exists() {
            fs::read_json(&path)?
        } else {
            let found = base.measure(&job, &model, observe)?;
            fs::write_json(&path, &found)?;
            found
        };
        Ok(base)
    }

    /// A run below the ablation, whose data and rationales are those of the RUN.
    fn config_of(&self, folder: &Path, seed: u64, select: SelectOptions) -> Result<Config> {
        let mut config = self.config.clone();
        let from = &self.config.run.out;
        folder.clone_into(&mut config.run.out);
        config.run.seed = seed;
        config.run.select = select;
        fs::create_folder(folder)?;
        let path = folder.join("manifest.json");
        let of_run = Manifest::load(&from.join("manifest.json"))?;
        let mut manifest = if path.exists() {
            Manifest::load(&path)?
        } else {
            Manifest {
                stages: BTreeMap::new(),
                ..of_run.clone()
            }
        };
        for stage in [Stage::Data, Stage::Teacher] {
            let Some(record) = of_run.stages.get(&stage) else {
                continue;
            };
            for name in record.outputs.keys() {
                let path = folder.join(name);
                if manifest.stages.get(&stage) != Some(record) {
                    fs::remove(&path)?;
                }
                if from.join(name).is_file() {
                    fs::link(&from.join(name), &path)?;
                }
            }
            manifest.stages.insert(stage, record.clone());
        }
        fs::write_json(&path, &manifest)?;
        Ok(config)
    }

    /// A run that keeps everything and records every score that some selector ranks by.
    fn score_all(&mut self, world: &World<'_>, observe: &mut Observer<'_>) -> Result<()> {
        let own = self.config.run.select.method.clone();
        let methods = self.options.cells().into_iter().map(|cell| cell.method);
        let mut record: Vec<Score> = Vec::new();
        for score in methods.chain([own]).filter_map(|m| m.plan().order.score()) {
            let is_asked = !matches!(score, Score::Words | Score::Judge);
            if is_asked && !record.contains(&score) {
                record.push(score);
            }
        }
        if record.is_empty() {
            return Ok(());
        }
        let select = SelectOptions {
            method: Method::All,
            record,
            budget: None,
            ..self.config.run.select.clone()
        };
        let config = self.config_of(&self.folder.join("scores"), self.config.run.seed, select)?;
        only(&config, Stage::Select, world, observe)?;
        let manifest = Manifest::load(&config.run.out.join("manifest.json"))?;
        let select = manifest.stages.get(&Stage::Select);
        self.scoring_seconds = select.map_or(0.0, |record| record.seconds);
        Ok(())
    }

    /// The options of a method, with the scores that are there already.
    fn select(&self, method: Method) -> SelectOptions {
        let path = self.folder.join("scores").join("scores.jsonl");
        SelectOptions {
            method,
            record: vec![],
            scores: path.exists().then_some(path),
            ..self.config.run.select.clone()
        }
    }

    fn count_tokens(&self, job: &Job<'_>, model: &Model) -> Result<HashMap<String, [u64; 2]>> {
        let examples: HashMap<&str, &Example> =
            self.examples.iter().map(|e| (e.id.as_str(), e)).collect();
        let mut tokens = HashMap::new();
        for rationale in &self.rationales {
            let Some(example) = examples.get(rationale.example.as_str()) else {
                continue;
            };
            let label = rationale.label.as_ref().unwrap_or(&example.label);
            let mut whole = 0;
            for task in job.template.tasks() {
                let prompt = job.template.fill_for(*task, example, usize::MAX)?;
                let completion = job.template.completion_for(*task, label, &rationale.text);
                let n = model.prompt_tokens(&prompt) + model.completion_tokens(&completion);
                whole += n.min(model.context_tokens());
            }
            let alone = model.completion_tokens(&rationale.text);
            tokens.insert(rationale.id.clone(), [whole as u64, alone as u64]);
        }
        Ok(tokens)
    }

    /// Updates and tokens of the RUN as it stands, by a selection of its own.
    fn own_updates(&self, world: &World<'_>, observe: &mut Observer<'_>) -> Result<[f64; 2]> {
        let select = self.select(self.config.run.select.method.clone());
        let config = self.config_of(&self.folder.join("own"), self.config.run.seed, select)?;
        only(&config, Stage::Select, world, observe)?;
        let choices: Vec<Choice> = jsonl::read(&config.run.out.join("selection.jsonl"))?;
        let (n, tokens) = self.training(&choices);
        let train = &self.config.run.student.train;
        let batch = train.batch_size as f64;
        let by_epochs = (train.epochs * (n as f64 / batch).ceil()).max(1.0);
        let steps = train.steps.map_or(by_epochs, |steps| steps as f64);
        Ok([steps, steps * batch * tokens / (n.max(1) as f64)])
    }

    /// Kept rationales of the training split, and their tokens.
    fn training(&self, choices: &[Choice]) -> (usize, f64) {
        let train: std::collections::HashSet<&str> = self
            .examples
            .iter()
            .filter(|e| e.split == Split::Train)
            .map(|e| e.id.as_str())
            .collect();
        let own = choices
            .iter()
            .filter(|c| c.kept && train.contains(c.example.as_str()));
        let tokens = own.clone().filter_map(|c| self.tokens.get(&c.rationale));
        let sum: u64 = tokens.map(|[whole, _]| whole).sum();
        (own.count(), sum as f64)
    }

    /// One cell: from its record, as another one with the same key, or by training.
    pub(super) fn cell(
        &self,
        wanted: &Wanted,
        before: &[Cell],
        world: &World<'_>,
        observe: &mut Observer<'_>,
    ) -> Result<(Cell, Origin)> {
        let folder = self.folder.join(wanted.folder());
        let seed = self.config.run.seed.wrapping_add(wanted.seed as u64);
        let mut config = self.config_of(&folder, seed, self.select(wanted.method.clone()))?;
        only(&config, Stage::Select, world, observe)?;
        let choices: Vec<Choice> = jsonl::read(&folder.join("selection.jsonl"))?;
        let (n, tokens) = self.training(&choices);
        let train = &mut config.run.student.train;
        let per_step = train.batch_size as f64 * tokens / (n.max(1) as f64);
        #[expect(clippy::cast_sign_loss, reason = "counts are not negative")]
        match self.options.budget {
            Budget::Steps => train.steps = Some(self.own[0] as usize),
            Budget::Tokens => {
                train.steps = Some(((self.own[1] / per_step.max(1.0)).round() as usize).max(1));
            }
            Budget::Epochs => {}
        }
        if self.options.budget != Budget::Epochs {
            // Few rationales are many epochs of few updates: one look at the validation each.
            train.validate_per_epoch = 1;
        }
        let key = self.key(&config, &choices);
        let path = folder.join("cell.json");
        if path.exists() {
            let cell: Cell = fs::read_json(&path)?;
            let has_accuracy = cell.measures.values().all(|m| m.accuracy.is_some());
            if cell.key == key && (has_accuracy || !self.options.generate) {
                return Ok((cell, Origin::Before));
            }
        }
        let same = before.iter().find(|cell| cell.key == key);
        let (mut cell, origin) = match same {
            Some(same) => (same.clone(), Origin::Equal),
            None => (
                self.train(&config, &choices, world, observe)?,
                Origin::Trained,
            ),
        };
        cell.key = key;
        cell.select.clone_from(&wanted.select);
        (cell.keep, cell.seed) = (wanted.keep, wanted.seed);
        self.charge(&mut cell, &choices);
        fs::write_json(&path, &cell)?;
        if !self.options.keep_models {
            for name in ["model", "adapter", "work"] {
                fs::remove(&folder.join(name))?;
            }
        }
        Ok((cell, origin))
    }

    /// What decides a student: the kept rationales in their order, the seed, and its options.
    fn key(&self, config: &Config, choices: &[Choice]) -> String {
        let kept: Vec<(&str, f64)> = choices
            .iter()
            .filter(|c| c.kept)
            .map(|c| (c.rationale.as_str(), c.weight))
            .collect();
        let all = json!({
            "kept": kept,
            "seed": config.run.seed,
            "student": config.run.student,
            "show_label": config.run.data.show_label,
            "examples": self.examples,
            "version": env!("CARGO_PKG_VERSION"),
        });
        fs::sha256_of(all.to_string().as_bytes())
    }

    fn train(
        &self,
        config: &Config,
        choices: &[Choice],
        world: &World<'_>,
        observe: &mut Observer<'_>,
    ) -> Result<Cell> {
        only(config, Stage::Train, world, observe)?;
        let job = Job::new(config, world)?;
        let folder = &config.run.out;
        let untrained = job.untrained(&self.examples, observe)?;
        let student = generate::trained(&job, &untrained)?;
        let mut measures = self.measure(&job, &student, observe)?;
        if self.options.generate {
            for prediction in self.answers(&job, &student, observe)? {
                let gold = self.examples.iter().find(|e| e.id == prediction.id);
                let is_right = gold.is_some_and(|e| prediction.label.as_ref() == Some(&e.label));
                let measured = measures.entry(prediction.id).or_default();
                measured.accuracy = Some(f64::from(u8::from(is_right)));
            }
        }
        let steps: Vec<Step> = jsonl::read(&folder.join("steps.jsonl"))?;
        let manifest = Manifest::load(&folder.join("manifest.json"))?;
        let seconds = manifest
            .stages
            .get(&Stage::Train)
            .map_or(0.0, |r| r.seconds);
        Ok(Cell {
            select: String::new(),
            keep: None,
            seed: 0,
            key: String::new(),
            covered: [0, 0],
            cost: Cost {
                rationales: self.training(choices).0,
                steps: steps.len(),
                tokens: steps.iter().map(|s| s.tokens as u64).sum(),
                supervised_tokens: steps.iter().map(|s| s.supervised_tokens as u64).sum(),
                train_seconds: seconds,
                ..Cost::default()
            },
            measures,
        })
    }

    /// What the teacher had to write for this selection, and how many examples it reaches.
    fn charge(&self, cell: &mut Cell, choices: &[Choice]) {
        let is_lot = cell.select == "random";
        let needed: std::collections::HashSet<&str> = choices
            .iter()
            .filter(|c| c.kept || !is_lot)
            .map(|c| c.rationale.as_str())
            .collect();
        let (mut sum, mut is_estimated) = (0, false);
        for rationale in self
            .rationales
            .iter()
            .filter(|r| needed.contains(r.id.as_str()))
        {
            let own = self
                .tokens
                .get(&rationale.id)
                .map_or(0, |[_, alone]| *alone);
            is_estimated |= rationale.usage.is_none();
            sum += rationale.usage.map_or(own, |usage| usage.completion_tokens);
        }
        (cell.cost.teacher_tokens, cell.cost.teacher_is_estimated) = (sum, is_estimated);
        let open = self
            .examples
            .iter()
            .filter(|e| e.split != Split::Test)
            .count();
        cell.covered = [
            open - select::uncovered(&self.examples, choices).len(),
            open,
        ];
    }

    fn measure(
        &self,
        job: &Job<'_>,
        model: &Model,
        observe: &mut Observer<'_>,
    ) -> Result<Measures> {
        let test: Vec<&Example> = self.test().collect();
        let mut by_example: BTreeMap<&str, Vec<&Rationale>> = BTreeMap::new();
        for rationale in &self.rationales {
            by_example
                .entry(&rationale.example)
                .or_default()
                .push(rationale);
        }
        let mut all = Measures::new();
        for chunk in test.chunks(TOGETHER) {
            let mut scorer = Scorer(model);
            all.extend(measure::measure(
                chunk,
                &by_example,
                &job.template,
                &mut scorer,
                observe,
            )?);
            let (unit, done) = ("measured".to_owned(), all.len());
            let total = test.len();
            tell(observe, Event::Progress { unit, done, total })?;
        }
        Ok(all)
    }

    fn answers(
        &self,
        job: &Job<'_>,
        model: &Model,
        observe: &mut Observer<'_>,
    ) -> Result<Vec<Prediction>> {
        let test: Vec<Example> = self.test().cloned().collect();
        let path = job.path("work").join("answers.jsonl");
        let (log, answers) = Log::open::<Prediction>(&path)?;
        let mut said = generate::Said { log, answers };
        let asked = generate::Asked {
            system: "student".to_owned(),
            options: job.config.student.generate.clone(),
            seed: job.config.seed,
        };
        generate::answer(job, &test, model, &asked, &mut said, observe)?;
        Ok(said.answers)
    }

    fn test(&self) -> impl Iterator<Item = &Example> {
        self.examples.iter().filter(|e| e.split == Split::Test)
    }

    /// How complex each test example is.
    fn complexity(&self) -> BTreeMap<String, f64> {
        let steps = |example: &Example| {
            let own = self.rationales.iter().filter(|r| r.example == example.id);
            let right = own.filter(|r| select::is_right(example, r));
            let counts: Vec<f64> = right.map(|r| select::steps(&r.text).len() as f64).collect();
            (!counts.is_empty()).then(|| counts.iter().sum::<f64>() / counts.len() as f64)
        };
        let prior = |example: &Example| self.untrained.get(&example.id)?.answer.map(|a| -a);
        let of = |example: &Example| match self.options.complexity {
            Complexity::Steps => steps(example),
            Complexity::Prior => prior(example),
        };
        self.test()
            .filter_map(|e| Some((e.id.clone(), of(e)?)))
            .collect()
    }

    pub(super) fn done(self, cells: Vec<Cell>) -> AblatedRun {
        AblatedRun {
            complexity: self.complexity(),
            candidates: self.rationales.len(),
            name: self.name,
            task: self.task,
            scoring_seconds: self.scoring_seconds,
            untrained: self.untrained,
            cells,
        }
    }
}

/// Carries out one stage of a cell; what was done with other options is done again, for a cell's
/// own record says whether its student is still the one that is wanted.
fn only(
    config: &Config,
    stage: Stage,
    world: &World<'_>,
    observe: &mut Observer<'_>,
) -> Result<()> {
    let request = Request {
        from: Some(stage),
        to: Some(stage),
        redo: true,
    };
    pipeline::run(config, request, world, observe)?;
    Ok(())
}

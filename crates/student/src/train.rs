//! The training loop, and the only one.
//!
//! It is loud: it shows one example with the trained tokens marked, checks in the first steps that
//! every trained tensor receives a gradient, and stops where a number is not finite.
//! It can be stopped at every step, killed at every moment, and goes on bit for bit.

mod introduce;
mod material;
mod resting;

use std::collections::BTreeMap;
use std::path::Path;

use stillhouse_core::event::{Event, Observer, tell};
use stillhouse_core::fs;
use stillhouse_core::jsonl::Log;
use stillhouse_core::random::hash;
use stillhouse_core::record::Step;

use crate::adapter;
use crate::batch::{Item, Packed};
use crate::checkpoint::{self, Best, Progress};
use crate::error::{Error, Result};
use crate::loss::mean_loss;
use crate::model::Model;
use crate::objective::{self, Aims, Outcome, Pass, Unit};
use crate::ops::{self, AdamwStep, Dropout};
use crate::optimizer::{Optimizer, trained};

use self::material::Data;
pub use self::material::{Judge, Material};
use crate::options::count;
pub use crate::options::{Base, Criterion, Method, Precision, TrainOptions};
use crate::shared::Read;

/// A student after training.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The best student by validation, or the last where there is no validation split.
    pub model: Model,
    /// Updates made.
    pub steps: usize,
    /// After how many of them the returned student stood.
    pub best_step: usize,
    /// Mean validation loss of the returned student, in nats a supervised token.
    pub validation_loss: Option<f64>,
    /// The same before step 1.
    pub first_validation_loss: Option<f64>,
    /// Mean validation CEC of the returned student, where it was chosen by that.
    pub validation_cec: Option<f64>,
    /// In what products with weights were taken: "f32" or "bf16".
    pub precision: &'static str,
}

/// Fine-tunes `base` on items alone; see [`train_with`].
#[expect(
    clippy::too_many_arguments,
    reason = "what varies comes in through the door"
)]
pub fn train(
    base: Model,
    train: &[Item],
    validation: &[Item],
    options: &TrainOptions,
    seed: u64,
    folder: &Path,
    clock: &dyn Fn() -> f64,
    observe: &mut Observer<'_>,
) -> Result<Trained> {
    let material = Material {
        train,
        validation,
        ..Material::default()
    };
    train_with(base, material, options, seed, folder, clock, observe)
}

/// Fine-tunes `base`, and writes into the run directory `folder`: `steps.jsonl` while it works, and
/// at the end `model/` (a Hugging Face folder) or `adapter/` (PEFT).
///
/// `clock` tells seconds and decides nothing but when a checkpoint is due.
/// A training that was stopped or killed goes on from its last checkpoint, and ends as if it had
/// never been stopped.
pub fn train_with(
    base: Model,
    mut material: Material<'_>,
    options: &TrainOptions,
    seed: u64,
    folder: &Path,
    clock: &dyn Fn() -> f64,
    observe: &mut Observer<'_>,
) -> Result<Trained> {
    options.check()?;
    fs::create_folder(folder)?;
    let data = Data::new(&base, &mut material, options, observe)?;
    let mut training = Training::begin(base, &data, options, seed, folder, observe)?;
    training.judge = material.judge;
    training.memory = material.memory;
    let outcome = training.steps(clock, observe);
    if let Err(Error::Core(stillhouse_core::Error::Stopped)) = outcome
        && training.is_between_steps
    {
        training.save_checkpoint()?;
    }
    outcome?;
    training.finish(observe)
}

/// What the validation split says.
#[derive(Clone, Copy, Debug)]
struct Validation {
    loss: f64,
    cec: Option<f64>,
}

struct Training<'a> {
    model: Model,
    aims: Aims<'a>,
    judge: Option<Box<Judge<'a>>>,
    memory: Option<&'a dyn Fn() -> Option<u64>>,
    /// Off while a step is made that is not yet written down.
    is_between_steps: bool,
    optimizer: Optimizer,
    progress: Progress,
    data: &'a Data,
    options: &'a TrainOptions,
    seed: u64,
    /// Of products with weights in a step.
    precision: ops::Precision,
    folder: &'a Path,
    log: Log,
    fingerprint: String,
    /// Updates in all.
    total: usize,
}

/// What one update saw.
struct Update {
    loss: f64,
    objectives: BTreeMap<String, f64>,
    gradient_norm: f64,
    learning_rate: f64,
    tokens: usize,
    supervised_tokens: usize,
}

/// How fast a sitting goes.
#[derive(Clone, Copy, Debug)]
struct Pace {
    tokens_per_second: Option<f64>,
    seconds_left: Option<f64>,
}

impl<'a> Training<'a> {
    fn begin(
        mut model: Model,
        data: &'a Data,
        options: &'a TrainOptions,
        seed: u64,
        folder: &'a Path,
        observe: &mut Observer<'_>,
    ) -> Result<Self> {
        match options.method {
            Method::Full => {
                model = model.merged();
                if let Some(parameter) = resting::weights(&model).next() {
                    let what = format!(
                        "{} rests in few bytes and cannot be trained; load the model in f32",
                        parameter.name
                    );
                    return Err(Error::option("student.train.method", what));
                }
                for parameter in model.network.parameters_mut() {
                    parameter.is_trained = true;
                }
            }
            Method::Lora => match &mut model.lora {
                Some(lora) => {
                    lora.dropout = options.lora.dropout;
                    let text = format!(
                        "training goes on with the model's own adapter: r {}, alpha {}",
                        lora.r, lora.alpha
                    );
                    tell(observe, Event::Note { text })?;
                }
                none => {
                    *none = Some(adapter::attach(&mut model.network, &options.lora, seed)?);
                }
            },
        }
        let projection = objective::add_projection(&mut model, data.embedding, options, seed);
        let teacher = data
            .teacher
            .iter()
            .flat_map(|teacher| teacher.network.parameters());
        let parameters = model.network.parameters().iter().chain(teacher);
        let watched = &data.validation;
        let fingerprint =
            checkpoint::fingerprint(parameters, data.lessons(), watched, options, seed);
        model.network = model.network.tracked();
        let mut optimizer = Optimizer::new(model.network.parameters());
        let total = options
            .steps
            .unwrap_or(count(options.epochs * data.epoch_steps(options) as f64));
        let found = checkpoint::load(
            folder,
            &fingerprint,
            model.network.parameters_mut(),
            &mut optimizer,
        )?;
        let log = folder.join("steps.jsonl");
        let done = found.as_ref().map_or(0, |progress| progress.step);
        let log = introduce::open_log(&log, done)?;
        let progress = match found {
            Ok(progress) => {
                tell(
                    observe,
                    Event::Resumed {
                        what: format!("step {} of {total}", progress.step),
                    },
                )?;
                progress
            }
            Err(reason) => {
                if let Some(reason) = reason {
                    tell(
                        observe,
                        Event::Warning {
                            text: format!("{reason}; training starts over"),
                        },
                    )?;
                    checkpoint::remove(folder)?;
                }
                Progress::default()
            }
        };
        let aims = Aims {
            objectives: &options.objectives,
            teacher: data.teacher.clone(),
            projection,
            recompute: options.recompute,
        };
        Ok(Self {
            precision: options.precision.on(&model.network.device())?,
            model,
            aims,
            judge: None,
            memory: None,
            is_between_steps: true,
            optimizer,
            progress,
            data,
            options,
            seed,
            folder,
            log,
            fingerprint,
            total,
        })
    }

    fn steps(&mut self, clock: &dyn Fn() -> f64, observe: &mut Observer<'_>) -> Result<()> {
        if self.progress.step == 0 {
            self.introduce(observe)?;
            (self.progress.best, self.progress.n_waited) = (None, 0);
            if let Some(found) = self.validate(observe)? {
                self.progress.first_validation_loss = Some(found.loss);
                self.keep_if_best(found, observe)?;
            }
        }
        let (begun, mut saved_at) = (clock(), clock());
        let (first, mut tokens) = (self.progress.step, 0);
        while self.progress.step < self.total && !self.is_patience_over(observe)? {
            let step = self.progress.step + 1;
            self.is_between_steps = false;
            let update = self.update(step)?;
            self.progress.step = step;
            let is_due = step == self.total || step.is_multiple_of(self.validation_steps());
            let found = if is_due {
                self.validate(observe)?
            } else {
                None
            };
            self.record(&update, found)?;
            self.is_between_steps = true;
            // From here on the step is done: whoever stops now stops after it.
            let is_better = found.map(|found| self.keep_if_best(found, observe));
            tokens += update.tokens;
            let seconds = clock() - begun;
            let pace = Pace {
                tokens_per_second: (seconds > 0.0).then(|| tokens as f64 / seconds),
                seconds_left: (seconds > 0.0)
                    .then(|| seconds * (self.total - step) as f64 / (step - first) as f64),
            };
            self.tell_step(&update, pace, observe)?;
            is_better.transpose()?;
            if clock() - saved_at >= self.options.checkpoint_seconds && step < self.total {
                self.save_checkpoint()?;
                saved_at = clock();
                tell(observe, Event::Saved { step })?;
            }
        }
        Ok(())
    }

    /// One update: forward and backward over its items, checks, clipping, `AdamW`.
    fn update(&mut self, step: usize) -> Result<Update> {
        let options = self.options;
        let most = options.micro_batch_tokens;
        // Where a draw of chance differs from row to row (dropout), items must be read apart.
        let dropout = self.dropout(step);
        let shares = options.share_prompts && dropout.is_none();
        let passes = Pass::pack(self.units_of(step), most, shares, &options.objectives);
        let (aims, network, precision) = (&self.aims, &self.model.network, self.precision);
        let pass = || aims.loss_and_gradient(network, &passes, dropout);
        let outcome = ops::with_precision(precision, || ops::in_pool(pass));
        let Outcome {
            loss,
            gradient,
            objectives,
        } = outcome;
        if !loss.is_finite() {
            return Err(Error::NotFinite {
                step,
                what: "the loss".to_owned(),
            });
        }
        let norms = gradient.squared_norms();
        self.audit(step, &norms)?;
        let gradient_norm = norms.iter().flatten().sum::<f64>().sqrt();
        let share = options
            .schedule
            .share(step, options.warmup.steps(self.total), self.total);
        let learning_rate = options.learning_rate * share;
        // As PyTorch's clip_grad_norm_.
        let grad_scale = options
            .clip
            .map_or(1.0, |most| (most / (gradient_norm + 1e-6)).min(1.0));
        let adamw = AdamwStep {
            number: step as u32,
            learning_rate: learning_rate as f32,
            beta1: options.betas[0] as f32,
            beta2: options.betas[1] as f32,
            weight_decay: options.weight_decay as f32,
            grad_scale: grad_scale as f32,
            ..AdamwStep::default()
        };
        self.optimizer
            .update(self.model.network.parameters_mut(), gradient, &adamw);
        let packed = || passes.iter().map(|pass| &pass.packed);
        let supervised = packed().map(|part| part.targets.iter().flatten().count());
        Ok(Update {
            loss,
            objectives,
            gradient_norm,
            learning_rate,
            tokens: packed().map(Packed::n_tokens).sum(),
            supervised_tokens: supervised.sum(),
        })
    }

    /// What branches drop in one step: by the seed and the step, so that a training that goes on
    /// drops the same.
    fn dropout(&self, step: usize) -> Option<Dropout> {
        let rate = self.options.lora.dropout as f32;
        let key = || hash(format!("dropout in step {step}").as_bytes(), self.seed);
        let is_on = self.options.method == Method::Lora && rate > 0.0;
        is_on.then(|| Dropout { rate, key: key() })
    }

    /// Every trained tensor must receive a finite gradient, and in the first step one that is not
    /// zero; `LoRA`'s A in the second, because B starts from zero.
    fn audit(&self, step: usize, norms: &[Option<f64>]) -> Result<()> {
        let named = || {
            trained(self.model.network.parameters())
                .map(|p| p.name.as_str())
                .zip(norms)
        };
        if let Some((name, _)) = named().find(|(_, norm)| norm.is_some_and(|n| !n.is_finite())) {
            return Err(Error::NotFinite {
                step,
                what: format!("the gradient of {name}"),
            });
        }
        let is_due = |name: &str| step == 1 + usize::from(name.ends_with("lora_A.weight"));
        let silent = named().filter(|(name, norm)| is_due(name) && norm.is_none_or(|n| n == 0.0));
        let tensors: Vec<String> = silent.map(|(name, _)| name.to_owned()).collect();
        if tensors.is_empty() {
            Ok(())
        } else {
            Err(Error::NoGradient { step, tensors })
        }
    }

    /// The units of one update; the order is drawn anew for each epoch.
    fn units_of(&self, step: usize) -> impl Iterator<Item = &'a Unit> + use<'a> {
        let (data, size) = (self.data, self.options.batch_size);
        let (epoch, place) = (
            (step - 1) / self.epoch_steps(),
            (step - 1) % self.epoch_steps(),
        );
        let prompt = |unit: &'a Unit| unit[0].sequence.prompt();
        let prompts: Vec<Read<'_>> = data.train.iter().map(prompt).collect();
        let order = self.options.order.of(&prompts, epoch, self.seed);
        order
            .into_iter()
            .skip(place * size)
            .take(size)
            .map(move |index| &data.train[index])
    }

    fn epoch_steps(&self) -> usize {
        self.data.epoch_steps(self.options)
    }

    fn validation_steps(&self) -> usize {
        let per_epoch = self.epoch_steps().div_ceil(self.options.validate_per_epoch);
        self.options.validate_every.unwrap_or(per_epoch)
    }

    /// What the validation split says; `None` without a split.
    fn validate(&mut self, observe: &mut Observer<'_>) -> Result<Option<Validation>> {
        let network = self.model.network.plain();
        let watched = &self.data.validation;
        let Some(loss) = mean_loss(&network, watched, self.options.micro_batch_tokens) else {
            return Ok(None);
        };
        if !loss.is_finite() {
            return Err(Error::NotFinite {
                step: self.progress.step,
                what: "the validation loss".to_owned(),
            });
        }
        let mut cec = None;
        if let (Criterion::Cec, Some(judge)) = (self.options.choose_by, &mut self.judge) {
            let mut student = self.model.clone();
            student.network = network;
            cec = judge(&student, observe)?;
        }
        Ok(Some(Validation { loss, cec }))
    }

    fn keep_if_best(&mut self, found: Validation, observe: &mut Observer<'_>) -> Result<()> {
        let step = self.progress.step;
        let choose_by = self.options.choose_by;
        // A student none of whose texts could be judged is worse than any other.
        let badness = |loss: f64, cec: Option<f64>| match choose_by {
            Criterion::Loss => loss,
            Criterion::Cec => cec.map_or(f64::INFINITY, |cec| -cec),
        };
        let Validation { loss, cec } = found;
        let is_best = self
            .progress
            .best
            .as_ref()
            .is_none_or(|best| badness(loss, cec) < badness(best.loss, best.cec));
        if is_best {
            let values = trained(self.model.network.parameters()).map(|p| p.value.clone().plain());
            self.progress.best = Some(Best {
                step,
                loss,
                cec,
                values: values.collect(),
            });
            self.progress.n_waited = 0;
        } else {
            self.progress.n_waited += 1;
        }
        let event = Event::Validated {
            step,
            loss,
            cec,
            is_best,
        };
        Ok(tell(observe, event)?)
    }

    fn is_patience_over(&self, observe: &mut Observer<'_>) -> Result<bool> {
        let is_over = self
            .options
            .patience
            .is_some_and(|patience| self.progress.n_waited >= patience);
        if is_over {
            let text = format!(
                "stopped early after step {}: {} validations without a better one",
                self.progress.step, self.progress.n_waited
            );
            tell(observe, Event::Note { text })?;
        }
        Ok(is_over)
    }

    fn record(&mut self, update: &Update, found: Option<Validation>) -> Result<()> {
        let step = self.progress.step;
        Ok(self.log.push(&Step {
            step,
            epoch: step as f64 / self.epoch_steps() as f64,
            loss: update.loss,
            learning_rate: update.learning_rate,
            gradient_norm: update.gradient_norm,
            tokens: update.tokens,
            supervised_tokens: update.supervised_tokens,
            objectives: update.objectives.clone(),
            validation_loss: found.map(|found| found.loss),
            validation_cec: found.and_then(|found| found.cec),
        })?)
    }

    fn tell_step(&self, update: &Update, pace: Pace, observe: &mut Observer<'_>) -> Result<()> {
        let &Update {
            loss,
            gradient_norm,
            learning_rate,
            tokens,
            ..
        } = update;
        let event = Event::Step {
            step: self.progress.step,
            total: self.total,
            loss,
            learning_rate,
            gradient_norm,
            tokens,
            tokens_per_second: pace.tokens_per_second,
            seconds_left: pace.seconds_left,
            memory: self.memory.and_then(|memory| memory()),
        };
        Ok(tell(observe, event)?)
    }

    fn save_checkpoint(&self) -> Result<()> {
        self.log.sync()?;
        checkpoint::save(
            self.folder,
            &self.fingerprint,
            self.model.network.parameters(),
            &self.optimizer,
            &self.progress,
        )
    }

    /// Puts the best student back, saves it under its name, and removes the checkpoint.
    fn finish(mut self, observe: &mut Observer<'_>) -> Result<Trained> {
        let steps = self.progress.step;
        let (mut best_step, mut validation_loss, mut validation_cec) = (steps, None, None);
        if let Some(best) = self.progress.best.take() {
            let live = self
                .model
                .network
                .parameters_mut()
                .iter_mut()
                .filter(|parameter| parameter.is_trained);
            live.zip(best.values)
                .for_each(|(parameter, value)| parameter.value = value);
            (best_step, validation_loss) = (best.step, Some(best.loss));
            validation_cec = best.cec;
        }
        if let Some(at) = self.aims.projection {
            self.model.network.parameters_mut().truncate(at);
        }
        self.model.network = self.model.network.plain();
        let (name, other) = match self.options.method {
            Method::Full => ("model", "adapter"),
            Method::Lora => ("adapter", "model"),
        };
        let part = self.folder.join(format!("{name}.part"));
        fs::remove(&part)?;
        match self.options.method {
            Method::Full => self.model.save(&part)?,
            Method::Lora => self.model.save_adapter(&part)?,
        }
        fs::remove(&self.folder.join(other))?;
        fs::rename(&part, &self.folder.join(name))?;
        if self.options.method == Method::Lora && self.options.merge {
            self.save_merged(other, observe)?;
        }
        self.log.sync()?;
        checkpoint::remove(self.folder)?;
        tell(
            observe,
            Event::Note {
                text: format!("the student after step {best_step} of {steps} is saved in {name}/"),
            },
        )?;
        let first_validation_loss = self.progress.first_validation_loss;
        let precision = self.precision_name();
        Ok(Trained {
            model: self.model,
            steps,
            best_step,
            validation_loss,
            first_validation_loss,
            validation_cec,
            precision,
        })
    }
}

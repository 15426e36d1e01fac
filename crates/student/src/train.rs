//! The training loop, and the only one.
//!
//! It is loud: it shows one example with the trained tokens marked, checks in the first steps that
//! every trained tensor receives a gradient, and stops where a number is not finite.
//! It can be stopped at every step, killed at every moment, and goes on bit for bit.

mod resting;

use std::path::Path;

use stillhouse_core::event::{Event, Observer, tell};
use stillhouse_core::fs;
use stillhouse_core::jsonl::Log;
use stillhouse_core::random::hash;
use stillhouse_core::record::Step;

use crate::adapter;
use crate::batch::{self, Item, Packed, Sequence};
use crate::checkpoint::{self, Best, Progress};
use crate::error::{Error, Result};
use crate::loss::{loss_and_gradient, mean_loss};
use crate::model::Model;
use crate::ops::{self, AdamwStep, Dropout};
use crate::optimizer::{Optimizer, trained};

use crate::options::count;
pub use crate::options::{Base, Method, Precision, TrainOptions};

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
    /// In what products with weights were taken: "f32" or "bf16".
    pub precision: &'static str,
}

/// Fine-tunes `base`, and writes into the run directory `folder`: `steps.jsonl` while it works, and
/// at the end `model/` (a Hugging Face folder) or `adapter/` (PEFT).
///
/// `clock` tells seconds and decides nothing but when a checkpoint is due.
/// A training that was stopped or killed goes on from its last checkpoint, and ends as if it had
/// never been stopped.
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
    options.check()?;
    fs::create_folder(folder)?;
    let data = Data::new(&base, train, validation, options, observe)?;
    let mut training = Training::begin(base, &data, options, seed, folder, observe)?;
    let outcome = training.steps(clock, observe);
    if let Err(Error::Core(stillhouse_core::Error::Stopped)) = outcome {
        training.save_checkpoint()?;
    }
    outcome?;
    training.finish(observe)
}

/// The tokens that are learnt and watched.
struct Data {
    train: Vec<Sequence>,
    validation: Vec<Sequence>,
}

impl Data {
    fn new(
        model: &Model,
        train: &[Item],
        validation: &[Item],
        options: &TrainOptions,
        observe: &mut Observer<'_>,
    ) -> Result<Self> {
        let mut read = |split: &str, items: &[Item]| -> Result<Vec<Sequence>> {
            let (sequences, refused) = batch::sequences(model, items, options.loss_on)?;
            if !refused.is_empty() {
                let text = format!(
                    "{} of {} {split} items are left out: {}",
                    refused.len(),
                    items.len(),
                    refused.join("; ")
                );
                tell(observe, Event::Warning { text })?;
            }
            Ok(sequences)
        };
        let data = Self {
            train: read("training", train)?,
            validation: read("validation", validation)?,
        };
        if data.train.is_empty() {
            return Err(Error::Item {
                id: "none".to_owned(),
                what: "there is nothing to train on".to_owned(),
            });
        }
        Ok(data)
    }

    fn epoch_steps(&self, options: &TrainOptions) -> usize {
        self.train.len().div_ceil(options.batch_size)
    }
}

struct Training<'a> {
    model: Model,
    optimizer: Optimizer,
    progress: Progress,
    data: &'a Data,
    options: &'a TrainOptions,
    seed: u64,
    folder: &'a Path,
    log: Log,
    fingerprint: String,
    /// Updates in all.
    total: usize,
}

/// What one update saw.
struct Update {
    loss: f64,
    gradient_norm: f64,
    learning_rate: f64,
    tokens: usize,
    supervised_tokens: usize,
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
        let sequences = data.train.iter().chain(&data.validation);
        let fingerprint =
            checkpoint::fingerprint(model.network.parameters(), sequences, options, seed);
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
        let log = open_log(&log, done)?;
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
                Progress {
                    step: 0,
                    best: None,
                    first_validation_loss: None,
                    n_waited: 0,
                }
            }
        };
        Ok(Self {
            model,
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
            if let Some(loss) = self.validate()? {
                self.progress.first_validation_loss = Some(loss);
                self.keep_if_best(loss, observe)?;
            }
        }
        let mut saved_at = clock();
        while self.progress.step < self.total && !self.is_patience_over(observe)? {
            let step = self.progress.step + 1;
            let update = self.update(step)?;
            self.progress.step = step;
            let is_due = step == self.total || step.is_multiple_of(self.validation_steps());
            let validation_loss = if is_due { self.validate()? } else { None };
            self.record(&update, validation_loss)?;
            // From here on the step is done: whoever stops now stops after it.
            let is_better = validation_loss.map(|loss| self.keep_if_best(loss, observe));
            self.tell_step(&update, observe)?;
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
        let (items, most) = (self.items_of(step), options.micro_batch_tokens);
        // Where a draw of chance differs from row to row (dropout), items must be read apart.
        let dropout = self.dropout(step);
        let packed = if options.share_prompts && dropout.is_none() {
            batch::pack(items, most)
        } else {
            batch::pack_apart(items, most)
        };
        let (loss, gradient) = ops::with_precision(options.precision.here(), || {
            loss_and_gradient(&self.model.network, &packed, dropout)
        });
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
        let tokens = packed.iter().map(Packed::n_tokens).sum();
        let supervised_tokens = packed
            .iter()
            .map(|part| part.targets.iter().flatten().count())
            .sum();
        Ok(Update {
            loss,
            gradient_norm,
            learning_rate,
            tokens,
            supervised_tokens,
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

    /// The items of one update; the order is drawn anew for each epoch.
    fn items_of(&self, step: usize) -> impl Iterator<Item = &'a Sequence> + use<'a> {
        let (data, size) = (self.data, self.options.batch_size);
        let (epoch, place) = (
            (step - 1) / self.epoch_steps(),
            (step - 1) % self.epoch_steps(),
        );
        let order = batch::order(data.train.len(), epoch, self.seed);
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
        self.epoch_steps().div_ceil(self.options.validate_per_epoch)
    }

    /// Mean loss over the validation split's supervised tokens; `None` without a split.
    fn validate(&self) -> Result<Option<f64>> {
        let network = self.model.network.plain();
        let loss = mean_loss(
            &network,
            &self.data.validation,
            self.options.micro_batch_tokens,
        );
        match loss {
            Some(loss) if !loss.is_finite() => Err(Error::NotFinite {
                step: self.progress.step,
                what: "the validation loss".to_owned(),
            }),
            _ => Ok(loss),
        }
    }

    fn keep_if_best(&mut self, loss: f64, observe: &mut Observer<'_>) -> Result<()> {
        let step = self.progress.step;
        let is_best = self
            .progress
            .best
            .as_ref()
            .is_none_or(|best| loss < best.loss);
        if is_best {
            let values = trained(self.model.network.parameters()).map(|p| p.value.clone().plain());
            self.progress.best = Some(Best {
                step,
                loss,
                values: values.collect(),
            });
            self.progress.n_waited = 0;
        } else {
            self.progress.n_waited += 1;
        }
        Ok(tell(
            observe,
            Event::Validated {
                step,
                loss,
                is_best,
            },
        )?)
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

    fn record(&mut self, update: &Update, validation_loss: Option<f64>) -> Result<()> {
        let step = self.progress.step;
        Ok(self.log.push(&Step {
            step,
            epoch: step as f64 / self.epoch_steps() as f64,
            loss: update.loss,
            learning_rate: update.learning_rate,
            gradient_norm: update.gradient_norm,
            tokens: update.tokens,
            supervised_tokens: update.supervised_tokens,
            validation_loss,
        })?)
    }

    fn tell_step(&self, update: &Update, observe: &mut Observer<'_>) -> Result<()> {
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
        };
        Ok(tell(observe, event)?)
    }

    /// Says what will be trained on, with one example whose trained tokens are marked.
    fn introduce(&self, observe: &mut Observer<'_>) -> Result<()> {
        let parameters = self.model.network.parameters();
        let n_trained: usize = trained(parameters)
            .map(|p| p.value.shape().iter().product::<usize>())
            .sum();
        let supervised: usize = self.data.train.iter().map(Sequence::n_supervised).sum();
        let read: usize = self.data.train.iter().map(Sequence::n_tokens).sum();
        let text = format!(
            "training {n_trained} of {} parameters in {} steps on {} items: {read} tokens, of which {supervised} carry loss; products in {}",
            self.model.n_parameters(),
            self.total,
            self.data.train.len(),
            self.options.precision.name_here(),
        );
        tell(observe, Event::Note { text })?;
        if let Some(text) = resting::note(&self.model) {
            tell(observe, Event::Note { text })?;
        }
        let text = format!(
            "one item, its trained tokens between « and »: {}",
            self.marked(&self.data.train[0])
        );
        Ok(tell(observe, Event::Note { text })?)
    }

    fn marked(&self, sequence: &Sequence) -> String {
        let tokenizer = self.model.tokenizer();
        let last = sequence.targets.last().copied().flatten();
        let tokens: Vec<u32> = sequence.tokens.iter().copied().chain(last).collect();
        let is_trained = |at: usize| at > 0 && sequence.targets[at - 1].is_some();
        let mut text = tokenizer.decode_all(&sequence.source);
        let mut from = 0;
        while from < tokens.len() {
            let to = (from + 1..tokens.len())
                .find(|at| is_trained(*at) != is_trained(from))
                .unwrap_or(tokens.len());
            let span = tokenizer.decode_all(&tokens[from..to]);
            let marks = if is_trained(from) {
                ["«", "»"]
            } else {
                ["", ""]
            };
            text.extend([marks[0], &span, marks[1]]);
            from = to;
        }
        text
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
        let (mut best_step, mut validation_loss) = (steps, None);
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
        Ok(Trained {
            model: self.model,
            steps,
            best_step,
            validation_loss,
            first_validation_loss,
            precision: self.options.precision.name_here(),
        })
    }
}

/// Opens the step log and takes off what was written after the checkpoint; lines stay as they are,
/// to the last digit.
fn open_log(path: &Path, done: usize) -> Result<Log> {
    if path.is_file() {
        let text = fs::read_text(path)?;
        let kept: String = text.split_inclusive('\n').take(done).collect();
        if kept.len() < text.len() {
            fs::write(path, kept)?;
        }
    }
    let (log, steps) = Log::open::<Step>(path)?;
    if steps.len() < done {
        let what = format!(
            "holds {} steps, the checkpoint stands after {done}; remove the checkpoint folder to start over",
            steps.len()
        );
        return Err(Error::folder(path, what));
    }
    Ok(log)
}

//! What a training is given, and what becomes of it in tokens.

use stillhouse_core::event::{Event, Observer, tell};

use crate::batch::{Item, Sequence};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::objective::{self, Hints, Lesson, Objectives, Unit};
use crate::options::{Criterion, TrainOptions};

/// Lets a student generate for the validation split, and says how good that is; higher is better,
/// and nothing where no explanation could be judged.
pub type Judge<'a> = dyn FnMut(&Model, &mut Observer<'_>) -> Result<Option<f64>> + 'a;

/// What a training is given beside the model and its options.
#[derive(Default)]
pub struct Material<'a> {
    /// What is learnt.
    pub train: &'a [Item],
    /// What objectives know of it, one for each item, or none at all.
    pub hints: &'a [Hints],
    /// What is watched.
    pub validation: &'a [Item],
    /// As `hints`, for the validation items.
    pub validation_hints: &'a [Hints],
    /// The model whose distribution is learnt, where that is an objective.
    pub teacher: Option<Model>,
    /// Measures the student's own texts, where the best checkpoint is chosen by them.
    pub judge: Option<Box<Judge<'a>>>,
    /// Bytes that the process holds, for events.
    pub memory: Option<&'a dyn Fn() -> Option<u64>>,
}

/// What is learnt and watched, in tokens.
pub(super) struct Data {
    pub(super) train: Vec<Unit>,
    /// Weighted as the parts of the cross-entropy are.
    pub(super) validation: Vec<Sequence>,
    pub(super) teacher: Option<Model>,
    /// Numbers in an embedding; 0 where there is none.
    pub(super) embedding: usize,
}

impl Data {
    pub(super) fn new(
        model: &Model,
        material: &mut Material<'_>,
        options: &TrainOptions,
        observe: &mut Observer<'_>,
    ) -> Result<Self> {
        let objectives = &options.objectives;
        // What is watched is the cross-entropy.
        let watching = Objectives {
            two_prompts: objectives.two_prompts,
            counterfactual: objectives.counterfactual,
            ..Objectives::default()
        };
        let mut read = |split: &str, items: &[Item], hints: &[Hints]| -> Result<Vec<Unit>> {
            let is_training = split == "training";
            let wanted = if is_training { objectives } else { &watching };
            let (units, left) = objective::units(model, items, hints, options.loss_on, wanted)?;
            if !left.refused.is_empty() {
                let text = format!(
                    "{} of {} {split} items are left out: {}",
                    left.refused.len(),
                    items.len(),
                    left.refused.join("; ")
                );
                tell(observe, Event::Warning { text })?;
            }
            for text in left.remarks {
                tell(observe, Event::Note { text })?;
            }
            Ok(units)
        };
        let train = read("training", material.train, material.hints)?;
        let watched = read("validation", material.validation, material.validation_hints)?;
        if train.is_empty() {
            return Err(Error::Item {
                id: "none".to_owned(),
                what: "there is nothing to train on".to_owned(),
            });
        }
        if options.choose_by == Criterion::Cec && material.judge.is_none() {
            let what = "\"cec\" needs somebody who judges explanations";
            return Err(Error::option("student.train.choose_by", what));
        }
        if options.recompute && model.network.decoder().is_none() {
            let what = "an encoder-decoder keeps its activations";
            return Err(Error::option("student.train.recompute", what));
        }
        let mut teacher = material.teacher.take();
        if let Some(teacher) = &mut teacher {
            teacher.network.move_to(&model.network.device());
        }
        match (&objectives.teacher, &teacher) {
            (Some(options), Some(teacher)) => objective::check_teacher(model, teacher, options)?,
            (Some(_), None) => {
                let what = "no teacher's model was given";
                return Err(Error::option("student.train.objectives.teacher", what));
            }
            (None, _) => {}
        }
        let longest = train.iter().flatten().map(|l| l.sequence.n_tokens()).max();
        if let (Some(teacher), Some(longest)) = (&teacher, longest)
            && longest > teacher.context_tokens()
        {
            let what = format!(
                "an item has {longest} tokens, the teacher's context is {}; lower student.context_tokens",
                teacher.context_tokens()
            );
            return Err(Error::option("student.train.objectives.teacher", what));
        }
        let embedding = train.iter().flatten().map(|lesson| lesson.embedding.len());
        let embedding = embedding.max().unwrap_or(0);
        if objectives.semantic.is_some() && embedding == 0 {
            let what = "no item has the embedding of a reference";
            return Err(Error::option("student.train.objectives.semantic", what));
        }
        let watched: Vec<Lesson> = watched.into_iter().flatten().collect();
        let weights = objective::shared(watched.iter(), objectives);
        let validation = watched
            .into_iter()
            .zip(weights)
            .map(|(lesson, weight)| Sequence {
                weight,
                ..lesson.sequence
            });
        Ok(Self {
            train,
            validation: validation.filter(|s| s.n_supervised() > 0).collect(),
            teacher,
            embedding,
        })
    }

    pub(super) fn epoch_steps(&self, options: &TrainOptions) -> usize {
        self.train.len().div_ceil(options.batch_size)
    }

    pub(super) fn lessons(&self) -> impl Iterator<Item = &Lesson> {
        self.train.iter().flatten()
    }
}

//! An item with all that the objectives want to know of it, in tokens.

use std::collections::BTreeMap;
use std::ops::Range;

use super::options::Objectives;
use super::top_k::{self, TeacherToken};
use crate::batch::{Item, LossOn, Sequence};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::ops::Known;

/// What an item is among those of its question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Answer and rationale together.
    #[default]
    Whole,
    /// The answer, asked for by a prompt of its own.
    Label,
    /// The rationale, likewise.
    Rationale,
    /// A wrong rationale and the answer that it leads to; only the answer is learnt.
    Counterfactual,
}

/// What objectives know of an item beside its prompt and completion; what is not known is empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hints {
    /// Items of one name are learnt together; an item without one stands alone.
    pub unit: Option<String>,
    /// What it is among them.
    pub part: Part,
    /// The bytes of the completion that hold the answer.
    pub answer: Option<Range<usize>>,
    /// The bytes of the completion that hold the explanation.
    pub explanation: Option<Range<usize>>,
    /// Whether it is one of the two of its unit that should agree on the answer.
    pub is_paired: bool,
    /// How the teacher said it, token by token.
    pub teacher_tokens: Vec<TeacherToken>,
    /// Completions that are worse than this one.
    pub perturbed: Vec<String>,
    /// The embedding of the reference; empty where there is none.
    pub embedding: Vec<f32>,
}

/// An item in tokens, for all objectives. Places count the completion's tokens from 0.
#[derive(Clone, Debug)]
pub(crate) struct Lesson {
    pub(crate) sequence: Sequence,
    /// The completion's tokens and the end token.
    pub(crate) completion: Vec<u32>,
    pub(crate) part: Part,
    pub(crate) answer: Range<usize>,
    pub(crate) explanation: Range<usize>,
    pub(crate) is_paired: bool,
    /// What the teacher finds likeliest, where that is known.
    pub(crate) known: Vec<(usize, Known)>,
    pub(crate) embedding: Vec<f32>,
    /// Of a perturbed one: how many places before it in its unit the sound one stands.
    pub(crate) worse_than: Option<usize>,
}

/// What is learnt together, in one update and one forward pass.
pub(crate) type Unit = Vec<Lesson>;

/// What could not be used, for the user.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// "`id` has no token to learn", one an item.
    pub(crate) refused: Vec<String>,
    /// Whole sentences.
    pub(crate) remarks: Vec<String>,
}

impl Lesson {
    /// How many tokens stand before the completion in what the model reads.
    pub(crate) fn n_prompt(&self) -> usize {
        self.sequence.tokens.len() + 1 - self.completion.len()
    }

    fn new(model: &Model, item: &Item, hints: &Hints, loss_on: LossOn) -> Result<Self, String> {
        let mut sequence = Sequence::new(model, item, loss_on)?;
        let mut completion = model.tokenizer().completion(&item.completion);
        let spans = model.tokenizer().spans(&item.completion);
        let within = |bytes: &Option<Range<usize>>| {
            bytes.as_ref().map_or(0..0, |bytes| places(&spans, bytes))
        };
        let (answer, explanation) = (within(&hints.answer), within(&hints.explanation));
        completion.extend(model.interface().eos.first());
        if hints.part == Part::Counterfactual {
            if answer.is_empty() {
                return Err("is counterfactual and has no answer to learn".to_owned());
            }
            let first = sequence.tokens.len() + 1 - completion.len();
            for (at, target) in sequence.targets.iter_mut().enumerate() {
                // The target of row `at` is token `at + 1`.
                if !(answer.contains(&(at + 1).wrapping_sub(first))) {
                    *target = None;
                }
            }
        }
        Ok(Self {
            sequence,
            completion,
            part: hints.part,
            answer,
            explanation,
            is_paired: hints.is_paired,
            known: Vec::new(),
            embedding: hints.embedding.clone(),
            worse_than: None,
        })
    }

    /// Puts everything that the loss depends on into `bytes`.
    pub(crate) fn write(&self, bytes: &mut Vec<u8>) {
        let mut put = |number: u32| bytes.extend(number.to_le_bytes());
        let targets = self.sequence.targets.iter();
        let targets = targets.map(|target| target.map_or(u32::MAX, |token| token));
        self.sequence
            .source
            .iter()
            .chain(&self.sequence.tokens)
            .copied()
            .chain(targets)
            .for_each(&mut put);
        put(self.sequence.weight.to_bits());
        let spans = [&self.answer, &self.explanation].into_iter();
        spans
            .flat_map(|span| [span.start, span.end])
            .for_each(|at| put(at as u32));
        put(self.part as u32);
        put(u32::from(self.is_paired));
        put(self.worse_than.map_or(u32::MAX, |back| back as u32));
        for (at, known) in &self.known {
            put(*at as u32);
            known
                .iter()
                .flat_map(|(token, log)| [*token, log.to_bits()])
                .for_each(&mut put);
        }
        self.embedding.iter().for_each(|v| put(v.to_bits()));
    }
}

/// The tokens that have a share in `bytes`; each token reaches from the end of the one before it.
fn places(ends: &[usize], bytes: &Range<usize>) -> Range<usize> {
    let first = ends.partition_point(|end| *end <= bytes.start);
    let last = ends.partition_point(|end| *end < bytes.end);
    if bytes.is_empty() || first >= ends.len() {
        return 0..0;
    }
    first..(last + 1).min(ends.len())
}

/// The units of usable items, in the order of their first ones, and what was left out.
///
/// `hints` has one entry an item, or none at all.
pub(crate) fn units(
    model: &Model,
    items: &[Item],
    hints: &[Hints],
    loss_on: LossOn,
    objectives: &Objectives,
) -> Result<(Vec<Unit>, Left)> {
    assert!(
        hints.is_empty() || hints.len() == items.len(),
        "hints for each item or for none"
    );
    let nothing = Hints::default();
    let mut left = Left::default();
    let mut units: Vec<Unit> = Vec::new();
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut aligned, mut wanted) = (0, 0);
    for (index, item) in items.iter().enumerate() {
        let hints = hints.get(index).unwrap_or(&nothing);
        let mut lesson = match Lesson::new(model, item, hints, loss_on) {
            Ok(lesson) => lesson,
            Err(why) => {
                left.refused.push(format!("`{}` {why}", item.id));
                continue;
            }
        };
        if objectives.top_k.is_some() && !hints.teacher_tokens.is_empty() {
            let said = &hints.teacher_tokens;
            lesson.known = top_k::align(model.tokenizer(), &item.completion, said);
            aligned += lesson.known.len();
            wanted += lesson.explanation.len();
        }
        let mut group = vec![lesson];
        if objectives.contrast.is_some() {
            for completion in &hints.perturbed {
                let worse = Item {
                    completion: completion.clone(),
                    ..item.clone()
                };
                match Lesson::new(model, &worse, &nothing, LossOn::Completion) {
                    Ok(mut lesson) => {
                        lesson.sequence.targets.fill(None);
                        lesson.worse_than = Some(group.len());
                        group.push(lesson);
                    }
                    Err(why) => left.refused.push(format!("`{}` perturbed {why}", item.id)),
                }
            }
        }
        let place = hints.unit.as_deref().map(|name| {
            let next = units.len();
            *by_name.entry(name).or_insert(next)
        });
        match place.and_then(|at| units.get_mut(at)) {
            Some(unit) => unit.extend(group),
            None => units.push(group),
        }
    }
    if objectives.top_k.is_some() {
        left.remarks.push(format!(
            "top_k: {aligned} of {wanted} tokens of teacher-scored explanations are tokens of the student too; the others are left out"
        ));
        if aligned == 0 && !items.is_empty() {
            let what = "no token of the teacher is a token of the student; the tokenizers differ, or the teacher's log-probabilities were not kept (teacher.sampling.top_logprobs)";
            return Err(Error::option("student.train.objectives.top_k", what));
        }
    }
    if objectives.consistency.is_some() {
        left.remarks.push(super::consistency::settle(&mut units));
    }
    match items.first() {
        Some(item) if units.is_empty() => Err(Error::Item {
            id: item.id.clone(),
            what: format!(
                "none of {} items can be used: {}",
                items.len(),
                left.refused.join("; ")
            ),
        }),
        _ => Ok((units, left)),
    }
}

//! All objectives of a training, joined to one loss of one forward pass.

use std::collections::BTreeMap;

use burn::tensor::Tensor;

use super::lesson::{Lesson, Unit};
use super::options::Objectives;
use super::{consistency, contrast, part, semantic, teacher, top_k};
use crate::batch::{self, Packed};
use crate::loss;
use crate::model::Model;
use crate::network::Network;
use crate::ops::{self, Dropout};
use crate::optimizer::Gradient;
use crate::recompute;
use crate::shared::Count;

/// What a training learns.
#[derive(Debug)]
pub(crate) struct Aims<'a> {
    pub(crate) objectives: &'a Objectives,
    /// Without gradients; its tokenizer is the student's.
    pub(crate) teacher: Option<Model>,
    /// The place of the semantic objective's matrix among the parameters.
    pub(crate) projection: Option<usize>,
    /// Whether activations are computed again in the backward pass.
    pub(crate) recompute: bool,
}

/// Lessons that go through the model at once.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    pub(crate) lessons: Vec<&'a Lesson>,
    /// Which lesson begins each unit.
    borders: Vec<usize>,
    pub(crate) packed: Packed,
}

/// What one update learnt.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The sum of all objectives with their weights.
    pub(crate) loss: f64,
    pub(crate) gradient: Gradient,
    /// Each objective by name, before its weight; empty where there is only cross-entropy.
    pub(crate) objectives: BTreeMap<String, f64>,
}

impl<'a> Pass<'a> {
    /// Packs units, in their order, into passes of at most `most` tokens, or of one unit; with
    /// `shares`, what lessons of a pass have in common at their beginning counts and is read once.
    pub(crate) fn pack(
        units: impl IntoIterator<Item = &'a Unit>,
        most: usize,
        shares: bool,
        objectives: &Objectives,
    ) -> Vec<Self> {
        let mut groups: Vec<Vec<&'a Unit>> = Vec::new();
        let mut count = Count::default();
        for unit in units {
            let mut further = count.clone();
            for lesson in unit {
                further.add(lesson.sequence.read(), shares);
            }
            match groups.last_mut() {
                Some(group) if further.rows() <= most => group.push(unit),
                _ => {
                    further = Count::default();
                    for lesson in unit {
                        further.add(lesson.sequence.read(), shares);
                    }
                    groups.push(vec![unit]);
                }
            }
            count = further;
        }
        let all = groups.iter().flatten().flat_map(|unit| unit.iter());
        let mut weights = part::shared(all, objectives).into_iter();
        groups
            .into_iter()
            .map(|units| Self::of(&units, shares, &mut weights))
            .collect()
    }

    fn of(units: &[&'a Unit], shares: bool, weights: &mut impl Iterator<Item = f32>) -> Self {
        let mut borders = Vec::new();
        let mut lessons = Vec::new();
        for unit in units {
            borders.push(lessons.len());
            lessons.extend(unit.iter());
        }
        let weighted = lessons.iter().zip(weights).map(|(lesson, weight)| {
            let mut sequence = lesson.sequence.clone();
            sequence.weight = weight;
            sequence
        });
        let weighted: Vec<_> = weighted.collect();
        let packed = if shares {
            batch::pack(&weighted, usize::MAX)
        } else {
            batch::pack_apart(&weighted, usize::MAX)
        };
        let packed = packed.into_iter().next().expect("a pass has a lesson");
        Self {
            lessons,
            borders,
            packed,
        }
    }

    /// A pass with nothing but cross-entropy.
    #[cfg(test)]
    pub(crate) fn plain(packed: Packed) -> Self {
        Self {
            lessons: Vec::new(),
            borders: Vec::new(),
            packed,
        }
    }

    /// The row of the states that foretells the token at `place` of a lesson's completion.
    pub(crate) fn row_before(&self, lesson: usize, place: usize) -> usize {
        let first = self.packed.layout.sequence(lesson).start;
        first + self.lessons[lesson].n_prompt() + place - 1
    }

    /// The two lessons of each unit that should agree.
    pub(crate) fn pairs(&self) -> Vec<(usize, usize)> {
        let ends = self.borders.iter().skip(1).copied();
        let units = self.borders.iter().zip(ends.chain([self.lessons.len()]));
        let pairs = units.filter_map(|(&begin, end)| {
            let mut marked = (begin..end).filter(|&index| self.lessons[index].is_paired);
            Some((marked.next()?, marked.next()?))
        });
        pairs.collect()
    }

    /// Each sound lesson with each perturbed version of it.
    pub(crate) fn contrasts(&self) -> Vec<(usize, usize)> {
        let lessons = self.lessons.iter().enumerate();
        let pairs = lessons.filter_map(|(index, lesson)| Some((index - lesson.worse_than?, index)));
        pairs.collect()
    }
}

/// One objective's part in a pass.
struct Term {
    name: &'static str,
    weight: f64,
    /// What the sum over an update is divided by.
    total: f64,
    sum: Option<Tensor<1>>,
}

impl Aims<'_> {
    /// The weighted sum of all objectives over an update, and its gradient; each pass drops other
    /// entries.
    pub(crate) fn loss_and_gradient(
        &self,
        network: &Network,
        passes: &[Pass<'_>],
        dropout: Option<Dropout>,
    ) -> Outcome {
        let totals = self.totals(passes);
        let mut whole: Option<Outcome> = None;
        for (number, pass) in passes.iter().enumerate() {
            let dropout = dropout.map(|all| all.of(&format!("micro-batch {number}")));
            let part = match dropout {
                Some(dropout) => self.backward(&network.dropping(dropout), pass, &totals),
                None => self.backward(network, pass, &totals),
            };
            whole = Some(match whole {
                None => part,
                Some(sum) => sum.add(part),
            });
        }
        whole.expect("an update has at least one pass")
    }

    fn is_plain(&self) -> bool {
        let Objectives {
            teacher,
            top_k,
            consistency,
            contrast,
            semantic,
            ..
        } = self.objectives;
        teacher.is_none()
            && top_k.is_none()
            && consistency.is_none()
            && contrast.is_none()
            && semantic.is_none()
    }

    /// What each objective's sum is divided by.
    fn totals(&self, passes: &[Pass<'_>]) -> BTreeMap<&'static str, f64> {
        let sum = |amount: &dyn Fn(&Pass<'_>) -> f64| passes.iter().map(amount).sum::<f64>();
        let mut totals = BTreeMap::new();
        let is_parted =
            self.objectives.two_prompts.is_some() || self.objectives.counterfactual.is_some();
        let tokens = sum(&|pass| loss::weight(&pass.packed));
        totals.insert("cross_entropy", if is_parted { 1.0 } else { tokens });
        if !self.is_plain() {
            totals.insert("top_k", sum(&top_k::amount));
            totals.insert("consistency", sum(&consistency::amount));
            totals.insert("contrast", sum(&contrast::amount));
            totals.insert("semantic", sum(&semantic::amount));
        }
        totals
    }

    fn backward(
        &self,
        network: &Network,
        pass: &Pass<'_>,
        totals: &BTreeMap<&'static str, f64>,
    ) -> Outcome {
        let mut objectives = BTreeMap::new();
        let (loss, gradient) =
            recompute::backward(network, &pass.packed, self.recompute, |states| {
                self.loss(network, states, pass, totals, &mut objectives)
            });
        Outcome {
            loss,
            gradient,
            objectives,
        }
    }

    fn loss(
        &self,
        network: &Network,
        states: &Tensor<2>,
        pass: &Pass<'_>,
        totals: &BTreeMap<&'static str, f64>,
        objectives: &mut BTreeMap<String, f64>,
    ) -> Tensor<1> {
        let mean = loss::cross_entropy(network, states.clone(), &pass.packed);
        let share = loss::weight(&pass.packed) / totals["cross_entropy"];
        let cross_entropy = mean * share as f32;
        let mut loss = cross_entropy.clone() * self.objectives.cross_entropy as f32;
        if self.is_plain() {
            return loss;
        }
        objectives.insert("cross_entropy".to_owned(), value(&cross_entropy));
        for term in self.terms(network, states, pass, totals) {
            let Some(sum) = term.sum else { continue };
            let mean = sum / term.total as f32;
            objectives.insert(term.name.to_owned(), value(&mean));
            loss = loss + mean * term.weight as f32;
        }
        loss
    }

    fn terms(
        &self,
        network: &Network,
        states: &Tensor<2>,
        pass: &Pass<'_>,
        totals: &BTreeMap<&'static str, f64>,
    ) -> Vec<Term> {
        let student = ops::States {
            x: states,
            head: network.head(),
        };
        let mut terms = Vec::new();
        let mut push = |name, weight, total: &str, sum| {
            terms.push(Term {
                name,
                weight,
                total: totals[total],
                sum,
            });
        };
        let objectives = self.objectives;
        if let (Some(options), Some(teacher)) = (&objectives.teacher, &self.teacher) {
            let sum = teacher::term(student, teacher, &pass.packed, options);
            push("teacher", options.weight, "cross_entropy", Some(sum));
        }
        if let Some(options) = objectives.top_k {
            push("top_k", options.weight, "top_k", top_k::term(student, pass));
        }
        if let Some(options) = objectives.consistency {
            let sum = consistency::term(student, pass, options);
            push("consistency", options.weight, "consistency", sum);
        }
        if let Some(options) = &objectives.contrast {
            let sum = contrast::term(student, pass, options);
            push("contrast", options.weight, "contrast", sum);
        }
        if let (Some(options), Some(at)) = (objectives.semantic, self.projection) {
            let sum = semantic::term(states, network.parameters()[at].matrix(), pass);
            push("semantic", options.weight, "semantic", sum);
        }
        terms
    }
}

impl Outcome {
    fn add(mut self, other: Self) -> Self {
        for (name, value) in other.objectives {
            *self.objectives.entry(name).or_default() += value;
        }
        Self {
            loss: self.loss + other.loss,
            gradient: self.gradient.add(other.gradient),
            objectives: self.objectives,
        }
    }
}

fn value(tensor: &Tensor<1>) -> f64 {
    f64::from(tensor.clone().into_scalar::<f32>())
}

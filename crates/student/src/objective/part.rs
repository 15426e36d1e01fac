//! How parts share the cross-entropy.
//!
//! Distilling Step-by-Step (Hsieh et al., Findings of ACL 2023, arXiv 2305.02301) asks one model for the label and for the rationale, by two prompts:
//! `alpha CE(label) + (1 - alpha) CE(rationale)`, each the mean over its own tokens of the update, alpha 0.5, as in google-research/distilling-step-by-step; the paper writes `CE(label) + lambda CE(rationale)`, which is the same up to the learning rate.
//! SCOTT (Wang et al., ACL 2023, arXiv 2305.01879) learns what follows from a wrong rationale:
//! `(1 - c) CE(factual) + c CE(counterfactual)`, c 0.5, the second over the answer's tokens alone, as in wangpf3/consistent-CoT-distillation.

use std::collections::BTreeMap;

use super::lesson::{Lesson, Part};
use super::options::Objectives;

/// The share of a part in the cross-entropy; nothing where parts do not count.
fn share(part: Part, objectives: &Objectives) -> Option<f64> {
    let is_wrong = part == Part::Counterfactual;
    match (objectives.two_prompts, objectives.counterfactual) {
        (Some(options), _) if part == Part::Label => Some(options.alpha),
        (Some(options), _) => Some(1.0 - options.alpha),
        (None, Some(options)) if is_wrong => Some(options.share),
        (None, Some(options)) => Some(1.0 - options.share),
        (None, None) => None,
    }
}

/// The weight of each lesson's tokens, so that the mean of each part counts by its share; a part that is not there does not count. Without parts the weights stay as they are.
pub(crate) fn shared<'a>(
    lessons: impl Iterator<Item = &'a Lesson> + Clone,
    objectives: &Objectives,
) -> Vec<f32> {
    let side = |lesson: &Lesson| match objectives.two_prompts {
        Some(_) => lesson.part == Part::Label,
        None => lesson.part == Part::Counterfactual,
    };
    let mut totals: BTreeMap<bool, f64> = BTreeMap::new();
    for lesson in lessons.clone() {
        let weight = lesson.sequence.n_supervised() as f64 * f64::from(lesson.sequence.weight);
        *totals.entry(side(lesson)).or_default() += weight;
    }
    lessons
        .map(|lesson| match share(lesson.part, objectives) {
            None => lesson.sequence.weight,
            Some(share) => {
                let total = totals[&side(lesson)].max(f64::MIN_POSITIVE);
                (f64::from(lesson.sequence.weight) * share / total) as f32
            }
        })
        .collect()
}

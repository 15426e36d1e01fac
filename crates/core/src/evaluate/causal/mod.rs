//! Causal links: what a text says about what brings about what, and whether two texts agree on it.

mod compare;
mod cue;
mod difference;
mod lexicon;
mod link;
mod number;
mod predicate;
mod reaction;
mod retention;
mod rewrite;
mod segment;
mod similarity;
mod stress;
#[cfg(test)]
mod tests;
mod token;

pub use compare::{CompareOptions, Comparison, Finding, Linked, Stated, Verdict, compare, phrases};
pub use difference::{ALIGNED, Difference, Differences, differences};
pub use lexicon::{Lexicon, Width};
pub use link::{Link, Pattern, extract};
pub use reaction::{Contrast, Detection, Mean, Observation, Reaction, Share, auc, contrasts, detection, reactions};
pub use retention::{Kept, Retention, retention};
pub use stress::{Perturbation, Perturbed, Source, perturb};

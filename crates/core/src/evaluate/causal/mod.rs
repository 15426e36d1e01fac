//! Causal links: what a text says about what brings about what, and whether two texts agree on it.
//!
//! [`extract`] reads a text with the words of a [`Lexicon`] and a few rules of English grammar: it
//! knows connectives, verbs, nouns and the order of clauses, and no meaning. [`compare`] matches the
//! links of an explanation with those of its reference by the words and the vectors of their sides
//! and says which are covered, missing, reversed or contradicted. What neither finds is not judged,
//! and how much was judged stands beside every score.
//! A judge that is learned from data would give a [`Comparison`] as well and stand beside [`compare`].
//!
//! Beside the links: what is kept of numbers, dates and names ([`retention`]), where aligned sentences
//! differ in a number or a negation ([`differences`]), texts that are changed on purpose ([`perturb`])
//! and a table of how metrics react to them ([`reactions`]).
//!
//! ```
//! use stillhouse_core::evaluate::causal::{CompareOptions, Lexicon, Linked, Width, compare, extract};
//! let lexicon = Lexicon::new(Width::Wide);
//! let (a, b) = (["Drought causes hunger.".to_owned()], ["Hunger causes drought.".to_owned()]);
//! let (ours, theirs) = (extract(&a, &lexicon), extract(&b, &lexicon));
//! let reference = Linked { sentences: &a, links: &ours };
//! let explanation = Linked { sentences: &b, links: &theirs };
//! let found = compare(reference, explanation, &|_| None, &CompareOptions::default());
//! assert_eq!((found.reversed, found.fidelity), (1, Some(0.0)));
//! ```

mod boundary;
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
mod turn;
mod verb;

pub use compare::{CompareOptions, Comparison, Finding, Linked, Stated, Verdict, compare, phrases};
pub use difference::{ALIGNED, Difference, Differences, differences};
pub use lexicon::{Lexicon, Width};
pub use link::{Link, Pattern, extract};
pub use reaction::{
    Contrast, Detection, Mean, Observation, Reaction, Share, auc, contrasts, detection, reactions,
};
pub use retention::{Kept, Retention, retention};
pub use stress::{Perturbation, Perturbed, Source, perturb};

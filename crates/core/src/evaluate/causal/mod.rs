//! Causal links: what a text says about what brings about what, and whether two texts agree on it.

mod compare;
mod lexicon;
mod link;
mod predicate;
mod segment;
mod similarity;
mod token;

pub use compare::{CompareOptions, Comparison, Finding, Linked, Stated, Verdict, compare, phrases};
pub use lexicon::{Lexicon, Width};
pub use link::{Link, Pattern, extract};

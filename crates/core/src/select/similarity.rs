//! How alike two candidates are.
//!
//! Word-trigram Jaccard as MCC-KD uses it (Chen et al. 2023, arXiv 2310.14747), exactly or by
//! `MinHash` (Broder 1997), or the cosine of sentence embeddings.
//! The paper of `MoRSD` does not say which similarity it uses; trigrams are our default.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::random::hash;
use crate::text::{Trigrams, jaccard, trigrams};

/// Hashes of one signature; the error of the estimate is about 1 / sqrt(n), 0.06.
const SIGNATURE: u64 = 256;

/// What makes two candidates alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Similarity {
    /// The Jaccard similarity of their sets of word trigrams.
    #[default]
    Trigrams,
    /// The same, estimated: for hundreds of long candidates an example.
    MinHash,
    /// The cosine of their embeddings by `evaluate.encoder`, at least 0.
    Embedding,
}

/// Unit vectors by the rationale's id.
pub type Vectors = HashMap<String, Vec<f32>>;

/// One candidate as it is compared.
#[derive(Clone, Debug)]
pub(super) enum Face<'a> {
    Trigrams(Trigrams),
    Signature(Vec<u64>),
    Vector(&'a [f32]),
}

impl<'a> Face<'a> {
    /// A text's face; one without a vector is compared by its trigrams, and so like no other.
    pub(super) fn new(similarity: Similarity, id: &str, text: &str, vectors: &'a Vectors) -> Self {
        match similarity {
            Similarity::Trigrams => Self::Trigrams(trigrams(text)),
            Similarity::MinHash => Self::Signature(signature(&trigrams(text))),
            Similarity::Embedding => vectors.get(id).map_or_else(
                || Self::Trigrams(trigrams(text)),
                |vector| Self::Vector(vector),
            ),
        }
    }

    /// From 0, nothing in common, to 1.
    pub(super) fn like(&self, other: &Self) -> f64 {
        match (self, other) {
            (Self::Trigrams(a), Self::Trigrams(b)) => jaccard(a, b),
            (Self::Signature(a), Self::Signature(b)) => {
                let same = a.iter().zip(b).filter(|(a, b)| a == b).count();
                same as f64 / SIGNATURE as f64
            }
            (Self::Vector(a), Self::Vector(b)) => {
                let products = a.iter().zip(*b).map(|(a, b)| f64::from(*a) * f64::from(*b));
                products.sum::<f64>().clamp(0.0, 1.0)
            }
            _ => 0.0,
        }
    }

    /// What the number is, for reasons.
    pub(super) fn words(&self) -> &'static str {
        match self {
            Self::Trigrams(_) => "of its word trigrams",
            Self::Signature(_) => "of its word trigrams (estimated)",
            Self::Vector(_) => "of its meaning (cosine)",
        }
    }
}

fn signature(grams: &Trigrams) -> Vec<u64> {
    let smallest = |seed| {
        let hashes = grams.iter().map(|gram| hash(&gram.to_le_bytes(), seed));
        hashes.min().unwrap_or(u64::MAX)
    };
    (0..SIGNATURE).map(smallest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn min_hash_estimates_the_jaccard_similarity() {
        let none = Vectors::new();
        let words: Vec<String> = (0..120).map(|n| format!("w{n}")).collect();
        let (a, b) = (words[..90].join(" "), words[30..].join(" "));
        let of = |similarity, a: &str, b: &str| {
            let face = |text| Face::new(similarity, "", text, &none);
            face(a).like(&face(b))
        };
        let exact = of(Similarity::Trigrams, &a, &b);
        assert!((of(Similarity::MinHash, &a, &b) - exact).abs() < 0.1);
        assert_eq!(of(Similarity::MinHash, &a, &a).to_bits(), 1f64.to_bits());
    }

    #[test]
    fn embeddings_are_compared_by_their_cosine() {
        let vectors = Vectors::from([
            ("a".to_owned(), vec![1.0, 0.0]),
            ("b".to_owned(), vec![0.6, 0.8]),
        ]);
        let face = |id| Face::new(Similarity::Embedding, id, "x", &vectors);
        assert!((face("a").like(&face("b")) - 0.6).abs() < 1e-6);
        assert!(face("a").like(&face("unknown")) < 1e-9);
    }
}

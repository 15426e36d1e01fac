//! Which candidates say the same.
//!
//! Reference: Chen et al. 2023 (MCC-KD) pick the most different pair by trigram Jaccard; we do it
//! greedily for any number. Ties: of two near-duplicates the earlier candidate stays; farthest
//! first begins with the earliest one and prefers the earlier of two that are equally far.

use super::Verdict;
use super::similarity::Face;
use crate::record::{Rationale, Rule};

/// Drops every candidate that is at least `limit` like one that stays before it.
pub(super) fn drop_alike(
    candidates: &[&Rationale],
    faces: &[Face<'_>],
    limit: f64,
    verdicts: &mut [Verdict],
) -> Vec<Option<f64>> {
    let mut nearest = vec![None; candidates.len()];
    let mut kept: Vec<usize> = Vec::new();
    for at in 0..candidates.len() {
        if verdicts[at].is_some() {
            continue;
        }
        let likes = kept.iter().map(|k| (*k, faces[at].like(&faces[*k])));
        let likes: Vec<(usize, f64)> = likes.collect();
        nearest[at] = likes.iter().map(|(_, s)| *s).reduce(f64::max);
        match likes.iter().find(|(_, s)| *s >= limit) {
            Some((other, similarity)) => {
                nearest[at] = Some(*similarity);
                let reason = format!(
                    "shares {similarity:.2} {} with {}",
                    faces[at].words(),
                    candidates[*other].id
                );
                verdicts[at] = Some((Rule::Diversity, reason));
            }
            None => kept.push(at),
        }
    }
    nearest
}

/// The open candidates, each next one as little like those before it as can be.
pub(super) fn farthest_first(open: &[usize], faces: &[Face<'_>]) -> Vec<usize> {
    let mut rest = open.to_vec();
    let mut order: Vec<usize> = Vec::new();
    // How much each of the rest is like the nearest one before.
    let mut nearest = vec![0f64; rest.len()];
    while !rest.is_empty() {
        let least = nearest.iter().copied().fold(f64::INFINITY, f64::min);
        let place = nearest.iter().position(|n| *n <= least).unwrap_or(0);
        let next = rest.remove(place);
        nearest.remove(place);
        for (at, near) in rest.iter().zip(&mut nearest) {
            *near = near.max(faces[*at].like(&faces[next]));
        }
        order.push(next);
    }
    order
}

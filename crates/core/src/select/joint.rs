//! Low difficulty and difference, weighed against each other.
//!
//! Maximal marginal relevance (Carbonell and Goldstein 1998): each next candidate maximises
//! `w * ease - (1 - w) * the largest similarity to one before it`. Facility location (see Lin and
//! Bilmes 2011): the set S maximises `w * mean ease of S + (1 - w) * the mean over all candidates
//! of the largest similarity to one in S`, greedily. Ease is 1 for the lowest difficulty and 0 for
//! the highest, by rank, so that no unit has to be weighed; ties go to the earlier candidate.

use super::options::Objective;
use super::similarity::Face;

/// The open candidates in the order in which they are taken; `difficulty` has one for each.
pub(super) fn order(
    objective: Objective,
    weight: f64,
    open: &[usize],
    difficulty: &[f64],
    faces: &[Face<'_>],
) -> Vec<usize> {
    let ease = by_rank(difficulty);
    // The largest similarity of each to one that was taken.
    let mut near = vec![0f64; open.len()];
    let mut is_taken = vec![false; open.len()];
    let mut order = Vec::new();
    for n_taken in 0..open.len() {
        let gain = |place: usize| {
            let face = &faces[open[place]];
            let other = match objective {
                Objective::Mmr => -near[place],
                Objective::FacilityLocation => {
                    let more = open.iter().zip(&near);
                    let more = more.map(|(at, n)| (faces[*at].like(face) - n).max(0.0));
                    // In units of a mean over all, as ease is one over the taken.
                    more.sum::<f64>() * (n_taken + 1) as f64 / open.len() as f64
                }
            };
            weight * ease[place] + (1.0 - weight) * other
        };
        let free = (0..open.len()).filter(|place| !is_taken[*place]);
        let best = free
            .map(|place| (place, gain(place)))
            .reduce(|best, next| if next.1 > best.1 { next } else { best });
        let Some((place, _)) = best else { break };
        is_taken[place] = true;
        order.push(open[place]);
        for (other, near) in near.iter_mut().enumerate() {
            *near = near.max(faces[open[other]].like(&faces[open[place]]));
        }
    }
    order
}

/// 1 for the lowest, 0 for the highest, evenly between; equal numbers share the better place.
fn by_rank(difficulty: &[f64]) -> Vec<f64> {
    let last = difficulty.len().saturating_sub(1).max(1) as f64;
    let lower = |own: &f64| difficulty.iter().filter(|other| *other < own).count();
    difficulty
        .iter()
        .map(|own| 1.0 - lower(own) as f64 / last)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::similarity::{Similarity, Vectors};
    use super::*;

    fn check(objective: Objective, weight: f64, texts: &[(&str, f64)], expected: &[usize]) {
        let none = Vectors::new();
        let face = |(text, _): &(&str, f64)| Face::new(Similarity::Trigrams, "", text, &none);
        let faces: Vec<Face<'_>> = texts.iter().map(face).collect();
        let open: Vec<usize> = (0..texts.len()).collect();
        let difficulty: Vec<f64> = texts.iter().map(|(_, d)| *d).collect();
        assert_eq!(
            order(objective, weight, &open, &difficulty, &faces),
            expected
        );
    }

    #[test]
    fn the_weight_decides_between_ease_and_difference() {
        let texts = [
            ("ice melts because it is warm today", 0.1),
            ("ice melts because it is warm", 0.2),
            ("heat breaks the bonds of the crystal", 0.9),
        ];
        check(Objective::Mmr, 1.0, &texts, &[0, 1, 2]);
        check(Objective::Mmr, 0.4, &texts, &[0, 2, 1]);
        check(Objective::FacilityLocation, 1.0, &texts, &[0, 1, 2]);
        check(Objective::FacilityLocation, 0.2, &texts, &[0, 2, 1]);
        check(Objective::Mmr, 0.5, &[], &[]);
    }

    #[test]
    fn ties_go_to_the_earlier_candidate() {
        check(
            Objective::Mmr,
            0.5,
            &[("a b c", 0.3), ("d e f", 0.3)],
            &[0, 1],
        );
    }
}

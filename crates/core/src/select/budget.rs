//! A number to keep over all examples together.
//!
//! Every example first keeps its `floor` best; what is left of the budget goes to the best of the
//! rest over all examples. Without the floor the hard questions are the first to lose all their
//! rationales (the finding of DART-Math, Tong et al. 2024). Ties go to the earlier candidate.

use super::Verdict;
use crate::record::Rule;

/// A kept candidate: its place among all, its example's place, and its key, low first.
pub(super) struct Kept {
    pub(super) place: usize,
    pub(super) example: usize,
    pub(super) key: f64,
}

/// Which of the kept candidates go: reasons by place. `kept` stands best first within an example.
pub(super) fn over(kept: &[Kept], budget: usize, floor: usize) -> Vec<(usize, Verdict)> {
    let mut first: Vec<&Kept> = Vec::new();
    let mut rest: Vec<&Kept> = Vec::new();
    let mut n_of = std::collections::HashMap::new();
    for one in kept {
        let n: &mut usize = n_of.entry(one.example).or_default();
        *n += 1;
        if *n <= floor {
            first.push(one);
        } else {
            rest.push(one);
        }
    }
    first.sort_by(|a, b| a.key.total_cmp(&b.key));
    rest.sort_by(|a, b| a.key.total_cmp(&b.key));
    let in_order = first.into_iter().chain(rest);
    let reason = format!("{budget} are kept of all examples already");
    in_order
        .skip(budget)
        .map(|one| (one.place, Some((Rule::Budget, reason.clone()))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_comes_before_the_best() {
        let check = |budget, floor, expected: &[usize]| {
            let keys = [(0, 0.1), (0, 0.2), (0, 0.3), (1, 8.0), (1, 9.0)];
            let kept = keys.iter().enumerate();
            let kept: Vec<Kept> = kept
                .map(|(place, (example, key))| Kept {
                    place,
                    example: *example,
                    key: *key,
                })
                .collect();
            let mut places: Vec<usize> = over(&kept, budget, floor).iter().map(|o| o.0).collect();
            places.sort_unstable();
            assert_eq!(places, expected);
        };
        check(5, 1, &[]);
        check(3, 1, &[2, 4]);
        check(3, 0, &[3, 4]);
        check(3, 2, &[2, 4]);
        check(1, 1, &[1, 2, 3, 4]);
    }
}

//! The paired permutation test: if two systems do not differ, each difference could as well have
//! the other sign (Fisher 1935).

use crate::random::Random;

/// Up to so many pairs every choice of signs is tried.
pub const EXACT_PAIRS: usize = 13;

/// How often signs are drawn where there are too many to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignFlips {
    /// Random choices of signs; the observed one is added to them.
    pub flips: usize,
    /// Seed of the choices.
    pub seed: u64,
}

/// What the test says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Permutation {
    /// The share of choices of signs whose mean is at least as far from 0.
    pub p: f64,
    /// How many choices there were, the observed one among them.
    pub choices: usize,
    /// Whether these are all.
    pub is_exact: bool,
}

impl SignFlips {
    /// Tests whether the mean difference is 0, two-sided; `None` without pairs or if a difference
    /// is not finite.
    pub fn test(&self, differences: &[f64]) -> Option<Permutation> {
        self.test_all(&[differences])[0]
    }

    /// The same for several lists; lists of one length share their signs, which saves most of the
    /// time.
    pub fn test_all(&self, lists: &[&[f64]]) -> Vec<Option<Permutation>> {
        let mut found = vec![None; lists.len()];
        let mut by_length: Vec<(usize, Vec<usize>)> = Vec::new();
        for (at, list) in lists.iter().enumerate() {
            if list.is_empty() || list.iter().any(|d| !d.is_finite()) {
                continue;
            }
            if list.len() <= EXACT_PAIRS {
                found[at] = Some(exact(list));
                continue;
            }
            match by_length.iter_mut().find(|(n, _)| *n == list.len()) {
                Some((_, places)) => places.push(at),
                None => by_length.push((list.len(), vec![at])),
            }
        }
        for (n, places) in by_length {
            let of_length: Vec<&[f64]> = places.iter().map(|at| lists[*at]).collect();
            for (at, farther) in places.iter().zip(self.farther(n, &of_length)) {
                found[*at] = Some(Permutation {
                    p: (farther + 1) as f64 / (self.flips + 1) as f64,
                    choices: self.flips + 1,
                    is_exact: false,
                });
            }
        }
        found
    }

    /// How many random choices bring each list's sum at least as far from 0 as it is.
    fn farther(&self, n: usize, lists: &[&[f64]]) -> Vec<usize> {
        let blocks: Vec<Block> = lists
            .chunks(LANES)
            .map(|lists| Block::new(n, lists))
            .collect();
        let bars: Vec<f64> = lists.iter().map(|list| bar(list)).collect();
        let mut farther = vec![0; lists.len()];
        let mut random = Random::new(self.seed, "sign flips");
        let mut signs = vec![0u64; n.div_ceil(64)];
        for _ in 0..self.flips {
            signs.fill_with(|| random.next_u64());
            for (block, first) in blocks.iter().zip((0..).step_by(LANES)) {
                let sums = block.sums(&signs);
                for (lane, at) in (first..lists.len().min(first + LANES)).enumerate() {
                    farther[at] += usize::from(sums[lane].abs() >= bars[at]);
                }
            }
        }
        farther
    }
}

/// The distance from 0 that counts as reached; sums in another order differ in the last places.
fn bar(list: &[f64]) -> f64 {
    let size: f64 = list.iter().map(|d| d.abs()).sum();
    list.iter().sum::<f64>().abs() - 1e-14 * size
}

fn exact(list: &[f64]) -> Permutation {
    let bar = bar(list);
    let choices = 1 << list.len();
    let sum = |signs: usize| -> f64 {
        let signed = list.iter().enumerate();
        signed
            .map(|(at, d)| if signs >> at & 1 == 1 { -d } else { *d })
            .sum()
    };
    let farther = (0..choices)
        .filter(|signs| sum(*signs).abs() >= bar)
        .count();
    Permutation {
        p: farther as f64 / choices as f64,
        choices,
        is_exact: true,
    }
}

/// Lists that are summed side by side.
const LANES: usize = 8;
/// Differences whose sixteen signed sums are looked up at once.
const GROUP: usize = 4;

/// Signed sums of four differences at a time, for up to eight lists: `[n / 4][signs][list]`.
struct Block(Vec<[[f64; LANES]; 1 << GROUP]>);

impl Block {
    fn new(n: usize, lists: &[&[f64]]) -> Self {
        let groups = (0..n).step_by(GROUP).map(|first| {
            let mut table = [[0.0; LANES]; 1 << GROUP];
            for (signs, row) in table.iter_mut().enumerate() {
                for (sum, list) in row.iter_mut().zip(lists) {
                    let group = list[first..n.min(first + GROUP)].iter().enumerate();
                    *sum = group
                        .map(|(at, d)| if signs >> at & 1 == 1 { -d } else { *d })
                        .sum();
                }
            }
            table
        });
        Self(groups.collect())
    }

    fn sums(&self, signs: &[u64]) -> [f64; LANES] {
        let mut sums = [0.0; LANES];
        for (groups, bits) in self.0.chunks(64 / GROUP).zip(signs) {
            for (place, table) in groups.iter().enumerate() {
                let row = &table[(bits >> (GROUP * place)) as usize & 0xf];
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += value;
                }
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLIPS: SignFlips = SignFlips {
        flips: 9999,
        seed: 7,
    };

    #[test]
    fn few_pairs_are_tried_in_full() {
        // Only +++ and --- are as far from 0.
        let test = FLIPS.test(&[1.0, 2.0, 3.0]).unwrap();
        assert_eq!((test.p, test.choices, test.is_exact), (0.25, 8, true));
        assert!(FLIPS.test(&[0.0, 0.0]).unwrap().p > 0.999);
        assert_eq!(FLIPS.test(&[]), None);
    }

    #[test]
    fn lists_share_signs_and_not_results() {
        let mut random = Random::new(1, "test");
        let mut list = |n: usize, shift: f64| -> Vec<f64> {
            (0..n).map(|_| random.normal() + shift).collect()
        };
        let lists: Vec<Vec<f64>> = (0..11)
            .map(|at| list(70 + at % 2, 0.1 * at as f64))
            .collect();
        let slices: Vec<&[f64]> = lists.iter().map(Vec::as_slice).collect();
        let together = FLIPS.test_all(&slices);
        for (list, found) in slices.iter().zip(&together) {
            assert_eq!(FLIPS.test(list), *found);
        }
        let p: Vec<f64> = together.iter().map(|test| test.unwrap().p).collect();
        assert!(p[0] > 0.05 && p[10] < 2e-4, "{p:?}");
    }

    #[test]
    fn many_pairs_come_close_to_the_exact_share() {
        let list: Vec<f64> = (0..13).map(|at| f64::from(at) - 4.0).collect();
        let exact = FLIPS.test(&list).unwrap();
        let with_zeros = [&list[..], &[0.0; 10]].concat();
        let drawn = FLIPS.test(&with_zeros).unwrap();
        assert!(exact.is_exact && !drawn.is_exact);
        assert!((exact.p - drawn.p).abs() < 0.02, "{} {}", exact.p, drawn.p);
    }
}

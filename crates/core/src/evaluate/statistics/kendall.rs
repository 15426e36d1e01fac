//! Kendall's tau, in O(n log n).

use super::correlation::Correlation;
use super::rank::groups;
use super::special::normal_sf;

/// How ties count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tau {
    /// Pairs that are tied on a side leave that side's count.
    #[default]
    B,
    /// Stuart's c, for two lists with different numbers of different values.
    C,
}

/// Kendall's tau with a two-sided p-value; `None` below two pairs or if a side is constant.
///
/// p is exact without ties, up to 33 pairs or with at most one pair out of order; otherwise that
/// of the normal distribution.
pub fn kendall(a: &[f64], b: &[f64], tau: Tau) -> Option<Correlation> {
    let weights = vec![1; a.len()];
    let order = Order::new(a, b)?;
    let counts = order.count(&weights)?;
    let tau_b = counts.tau_b()?;
    let r = match tau {
        Tau::B => tau_b,
        Tau::C => {
            let classes = order.a_groups.len().min(order.b_groups) as f64;
            let n = a.len() as f64;
            2.0 * counts.balance as f64 / (n * n * (classes - 1.0) / classes)
        }
    };
    Some(Correlation {
        r: r.clamp(-1.0, 1.0),
        p: counts.p(&order),
    })
}

/// Two lists, sorted once, so that tau of many resamples is quick.
#[derive(Clone, Debug)]
pub struct Order {
    /// Places of equal values of a, from the lowest.
    a_groups: Vec<Vec<usize>>,
    /// Which group of equal values of b each place belongs to.
    b_group: Vec<usize>,
    b_groups: usize,
}

/// Counts over pairs of places.
#[derive(Clone, Copy, Debug)]
struct Counts {
    /// Pairs in order minus pairs out of order.
    balance: i64,
    /// All pairs.
    all: i64,
    /// Pairs that are tied in a, and in b.
    tied: (i64, i64),
    /// How many places.
    n: i64,
}

impl Order {
    /// Sorts finite lists; `None` if they differ in length.
    pub fn new(a: &[f64], b: &[f64]) -> Option<Self> {
        if a.len() != b.len() {
            return None;
        }
        let of_b = groups(b);
        let mut b_group = vec![0; b.len()];
        for (group, places) in of_b.iter().enumerate() {
            for at in places {
                b_group[*at] = group;
            }
        }
        Some(Self {
            a_groups: groups(a),
            b_group,
            b_groups: of_b.len(),
        })
    }

    /// Tau-b where each place counts as often as its weight says; `None` if a side is constant.
    pub fn tau_b(&self, weights: &[u32]) -> Option<f64> {
        self.count(weights)?.tau_b()
    }

    fn count(&self, weights: &[u32]) -> Option<Counts> {
        let mut seen = Sums::new(self.b_groups);
        let mut balance = 0;
        let mut n = 0;
        let mut tied_a = 0;
        for group in &self.a_groups {
            let mut here = 0;
            for at in group {
                let weight = i64::from(weights[*at]);
                if weight > 0 {
                    let below = seen.below(self.b_group[*at]);
                    let above = n - seen.below(self.b_group[*at] + 1);
                    balance += weight * (below - above);
                    here += weight;
                }
            }
            for at in group {
                seen.add(self.b_group[*at], i64::from(weights[*at]));
            }
            n += here;
            tied_a += pairs(here);
        }
        let tied_b = (0..self.b_groups)
            .map(|group| pairs(seen.below(group + 1) - seen.below(group)))
            .sum();
        (n > 1).then_some(Counts {
            balance,
            all: pairs(n),
            tied: (tied_a, tied_b),
            n,
        })
    }

    fn sizes(&self) -> [Vec<usize>; 2] {
        let mut of_b = vec![0; self.b_groups];
        for group in &self.b_group {
            of_b[*group] += 1;
        }
        [self.a_groups.iter().map(Vec::len).collect(), of_b]
    }
}

fn pairs(n: i64) -> i64 {
    n * (n - 1) / 2
}

impl Counts {
    fn tau_b(&self) -> Option<f64> {
        let (a, b) = (self.all - self.tied.0, self.all - self.tied.1);
        (a > 0 && b > 0).then(|| {
            let tau = self.balance as f64 / (a as f64).sqrt() / (b as f64).sqrt();
            tau.clamp(-1.0, 1.0)
        })
    }

    fn p(&self, order: &Order) -> Option<f64> {
        if self.n < 2 {
            return None;
        }
        if self.tied == (0, 0) {
            let out_of_order = (self.all - self.balance) / 2;
            let fewer = out_of_order.min(self.all - out_of_order);
            if self.n <= 33 || fewer <= 1 {
                #[expect(clippy::cast_sign_loss, reason = "counts are not negative")]
                return Some(exact(self.n as usize, fewer as usize));
            }
        }
        let n = self.n as f64;
        let over = |sizes: &[usize], of: fn(f64) -> f64| -> f64 {
            let shares = sizes.iter().map(|n| *n as f64);
            shares.map(|n| n * (n - 1.0) * of(n)).sum()
        };
        let [a, b] = order.sizes();
        let m = n * (n - 1.0);
        let (x0, y0) = (over(&a, |n| n - 2.0), over(&b, |n| n - 2.0));
        let (x1, y1) = (over(&a, |n| 2.0 * n + 5.0), over(&b, |n| 2.0 * n + 5.0));
        let (tied_a, tied_b) = (self.tied.0 as f64, self.tied.1 as f64);
        let mut variance = (m * (2.0 * n + 5.0) - x1 - y1) / 18.0 + 2.0 * tied_a * tied_b / m;
        if self.n > 2 {
            variance += x0 * y0 / (9.0 * m * (n - 2.0));
        }
        let z = self.balance as f64 / variance.sqrt();
        z.is_finite().then(|| 2.0 * normal_sf(z.abs()))
    }
}

/// Twice the chance that a random order of n has at most so many pairs out of order.
fn exact(n: usize, out_of_order: usize) -> f64 {
    // shares[k]: how likely a random order of j has k pairs out of order.
    let mut shares = vec![0.0; out_of_order + 1];
    shares[0] = 1.0;
    for j in 2..=n {
        let mut next = vec![0.0; shares.len()];
        let mut window = 0.0;
        for k in 0..shares.len() {
            window += shares[k];
            if k >= j {
                window -= shares[k - j];
            }
            next[k] = window / j as f64;
        }
        shares = next;
    }
    (2.0 * shares.iter().sum::<f64>()).min(1.0)
}

/// Sums over the groups below one (Fenwick 1994).
struct Sums(Vec<i64>);

impl Sums {
    fn new(n: usize) -> Self {
        Self(vec![0; n + 1])
    }

    fn add(&mut self, group: usize, value: i64) {
        let mut at = group + 1;
        while at < self.0.len() {
            self.0[at] += value;
            at += at & at.wrapping_neg();
        }
    }

    fn below(&self, group: usize) -> i64 {
        let mut at = group;
        let mut sum = 0;
        while at > 0 {
            sum += self.0[at];
            at &= at - 1;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slow(a: &[f64], b: &[f64]) -> Option<f64> {
        let (mut balance, mut tied_a, mut tied_b, mut all) = (0.0, 0.0, 0.0, 0.0);
        for i in 0..a.len() {
            for j in 0..i {
                let (x, y) = (a[i] - a[j], b[i] - b[j]);
                balance += if x * y > 0.0 {
                    1.0
                } else if x * y < 0.0 {
                    -1.0
                } else {
                    0.0
                };
                tied_a += f64::from(u8::from(x == 0.0));
                tied_b += f64::from(u8::from(y == 0.0));
                all += 1.0;
            }
        }
        let below = (all - tied_a) * (all - tied_b);
        (below > 0.0).then(|| balance / f64::sqrt(below))
    }

    proptest! {
        #[test]
        fn it_counts_every_pair(rows in prop::collection::vec((0u8..6, 0u8..6, 0u32..3), 0..30)) {
            let a: Vec<f64> = rows.iter().map(|row| f64::from(row.0)).collect();
            let b: Vec<f64> = rows.iter().map(|row| f64::from(row.1)).collect();
            let close = |found: Option<f64>, expected: Option<f64>| match (found, expected) {
                (Some(a), Some(b)) => (a - b).abs() < 1e-12,
                (a, b) => a == b,
            };
            prop_assert!(close(kendall(&a, &b, Tau::B).map(|tau| tau.r), slow(&a, &b)));

            // A weight is as good as so many copies.
            let weights: Vec<u32> = rows.iter().map(|row| row.2).collect();
            let copies = |of: &[f64]| -> Vec<f64> {
                let each = of.iter().zip(&weights);
                each.flat_map(|(v, n)| std::iter::repeat_n(*v, *n as usize)).collect()
            };
            let tau = Order::new(&a, &b).unwrap().tau_b(&weights);
            prop_assert!(close(tau, slow(&copies(&a), &copies(&b))));
        }
    }
}

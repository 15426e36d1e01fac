//! Wilcoxon's signed-rank test with the rules of `SciPy` 1.17.

use super::Alternative;
use super::rank;
use super::special::{normal_cdf, normal_sf};

/// What becomes of differences that are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Zeros {
    /// They are left out (Wilcoxon 1945).
    #[default]
    Wilcox,
    /// They are ranked, and their ranks are left out (Pratt 1959).
    Pratt,
    /// They are ranked, and half of their ranks goes to each side.
    Split,
}

/// Where the p-value comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// Exact up to 50 differences without ties and zeros; with them, all signs are tried up to 13
    /// differences; asymptotic otherwise.
    #[default]
    Auto,
    /// The distribution of W without ties and zeros; with them it is an approximation.
    Exact,
    /// The normal distribution.
    Asymptotic,
}

/// How to test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WilcoxonOptions {
    /// What becomes of differences that are 0.
    pub zeros: Zeros,
    /// Where the p-value comes from.
    pub method: Method,
    /// Whether an asymptotic z is moved towards 0 by half a rank.
    pub is_corrected: bool,
    /// Which differences count as evidence.
    pub alternative: Alternative,
}

/// Where a p-value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Used {
    /// The distribution of W without ties and zeros.
    Exact,
    /// All signs were tried.
    AllSigns,
    /// The normal distribution.
    Asymptotic,
}

impl Used {
    /// Its name in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::AllSigns => "all-signs",
            Self::Asymptotic => "asymptotic",
        }
    }
}

/// What the test says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wilcoxon {
    /// The smaller sum of ranks; of a one-sided test the sum of positive ranks.
    pub w: f64,
    /// The sum of positive ranks.
    pub r_plus: f64,
    /// The sum of negative ranks.
    pub r_minus: f64,
    /// W in standard deviations, if the method is asymptotic; `None` where it is undefined.
    pub z: Option<f64>,
    /// The p-value; `None` where it is undefined.
    pub p: Option<f64>,
    /// Where it came from.
    pub used: Used,
}

/// Tests whether paired differences lie symmetrically about 0; `None` without differences or if
/// one is not finite.
pub fn signed_rank(differences: &[f64], options: WilcoxonOptions) -> Option<Wilcoxon> {
    if differences.is_empty() || differences.iter().any(|d| !d.is_finite()) {
        return None;
    }
    let ranked = Ranked::new(differences, options.zeros);
    let is_tied = ranked.n_zero > 0 || ranked.ties.iter().any(|n| *n > 1);
    let used = match options.method {
        Method::Exact => Used::Exact,
        Method::Auto if differences.len() <= 13 && is_tied => Used::AllSigns,
        Method::Auto if differences.len() <= 50 && !is_tied => Used::Exact,
        Method::Auto | Method::Asymptotic => Used::Asymptotic,
    };
    let mut z = None;
    let p = match used {
        Used::Exact => Some(ranked.exact(options.alternative)),
        Used::AllSigns => Some(ranked.all_signs(options.alternative)),
        Used::Asymptotic => {
            z = ranked.z(options);
            z.map(|z| match options.alternative {
                Alternative::TwoSided => (2.0 * normal_sf(z.abs())).min(1.0),
                Alternative::Greater => normal_sf(z),
                Alternative::Less => normal_cdf(z),
            })
        }
    };
    let is_two_sided = options.alternative == Alternative::TwoSided;
    Some(Wilcoxon {
        w: if is_two_sided {
            ranked.r_plus.min(ranked.r_minus)
        } else {
            ranked.r_plus
        },
        r_plus: ranked.r_plus,
        r_minus: ranked.r_minus,
        z: if is_two_sided { z.map(|z| -z.abs()) } else { z },
        p,
        used,
    })
}

/// Differences after ranking.
struct Ranked {
    r_plus: f64,
    r_minus: f64,
    /// What both sides get from zeros.
    r_zero: f64,
    /// The ranks of differences that are not 0.
    ranks: Vec<f64>,
    /// Sizes of the groups of equal ranks, zeros too where they are ranked.
    ties: Vec<usize>,
    /// How many were ranked.
    n: usize,
    /// How many differences are 0, ranked or not.
    n_zero: usize,
    zeros: Zeros,
}

impl Ranked {
    fn new(differences: &[f64], zeros: Zeros) -> Self {
        let n_zero = differences.iter().filter(|d| **d == 0.0).count();
        let kept: Vec<f64> = differences
            .iter()
            .copied()
            .filter(|d| zeros != Zeros::Wilcox || *d != 0.0)
            .collect();
        let sizes: Vec<f64> = kept.iter().map(|d| d.abs()).collect();
        let ranked = rank::ranks(&sizes);
        let over = |keep: fn(f64) -> bool| -> f64 {
            let pairs = kept.iter().zip(&ranked.ranks);
            pairs.filter(|(d, _)| keep(**d)).map(|(_, rank)| rank).sum()
        };
        let r_zero = if zeros == Zeros::Split {
            over(|d| d == 0.0) / 2.0
        } else {
            0.0
        };
        Self {
            r_plus: over(|d| d > 0.0) + r_zero,
            r_minus: over(|d| d < 0.0) + r_zero,
            r_zero,
            ranks: kept
                .iter()
                .zip(&ranked.ranks)
                .filter(|(d, _)| **d != 0.0)
                .map(|(_, rank)| *rank)
                .collect(),
            ties: ranked.groups,
            n: kept.len(),
            n_zero,
            zeros,
        }
    }

    fn z(&self, options: WilcoxonOptions) -> Option<f64> {
        let n = self.n as f64;
        let mut mean = n * (n + 1.0) / 4.0;
        let mut variance = n * (n + 1.0) * (2.0 * n + 1.0);
        let mut ties = self.ties.as_slice();
        if self.zeros == Zeros::Pratt && self.n_zero > 0 {
            // Cureton (1967); zeros are the lowest group, and no tie.
            let zeros = self.n_zero as f64;
            mean -= zeros * (zeros + 1.0) / 4.0;
            variance -= zeros * (zeros + 1.0) * (2.0 * zeros + 1.0);
            ties = &ties[1..];
        }
        let tied: f64 = ties.iter().map(|n| *n as f64).map(|n| n * n * n - n).sum();
        let error = ((variance - tied / 2.0) / 24.0).sqrt();
        let z = (self.r_plus - mean) / error;
        let towards = match options.alternative {
            _ if !options.is_corrected => 0.0,
            Alternative::Greater => 1.0,
            Alternative::Less => -1.0,
            Alternative::TwoSided if z > 0.0 => 1.0,
            Alternative::TwoSided if z < 0.0 => -1.0,
            Alternative::TwoSided => 0.0,
        };
        let z = z - towards * 0.5 / error;
        z.is_finite().then_some(z)
    }

    /// From the distribution of the sum of a random half of 1..n; sums that are no whole number
    /// are rounded away from the tail, which keeps the two sides alike.
    fn exact(&self, alternative: Alternative) -> f64 {
        let shares = sums_of_ranks(self.n);
        #[expect(clippy::cast_sign_loss, reason = "a sum of ranks is not negative")]
        let place = |rank: f64| rank as usize;
        let less = || -> f64 { shares[..=place(self.r_plus.ceil())].iter().sum() };
        let greater = || -> f64 { shares[place(self.r_plus.floor())..].iter().sum() };
        match alternative {
            Alternative::Less => less().min(1.0),
            Alternative::Greater => greater().min(1.0),
            Alternative::TwoSided => (2.0 * less().min(greater())).min(1.0),
        }
    }

    fn all_signs(&self, alternative: Alternative) -> f64 {
        let mut sums = vec![self.r_zero];
        for rank in &self.ranks {
            let with: Vec<f64> = sums.iter().map(|sum| sum + rank).collect();
            sums.extend(with);
        }
        // Ranks are whole numbers of halves, so that the sums are exact.
        let share = |keep: &dyn Fn(f64) -> bool| {
            sums.iter().filter(|sum| keep(**sum)).count() as f64 / sums.len() as f64
        };
        let less = share(&|sum| sum <= self.r_plus);
        let greater = share(&|sum| sum >= self.r_plus);
        match alternative {
            Alternative::Less => less,
            Alternative::Greater => greater,
            Alternative::TwoSided => (2.0 * less.min(greater)).min(1.0),
        }
    }
}

/// How likely each sum is, if each of the ranks 1..n is taken with probability one half.
fn sums_of_ranks(n: usize) -> Vec<f64> {
    let mut shares = vec![1.0];
    for rank in 1..=n {
        let mut next = vec![0.0; shares.len() + rank];
        for (sum, share) in shares.iter().enumerate() {
            next[sum] += share / 2.0;
            next[sum + rank] += share / 2.0;
        }
        shares = next;
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fisher_s_plants() {
        let d = [6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75].map(f64::from);
        let test = signed_rank(&d, WilcoxonOptions::default()).unwrap();
        assert_eq!(
            (test.w, test.p, test.used),
            (24.0, Some(0.041_259_765_625), Used::Exact)
        );
    }

    #[test]
    fn zeros_alone_have_no_z() {
        let zeros = [0.0; 20];
        let test = signed_rank(&zeros, WilcoxonOptions::default()).unwrap();
        assert_eq!((test.w, test.z, test.p), (0.0, None, None));
        assert_eq!(signed_rank(&[], WilcoxonOptions::default()), None);
    }

    proptest! {
        #[test]
        fn sides_change_places_with_the_sign(
            d in prop::collection::vec(-5i32..5, 1..30),
            zeros in prop::sample::select(vec![Zeros::Wilcox, Zeros::Pratt, Zeros::Split]),
            method in prop::sample::select(vec![Method::Auto, Method::Exact, Method::Asymptotic]),
        ) {
            // The exact distribution knows no zeros; Pratt's rule leaves a hole in its middle.
            prop_assume!(method != Method::Exact || zeros != Zeros::Pratt || !d.contains(&0));
            let d: Vec<f64> = d.into_iter().map(f64::from).collect();
            let turned: Vec<f64> = d.iter().map(|d| -d).collect();
            let options = |alternative| WilcoxonOptions { zeros, method, is_corrected: true, alternative };
            let p = |d: &[f64], side| signed_rank(d, options(side)).unwrap().p.unwrap_or(-1.0);
            let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
            prop_assert!(close(p(&d, Alternative::Less), p(&turned, Alternative::Greater)));
            prop_assert!(close(p(&d, Alternative::TwoSided), p(&turned, Alternative::TwoSided)));
        }
    }
}

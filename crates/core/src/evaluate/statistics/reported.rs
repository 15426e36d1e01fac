//! Whether the numbers of a reported paired t test fit together: means, SDs, n, t and d.
//!
//! Every rounded number stands for a range; the bounds here take the ends of these ranges.
//! `docs/BIAS.md` uses this on the CEC paper.

use super::effect::hedges;

/// A paired t test as printed somewhere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reported {
    /// The mean of the first side.
    pub mean_a: f64,
    /// Its standard deviation.
    pub sd_a: f64,
    /// The mean of the second side.
    pub mean_b: f64,
    /// Its standard deviation.
    pub sd_b: f64,
    /// How far a printed mean or SD may lie from the true one.
    pub half_digit: f64,
    /// The printed number of pairs.
    pub n: usize,
    /// The printed t.
    pub t: f64,
    /// The printed effect size.
    pub d: f64,
    /// How far the printed t and d may lie from the true ones.
    pub half_digit_t: f64,
}

/// The test of the CEC paper (arXiv 2505.19511, section 4.3): CEC against `BERTScore`.
pub const CEC_PAPER: Reported = Reported {
    mean_a: 0.908,
    sd_a: 0.017,
    mean_b: 0.720,
    sd_b: 0.047,
    half_digit: 0.0005,
    n: 100,
    t: 100.34,
    d: 5.18,
    half_digit_t: 0.005,
};

/// Lowest and highest value that the rounding allows.
pub type Range = (f64, f64);

impl Reported {
    /// The mean difference.
    pub fn mean_difference(&self) -> f64 {
        self.mean_a - self.mean_b
    }

    fn root_n(&self) -> f64 {
        (self.n as f64).sqrt()
    }

    /// The SD of the differences that t needs.
    pub fn sd_for_t(&self) -> f64 {
        self.mean_difference() * self.root_n() / self.t
    }

    /// The least SD that the differences can have: that of perfectly correlated sides.
    pub fn least_sd(&self) -> f64 {
        (self.sd_a - self.sd_b).abs()
    }

    /// The largest t that the means and SDs allow, whatever the pairs.
    pub fn largest_t(&self) -> f64 {
        self.mean_difference() * self.root_n() / self.least_sd()
    }

    /// The largest t that any numbers allow which round to the printed ones.
    pub fn largest_t_with_rounding(&self) -> f64 {
        let change = 2.0 * self.half_digit;
        (self.mean_difference() + change) * self.root_n() / (self.least_sd() - change)
    }

    /// How the sides correlate if the differences have this SD; impossible outside [-1, 1].
    pub fn r_for_sd(&self, sd: f64) -> f64 {
        let squares = self.sd_a * self.sd_a + self.sd_b * self.sd_b - sd * sd;
        squares / (2.0 * self.sd_a * self.sd_b)
    }

    /// `d_z` = t / sqrt(n).
    pub fn d_z(&self) -> f64 {
        self.t / self.root_n()
    }

    /// Mean difference over the root of the mean variance.
    pub fn d_pooled(&self) -> f64 {
        let variance = f64::midpoint(self.sd_a * self.sd_a, self.sd_b * self.sd_b);
        self.mean_difference() / variance.sqrt()
    }

    /// Mean difference over the mean SD.
    pub fn d_av(&self) -> f64 {
        self.mean_difference() / f64::midpoint(self.sd_a, self.sd_b)
    }

    /// Hedges' correction of [`Self::d_pooled`] with n - 1 and with 2 (n - 1) degrees of freedom.
    pub fn hedges(&self) -> (f64, f64) {
        let g = |df| self.d_pooled() * hedges(df);
        (g(self.n - 1), g(2 * (self.n - 1)))
    }

    /// `d_rm` = `d_z` x sqrt(2 (1 - r)), if the sides correlate by r.
    pub fn d_rm(&self, r: f64) -> f64 {
        let variance =
            self.sd_a * self.sd_a + self.sd_b * self.sd_b - 2.0 * r * self.sd_a * self.sd_b;
        self.mean_difference() * (2.0 * (1.0 - r)).sqrt() / variance.sqrt()
    }

    /// If the printed d is `d_z`: the SD of the differences.
    pub fn sd_for_d_z(&self) -> f64 {
        self.mean_difference() / self.d
    }

    /// If the printed d is `d_z`: how many pairs t needs.
    pub fn n_for_d_z(&self) -> f64 {
        (self.t / self.d).powi(2)
    }

    /// The same with the rounding of t and d.
    pub fn n_for_d_z_range(&self) -> Range {
        let h = self.half_digit_t;
        let low = ((self.t - h) / (self.d + h)).powi(2);
        (low, ((self.t + h) / (self.d - h)).powi(2))
    }

    /// What any number does over all roundings of means and SDs.
    pub fn range(&self, of: impl Fn(&Self) -> f64) -> Range {
        let h = self.half_digit;
        let mut range = (f64::INFINITY, f64::NEG_INFINITY);
        for corner in 0..16 {
            let moved = |bit: usize| if corner >> bit & 1 == 1 { h } else { -h };
            let value = of(&Self {
                mean_a: self.mean_a + moved(0),
                sd_a: self.sd_a + moved(1),
                mean_b: self.mean_b + moved(2),
                sd_b: self.sd_b + moved(3),
                ..*self
            });
            range = (range.0.min(value), range.1.max(value));
        }
        range
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each number of docs/BIAS.md, in its order.
    #[test]
    fn the_paper_s_t_cannot_be_and_375_pairs_would_explain_it() {
        let check = |found: f64, expected: &str| {
            let digits = expected
                .split_once('.')
                .map_or(0, |(_, digits)| digits.len());
            assert_eq!(format!("{found:.digits$}"), expected);
        };
        let paper = CEC_PAPER;
        check(paper.mean_difference(), "0.188");
        check(paper.sd_for_t(), "0.0187");
        check(paper.least_sd(), "0.030");
        check(paper.largest_t(), "62.7");
        check(paper.largest_t_with_rounding(), "65.2");
        check(paper.r_for_sd(paper.sd_for_t()), "1.34");
        check(paper.d_z(), "10.03");
        check(paper.d_av(), "5.875");
        check(paper.d_pooled(), "5.320");
        check(paper.range(Reported::d_pooled).0, "5.224");
        check(paper.hedges().0, "5.28");
        check(paper.hedges().1, "5.30");
        check(paper.sd_for_d_z(), "0.0363");
        check(paper.r_for_sd(paper.sd_for_d_z()), "0.74");
        check(paper.d * 10.0, "51.8");
        let (low, high) = paper.n_for_d_z_range();
        check(paper.n_for_d_z(), "375.2");
        check(low, "374.5");
        check(high, "376.0");
        assert!((low.ceil(), high.floor()) == (375.0, 375.0));
    }

    #[test]
    fn the_range_of_any_t_holds_the_largest() {
        let (_, high) = CEC_PAPER.range(Reported::largest_t);
        assert!((high / CEC_PAPER.largest_t_with_rounding() - 1.0).abs() < 1e-9);
    }
}

//! Rank-Surprisal Ratio (Yang et al. 2026, arXiv 2601.14249).
//!
//! `RSR(x) = sum_k min(rank_k, 100) / sum_k surprisal_k` over the tokens of the completion;
//! `rank_k = 1 + #{v : logit_v > logit_target}` and surprisal in nats. Low is good: tokens that
//! the student finds surprising though it ranks them high. The ratio is of sums, not a mean of
//! ratios; for a data set it is the ratio of the means of each sample's means.
//!
//! Quirks: tokens with equal logits all get the best rank; logits here are f32, in bf16 ties are
//! common and ranks differ. A completion without any surprise is divided by 1e-12.

use crate::record::ResponseScores;

/// Ranks count at most so much.
pub(super) const MOST_RANK: u32 = 100;
const LEAST_SURPRISAL: f64 = 1e-12;

/// Of one completion.
pub fn rsr(response: &ResponseScores) -> f64 {
    let n = response.tokens as f64;
    n * response.rank / (n * response.surprisal).max(LEAST_SURPRISAL)
}

/// Of many: the mean of their mean ranks by the mean of their mean surprisals; `None` of none.
pub fn of_many<'a>(responses: impl IntoIterator<Item = &'a ResponseScores>) -> Option<f64> {
    let (mut rank, mut surprisal) = (0f64, 0f64);
    for response in responses {
        rank += response.rank;
        surprisal += response.surprisal;
    }
    (rank > 0.0).then(|| rank / surprisal.max(LEAST_SURPRISAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_of_many_is_of_means_and_not_a_mean_of_ratios() {
        let response = |rank, surprisal| ResponseScores {
            tokens: 10,
            surprisal,
            rank,
            alone: None,
        };
        let all = [response(2.0, 0.5), response(10.0, 2.0)];
        assert!((rsr(&all[0]) - 4.0).abs() < 1e-12);
        assert!((of_many(&all).unwrap() - 12.0 / 2.5).abs() < 1e-12);
        assert_eq!(of_many(&[]), None);
        assert!(rsr(&response(1.0, 0.0)).is_finite());
    }
}

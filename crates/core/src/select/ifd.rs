//! Instruction-Following Difficulty (Li et al. 2023, arXiv 2308.12032): how much the prompt helps
//! with the completion. Near 1 it hardly does, above 1 it hurts; candidates up to 1 are kept, the
//! highest first, the opposite of Rationale Difficulty.
//!
//! Quirks: the authors' first code divides mean losses, Superfiltering (arXiv 2402.00530) divides
//! perplexities; the order can differ, so each has its name. Without a token that begins every
//! text, the first token of the completion has no probability by itself and is left out of the
//! divisor, as a shifted loss has it.

use super::options::Score;
use crate::record::ResponseScores;

/// The ratio; `None` without the divisor.
pub fn ifd(score: Score, response: &ResponseScores) -> Option<f64> {
    let alone = response.alone?;
    let ratio = match score {
        Score::IfdPpl => (response.surprisal - alone).exp(),
        _ => response.surprisal / alone,
    };
    ratio.is_finite().then_some(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_ratios_differ() {
        let response = ResponseScores {
            tokens: 4,
            surprisal: 1.0,
            rank: 1.0,
            alone: Some(2.0),
        };
        assert!((ifd(Score::Ifd, &response).unwrap() - 0.5).abs() < 1e-12);
        assert!((ifd(Score::IfdPpl, &response).unwrap() - (-1f64).exp()).abs() < 1e-12);
        let certain = ResponseScores {
            alone: Some(0.0),
            ..response
        };
        assert_eq!(ifd(Score::Ifd, &certain), None);
    }
}

//! Rationale Difficulty: how hard the gold answer stays for the student after a rationale.
//!
//! `RD(q, r, a) = PPL(a | q, r) / PPL(a | q)` (`MoRSD`, arXiv 2509.23574; the formula is known
//! from third parties, the direction, low first, from the paper). Computed in logarithms, where it
//! is minus the length-normalised pointwise V-information of r about a; below 1 a rationale helps.
//!
//! Quirks. Within a question the divisor is one number, so that the order is that of
//! `PPL(a | q, r)` alone, and the divisor is computed only where questions are compared or it is
//! asked for. A text that merely states the answer has the lowest RD of all; two variants answer
//! that. `Stripped` takes the statements and mentions of the answer out of r. `Control` subtracts
//! the ln RD of a sentence that only states the answer from that of every rationale that mentions
//! it: what such a rationale does beyond telling.

use super::options::Score;
use crate::record::AnswerScores;

/// ln RD, or where the divisor was not computed, ln of the dividend: the same order within a
/// question.
pub fn ln_rd(score: Score, answer: &AnswerScores) -> Option<f64> {
    let given = match score {
        Score::RdStripped => answer.stripped?,
        _ => answer.given,
    };
    let alone = answer.alone.unwrap_or(0.0);
    match score {
        Score::Rd | Score::RdStripped => Some(given - alone),
        // ln RD(r) - ln RD(told): the divisor cancels where the answer is mentioned.
        Score::RdControl if answer.mentions? => Some(given - answer.told?),
        Score::RdControl => Some(given - answer.alone?),
        _ => None,
    }
}

/// Minus the mean of log-probabilities: ln PPL; `None` of nothing, or where one is not finite.
pub fn ln_ppl(log_probabilities: impl IntoIterator<Item = f32>) -> Option<f64> {
    let (mut sum, mut n) = (0f64, 0usize);
    for log_probability in log_probabilities {
        sum += f64::from(log_probability);
        n += 1;
    }
    let mean = -sum / n as f64;
    (n > 0 && mean.is_finite()).then_some(mean)
}

/// Minus the logarithm of the first option's share among all: ln PPL of an answer of one token
/// that can only be one of these.
pub fn ln_share(log_probabilities: &[f64]) -> Option<f64> {
    let most = log_probabilities.iter().copied().reduce(f64::max)?;
    let sum: f64 = log_probabilities.iter().map(|l| (l - most).exp()).sum();
    let share = most + sum.ln() - log_probabilities[0];
    share.is_finite().then_some(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rd_is_the_ratio_of_perplexities() {
        let answer = AnswerScores {
            tokens: 2,
            given: ln_ppl([-0.2, -0.4]).unwrap(),
            alone: ln_ppl([-1.0, -2.0]),
            stripped: Some(0.9),
            told: Some(0.1),
            mentions: Some(true),
            steps: vec![],
        };
        let rd = |score| ln_rd(score, &answer).unwrap().exp();
        assert!((rd(Score::Rd) - (0.3f64).exp() / (1.5f64).exp()).abs() < 1e-6);
        assert!((rd(Score::RdStripped) - (0.9f64 - 1.5).exp()).abs() < 1e-6);
        assert!((rd(Score::RdControl) - (0.3f64 - 0.1).exp()).abs() < 1e-6);
    }

    #[test]
    fn an_answer_of_no_tokens_has_no_perplexity() {
        assert_eq!(ln_ppl([]), None);
        assert_eq!(ln_ppl([f32::NEG_INFINITY]), None);
    }

    #[test]
    fn a_share_does_not_depend_on_what_is_no_option() {
        let share = ln_share(&[-10.0, -10.0]).unwrap();
        assert!((share - 2f64.ln()).abs() < 1e-12);
        assert_eq!(ln_share(&[]), None);
    }
}

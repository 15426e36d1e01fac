//! The steps of a rationale, and what each does for the answer.
//!
//! ln RD is a sum over steps: `sum_i [ln PPL(a | q, r_<i) - ln PPL(a | q, r_<=i)] = -ln RD`, the
//! information gain of `ReCEval` (Prasad et al. 2023). A step with a large gain carries the
//! answer, one below 0 hurts, and a last step that carries all is a rationale that only states it.

use crate::evaluate::split::sentences;

/// The sentences of a text; a line break ends one too.
pub fn steps(text: &str) -> Vec<String> {
    text.lines().flat_map(sentences).collect()
}

/// The text up to each step: `steps(text).len()` prefixes, the last one the whole text.
pub fn prefixes(text: &str) -> Vec<&str> {
    let mut ends = Vec::new();
    let mut from = 0;
    for step in steps(text) {
        // Sentences are cut out of the text as they stand, but for the white space between them.
        let Some(at) = text[from..].find(step.as_str()) else {
            return vec![text.trim()];
        };
        from += at + step.len();
        ends.push(from);
    }
    ends.into_iter().map(|end| text[..end].trim()).collect()
}

/// What each step takes off ln PPL of the answer: `after` stands after each prefix, `before` is
/// without a rationale.
pub(super) fn gains(before: f64, after: &[f64]) -> Vec<f64> {
    let earlier = std::iter::once(&before).chain(after);
    earlier
        .zip(after)
        .map(|(earlier, now)| earlier - now)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gains_telescope() {
        let gains = gains(2.0, &[1.5, 1.75, 0.25]);
        assert_eq!(gains, [0.5, -0.25, 1.5]);
        assert!((gains.iter().sum::<f64>() - (2.0 - 0.25)).abs() < 1e-12);
    }

    #[test]
    fn a_step_is_a_sentence_or_a_line() {
        let text = "He has 3 + 4 = 7.\nThen 7 - 2\nSo it is 5. Done. ";
        assert_eq!(steps(text).len(), 4);
        let prefixes = prefixes(text);
        assert_eq!(prefixes[1], "He has 3 + 4 = 7.\nThen 7 - 2");
        assert_eq!(prefixes.last().copied(), Some(text.trim()));
        assert!(super::prefixes("").is_empty());
    }
}

//! Words and word trigrams: how alike two texts are on their surface.

use std::collections::HashSet;

use crate::random::hash;

/// The lower-cased words of a text: runs of letters and digits.
pub fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|w| !w.is_empty())
        .map(str::to_lowercase)
}

/// The set of a text's word trigrams, hashed; a text of one or two words is one shorter gram.
pub fn trigrams(text: &str) -> HashSet<u64> {
    let words: Vec<String> = words(text).collect();
    let size = words.len().clamp(1, 3);
    words
        .windows(size)
        .map(|gram| hash(gram.join(" ").as_bytes(), 0))
        .collect()
}

/// Jaccard similarity |a and b| / |a or b|; two empty sets are equal, so 1.
pub fn jaccard(a: &HashSet<u64>, b: &HashSet<u64>) -> f64 {
    let both = a.intersection(b).count();
    let either = a.len() + b.len() - both;
    if either == 0 {
        1.0
    } else {
        both as f64 / either as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_punctuation_do_not_matter_but_order_does() {
        let similarity = |a, b| jaccard(&trigrams(a), &trigrams(b));
        assert_eq!(
            similarity("Ice melts in spring.", "ice melts -- in SPRING"),
            1.0
        );
        assert_eq!(
            similarity("ice melts in spring", "spring in melts ice"),
            0.0
        );
        assert_eq!(similarity("a b c d", "a b c e"), 1.0 / 3.0);
        assert_eq!(similarity("", ""), 1.0);
        assert_eq!(similarity("", "ice"), 0.0);
    }
}

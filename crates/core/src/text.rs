//! Words and word trigrams: how alike two texts are on their surface.

use std::collections::BTreeSet;

use crate::random::hash;

/// A set of hashed word trigrams.
pub type Trigrams = BTreeSet<u64>;

/// The lower-cased words of a text: runs of letters and digits.
pub fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|w| !w.is_empty())
        .map(str::to_lowercase)
}

/// The set of a text's word trigrams, hashed; a text of one or two words is one shorter gram.
pub fn trigrams(text: &str) -> Trigrams {
    let words: Vec<String> = words(text).collect();
    let size = words.len().clamp(1, 3);
    words
        .windows(size)
        .map(|gram| hash(gram.join(" ").as_bytes(), 0))
        .collect()
}

/// Jaccard similarity |a and b| / |a or b|; two empty sets are equal, so 1.
pub fn jaccard(a: &Trigrams, b: &Trigrams) -> f64 {
    let both = a.intersection(b).count();
    let either = a.len() + b.len() - both;
    if either == 0 {
        1.0
    } else {
        both as f64 / either as f64
    }
}

/// The two texts that share the fewest of their word trigrams (Jaccard), the first such pair on a
/// tie; nothing where there are fewer than two.
pub fn least_alike(texts: &[&str]) -> Option<(usize, usize)> {
    let grams: Vec<Trigrams> = texts.iter().map(|text| trigrams(text)).collect();
    let pairs = (0..texts.len()).flat_map(|a| (a + 1..texts.len()).map(move |b| (a, b)));
    pairs.min_by(|x, y| {
        let alike = |pair: &(usize, usize)| jaccard(&grams[pair.0], &grams[pair.1]);
        alike(x).total_cmp(&alike(y))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_punctuation_do_not_matter_but_order_does() {
        let check = |a, b, expected: &str| {
            assert_eq!(
                format!("{:.3}", jaccard(&trigrams(a), &trigrams(b))),
                expected
            );
        };
        check("Ice melts in spring.", "ice melts -- in SPRING", "1.000");
        check("ice melts in spring", "spring in melts ice", "0.000");
        check("a b c d", "a b c e", "0.333");
        check("", "", "1.000");
        check("", "ice", "0.000");
    }

    #[test]
    fn the_least_alike_pair_is_the_first_of_those() {
        let check = |texts: &[&str], expected| assert_eq!(least_alike(texts), expected);
        check(&["a b c d", "a b c e", "f g h i"], Some((0, 2)));
        check(&["a b c d", "a b c d"], Some((0, 1)));
        check(&["a b c"], None);
    }
}

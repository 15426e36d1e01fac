//! Counting n-grams without building them: each has a number, which stands for the number of the
//! n-gram that is one shorter and its last symbol.

use rustc_hash::FxHashMap;

/// The number of what is not in any reference.
pub(super) const UNKNOWN: u32 = u32::MAX;

/// Words as numbers, in the order in which they were first seen.
#[derive(Debug, Default)]
pub(super) struct Words<'a>(FxHashMap<&'a str, u32>);

impl<'a> Words<'a> {
    /// The number of a word of a reference.
    pub(super) fn learn(&mut self, word: &'a str) -> u32 {
        let next = self.0.len() as u32;
        *self.0.entry(word).or_insert(next)
    }

    /// The number of a word of an explanation.
    pub(super) fn number(&self, word: &str) -> u32 {
        self.0.get(word).copied().unwrap_or(UNKNOWN)
    }
}

/// How many n-grams of `text` stand in the references too, for each n up to `orders`; each counts
/// at most as often as in the reference that has it most often.
pub(super) fn matches(text: &[u32], references: &[&[u32]], orders: usize) -> Vec<u64> {
    // grams[i] is the number of the n-gram that begins at symbol i; that of no symbol is 0.
    let mut grams = vec![0; text.len()];
    let mut reference_grams: Vec<Vec<u32>> = references
        .iter()
        .map(|symbols| vec![0; symbols.len()])
        .collect();
    let mut matches = vec![0; orders];
    let mut numbers: FxHashMap<u64, u32> = FxHashMap::default();
    let key = |gram: u32, symbol: u32| u64::from(gram) << 32 | u64::from(symbol);

    for (order, matches) in matches.iter_mut().enumerate() {
        numbers.clear();
        let mut allowed: Vec<u32> = Vec::new();
        for (grams, symbols) in reference_grams.iter_mut().zip(references) {
            grams.truncate(symbols.len().saturating_sub(order));
            let mut counts = vec![0; allowed.len()];
            for (gram, symbol) in grams.iter_mut().zip(symbols.iter().skip(order)) {
                let next = numbers.len() as u32;
                *gram = *numbers.entry(key(*gram, *symbol)).or_insert(next);
                if *gram as usize == counts.len() {
                    counts.push(0);
                }
                counts[*gram as usize] += 1;
            }
            if allowed.is_empty() {
                allowed = counts;
            } else {
                allowed.resize(counts.len(), 0);
                for (most, count) in allowed.iter_mut().zip(counts) {
                    *most = count.max(*most);
                }
            }
        }

        grams.truncate(text.len().saturating_sub(order));
        for (gram, symbol) in grams.iter_mut().zip(text.iter().skip(order)) {
            if *gram == UNKNOWN {
                continue;
            }
            let number = numbers.get(&key(*gram, *symbol)).copied();
            *gram = number.unwrap_or(UNKNOWN);
            if let Some(left) = allowed.get_mut(*gram as usize).filter(|left| **left > 0) {
                *left -= 1;
                *matches += 1;
            }
        }
        if *matches == 0 {
            break; // a longer one would have a match in it
        }
    }
    matches
}

/// How many n-grams so many symbols have.
pub(super) fn total(symbols: usize, order: usize) -> u64 {
    (symbols + 1).saturating_sub(order) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_match_counts_at_most_as_often_as_the_reference_has_it() {
        check("the the the", &["the cat the"], &[2, 0]);
        check("a b a b", &["a b", "b a b a"], &[4, 2, 2]);
        check("a b c d", &["a b c d"], &[4, 3, 2, 1, 0]);
        check("x y", &["a"], &[0, 0]);
        check("", &["a"], &[0]);
        check("a", &[""], &[0]);
        check("a", &[], &[0]);
    }

    fn check(text: &str, references: &[&str], expected: &[u64]) {
        let mut words = Words::default();
        let references: Vec<Vec<u32>> = references
            .iter()
            .map(|text| text.split(' ').map(|word| words.learn(word)).collect())
            .collect();
        let references: Vec<&[u32]> = references.iter().map(Vec::as_slice).collect();
        let text: Vec<u32> = text.split(' ').map(|word| words.number(word)).collect();
        assert_eq!(matches(&text, &references, expected.len()), expected);
    }
}

//! Near-duplicate claims: exactly in small sets, by `MinHash` in large ones.

use std::collections::HashMap;

use crate::random::{Random, hash};
use crate::text::words;

/// Up to this many claims every pair that shares a trigram is compared.
const MOST_EXACT: usize = 20_000;
/// Pairs at the threshold that `MinHash` may miss.
const MISSED: f64 = 0.01;
/// How many groups a claim is compared with among the many that look alike in one band.
const MOST_COMPARED: usize = 8;

/// The word trigrams of claims, hashed, one sorted run after the other.
#[derive(Default)]
pub(crate) struct Claims {
    grams: Vec<u64>,
    /// Where each claim's run ends.
    ends: Vec<usize>,
}

impl Claims {
    /// Adds a claim: its distinct lower-cased word trigrams; of one or two words one shorter gram.
    pub(crate) fn push(&mut self, claim: &str) {
        let words: Vec<u64> = words(claim).map(|w| hash(w.as_bytes(), 0)).collect();
        let start = self.grams.len();
        let size = words.len().clamp(1, 3);
        for gram in words.windows(size) {
            let fold = |h: u64, word: &u64| hash(&word.to_le_bytes(), h);
            self.grams.push(gram.iter().fold(size as u64, fold));
        }
        self.grams[start..].sort_unstable();
        // Distinct ones, in place.
        let mut kept = start;
        for at in start..self.grams.len() {
            if at == start || self.grams[at] != self.grams[at - 1] {
                self.grams[kept] = self.grams[at];
                kept += 1;
            }
        }
        self.grams.truncate(kept);
        self.ends.push(kept);
    }

    fn of(&self, index: u32) -> &[u64] {
        let index = index as usize;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.grams[start..self.ends[index]]
    }

    fn similarity(&self, a: u32, b: u32) -> f64 {
        let (a, b) = (self.of(a), self.of(b));
        let (mut i, mut j, mut both) = (0, 0, 0usize);
        while i < a.len() && j < b.len() {
            match a[i].cmp(&b[j]) {
                std::cmp::Ordering::Less => i += 1,
                std::cmp::Ordering::Greater => j += 1,
                std::cmp::Ordering::Equal => (i, j, both) = (i + 1, j + 1, both + 1),
            }
        }
        let either = a.len() + b.len() - both;
        if either == 0 {
            1.0
        } else {
            both as f64 / either as f64
        }
    }

    /// Calls `join` for pairs of claims at or above the threshold, so that the groups of
    /// near-duplicates, directly or through others, come out joined.
    pub(crate) fn join(&self, threshold: f64, ids: &[String], join: &mut dyn FnMut(u32, u32)) {
        if self.ends.len() <= MOST_EXACT {
            self.join_exactly(threshold, join);
        } else {
            self.join_by_min_hash(threshold, ids, join);
        }
    }

    fn join_exactly(&self, threshold: f64, join: &mut dyn FnMut(u32, u32)) {
        let mut holders: HashMap<u64, Vec<u32>> = HashMap::new();
        let mut last_seen = vec![u32::MAX; self.ends.len()];
        for index in 0..self.ends.len() as u32 {
            let mut others = Vec::new();
            for gram in self.of(index) {
                let holders = holders.entry(*gram).or_default();
                for other in holders.iter() {
                    if last_seen[*other as usize] != index {
                        last_seen[*other as usize] = index;
                        others.push(*other);
                    }
                }
                holders.push(index);
            }
            for other in others {
                if self.similarity(index, other) >= threshold {
                    join(index, other);
                }
            }
        }
    }

    /// Broder's `MinHash` in bands: claims with equal smallest hashes in all rows of a band are
    /// compared, exactly. Rows are chosen so that a pair at the threshold meets in a band with
    /// probability above 1 - [`MISSED`].
    fn join_by_min_hash(&self, threshold: f64, ids: &[String], join: &mut dyn FnMut(u32, u32)) {
        let n_rows = (1..=8)
            .rev()
            .find(|rows| threshold.powi(*rows) >= 0.1)
            .unwrap_or(1);
        let meets = threshold.powi(n_rows).min(1.0 - 1e-9);
        #[expect(clippy::cast_sign_loss, reason = "both logarithms are negative")]
        let n_bands = (MISSED.ln() / (1.0 - meets).ln()).ceil() as usize;

        // In the order of the ids, so that the order of the source does not matter.
        let mut order: Vec<u32> = (0..self.ends.len() as u32).collect();
        order.sort_unstable_by_key(|index| &ids[*index as usize]);
        let mut group: Vec<u32> = (0..self.ends.len() as u32).collect();
        let mut random = Random::new(0, "minhash");
        for _ in 0..n_bands {
            let seeds: Vec<u64> = (0..n_rows).map(|_| random.next_u64() | 1).collect();
            let mut band: Vec<(u64, u32)> = Vec::with_capacity(order.len());
            for (rank, index) in order.iter().enumerate() {
                if !self.of(*index).is_empty() {
                    band.push((key(self.of(*index), &seeds), rank as u32));
                }
            }
            band.sort_unstable();
            for alike in band.chunk_by(|a, b| a.0 == b.0).filter(|c| c.len() > 1) {
                let mut seen: Vec<u32> = Vec::new();
                for (_, rank) in alike {
                    let index = order[*rank as usize];
                    let known = |other: &u32| root(&group, *other) == root(&group, index);
                    if seen.iter().any(known) {
                        continue;
                    }
                    let close = |other: &&u32| self.similarity(**other, index) >= threshold;
                    if let Some(other) = seen.iter().find(close) {
                        let (a, b) = (root(&group, *other), root(&group, index));
                        group[a.max(b) as usize] = a.min(b);
                        join(*other, index);
                    } else if seen.len() < MOST_COMPARED {
                        seen.push(index);
                    }
                }
            }
        }
    }
}

fn root(group: &[u32], mut index: u32) -> u32 {
    while group[index as usize] != index {
        index = group[index as usize];
    }
    index
}

/// The smallest hash of each row, folded into one key.
fn key(grams: &[u64], seeds: &[u64]) -> u64 {
    let mut key = 0u64;
    for seed in seeds {
        let smallest = grams.iter().map(|gram| mixed(gram ^ seed, *seed)).min();
        key = mixed(
            key.rotate_left(17) ^ smallest.unwrap_or(0),
            0x9e37_79b9_7f4a_7c15,
        );
    }
    key
}

/// The grams are hashes already; one multiplication by an odd number and a shift reorder them.
fn mixed(x: u64, odd: u64) -> u64 {
    let x = x.wrapping_mul(odd);
    (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claims in families of up to four variants, and as many that stand alone.
    fn claims(n: usize) -> (Claims, Vec<String>) {
        let (mut claims, mut ids) = (Claims::default(), vec![]);
        let mut random = Random::new(3, "test");
        let word = |random: &mut Random| format!("w{}", random.below(5000));
        for id in 0..n {
            let mut words: Vec<String> = (0..16).map(|_| word(&mut random)).collect();
            for variant in 0..=id % 4 {
                if variant > 0 {
                    words[random.below(16)] = word(&mut random);
                }
                claims.push(&words.join(" "));
                ids.push(format!("{id}-{variant}"));
            }
        }
        (claims, ids)
    }

    fn groups(n: usize, join: impl FnOnce(&mut dyn FnMut(u32, u32))) -> Vec<u32> {
        let mut union = super::super::Union::default();
        for _ in 0..n {
            union.push();
        }
        join(&mut |a, b| union.join(a, b));
        (0..n as u32).map(|index| union.root(index)).collect()
    }

    #[test]
    fn min_hash_finds_the_groups_that_comparing_all_finds() {
        let (claims, ids) = claims(800);
        for threshold in [0.5, 0.6, 0.8] {
            let exact = groups(ids.len(), |join| claims.join_exactly(threshold, join));
            let hashed = groups(ids.len(), |join| {
                claims.join_by_min_hash(threshold, &ids, join);
            });
            let differ = exact.iter().zip(&hashed).filter(|(a, b)| a != b).count();
            assert!(
                differ * 100 <= ids.len(),
                "{threshold}: {differ} of {}",
                ids.len()
            );
            // What is joined is close indeed: no group grows beyond the exact one.
            for (index, root) in hashed.iter().enumerate() {
                assert_eq!(exact[index], exact[*root as usize]);
            }
        }
    }

    #[test]
    fn trigrams_are_those_of_the_text_module() {
        let texts = [
            "Ice melts in spring.",
            "ice melts -- in SPRING now",
            "a a a a a",
            "",
            "ice",
        ];
        let mut claims = Claims::default();
        for text in texts {
            claims.push(text);
        }
        for (a, x) in texts.iter().enumerate() {
            for (b, y) in texts.iter().enumerate() {
                let expected =
                    crate::text::jaccard(&crate::text::trigrams(x), &crate::text::trigrams(y));
                let got = claims.similarity(a as u32, b as u32);
                assert!((got - expected).abs() < 1e-12, "{x} {y}");
            }
        }
    }
}

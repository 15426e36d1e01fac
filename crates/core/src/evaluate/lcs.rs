//! Longest common subsequences of long texts in little memory: their length by 64 comparisons at a
//! time, and their union over lines.

use rustc_hash::{FxHashMap, FxHashSet};

use super::ngrams::UNKNOWN;

/// Steps of [`length`] that a pair of texts may cost: seconds.
const MOST_STEPS: usize = 2_000_000_000;
/// Comparisons of [`union`] that a pair of texts may cost, an eighth of a byte each: seconds.
const MOST_CELLS: usize = 500_000_000;

/// The length of the longest common subsequence; `None` where it would take too long.
///
/// The reference's words are numbers from 0 on; those of the explanation that it lacks are
/// [`UNKNOWN`]. A column of the usual table is a bit of `rising`: 0 where the length grows
/// (Hyyrö 2004). Words that the row's word is not among stay as they are, unless a carry comes in.
pub(super) fn length(text: &[u32], reference: &[u32]) -> Option<usize> {
    let is_equal = |(a, b): &(&u32, &u32)| a == b;
    let start = text.iter().zip(reference).take_while(is_equal).count();
    let (text, reference) = (&text[start..], &reference[start..]);
    let backwards = text.iter().rev().zip(reference.iter().rev());
    let end = backwards.take_while(is_equal).count();
    let (text, reference) = (
        &text[..text.len() - end],
        &reference[..reference.len() - end],
    );

    let places = Places::new(text, reference);
    let steps: usize = reference.iter().map(|word| places.of(*word).len()).sum();
    if steps > MOST_STEPS {
        return None;
    }
    let mut rising = vec![u64::MAX; text.len().div_ceil(64)];
    for word in reference {
        let (mut at, mut carry) = (0, false);
        for (block, mask) in places.of(*word) {
            while carry && at < *block as usize {
                carry = add(&mut rising[at], 0, carry);
                at += 1;
            }
            at = *block as usize;
            carry = add(&mut rising[at], *mask, carry);
            at += 1;
        }
        while carry && at < rising.len() {
            carry = add(&mut rising[at], 0, carry);
            at += 1;
        }
    }
    let grown: u32 = rising.iter().map(|bits| bits.count_zeros()).sum();
    Some(start + grown as usize + end)
}

/// One row's step in one block; the carry into the next.
fn add(bits: &mut u64, mask: u64, carry: bool) -> bool {
    let (sum, first) = bits.overflowing_add(*bits & mask);
    let (sum, second) = sum.overflowing_add(u64::from(carry));
    *bits = sum | (*bits & !mask);
    first || second
}

/// Where each word stands in a text: blocks of 64 words, and bits in them.
struct Places {
    starts: Vec<usize>,
    masks: Vec<(u32, u64)>,
}

impl Places {
    fn new(text: &[u32], reference: &[u32]) -> Self {
        let n_words = reference.iter().max().map_or(0, |last| *last as usize + 1);
        let known = || {
            let words = text.iter().enumerate();
            words.filter(|(_, word)| (**word as usize) < n_words)
        };
        let mut starts = vec![0; n_words + 1];
        let mut last = vec![usize::MAX; n_words];
        for (at, word) in known() {
            let word = *word as usize;
            starts[word] += usize::from(last[word] != at / 64);
            last[word] = at / 64;
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        // From the last word to the first: each start moves down to where its word's masks begin.
        let mut masks = vec![(0, 0); sum];
        last.fill(usize::MAX);
        for (at, word) in known().collect::<Vec<_>>().into_iter().rev() {
            let word = *word as usize;
            if last[word] != at / 64 {
                last[word] = at / 64;
                starts[word] -= 1;
            }
            let (block, mask) = &mut masks[starts[word]];
            *block = (at / 64) as u32;
            *mask |= 1 << (at % 64);
        }
        Self { starts, masks }
    }

    fn of(&self, word: u32) -> &[(u32, u64)] {
        let word = word as usize;
        &self.masks[self.starts[word]..self.starts[word + 1]]
    }
}

/// For each line of the reference, which of its words stand on one longest common subsequence with
/// some line of the explanation; `None` where it would take too long.
///
/// Lines that can add nothing are not compared: equal ones, and those without a word that is not
/// marked yet.
pub(super) fn union(lines: &[&[u32]], expected: &[&[u32]]) -> Option<Vec<Vec<bool>>> {
    let mut different = FxHashSet::default();
    let lines: Vec<&[u32]> = lines
        .iter()
        .copied()
        .filter(|line| different.insert(*line))
        .collect();
    let mut lines_with: FxHashMap<u32, Vec<usize>> = FxHashMap::default();
    for (n, line) in lines.iter().enumerate() {
        for word in line.iter().filter(|word| **word != UNKNOWN) {
            let lines = lines_with.entry(*word).or_default();
            if lines.last() != Some(&n) {
                lines.push(n);
            }
        }
    }

    let mut walk = Walk::default();
    let mut known: FxHashMap<&[u32], Vec<bool>> = FxHashMap::default();
    let mut compared = vec![usize::MAX; lines.len()];
    let mut cells = 0;
    let mut unions = Vec::with_capacity(expected.len());
    for (n, line) in expected.iter().enumerate() {
        if let Some(marks) = known.get(line) {
            unions.push(marks.clone());
            continue;
        }
        let mut marks = vec![false; line.len()];
        for (at, word) in line.iter().enumerate() {
            for other in lines_with.get(word).into_iter().flatten() {
                if marks[at] {
                    break;
                }
                if compared[*other] != n {
                    compared[*other] = n;
                    cells += line.len() * lines[*other].len();
                    if cells > MOST_CELLS {
                        return None;
                    }
                    walk.mark(line, lines[*other], &mut marks);
                }
            }
        }
        known.insert(line, marks.clone());
        unions.push(marks);
    }
    Some(unions)
}

/// Room for the walk through one table.
#[derive(Default)]
struct Walk {
    above: Vec<u32>,
    row: Vec<u32>,
    /// Whether the walk goes left at a cell, where its words differ.
    goes_left: Vec<u64>,
}

impl Walk {
    /// Marks the words of `line` on one longest common subsequence with `other`: the one that a
    /// backward walk finds which goes up on a tie, as the reference implementation does.
    fn mark(&mut self, line: &[u32], other: &[u32], marks: &mut [bool]) {
        let backwards = line.iter().rev().zip(other.iter().rev());
        let end = backwards.take_while(|(a, b)| a == b).count();
        marks[line.len() - end..].fill(true);
        let (line, other) = (&line[..line.len() - end], &other[..other.len() - end]);

        let width = other.len().div_ceil(64);
        self.goes_left.clear();
        self.goes_left.resize(line.len() * width, 0);
        self.above.clear();
        self.above.resize(other.len() + 1, 0);
        self.row.clear();
        self.row.resize(other.len() + 1, 0);
        for (i, x) in line.iter().enumerate() {
            let bits = &mut self.goes_left[i * width..];
            for (j, y) in other.iter().enumerate() {
                let (left, above) = (self.row[j], self.above[j + 1]);
                bits[j / 64] |= u64::from(left > above) << (j % 64);
                self.row[j + 1] = if x == y {
                    self.above[j] + 1
                } else {
                    left.max(above)
                };
            }
            std::mem::swap(&mut self.row, &mut self.above);
        }

        let (mut i, mut j) = (line.len(), other.len());
        while i > 0 && j > 0 {
            if line[i - 1] == other[j - 1] {
                marks[i - 1] = true;
                i -= 1;
                j -= 1;
            } else if self.goes_left[(i - 1) * width + (j - 1) / 64] >> ((j - 1) % 64) & 1 == 1 {
                j -= 1;
            } else {
                i -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The usual table.
    fn table(a: &[u32], b: &[u32]) -> Vec<Vec<usize>> {
        let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
        for (i, x) in a.iter().enumerate() {
            for (j, y) in b.iter().enumerate() {
                table[i + 1][j + 1] = if x == y {
                    table[i][j] + 1
                } else {
                    table[i][j + 1].max(table[i + 1][j])
                };
            }
        }
        table
    }

    fn marks(line: &[u32], other: &[u32], marks: &mut [bool]) {
        let table = table(line, other);
        let (mut i, mut j) = (line.len(), other.len());
        while i > 0 && j > 0 {
            if line[i - 1] == other[j - 1] {
                marks[i - 1] = true;
                (i, j) = (i - 1, j - 1);
            } else if table[i][j - 1] > table[i - 1][j] {
                j -= 1;
            } else {
                i -= 1;
            }
        }
    }

    proptest! {
        #[test]
        fn the_length_is_that_of_the_table(
            a in prop::collection::vec(prop_oneof![0u32..6, Just(UNKNOWN)], 0..300),
            b in prop::collection::vec(0u32..6, 0..300),
        ) {
            prop_assert_eq!(length(&a, &b), Some(table(&a, &b)[a.len()][b.len()]));
        }

        #[test]
        fn the_union_is_that_of_all_pairs_of_lines(
            lines in prop::collection::vec(prop::collection::vec(0u32..5, 0..9), 0..8),
            expected in prop::collection::vec(prop::collection::vec(0u32..5, 0..9), 0..8),
        ) {
            let lines: Vec<&[u32]> = lines.iter().map(Vec::as_slice).collect();
            let expected: Vec<&[u32]> = expected.iter().map(Vec::as_slice).collect();
            let all = expected.iter().map(|line| {
                let mut of_line = vec![false; line.len()];
                for other in &lines {
                    marks(line, other, &mut of_line);
                }
                of_line
            });
            prop_assert_eq!(union(&lines, &expected), Some(all.collect::<Vec<_>>()));
        }
    }

    #[test]
    fn what_would_take_too_long_is_not_begun() {
        let long = vec![0; 40_000];
        let mut other = long.clone();
        other.push(1);
        assert_eq!(union(&[&long], &[&other]), None);
        assert_eq!(length(&long, &other), Some(40_000));
    }
}

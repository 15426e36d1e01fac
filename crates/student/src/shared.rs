//! Token sequences that begin alike, read once where they do.

use std::collections::BTreeSet;

use crate::ops::Layout;

/// Fewer tokens than this are not worth a branch of their own.
const LEAST: usize = 4;

/// Several sequences as a tree of what they have in common.
///
/// Each token of each sequence has a row that reads it; a row that several sequences share reads the token for all of them, and sees what each of them would have shown it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shared {
    /// The tokens of the rows.
    pub(crate) tokens: Vec<u32>,
    /// Which rows go on from which.
    pub(crate) layout: Layout,
    /// The row that reads each token of the sequences, which stand one after the other.
    pub(crate) rows: Vec<u32>,
}

impl Shared {
    /// The tree of these sequences; their order only decides that of `rows`.
    pub(crate) fn new(sequences: &[&[u32]]) -> Self {
        let mut starts = vec![0];
        for sequence in sequences {
            starts.push(starts[starts.len() - 1] + sequence.len());
        }
        let mut order: Vec<usize> = (0..sequences.len()).collect();
        order.sort_by_key(|&index| sequences[index]);
        let mut tree = Tree {
            sequences,
            rows: vec![0; starts[sequences.len()]],
            starts,
            tokens: Vec::new(),
            parts: Vec::new(),
        };
        tree.grow(None, 0, &order);
        Self {
            tokens: tree.tokens,
            layout: Layout::tree(&tree.parts),
            rows: tree.rows,
        }
    }

    /// Whether any row is read for several sequences.
    pub(crate) fn saves_work(&self) -> bool {
        self.tokens.len() < self.rows.len()
    }
}

/// What is read of one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Read<'a> {
    /// What an encoder reads; empty where there is none.
    pub(crate) source: &'a [u32],
    /// What the decoder reads.
    pub(crate) tokens: &'a [u32],
}

/// Counts the rows that sequences need, one sequence after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Count<'a> {
    rows: usize,
    sequences: BTreeSet<Read<'a>>,
}

impl<'a> Count<'a> {
    /// The rows of all that were added.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The rows that one further sequence needs.
    pub(crate) fn rows_of(&self, read: Read<'a>, shares: bool) -> usize {
        let all = read.source.len() + read.tokens.len();
        if !shares {
            return all;
        }
        // Of all that are there, its neighbours in the order have most in common with it.
        let before = self.sequences.range(..=read).next_back();
        let after = self.sequences.range(read..).next();
        let neighbours = before.into_iter().chain(after);
        let alike = neighbours.filter(|other| other.source == read.source);
        let in_common = |other: &Read<'_>| match common(other.tokens, read.tokens) {
            _ if !read.source.is_empty() => read.source.len(),
            most if most >= LEAST => most,
            _ => 0,
        };
        all - alike.map(in_common).max().unwrap_or(0)
    }

    /// Adds it to those that are there.
    pub(crate) fn add(&mut self, read: Read<'a>, shares: bool) {
        self.rows += self.rows_of(read, shares);
        self.sequences.insert(read);
    }
}

/// A tree while it grows.
struct Tree<'a> {
    sequences: &'a [&'a [u32]],
    /// Where each sequence's rows begin in `rows`, and one past all.
    starts: Vec<usize>,
    rows: Vec<u32>,
    tokens: Vec<u32>,
    /// The parent and length of each part.
    parts: Vec<(Option<usize>, usize)>,
}

impl Tree<'_> {
    /// Adds what `group`, sequences in their order that agree in all before `depth`, read from there on.
    fn grow(&mut self, parent: Option<usize>, depth: usize, group: &[usize]) {
        let rest = |index: usize| &self.sequences[index][depth..];
        let mut groups = Vec::new();
        let mut left = group;
        while let Some(&first) = left.first() {
            let is_alike = |&&other: &&usize| common(rest(first), rest(other)) >= LEAST;
            let n = left.iter().take_while(is_alike).count().max(1);
            let (alike, others) = left.split_at(n);
            // Sequences between two in the order have in common what those two have.
            groups.push((alike, common(rest(first), rest(alike[n - 1]))));
            left = others;
        }
        for (alike, length) in groups {
            if length == 0 {
                continue;
            }
            let first_row = self.tokens.len() as u32;
            let read = &self.sequences[alike[0]][depth..depth + length];
            self.tokens.extend(read);
            for &index in alike {
                let start = self.starts[index] + depth;
                for (row, place) in (first_row..).zip(&mut self.rows[start..start + length]) {
                    *place = row;
                }
            }
            self.parts.push((parent, length));
            let own = self.parts.len() - 1;
            if alike.len() > 1 {
                self.grow(Some(own), depth + length, alike);
            }
        }
    }
}

/// How many tokens two sequences have in common at their beginning.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each part as its parent and its tokens, then the rows of each sequence.
    #[track_caller]
    fn check(texts: &[&str], parts: &str, rows: &[&[u32]]) {
        let sequences: Vec<Vec<u32>> = texts
            .iter()
            .map(|t| t.bytes().map(u32::from).collect())
            .collect();
        let sequences: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
        let shared = Shared::new(&sequences);
        let part = |index| {
            let parent = shared
                .layout
                .parent(index)
                .map_or("-".to_owned(), |p| p.to_string());
            let tokens = shared.tokens[shared.layout.sequence(index)].iter();
            let text: String = tokens.map(|&t| char::from(t as u8)).collect();
            format!("{parent}:{text}")
        };
        let found: Vec<String> = (0..shared.layout.n_sequences()).map(part).collect();
        assert_eq!(found.join(" "), parts);
        assert_eq!(shared.rows, rows.concat());
        let mut count = Count::default();
        for &tokens in &sequences {
            let source = &[];
            count.add(Read { source, tokens }, true);
        }
        assert_eq!(count.rows(), shared.tokens.len());
    }

    #[test]
    fn what_begins_alike_is_read_once() {
        check(&["abcd"], "-:abcd", &[&[0, 1, 2, 3]]);
        check(
            &["askedX", "askedYZ"],
            "-:asked 0:X 0:YZ",
            &[&[0, 1, 2, 3, 4, 5], &[0, 1, 2, 3, 4, 6, 7]],
        );
    }

    #[test]
    fn a_few_tokens_in_common_are_read_again() {
        check(
            &["abcX", "abcY"],
            "-:abcX -:abcY",
            &[&[0, 1, 2, 3], &[4, 5, 6, 7]],
        );
    }

    #[test]
    fn a_whole_sequence_may_begin_another_and_stand_twice() {
        check(
            &["askedmore!", "asked", "asked"],
            "-:asked 0:more!",
            &[
                &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
                &[0, 1, 2, 3, 4],
                &[0, 1, 2, 3, 4],
            ],
        );
    }

    #[test]
    fn branches_have_branches() {
        check(
            &[
                "asked thereby so",
                "other",
                "asked that",
                "asked thereby no",
            ],
            "-:asked th 0:at 0:ereby  2:no 2:so -:other",
            &[
                &[0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15, 18, 19],
                &[20, 21, 22, 23, 24],
                &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
                &[0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15, 16, 17],
            ],
        );
    }
}

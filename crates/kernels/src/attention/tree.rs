//! Packed sequences that go on from others: which rows see which.

use std::ops::Range;

/// The rows of a packed sequence, and what it goes on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Its own rows.
    pub rows: Range<usize>,
    /// An earlier sequence, whose rows this one's see with all that those see, and whose positions it continues.
    pub parent: Option<usize>,
}

/// A sequence that goes on from nothing, and all that go on from it; none of their rows sees others.
pub(crate) struct Tree {
    pub(crate) rows: Range<usize>,
    pub(crate) branches: Vec<Branch>,
}

/// A sequence of a tree; its rows are counted from the tree's first.
pub(crate) struct Branch {
    pub(crate) rows: Range<usize>,
    /// The position of its first row.
    pub(crate) first: usize,
    /// The rows at the positions from 0 on, its own last; neighbours joined.
    runs: Vec<Range<usize>>,
}

/// Rows of a branch that are looked at together.
pub(crate) struct Block {
    /// Counted from the tree's first.
    pub(crate) rows: Range<usize>,
    pub(crate) view: View,
    /// The rows that they see, by the column of the first among the block's scores.
    pub(crate) pieces: Vec<(usize, Range<usize>)>,
}

/// What a block of queries sees of a stretch of keys.
#[derive(Clone, Copy)]
pub(crate) struct View {
    /// The position of the first query.
    pub(crate) first: usize,
    /// The position of the first key that any of them sees.
    start: usize,
    /// Keys from there to the last query.
    pub(crate) width: usize,
    window: usize,
}

impl View {
    /// For queries at these positions.
    pub(crate) fn new(positions: Range<usize>, window: Option<usize>) -> Self {
        let window = window.unwrap_or(usize::MAX);
        let start = (positions.start + 1).saturating_sub(window);
        Self {
            first: positions.start,
            start,
            width: positions.end - start,
            window,
        }
    }

    /// The positions of the keys.
    pub(crate) fn positions(&self) -> Range<usize> {
        self.start..self.start + self.width
    }

    /// The keys that query `i` of the block sees, counted from the first of all.
    #[inline(always)]
    pub(crate) fn columns(&self, i: usize) -> Range<usize> {
        let end = self.first + i + 1;
        end.saturating_sub(self.window).max(self.start) - self.start..end - self.start
    }
}

impl Tree {
    /// The trees of sequences that stand one after the other, those of a tree together.
    ///
    /// # Panics
    /// If they overlap, or a parent is not an earlier sequence of the same tree.
    pub(crate) fn all(sequences: &[Sequence]) -> Vec<Self> {
        let mut trees: Vec<Self> = Vec::new();
        let (mut root, mut end) = (0, 0);
        for (index, Sequence { rows, parent }) in sequences.iter().enumerate() {
            assert!(
                end <= rows.start && rows.start <= rows.end,
                "sequences in order"
            );
            end = rows.end;
            match (parent, trees.last_mut()) {
                (Some(parent), Some(tree)) => {
                    assert!(
                        (root..index).contains(parent),
                        "a parent stands earlier in the same tree"
                    );
                    tree.rows.end = end;
                    let own = rows.start - tree.rows.start..end - tree.rows.start;
                    let branch = Branch::new(own, Some(&tree.branches[parent - root]));
                    tree.branches.push(branch);
                }
                (Some(_), None) => panic!("a parent stands earlier in the same tree"),
                (None, _) => {
                    root = index;
                    trees.push(Self {
                        rows: rows.clone(),
                        branches: vec![Branch::new(0..rows.len(), None)],
                    });
                }
            }
        }
        trees.retain(|tree| !tree.rows.is_empty());
        trees
    }

    /// The most keys that a row sees.
    pub(crate) fn longest(&self) -> usize {
        let ends = self.branches.iter().map(|b| b.first + b.rows.len());
        ends.max().unwrap_or(0)
    }
}

impl Branch {
    fn new(rows: Range<usize>, parent: Option<&Self>) -> Self {
        let mut runs = parent.map_or_else(Vec::new, |parent| parent.runs.clone());
        let first = runs.iter().map(Range::len).sum();
        match runs.last_mut() {
            Some(last) if last.end == rows.start => last.end = rows.end,
            _ => runs.push(rows.clone()),
        }
        Self { rows, first, runs }
    }

    /// Its rows in blocks of at most `most`.
    pub(crate) fn blocks(
        &self,
        window: Option<usize>,
        most: usize,
    ) -> impl Iterator<Item = Block> + '_ {
        self.rows.clone().step_by(most).map(move |start| {
            let rows = start..self.rows.end.min(start + most);
            let first = self.first + start - self.rows.start;
            let view = View::new(first..first + rows.len(), window);
            Block {
                rows,
                view,
                pieces: self.pieces(view.positions()),
            }
        })
    }

    /// The rows at these positions, each run with its first one's place among them.
    fn pieces(&self, positions: Range<usize>) -> Vec<(usize, Range<usize>)> {
        let mut pieces = Vec::with_capacity(self.runs.len());
        let mut at = 0;
        for run in &self.runs {
            let (from, to) = (
                positions.start.clamp(at, at + run.len()),
                positions.end.clamp(at, at + run.len()),
            );
            if from < to {
                let rows = run.start + from - at..run.start + to - at;
                pieces.push((from - positions.start, rows));
            }
            at += run.len();
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequences(parts: &[(Option<usize>, usize)]) -> Vec<Sequence> {
        let mut end = 0;
        let sequence = |&(parent, length): &(Option<usize>, usize)| {
            end += length;
            Sequence {
                rows: end - length..end,
                parent,
            }
        };
        parts.iter().map(sequence).collect()
    }

    #[test]
    fn a_branch_sees_its_chain_and_neighbours_are_one_run() {
        let trees = Tree::all(&sequences(&[
            (None, 2),
            (None, 3),
            (Some(1), 2),
            (Some(1), 1),
            (Some(2), 4),
        ]));
        assert_eq!(trees.len(), 2);
        let runs = trees[1].branches.iter().map(|b| format!("{:?}", b.runs));
        let runs: Vec<String> = runs.collect();
        let expected = ["[0..3]", "[0..5]", "[0..3, 5..6]", "[0..5, 6..10]"];
        assert_eq!(runs, expected);
        assert_eq!(trees[1].rows, 2..12);
        assert_eq!(trees[1].longest(), 9);
    }

    #[test]
    fn a_window_leaves_out_what_no_row_of_the_block_sees() {
        let trees = Tree::all(&sequences(&[(None, 3), (Some(0), 2), (Some(0), 2)]));
        let blocks: Vec<Block> = trees[0].branches[2].blocks(Some(2), 64).collect();
        assert_eq!(blocks[0].pieces, [(0, 2..3), (1, 5..7)]);
        assert_eq!(blocks[0].view.columns(0), 0..2);
        assert_eq!(blocks[0].view.columns(1), 1..3);
    }

    #[test]
    #[should_panic(expected = "a parent stands earlier in the same tree")]
    fn a_parent_in_another_tree_is_refused() {
        Tree::all(&sequences(&[(None, 2), (None, 3), (Some(0), 2)]));
    }
}

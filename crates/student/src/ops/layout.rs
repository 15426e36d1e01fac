//! Where each sequence of a packed batch begins and what it goes on from, and how its heads are laid out.

use std::ops::Range;

/// Several sequences one after the other, without padding.
///
/// Packed activations are `[tokens, features]`; the layout tells which rows belong together.
/// A sequence may go on from an earlier one, its parent: its rows then see those of the parent, and all that those see, as if they stood before them.
/// So several completions of one prompt read it once.
///
/// ```
/// use stillhouse_student::ops::Layout;
///
/// let layout = Layout::new(&[3, 2]);
/// assert_eq!(layout.tokens(), 5);
/// assert_eq!(layout.sequence(1), 3..5);
/// assert_eq!(layout.positions(), [0, 1, 2, 0, 1]);
///
/// // A prompt of three tokens with two completions.
/// let layout = Layout::tree(&[(None, 3), (Some(0), 2), (Some(0), 1)]);
/// assert_eq!(layout.positions(), [0, 1, 2, 3, 4, 3]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The first row of each sequence, and one past the last row of all.
    borders: Vec<usize>,
    parents: Vec<Option<usize>>,
    /// The position of each sequence's first row.
    firsts: Vec<usize>,
}

impl Layout {
    /// The layout of sequences of these lengths, in tokens, in this order.
    #[must_use]
    pub fn new(lengths: &[usize]) -> Self {
        let parts: Vec<_> = lengths.iter().map(|&length| (None, length)).collect();
        Self::tree(&parts)
    }

    /// The layout of sequences with the parent and the length, in tokens, of each.
    ///
    /// # Panics
    /// If a parent is not an earlier sequence, or a sequence without a parent stands between the two.
    #[must_use]
    pub fn tree(parts: &[(Option<usize>, usize)]) -> Self {
        let (mut borders, mut parents, mut firsts) = (vec![0], Vec::new(), Vec::new());
        let mut root = 0;
        for (index, &(parent, length)) in parts.iter().enumerate() {
            root = if parent.is_none() { index } else { root };
            let first = parent.map_or(0, |parent| {
                assert!(
                    (root..index).contains(&parent),
                    "a parent stands earlier in the same tree"
                );
                firsts[parent] + parts[parent].1
            });
            borders.push(borders[index] + length);
            parents.push(parent);
            firsts.push(first);
        }
        Self {
            borders,
            parents,
            firsts,
        }
    }

    /// Rows in all.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.borders[self.borders.len() - 1]
    }

    /// How many sequences are packed.
    #[must_use]
    pub fn n_sequences(&self) -> usize {
        self.parents.len()
    }

    /// The rows of one sequence, without its parent's.
    #[must_use]
    pub fn sequence(&self, index: usize) -> Range<usize> {
        self.borders[index]..self.borders[index + 1]
    }

    /// The rows of each sequence, without its parent's, in order.
    pub fn sequences(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.borders.windows(2).map(|pair| pair[0]..pair[1])
    }

    /// The earlier sequence that one goes on from.
    #[must_use]
    pub fn parent(&self, index: usize) -> Option<usize> {
        self.parents[index]
    }

    /// The sequences that one goes on from, the earliest first, and itself.
    #[must_use]
    pub fn chain(&self, index: usize) -> Vec<usize> {
        let mut chain: Vec<usize> =
            std::iter::successors(Some(index), |&index| self.parents[index]).collect();
        chain.reverse();
        chain
    }

    /// The position of each row: how many tokens stand before it, its parent's among them.
    #[must_use]
    pub fn positions(&self) -> Vec<usize> {
        let firsts = self.sequences().zip(&self.firsts);
        firsts
            .flat_map(|(rows, &first)| first..first + rows.len())
            .collect()
    }

    /// The longest sequence, with what it goes on from, in tokens.
    #[must_use]
    pub fn longest(&self) -> usize {
        let lengths = self.sequences().zip(&self.firsts);
        lengths
            .map(|(rows, first)| first + rows.len())
            .max()
            .unwrap_or(0)
    }
}

/// How many heads attend, how many keys and values they share, and how wide each is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads; a multiple of `kv_heads`.
    pub heads: usize,
    /// Heads of keys and values; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Features of one head.
    pub head_size: usize,
}

impl Heads {
    /// Features of a packed query row.
    #[must_use]
    pub fn query_size(&self) -> usize {
        self.heads * self.head_size
    }

    /// Features of a packed key or value row.
    #[must_use]
    pub fn kv_size(&self) -> usize {
        self.kv_heads * self.head_size
    }
}

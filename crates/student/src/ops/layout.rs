//! Where each sequence of a packed batch begins, and how its heads are laid out.

use std::ops::Range;

/// Several sequences one after the other, without padding.
///
/// Packed activations are `[tokens, features]`; the layout tells which rows belong together.
///
/// ```
/// use stillhouse_student::ops::Layout;
///
/// let layout = Layout::new(&[3, 2]);
/// assert_eq!(layout.tokens(), 5);
/// assert_eq!(layout.sequence(1), 3..5);
/// assert_eq!(layout.positions(), [0, 1, 2, 0, 1]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The first row of each sequence, and one past the last row of all.
    borders: Vec<usize>,
}

impl Layout {
    /// The layout of sequences of these lengths, in tokens, in this order.
    #[must_use]
    pub fn new(lengths: &[usize]) -> Self {
        let mut borders = vec![0];
        for length in lengths {
            borders.push(borders[borders.len() - 1] + length);
        }
        Self { borders }
    }

    /// Rows in all.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.borders[self.borders.len() - 1]
    }

    /// How many sequences are packed.
    #[must_use]
    pub fn n_sequences(&self) -> usize {
        self.borders.len() - 1
    }

    /// The rows of one sequence.
    #[must_use]
    pub fn sequence(&self, index: usize) -> Range<usize> {
        self.borders[index]..self.borders[index + 1]
    }

    /// The rows of each sequence, in order.
    pub fn sequences(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.borders.windows(2).map(|pair| pair[0]..pair[1])
    }

    /// The position of each row within its own sequence.
    #[must_use]
    pub fn positions(&self) -> Vec<usize> {
        self.sequences().flat_map(|rows| 0..rows.len()).collect()
    }

    /// The longest sequence, in tokens.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.sequences().map(|rows| rows.len()).max().unwrap_or(0)
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

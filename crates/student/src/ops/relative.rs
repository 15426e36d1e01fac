//! Attention of one sequence's rows to those of another, with a bias by head and relative position (T5).

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::Tensor;

use super::{Layout, composed};

/// Which rows of keys the queries of each sequence look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairs {
    /// Rows of queries, rows of keys.
    pub(super) rows: Arc<[(Range<usize>, Range<usize>)]>,
    /// Whether a query sees its own place and those before it alone.
    pub(super) is_causal: bool,
}

impl Pairs {
    /// Each sequence looks at all of itself.
    #[must_use]
    pub fn whole(layout: &Layout) -> Self {
        Self {
            rows: layout
                .sequences()
                .map(|rows| (rows.clone(), rows))
                .collect(),
            is_causal: false,
        }
    }

    /// Each row looks at its own sequence up to itself.
    #[must_use]
    pub fn causal(layout: &Layout) -> Self {
        Self {
            is_causal: true,
            ..Self::whole(layout)
        }
    }

    /// Sequence `i` of `layout` looks at all of sequence `of[i]` of `source`.
    ///
    /// # Panics
    /// If `of` names no sequence of `source`, or does not name one for each of `layout`.
    #[must_use]
    pub fn across(layout: &Layout, source: &Layout, of: &[usize]) -> Self {
        assert_eq!(layout.n_sequences(), of.len(), "a source per sequence");
        let sources = of.iter().map(|&index| source.sequence(index));
        Self {
            rows: layout.sequences().zip(sources).collect(),
            is_causal: false,
        }
    }
}

/// How relative positions are put into buckets: near ones have one each, far ones share, the more the farther.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buckets {
    /// How many there are.
    pub n: usize,
    /// From this distance on all positions share the last.
    pub max_distance: usize,
    /// Whether keys after the query have buckets of their own, half of all.
    pub is_bidirectional: bool,
}

impl Buckets {
    /// The bucket of a key that stands `distance` rows after the query, before it where negative.
    ///
    /// In f32 as transformers computes it, so that no distance falls on another side of a border.
    ///
    /// ```
    /// use stillhouse_student::ops::Buckets;
    ///
    /// let buckets = Buckets { n: 32, max_distance: 128, is_bidirectional: true };
    /// assert_eq!([-200, -20, -3, 0, 3].map(|d| buckets.of(d)), [15, 10, 3, 0, 19]);
    /// ```
    #[must_use]
    pub fn of(&self, distance: isize) -> usize {
        let (n, first) = match (self.is_bidirectional, distance > 0) {
            (true, true) => (self.n / 2, self.n / 2),
            (true, false) => (self.n / 2, 0),
            (false, _) => (self.n, 0),
        };
        let away = match (self.is_bidirectional, distance > 0) {
            (false, true) => 0,
            _ => distance.unsigned_abs(),
        };
        let exact = n / 2;
        if away < exact {
            return first + away;
        }
        let ln = |x: f64| x.ln() as f32;
        let share =
            ln(f64::from(away as f32 / exact as f32)) / ln(self.max_distance as f64 / exact as f64);
        let far = exact as isize + (share * (n - exact) as f32) as isize;
        first + far.unsigned_abs().min(n - 1)
    }
}

/// What relative positions add to scores.
#[derive(Clone, Copy, Debug)]
pub struct RelativeBias<'a> {
    /// `[buckets, heads]`
    pub table: &'a Tensor<2>,
    /// The bucket of each relative position.
    pub buckets: Buckets,
}

/// Attention of each query to the keys that `pairs` gives it; scores are not scaled, and `bias` is added to them.
///
/// `q` is `[rows, heads * head_size]`, `k` and `v` are `[source rows, heads * head_size]`; the result has the shape of `q`.
///
/// # Panics
/// If the shapes do not fit together.
#[must_use]
pub fn relative_attention(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    bias: Option<RelativeBias<'_>>,
    pairs: &Pairs,
    heads: usize,
) -> Tensor<2> {
    composed::relative_attention(q, k, v, bias, pairs, heads)
}

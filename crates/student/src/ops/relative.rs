//! Attention of one sequence's rows to those of another, with a bias by head and relative position (T5).

use std::ops::Range;
use std::sync::Arc;

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use stillhouse_kernels::memory;
use stillhouse_kernels::relative::{self, Bias, Gradients, Input};

use super::bridge::{CpuOp, apply3, apply4, entries, is_cpu, like, sizes};
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
        let far = exact.cast_signed() + (share * (n - exact) as f32) as isize;
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
    if !is_cpu(&q) {
        return composed::relative_attention(q, k, v, bias, pairs, heads);
    }
    let fused = Fused {
        pairs: pairs.rows.clone(),
        is_causal: pairs.is_causal,
        heads,
        before: 0,
        buckets: Arc::new([]),
    };
    let Some(RelativeBias { table, buckets }) = bias else {
        return apply3(q, k, v, fused);
    };
    let before = pairs.rows.iter().map(|(rows, _)| rows.len()).max();
    let after = pairs.rows.iter().map(|(_, keys)| keys.len()).max();
    let before = before.unwrap_or(0).cast_signed();
    let after = after.unwrap_or(0).cast_signed();
    let by_distance = (-before..after).map(|distance| buckets.of(distance) as u32);
    let fused = Fused {
        before: before.unsigned_abs(),
        buckets: by_distance.collect(),
        ..fused
    };
    apply4(q, k, v, table.clone(), fused)
}

#[derive(Clone)]
struct Fused {
    pairs: Arc<[(Range<usize>, Range<usize>)]>,
    is_causal: bool,
    heads: usize,
    /// The bucket of each distance, that of `-before` first.
    before: usize,
    buckets: Arc<[u32]>,
}

impl Fused {
    fn input<'a>(
        &'a self,
        [q, k, v]: [&'a FlexTensor; 3],
        table: Option<&'a FlexTensor>,
    ) -> Input<'a> {
        let [_, width] = sizes(q);
        Input {
            q: entries(q),
            k: entries(k),
            v: entries(v),
            bias: table.map(|table| Bias {
                table: entries(table),
                buckets: &self.buckets,
                before: self.before,
            }),
            pairs: &self.pairs,
            heads: self.heads,
            head_size: width / self.heads,
            is_causal: self.is_causal,
        }
    }

    fn attend(input: Input<'_>, q: &FlexTensor) -> (FlexTensor, Vec<f32>) {
        let n = input.q.len();
        let (mut y, mut log_sums) = (memory::any(n), vec![0.0; n / input.head_size]);
        relative::attend(input, &mut y, &mut log_sums);
        (like(y, q), log_sums)
    }

    /// The gradients of queries, keys and values; keys that nobody looks at have none.
    fn backward(
        input: Input<'_>,
        inputs: [&FlexTensor; 3],
        log_sums: &[f32],
        grad: &FlexTensor,
        table: Option<&mut [f32]>,
    ) -> [Option<FlexTensor>; 3] {
        let [mut q, mut k, mut v] = inputs.map(|t| vec![0.0; entries(t).len()]);
        let out = Gradients {
            q: &mut q,
            k: &mut k,
            v: &mut v,
            table,
        };
        relative::attend_backward(input, log_sums, entries(grad), out);
        let [q_in, k_in, v_in] = inputs;
        [(q, q_in), (k, k_in), (v, v_in)].map(|(values, of)| Some(like(values, of)))
    }
}

impl CpuOp<3> for Fused {
    /// The logarithms of the softmax's denominators, `[rows, heads]`.
    type Saved = Vec<f32>;

    fn forward(&self, inputs: [&FlexTensor; 3]) -> (FlexTensor, Vec<f32>) {
        Self::attend(self.input(inputs, None), inputs[0])
    }

    fn backward(
        &self,
        inputs: [&FlexTensor; 3],
        log_sums: Vec<f32>,
        grad: &FlexTensor,
        _: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        Self::backward(self.input(inputs, None), inputs, &log_sums, grad, None)
    }
}

impl CpuOp<4> for Fused {
    /// As above.
    type Saved = Vec<f32>;

    fn forward(&self, [q, k, v, table]: [&FlexTensor; 4]) -> (FlexTensor, Vec<f32>) {
        Self::attend(self.input([q, k, v], Some(table)), q)
    }

    fn backward(
        &self,
        [q, k, v, table]: [&FlexTensor; 4],
        log_sums: Vec<f32>,
        grad: &FlexTensor,
        needed: [bool; 4],
    ) -> [Option<FlexTensor>; 4] {
        let input = self.input([q, k, v], Some(table));
        let mut d_table = needed[3].then(|| vec![0.0; entries(table).len()]);
        let found = Self::backward(input, [q, k, v], &log_sums, grad, d_table.as_deref_mut());
        let [q, k, v] = found;
        [q, k, v, d_table.map(|d| like(d, table))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};
    use stillhouse_core::random::Random;

    #[test]
    fn the_fused_operation_and_its_gradients_are_those_of_the_composition() {
        let (heads, size) = (3, 4);
        let layout = Layout::new(&[5, 1, 70]);
        let source = Layout::new(&[9, 66]);
        let buckets = Buckets {
            n: 8,
            max_distance: 30,
            is_bidirectional: true,
        };
        let causal = Buckets {
            is_bidirectional: false,
            ..buckets
        };
        check(heads, size, &Pairs::whole(&layout), Some(buckets));
        check(heads, size, &Pairs::causal(&layout), Some(causal));
        check(
            heads,
            size,
            &Pairs::across(&layout, &source, &[1, 0, 1]),
            None,
        );
    }

    fn check(heads: usize, size: usize, pairs: &Pairs, buckets: Option<Buckets>) {
        let device = Device::flex();
        let plain = |[rows, columns]: [usize; 2]| {
            let mut random = Random::new(rows as u64, "relative attention");
            let values: Vec<f32> = (0..rows * columns)
                .map(|_| random.normal() as f32)
                .collect();
            Tensor::<2>::from_data(TensorData::new(values, [rows, columns]), &device)
        };
        let random = |rows, columns| plain([rows, columns]).autodiff().require_grad();
        let rows = |of: fn(&(Range<usize>, Range<usize>)) -> usize| {
            pairs.rows.iter().map(of).max().unwrap()
        };
        let width = heads * size;
        let q = random(rows(|pair| pair.0.end), width);
        let (k, v) = (
            random(rows(|pair| pair.1.end), width),
            random(rows(|pair| pair.1.end), width),
        );
        let table = random(8, heads);
        let weight = plain(q.dims()).autodiff();
        let run = |attend: fn(_, _, _, Option<RelativeBias<'_>>, &Pairs, usize) -> Tensor<2>| {
            let bias = buckets.map(|buckets| RelativeBias {
                table: &table,
                buckets,
            });
            let y = attend(q.clone(), k.clone(), v.clone(), bias, pairs, heads);
            let gradients = (y.clone() * weight.clone()).sum().backward();
            let gradient = |t: &Tensor<2>| t.grad(&gradients).map(|g| g.into_data());
            let inputs = [&q, &k, &v, &table].map(gradient);
            (y.inner().into_data(), inputs)
        };
        let (y, gradients) = run(relative_attention);
        let (expected_y, expected) = run(composed::relative_attention);
        let close = |a: &TensorData, b: &TensorData| {
            let pairs = a.iter::<f32>().zip(b.iter::<f32>());
            let worst = pairs.fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(worst < 1e-4, "{worst:e}");
        };
        close(&y, &expected_y);
        for (found, expected) in gradients.iter().zip(&expected) {
            match (found, expected) {
                (Some(found), Some(expected)) => close(found, expected),
                (None, None) => {}
                _ => panic!("one of them has no gradient"),
            }
        }
    }
}

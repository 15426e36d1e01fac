//! What an encoder-decoder keeps while it writes: keys and values of its source, and of what it wrote.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;
use stillhouse_kernels::cached::Past;
use stillhouse_kernels::relative::attend_row;

use super::{Buckets, Layout};

/// The keys and values of several completions that grow, and of their sources, layer by layer.
///
/// Completions of one prompt share those of its source.
#[derive(Clone, Debug)]
pub struct SourceCache {
    heads: usize,
    /// Features of all heads together.
    width: usize,
    /// `[layer][slot]`
    layers: Vec<Vec<Slot>>,
    /// What relative positions add to scores, by head and distance back: `[heads][distance]`.
    bias: Vec<Vec<f32>>,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    own: Past,
    source: Arc<Past>,
}

impl SourceCache {
    /// An empty cache of `n_slots` completions of at most `longest` tokens; `bias` is the
    /// decoder's table by bucket and head.
    #[must_use]
    pub fn new(
        n_layers: usize,
        n_slots: usize,
        width: usize,
        bias: &Tensor<2>,
        buckets: Buckets,
        longest: usize,
    ) -> Self {
        let heads = bias.dims()[1];
        let table = host(bias.clone());
        let by_distance = |head: usize| {
            let at = |back: usize| buckets.of(-(back as isize)) * heads + head;
            (0..longest).map(|back| table[at(back)]).collect()
        };
        Self {
            heads,
            width,
            layers: vec![vec![Slot::default(); n_slots]; n_layers],
            bias: (0..heads).map(by_distance).collect(),
        }
    }

    /// How many tokens a slot's completion has, its start among them.
    #[must_use]
    pub fn length(&self, slot: usize) -> usize {
        self.layers
            .first()
            .map_or(0, |slots| slots[slot].own.keys.len() / self.width)
    }

    /// Begins completions in empty slots: keys and values of layer `layer` from the source's rows.
    ///
    /// # Panics
    /// If there is not one slot a sequence of `layout`.
    pub fn begin(
        &mut self,
        layer: usize,
        slots: &[usize],
        layout: &Layout,
        k: Tensor<2>,
        v: Tensor<2>,
    ) {
        assert_eq!(layout.n_sequences(), slots.len(), "one slot per sequence");
        let (k, v) = (host(k), host(v));
        for (&slot, rows) in slots.iter().zip(layout.sequences()) {
            let rows = rows.start * self.width..rows.end * self.width;
            self.layers[layer][slot].source = Arc::new(Past {
                keys: k[rows.clone()].to_vec(),
                values: v[rows].to_vec(),
            });
        }
    }

    /// Appends one row of keys and values a slot, then lets its query attend to all that the
    /// completion holds: `[slots, width]`.
    #[must_use]
    pub fn attend_own(
        &mut self,
        layer: usize,
        slots: &[usize],
        q: Tensor<2>,
        k: Tensor<2>,
        v: Tensor<2>,
    ) -> Tensor<2> {
        let (k, v) = (host(k), host(v));
        let (width, pasts) = (self.width, &mut self.layers[layer]);
        let rows = k.chunks_exact(width).zip(v.chunks_exact(width));
        for (&slot, (k, v)) in slots.iter().zip(rows) {
            pasts[slot].own.keys.extend_from_slice(k);
            pasts[slot].own.values.extend_from_slice(v);
        }
        let n = |slot: usize| self.layers[layer][slot].own.keys.len() / width;
        let bias = |slot: usize| {
            let row = |bias: &Vec<f32>| bias[..n(slot)].iter().rev().copied().collect::<Vec<_>>();
            self.bias.iter().flat_map(row).collect()
        };
        self.attend(q, slots, |slot| &self.layers[layer][slot].own, bias)
    }

    /// Lets one query a slot attend to the slot's source: `[slots, width]`.
    #[must_use]
    pub fn attend_source(&self, layer: usize, slots: &[usize], q: Tensor<2>) -> Tensor<2> {
        let source = |slot: usize| &*self.layers[layer][slot].source;
        self.attend(q, slots, source, |_| Vec::new())
    }

    fn attend<'a>(
        &'a self,
        q: Tensor<2>,
        slots: &[usize],
        past: impl Fn(usize) -> &'a Past + Sync,
        bias: impl Fn(usize) -> Vec<f32> + Sync,
    ) -> Tensor<2> {
        let (dims, device) = (q.dims(), q.device());
        let q = host(q);
        let mut y = vec![0.0; q.len()];
        let rows = y.par_chunks_exact_mut(self.width).zip(slots);
        let rows = rows.zip(q.par_chunks_exact(self.width));
        rows.for_each(|((y, &slot), q)| {
            let past = past(slot);
            let mut scores = vec![0.0; past.keys.len() / self.width];
            attend_row(q, past, self.heads, &bias(slot), &mut scores, y);
        });
        Tensor::from_data(TensorData::new(y, dims), &device)
    }

    /// Makes one slot hold what another holds, for several continuations of one prompt.
    pub fn copy_slot(&mut self, from: usize, to: usize) {
        for slots in &mut self.layers {
            slots[to] = slots[from].clone();
        }
    }

    /// Empties one slot and frees its memory.
    pub fn clear_slot(&mut self, slot: usize) {
        for slots in &mut self.layers {
            slots[slot] = Slot::default();
        }
    }
}

/// A tensor's entries in the host's memory.
fn host(t: Tensor<2>) -> Vec<f32> {
    t.inner()
        .into_data_as::<f32>()
        .try_into_vec::<f32>()
        .expect("the data were just converted to f32")
}

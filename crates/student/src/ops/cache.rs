//! Keys and values of what was already read, for generation.

use burn::tensor::{Tensor, TensorData};
use stillhouse_kernels::cached::{self, Input, Past};

use super::{Attention, Heads, Layout, Rope};

/// The keys (rotated) and values of several sequences that grow, layer by layer.
///
/// The buffers are plain memory of the host, so a sequence that is done costs nothing but its place.
#[derive(Clone, Debug)]
pub struct KvCache {
    shape: Heads,
    /// `[layer][slot]`
    layers: Vec<Vec<Past>>,
    /// What each slot was noted to have read.
    tokens: Vec<Vec<u32>>,
}

impl KvCache {
    /// An empty cache of `n_slots` sequences through `n_layers` layers.
    #[must_use]
    pub fn new(n_layers: usize, n_slots: usize, shape: Heads) -> Self {
        Self {
            shape,
            layers: vec![vec![Past::default(); n_slots]; n_layers],
            tokens: vec![Vec::new(); n_slots],
        }
    }

    /// How many tokens of a slot the first layer has read.
    #[must_use]
    pub fn length(&self, slot: usize) -> usize {
        self.layers
            .first()
            .map_or(0, |slots| slots[slot].keys.len() / self.shape.kv_size())
    }

    /// Notes what a slot reads, for those who may have to read it again.
    pub fn note(&mut self, slot: usize, tokens: &[u32]) {
        self.tokens[slot].extend(tokens);
    }

    /// All that was noted of a slot.
    #[must_use]
    pub fn noted(&self, slot: usize) -> &[u32] {
        &self.tokens[slot]
    }

    /// Makes one slot hold what another holds, for several continuations of one prompt.
    pub fn copy_slot(&mut self, from: usize, to: usize) {
        for slots in &mut self.layers {
            slots[to] = slots[from].clone();
        }
        self.tokens[to] = self.tokens[from].clone();
    }

    /// Empties one slot and frees its memory.
    pub fn clear_slot(&mut self, slot: usize) {
        for slots in &mut self.layers {
            slots[slot] = Past::default();
        }
        self.tokens[slot] = Vec::new();
    }
}

/// Appends the new tokens' keys and values to layer `layer` of the cache, then lets their queries attend to themselves and to those before them that the window shows.
///
/// `layout` packs the new tokens, usually one a sequence, or whole prompts; its sequence `i` continues slot `slots[i]`, and no slot stands twice.
/// Positions go on from what the slot holds.
/// Shapes are as in [`attention`](super::attention()); there is no gradient.
///
/// # Panics
/// If a position lies past the tables of `rope`, the shapes do not fit together, or a sequence of the layout goes on from another.
#[must_use]
#[expect(
    clippy::too_many_arguments,
    reason = "an attention has this many parts"
)]
pub fn attend_cached(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    rope: &Rope,
    layout: &Layout,
    slots: &[usize],
    cache: &mut KvCache,
    layer: usize,
    how: &Attention,
) -> Tensor<2> {
    assert_eq!(layout.n_sequences(), slots.len(), "one slot per sequence");
    assert!(
        (0..slots.len()).all(|index| layout.parent(index).is_none()),
        "new tokens go on from slots alone"
    );
    let (dims, device) = (q.dims(), q.device());
    let shape = how.shape(rope);
    let [q, k, v] = [q, k, v].map(|t| host(t.inner()));
    let lengths: Vec<usize> = layout.sequences().map(|rows| rows.len()).collect();
    let pasts = &mut cache.layers[layer];
    let mut active: Vec<Past> = slots
        .iter()
        .map(|&slot| std::mem::take(&mut pasts[slot]))
        .collect();
    let input = Input {
        q: &q,
        k: &k,
        v: &v,
        tables: rope.tables(),
        lengths: &lengths,
        shape,
    };
    let mixed = cached::attend(input, &mut active);
    for (&slot, past) in slots.iter().zip(active) {
        pasts[slot] = past;
    }
    Tensor::from_data(TensorData::new(mixed, dims), &device)
}

/// A tensor's entries in the host's memory.
fn host(t: Tensor<2>) -> Vec<f32> {
    t.into_data_as::<f32>()
        .try_into_vec::<f32>()
        .expect("the data were just converted to f32")
}

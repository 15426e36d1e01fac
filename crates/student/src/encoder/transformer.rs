//! The transformer of all families (Devlin et al. 2018), over packed sequences, without gradients.

use std::fmt;

use rayon::prelude::*;

use stillhouse_kernels::Arch;
use stillhouse_kernels::activation::Activation;
use stillhouse_kernels::encoder_attention::{self, Distances, Shape, attend};
use stillhouse_kernels::layer_norm::layer_norm;
use stillhouse_kernels::level;
use stillhouse_kernels::panels::{Panels, Product};

use super::family::bucket;
use super::folder::Config;
use super::tensors::Tensors;

/// Columns of the wide part of a layer that are worked on at once.
const SLICE: usize = 384;

/// All weights, packed for the products that use them.
pub(super) struct Transformer {
    arch: Arch,
    hidden: usize,
    heads: usize,
    epsilon: f32,
    activation: Activation,
    /// Positions begin after this token's id, and it takes none itself.
    padding: Option<u32>,
    /// `[vocab, hidden]`.
    words: Vec<f32>,
    /// `[positions, hidden]`.
    positions: Vec<f32>,
    /// `[segments, hidden]`, at least one.
    segments: Vec<f32>,
    distances: Option<Distances>,
    norm: Norm,
    layers: Vec<Layer>,
}

/// The shape alone: nobody reads millions of numbers.
impl fmt::Debug for Transformer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transformer")
            .field("n_layers", &self.n_layers())
            .field("hidden", &self.hidden)
            .finish_non_exhaustive()
    }
}

/// One text, or two in one sequence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequence<'a> {
    pub(super) ids: &'a [u32],
    /// Which text each token belongs to; empty where there is one.
    pub(super) segments: &'a [u32],
}

struct Layer {
    /// Query, key and value side by side: `[hidden, 3 hidden]`.
    qkv: Linear,
    attention_out: Linear,
    attention_norm: Norm,
    /// The wide part in slices that stay in a core's cache: up, activation, down.
    slices: Vec<[Linear; 2]>,
    out_norm: Norm,
}

/// A product with a bias.
#[derive(Default)]
pub(super) struct Linear {
    weight: Panels,
    bias: Vec<f32>,
}

struct Norm {
    gain: Vec<f32>,
    bias: Vec<f32>,
}

/// Memory that is kept from task to task.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    states: Vec<f32>,
    wide: Vec<f32>,
    attended: Vec<f32>,
    attention: encoder_attention::Scratch,
    buffer: Vec<f32>,
}

impl Transformer {
    /// Packs the tensors; what is wrong with them is told by [`Tensors::finish`], and until that
    /// says that nothing is, the result must not be used.
    pub(super) fn load(config: &Config, tensors: &Tensors) -> Self {
        let hidden = config.hidden_size;
        let embeddings = |part: &str, rows: usize| {
            tensors.read(
                &format!("embeddings.{part}_embeddings.weight"),
                &[rows, hidden],
            )
        };
        let segments = if config.family.has_segments {
            let name = "embeddings.token_type_embeddings.weight";
            let rows = tensors.shape(name).map_or(2, |shape| shape[0]);
            tensors.read(name, &[rows, hidden])
        } else {
            vec![0.0; hidden]
        };
        let n = config.num_hidden_layers;
        let layers = (0..n)
            .into_par_iter()
            .map(|i| Layer::load(config, tensors, i));
        let ((words, positions), layers) = rayon::join(
            || {
                let words = embeddings("word", config.vocab_size);
                (
                    words,
                    embeddings("position", config.max_position_embeddings),
                )
            },
            || layers.collect(),
        );
        Self {
            arch: level::arch(),
            hidden,
            heads: config.num_attention_heads,
            epsilon: config.layer_norm_eps,
            activation: config.activation,
            padding: config.padding_before_positions(),
            words,
            positions,
            segments,
            distances: read_distances(config, tensors),
            norm: Norm::load(tensors, "embeddings.LayerNorm", hidden),
            layers,
        }
    }

    pub(super) fn hidden_size(&self) -> usize {
        self.hidden
    }

    pub(super) fn n_layers(&self) -> usize {
        self.layers.len()
    }

    /// The instruction set that it runs on.
    pub(super) fn arch(&self) -> Arch {
        self.arch
    }

    /// The states after `n_layers` layers, `[tokens of all sequences, hidden]`.
    pub(super) fn forward<'a>(
        &self,
        sequences: &[Sequence<'_>],
        n_layers: usize,
        scratch: &'a mut Scratch,
    ) -> &'a [f32] {
        scratch.states.clear();
        for sequence in sequences {
            self.embed(*sequence, &mut scratch.states);
        }
        self.norm.apply(self, &mut scratch.states);
        for layer in &self.layers[..n_layers] {
            self.apply(layer, sequences, scratch);
        }
        &scratch.states
    }

    fn embed(&self, sequence: Sequence<'_>, states: &mut Vec<f32>) {
        let row = |table, row: usize| row_of(table, row, self.hidden);
        // Padding tokens inside of a text take no position.
        let mut next = self.padding.map_or(0, |padding| padding + 1) as usize;
        let n_segments = self.segments.len() / self.hidden;
        for (i, id) in sequence.ids.iter().enumerate() {
            let position = if Some(*id) == self.padding {
                *id as usize
            } else {
                next += 1;
                next - 1
            };
            let segment = sequence.segments.get(i).map_or(0, |s| *s as usize);
            // RoBERTa has one segment for both texts.
            let segment = row(&self.segments, segment.min(n_segments - 1));
            let word = row(&self.words, *id as usize);
            let parts = word.iter().zip(segment).zip(row(&self.positions, position));
            states.extend(parts.map(|((word, segment), position)| word + segment + position));
        }
    }

    fn apply(&self, layer: &Layer, sequences: &[Sequence<'_>], scratch: &mut Scratch) {
        let Scratch {
            states,
            wide,
            attended,
            attention,
            buffer,
        } = scratch;
        let rows = states.len() / self.hidden;

        layer.qkv.apply(self.arch, states, rows, None, wide, buffer);
        attended.resize(states.len(), 0.0);
        let (mut qkv, mut out) = (&wide[..], &mut attended[..]);
        for sequence in sequences {
            let time = sequence.ids.len();
            let shape = Shape {
                time,
                heads: self.heads,
                head_size: self.hidden / self.heads,
            };
            let (own_out, other_out) = out.split_at_mut(time * self.hidden);
            let (own_qkv, other_qkv) = qkv.split_at(time * 3 * self.hidden);
            let distances = self.distances.as_ref();
            attend(self.arch, own_qkv, shape, distances, own_out, attention);
            (qkv, out) = (other_qkv, other_out);
        }
        layer
            .attention_out
            .add(self.arch, attended, rows, states, buffer);
        layer.attention_norm.apply(self, states);

        // What all slices read must not change while they add to it.
        attended.copy_from_slice(states);
        for [up, down] in &layer.slices {
            let activation = Some(self.activation);
            up.apply(self.arch, attended, rows, activation, wide, buffer);
            down.add(self.arch, wide, rows, states, buffer);
        }
        layer.out_norm.apply(self, states);
    }
}

fn row_of(table: &[f32], row: usize, size: usize) -> &[f32] {
    &table[row * size..][..size]
}

/// The learnt numbers of `MPNet`'s attention, spread from their buckets to all distances.
fn read_distances(config: &Config, tensors: &Tensors) -> Option<Distances> {
    if !config.family.has_distances {
        return None;
    }
    let (buckets, heads) = (
        config.relative_attention_num_buckets,
        config.num_attention_heads,
    );
    let name = "encoder.relative_attention_bias.weight";
    let learnt = tensors.read(name, &[buckets, heads]);
    if learnt.is_empty() {
        return None;
    }
    let of = |head: usize, distance| learnt[bucket(distance, buckets) * heads + head];
    Some(Distances::new(heads, config.n_positions(), of))
}

impl Layer {
    fn load(config: &Config, tensors: &Tensors, i: usize) -> Self {
        let hidden = config.hidden_size;
        let family = config.family;
        let name = |part: &str| format!("encoder.layer.{i}.{part}");
        let linear = |parts: &[&str], columns, depth| {
            let names: Vec<String> = parts.iter().map(|part| name(part)).collect();
            Linear::load(
                |name, shape| tensors.read(name, shape),
                &names,
                columns,
                depth,
            )
        };
        Self {
            qkv: linear(&family.query_key_value, hidden, hidden),
            attention_out: linear(&[family.attention_out], hidden, hidden),
            attention_norm: Norm::load(tensors, &name(family.attention_norm), hidden),
            slices: slices(config, tensors, &name),
            out_norm: Norm::load(tensors, &name("output.LayerNorm"), hidden),
        }
    }
}

/// Cuts the two products of the wide part into slices of its columns.
fn slices(config: &Config, tensors: &Tensors, name: &impl Fn(&str) -> String) -> Vec<[Linear; 2]> {
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let up = tensors.read(&name("intermediate.dense.weight"), &[inner, hidden]);
    let up_bias = tensors.read(&name("intermediate.dense.bias"), &[inner]);
    let down = tensors.read(&name("output.dense.weight"), &[hidden, inner]);
    let mut down_bias = tensors.read(&name("output.dense.bias"), &[hidden]);
    if [&up, &up_bias, &down, &down_bias]
        .iter()
        .any(|t| t.is_empty())
    {
        return Vec::new();
    }
    let mut slice = |first: usize| {
        let n = SLICE.min(inner - first);
        [
            Linear {
                weight: Panels::from_rows(&up[first * hidden..], hidden, n, hidden),
                bias: up_bias[first..first + n].to_vec(),
            },
            Linear {
                weight: Panels::from_rows(&down[first..], inner, hidden, n),
                // Added once, with the first slice.
                bias: std::mem::take(&mut down_bias),
            },
        ]
    };
    (0..inner).step_by(SLICE).map(&mut slice).collect()
}

impl Linear {
    /// Reads the weights `[columns, depth]` of one or more products over the same `depth`, side
    /// by side.
    pub(super) fn load(
        read: impl Fn(&str, &[usize]) -> Vec<f32>,
        names: &[String],
        columns: usize,
        depth: usize,
    ) -> Self {
        let read_all = |end: &str, shape: &[usize]| -> Vec<f32> {
            let each = names
                .iter()
                .map(|name| read(&format!("{name}.{end}"), shape));
            each.collect::<Vec<_>>().concat()
        };
        let weight = read_all("weight", &[columns, depth]);
        let columns_of_all = names.len() * columns;
        // One that could not be read has been complained about.
        let weight = if weight.len() == columns_of_all * depth {
            Panels::from_rows(&weight, depth, columns_of_all, depth)
        } else {
            Panels::default()
        };
        Self {
            weight,
            bias: read_all("bias", &[columns]),
        }
    }

    /// `out = activation(x W + bias)`.
    pub(super) fn apply(
        &self,
        arch: Arch,
        x: &[f32],
        rows: usize,
        activation: Option<Activation>,
        out: &mut Vec<f32>,
        buffer: &mut Vec<f32>,
    ) {
        out.resize(rows * self.weight.columns(), 0.0);
        self.product(x, rows, out, false, activation, buffer)
            .compute(arch);
    }

    /// `out += x W + bias`.
    fn add(&self, arch: Arch, x: &[f32], rows: usize, out: &mut [f32], buffer: &mut Vec<f32>) {
        self.product(x, rows, out, true, None, buffer).compute(arch);
    }

    fn product<'a>(
        &'a self,
        x: &'a [f32],
        rows: usize,
        out: &'a mut [f32],
        is_added: bool,
        activation: Option<Activation>,
        buffer: &'a mut Vec<f32>,
    ) -> Product<'a> {
        Product {
            left: x,
            left_stride: x.len() / rows,
            rows,
            right: &self.weight,
            bias: (!self.bias.is_empty()).then_some(&self.bias),
            is_added,
            activation,
            out,
            out_stride: self.weight.columns(),
            buffer,
        }
    }
}

impl Norm {
    fn load(tensors: &Tensors, name: &str, hidden: usize) -> Self {
        Self {
            gain: tensors.read(&format!("{name}.weight"), &[hidden]),
            bias: tensors.read(&format!("{name}.bias"), &[hidden]),
        }
    }

    fn apply(&self, model: &Transformer, states: &mut [f32]) {
        layer_norm(model.arch, states, &self.gain, &self.bias, model.epsilon);
    }
}

//! The BERT encoder itself (Devlin et al. 2018), over packed sequences, without gradients.

use std::path::Path;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use stillhouse_core::{Error, Result};
use stillhouse_kernels::Arch;
use stillhouse_kernels::encoder_attention::{self, Shape, attend};
use stillhouse_kernels::gelu::gelu;
use stillhouse_kernels::layer_norm::layer_norm;
use stillhouse_kernels::panels::{Panels, Product};

use super::folder::{Config, Layout};

/// All weights, packed for the products that use them.
#[derive(Debug)]
pub(super) struct Bert {
    arch: Arch,
    hidden: usize,
    heads: usize,
    epsilon: f32,
    n_positions: usize,
    /// `[vocab, hidden]`.
    words: Vec<f32>,
    /// `[positions, hidden]`, with the vector of the first segment added.
    positions: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    /// Query, key and value side by side: `[hidden, 3 hidden]`.
    qkv: Linear,
    attention_out: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    out_norm: Norm,
}

#[derive(Debug)]
struct Linear {
    weight: Panels,
    bias: Vec<f32>,
}

#[derive(Debug)]
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

impl Bert {
    pub(super) fn load(layout: &Layout, path: &Path, bytes: &[u8]) -> Result<Self> {
        let file = Weights::open(path, bytes)?;
        let config = &layout.config;
        let hidden = config.hidden_size;
        let words = file.read(
            "embeddings.word_embeddings.weight",
            &[config.vocab_size, hidden],
        )?;
        let n_positions = config.max_position_embeddings;
        let name = "embeddings.position_embeddings.weight";
        let mut positions = file.read(name, &[n_positions, hidden])?;
        // Texts stand alone, so each token is in the first segment.
        let segments = file.read("embeddings.token_type_embeddings.weight", &[])?;
        for row in positions.chunks_exact_mut(hidden) {
            row.iter_mut()
                .zip(&segments)
                .for_each(|(x, segment)| *x += segment);
        }
        let layers = (0..config.num_hidden_layers).map(|i| Layer::load(&file, config, i));
        Ok(Self {
            arch: Arch::new(),
            hidden,
            heads: config.num_attention_heads,
            epsilon: config.layer_norm_eps,
            n_positions,
            words,
            positions,
            norm: Norm::load(&file, "embeddings.LayerNorm", hidden)?,
            layers: layers.collect::<Result<_>>()?,
        })
    }

    pub(super) fn hidden_size(&self) -> usize {
        self.hidden
    }

    pub(super) fn n_layers(&self) -> usize {
        self.layers.len()
    }

    pub(super) fn n_positions(&self) -> usize {
        self.n_positions
    }

    pub(super) fn n_vocab(&self) -> usize {
        self.words.len() / self.hidden
    }

    /// The states after `n_layers` layers, `[tokens of all sequences, hidden]`.
    pub(super) fn forward<'a>(
        &self,
        sequences: &[&[u32]],
        n_layers: usize,
        scratch: &'a mut Scratch,
    ) -> &'a [f32] {
        self.embed(sequences, &mut scratch.states);
        for layer in &self.layers[..n_layers] {
            self.apply(layer, sequences, scratch);
        }
        &scratch.states
    }

    fn embed(&self, sequences: &[&[u32]], states: &mut Vec<f32>) {
        states.clear();
        for sequence in sequences {
            for (id, position) in sequence
                .iter()
                .zip(self.positions.chunks_exact(self.hidden))
            {
                let word = &self.words[*id as usize * self.hidden..][..self.hidden];
                states.extend(
                    word.iter()
                        .zip(position)
                        .map(|(word, position)| word + position),
                );
            }
        }
        self.norm.apply(self, states);
    }

    fn apply(&self, layer: &Layer, sequences: &[&[u32]], scratch: &mut Scratch) {
        let Scratch {
            states,
            wide,
            attended,
            attention,
            buffer,
        } = scratch;
        let rows = states.len() / self.hidden;

        layer.qkv.apply(self.arch, states, rows, wide, buffer);
        attended.resize(states.len(), 0.0);
        let (mut qkv, mut out) = (&wide[..], &mut attended[..]);
        for sequence in sequences {
            let time = sequence.len();
            let shape = Shape {
                time,
                heads: self.heads,
                head_size: self.hidden / self.heads,
            };
            let (own_out, other_out) = out.split_at_mut(time * self.hidden);
            let (own_qkv, other_qkv) = qkv.split_at(time * 3 * self.hidden);
            attend(self.arch, own_qkv, shape, own_out, attention);
            (qkv, out) = (other_qkv, other_out);
        }
        layer
            .attention_out
            .add(self.arch, attended, rows, states, buffer);
        layer.attention_norm.apply(self, states);

        layer.up.apply(self.arch, states, rows, wide, buffer);
        gelu(self.arch, wide);
        layer.down.add(self.arch, wide, rows, states, buffer);
        layer.out_norm.apply(self, states);
    }
}

impl Layer {
    fn load(file: &Weights<'_>, config: &Config, i: usize) -> Result<Self> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let name = |part: &str| format!("encoder.layer.{i}.{part}");
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for part in ["query", "key", "value"] {
            let part = name(&format!("attention.self.{part}"));
            weight.extend(file.read(&format!("{part}.weight"), &[hidden, hidden])?);
            bias.extend(file.read(&format!("{part}.bias"), &[hidden])?);
        }
        let linear = |part: &str, columns: usize, depth: usize| -> Result<Linear> {
            let weight = file.read(&name(&format!("{part}.weight")), &[columns, depth])?;
            let bias = file.read(&name(&format!("{part}.bias")), &[columns])?;
            Ok(Linear {
                weight: Panels::from_rows(&weight, depth, columns, depth),
                bias,
            })
        };
        Ok(Self {
            qkv: Linear {
                weight: Panels::from_rows(&weight, hidden, 3 * hidden, hidden),
                bias,
            },
            attention_out: linear("attention.output.dense", hidden, hidden)?,
            attention_norm: Norm::load(file, &name("attention.output.LayerNorm"), hidden)?,
            up: linear("intermediate.dense", inner, hidden)?,
            down: linear("output.dense", hidden, inner)?,
            out_norm: Norm::load(file, &name("output.LayerNorm"), hidden)?,
        })
    }
}

impl Linear {
    /// `out = x W + bias`.
    fn apply(&self, arch: Arch, x: &[f32], rows: usize, out: &mut Vec<f32>, buffer: &mut Vec<f32>) {
        out.resize(rows * self.weight.columns(), 0.0);
        self.product(arch, x, rows, out, false, buffer);
    }

    /// `out += x W + bias`.
    fn add(&self, arch: Arch, x: &[f32], rows: usize, out: &mut [f32], buffer: &mut Vec<f32>) {
        self.product(arch, x, rows, out, true, buffer);
    }

    fn product(
        &self,
        arch: Arch,
        x: &[f32],
        rows: usize,
        out: &mut [f32],
        is_added: bool,
        buffer: &mut Vec<f32>,
    ) {
        Product {
            left: x,
            left_stride: x.len() / rows,
            rows,
            right: &self.weight,
            bias: Some(&self.bias),
            is_added,
            out,
            out_stride: self.weight.columns(),
            buffer,
        }
        .compute(arch);
    }
}

impl Norm {
    fn load(file: &Weights<'_>, name: &str, hidden: usize) -> Result<Self> {
        let gain = file.read(&format!("{name}.weight"), &[hidden])?;
        Ok(Self {
            gain,
            bias: file.read(&format!("{name}.bias"), &[hidden])?,
        })
    }

    fn apply(&self, bert: &Bert, states: &mut [f32]) {
        layer_norm(bert.arch, states, &self.gain, &self.bias, bert.epsilon);
    }
}

/// The tensors of a safetensors file by their names in a bare BERT.
struct Weights<'a> {
    path: &'a Path,
    tensors: SafeTensors<'a>,
    /// A BERT with a head keeps its encoder under `bert.`.
    prefix: &'static str,
}

impl<'a> Weights<'a> {
    fn open(path: &'a Path, bytes: &'a [u8]) -> Result<Self> {
        let tensors = SafeTensors::deserialize(bytes)
            .map_err(|e| Error::file(path, format!("is not a safetensors file: {e}")))?;
        let has_prefix = tensors
            .names()
            .iter()
            .any(|name| name.starts_with("bert.embeddings."));
        Ok(Self {
            path,
            tensors,
            prefix: if has_prefix { "bert." } else { "" },
        })
    }

    /// Reads a tensor as f32; an empty `shape` takes any.
    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let bad = |what: String| Error::file(self.path, format!("tensor `{name}` {what}"));
        let tensor = self
            .tensors
            .tensor(&format!("{}{name}", self.prefix))
            .map_err(|_| bad("is missing".to_owned()))?;
        if !shape.is_empty() && tensor.shape() != shape {
            return Err(bad(format!("is {:?}, expected {shape:?}", tensor.shape())));
        }
        let data = tensor.data();
        let pairs = || data.as_chunks::<2>().0.iter();
        match tensor.dtype() {
            Dtype::F32 => Ok(data
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect()),
            Dtype::F16 => Ok(pairs().map(|b| f16::from_le_bytes(*b).to_f32()).collect()),
            Dtype::BF16 => Ok(pairs().map(|b| bf16::from_le_bytes(*b).to_f32()).collect()),
            other => Err(bad(format!("is {other:?}, expected F32, F16 or BF16"))),
        }
    }
}

//! One training step of all weights with `AdamW`, fused against composed, in alternating rounds.
//!
//! `cargo bench --bench step [-- ROUNDS [fused] [bf16] [composed]]`: a random model of the quickstart student's shape (5.5 M parameters, tied embedding), 8 packed sequences of 180 to 320 tokens, the last 40 % of each supervised.
//! Prints the median step and tokens a second of each path (`bf16` is `fused` with factors rounded), and the ratios.

#![expect(clippy::print_stdout, reason = "a bench shows what it measured")]

use std::time::Instant;

use burn::tensor::{Device, Tensor, TensorData};
use stillhouse_student::ops::{
    self, Activation, AdamwStep, Attention, Head, Heads, Layout, Loss, Moments, Precision, Rope,
    composed,
};

const HIDDEN: usize = 256;
const INNER: usize = 704;
const VOCAB: usize = 4096;
const LAYERS: usize = 6;
const SHAPE: Heads = Heads {
    heads: 4,
    kv_heads: 2,
    head_size: 64,
};
const LENGTHS: [usize; 8] = [250, 180, 320, 260, 210, 290, 240, 250];

/// The operations of one path.
#[derive(Clone, Copy)]
struct Path {
    name: &'static str,
    linear: fn(Tensor<2>, &Tensor<2>, Option<&Tensor<1>>) -> Tensor<2>,
    rms_norm: fn(Tensor<2>, &Tensor<1>, f32, f32) -> Tensor<2>,
    attention: fn(Tensor<2>, Tensor<2>, Tensor<2>, &Rope, &Layout, &Attention) -> Tensor<2>,
    gated: fn(Activation, Tensor<2>, Tensor<2>) -> Tensor<2>,
    embedding: fn(&Tensor<2>, &[u32]) -> Tensor<2>,
    #[expect(clippy::type_complexity, reason = "the operation's own signature")]
    head_loss: fn(Tensor<2>, Head<'_>, &[Option<u32>], &[f32]) -> Loss,
    adamw: fn(Tensor<2>, Tensor<2>, Moments<2>, &AdamwStep) -> (Tensor<2>, Moments<2>),
    squared_norm: fn(&Tensor<2>) -> f64,
    precision: Precision,
}

const FUSED: Path = Path {
    name: "fused",
    linear: ops::linear,
    rms_norm: ops::rms_norm,
    attention: ops::attention,
    gated: ops::gated,
    embedding: ops::embedding,
    head_loss: ops::head_loss,
    adamw: ops::adamw,
    squared_norm: ops::squared_norm,
    precision: Precision::F32,
};

const FUSED_BF16: Path = Path {
    name: "bf16",
    precision: Precision::Bf16,
    ..FUSED
};

const COMPOSED: Path = Path {
    name: "composed",
    linear: composed::linear,
    rms_norm: composed::rms_norm,
    attention: composed::attention,
    gated: composed::gated,
    embedding: composed::embedding,
    head_loss: composed::head_loss,
    adamw: composed::adamw,
    squared_norm: composed::squared_norm,
    precision: Precision::F32,
};

/// Weights in a fixed order: the embedding, then nine a layer, then the last norm; norms are `[1, hidden]`.
struct Model {
    weights: Vec<Tensor<2>>,
    moments: Vec<Option<Moments<2>>>,
    rope: Rope,
    number: u32,
}

impl Model {
    fn new(device: &Device) -> Self {
        let mut shapes = vec![[VOCAB, HIDDEN]];
        for _ in 0..LAYERS {
            let (q, kv) = (SHAPE.query_size(), SHAPE.kv_size());
            shapes.extend([
                [1, HIDDEN],
                [q, HIDDEN],
                [kv, HIDDEN],
                [kv, HIDDEN],
                [HIDDEN, q],
            ]);
            shapes.extend([
                [1, HIDDEN],
                [INNER, HIDDEN],
                [INNER, HIDDEN],
                [HIDDEN, INNER],
            ]);
        }
        shapes.push([1, HIDDEN]);
        let weight = |(shape, seed): ([usize; 2], u32)| {
            let mut entries = values(shape[0] * shape[1], seed);
            let is_norm = shape[0] == 1;
            for v in &mut entries {
                *v = if is_norm { 1.0 } else { *v * 0.03 };
            }
            Tensor::<2>::from_data(TensorData::new(entries, shape), device).require_grad()
        };
        let weights: Vec<_> = shapes.into_iter().zip(1..).map(weight).collect();
        let half = SHAPE.head_size / 2;
        let frequency = |i| 10_000f32.powf(-(i as f32) / half as f32);
        let frequencies: Vec<f32> = (0..half).map(frequency).collect();
        Self {
            moments: weights
                .iter()
                .map(|w| Some(Moments::zeros_like(w)))
                .collect(),
            weights,
            rope: Rope::new(&frequencies, 1024),
            number: 0,
        }
    }

    fn loss(&self, path: Path, batch: &Batch) -> Loss {
        let norm = |x: &Tensor<2>, w: &Tensor<2>| {
            (path.rms_norm)(x.clone(), &w.clone().squeeze_dim(0), 1e-5, 0.0)
        };
        let linear = |x: &Tensor<2>, w: &Tensor<2>| (path.linear)(x.clone(), w, None);
        let embedding = &self.weights[0];
        let mut x = (path.embedding)(embedding, &batch.ids);
        for w in self.weights[1..=9 * LAYERS].chunks(9) {
            let y = norm(&x, &w[0]);
            let [q, k, v] = [1, 2, 3].map(|i| linear(&y, &w[i]));
            drop(y);
            let scale = (SHAPE.head_size as f32).powf(-0.5);
            let how = Attention::new(SHAPE, scale);
            let mixed = (path.attention)(q, k, v, &self.rope, &batch.layout, &how);
            x = x + linear(&mixed, &w[4]);
            let y = norm(&x, &w[5]);
            let (gate, up) = (linear(&y, &w[6]), linear(&y, &w[7]));
            drop(y);
            x = x + linear(&(path.gated)(Activation::Silu, gate, up), &w[8]);
        }
        let x = norm(&x, &self.weights[9 * LAYERS + 1]);
        (path.head_loss)(x, Head::new(embedding), &batch.targets, &batch.weights)
    }

    fn step(&mut self, path: Path, batch: &Batch) -> f32 {
        let loss = self.loss(path, batch).value;
        let value = loss.clone().inner().into_scalar();
        let mut gradients = loss.backward();
        drop(loss);
        let gradients: Vec<Tensor<2>> = self
            .weights
            .iter()
            .map(|w| {
                w.grad_remove(&mut gradients)
                    .expect("every weight is trained")
            })
            .collect();
        let norm = gradients.iter().map(path.squared_norm).sum::<f64>().sqrt();
        self.number += 1;
        let step = AdamwStep {
            number: self.number,
            grad_scale: (1.0 / norm.max(1.0)) as f32,
            ..AdamwStep::default()
        };
        let weights = std::mem::take(&mut self.weights);
        for ((w, grad), moments) in weights.into_iter().zip(gradients).zip(&mut self.moments) {
            let before = moments.take().expect("moments are put back each step");
            let (w, after) = (path.adamw)(w, grad, before, &step);
            self.weights.push(w);
            *moments = Some(after);
        }
        value
    }
}

struct Batch {
    ids: Vec<u32>,
    targets: Vec<Option<u32>>,
    weights: Vec<f32>,
    layout: Layout,
}

impl Batch {
    fn new() -> Self {
        let layout = Layout::new(&LENGTHS);
        let n = layout.tokens();
        let token = |v: &f32| (v.to_bits() >> 4) % VOCAB as u32;
        let ids: Vec<u32> = values(n + 1, 7).iter().map(token).collect();
        let mut targets = vec![None; n];
        for rows in layout.sequences() {
            for row in rows.start + rows.len() * 6 / 10..rows.end {
                targets[row] = Some(ids[row + 1]);
            }
        }
        Self {
            ids: ids[..n].to_vec(),
            targets,
            weights: vec![1.0; n],
            layout,
        }
    }
}

/// Fixed values between -1 and 1, different for each `seed`.
fn values(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn median(seconds: &mut [f64]) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn main() {
    let device = Device::flex().autodiff();
    let args: Vec<String> = std::env::args().collect();
    let rounds = args.iter().find_map(|a| a.parse().ok()).unwrap_or(5);
    // Any of `fused`, `bf16`, `composed` leaves out the others.
    let named = |path: &Path| args.iter().any(|a| path.name == a);
    let all = [FUSED, FUSED_BF16, COMPOSED];
    let chosen = all
        .into_iter()
        .filter(|path| named(path) || !all.iter().any(named));
    let batch = Batch::new();
    let mut models: Vec<_> = chosen
        .map(|path| (path, Model::new(&device), Vec::new()))
        .collect();
    for round in 0..=rounds {
        for (path, model, seconds) in &mut models {
            let start = Instant::now();
            let loss = ops::with_precision(path.precision, || model.step(*path, &batch));
            let second = start.elapsed().as_secs_f64();
            println!("{:8} loss {loss:.5} {:.0} ms", path.name, second * 1e3);
            if round > 0 {
                seconds.push(second);
            }
        }
    }
    let tokens = batch.layout.tokens() as f64;
    let mut medians = Vec::new();
    for (path, _, seconds) in &mut models {
        let middle = median(seconds);
        println!(
            "{}: median {:.0} ms, {:.0} tokens/s",
            path.name,
            middle * 1e3,
            tokens / middle
        );
        medians.push(middle);
    }
    if let [fused, bf16, composed] = medians[..] {
        println!("fused is {:.2} times as fast as composed", composed / fused);
        println!("bf16 is {:.2} times as fast as f32", fused / bf16);
    }
}

//! Our side of `benches/peers/train.py`: one `LoRA` step of a random model for each line of standard input.
//!
//! `lora SHAPE TOKENS SEQUENCES LAYERS PRECISION BASE`: SHAPE is `smollm-135m` or `tinyllama`; r 16 on seven projections, all tokens supervised, `AdamW` with clipping.
//! PRECISION is `f32`, or `bf16` where the factors of products are rounded; BASE is how the projections rest: `f32`, `bf16`, `int8` or `nf4`.
//! Prints a JSON line with the bytes of a weight when it is ready, and one with the seconds and the loss after each step.

#![expect(clippy::print_stdout, reason = "a bench shows what it measured")]

use std::io::BufRead;
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::json;
use stillhouse_student::ops::{
    self, Activation, AdamwStep, AtRest, Attention, Branch, Frozen, Heads, Layout, Loss, Moments,
    Precision, Rope, Weight,
};

#[global_allocator]
static BLOCKS: stillhouse_kernels::memory::Blocks = stillhouse_kernels::memory::Blocks::new();

const RANK: usize = 16;

struct Shape {
    hidden: usize,
    inner: usize,
    vocabulary: usize,
    layers: usize,
    heads: Heads,
    is_tied: bool,
}

fn shape(name: &str) -> Option<Shape> {
    let heads = |heads, kv_heads| Heads {
        heads,
        kv_heads,
        head_size: 64,
    };
    match name {
        "smollm-135m" => Some(Shape {
            hidden: 576,
            inner: 1536,
            vocabulary: 49152,
            layers: 30,
            heads: heads(9, 3),
            is_tied: true,
        }),
        "tinyllama" => Some(Shape {
            hidden: 2048,
            inner: 5632,
            vocabulary: 32000,
            layers: 22,
            heads: heads(32, 4),
            is_tied: false,
        }),
        _ => None,
    }
}

/// A weight in f32, or at rest.
#[expect(clippy::large_enum_variant, reason = "some two hundred of them")]
enum Base {
    Tensor(Tensor<2>),
    Frozen(Arc<Frozen>),
}

/// A projection and its branch.
struct Projection {
    weight: Base,
    /// Places of A and B among the trained tensors.
    a: usize,
    b: usize,
}

struct Model {
    shape: Shape,
    embedding: Tensor<2>,
    head: Tensor<2>,
    norm: Tensor<1>,
    /// q, k, v, o, gate, up, down of each layer.
    layers: Vec<[Projection; 7]>,
    trained: Vec<Tensor<2>>,
    moments: Vec<Option<Moments<2>>>,
    rope: Rope,
    number: u32,
}

impl Model {
    fn new(shape: Shape, at_rest: Option<AtRest>, device: &Device) -> Self {
        let (hidden, inner) = (shape.hidden, shape.inner);
        let (q, kv) = (shape.heads.query_size(), shape.heads.kv_size());
        let mut trained = Vec::new();
        let mut seed = 0;
        let mut matrix = |rows: usize, columns: usize, spread: f32| {
            seed += 1;
            let mut entries = values(rows * columns, seed);
            for v in &mut entries {
                *v *= spread;
            }
            Tensor::<2>::from_data(TensorData::new(entries, [rows, columns]), device)
        };
        let embedding = matrix(shape.vocabulary, hidden, 0.03);
        let head = if shape.is_tied {
            embedding.clone()
        } else {
            matrix(shape.vocabulary, hidden, 0.03)
        };
        let mut layers = Vec::new();
        for _ in 0..shape.layers {
            layers.push(
                [
                    [q, hidden],
                    [kv, hidden],
                    [kv, hidden],
                    [hidden, q],
                    [inner, hidden],
                    [inner, hidden],
                    [hidden, inner],
                ]
                .map(|[rows, columns]| {
                    let weight = Base::Tensor(matrix(rows, columns, 0.03));
                    let weight = match (weight, at_rest) {
                        (Base::Tensor(tensor), Some(at_rest)) => {
                            let entries = tensor.into_data().try_into_vec().expect("it is f32");
                            Base::Frozen(Arc::new(Frozen::new(&entries, [rows, columns], at_rest)))
                        }
                        (weight, _) => weight,
                    };
                    trained.push(matrix(RANK, columns, 0.02).require_grad());
                    trained.push(matrix(rows, RANK, 0.02).require_grad());
                    Projection {
                        weight,
                        a: trained.len() - 2,
                        b: trained.len() - 1,
                    }
                }),
            );
        }
        let half = shape.heads.head_size / 2;
        let frequency = |i| 10_000f32.powf(-(i as f32) / half as f32);
        let frequencies: Vec<f32> = (0..half).map(frequency).collect();
        let zeros = |w: &Tensor<2>| Some(Moments::zeros_like(w));
        Self {
            norm: Tensor::ones([hidden], device),
            moments: trained.iter().map(zeros).collect(),
            rope: Rope::new(&frequencies, 2048),
            number: 0,
            shape,
            embedding,
            head,
            layers,
            trained,
        }
    }

    /// Of the projections, and of all weights of the base.
    fn bytes_per_weight(&self) -> [f64; 2] {
        let size = |base: &Base| match base {
            Base::Tensor(tensor) => [tensor.shape().num_elements(); 2].map(|n| n as f64),
            Base::Frozen(frozen) => {
                let [size_out, size_in] = frozen.shape();
                [(size_out * size_in) as f64, frozen.bytes() as f64 / 4.0]
            }
        };
        let projections = self.layers.iter().flatten();
        let sizes = projections.map(|projection| size(&projection.weight));
        let [n, fours] = sizes.fold([0.0; 2], |a, b| [a[0] + b[0], a[1] + b[1]]);
        let matrices = if self.shape.is_tied { 1 } else { 2 };
        let others = (matrices * self.shape.vocabulary * self.shape.hidden) as f64;
        [4.0 * fours / n, 4.0 * (fours + others) / (n + others)]
    }

    fn through(&self, x: &Tensor<2>, projection: &Projection) -> Tensor<2> {
        let (a, b) = (&self.trained[projection.a], &self.trained[projection.b]);
        let weight = match &projection.weight {
            Base::Tensor(tensor) => Weight::Tensor(tensor),
            Base::Frozen(frozen) => Weight::Frozen(frozen),
        };
        let branch = Branch {
            a,
            b,
            scale: 2.0,
            dropout: None,
        };
        ops::lora_linear(x.clone(), weight, None, branch)
    }

    fn loss(&self, ids: &[u32], layout: &Layout) -> Loss {
        let norm = |x: &Tensor<2>| ops::rms_norm(x.clone(), &self.norm, 1e-5, 0.0);
        let how = Attention::new(self.shape.heads, 0.125);
        let mut x = ops::embedding(&self.embedding, &ids[..layout.tokens()]);
        for [q, k, v, o, gate, up, down] in &self.layers {
            let y = norm(&x);
            let [q, k, v] = [q, k, v].map(|projection| self.through(&y, projection));
            drop(y);
            x = x + self.through(&ops::attention(q, k, v, &self.rope, layout, &how), o);
            let y = norm(&x);
            let (gate, up) = (self.through(&y, gate), self.through(&y, up));
            drop(y);
            x = x + self.through(&ops::gated(Activation::Silu, gate, up), down);
        }
        let targets: Vec<Option<u32>> = ids[1..].iter().copied().map(Some).collect();
        let weights = vec![1.0; targets.len()];
        ops::head_loss(norm(&x), ops::Head::new(&self.head), &targets, &weights)
    }

    fn step(&mut self, ids: &[u32], layout: &Layout) -> f32 {
        let loss = self.loss(ids, layout).value;
        let value = loss.clone().inner().into_scalar();
        let mut gradients = loss.backward();
        drop(loss);
        let gradients: Vec<Tensor<2>> = self
            .trained
            .iter()
            .map(|w| w.grad_remove(&mut gradients).expect("it is trained"))
            .collect();
        let norm = gradients.iter().map(ops::squared_norm).sum::<f64>().sqrt();
        self.number += 1;
        let step = AdamwStep {
            number: self.number,
            grad_scale: (1.0 / norm.max(1.0)) as f32,
            ..AdamwStep::default()
        };
        let weights = std::mem::take(&mut self.trained);
        for ((w, grad), moments) in weights.into_iter().zip(gradients).zip(&mut self.moments) {
            let before = moments.take().expect("moments are put back each step");
            let (w, after) = ops::adamw(w, grad, before, &step);
            self.trained.push(w);
            *moments = Some(after);
        }
        value
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

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let [name, tokens, sequences, layers, precision, base] = &args[..] else {
        return Err("usage: lora SHAPE TOKENS SEQUENCES LAYERS PRECISION BASE".into());
    };
    let mut shape = shape(name).ok_or("no such shape")?;
    shape.layers = layers.parse()?;
    let lengths = vec![tokens.parse()?; sequences.parse()?];
    let precision = match precision.as_str() {
        "f32" => Precision::F32,
        "bf16" => Precision::Bf16,
        _ => return Err("no such precision".into()),
    };
    let at_rest = match base.as_str() {
        "f32" => None,
        "bf16" => Some(AtRest::Bf16),
        "int8" => Some(AtRest::Int8),
        "nf4" => Some(AtRest::Nf4 { is_double: true }),
        _ => return Err("no such base".into()),
    };
    let layout = Layout::new(&lengths);
    let token = |v: &f32| (v.to_bits() >> 4) % shape.vocabulary as u32;
    let ids: Vec<u32> = values(layout.tokens() + 1, 7).iter().map(token).collect();
    // On a thread of the pool, which then has no other to wait for.
    rayon::scope(|_| {
        let mut model = Model::new(shape, at_rest, &Device::flex().autodiff());
        let [projections, all] = model.bytes_per_weight();
        println!(
            "{}",
            json!({
                "tokens": layout.tokens(),
                "bytes_per_projection_weight": projections,
                "bytes_per_weight": all,
            })
        );
        for line in std::io::stdin().lock().lines() {
            line?;
            let start = Instant::now();
            let loss = ops::with_precision(precision, || model.step(&ids, &layout));
            let seconds = start.elapsed().as_secs_f64();
            println!("{}", json!({ "seconds": seconds, "loss": loss }));
        }
        Ok(())
    })
}

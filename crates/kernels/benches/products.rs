//! GFLOP/s of matrix products, the best of several rounds in turns.
//!
//! `cargo bench -p stillhouse-kernels --bench products [-- ROUNDS]`: the shapes of a `LoRA` step, by the `gemm` crate in f32 and by the packed product in f32, in bf16, and with a right side at rest in NF4; and with one at rest in bf16 that comes from memory each time, as a model's weights do.
//! `RAYON_NUM_THREADS` says how many threads.

#![expect(clippy::print_stdout, reason = "a bench shows what it measured")]

use std::time::Instant;

use stillhouse_kernels::frozen::{AtRest, Frozen};
use stillhouse_kernels::gemm::{self, Matrix, MatrixMut, Precision, Put, Threads};
use stillhouse_kernels::packed::{self, Right};
use stillhouse_kernels::thin;

/// Rows, depth, columns.
const SHAPES: [[usize; 3]; 9] = [
    [1024, 576, 1536],
    [1024, 1536, 576],
    [1024, 576, 192],
    [1024, 576, 16],
    [1024, 16, 1536],
    [16, 1024, 1536],
    [1024, 576, 8192],
    [256, 2048, 5632],
    [256, 5632, 2048],
];

/// Bytes of weights that no cache holds.
const COLD: usize = 128 << 20;

fn main() {
    let rounds = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(7);
    println!(
        "rows depth columns: gemm, f32, bf16, NF4 in f32, NF4 in bf16 (x W'), NF4 in bf16 (g W), bf16 from memory (x W'), (g W)"
    );
    for [m, k, n] in SHAPES {
        let (a, b) = (values(m * k, 1), values(n * k, 2));
        let nf4 = AtRest::Nf4 { is_double: true };
        let (frozen, back) = (Frozen::new(&b, [n, k], nf4), Frozen::new(&b, [k, n], nf4));
        let cold: Vec<Frozen> = (0..COLD.div_ceil(2 * n * k))
            .map(|_| Frozen::new(&b, [n, k], AtRest::Bf16))
            .collect();
        let cold_back: Vec<Frozen> = (0..COLD.div_ceil(2 * n * k))
            .map(|_| Frozen::new(&b, [k, n], AtRest::Bf16))
            .collect();
        let mut c = vec![0.0; m * n];
        let a = Matrix::new(&a, m, k);
        let b = Matrix::new(&b, n, k).t();
        let mut best = [f64::MAX; 8];
        for _ in 0..rounds {
            for (way, best) in best.iter_mut().enumerate() {
                let start = Instant::now();
                let mut product = |precision, right| {
                    packed::multiply(
                        precision,
                        MatrixMut::new(&mut c, m, n),
                        a,
                        right,
                        1.0,
                        Put::Over,
                    );
                };
                match way {
                    0 => gemm::multiply(
                        MatrixMut::new(&mut c, m, n),
                        a,
                        b,
                        1.0,
                        Put::Over,
                        Threads::All,
                    ),
                    1 => product(Precision::F32, Right::Matrix(b)),
                    2 => product(Precision::Bf16, Right::Matrix(b)),
                    3 => product(Precision::F32, Right::Transposed(&frozen)),
                    4 => product(Precision::Bf16, Right::Transposed(&frozen)),
                    5 => product(Precision::Bf16, Right::Frozen(&back)),
                    6 => cold
                        .iter()
                        .for_each(|w| product(Precision::Bf16, Right::Transposed(w))),
                    _ => cold_back
                        .iter()
                        .for_each(|w| product(Precision::Bf16, Right::Frozen(w))),
                }
                let times = if way < 6 { 1 } else { cold.len() };
                *best = best.min(start.elapsed().as_secs_f64() / times as f64);
            }
        }
        let rates = best.map(|seconds| format!("{:4.0}", 2e-9 * (m * k * n) as f64 / seconds));
        println!("{m:5} {k:5} {n:5}: {}", rates.join(" "));
    }
    println!("gradients of low rank, rows, rank, columns: GFLOP/s");
    for [n, few, many] in [[1024, 16, 576], [1024, 16, 1536], [256, 16, 5632]] {
        let sides: Vec<_> = (0..8).map(|i| values(n * many, i)).collect();
        let low = values(n * few, 9);
        let mut c = vec![0.0; few * many];
        let mut best = f64::MAX;
        for _ in 0..rounds {
            let start = Instant::now();
            for side in &sides {
                thin::multiply(&low, side, [few, many], &mut c);
            }
            best = best.min(start.elapsed().as_secs_f64() / sides.len() as f64);
        }
        println!(
            "{n:5} {few:5} {many:5}: {:4.0}",
            2e-9 * (n * few * many) as f64 / best
        );
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

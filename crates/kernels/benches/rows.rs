//! Products of 1, 4 and 8 rows with all weights of SmolLM-135M's shape but the embedding, as decoding needs them: milliseconds a pass, the best of several rounds in turns, weight by weight.
//!
//! `cargo bench -p stillhouse-kernels --bench rows [-- ROUNDS]`; `RAYON_NUM_THREADS` says how many threads.

#![expect(clippy::print_stdout, reason = "a bench shows what it measured")]

use std::time::Instant;

use stillhouse_kernels::frozen::{AtRest, Frozen};

fn main() {
    let rounds = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(7);
    let shapes = [[576, 576], [192, 576], [192, 576], [576, 576]];
    let shapes = shapes
        .into_iter()
        .chain([[1536, 576], [1536, 576], [576, 1536]]);
    let nf4 = AtRest::Nf4 { is_double: true };
    let ways = [AtRest::F32, AtRest::Bf16, AtRest::Int8, nf4];
    let layers: Vec<Vec<Frozen>> = ways
        .iter()
        .map(|way| {
            let layer = || {
                shapes
                    .clone()
                    .map(|s| Frozen::new(&values(s[0] * s[1]), s, *way))
            };
            (0..30).flat_map(|_| layer()).collect()
        })
        .collect();
    for n in [1, 4, 8] {
        let x = values(n * 1536);
        // Of each weight, so that other work on the machine disturbs little.
        let mut best = layers
            .iter()
            .map(|weights| vec![f64::MAX; weights.len()])
            .collect::<Vec<_>>();
        for _ in 0..rounds {
            for (weights, best) in layers.iter().zip(&mut best) {
                for (weight, best) in weights.iter().zip(best) {
                    let [_, size_in] = weight.shape();
                    // Among the threads that share the work, as generation does it.
                    let seconds = rayon::scope(|_| {
                        let start = Instant::now();
                        std::hint::black_box(weight.few_rows(&x[..n * size_in]));
                        start.elapsed().as_secs_f64()
                    });
                    *best = best.min(seconds);
                }
            }
        }
        for ((way, weights), best) in ways.iter().zip(&layers).zip(best) {
            let seconds: f64 = best.iter().sum();
            let bytes: usize = weights.iter().map(Frozen::bytes).sum();
            let rate = bytes as f64 / seconds / 1e9;
            println!("{n} rows, {way:?}: {:.1} ms, {rate:.1} GB/s", seconds * 1e3);
        }
    }
}

fn values(n: usize) -> Vec<f32> {
    (0..n)
        .map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0)
        .collect()
}

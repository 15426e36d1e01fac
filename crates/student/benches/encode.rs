//! Sentences a second of an encoder, on command, so that another program can take turns with it.
//!
//! `cargo bench --bench encode -- FOLDER TEXTS.json [states]`: reads a list of texts, loads the encoder, and prints a JSON line with the seconds to its first vector.
//! Then each line on standard input starts one round over all texts, which ends in a JSON line with its seconds: sentence vectors, or with `states` the last layer's token states, 256 texts at a time.
//! `RAYON_NUM_THREADS` sets the threads; `benches/peers/encode.py` is the other program.

#![expect(clippy::print_stdout, reason = "a bench shows what it measured")]

use std::io::BufRead;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use stillhouse_core::evaluate::Embed;
use stillhouse_core::event::Event;
use stillhouse_core::{Result, fs};
use stillhouse_student::encoder::Encoder;

/// Texts whose token states are kept at one time.
const TEXTS_A_CALL: usize = 256;

fn main() -> Result<()> {
    // Cargo itself adds `--bench`.
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let [folder, texts, rest @ ..] = &args[..] else {
        println!("usage: cargo bench --bench encode -- FOLDER TEXTS.json [states]");
        return Ok(());
    };
    let wants_states = rest.iter().any(|arg| arg == "states");
    let texts: Vec<String> = fs::read_json(Path::new(texts))?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();

    let start = Instant::now();
    let mut encoder = Encoder::load(Path::new(folder), folder)?;
    let loaded = start.elapsed().as_secs_f64();
    encoder.embed(&texts[..texts.len().min(1)], &mut go_on)?;
    let first = start.elapsed().as_secs_f64();
    println!("{{\"load_seconds\": {loaded:.4}, \"first_vector_seconds\": {first:.4}}}");

    for line in std::io::stdin().lock().lines() {
        if line.is_err() {
            break;
        }
        let start = Instant::now();
        let mut sum = 0.0;
        if wants_states {
            let (layer, max_tokens) = (encoder.n_layers(), 512);
            for texts in texts.chunks(TEXTS_A_CALL) {
                let states = encoder.token_states(texts, layer, max_tokens, &mut go_on)?;
                sum += states.iter().map(|s| s.states[0]).sum::<f32>();
            }
        } else {
            let vectors = encoder.embed(&texts, &mut go_on)?;
            sum += vectors.iter().map(|v| v[0]).sum::<f32>();
        }
        let seconds = start.elapsed().as_secs_f64();
        println!("{{\"seconds\": {seconds:.4}, \"sum\": {sum}}}");
    }
    Ok(())
}

fn go_on(_: Event) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

//! Our side of `benches/peers/score.py`: one scoring of all asks per line of standard input.
//!
//! `score FOLDER ASKS.jsonl [TOKENS_AT_ONCE]`: a model folder, and lines of `prompt`, `pieces` of a completion and `last_only`, whether the last piece alone is scored.
//! Prints a JSON line when it is ready, and one with the seconds and each completion's log-probabilities after each scoring.

#![expect(clippy::print_stdout, reason = "a bench shows what it measured")]
#![expect(clippy::disallowed_methods, reason = "a bench reads its own files")]

use std::io::BufRead;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};
use stillhouse_student::Model;
use stillhouse_student::score::{Ask, ScoreOptions, score};

#[global_allocator]
static BLOCKS: stillhouse_kernels::memory::Blocks = stillhouse_kernels::memory::Blocks::new();

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let [folder, asks, rest @ ..] = &args[..] else {
        println!("usage: cargo bench --bench score -- FOLDER ASKS.jsonl [TOKENS_AT_ONCE]");
        return Ok(());
    };
    let mut options = ScoreOptions::default();
    if let Some(tokens) = rest.first() {
        options.tokens_at_once = tokens.parse()?;
    }
    let read = |line: &str| -> Result<Ask, serde_json::Error> {
        let line: Value = serde_json::from_str(line)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let pieces = line["pieces"].as_array().into_iter().flatten();
        Ok(Ask {
            prompt: text(&line["prompt"]),
            pieces: pieces.map(text).collect(),
            last_only: line["last_only"] == true,
        })
    };
    let asks = std::fs::read_to_string(asks)?;
    let asks: Vec<Ask> = asks.lines().map(read).collect::<Result<_, _>>()?;
    let model = Model::load(Path::new(folder))?;
    println!("{}", json!({ "asks": asks.len() }));
    let mut silent = |_| ControlFlow::Continue(());
    for line in std::io::stdin().lock().lines() {
        line?;
        let start = Instant::now();
        let found = score(&model, &asks, &options, &mut silent)?;
        let seconds = start.elapsed().as_secs_f64();
        let found: Vec<Vec<f32>> = found
            .into_iter()
            .flatten()
            .map(|score| score.tokens().map(|t| t.log_probability).collect())
            .collect();
        println!("{}", json!({ "seconds": seconds, "logprobs": found }));
    }
    Ok(())
}

//! Our side of `benches/peers/decode.py`: greedy completions of some prompts for each line of standard input.
//!
//! `decode FOLDER PROMPTS.json TOKENS AT_REST`: a model folder, a JSON list of prompts, how many tokens each is continued by, and `f32`, `bf16` or `int8` for the projections and the output head.
//! Prints a JSON line when it is ready, and one with the seconds and the number of tokens after each round.

#![expect(clippy::print_stdout, reason = "a bench shows what it measured")]

use std::io::BufRead;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use serde_json::json;
use stillhouse_student::generate::generate;
use stillhouse_student::ops::AtRest;
use stillhouse_student::{GenerateOptions, Model};

#[global_allocator]
static BLOCKS: stillhouse_kernels::memory::Blocks = stillhouse_kernels::memory::Blocks::new();

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let [folder, prompts, tokens, at_rest] = &args[..] else {
        return Err("usage: decode FOLDER PROMPTS.json TOKENS AT_REST".into());
    };
    let at_rest = match at_rest.as_str() {
        "f32" => AtRest::F32,
        "bf16" => AtRest::Bf16,
        "int8" => AtRest::Int8,
        other => return Err(format!("`{other}` is not f32, bf16 or int8").into()),
    };
    let prompts: Vec<String> = serde_json::from_str(prompts)?;
    let options = GenerateOptions {
        max_new_tokens: tokens.parse()?,
        repetition_penalty: 1.0,
        no_repeat_ngram: None,
        batch_size: prompts.len(),
        ..GenerateOptions::default()
    };
    let model = Model::load_at_rest(Path::new(folder), at_rest)?.resting(at_rest);
    println!("{}", json!({ "prompts": prompts.len() }));
    for line in std::io::stdin().lock().lines() {
        line?;
        let (start, mut n_tokens) = (Instant::now(), 0);
        let mut silent = |_| ControlFlow::Continue(());
        generate(
            &model,
            &prompts,
            &options,
            7,
            &mut silent,
            &mut |_, completion| {
                n_tokens += completion.tokens.len();
                Ok(())
            },
        )?;
        let seconds = start.elapsed().as_secs_f64();
        println!("{}", json!({ "seconds": seconds, "tokens": n_tokens }));
    }
    Ok(())
}

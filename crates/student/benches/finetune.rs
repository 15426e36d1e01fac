//! Our side of `benches/peers/finetune.py`: one training per line of standard input.
//!
//! `finetune FOLDER ADAPTER ITEMS.jsonl OPTIONS`: a model folder, a PEFT adapter to begin from, lines of `prompt` and `completion`, and training options as JSON.
//! Prints a JSON line when it is ready, and one with the seconds and each step's loss after each training.

#![expect(clippy::print_stdout, reason = "a bench shows what it measured")]

use std::io::BufRead;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};
use stillhouse_core::fs;
use stillhouse_student::{Item, Model, TrainOptions, train::train};

#[global_allocator]
static BLOCKS: stillhouse_kernels::memory::Blocks = stillhouse_kernels::memory::Blocks::new();

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let [folder, adapter, items, options] = &args[..] else {
        return Err("usage: finetune FOLDER ADAPTER ITEMS.jsonl OPTIONS".into());
    };
    let options: TrainOptions = serde_json::from_str(options)?;
    let read = |(index, line): (usize, &str)| -> Result<Item, serde_json::Error> {
        let line: Value = serde_json::from_str(line)?;
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        Ok(Item {
            id: index.to_string(),
            prompt: text("prompt"),
            completion: text("completion"),
            weight: 1.0,
        })
    };
    let items = fs::read_text(Path::new(items))?;
    let items: Vec<Item> = items
        .lines()
        .enumerate()
        .map(read)
        .collect::<Result<_, _>>()?;
    println!("{}", json!({ "examples": items.len() }));
    for line in std::io::stdin().lock().lines() {
        line?;
        let model = Model::load(Path::new(folder))?.with_adapter(Path::new(adapter))?;
        let out = tempfile::tempdir()?;
        let start = Instant::now();
        let clock = || start.elapsed().as_secs_f64();
        let mut silent = |_| ControlFlow::Continue(());
        train(
            model,
            &items,
            &[],
            &options,
            7,
            out.path(),
            &clock,
            &mut silent,
        )?;
        let seconds = clock();
        let steps = fs::read_text(&out.path().join("steps.jsonl"))?;
        let loss = |line: &str| Ok(serde_json::from_str::<Value>(line)?["loss"].clone());
        let losses = steps
            .lines()
            .map(loss)
            .collect::<Result<Vec<_>, serde_json::Error>>()?;
        println!("{}", json!({ "seconds": seconds, "losses": losses }));
    }
    Ok(())
}

//! `stillhouse ablate RUN.toml...`.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use stillhouse::ablate::{AblateOptions, Budget, Complexity, Form, ablate, show};
use stillhouse::config::Config;
use stillhouse::{Event, World};

use crate::args::{Ablate, BudgetName, ComplexityName};
use crate::progress::{Progress, print, say};

/// Compares selectors, and prints the table.
pub(crate) fn run(args: &Ablate) -> anyhow::Result<()> {
    let load = |path: &PathBuf| Config::load(path, &args.set);
    let configs: Vec<Config> = args.configs.iter().map(load).collect::<Result<_, _>>()?;
    let options = AblateOptions {
        select: args.select.clone(),
        keep: args.keep.clone(),
        seeds: args.seeds,
        budget: match args.budget {
            BudgetName::Steps => Budget::Steps,
            BudgetName::Tokens => Budget::Tokens,
            BudgetName::Epochs => Budget::Epochs,
        },
        complexity: match args.complexity {
            ComplexityName::Steps => Complexity::Steps,
            ComplexityName::Prior => Complexity::Prior,
        },
        generate: args.generate,
        keep_models: args.keep_models,
        out: args.out.clone(),
    };
    let hub = super::run::hub_options();
    let begun = Instant::now();
    let clock = || begun.elapsed().as_secs_f64();
    let world = World {
        clock: &clock,
        hub: &hub,
        vars: &|name| std::env::var(name).ok(),
        available_memory: super::run::available_memory(),
    };
    let is_asked_to_stop = super::run::stop_on_interrupt()?;
    let mut progress = Progress::new(args.quiet, false);
    let mut observe = |event: Event| {
        progress.show(&event, clock());
        if is_asked_to_stop() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let found = ablate(&configs, &options, &world, &mut observe)?;
    let form = match (args.json, args.markdown) {
        (true, _) => Form::Json,
        (_, true) => Form::Markdown,
        _ => Form::Text,
    };
    print(&show(&found.ablation, form))?;
    if !args.quiet {
        say(format_args!("written to {}", found.folder.display()));
    }
    Ok(())
}

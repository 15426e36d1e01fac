//! `stillhouse evaluate PREDICTIONS [REFERENCES]`.

use std::ops::ControlFlow;

use stillhouse::Event;
use stillhouse::evaluate::{Files, evaluate, save_pairs, table};

use crate::args::Evaluate;
use crate::progress::{print, say};

/// Measures a file of predictions and prints a table.
pub(crate) fn run(args: &Evaluate) -> anyhow::Result<()> {
    let files = Files {
        predictions: args.predictions.clone(),
        references: args.references.clone(),
        options: stillhouse::config::evaluate_options(&args.set)?,
        seed: args.seed,
    };
    let mut observe = |event: Event| {
        if let Event::Warning { text } = event {
            say(format_args!("warning: {text}"));
        }
        ControlFlow::Continue(())
    };
    let evaluation = evaluate(&files, &super::run::hub_options(), &mut observe)?;
    if let Some(path) = &args.pairs {
        save_pairs(path, &evaluation)?;
    }
    if args.json {
        return print(&format!(
            "{}\n",
            serde_json::to_string_pretty(&evaluation.metrics)?
        ));
    }
    print(&table(&evaluation.metrics))
}

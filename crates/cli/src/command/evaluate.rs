//! `stillhouse evaluate PREDICTIONS [REFERENCES]`.

use std::path::Path;

use stillhouse::evaluate::{
    Columns, Files, Output, Source, StressFiles, evaluate, save_pairs, show, show_stress, stress,
};

use crate::args::{Evaluate, Form};
use crate::progress::{print, watch};

/// Measures a file of predictions and prints a table.
pub(crate) fn run(args: &Evaluate) -> anyhow::Result<()> {
    if args.stress {
        return measure_reactions(args);
    }
    let files = Files {
        predictions: sources(args),
        references: args.references.clone(),
        columns: Columns::new(&args.column)?,
        human: args.human.clone(),
        options: stillhouse::config::evaluate_options(&args.set)?,
        cache: !args.no_cache,
        seed: args.seed,
    };
    let evaluated = evaluate(&files, &super::run::hub_options(), &mut watch())?;
    if let Some(path) = &args.pairs {
        save_pairs(path, &evaluated)?;
    }
    print(&show(&evaluated, output(&args.form)))
}

/// `--stress`.
fn measure_reactions(args: &Evaluate) -> anyhow::Result<()> {
    let files = StressFiles {
        paths: sources(args)
            .into_iter()
            .map(|source| source.path)
            .collect(),
        options: stillhouse::config::evaluate_options(&args.set)?,
        seed: args.seed,
        cache: !args.no_cache,
    };
    let found = stress(&files, &super::run::hub_options(), &mut watch())?;
    print(&show_stress(&found, output(&args.form)))
}

fn output(form: &Form) -> Output {
    let chosen = [
        (form.json, Output::Json),
        (form.csv, Output::Csv),
        (form.markdown, Output::Markdown),
        (form.latex, Output::Latex),
    ];
    let chosen = chosen.into_iter().find(|(is_chosen, _)| *is_chosen);
    chosen.map_or(Output::Text, |(_, output)| output)
}

/// The files of predictions; with several, each is a system of its own unless its rows say
/// otherwise.
fn sources(args: &Evaluate) -> Vec<Source> {
    let stem = |path: &Path| Some(path.file_stem()?.to_string_lossy().into_owned());
    let first = Source {
        path: args.predictions.clone(),
        system: stem(&args.predictions).filter(|_| !args.also.is_empty()),
    };
    let others = args.also.iter().map(|text| match text.split_once('=') {
        Some((name, path)) if !Path::new(text).exists() => Source {
            path: path.into(),
            system: Some(name.to_owned()),
        },
        _ => Source {
            path: text.into(),
            system: stem(Path::new(text)),
        },
    });
    std::iter::once(first).chain(others).collect()
}

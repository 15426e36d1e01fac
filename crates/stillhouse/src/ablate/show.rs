//! The table as text, Markdown, JSON and a page.

use std::collections::BTreeSet;

use serde_json::json;

use super::measure::title;
use super::options::Complexity;
use super::table::{Row, Table, table};
use super::{AblatedRun, Ablation, Budget};

/// How it is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// For the terminal.
    #[default]
    Text,
    /// For a pull request.
    Markdown,
    /// For programs: the cells and the tables.
    Json,
    /// One page without scripts.
    Html,
}

/// A heading, a sentence, or a table with its head in the first row.
enum Part {
    Heading(String),
    Words(String),
    Grid(Vec<Vec<String>>),
}

/// Everything, in one of the forms.
pub fn show(ablation: &Ablation, form: Form) -> String {
    let tables = table(ablation);
    if form == Form::Json {
        let all = json!({ "ablation": ablation, "tables": tables });
        return serde_json::to_string_pretty(&all).unwrap_or_default() + "\n";
    }
    let parts = parts(ablation, &tables);
    match form {
        Form::Markdown => parts.iter().map(markdown).collect(),
        Form::Html => html(&parts),
        Form::Text | Form::Json => parts.iter().map(text).collect(),
    }
}

fn parts(ablation: &Ablation, tables: &[Table]) -> Vec<Part> {
    let options = &ablation.options;
    let budget = match options.budget {
        Budget::Steps => "the same number of updates",
        Budget::Tokens => "the same number of training tokens",
        Budget::Epochs => "the same number of epochs",
    };
    let mut parts = vec![
        Part::Heading("Selectors side by side".into()),
        Part::Words(format!(
            "The same rationales in every cell; {budget}; {} seeds.",
            options.seeds
        )),
    ];
    for table in tables {
        parts.push(Part::Heading(format!(
            "{}: {}",
            table.measure,
            title(&table.measure)
        )));
        for group in groups(table) {
            let runs = table
                .averages
                .iter()
                .find(|a| a.group == group)
                .map_or(0, |a| a.runs);
            parts.push(Part::Words(format!(
                "Mean over {runs} data sets ({group})."
            )));
            parts.push(Part::Grid(averages(table, &group)));
        }
        for run in &ablation.runs {
            parts.push(Part::Words(run_words(run, table, options.complexity)));
            let own = table.rows.iter().filter(|row| row.run == run.name);
            parts.push(Part::Grid(rows(&own.collect::<Vec<_>>(), &table.baseline)));
        }
    }
    parts.push(Part::Heading("What it took".into()));
    if let Some(table) = tables.first() {
        parts.push(Part::Grid(costs(table)));
    }
    let estimated = ablation.runs.iter().flat_map(|r| &r.cells);
    if estimated.clone().any(|c| c.cost.teacher_is_estimated) {
        let what = "Teacher tokens are counted by the student's tokenizer, for the recorded teacher counted none. A choice by lot needs no more of them than it keeps; every other selector looks at all candidates.";
        parts.push(Part::Words(what.into()));
    }
    parts
}

fn run_words(run: &AblatedRun, table: &Table, complexity: Complexity) -> String {
    let values = run.untrained.values().filter_map(|m| m.of(&table.measure));
    let values: Vec<f64> = values.collect();
    let untrained = if values.is_empty() {
        String::new()
    } else {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        format!("; untrained {mean:.4}")
    };
    let complex = match complexity {
        Complexity::Steps => "the steps of their right rationales",
        Complexity::Prior => "how unlikely the untrained student finds their answer",
    };
    format!(
        "{} ({}), {} test examples{untrained}. Simple and complex examples are divided at the median of {complex}.",
        run.name,
        run.task,
        run.untrained.len()
    )
}

fn groups(table: &Table) -> Vec<String> {
    let mut groups: Vec<String> = table.averages.iter().map(|a| a.group.clone()).collect();
    groups.dedup();
    groups
}

/// Selector by number to keep.
fn averages(table: &Table, group: &str) -> Vec<Vec<String>> {
    let own = || table.averages.iter().filter(|a| a.group == group);
    let keeps: BTreeSet<Option<usize>> = own().map(|a| a.keep).collect();
    let mut selectors: Vec<&str> = Vec::new();
    for average in own() {
        if !selectors.contains(&average.select.as_str()) {
            selectors.push(&average.select);
        }
    }
    let head = keeps.iter().map(|k| keep(*k));
    let mut grid = vec![
        std::iter::once("keep".to_owned())
            .chain(head)
            .collect::<Vec<_>>(),
    ];
    for select in selectors {
        let cell = |k: &Option<usize>| {
            let found = own().find(|a| a.select == select && a.keep == *k);
            found.map_or_else(String::new, |a| {
                let difference = a
                    .difference
                    .map_or(String::new(), |d| format!(" ({d:+.4})"));
                format!("{:.4}{difference}", a.value)
            })
        };
        grid.push(
            std::iter::once(select.to_owned())
                .chain(keeps.iter().map(cell))
                .collect(),
        );
    }
    grid
}

fn keep(keep: Option<usize>) -> String {
    keep.map_or("all".to_owned(), |k| k.to_string())
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |v| format!("{v:.4}"))
}

fn rows(rows: &[&Row], baseline: &str) -> Vec<Vec<String>> {
    let head = [
        "selector",
        "keep",
        "value",
        "sd of seeds",
        "simple",
        "complex",
        &format!("minus {baseline}"),
        "95 %",
        "p",
        "p (Holm)",
        "covered",
    ];
    let mut grid = vec![head.map(str::to_owned).to_vec()];
    for row in rows {
        let c = row.compared;
        grid.push(vec![
            row.select.clone(),
            keep(row.keep),
            number(row.value),
            number(row.seeds_sd),
            number(row.simple),
            number(row.complex),
            c.map_or_else(String::new, |c| format!("{:+.4}", c.difference)),
            c.and_then(|c| c.interval)
                .map_or_else(String::new, |[low, high]| {
                    format!("[{low:+.4}, {high:+.4}]")
                }),
            c.map_or_else(String::new, |c| format!("{:.4}", c.p)),
            c.map_or_else(String::new, |c| format!("{:.4}", c.p_holm)),
            format!("{:.0} %", 100.0 * row.coverage),
        ]);
    }
    grid
}

fn costs(table: &Table) -> Vec<Vec<String>> {
    let head = [
        "data set",
        "selector",
        "keep",
        "rationales",
        "teacher tokens",
        "steps",
        "training tokens",
        "seconds",
    ];
    let mut grid = vec![head.map(str::to_owned).to_vec()];
    for row in &table.rows {
        let [rationales, teacher, steps, tokens, seconds] = row.cost;
        let mut line = vec![row.run.clone(), row.select.clone(), keep(row.keep)];
        line.extend([rationales, teacher, steps, tokens].map(|n| format!("{n:.0}")));
        line.push(format!("{seconds:.1}"));
        grid.push(line);
    }
    grid
}

fn text(part: &Part) -> String {
    match part {
        Part::Heading(text) | Part::Words(text) => format!("\n{text}\n"),
        Part::Grid(grid) => {
            let columns = grid.first().map_or(0, Vec::len);
            let width = |at: usize| {
                grid.iter()
                    .map(|r| r[at].chars().count())
                    .max()
                    .unwrap_or(0)
            };
            let widths: Vec<usize> = (0..columns).map(width).collect();
            let line = |row: &Vec<String>| {
                let cells = row
                    .iter()
                    .zip(&widths)
                    .enumerate()
                    .map(|(at, (cell, width))| {
                        if at == 0 {
                            format!("{cell:<width$}")
                        } else {
                            format!("{cell:>width$}")
                        }
                    });
                cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
            };
            grid.iter().map(line).collect()
        }
    }
}

fn markdown(part: &Part) -> String {
    match part {
        Part::Heading(text) => format!("## {text}\n\n"),
        Part::Words(text) => format!("{text}\n\n"),
        Part::Grid(grid) => {
            let mut lines: Vec<String> = Vec::new();
            for (at, row) in grid.iter().enumerate() {
                lines.push(format!("| {} |", row.join(" | ")));
                if at == 0 {
                    lines.push(format!("|---|{}", "---:|".repeat(row.len() - 1)));
                }
            }
            lines.join("\n") + "\n\n"
        }
    }
}

fn html(parts: &[Part]) -> String {
    let escape = |text: &str| {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
    };
    let cells = |row: &Vec<String>, tag: &str| -> String {
        let cell = |cell: &String| format!("<{tag}>{}</{tag}>", escape(cell));
        format!("<tr>{}</tr>", row.iter().map(cell).collect::<String>())
    };
    let part = |part: &Part| match part {
        Part::Heading(text) => format!("<h2>{}</h2>\n", escape(text)),
        Part::Words(text) => format!("<p>{}</p>\n", escape(text)),
        Part::Grid(grid) => {
            let body = grid.iter().skip(1).map(|row| cells(row, "td"));
            let head = grid
                .first()
                .map_or_else(String::new, |row| cells(row, "th"));
            format!("<table>{head}{}</table>\n", body.collect::<String>())
        }
    };
    let body: String = parts.iter().map(part).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Selectors side by side</title><style>body{{font:15px/1.5 system-ui,sans-serif;max-width:72em;margin:2em auto;padding:0 1em}}table{{border-collapse:collapse;display:block;overflow-x:auto}}td,th{{padding:.2em .7em;text-align:right;border-bottom:1px solid #ccc;font-variant-numeric:tabular-nums}}td:first-child,th:first-child{{text-align:left}}</style></head><body>\n{body}</body></html>\n"
    )
}

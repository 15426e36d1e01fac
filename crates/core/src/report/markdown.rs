//! `report.md`: the same content as plain Markdown, for a terminal, a pull request or a diff.

use super::examples::{Answer, Shown, shown};
use super::selected_page;
use super::words::{
    caveats, choice_note, columns, difference, duration, findings, first_system, metric,
    metric_title, number, rule_title, selection_note, signed_difference, stage_title,
    system_phrase, system_title, thousands, training,
};
use super::{Report, Table};
use crate::evaluate::summary::MetricsFile;

/// Examples shown here; the HTML page shows more.
const EXAMPLES: usize = 4;

/// The whole page.
pub fn markdown(report: &Report) -> String {
    let parts = [
        header(report),
        findings(&report.metrics).join("\n\n"),
        metrics(&report.metrics),
        differences(&report.metrics),
        tables(report),
        list("## What these numbers do not say", &caveats(report)),
        examples(report),
        training(report).map_or_else(String::new, |text| format!("## Training\n\n{text}\n")),
        selection(report),
        dataset(report),
        signatures(report),
        run(report),
    ];
    let parts: Vec<&str> = parts
        .iter()
        .map(|part| part.trim_end())
        .filter(|part| !part.is_empty())
        .collect();
    parts.join("\n\n") + "\n"
}

/// Text that must stay text: nothing in it may begin markup, and it stays on one line.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
    {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

/// A fenced block whose fence is longer than any in the text.
fn fenced(language: &str, text: &str) -> String {
    let mut fence = "```".to_owned();
    while text.contains(&fence) {
        fence.push('`');
    }
    format!("{fence}{language}\n{}\n{fence}\n", text.trim_end())
}

fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule: Vec<String> = (0..head.len())
        .map(|n| if n == 0 { "---" } else { "---:" }.to_owned())
        .collect();
    let rows: String = rows.iter().map(|row| line(row)).collect();
    line(head) + &line(&rule) + &rows
}

fn list(title: &str, items: &[String]) -> String {
    if items.is_empty() {
        return String::new();
    }
    let items: String = items
        .iter()
        .map(|item| format!("- {}\n", item.trim()))
        .collect();
    if title.is_empty() {
        items
    } else {
        format!("{title}\n\n{items}")
    }
}

fn header(report: &Report) -> String {
    let facts: Vec<String> = report
        .facts
        .iter()
        .map(|(name, value)| format!("{} **{}**", plain(name), plain(value)))
        .collect();
    let warnings: Vec<String> = report
        .warnings
        .iter()
        .map(|text| format!("> **Warning.** {}", plain(text)))
        .collect();
    let notes: Vec<String> = report.notes.iter().map(|text| plain(text)).collect();
    let parts = [
        format!("# {}", plain(&report.title)),
        facts.join(" \u{b7} "),
        warnings.join("\n>\n"),
        list("", &notes).trim_end().to_owned(),
    ];
    parts
        .iter()
        .filter(|part| !part.is_empty())
        .cloned()
        .collect::<Vec<_>>()
        .join("\n\n")
}

fn metrics(metrics: &MetricsFile) -> String {
    if metrics.systems.is_empty() {
        return String::new();
    }
    let systems = metrics.systems.iter();
    let head: Vec<String> = std::iter::once(String::new())
        .chain(
            systems
                .clone()
                .map(|system| plain(&system_title(&system.system))),
        )
        .collect();
    let rows: Vec<Vec<String>> = columns(metrics)
        .into_iter()
        .map(|column| {
            let cells = systems.clone().map(|system| {
                let Some(own) = system.metrics.get(column.name) else {
                    return String::new();
                };
                let n = if own.n == metrics.n_examples {
                    String::new()
                } else {
                    format!(", n = {}", own.n)
                };
                metric(column.name, own) + &n
            });
            std::iter::once(metric_title(column.name).to_owned())
                .chain(cells)
                .collect()
        })
        .collect();
    format!(
        "## Metrics\n\nOver {} examples of the {} split, with 95 % bootstrap intervals ({} resamples).\n\n{}",
        metrics.n_examples,
        plain(&metrics.split),
        metrics.resamples,
        table(&head, &rows)
    )
}

fn differences(metrics: &MetricsFile) -> String {
    let Some(first) = first_system(metrics).filter(|_| !metrics.differences.is_empty()) else {
        return String::new();
    };
    let others: Vec<&str> = metrics
        .systems
        .iter()
        .map(|s| s.system.as_str())
        .filter(|name| *name != first)
        .collect();
    let head: Vec<String> = std::iter::once(String::new())
        .chain(
            others
                .iter()
                .map(|other| format!("minus {}", system_phrase(other))),
        )
        .collect();
    let rows: Vec<Vec<String>> = columns(metrics)
        .into_iter()
        .map(|column| {
            let cells = others.iter().map(|other| {
                let Some(own) = difference(metrics, column.name, other) else {
                    return String::new();
                };
                let text = signed_difference(own);
                if own.excludes_zero == Some(true) {
                    format!("**{text}**")
                } else {
                    text
                }
            });
            std::iter::once(metric_title(column.name).to_owned())
                .chain(cells)
                .collect()
        })
        .collect();
    format!(
        "## Differences\n\n{} minus each other system, paired by example; bold intervals exclude 0.\n\n{}",
        plain(&system_title(first)),
        table(&head, &rows)
    )
}

fn tables(report: &Report) -> String {
    let one = |extra: &Table| {
        let cells = |row: &Vec<String>| row.iter().map(|cell| plain(cell)).collect();
        let rows: Vec<Vec<String>> = extra.rows.iter().map(cells).collect();
        let (title, note) = (plain(&extra.title), plain(&extra.note));
        format!(
            "## {title}\n\n{note}\n\n{}\n",
            table(&cells(&extra.head), &rows)
        )
    };
    report.tables.iter().map(one).collect()
}

fn examples(report: &Report) -> String {
    let mut shown = shown(report);
    if shown.is_empty() {
        return String::new();
    }
    shown.truncate(EXAMPLES);
    let note = choice_note(shown.len(), report.examples.len(), report.seed);
    let examples: Vec<String> = shown.iter().map(example).collect();
    format!("## Examples\n\n{note}\n\n{}", examples.join("\n"))
}

fn example(shown: &Shown<'_>) -> String {
    let example = shown.example;
    let evidence: String = example
        .evidence
        .iter()
        .map(|s| format!("- {}\n", plain(s)))
        .collect();
    let mut out = format!(
        "### {}\n\nGold label: **{}** ({}).\n\nEvidence:\n\n{evidence}\nReference:\n\n",
        plain(&example.claim),
        plain(&example.label),
        plain(&example.id)
    );
    for (n, sentence) in shown.reference.iter().enumerate() {
        out += &format!("{}. {}\n", n + 1, plain(sentence));
    }
    for one in &shown.answers {
        out += &answer(one);
    }
    out
}

fn answer(answer: &Answer<'_>) -> String {
    let title = plain(&system_title(answer.system));
    let Some(prediction) = answer.prediction else {
        return format!("\n{title}: no prediction.\n");
    };
    let label = prediction.label.as_deref().unwrap_or("no label");
    let cec = answer.pair.and_then(|pair| pair.number("cec"));
    let cec = cec.map_or_else(String::new, |cec| format!(", CEC {}", number("cec", cec)));
    let mut out = format!("\n{title}: **{}**{cec}\n\n", plain(label));
    match answer.pair.and_then(|pair| pair.alignment.as_ref()) {
        Some(alignment) => {
            for aligned in &alignment.explanation {
                out += &format!(
                    "- {} ({} \u{2192} {})\n",
                    plain(&aligned.sentence),
                    number("cec", aligned.cosine),
                    aligned.best + 1
                );
            }
        }
        None if prediction.explanation.trim().is_empty() => out += "(nothing)\n",
        None => out += &format!("{}\n", plain(&prediction.explanation)),
    }
    out
}

fn selection(report: &Report) -> String {
    let Some(funnel) = &report.selection else {
        return String::new();
    };
    let row = |name: &str, n: usize| vec![name.to_owned(), thousands(n)];
    let mut rows = vec![row("candidates", funnel.candidates)];
    rows.extend(
        funnel
            .dropped
            .iter()
            .map(|(rule, n)| row(&format!("dropped: {}", rule_title(*rule)), *n)),
    );
    rows.push(row("kept", funnel.kept));
    let note =
        selection_note(funnel).map_or_else(String::new, |note| format!("**Note.** {note}\n\n"));
    let head = ["", "rationales"].map(str::to_owned);
    let mut out = format!(
        "## Selection\n\n{note}{}\n{} of {} examples keep at least one rationale.\n",
        table(&head, &rows),
        thousands(funnel.examples_kept),
        thousands(funnel.examples)
    );
    if !funnel.roles.is_empty() {
        let head = ["role (no selector saw it)", "kept", "dropped"].map(str::to_owned);
        let rows: Vec<Vec<String>> = funnel
            .roles
            .iter()
            .map(|(role, [kept, dropped])| vec![plain(role), thousands(*kept), thousands(*dropped)])
            .collect();
        out += &format!("\n{}", table(&head, &rows));
    }
    if let Some(selected) = &report.selected {
        out += &selected_page::markdown(selected, plain);
    }
    out
}

fn dataset(report: &Report) -> String {
    if report.dataset.counts.is_empty() {
        return String::new();
    }
    let head = ["label", "train", "validation", "test"].map(str::to_owned);
    let rows: Vec<Vec<String>> = report
        .dataset
        .counts
        .iter()
        .map(|(label, counts)| {
            std::iter::once(plain(label))
                .chain(counts.iter().map(|n| thousands(*n)))
                .collect()
        })
        .collect();
    format!(
        "## Data\n\n{}\n\n{}",
        plain(&report.dataset.name),
        table(&head, &rows)
    )
}

fn signatures(report: &Report) -> String {
    let mut lines = String::new();
    for system in &report.metrics.systems {
        for (name, metric) in &system.metrics {
            lines += &format!("{} {}\n", system.system, metric.signature);
            for (reason, n) in &metric.unscored {
                lines += &format!("{} {name}: {n} unscored: {reason}\n", system.system);
            }
        }
    }
    if lines.is_empty() {
        lines
    } else {
        format!("## Signatures\n\n{}", fenced("text", &lines))
    }
}

fn run(report: &Report) -> String {
    let head = ["stage", "time"].map(str::to_owned);
    let rows: Vec<Vec<String>> = report
        .times
        .iter()
        .map(|t| vec![stage_title(t.stage).to_owned(), duration(t.seconds)])
        .collect();
    let times = if rows.is_empty() {
        String::new()
    } else {
        table(&head, &rows) + "\n"
    };
    format!(
        "## The run\n\n{times}{}\nMade by {}.\n",
        fenced("toml", &report.config),
        plain(&report.tool)
    )
}

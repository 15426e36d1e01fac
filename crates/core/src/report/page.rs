//! Parts of the HTML page that show examples, selection, data and signatures.

use super::chart::escape;
use super::examples::{Answer, Shown, shown};
use super::words::{choice_note, number, rule_title, selection_note, system_title, thousands};
use super::{Dataset, Funnel, Report, Table};
use crate::record::{Outcome, Rule};

/// Examples by label and split.
pub(super) fn dataset(dataset: &Dataset) -> String {
    if dataset.counts.is_empty() {
        return String::new();
    }
    let mut rows = String::new();
    let mut total = [0; 3];
    for (label, counts) in &dataset.counts {
        for (sum, count) in total.iter_mut().zip(counts) {
            *sum += count;
        }
        rows += &counts_row(label, counts);
    }
    rows += &counts_row("all", &total);
    format!(
        "<h2 id=\"data\">Data</h2><p>{}</p><div class=\"scroll\"><table><thead><tr><th>label</th><th>train</th><th>validation</th><th>test</th><th>all</th></tr></thead><tbody>{rows}</tbody></table></div>",
        escape(&dataset.name)
    )
}

fn counts_row(label: &str, counts: &[usize; 3]) -> String {
    let cells: String = counts
        .iter()
        .chain([&counts.iter().sum()])
        .map(|n| format!("<td>{}</td>", thousands(*n)))
        .collect();
    format!("<tr><th scope=\"row\">{}</th>{cells}</tr>", escape(label))
}

/// From the candidates to those that train, rule by rule.
pub(super) fn funnel(funnel: &Funnel) -> String {
    let all = funnel.candidates.max(1) as f64;
    let bar = |name: &str, n: usize, left: usize| {
        format!(
            "<span>{}</span><span class=\"bar\"><i style=\"width:{:.1}%\"></i></span><span class=\"n\">{}</span>",
            escape(name),
            100.0 * left as f64 / all,
            if n == left {
                thousands(n)
            } else {
                format!("\u{2212}{}", thousands(n))
            }
        )
    };
    let mut left = funnel.candidates;
    let mut bars = bar("candidates", left, left);
    for (rule, n) in &funnel.dropped {
        left -= (*n).min(left);
        bars += &bar(&dropped_title(*rule), *n, left);
    }
    bars += &bar("kept", funnel.kept, funnel.kept);
    let note = selection_note(funnel)
        .map_or_else(String::new, |note| format!("<p><b>Note.</b> {note}</p>"));
    format!(
        "<h2 id=\"select\">Selection</h2>{note}<div class=\"funnel\">{bars}</div><p class=\"soft small\">{} of {} examples keep at least one rationale.</p>{}",
        thousands(funnel.examples_kept),
        thousands(funnel.examples),
        roles(funnel)
    )
}

fn dropped_title(rule: Rule) -> String {
    format!("dropped: {}", rule_title(rule))
}

fn roles(funnel: &Funnel) -> String {
    if funnel.roles.is_empty() {
        return String::new();
    }
    let rows: String = funnel
        .roles
        .iter()
        .map(|(role, [kept, dropped])| {
            let share = 100.0 * *kept as f64 / (kept + dropped).max(1) as f64;
            format!(
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{share:.0} %</td></tr>",
                escape(role),
                thousands(*kept),
                thousands(*dropped)
            )
        })
        .collect();
    format!(
        "<h3>What the candidates were known to be</h3><p class=\"soft small\">The data set knows these roles; no selector saw them.</p><div class=\"scroll\"><table><thead><tr><th>role</th><th>kept</th><th>dropped</th><th>kept of all</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )
}

/// What else was found out.
pub(super) fn tables(tables: &[Table]) -> String {
    let one = |(n, table): (usize, &Table)| {
        let head: String = table
            .head
            .iter()
            .map(|name| format!("<th>{}</th>", escape(name)))
            .collect();
        let row = |row: &Vec<String>| {
            let (name, cells) = row.split_first().map_or(("", &[][..]), |(n, c)| (n, c));
            let cells: String = cells
                .iter()
                .map(|cell| format!("<td>{}</td>", escape(cell)))
                .collect();
            format!("<tr><th scope=\"row\">{}</th>{cells}</tr>", escape(name))
        };
        let rows: String = table.rows.iter().map(row).collect();
        format!(
            "<h2 id=\"more-{n}\">{}</h2><p>{}</p><div class=\"scroll\"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>",
            escape(&table.title),
            escape(&table.note)
        )
    };
    tables.iter().enumerate().map(one).collect()
}

/// A dozen examples side by side.
pub(super) fn examples(report: &Report) -> String {
    let shown = shown(report);
    if shown.is_empty() {
        return String::new();
    }
    let cards: String = shown.iter().map(example).collect();
    format!(
        "<h2 id=\"examples\">Examples</h2><p>{} A sentence is tinted by the cosine to its closest sentence of the reference, which stands below it.</p>{cards}",
        choice_note(shown.len(), report.examples.len(), report.seed)
    )
}

fn example(shown: &Shown<'_>) -> String {
    let example = shown.example;
    let evidence: String = example
        .evidence
        .iter()
        .map(|s| format!("<li>{}</li>", escape(s)))
        .collect();
    let reference: String = shown
        .reference
        .iter()
        .enumerate()
        .map(|(n, s)| {
            format!(
                "<li><span class=\"number\">{}</span>{}</li>",
                n + 1,
                escape(s)
            )
        })
        .collect();
    let reference = if reference.is_empty() {
        "<p class=\"soft\">none</p>".to_owned()
    } else {
        format!("<ol>{reference}</ol>")
    };
    let answers: String = shown.answers.iter().map(|a| answer(a, shown)).collect();
    format!(
        "<article class=\"example\"><h3>{}</h3><div class=\"meta\"><span>{}</span><span>gold label</span><span class=\"label\">{}</span></div><details open><summary>Evidence</summary><ul>{evidence}</ul></details><div class=\"columns\"><section class=\"reference\"><h4>Reference</h4>{reference}</section>{answers}</div></article>\n",
        escape(&example.claim),
        escape(&example.id),
        escape(&example.label)
    )
}

fn answer(answer: &Answer<'_>, shown: &Shown<'_>) -> String {
    let title = escape(&system_title(answer.system));
    let Some(prediction) = answer.prediction else {
        return format!(
            "<section class=\"answer\"><h4>{title}</h4><p class=\"soft\">no prediction</p></section>"
        );
    };
    let class = if prediction.label.as_deref() == Some(&shown.example.label) {
        "up"
    } else {
        "down"
    };
    let label = prediction.label.as_deref().unwrap_or("no label");
    let cec = answer.pair.and_then(|pair| pair.number("cec"));
    let cec = cec.map_or_else(String::new, |cec| {
        format!("<span>CEC {}</span>", number("cec", cec))
    });
    let outcome = match prediction.outcome {
        Outcome::Truncated => "<span>cut off by the length limit</span>",
        Outcome::Refused => "<span>declined</span>",
        Outcome::Empty => "<span>empty</span>",
        Outcome::WrongLanguage => "<span>in another language</span>",
        Outcome::Ok | Outcome::Unparsable | Outcome::Failed => "",
    };
    let sentences = sentences(answer, &prediction.explanation);
    format!(
        "<section class=\"answer\"><h4>{title}</h4><div class=\"meta\"><span class=\"label {class}\">{}</span>{cec}{outcome}</div>{sentences}</section>",
        escape(label)
    )
}

/// The explanation sentence by sentence with its partners, or whole where nothing was aligned.
fn sentences(answer: &Answer<'_>, explanation: &str) -> String {
    let Some(alignment) = answer.pair.and_then(|pair| pair.alignment.as_ref()) else {
        let text = if explanation.trim().is_empty() {
            "(nothing)"
        } else {
            explanation
        };
        return format!("<p class=\"small\">{}</p>", escape(text));
    };
    let items: String = alignment
        .explanation
        .iter()
        .map(|aligned| {
            let partner = alignment.reference.get(aligned.best).map_or("", |p| p.sentence.as_str());
            let tint = 0.55 * aligned.cosine.clamp(0.0, 1.0).powi(2);
            format!(
                "<li style=\"--tint:{tint:.2}\">{}<span class=\"partner\" title=\"{partner}\"><b>{}</b> \u{2192} {}: {partner}</span></li>",
                escape(&aligned.sentence),
                number("cec", aligned.cosine),
                aligned.best + 1,
                partner = escape(partner)
            )
        })
        .collect();
    format!("<ol>{items}</ol>")
}

/// Every signature in full, and what was not scored.
pub(super) fn signatures(report: &Report) -> String {
    let mut items = String::new();
    let mut unscored = String::new();
    for system in &report.metrics.systems {
        for (name, metric) in &system.metrics {
            items += &format!(
                "<li><code>{} {}</code></li>",
                escape(&system.system),
                escape(&metric.signature.to_string())
            );
            for (reason, n) in &metric.unscored {
                unscored += &format!(
                    "<tr><th scope=\"row\">{}</th><td>{}</td><td>{n}</td><td>{}</td></tr>",
                    escape(&system_title(&system.system)),
                    escape(name),
                    escape(reason)
                );
            }
        }
    }
    let unscored = if unscored.is_empty() {
        "<p>Every example was scored by every metric.</p>".to_owned()
    } else {
        format!(
            "<h3>What was not scored</h3><p class=\"soft small\">These examples are left out of the mean of that metric, never counted as 0.</p><div class=\"scroll\"><table><thead><tr><th>system</th><th>metric</th><th>examples</th><th>reason</th></tr></thead><tbody>{unscored}</tbody></table></div>"
        )
    };
    format!(
        "<h2 id=\"signatures\">Signatures</h2>{unscored}<details><summary>What each number means, in full</summary><ul class=\"signatures small\">{items}</ul></details>"
    )
}

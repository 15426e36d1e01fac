//! `report.html`: one file that needs no script and asks no network for anything.

use super::Report;
use super::chart::escape;
use super::figures;
use super::page;
use super::selected_page;
use super::words::{
    caveats, difference, duration, findings, first_system, interval, main_columns, metric_title,
    number, signed, signed_difference, stage_title, system_phrase, system_title, training,
};
use crate::evaluate::column::Column;
use crate::evaluate::summary::{Difference, Metric, MetricsFile, SystemMetrics};

const STYLE: &str = include_str!("style.css");

/// The whole page.
pub fn html(report: &Report) -> String {
    let parts = [
        headline(report),
        charts(&report.metrics),
        metrics(&report.metrics),
        differences(&report.metrics),
        page::tables(&report.tables),
        caveat_list(report),
        steps(report),
        report
            .selection
            .as_ref()
            .map_or_else(String::new, page::funnel)
            + &report
                .selected
                .as_ref()
                .map_or_else(String::new, selected_page::html),
        page::dataset(&report.dataset),
        labels(&report.metrics),
        page::examples(report),
        page::signatures(report),
        config(report),
    ];
    let parts: Vec<&str> = parts
        .iter()
        .map(String::as_str)
        .filter(|part| !part.is_empty())
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n<link rel=\"icon\" href=\"data:,\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{}\n<main>\n{}\n</main>\n<footer>Made by {}. One file: no script, no request.</footer>\n</body>\n</html>\n",
        header(report, &parts),
        parts.join(
            "
"
        ),
        escape(&report.tool),
        title = escape(&report.title),
    )
}

fn header(report: &Report, parts: &[&str]) -> String {
    let facts: String = report
        .facts
        .iter()
        .map(|(name, value)| format!("<span>{} <b>{}</b></span>", escape(name), escape(value)))
        .collect();
    let warnings: String = report
        .warnings
        .iter()
        .map(|text| format!("<p>{}</p>", escape(text)))
        .collect();
    let warnings = if warnings.is_empty() {
        warnings
    } else {
        format!("<div class=\"warnings\" role=\"note\">{warnings}</div>")
    };
    format!(
        "<header><h1>{}</h1><div class=\"facts\">{facts}</div>{}{warnings}</header>",
        escape(&report.title),
        contents(parts)
    )
}

/// A link to each part that has a heading.
fn contents(parts: &[&str]) -> String {
    let heading = |part: &&str| {
        let (id, rest) = part.strip_prefix("<h2 id=\"")?.split_once("\">")?;
        let (title, _) = rest.split_once("</h2>")?;
        Some(format!("<a href=\"#{id}\">{title}</a>"))
    };
    let links: String = parts.iter().filter_map(heading).collect();
    format!("<nav>{links}</nav>")
}

/// Large numbers for the student, and how far the other systems are.
fn headline(report: &Report) -> String {
    let metrics = &report.metrics;
    let Some(first) = first_system(metrics) else {
        return "<p>Nothing was evaluated.</p>".to_owned();
    };
    let own = metrics.system(first);
    let cards: String = ["cec", "accuracy", "rougeL"]
        .iter()
        .filter_map(|name| Some(card(metrics, name, own?.metrics.get(*name)?)))
        .collect();
    let sentences: String = findings(metrics)
        .iter()
        .map(|text| format!("<p>{}</p>", unbroken(&escape(text))))
        .collect();
    let notes: String = report
        .notes
        .iter()
        .map(|note| format!("<li>{}</li>", escape(note)))
        .collect();
    let notes = if notes.is_empty() {
        notes
    } else {
        format!("<details><summary>Notes of the run</summary><ul>{notes}</ul></details>")
    };
    format!("<div class=\"cards\">{cards}</div>{sentences}{notes}")
}

/// Intervals stay on one line.
fn unbroken(text: &str) -> String {
    let mut is_inside = false;
    let keep = |c: char| {
        is_inside = c == '[' || (is_inside && c != ']');
        if is_inside && c == ' ' { '\u{a0}' } else { c }
    };
    text.chars().map(keep).collect()
}

fn card(metrics: &MetricsFile, name: &str, own: &Metric) -> String {
    let others: String = metrics
        .differences
        .iter()
        .filter(|d| d.metric == name)
        .map(|d| {
            let value = metrics
                .system(&d.minus)
                .and_then(|s| s.metrics.get(name)?.value);
            format!(
                "<li><span>{} {}</span><span class=\"{}\">{}</span></li>",
                escape(&system_title(&d.minus)),
                value.map_or_else(String::new, |value| number(name, value)),
                standing(d),
                d.value
                    .map_or_else(String::new, |value| signed(name, value))
            )
        })
        .collect();
    let value = own
        .value
        .map_or("\u{2013}".to_owned(), |value| number(name, value));
    let bounds = own.interval.map_or_else(String::new, |bounds| {
        format!("95 % interval {}, n = {}", interval(name, &bounds), own.n)
    });
    format!(
        "<div class=\"card\"><div class=\"name\">{}</div><div class=\"big\">{value}</div><div class=\"bounds\">{bounds}</div><ul>{others}</ul></div>",
        escape(metric_title(name))
    )
}

/// Green above, red below, grey where the interval holds 0.
fn standing(difference: &Difference) -> &'static str {
    match (difference.excludes_zero, difference.value) {
        (Some(true), Some(value)) if value > 0.0 => "up",
        (Some(true), Some(_)) => "down",
        _ => "level",
    }
}

fn charts(metrics: &MetricsFile) -> String {
    let charts: String = [
        ("cec", "CEC of each system"),
        ("accuracy", "Label accuracy of each system"),
    ]
    .iter()
    .map(|(name, title)| (title, figures::intervals(metrics, name)))
    .filter(|(_, svg)| !svg.is_empty())
    .map(|(title, svg)| format!("<figure style=\"margin:0\"><h3>{title}</h3>{svg}</figure>"))
    .collect();
    if charts.is_empty() {
        return charts;
    }
    format!(
        "<h2 id=\"systems\">Side by side</h2><p>Points are values over the {} split, lines are 95 % bootstrap intervals ({} resamples). The dashed line is the floor: the reference of another claim.</p><div class=\"charts\">{charts}</div>",
        escape(&metrics.split),
        metrics.resamples
    )
}

fn metrics(metrics: &MetricsFile) -> String {
    if metrics.systems.is_empty() {
        return String::new();
    }
    let (main, others) = main_columns(metrics);
    let more = if others.is_empty() {
        String::new()
    } else {
        let table = metric_table(metrics, &others, "");
        format!("<details><summary>More metrics</summary>{table}</details>")
    };
    format!(
        "<h2 id=\"metrics\">Metrics</h2><p>{} examples. A system without labels or without explanations has no number there.</p>{}{more}",
        metrics.n_examples,
        metric_table(metrics, &main, &words_row(metrics)),
    )
}

fn metric_table(metrics: &MetricsFile, columns: &[&Column], last_row: &str) -> String {
    let first = first_system(metrics);
    let class = |name: &str| {
        if Some(name) == first {
            " class=\"own-column\""
        } else {
            ""
        }
    };
    let head: String = metrics
        .systems
        .iter()
        .map(|s| {
            format!(
                "<th scope=\"col\"{}>{}</th>",
                class(&s.system),
                escape(&system_title(&s.system))
            )
        })
        .collect();
    let cell = |name: &str, s: &SystemMetrics| {
        let cell = s
            .metrics
            .get(name)
            .map_or_else(String::new, |m| metric_cell(name, m, metrics));
        format!("<td{}>{cell}</td>", class(&s.system))
    };
    let row = |column: &&Column| {
        let cells: String = metrics
            .systems
            .iter()
            .map(|s| cell(column.name, s))
            .collect();
        let (title, name) = (escape(column.title), escape(metric_title(column.name)));
        format!("<tr><th scope=\"row\" title=\"{title}\">{name}</th>{cells}</tr>")
    };
    let rows: String = columns.iter().map(row).collect();
    format!(
        "<div class=\"scroll\"><table><thead><tr><th></th>{head}</tr></thead><tbody>{rows}{last_row}</tbody></table></div>"
    )
}

fn metric_cell(name: &str, metric: &Metric, metrics: &MetricsFile) -> String {
    let value = metric
        .value
        .map_or("\u{2013}".to_owned(), |value| number(name, value));
    let bounds = metric
        .interval
        .map_or_else(String::new, |bounds| interval(name, &bounds));
    let n = if metric.n == metrics.n_examples {
        String::new()
    } else {
        format!(" n = {}", metric.n)
    };
    format!("{value}<small>{bounds}{n}</small>")
}

fn words_row(metrics: &MetricsFile) -> String {
    let cells: String = metrics
        .systems
        .iter()
        .map(|s| {
            format!(
                "<td>{}</td>",
                s.mean_words.map_or_else(String::new, |n| format!("{n:.1}"))
            )
        })
        .collect();
    format!("<tr><th scope=\"row\">Words an explanation</th>{cells}</tr>")
}

fn differences(metrics: &MetricsFile) -> String {
    let Some(first) = first_system(metrics).filter(|_| !metrics.differences.is_empty()) else {
        return String::new();
    };
    let (main, others) = main_columns(metrics);
    let more = if others.is_empty() {
        String::new()
    } else {
        let table = difference_table(metrics, first, &others);
        format!("<details><summary>More differences</summary>{table}</details>")
    };
    format!(
        "<h2 id=\"differences\">Differences</h2><p>{} minus each other system, over the examples that both are scored on. Intervals are paired: the same examples are drawn on both sides. <span class=\"up\">Green</span> and <span class=\"down\">red</span> exclude\u{a0}0.</p>{}{more}",
        escape(&system_title(first)),
        difference_table(metrics, first, &main),
    )
}

fn difference_table(metrics: &MetricsFile, first: &str, columns: &[&Column]) -> String {
    let others: Vec<&str> = metrics
        .systems
        .iter()
        .map(|s| s.system.as_str())
        .filter(|name| *name != first)
        .collect();
    let head: String = others
        .iter()
        .map(|name| {
            format!(
                "<th scope=\"col\">minus {}</th>",
                escape(&system_phrase(name))
            )
        })
        .collect();
    let row = |column: &&Column| {
        let cell = |other: &&str| {
            let found = difference(metrics, column.name, other);
            found.map_or_else(|| "<td></td>".to_owned(), difference_cell)
        };
        let cells: String = others.iter().map(cell).collect();
        format!(
            "<tr><th scope=\"row\">{}</th>{cells}</tr>",
            escape(metric_title(column.name))
        )
    };
    let rows: String = columns.iter().map(row).collect();
    format!(
        "<div class=\"scroll\"><table><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
}

fn difference_cell(difference: &Difference) -> String {
    let name = difference.metric.as_str();
    let value = difference
        .value
        .map_or("\u{2013}".to_owned(), |value| signed(name, value));
    let bounds = difference
        .interval
        .map_or_else(String::new, |bounds| interval(name, &bounds));
    format!(
        "<td title=\"{}, n = {}\"><span class=\"{}\">{value}</span><small>{bounds}</small></td>",
        escape(&signed_difference(difference)),
        difference.n,
        standing(difference)
    )
}

fn caveat_list(report: &Report) -> String {
    let items: String = caveats(report)
        .iter()
        .map(|text| format!("<li>{}</li>", escape(text)))
        .collect();
    format!("<h2 id=\"caveats\">What these numbers do not say</h2><ul>{items}</ul>")
}

fn steps(report: &Report) -> String {
    let Some(sentence) = training(report) else {
        return String::new();
    };
    format!(
        "<h2 id=\"training\">Training</h2><p>{}</p>{}",
        escape(&sentence),
        figures::loss(report)
    )
}

/// What each system that answers got right and wrong, label by label.
fn labels(metrics: &MetricsFile) -> String {
    let mut tables = String::new();
    for system in metrics
        .systems
        .iter()
        .filter(|system| !system.outcomes.is_empty())
    {
        let Some(labels) = &system.labels else {
            continue;
        };
        let rows: String = labels
            .labels
            .iter()
            .map(|(name, score)| {
                let share = |value: Option<f64>| value.map_or("\u{2013}".to_owned(), |v| number("f1", v));
                format!(
                    "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                    escape(name),
                    score.gold,
                    score.predicted,
                    score.correct,
                    share(score.precision),
                    share(score.recall),
                    number("f1", score.f1)
                )
            })
            .collect();
        let outcomes: Vec<String> = system
            .outcomes
            .iter()
            .map(|(name, n)| format!("{} {n}", escape(name)))
            .collect();
        tables += &format!(
            "<h3>{}</h3><div class=\"scroll\"><table><thead><tr><th>label</th><th>gold</th><th>predicted</th><th>right</th><th>precision</th><th>recall</th><th>F1</th></tr></thead><tbody>{rows}</tbody></table></div><p class=\"soft small\">Answers: {}. Without a label: {}; with another label: {}; both count as wrong.</p>",
            escape(&system_title(&system.system)),
            outcomes.join(", "),
            labels.no_label,
            labels.other_label
        );
    }
    if tables.is_empty() {
        tables
    } else {
        format!("<h2 id=\"labels\">Labels</h2>{tables}")
    }
}

fn config(report: &Report) -> String {
    let times: String = report
        .times
        .iter()
        .map(|t| {
            format!(
                "<tr><th scope=\"row\">{}</th><td>{}</td></tr>",
                stage_title(t.stage),
                duration(t.seconds)
            )
        })
        .collect();
    let times = if times.is_empty() {
        times
    } else {
        format!(
            "<div class=\"scroll\"><table><thead><tr><th>stage</th><th>time</th></tr></thead><tbody>{times}</tbody></table></div>"
        )
    };
    format!(
        "<h2 id=\"config\">The run</h2>{times}<details><summary>Resolved config</summary><pre>{}</pre></details>",
        escape(&report.config)
    )
}

//! The part of both pages that shows [`Selected`].

use super::chart::{Scale, escape, range};
use super::selected::{Candidate, Selected, Shown};
use super::words::thousands;

/// Bars of a distribution.
const BINS: usize = 28;

/// For the HTML page, behind the funnel.
pub(super) fn html(selected: &Selected) -> String {
    let charts: String = selected
        .scores
        .iter()
        .map(|(name, values)| {
            format!(
                "<figure style=\"margin:0\"><h3>{}</h3>{}</figure>",
                escape(score_title(name)),
                distribution(name, values)
            )
        })
        .collect();
    let charts = if charts.is_empty() {
        charts
    } else {
        format!(
            "<div class=\"charts\">{charts}</div><p class=\"soft small\">Solid bars are kept candidates, lines stand for dropped ones that were scored; ratios are drawn in powers of two.</p>"
        )
    };
    let shown: String = selected.shown.iter().map(example).collect();
    let shown = if shown.is_empty() {
        shown
    } else {
        format!(
            "<details><summary>Kept against dropped: {} examples</summary>{shown}</details>",
            selected.shown.len()
        )
    };
    format!(
        "<p class=\"soft small\">{}</p>{charts}{}{shown}",
        escape(&coverage(selected)),
        selectors(selected)
    )
}

/// For the Markdown page; `plain` keeps text text.
pub(super) fn markdown(selected: &Selected, plain: impl Fn(&str) -> String) -> String {
    let mut out = format!("\n{}\n", plain(&coverage(selected)));
    for (name, values) in &selected.scores {
        let side = |kept: bool| {
            let mut own: Vec<f64> = values.iter().filter(|v| v.1 == kept).map(|v| v.0).collect();
            own.sort_unstable_by(f64::total_cmp);
            own.get(own.len() / 2)
                .map_or("none".to_owned(), |m| format!("{m:.3} (n = {})", own.len()))
        };
        out += &format!(
            "- {}: median of kept {}, of dropped {}\n",
            plain(score_title(name)),
            side(true),
            side(false)
        );
    }
    if !selected.selectors.is_empty() {
        let roles = roles(selected);
        let head: String = roles.iter().map(|r| format!(" {} |", plain(r))).collect();
        out += &format!(
            "\nKnown roles that each selector would drop at the same number to keep:\n\n| selector |{head}\n|---|{}\n",
            "---:|".repeat(roles.len())
        );
        for (name, counts) in &selected.selectors {
            let cells: String = roles
                .iter()
                .map(|role| format!(" {} |", cell(counts.get(*role))))
                .collect();
            out += &format!("| {} |{cells}\n", plain(name));
        }
    }
    out
}

fn coverage(selected: &Selected) -> String {
    let c = &selected.coverage;
    let mut text = format!(
        "{} of {} candidates are right; {} repeat one before them word for word. {} of {} examples keep a rationale",
        thousands(c.right),
        thousands(c.candidates),
        thousands(c.duplicates),
        thousands(c.covered),
        thousands(c.examples)
    );
    for (n, what) in [
        (c.bare, "have no candidate"),
        (c.never_right, "have no right one"),
        (c.single, "have a single one"),
    ] {
        if n > 0 {
            text += &format!("; {} {what}", thousands(n));
        }
    }
    text + "."
}

fn score_title(name: &str) -> &str {
    match name {
        "rd" => "Rationale Difficulty (below 1 it helps)",
        "rd_stripped" => "Rationale Difficulty without the answer",
        "rd_control" => "Rationale Difficulty against telling the answer",
        "rsr" => "Rank-Surprisal Ratio",
        "ifd" => "Instruction-Following Difficulty",
        "perplexity" => "Perplexity of the completion",
        other => other,
    }
}

/// Kept and dropped values in bins, in logarithms.
fn distribution(name: &str, values: &[(f64, bool)]) -> String {
    let logs: Vec<(f64, bool)> = values
        .iter()
        .filter(|(v, _)| *v > 0.0)
        .map(|(v, kept)| (v.log2(), *kept))
        .collect();
    let Some((low, high)) = range(logs.iter().map(|(v, _)| *v), 0.5) else {
        return String::new();
    };
    let x = Scale::new((low, high), (14.0, 406.0));
    let bin = Scale::new((low, high), (0.0, BINS as f64 - 1e-9));
    let mut counts = [[0usize; 2]; BINS];
    for (value, kept) in &logs {
        #[expect(clippy::cast_sign_loss, reason = "the scale begins at 0")]
        let place = bin.at(*value) as usize;
        counts[place.min(BINS - 1)][usize::from(!kept)] += 1;
    }
    let most = counts.iter().flatten().copied().max().unwrap_or(1).max(1);
    let y = Scale::new((0.0, most as f64), (120.0, 14.0));
    let mut svg = format!(
        r#"<svg class="chart" viewBox="0 0 420 146" role="img" aria-label="Distribution of {}, kept and dropped">"#,
        escape(score_title(name))
    );
    for (value, label) in x.ticks(5) {
        let at = x.at(value);
        svg += &format!(
            r#"<line class="grid" x1="{at:.1}" x2="{at:.1}" y1="8" y2="120"/><text class="tick" x="{at:.1}" y="138" text-anchor="middle">2^{label}</text>"#
        );
    }
    let width = 392.0 / BINS as f64;
    for (place, [kept, dropped]) in counts.iter().enumerate() {
        let left = 14.0 + width * place as f64;
        if *kept > 0 {
            let top = y.at(*kept as f64);
            svg += &format!(
                r#"<rect class="kept" fill="currentColor" fill-opacity="0.35" x="{left:.1}" y="{top:.1}" width="{:.1}" height="{:.1}"/>"#,
                width - 1.0,
                120.0 - top
            );
        }
        if *dropped > 0 {
            let top = y.at(*dropped as f64);
            svg += &format!(
                r#"<line class="whisker" x1="{left:.1}" x2="{:.1}" y1="{top:.1}" y2="{top:.1}"/>"#,
                left + width - 1.0
            );
        }
    }
    svg + "</svg>"
}

fn roles(selected: &Selected) -> Vec<&String> {
    let mut roles: Vec<&String> = selected
        .selectors
        .iter()
        .flat_map(|(_, c)| c.keys())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    roles
}

fn cell(counts: Option<&[usize; 2]>) -> String {
    counts.map_or_else(String::new, |[kept, dropped]| {
        format!("{} of {}", thousands(*dropped), thousands(kept + dropped))
    })
}

fn selectors(selected: &Selected) -> String {
    if selected.selectors.is_empty() {
        return String::new();
    }
    let roles = roles(selected);
    let head: String = roles
        .iter()
        .map(|r| format!("<th>{}</th>", escape(r)))
        .collect();
    let row = |(name, counts): &(String, std::collections::BTreeMap<String, [usize; 2]>)| {
        let cells: String = roles
            .iter()
            .map(|role| format!("<td>{}</td>", cell(counts.get(*role))))
            .collect();
        format!("<tr><th scope=\"row\">{}</th>{cells}</tr>", escape(name))
    };
    let rows: String = selected.selectors.iter().map(row).collect();
    format!(
        "<h3>What each selector would drop</h3><p class=\"soft small\">Candidates of known roles, at the same number to keep; selectors whose scores were not computed are left out.</p><div class=\"scroll\"><table><thead><tr><th>selector</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
}

fn example(shown: &Shown) -> String {
    let side = |title: &str, all: &[Candidate]| {
        let cards: String = all.iter().map(candidate).collect();
        format!("<section class=\"answer\"><h4>{title}</h4>{cards}</section>")
    };
    format!(
        "<div class=\"example\"><h3>{}</h3><div class=\"meta\"><span>{}</span></div><div class=\"columns\">{}{}</div></div>",
        escape(&shown.claim),
        escape(&shown.id),
        side("Kept", &shown.kept),
        side("Dropped", &shown.dropped)
    )
}

fn candidate(candidate: &Candidate) -> String {
    let scores: Vec<String> = candidate
        .scores
        .iter()
        .map(|(name, value)| format!("{} {value:.3}", escape(name)))
        .collect();
    let text = if candidate.steps.is_empty() {
        format!("<p class=\"small\">{}</p>", escape(&candidate.text))
    } else {
        let step = |(text, bits): &(String, f64)| {
            format!("<li>{} <b>{bits:+.2} bits</b></li>", escape(text))
        };
        let steps: String = candidate.steps.iter().map(step).collect();
        format!("<ol class=\"small\">{steps}</ol>")
    };
    format!(
        "{text}<p class=\"soft small\">{}. {}</p>",
        escape(&candidate.reason),
        scores.join(", ")
    )
}

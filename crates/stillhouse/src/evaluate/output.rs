//! What `stillhouse evaluate` prints.

use serde_json::{Value, json};
use stillhouse_core::evaluate::baseline;
use stillhouse_core::evaluate::stress::Stress;
use stillhouse_core::evaluate::table::{self, Format};

use super::Evaluated;

/// The forms in which results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// Tables for the terminal, with what the CEC paper's own test shows.
    #[default]
    Text,
    /// One JSON object: `metrics.json`, and `agreement` where ratings were given.
    Json,
    /// Tables as comma-separated values.
    Csv,
    /// Tables as Markdown.
    Markdown,
    /// Tables for LaTeX, with the rules of `booktabs`.
    Latex,
}

impl Output {
    fn format(self) -> Format {
        match self {
            Self::Text | Self::Json => Format::Plain,
            Self::Csv => Format::Csv,
            Self::Markdown => Format::Markdown,
            Self::Latex => Format::Latex,
        }
    }
}

/// How every metric reacted to changed texts, in one form.
///
/// # Panics
///
/// Never: what was measured can be written as JSON.
pub fn show_stress(stress: &Stress, output: Output) -> String {
    if output == Output::Json {
        let text = serde_json::to_string_pretty(stress).expect("plain values can be written");
        return text + "\n";
    }
    table::stress(stress, output.format())
}

/// Everything that was measured, in one form.
///
/// # Panics
///
/// Never: what was measured can be written as JSON.
pub fn show(evaluated: &Evaluated, output: Output) -> String {
    let metrics = &evaluated.evaluation.metrics;
    if output == Output::Json {
        let mut all = json!(metrics);
        if let (Value::Object(all), Some(agreement)) = (&mut all, &evaluated.agreement) {
            all.insert("agreement".to_owned(), json!(agreement));
        }
        let text = serde_json::to_string_pretty(&all).expect("plain values can be written");
        return text + "\n";
    }
    let format = output.format();
    let mut parts = vec![table::full(metrics, format)];
    let is_ours = |name: &str| !baseline::NAMES.contains(&name);
    if metrics
        .systems
        .iter()
        .filter(|s| is_ours(&s.system))
        .count()
        > 1
    {
        parts.push(table::paper(metrics, format));
        parts.push(table::differences(metrics, format));
    }
    if let Some(agreement) = &evaluated.agreement {
        parts.push(table::agreement(agreement, format));
    }
    if output == Output::Text {
        // Once: it says as little of the others.
        let mut systems = metrics.systems.iter().filter(|s| is_ours(&s.system));
        let first = systems.find_map(|s| Some((&s.system, s.contrast.as_ref()?)));
        parts.extend(first.map(|(system, contrast)| format!("{system}: {}\n", contrast.says)));
    }
    parts.join("\n")
}

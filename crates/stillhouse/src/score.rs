//! Files of prompts and completions scored by a model, without a run.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Value, json};
use stillhouse_core::event::{Event, Observer, tell};
use stillhouse_core::table::{self, Place, Row, TableOptions};
use stillhouse_student::Model;
pub use stillhouse_student::score::{Ask, Score, ScoreOptions, Token, Unscored};

use crate::HubOptions;
use crate::error::Result;

/// What is scored by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    /// A model folder, or a model's name.
    pub model: String,
    /// A PEFT adapter to put beside its weights.
    pub adapter: Option<PathBuf>,
    /// Rows of `id`, `prompt` and `completion`, in any form that tables come in.
    pub path: PathBuf,
}

/// One row and what the model thinks of its completion.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The row's id.
    pub id: String,
    /// Its score, or why it has none.
    pub score: Result<Score, Unscored>,
}

/// Scores every row of a file, in its order.
pub fn score(
    texts: &Texts,
    options: &ScoreOptions,
    hub: &HubOptions,
    observe: &mut Observer<'_>,
) -> Result<Vec<Scored>> {
    let (ids, asks) = read(texts)?;
    // A wish to stop takes effect at the next step border.
    let mut note = |text: &str| {
        let text = text.to_owned();
        let _ = observe(Event::Note { text });
    };
    let folder = stillhouse_hub::find(&texts.model, hub, &mut note)?.folder;
    let mut model = Model::load(&folder)?;
    if let Some(adapter) = &texts.adapter {
        model = model.with_adapter(adapter)?;
    }
    let scores = stillhouse_student::score::score(&model, &asks, options, observe)?;
    for (id, why) in ids.iter().zip(&scores) {
        if let Err(why) = why {
            let text = format!("`{id}` is not scored: {why}");
            tell(observe, Event::Warning { text })?;
        }
    }
    let rows = ids.into_iter().zip(scores);
    Ok(rows.map(|(id, score)| Scored { id, score }).collect())
}

/// The ids and asks of a file.
fn read(texts: &Texts) -> stillhouse_core::Result<(Vec<String>, Vec<Ask>)> {
    let (mut ids, mut asks) = (Vec::new(), Vec::new());
    table::read_each(&texts.path, &TableOptions::default(), |place, row| {
        let (prompt, completion) = (
            text(place, &row, "prompt")?,
            text(place, &row, "completion")?,
        );
        ids.push(text(place, &row, "id")?);
        asks.push(Ask::new(prompt, completion));
        Ok(())
    })?;
    if ids.is_empty() {
        let what = "holds no row; each needs id, prompt and completion";
        return Err(stillhouse_core::Error::file(&texts.path, what));
    }
    Ok((ids, asks))
}

fn text(place: &Place<'_>, row: &Row, field: &str) -> stillhouse_core::Result<String> {
    match row.get(field) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(_) => Err(place.error(format!("`{field}` is not a text"))),
        None => Err(place.error(format!(
            "has no `{field}`; each row needs id, prompt and completion"
        ))),
    }
}

/// A line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    token_ids: Vec<u32>,
    logprobs: Vec<f32>,
    ranks: Vec<u32>,
    perplexity: f64,
}

/// One JSON object a line: natural logarithms, rank 1 for the likeliest token, perplexity over the
/// completion's tokens; a row without a score has `id` and `error`.
pub fn show_score_lines(rows: &[Scored]) -> String {
    let line = |row: &Scored| match &row.score {
        Ok(score) => json!(Line {
            id: &row.id,
            token_ids: score.tokens().map(|token| token.id).collect(),
            logprobs: score.tokens().map(|token| token.log_probability).collect(),
            ranks: score.tokens().map(|token| token.rank).collect(),
            perplexity: score.perplexity(),
        }),
        Err(why) => json!({ "id": row.id, "error": why.to_string() }),
    };
    let lines = rows.iter().map(|row| line(row).to_string() + "\n");
    lines.collect()
}

/// A table for the terminal, and below it the mean perplexity.
pub fn show_scores(rows: &[Scored]) -> String {
    let widest = rows.iter().map(|row| row.id.chars().count()).max();
    let width = widest.unwrap_or(0).clamp(2, 40);
    let mut page = format!("{:width$}  tokens  log-likelihood  perplexity\n", "id");
    let mut perplexities = Vec::new();
    for row in rows {
        let id: String = row.id.chars().take(width).collect();
        let _ = match &row.score {
            Ok(score) => {
                let (n, sum, perplexity) = (
                    score.tokens().count(),
                    score.log_likelihood(),
                    score.perplexity(),
                );
                perplexities.push(perplexity);
                writeln!(page, "{id:width$}  {n:6}  {sum:14.3}  {perplexity:10.3}")
            }
            Err(why) => writeln!(page, "{id:width$}  {why}"),
        };
    }
    let n = perplexities.len();
    if n > 0 {
        let mean = perplexities.iter().sum::<f64>() / n as f64;
        let _ = writeln!(page, "mean perplexity of {n} completions: {mean:.3}");
    }
    page
}

//! Common forms of training files, brought to two columns: `prompt` and `completion`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::field::{list_at, text_in};
use crate::table::{Row, kind};

/// The forms that other tools write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// `messages`: a list of `{role, content}` (`OpenAI`, TRL).
    Messages,
    /// `instruction`, `input`, `output`, `system`, `history` (Alpaca).
    Alpaca,
    /// `conversations`: a list of `{from, value}` (`ShareGPT`).
    Sharegpt,
    /// `prompt` and `completion`, as texts or as messages (TRL).
    PromptCompletion,
    /// `instruction` and `generation` (distilabel).
    Distilabel,
}

impl Shape {
    /// Adds `prompt` and `completion`: the last answer, and everything before it.
    pub(crate) fn bring(self, row: &mut Row) -> Result<(), String> {
        let record = Value::Object(std::mem::take(row));
        let found = self.parts(&record);
        if let Value::Object(whole) = record {
            *row = whole;
        }
        let (prompt, completion) = found?;
        row.insert("prompt".into(), prompt.into());
        row.insert("completion".into(), completion.into());
        Ok(())
    }

    fn parts(self, record: &Value) -> Result<(String, String), String> {
        let text = |field| text_in(record, field);
        match self {
            Self::Messages => turns(list_at(record, "messages")?, "messages", "role", "content"),
            Self::Sharegpt => {
                let list = list_at(record, "conversations")?;
                let (prompt, completion) = turns(list, "conversations", "from", "value")?;
                Ok((
                    paragraphs(&[optional(record, "system")?, prompt]),
                    completion,
                ))
            }
            Self::Alpaca => {
                let mut parts = vec![optional(record, "system")?];
                if let Some(Value::Array(history)) = record.get("history") {
                    for (index, pair) in history.iter().enumerate() {
                        for side in ["/0", "/1"] {
                            let text = text_in(pair, side)
                                .map_err(|e| format!("`history/{index}`: {e}"))?;
                            parts.push(text);
                        }
                    }
                }
                parts.push(text("instruction")?);
                parts.push(optional(record, "input")?);
                Ok((paragraphs(&parts), text("output")?))
            }
            Self::PromptCompletion => {
                let side = |field: &str| match record.get(field) {
                    Some(Value::Array(list)) => {
                        let contents = list.iter().map(|turn| text_in(turn, "content"));
                        let contents = contents.collect::<Result<Vec<_>, _>>();
                        contents
                            .map(|c| paragraphs(&c))
                            .map_err(|e| format!("`{field}`: {e}"))
                    }
                    _ => text_in(record, field),
                };
                Ok((side("prompt")?, side("completion")?))
            }
            Self::Distilabel => {
                let system = optional(record, "system_prompt")?;
                Ok((
                    paragraphs(&[system, text("instruction")?]),
                    text("generation")?,
                ))
            }
        }
    }
}

/// The turns before the last answer, and that answer.
fn turns(
    list: &[Value],
    name: &str,
    role: &str,
    content: &str,
) -> Result<(String, String), String> {
    let mut said = Vec::new();
    for (index, turn) in list.iter().enumerate() {
        let place = |e| format!("`{name}/{index}`: {e}");
        let role = text_in(turn, role).map_err(place)?;
        let is_answer = matches!(role.as_str(), "assistant" | "gpt" | "model");
        said.push((is_answer, text_in(turn, content).map_err(place)?));
    }
    let Some(last) = said.iter().rposition(|(is_answer, _)| *is_answer) else {
        return Err(format!("`{name}` has no turn of the assistant"));
    };
    let before: Vec<String> = said[..last].iter().map(|(_, text)| text.clone()).collect();
    if before.is_empty() {
        return Err(format!("`{name}` has nothing before the assistant's turn"));
    }
    Ok((paragraphs(&before), said.swap_remove(last).1))
}

fn optional(record: &Value, field: &str) -> Result<String, String> {
    match record.get(field) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(format!("`{field}` is {}, expected a text", kind(other))),
    }
}

fn paragraphs(parts: &[String]) -> String {
    let parts = parts.iter().map(|part| part.trim());
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    parts.join("\n\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_form_becomes_a_prompt_and_a_completion() {
        let check = |shape: Shape, record: Value, expected: &str| {
            let Value::Object(mut row) = record else {
                unreachable!("records are objects")
            };
            let got = match shape.bring(&mut row) {
                Ok(()) => format!("{} => {}", row["prompt"], row["completion"]),
                Err(what) => what,
            };
            assert_eq!(got, expected);
        };
        let turn = |role: &str, content: &str| json!({"role": role, "content": content});
        check(
            Shape::Messages,
            json!({"messages": [turn("system", "Be short."), turn("user", "Why?"), turn("assistant", "So.")]}),
            r#""Be short.\n\nWhy?" => "So.""#,
        );
        check(
            Shape::Messages,
            json!({"messages": [turn("user", "Why?")]}),
            "`messages` has no turn of the assistant",
        );
        check(
            Shape::Messages,
            json!({"messages": [{"role": "user"}]}),
            "`messages/0`: `content` is missing; the fields there: `role`",
        );
        check(
            Shape::Sharegpt,
            json!({"system": null, "conversations": [
                {"from": "human", "value": "a"}, {"from": "gpt", "value": "b"},
                {"from": "human", "value": "c"}, {"from": "gpt", "value": "d"}]}),
            r#""a\n\nb\n\nc" => "d""#,
        );
        check(
            Shape::Alpaca,
            json!({"instruction": "Judge.", "input": "Ice melts.", "output": "Yes.", "history": [["a", "b"]]}),
            r#""a\n\nb\n\nJudge.\n\nIce melts." => "Yes.""#,
        );
        check(
            Shape::PromptCompletion,
            json!({"prompt": [turn("user", "Why?")], "completion": "So."}),
            r#""Why?" => "So.""#,
        );
        check(
            Shape::Distilabel,
            json!({"instruction": "Why?", "generation": "So.", "model_name": "m"}),
            r#""Why?" => "So.""#,
        );
        check(
            Shape::Distilabel,
            json!({"instruction": "Why?", "generation": null}),
            "`generation` is null, expected a text",
        );
    }
}

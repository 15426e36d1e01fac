//! What an end point sends back, taken apart.

use serde_json::Value;
use stillhouse_core::record::Outcome;

use crate::language;

/// One answer, as the ledger keeps it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The text that came.
    pub text: String,
    /// Why it ended: "stop", "length", "`content_filter`".
    pub finish_reason: Option<String>,
    /// The end point's own word that the model declined.
    pub refusal: Option<String>,
    /// The thoughts that a reasoning model gives apart from its answer.
    pub reasoning: Option<String>,
    /// Log-probabilities of the tokens, in the end point's own form.
    pub logprobs: Option<Value>,
    /// The end point's number of the response.
    pub response_id: Option<String>,
    /// The model, as the end point names it.
    pub model: Option<String>,
    /// Tokens of the prompt; of several samples of one request the first carries them.
    pub prompt_tokens: u64,
    /// Tokens of the answer; samples of one request share them evenly.
    pub completion_tokens: u64,
    /// Whether the end point did not say how many tokens, so that they are estimates.
    pub is_estimated: bool,
    /// What it cost, where the price is known.
    pub cost: Option<f64>,
}

/// Takes the samples out of a response body; the error says what it is instead.
///
/// A choice whose index came before is a duplicate and is left out.
pub(crate) fn read(body: &str, wanted: usize) -> Result<Vec<Answer>, String> {
    let value: Value = serde_json::from_str(body).map_err(|e| describe(body, &e))?;
    if let Some(error) = value.get("error").filter(|e| !e.is_null()) {
        return Err(format!(
            "an error in place of an answer: {}",
            message_of(error)
        ));
    }
    let choices = value.get("choices").and_then(Value::as_array);
    let choices = choices.filter(|choices| !choices.is_empty());
    let choices = choices.ok_or("JSON without `choices`: is this a chat completion end point?")?;
    let mut seen = Vec::new();
    let mut answers = Vec::new();
    for (at, choice) in choices.iter().enumerate() {
        let index = choice
            .get("index")
            .and_then(Value::as_u64)
            .unwrap_or(at as u64);
        if seen.contains(&index) || answers.len() == wanted {
            continue;
        }
        seen.push(index);
        let message = choice.get("message").filter(|m| m.is_object());
        let message = message.ok_or("a choice without `message`")?;
        let text = |key: &str| message.get(key).and_then(Value::as_str).map(str::to_owned);
        let content = match message.get("content") {
            Some(Value::String(text)) => text.clone(),
            None | Some(Value::Null) => String::new(),
            Some(Value::Array(parts)) => parts
                .iter()
                .filter_map(|part| part.get("text").and_then(Value::as_str))
                .collect(),
            Some(_) => return Err("a `content` that is no text".into()),
        };
        let of = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        answers.push(Answer {
            text: content,
            finish_reason: choice
                .get("finish_reason")
                .and_then(Value::as_str)
                .map(str::to_owned),
            refusal: text("refusal").filter(|text| !text.trim().is_empty()),
            reasoning: text("reasoning_content").or_else(|| text("reasoning")),
            logprobs: choice.get("logprobs").filter(|l| !l.is_null()).cloned(),
            response_id: of("id"),
            model: of("model"),
            is_estimated: true,
            ..Answer::default()
        });
    }
    share_usage(&value, &mut answers);
    Ok(answers)
}

/// Puts the response's usage to its answers; more choices than were wanted are paid as well.
fn share_usage(value: &Value, answers: &mut [Answer]) {
    // No answer has more tokens than this, whatever the end point says.
    let count = |key: &str| {
        value
            .pointer(&format!("/usage/{key}"))
            .and_then(Value::as_u64)
            .map(|n| n.min(1 << 30))
    };
    let (Some(prompt), Some(completion)) = (count("prompt_tokens"), count("completion_tokens"))
    else {
        return;
    };
    let n = answers.len() as u64;
    for (at, answer) in answers.iter_mut().enumerate() {
        answer.is_estimated = false;
        answer.prompt_tokens = if at == 0 { prompt } else { 0 };
        answer.completion_tokens = completion / n;
        if at == 0 {
            answer.completion_tokens += completion % n;
        }
    }
}

/// An answer of an end point whose filter declined the prompt.
pub(crate) fn filtered(what: &str) -> Answer {
    Answer {
        finish_reason: Some("content_filter".into()),
        refusal: Some(what.to_owned()),
        ..Answer::default()
    }
}

/// What an error body says, in one short line.
pub(crate) fn message_of(error: &Value) -> String {
    let inner = error.get("error").unwrap_or(error);
    let message = inner
        .get("message")
        .or_else(|| inner.get("detail"))
        .unwrap_or(inner);
    short(
        message
            .as_str()
            .map_or_else(|| message.to_string(), str::to_owned)
            .trim(),
    )
}

/// At most 300 characters in one line.
pub(crate) fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(300) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line,
    }
}

fn describe(body: &str, error: &serde_json::Error) -> String {
    let start = body.trim_start();
    if start.is_empty() {
        "an empty body".into()
    } else if start.starts_with('<') {
        format!(
            "a page of HTML: {}",
            short(&short(start).chars().take(80).collect::<String>())
        )
    } else {
        format!("no JSON ({error})")
    }
}

/// How an answer ended, as far as its text is not looked at for a label: the reasons for which
/// it is no rationale.
pub(crate) fn verdict(answer: &Answer, found: Outcome, context: Option<&str>) -> Outcome {
    let finish = answer.finish_reason.as_deref();
    if answer.refusal.is_some() || finish == Some("content_filter") {
        return Outcome::Refused;
    }
    if answer.text.trim().is_empty() {
        // A reasoning model that spent its tokens on thoughts was cut off before its answer.
        return if finish == Some("length") {
            Outcome::Truncated
        } else {
            Outcome::Empty
        };
    }
    if found != Outcome::Ok && is_refusal(&answer.text) {
        return Outcome::Refused;
    }
    if finish == Some("length") {
        return Outcome::Truncated;
    }
    if context.is_some_and(|context| language::differ(context, &answer.text)) {
        return Outcome::WrongLanguage;
    }
    found
}

/// Whether a text declines: short, and it begins as refusals do.
pub(crate) fn is_refusal(text: &str) -> bool {
    const OPENINGS: [&str; 12] = [
        "i can't",
        "i cannot",
        "i can not",
        "i'm unable",
        "i am unable",
        "i won't",
        "i will not",
        "i'm not able",
        "i am not able",
        "as an ai",
        "i'm sorry",
        "i am sorry",
    ];
    const DECLINES: [&str; 8] = [
        "assist",
        "help with",
        "provide",
        "comply",
        "fulfill",
        "fulfil",
        "answer",
        "discuss",
    ];
    let text = text.trim().to_lowercase().replace('\u{2019}', "'");
    let start = text
        .trim_start_matches("sorry, ")
        .trim_start_matches("but ");
    OPENINGS.iter().any(|opening| start.starts_with(opening))
        && DECLINES.iter().any(|word| text.contains(word))
        && text.split_whitespace().count() <= 60
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_or_said_to_be_something_else() {
        let check = |body: &str, expected: &str| {
            let found = match read(body, 2) {
                Ok(answers) => answers
                    .iter()
                    .map(|a| format!("{}:{}+{}", a.text, a.prompt_tokens, a.completion_tokens))
                    .collect::<Vec<_>>()
                    .join(" "),
                Err(what) => what,
            };
            assert!(found.starts_with(expected), "{found}");
        };
        check(
            r#"{"choices":[{"index":0,"message":{"content":"a"}},{"index":1,"message":{"content":"b"}}],"usage":{"prompt_tokens":7,"completion_tokens":5}}"#,
            "a:7+3 b:0+2",
        );
        check(
            r#"{"choices":[{"index":0,"message":{"content":"a"}},{"index":0,"message":{"content":"a again"}}]}"#,
            "a:0+0",
        );
        check(
            r#"{"choices":[{"message":{"content":[{"type":"text","text":"x"}]}}]}"#,
            "x:0+0",
        );
        check(
            r#"{"choices":[{"message":{"content":null,"refusal":"no"}}]}"#,
            ":0+0",
        );
        check(r#"{"choices":[]}"#, "JSON without `choices`");
        check(
            r#"{"choices":[{"text":"old"}]}"#,
            "a choice without `message`",
        );
        check(
            r#"{"error":{"message":"busy"}}"#,
            "an error in place of an answer: busy",
        );
        check(
            "<html><body>Bad Gateway</body></html>",
            "a page of HTML: <html>",
        );
        check(r#"{"choices":[{"mess"#, "no JSON (EOF");
        check("", "an empty body");
    }

    #[test]
    fn what_is_no_rationale_has_a_name() {
        use Outcome::{Empty, Ok, Refused, Truncated, Unparsable, WrongLanguage};
        let check = |text: &str, finish: &str, found, expected: Outcome| {
            let answer = Answer {
                text: text.into(),
                finish_reason: Some(finish.into()),
                ..Answer::default()
            };
            let context =
                "The glaciers in the north of the country are losing mass as the air gets warmer.";
            assert_eq!(verdict(&answer, found, Some(context)), expected, "{text}");
        };
        check("Warm air melts the ice.", "stop", Ok, Ok);
        check("Warm air melts", "length", Ok, Truncated);
        check("", "length", Empty, Truncated);
        check(" ", "stop", Empty, Empty);
        check("", "content_filter", Empty, Refused);
        check(
            "I\u{2019}m sorry, but I can't assist with that.",
            "stop",
            Unparsable,
            Refused,
        );
        check("Hard to say.", "stop", Unparsable, Unparsable);
        check(
            "Die warme Luft bringt das Eis zum Schmelzen, und die Gletscher werden deshalb von Jahr zu Jahr kleiner.",
            "stop",
            Ok,
            WrongLanguage,
        );
    }

    #[test]
    fn an_error_body_is_one_short_line() {
        let check = |body: &str, expected: &str| {
            assert_eq!(message_of(&serde_json::from_str(body).unwrap()), expected);
        };
        check(r#"{"error":{"message":"too\n long"}}"#, "too long");
        check(r#"{"detail":"gone"}"#, "gone");
        check(r#"{"error":"text"}"#, "text");
    }
}

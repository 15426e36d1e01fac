//! A rationale without its answer.
//!
//! A rationale that merely states the answer makes it certain and explains nothing. Taken out are
//! sentences that state the answer after a mark ("so the answer is 7", "The answer is refuted."),
//! and every other mention of it, as a word by itself, whatever its case, becomes "...".
//! Quirk: what only implies the answer ("so the claim does not hold") stays.

use std::collections::BTreeMap;

use crate::data::AnswerOptions;
use crate::data::answer::{AnswerKind, STATES, number};
use crate::evaluate::split::sentences;

/// What stands for a mention.
const GAP: &str = "...";

/// The text without statements and mentions of `answer`.
pub fn without_answer(
    text: &str,
    answer: &str,
    options: &AnswerOptions,
    labels: &BTreeMap<String, Vec<String>>,
) -> String {
    let spellings = spellings(answer, options, labels);
    let states = |sentence: &str| {
        let lower = sentence.to_lowercase();
        let marks = options.marks.iter().map(String::as_str).chain([STATES]);
        marks.into_iter().any(|mark| {
            let mark = mark.to_lowercase();
            let after = lower.find(&mark).map(|at| &lower[at + mark.len()..]);
            after.is_some_and(|after| masked(after, &spellings, options.kind) != after)
        })
    };
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let kept = sentences(line).into_iter().filter(|s| !states(s));
        let kept: Vec<String> = kept.map(|s| masked(&s, &spellings, options.kind)).collect();
        if !kept.is_empty() {
            lines.push(kept.join(" "));
        }
    }
    lines.join("\n")
}

/// Whether the text mentions the answer.
pub fn mentions(
    text: &str,
    answer: &str,
    options: &AnswerOptions,
    labels: &BTreeMap<String, Vec<String>>,
) -> bool {
    masked(text, &spellings(answer, options, labels), options.kind) != text
}

/// The answer as a text may spell it, lower-cased, the longest first.
fn spellings(
    answer: &str,
    options: &AnswerOptions,
    labels: &BTreeMap<String, Vec<String>>,
) -> Vec<String> {
    let mut all = vec![answer.trim().to_lowercase()];
    if options.kind == AnswerKind::Label {
        let others = labels.get(answer).into_iter().flatten();
        all.extend(others.map(|s| s.trim().to_lowercase()));
    }
    all.retain(|s| !s.is_empty());
    all.sort_by_key(|s| std::cmp::Reverse(s.len()));
    all.dedup();
    all
}

/// The text with every mention replaced.
fn masked(text: &str, spellings: &[String], kind: AnswerKind) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = None;
    while let Some(first) = rest.chars().next() {
        let is_start = !before.is_some_and(|c: char| c.is_alphanumeric());
        let length = if is_start {
            mention(rest, before, spellings, kind)
        } else {
            None
        };
        let taken = if let Some(length) = length {
            out.push_str(GAP);
            length
        } else {
            out.push(first);
            first.len_utf8()
        };
        before = rest[..taken].chars().next_back();
        rest = &rest[taken..];
    }
    out
}

/// How long the mention is that `rest` begins with, if it does.
fn mention(
    rest: &str,
    before: Option<char>,
    spellings: &[String],
    kind: AnswerKind,
) -> Option<usize> {
    if kind == AnswerKind::Number {
        let is_in_number = before.is_some_and(|c| c == '.' || c == ',');
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == ',' || c == '.'));
        let digits = rest[..digits.unwrap_or(rest.len())].trim_end_matches(['.', ',']);
        let starts = digits.starts_with(|c: char| c.is_ascii_digit());
        if starts && !is_in_number {
            let same = number(digits).is_some_and(|n| spellings.contains(&n));
            return same.then_some(digits.len());
        }
        return None;
    }
    let found = spellings.iter().find_map(|spelling| {
        let mut wanted = spelling.chars();
        let mut length = 0;
        for c in rest.chars() {
            let Some(next) = wanted.next() else { break };
            // Lower case of one character may be several; such an answer is not found.
            if !c.to_lowercase().eq([next]) {
                return None;
            }
            length += c.len_utf8();
        }
        wanted.next().is_none().then_some(length)
    })?;
    let after = rest[found..].chars().next();
    (!after.is_some_and(char::is_alphanumeric)).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: AnswerKind, answer: &str, text: &str, expected: &str) {
        let options = AnswerOptions {
            kind,
            marks: vec!["####".into()],
            ..AnswerOptions::default()
        };
        let labels = BTreeMap::from([("refuted".to_owned(), vec!["REFUTES".to_owned()])]);
        assert_eq!(without_answer(text, answer, &options, &labels), expected);
        let has = text.trim() != expected;
        assert_eq!(mentions(text, answer, &options, &labels), has, "{text}");
    }

    #[test]
    fn numbers_go_by_value_and_not_inside_of_others() {
        let check = |text, expected| check(AnswerKind::Number, "7", text, expected);
        check("3 + 4 = 7. So the answer is 7.", "3 + 4 = ....");
        check("70 and 17 and 0.7 stay.", "70 and 17 and 0.7 stay.");
        check("It is 7.0 or $7!", "It is ... or $...!");
        check("Add them.\n#### 7", "Add them.");
        check("7", "...");
    }

    #[test]
    fn labels_go_in_every_spelling() {
        let check = |text, expected| check(AnswerKind::Label, "refuted", text, expected);
        check("It is cold. The answer is refuted.", "It is cold.");
        check(
            "It REFUTES that, and irrefuted stays.",
            "It ... that, and irrefuted stays.",
        );
        check("Refuted: no snow.", "...: no snow.");
    }
}

//! Answers of reasoning sets: how one is read from a text, and the one spelling in which two
//! answers are compared.
//!
//! The rules follow the field's practice, Kojima et al. (2022) and those who use their code: a
//! text states its answer after a mark ("the answer is"), else the last number, letter, word or
//! date in it is the answer. Where we differ we are stricter, and say so at the rule.

mod scan;

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use scan::{normalise, number};

/// The phrase with which our own completions state the answer.
pub const STATES: &str = "The answer is";

/// What an answer is, and where it stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerOptions {
    /// What kind of thing it is; by default a name out of the label set.
    pub kind: AnswerKind,
    /// How the gold answer stands in the field `label`.
    pub gold: Gold,
    /// Marks after which a text states its answer, beside "the answer is": GSM8K's "####".
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<String>,
    /// Which one counts in a text without a mark.
    pub take: Take,
    /// Put the options in another order, by a hash of the id: in BIG-bench's date set the right
    /// one always stands first.
    pub shuffle_options: bool,
}

/// The kinds of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnswerKind {
    /// A name out of `[labels]`.
    #[default]
    Label,
    /// A number: "1,200.0" and "$1200" are 1200.
    Number,
    /// The letter of one of the record's options.
    Option,
    /// Yes or no; true and false are read so too.
    YesNo,
    /// A day: "5/1/2021", "2021-05-01" and "May 1, 2021" are 05/01/2021.
    Date,
    /// Any words, whatever their case and quoting.
    Text,
    /// Letters, whatever stands between them.
    Letters,
}

/// How the gold answer stands in its field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gold {
    /// The field is the answer.
    #[default]
    Field,
    /// The field is a text that states it.
    Text,
    /// The field is its place among the options, counted from 0.
    Index,
    /// The field maps answers to scores (BIG-bench's `target_scores`): the best one.
    BestKey,
}

/// Which of several answers in a text without a mark counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Take {
    /// The last one: a rationale ends in its answer.
    #[default]
    Last,
    /// The first one.
    First,
    /// The last one, whatever a mark says (MCC-KD's rule for its rationales).
    LastAnywhere,
}

/// An answer in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// In its one spelling.
    pub answer: String,
    /// Where the statement begins: at the mark, else at the answer itself.
    pub start: usize,
    /// Whether a mark says that this is the answer.
    pub is_marked: bool,
}

impl AnswerOptions {
    /// Whether answers come from a small fixed set, so that counts and labels by name make sense.
    pub fn is_closed(&self) -> bool {
        matches!(
            self.kind,
            AnswerKind::Label | AnswerKind::YesNo | AnswerKind::Option
        )
    }

    /// The answer that a text states, if any: after its last mark, else by `take`.
    pub fn read(&self, text: &str, labels: &BTreeMap<String, Vec<String>>) -> Option<Found> {
        let marks = match self.take {
            Take::LastAnywhere => vec![],
            Take::First | Take::Last => self.marks_in(text),
        };
        for (mark, rest) in marks.into_iter().rev() {
            if let Some(answer) = self.stated(&text[rest], labels) {
                return Some(Found {
                    answer,
                    start: mark,
                    is_marked: true,
                });
            }
        }
        let found = match self.kind {
            AnswerKind::Label => {
                let (label, _) = scan::leading_label(text, labels)?;
                return Some(Found {
                    answer: label.to_owned(),
                    start: 0,
                    is_marked: false,
                });
            }
            AnswerKind::Text | AnswerKind::Letters => {
                let answer = normalise(self.kind, text).ok()?;
                return Some(Found {
                    answer,
                    start: 0,
                    is_marked: false,
                });
            }
            kind => scan::all(kind, text, false),
        };
        let (place, answer) = match self.take {
            Take::Last | Take::LastAnywhere => found.into_iter().next_back()?,
            Take::First => found.into_iter().next()?,
        };
        Some(Found {
            answer,
            start: place.start,
            is_marked: false,
        })
    }

    /// The answer that a text begins with, and what follows it.
    pub fn leading(&self, text: &str) -> Option<(String, String)> {
        let text = text.trim();
        let (answer, rest) = match self.kind {
            AnswerKind::Label => return None,
            AnswerKind::Text | AnswerKind::Letters => {
                let first = scan::first_sentence(text);
                (normalise(self.kind, first).ok()?, &text[first.len()..])
            }
            kind => {
                let (place, answer) = scan::all(kind, text, true).into_iter().next()?;
                let before = &text[..place.start];
                if before.contains(char::is_alphanumeric) {
                    return None;
                }
                (answer, &text[place.end..])
            }
        };
        let rest = rest.trim_start_matches(|c: char| c.is_whitespace() || ".:,;)*-".contains(c));
        Some((answer, rest.to_owned()))
    }

    /// The gold answer that a text states: marks that disagree are a fault of the record.
    pub fn read_gold(
        &self,
        text: &str,
        labels: &BTreeMap<String, Vec<String>>,
    ) -> Result<Found, String> {
        let stated: Vec<String> = self
            .marks_in(text)
            .into_iter()
            .filter_map(|(_, rest)| self.stated(&text[rest], labels))
            .collect();
        if let Some(other) = stated.iter().find(|answer| **answer != stated[0]) {
            return Err(format!(
                "states two answers, `{}` and `{other}`, expected one",
                stated[0]
            ));
        }
        self.read(text, labels)
            .ok_or_else(|| format!("states no answer, expected {}", scan::expected(self.kind)))
    }

    /// What follows the label that a text begins with.
    pub fn after_label<'t>(
        &self,
        text: &'t str,
        labels: &BTreeMap<String, Vec<String>>,
    ) -> Option<&'t str> {
        let (_, rest) = scan::leading_label(text, labels)?;
        Some(rest.trim_start_matches(|c: char| c.is_whitespace() || ".:,;)*-".contains(c)))
    }

    /// A text without the sentence that states its answer: what explains it.
    pub fn explanation<'t>(
        &self,
        text: &'t str,
        labels: &BTreeMap<String, Vec<String>>,
    ) -> &'t str {
        match self.read(text, labels) {
            Some(found) if found.is_marked => {
                let (head, statement) = text.split_at(found.start);
                match scan::without_lead_in(head.trim_end()) {
                    // Who states the answer first explains it after.
                    "" => statement[scan::first_sentence(statement).len()..].trim(),
                    explanation => explanation,
                }
            }
            _ => text.trim(),
        }
    }

    /// Where marks stand, and what follows each up to the next one.
    fn marks_in(&self, text: &str) -> Vec<(usize, Range<usize>)> {
        let lower = text.to_ascii_lowercase();
        let mut places: Vec<Range<usize>> = Vec::new();
        let ours = STATES.to_ascii_lowercase();
        for mark in self
            .marks
            .iter()
            .map(|m| m.to_ascii_lowercase())
            .chain([ours])
        {
            if !mark.is_empty() {
                places.extend(
                    lower
                        .match_indices(&mark)
                        .map(|(at, _)| at..at + mark.len()),
                );
            }
        }
        places.sort_by_key(|place| (place.start, std::cmp::Reverse(place.end)));
        places.dedup_by(|later, earlier| later.start < earlier.end);
        let ends: Vec<usize> = places.iter().skip(1).map(|p| p.start).collect();
        let ends = ends.into_iter().chain([text.len()]);
        places
            .into_iter()
            .zip(ends)
            .map(|(place, end)| (place.start, place.end..end))
            .collect()
    }

    /// The answer right after a mark.
    fn stated(&self, rest: &str, labels: &BTreeMap<String, Vec<String>>) -> Option<String> {
        match self.kind {
            AnswerKind::Label => {
                scan::leading_label(rest, labels).map(|(label, _)| label.to_owned())
            }
            AnswerKind::Text | AnswerKind::Letters => {
                let sentence = scan::first_sentence(rest);
                normalise(self.kind, sentence).ok()
            }
            kind => scan::all(kind, rest, true)
                .into_iter()
                .next()
                .map(|(_, answer)| answer),
        }
    }
}

/// The answer that most answers give (self-consistency, Wang et al. 2023); among equals the one
/// that was given first. Texts without an answer have no vote.
pub fn vote<'a>(answers: impl IntoIterator<Item = Option<&'a str>>) -> Option<&'a str> {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for answer in answers.into_iter().flatten() {
        match counts.iter_mut().find(|(known, _)| *known == answer) {
            Some((_, count)) => *count += 1,
            None => counts.push((answer, 1)),
        }
    }
    let most = counts.iter().map(|(_, count)| *count).max()?;
    counts
        .into_iter()
        .find(|(_, count)| *count == most)
        .map(|(answer, _)| answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(kind: AnswerKind) -> AnswerOptions {
        AnswerOptions {
            kind,
            marks: vec!["####".into()],
            ..Default::default()
        }
    }

    fn check(kind: AnswerKind, text: &str, expected: &str) {
        let labels = BTreeMap::from([
            ("refuted".into(), vec!["REFUTES".into()]),
            ("not enough info".into(), vec![]),
        ]);
        let found = options(kind).read(text, &labels);
        let got = found.map_or("none".into(), |f| f.answer);
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn a_number_stands_after_the_mark_or_last() {
        let check = |text, expected| check(AnswerKind::Number, text, expected);
        check("She has 3 + 4 = 7 eggs.\n#### 7", "7");
        check("So 1,200.50 dollars, not 1200.5 pounds", "1200.5");
        check("The answer is $1,234,567.", "1234567");
        check("the answer is 5, as 5 of 9 are left", "5");
        check("10-3=7", "7");
        check("it fell to -3.0 degrees", "-3");
        check("from 5 to 9-", "9");
        check("a list: 1,2,3", "3");
        check("007", "7");
        check("no digits", "none");
        check("-0.00", "0");
        check("The answer is 3. No: the answer is 4.", "4");
        check("#### 5\nthe answer is unclear", "5");
    }

    #[test]
    fn the_last_number_can_count_whatever_is_stated() {
        let options = AnswerOptions {
            take: Take::LastAnywhere,
            ..options(AnswerKind::Number)
        };
        let found = options.read("The answer is 5, of 9.", &BTreeMap::new());
        assert_eq!(found.unwrap().answer, "9");
    }

    #[test]
    fn an_option_is_a_letter_that_stands_alone() {
        let check = |text, expected| check(AnswerKind::Option, text, expected);
        check("The answer is (B).", "B");
        check("the answer is C because A is wrong", "C");
        check("Among A through E, the answer is D", "D");
        check("A car is fast, so (B) fits", "B");
        check("A car is fast, so b) fits", "none");
        check("It must be E.", "E");
        check("Because of An Error", "none");
        check("I think it is A", "A");
    }

    #[test]
    fn yes_and_no_are_words() {
        let check = |text, expected| check(AnswerKind::YesNo, text, expected);
        check("So the answer is no.", "no");
        check("Nobody knows. Yes!", "yes");
        check("The answer is true", "yes");
        check("nothing", "none");
    }

    #[test]
    fn a_date_has_one_spelling() {
        let check = |text, expected| check(AnswerKind::Date, text, expected);
        check("the answer is 5/1/2021.", "05/01/2021");
        check("It is 2021-05-01 today", "05/01/2021");
        check("So the answer is May 1, 2021", "05/01/2021");
        check("1 May 2021", "05/01/2021");
        check("13/32/2021", "none");
    }

    #[test]
    fn words_and_letters_are_compared_without_case_and_quotes() {
        check(
            AnswerKind::Text,
            "The answer is \"Blue  whale\".",
            "blue whale",
        );
        check(AnswerKind::Letters, "So the answer is \"Y a-j o\".", "yajo");
    }

    #[test]
    fn a_label_leads_or_follows_a_mark() {
        check(AnswerKind::Label, "REFUTES. It was cold.", "refuted");
        check(
            AnswerKind::Label,
            "It was cold. The answer is not enough info.",
            "not enough info",
        );
        check(AnswerKind::Label, "It was refuted.", "none");
    }

    #[test]
    fn two_gold_answers_in_one_text_are_a_fault() {
        let labels = BTreeMap::new();
        let read = |text| options(AnswerKind::Number).read_gold(text, &labels);
        assert_eq!(read("3 #### 7\n#### 7.0").unwrap().answer, "7");
        assert_eq!(
            read("#### 7\n#### 8").unwrap_err(),
            "states two answers, `7` and `8`, expected one"
        );
        assert_eq!(
            read("none").unwrap_err(),
            "states no answer, expected a number"
        );
    }

    #[test]
    fn the_explanation_is_what_comes_before_the_statement() {
        let check = |text, expected| {
            let options = options(AnswerKind::Number);
            assert_eq!(options.explanation(text, &BTreeMap::new()), expected);
        };
        check("3 + 4 = 7.\n#### 7", "3 + 4 = 7.");
        check("3 + 4 = 7.\nTherefore, the answer is 7 .", "3 + 4 = 7.");
        check("So the answer is 7.", "");
        check("The answer is 7.", "");
        check("The answer is 7. 3 + 4 = 7.", "3 + 4 = 7.");
        check("3 + 4 = 7.", "3 + 4 = 7.");
    }

    #[test]
    fn a_vote_goes_to_the_most_and_then_to_the_first() {
        let check = |answers: &[Option<&str>], expected| {
            assert_eq!(vote(answers.iter().copied()), expected);
        };
        check(&[Some("3"), None, Some("4"), Some("4")], Some("4"));
        check(&[Some("3"), Some("4")], Some("3"));
        check(&[None, None], None);
        check(&[], None);
    }
}

//! What an explanation keeps of the particulars of its reference: numbers, dates, names of people and places.

use serde::{Deserialize, Serialize};

use super::number::numbers;
use super::token::{Token, is_determiner, is_preposition, is_pronoun, tokens};

/// Months and days of the week; `may` and `march` count only with a capital letter.
const DATES: &str = "january february march april may june july august september october november december \
    monday tuesday wednesday thursday friday saturday sunday";

/// What was there and what is left of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Different particulars in the reference.
    pub total: usize,
    /// Those of them that the explanation has too.
    pub kept: usize,
    /// `kept / total`; none where the reference has no such particular.
    pub share: Option<f64>,
    /// The others, as the reference writes them.
    pub lost: Vec<String>,
}

/// What is kept of each kind of particular.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Retention {
    /// Quantities, in figures or in words.
    pub numbers: Kept,
    /// Years, months and days of the week.
    pub dates: Kept,
    /// Words with a capital letter that does not come from their place in the sentence.
    pub names: Kept,
}

/// Compares the particulars of two texts that are split into sentences.
///
/// ```
/// use stillhouse_core::evaluate::causal::retention;
/// let kept = retention(&["In May 1998 the Elbe rose by 3 metres.".into()], &["The Elbe rose in 1998.".into()]);
/// assert_eq!((kept.names.share, kept.numbers.lost), (Some(1.0), vec!["3".to_owned()]));
/// ```
pub fn retention(reference: &[String], explanation: &[String]) -> Retention {
    let (ours, theirs) = (Particulars::of(reference), Particulars::of(explanation));
    let said: Vec<String> = explanation
        .iter()
        .flat_map(|sentence| tokens(sentence))
        .map(|token| bare(&token.word).to_owned())
        .collect();
    let has_name = |name: &String| {
        name.to_lowercase()
            .split(' ')
            .all(|word| said.iter().any(|other| other == bare(word)))
    };
    Retention {
        numbers: kept(
            &ours.numbers,
            |(value, _)| {
                theirs.numbers.iter().any(|(other, _)| other == value)
                    || theirs.dates.contains(value)
            },
            |(_, text)| text.clone(),
        ),
        dates: kept(
            &ours.dates,
            |date| {
                theirs
                    .dates
                    .iter()
                    .any(|other| other.eq_ignore_ascii_case(date))
            },
            Clone::clone,
        ),
        names: kept(&ours.names, has_name, Clone::clone),
    }
}

fn kept<T>(ours: &[T], is_kept: impl Fn(&T) -> bool, text: impl Fn(&T) -> String) -> Kept {
    let lost: Vec<String> = ours
        .iter()
        .filter(|item| !is_kept(item))
        .map(text)
        .collect();
    let (total, n) = (ours.len(), ours.len() - lost.len());
    Kept {
        total,
        kept: n,
        share: (total > 0).then(|| n as f64 / total as f64),
        lost,
    }
}

/// The different particulars of a text, in the order in which they come.
#[derive(Default)]
struct Particulars {
    /// Value, and how it is written.
    numbers: Vec<(String, String)>,
    dates: Vec<String>,
    names: Vec<String>,
}

impl Particulars {
    fn of(sentences: &[String]) -> Self {
        let mut all = Self::default();
        for sentence in sentences {
            for number in numbers(sentence) {
                if number.is_year() {
                    push(&mut all.dates, number.text);
                } else if !all.numbers.iter().any(|(value, _)| *value == number.value) {
                    all.numbers.push((number.value, number.text));
                }
            }
            all.capitals(sentence);
        }
        all
    }

    /// Runs of words with a capital letter.
    fn capitals(&mut self, sentence: &str) {
        let tokens = tokens(sentence);
        let mut at = 0;
        while at < tokens.len() {
            let length = tokens[at..]
                .iter()
                .take_while(|token| token.is_capital)
                .count();
            if length == 0 {
                at += 1;
                continue;
            }
            let opens = tokens[..at].iter().all(Token::is_mark)
                || at > 0 && tokens[at - 1].is_any(": \" \u{201c}");
            let run = &tokens[at..at + length];
            at += length;
            let mut run: Vec<&Token> = run.iter().collect();
            // The first word of a sentence has its capital from there, unless it leads a name.
            if opens && (run.len() == 1 && !is_acronym(sentence, run[0]) || is_common(run[0])) {
                run.remove(0);
            }
            for token in run.iter().filter(|token| token.is_any(DATES)) {
                push(&mut self.dates, capitalised(&token.word));
            }
            run.retain(|token| {
                !token.is_any(DATES) && !token.is("i") && !token.word.starts_with("i'")
            });
            if !run.is_empty() {
                let words: Vec<&str> = run
                    .iter()
                    .map(|token| bare(&sentence[token.start..token.end]))
                    .collect();
                push(&mut self.names, words.join(" "));
            }
        }
    }
}

fn push(list: &mut Vec<String>, item: String) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// Without the possessive ending.
fn bare(word: &str) -> &str {
    word.strip_suffix("'s")
        .or_else(|| word.strip_suffix("\u{2019}s"))
        .unwrap_or(word)
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

fn is_acronym(sentence: &str, token: &Token) -> bool {
    sentence[token.start..token.end]
        .chars()
        .filter(|c| c.is_uppercase())
        .count()
        > 1
}

fn is_common(token: &Token) -> bool {
    is_determiner(token)
        || is_preposition(token)
        || is_pronoun(token)
        || token.is_any(
            "when because since if after once although though while but and so had unless \
            whenever wherever",
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_dates_and_names_are_told_apart() {
        check(
            "Since May 1998 both mills on the River Elbe have closed. Dr Weber of the WHO counted 1,200 jobs.",
            "In 1998 mills on the Elbe closed, and Weber counted 1200 jobs.",
            "numbers 1/1 | dates 1/2 May | names 0/3 River Elbe, Dr Weber, WHO",
        );
    }

    #[test]
    fn a_capital_at_the_start_of_a_sentence_is_no_name() {
        check(
            "Rain fell. The Elbe rose. It may rain.",
            "The Elbe rose.",
            "numbers 0/0 | dates 0/0 | names 1/1",
        );
        check(
            "NATO met.",
            "They met.",
            "numbers 0/0 | dates 0/0 | names 0/1 NATO",
        );
    }

    #[test]
    fn an_empty_text_loses_all_and_has_nothing_to_keep() {
        check(
            "Rome fell in 476.",
            "",
            "numbers 0/1 476 | dates 0/0 | names 0/0",
        );
        check("", "Rome fell.", "numbers 0/0 | dates 0/0 | names 0/0");
    }

    fn check(reference: &str, explanation: &str, expected: &str) {
        let split = crate::evaluate::split::sentences;
        let kept = retention(&split(reference), &split(explanation));
        let show = |name: &str, kept: &Kept| {
            format!(
                "{name} {}/{} {}",
                kept.kept,
                kept.total,
                kept.lost.join(", ")
            )
            .trim_end()
            .to_owned()
        };
        let shown = [
            show("numbers", &kept.numbers),
            show("dates", &kept.dates),
            show("names", &kept.names),
        ];
        assert_eq!(shown.join(" | "), expected);
    }
}

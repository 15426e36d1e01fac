//! Numbers in running text, in figures and in words.

use super::token::{Token, tokens};

/// A number as it is compared: `1,000` and `thousand` are both `1000`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Number {
    /// Plain digits, a decimal point where needed, and `%` where it is a share.
    pub(super) value: String,
    /// As it stands in the text.
    pub(super) text: String,
    /// Byte place in the text.
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Number {
    /// Whether it looks like a year: four figures without a comma, 1000 to 2199.
    pub(super) fn is_year(&self) -> bool {
        let is_plain = self.text.len() == 4 && self.text.bytes().all(|b| b.is_ascii_digit());
        is_plain && (b'1'..=b'2').contains(&self.text.as_bytes()[0]) && self.text.as_str() < "2200"
    }
}

const UNITS: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 8] = [
    "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
];

/// Every number of a text, in order. `one` counts only as a part of a longer number, because it is a pronoun too.
pub(super) fn numbers(text: &str) -> Vec<Number> {
    let tokens = tokens(text);
    let mut numbers = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if let Some(value) = figures(&tokens[at]) {
            let is_share = tokens[at].word.ends_with('%')
                || tokens.get(at + 1).is_some_and(|next| {
                    next.is_any("% percent")
                        || (next.is("per")
                            && tokens.get(at + 2).is_some_and(|third| third.is("cent")))
                });
            numbers.push(number(
                text,
                &tokens[at..=at],
                format!("{value}{}", if is_share { "%" } else { "" }),
            ));
            at += 1;
            continue;
        }
        let words = tokens[at..]
            .iter()
            .take_while(|token| is_number_word(&token.word))
            .count();
        if words > 0 {
            let value = tokens[at..at + words]
                .iter()
                .fold((0u64, 0u64), |(sum, part), token| {
                    step(sum, part, &token.word)
                });
            if words > 1 || !tokens[at].is("one") {
                numbers.push(number(
                    text,
                    &tokens[at..at + words],
                    (value.0 + value.1).to_string(),
                ));
            }
            at += words;
            continue;
        }
        at += 1;
    }
    numbers
}

fn number(text: &str, tokens: &[Token], value: String) -> Number {
    let (start, end) = (tokens[0].start, tokens[tokens.len() - 1].end);
    Number {
        value,
        text: text[start..end].to_owned(),
        start,
        end,
    }
}

/// The value of a number in figures: no thousands commas, no zeros at the end.
fn figures(token: &Token) -> Option<String> {
    let plain = token
        .word
        .trim_matches(['$', '\u{a3}', '\u{20ac}', '%', '+'])
        .replace(',', "");
    let plain = plain.trim_end_matches('s');
    if plain.is_empty()
        || !plain.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        || !plain.bytes().any(|b| b.is_ascii_digit())
    {
        return None;
    }
    if plain.contains('.') {
        return Some(plain.trim_end_matches('0').trim_end_matches('.').to_owned());
    }
    let short = plain.trim_start_matches('0');
    Some(if short.is_empty() { "0" } else { short }.to_owned())
}

fn is_number_word(word: &str) -> bool {
    word.split('-')
        .all(|part| unit(part).is_some() || scale(part).is_some())
}

fn unit(word: &str) -> Option<u64> {
    let place = |list: &[&str]| {
        list.iter()
            .position(|known| *known == word)
            .map(|place| place as u64)
    };
    place(&UNITS).or_else(|| place(&TENS).map(|place| (place + 2) * 10))
}

fn scale(word: &str) -> Option<u64> {
    match word {
        "hundred" => Some(100),
        "thousand" => Some(1000),
        "million" => Some(1_000_000),
        "billion" => Some(1_000_000_000),
        _ => None,
    }
}

/// Reads one more word of a number: the sum so far, and the part below the next scale.
fn step(sum: u64, part: u64, word: &str) -> (u64, u64) {
    word.split('-').fold((sum, part), |(sum, part), word| {
        match (unit(word), scale(word)) {
            (Some(unit), _) => (sum, part.saturating_add(unit)),
            (_, Some(100)) => (sum, part.max(1).saturating_mul(100)),
            (_, Some(scale)) => (sum.saturating_add(part.max(1).saturating_mul(scale)), 0),
            _ => (sum, part),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_and_words_are_one_number() {
        check("1,000 of 2.50 million and 7%", "1000 2.5 1000000 7%");
        check(
            "twenty-two, three hundred, five thousand two hundred",
            "22 300 5200",
        );
        check("one of them rose by 12 per cent in the 1990s", "12% 1990");
        check("no number, CO2 aside", "");
    }

    fn check(text: &str, expected: &str) {
        let values: Vec<String> = numbers(text)
            .into_iter()
            .map(|number| number.value)
            .collect();
        assert_eq!(values.join(" "), expected);
    }
}

//! Finding numbers, letters, words and dates in a text, and their one spelling.

use std::collections::BTreeMap;
use std::ops::Range;

use super::AnswerKind;

/// What kind of thing is wanted, for a complaint.
pub(super) fn expected(kind: AnswerKind) -> &'static str {
    match kind {
        AnswerKind::Label => "a label",
        AnswerKind::Number => "a number",
        AnswerKind::Option => "an option's letter",
        AnswerKind::YesNo => "yes or no",
        AnswerKind::Date => "a date",
        AnswerKind::Text => "a text",
        AnswerKind::Letters => "letters",
    }
}

/// A whole field as an answer in its one spelling; else what was found and what was expected.
pub fn normalise(kind: AnswerKind, field: &str) -> Result<String, String> {
    let wrong = || format!("is `{field}`, expected {}", expected(kind));
    let text = field.trim();
    match kind {
        AnswerKind::Text => {
            let bare = text.trim_matches(|c: char| c.is_whitespace() || "\"'`.:*".contains(c));
            let words: Vec<&str> = bare.split_whitespace().collect();
            let text = words.join(" ").to_lowercase();
            if text.is_empty() {
                Err(wrong())
            } else {
                Ok(text)
            }
        }
        AnswerKind::Letters => {
            let letters: String = text.chars().filter(|c| c.is_alphanumeric()).collect();
            if letters.is_empty() {
                Err(wrong())
            } else {
                Ok(letters.to_lowercase())
            }
        }
        AnswerKind::Number => {
            let bare = text.trim_matches(|c: char| c.is_whitespace() || "$€£%.".contains(c));
            match numbers(bare).as_slice() {
                [(place, answer)] if *place == (0..bare.len()) => Ok(answer.clone()),
                // Floats as JSON writes them: 1e3.
                _ => bare
                    .parse::<f64>()
                    .ok()
                    .filter(|x| x.is_finite())
                    .and_then(|x| number(&format!("{x}")))
                    .ok_or_else(wrong),
            }
        }
        AnswerKind::Option => {
            let bare = text.trim_matches(|c: char| !c.is_alphanumeric());
            match bare.as_bytes() {
                [letter] if letter.is_ascii_alphabetic() => Ok(bare.to_ascii_uppercase()),
                _ => Err(wrong()),
            }
        }
        AnswerKind::Label | AnswerKind::YesNo | AnswerKind::Date => {
            let bare = text.trim_end_matches('.');
            match all(kind, bare, true).as_slice() {
                [(place, answer)] if *place == (0..bare.len()) => Ok(answer.clone()),
                _ => Err(wrong()),
            }
        }
    }
}

/// Every answer of this kind in a text, in order; after a mark a lone "A" is an option, before
/// one it may be an article.
pub(super) fn all(kind: AnswerKind, text: &str, is_stated: bool) -> Vec<(Range<usize>, String)> {
    match kind {
        AnswerKind::Number => numbers(text),
        AnswerKind::Option => letters(text, is_stated),
        AnswerKind::YesNo => words(text)
            .filter_map(|(place, word)| match word.to_lowercase().as_str() {
                "yes" | "true" => Some((place, "yes".to_owned())),
                "no" | "false" => Some((place, "no".to_owned())),
                _ => None,
            })
            .collect(),
        AnswerKind::Date => dates(text),
        AnswerKind::Label | AnswerKind::Text | AnswerKind::Letters => vec![],
    }
}

/// A number in its one spelling: no separators, no zeros in front or behind.
pub fn number(digits: &str) -> Option<String> {
    let (is_negative, digits) = match digits.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, digits),
    };
    let digits = digits.replace(',', "");
    let (whole, part) = digits.split_once('.').unwrap_or((&digits, ""));
    if !(whole.bytes().chain(part.bytes())).all(|b| b.is_ascii_digit()) || digits.is_empty() {
        return None;
    }
    let (whole, part) = (whole.trim_start_matches('0'), part.trim_end_matches('0'));
    let mut text = if whole.is_empty() {
        "0".to_owned()
    } else {
        whole.to_owned()
    };
    if !part.is_empty() {
        text.push('.');
        text.push_str(part);
    }
    if is_negative && text != "0" {
        text.insert(0, '-');
    }
    Some(text)
}

/// Numbers with an optional sign, thousands in commas, and a decimal part. Kojima et al. drop
/// every comma and read "10-3" as 10 and -3; here a minus after a word or number is none.
fn numbers(text: &str) -> Vec<(Range<usize>, String)> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let is_signed = bytes[at] == b'-' && digit(at + 1) && !after_word(text, at);
        if !digit(at) && !is_signed {
            at += 1;
            continue;
        }
        let start = at;
        at += usize::from(is_signed);
        while digit(at) {
            at += 1;
        }
        let short = at - start - usize::from(is_signed) <= 3;
        while short
            && bytes.get(at) == Some(&b',')
            && (1..=3).all(|k| digit(at + k))
            && !digit(at + 4)
        {
            at += 4;
        }
        if bytes.get(at) == Some(&b'.') && digit(at + 1) {
            at += 1;
            while digit(at) {
                at += 1;
            }
        }
        if let Some(answer) = number(&text[start..at]) {
            found.push((start..at, answer));
        }
    }
    found
}

fn after_word(text: &str, at: usize) -> bool {
    let before = text[..at].chars().next_back();
    before.is_some_and(|c| c.is_alphanumeric() || c == ')')
}

/// Capital letters that stand alone or in brackets. Kojima et al. take any capital from A to E,
/// also inside a word; that reads "Explanation" as E.
fn letters(text: &str, is_stated: bool) -> Vec<(Range<usize>, String)> {
    let mut alone = Vec::new();
    let mut in_brackets = Vec::new();
    for (place, word) in words(text) {
        let [letter] = word.as_bytes() else { continue };
        let (before, after) = (&text[..place.start], &text[place.end..]);
        let is_bracketed = before.ends_with('(') && after.starts_with(')');
        let is_letter =
            letter.is_ascii_uppercase() || (is_bracketed && letter.is_ascii_lowercase());
        if !is_letter {
            continue;
        }
        let entry = (place, word.to_ascii_uppercase());
        if is_bracketed {
            in_brackets.push(entry);
            continue;
        }
        let next = after.trim_start().chars().next();
        let is_article = matches!(letter, b'A' | b'I')
            && after.starts_with(char::is_whitespace)
            && next.is_some_and(char::is_lowercase);
        if is_stated || !is_article {
            alone.push(entry);
        }
    }
    if in_brackets.is_empty() || (is_stated && first_is_before(&alone, &in_brackets)) {
        alone
    } else {
        in_brackets
    }
}

fn first_is_before(a: &[(Range<usize>, String)], b: &[(Range<usize>, String)]) -> bool {
    match (a.first(), b.first()) {
        (Some(a), Some(b)) => a.0.start < b.0.start,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

/// Runs of letters and digits.
fn words(text: &str) -> impl Iterator<Item = (Range<usize>, &str)> {
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + text[rest..].find(char::is_alphanumeric)?;
        let length = text[start..].find(|c: char| !c.is_alphanumeric());
        let end = length.map_or(text.len(), |n| start + n);
        rest = end;
        Some((start..end, &text[start..end]))
    })
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// Days as BIG-bench writes them (MM/DD/YYYY), as ISO does, and with the month's name.
fn dates(text: &str) -> Vec<(Range<usize>, String)> {
    let words: Vec<(Range<usize>, &str)> = words(text).collect();
    let mut found: Vec<(Range<usize>, String)> = Vec::new();
    for three in words.windows(3) {
        let [(first, a), (second, b), (third, c)] = three else {
            continue;
        };
        let gaps = [
            &text[first.end..second.start],
            &text[second.end..third.start],
        ];
        let spelled = gaps.iter().all(|gap| matches!(gap.trim(), "" | ","));
        let date = match gaps {
            ["/", "/"] => day(c, a, b),
            ["-", "-"] if a.len() == 4 => day(a, b, c),
            _ if spelled => match (month(a), month(b)) {
                (Some(month), _) => day(c, &month, b),
                (_, Some(month)) => day(c, &month, a),
                _ => None,
            },
            _ => None,
        };
        if let Some(date) = date {
            let starts_in_last = found
                .last()
                .is_some_and(|(place, _)| first.start < place.end);
            if !starts_in_last {
                found.push((first.start..third.end, date));
            }
        }
    }
    found
}

fn month(name: &str) -> Option<String> {
    let name = name.to_lowercase();
    let is = |full: &str| name.len() >= 3 && full.starts_with(&name);
    let at = MONTHS.iter().position(|full| is(full))?;
    Some((at + 1).to_string())
}

fn day(year: &str, month: &str, day: &str) -> Option<String> {
    let ordinal = ["st", "nd", "rd", "th"]
        .iter()
        .find_map(|end| day.strip_suffix(end));
    let (month, day): (u32, u32) = (month.parse().ok()?, ordinal.unwrap_or(day).parse().ok()?);
    let is_day = (1..=12).contains(&month) && (1..=31).contains(&day) && year.len() == 4;
    let year: u32 = year.parse().ok()?;
    is_day.then(|| format!("{month:02}/{day:02}/{year}"))
}

/// The label that a text begins with, by any of its spellings, and what follows it.
pub(super) fn leading_label<'l, 't>(
    text: &'t str,
    labels: &'l BTreeMap<String, Vec<String>>,
) -> Option<(&'l str, &'t str)> {
    let is_mark = |c: char| c.is_whitespace() || "*_\"'`([{:#".contains(c);
    let start = text.trim_start_matches(is_mark);
    let mut best: Option<(&str, &str)> = None;
    for (name, spellings) in labels {
        for spelling in spellings.iter().chain([name]) {
            let Some(head) = start.get(..spelling.len()) else {
                continue;
            };
            let rest = &start[spelling.len()..];
            let is_longer = best.is_none_or(|(_, kept)| rest.len() < kept.len());
            if is_longer
                && !spelling.is_empty()
                && head.eq_ignore_ascii_case(spelling)
                && !rest.starts_with(char::is_alphanumeric)
            {
                best = Some((name, rest));
            }
        }
    }
    best
}

/// Up to the first full stop that ends something, or the end of the line.
pub(super) fn first_sentence(text: &str) -> &str {
    let text = text.trim_start();
    let line = text.lines().next().unwrap_or_default();
    let end = line.find(". ").map_or(line.len(), |at| at + 1);
    &line[..end]
}

/// Takes "Therefore," or "So" off the end, which led into a statement that was taken off.
pub(super) fn without_lead_in(head: &str) -> &str {
    let bare = head.trim_end_matches([',', ' ', ':']);
    for lead_in in ["therefore", "thus", "hence", "so", "finally"] {
        let Some(at) = bare.len().checked_sub(lead_in.len()) else {
            continue;
        };
        if !bare.is_char_boundary(at) || !bare[at..].eq_ignore_ascii_case(lead_in) {
            continue;
        }
        let before = bare[..at].chars().next_back();
        if before.is_none_or(|c| !c.is_alphanumeric()) {
            return bare[..at].trim_end_matches([',', ' ', '\n', '\r', '\t']);
        }
    }
    head
}

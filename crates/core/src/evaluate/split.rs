//! Where sentences end: UAX #29, corrected for English abbreviations, initials, lists, quotations
//! and texts that begin their sentences in lower case.
//!
//! CEC depends on the splitter, so its name stands in each signature.

use unicode_segmentation::UnicodeSegmentation;

/// The name and version of these rules, for signatures: any change of behaviour changes it.
pub const NAME: &str = "uax29-en-1";

/// Joined with whatever follows: titles, and words that stand in the middle of a sentence.
const NEVER_LAST: &[&str] = &[
    "adm", "approx", "brig", "ca", "capt", "cf", "cmdr", "col", "dr", "e.g", "eg", "esp", "gen",
    "gov", "hon", "i.e", "ie", "incl", "lt", "maj", "messrs", "mlle", "mme", "mr", "mrs", "ms",
    "mt", "prof", "rep", "resp", "rev", "sen", "sgt", "st", "viz", "vs",
];

/// Joined with a number that follows.
const BEFORE_NUMBER: &[&str] = &[
    "app", "apr", "art", "aug", "ch", "chap", "dec", "eq", "eqs", "est", "feb", "fig", "figs",
    "jan", "jul", "jun", "mar", "max", "min", "no", "nos", "nov", "oct", "p", "para", "pp", "ref",
    "refs", "sec", "sect", "sep", "sept", "tab", "ver", "vol", "vols",
];

/// May end a sentence; lower case after them does not begin one.
const MAYBE_LAST: &[&str] = &[
    "al", "ave", "blvd", "bros", "co", "corp", "dept", "ed", "eds", "esq", "etc", "ft", "inc",
    "jr", "ltd", "sr", "univ",
];

/// Words that begin a sentence even after initials or an acronym with full stops.
const STARTERS: &[&str] = &[
    "A",
    "After",
    "All",
    "Also",
    "An",
    "And",
    "As",
    "At",
    "Because",
    "Both",
    "But",
    "By",
    "For",
    "From",
    "He",
    "Hence",
    "Her",
    "His",
    "How",
    "However",
    "I",
    "If",
    "In",
    "It",
    "Its",
    "Many",
    "Most",
    "No",
    "Not",
    "Of",
    "On",
    "Once",
    "One",
    "Or",
    "Our",
    "She",
    "Since",
    "So",
    "Some",
    "Such",
    "That",
    "The",
    "Their",
    "Then",
    "There",
    "Therefore",
    "These",
    "They",
    "This",
    "Those",
    "Thus",
    "To",
    "We",
    "What",
    "When",
    "Where",
    "Which",
    "While",
    "Who",
    "Why",
    "With",
    "Yet",
    "You",
];

/// A quotation or bracket is kept whole if it closes within this many bytes.
const CLOSES_WITHIN: usize = 400;
/// A sentence longer than this is not made longer by an open quotation or bracket.
const LONG_BYTES: usize = 1000;

/// The sentences of a text, without the white space around them; none for white space alone.
///
/// ```
/// use stillhouse_core::evaluate::split::sentences;
/// assert_eq!(sentences("Dr. Weber was right. He knew."), ["Dr. Weber was right.", "He knew."]);
/// ```
pub fn sentences(text: &str) -> Vec<String> {
    let mut sentences = Vec::new();
    let mut start = 0;
    let mut push = |piece: &str| {
        let piece = piece.trim();
        if !piece.is_empty() {
            sentences.push(piece.to_owned());
        }
    };
    for end in candidates(text) {
        let (left, right) = (&text[start..end], &text[end..]);
        if ends_here(left, right) {
            push(left);
            start = end;
        }
    }
    push(&text[start..]);
    sentences
}

/// The boundaries of UAX #29, and each full stop before a number or a word in lower case.
fn candidates(text: &str) -> Vec<usize> {
    let mut candidates: Vec<usize> = text
        .split_sentence_bound_indices()
        .map(|(at, _)| at)
        .collect();
    for (stop, _) in text.match_indices('.') {
        let after = text[stop + 1..].trim_start_matches(is_closing);
        let next = after.trim_start();
        if next.len() < after.len() && next.starts_with(begins_late) {
            candidates.push(text.len() - next.len());
        }
    }
    candidates.sort_unstable();
    candidates.dedup();
    candidates
}

/// Whether `left`, which begins at a sentence's start, is a whole sentence before `right`.
fn ends_here(left: &str, right: &str) -> bool {
    let sentence = left.trim_end();
    let space = &left[sentence.len()..];
    if space.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']) {
        return true;
    }
    let core = sentence.trim_end_matches(is_closing);
    let is_ascii_end = core.ends_with(['.', '?', '!']);
    if sentence.trim_start().is_empty() || (is_ascii_end && space.is_empty()) {
        // The second case is a mark inside a word or an address: `?c=d`.
        return false;
    }
    let next_is_lower = right.starts_with(char::is_lowercase);
    if core.len() < sentence.len() && next_is_lower && core.ends_with(['?', '!']) {
        return false; // "Why?" he asked.
    }
    if is_open(sentence, right) || is_list_marker(sentence) {
        return false;
    }
    match core.strip_suffix('.') {
        Some(before) => !is_abbreviated(before, right),
        None => true,
    }
}

/// Whether the full stop after `before` belongs to its last word.
fn is_abbreviated(before: &str, right: &str) -> bool {
    let word = before
        .rsplit(char::is_whitespace)
        .next()
        .unwrap_or_default();
    let word = word.trim_start_matches(|c: char| is_opening(c) || is_closing(c));
    let lower = word.to_lowercase();
    let next = right
        .split(|c: char| !c.is_alphanumeric())
        .next()
        .unwrap_or_default();
    let next_is_number = right
        .trim_start_matches(['(', '#'])
        .starts_with(|c: char| c.is_ascii_digit());
    let next_is_lower = right.starts_with(char::is_lowercase);
    let is_in = |list: &[&str]| list.binary_search(&lower.as_str()).is_ok();
    let is_starter = STARTERS.binary_search(&next).is_ok();

    if is_in(NEVER_LAST) {
        return !(is_starter && lower == "st");
    }
    if is_in(BEFORE_NUMBER) && next_is_number {
        return true;
    }
    let is_letters = |part: &str, most: usize| {
        (1..=most).contains(&part.chars().count()) && part.chars().all(char::is_alphabetic)
    };
    let is_initial = is_letters(word, 1);
    let is_acronym = word.contains('.') && word.split('.').all(|part| is_letters(part, 2));
    if is_acronym && matches!(lower.as_str(), "a.m" | "p.m") {
        return next_is_lower || next_is_number;
    }
    if is_initial || is_acronym {
        return !is_starter;
    }
    // What is left are full stops before lower case: after a whole word they end a sentence.
    next_is_lower && (is_in(MAYBE_LAST) || is_in(BEFORE_NUMBER) || before.ends_with('.'))
}

/// Whether `sentence` opens a quotation or a bracket that closes soon after.
fn is_open(sentence: &str, right: &str) -> bool {
    if sentence.len() > LONG_BYTES {
        return false;
    }
    let mut limit = right.len().min(CLOSES_WITHIN);
    while !right.is_char_boundary(limit) {
        limit -= 1;
    }
    let near = right[..limit].split('\n').next().unwrap_or_default();
    let count = |c: char| sentence.matches(c).count();
    let is_unclosed = |open: char, close: char| count(open) > count(close) && near.contains(close);
    is_unclosed('(', ')')
        || is_unclosed('[', ']')
        || is_unclosed('\u{201c}', '\u{201d}')
        || (count('"') % 2 == 1 && near.contains('"'))
}

/// Whether all that was said so far is `2.` or `(2)`: the number of an item, not a sentence.
fn is_list_marker(sentence: &str) -> bool {
    let number = sentence
        .trim_start()
        .trim_start_matches('(')
        .trim_end_matches(['.', ')']);
    (1..=3).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit())
}

/// What UAX #29 does not take for a beginning where lower case follows soon.
fn begins_late(c: char) -> bool {
    c.is_lowercase() || c.is_ascii_digit() || matches!(c, '$' | '\u{a3}' | '\u{20ac}')
}

fn is_closing(c: char) -> bool {
    matches!(
        c,
        '"' | '\'' | ')' | ']' | '}' | '\u{201d}' | '\u{2019}' | '\u{bb}'
    )
}

fn is_opening(c: char) -> bool {
    matches!(
        c,
        '"' | '\'' | '(' | '[' | '{' | '\u{201c}' | '\u{2018}' | '\u{ab}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn abbreviations_and_initials_do_not_end_a_sentence() {
        check(
            "Dr. Alvarez knew. She left.",
            "Dr. Alvarez knew. | She left.",
        );
        check(
            "Gases, e.g. CO2, trap heat. Others do not.",
            "Gases, e.g. CO2, trap heat. | Others do not.",
        );
        check(
            "See Fig. 3 in vol. 12, pp. 34-56. It is clear.",
            "See Fig. 3 in vol. 12, pp. 34-56. | It is clear.",
        );
        check("On Jan. 3. Power was lost.", "On Jan. 3. | Power was lost.");
        check(
            "J. R. R. Weber measured. They published.",
            "J. R. R. Weber measured. | They published.",
        );
        check(
            "The U.S. Senate met. In the E.U. The rest left.",
            "The U.S. Senate met. | In the E.U. | The rest left.",
        );
        check(
            "It came at 5 a.m. The town slept.",
            "It came at 5 a.m. | The town slept.",
        );
        check(
            "Coal, oil, etc. release CO2. It warms.",
            "Coal, oil, etc. release CO2. | It warms.",
        );
        check("Weber et al. Nature.", "Weber et al. | Nature.");
        check(
            "It is vitamin C. The rest is water.",
            "It is vitamin C. | The rest is water.",
        );
    }

    #[test]
    fn lower_case_may_begin_a_sentence() {
        check(
            "heat melts ice. the sea rises.",
            "heat melts ice. | the sea rises.",
        );
        check(
            "mr. weber lives in st. louis. he sleeps.",
            "mr. weber lives in st. louis. | he sleeps.",
        );
        check(
            "She has 20. 20% of them left. $9 was paid.",
            "She has 20. | 20% of them left. | $9 was paid.",
        );
        check(
            "it fell since 1979. the rest rose (see sec. 4.2). good.",
            "it fell since 1979. | the rest rose (see sec. 4.2). | good.",
        );
        check(
            "The ice melts... and the sea rises.",
            "The ice melts... and the sea rises.",
        );
    }

    #[test]
    fn quotations_brackets_lists_and_addresses_stay_whole() {
        check(
            "'Why?' he asked. It rained.",
            "'Why?' he asked. | It rained.",
        );
        check(
            "\"It melts. It rises,\" he said. Then he left.",
            "\"It melts. It rises,\" he said. | Then he left.",
        );
        check(
            "It fell (see above. Twice). It rose.",
            "It fell (see above. Twice). | It rose.",
        );
        check(
            "1. Heat melts ice. 2. The sea rises.",
            "1. Heat melts ice. | 2. The sea rises.",
        );
        check(
            "See https://example.org/a.b?c=d for data. Good.",
            "See https://example.org/a.b?c=d for data. | Good.",
        );
        check(
            "An open \" mark. And more. The end.",
            "An open \" mark. | And more. | The end.",
        );
    }

    #[test]
    fn line_breaks_end_sentences_and_white_space_has_none() {
        check(
            "- Heat melts ice\n- Coasts flood",
            "- Heat melts ice | - Coasts flood",
        );
        check(" \t\n ", "");
        check("", "");
        check("...", "...");
        check("?!", "?!");
    }

    #[test]
    fn the_lists_are_sorted_for_the_search() {
        for list in [NEVER_LAST, BEFORE_NUMBER, MAYBE_LAST, STARTERS] {
            assert!(list.is_sorted());
        }
    }

    proptest! {
        #[test]
        fn nothing_but_white_space_is_lost(text in "[a-cA-C .?!\"()\n\u{e9}1]{0,60}") {
            let squeeze = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(squeeze(&sentences(&text).concat()), squeeze(&text));
        }
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(sentences(text).join(" | "), expected);
    }
}

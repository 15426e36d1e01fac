//! The words of nltk's `NLTKWordTokenizer` (Penn Treebank rules, improved), which METEOR counts.
//!
//! Its rules are substitutions, one after the other, that put spaces where words end; each of ours
//! is named after what it pads, and stands in nltk's order.
//! It expects one sentence: only the last full stop of what it is given comes off its word.

use unicode_segmentation::UnicodeSegmentation;

/// The words of one sentence.
///
/// ```
/// use stillhouse_core::evaluate::words::words;
/// assert_eq!(words("They can't say \"why\"."), ["They", "ca", "n't", "say", "``", "why", "''", "."]);
/// ```
pub fn words(sentence: &str) -> Vec<String> {
    let mut text = starting_quotes(sentence.to_owned());
    text = punctuation(text);
    text = pad(text, |c| {
        matches!(c, ']' | '[' | '(' | ')' | '{' | '}' | '<' | '>')
    });
    text = replace(text, "--", " -- ");
    text = ending_quotes(&format!(" {text} "));
    text = contractions(text);
    text.split(is_space)
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// What Python takes for white space: Unicode's, and four control characters.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

fn starting_quotes(mut text: String) -> String {
    text = pad(text, |c| {
        matches!(c, '\u{ab}' | '\u{201c}' | '\u{2018}' | '\u{201e}')
    });
    text = pad_runs(text, '`', 1);
    if let Some(rest) = text.strip_prefix('"') {
        text = format!("``{rest}");
    }
    text = replace(text, "``", " `` ");
    if text.contains('"') || text.contains("''") {
        text = rewrite(&text, |_, rest, out| {
            let opening = first(rest).filter(|c| matches!(c, ' ' | '(' | '[' | '{' | '<'));
            let Some(opening) = opening else { return 0 };
            let quote = ["\"", "''"]
                .into_iter()
                .find(|quote| rest[1..].starts_with(quote));
            let Some(quote) = quote else { return 0 };
            out.push(opening);
            out.push_str(" `` ");
            1 + quote.len()
        });
    }
    if text.contains('\'') {
        text = rewrite(&text, |before, rest, out| {
            let is_start = rest.strip_prefix('\'').is_some_and(|word| {
                first(word).is_some_and(is_word)
                    && !last(before).is_some_and(is_word)
                    && !is_clitic(word)
            });
            if is_start {
                out.push_str("' ");
            }
            usize::from(is_start)
        });
    }
    text
}

/// Whether the word after an apostrophe is one of those that hang on the word before it.
fn is_clitic(word: &str) -> bool {
    ["re", "ve", "ll", "m", "t", "s", "d", "n"]
        .iter()
        .filter_map(|clitic| strip_folded(word, clitic))
        .any(|rest| !first(rest).is_some_and(is_word))
}

fn punctuation(mut text: String) -> String {
    let is_wide_closer = |c| is_closer(c) || matches!(c, '\u{bb}' | '\u{201d}' | '\u{2019}' | ' ');
    text = last_stop(text, is_wide_closer, " . ");
    if text.contains([':', ',']) {
        text = rewrite(&text, |_, rest, out| {
            let mut chars = rest.chars();
            match (chars.next(), chars.next()) {
                (Some(mark @ (':' | ',')), Some(next)) if !is_decimal(next) => {
                    out.extend([' ', mark, ' ', next]);
                    1 + next.len_utf8()
                }
                _ => 0,
            }
        });
    }
    // The end is also what stands before a last line break.
    let (line, end) = match text.strip_suffix('\n') {
        Some(line) => (line, "\n"),
        None => (text.as_str(), ""),
    };
    if let Some(mark) = last(line).filter(|c| matches!(c, ':' | ',')) {
        text = format!("{} {mark} {end}", &line[..line.len() - 1]);
    }
    text = pad_runs(text, '.', 2);
    text = pad(text, |c| matches!(c, ';' | '@' | '#' | '$' | '%' | '&'));
    text = pad(text, |c| matches!(c, '\u{2012}'..='\u{2015}'));
    text = last_stop(text, is_closer, " .");
    text = pad(text, |c| matches!(c, '?' | '!'));
    if text.contains("' ") {
        text = rewrite(&text, |_, rest, out| match first(rest) {
            Some(before) if before != '\'' && rest[before.len_utf8()..].starts_with("' ") => {
                out.push(before);
                out.push_str(" ' ");
                before.len_utf8() + 2
            }
            _ => 0,
        });
    }
    pad(text, |c| c == '*')
}

fn is_closer(c: char) -> bool {
    matches!(c, ']' | ')' | '}' | '>' | '"' | '\'')
}

/// Sets the last full stop apart, where nothing but closing marks and white space follows it and
/// no other full stop stands before it.
fn last_stop(text: String, is_closer: impl Fn(char) -> bool, stop: &str) -> String {
    let Some(at) = text.rfind('.') else {
        return text;
    };
    let tail = &text[at + 1..];
    let rest = tail.trim_start_matches(is_closer);
    let closers = &tail[..tail.len() - rest.len()];
    let is_whole = rest.chars().all(char::is_whitespace);
    match last(&text[..at]) {
        Some(before) if before != '.' && is_whole => {
            format!("{}{stop}{closers} ", &text[..at])
        }
        _ => text,
    }
}

fn ending_quotes(text: &str) -> String {
    let mut text = pad(text.to_owned(), |c| {
        matches!(c, '\u{bb}' | '\u{201d}' | '\u{2019}')
    });
    text = replace(text, "''", " '' ");
    text = replace(text, "\"", " '' ");
    let mut squeezed = String::with_capacity(text.len());
    for c in text.chars() {
        if !c.is_whitespace() {
            squeezed.push(c);
        } else if !squeezed.ends_with(' ') {
            squeezed.push(' ');
        }
    }
    text = squeezed;
    if text.contains('\'') {
        text = before_space(&text, &["'s", "'S", "'m", "'M", "'d", "'D", "'"]);
        text = before_space(
            &text,
            &["'ll", "'LL", "'re", "'RE", "'ve", "'VE", "n't", "N'T"],
        );
    }
    text
}

/// Sets an ending apart that stands before a space and after anything but a space or apostrophe.
fn before_space(text: &str, endings: &[&str]) -> String {
    rewrite(text, |_, rest, out| {
        let Some(before) = first(rest).filter(|c| !matches!(c, '\'' | ' ')) else {
            return 0;
        };
        let rest = &rest[before.len_utf8()..];
        let ending = endings.iter().find(|ending| {
            rest.strip_prefix(**ending)
                .is_some_and(|rest| rest.starts_with(' '))
        });
        let Some(ending) = ending else { return 0 };
        out.push(before);
        out.push(' ');
        out.push_str(ending);
        out.push(' ');
        before.len_utf8() + ending.len() + 1
    })
}

/// Words that are two: the parts of "cannot", "gonna", "'tis".
const CONTRACTIONS: [(&str, &str); 7] = [
    ("can", "not"),
    ("d", "'ye"),
    ("gim", "me"),
    ("gon", "na"),
    ("got", "ta"),
    ("lem", "me"),
    ("more", "'n"),
];

fn contractions(mut text: String) -> String {
    text = rewrite(&text, |before, rest, out| {
        let may_begin =
            |c: char| matches!(c.to_ascii_lowercase(), 'c' | 'd' | 'g' | 'l' | 'm' | 'w');
        if !first(rest).is_some_and(may_begin) || last(before).is_some_and(is_letter_or_number) {
            return 0;
        }
        let is_end = |rest: &str| !first(rest).is_some_and(is_letter_or_number);
        let found = CONTRACTIONS
            .iter()
            .find_map(|parts| split_folded(rest, *parts, is_end))
            .or_else(|| {
                split_folded(rest, ("wan", "na"), |rest| {
                    first(rest).is_some_and(is_space)
                })
            });
        push_parts(found, out)
    });
    if text.contains(" '") {
        for second in ["is", "was"] {
            text = rewrite(&text, |_, rest, out| {
                let Some(word) = rest.strip_prefix(' ') else {
                    return 0;
                };
                let is_end = |rest: &str| !first(rest).is_some_and(is_letter_or_number);
                let taken = push_parts(split_folded(word, ("'t", second), is_end), out);
                if taken > 0 { taken + 1 } else { 0 }
            });
        }
    }
    text
}

/// The two parts at the start of `text`, whatever their case, where `is_end` likes what follows.
fn split_folded<'a>(
    text: &'a str,
    (one, two): (&str, &str),
    is_end: impl Fn(&str) -> bool,
) -> Option<(&'a str, &'a str)> {
    let after_one = strip_folded(text, one)?;
    let after_two = strip_folded(after_one, two).filter(|rest| is_end(rest))?;
    let one = &text[..text.len() - after_one.len()];
    Some((one, &after_one[..after_one.len() - after_two.len()]))
}

/// Writes both parts with spaces around them; how many bytes they had.
fn push_parts(parts: Option<(&str, &str)>, out: &mut String) -> usize {
    let Some((one, two)) = parts else { return 0 };
    for part in [" ", one, " ", two, " "] {
        out.push_str(part);
    }
    one.len() + two.len()
}

/// What follows `prefix`, in whatever case it stands there.
fn strip_folded<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let mut rest = text.chars();
    for expected in prefix.chars() {
        let folded = match rest.next()? {
            '\u{17f}' => 's',
            '\u{130}' | '\u{131}' => 'i',
            c => c.to_ascii_lowercase(),
        };
        if folded != expected {
            return None;
        }
    }
    Some(rest.as_str())
}

/// Rewrites from the left, without overlap, as the `sub` of a regular expression does: the rule
/// sees the text before and after a place, and where it fits, it writes what stands there now and
/// says how many bytes stood there.
fn rewrite(text: &str, mut rule: impl FnMut(&str, &str, &mut String) -> usize) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8 + 8);
    let mut at = 0;
    while let Some(c) = first(&text[at..]) {
        let taken = rule(&text[..at], &text[at..], &mut out);
        if taken == 0 {
            out.push(c);
            at += c.len_utf8();
        } else {
            at += taken;
        }
    }
    out
}

fn replace(text: String, from: &str, to: &str) -> String {
    if text.contains(from) {
        text.replace(from, to)
    } else {
        text
    }
}

/// Puts a space on both sides of each such character.
fn pad(text: String, is_padded: impl Fn(char) -> bool) -> String {
    if !text.contains(&is_padded) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_padded(c) {
            out.extend([' ', c, ' ']);
        } else {
            out.push(c);
        }
    }
    out
}

/// Puts a space on both sides of each run of at least so many of a character.
fn pad_runs(text: String, mark: char, least: usize) -> String {
    if !text.contains(mark) {
        return text;
    }
    rewrite(&text, |_, rest, out| {
        let run = rest.len() - rest.trim_start_matches(mark).len();
        if run < least {
            return 0;
        }
        out.push(' ');
        out.push_str(&rest[..run]);
        out.push(' ');
        run
    })
}

fn first(text: &str) -> Option<char> {
    text.chars().next()
}

fn last(text: &str) -> Option<char> {
    text.chars().next_back()
}

/// `\w` of the engine behind most of nltk's rules: letters, marks, decimal digits, connectors.
fn is_word(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || c == '_';
    }
    c.is_alphabetic()
        || is_mark(c)
        || is_decimal(c)
        || matches!(
            c,
            '\u{200c}'
                | '\u{200d}'
                | '\u{203f}'
                | '\u{2040}'
                | '\u{2054}'
                | '\u{fe33}'
                | '\u{fe34}'
                | '\u{fe4d}'..='\u{fe4f}' | '\u{ff3f}'
        )
}

/// `\w` of the engine behind the contractions: letters, and numbers of any kind.
fn is_letter_or_number(c: char) -> bool {
    let is_circled = matches!(c, '\u{24b6}'..='\u{24e9}' | '\u{1f130}'..='\u{1f189}');
    c == '_' || (c.is_alphanumeric() && !is_circled && !is_mark(c))
}

/// Whether a character hangs on the one before it.
fn is_mark(c: char) -> bool {
    // Skin tones and tags hang on too, and are no marks.
    let is_modifier = matches!(c, '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0020}'..='\u{e007f}');
    !c.is_ascii() && !is_modifier && {
        let mut text = String::from("a");
        text.push(c);
        text.graphemes(true).count() == 1
    }
}

/// The zeros of all scripts; the other nine digits of each follow it.
const ZEROS: [u32; 77] = [
    0x30, 0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66,
    0xDE6, 0xE50, 0xED0, 0xF20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90,
    0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10,
    0x104A0, 0x10D30, 0x10D40, 0x11066, 0x110F0, 0x11136, 0x111D0, 0x112F0, 0x11450, 0x114D0,
    0x11650, 0x116C0, 0x116D0, 0x116DA, 0x11730, 0x118E0, 0x11950, 0x11BF0, 0x11C50, 0x11D50,
    0x11DA0, 0x11DE0, 0x11F50, 0x16130, 0x16A60, 0x16AC0, 0x16B50, 0x16D70, 0x1CCF0, 0x1D7CE,
    0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6, 0x1E140, 0x1E2F0, 0x1E4F0, 0x1E5F1, 0x1E950, 0x1FBF0,
];

/// A decimal digit of any script; not "\u{b2}" or "\u{bd}".
fn is_decimal(c: char) -> bool {
    let at = ZEROS.partition_point(|zero| *zero <= u32::from(c));
    at > 0 && u32::from(c) - ZEROS[at - 1] < 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_apart_and_numbers_stay_whole() {
        check(
            "It cost $3.88 (roughly 3,36 euros), i.e. 5%!",
            "It cost $ 3.88 ( roughly 3,36 euros ) , i.e. 5 % !",
        );
        check(
            "A: b,c; d--e \u{2014} f... * g",
            "A : b , c ; d -- e \u{2014} f ... * g",
        );
        check("at 5:30, x,\u{b2} y:\n", "at 5:30 , x , \u{b2} y :");
    }

    #[test]
    fn only_the_last_full_stop_comes_off() {
        check("In New York. They left.", "In New York. They left .");
        check("They left.)\" ", "They left . ) ''");
        check("They left.. ", "They left ..");
        check("e.g. so", "e.g. so");
    }

    #[test]
    fn quotation_marks_open_and_close() {
        check(
            "\"Why?\" (\"how\") 'so' \u{201c}x\u{201d}",
            "`` Why ? '' ( `` how '' ) ' so ' \u{201c} x \u{201d}",
        );
        check("''x'' ``y''", "'' x '' `` y ''");
    }

    #[test]
    fn clitics_and_contractions_are_two_words() {
        check(
            "He'll say it's John's, they don't, I'm 'sorry'",
            "He 'll say it 's John 's , they do n't , I 'm ' sorry '",
        );
        check(
            "Cannot gonna wanna go? 'Tis d'ye",
            "Can not gon na wan na go ? ' Tis d 'ye",
        );
    }

    #[test]
    fn a_combining_accent_belongs_to_its_letter() {
        check("l'e\u{301}te\u{301}'a 'a", "l'e\u{301}te\u{301}'a ' a");
    }

    fn check(sentence: &str, expected: &str) {
        assert_eq!(words(sentence).join(" "), expected);
    }
}

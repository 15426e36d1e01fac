//! In which language a text is written, as far as that can be told without a model: by its
//! script, and among languages of the Latin script by their commonest words.

use stillhouse_core::text::words;

/// The commonest words of each language that are not common in the others.
const COMMON: [(&str, &[&str]); 7] = [
    (
        "en",
        &[
            "the", "and", "of", "that", "is", "to", "are", "with", "this", "it", "was", "by",
            "for", "from", "which",
        ],
    ),
    (
        "de",
        &[
            "der", "die", "und", "das", "ist", "nicht", "mit", "von", "ein", "eine", "zu", "den",
            "dass", "werden", "auf",
        ],
    ),
    (
        "fr",
        &[
            "le", "les", "et", "des", "est", "une", "dans", "que", "pour", "qui", "du", "sur",
            "pas", "il", "au",
        ],
    ),
    (
        "es",
        &[
            "el", "los", "las", "que", "y", "en", "una", "por", "con", "para", "del", "es", "se",
            "lo", "como",
        ],
    ),
    (
        "it",
        &[
            "il", "che", "di", "e", "per", "una", "della", "non", "sono", "con", "gli", "del",
            "nel", "si", "dei",
        ],
    ),
    (
        "pt",
        &[
            "o", "os", "as", "que", "de", "não", "uma", "para", "com", "do", "da", "em", "dos",
            "se", "por",
        ],
    ),
    (
        "nl",
        &[
            "het", "een", "van", "en", "dat", "niet", "zijn", "op", "te", "met", "voor", "wordt",
            "aan", "deze", "door",
        ],
    ),
];

/// Fewer words than this tell nothing.
const FEWEST_WORDS: usize = 12;

/// The language of a text, where it is plain.
pub(crate) fn of(text: &str) -> Option<&'static str> {
    let mut scripts = [0_usize; 8];
    for c in text.chars().filter(|c| c.is_alphabetic()) {
        scripts[script(c)] += 1;
    }
    let letters: usize = scripts.iter().sum();
    // Japanese mixes Chinese characters with its own.
    if letters >= 8 && scripts[2] * 10 > letters {
        return Some("ja");
    }
    let (most, count) = scripts.iter().enumerate().max_by_key(|(_, n)| **n)?;
    if count * 10 < letters * 6 || letters < 8 {
        return None;
    }
    match most {
        0 => latin(text),
        1 => Some("zh"),
        3 => Some("ko"),
        4 => Some("ru"),
        5 => Some("ar"),
        6 => Some("el"),
        _ => None,
    }
}

/// Whether both languages are plain, and are not one.
pub(crate) fn differ(a: &str, b: &str) -> bool {
    matches!((of(a), of(b)), (Some(a), Some(b)) if a != b)
}

fn script(c: char) -> usize {
    match c {
        'a'..='z' | 'A'..='Z' | '\u{c0}'..='\u{24f}' => 0,
        '\u{4e00}'..='\u{9fff}' => 1,
        '\u{3040}'..='\u{30ff}' => 2,
        '\u{ac00}'..='\u{d7af}' => 3,
        '\u{400}'..='\u{4ff}' => 4,
        '\u{600}'..='\u{6ff}' => 5,
        '\u{370}'..='\u{3ff}' => 6,
        _ => 7,
    }
}

/// The language whose commonest words stand out: a tenth of all words, and twice as many as of
/// any other.
fn latin(text: &str) -> Option<&'static str> {
    let mut n = 0;
    let mut counts = [0_usize; COMMON.len()];
    for word in words(text) {
        n += 1;
        for (count, (_, common)) in counts.iter_mut().zip(COMMON) {
            *count += usize::from(common.contains(&word.as_str()));
        }
    }
    let (best, most) = counts.iter().enumerate().max_by_key(|(_, n)| **n)?;
    let second = counts
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != best)
        .map(|(_, n)| *n)
        .max()?;
    (n >= FEWEST_WORDS && most * 10 >= n && *most >= 2 * second).then_some(COMMON[best].0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_told_only_where_it_is_plain() {
        let check = |text: &str, expected: Option<&str>| assert_eq!(of(text), expected, "{text}");
        check(
            "The ice melts in the spring because the air is warm and the sun is high.",
            Some("en"),
        );
        check(
            "Das Eis schmilzt im Frühling, weil die Luft warm ist und die Sonne hoch steht.",
            Some("de"),
        );
        check(
            "La glace fond dans les montagnes et il est plus chaud que dans le passé pour les gens.",
            Some("fr"),
        );
        check(
            "El hielo se derrite en las montañas por el calor, y los ríos crecen con el agua del deshielo.",
            Some("es"),
        );
        check("春天空气变暖，冰雪融化，河水上涨。", Some("zh"));
        check("春になると空気が暖かくなり、氷が溶ける。", Some("ja"));
        check("Лёд тает весной, потому что воздух теплее.", Some("ru"));
        check("CO2 CH4 N2O 2019 2020", None);
        check("Ice melts.", None);
        check("", None);
    }
}

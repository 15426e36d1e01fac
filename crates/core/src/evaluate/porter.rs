//! The Porter stemmer (Porter 1980, "An algorithm for suffix stripping") with the changes that
//! nltk makes in its default mode: a table of irregular forms, and looser rules for short words.

/// Whole words that nltk does not leave to the rules.
const IRREGULAR: [(&str, &str); 16] = [
    ("sky", "sky"),
    ("skies", "sky"),
    ("dying", "die"),
    ("lying", "lie"),
    ("tying", "tie"),
    ("news", "news"),
    ("innings", "inning"),
    ("inning", "inning"),
    ("outings", "outing"),
    ("outing", "outing"),
    ("cannings", "canning"),
    ("canning", "canning"),
    ("howe", "howe"),
    ("proceed", "proceed"),
    ("exceed", "exceed"),
    ("succeed", "succeed"),
];

/// Step 2: suffix and its replacement where the rest has a positive measure.
const STEP_2: [(&str, &str); 21] = [
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("fulli", "ful"),
];

/// Step 3, likewise.
const STEP_3: [(&str, &str); 7] = [
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
];

/// Step 4: suffixes that go where the rest has a measure above 1.
const STEP_4: [&str; 19] = [
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou",
    "ism", "ate", "iti", "ous", "ive", "ize",
];

/// The stem of a lower-case word, as nltk's `PorterStemmer` gives it by default.
///
/// ```
/// assert_eq!(stillhouse_core::evaluate::porter::stem("flooded"), "flood");
/// ```
pub fn stem(word: &str) -> String {
    if let Some((_, stem)) = IRREGULAR.iter().find(|(form, _)| *form == word) {
        return (*stem).to_owned();
    }
    if word.chars().count() <= 2 {
        return word.to_owned();
    }
    let mut word = plural(word);
    word = past(word);
    word = final_y(word);
    word = step_2(word);
    word = replace_first(word, &STEP_3);
    word = step_4(word);
    word = final_e(word);
    if word.ends_with("ll") && measure(&word[..word.len() - 1]) > 1 {
        word.pop();
    }
    word
}

/// Step 1a: plurals.
fn plural(word: &str) -> String {
    if let Some(rest) = word.strip_suffix("ies") {
        let ending = if word.chars().count() == 4 { "ie" } else { "i" };
        return format!("{rest}{ending}");
    }
    if word.ends_with("sses") {
        return word[..word.len() - 2].to_owned();
    }
    match word.strip_suffix('s') {
        Some(rest) if !word.ends_with("ss") => rest.to_owned(),
        _ => word.to_owned(),
    }
}

/// Step 1b: past and progressive forms.
fn past(word: String) -> String {
    if let Some(rest) = word.strip_suffix("ied") {
        let ending = if word.chars().count() == 4 { "ie" } else { "i" };
        return format!("{rest}{ending}");
    }
    if let Some(rest) = word.strip_suffix("eed") {
        return if measure(rest) > 0 {
            format!("{rest}ee")
        } else {
            word
        };
    }
    let rest = ["ed", "ing"]
        .iter()
        .filter_map(|suffix| word.strip_suffix(suffix))
        .find(|rest| consonants(rest).contains(&false));
    let Some(rest) = rest else { return word };
    if ["at", "bl", "iz"]
        .iter()
        .any(|ending| rest.ends_with(ending))
    {
        return format!("{rest}e");
    }
    if ends_in_double_consonant(rest) {
        let single = !rest.ends_with(['l', 's', 'z']);
        let cut = rest.chars().next_back().map_or(0, char::len_utf8);
        return rest[..rest.len() - if single { cut } else { 0 }].to_owned();
    }
    if measure(rest) == 1 && ends_in_cvc(rest) {
        return format!("{rest}e");
    }
    rest.to_owned()
}

/// Step 1c, nltk's way: only after a consonant that is not the whole rest.
fn final_y(word: String) -> String {
    match word.strip_suffix('y') {
        Some(rest) if rest.chars().nth(1).is_some() && consonants(rest).last() == Some(&true) => {
            format!("{rest}i")
        }
        _ => word,
    }
}

/// Step 2, with nltk's two additions: `alli` may open a second rule, and `logi` becomes `log`.
fn step_2(word: String) -> String {
    if let Some(rest) = word.strip_suffix("alli")
        && measure(rest) > 0
    {
        return step_2(format!("{rest}al"));
    }
    match word.strip_suffix("ogi") {
        // The measure counts the `l`, so that `geolog` is reached as well as `archaeolog`.
        Some(rest) if rest.ends_with('l') && measure(rest) > 0 => format!("{rest}og"),
        _ => replace_first(word, &STEP_2),
    }
}

/// The first suffix that fits decides: it is replaced where the rest has a positive measure.
fn replace_first(word: String, rules: &[(&str, &str)]) -> String {
    for (suffix, replacement) in rules {
        if let Some(rest) = word.strip_suffix(suffix) {
            return if measure(rest) > 0 {
                format!("{rest}{replacement}")
            } else {
                word
            };
        }
    }
    word
}

fn step_4(word: String) -> String {
    let Some((suffix, rest)) = STEP_4
        .iter()
        .find_map(|suffix| Some((*suffix, word.strip_suffix(suffix)?)))
    else {
        return word;
    };
    let fits = suffix != "ion" || rest.ends_with(['s', 't']);
    if measure(rest) > 1 && fits {
        rest.to_owned()
    } else {
        word
    }
}

/// Step 5a.
fn final_e(word: String) -> String {
    match word.strip_suffix('e') {
        Some(rest) if measure(rest) > 1 || (measure(rest) == 1 && !ends_in_cvc(rest)) => {
            rest.to_owned()
        }
        _ => word,
    }
}

/// Whether each letter is a consonant; `y` is one unless a consonant stands before it.
fn consonants(word: &str) -> Vec<bool> {
    let mut flags = Vec::with_capacity(word.len());
    for letter in word.chars() {
        let flag = match letter {
            'a' | 'e' | 'i' | 'o' | 'u' => false,
            'y' => !flags.last().copied().unwrap_or(false),
            _ => true,
        };
        flags.push(flag);
    }
    flags
}

/// Porter's m: how often a vowel is followed by a consonant.
fn measure(word: &str) -> usize {
    consonants(word)
        .windows(2)
        .filter(|pair| !pair[0] && pair[1])
        .count()
}

fn ends_in_double_consonant(word: &str) -> bool {
    let mut letters = word.chars().rev();
    let (last, before) = (letters.next(), letters.next());
    last.is_some() && last == before && consonants(word).last() == Some(&true)
}

/// Porter's \*o: consonant, vowel, consonant other than w, x, y; nltk adds words of vowel, consonant.
fn ends_in_cvc(word: &str) -> bool {
    match consonants(word).as_slice() {
        [.., true, false, true] => !word.ends_with(['w', 'x', 'y']),
        [false, true] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stems_are_those_of_nltk() {
        check(
            "caresses ponies ties caress cats",
            "caress poni tie caress cat",
        );
        check(
            "feed agreed plastered bled motoring sing",
            "feed agre plaster bled motor sing",
        );
        check(
            "conflated troubled sized hopping falling hissing",
            "conflat troubl size hop fall hiss",
        );
        check("happy sky spy enjoy say", "happi sky spi enjoy say");
        check(
            "relational conditional rational valency",
            "relat condit ration valenc",
        );
        check("radically hopefully geology", "radic hope geolog");
        check(
            "adoption communion adjustment replacement",
            "adopt communion adjust replac",
        );
        check(
            "probate rate cease controlling rolling",
            "probat rate ceas control roll",
        );
        check("dying news proceed innings", "die news proceed inning");
        check("yyyy syzygy by a 2020s", "yyyi syzygi by a 2020");
    }

    fn check(words: &str, expected: &str) {
        let stems: Vec<String> = words.split(' ').map(stem).collect();
        assert_eq!(stems.join(" "), expected);
    }
}

//! The synonyms of English words: those that share a synset of `WordNet` 3.0 with them.
//!
//! `data/wordnet` holds the words and their licence, and the script that took them from `WordNet`.
//! A word in an inflected form is found by the rules of `morphy`, as nltk applies them: all that
//! they lead to counts, in every part of speech.

use std::sync::LazyLock;

use rustc_hash::{FxBuildHasher, FxHashMap};

const SYNSETS: &str = include_str!("../../data/wordnet/synsets.txt");
const EXCEPTIONS: &str = include_str!("../../data/wordnet/exceptions.txt");

/// Endings and what takes their place, by part of speech in the order of the files.
const RULES: [&[(&str, &str)]; 4] = [
    &[
        ("s", ""),
        ("ses", "s"),
        ("ves", "f"),
        ("xes", "x"),
        ("zes", "z"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("men", "man"),
        ("ies", "y"),
    ],
    &[
        ("s", ""),
        ("ies", "y"),
        ("es", "e"),
        ("es", ""),
        ("ed", "e"),
        ("ed", ""),
        ("ing", "e"),
        ("ing", ""),
    ],
    &[("er", ""), ("est", ""), ("er", "e"), ("est", "e")],
    &[],
];

static PARTS: LazyLock<Vec<Part>> = LazyLock::new(|| {
    let synsets = sections(SYNSETS).map(Part::new);
    let mut parts: Vec<Part> = synsets.collect();
    for (part, exceptions) in parts.iter_mut().zip(sections(EXCEPTIONS)) {
        let lines = exceptions.lines();
        part.exceptions = lines.filter_map(|line| line.split_once(' ')).collect();
    }
    parts
});

/// Calls `found` with every name of every synset of a word in lower case, names more than once;
/// never for a word that is not in `WordNet`. Names of several words or with capitals are left out.
pub fn synonyms(word: &str, mut found: impl FnMut(&'static str)) {
    let mut base = String::new();
    for (part, rules) in PARTS.iter().zip(RULES) {
        part.names(word, &mut found);
        if let Some(bases) = part.exceptions.get(word) {
            for base in bases.split(' ').filter(|base| *base != word) {
                part.names(base, &mut found);
            }
            continue;
        }
        for (ending, replacement) in rules {
            if let Some(stem) = word.strip_suffix(ending) {
                base.clear();
                base.push_str(stem);
                base.push_str(replacement);
                part.names(&base, &mut found);
            }
        }
    }
}

/// The words of one part of speech. Small and made in one pass over its lines, so that the first
/// look-up comes soon.
struct Part {
    /// The lines of its synsets.
    lines: &'static str,
    /// Each form's last synset, as a place in `synsets`.
    last: FxHashMap<&'static str, u32>,
    /// Where a synset's line begins, and the place of the synset before it of the same form.
    synsets: Vec<(u32, Option<u32>)>,
    /// The base forms of irregular ones.
    exceptions: FxHashMap<&'static str, &'static str>,
}

impl Part {
    fn new(lines: &'static str) -> Self {
        let forms = lines.len() / 13; // about; growing would take as long as filling
        let mut last = FxHashMap::with_capacity_and_hasher(forms, FxBuildHasher);
        let mut synsets = Vec::with_capacity(forms);
        let (mut line, mut word) = (0, 0);
        for (at, byte) in lines.bytes().enumerate() {
            if !matches!(byte, b' ' | b'|' | b'\n') {
                continue;
            }
            if at > word {
                let before = last.insert(&lines[word..at], synsets.len() as u32);
                synsets.push((line as u32, before));
            }
            word = at + 1;
            if byte == b'\n' {
                line = at + 1;
            }
        }
        Self {
            lines,
            last,
            synsets,
            exceptions: FxHashMap::default(),
        }
    }

    fn names(&self, form: &str, found: &mut impl FnMut(&'static str)) {
        let mut place = self.last.get(form).copied();
        while let Some(at) = place {
            let (line, before) = self.synsets[at as usize];
            let names = self.lines[line as usize..].split(['|', '\n']).next();
            names
                .unwrap_or_default()
                .split_terminator(' ')
                .for_each(&mut *found);
            place = before;
        }
    }
}

/// The lines below each heading.
fn sections(text: &'static str) -> impl Iterator<Item = &'static str> {
    let sections = text.split("# ").skip(1);
    sections.filter_map(|section| Some(section.split_once('\n')?.1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn synonyms_are_the_lower_case_single_words_of_all_synsets() {
        check("automobile", "auto automobile car machine motorcar");
        check("einstein", "brain brainiac genius mastermind");
        check("xyzzy", "");
    }

    #[test]
    fn inflected_words_are_found_by_rules_or_exceptions() {
        check("fishes", "angle fish");
        check("mice", "mouse shiner");
    }

    fn check(word: &str, expected: &str) {
        let mut names = BTreeSet::new();
        synonyms(word, |name| {
            names.insert(name);
        });
        let names: Vec<&str> = names.into_iter().collect();
        assert_eq!(names.join(" "), expected);
    }
}

//! The words that tell what causes what: a data file, read once, in a narrow and a wide form.

use std::collections::{HashMap, HashSet};

const FILE: &str = include_str!("lexicon.txt");

/// What an item of the lexicon says about the text around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    CauseVerb,
    DenialVerb,
    EffectVerb,
    DeniedEffectVerb,
    AttributionVerb,
    EffectNoun,
    CauseNoun,
    CauseClause,
    Condition,
    Concession,
    CausePhrase,
    Result,
    Contrast,
    StrongVerb,
    PlainVerb,
}

impl Kind {
    fn named(name: &str) -> Self {
        match name {
            "cause-verb" => Self::CauseVerb,
            "denial-verb" => Self::DenialVerb,
            "effect-verb" => Self::EffectVerb,
            "denied-effect-verb" => Self::DeniedEffectVerb,
            "attribution-verb" => Self::AttributionVerb,
            "effect-noun" => Self::EffectNoun,
            "cause-noun" => Self::CauseNoun,
            "cause-clause" => Self::CauseClause,
            "condition" => Self::Condition,
            "concession" => Self::Concession,
            "cause-phrase" => Self::CausePhrase,
            "result" => Self::Result,
            "contrast" => Self::Contrast,
            "strong-verb" => Self::StrongVerb,
            "plain-verb" => Self::PlainVerb,
            _ => unreachable!("a test reads the whole file"),
        }
    }

    pub(super) fn is_verb(self) -> bool {
        matches!(
            self,
            Self::CauseVerb
                | Self::DenialVerb
                | Self::EffectVerb
                | Self::DeniedEffectVerb
                | Self::AttributionVerb
        )
    }
}

/// The shapes of an English verb, as a small set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Base = 1,
    Third = 2,
    Ing = 4,
    Past = 8,
    Participle = 16,
}

/// Several [`Form`]s: `caused` is a past and a participle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Forms(u8);

impl Forms {
    pub(super) fn contains(self, form: Form) -> bool {
        self.0 & form as u8 != 0
    }
}

/// How much of the lexicon is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Width {
    /// Words that hardly have another use: what they find is nearly always a causal link.
    Core,
    /// Also verbs of change (raise, ruin, allow), conditions, and events told in their order.
    #[default]
    Wide,
}

impl Width {
    /// Its name in options and signatures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Wide => "wide",
        }
    }
}

/// One item: the words after the first one, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) kind: Kind,
    /// All of a connective's words; of a verb only what follows it.
    pub(super) rest: Vec<String>,
    /// Of the first word; without meaning for connectives.
    pub(super) forms: Forms,
}

/// The words that tell what causes what.
#[derive(Clone, Debug)]
pub struct Lexicon {
    width: Width,
    version: u32,
    /// By first word in each of its forms; longest items first.
    items: HashMap<String, Vec<Item>>,
    /// Shapes of every known verb.
    forms: HashMap<String, Forms>,
    /// The base of each form; of several the first in the alphabet.
    bases: HashMap<String, String>,
    /// Forms of verbs that are hardly ever nouns.
    strong: HashSet<String>,
}

impl Lexicon {
    /// Reads the embedded file.
    ///
    /// # Panics
    ///
    /// Never: a test reads the whole file.
    pub fn new(width: Width) -> Self {
        let mut lexicon = Self {
            width,
            version: 0,
            items: HashMap::new(),
            forms: HashMap::new(),
            bases: HashMap::new(),
            strong: HashSet::new(),
        };
        let mut section = ("", "");
        let mut irregular: HashMap<&str, [&str; 2]> = HashMap::new();
        let mut entries = Vec::new();
        for line in FILE
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            if let Some(version) = line.strip_prefix("version = ") {
                lexicon.version = version.parse().expect("a test reads the whole file");
            } else if let Some(header) = line.strip_prefix('[') {
                let header = header.trim_end_matches(']');
                section = header.split_once(' ').unwrap_or((header, ""));
            } else {
                let items = line
                    .split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty());
                if section.0 == "irregular" {
                    irregular.extend(items.map(|item| {
                        let mut words = item.split(' ');
                        let mut next = || words.next().expect("a test reads the whole file");
                        (next(), [next(), next()])
                    }));
                } else {
                    entries.extend(items.map(|item| (section, item)));
                }
            }
        }
        for ((tier, class), item) in entries {
            let kind = Kind::named(class);
            let words: Vec<&str> = item.split(' ').collect();
            let is_used = tier == "core" || width == Width::Wide;
            if kind.is_verb() || matches!(kind, Kind::PlainVerb | Kind::StrongVerb) {
                for (form, forms) in inflected(words[0], &irregular) {
                    if kind.is_verb() && is_used {
                        lexicon.add(&form, kind, &words[1..], forms);
                    }
                    if kind == Kind::StrongVerb {
                        lexicon.strong.insert(form.clone());
                    }
                    lexicon.learn(form, words[0], forms);
                }
            } else if is_used {
                lexicon.add(words[0], kind, &words[1..], Forms::default());
            }
        }
        for base in irregular.keys() {
            for (form, forms) in inflected(base, &irregular) {
                lexicon.learn(form, base, forms);
            }
        }
        for items in lexicon.items.values_mut() {
            items.sort_by_key(|item| std::cmp::Reverse(item.rest.len()));
        }
        lexicon
    }

    fn learn(&mut self, form: String, base: &str, forms: Forms) {
        self.forms.entry(form.clone()).or_default().0 |= forms.0;
        let known = self.bases.entry(form).or_insert_with(|| base.to_owned());
        if base < known.as_str() {
            base.clone_into(known);
        }
    }

    fn add(&mut self, first: &str, kind: Kind, rest: &[&str], forms: Forms) {
        let rest = rest.iter().map(|word| (*word).to_owned()).collect();
        let items = self.items.entry(first.to_owned()).or_default();
        let item = Item { kind, rest, forms };
        if !items.contains(&item) {
            items.push(item);
        }
    }

    /// Which part of the lexicon is used.
    pub fn width(&self) -> Width {
        self.width
    }

    /// For signatures: `en-wide-1`; any change of an item changes it.
    pub fn name(&self) -> String {
        format!("en-{}-{}", self.width.name(), self.version)
    }

    /// The items that begin with this word, longest first.
    pub(super) fn items(&self, word: &str) -> &[Item] {
        self.items.get(word).map_or(&[], Vec::as_slice)
    }

    /// The base form of a known verb.
    pub(super) fn base(&self, word: &str) -> Option<&str> {
        self.bases.get(word).map(String::as_str)
    }

    /// Whether this is a form of a verb that is hardly ever a noun.
    pub(super) fn is_strong(&self, word: &str) -> bool {
        self.strong.contains(word)
    }

    /// The shapes that this word has as a verb; none for other words.
    pub(super) fn forms(&self, word: &str) -> Forms {
        self.forms.get(word).copied().unwrap_or_default()
    }
}

/// Every form of a verb: base, third person, -ing, past and participle.
fn inflected(base: &str, irregular: &HashMap<&str, [&str; 2]>) -> Vec<(String, Forms)> {
    if base == "be" {
        let form = |word: &str, form: Form| (word.to_owned(), Forms(form as u8));
        return vec![
            form("be", Form::Base),
            form("is", Form::Third),
            form("are", Form::Base),
            form("was", Form::Past),
            form("were", Form::Past),
            form("being", Form::Ing),
            form("been", Form::Participle),
            form("isn't", Form::Third),
            form("aren't", Form::Base),
            form("wasn't", Form::Past),
            form("weren't", Form::Past),
        ];
    }
    let stem = past_stem(base);
    let (past, participle) = match irregular.get(base) {
        Some([past, participle]) => ((*past).to_owned(), (*participle).to_owned()),
        None => (format!("{stem}ed"), format!("{stem}ed")),
    };
    // A doubled consonant in the past is doubled before -ing as well.
    let ing = match (base.strip_suffix('e'), past.strip_suffix("ed")) {
        _ if base.ends_with("ie") => format!("{}ying", &base[..base.len() - 2]),
        (Some(root), _) if !base.ends_with("ee") && !base.ends_with("ye") => format!("{root}ing"),
        (_, Some(root)) if root.len() == base.len() + 1 && root.starts_with(base) => {
            format!("{root}ing")
        }
        _ if doubles(base) => format!("{base}{}ing", &base[base.len() - 1..]),
        _ => format!("{base}ing"),
    };
    let mut all: Vec<(String, Forms)> = Vec::new();
    let third = third_person(base);
    for (word, form) in [
        (base.to_owned(), Form::Base),
        (third, Form::Third),
        (ing, Form::Ing),
        (past, Form::Past),
        (participle, Form::Participle),
    ] {
        match all.iter_mut().find(|(known, _)| *known == word) {
            Some((_, forms)) => forms.0 |= form as u8,
            None => all.push((word, Forms(form as u8))),
        }
    }
    all
}

fn third_person(base: &str) -> String {
    if base == "have" {
        return "has".to_owned();
    }
    if let Some(root) = base.strip_suffix('y')
        && !root.ends_with(['a', 'e', 'o', 'u'])
    {
        return format!("{root}ies");
    }
    let hisses = ["s", "x", "z", "ch", "sh", "o"]
        .iter()
        .any(|end| base.ends_with(end));
    format!("{base}{}", if hisses { "es" } else { "s" })
}

/// What stands before the -ed of a regular past.
fn past_stem(base: &str) -> String {
    if let Some(root) = base.strip_suffix('e') {
        return root.to_owned();
    }
    if let Some(root) = base.strip_suffix('y')
        && !root.ends_with(['a', 'e', 'o', 'u'])
    {
        return format!("{root}i");
    }
    if doubles(base) {
        return format!("{base}{}", &base[base.len() - 1..]);
    }
    base.to_owned()
}

/// One vowel between consonants in a word of one syllable: `stop`, `rob`.
fn doubles(base: &str) -> bool {
    let letters = base.as_bytes();
    let is_vowel = |at: usize| b"aeiou".contains(&letters[at]);
    let n = letters.len();
    n >= 3
        && !is_vowel(n - 1)
        && !b"wxy".contains(&letters[n - 1])
        && is_vowel(n - 2)
        && !is_vowel(n - 3)
        && (0..n - 2).filter(|&at| is_vowel(at)).count() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_and_the_wide_form_holds_the_narrow_one() {
        let (core, wide) = (Lexicon::new(Width::Core), Lexicon::new(Width::Wide));
        assert!(core.name().starts_with("en-core-"));
        for (word, items) in &core.items {
            assert!(
                items.iter().all(|item| wide.items(word).contains(item)),
                "{word}"
            );
        }
        assert!(core.items("weaken").is_empty() && !wide.items("weaken").is_empty());
    }

    #[test]
    fn verbs_are_known_in_every_form() {
        check("stop", "stop stops stopping stopped");
        check("carry", "carry carries carrying carried");
        check("make", "make makes making made");
        check("wear", "wear wears wearing wore worn");
        check("cut", "cut cuts cutting");
        check("rob", "rob robs robbing robbed");
        check("weaken", "weaken weakens weakening weakened");
        check("tie", "tie ties tying tied");
    }

    fn check(base: &str, expected: &str) {
        let irregular = HashMap::from([
            ("make", ["made", "made"]),
            ("wear", ["wore", "worn"]),
            ("cut", ["cut", "cut"]),
        ]);
        let forms: Vec<String> = inflected(base, &irregular)
            .into_iter()
            .map(|(form, _)| form)
            .collect();
        assert_eq!(forms.join(" "), expected);
    }
}

//! Texts changed on purpose, to see which metric notices what.

use serde::{Deserialize, Serialize};

use super::lexicon::Lexicon;
use super::link::{Link, Pattern, extract};
use super::number::{Number, numbers};
use super::rewrite::{denied, swapped};
use crate::random::Random;

/// What is done to a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Perturbation {
    /// Cause and effect change places, in up to two sentences.
    Reverse,
    /// A link or a statement is denied, in up to two sentences.
    Negate,
    /// Every number becomes another one of the same length.
    Numbers,
    /// Half of the sentences go.
    Drop,
    /// Two sentences of other texts come in.
    Irrelevant,
    /// The sentences stand in another order.
    Shuffle,
    /// The text that is given as a paraphrase.
    Paraphrase,
}

impl Perturbation {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 7] = [
        Self::Paraphrase,
        Self::Reverse,
        Self::Negate,
        Self::Numbers,
        Self::Drop,
        Self::Irrelevant,
        Self::Shuffle,
    ];

    /// Its name in tables and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reverse => "reverse",
            Self::Negate => "negate",
            Self::Numbers => "numbers",
            Self::Drop => "drop",
            Self::Irrelevant => "irrelevant",
            Self::Shuffle => "shuffle",
            Self::Paraphrase => "paraphrase",
        }
    }
}

/// What a perturbation is made from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Names the text; with the seed it decides every choice.
    pub id: &'a str,
    /// The text, split into sentences.
    pub sentences: &'a [String],
    /// Sentences of other texts, for [`Perturbation::Irrelevant`].
    pub others: &'a [String],
    /// The same in other words, where there is such a text.
    pub paraphrase: Option<&'a [String]>,
}

/// A changed text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Perturbed {
    /// What was done.
    pub kind: Perturbation,
    /// The text, split into sentences.
    pub sentences: Vec<String>,
    /// Each change, for a reader.
    pub changes: Vec<String>,
}

/// How many sentences [`Perturbation::Reverse`] and [`Perturbation::Negate`] change at most.
const MOST: usize = 2;

/// Changes a text, or gives nothing where it cannot: no link that can be turned round, no number, one sentence only.
///
/// Links are found with `lexicon`; a narrow one ([`super::Width::Core`]) gives fewer sentences and better English.
pub fn perturb(
    kind: Perturbation,
    source: &Source<'_>,
    lexicon: &Lexicon,
    seed: u64,
) -> Option<Perturbed> {
    let mut random = Random::new(seed, &format!("stress {} {}", kind.name(), source.id));
    let (sentences, changes) = match kind {
        Perturbation::Reverse => reverse(source.sentences, lexicon, &mut random),
        Perturbation::Negate => negate(source.sentences, lexicon, &mut random),
        Perturbation::Numbers => renumber(source.sentences, &mut random),
        Perturbation::Drop => drop_half(source.sentences, &mut random),
        Perturbation::Irrelevant => add(source.sentences, source.others, &mut random),
        Perturbation::Shuffle => shuffle(source.sentences, &mut random),
        Perturbation::Paraphrase => source
            .paraphrase
            .map(|given| (given.to_vec(), vec!["the given paraphrase".to_owned()])),
    }?;
    Some(Perturbed {
        kind,
        sentences,
        changes,
    })
}

type Changed = Option<(Vec<String>, Vec<String>)>;

fn reverse(sentences: &[String], lexicon: &Lexicon, random: &mut Random) -> Changed {
    let links = extract(sentences, lexicon);
    let candidates = links.iter().filter(|link| {
        !link.is_negated && link.pattern != Pattern::Order && link.pattern != Pattern::Concession
    });
    let turned = candidates
        .filter_map(|link| Some((link, swapped(&sentences[link.sentence], link, lexicon)?)));
    replace(sentences, turned.collect(), random, |link| {
        format!(
            "sentence {}: `{}` and `{}` changed places around `{}`",
            link.sentence + 1,
            link.cause,
            link.effect,
            link.connective
        )
    })
}

fn negate(sentences: &[String], lexicon: &Lexicon, random: &mut Random) -> Changed {
    let links = extract(sentences, lexicon);
    let links = links
        .iter()
        .filter(|link| !link.is_negated && link.pattern.is_explicit());
    let turned =
        links.filter_map(|link| Some((link, denied(&sentences[link.sentence], link, lexicon)?)));
    replace(sentences, turned.collect(), random, |link| {
        format!(
            "sentence {}: `{}` was denied",
            link.sentence + 1,
            link.connective
        )
    })
}

/// Puts in up to [`MOST`] changed sentences, one change a sentence.
fn replace(
    sentences: &[String],
    mut turned: Vec<(&Link, String)>,
    random: &mut Random,
    say: impl Fn(&Link) -> String,
) -> Changed {
    random.shuffle(&mut turned);
    let mut changed = sentences.to_vec();
    let mut chosen: Vec<&Link> = Vec::new();
    for (link, sentence) in turned {
        if chosen.len() < MOST
            && chosen.iter().all(|other| other.sentence != link.sentence)
            && sentence != sentences[link.sentence]
        {
            changed[link.sentence] = sentence;
            chosen.push(link);
        }
    }
    chosen.sort_by_key(|link| link.sentence);
    (!chosen.is_empty()).then(|| (changed, chosen.into_iter().map(say).collect()))
}

fn renumber(sentences: &[String], random: &mut Random) -> Changed {
    let mut changes = Vec::new();
    let changed = sentences.iter().map(|sentence| {
        let mut text = sentence.clone();
        for number in numbers(sentence).iter().rev() {
            let other = another(number, random);
            text.replace_range(number.start..number.end, &other);
            changes.push(format!("`{}` became `{other}`", number.text));
        }
        text
    });
    let changed = changed.collect();
    (!changes.is_empty()).then_some((changed, changes))
}

/// A number of the same length: other digits, or another word.
fn another(number: &Number, random: &mut Random) -> String {
    const WORDS: [&str; 11] = [
        "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    ];
    if !number.text.contains(|c: char| c.is_ascii_digit()) {
        let lower = number.text.to_lowercase();
        let place = WORDS.iter().position(|word| *word == lower).unwrap_or(0);
        let other = WORDS[(place + 1 + random.below(WORDS.len() - 1)) % WORDS.len()];
        let is_capital = number.text.starts_with(char::is_uppercase);
        return if is_capital {
            format!("{}{}", other[..1].to_uppercase(), &other[1..])
        } else {
            other.to_owned()
        };
    }
    let mut is_first = true;
    let digit = |c: char| {
        let Some(old) = c.to_digit(10) else { return c };
        // A first digit is never 0; each digit changes.
        let choices: Vec<u32> = (u32::from(is_first)..10)
            .filter(|new| *new != old)
            .collect();
        is_first = false;
        char::from_digit(choices[random.below(choices.len())], 10).unwrap_or(c)
    };
    number.text.chars().map(digit).collect()
}

fn drop_half(sentences: &[String], random: &mut Random) -> Changed {
    if sentences.len() < 2 {
        return None;
    }
    let mut places: Vec<usize> = (0..sentences.len()).collect();
    random.shuffle(&mut places);
    let mut dropped = places[..sentences.len() / 2].to_vec();
    dropped.sort_unstable();
    let kept = sentences
        .iter()
        .enumerate()
        .filter(|(place, _)| !dropped.contains(place))
        .map(|(_, sentence)| sentence.clone());
    Some((
        kept.collect(),
        dropped
            .iter()
            .map(|place| format!("sentence {} went", place + 1))
            .collect(),
    ))
}

fn add(sentences: &[String], others: &[String], random: &mut Random) -> Changed {
    let mut foreign: Vec<&String> = others
        .iter()
        .filter(|other| !sentences.contains(other))
        .collect();
    if foreign.is_empty() {
        return None;
    }
    random.shuffle(&mut foreign);
    let mut changed = sentences.to_vec();
    let mut changes = Vec::new();
    for sentence in foreign.into_iter().take(MOST) {
        let place = random.below(changed.len() + 1);
        changed.insert(place, sentence.clone());
        changes.push(format!("`{sentence}` came in"));
    }
    Some((changed, changes))
}

fn shuffle(sentences: &[String], random: &mut Random) -> Changed {
    let mut order: Vec<usize> = (0..sentences.len()).collect();
    let is_other = |order: &[usize]| {
        order
            .iter()
            .any(|place| sentences[*place] != sentences[order[0]])
    };
    if sentences.len() < 2 || !is_other(&order) {
        return None;
    }
    let original = sentences.to_vec();
    loop {
        random.shuffle(&mut order);
        let changed: Vec<String> = order
            .iter()
            .map(|place| sentences[*place].clone())
            .collect();
        if changed != original {
            let shown: Vec<String> = order.iter().map(|place| (place + 1).to_string()).collect();
            return Some((changed, vec![format!("order {}", shown.join(" "))]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::lexicon::Width;
    use super::*;

    #[test]
    fn causes_and_effects_change_places() {
        check(
            Perturbation::Reverse,
            "The field flooded because the dam broke.",
            "The dam broke because the field flooded.",
        );
        check(
            Perturbation::Reverse,
            "Because the dam broke, the field flooded.",
            "Because the field flooded, the dam broke.",
        );
        check(
            Perturbation::Reverse,
            "The dam broke, so the field flooded.",
            "The field flooded, so the dam broke.",
        );
        check(
            Perturbation::Reverse,
            "Poverty causes illness.",
            "Illness causes poverty.",
        );
        check(
            Perturbation::Reverse,
            "The decline of the bees was caused by the new spray.",
            "The new spray was caused by the decline of the bees.",
        );
        check(Perturbation::Reverse, "The sky is blue.", "none");
    }

    #[test]
    fn links_are_denied() {
        check(
            Perturbation::Negate,
            "The field flooded because the dam broke.",
            "The field flooded, but not because the dam broke.",
        );
        check(
            Perturbation::Negate,
            "Poverty causes illness.",
            "Poverty does not cause illness.",
        );
        check(
            Perturbation::Negate,
            "The storm caused floods.",
            "The storm did not cause floods.",
        );
        check(
            Perturbation::Negate,
            "The delay was caused by rain.",
            "The delay was not caused by rain.",
        );
        check(Perturbation::Negate, "The sky is blue.", "none");
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        check(Perturbation::Drop, "One sentence only.", "none");
        check(Perturbation::Shuffle, "One sentence only.", "none");
        check(Perturbation::Numbers, "No number here.", "none");
        check(Perturbation::Irrelevant, "No other text is given.", "none");
        check(Perturbation::Paraphrase, "No paraphrase is given.", "none");
        check(Perturbation::Shuffle, "", "none");
    }

    #[test]
    fn a_perturbation_changes_what_it_says_and_depends_on_the_seed() {
        let sentences: Vec<String> = [
            "It rose by 12 metres.",
            "Three men left.",
            "It rained.",
            "It snowed.",
        ]
        .map(str::to_owned)
        .to_vec();
        let others = [
            "Cats sleep.".to_owned(),
            "Dogs bark.".to_owned(),
            "Cows moo.".to_owned(),
        ];
        let source = Source {
            id: "a",
            sentences: &sentences,
            others: &others,
            paraphrase: Some(&others),
        };
        let lexicon = Lexicon::new(Width::Wide);
        let made = |kind, seed| perturb(kind, &source, &lexicon, seed).unwrap().sentences;
        let numbers = made(Perturbation::Numbers, 7);
        assert!(
            !numbers[0].contains("12")
                && !numbers[1].contains("Three")
                && numbers[2] == "It rained.",
            "{numbers:?}"
        );
        assert_eq!(made(Perturbation::Drop, 7).len(), 2);
        assert_eq!(made(Perturbation::Irrelevant, 7).len(), 6);
        assert_eq!(made(Perturbation::Paraphrase, 7), others);
        assert_ne!(made(Perturbation::Shuffle, 7), sentences);
        assert_eq!(
            made(Perturbation::Shuffle, 7),
            made(Perturbation::Shuffle, 7)
        );
        assert!(
            (0..20).any(|seed| made(Perturbation::Shuffle, seed) != made(Perturbation::Shuffle, 7))
        );
    }

    fn check(kind: Perturbation, text: &str, expected: &str) {
        let sentences = crate::evaluate::split::sentences(text);
        let source = Source {
            id: "a",
            sentences: &sentences,
            others: &[],
            paraphrase: None,
        };
        let made = perturb(kind, &source, &Lexicon::new(Width::Core), 7);
        assert_eq!(
            made.map_or("none".to_owned(), |made| made.sentences.join(" ")),
            expected
        );
    }
}

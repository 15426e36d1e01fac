//! A sentence with its link turned round or denied, where a rule makes good English of it.

use super::lexicon::{Form, Lexicon};
use super::link::{Link, Pattern};
use super::token::{
    Token, finite_verb, is_determiner, is_finite_auxiliary, is_preposition, tokens,
};

/// The sentence with cause and effect in each other's place, or nothing where that is no sentence.
pub(super) fn swapped(sentence: &str, link: &Link, lexicon: &Lexicon) -> Option<String> {
    let (a, b) = (
        place(sentence, &link.cause)?,
        place(sentence, &link.effect)?,
    );
    let (first, second) = if a.0 < b.0 { (a, b) } else { (b, a) };
    if first.1 > second.0 {
        return None;
    }
    let is_clause = |place: (usize, usize)| {
        finite_verb(
            &tokens(&format!("x {}", &sentence[place.0..place.1])),
            lexicon,
        )
        .is_some()
    };
    let both_clauses = is_clause(first) && is_clause(second);
    let fits = match link.pattern {
        Pattern::Clause | Pattern::Result | Pattern::Condition => {
            both_clauses && !link.connective.starts_with("the") && !link.connective.contains("that")
        }
        Pattern::Verb | Pattern::Noun => {
            !is_clause(first)
                && !is_clause(second)
                && !holds_infinitive(&sentence[second.0..second.1])
        }
        Pattern::Phrase | Pattern::Order | Pattern::Concession => false,
    };
    let is_rough = |text: &str| {
        tokens(text)
            .first()
            .is_some_and(|first| first.is_any("so such clear way") || is_preposition(first))
    };
    let is_degree = link.pattern != Pattern::Result
        && [first, second]
            .iter()
            .any(|side| sentence[..side.0].trim_end().ends_with(" so"));
    if is_degree
        || !fits
        || is_rough(&sentence[first.0..first.1])
        || is_rough(&sentence[second.0..second.1])
        || opens_with_pronoun(&sentence[first.0..first.1])
        || opens_with_pronoun(&sentence[second.0..second.1])
    {
        return None;
    }
    let opens = sentence[..first.0].trim().is_empty();
    let head = if opens {
        lowered(&sentence[first.0..first.1])
    } else {
        sentence[first.0..first.1].to_owned()
    };
    let tail = &sentence[second.0..second.1];
    let tail = if opens { raised(tail) } else { tail.to_owned() };
    Some(format!(
        "{}{tail}{}{head}{}",
        &sentence[..first.0],
        &sentence[first.1..second.0],
        &sentence[second.1..]
    ))
}

/// The sentence with its link denied, or nothing where no rule fits.
pub(super) fn denied(sentence: &str, link: &Link, lexicon: &Lexicon) -> Option<String> {
    let tokens = tokens(sentence);
    let words: Vec<&str> = link.connective.split(' ').collect();
    let at = (0..tokens.len()).find(|&at| {
        words
            .iter()
            .zip(&tokens[at..])
            .filter(|(word, token)| token.is(word))
            .count()
            == words.len()
    })?;
    let start = tokens[at].start;
    match link.pattern {
        Pattern::Clause | Pattern::Phrase if at > 0 && !matches!(words[..], ["for" | "as"]) => {
            let before = sentence[..start].trim_end().trim_end_matches(',');
            Some(format!("{before}, but not {}", &sentence[start..]))
        }
        Pattern::Verb | Pattern::Noun if at > 0 && !tokens[at - 1].is_any("that who which") => {
            let auxiliary = (0..at).rev().take(5).find(|&place| {
                is_finite_auxiliary(&tokens[place]) && !tokens[place].word.contains('\'')
            });
            if let Some(place) = auxiliary {
                let end = tokens[place].end;
                return Some(format!("{} not{}", &sentence[..end], &sentence[end..]));
            }
            let forms = lexicon.forms(&tokens[at].word);
            let base = lexicon.base(&tokens[at].word)?;
            let auxiliary = match () {
                () if link.pattern == Pattern::Noun => return None,
                () if forms.contains(Form::Third) => "does not",
                () if forms.contains(Form::Past) && !forms.contains(Form::Base) => "did not",
                () if forms.contains(Form::Base) && !forms.contains(Form::Past) => "do not",
                () => return None,
            };
            Some(format!(
                "{}{auxiliary} {base}{}",
                &sentence[..start],
                &sentence[tokens[at].end..]
            ))
        }
        _ => None,
    }
}

/// Where a side stands in the sentence, with the articles before it.
fn place(sentence: &str, side: &str) -> Option<(usize, usize)> {
    let start = sentence.find(side)?;
    let before = tokens(&sentence[..start]);
    let articles = before
        .iter()
        .rev()
        .take_while(|token| is_article(token))
        .last();
    Some((
        articles.map_or(start, |token| token.start),
        start + side.len(),
    ))
}

fn is_article(token: &Token) -> bool {
    token.is_any("the a an its this that these those it")
        && (is_determiner(token) || token.is("it"))
}

fn opens_with_pronoun(text: &str) -> bool {
    let tokens = tokens(text);
    tokens
        .first()
        .is_some_and(|first| first.is_any("it they he she them him which its their his her"))
        || tokens
            .first()
            .is_some_and(|first| first.is_any("this that these those"))
            && tokens.len() < 2
}

fn holds_infinitive(text: &str) -> bool {
    tokens(text).iter().any(|token| token.is("to"))
}

/// Without the capital that only its place gave it, unless the first word looks like a name.
fn lowered(text: &str) -> String {
    let Some(first) = tokens(text).into_iter().next() else {
        return text.to_owned();
    };
    let word = &text[first.start..first.end];
    let is_name =
        word.chars().skip(1).any(char::is_uppercase) || word == "I" || second_is_capital(text);
    if is_name {
        text.to_owned()
    } else {
        format!("{}{}", word.to_lowercase(), &text[first.end..])
    }
}

fn second_is_capital(text: &str) -> bool {
    tokens(text).get(1).is_some_and(|second| second.is_capital)
        && !tokens(text).first().is_some_and(is_determiner)
}

fn raised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

//! Where one clause ends and another begins without a connective of the lexicon: marks, `and`, participles.

use std::ops::Range;

use super::lexicon::{Form, Kind};
use super::segment::{Cue, Cutter, Join};
use super::token::{
    COMPARATIVES, finite_verb, is_adverb, is_comma, is_determiner, is_finite, is_finite_auxiliary,
    is_preposition, is_pronoun, part,
};

impl Cutter<'_> {
    /// Marks, `and`, `, which`, participles: joins that no word of the lexicon makes.
    pub(super) fn boundary(&mut self, at: usize) -> Option<Cue> {
        let token = &self.tokens[at];
        if token.is_any("; \u{2014} \u{2013} - :") && !self.is_empty_before(at) {
            let join = if token.is(";") {
                Join::And
            } else {
                Join::First
            };
            return Some(Cue { n: 1, join });
        }
        if let Some(cue) = self
            .comparative(at)
            .or_else(|| self.inversion(at))
            .or_else(|| self.opening_participle(at))
        {
            return Some(cue);
        }
        if token.is("and") {
            return self.and(at);
        }
        if is_comma(token) {
            return self.comma(at);
        }
        None
    }

    /// `, and` before a clause, and ` and ` before a verb.
    fn and(&self, at: usize) -> Option<Cue> {
        let after_comma = self.follows_any(at, ",");
        let in_phrase = self.current.join.is_subordinate() && after_comma;
        if self.current.is_initial || !(in_phrase || self.clause_before(at)) {
            return None;
        }
        let next_mark = self.next_mark(at + 1);
        if self.is_absolute(at + 1..next_mark) && self.has_main_after(at + 1) {
            return Some(Cue {
                n: 1,
                join: Join::Cause,
            });
        }
        // "between the surgeon and the nurses"
        let is_pair = self
            .words(self.current.range.start.min(at)..at)
            .iter()
            .rev()
            .take(5)
            .any(|token| token.is_any("between both"));
        if is_pair && !after_comma {
            return None;
        }
        let mut next = at + 1;
        while self.tokens.get(next).is_some_and(is_adverb) {
            next += 1;
        }
        let end = self.next_mark(next);
        // A verb right after `and` has its subject before it, so a token is lent to it.
        let is_verb_next = next < end && self.is_second_verb(next);
        let is_clause = finite_verb(self.words(next..end), self.lexicon).is_some();
        if self.current.join.is_subordinate() && !after_comma {
            return None;
        }
        let begins_noun = self
            .after(next)
            .is_some_and(|token| is_determiner(token) || is_pronoun(token) || token.is_capital)
            || after_comma;
        let near = finite_verb(self.words(next..end.min(next + 8)), self.lexicon).is_some();
        (is_verb_next
            || (is_clause && (after_comma || (begins_noun && near))
                || (near && self.strong_clause(next, end))))
        .then_some(Cue {
            n: 1,
            join: Join::And,
        })
    }

    fn strong_clause(&self, start: usize, end: usize) -> bool {
        let words = self.words(start..end);
        finite_verb(words, self.lexicon).is_some_and(|verb| {
            is_finite_auxiliary(&words[verb])
                || self.lexicon.forms(&words[verb].word).contains(Form::Past)
        })
    }

    /// Whether the word can be the verb of a second predicate: a past, a third person, an auxiliary.
    fn is_second_verb(&self, at: usize) -> bool {
        let token = &self.tokens[at];
        let forms = self.lexicon.forms(&token.word);
        let after = self.after(at + 1);
        let is_noun = after.is_some_and(is_finite_auxiliary);
        if is_finite_auxiliary(token) {
            return true;
        }
        if is_noun {
            return false;
        }
        let past =
            forms.contains(Form::Past) || (token.word.len() > 4 && token.word.ends_with("ed"));
        let after_plural = forms.contains(Form::Third)
            && !past
            && self.tokens[at.saturating_sub(2)].word.ends_with('s');
        if after_plural
            && after.is_none_or(|next| {
                next.is_mark() || !(is_determiner(next) || is_pronoun(next) || is_preposition(next))
            })
        {
            return false;
        }
        if past || forms.contains(Form::Third) {
            // The first verb of the clause stands in the same form.
            let words = self.words(self.current.range.start..at - 1);
            return words.iter().enumerate().any(|(place, first)| {
                is_finite(words, place, self.lexicon) && {
                    let first_forms = self.lexicon.forms(&first.word);
                    let first_past = first_forms.contains(Form::Past)
                        || first.word.ends_with("ed")
                        || first.is_any("was were had did");
                    let first_third =
                        first_forms.contains(Form::Third) || first.is_any("is has does");
                    (past && first_past)
                        || (forms.contains(Form::Third) && first_third)
                        || (past && first.is_any("is are was were has have had"))
                }
            });
        }
        if forms.contains(Form::Base) {
            let words = self.words(self.current.range.start..at - 1);
            let next_is_object = after.is_some_and(|next| is_determiner(next) || is_pronoun(next));
            return next_is_object
                && finite_verb(words, self.lexicon).is_some_and(|verb| {
                    self.lexicon.forms(&words[verb].word).contains(Form::Base)
                        || words[verb].is_any("can may will would could might must")
                });
        }
        false
    }

    /// A comma before a clause, `which`, or a participle.
    fn comma(&mut self, at: usize) -> Option<Cue> {
        let next = self.after(at + 1)?;
        if self.current.is_initial {
            return None;
        }
        let end = self.next_mark(at + 1);
        let tokens = self.tokens;
        let words = part(tokens, at + 1..end);
        if words.iter().take(4).any(|token| token.is_any("which whom")) && !next.is("which") {
            return None;
        }
        if self.is_absolute(at + 1..end) && (self.clause_before(at) || self.follows_any(at, "and"))
        {
            return Some(Cue {
                n: 1,
                join: Join::Cause,
            });
        }
        if next.is("which") && self.clause_before(at) {
            return Some(Cue {
                n: 1,
                join: Join::Comment,
            });
        }
        if self.is_ing(at + 1) || (next.is("thus") && self.is_ing(at + 2)) {
            let is_causal = self
                .lexicon
                .items(&next.word)
                .iter()
                .any(|item| item.kind == Kind::CauseVerb);
            return (is_causal && self.clause_before(at)).then_some(Cue {
                n: 1,
                join: Join::Comment,
            });
        }
        if next.is_any("and or but who whose where whom not nor") || self.connects(at + 1) {
            return None;
        }
        let opening = &self.tokens[self.current.range.start];
        let is_opening_phrase = is_preposition(opening)
            && !self
                .words(self.current.range.start..at)
                .iter()
                .any(is_comma);
        if is_opening_phrase {
            return None;
        }
        let is_clause = finite_verb(words, self.lexicon).is_some() && !is_preposition(next);
        let next_forms = self.lexicon.forms(&next.word);
        let is_unsure = next_forms.contains(Form::Base) && next_forms.contains(Form::Past)
            || self.after(at + 2).is_some_and(|second| second.is("by"));
        let is_second = !is_unsure
            && end > at + 1
            && !is_finite_auxiliary(&self.tokens[at + 1])
            && self.is_second_verb(at + 1)
            && self.after(at + 1).is_some_and(|token| {
                !token.word.ends_with("ed")
                    || part(self.tokens, at..).iter().any(|token| token.is("and"))
            });
        (self.clause_before(at) && (is_clause || is_second)).then_some(Cue {
            n: 1,
            join: Join::And,
        })
    }

    /// `the children having left`, `few of them being in flower`.
    fn is_absolute(&self, range: Range<usize>) -> bool {
        let words = self.words(range);
        let place = words.iter().position(|token| token.is_any("having being"));
        place.is_some_and(|place| place < 6 && finite_verb(&words[..place], self.lexicon).is_none())
    }

    /// Whether a connective of the lexicon stands here; it makes its own cut.
    fn connects(&mut self, at: usize) -> bool {
        self.connective(at).is_some()
    }

    /// `the more A, the more B`, and `B the more A`.
    fn comparative(&self, at: usize) -> Option<Cue> {
        if !self.is_comparative(at) {
            return None;
        }
        if self.is_empty_before(at)
            && self
                .segments
                .iter()
                .all(|segment| segment.join != Join::Condition || !segment.is_initial)
        {
            let pair = (at + 2..self.tokens.len())
                .find(|&place| is_comma(&self.tokens[place]) && self.is_comparative(place + 1));
            return pair.map(|_| Cue {
                n: 1,
                join: Join::Condition,
            });
        }
        let is_doubled =
            self.tokens.get(at + 2).is_some_and(is_comma) && self.is_comparative(at + 3);
        if is_doubled {
            return None;
        }
        let is_second_half = self.current.join == Join::Main;
        let words = self.words(self.current.range.start.min(at)..at);
        let has_comparative = words.iter().any(|token| token.is_any(COMPARATIVES));
        (!is_second_half
            && has_comparative
            && self.clause_before(at)
            && self.clause_follows(at + 1)
            && !self.follows_any(at, "of in by")
            && (!self.follows_any(at, ",") || at >= 3 && self.is_comparative(at - 3)))
        .then_some(Cue {
            n: 1,
            join: Join::Condition,
        })
    }

    fn is_comparative(&self, at: usize) -> bool {
        self.tokens.get(at).is_some_and(|token| token.is("the"))
            && self
                .after(at + 1)
                .is_some_and(|next| next.is_any(COMPARATIVES))
    }

    /// `Had it been smaller, ...`, and `..., had it been smaller`.
    fn inversion(&self, at: usize) -> Option<Cue> {
        if !self.tokens[at].is_any("had were should") {
            return None;
        }
        let next = self.after(at + 1)?;
        if self.is_empty_before(at)
            && self.starts_sentence(at)
            && !self.tokens.last().is_some_and(|last| last.is("?"))
        {
            return Some(Cue {
                n: 1,
                join: Join::Condition,
            });
        }
        let would = self
            .words(self.current.range.start..at)
            .iter()
            .any(|token| token.is_any("would wouldn't could couldn't"));
        let subject = is_pronoun(next) || is_determiner(next);
        (would
            && subject
            && self.tokens[at].is("had")
            && part(self.tokens, at..).iter().any(|token| {
                token.is_any("been not")
                    || self.lexicon.forms(&token.word).contains(Form::Participle)
            }))
        .then_some(Cue {
            n: 1,
            join: Join::Condition,
        })
    }

    /// `Kept indoors too long, the goats ...`, `Having used it, they ...`.
    fn opening_participle(&self, at: usize) -> Option<Cue> {
        let starts = self.is_empty_before(at)
            && (self.segments.is_empty() || self.current.join == Join::And);
        if !starts || self.current.join.is_subordinate() || self.current.join == Join::Comment {
            return None;
        }
        let token = &self.tokens[at];
        let forms = self.lexicon.forms(&token.word);
        let is_participle = self.is_ing(at)
            || forms.contains(Form::Participle)
            || (token.word.len() > 4 && token.word.ends_with("ed"));
        let comma = self.next_mark(at);
        let is_phrase =
            comma < self.tokens.len() && is_comma(&self.tokens[comma]) && comma > at + 1;
        let main = self.after(comma + 1)?;
        let begins = is_determiner(main)
            || is_pronoun(main)
            || main.is_capital
            || self.clause_follows(comma + 1);
        let inside = self.words(at + 1..comma.max(at + 1));
        (is_participle
            && is_phrase
            && begins
            && finite_verb(inside, self.lexicon).is_none()
            && !main.is_any("and or which who")
            && self.clause_follows(comma + 1))
        .then_some(Cue {
            n: 0,
            join: if self.is_ing(at) && !token.is_any("having being") {
                Join::Setting
            } else {
                Join::Condition
            },
        })
    }
}

//! What one clause says by its verb: `A raises B`, `B is raised by A`, `A is the cause of B`.

use std::ops::Range;

use super::lexicon::{Form, Item, Kind, Lexicon};
use super::token::{
    AUXILIARIES, BE, TIMES, Token, is_adverb, is_negator, is_preposition, is_surely_finite, part,
};

/// A link inside one clause; the places of both sides and of the words that make the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Predicate {
    pub(super) cause: Vec<Range<usize>>,
    pub(super) effect: Vec<Range<usize>>,
    pub(super) connective: Range<usize>,
    pub(super) is_negated: bool,
    /// Which side stands for something said before: it is empty or a bare pronoun.
    pub(super) is_noun: bool,
}

/// The links that the verbs and nouns of the clause in `range` make.
pub(super) fn predicates(
    tokens: &[Token],
    range: &Range<usize>,
    lexicon: &Lexicon,
) -> Vec<Predicate> {
    let clause = Clause {
        tokens,
        range: range.clone(),
        lexicon,
    };
    if let Some(found) = clause
        .opening_noun()
        .or_else(|| clause.inverted())
        .or_else(|| clause.thanks())
    {
        return vec![found];
    }
    let mut found = Vec::new();
    let mut relative = Vec::new();
    let mut at = range.start;
    while at < range.end {
        if let Some((predicate, is_relative, next)) = clause.at(at) {
            if is_relative {
                relative.push(predicate);
            } else {
                found.push(predicate);
            }
            if !is_relative {
                // What follows is the object of this verb.
                break;
            }
            at = next;
        } else {
            at += 1;
        }
    }
    found.extend(relative);
    if found.is_empty() {
        found.extend(clause.restricted());
    }
    found
}

/// A side that stands in one piece.
pub(super) fn one(range: Range<usize>) -> Vec<Range<usize>> {
    std::iter::once(range).collect()
}

/// The clause that is read.
pub(super) struct Clause<'a> {
    pub(super) tokens: &'a [Token],
    pub(super) range: Range<usize>,
    pub(super) lexicon: &'a Lexicon,
}

impl Clause<'_> {
    fn at(&self, at: usize) -> Option<(Predicate, bool, usize)> {
        for item in self.lexicon.items(&self.tokens[at].word) {
            let predicate = match item.kind {
                Kind::CauseVerb | Kind::DenialVerb | Kind::EffectVerb | Kind::DeniedEffectVerb => {
                    self.verb(at, item)
                }
                Kind::AttributionVerb => self.attribution(at, item),
                _ => None,
            };
            if predicate.is_some() {
                return predicate;
            }
        }
        if self.tokens[at].is_any(BE) {
            return self.noun(at);
        }
        None
    }

    /// The end of the item's words if they stand at `at`; adverbs may stand between.
    pub(super) fn matched(&self, at: usize, item: &Item) -> Option<usize> {
        let mut place = at + 1;
        for word in &item.rest {
            let mut skipped = 0;
            while place < self.range.end
                && !self.tokens[place].is(word)
                && skipped < 2
                && (is_adverb(&self.tokens[place]) || is_negator(&self.tokens[place]))
            {
                place += 1;
                skipped += 1;
            }
            if place >= self.range.end || !self.tokens[place].is(word) {
                return None;
            }
            place += 1;
        }
        Some(place)
    }

    /// The nearest token before `at` that is no adverb and no negator.
    pub(super) fn before(&self, at: usize) -> Option<usize> {
        (self.range.start..at).rev().find(|&place| {
            let token = &self.tokens[place];
            let is_degree = token.is_any("more less most") && place + 1 < at;
            let is_passed_over =
                is_degree || is_adverb(token) || token.is_any("not never longer no n't ever");
            !is_passed_over
        })
    }

    /// The place of `that`, `which` or `who` right before the verb and its auxiliaries, after a noun.
    pub(super) fn relative(&self, at: usize) -> Option<usize> {
        let place = self.auxiliaries_before(at);
        let pronoun = place.checked_sub(1)?;
        if pronoun <= self.range.start || !self.tokens[pronoun].is_any("that which who") {
            return None;
        }
        if self.pronoun_before(place) {
            return None;
        }
        // "It is haste that breeds errors" and "that is what keeps": not a relative clause of a noun.
        let opening = &self.tokens[self.range.start];
        let is_cleft = opening.is_any("it it's")
            && part(self.tokens, self.range.start..pronoun)
                .iter()
                .take(3)
                .any(|token| token.is_any("is was it's isn't wasn't"));
        let is_what = self.tokens[pronoun - 1].is_any(BE);
        (!is_cleft && !is_what).then_some(pronoun)
    }

    /// The end of the subject without what stands between commas after it: `Staff, timed on every call, were ...`.
    fn without_aside(&self, end: usize) -> usize {
        let start = self.range.start;
        if end < start + 4 || !self.tokens[end - 1].is(",") {
            return end;
        }
        (start + 1..end - 2)
            .find(|&place| self.tokens[place].is(","))
            .unwrap_or(end)
    }

    /// Where the subject begins: after `it is` in `it is haste that ...`.
    fn cleft(&self, end: usize) -> usize {
        let start = self.range.start;
        let is_cleft = end >= start + 4
            && self.tokens[start].is("it")
            && self.tokens[start + 1].is_any("is was")
            && self.tokens[end - 1].is_any("that which who");
        let skipped = if is_cleft && self.tokens[start + 2].is("not") {
            3
        } else {
            2
        };
        if is_cleft { start + skipped } else { start }
    }

    /// Whether the words before `end` are a time and a bare pronoun.
    fn pronoun_before(&self, end: usize) -> bool {
        end >= self.range.start + 3
            && self.tokens[end - 1].is_any("that this it these they")
            && is_preposition(&self.tokens[self.range.start])
            && (self.tokens[end - 2].is_any(TIMES)
                || self.tokens[end - 2].is(",")
                || self.tokens[end - 2].is_number())
    }

    pub(super) fn active(
        &self,
        at: usize,
        end: usize,
        item: &Item,
    ) -> Option<(Predicate, bool, usize)> {
        let start = self.auxiliaries_before(at);
        let relative = self.relative(at);
        let what = self.what_before(at);
        let (left, right, is_relative) = match (relative, what) {
            (_, Some(what)) if what == self.range.start || (what == self.range.start + 1) => {
                // "What keeps Irena awake is dread": the subject stands after the last form of be.
                let be = (end..self.range.end)
                    .rev()
                    .find(|&place| self.tokens[place].is_any("is was are were"))?;
                if be == end || be + 1 >= self.range.end {
                    return None;
                }
                (be + 1..self.range.end, end..be, false)
            }
            (_, Some(what)) => (
                self.range.start..self.without_be(what),
                end..self.range.end,
                false,
            ),
            (Some(that), None) => {
                let from = (self.range.start..that)
                    .rev()
                    .take_while(|&place| that - place <= 7)
                    .find(|&place| {
                        is_preposition(&self.tokens[place]) || self.tokens[place].is_any(BE)
                    })
                    .map_or(self.range.start.max(that.saturating_sub(7)), |place| {
                        place + 1
                    });
                let stop = (end + 1..self.range.end)
                    .find(|&place| {
                        super::token::is_finite(
                            part(self.tokens, end..self.range.end),
                            place - end,
                            self.lexicon,
                        )
                    })
                    .unwrap_or(self.range.end);
                (from..that, end..stop, true)
            }
            // "By the second week that had made them tired": the pronoun alone is the subject.
            _ if self.pronoun_before(start) => (start - 1..start, end..self.range.end, false),
            _ => (
                self.cleft(start)..self.without_aside(start),
                end..self.range.end,
                false,
            ),
        };
        let denies = matches!(item.kind, Kind::DenialVerb | Kind::DeniedEffectVerb);
        let is_negated = denies || self.is_negated(start, at, end);
        let (cause, effect) = match item.kind {
            Kind::EffectVerb | Kind::DeniedEffectVerb => (right, left),
            _ => (left, right),
        };
        let predicate = Predicate {
            cause: vec![cause],
            effect: vec![effect],
            connective: at..end,
            is_negated,
            is_noun: false,
        };
        Some((predicate, is_relative, end))
    }

    /// `X is raised by Y`; with `is_relative`, `X raised by Y` inside a noun phrase.
    pub(super) fn passive(
        &self,
        at: usize,
        end: usize,
        is_relative: bool,
    ) -> Option<(Predicate, bool, usize)> {
        let by = (end..self.range.end).find(|&place| {
            self.tokens[place].is("by") && !next_is_time(self.tokens, place, self.range.end)
        })?;
        if by + 1 >= self.range.end {
            return None;
        }
        let start = self.auxiliaries_before(at);
        let stop = if is_relative {
            (by + 2..self.range.end)
                .find(|&place| {
                    is_surely_finite(
                        part(self.tokens, by..self.range.end),
                        place - by,
                        self.lexicon,
                    )
                })
                .unwrap_or(self.range.end)
        } else {
            // "discouraged by poor sales from printing"
            (by + 2..self.range.end.saturating_sub(1))
                .find(|&place| {
                    let (token, next) = (&self.tokens[place], &self.tokens[place + 1]);
                    let forms = self.lexicon.forms(&next.word);
                    (token.is("from") && next.word.len() > 4 && next.word.ends_with("ing"))
                        || (token.is("to") && forms.contains(Form::Base))
                })
                .unwrap_or(self.range.end)
        };
        let from = if is_relative {
            self.noun_start(start)
        } else {
            self.range.start
        };
        let mut effect = vec![from..self.without_aside(start), end..by];
        if !is_relative {
            effect.push(stop..self.range.end);
        }
        let denied_subject = part(self.tokens, self.range.start..start)
            .first()
            .is_some_and(|token| token.is_any("no none nothing nobody neither"));
        let is_negated = self.is_negated(start, at, end) != denied_subject;
        Some((
            Predicate {
                cause: one(by + 1..stop),
                effect,
                connective: at..end,
                is_negated,
                is_noun: false,
            },
            is_relative,
            end,
        ))
    }

    /// Where the noun phrase that ends at `end` begins, by a rule of thumb.
    fn noun_start(&self, end: usize) -> usize {
        let bound = end.saturating_sub(7).max(self.range.start);
        (bound..end)
            .rev()
            .find(|&place| {
                is_preposition(&self.tokens[place])
                    || self.tokens[place].is_any(BE)
                    || self.tokens[place].is_mark()
            })
            .map_or(bound, |place| place + 1)
    }

    /// Where the auxiliaries and adverbs before a verb begin.
    pub(super) fn auxiliaries_before(&self, at: usize) -> usize {
        let mut start = at;
        while start > self.range.start
            && (self.tokens[start - 1].is_any(AUXILIARIES)
                || is_adverb(&self.tokens[start - 1])
                || self.tokens[start - 1].is("to"))
        {
            // "used to shade", "seems to cause"
            start -= if self.tokens[start - 1].is("to") && start >= self.range.start + 2 {
                2
            } else {
                1
            };
        }
        start
    }

    /// The place of `what` before a verb and its auxiliaries: `X is what keeps ...`.
    fn what_before(&self, at: usize) -> Option<usize> {
        let start = self.auxiliaries_before(at);
        let place = start.checked_sub(1)?;
        (place >= self.range.start && self.tokens[place].is("what")).then_some(place)
    }

    /// The end of what stands before `is`, `is not` at the end of `..end`.
    fn without_be(&self, end: usize) -> usize {
        let mut end = end;
        while end > self.range.start
            && (self.tokens[end - 1].is_any(BE)
                || self.tokens[end - 1].is_any(AUXILIARIES)
                || is_adverb(&self.tokens[end - 1]))
        {
            end -= 1;
        }
        end
    }

    /// Whether the verb is denied: before it, in a cleft around it, or by its object.
    pub(super) fn is_negated(&self, start: usize, at: usize, end: usize) -> bool {
        let denies = |token: &Token| {
            token.is_any("not never cannot no longer hardly scarcely rarely nor neither")
                || token.word.ends_with("n't")
        };
        let before = part(self.tokens, start..at).iter().any(denies);
        let fails = part(self.tokens, start..at)
            .windows(2)
            .any(|two| two[0].word.starts_with("fail") && two[1].is("to"));
        // "It was not the rain that ...", "X is not what ...".
        let opening = part(self.tokens, self.range.start..start)
            .iter()
            .take(4)
            .collect::<Vec<_>>();
        let cleft = opening.windows(3).any(|three| {
            three[0].is_any("it it's this that")
                && three[1].is_any("is was not")
                && (three[2].is("not") || three[1].is("not"))
        }) || opening
            .windows(2)
            .any(|two| two[0].is_any("it that this") && two[1].is_any("wasn't isn't"));
        let what = self.what_before(at).is_some_and(|place| {
            place >= 1 && part(self.tokens, ..place).iter().rev().take(3).any(denies)
        });
        let object = part(self.tokens, end..self.range.end)
            .iter()
            .take(2)
            .enumerate()
            .any(|(place, token)| {
                token.is_any("no none nothing nobody neither") || (place == 0 && token.is("not"))
            });
        before || fails || cleft || what || object
    }
}

/// Whether `by` at this place is followed by a time or a measure: `by July`, `by a third`.
pub(super) fn next_is_time(tokens: &[Token], by: usize, end: usize) -> bool {
    let Some(next) = tokens.get(by + 1).filter(|_| by + 1 < end) else {
        return true;
    };
    let second = tokens.get(by + 2).filter(|_| by + 2 < end);
    let is_measure = |token: &Token| {
        token.is_number()
            || token.is_any(TIMES)
            || token.is_any(
                "third quarter half fifth tenth thousand hundred dozen fortnight kilometre metre \
                degree factor",
            )
    };
    next.is_number()
        || is_measure(next)
        || (next.is_any("a the an one almost nearly about early late next some")
            && second.is_some_and(is_measure))
}

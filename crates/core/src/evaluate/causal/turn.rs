//! Turns of phrase that name a cause without a causal verb: `X is the cause of Y`, `from X came Y`.

use super::lexicon::{Form, Item, Kind};
use super::predicate::{Clause, Predicate, one};
use super::token::{
    AUXILIARIES, BE, PREPOSITIONS, Token, is_adverb, is_comma, is_determiner, is_finite,
    is_preposition, is_pronoun, is_surely_finite, part,
};

impl Clause<'_> {
    /// `blame the delay on the rain`: the object is the effect.
    pub(super) fn attribution(&self, at: usize, item: &Item) -> Option<(Predicate, bool, usize)> {
        let particle = (at + 2..self.range.end).find(|&place| {
            item.rest
                .iter()
                .zip(part(self.tokens, place..))
                .all(|(word, token)| token.is(word))
        })?;
        let after = particle + item.rest.len();
        let is_near = (at + 1..particle).all(|place| !self.tokens[place].is_mark());
        let previous = self.before(at).map(|place| &self.tokens[place]);
        let is_noun = previous.is_some_and(|token| {
            is_determiner(token) && !is_pronoun(token) || is_preposition(token)
        });
        if after >= self.range.end
            || !is_near
            || is_noun
            || previous.is_some_and(|token| token.is_any(BE))
        {
            return None;
        }
        let start = self.auxiliaries_before(at);
        let is_negated = self.is_negated(start, at, particle);
        Some((
            Predicate {
                cause: one(after..self.range.end),
                effect: one(at + 1..particle),
                connective: at..at + 1,
                is_negated,
                is_noun: false,
            },
            false,
            after,
        ))
    }

    /// `From haste came errors`, `Behind the strike lay hunger`.
    pub(super) fn inverted(&self) -> Option<Predicate> {
        let first = &self.tokens[self.range.start];
        let is_cause_first = first.is_any("from with")
            || (first.is("out")
                && self
                    .tokens
                    .get(self.range.start + 1)
                    .is_some_and(|next| next.is("of")));
        if !is_cause_first && !first.is("behind") {
            return None;
        }
        let from = self.range.start + if first.is("out") { 2 } else { 1 };
        let verbs = if is_cause_first {
            "came comes come grew grows sprang arose arises flowed"
        } else {
            "lay lies lie was is were are stood stands"
        };
        let verb = (from + 1..self.range.end.min(from + 12))
            .find(|&place| self.tokens[place].is_any(verbs))?;
        let said = verb + 1..self.range.end;
        if said.is_empty()
            || part(self.tokens, from..verb).iter().any(Token::is_mark)
            || self.tokens[verb + 1].is_any(PREPOSITIONS)
        {
            return None;
        }
        let named = from..verb;
        let (cause, effect) = if is_cause_first {
            (named, said)
        } else {
            (said, named)
        };
        Some(Predicate {
            cause: vec![cause],
            effect: vec![effect],
            connective: verb..verb + 1,
            is_negated: false,
            is_noun: false,
        })
    }

    /// `The harbour has the storm to thank for its new sandbank`.
    pub(super) fn thanks(&self) -> Option<Predicate> {
        let thank = (self.range.start + 3..self.range.end).find(|&place| {
            self.tokens[place].is_any("thank blame") && self.tokens[place - 1].is("to")
        })?;
        let has = (self.range.start + 1..thank - 1)
            .find(|&place| self.tokens[place].is_any("has have had"))?;
        let goes_on = self
            .tokens
            .get(thank + 1)
            .is_some_and(|next| next.is("for"))
            && thank + 2 < self.range.end;
        let mut effect = one(self.range.start..has);
        if goes_on {
            effect.push(thank + 2..self.range.end);
        }
        (has + 1 < thank - 1).then(|| Predicate {
            cause: one(has + 1..thank - 1),
            effect,
            connective: thank - 1..thank + 1,
            is_negated: false,
            is_noun: false,
        })
    }

    /// `Cows that lie on concrete stand longer`: what the noun does is a condition of the rest.
    pub(super) fn restricted(&self) -> Option<Predicate> {
        let range = self.range.clone();
        let that = (range.start + 1..range.end.min(range.start + 6))
            .find(|&place| self.tokens[place].is_any("that who which"))?;
        if part(self.tokens, range.start..that)
            .iter()
            .any(|token| token.is_mark() || token.is_any(BE) || token.is_any("it so such"))
        {
            return None;
        }
        let words = part(self.tokens, range.clone());
        let finite: Vec<usize> = (that + 1..range.end)
            .filter(|&place| is_surely_finite(words, place - range.start, self.lexicon))
            .collect();
        let main = *finite.iter().find(|&&place| {
            place > that + 2 && !self.tokens[place - 1].is_any(AUXILIARIES) && finite[0] < place
        })?;
        (main + 1 < range.end).then(|| Predicate {
            cause: one(range.start..main),
            effect: one(main..range.end),
            connective: that..that + 1,
            is_negated: false,
            is_noun: false,
        })
    }

    /// `X is the cause of Y`, `X is no response to Y`.
    pub(super) fn noun(&self, at: usize) -> Option<(Predicate, bool, usize)> {
        let stop = self.range.end.min(at + 8);
        for place in at + 1..stop {
            let token = &self.tokens[place];
            for item in self.lexicon.items(&token.word) {
                let is_effect = match item.kind {
                    Kind::EffectNoun => true,
                    Kind::CauseNoun => false,
                    _ => continue,
                };
                let Some(end) = self
                    .matched(place, item)
                    .filter(|end| *end < self.range.end)
                else {
                    continue;
                };
                let between = part(self.tokens, at + 1..place);
                if between
                    .iter()
                    .any(|token| is_preposition(token) || is_comma(token))
                {
                    return None;
                }
                let start = self.auxiliaries_before(at);
                let is_negated = between
                    .iter()
                    .any(|token| token.is_any("not no never hardly nothing"))
                    || self.tokens[at].word.ends_with("n't")
                    || self.is_negated(start, at, end);
                let (left, right) = (self.range.start..start, end..self.range.end);
                let (cause, effect) = if is_effect {
                    (right, left)
                } else {
                    (left, right)
                };
                let predicate = Predicate {
                    cause: vec![cause],
                    effect: vec![effect],
                    connective: place..end,
                    is_negated,
                    is_noun: true,
                };
                return Some((predicate, false, end));
            }
        }
        None
    }

    /// `The result of X was Y`, `The reason for X is Y`, `The reason X is that Y`.
    pub(super) fn opening_noun(&self) -> Option<Predicate> {
        let start = self.range.start;
        let limit = self.range.end.min(start + 5);
        for place in start..limit {
            let token = &self.tokens[place];
            if place > start
                && (is_preposition(token)
                    || is_finite(part(self.tokens, start..), place - start, self.lexicon))
            {
                return None;
            }
            if token.is_any("reason reasons")
                && !self
                    .tokens
                    .get(place + 1)
                    .is_some_and(|next| next.is("for") || next.is("behind"))
            {
                return self.reason(place);
            }
            for item in self.lexicon.items(&token.word) {
                let is_effect = match item.kind {
                    Kind::EffectNoun => true,
                    Kind::CauseNoun => false,
                    _ => continue,
                };
                let Some(end) = self.matched(place, item) else {
                    continue;
                };
                let be = (end + 1..self.range.end).find(|&place| {
                    self.tokens[place].is_any("is was are were isn't wasn't lay lies")
                })?;
                let after = be + 1;
                let said = self.tokens.get(after).filter(|_| after < self.range.end)?;
                if is_adverb(said)
                    || self.lexicon.forms(&said.word).contains(Form::Participle)
                    || said.word.ends_with("ed")
                {
                    return None;
                }
                let is_negated =
                    self.tokens[be].word.ends_with("n't") || self.tokens[after].is_any("not never");
                let (named, said) = (end..be, after..self.range.end);
                let (cause, effect) = if is_effect {
                    (named, said)
                } else {
                    (said, named)
                };
                return Some(Predicate {
                    cause: vec![cause],
                    effect: vec![effect],
                    connective: place..end,
                    is_negated,
                    is_noun: true,
                });
            }
        }
        None
    }

    /// `The reason (why) X is (that) Y`.
    fn reason(&self, place: usize) -> Option<Predicate> {
        let mut from = place + 1;
        if self
            .tokens
            .get(from)
            .is_some_and(|token| token.is_any("why that"))
        {
            from += 1;
        }
        let be = (from..self.range.end)
            .rev()
            .find(|&place| self.tokens[place].is_any("is was"))?;
        let is_negated = self.tokens.get(be + 1).is_some_and(|token| token.is("not"));
        (be + 1 < self.range.end).then(|| Predicate {
            cause: one(be + 1..self.range.end),
            effect: one(from..be),
            connective: place..from,
            is_negated,
            is_noun: true,
        })
    }
}

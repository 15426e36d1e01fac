//! Whether a connective of the lexicon is one where it stands: `since 1990` is a date, `so far` a time.

use super::lexicon::{Form, Lexicon};
use super::segment::{Cutter, Join};
use super::token::{
    TIMES, Token, is_comma, is_determiner, is_finite_auxiliary, is_negator, is_preposition,
    is_pronoun,
};

/// What one acts out of.
const MOTIVES: &str = "fear habit spite pity greed boredom necessity concern anger love loyalty curiosity \
    respect caution pride shame guilt hunger desperation frustration sympathy duty kindness \
    worry jealousy malice politeness ignorance revenge hatred laziness need gratitude";

impl Cutter<'_> {
    pub(super) fn cause_clause(&self, at: usize, n: usize) -> Option<Join> {
        let next = self.after(at + n)?;
        let word = self.tokens[at].word.as_str();
        let after_comma = self.follows_any(at, ", ; ( \u{2014} \u{2013} -");
        let is_clause = self.clause_follows(at + n);
        match (word, n) {
            ("since", 1) => {
                (!next.is_number() && !next.is_any(TIMES) && is_clause).then_some(Join::Cause)
            }
            ("for", 1) => {
                let begins = is_determiner(next) || is_pronoun(next) || !is_preposition(next);
                (after_comma
                    && begins
                    && is_clause
                    && self.clause_before(at - 1)
                    && !self.is_ing(at + n))
                .then_some(Join::Cause)
            }
            ("as", 1) => {
                let barred = next.is_any(
                    "well if though such far to of many much soon long part for in usual ever \
                    before always",
                );
                let pair = self
                    .words(at.saturating_sub(7)..at)
                    .iter()
                    .any(|token| token.is_any("as same"))
                    || self.follows_any(
                        at,
                        "such known regarded just so serve serves same twice much",
                    );
                if barred || pair || !is_clause {
                    return None;
                }
                if self.is_empty_before(at) || !after_comma {
                    return self.as_condition(at);
                }
                Some(Join::Cause)
            }
            ("in", 2) => (after_comma || is_pronoun(next))
                .then_some(Join::Cause)
                .filter(|_| is_clause),
            _ => Some(Join::Cause),
        }
    }

    /// `as` without a comma before it: only before a whole clause.
    fn as_condition(&self, at: usize) -> Option<Join> {
        let next = self.after(at + 1)?;
        (is_determiner(next)
            || is_pronoun(next)
            || self.is_empty_before(at)
            || !is_preposition(next))
        .then_some(Join::Condition)
    }

    pub(super) fn is_ing(&self, at: usize) -> bool {
        self.after(at).is_some_and(|token| {
            token.word.len() > 4
                && token.word.ends_with("ing")
                && !token.is_any(
                    "nothing something anything everything evening morning spring during thing \
                    things building",
                )
        })
    }

    pub(super) fn condition(&self, at: usize, n: usize) -> Option<Join> {
        let next = self.after(at + n)?;
        if next.is_mark() {
            return None;
        }
        let word = self.tokens[at].word.as_str();
        let is_clause = self.clause_follows(at + n);
        let starts = self.is_empty_before(at);
        let yes = match (word, n) {
            ("with", 1) => {
                starts
                    && self.next_mark(at) < self.tokens.len() - 1
                    && is_comma(&self.tokens[self.next_mark(at)])
            }
            ("without", 1) => {
                if starts {
                    return Some(Join::Condition);
                }
                if !self.is_ing(at + n) {
                    return None;
                }
                let negated = self
                    .words(self.current.range.start..at)
                    .iter()
                    .any(is_negator);
                return Some(if negated {
                    Join::Condition
                } else {
                    Join::Contrast
                });
            }
            ("on" | "upon", 1) => next.is_any(
                "seeing hearing feeling learning finding reaching arriving returning discovering \
                noticing receiving reading meeting entering leaving waking being having losing \
                getting becoming realising realizing",
            ),
            ("after", 1) => {
                let repeats = self
                    .before(at)
                    .is_some_and(|before| before.word == next.word)
                    || next.is_any("another all that");
                let is_time = next.is_any(TIMES)
                    || next.is_number()
                    || (is_determiner(next)
                        && self
                            .after(at + 2)
                            .is_some_and(|second| second.is_any(TIMES)));
                let barred =
                    self.follows_any(at, "one long named look looks looking looked run year day");
                let has_main = !starts || self.has_main_after(at);
                !repeats && !is_time && !barred && has_main && (starts || self.clause_before(at))
            }
            ("once", 1) => {
                (is_clause || starts)
                    && !self.follows_any(
                        at,
                        "at all only than who that which had was were has have is are",
                    )
                    && !next.is_any("a every more again in")
            }
            ("if", 1) => {
                (is_clause || starts) && !self.follows_any(at, "as even ask asked wonder see know")
            }
            ("where", 1) => is_clause && (starts || !self.follows_any(at, ", is was know known")),
            ("when", 1) => (is_clause || starts) && !self.follows_any(at, "even know of about"),
            ("the" | "so" | "as" | "every" | "each", _) => is_clause,
            _ => true,
        };
        yes.then_some(Join::Condition)
    }

    pub(super) fn concession(&self, at: usize, n: usize) -> Option<Join> {
        let next = self.after(at + n)?;
        // "as though it rained"
        let is_like = n == 1 && self.tokens[at].is("though") && self.follows_any(at, "as even");
        let is_none = next.is_mark() || is_like;
        (!is_none).then_some(Join::Concession)
    }

    pub(super) fn cause_phrase(&self, at: usize, n: usize) -> Option<Join> {
        let next = self.after(at + n)?;
        if next.is_mark() || (n == 2 && self.tokens[at].is("due") && is_date(next)) {
            return None;
        }
        let starts = self.is_empty_before(at);
        let barred = self.follows_any(at, "from keep keeps kept");
        let yes = match (self.tokens[at].word.as_str(), n) {
            ("through" | "from", 1) => {
                let prevents = self
                    .words(self.current.range.start..at)
                    .iter()
                    .any(|token| {
                        token.begins_any("keep kept prevent stop discourag deter protect free sav spar hinder com result stem aris block return recover far differ barr \
                            excus refrain retir resign")
                    });
                self.is_ing(at + n) && !prevents && self.clause_before(at)
                    || (starts && self.tokens[at].is("through") && self.starts_sentence(at))
            }
            ("by", 1) => self.is_ing(at + n) && (starts || !self.is_passive_before(at)),
            ("following" | "amid", 1) => starts || self.follows_any(at, ","),
            ("out", 2) => {
                next.is_any(MOTIVES)
                    || (self
                        .after(at + n + 1)
                        .is_some_and(|second| second.is_any(MOTIVES))
                        && !next.is_mark())
            }
            ("down", 2) => self.follows_any(
                at,
                "is was are were be been partly largely mostly mainly not",
            ),
            ("with", _) => !barred,
            _ => true,
        };
        yes.then_some(Join::Phrase)
    }

    pub(super) fn starts_sentence(&self, at: usize) -> bool {
        self.segments.is_empty() && self.is_empty_before(at)
    }

    /// Whether the clause is passive so far, so that `by` names who does it.
    fn is_passive_before(&self, at: usize) -> bool {
        let words = self.words(self.current.range.start..at);
        words
            .windows(2)
            .any(|pair| is_be(&pair[0]) && is_participle(&pair[1], self.lexicon))
            || words
                .windows(3)
                .any(|three| is_be(&three[0]) && is_participle(&three[2], self.lexicon))
    }

    pub(super) fn result(&mut self, at: usize, n: usize) -> Option<Join> {
        let next = self.after(at + n)?;
        let word = self.tokens[at].word.as_str();
        let after_break =
            self.is_empty_before(at) || self.follows_any(at, ", ; and \u{2014} \u{2013} - :");
        let opens_clause = next.is_mark()
            || next.is_any("because since when if as once after in by on with without at");
        let is_clause = self.clause_follows(at + n)
            || opens_clause && self.clause_follows(self.next_mark(at + n) + 1);
        let yes = match (word, n) {
            _ if self.current.join.is_subordinate() && self.is_empty_before(at) => false,
            ("so", 1) => {
                if let Some(that) = self.degree_end(at) {
                    self.degree = Some(that);
                    return None;
                }
                let adverbial = next.is_any("far long as on called to forth doing")
                    || (next.is_any("much many") && !after_break);
                let begins =
                    is_pronoun(next) || (is_determiner(next) && !next.is_any("much many few"));
                !adverbial
                    && !self
                        .follows_any(at, "do does did done doing even or and/or not is was ever")
                    && (after_break || begins)
                    && is_clause
            }
            ("until", 1) => {
                !next.is_number()
                    && !next.is_any(TIMES)
                    && self.clause_follows(at + n)
                    && self.clause_before(at)
                    && !self.follows_any(at, "not")
            }
            ("then" | "now" | "soon" | "still" | "eventually" | "ultimately", 1) => {
                after_break && !self.is_empty_sentence(at) && is_clause
            }
            ("enough", 2) => self.clause_before(at),
            ("for" | "from" | "through", 2) => false,
            ("with", 2) => after_break,
            _ => true,
        };
        yes.then_some(Join::Result)
    }

    /// Nothing stands before it in the sentence.
    fn is_empty_sentence(&self, at: usize) -> bool {
        self.segments.is_empty() && self.is_empty_before(at)
    }

    /// The `that` which ends `so ... that`, before the next comma and before a clause.
    fn degree_end(&self, at: usize) -> Option<usize> {
        let next = self.after(at + 1)?;
        if next.is("that")
            || is_pronoun(next)
            || (is_determiner(next) && !next.is_any("much many few"))
        {
            return None;
        }
        let end = self.next_mark(at);
        (at + 2..end.min(at + 24)).find(|&place| {
            self.tokens[place].is("that")
                && self.clause_follows(place + 1)
                && !self.clause_is_relative(at, place)
        })
    }

    /// Whether `that` belongs to a noun inside the degree phrase: hard to tell, so only where a verb follows at once.
    fn clause_is_relative(&self, at: usize, that: usize) -> bool {
        let next = self.after(that + 1);
        that > at + 3
            && next.is_some_and(|next| {
                is_finite_auxiliary(next) || self.lexicon.forms(&next.word).contains(Form::Third)
            })
    }

    pub(super) fn contrast(&self, at: usize, n: usize) -> Option<Join> {
        let next = self.after(at + n)?;
        let after_break =
            self.is_empty_before(at) || self.follows_any(at, ", ; and \u{2014} \u{2013}");
        let yes = match (self.tokens[at].word.as_str(), n) {
            ("but", _)
                if self
                    .words(self.current.range.start.min(at)..at)
                    .iter()
                    .any(|token| token.is_any("not no never"))
                    && !self.follows_any(at, ",") =>
            {
                return Some(Join::First);
            }
            ("but", _) => {
                !self.follows_any(at, "nothing all none anything everything nobody")
                    && !next.is_any("for rather")
            }
            ("yet" | "still" | "however", 1) => {
                after_break && !next.is_mark()
                    || (self.tokens[at].is("however") && self.is_empty_before(at))
            }
            _ => true,
        };
        yes.then_some(Join::Contrast)
    }
}

fn is_be(token: &Token) -> bool {
    token.is_any("is are was were be been being isn't aren't wasn't weren't")
}

fn is_participle(token: &Token, lexicon: &Lexicon) -> bool {
    lexicon.forms(&token.word).contains(Form::Participle)
        || (token.word.len() > 4 && token.word.ends_with("ed"))
}

fn is_date(token: &Token) -> bool {
    token.is_number()
        || token.is_any(
            "monday tuesday wednesday thursday friday saturday sunday january february march \
            april may june july august september october november december today tomorrow be \
            start begin open arrive",
        )
}

//! Whether a word of the lexicon is the verb of its clause: `the fires` is no verb, `heat fires it` is.

use super::lexicon::{Form, Item, Kind};
use super::predicate::{Clause, Predicate, next_is_time};
use super::token::{
    AUXILIARIES, BE, GROUPS, Token, is_adverb, is_determiner, is_preposition, is_pronoun,
    is_surely_finite, part,
};

impl Clause<'_> {
    pub(super) fn verb(&self, at: usize, item: &Item) -> Option<(Predicate, bool, usize)> {
        let end = self.matched(at, item)?;
        let forms = item.forms;
        let before = self.before(at);
        let previous = before.map(|place| &self.tokens[place]);
        let is_be = previous.is_some_and(|token| token.is_any(BE));
        let is_light = item.rest.is_empty()
            && self.tokens[at].is_any("set sets setting lead leads led leading");
        let is_leaving =
            item.rest.is_empty() && self.tokens[at].is_any("leave leaves left leaving");
        let next = self.tokens.get(end).filter(|_| end < self.range.end);

        if (forms.contains(Form::Participle) || forms.contains(Form::Past))
            && is_be
            && !self.tokens[at].is_any("is are was were had has let")
        {
            if matches!(item.kind, Kind::EffectVerb) {
                return self.active(at, end, item);
            }
            return self.passive(at, end, false);
        }
        // "bugs caused by haste", with its object before it.
        let is_bare_participle = forms.contains(Form::Participle)
            && next.is_some_and(|next| next.is("by"))
            && !previous.is_some_and(|token| token.is_any("has have had"));
        if is_bare_participle
            && item.kind == Kind::CauseVerb
            && !next_is_time(self.tokens, end, self.range.end)
        {
            return self.passive(at, end, true);
        }
        if next.is_none() && !matches!(item.kind, Kind::DenialVerb) {
            return None;
        }
        // "sank with the shoreline" moves nothing else.
        let is_intransitive = next.is_some_and(|next| {
            is_preposition(next) && !next.is_any("up down out off")
                || next.is_mark()
                || next.is_any(
                    "and or but when as because before after until again away off up down out \
                    back together apart alone weeks days months years hours early late freely \
                    whenever once if since than where there here home earlier later faster \
                    slower",
                )
                || is_adverb(next)
        });
        let after_particle = self
            .tokens
            .get(end + 1)
            .filter(|_| end + 1 < self.range.end);
        let is_intransitive = is_intransitive
            || next.is_some_and(is_preposition)
                && after_particle.is_none_or(|second| is_preposition(second) || second.is_mark());
        if item.rest.is_empty() && item.kind == Kind::CauseVerb && is_intransitive {
            return None;
        }
        // "broke up piece by piece", "built up along the gutter": the particle ends the predicate.
        let ends_in_particle = item.rest.len() == 1
            && self.tokens[end - 1].is_any("up down off out away in on back over");
        let no_object = next.is_some_and(|next| {
            is_preposition(next)
                || next.is_mark()
                || is_adverb(next)
                || next.is_any("and when as before after until because")
        }) || self
            .tokens
            .get(end + 1)
            .is_some_and(|second| end + 1 < self.range.end && second.is("by"));
        if ends_in_particle && item.kind == Kind::CauseVerb && no_object {
            return None;
        }
        // "stopped buying" is what the subject does itself.
        let is_aspect = item.rest.is_empty()
            && self.tokens[at].is_any("stop stops stopped keep keeps kept")
            && next.is_some_and(|next| next.word.len() > 4 && next.word.ends_with("ing"));
        if is_aspect {
            return None;
        }
        if (is_light && !self.light(end)) || (is_leaving && self.range.end - end < 3) {
            return None;
        }
        let has_object =
            next.is_some_and(|next| is_determiner(next) || next.is_any("them it him us"));
        let yes = if forms.contains(Form::Ing) && !forms.contains(Form::Base) {
            is_be || (at == self.range.start && previous.is_none() && self.is_comment())
        } else if forms.contains(Form::Past)
            || (forms.contains(Form::Participle)
                && previous.is_some_and(|token| token.is_any("has have had having")))
        {
            self.past(end, previous)
        } else if forms.contains(Form::Third) {
            self.third(at, end, previous)
        } else {
            false
        };
        let base = forms.contains(Form::Base) && self.base(at, previous, has_object);
        if yes || base {
            self.active(at, end, item)
        } else {
            None
        }
    }

    /// `have`, `get`, `set` and `lead` move something only where an object and a verb follow.
    fn light(&self, end: usize) -> bool {
        let rest = part(self.tokens, end..self.range.end);
        rest.iter().skip(1).take(6).any(|token| {
            let forms = self.lexicon.forms(&token.word);
            forms.contains(Form::Participle) && !forms.contains(Form::Base)
                || (token.word.len() > 5 && token.word.ends_with("ing"))
                || token.is_any("to into")
        }) && !rest
            .first()
            .is_some_and(|first| is_preposition(first) || first.is("to"))
    }

    fn is_comment(&self) -> bool {
        self.range.start > 0 && self.tokens[self.range.start - 1].is_mark()
    }

    fn past(&self, end: usize, previous: Option<&Token>) -> bool {
        let Some(previous) = previous else {
            return self.range.start > 0
                && self.tokens[self.range.start - 1]
                    .is_any("and , which that but so thus thereby then")
                && !self.verb_later(end);
        };
        if previous.is_any("has have had having") {
            return true;
        }
        if previous.is_any(
            "did does do can could will would may might must should cannot can't won't didn't",
        ) {
            // A form like `cut` or `set`.
            return true;
        }
        let is_adjective = is_determiner(previous) && !is_pronoun(previous);
        let barred = is_preposition(previous) && !previous.is_any("out up down off in on")
            || is_adjective
            || previous.is("to");
        // "the loosened bolts": a noun follows and a verb after it; "eggs washed ashore were": a verb follows at once.
        !barred && !self.verb_follows(end)
    }

    fn third(&self, at: usize, end: usize, previous: Option<&Token>) -> bool {
        let Some(previous) = previous else {
            return self.range.start > 0
                && self.tokens[at - 1].is_any("and which that so thus thereby then soon , but")
                && !self.verb_follows(end);
        };
        let direct = &self.tokens[at - 1];
        let is_each_other = direct.is("another") && at >= 2 && self.tokens[at - 2].is("one");
        let barred = (is_determiner(direct) && !is_pronoun(direct) && !is_each_other)
            || (is_preposition(previous) && !previous.is_any("up down off out"))
            || previous.is_any(BE)
            || looks_adjective(direct);
        // A noun in the plural before a verb of its own: "the price rises hurt".
        !barred && !self.verb_follows(end)
    }

    /// Whether a finite verb stands at `end`, so that what is before it is no verb.
    fn verb_follows(&self, end: usize) -> bool {
        end < self.range.end
            && end > self.range.start
            && is_surely_finite(
                part(self.tokens, self.range.start..self.range.end),
                end - self.range.start,
                self.lexicon,
            )
            && !is_pronoun(&self.tokens[end])
    }

    /// Whether there is a surely finite verb later in the clause: then a participle at its start is an adjective.
    fn verb_later(&self, end: usize) -> bool {
        (end.max(self.range.start + 1)..self.range.end).any(|place| {
            is_surely_finite(
                part(self.tokens, self.range.start..self.range.end),
                place - self.range.start,
                self.lexicon,
            )
        })
    }

    fn base(&self, at: usize, previous: Option<&Token>, has_object: bool) -> bool {
        let Some(previous) = previous else {
            return self.range.start > 0 && self.tokens[at - 1].is_any("and which that");
        };
        if previous.is("to") {
            let before_to = self
                .before(at)
                .and_then(|place| place.checked_sub(1))
                .map(|place| &self.tokens[place]);
            return before_to.is_some_and(|token| {
                token.begins_any("tend seem appear help began begin start continu came come fail going used enough threaten serv manag \
                    suffice conspir combin prov like bound set expect thought found known believed shown said happen")
            });
        }
        let modal = previous.is_any(
            "can could will would may might must shall should do does did cannot can't couldn't \
            won't wouldn't don't doesn't didn't shouldn't needn't helps help helped need dare \
            it'll they'll",
        );
        let plural = previous.word.len() > 3
            && previous.word.ends_with('s')
            && !previous.word.ends_with("ss")
            && !previous.word.ends_with("us")
            && !previous.word.ends_with("'s")
            && !is_determiner(previous);
        let pronoun = previous.is_any("they we you i these those who which that them both");
        let group = previous.is_any(GROUPS);
        let strong = (has_object || self.lexicon.is_strong(&self.tokens[at].word))
            && !self.tokens[at - 1].is_any("not n't")
            && !previous.is_mark()
            && !is_determiner(previous)
            && !is_preposition(previous)
            && !previous.is_any(BE)
            && !previous.is_any(AUXILIARIES)
            && !looks_adjective(previous);
        modal
            || (strong && !self.has_verb_before(at))
            || ((plural || pronoun || group) && !self.has_verb_before(at))
            || (pronoun && previous.is_any("which who that"))
    }

    fn has_verb_before(&self, at: usize) -> bool {
        (self.range.start..at).any(|place| {
            is_surely_finite(
                part(self.tokens, self.range.start..at),
                place - self.range.start,
                self.lexicon,
            ) && !self.is_in_relative(place)
        })
    }

    /// Whether the verb at `at` stands in a clause that says which noun is meant: `the fish that eat algae`.
    fn is_in_relative(&self, at: usize) -> bool {
        self.relative(at).is_some()
    }
}

fn looks_adjective(token: &Token) -> bool {
    let word = &token.word;
    ["ous", "ful", "ive", "ic", "ible", "able", "less"]
        .iter()
        .any(|end| word.len() > 5 && word.ends_with(end))
}

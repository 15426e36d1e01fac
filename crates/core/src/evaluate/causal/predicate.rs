//! What one clause says by its verb: `A raises B`, `B is raised by A`, `A is the cause of B`.

use std::ops::Range;

use super::lexicon::{Form, Item, Kind, Lexicon};
use super::token::{
    AUXILIARIES, BE, GROUPS, PREPOSITIONS, TIMES, Token, is_adverb, is_determiner, is_negator,
    is_preposition, is_pronoun, is_surely_finite,
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
                relative.push(predicate)
            } else {
                found.push(predicate)
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

struct Clause<'a> {
    tokens: &'a [Token],
    range: Range<usize>,
    lexicon: &'a Lexicon,
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
    fn matched(&self, at: usize, item: &Item) -> Option<usize> {
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
    fn before(&self, at: usize) -> Option<usize> {
        (self.range.start..at).rev().find(|&place| {
            !is_adverb(&self.tokens[place])
                && !(self.tokens[place].is_any(&["more", "less", "most"]) && place + 1 < at)
                && !self.tokens[place].is_any(&["not", "never", "longer", "no", "n't", "ever"])
        })
    }

    fn verb(&self, at: usize, item: &Item) -> Option<(Predicate, bool, usize)> {
        let end = self.matched(at, item)?;
        let forms = item.forms;
        let before = self.before(at);
        let previous = before.map(|place| &self.tokens[place]);
        let is_be = previous.is_some_and(|token| token.is_any(BE));
        let is_light = item.rest.is_empty()
            && self.tokens[at]
                .is_any(&["set", "sets", "setting", "lead", "leads", "led", "leading"]);
        let is_leaving =
            item.rest.is_empty() && self.tokens[at].is_any(&["leave", "leaves", "left", "leaving"]);
        let next = self.tokens.get(end).filter(|_| end < self.range.end);

        if (forms.contains(Form::Participle) || forms.contains(Form::Past))
            && is_be
            && !self.tokens[at].is_any(&["is", "are", "was", "were", "had", "has", "let"])
        {
            if matches!(item.kind, Kind::EffectVerb) {
                return self.active(at, end, item);
            }
            return self.passive(at, end, false);
        }
        // "bugs caused by haste", with its object before it.
        let is_bare_participle = forms.contains(Form::Participle)
            && next.is_some_and(|next| next.is("by"))
            && !previous.is_some_and(|token| token.is_any(&["has", "have", "had"]));
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
            is_preposition(next) && !next.is_any(&["up", "down", "out", "off"])
                || next.is_mark()
                || next.is_any(&[
                    "and", "or", "but", "when", "as", "because", "before", "after", "until",
                    "again", "away", "off", "up", "down", "out", "back", "together", "apart",
                    "alone", "weeks", "days", "months", "years", "hours", "early", "late",
                    "freely", "whenever", "once", "if", "since", "than", "where", "there", "here",
                    "home", "earlier", "later", "faster", "slower",
                ])
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
            && item.rest.iter().any(|word| {
                [
                    "up", "down", "off", "out", "away", "in", "on", "back", "over",
                ]
                .contains(&word.as_str())
            });
        let no_object = next.is_some_and(|next| {
            is_preposition(next)
                || next.is_mark()
                || is_adverb(next)
                || next.is_any(&["and", "when", "as", "before", "after", "until", "because"])
        }) || self
            .tokens
            .get(end + 1)
            .is_some_and(|second| end + 1 < self.range.end && second.is("by"));
        if ends_in_particle && item.kind == Kind::CauseVerb && no_object {
            return None;
        }
        // "stopped buying" is what the subject does itself.
        let is_aspect = item.rest.is_empty()
            && self.tokens[at].is_any(&["stop", "stops", "stopped", "keep", "keeps", "kept"])
            && next.is_some_and(|next| next.word.len() > 4 && next.word.ends_with("ing"));
        if is_aspect {
            return None;
        }
        if (is_light && !self.light(end)) || (is_leaving && self.range.end - end < 3) {
            return None;
        }
        let has_object = next
            .is_some_and(|next| is_determiner(next) || next.is_any(&["them", "it", "him", "us"]));
        let yes = if forms.contains(Form::Ing) && !forms.contains(Form::Base) {
            is_be || (at == self.range.start && previous.is_none() && self.is_comment())
        } else if forms.contains(Form::Past)
            || (forms.contains(Form::Participle)
                && previous.is_some_and(|token| token.is_any(&["has", "have", "had", "having"])))
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
        let rest = &self.tokens[end..self.range.end];
        rest.iter().skip(1).take(6).any(|token| {
            let forms = self.lexicon.forms(&token.word);
            forms.contains(Form::Participle) && !forms.contains(Form::Base)
                || (token.word.len() > 5 && token.word.ends_with("ing"))
                || token.is_any(&["to", "into"])
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
                && self.tokens[self.range.start - 1].is_any(&[
                    "and", ",", "which", "that", "but", "so", "thus", "thereby", "then",
                ])
                && !self.verb_later(end);
        };
        if previous.is_any(&["has", "have", "had", "having"]) {
            return true;
        }
        if previous.is_any(&[
            "did", "does", "do", "can", "could", "will", "would", "may", "might", "must", "should",
            "cannot", "can't", "won't", "didn't",
        ]) {
            // A form like `cut` or `set`.
            return true;
        }
        let is_adjective = is_determiner(previous) && !is_pronoun(previous);
        let barred = is_preposition(previous)
            && !previous.is_any(&["out", "up", "down", "off", "in", "on"])
            || is_adjective
            || previous.is("to");
        // "the loosened bolts": a noun follows and a verb after it; "eggs washed ashore were": a verb follows at once.
        !barred && !self.verb_follows(end)
    }

    fn third(&self, at: usize, end: usize, previous: Option<&Token>) -> bool {
        let Some(previous) = previous else {
            return self.range.start > 0
                && self.tokens[at - 1].is_any(&[
                    "and", "which", "that", "so", "thus", "thereby", "then", "soon", ",", "but",
                ])
                && !self.verb_follows(end);
        };
        let direct = &self.tokens[at - 1];
        let is_each_other = direct.is("another") && at >= 2 && self.tokens[at - 2].is("one");
        let barred = (is_determiner(direct) && !is_pronoun(direct) && !is_each_other)
            || (is_preposition(previous) && !previous.is_any(&["up", "down", "off", "out"]))
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
                &self.tokens[self.range.start..self.range.end],
                end - self.range.start,
                self.lexicon,
            )
            && !is_pronoun(&self.tokens[end])
    }

    /// Whether there is a surely finite verb later in the clause: then a participle at its start is an adjective.
    fn verb_later(&self, end: usize) -> bool {
        (end.max(self.range.start + 1)..self.range.end).any(|place| {
            is_surely_finite(
                &self.tokens[self.range.start..self.range.end],
                place - self.range.start,
                self.lexicon,
            )
        })
    }

    fn base(&self, at: usize, previous: Option<&Token>, has_object: bool) -> bool {
        let Some(previous) = previous else {
            return self.range.start > 0 && self.tokens[at - 1].is_any(&["and", "which", "that"]);
        };
        if previous.is("to") {
            let before_to = self
                .before(at)
                .and_then(|place| place.checked_sub(1))
                .map(|place| &self.tokens[place]);
            return before_to.is_some_and(|token| {
                [
                    "tend", "seem", "appear", "help", "began", "begin", "start", "continu", "came",
                    "come", "fail", "going", "used", "enough", "threaten", "serv", "manag",
                    "suffice", "conspir", "combin", "prov", "like", "bound", "set", "expect",
                    "thought", "found", "known", "believed", "shown", "said", "happen",
                ]
                .iter()
                .any(|stem| token.word.starts_with(stem))
            });
        }
        let modal = previous.is_any(&[
            "can",
            "could",
            "will",
            "would",
            "may",
            "might",
            "must",
            "shall",
            "should",
            "do",
            "does",
            "did",
            "cannot",
            "can't",
            "couldn't",
            "won't",
            "wouldn't",
            "don't",
            "doesn't",
            "didn't",
            "shouldn't",
            "needn't",
            "helps",
            "help",
            "helped",
            "need",
            "dare",
            "it'll",
            "they'll",
        ]);
        let plural = previous.word.len() > 3
            && previous.word.ends_with('s')
            && !previous.word.ends_with("ss")
            && !previous.word.ends_with("us")
            && !previous.word.ends_with("'s")
            && !is_determiner(previous);
        let pronoun = previous.is_any(&[
            "they", "we", "you", "i", "these", "those", "who", "which", "that", "them", "both",
        ]);
        let group = previous.is_any(GROUPS);
        let strong = (has_object || self.lexicon.is_strong(&self.tokens[at].word))
            && !self.tokens[at - 1].is_any(&["not", "n't"])
            && !previous.is_mark()
            && !is_determiner(previous)
            && !is_preposition(previous)
            && !previous.is_any(BE)
            && !previous.is_any(AUXILIARIES)
            && !looks_adjective(previous);
        modal
            || (strong && !self.has_verb_before(at))
            || ((plural || pronoun || group) && !self.has_verb_before(at))
            || (pronoun && previous.is_any(&["which", "who", "that"]))
    }

    fn has_verb_before(&self, at: usize) -> bool {
        (self.range.start..at).any(|place| {
            is_surely_finite(
                &self.tokens[self.range.start..at],
                place - self.range.start,
                self.lexicon,
            ) && !self.is_in_relative(place)
        })
    }

    /// Whether the verb at `at` stands in a clause that says which noun is meant: `the fish that eat algae`.
    fn is_in_relative(&self, at: usize) -> bool {
        self.relative(at).is_some()
    }

    /// The place of `that`, `which` or `who` right before the verb and its auxiliaries, after a noun.
    fn relative(&self, at: usize) -> Option<usize> {
        let place = self.auxiliaries_before(at);
        let pronoun = place.checked_sub(1)?;
        if pronoun <= self.range.start || !self.tokens[pronoun].is_any(&["that", "which", "who"]) {
            return None;
        }
        if self.pronoun_before(place) {
            return None;
        }
        // "It is haste that breeds errors" and "that is what keeps": not a relative clause of a noun.
        let opening = &self.tokens[self.range.start];
        let is_cleft = opening.is_any(&["it", "it's"])
            && self.tokens[self.range.start..pronoun]
                .iter()
                .take(3)
                .any(|token| token.is_any(&["is", "was", "it's", "isn't", "wasn't"]));
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
            && self.tokens[start + 1].is_any(&["is", "was"])
            && self.tokens[end - 1].is_any(&["that", "which", "who"]);
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
            && self.tokens[end - 1].is_any(&["that", "this", "it", "these", "they"])
            && is_preposition(&self.tokens[self.range.start])
            && (self.tokens[end - 2].is_any(TIMES)
                || self.tokens[end - 2].is(",")
                || self.tokens[end - 2].is_number())
    }

    fn active(&self, at: usize, end: usize, item: &Item) -> Option<(Predicate, bool, usize)> {
        let start = self.auxiliaries_before(at);
        let relative = self.relative(at);
        let what = self.what_before(at);
        let (left, right, is_relative) = match (relative, what) {
            (_, Some(what)) if what == self.range.start || (what == self.range.start + 1) => {
                // "What keeps Irena awake is dread": the subject stands after the last form of be.
                let be = (end..self.range.end)
                    .rev()
                    .find(|&place| self.tokens[place].is_any(&["is", "was", "are", "were"]))?;
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
                            &self.tokens[end..self.range.end],
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
    fn passive(
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
                    is_surely_finite(&self.tokens[by..self.range.end], place - by, self.lexicon)
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
        let denied_subject = self.tokens[self.range.start..start]
            .first()
            .is_some_and(|token| token.is_any(&["no", "none", "nothing", "nobody", "neither"]));
        let is_negated = self.is_negated(start, at, end) != denied_subject;
        Some((
            Predicate {
                cause: vec![by + 1..stop],
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

    /// `blame the delay on the rain`: the object is the effect.
    fn attribution(&self, at: usize, item: &Item) -> Option<(Predicate, bool, usize)> {
        let particle = (at + 2..self.range.end).find(|&place| {
            item.rest
                .iter()
                .zip(&self.tokens[place..])
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
                cause: vec![after..self.range.end],
                effect: vec![at + 1..particle],
                connective: at..at + 1,
                is_negated,
                is_noun: false,
            },
            false,
            after,
        ))
    }

    /// `From haste came errors`, `Behind the strike lay hunger`.
    fn inverted(&self) -> Option<Predicate> {
        let first = &self.tokens[self.range.start];
        let is_cause_first = first.is_any(&["from", "with"])
            || (first.is("out")
                && self
                    .tokens
                    .get(self.range.start + 1)
                    .is_some_and(|next| next.is("of")));
        if !is_cause_first && !first.is("behind") {
            return None;
        }
        let from = self.range.start + if first.is("out") { 2 } else { 1 };
        let verbs: &[&str] = if is_cause_first {
            &[
                "came", "comes", "come", "grew", "grows", "sprang", "arose", "arises", "flowed",
            ]
        } else {
            &[
                "lay", "lies", "lie", "was", "is", "were", "are", "stood", "stands",
            ]
        };
        let verb = (from + 1..self.range.end.min(from + 12))
            .find(|&place| self.tokens[place].is_any(verbs))?;
        let said = verb + 1..self.range.end;
        if said.is_empty()
            || self.tokens[from..verb].iter().any(Token::is_mark)
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
    fn thanks(&self) -> Option<Predicate> {
        let thank = (self.range.start + 3..self.range.end).find(|&place| {
            self.tokens[place].is_any(&["thank", "blame"]) && self.tokens[place - 1].is("to")
        })?;
        let has = (self.range.start + 1..thank - 1)
            .find(|&place| self.tokens[place].is_any(&["has", "have", "had"]))?;
        let goes_on = self
            .tokens
            .get(thank + 1)
            .is_some_and(|next| next.is("for"))
            && thank + 2 < self.range.end;
        let mut effect = vec![self.range.start..has];
        if goes_on {
            effect.push(thank + 2..self.range.end);
        }
        (has + 1 < thank - 1).then(|| Predicate {
            cause: vec![has + 1..thank - 1],
            effect,
            connective: thank - 1..thank + 1,
            is_negated: false,
            is_noun: false,
        })
    }

    /// `Cows that lie on concrete stand longer`: what the noun does is a condition of the rest.
    fn restricted(&self) -> Option<Predicate> {
        let range = self.range.clone();
        let that = (range.start + 1..range.end.min(range.start + 6))
            .find(|&place| self.tokens[place].is_any(&["that", "who", "which"]))?;
        if self.tokens[range.start..that]
            .iter()
            .any(|token| token.is_mark() || token.is_any(BE) || token.is_any(&["it", "so", "such"]))
        {
            return None;
        }
        let words = &self.tokens[range.clone()];
        let finite: Vec<usize> = (that + 1..range.end)
            .filter(|&place| is_surely_finite(words, place - range.start, self.lexicon))
            .collect();
        let main = *finite.iter().find(|&&place| {
            place > that + 2 && !self.tokens[place - 1].is_any(AUXILIARIES) && finite[0] < place
        })?;
        (main + 1 < range.end).then(|| Predicate {
            cause: vec![range.start..main],
            effect: vec![main..range.end],
            connective: that..that + 1,
            is_negated: false,
            is_noun: false,
        })
    }

    /// Where the auxiliaries and adverbs before a verb begin.
    fn auxiliaries_before(&self, at: usize) -> usize {
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
    fn is_negated(&self, start: usize, at: usize, end: usize) -> bool {
        let denies = |token: &Token| {
            token.is_any(&[
                "not", "never", "cannot", "no", "longer", "hardly", "scarcely", "rarely", "nor",
                "neither",
            ]) || token.word.ends_with("n't")
        };
        let before = self.tokens[start..at].iter().any(denies);
        let fails = self.tokens[start..at]
            .windows(2)
            .any(|two| two[0].word.starts_with("fail") && two[1].is("to"));
        // "It was not the rain that ...", "X is not what ...".
        let opening = self.tokens[self.range.start..start]
            .iter()
            .take(4)
            .collect::<Vec<_>>();
        let cleft = opening.windows(3).any(|three| {
            three[0].is_any(&["it", "it's", "this", "that"])
                && three[1].is_any(&["is", "was", "not"])
                && (three[2].is("not") || three[1].is("not"))
        }) || opening.windows(2).any(|two| {
            two[0].is_any(&["it", "that", "this"]) && two[1].is_any(&["wasn't", "isn't"])
        });
        let what = self.what_before(at).is_some_and(|place| {
            place >= 1 && self.tokens[..place].iter().rev().take(3).any(denies)
        });
        let object = self.tokens[end..self.range.end]
            .iter()
            .take(2)
            .enumerate()
            .any(|(place, token)| {
                token.is_any(&["no", "none", "nothing", "nobody", "neither"])
                    || (place == 0 && token.is("not"))
            });
        before || fails || cleft || what || object
    }

    /// `X is the cause of Y`, `X is no response to Y`.
    fn noun(&self, at: usize) -> Option<(Predicate, bool, usize)> {
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
                let between = &self.tokens[at + 1..place];
                if between
                    .iter()
                    .any(|token| is_preposition(token) || super::token::is_comma(token))
                {
                    return None;
                }
                let start = self.auxiliaries_before(at);
                let is_negated = between
                    .iter()
                    .any(|token| token.is_any(&["not", "no", "never", "hardly", "nothing"]))
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
    fn opening_noun(&self) -> Option<Predicate> {
        let start = self.range.start;
        let limit = self.range.end.min(start + 5);
        for place in start..limit {
            let token = &self.tokens[place];
            if place > start
                && (is_preposition(token)
                    || super::token::is_finite(&self.tokens[start..], place - start, self.lexicon))
            {
                return None;
            }
            if token.is_any(&["reason", "reasons"])
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
                    self.tokens[place]
                        .is_any(&["is", "was", "are", "were", "isn't", "wasn't", "lay", "lies"])
                })?;
                let after = be + 1;
                let said = self.tokens.get(after).filter(|_| after < self.range.end)?;
                if is_adverb(said)
                    || self.lexicon.forms(&said.word).contains(Form::Participle)
                    || said.word.ends_with("ed")
                {
                    return None;
                }
                let is_negated = self.tokens[be].word.ends_with("n't")
                    || self.tokens[after].is_any(&["not", "never"]);
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
            .is_some_and(|token| token.is_any(&["why", "that"]))
        {
            from += 1;
        }
        let be = (from..self.range.end)
            .rev()
            .find(|&place| self.tokens[place].is_any(&["is", "was"]))?;
        let is_negated = self.tokens.get(be + 1).is_some_and(|token| token.is("not"));
        (be + 1 < self.range.end).then(|| Predicate {
            cause: vec![be + 1..self.range.end],
            effect: vec![from..be],
            connective: place..from,
            is_negated,
            is_noun: true,
        })
    }
}

/// Whether `by` at this place is followed by a time or a measure: `by July`, `by a third`.
fn next_is_time(tokens: &[Token], by: usize, end: usize) -> bool {
    let Some(next) = tokens.get(by + 1).filter(|_| by + 1 < end) else {
        return true;
    };
    let second = tokens.get(by + 2).filter(|_| by + 2 < end);
    let is_measure = |token: &Token| {
        token.is_number()
            || token.is_any(TIMES)
            || token.is_any(&[
                "third",
                "quarter",
                "half",
                "fifth",
                "tenth",
                "thousand",
                "hundred",
                "dozen",
                "fortnight",
                "kilometre",
                "metre",
                "degree",
                "factor",
            ])
    };
    next.is_number()
        || is_measure(next)
        || (next.is_any(&[
            "a", "the", "an", "one", "almost", "nearly", "about", "early", "late", "next", "some",
        ]) && second.is_some_and(is_measure))
}

fn looks_adjective(token: &Token) -> bool {
    let word = &token.word;
    ["ous", "ful", "ive", "ic", "ible", "able", "less"]
        .iter()
        .any(|end| word.len() > 5 && word.ends_with(end))
}

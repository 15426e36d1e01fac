//! Causal links: which words of a text are said to bring about which others.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::lexicon::{Lexicon, Width};
use super::predicate::{Predicate, predicates};
use super::segment::{Join, Segment, segments};
use super::token::{Token, finite_verb, is_adverb, is_negator, is_preposition, part, tokens};

/// One statement that something brings something about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The words that name the cause.
    pub cause: String,
    /// The words that name the effect.
    pub effect: String,
    /// The text says that the link does not hold.
    pub is_negated: bool,
    /// Place of the sentence in the text.
    pub sentence: usize,
    /// The words that make the link, in lower case; empty where events are only told in their order.
    pub connective: String,
    /// What kind of words they are.
    pub pattern: Pattern,
}

/// The kinds of words that make a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// A verb: `causes`, `was ruined by`, `results from`.
    Verb,
    /// A noun: `is the cause of`, `the upshot of ... was`.
    Noun,
    /// A clause: `because`, `since`, `for`.
    Clause,
    /// A phrase: `due to`, `thanks to`.
    Phrase,
    /// An effect: `so`, `therefore`, `so ... that`, `which is why`.
    Result,
    /// A condition or a time: `if`, `when`, `once`, `the more ... the more`.
    Condition,
    /// Events in the order in which they are told: `A, and B`.
    Order,
    /// The link is denied by a concession: `although`, `but`, `regardless of`.
    Concession,
}

impl Pattern {
    /// Whether the words say outright that one thing brings about the other.
    pub fn is_explicit(self) -> bool {
        matches!(
            self,
            Self::Verb | Self::Noun | Self::Clause | Self::Phrase | Self::Result
        )
    }
}

/// A sentence of more words and marks than this is read in pieces.
const MOST_TOKENS: usize = 400;

/// Finds the links of a text that is split into sentences.
///
/// ```
/// use stillhouse_core::evaluate::causal::{Lexicon, Width, extract};
/// let links = extract(&["The field flooded because the dam broke.".to_owned()], &Lexicon::new(Width::Core));
/// assert_eq!((links[0].cause.as_str(), links[0].effect.as_str()), ("dam broke", "field flooded"));
/// ```
pub fn extract(sentences: &[String], lexicon: &Lexicon) -> Vec<Link> {
    let mut links = Vec::new();
    let mut before = None;
    for (at, sentence) in sentences.iter().enumerate() {
        // The search looks back and ahead, so a text without full stops is read in pieces.
        for tokens in tokens(sentence).chunks(MOST_TOKENS) {
            let reader = Reader {
                sentence,
                tokens,
                lexicon,
                segments: segments(tokens, lexicon),
                at,
                before: before.as_deref(),
            };
            let (mut found, last) = reader.read();
            found.dedup();
            links.append(&mut found);
            before = last.or(before);
        }
    }
    links
}

/// Reads one sentence.
struct Reader<'a> {
    sentence: &'a str,
    tokens: &'a [Token],
    lexicon: &'a Lexicon,
    segments: Vec<Segment>,
    at: usize,
    /// What the last main clause of the sentences before says.
    before: Option<&'a str>,
}

impl Reader<'_> {
    fn read(&self) -> (Vec<Link>, Option<String>) {
        let mut links = Vec::new();
        for place in 0..self.segments.len() {
            self.joined(place, &mut links);
            self.inside(place, &mut links);
        }
        let last = self
            .segments
            .iter()
            .rev()
            .find(|segment| !segment.join.is_subordinate())
            .or(self.segments.last());
        (
            links,
            last.and_then(|segment| self.text(std::slice::from_ref(&segment.range))),
        )
    }

    /// The link between a segment and the one that it belongs to.
    fn joined(&self, place: usize, links: &mut Vec<Link>) {
        let segment = &self.segments[place];
        let own = self.text(std::slice::from_ref(&segment.range));
        let (pattern, is_effect) = match segment.join {
            Join::Cause => (Pattern::Clause, false),
            Join::Phrase => (Pattern::Phrase, false),
            Join::Condition => (Pattern::Condition, false),
            Join::Setting => (Pattern::Order, false),
            Join::Concession => (Pattern::Concession, false),
            Join::Result => (Pattern::Result, true),
            Join::Contrast if !self.denies(segment) => return,
            Join::Contrast => (Pattern::Concession, true),
            Join::And => (Pattern::Order, true),
            Join::First | Join::Main | Join::Comment => return,
        };
        if segment.join == Join::And
            && (self.lexicon.width() == Width::Core || !self.is_clause(segment))
        {
            return;
        }
        let main_after = self
            .segments
            .get(place + 1)
            .filter(|next| segment.is_initial && next.join == Join::Main);
        let other = match main_after {
            Some(next) => Some(next.range.clone()),
            None if segment.is_initial && place > 0 => return,
            None if self.continues(place) => Some(self.segments[place - 1].range.clone()),
            None => self.main_before(place),
        };
        let other = match other {
            Some(range) => self.text(&[range]),
            None if segment.join == Join::Result || (place == 0 && segment.join == Join::Cause) => {
                self.before.map(str::to_owned)
            }
            None => None,
        };
        let (Some(own), Some(other)) = (own, other) else {
            return;
        };
        let (cause, effect) = if is_effect {
            (other, own)
        } else {
            (own, other)
        };
        links.push(Link {
            cause,
            effect,
            is_negated: segment.is_negated || pattern == Pattern::Concession,
            sentence: self.at,
            connective: if pattern == Pattern::Order {
                String::new()
            } else {
                self.words(&segment.connective)
            },
            pattern,
        });
    }

    /// `because the lake froze and so the boats stayed`: without a comma, the effect is that of the clause right before.
    fn continues(&self, place: usize) -> bool {
        let segment = &self.segments[place];
        let at = segment.connective.start;
        place > 0
            && matches!(segment.join, Join::Result | Join::And)
            && matches!(self.segments[place - 1].join, Join::Cause | Join::Condition)
            && !self.segments[place - 1].is_initial
            && at > 0
            && !self.tokens[at].is_mark()
            && !self.tokens[at - 1].is_mark()
            && !(at > 1 && self.tokens[at - 1].is("and") && self.tokens[at - 2].is_mark())
    }

    /// Whether a clause after `but` says that it does not follow from what is before it.
    fn denies(&self, segment: &Segment) -> bool {
        if self
            .tokens
            .get(segment.connective.start)
            .is_some_and(|token| token.is("without"))
        {
            return true;
        }
        let words = part(self.tokens, segment.range.clone());
        words.iter().any(|token| {
            (is_negator(token) && !token.is_any("without hardly scarcely"))
                || token.word.ends_with("n't")
                || token.is_any(
                    "anyway regardless still unaffected unchanged elsewhere independently \
                    unrelated unconnected nevertheless nonetheless irrespective",
                )
        }) || words.windows(2).any(|two| {
            (two[0].is_any("other another different")
                && two[1].is_any("reason reasons cause causes account things ground grounds"))
                || (two[0].is("as") && two[1].is_any("ever before usual"))
                || (two[0].is("the") && two[1].is("same"))
                || (two[0].is("would") && two[1].is("have"))
        })
    }

    fn is_clause(&self, segment: &Segment) -> bool {
        let words = part(self.tokens, segment.range.clone());
        // After `and` the verb may come first.
        finite_verb(words, self.lexicon).is_some() || segment.join == Join::And
    }

    /// The nearest main clause before a segment.
    fn main_before(&self, place: usize) -> Option<Range<usize>> {
        let before = &self.segments[..place];
        let main = before
            .iter()
            .rev()
            .find(|segment| !segment.join.is_subordinate());
        main.or(before.last()).map(|segment| segment.range.clone())
    }

    /// The links that verbs and nouns make within a segment.
    fn inside(&self, place: usize, links: &mut Vec<Link>) {
        let segment = &self.segments[place];
        for Predicate {
            cause,
            effect,
            connective,
            is_negated,
            is_noun,
        } in predicates(self.tokens, &segment.range, self.lexicon)
        {
            let (Some(cause), Some(effect)) = (self.side(place, &cause), self.side(place, &effect))
            else {
                continue;
            };
            if cause == effect {
                continue;
            }
            let is_negated = is_negated || segment.join == Join::Contrast && segment.is_negated;
            links.push(Link {
                cause,
                effect,
                is_negated,
                sentence: self.at,
                connective: self.words(&connective),
                pattern: if is_noun {
                    Pattern::Noun
                } else {
                    Pattern::Verb
                },
            });
        }
    }

    /// The text of a side; what it stands for, if it is empty or a bare pronoun.
    fn side(&self, place: usize, ranges: &[Range<usize>]) -> Option<String> {
        let words = ranges
            .iter()
            .flat_map(|range| part(self.tokens, range.clone()));
        let content = words
            .clone()
            .filter(|token| !token.is_mark() && !is_adverb(token));
        let stands_for = |token: &Token| {
            token.is_any(
                "which this that it these they those them what is was a thing fact process and \
                all to had has have would will can could may in by turn not",
            )
        };
        let n = content.clone().count();
        // Who does something is no event.
        if n > 0
            && content
                .clone()
                .all(|token| token.is_any("he she i we you who him her us me"))
        {
            return None;
        }
        if n == 0 || (n <= 3 && content.clone().all(stands_for)) {
            let range = self
                .main_before(place)
                .or_else(|| self.subject_before(place));
            return match range {
                Some(range) => self.text(&[range]),
                None => self.before.map(str::to_owned),
            };
        }
        self.text(ranges)
    }

    fn subject_before(&self, place: usize) -> Option<Range<usize>> {
        place
            .checked_sub(1)
            .map(|place| self.segments[place].range.clone())
    }

    /// The words of some ranges, without function words at both ends.
    fn text(&self, ranges: &[Range<usize>]) -> Option<String> {
        let mut pieces = Vec::new();
        for (n, range) in ranges.iter().enumerate() {
            let trimmed = self.trimmed(range.clone(), n == 0);
            if !trimmed.is_empty() {
                pieces.push(
                    &self.sentence
                        [self.tokens[trimmed.start].start..self.tokens[trimmed.end - 1].end],
                );
            }
        }
        (!pieces.is_empty()).then(|| {
            pieces
                .join(" ")
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        })
    }

    fn trimmed(&self, range: Range<usize>, is_first: bool) -> Range<usize> {
        const LEADING: &str = "the a an and but or so that this these those its is was then also to of such there what \
    which it's for by as been being are were";
        const TRAILING: &str = "and but or that is was are were the a an to of which who be been being by as what so has \
    have had it did does do";
        let Range { mut start, mut end } = range;
        while start < end
            && (self.tokens[start].is_mark()
                || (is_first && self.tokens[start].is_any(LEADING))
                || (!is_first && self.tokens[start].is_mark()))
        {
            start += 1;
        }
        while end > start
            && (self.tokens[end - 1].is_mark() || self.tokens[end - 1].is_any(TRAILING))
        {
            end -= 1;
        }
        start..end
    }

    fn words(&self, range: &Range<usize>) -> String {
        part(self.tokens, range.clone())
            .iter()
            .map(|token| token.word.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// How many negating words a phrase holds; two texts with a different parity may contradict each other.
pub(super) fn negators(text: &str) -> usize {
    let tokens = tokens(text);
    tokens
        .iter()
        .filter(|token| {
            (is_negator(token) || token.word.ends_with("n't")) && !is_preposition(token)
        })
        .count()
}

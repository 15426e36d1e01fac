//! A sentence as clauses and the words that join them.

use std::ops::Range;

use super::lexicon::{Form, Item, Kind, Lexicon};
use super::token::{
    Token, finite_verb, is_adverb, is_comma, is_determiner, is_finite, is_finite_auxiliary,
    is_preposition, part,
};

/// How a segment stands to what is before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Join {
    /// The first words of the sentence.
    First,
    /// The main clause after a subordinate one.
    Main,
    /// It is the cause of the clause that it belongs to.
    Cause,
    /// It is a condition of that clause, or comes before it in time.
    Condition,
    /// What goes on while that clause happens: `Rubbing his eyes, he ...`.
    Setting,
    /// That clause holds all the same.
    Concession,
    /// A phrase that names the cause of that clause.
    Phrase,
    /// It is the effect of what is before it.
    Result,
    /// It does not follow from what is before it.
    Contrast,
    /// It comes after what is before it.
    And,
    /// It says something about the whole clause before it: `, which ...`, `, leaving ...`.
    Comment,
}

impl Join {
    pub(super) fn is_subordinate(self) -> bool {
        matches!(
            self,
            Self::Cause | Self::Condition | Self::Setting | Self::Concession | Self::Phrase
        )
    }
}

/// Words that stand together, and what joins them to the rest.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) join: Join,
    /// A subordinate segment before its main clause.
    pub(super) is_initial: bool,
    pub(super) is_negated: bool,
    /// Places of its tokens.
    pub(super) range: Range<usize>,
    pub(super) connective: Range<usize>,
}

/// Cuts a sentence into its segments.
pub(super) fn segments(tokens: &[Token], lexicon: &Lexicon) -> Vec<Segment> {
    Cutter {
        tokens,
        lexicon,
        segments: Vec::new(),
        degree: None,
        current: Segment::first(),
    }
    .cut()
}

impl Segment {
    fn first() -> Self {
        Self {
            join: Join::First,
            is_initial: false,
            is_negated: false,
            range: 0..0,
            connective: 0..0,
        }
    }
}

pub(super) struct Cutter<'a> {
    pub(super) tokens: &'a [Token],
    pub(super) lexicon: &'a Lexicon,
    pub(super) segments: Vec<Segment>,
    /// Where the `that` of `so ... that` stands.
    pub(super) degree: Option<usize>,
    pub(super) current: Segment,
}

/// A connective at a place: how many tokens, and what it does.
pub(super) struct Cue {
    pub(super) n: usize,
    pub(super) join: Join,
}

impl<'a> Cutter<'a> {
    fn cut(mut self) -> Vec<Segment> {
        let mut at = 0;
        while at < self.tokens.len() {
            at = self.step(at);
        }
        self.close(self.tokens.len());
        self.segments
    }

    /// Looks at one place; gives the next one to look at.
    fn step(&mut self, at: usize) -> usize {
        if self.degree == Some(at) {
            self.open(
                at,
                &Cue {
                    n: 1,
                    join: Join::Result,
                },
            );
            return at + 1;
        }
        if self.ends_initial(at) {
            self.close(at);
            let start = if is_comma(&self.tokens[at]) {
                at + 1
            } else {
                at
            };
            self.current = Segment {
                join: Join::Main,
                range: start..start,
                ..Segment::first()
            };
            return at + 1;
        }
        if let Some(cue) = self.adverb(at) {
            return at + cue;
        }
        if let Some(cue) = self.connective(at).or_else(|| self.boundary(at)) {
            let next = at + cue.n;
            self.open(at, &cue);
            return next;
        }
        at + 1
    }

    /// Ends the current segment before `end`, and keeps it if it says anything.
    fn close(&mut self, end: usize) {
        let mut range = self.current.range.start..end;
        while range.end > range.start && is_glue(&self.tokens[range.end - 1]) {
            range.end -= 1;
        }
        while range.start < range.end && self.tokens[range.start].is_mark() {
            range.start += 1;
        }
        self.current.range = range.clone();
        if !range.is_empty() {
            self.segments.push(self.current.clone());
        }
    }

    /// Ends the current segment and begins one with this connective.
    fn open(&mut self, at: usize, cue: &Cue) {
        self.close(at);
        let was_empty = self.current.range.is_empty();
        let is_after_negator = cue.n > 0 && self.is_after_negator(at);
        // "but not because": what is denied was said before.
        let begins = was_empty || self.follows_any(at, "and but yet") || self.tokens[at].is("and");
        let is_initial =
            cue.join.is_subordinate() && begins && (!is_after_negator || self.segments.is_empty());
        self.current = Segment {
            join: cue.join,
            is_initial,
            is_negated: is_after_negator,
            range: at + cue.n..at + cue.n,
            connective: at..at + cue.n,
        };
    }

    /// Whether a comma and another clause follow the clause that begins at `at`.
    pub(super) fn has_main_after(&self, at: usize) -> bool {
        let comma = self.next_mark(at);
        comma < self.tokens.len() && is_comma(&self.tokens[comma]) && self.clause_follows(comma + 1)
    }

    /// `not because`, but not `not only because`.
    fn is_after_negator(&self, at: usize) -> bool {
        let mut place = at;
        while place > 0
            && (is_adverb(&self.tokens[place - 1])
                || self.tokens[place - 1].is_any("simply merely"))
        {
            if self.tokens[place - 1].is_any("only just")
                && place >= 2
                && self.tokens[place - 2].is("not")
            {
                return false;
            }
            place -= 1;
        }
        place > 0 && self.tokens[place - 1].is_any("not never isn't wasn't hardly scarcely")
    }

    /// The tokens of a range, as far as there are any.
    pub(super) fn words(&self, range: Range<usize>) -> &'a [Token] {
        let end = range.end.min(self.tokens.len());
        part(self.tokens, range.start.min(end)..end)
    }

    /// Where the clause that begins at `at` ends at the latest: the next mark.
    pub(super) fn next_mark(&self, at: usize) -> usize {
        (at..self.tokens.len())
            .find(|&at| self.tokens[at].is_mark() && !self.tokens[at].is("'"))
            .unwrap_or(self.tokens.len())
    }

    /// Whether there is a finite verb between `at` and the next mark.
    pub(super) fn clause_follows(&self, at: usize) -> bool {
        finite_verb(self.words(at..self.next_mark(at)), self.lexicon).is_some()
    }

    /// Whether the current segment has a finite verb before `at`.
    pub(super) fn clause_before(&self, at: usize) -> bool {
        let start = self.current.range.start.min(at);
        self.is_second_predicate() && at > start
            || finite_verb(self.words(start..at), self.lexicon).is_some()
    }

    /// Whether the current segment begins with its verb: `and made the ice melt`.
    pub(super) fn is_second_predicate(&self) -> bool {
        let start = self.current.range.start;
        self.current.join == Join::And
            && self.tokens.get(start).is_some_and(|token| {
                let forms = self.lexicon.forms(&token.word);
                is_finite_auxiliary(token)
                    || forms.contains(Form::Past)
                    || forms.contains(Form::Third)
            })
    }

    pub(super) fn is_empty_before(&self, at: usize) -> bool {
        self.words(self.current.range.start.min(at)..at)
            .iter()
            .all(|token| is_glue(token) || token.is_mark())
    }

    pub(super) fn before(&self, at: usize) -> Option<&'a Token> {
        at.checked_sub(1).map(|at| &self.tokens[at])
    }

    pub(super) fn follows_any(&self, at: usize, words: &str) -> bool {
        self.before(at).is_some_and(|token| token.is_any(words))
    }

    pub(super) fn after(&self, at: usize) -> Option<&'a Token> {
        self.tokens.get(at)
    }

    /// Whether an initial subordinate segment ends at this comma.
    fn ends_initial(&self, at: usize) -> bool {
        let segment = &self.current;
        if !segment.is_initial {
            return false;
        }
        let inside = self.words(segment.range.start..at);
        if inside.is_empty() {
            return false;
        }
        if is_comma(&self.tokens[at]) {
            let goes_on = self
                .after(at + 1)
                .is_some_and(|next| next.is_any("and or who which where whose whom"));
            let rest = self.words(at + 1..self.tokens.len());
            let later = self.next_mark(at + 1);
            let is_half = self.tokens[segment.connective.start].is("the");
            let is_list = finite_verb(inside, self.lexicon).is_none()
                && finite_verb(&rest[..later - at - 1], self.lexicon).is_none()
                && later + 1 < self.tokens.len();
            return !goes_on && !is_list && (is_half || finite_verb(rest, self.lexicon).is_some());
        }
        let last = inside[inside.len() - 1].clone();
        if !self.clause_follows(at)
            || is_preposition(&last)
            || is_determiner(&last)
            || last.is_any("and or not how all that what")
        {
            return false;
        }
        if segment.join == Join::Phrase {
            // "Due to tinnitus many retired welders sleep lightly."
            let begins =
                is_determiner(&self.tokens[at]) || self.tokens[at].is_any("they he she we it");
            return begins && finite_verb(inside, self.lexicon).is_none();
        }
        // "because the maize was damp it bred weevils"
        self.tokens[at].is_any("it they he she we i nobody everyone")
            && finite_verb(inside, self.lexicon).is_some()
            && at + 1 < self.tokens.len()
            && is_finite(self.tokens, at + 1, self.lexicon)
    }

    /// Words inside a clause that make it an effect: `therefore`, and `as a result` at its end.
    fn adverb(&mut self, at: usize) -> Option<usize> {
        let item = self.item(at, Kind::Result)?;
        let n = item.rest.len() + 1;
        let is_last = self
            .after(at + n)
            .is_none_or(|next| next.is_mark() || next.is("and"));
        let is_empty = self.is_empty_before(at);
        let can_be_effect =
            !self.current.join.is_subordinate() && self.current.join != Join::Result;
        let floats = self.tokens[at]
            .is_any("therefore thus hence consequently accordingly thereby")
            && n == 1;
        let floats =
            floats || (n == 2 && self.tokens[at].is("in") && self.tokens[at + 1].is("turn"));
        let is_middle = floats && !is_empty && !self.clause_before_aux(at);
        let anaphor = self.tokens[at + n - 1]
            .is_any("it this that them result consequence reason account turn response way which");
        let is_trailing = is_last && !is_empty && anaphor && n >= 2;
        if can_be_effect && (is_middle || is_trailing) {
            self.current.join = Join::Result;
            self.current.connective = at..at + n;
            if is_trailing {
                self.close(at);
                self.current = Segment {
                    range: at + n..at + n,
                    ..Segment::first()
                };
            }
            return Some(n);
        }
        None
    }

    /// Whether the clause has its finite verb already, an auxiliary aside: "were therefore kept".
    fn clause_before_aux(&self, at: usize) -> bool {
        let end = if self.before(at).is_some_and(is_finite_auxiliary) {
            at - 1
        } else {
            at
        };
        self.clause_before(end)
    }

    /// The longest item of a kind that stands at this place.
    fn item(&self, at: usize, kind: Kind) -> Option<&'a Item> {
        self.lexicon
            .items(&self.tokens[at].word)
            .iter()
            .find(|item| item.kind == kind && self.fits(at, item))
    }

    pub(super) fn fits(&self, at: usize, item: &Item) -> bool {
        self.tokens.len() > at + item.rest.len()
            && item
                .rest
                .iter()
                .zip(part(self.tokens, at + 1..))
                .all(|(word, token)| token.is(word))
    }

    /// A connective of the lexicon at this place, if it is one here.
    pub(super) fn connective(&mut self, at: usize) -> Option<Cue> {
        let items = self.lexicon.items(&self.tokens[at].word);
        let fitting = items
            .iter()
            .filter(|item| !item.kind.is_verb() && self.fits(at, item));
        let fitting: Vec<(Kind, usize)> = fitting
            .map(|item| (item.kind, item.rest.len() + 1))
            .collect();
        for (kind, n) in fitting {
            let join = match kind {
                Kind::CauseClause => self.cause_clause(at, n),
                Kind::Condition => self.condition(at, n),
                Kind::Concession => self.concession(at, n),
                Kind::CausePhrase => self.cause_phrase(at, n),
                Kind::Result => self.result(at, n),
                Kind::Contrast => self.contrast(at, n),
                _ => None,
            };
            if let Some(join) = join {
                return Some(Cue { n, join });
            }
        }
        None
    }
}

fn is_glue(token: &Token) -> bool {
    token.is_mark()
        || token.is_any(
            "and but or though although yet not only just partly simply mainly largely merely \
            mostly perhaps precisely exactly chiefly",
        )
}

//! The words of a sentence with their places, and the small closed classes of English that tell
//! a clause from a phrase.

use std::slice::SliceIndex;

use super::lexicon::{Form, Lexicon};

/// A word, a number or a punctuation mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// In lower case, with a straight apostrophe.
    pub(super) word: String,
    /// Byte place in the sentence.
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) is_capital: bool,
}

/// The part of a sentence in a range; empty where the range ends before it begins or lies outside.
///
/// Rules cut a clause at several places, and on odd texts these cross each other: then there is
/// nothing between them.
pub(super) fn part<R: SliceIndex<[Token], Output = [Token]>>(
    tokens: &[Token],
    range: R,
) -> &[Token] {
    tokens.get(range).unwrap_or_default()
}

impl Token {
    pub(super) fn is(&self, word: &str) -> bool {
        self.word == word
    }

    /// Whether it is one of these words, which stand between spaces.
    pub(super) fn is_any(&self, words: &str) -> bool {
        words.split(' ').any(|word| word == self.word)
    }

    /// Whether it begins with one of these.
    pub(super) fn begins_any(&self, beginnings: &str) -> bool {
        beginnings
            .split(' ')
            .any(|beginning| self.word.starts_with(beginning))
    }

    pub(super) fn is_mark(&self) -> bool {
        !self.word.chars().any(char::is_alphanumeric)
    }

    pub(super) fn is_number(&self) -> bool {
        self.word.starts_with(|c: char| c.is_ascii_digit()) || self.is_any(NUMERALS)
    }
}

/// Splits at white space, and takes marks off both ends of each word.
pub(super) fn tokens(sentence: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut push = |start: usize, end: usize| {
        if start < end {
            let text = &sentence[start..end];
            tokens.push(Token {
                word: text.to_lowercase().replace('\u{2019}', "'"),
                start,
                end,
                is_capital: text.starts_with(char::is_uppercase),
            });
        }
    };
    for piece in sentence.split_whitespace() {
        let base = piece.as_ptr() as usize - sentence.as_ptr() as usize;
        let mut start = base;
        for (at, mark) in piece.char_indices() {
            if is_break(piece, at, mark) {
                push(start, base + at);
                push(base + at, base + at + mark.len_utf8());
                start = base + at + mark.len_utf8();
            }
        }
        push(start, base + piece.len());
    }
    tokens
}

/// Whether a mark stands by itself: not the comma in `1,000`, the hyphen in `by-product` or the
/// apostrophe in `don't`.
fn is_break(piece: &str, at: usize, mark: char) -> bool {
    if mark.is_alphanumeric() || matches!(mark, '%' | '\u{b0}' | '$' | '\u{a3}' | '\u{20ac}') {
        return false;
    }
    let before = piece[..at].chars().next_back();
    let after = piece[at + mark.len_utf8()..].chars().next();
    let inside =
        before.is_some_and(char::is_alphanumeric) && after.is_some_and(char::is_alphanumeric);
    match mark {
        '-' | '\'' | '\u{2019}' | '.' | ',' | '/' | '&' | '@' | '_' | '+' | ':' => !inside,
        _ => true,
    }
}

/// Whether the token joins nothing and is a pause inside a sentence.
pub(super) fn is_comma(token: &Token) -> bool {
    token.is(",")
}

pub(super) const DETERMINERS: &str = "a an the this that these those his her its their our my your some any no every each all \
    both several many few fewer more most much such another either neither whose";

pub(super) const PREPOSITIONS: &str = "of in on at by for from with to into onto over under between among through across along \
    against about above below behind beneath beside near off toward towards upon within \
    without during despite like than per via around inside outside up down out as";

pub(super) const PRONOUNS: &str = "i you he she it we they this that these those which who nobody everybody somebody \
    everyone someone nothing everything something anyone anybody there one none what i'm \
    it's he's she's they're we're you're i've they've we've that's";

/// What follows `by`, `since` or `until` where they tell a time.
pub(super) const TIMES: &str = "noon midnight dawn dusk nightfall sunrise sunset daybreak breakfast lunch lunchtime \
    supper dinner bedtime christmas easter winter summer autumn spring fall morning evening \
    afternoon night monday tuesday wednesday thursday friday saturday sunday january \
    february march april may june july august september october november december mid-june \
    then now today yesterday tomorrow last next late early mid dark work school day week \
    month year years days weeks months hours minutes hour minute decades decade centuries \
    century childhood birth antiquity time end hand far";

/// Adjectives in the comparative; a noun may end in -er as well.
pub(super) const COMPARATIVES: &str = "more less fewer worse better further farther warmer colder hotter cooler higher lower \
    bigger smaller larger faster slower longer shorter thicker thinner deeper wider narrower \
    stronger weaker harder softer heavier lighter later earlier sooner older younger greater \
    steeper rougher smoother drier wetter closer nearer poorer richer cheaper dearer darker \
    brighter quieter louder tamer safer busier tighter looser cleaner dirtier easier gentler \
    sharper milder stiffer denser rarer scarcer fatter leaner fuller emptier shallower \
    taller fiercer calmer angrier happier sadder bolder oftener tougher simpler clearer \
    murkier saltier sweeter sicker healthier hungrier sleepier costlier";

pub(super) const BE: &str = "is are was were be been being am isn't aren't wasn't weren't it's that's gets got get \
    getting becomes became become";

const FINITE_AUXILIARIES: &str = "is are was were am has have had do does did can could will would may might must shall \
    should cannot isn't aren't wasn't weren't hasn't haven't hadn't don't doesn't didn't \
    can't couldn't won't wouldn't mightn't mustn't shan't shouldn't needn't it's that's \
    there's he's she's they're we're you're i'm i've we've they've it'll they'll we'll he'll \
    she'll i'll it'd they'd ought dared need";

pub(super) const AUXILIARIES: &str = "is are was were am be been being has have had having do does did can could will would \
    may might must shall should cannot not isn't aren't wasn't weren't hasn't haven't hadn't \
    don't doesn't didn't can't couldn't won't wouldn't shouldn't needn't never long longer \
    no";

const NEGATORS: &str = "not never cannot isn't aren't wasn't weren't hasn't haven't hadn't don't doesn't didn't \
    can't couldn't won't wouldn't shouldn't needn't mightn't hardly scarcely neither nor no \
    none nobody nothing without";

const NUMERALS: &str = "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen \
    sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty \
    ninety hundred thousand million half third quarter tenfold fivefold";

const MANNER: &str = "also then still soon just even now thus therefore thereby often always sometimes usually \
    only already again ever once perhaps largely partly in turn itself themselves himself \
    herself together all much further so long first later almost quite too";

pub(super) fn is_determiner(token: &Token) -> bool {
    token.is_any(DETERMINERS) || token.word.ends_with("'s") || token.word.ends_with("s'")
}

pub(super) fn is_preposition(token: &Token) -> bool {
    token.is_any(PREPOSITIONS)
}

pub(super) fn is_pronoun(token: &Token) -> bool {
    token.is_any(PRONOUNS)
}

pub(super) fn is_negator(token: &Token) -> bool {
    token.is_any(NEGATORS)
}

pub(super) fn is_adverb(token: &Token) -> bool {
    (token.word.len() > 4 && token.word.ends_with("ly")) || token.is_any(MANNER)
}

pub(super) fn is_finite_auxiliary(token: &Token) -> bool {
    token.is_any(FINITE_AUXILIARIES)
}

/// What cannot stand right before a verb in a finite form: a determiner, most prepositions.
fn bars_verb(token: &Token) -> bool {
    (is_determiner(token)
        && !token.is_any("this that these those all both each many few some more most"))
        || token.is_any(
            "of in on at by for from with to into onto between among through against under be \
            been being is are was were am has had having have isn't aren't wasn't weren't",
        )
}

/// The place of the first verb of a clause in a finite form, if these words have one.
///
/// A word that may be a noun as well counts only where there is no surer verb.
pub(super) fn finite_verb(tokens: &[Token], lexicon: &Lexicon) -> Option<usize> {
    let find = |least: Sure| (0..tokens.len()).find(|&at| sure(tokens, at, lexicon) >= least);
    find(Sure::Yes).or_else(|| find(Sure::Perhaps))
}

/// Whether the word at `at` looks like a verb in a finite form.
pub(super) fn is_finite(tokens: &[Token], at: usize, lexicon: &Lexicon) -> bool {
    sure(tokens, at, lexicon) > Sure::No
}

/// Whether the word at `at` is a verb in a finite form and can hardly be anything else.
pub(super) fn is_surely_finite(tokens: &[Token], at: usize, lexicon: &Lexicon) -> bool {
    sure(tokens, at, lexicon) == Sure::Yes
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sure {
    No,
    Perhaps,
    Yes,
}

fn sure(tokens: &[Token], at: usize, lexicon: &Lexicon) -> Sure {
    let token = &tokens[at];
    if token.is_mark() || is_preposition(token) && !token.is("like") {
        return Sure::No;
    }
    if is_finite_auxiliary(token) {
        return Sure::Yes;
    }
    let mut place = at;
    while place > 0
        && (is_adverb(&tokens[place - 1])
            || tokens[place - 1].is_any("never more less") && place < at)
    {
        place -= 1;
    }
    let Some(before) = place.checked_sub(1).map(|at| &tokens[at]) else {
        return Sure::No;
    };
    let is_each_other = before.is("another")
        && place >= 2
        && (tokens[place - 2].is("one") || tokens[place - 2].is("after"));
    let is_name = before.is_capital && before.word.ends_with("'s");
    if before.is_mark() || (bars_verb(before) && !is_each_other && !is_name) {
        return Sure::No;
    }
    let forms = lexicon.forms(&token.word);
    let is_strong = lexicon.is_strong(&token.word);
    let next = tokens.get(at + 1);
    if forms.contains(Form::Past) && !forms.contains(Form::Base) {
        return Sure::Yes;
    }
    if token.word.len() > 3
        && token.word.ends_with("ed")
        && !token.word.ends_with("eed")
        && !token.is("red")
    {
        return Sure::Yes;
    }
    let has_object = next.is_some_and(|next| {
        is_determiner(next)
            || is_pronoun(next)
            || is_preposition(next)
            || is_adverb(next)
            || next.is_any("them him us me not")
    });
    if forms.contains(Form::Third) {
        return match () {
            () if adjective_like(before) && !is_each_other => Sure::No,
            () if is_strong => Sure::Yes,
            () if has_object && !next.is_some_and(|next| next.is_any("of for in that")) => {
                Sure::Yes
            }
            () => Sure::Perhaps,
        };
    }
    if forms.contains(Form::Base) || forms.contains(Form::Past) {
        // After a plural noun or a pronoun: "wolves prey", "they run".
        let plural = before.word.len() > 3
            && before.word.ends_with('s')
            && !before.word.ends_with("ss")
            && !before.word.ends_with("'s");
        let subject = plural || is_pronoun(before) || before.is_any(GROUPS);
        return match () {
            () if is_strong && !adjective_like(before) => Sure::Yes,
            () if subject && has_object => Sure::Yes,
            () if subject || (has_object && forms.contains(Form::Past)) => Sure::Perhaps,
            () => Sure::No,
        };
    }
    Sure::No
}

/// Plurals without an -s.
pub(super) const GROUPS: &str = "people children men women sheep cattle police mice geese fish deer larvae bacteria fungi \
    algae teeth feet data media elk carp shrimp others many few some cod trout salmon youth";

fn adjective_like(token: &Token) -> bool {
    let word = &token.word;
    (is_determiner(token) && !token.is_any("this that these those all each both"))
        || [
            "ous", "ful", "ive", "ic", "al", "ary", "able", "ible", "less",
        ]
        .iter()
        .any(|end| word.len() > 5 && word.ends_with(end))
        || is_number_word(token)
}

fn is_number_word(token: &Token) -> bool {
    token.is_number() && !token.is_any("half third quarter")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_alone_and_words_keep_theirs() {
        check(
            "CO2, the by-product, didn't fall.",
            "co2 , the by-product , didn't fall .",
        );
        check(
            "1,000 \u{201c}small\u{201d} fish\u{2014}gone",
            "1,000 \u{201c} small \u{201d} fish \u{2014} gone",
        );
        check("the dogs\u{2019} owner", "the dogs ' owner");
    }

    fn check(sentence: &str, expected: &str) {
        let words: Vec<String> = tokens(sentence)
            .into_iter()
            .map(|token| token.word)
            .collect();
        assert_eq!(words.join(" "), expected);
    }
}

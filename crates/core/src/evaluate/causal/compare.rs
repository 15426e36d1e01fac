//! Whether an explanation keeps the causal links of its reference.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::link::{Link, Pattern, negators};
use super::similarity::Phrase;

/// How links are matched and judged.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompareOptions {
    /// A pair of links matches where both sides are at least this alike.
    pub tau: f64,
    /// A link is reversed where its sides fit better crosswise, by more than this.
    pub margin: f64,
    /// A link that keeps the direction wins over a better match which is at most this much better.
    pub near: f64,
    /// The weight of shared words beside the cosine of the encoder: 0 for the cosine alone.
    pub lexical: f64,
    /// Judge a link that is told by order alone in both texts as well.
    pub order: bool,
    /// Count the negations inside both sides too, and report where their number differs.
    pub parity: bool,
}

impl Default for CompareOptions {
    fn default() -> Self {
        Self {
            tau: 0.4,
            margin: 0.02,
            near: 0.3,
            lexical: 0.3,
            order: false,
            parity: false,
        }
    }
}

/// A text with its links.
#[derive(Clone, Copy, Debug)]
pub struct Linked<'a> {
    /// The sentences that the links count.
    pub sentences: &'a [String],
    /// What [`super::extract`] finds in them.
    pub links: &'a [Link],
}

/// What became of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Both texts say it.
    Covered,
    /// The explanation says nothing like it.
    Missing,
    /// The explanation says that the effect is the cause.
    Reversed,
    /// One text says that the link holds, the other that it does not.
    Contradicted,
    /// The explanation goes from the first to the last of several steps.
    Skipped,
    /// Only the explanation says it.
    Unsupported,
    /// Covered, but one side has one negation more (only with [`CompareOptions::parity`]).
    PolarityDiffers,
}

/// One link of either text and what became of it, with the sentences that show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What became of it.
    pub verdict: Verdict,
    /// The reference's link; none for an unsupported one.
    pub reference: Option<Stated>,
    /// The explanation's link; none for a missing one.
    pub explanation: Option<Stated>,
    /// How alike the sides are as they stand.
    pub same: f64,
    /// How alike they are crosswise.
    pub swap: f64,
}

/// A link and its sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stated {
    /// The link.
    pub link: Link,
    /// The sentence that states it.
    pub sentence: String,
}

/// How the links of an explanation agree with those of its reference.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Links found in the reference.
    pub reference_links: usize,
    /// Links found in the explanation.
    pub prediction_links: usize,
    /// Those of the reference's that are told by order alone (see [`Pattern::Order`]).
    pub reference_links_by_order: usize,
    /// Those of the explanation's.
    pub prediction_links_by_order: usize,
    /// Reference links that the explanation keeps.
    pub covered: usize,
    /// Reference links that it does not mention.
    pub missing: usize,
    /// Its links that the reference has nothing like.
    pub unsupported: usize,
    /// Reference links that it turns round.
    pub reversed: usize,
    /// Reference links that one text denies and the other states.
    pub contradicted: usize,
    /// Reference steps that it jumps over.
    pub skipped: usize,
    /// Covered of all reference links; none without a reference link.
    pub recall: Option<f64>,
    /// Explanation links that cover one, of all its links; none without one.
    pub precision: Option<f64>,
    /// Covered of the judged ones (covered, reversed, contradicted); none where nothing was judged.
    pub fidelity: Option<f64>,
    /// Why `fidelity` is none.
    pub unscored: Option<String>,
    /// How much could be judged: links a sentence in the reference.
    pub reference_links_per_sentence: f64,
    /// Links a sentence in the explanation.
    pub prediction_links_per_sentence: f64,
    /// Each link with what became of it.
    pub findings: Vec<Finding>,
}

impl Comparison {
    /// The numbers that a table of reactions shows, those that there are.
    ///
    /// `causal_errors` is minus the number of reversed and contradicted links: higher is better, as
    /// with the others, and it is there wherever the reference has a link.
    pub fn values(&self) -> BTreeMap<String, f64> {
        let errors =
            (self.reference_links > 0).then(|| -((self.reversed + self.contradicted) as f64));
        let named = [
            ("causal_recall", self.recall),
            ("causal_precision", self.precision),
            ("causal_fidelity", self.fidelity),
            ("causal_errors", errors),
        ];
        named
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }
}

/// Every phrase whose vector [`compare`] asks for; each may occur several times.
pub fn phrases(links: &[Link]) -> impl Iterator<Item = &str> {
    links
        .iter()
        .flat_map(|link| [link.cause.as_str(), link.effect.as_str()])
}

/// Texts with more pairs of links than this are not compared: no explanation has them.
const MOST_PAIRS: usize = 1_000_000;
/// Chains are looked for in references with at most so many links.
const MOST_CHAINED: usize = 300;

/// Compares an explanation with its reference.
///
/// `vector_of` gives the unit vector of a phrase (see [`phrases`]); where it has none, only the
/// shared words count.
pub fn compare<'v>(
    reference: Linked<'_>,
    explanation: Linked<'_>,
    vector_of: &dyn Fn(&str) -> Option<&'v [f32]>,
    options: &CompareOptions,
) -> Comparison {
    let pairs = reference.links.len() * explanation.links.len();
    if pairs > MOST_PAIRS {
        return Comparison {
            reference_links: reference.links.len(),
            prediction_links: explanation.links.len(),
            unscored: Some(format!(
                "{} and {} causal links are too many to compare",
                reference.links.len(),
                explanation.links.len()
            )),
            ..Comparison::default()
        };
    }
    let prepare = |links: &[Link]| -> Vec<Sides<'v>> {
        links
            .iter()
            .map(|link| Sides::new(link, vector_of))
            .collect()
    };
    let judge = Judge {
        options,
        reference,
        explanation,
        ours: prepare(reference.links),
        theirs: prepare(explanation.links),
    };
    judge.compare()
}

/// Both sides of a link, ready to be compared.
struct Sides<'v> {
    cause: Phrase<'v>,
    effect: Phrase<'v>,
}

impl<'v> Sides<'v> {
    fn new(link: &Link, vector_of: &dyn Fn(&str) -> Option<&'v [f32]>) -> Self {
        let phrase = |text: &str| Phrase::new(text, vector_of(text));
        Self {
            cause: phrase(&link.cause),
            effect: phrase(&link.effect),
        }
    }
}

/// How alike two links are.
#[derive(Clone, Copy, Debug)]
struct Match {
    explanation: usize,
    same: f64,
    swap: f64,
    /// How much better the worse of the two sides fits crosswise.
    crossed: f64,
}

impl Match {
    fn best(self) -> f64 {
        self.same.max(self.swap)
    }
}

struct Judge<'a> {
    options: &'a CompareOptions,
    reference: Linked<'a>,
    explanation: Linked<'a>,
    ours: Vec<Sides<'a>>,
    theirs: Vec<Sides<'a>>,
}

/// For each of their links, how well it keeps the reference link that it keeps best.
type Keeping = Vec<f64>;

impl Judge<'_> {
    fn compare(&self) -> Comparison {
        let all: Vec<Vec<Match>> = (0..self.ours.len())
            .map(|place| self.matches(place))
            .collect();
        let kept = |at: usize| {
            all.iter()
                .map(|matches| matches[at])
                .filter(|found| found.same >= found.swap)
                .map(|found| found.same)
                .fold(0.0, f64::max)
        };
        let keeping: Keeping = (0..self.theirs.len()).map(kept).collect();
        let mut findings = Vec::new();
        let mut is_supported = vec![false; self.theirs.len()];
        let mut is_covering = vec![false; self.theirs.len()];
        for (place, matches) in all.iter().enumerate() {
            for found in matches
                .iter()
                .filter(|found| found.best() >= self.options.tau)
            {
                is_supported[found.explanation] = true;
            }
            let (verdict, found) = self.verdict(place, matches, &keeping);
            if let Some(found) = found {
                is_covering[found.explanation] |=
                    matches!(verdict, Verdict::Covered | Verdict::PolarityDiffers);
            }
            findings.push(self.finding(verdict, Some(place), found));
        }
        for (place, _) in is_supported
            .iter()
            .enumerate()
            .filter(|(_, is_supported)| !**is_supported)
        {
            findings.push(Finding {
                verdict: Verdict::Unsupported,
                reference: None,
                explanation: Some(stated(&self.explanation, place)),
                same: 0.0,
                swap: 0.0,
            });
        }
        self.skips(&mut findings);
        self.summary(
            findings,
            is_covering
                .iter()
                .filter(|is_covering| **is_covering)
                .count(),
        )
    }

    fn matches(&self, place: usize) -> Vec<Match> {
        let ours = &self.ours[place];
        let alike = |a: &Phrase<'_>, b: &Phrase<'_>| a.similarity(b, self.options.lexical);
        let matches = self.theirs.iter().enumerate().map(|(explanation, theirs)| {
            let (cause, effect) = (
                alike(&theirs.cause, &ours.cause),
                alike(&theirs.effect, &ours.effect),
            );
            let (to_effect, to_cause) = (
                alike(&theirs.cause, &ours.effect),
                alike(&theirs.effect, &ours.cause),
            );
            Match {
                explanation,
                same: cause.min(effect),
                swap: to_effect.min(to_cause),
                crossed: (to_effect - cause).min(to_cause - effect),
            }
        });
        matches.collect()
    }

    /// The best match decides; one that keeps the link wins over one that is hardly better.
    fn verdict(
        &self,
        place: usize,
        matches: &[Match],
        keeping: &[f64],
    ) -> (Verdict, Option<Match>) {
        let options = self.options;
        let best = matches
            .iter()
            .copied()
            .max_by(|a, b| a.best().total_cmp(&b.best()));
        let Some(best) = best.filter(|best| best.best() >= options.tau) else {
            return (Verdict::Missing, None);
        };
        let near = matches
            .iter()
            .copied()
            .filter(|found| {
                found.best() >= options.tau && found.best() >= best.best() - options.near
            })
            .find(|found| self.judged(place, *found, keeping) == Verdict::Covered);
        if let Some(found) = near {
            return (self.with_parity(place, found), Some(found));
        }
        (self.judged(place, best, keeping), Some(best))
    }

    fn judged(&self, place: usize, found: Match, keeping: &[f64]) -> Verdict {
        let (ours, theirs) = (
            &self.reference.links[place],
            &self.explanation.links[found.explanation],
        );
        if found.swap > found.same + self.options.margin {
            // The order of telling proves nothing, and what is denied is not reversed.
            let is_told = theirs.pattern != Pattern::Order
                && ours.pattern != Pattern::Concession
                && theirs.pattern != Pattern::Concession;
            // A link that keeps another one of the reference better says that, and turns nothing round.
            let (a, b) = (&self.ours[place], &self.theirs[found.explanation]);
            let is_bare = [&a.cause, &a.effect, &b.cause, &b.effect]
                .iter()
                .any(|phrase| phrase.is_bare());
            let is_reversed = (is_told || self.options.order)
                && found.crossed > self.options.margin
                && !is_bare
                && !self.parity_differs(place, found)
                && found.swap > keeping[found.explanation];
            return if is_reversed {
                Verdict::Reversed
            } else {
                Verdict::Missing
            };
        }
        if ours.is_negated == theirs.is_negated {
            Verdict::Covered
        } else {
            Verdict::Contradicted
        }
    }

    fn with_parity(&self, place: usize, found: Match) -> Verdict {
        if self.options.parity && self.parity_differs(place, found) {
            Verdict::PolarityDiffers
        } else {
            Verdict::Covered
        }
    }

    /// Whether one of the links has one negation more inside its sides.
    fn parity_differs(&self, place: usize, found: Match) -> bool {
        let (ours, theirs) = (
            &self.reference.links[place],
            &self.explanation.links[found.explanation],
        );
        let inner = |link: &Link| negators(&link.cause) + negators(&link.effect);
        inner(ours) % 2 != inner(theirs) % 2
    }

    fn finding(&self, verdict: Verdict, place: Option<usize>, found: Option<Match>) -> Finding {
        Finding {
            verdict,
            reference: place.map(|place| stated(&self.reference, place)),
            explanation: found.map(|found| stated(&self.explanation, found.explanation)),
            same: found.map_or(0.0, |found| found.same),
            swap: found.map_or(0.0, |found| found.swap),
        }
    }

    /// Reference A to B and B to C, explanation only A to C: the step through B is skipped.
    fn skips(&self, findings: &mut [Finding]) {
        let (options, links) = (self.options, self.reference.links);
        let alike =
            |a: &Phrase<'_>, b: &Phrase<'_>| a.similarity(b, options.lexical) >= options.tau;
        if links.len() > MOST_CHAINED {
            return;
        }
        for first in 0..links.len() {
            for second in 0..links.len() {
                let open = |place: usize, findings: &[Finding]| {
                    findings[place].verdict == Verdict::Missing && !links[place].is_negated
                };
                if first == second || !open(first, findings) && !open(second, findings) {
                    continue;
                }
                let is_chain = alike(&self.ours[first].effect, &self.ours[second].cause)
                    && !alike(&self.ours[first].cause, &self.ours[second].effect);
                let jump = (0..self.theirs.len()).find(|&place| {
                    let (jump, link) = (&self.theirs[place], &self.explanation.links[place]);
                    !link.is_negated
                        && alike(&jump.cause, &self.ours[first].cause)
                        && alike(&jump.effect, &self.ours[second].effect)
                });
                let (true, Some(jump)) = (is_chain, jump) else {
                    continue;
                };
                for place in [first, second] {
                    if open(place, findings) {
                        findings[place].verdict = Verdict::Skipped;
                        findings[place].explanation = Some(stated(&self.explanation, jump));
                    }
                }
            }
        }
    }

    fn summary(&self, findings: Vec<Finding>, covering: usize) -> Comparison {
        let count = |verdict: Verdict| {
            findings
                .iter()
                .filter(|finding| finding.verdict == verdict)
                .count()
        };
        let covered = count(Verdict::Covered) + count(Verdict::PolarityDiffers);
        let (reversed, contradicted) = (count(Verdict::Reversed), count(Verdict::Contradicted));
        let judged = covered + reversed + contradicted;
        let (reference_links, prediction_links) = (self.ours.len(), self.theirs.len());
        let unscored = match (reference_links, prediction_links, judged) {
            (0, _, _) => Some("no causal link was found in the reference"),
            (_, 0, _) => Some("no causal link was found in the explanation"),
            (_, _, 0) => Some("no causal link of the reference was found again in the explanation"),
            _ => None,
        };
        let share = |part: usize, whole: usize| (whole > 0).then(|| part as f64 / whole as f64);
        let a_sentence = |links: usize, sentences: &[String]| {
            if sentences.is_empty() {
                0.0
            } else {
                links as f64 / sentences.len() as f64
            }
        };
        Comparison {
            reference_links,
            prediction_links,
            reference_links_by_order: by_order(self.reference.links),
            prediction_links_by_order: by_order(self.explanation.links),
            covered,
            missing: count(Verdict::Missing),
            unsupported: count(Verdict::Unsupported),
            reversed,
            contradicted,
            skipped: count(Verdict::Skipped),
            recall: share(covered, reference_links),
            precision: share(covering, prediction_links),
            fidelity: share(covered, judged),
            unscored: unscored.map(str::to_owned),
            reference_links_per_sentence: a_sentence(reference_links, self.reference.sentences),
            prediction_links_per_sentence: a_sentence(prediction_links, self.explanation.sentences),
            findings,
        }
    }
}

fn by_order(links: &[Link]) -> usize {
    links
        .iter()
        .filter(|link| link.pattern == Pattern::Order)
        .count()
}

fn stated(text: &Linked<'_>, place: usize) -> Stated {
    let link = text.links[place].clone();
    let sentence = text
        .sentences
        .get(link.sentence)
        .cloned()
        .unwrap_or_default();
    Stated { link, sentence }
}

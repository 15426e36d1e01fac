//! The options of selection, and what a method comes down to.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::similarity::Similarity;
use crate::error::{Error, Result};

/// The stage's options: `[select]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SelectOptions {
    /// How candidates are chosen.
    pub method: Method,
    /// Training candidates to keep over all examples, the best by the method's score; unset,
    /// `keep` alone counts.
    pub budget: Option<usize>,
    /// With a budget, every example first keeps so many of what `keep` leaves it, so that hard
    /// questions are not lost.
    pub floor: usize,
    /// What makes two candidates alike.
    pub similarity: Similarity,
    /// The model whose likelihoods rank: a folder or a hub id; unset, the student before training.
    pub scorer: Option<String>,
    /// Further scores to compute and record, whether or not the method needs them.
    pub record: Vec<Score>,
    /// Where answers come from a small set and each is one token, take the answer's probability
    /// among that set.
    pub over_options: bool,
    /// Scores that were computed before: another run's `scores.jsonl`; what it lacks is computed.
    pub scores: Option<PathBuf>,
}

impl Default for SelectOptions {
    fn default() -> Self {
        Self {
            method: Method::default(),
            budget: None,
            floor: 1,
            similarity: Similarity::default(),
            scorer: None,
            record: Vec::new(),
            over_options: true,
            scores: None,
        }
    }
}

/// The selectors; each carries its own options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Method {
    /// Every candidate that has a text.
    All,
    /// `keep` candidates by lot: the baseline that any selector must beat.
    Random {
        /// Candidates to keep for each example.
        keep: usize,
    },
    /// Accuracy (the candidate's label equals the gold label, exact duplicates dropped), then
    /// `keep` by lot.
    Accuracy {
        /// Candidates to keep for each example.
        keep: usize,
    },
    /// Diversity alone, right or wrong: near-duplicates dropped, then farthest first.
    Diversity {
        /// Candidates to keep for each example.
        keep: usize,
        /// A candidate is dropped when it is this much like one before it.
        #[serde(default = "half")]
        max_similarity: f64,
    },
    /// Accuracy, then diversity (near-duplicates dropped), then the first `keep` in the order of
    /// the candidates. Needs no student.
    Diverse {
        /// Candidates to keep for each example.
        keep: usize,
        /// A candidate is dropped when it shares this much of its word trigrams (Jaccard) with
        /// one kept before it.
        #[serde(default = "half")]
        max_similarity: f64,
    },
    /// `MoRSD`: accuracy, diversity, then the lowest Rationale Difficulty.
    Morsd {
        /// Candidates to keep for each example.
        #[serde(default = "six")]
        keep: usize,
        /// A candidate is dropped when it is this much like one kept before it.
        #[serde(default = "half")]
        max_similarity: f64,
        /// Which difficulty.
        #[serde(default)]
        difficulty: Difficulty,
    },
    /// The lowest Rationale Difficulty by itself.
    RdMin(Ranked),
    /// The highest, the paper's counter-example.
    RdMax(Ranked),
    /// The lowest Rank-Surprisal Ratio.
    Rsr(Ranked),
    /// The highest Instruction-Following Difficulty of those up to 1.
    Ifd {
        /// Candidates to keep for each example.
        #[serde(default = "six")]
        keep: usize,
        /// Drop wrong candidates first.
        #[serde(default)]
        accuracy: bool,
        /// A candidate is dropped when it is this much like one kept before it; `false` is off.
        #[serde(default, with = "crate::off")]
        max_similarity: Option<f64>,
        /// Of what the ratio is.
        #[serde(default)]
        ratio: IfdRatio,
    },
    /// The lowest perplexity of the completion.
    Perplexity(Ranked),
    /// The longest, in words.
    Length(Ranked),
    /// The shortest, in words.
    Shortest(Ranked),
    /// The highest mean rating of `judgements.jsonl`.
    Judge(Ranked),
    /// Low difficulty and difference from what is kept, weighed against each other.
    Joint {
        /// Candidates to keep for each example.
        #[serde(default = "six")]
        keep: usize,
        /// Drop wrong candidates first.
        #[serde(default = "yes")]
        accuracy: bool,
        /// What is maximised.
        #[serde(default)]
        objective: Objective,
        /// The share of difficulty in it, from 0 to 1.
        #[serde(default = "half")]
        weight: f64,
        /// Which difficulty.
        #[serde(default)]
        difficulty: Difficulty,
    },
}

/// What selectors by a score have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ranked {
    /// Candidates to keep for each example.
    pub keep: usize,
    /// Drop wrong candidates first.
    pub accuracy: bool,
    /// A candidate is dropped when it is this much like one kept before it; `false` is off.
    #[serde(with = "crate::off")]
    pub max_similarity: Option<f64>,
}

impl Default for Ranked {
    fn default() -> Self {
        Self {
            keep: six(),
            accuracy: false,
            max_similarity: None,
        }
    }
}

/// Which Rationale Difficulty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Difficulty {
    /// PPL(a | q, r) / PPL(a | q).
    #[default]
    Plain,
    /// The same with the answer taken out of the rationale.
    Stripped,
    /// The same, minus (in logarithms) that of a sentence that only states the answer, where the
    /// rationale mentions it.
    Control,
}

/// Of what Instruction-Following Difficulty is the ratio.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IfdRatio {
    /// Of mean losses, as `Cherry_LLM` has it.
    #[default]
    LossRatio,
    /// Of perplexities, as Superfiltering has it.
    PplRatio,
}

/// What a joint selection maximises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// Maximal marginal relevance.
    #[default]
    Mmr,
    /// Facility location: every candidate has something like it among the kept.
    FacilityLocation,
}

/// A number by which candidates can be ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Score {
    /// Rationale Difficulty.
    Rd,
    /// Of the rationale without the answer.
    RdStripped,
    /// Against a sentence that only states the answer.
    RdControl,
    /// What each step takes off the difficulty.
    Steps,
    /// Rank-Surprisal Ratio.
    Rsr,
    /// Instruction-Following Difficulty as a ratio of losses.
    Ifd,
    /// As a ratio of perplexities.
    IfdPpl,
    /// Perplexity of the completion.
    Perplexity,
    /// Length in words.
    Words,
    /// A judge's mean rating.
    Judge,
}

impl Score {
    /// Its key in a choice's `scores`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rd => "rd",
            Self::RdStripped => "rd_stripped",
            Self::RdControl => "rd_control",
            Self::Steps => "steps",
            Self::Rsr => "rsr",
            Self::Ifd => "ifd",
            Self::IfdPpl => "ifd_ppl",
            Self::Perplexity => "perplexity",
            Self::Words => "words",
            Self::Judge => "judge",
        }
    }
}

impl From<Difficulty> for Score {
    fn from(difficulty: Difficulty) -> Self {
        match difficulty {
            Difficulty::Plain => Self::Rd,
            Difficulty::Stripped => Self::RdStripped,
            Difficulty::Control => Self::RdControl,
        }
    }
}

fn six() -> usize {
    6
}

fn half() -> f64 {
    0.5
}

fn yes() -> bool {
    true
}

impl Default for Method {
    fn default() -> Self {
        Self::Diverse {
            keep: 3,
            max_similarity: 0.5,
        }
    }
}

/// What a method comes down to, rule by rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Drop candidates whose label is not the gold label.
    pub accuracy: bool,
    /// Drop exact duplicates.
    pub distinct: bool,
    /// Drop what is this much like one before it.
    pub max_similarity: Option<f64>,
    /// In which order the rest stand.
    pub order: Order,
    /// How many of them are kept.
    pub keep: usize,
}

/// How the candidates that passed the filters are ordered; ties go to the earlier one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Order {
    /// As they came.
    Given,
    /// By lot.
    Lot,
    /// Each next one as little like those before it as can be.
    Farthest,
    /// The lowest score first.
    Lowest(Score),
    /// The highest score first; those above the limit are dropped.
    Highest(Score, Option<f64>),
    /// Greedily by a joint objective: it, the weight of the score in it, and the score.
    Joint(Objective, f64, Score),
}

impl Order {
    /// The score that the order needs.
    pub fn score(self) -> Option<Score> {
        match self {
            Self::Given | Self::Lot | Self::Farthest => None,
            Self::Lowest(score) | Self::Highest(score, _) | Self::Joint(_, _, score) => Some(score),
        }
    }
}

impl Method {
    /// The rules.
    pub fn plan(&self) -> Plan {
        let plain = Plan {
            accuracy: false,
            distinct: true,
            max_similarity: None,
            order: Order::Given,
            keep: usize::MAX,
        };
        let ranked = |ranked: &Ranked, order: Order| Plan {
            accuracy: ranked.accuracy,
            max_similarity: ranked.max_similarity,
            order,
            keep: ranked.keep,
            ..plain
        };
        match *self {
            Self::All => Plan {
                distinct: false,
                ..plain
            },
            Self::Random { keep } => Plan {
                distinct: false,
                order: Order::Lot,
                keep,
                ..plain
            },
            Self::Accuracy { keep } => Plan {
                accuracy: true,
                order: Order::Lot,
                keep,
                ..plain
            },
            Self::Diversity {
                keep,
                max_similarity,
            } => Plan {
                max_similarity: Some(max_similarity),
                order: Order::Farthest,
                keep,
                ..plain
            },
            Self::Diverse {
                keep,
                max_similarity,
            } => Plan {
                accuracy: true,
                max_similarity: Some(max_similarity),
                keep,
                ..plain
            },
            Self::Morsd {
                keep,
                max_similarity,
                difficulty,
            } => Plan {
                accuracy: true,
                max_similarity: Some(max_similarity),
                order: Order::Lowest(difficulty.into()),
                keep,
                ..plain
            },
            Self::RdMin(ref own) => ranked(own, Order::Lowest(Score::Rd)),
            Self::RdMax(ref own) => ranked(own, Order::Highest(Score::Rd, None)),
            Self::Rsr(ref own) => ranked(own, Order::Lowest(Score::Rsr)),
            Self::Perplexity(ref own) => ranked(own, Order::Lowest(Score::Perplexity)),
            Self::Length(ref own) => ranked(own, Order::Highest(Score::Words, None)),
            Self::Shortest(ref own) => ranked(own, Order::Lowest(Score::Words)),
            Self::Judge(ref own) => ranked(own, Order::Highest(Score::Judge, None)),
            Self::Ifd {
                keep,
                accuracy,
                max_similarity,
                ratio,
            } => Plan {
                accuracy,
                max_similarity,
                order: Order::Highest(ratio.into(), Some(1.0)),
                keep,
                ..plain
            },
            Self::Joint {
                keep,
                accuracy,
                objective,
                weight,
                difficulty,
            } => Plan {
                accuracy,
                order: Order::Joint(objective, weight, difficulty.into()),
                keep,
                ..plain
            },
        }
    }
}

impl From<IfdRatio> for Score {
    fn from(ratio: IfdRatio) -> Self {
        match ratio {
            IfdRatio::LossRatio => Self::Ifd,
            IfdRatio::PplRatio => Self::IfdPpl,
        }
    }
}

impl SelectOptions {
    /// Complains of values that cannot work.
    pub fn check(&self) -> Result<()> {
        let plan = self.method.plan();
        if plan.keep == 0 {
            return Err(Error::option(
                "select.method.keep",
                "is 0, expected at least 1",
            ));
        }
        if let Some(limit) = plan.max_similarity
            && (!(0.0..=1.0).contains(&limit) || limit == 0.0)
        {
            return Err(Error::option(
                "select.method.max_similarity",
                format!("is {limit}, expected more than 0 and at most 1"),
            ));
        }
        if let Order::Joint(_, weight, _) = plan.order
            && !(0.0..=1.0).contains(&weight)
        {
            return Err(Error::option(
                "select.method.weight",
                format!("is {weight}, expected 0 to 1"),
            ));
        }
        if self.budget == Some(0) {
            return Err(Error::option("select.budget", "is 0, expected at least 1"));
        }
        Ok(())
    }

    /// Whether candidates are compared by their embeddings.
    pub fn needs_encoder(&self) -> bool {
        let plan = self.method.plan();
        let compares = plan.max_similarity.is_some()
            || matches!(plan.order, Order::Farthest | Order::Joint(..));
        compares && self.similarity == Similarity::Embedding
    }
}

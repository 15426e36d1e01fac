//! What a judge says: a large model that rates texts from 1 to 10 by a rubric.
//!
//! Ratings come from `judgements.jsonl`; nothing here asks anyone. A text's rating is the mean
//! over the rubric's criteria; several judgements of one text are averaged.

use std::collections::BTreeMap;
use std::path::Path;

use super::column::{Aggregate, Column, Statistic, Unscored};
use super::signature::Signature;
use crate::error::Result;
use crate::jsonl;
use crate::prompt::teacher::CRITERIA;
use crate::record::Judgement;

/// The mean, then each criterion of the rubric.
pub(super) const COLUMNS: [Column; 1 + CRITERIA.len()] = [
    column("judge", "Judge's rating, mean (1 to 10)"),
    column(
        "judge_faithful",
        "Judge: faithful to the evidence (1 to 10)",
    ),
    column("judge_complete", "Judge: complete (1 to 10)"),
    column("judge_causal", "Judge: causes before effects (1 to 10)"),
];

const fn column(name: &'static str, title: &'static str) -> Column {
    Column {
        name,
        title,
        shown: Some(name),
        aggregate: Aggregate::Mean,
    }
}

/// The rating of one rationale, as a plain score.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgeScore {
    /// The example's id.
    pub example: String,
    /// The rationale's id.
    pub rationale: String,
    /// From 1 to 10.
    pub score: f64,
}

/// The mean rating of one judgement; `None` where none could be read.
pub fn rating(judgement: &Judgement) -> Option<f64> {
    let n = judgement.ratings.len();
    let sum: f64 = judgement.ratings.values().copied().map(f64::from).sum();
    (n > 0).then(|| sum / n as f64)
}

/// A score for each rationale that was rated, in the order of their first judgements.
pub fn scores(judgements: &[Judgement]) -> Vec<JudgeScore> {
    let mut sums: BTreeMap<&str, (f64, usize)> = BTreeMap::new();
    let mut order: Vec<&Judgement> = Vec::new();
    for judgement in judgements {
        let Some(rating) = rating(judgement) else {
            continue;
        };
        let (sum, n) = sums.entry(&judgement.rationale).or_insert_with(|| {
            order.push(judgement);
            (0.0, 0)
        });
        (*sum, *n) = (*sum + rating, *n + 1);
    }
    let score = |judgement: &Judgement| {
        let (sum, n) = sums[judgement.rationale.as_str()];
        JudgeScore {
            example: judgement.example.clone(),
            rationale: judgement.rationale.clone(),
            score: sum / n as f64,
        }
    };
    order.into_iter().map(score).collect()
}

/// The scores that a file of judgements gives.
pub fn read_scores(path: &Path) -> Result<Vec<JudgeScore>> {
    Ok(scores(&jsonl::read::<Judgement>(path)?))
}

/// Ratings of what systems say, by example and system.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    /// The judge's model, for signatures.
    pub model: String,
    /// Ratings by criterion, from 1 to 10.
    pub of: BTreeMap<(String, String), BTreeMap<String, u8>>,
}

impl Judged {
    /// The mean and each criterion's rating, in the order of [`COLUMNS`].
    pub(super) fn measure(&self, id: &str, system: &str) -> Vec<Result<Statistic, Unscored>> {
        let key = (id.to_owned(), system.to_owned());
        let ratings = self.of.get(&key).filter(|ratings| !ratings.is_empty());
        let Some(ratings) = ratings else {
            return vec![Err(Unscored::new("no rating")); COLUMNS.len()];
        };
        let sum: f64 = ratings.values().copied().map(f64::from).sum();
        let mean = Ok(Statistic::Value(sum / ratings.len() as f64));
        let each = CRITERIA.iter().map(|(name, _)| {
            let rating = ratings.get(*name).copied().map(f64::from);
            rating
                .map(Statistic::Value)
                .ok_or_else(|| Unscored::new("no rating"))
        });
        std::iter::once(mean).chain(each).collect()
    }

    pub(super) fn signature(&self, column: &str) -> Signature {
        Signature::new(column)
            .with("judge", &self.model)
            .with("scale", "1-10")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Outcome;

    fn judgement(rationale: &str, ratings: &[u8]) -> Judgement {
        let names = ["causal", "complete", "faithful"].map(str::to_owned);
        Judgement {
            rationale: rationale.into(),
            example: rationale.split('/').next().unwrap().into(),
            ratings: names.into_iter().zip(ratings.iter().copied()).collect(),
            outcome: Outcome::Ok,
            source: "strict".into(),
            prompt: String::new(),
            usage: None,
        }
    }

    #[test]
    fn a_rationale_s_score_is_the_mean_of_its_ratings_and_judgements() {
        let all = [
            judgement("b/0", &[9, 6, 6]),
            judgement("a/1", &[]),
            judgement("a/0", &[1, 2, 3]),
            judgement("b/0", &[3, 3, 3]),
        ];
        let shown = |found: &[JudgeScore]| {
            let one = |s: &JudgeScore| format!("{} {} {}", s.example, s.rationale, s.score);
            found.iter().map(one).collect::<Vec<_>>().join(" | ")
        };
        let expected = "b b/0 5 | a a/0 2";
        assert_eq!(shown(&scores(&all)), expected);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("judgements.jsonl");
        jsonl::write(&path, &all).unwrap();
        assert_eq!(shown(&read_scores(&path).unwrap()), expected);
        assert!(read_scores(&folder.path().join("none")).is_err());
    }

    #[test]
    fn every_criterion_of_the_rubric_has_a_column() {
        let names: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();
        let criteria = CRITERIA.map(|(name, _)| format!("judge_{name}"));
        assert_eq!(names[1..], criteria);
        let ratings = judgement("a/0", &[1, 2, 6]).ratings;
        let judged = Judged {
            model: "strict".into(),
            of: [(("a".to_owned(), "student".to_owned()), ratings)].into(),
        };
        let values = |system| -> Vec<f64> {
            let found = judged.measure("a", system).into_iter();
            found.flatten().map(|s| s.value()).collect()
        };
        assert_eq!(values("student"), [3.0, 6.0, 2.0, 1.0]);
        assert!(values("untrained").is_empty());
        let signature = judged.signature("judge").to_string();
        assert!(signature.contains("judge:strict"), "{signature}");
    }
}

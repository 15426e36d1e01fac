//! Tables of what was found out beside the metrics: what a judge says of the rationales, how the
//! metrics agree with a judge, how steady the student is.

use std::collections::{BTreeMap, HashMap};

use super::Table;
use super::words::{interval, metric, metric_title, number, thousands};
use crate::evaluate::agreement::{self, Agreement};
use crate::evaluate::judge::rating;
use crate::evaluate::summary::MetricsFile;
use crate::prompt::teacher::CRITERIA;
use crate::record::{Choice, Judgement, Outcome};

/// The judge's ratings of all rationales, of those that were kept and of those that were not;
/// nothing where none was rated.
pub fn judged(judgements: &[Judgement], choices: &[Choice]) -> Option<Table> {
    let kept: HashMap<&str, bool> = choices
        .iter()
        .map(|choice| (choice.rationale.as_str(), choice.kept))
        .collect();
    let first = judgements.iter().find(|j| rating(j).is_some())?;
    let of = |name: &str, wanted: Option<bool>| {
        let is_in = |judgement: &&Judgement| {
            wanted.is_none() || kept.get(judgement.rationale.as_str()).copied() == wanted
        };
        let rated: Vec<&Judgement> = judgements
            .iter()
            .filter(is_in)
            .filter(|judgement| rating(judgement).is_some())
            .collect();
        let mean = |values: Vec<f64>| match values.len() {
            0 => "\u{2013}".to_owned(),
            n => format!("{:.2}", values.iter().sum::<f64>() / n as f64),
        };
        let mut row = vec![name.to_owned(), thousands(rated.len())];
        row.push(mean(rated.iter().filter_map(|j| rating(j)).collect()));
        for (name, _) in CRITERIA {
            let values = rated.iter().filter_map(|j| j.ratings.get(name).copied());
            row.push(mean(values.map(f64::from).collect()));
        }
        row
    };
    let mut rows = vec![of("all", None)];
    if !choices.is_empty() {
        rows.push(of("kept", Some(true)));
        rows.push(of("dropped", Some(false)));
    }
    let mut unrated: BTreeMap<Outcome, usize> = BTreeMap::new();
    for judgement in judgements.iter().filter(|j| rating(j).is_none()) {
        *unrated.entry(judgement.outcome).or_default() += 1;
    }
    let unrated: Vec<String> = unrated
        .iter()
        .map(|(outcome, n)| format!("{} {outcome:?}", thousands(*n)).to_lowercase())
        .collect();
    let unrated = if unrated.is_empty() {
        String::new()
    } else {
        format!(" Without a rating: {}.", unrated.join(", "))
    };
    let head = ["rationales", "n", "mean"].into_iter().map(str::to_owned);
    Some(Table {
        title: "The judge's view of the rationales".into(),
        note: format!(
            "{} rates from 1 to 10. A judge is a model too: it may favour long texts and its own manner.{unrated}",
            first.source
        ),
        head: head
            .chain(CRITERIA.map(|(name, _)| name.to_owned()))
            .collect(),
        rows,
    })
}

/// How each metric agrees with the ratings of `who`.
pub fn agreed(found: &Agreement, who: &str) -> Table {
    let shown = |estimate: &Option<agreement::Estimate>| match estimate {
        None => "\u{2013}".to_owned(),
        Some(one) => {
            let bounds = one.interval.as_ref();
            let bounds = bounds.map_or(String::new(), |i| format!(" {}", interval("", i)));
            format!("{}{bounds}", number("", one.value))
        }
    };
    let row = |one: &agreement::MetricAgreement| {
        vec![
            metric_title(&one.metric).to_owned(),
            thousands(one.n),
            shown(&one.spearman),
            shown(&one.kendall),
            shown(&one.pair_accuracy),
        ]
    };
    Table {
        title: format!("How the metrics agree with {who}"),
        note: format!(
            "{} explanations of {} examples. Pair accuracy: of two systems' explanations of one example with different ratings, how often the metric prefers the same one.",
            thousands(found.n),
            thousands(found.n_items)
        ),
        head: ["metric", "n", "Spearman", "Kendall", "pair accuracy"]
            .map(str::to_owned)
            .to_vec(),
        rows: found.metrics.iter().map(row).collect(),
    }
}

/// How steady the student is under changes that should not matter: in `found` its answers to the
/// unchanged examples stand in the place of gold labels and references.
pub fn consistent(found: &MetricsFile) -> Table {
    let title = |name: &str| match name {
        "reordered" => "evidence in another order".to_owned(),
        "repunctuated" => "other punctuation".to_owned(),
        "paraphrased" => "claim in other words".to_owned(),
        other => other.to_owned(),
    };
    let row = |system: &crate::evaluate::summary::SystemMetrics| {
        let of = |name: &str| {
            let found = system.metrics.get(name);
            found.map_or("\u{2013}".to_owned(), |own| metric(name, own))
        };
        let n = system.metrics.values().map(|own| own.n).max().unwrap_or(0);
        vec![
            title(&system.system),
            thousands(n),
            of("accuracy"),
            of("cec"),
        ]
    };
    Table {
        title: "Consistency".into(),
        note: "The student's answers to changed examples beside those to the examples themselves: how often the label is the same, and CEC between the two explanations.".into(),
        head: ["change", "n", "same label", "CEC between explanations"]
            .map(str::to_owned)
            .to_vec(),
        rows: found.systems.iter().map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Rule;

    #[test]
    fn the_judge_s_ratings_stand_by_what_became_of_the_rationales() {
        let judgement = |rationale: &str, rating: Option<u8>| Judgement {
            rationale: rationale.into(),
            example: "a".into(),
            ratings: rating
                .map(|rating| CRITERIA.map(|(name, _)| (name.to_owned(), rating)).into())
                .unwrap_or_default(),
            outcome: if rating.is_some() {
                Outcome::Ok
            } else {
                Outcome::Refused
            },
            source: "strict".into(),
            prompt: String::new(),
            usage: None,
        };
        let all = [
            judgement("a/0", Some(9)),
            judgement("a/1", Some(4)),
            judgement("a/2", None),
        ];
        let choice = |rationale: &str, kept| Choice {
            rationale: rationale.into(),
            example: "a".into(),
            kept,
            rule: Rule::Keep,
            reason: String::new(),
            scores: BTreeMap::new(),
            weight: 1.0,
        };
        let choices = [choice("a/0", true), choice("a/1", false)];
        let table = judged(&all, &choices).unwrap();
        let rows: Vec<String> = table.rows.iter().map(|row| row.join(" ")).collect();
        assert_eq!(
            rows,
            [
                "all 2 6.50 6.50 6.50 6.50",
                "kept 1 9.00 9.00 9.00 9.00",
                "dropped 1 4.00 4.00 4.00 4.00"
            ]
        );
        assert!(table.note.ends_with("Without a rating: 1 refused."));
        assert_eq!(judged(&all[2..], &choices), None);
    }
}

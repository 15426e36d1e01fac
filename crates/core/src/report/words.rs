//! What both pages say, in words and numbers: names, formats, findings and caveats.

use super::{Funnel, Report};
use crate::evaluate::baseline::{COPY_EVIDENCE, MAJORITY_LABEL, OTHER_REFERENCE};
use crate::evaluate::bootstrap::Interval;
use crate::evaluate::column::Column;
use crate::evaluate::summary::{Difference, Metric, MetricsFile};
use crate::evaluate::{MetricName, STUDENT, UNTRAINED};
use crate::record::{Rule, Step};
use crate::run::Stage;

/// A system's name for people.
pub(super) fn system_title(name: &str) -> String {
    match name {
        STUDENT => "Student, trained".to_owned(),
        UNTRAINED => "Student, untrained".to_owned(),
        COPY_EVIDENCE => "Copy of the evidence".to_owned(),
        OTHER_REFERENCE => "Another claim's reference".to_owned(),
        MAJORITY_LABEL => "Majority label".to_owned(),
        other => other.to_owned(),
    }
}

/// A system inside a sentence.
pub(super) fn system_phrase(name: &str) -> String {
    match name {
        STUDENT => "the trained student".to_owned(),
        UNTRAINED => "the untrained student".to_owned(),
        COPY_EVIDENCE => "copying the evidence".to_owned(),
        OTHER_REFERENCE => "another claim's reference (the floor)".to_owned(),
        MAJORITY_LABEL => "the majority label".to_owned(),
        other => format!("`{other}`"),
    }
}

/// A metric's short name.
pub(super) fn metric_title(name: &str) -> &str {
    match name {
        "accuracy" => "Label accuracy",
        "macro_f1" => "Label F1 (macro)",
        "bleu" => "BLEU, sentences (0\u{2013}100)",
        "bleu_corpus" => "BLEU, corpus (0\u{2013}100)",
        "bleu_hf" => "BLEU as evaluate, sentences",
        "bleu_hf_corpus" => "BLEU as evaluate, corpus",
        "rouge1" => "ROUGE-1 (F1)",
        "rouge2" => "ROUGE-2 (F1)",
        "rougeL" => "ROUGE-L (F1)",
        "rougeLsum" => "ROUGE-Lsum (F1)",
        "bertscore" => "BERTScore (F1)",
        "cec" => "CEC",
        "cec_precision" => "CEC, explanation to reference",
        "cec_recall" => "CEC, reference to explanation",
        "cec_f1" => "CEC, F1 of both",
        "cec_assigned" => "CEC, one partner each",
        "cec_above_floor" => "CEC above its floor",
        "grounding" => "Grounding in the evidence",
        "repetition" => "Repetition (lower is better)",
        other => {
            let mut all = MetricName::ALL.iter().flat_map(|metric| metric.columns());
            let column = all.find(|column| column.name == other);
            column.map_or(other, |column| column.title)
        }
    }
}

/// The columns that some system has, in the order in which they are shown.
pub(super) fn columns(metrics: &MetricsFile) -> Vec<&'static Column> {
    let all = MetricName::ALL.iter().flat_map(|metric| metric.columns());
    let is_there = |column: &&Column| {
        metrics
            .systems
            .iter()
            .any(|system| system.metrics.contains_key(column.name))
    };
    all.filter(is_there).collect()
}

/// Metrics that stand in the first table of a page; the others can be opened.
const MAIN: [&str; 10] = [
    "cec",
    "cec_precision",
    "cec_recall",
    "bertscore",
    "accuracy",
    "macro_f1",
    "rouge1",
    "rouge2",
    "rougeL",
    "bleu",
];

/// The columns for the first table, in the order of [`MAIN`], and all others.
pub(super) fn main_columns(metrics: &MetricsFile) -> (Vec<&'static Column>, Vec<&'static Column>) {
    let place = |column: &Column| MAIN.iter().position(|name| *name == column.name);
    let (mut main, others): (Vec<&Column>, Vec<&Column>) = columns(metrics)
        .into_iter()
        .partition(|column| place(column).is_some());
    main.sort_by_key(|column| place(column));
    (main, others)
}

/// The difference of a metric between the first system and another.
pub(super) fn difference<'a>(
    metrics: &'a MetricsFile,
    metric: &str,
    minus: &str,
) -> Option<&'a Difference> {
    metrics
        .differences
        .iter()
        .find(|d| d.metric == metric && d.minus == minus)
}

/// The system that the others are compared with.
pub(super) fn first_system(metrics: &MetricsFile) -> Option<&str> {
    metrics
        .differences
        .first()
        .map(|difference| difference.system.as_str())
        .or_else(|| metrics.systems.first().map(|system| system.system.as_str()))
}

/// Three digits after the point, two for metrics that go to 100; a true minus sign.
pub(super) fn number(metric: &str, value: f64) -> String {
    let text = match metric {
        "bleu" | "bleu_corpus" => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    };
    let is_zero = text.chars().all(|c| matches!(c, '-' | '0' | '.'));
    if is_zero {
        text.replace('-', "")
    } else {
        text.replace('-', "\u{2212}")
    }
}

/// A number with its sign, for differences.
pub(super) fn signed(metric: &str, value: f64) -> String {
    let text = number(metric, value);
    let is_positive = text.contains(|c| matches!(c, '1'..='9')) && value > 0.0;
    if is_positive {
        format!("+{text}")
    } else {
        text
    }
}

/// `[low, high]`.
pub(super) fn interval(metric: &str, interval: &Interval) -> String {
    format!(
        "[{}, {}]",
        number(metric, interval.low),
        number(metric, interval.high)
    )
}

/// A value with its interval; a dash for none.
pub(super) fn metric(name: &str, metric: &Metric) -> String {
    match (metric.value, &metric.interval) {
        (Some(value), Some(bounds)) => {
            format!("{} {}", number(name, value), interval(name, bounds))
        }
        (Some(value), None) => number(name, value),
        (None, _) => "\u{2013}".to_owned(),
    }
}

/// A difference with its interval; a dash for none.
pub(super) fn signed_difference(difference: &Difference) -> String {
    let name = difference.metric.as_str();
    match (difference.value, &difference.interval) {
        (Some(value), Some(bounds)) => {
            format!("{} {}", signed(name, value), interval(name, bounds))
        }
        (Some(value), None) => signed(name, value),
        (None, _) => "\u{2013}".to_owned(),
    }
}

/// What can be said of the student's main numbers: a paragraph for each.
pub(super) fn findings(metrics: &MetricsFile) -> Vec<String> {
    let Some(first) = first_system(metrics) else {
        return Vec::new();
    };
    let Some(system) = metrics.system(first) else {
        return Vec::new();
    };
    let paragraph = |name: &&str| {
        let own = system.metrics.get(*name)?;
        let opening = format!(
            "{} of {} is {} over {} examples.",
            metric_title(name),
            system_phrase(first),
            metric(name, own),
            own.n
        );
        let others = metrics
            .differences
            .iter()
            .filter(|d| d.metric == *name)
            .map(finding);
        Some(
            std::iter::once(opening)
                .chain(others)
                .collect::<Vec<_>>()
                .join(" "),
        )
    };
    ["cec", "accuracy"].iter().filter_map(paragraph).collect()
}

fn finding(difference: &Difference) -> String {
    let verdict = match (difference.excludes_zero, difference.value) {
        (Some(true), Some(value)) if value > 0.0 => "It is above",
        (Some(true), Some(_)) => "It is below",
        _ => "It cannot be told apart from",
    };
    let other = system_phrase(&difference.minus);
    format!("{verdict} {other}: {}.", signed_difference(difference))
}

/// What the numbers do not say.
pub(super) fn caveats(report: &Report) -> Vec<String> {
    let metrics = &report.metrics;
    let mut caveats = Vec::new();
    let value = |system: &str| metrics.system(system)?.metrics.get("cec")?.value;
    if metrics
        .systems
        .iter()
        .any(|system| system.metrics.contains_key("cec"))
    {
        if let Some(floor) = value(OTHER_REFERENCE) {
            caveats.push(format!(
                "CEC does not start at 0. The reference of another claim, taken at random, already reaches {}: read every CEC as a distance from that floor.",
                number("cec", floor)
            ));
        }
        if let Some(copy) = value(COPY_EVIDENCE) {
            let standing = match first_system(metrics).and_then(value) {
                Some(own) if own < copy => {
                    "more than the student: a high CEC is no proof of explaining"
                }
                _ => "without explaining anything",
            };
            caveats.push(format!(
                "Repeating the evidence word for word reaches {}, {standing}.",
                number("cec", copy)
            ));
        }
        caveats.push("CEC asks whether the same things are talked about. It hardly sees cause and effect exchanged, a negation, or a changed number: on our own test texts, two of four or five sentences with cause and effect exchanged kept a CEC of 0.99, while an honest paraphrase of the whole text got 0.91.".to_owned());
    }
    let most = report
        .references
        .iter()
        .map(|reference| reference.explanations.len())
        .max();
    if most == Some(1) {
        caveats.push("Each example has one reference. Another good explanation of the same claim would not score 1 either.".to_owned());
    }
    caveats.push("BLEU and ROUGE count shared words: they are low for a good paraphrase, and high for a text that copies.".to_owned());
    caveats.push("The intervals say how much the numbers would move with other test examples of the same kind. They say nothing about another training seed, another teacher or other data; one run is one seed.".to_owned());
    caveats.push("The intervals of the differences are not corrected for their number: among twenty that mean nothing, one is expected to exclude 0. metrics.json has tests corrected by Holm and by Benjamini-Hochberg.".to_owned());
    caveats.push("None of these metrics looks at the facts: a fluent explanation that is wrong can score well.".to_owned());
    caveats
}

/// What a rule of selection takes out.
pub(super) fn rule_title(rule: Rule) -> &'static str {
    match rule {
        Rule::Outcome => "unusable answer",
        Rule::Accuracy => "label is not the gold label",
        Rule::Duplicate => "the same text as one before",
        Rule::Diversity => "too close to one kept before",
        Rule::Difficulty => "ranked behind those kept, or without a score",
        Rule::Keep => "over the number to keep",
        Rule::Budget => "over the number to keep of all examples",
    }
}

/// What a reader of the selection must know.
pub(super) fn selection_note(funnel: &Funnel) -> Option<&'static str> {
    funnel.label_was_shown.then_some(
        "The teacher was shown the gold label, so the filter by label is vacuous: it can only drop what the teacher got wrong against better knowledge.",
    )
}

/// A stage's name.
pub(super) fn stage_title(stage: Stage) -> &'static str {
    match stage {
        Stage::Data => "data",
        Stage::Teacher => "teacher",
        Stage::Select => "select",
        Stage::Train => "train",
        Stage::Generate => "generate",
        Stage::Evaluate => "evaluate",
        Stage::Report => "report",
    }
}

/// Seconds as people say them.
pub(super) fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let minutes = (seconds / 60.0).floor();
    format!(
        "{minutes:.0} min {:.0} s",
        (seconds - 60.0 * minutes).floor()
    )
}

/// The training in one sentence.
pub(super) fn training(report: &Report) -> Option<String> {
    let last = report.steps.last()?;
    let tokens: usize = report.steps.iter().map(|step| step.supervised_tokens).sum();
    let best = best_step(report).map_or_else(String::new, |best| {
        let what = match best.validation_cec {
            Some(cec) => format!("highest validation CEC is {cec:.3}"),
            None => format!(
                "lowest validation loss is {:.3}",
                best.validation_loss.unwrap_or_default()
            ),
        };
        format!(
            " The {what} at step {}; that checkpoint is the student.",
            best.step
        )
    });
    Some(format!(
        "{} steps, {:.1} epochs, {} supervised tokens.{best}",
        last.step,
        last.epoch,
        thousands(tokens)
    ))
}

/// Where the validation CEC is highest, or, where none was measured, the validation loss lowest;
/// the first one on a tie.
pub(super) fn best_step(report: &Report) -> Option<&Step> {
    let by_cec = report
        .steps
        .iter()
        .any(|step| step.validation_cec.is_some());
    let badness = |step: &Step| {
        if by_cec {
            step.validation_cec.map(|cec| -cec)
        } else {
            step.validation_loss
        }
    };
    let measured = report
        .steps
        .iter()
        .filter_map(|step| Some((step, badness(step)?)));
    let best = measured.min_by(|a, b| a.1.total_cmp(&b.1));
    best.map(|(step, _)| step)
}

/// `12,345`.
pub(super) fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// How the examples on the page were chosen.
pub(super) fn choice_note(shown: usize, all: usize, seed: u64) -> String {
    if shown == all {
        format!("All {all} examples.")
    } else {
        format!(
            "{shown} of {all} examples, drawn by the run's seed ({seed}) and not by their scores."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_a_true_minus_and_zero_has_no_sign() {
        assert_eq!(number("cec", -0.25), "\u{2212}0.250");
        assert_eq!(number("cec", -0.0001), "0.000");
        assert_eq!(signed("cec", 0.25), "+0.250");
        assert_eq!(signed("cec", 0.0001), "0.000");
        assert_eq!(signed("bleu", 12.345), "+12.35");
    }

    #[test]
    fn counts_and_times_are_readable() {
        assert_eq!(
            ["7", "1,234", "1,234,567"],
            [7, 1234, 1_234_567].map(thousands)
        );
        assert_eq!(
            ["59.9 s", "1 min 0 s", "2 min 5 s"],
            [59.9, 60.0, 125.4].map(duration)
        );
    }
}

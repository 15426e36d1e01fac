//! What a completion says first, and how it is taken apart again.

use serde::{Deserialize, Serialize};

use super::{TemplateOptions, leading_label};
use crate::data::AnswerKind;
use crate::data::answer::STATES;

/// What the student says first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// "refuted. The trial had no control group."
    #[default]
    AnswerFirst,
    /// "3 + 4 = 7. The answer is 7."
    RationaleFirst,
    /// Label and rationale each have a prompt of their own (Hsieh et al. 2023, Distilling
    /// Step-by-Step): a label needs no rationale then.
    TwoPrompts,
}

/// What one prompt asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Label and rationale in one completion.
    Whole,
    /// The label alone.
    Label,
    /// The rationale alone.
    Rationale,
    /// As [`Self::Whole`], where a wrong rationale leads to a wrong answer (Wang et al. 2023, SCOTT).
    Counterfactual,
}

impl Task {
    /// What stands before the prompt, as in the papers.
    pub(super) fn prefix(self, options: &TemplateOptions) -> &'static str {
        match self {
            Self::Whole if options.names_factual => "[factual] ",
            Self::Whole => "",
            Self::Counterfactual => "[counterfactual] ",
            Self::Label => "[label] ",
            Self::Rationale => "[rationale] ",
        }
    }
}

/// The completion, without what joins it to the prompt.
pub(super) fn completion(
    options: &TemplateOptions,
    task: Task,
    label: &str,
    explanation: &str,
) -> String {
    match (task, options.order) {
        _ if options.show_label => explanation.to_owned(),
        (Task::Rationale, _) => explanation.to_owned(),
        (Task::Label, _) => label.to_owned(),
        (Task::Whole | Task::Counterfactual, Order::RationaleFirst) if explanation.is_empty() => {
            format!("{STATES} {label}.")
        }
        (Task::Whole | Task::Counterfactual, Order::RationaleFirst) => {
            format!("{explanation} {STATES} {label}.")
        }
        (Task::Whole | Task::Counterfactual, _) => format!("{label}. {explanation}"),
    }
}

/// Label and explanation of a completion that is not blank.
pub(super) fn read(
    options: &TemplateOptions,
    task: Task,
    text: &str,
    labels: &[&str],
) -> Option<(String, String)> {
    let answer = &options.answer;
    if options.order == Order::RationaleFirst && task == Task::Whole {
        let found = answer.read(text, &options.labels)?;
        let explanation = answer.explanation(text, &options.labels);
        return Some((found.answer, explanation.to_owned()));
    }
    if answer.kind == AnswerKind::Label {
        let (label, explanation) = leading_label(text, labels)?;
        return Some((label.to_owned(), explanation.to_owned()));
    }
    answer.leading(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::AnswerOptions;
    use crate::prompt::Template;
    use crate::record::{Example, Outcome};

    fn template(kind: AnswerKind, order: Order) -> Template {
        let answer = AnswerOptions {
            kind,
            ..AnswerOptions::default()
        };
        let labels = [
            ("refuted".to_owned(), vec![]),
            ("supported".to_owned(), vec![]),
        ];
        let options = TemplateOptions {
            order,
            answer,
            labels: labels.into(),
            ..TemplateOptions::default()
        };
        Template::with("Question: {{ claim }}\nAnswer:", options).unwrap()
    }

    #[test]
    fn what_is_made_is_read_in_every_order() {
        use AnswerKind::{Date, Label, Letters, Number, Option, Text, YesNo};
        use Order::{AnswerFirst, RationaleFirst};
        let check = |kind, order, label: &str, expected: &str| {
            let template = template(kind, order);
            let text = template.completion(label, " Because 3 are left. ");
            assert_eq!(text, expected);
            let (read, explanation, outcome) = template.parse(&text, &["refuted", "supported"]);
            assert_eq!(read.as_deref(), Some(label), "{text}");
            assert_eq!(explanation, "Because 3 are left.");
            assert_eq!(outcome, Outcome::Ok);
        };
        check(
            Label,
            AnswerFirst,
            "refuted",
            " refuted. Because 3 are left.",
        );
        check(Number, AnswerFirst, "-1.5", " -1.5. Because 3 are left.");
        check(Option, AnswerFirst, "A", " A. Because 3 are left.");
        check(YesNo, AnswerFirst, "no", " no. Because 3 are left.");
        check(
            Date,
            AnswerFirst,
            "05/01/2021",
            " 05/01/2021. Because 3 are left.",
        );
        check(
            Text,
            AnswerFirst,
            "blue whale",
            " blue whale. Because 3 are left.",
        );
        let last = |kind, label: &str| {
            let expected = format!(" Because 3 are left. The answer is {label}.");
            check(kind, RationaleFirst, label, &expected);
        };
        last(Label, "supported");
        last(Number, "42");
        last(Option, "A");
        last(YesNo, "yes");
        last(Date, "12/31/1999");
        last(Text, "blue whale");
        last(Letters, "yajo");
    }

    #[test]
    fn a_completion_in_another_order_is_still_judged() {
        let check = |text: &str, expected: &str| {
            let template = template(AnswerKind::Number, Order::RationaleFirst);
            let (label, explanation, outcome) = template.parse(text, &[]);
            let label = label.unwrap_or_default();
            assert_eq!(format!("{label} | {explanation} | {outcome:?}"), expected);
        };
        check("The answer is 7.", "7 |  | Ok");
        check("3 and 4 are 7", "7 | 3 and 4 are 7 | Ok");
        check("nobody knows", " | nobody knows | Unparsable");
        check(" ", " |  | Empty");
    }

    #[test]
    fn factual_and_counterfactual_prompts_are_told_apart() {
        let mut template = template(AnswerKind::YesNo, Order::RationaleFirst);
        let example = Example {
            claim: "Ice melts.".into(),
            ..Example::default()
        };
        let ask = |template: &Template, task| template.fill_for(task, &example, 0).unwrap();
        assert_eq!(ask(&template, Task::Whole), "Question: Ice melts.\nAnswer:");
        template.options.names_factual = true;
        assert_eq!(
            ask(&template, Task::Whole),
            "[factual] Question: Ice melts.\nAnswer:"
        );
        assert_eq!(
            ask(&template, Task::Counterfactual),
            "[counterfactual] Question: Ice melts.\nAnswer:"
        );
        assert_eq!(
            template.completion_for(Task::Counterfactual, "no", "It is stone."),
            " It is stone. The answer is no."
        );
    }

    #[test]
    fn label_and_rationale_have_a_prompt_each() {
        let template = template(AnswerKind::Label, Order::TwoPrompts);
        let example = Example {
            claim: "Ice melts.".into(),
            ..Example::default()
        };
        let mut page = String::new();
        for task in template.tasks() {
            page += &template.fill_for(*task, &example, 0).unwrap();
            page += &template.completion_for(*task, "refuted", "It is cold.");
            page += "\n";
        }
        assert_eq!(
            page,
            "[label] Question: Ice melts.\nAnswer: refuted\n\
             [rationale] Question: Ice melts.\nAnswer: It is cold.\n"
        );
        let labels = ["refuted", "supported"];
        let (label, _, outcome) = template.parse_for(Task::Label, " refuted", &labels);
        assert_eq!((label.as_deref(), outcome), (Some("refuted"), Outcome::Ok));
        let (label, text, outcome) = template.parse_for(Task::Rationale, " It is cold.", &labels);
        assert_eq!(
            (label, text.as_str(), outcome),
            (None, "It is cold.", Outcome::Ok)
        );
    }
}

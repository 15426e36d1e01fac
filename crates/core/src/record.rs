//! The records in which the stages meet, one struct a kind; `docs/FORMAT.md` shows each as JSON.
//!
//! This module imports nothing of ours.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Which part of the data an example belongs to.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Seen by training.
    #[default]
    Train,
    /// Watched while training; every choice is made on it.
    Validation,
    /// Looked at once, at the end.
    Test,
}

/// One item to judge and explain (`examples.jsonl`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// Unique in its data set.
    pub id: String,
    /// The statement to be judged.
    pub claim: String,
    /// The given passages, in the order of the source.
    pub evidence: Vec<String>,
    /// What the source knows about each passage, one for each; empty where it knows nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<EvidenceNote>,
    /// The gold label, a name out of the data set's label set, or the answer in its one spelling.
    pub label: String,
    /// Fields by which the split was stratified, and by which a report may group.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub strata: BTreeMap<String, String>,
    /// The split, fixed by the seed.
    pub split: Split,
}

/// What the source knows about one passage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceNote {
    /// What the passage says of the claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// How many annotators chose each label.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub votes: BTreeMap<String, usize>,
}

/// What the data set itself knows about good explanations (`references.jsonl`).
///
/// Written by the data stage and read by evaluate and report alone: no selector and no student
/// may see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// The example's id.
    pub id: String,
    /// Reference explanations; the first is the main one.
    pub explanations: Vec<String>,
    /// What each recorded candidate is known to be: role by text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, String>,
}

/// How an answer of a teacher or a student ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Label and text could be read.
    Ok,
    /// There is a text, but no label of the label set could be read in it.
    Unparsable,
    /// Nothing but white space came back.
    Empty,
    /// The model declined.
    Refused,
    /// The length limit cut it off.
    Truncated,
    /// The text is not in the language of the example.
    WrongLanguage,
    /// No answer came, however often it was asked for.
    Failed,
}

/// One answer of the teacher: a candidate until it is selected (`rationales.jsonl`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rationale {
    /// Unique: the example's id, a slash, the candidate's number.
    pub id: String,
    /// The example's id.
    pub example: String,
    /// The label that the teacher gives.
    pub label: Option<String>,
    /// The justification.
    pub text: String,
    /// How the answer ended.
    pub outcome: Outcome,
    /// Whether the teacher was shown the gold label; a filter by label is then vacuous.
    pub label_was_shown: bool,
    /// What was asked: the model's name, or the file for recorded candidates.
    pub source: String,
    /// SHA-256 of the prompt that was asked; none for recorded candidates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Tokens of the prompt and of the answer, where the teacher counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// What an answer used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// In the price table's currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
}

/// What a judge thinks of one rationale (`judgements.jsonl`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judgement {
    /// The rationale's id.
    pub rationale: String,
    /// The example's id.
    pub example: String,
    /// A rating from 1 to 10 for each criterion of the rubric; empty where none could be read.
    pub ratings: BTreeMap<String, u8>,
    /// How the judge's answer ended.
    pub outcome: Outcome,
    /// The judge's model.
    pub source: String,
    /// SHA-256 of the prompt that was asked.
    pub prompt: String,
    /// Tokens of the prompt and of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// Why a candidate was kept or dropped (`selection.jsonl`, one line a candidate).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// The rationale's id.
    pub rationale: String,
    /// The example's id.
    pub example: String,
    /// Whether it trains the student.
    pub kept: bool,
    /// The rule that decided.
    pub rule: Rule,
    /// The reason in words: "0.93 of its word trigrams are in A-001/2".
    pub reason: String,
    /// Its weight in the loss; 0 when dropped.
    pub weight: f64,
    /// What is known of it by name: "rd", "rsr", "ifd", "perplexity", "judge", "similarity".
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scores: BTreeMap<String, f64>,
}

/// The rules of selection, in the order in which they are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The answer could not be used at all.
    Outcome,
    /// The candidate's label is not the gold label.
    Accuracy,
    /// The same text as a candidate before it.
    Duplicate,
    /// Too close to a candidate kept before it.
    Diversity,
    /// Ranked by a score, such as the student's own likelihood.
    Difficulty,
    /// Over the number to keep.
    Keep,
    /// Over the number to keep of all examples together.
    Budget,
}

/// What a model says of one candidate (`scores.jsonl`): means over tokens, in nats.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scores {
    /// The rationale's id.
    pub rationale: String,
    /// The example's id.
    pub example: String,
    /// How likely the gold answer is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<AnswerScores>,
    /// How likely the candidate itself is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<ResponseScores>,
    /// Why there is no number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unscored: Option<String>,
}

/// ln PPL of the gold answer (minus its mean log-probability a token) after several things.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerScores {
    /// Tokens of the answer.
    pub tokens: usize,
    /// After question and rationale.
    pub given: f64,
    /// After the question alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alone: Option<f64>,
    /// After question and rationale, its mentions of the answer taken out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stripped: Option<f64>,
    /// After the question and a sentence that only states the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<f64>,
    /// Whether the rationale mentions the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mentions: Option<bool>,
    /// What each step of the rationale takes off ln PPL; they sum to `alone - given`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<f64>,
}

/// How a model finds the completion that a candidate would train.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResponseScores {
    /// Tokens of the completion.
    pub tokens: usize,
    /// Mean surprisal of a token after the prompt: ln PPL.
    pub surprisal: f64,
    /// Mean rank of a token among the vocabulary, from 1, each at most 100.
    pub rank: f64,
    /// Mean surprisal of a token without the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alone: Option<f64>,
}

/// One optimizer update (`steps.jsonl`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Counted from 1.
    pub step: usize,
    /// Passes over the data so far, with the fraction of the running one.
    pub epoch: f64,
    /// Mean loss over the supervised tokens, in nats.
    pub loss: f64,
    /// The learning rate of this update.
    pub learning_rate: f64,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Tokens read in this step.
    pub tokens: usize,
    /// Tokens that carried loss in this step.
    pub supervised_tokens: usize,
    /// What each objective beside cross-entropy came to, before its weight.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub objectives: BTreeMap<String, f64>,
    /// Mean validation loss, where it was measured after this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_loss: Option<f64>,
    /// Mean CEC of explanations generated for the validation split, where the student is chosen by
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_cec: Option<f64>,
}

/// What a system says of one example (`predictions.jsonl`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prediction {
    /// The example's id.
    pub id: String,
    /// Who speaks: "student" or "untrained"; evaluate adds its baselines.
    pub system: String,
    /// The label that was read from the completion.
    pub label: Option<String>,
    /// The explanation that was read from the completion.
    pub explanation: String,
    /// How the answer ended.
    pub outcome: Outcome,
    /// Everything that came back, as it came.
    pub completion: String,
    /// Evidence sentences that did not fit before the student's context.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub evidence_dropped: usize,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

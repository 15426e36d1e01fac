//! A data set described by a small TOML file: where it comes from, which field is what, the
//! labels or the kind of answer, the prompt.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::answer::{AnswerKind, AnswerOptions, Gold, normalise};
use super::field::Joined;
use super::shape::Shape;
use crate::error::{Error, Result};
use crate::prompt::Order;
use crate::record::Split;
use crate::table::TableOptions;

/// What a dataset file says; `datasets/*.toml` are examples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dataset {
    /// Its name in reports.
    pub name: String,
    /// Where it comes from and under which licence, for the report.
    #[serde(default)]
    pub source: String,
    /// Under which licence it may be used.
    #[serde(default)]
    pub licence: String,
    /// What to cite.
    #[serde(default)]
    pub citation: String,
    /// The metrics that fit it, as `evaluate.metrics` names them.
    #[serde(default)]
    pub metrics: Vec<String>,
    /// Where its files can be had.
    #[serde(default)]
    pub from: Option<Origin>,
    /// The form of its files, where their names do not say it.
    #[serde(default)]
    pub table: TableOptions,
    /// The file of each official split, where `data.path` is a folder.
    #[serde(default)]
    pub files: BTreeMap<Split, PathBuf>,
    /// A common form of training files, brought to the columns `prompt` and `completion`.
    #[serde(default)]
    pub shape: Option<Shape>,
    /// Where each part of an example stands in a record.
    pub fields: Fields,
    /// What an answer is, where it is no name out of the label set.
    #[serde(default)]
    pub answer: AnswerOptions,
    /// The label set: each label's name, and how the source spells it.
    #[serde(default)]
    pub labels: BTreeMap<String, Vec<String>>,
    /// Candidate rationales inside the records, if there are any.
    #[serde(default)]
    pub candidates: Option<CandidateFields>,
    /// What the student says first; labels come before, other answers after the rationale.
    #[serde(default)]
    pub order: Option<Order>,
    /// The claims are made from templates, and that they share words means nothing: they are not
    /// compared as near-duplicates.
    #[serde(default)]
    pub templated: bool,
    /// Put the prompt into the student's own chat template.
    #[serde(default)]
    pub chat: bool,
    /// The prompt template (minijinja) over `claim`, `evidence` (a list), `notes` (one for each
    /// evidence, with `label` and `votes`) and `label` (the gold label, or none where the student
    /// must find it).
    pub prompt: String,
}

/// Where the files of a data set can be had.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Origin {
    /// A data set on the hub.
    pub hub: Option<String>,
    /// Its revision.
    pub revision: Option<String>,
    /// An address; `{file}` in it stands for each name of `[files]`.
    pub url: Option<String>,
    /// The file in the repository, where it is one and `[files]` names none.
    pub file: Option<String>,
    /// The file's SHA-256, or that of the names and hashes of several; other contents are said to
    /// be others.
    pub sha256: Option<String>,
}

/// Column names, or JSON pointers (RFC 6901) into a record; `*` stands for every element of a
/// list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fields {
    /// The example's id, a text or a number; without it the record's position, counted from 0.
    #[serde(default)]
    pub id: String,
    /// The statement to be judged or the question; several fields are joined.
    pub claim: Joined,
    /// The same statement in other words, for tests of consistency.
    #[serde(default)]
    pub paraphrase: Option<String>,
    /// The passages: a text, a list of texts, or a `*` pointer.
    #[serde(default)]
    pub evidence: Option<String>,
    /// The label of each passage; a name out of the label set where that has it.
    #[serde(default)]
    pub evidence_label: Option<String>,
    /// The votes on each passage, a list of labels each; null is an abstention.
    #[serde(default)]
    pub evidence_votes: Option<String>,
    /// The options to choose from: a list of texts, or an object whose keys they are. They are
    /// put behind the claim, each with its letter.
    #[serde(default)]
    pub options: Option<String>,
    /// The gold label or answer as the source spells it.
    pub label: String,
    /// Reference explanations: fields with a text or a list of texts; the first is the main one.
    #[serde(default)]
    pub explanations: Vec<String>,
    /// Pairs of marks between which an explanation is cut out: GSM8K's `<<3+4=7>>`.
    #[serde(default)]
    pub cut: Vec<(String, String)>,
    /// The official split, where the record names it.
    #[serde(default)]
    pub split: Option<String>,
    /// Further fields to stratify the split by, each under its own name.
    #[serde(default)]
    pub strata: BTreeMap<String, String>,
}

/// Where the candidates of a record stand; the fields below start at one candidate, and nothing
/// ("") is the candidate itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CandidateFields {
    /// The list of candidates, or one text.
    pub list: String,
    /// The justification.
    #[serde(default)]
    pub text: String,
    /// The label that the candidate argues for, as the source spells it; without it the label is
    /// the answer that the text states.
    #[serde(default)]
    pub label: Option<String>,
    /// What the candidate is known to be; read by evaluate and report alone.
    #[serde(default)]
    pub role: Option<String>,
    /// The role whose text is the reference explanation.
    #[serde(default)]
    pub reference: Option<String>,
}

impl Dataset {
    /// The names of the files that `[from]` must give, as `[files]` and `[table.lines]` have them;
    /// none where its address names the only one.
    pub fn file_names(&self) -> Vec<String> {
        let shown = |path: &std::path::PathBuf| path.to_string_lossy().into_owned();
        if let Some(file) = self.from.as_ref().and_then(|from| from.file.clone()) {
            return vec![file];
        }
        let splits = self.files.values().map(shown);
        if self.table.lines.is_empty() {
            return splits.collect();
        }
        let lines = || self.table.lines.values().map(shown);
        if self.files.is_empty() {
            return lines().collect();
        }
        let of = |split: String| lines().map(move |line| line.replace("{split}", &split));
        splits.flat_map(of).collect()
    }

    /// Checks what the types cannot: names, label spellings, options.
    pub fn check(&self, path: &Path) -> Result<()> {
        let fail = |what: String| Err(Error::file(path, what));
        if self.answer.kind == AnswerKind::Label {
            if self.labels.len() < 2 {
                return fail(format!(
                    "[labels] names {} label, expected at least two, or [answer] with another kind",
                    self.labels.len()
                ));
            }
        } else if !self.labels.is_empty() {
            return fail("[labels] goes with no other kind of [answer]".into());
        }
        let mut seen: BTreeMap<String, &str> = BTreeMap::new();
        for (name, spellings) in &self.labels {
            for spelling in spellings.iter().chain([name]) {
                match seen.insert(spelling.to_lowercase(), name) {
                    Some(other) if other != name => {
                        return fail(format!(
                            "label spelling `{spelling}` stands for both `{other}` and `{name}`"
                        ));
                    }
                    _ => {}
                }
            }
        }
        let fields = &self.fields;
        if fields.claim.0.is_empty() || fields.label.is_empty() {
            return fail("[fields] needs `claim` and `label`".into());
        }
        let is_option = self.answer.kind == AnswerKind::Option;
        let chooses = match self.answer.gold {
            Gold::Index => true,
            Gold::BestKey => is_option,
            // The options may stand in the question.
            Gold::Field | Gold::Text => false,
        };
        if chooses && fields.options.is_none() {
            return fail("[fields] needs `options`, since [answer] chooses one of them".into());
        }
        let notes = fields.evidence_label.is_some() || fields.evidence_votes.is_some();
        if notes && fields.evidence.is_none() {
            return fail("[fields] has labels or votes of evidence, but no `evidence`".into());
        }
        if let Some(from) = &self.from {
            if from.hub.is_some() == from.url.is_some() {
                return fail("[from] names either `hub` or `url`".into());
            }
            if from.hub.is_some() && self.file_names().is_empty() {
                return fail("[from] needs `file`, since there are no [files]".into());
            }
        }
        if self.files.contains_key(&Split::Validation) && self.files.len() == 1 {
            return fail("[files] names a validation split alone".into());
        }
        Ok(())
    }

    /// The label set; empty where answers are no labels.
    pub fn label_set(&self) -> Vec<&str> {
        match self.answer.kind {
            AnswerKind::YesNo => vec!["no", "yes"],
            _ => self.labels.keys().map(String::as_str).collect(),
        }
    }

    /// What is said first: the label, or the rationale.
    pub fn order(&self) -> Order {
        self.order.unwrap_or(match self.answer.kind {
            AnswerKind::Label => Order::AnswerFirst,
            _ => Order::RationaleFirst,
        })
    }

    /// A whole field as a label or an answer, in its one spelling.
    pub fn answer(&self, field: &str) -> Result<String, String> {
        match self.answer.kind {
            AnswerKind::Label => self.label(field).map(str::to_owned),
            kind => normalise(kind, field),
        }
    }

    /// The label that the source spells so.
    pub fn label(&self, spelling: &str) -> Result<&str, String> {
        let is = |s: &str| s.eq_ignore_ascii_case(spelling.trim());
        let found = self
            .labels
            .iter()
            .find(|(name, all)| is(name) || all.iter().any(|s| is(s)));
        found.map(|(name, _)| name.as_str()).ok_or_else(|| {
            let known: Vec<&str> = self
                .labels
                .iter()
                .flat_map(|(name, all)| {
                    if all.is_empty() {
                        vec![name.as_str()]
                    } else {
                        all.iter().map(String::as_str).collect()
                    }
                })
                .collect();
            format!("label `{spelling}` is not one of: {}", known.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset(more: &str) -> Dataset {
        let text = format!(
            "name = \"d\"\nprompt = \"{{{{ claim }}}}\"\n{more}\n[fields]\nclaim = \"c\"\nlabel = \"l\"\n[labels]\na = []\nb = []\n"
        );
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn the_files_to_fetch_are_those_that_the_dataset_file_names() {
        let check = |more: &str, expected: &str| {
            let dataset = dataset(more);
            dataset.check(Path::new("d.toml")).unwrap();
            assert_eq!(dataset.file_names().join(" "), expected);
        };
        check("[from]\nurl = \"https://a.b/c.jsonl\"", "");
        check("[from]\nhub = \"o/n\"\nfile = \"x/c.jsonl\"", "x/c.jsonl");
        let files = "[files]\ntrain = \"train.jsonl\"\ntest = \"test.jsonl\"\n";
        check(
            &format!("[from]\nhub = \"o/n\"\n{files}"),
            "train.jsonl test.jsonl",
        );
        let lines = "[table.lines]\na = \"a.{split}\"\nb = \"b.{split}\"\n";
        check(
            &format!("[from]\nhub = \"o/n\"\n{lines}[files]\ntest = \"dev\"\n"),
            "a.dev b.dev",
        );
    }

    #[test]
    fn an_origin_that_leads_nowhere_is_named() {
        let check = |more: &str, expected: &str| {
            let error = dataset(more).check(Path::new("d.toml")).unwrap_err();
            assert_eq!(error.to_string(), format!("d.toml: {expected}"));
        };
        check(
            "[from]\nrevision = \"x\"",
            "[from] names either `hub` or `url`",
        );
        check(
            "[from]\nhub = \"o/n\"",
            "[from] needs `file`, since there are no [files]",
        );
    }
}

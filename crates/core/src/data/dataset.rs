//! A data set described by a small TOML file: which field is what, the labels, the prompt.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};

/// What a dataset file says; `datasets/*.toml` are examples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dataset {
    /// Its name in reports.
    pub name: String,
    /// Where it comes from and under which licence, for the report.
    #[serde(default)]
    pub source: String,
    /// Where each part of an example stands in a record.
    pub fields: Fields,
    /// The label set: each label's name, and how the source spells it.
    pub labels: BTreeMap<String, Vec<String>>,
    /// Candidate rationales inside the records, if there are any.
    #[serde(default)]
    pub candidates: Option<CandidateFields>,
    /// The prompt template (minijinja) over `claim`, `evidence` (a list) and `label`
    /// (the gold label, or none where the student must find it).
    pub prompt: String,
}

/// JSON pointers (RFC 6901) into a record; `*` stands for every element of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fields {
    /// The example's id, a string or a number.
    pub id: String,
    /// The statement to be judged.
    pub claim: String,
    /// The passages: a string, a list of strings, or a `*` pointer.
    #[serde(default)]
    pub evidence: Option<String>,
    /// The gold label as the source spells it.
    pub label: String,
    /// Further fields to stratify the split by, each under its own name.
    #[serde(default)]
    pub strata: BTreeMap<String, String>,
}

/// Where the candidates of a record stand; the pointers below start at one candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CandidateFields {
    /// The list of candidates.
    pub list: String,
    /// The justification.
    pub text: String,
    /// The label that the candidate argues for, as the source spells it.
    pub label: String,
    /// What the candidate is known to be; read by evaluate and report alone.
    #[serde(default)]
    pub role: Option<String>,
    /// The role whose text is the reference explanation.
    #[serde(default)]
    pub reference: Option<String>,
}

impl Dataset {
    /// Checks what the types cannot: names, label spellings, pointers.
    pub fn check(&self, path: &Path) -> Result<()> {
        let fail = |what: String| Err(Error::file(path, what));
        if self.labels.len() < 2 {
            return fail(format!(
                "[labels] names {} label, expected at least two",
                self.labels.len()
            ));
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
        let candidates = self.candidates.iter().flat_map(|c| {
            [
                Some(&c.list),
                Some(&c.text),
                Some(&c.label),
                c.role.as_ref(),
            ]
            .into_iter()
            .flatten()
        });
        let fields = [&self.fields.id, &self.fields.claim, &self.fields.label];
        let pointers = fields
            .into_iter()
            .chain(&self.fields.evidence)
            .chain(self.fields.strata.values());
        for pointer in pointers.chain(candidates) {
            if !pointer.starts_with('/') {
                return fail(format!(
                    "`{pointer}` is no JSON pointer; did you mean `/{pointer}`?"
                ));
            }
        }
        Ok(())
    }

    /// The label set.
    pub fn label_set(&self) -> Vec<&str> {
        self.labels.keys().map(String::as_str).collect()
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

/// The text at a JSON pointer, numbers as they are written; else what was found there.
pub fn text_at(record: &Value, pointer: &str) -> Result<String, String> {
    match record.pointer(pointer) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(other) => Err(format!("`{pointer}` is {}, expected a text", kind(other))),
        None => Err(format!("`{pointer}` is missing")),
    }
}

/// The texts at a pointer: of a text, a list of texts, or every element that `*` stands for.
pub(crate) fn texts_at(record: &Value, pointer: &str) -> Result<Vec<String>, String> {
    if let Some((list, rest)) = pointer.split_once("/*") {
        let inner =
            |(at, element)| text_at(element, rest).map_err(|e| format!("`{list}/{at}`: {e}"));
        return list_at(record, list)?
            .iter()
            .enumerate()
            .map(inner)
            .collect();
    }
    match record.pointer(pointer) {
        Some(Value::Array(list)) => list
            .iter()
            .enumerate()
            .map(|(at, _)| text_at(record, &format!("{pointer}/{at}")))
            .collect(),
        _ => Ok(vec![text_at(record, pointer)?]),
    }
}

/// The list at a pointer.
pub(crate) fn list_at<'a>(record: &'a Value, pointer: &str) -> Result<&'a [Value], String> {
    match record.pointer(pointer) {
        Some(Value::Array(list)) => Ok(list),
        Some(other) => Err(format!("`{pointer}` is {}, expected a list", kind(other))),
        None => Err(format!("`{pointer}` is missing")),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pointer_reaches_texts_lists_and_every_element() {
        let record =
            json!({"a": "x", "b": ["y", "z"], "c": [{"t": "u"}, {"t": 7}], "d": {"e": null}});
        let check = |pointer: &str, expected: &str| {
            let got = texts_at(&record, pointer).map_or_else(|e| e, |texts| texts.join("|"));
            assert_eq!(got, expected);
        };
        check("/a", "x");
        check("/b", "y|z");
        check("/c/*/t", "u|7");
        check("/c/*/v", "`/c/0`: `/v` is missing");
        check("/d/e", "`/d/e` is null, expected a text");
        check("/a/*/t", "`/a` is a text, expected a list");
        check("/nowhere", "`/nowhere` is missing");
    }
}

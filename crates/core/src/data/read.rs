//! From a record of the source to examples, as the dataset file describes it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::answer::{AnswerKind, Gold};
use super::dataset::{CandidateFields, Dataset};
use super::field::{all_at, at, list_at, name_at, text_in, texts_at};
use super::{Candidate, DataOptions, Unit};
use crate::random::{Random, hash};
use crate::record::{EvidenceNote, Example, Reference, Split};
use crate::table::{Row, kind};

/// A record that cannot be used: a reason to count by, and the whole story.
pub(super) struct Bad {
    pub(super) reason: &'static str,
    pub(super) what: String,
}

impl Bad {
    pub(super) fn new(reason: &'static str, what: impl Into<String>) -> Self {
        Self {
            reason,
            what: what.into(),
        }
    }
}

fn field(what: String) -> Bad {
    Bad::new("missing or wrong field", what)
}

fn unknown(what: String) -> Bad {
    Bad::new("unknown label", what)
}

/// What one record gives.
pub(super) struct Parsed {
    pub(super) example: Example,
    pub(super) reference: Option<Reference>,
    pub(super) candidates: Vec<Candidate>,
    /// Examples that share one of these stay in one split.
    pub(super) groups: Vec<String>,
    /// The split that the source gives it.
    pub(super) official: Option<Split>,
    /// The claim in other words.
    pub(super) paraphrase: Option<String>,
    /// The value that decides whether it is held out.
    pub(super) held_by: Option<String>,
}

/// Reads the record at `position`, counted from 0 over all files.
pub(super) fn parse(
    dataset: &Dataset,
    options: &DataOptions,
    mut row: Row,
    position: usize,
) -> Result<Vec<Parsed>, Bad> {
    if let Some(shape) = dataset.shape {
        shape.bring(&mut row).map_err(field)?;
    }
    let record = &Value::Object(row);
    let fields = &dataset.fields;
    let id = if fields.id.is_empty() {
        position.to_string()
    } else {
        text_in(record, &fields.id).map_err(field)?
    };
    let mut claim = fields.claim.text(record).map_err(field)?;
    if id.trim().is_empty() || claim.is_empty() {
        return Err(Bad::new(
            "empty id or claim",
            "the id or the claim is empty",
        ));
    }
    let choices = choices(dataset, record, &id).map_err(field)?;
    let label = gold(dataset, record, &choices)?;
    let paraphrase = fields.paraphrase.as_ref().map(|name| text_in(record, name));
    let mut paraphrase = paraphrase.transpose().map_err(field)?;
    if dataset.answer.kind == AnswerKind::Option && !choices.is_empty() {
        let shown = shown(&choices);
        claim.push_str(&shown);
        paraphrase = paraphrase.map(|text| text + &shown);
    }
    let (evidence, notes) = evidence(dataset, record, &id)?;
    let strata = fields
        .strata
        .iter()
        .map(|(name, pointer)| Ok((name.clone(), name_at(record, pointer)?)));
    let strata = strata.collect::<Result<_, String>>().map_err(field)?;
    let example = Example {
        id,
        claim,
        evidence,
        notes,
        label,
        strata,
        split: Split::Train,
    };

    let mut groups = Vec::new();
    for name in &options.split.group {
        for value in texts_at(record, name).map_err(field)? {
            groups.push(format!("{name}\u{1f}{value}"));
        }
    }
    let held_by = match &options.split.hold_out {
        Some(held) => Some(name_at(record, &held.field).map_err(field)?),
        None => None,
    };
    let official = match &fields.split {
        Some(name) => Some(split_named(&name_at(record, name).map_err(field)?).map_err(field)?),
        None => None,
    };
    let (reference, candidates) = explained(dataset, record, &example.id)?;
    let whole = Parsed {
        example,
        reference,
        candidates,
        groups,
        official,
        paraphrase: paraphrase.filter(|text| !text.trim().is_empty()),
        held_by,
    };
    match options.unit {
        Unit::Claim => Ok(vec![whole]),
        Unit::Evidence => pairs(&whole),
    }
}

/// One example for each passage, with the passage's own label.
fn pairs(whole: &Parsed) -> Result<Vec<Parsed>, Bad> {
    let example = &whole.example;
    if example.notes.iter().any(|note| note.label.is_none()) || example.notes.is_empty() {
        let what = "data.unit = \"evidence\" needs `evidence_label` in the dataset file's [fields]";
        return Err(Bad::new("no label of the evidence", what));
    }
    let together = format!("\u{1f}{}", example.id);
    let passages = example.evidence.iter().zip(&example.notes).enumerate();
    let pair = |(index, (passage, note)): (usize, (&String, &EvidenceNote))| Parsed {
        example: Example {
            id: format!("{}:{}", example.id, index + 1),
            evidence: vec![passage.clone()],
            notes: vec![note.clone()],
            label: note.label.clone().unwrap_or_default(),
            ..example.clone()
        },
        // What explains the claim does not explain one passage.
        reference: None,
        candidates: vec![],
        groups: whole
            .groups
            .iter()
            .cloned()
            .chain([together.clone()])
            .collect(),
        official: whole.official,
        paraphrase: whole.paraphrase.clone(),
        held_by: whole.held_by.clone(),
    };
    Ok(passages.map(pair).collect())
}

/// The options of a record in the order in which they are shown, each with its place in the
/// source.
fn choices(dataset: &Dataset, record: &Value, id: &str) -> Result<Vec<(usize, String)>, String> {
    let Some(name) = &dataset.fields.options else {
        return Ok(vec![]);
    };
    let texts = match at(record, name) {
        Some(Value::Object(scores)) => scores.keys().cloned().collect(),
        _ => texts_at(record, name)?,
    };
    if texts.len() < 2 || texts.len() > 26 {
        return Err(format!(
            "`{name}` has {} options, expected 2 to 26",
            texts.len()
        ));
    }
    let mut choices: Vec<(usize, String)> = texts
        .iter()
        .map(|text| without_letter(text).to_owned())
        .enumerate()
        .collect();
    if dataset.answer.shuffle_options {
        Random::new(hash(id.as_bytes(), 0), "options").shuffle(&mut choices);
    }
    Ok(choices)
}

/// The options of AQUA-RAT carry their letter: "A)5 km".
fn without_letter(option: &str) -> &str {
    let option = option.trim();
    match option.as_bytes() {
        [letter, b')' | b'.' | b':', _, ..] if letter.is_ascii_uppercase() => option[2..].trim(),
        _ => option,
    }
}

fn letter(index: usize) -> String {
    let index = u8::try_from(index).expect("there are at most 26 options");
    char::from(b'A' + index).to_string()
}

/// The options behind the question, as Kojima et al. (2022) write them.
fn shown(choices: &[(usize, String)]) -> String {
    let lettered = choices.iter().enumerate();
    let lettered = lettered.map(|(index, (_, choice))| format!(" ({}) {choice}", letter(index)));
    format!(" Answer Choices:{}", lettered.collect::<String>())
}

/// The gold label or answer in its one spelling.
fn gold(dataset: &Dataset, record: &Value, choices: &[(usize, String)]) -> Result<String, Bad> {
    let name = &dataset.fields.label;
    let answer = &dataset.answer;
    let at_field = |what: String| unknown(format!("`{name}` {what}"));
    let is_option = answer.kind == AnswerKind::Option;
    let of_place = |place: usize| match choices.iter().position(|(source, _)| *source == place) {
        Some(index) if is_option => Ok(letter(index)),
        Some(index) => dataset.answer(&choices[index].1).map_err(at_field),
        None => Err(at_field(format!(
            "is {place}, expected the place of one of {} options, counted from 0",
            choices.len()
        ))),
    };
    match answer.gold {
        Gold::Field if is_option => {
            let text = name_at(record, name).map_err(field)?;
            let as_letter = dataset.answer(&text);
            let by_text = choices.iter().position(|(_, choice)| choice == text.trim());
            match (as_letter, by_text) {
                (Ok(found), _) => {
                    let place = usize::from(found.as_bytes()[0] - b'A');
                    if choices.is_empty() {
                        return Ok(found);
                    }
                    if place >= choices.len() {
                        let last = letter(choices.len() - 1);
                        return Err(at_field(format!(
                            "is option `{found}`, which does not exist; expected A to {last}"
                        )));
                    }
                    of_place(place)
                }
                (_, Some(index)) => Ok(letter(index)),
                (Err(_), None) => Err(at_field(format!(
                    "is `{text}`, expected an option's letter or text"
                ))),
            }
        }
        Gold::Field => {
            let text = name_at(record, name).map_err(field)?;
            let found = dataset.answer(&text);
            match answer.kind {
                AnswerKind::Label => found.map_err(unknown),
                _ => found.map_err(at_field),
            }
        }
        Gold::Text => {
            let text = text_in(record, name).map_err(field)?;
            let found = answer.read_gold(&text, &dataset.labels);
            found.map(|found| found.answer).map_err(at_field)
        }
        Gold::Index => {
            let text = text_in(record, name).map_err(field)?;
            let place = text.trim().parse().map_err(|_| {
                at_field(format!(
                    "is `{text}`, expected an option's place, counted from 0"
                ))
            })?;
            of_place(place)
        }
        Gold::BestKey => {
            let (place, key) = best_key(record, name).map_err(field)?;
            if is_option {
                of_place(place)
            } else {
                dataset.answer(&key).map_err(at_field)
            }
        }
    }
}

/// The key of the largest value, and its place.
fn best_key(record: &Value, name: &str) -> Result<(usize, String), String> {
    let scores = match at(record, name) {
        Some(Value::Object(scores)) => scores,
        Some(other) => {
            return Err(format!(
                "`{name}` is {}, expected an object of scores",
                kind(other)
            ));
        }
        None => return text_in(record, name).map(|key| (0, key)),
    };
    let mut best: Option<(usize, &String, f64)> = None;
    let mut is_tied = false;
    for (place, (key, score)) in scores.iter().enumerate() {
        let score = score
            .as_f64()
            .ok_or_else(|| format!("`{name}/{key}` is {}, expected a number", kind(score)))?;
        match best {
            Some((_, _, most)) if score < most => {}
            Some((_, _, most)) if score <= most => is_tied = true,
            _ => (best, is_tied) = (Some((place, key, score)), false),
        }
    }
    match best {
        Some((place, key, _)) if !is_tied => Ok((place, key.clone())),
        Some(_) => Err(format!(
            "`{name}` gives its best score to two answers, expected one"
        )),
        None => Err(format!("`{name}` is empty, expected scores")),
    }
}

/// The passages that are not blank, and what is known about each.
fn evidence(
    dataset: &Dataset,
    record: &Value,
    id: &str,
) -> Result<(Vec<String>, Vec<EvidenceNote>), Bad> {
    let fields = &dataset.fields;
    let Some(pointer) = &fields.evidence else {
        return Ok((vec![], vec![]));
    };
    let mut evidence = texts_at(record, pointer).map_err(field)?;
    let mut notes = vec![EvidenceNote::default(); evidence.len()];
    if let Some(pointer) = &fields.evidence_label {
        let labels = texts_at(record, pointer).map_err(field)?;
        as_many(labels.len(), notes.len(), pointer)?;
        for (note, label) in notes.iter_mut().zip(labels) {
            note.label = Some(dataset.label(&label).map_err(unknown)?.to_owned());
        }
    }
    if let Some(pointer) = &fields.evidence_votes {
        let votes = all_at(record, pointer).map_err(field)?;
        as_many(votes.len(), notes.len(), pointer)?;
        for (note, (place, votes)) in notes.iter_mut().zip(votes) {
            let cast = list_at(votes, "").map_err(|e| field(format!("`{place}`: {e}")))?;
            for vote in cast.iter().filter(|vote| !vote.is_null()) {
                let vote = name_at(vote, "").map_err(|e| field(format!("`{place}`: {e}")))?;
                let label = dataset.label(&vote).map_err(unknown)?.to_owned();
                *note.votes.entry(label).or_default() += 1;
            }
        }
    }
    let is_blank: Vec<bool> = evidence.iter().map(|text| text.trim().is_empty()).collect();
    let mut blank = is_blank.iter();
    evidence.retain(|_| !blank.next().expect("one for each"));
    let mut blank = is_blank.iter();
    notes.retain(|_| !blank.next().expect("one for each"));
    if evidence.is_empty() {
        let what = format!("example `{id}` has no evidence at `{pointer}`");
        return Err(Bad::new("no evidence", what));
    }
    if fields.evidence_label.is_none() && fields.evidence_votes.is_none() {
        notes.clear();
    }
    Ok((evidence, notes))
}

fn as_many(found: usize, passages: usize, pointer: &str) -> Result<(), Bad> {
    if found == passages {
        return Ok(());
    }
    Err(field(format!(
        "`{pointer}` has {found} values for {passages} passages"
    )))
}

/// Reference explanations and candidates.
fn explained(
    dataset: &Dataset,
    record: &Value,
    id: &str,
) -> Result<(Option<Reference>, Vec<Candidate>), Bad> {
    let mut known = Reference {
        id: id.to_owned(),
        explanations: vec![],
        roles: BTreeMap::new(),
    };
    for name in &dataset.fields.explanations {
        for text in texts_at(record, name).map_err(field)? {
            let text = explanation(dataset, &text, dataset.answer.gold == Gold::Text);
            if !text.is_empty() {
                known.explanations.push(text);
            }
        }
    }
    let mut candidates = vec![];
    let mut is_known = !known.explanations.is_empty();
    if let Some(fields) = &dataset.candidates {
        for candidate in listed(record, fields).map_err(field)? {
            let candidate = self::candidate(dataset, fields, candidate, &mut known)?;
            candidates.extend(candidate);
        }
        if fields.reference.is_some() && known.explanations.is_empty() {
            let role = fields.reference.as_deref().unwrap_or_default();
            return Err(Bad::new(
                "no reference",
                format!("example `{id}` has no candidate in the role `{role}`"),
            ));
        }
        is_known |= fields.role.is_some();
    }
    Ok((is_known.then_some(known), candidates))
}

fn listed<'a>(record: &'a Value, fields: &CandidateFields) -> Result<Vec<&'a Value>, String> {
    match at(record, &fields.list) {
        Some(one @ Value::String(_)) => Ok(vec![one]),
        _ => Ok(list_at(record, &fields.list)?.iter().collect()),
    }
}

fn candidate(
    dataset: &Dataset,
    fields: &CandidateFields,
    candidate: &Value,
    known: &mut Reference,
) -> Result<Option<Candidate>, Bad> {
    let whole = text_in(candidate, &fields.text).map_err(field)?;
    let (label, text) = match &fields.label {
        Some(name) => {
            let label = name_at(candidate, name).map_err(field)?;
            (dataset.answer(&label).ok(), whole)
        }
        // Nothing was recorded here.
        None if whole.trim().is_empty() => return Ok(None),
        None => dataset.stated(&whole),
    };
    if let Some(pointer) = &fields.role {
        let role = text_in(candidate, pointer).map_err(field)?;
        if Some(&role) == fields.reference.as_ref() {
            known.explanations.push(text.clone());
        }
        known.roles.insert(text.clone(), role);
    }
    Ok(Some(Candidate {
        example: known.id.clone(),
        label,
        text,
    }))
}

impl Dataset {
    /// The label or answer that a text states, and the text without that statement.
    pub fn stated(&self, text: &str) -> (Option<String>, String) {
        let found = self.answer.read(text, &self.labels);
        (
            found.map(|found| found.answer),
            explanation(self, text, true),
        )
    }
}

/// A text without the statement of its answer and without what is to be cut out.
fn explanation(dataset: &Dataset, text: &str, states_label: bool) -> String {
    let mut text = match dataset.answer.kind {
        AnswerKind::Label if states_label => {
            let rest = dataset.answer.after_label(text, &dataset.labels);
            rest.unwrap_or(text).trim().to_owned()
        }
        AnswerKind::Label => text.trim().to_owned(),
        _ => dataset.answer.explanation(text, &dataset.labels).to_owned(),
    };
    for (open, close) in &dataset.fields.cut {
        let mut from = 0;
        while let Some(start) = text[from..].find(open.as_str()).map(|at| from + at) {
            let inner = start + open.len();
            let Some(length) = text[inner..].find(close.as_str()) else {
                break;
            };
            text.replace_range(start..inner + length + close.len(), "");
            from = start;
        }
    }
    text.trim().to_owned()
}

/// A split by any of its usual names.
pub(super) fn split_named(name: &str) -> Result<Split, String> {
    match name.trim().to_lowercase().as_str() {
        "train" | "training" => Ok(Split::Train),
        "validation" | "valid" | "val" | "dev" | "development" => Ok(Split::Validation),
        "test" => Ok(Split::Test),
        _ => Err(format!(
            "split `{name}` is not one of: train, validation, test"
        )),
    }
}

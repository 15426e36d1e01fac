//! Files of predictions and references become examples, references and predictions.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use stillhouse_core::evaluate::{Input, STUDENT};
use stillhouse_core::record::{Example, Outcome, Prediction, Split};
use stillhouse_core::table::{self, Format, Place, Row, TableOptions};
use stillhouse_core::{Error, Result};

/// What a row may hold, for help and errors; only `id` must be there.
pub const FIELDS: [&str; 11] = [
    "id",
    "prediction",
    "reference",
    "references",
    "system",
    "evidence",
    "claim",
    "label",
    "gold_label",
    "prediction_sentences",
    "reference_sentences",
];

/// A file of predictions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// Who speaks in it, where its rows do not say.
    pub system: Option<String>,
}

/// The fields of a row, each under the name of its column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns(BTreeMap<String, String>);

impl Columns {
    /// Reads "prediction=output"; a column that begins with `/` is a JSON pointer, and several
    /// columns of predictions ("prediction=a,b") are systems of these names.
    pub fn new(given: &[String]) -> Result<Self> {
        let mut columns = BTreeMap::new();
        for text in given {
            let wrong = |what: &str| {
                let fields = FIELDS.join(", ");
                let what = format!("`{text}` {what}; expected FIELD=COLUMN, FIELD one of {fields}");
                Error::option("--column", what)
            };
            let (field, column) = text.split_once('=').ok_or_else(|| wrong("has no ="))?;
            if !FIELDS.contains(&field) {
                return Err(wrong("names no field"));
            }
            if columns
                .insert(field.to_owned(), column.to_owned())
                .is_some()
            {
                return Err(wrong("maps a field for the second time"));
            }
        }
        Ok(Self(columns))
    }

    fn name<'a>(&'a self, field: &'a str) -> &'a str {
        self.0.get(field).map_or(field, String::as_str)
    }

    fn get<'a>(&self, row: &'a Row, field: &str) -> Option<&'a Value> {
        at(row, self.name(field))
    }

    /// The columns of predictions, and the system of each where there are several.
    fn predictions(&self) -> Vec<(&str, Option<&str>)> {
        let name = self.name("prediction");
        if name.contains(',') {
            let names = name.split(',').map(str::trim);
            return names.map(|name| (name, Some(name))).collect();
        }
        vec![(name, None)]
    }
}

fn at<'a>(row: &'a Row, column: &str) -> Option<&'a Value> {
    let Some(path) = column.strip_prefix('/') else {
        return row.get(column);
    };
    match path.split_once('/') {
        None => row.get(path),
        Some((first, rest)) => row.get(first)?.pointer(&format!("/{rest}")),
    }
}

/// What the rows of all files come to.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    examples: Vec<Example>,
    places: HashMap<String, usize>,
    references: BTreeMap<String, Vec<String>>,
    predictions: Vec<Prediction>,
    seen: HashSet<(String, String)>,
    sentences: BTreeMap<String, Vec<String>>,
    pub(super) has_gold: bool,
}

impl Gathered {
    /// Reads everything; at least one prediction and one reference must be there.
    pub(super) fn read(
        sources: &[Source],
        references: Option<&Path>,
        columns: &Columns,
    ) -> Result<Self> {
        let mut all = Self::default();
        let options = TableOptions::default();
        for source in sources {
            let is_plain = is_plain(&source.path);
            table::read_each(&source.path, &options, |place, row| {
                if is_plain {
                    all.plain_prediction(place, source, &row)
                } else {
                    all.row(place, source, &row, columns)
                }
            })?;
        }
        let first = sources.first().map_or(Path::new(""), |source| &source.path);
        if all.predictions.is_empty() {
            return Err(Error::file(first, "holds no prediction"));
        }
        if let Some(path) = references {
            all.read_references(first, path, columns)?;
        }
        if all.references.is_empty() {
            let what = format!(
                "holds no reference; give them in `reference`, or in a second file. Fields: {}",
                FIELDS.join(", ")
            );
            return Err(Error::file(first, what));
        }
        Ok(all)
    }

    pub(super) fn input(&self) -> Input<'_> {
        Input {
            examples: &self.examples,
            training_labels: &[],
            references: &self.references,
            predictions: &self.predictions,
            sentences: &self.sentences,
        }
    }

    fn read_references(&mut self, first: &Path, path: &Path, columns: &Columns) -> Result<()> {
        let is_plain = is_plain(path);
        let n_predictions = self.examples.len();
        let mut n_references = 0;
        table::read_each(path, &TableOptions::default(), |place, row| {
            n_references += 1;
            if is_plain {
                let reference = row.get("text").and_then(Value::as_str).unwrap_or_default();
                self.add_references(place, &place.row.to_string(), vec![reference.to_owned()])
            } else {
                self.example(place, &row, columns)
            }
        })?;
        // Lines answer each other by their numbers alone: one line too few shifts all that follow.
        if is_plain && !self::is_plain(first) {
            let what = "is plain text, without ids; the predictions must be plain text as well";
            return Err(Error::file(path, what));
        }
        if is_plain && n_references != n_predictions {
            let what = format!("has {n_references} lines, the predictions have {n_predictions}");
            return Err(Error::file(path, what));
        }
        Ok(())
    }

    fn plain_prediction(&mut self, place: &Place<'_>, source: &Source, row: &Row) -> Result<()> {
        let id = place.row.to_string();
        let prediction = row.get("text").and_then(Value::as_str).unwrap_or_default();
        let system = source.system.as_deref().unwrap_or(STUDENT);
        self.place_of(&id);
        self.add_prediction(place, &id, system, prediction.to_owned(), None)
    }

    /// A row with its fields.
    fn row(
        &mut self,
        place: &Place<'_>,
        source: &Source,
        row: &Row,
        columns: &Columns,
    ) -> Result<()> {
        let id = id(place, row, columns)?;
        let field = |field: &str| match columns.get(row, field) {
            Some(value) => text(place, columns.name(field), value),
            None => Ok(None),
        };
        let said = field("system")?;
        let label = field("label")?;
        for (column, of_column) in columns.predictions() {
            let value = at(row, column).ok_or_else(|| {
                let known: Vec<&str> = row.keys().map(String::as_str).collect();
                place.error(format!(
                    "`{column}` is missing; the row has {}. Map it with --column prediction=NAME",
                    known.join(", ")
                ))
            })?;
            let system = of_column.or(said.as_deref()).or(source.system.as_deref());
            let system = system.unwrap_or(STUDENT);
            if let Some(prediction) = text(place, column, value)? {
                self.give_sentences(
                    place,
                    &prediction,
                    list(place, row, columns, "prediction_sentences")?,
                )?;
                self.add_prediction(place, &id, system, prediction, label.clone())?;
            }
        }
        self.example(place, row, columns)
    }

    /// What a row says of its example: reference, claim, evidence, gold label.
    fn example(&mut self, place: &Place<'_>, row: &Row, columns: &Columns) -> Result<()> {
        let id = id(place, row, columns)?;
        let field = |field: &str| match columns.get(row, field) {
            Some(value) => text(place, columns.name(field), value),
            None => Ok(None),
        };
        let at = self.place_of(&id);
        let example = &mut self.examples[at];
        if example.evidence.is_empty() {
            example.evidence = list(place, row, columns, "evidence")?.unwrap_or_default();
        }
        if example.claim.is_empty() {
            example.claim = field("claim")?.unwrap_or_default();
        }
        if let Some(gold) = field("gold_label")? {
            self.has_gold = true;
            example.label = gold;
        }
        let mut references: Vec<String> = field("reference")?.into_iter().collect();
        references.extend(list(place, row, columns, "references")?.unwrap_or_default());
        if let Some(first) = references.first() {
            let sentences = list(place, row, columns, "reference_sentences")?;
            self.give_sentences(place, &first.clone(), sentences)?;
        }
        self.add_references(place, &id, references)
    }

    fn place_of(&mut self, id: &str) -> usize {
        if let Some(at) = self.places.get(id) {
            return *at;
        }
        self.places.insert(id.to_owned(), self.examples.len());
        self.examples.push(Example {
            id: id.to_owned(),
            claim: String::new(),
            evidence: vec![],
            label: String::new(),
            notes: vec![],
            strata: BTreeMap::new(),
            split: Split::Test,
        });
        self.examples.len() - 1
    }

    fn add_prediction(
        &mut self,
        place: &Place<'_>,
        id: &str,
        system: &str,
        text: String,
        label: Option<String>,
    ) -> Result<()> {
        if !self.seen.insert((system.to_owned(), id.to_owned())) {
            return Err(place.error(format!(
                "id `{id}` of system `{system}` stands twice; ids must be unique in a system"
            )));
        }
        let outcome = if text.trim().is_empty() {
            Outcome::Empty
        } else {
            Outcome::Ok
        };
        self.predictions.push(Prediction {
            id: id.to_owned(),
            system: system.to_owned(),
            label,
            completion: text.clone(),
            outcome,
            explanation: text,
            evidence_dropped: 0,
        });
        Ok(())
    }

    fn add_references(
        &mut self,
        place: &Place<'_>,
        id: &str,
        references: Vec<String>,
    ) -> Result<()> {
        if references.is_empty() {
            return Ok(());
        }
        self.place_of(id);
        match self.references.get(id) {
            Some(known) if *known != references => {
                let what = format!("id `{id}` has another reference in an earlier row");
                Err(place.error(what))
            }
            Some(_) => Ok(()),
            None => {
                self.references.insert(id.to_owned(), references);
                Ok(())
            }
        }
    }

    fn give_sentences(
        &mut self,
        place: &Place<'_>,
        text: &str,
        sentences: Option<Vec<String>>,
    ) -> Result<()> {
        let Some(sentences) = sentences else {
            return Ok(());
        };
        match self.sentences.insert(text.to_owned(), sentences.clone()) {
            Some(earlier) if earlier != sentences => {
                let what = "the same text was split into other sentences in an earlier row";
                Err(place.error(what))
            }
            _ => Ok(()),
        }
    }
}

fn is_plain(path: &Path) -> bool {
    Format::of(path) == Some(Format::Lines)
}

fn id(place: &Place<'_>, row: &Row, columns: &Columns) -> Result<String> {
    let column = columns.name("id");
    match columns.get(row, "id") {
        Some(Value::String(id)) if !id.is_empty() => Ok(id.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        None | Some(Value::Null) => Err(place.error(format!(
            "`{column}` is missing; map it with --column id=NAME"
        ))),
        Some(other) => Err(place.error(format!(
            "`{column}` is {other}, expected a text or a number"
        ))),
    }
}

/// A field that is one text; null is none, a number or a truth stands as it is written.
fn text(place: &Place<'_>, column: &str, value: &Value) -> Result<Option<String>> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Number(_) | Value::Bool(_) => Ok(Some(value.to_string())),
        Value::Array(_) | Value::Object(_) => {
            Err(place.error(format!("`{column}` is {value}, expected a text")))
        }
    }
}

/// A field that is a list of texts; one text is a list of one, unless it is a JSON list itself, as
/// CSV has it.
fn list(
    place: &Place<'_>,
    row: &Row,
    columns: &Columns,
    field: &str,
) -> Result<Option<Vec<String>>> {
    let column = columns.name(field);
    let wrong =
        |value: &Value| place.error(format!("`{column}` is {value}, expected a list of texts"));
    let of_values = |values: &[Value]| -> Result<Vec<String>> {
        let texts = values.iter().map(|value| match value {
            Value::String(text) => Ok(text.clone()),
            other => Err(wrong(other)),
        });
        texts.collect()
    };
    match columns.get(row, field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(values)) => of_values(values).map(Some),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => match serde_json::from_str::<Vec<Value>>(text) {
            Ok(values) if text.starts_with('[') => of_values(&values).map(Some),
            _ => Ok(Some(vec![text.clone()])),
        },
        Some(other) => Err(wrong(other)),
    }
}

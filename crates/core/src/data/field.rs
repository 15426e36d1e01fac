//! Reaching into a record: by column name, or by JSON pointer (RFC 6901) with `*` for every
//! element of a list.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::table::{kind, names};

/// One field, or several whose texts are joined by a space (SVAMP's `Body` and `Question`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Joined(pub Vec<String>);

impl From<&str> for Joined {
    fn from(field: &str) -> Self {
        Self(vec![field.to_owned()])
    }
}

impl Joined {
    /// The joined text.
    pub(crate) fn text(&self, record: &Value) -> Result<String, String> {
        let mut parts = Vec::new();
        for field in &self.0 {
            parts.push(text_in(record, field)?.trim().to_owned());
        }
        parts.retain(|part| !part.is_empty());
        Ok(parts.join(" "))
    }
}

impl Serialize for Joined {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(to),
            several => several.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Joined {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OneOrSeveral;
        impl<'de> Visitor<'de> for OneOrSeveral {
            type Value = Joined;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field, or a list of fields")
            }

            fn visit_str<E: serde::de::Error>(self, field: &str) -> Result<Joined, E> {
                Ok(field.into())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Joined, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = list.next_element()? {
                    fields.push(field);
                }
                Ok(Joined(fields))
            }
        }
        from.deserialize_any(OneOrSeveral)
    }
}

/// What stands at a field: a column name, a JSON pointer, or nothing for the record itself.
pub(crate) fn at<'a>(record: &'a Value, field: &str) -> Option<&'a Value> {
    if field.is_empty() || field.starts_with('/') {
        record.pointer(field)
    } else {
        record.get(field)
    }
}

/// The text at a column or JSON pointer, numbers as they are written; else what was found there.
pub fn text_at(record: &Value, field: &str) -> Result<String, String> {
    match at(record, field) {
        None => Err(format!("`{field}` is missing")),
        Some(_) => text_in(record, field),
    }
}

/// The same; what is missing is named with what is there instead.
pub(crate) fn text_in(record: &Value, field: &str) -> Result<String, String> {
    match at(record, field) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(other) => Err(format!("`{field}` is {}, expected a text", kind(other))),
        None => Err(missing(record, field)),
    }
}

/// The same, where true and false are texts too: labels are often so.
pub(crate) fn name_at(record: &Value, field: &str) -> Result<String, String> {
    match at(record, field) {
        Some(Value::Bool(truth)) => Ok(truth.to_string()),
        _ => text_in(record, field),
    }
}

/// The texts at a field: of a text, a list of texts, or every element that `*` stands for.
pub(crate) fn texts_at(record: &Value, field: &str) -> Result<Vec<String>, String> {
    let found = all_at(record, field)?;
    let mut texts = Vec::with_capacity(found.len());
    for (place, value) in found {
        match value {
            Value::String(text) => texts.push(text.clone()),
            Value::Number(number) => texts.push(number.to_string()),
            other => return Err(format!("`{place}` is {}, expected a text", kind(other))),
        }
    }
    Ok(texts)
}

/// The values at a field, each with its place: of a value, of a list, or of every element that
/// `*` stands for.
pub(crate) fn all_at<'a>(
    record: &'a Value,
    field: &str,
) -> Result<Vec<(String, &'a Value)>, String> {
    if let Some((list, rest)) = field.split_once("/*") {
        let mut all = Vec::new();
        for (index, element) in list_at(record, list)?.iter().enumerate() {
            let value = at(element, rest)
                .ok_or_else(|| format!("`{list}/{index}`: {}", missing(element, rest)))?;
            all.push((format!("{list}/{index}{rest}"), value));
        }
        return Ok(all);
    }
    match at(record, field) {
        Some(Value::Array(list)) => {
            let place = |(index, value)| (format!("{field}/{index}"), value);
            Ok(list.iter().enumerate().map(place).collect())
        }
        Some(value) => Ok(vec![(field.to_owned(), value)]),
        None => Err(missing(record, field)),
    }
}

/// The list at a field.
pub(crate) fn list_at<'a>(record: &'a Value, field: &str) -> Result<&'a [Value], String> {
    match at(record, field) {
        Some(Value::Array(list)) => Ok(list),
        Some(other) => Err(format!("`{field}` is {}, expected a list", kind(other))),
        None => Err(missing(record, field)),
    }
}

/// Says what is there instead.
fn missing(record: &Value, field: &str) -> String {
    let parent = match field.rsplit_once('/') {
        Some((parent, _)) => record.pointer(parent),
        None => Some(record),
    };
    match parent {
        Some(Value::Object(object)) => {
            let there = names(object.keys().take(20));
            format!("`{field}` is missing; the fields there: {there}")
        }
        _ => format!("`{field}` is missing"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_reaches_texts_lists_and_every_element() {
        let record = json!({"a": "x", "b": ["y", "z"], "c": [{"t": "u"}, {"t": 7}], "d": {"e": null}, "f/g": "w"});
        let check = |field: &str, expected: &str| {
            let got = texts_at(&record, field).map_or_else(|e| e, |texts| texts.join("|"));
            assert_eq!(got, expected);
        };
        check("/a", "x");
        check("a", "x");
        check("f/g", "w");
        check("/b", "y|z");
        check("b", "y|z");
        check("/c/*/t", "u|7");
        check("/c/*/v", "`/c/0`: `/v` is missing; the fields there: `t`");
        check("/d/e", "`/d/e` is null, expected a text");
        check("/a/*/t", "`/a` is a text, expected a list");
        check("/x/y", "`/x/y` is missing");
        check(
            "nowhere",
            "`nowhere` is missing; the fields there: `a`, `b`, `c`, `d`, `f/g`",
        );
    }

    #[test]
    fn several_fields_are_joined_by_a_space() {
        let record = json!({"Body": " Ice is cold. ", "Question": "Why?", "Empty": ""});
        let fields: Joined = serde_json::from_value(json!(["Body", "Empty", "Question"])).unwrap();
        assert_eq!(fields.text(&record).unwrap(), "Ice is cold. Why?");
    }
}

//! A list of JSON objects, at the top of a file or under a pointer, one element at a time.

use std::cell::RefCell;
use std::fmt;
use std::path::Path;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::bytes::{Gauge, Meter, open, skip_mark, too_long};
use super::{Each, Place, kind, lines, names};
use crate::error::{Error, Result};

/// Reads the list at `pointer`, or at the top; a file that holds one object a line is read so,
/// whatever its name.
pub(super) fn read(path: &Path, pointer: Option<&str>, each: &mut Each<'_>) -> Result<()> {
    let mut bytes = open(path)?;
    skip_mark(path, &mut *bytes)?;
    let head = bytes.fill_buf().map_err(|e| Error::io(path, e))?;
    if pointer.is_none() && looks_like_lines(head) {
        return lines::read_jsonl(path, each);
    }
    let keys = match pointer {
        None | Some("") => vec![],
        Some(pointer) => keys_of(path, pointer)?,
    };
    let (meter, gauge) = Meter::new(bytes);
    let mut json = serde_json::Deserializer::from_reader(meter);
    let failed = RefCell::new(None);
    let walk = Walk {
        path,
        keys: &keys,
        depth: 0,
        gauge: &gauge,
        each,
        failed: &failed,
    };
    let done = walk.deserialize(&mut json).and_then(|()| json.end());
    match (failed.into_inner(), done) {
        (Some(error), _) => Err(error),
        (None, Ok(())) => Ok(()),
        (None, Err(_)) if gauge.is_over() => Err(Error::record(path, gauge.line(), too_long())),
        (None, Err(e)) if e.is_io() => Err(Error::io(path, e.into())),
        (None, Err(e)) => Err(Error::record(path, e.line().max(1), e.to_string())),
    }
}

/// Whether the file begins with a whole object on one line and more follows.
fn looks_like_lines(head: &[u8]) -> bool {
    let Some(end) = head.iter().position(|b| *b == b'\n') else {
        return false;
    };
    let rest = head[end..].trim_ascii_start();
    rest.starts_with(b"{") && matches!(serde_json::from_slice(&head[..end]), Ok(Value::Object(_)))
}

fn keys_of(path: &Path, pointer: &str) -> Result<Vec<String>> {
    let Some(rest) = pointer.strip_prefix('/') else {
        let what = format!("`at = \"{pointer}\"` is no JSON pointer; did you mean `/{pointer}`?");
        return Err(Error::file(path, what));
    };
    let unescaped = |key: &str| key.replace("~1", "/").replace("~0", "~");
    Ok(rest.split('/').map(unescaped).collect())
}

/// Walks down to the list, and through it.
struct Walk<'a, 'e> {
    path: &'a Path,
    keys: &'a [String],
    depth: usize,
    gauge: &'a Gauge,
    each: &'a mut Each<'e>,
    failed: &'a RefCell<Option<Error>>,
}

impl Walk<'_, '_> {
    /// Keeps our own error, and gives serde one to stop by.
    fn stop<E: serde::de::Error>(&self, error: Error) -> E {
        *self.failed.borrow_mut() = Some(error);
        E::custom("stopped")
    }

    fn wrong<E: serde::de::Error>(&self, what: &str) -> E {
        self.stop(Error::record(self.path, self.gauge.line(), what))
    }

    fn here(&self) -> String {
        if self.depth == 0 {
            "the file".into()
        } else {
            format!("`/{}`", self.keys[..self.depth].join("/"))
        }
    }

    /// What stands where a list or an object should.
    fn found<E: serde::de::Error>(&self, what: &str) -> E {
        let expected = if self.depth == self.keys.len() {
            "a list of records"
        } else {
            "an object"
        };
        self.wrong(&format!("{} is {what}, expected {expected}", self.here()))
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of records")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut found, mut seen) = (false, vec![]);
        let wanted = self.keys.get(self.depth);
        while let Some(key) = map.next_key::<String>()? {
            if Some(&key) == wanted {
                found = true;
                map.next_value_seed(Walk {
                    depth: self.depth + 1,
                    each: &mut *self.each,
                    ..self
                })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            if seen.len() < 20 {
                seen.push(key);
            }
        }
        let (here, names) = (self.here(), names(&seen));
        match wanted {
            Some(_) if found => Ok(()),
            Some(wanted) => {
                Err(self.wrong(&format!("{here} has no `{wanted}`; its keys: {names}")))
            }
            None => {
                let first = seen.first().map_or("examples", String::as_str);
                Err(self.wrong(&format!(
                    "{here} is an object with the keys {names}; say where the list of records \
                     stands, such as at = \"/{first}\""
                )))
            }
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if self.depth < self.keys.len() {
            return Err(self.found("a list"));
        }
        let mut row = 0;
        loop {
            self.gauge.begin_record();
            let element = Element(self.gauge);
            let Some((line, value)) = list.next_element_seed(element)? else {
                self.gauge.end_records();
                return Ok(());
            };
            row += 1;
            let place = Place {
                path: self.path,
                row,
                line: Some(line),
                line_says_it: false,
            };
            let done = match value {
                Value::Object(record) => (self.each)(&place, record),
                other => Err(place.error(format!("is {}, expected an object", kind(&other)))),
            };
            done.map_err(|e| self.stop::<A::Error>(e))?;
        }
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        Err(self.found("a text"))
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        Err(self.found("true or false"))
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        Err(self.found("a number"))
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        Err(self.found("a number"))
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        Err(self.found("a number"))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Err(self.found("null"))
    }
}

/// One element, with the line on which it begins.
struct Element<'a>(&'a Gauge);

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = (usize, Value);

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        // The parser has looked at the element's first byte already.
        let line = self.0.line();
        Ok((line, serde::Deserialize::deserialize(from)?))
    }
}

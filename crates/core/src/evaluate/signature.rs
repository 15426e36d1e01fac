//! What a number means, in one line, in sacrebleu's manner.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A metric's name and ordered key:value pairs: `rouge1|split:test|n:40|stem:no|stillhouse:0.1.0`.
///
/// The last pair names this tool and its version; no other tool's version is ever claimed
/// (`like:` says whose rules are followed).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    name: String,
    pairs: Vec<(String, String)>,
    version: String,
}

impl Signature {
    /// A signature without pairs.
    pub fn new(name: impl Into<String>) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self {
            name: name.into(),
            pairs: Vec::new(),
            version,
        }
    }

    /// Adds a pair at the end; the separators `|` and `:` and white space in it become `_`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.pairs.push((clean(key), clean(&value.to_string())));
        self
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, value)| value.as_str())
    }

    /// Puts pairs before those that are there.
    #[must_use]
    pub(super) fn after(mut self, first: &[(&str, String)]) -> Self {
        let first = first.iter().map(|(key, value)| (clean(key), clean(value)));
        self.pairs.splice(0..0, first);
        self
    }
}

fn clean(text: &str) -> String {
    text.replace(|c: char| matches!(c, '|' | ':') || c.is_whitespace(), "_")
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for (key, value) in &self.pairs {
            write!(f, "|{key}:{value}")?;
        }
        write!(f, "|stillhouse:{}", self.version)
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reading keeps the version that was written.
impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut parts = text.split('|');
        let name = parts.next().unwrap_or_default().to_owned();
        let mut pairs: Vec<(String, String)> = parts
            .filter_map(|part| part.split_once(':'))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let version = pairs
            .pop_if(|(key, _)| key == "stillhouse")
            .map(|(_, version)| version);
        Ok(Self {
            name,
            pairs,
            version: version.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_prints_as_one_line_and_reads_back() {
        let signature = Signature::new("cec")
            .with("n", 40)
            .with("encoder", "a b|c:d");
        let text = signature.to_string();
        assert_eq!(
            text,
            format!(
                "cec|n:40|encoder:a_b_c_d|stillhouse:{}",
                env!("CARGO_PKG_VERSION")
            )
        );
        let json = serde_json::to_string(&signature).unwrap();
        let read: Signature = serde_json::from_str(&json).unwrap();
        assert_eq!(read, signature);
        assert_eq!(read.get("n"), Some("40"));
        let old: Signature = serde_json::from_str("\"cec|n:3|stillhouse:0.0.9\"").unwrap();
        assert_eq!(old.to_string(), "cec|n:3|stillhouse:0.0.9");
    }
}

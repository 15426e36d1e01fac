//! Which projections an adapter stands beside, in PEFT's words.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Unexpected, Visitor};
use serde::{Serialize, Serializer};

/// The projections that are adapted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Targets {
    /// All projections of all layers, but not the output head.
    #[default]
    AllLinear,
    /// Those whose path ends in one of these names, in every layer: "`q_proj`", or more of the path.
    Names(Vec<String>),
    /// A regular expression of an adapter that PEFT made; which projections it means is seen from
    /// the adapter's tensors.
    Pattern(String),
}

/// PEFT's word for all projections.
const ALL_LINEAR: &str = "all-linear";

impl Targets {
    /// These names, in this order.
    pub fn names<const N: usize>(names: [&str; N]) -> Self {
        Self::Names(names.map(str::to_owned).to_vec())
    }

    /// Whether the projection with this path is meant.
    pub(crate) fn include(&self, path: &str) -> bool {
        match self {
            Self::AllLinear | Self::Pattern(_) => true,
            Self::Names(names) => names.iter().any(|name| is_end(path, name)),
        }
    }

    /// The names that mean none of the projections with these paths.
    pub(super) fn unknown<'a>(&'a self, paths: &[String]) -> Vec<&'a str> {
        let Self::Names(names) = self else {
            return Vec::new();
        };
        let unknown = |name: &&String| !paths.iter().any(|path| is_end(path, name));
        names.iter().filter(unknown).map(String::as_str).collect()
    }
}

/// Whether a path is this name or ends in it, from a dot on.
fn is_end(path: &str, name: &str) -> bool {
    path.strip_suffix(name)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The last parts of these paths, each once, in their order.
pub(super) fn last_parts(paths: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for path in paths {
        let name = path.rsplit('.').next().unwrap_or(path);
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

impl Serialize for Targets {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::AllLinear => to.serialize_str(ALL_LINEAR),
            Self::Names(names) => names.serialize(to),
            Self::Pattern(pattern) => to.serialize_str(pattern),
        }
    }
}

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(NamesOrAll)
    }
}

struct NamesOrAll;

impl<'de> Visitor<'de> for NamesOrAll {
    type Value = Targets;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of names, or \"{ALL_LINEAR}\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Targets, E> {
        if text == ALL_LINEAR {
            Ok(Targets::AllLinear)
        } else {
            Err(E::invalid_value(Unexpected::Str(text), &self))
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Targets, A::Error> {
        let mut names = Vec::new();
        while let Some(name) = list.next_element()? {
            names.push(name);
        }
        Ok(Targets::Names(names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_names_or_one_word() {
        let check = |json: &str, expected: Targets| {
            let targets: Targets = serde_json::from_str(json).unwrap();
            assert_eq!(targets, expected);
            assert_eq!(serde_json::to_string(&targets).unwrap(), json);
        };
        check("\"all-linear\"", Targets::AllLinear);
        check("[\"q_proj\",\"fc1\"]", Targets::names(["q_proj", "fc1"]));
        let error = serde_json::from_str::<Targets>("\"q_proj\"").unwrap_err();
        assert!(
            error.to_string().starts_with(
                "invalid value: string \"q_proj\", expected a list of names, or \"all-linear\""
            ),
            "{error}"
        );
    }

    #[test]
    fn a_name_is_the_end_of_a_path_from_a_dot_on() {
        let check = |name: &str, path: &str, expected: bool| {
            assert_eq!(
                Targets::names([name]).include(path),
                expected,
                "{name} {path}"
            );
        };
        check("q_proj", "model.layers.0.self_attn.q_proj", true);
        check("self_attn.q_proj", "model.layers.0.self_attn.q_proj", true);
        check("q", "model.layers.0.self_attn.q_proj", false);
        check("proj", "model.layers.0.self_attn.q_proj", false);
        check("o", "encoder.block.0.layer.0.SelfAttention.o", true);
        check("o", "encoder.block.0.layer.1.DenseReluDense.wo", false);
        check("model.layers.0.mlp.fc1", "model.layers.0.mlp.fc1", true);
    }
}

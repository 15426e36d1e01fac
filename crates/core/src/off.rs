//! Options that are on by default and can be turned off: a number, or `false`.
//!
//! For serde's `with` on an `Option` of a number: TOML has no null, and a key that is left out
//! means the default, so off needs a word of its own.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IntoDeserializer, Visitor};
use serde::{Serialize, Serializer};

/// Writes `None` as `false`.
pub fn serialize<T: Serialize, S: Serializer>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => value.serialize(to),
        None => to.serialize_bool(false),
    }
}

/// Reads `false` as `None`.
pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    from.deserialize_any(NumberOrOff(PhantomData))
}

struct NumberOrOff<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for NumberOrOff<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or false to turn it off")
    }

    fn visit_bool<E: Error>(self, is_on: bool) -> Result<Self::Value, E> {
        if is_on {
            Err(E::invalid_value(serde::de::Unexpected::Bool(true), &self))
        } else {
            Ok(None)
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        T::deserialize(number.into_deserializer()).map(Some)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        T::deserialize(number.into_deserializer()).map(Some)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        T::deserialize(number.into_deserializer()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Options {
        #[serde(with = "super")]
        clip: Option<f64>,
        #[serde(with = "super")]
        gram: Option<usize>,
    }

    #[test]
    fn a_number_is_on_and_false_is_off() {
        let check = |json: &str, clip, gram| {
            let options: Options = serde_json::from_str(json).unwrap();
            assert_eq!(options, Options { clip, gram });
            assert_eq!(
                serde_json::from_str::<Options>(&serde_json::to_string(&options).unwrap()).unwrap(),
                options
            );
        };
        check(r#"{"clip": 1, "gram": 3}"#, Some(1.0), Some(3));
        check(r#"{"clip": 0.5, "gram": false}"#, Some(0.5), None);
        let error = serde_json::from_str::<Options>(r#"{"clip": true, "gram": 3}"#)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("expected a number, or false to turn it off"),
            "{error}"
        );
    }
}

//! One TOML file is one run: the stages' own option structs, composed.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stillhouse_core::data::DataOptions;
use stillhouse_core::evaluate::EvaluateOptions;
use stillhouse_core::fs;
use stillhouse_core::select::SelectOptions;
use stillhouse_student::StudentOptions;
use stillhouse_teacher::TeacherOptions;

use crate::error::{Error, Result};

/// Everything that a run can be told; the tables are the stages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// The run directory.
    pub out: PathBuf,
    /// The seed of everything random: split, order of candidates, training, bootstrap.
    pub seed: u64,
    /// The examples.
    pub data: DataOptions,
    /// The rationales.
    pub teacher: TeacherOptions,
    /// Which rationales train the student.
    pub select: SelectOptions,
    /// The model and its training.
    pub student: StudentOptions,
    /// The metrics.
    pub evaluate: EvaluateOptions,
}

/// The commented default config, which `stillhouse config` prints.
pub const DEFAULT: &str = include_str!("default.toml");

/// A config and the folder from which its paths are looked up.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The resolved config.
    pub run: RunConfig,
    folder: PathBuf,
}

impl Config {
    /// Reads a config file, with `sets` ("student.train.epochs=2") put over it.
    pub fn load(path: &Path, sets: &[String]) -> Result<Self> {
        let text = fs::read_text(path)?;
        let place = |e: toml::de::Error| Error::Config {
            path: path.to_owned(),
            what: e.to_string().trim_end().to_owned(),
        };
        // The file by itself first: its complaints carry line and column.
        let mut run: RunConfig = toml::from_str(&text).map_err(place)?;
        if !sets.is_empty() {
            let mut table: toml::Table = text.parse().map_err(place)?;
            for set in sets {
                put(&mut table, set)?;
            }
            let wrong = |e: toml::de::Error| Error::Set {
                set: sets.join(" --set "),
                what: e.message().to_owned(),
            };
            run = table.try_into().map_err(wrong)?;
        }
        for (key, value) in [
            ("out", &run.out),
            ("data.dataset", &run.data.dataset),
            ("data.path", &run.data.path),
        ] {
            if value.as_os_str().is_empty() {
                return Err(Error::Config {
                    path: path.to_owned(),
                    what: format!("`{key}` is missing; `stillhouse config` prints every key"),
                });
            }
        }
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Self { run, folder })
    }

    /// Where a path of the config leads: from the working directory, else from beside the config.
    pub fn locate(&self, path: &Path) -> PathBuf {
        let beside = self.folder.join(path);
        if !path.exists() && beside.exists() {
            beside
        } else {
            path.to_owned()
        }
    }

    /// The resolved config as TOML.
    ///
    /// # Panics
    ///
    /// Never: a config of plain values can be written.
    pub fn to_toml(&self) -> String {
        toml::to_string(&self.run).expect("a config of plain values can be written")
    }
}

/// The options of `[evaluate]` with `sets` ("resamples=500") put over the defaults.
pub fn evaluate_options(sets: &[String]) -> Result<EvaluateOptions> {
    let mut table = toml::Table::new();
    for set in sets {
        put(&mut table, set)?;
    }
    table.try_into().map_err(|e: toml::de::Error| Error::Set {
        set: sets.join(" --set "),
        what: e.message().to_owned(),
    })
}

/// Puts "a.b=value" into a table; the value is TOML, and a bare word is a text.
fn put(table: &mut toml::Table, set: &str) -> Result<()> {
    let wrong = |what: &str| Error::Set {
        set: set.to_owned(),
        what: what.to_owned(),
    };
    let (key, text) = set
        .split_once('=')
        .ok_or_else(|| wrong("expected KEY=VALUE, such as student.train.epochs=2"))?;
    let parsed = format!("value = {text}").parse::<toml::Table>();
    let value = parsed
        .ok()
        .and_then(|mut t| t.remove("value"))
        .unwrap_or_else(|| text.into());
    let mut keys: Vec<&str> = key.trim().split('.').collect();
    let last = keys.pop().expect("split gives at least one part");
    let mut inner = table;
    for key in keys {
        let entry = inner
            .entry(key)
            .or_insert_with(|| toml::Table::new().into());
        inner = entry
            .as_table_mut()
            .ok_or_else(|| wrong(&format!("`{key}` is a value, not a table")))?;
    }
    inner.insert(last.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, sets: &[&str]) -> Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        fs::write(&path, text).unwrap();
        let sets: Vec<String> = sets.iter().map(|s| (*s).to_owned()).collect();
        Config::load(&path, &sets)
    }

    const SMALL: &str = "out = \"o\"\nseed = 7\n[data]\ndataset = \"d.toml\"\npath = \"p.jsonl\"\n";

    #[test]
    fn the_printed_defaults_are_the_structs_defaults_and_every_key_has_a_comment() {
        let printed: toml::Table = DEFAULT.parse().unwrap();
        let structs = toml::Table::try_from(RunConfig::default()).unwrap();
        assert_eq!(
            toml::to_string(&printed).unwrap(),
            toml::to_string(&structs).unwrap()
        );
        let mut commented = false;
        for line in DEFAULT.lines() {
            let is_key = line
                .split_once('=')
                .is_some_and(|(key, _)| !key.starts_with('#'));
            assert!(
                !is_key || commented || line.contains(" # "),
                "no comment above: {line}"
            );
            commented = line.starts_with('#') && line.len() > 2;
        }
        // Keys that are off by default stand in comments, so that none stays unknown.
        for key in [
            "path",
            "samples",
            "patience",
            "adapter",
            "context_tokens",
            "base_url",
            "model",
            "api_key_var",
            "system",
            "shots",
            "max_cost",
            "max_requests",
            "ledger",
            "tokenizer",
            "price",
            "judge",
            "top_p",
            "seed",
            "top_logprobs",
            "validate_every",
            "general_text",
            "two_prompts",
            "counterfactual",
            "teacher",
            "top_k",
            "consistency",
            "contrast",
            "semantic",
            "requests_per_minute",
            "tokens_per_minute",
            "budget",
            "scorer",
            "scores",
        ] {
            assert!(
                DEFAULT.contains(&format!("\n# {key} = ")),
                "`{key}` is not shown"
            );
        }
    }

    #[test]
    fn a_set_reaches_any_field_and_is_typed_by_the_struct() {
        let config = load(
            SMALL,
            &[
                "student.train.epochs=2",
                "out=elsewhere/x",
                "select.method={kind=\"random\",keep=2}",
            ],
        )
        .unwrap();
        assert_eq!(config.run.out, Path::new("elsewhere/x"));
        assert_eq!(config.run.seed, 7);
        assert!(format!("{:?}", config.run.select).contains("Random { keep: 2 }"));
        let check = |set: &str, expected: &str| {
            let error = load(SMALL, &[set]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("student.train.epohs=2", "unknown field `epohs`");
        check("student.train.epochs=many", "invalid type");
        check("student.train.epochs", "expected KEY=VALUE");
        check("seed.x=1", "`seed` is a value, not a table");
    }

    #[test]
    fn a_wrong_file_is_placed_by_line_and_column() {
        let check = |text: &str, expected: &str| {
            let error = load(text, &[]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("out = 3", "line 1, column 7");
        check(
            &format!("{SMALL}[student]\nmodle = \"x\"\n"),
            "line 7, column 1",
        );
        check(
            &format!("{SMALL}[teacher]\nkind = \"oracle\"\n"),
            "unknown variant `oracle`, expected one of `recorded`, `http`, `batch`",
        );
        check("seed = 1", "`out` is missing");
    }
}

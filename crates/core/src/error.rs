//! The one error type of core: every variant holds the place where it happened.

use std::path::PathBuf;

/// What went wrong in core, and where.
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
    /// A line or a field of a record file is not what it should be.
    #[error("{path}:{line}: {what}", path = path.display())]
    Record {
        /// The record file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What was found and what was expected.
        what: String,
    },
    /// A whole file is not what it should be.
    #[error("{path}: {what}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        what: String,
    },
    /// An option has a value that cannot work; `key` is its dotted name in the config.
    #[error("{key}: {what}")]
    Option {
        /// The dotted key, such as `select.method.keep`.
        key: String,
        /// What was found and what was expected.
        what: String,
    },
    /// One example or rationale cannot be used, and the stage cannot go on without it.
    #[error("example `{id}`: {what}")]
    Example {
        /// The example's id.
        id: String,
        /// Why.
        what: String,
    },
    /// The observer asked to stop; what was finished is saved.
    #[error("stopped; the same command goes on from here")]
    Stopped,
}

/// Core's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Wraps what the file system said about `path`.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io {
            path: path.into(),
            source,
        }
    }

    /// A file-wide complaint.
    pub fn file(path: impl Into<PathBuf>, what: impl Into<String>) -> Self {
        Self::File {
            path: path.into(),
            what: what.into(),
        }
    }

    /// A complaint about one line, counted from 1.
    pub fn record(path: impl Into<PathBuf>, line: usize, what: impl Into<String>) -> Self {
        Self::Record {
            path: path.into(),
            line,
            what: what.into(),
        }
    }

    /// A complaint about one option.
    pub fn option(key: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Option {
            key: key.into(),
            what: what.into(),
        }
    }
}

//! The one error type of this crate: every variant holds the place where it happened.

use std::path::PathBuf;

/// What went wrong with a student, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Core refused: a file, a record, an option, or the observer's wish to stop.
    #[error(transparent)]
    Core(#[from] stillhouse_core::Error),
    /// A model or adapter folder cannot be used.
    #[error("{path}: {what}", path = path.display())]
    Folder {
        /// The folder, or the file in it.
        path: PathBuf,
        /// What was found and what was expected; tensors with their names and shapes.
        what: String,
    },
    /// An item to learn from, or to continue, cannot be used.
    #[error("item `{id}`: {what}")]
    Item {
        /// The item's id.
        id: String,
        /// Why, and how many there are.
        what: String,
    },
    /// The loss or a gradient is not a finite number.
    #[error("step {step}: {what} is not finite")]
    NotFinite {
        /// The step, counted from 1; 0 before training.
        step: usize,
        /// "the loss" or "the gradient of TENSOR".
        what: String,
    },
    /// A tensor that should learn receives no gradient.
    #[error("step {step}: no gradient reaches {}", tensors.join(", "))]
    NoGradient {
        /// The step, counted from 1.
        step: usize,
        /// The tensors' names.
        tensors: Vec<String>,
    },
}

/// This crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A complaint about a folder or a file in it.
    pub fn folder(path: impl Into<PathBuf>, what: impl Into<String>) -> Self {
        Self::Folder {
            path: path.into(),
            what: what.into(),
        }
    }

    /// A complaint about an option, by its dotted key in the config.
    pub fn option(key: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Core(stillhouse_core::Error::option(key, what))
    }
}

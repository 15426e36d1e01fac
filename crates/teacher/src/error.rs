//! The one error type of the teacher: each variant says where it happened.

use std::path::PathBuf;

/// Why the teacher could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Files, records, options, a wish to stop.
    #[error(transparent)]
    Core(#[from] stillhouse_core::Error),
    /// The ledger cannot be read or written.
    #[error("ledger {path}: {what}", path = path.display())]
    Ledger {
        /// The database file.
        path: PathBuf,
        /// What was found, or what the database said.
        what: String,
    },
    /// An end point does not do what it is asked.
    #[error("{url}: {what}")]
    EndPoint {
        /// Its base URL.
        url: String,
        /// What it said, and what to do.
        what: String,
    },
    /// The next request would go over a cap of the config; every answer so far is in the ledger.
    #[error(
        "{key} is reached: {what}; the answers so far are in the ledger, and the same command with a higher cap goes on from them"
    )]
    Cap {
        /// The cap's dotted key.
        key: &'static str,
        /// What was spent.
        what: String,
    },
    /// More requests stayed without an answer than the config allows.
    #[error(
        "{n} of {total} answers did not come (teacher.retry.max_failed allows {allowed}); the first is of `{first}`: {what}; the same command asks for them again"
    )]
    Unanswered {
        /// How many.
        n: usize,
        /// Of how many.
        total: usize,
        /// How many would be allowed.
        allowed: usize,
        /// The first example without its answer.
        first: String,
        /// Why.
        what: String,
    },
}

/// The teacher's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn end_point(url: impl Into<String>, what: impl Into<String>) -> Self {
        Self::EndPoint {
            url: url.into(),
            what: what.into(),
        }
    }

    pub(crate) fn option(key: &str, what: impl Into<String>) -> Self {
        stillhouse_core::Error::option(key, what).into()
    }
}

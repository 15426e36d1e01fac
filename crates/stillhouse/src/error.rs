//! What can go wrong in a run, and whose fault it is.

use std::io::ErrorKind;
use std::path::PathBuf;

use stillhouse_core::run::Stage;

/// What went wrong in a run, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The config file is wrong.
    #[error("{path}: {what}", path = path.display())]
    Config {
        /// The config file.
        path: PathBuf,
        /// Line, column and what was expected.
        what: String,
    },
    /// A `--set` is wrong.
    #[error("--set {set}: {what}")]
    Set {
        /// As it was given.
        set: String,
        /// What was expected.
        what: String,
    },
    /// A stage failed.
    #[error("{stage}: {source}")]
    Stage {
        /// Which stage.
        stage: Stage,
        /// Its own error.
        source: Box<Error>,
    },
    /// Files, records, options, the run directory.
    #[error(transparent)]
    Core(#[from] stillhouse_core::Error),
    /// The student.
    #[error(transparent)]
    Student(#[from] stillhouse_student::Error),
    /// The teacher.
    #[error(transparent)]
    Teacher(#[from] stillhouse_teacher::Error),
    /// A model could not be found or fetched.
    #[error(transparent)]
    Hub(#[from] stillhouse_hub::Error),
}

/// The result of a run.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whose fault it is: the exit codes of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The run failed.
    Run,
    /// The config or the arguments are wrong.
    Config,
    /// The outside world failed: network, disk, permissions.
    World,
    /// Someone asked to stop.
    Stopped,
}

impl Error {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Config { .. } | Self::Set { .. } => Fault::Config,
            Self::Stage { source, .. } => source.fault(),
            Self::Core(error)
            | Self::Student(stillhouse_student::Error::Core(error))
            | Self::Teacher(stillhouse_teacher::Error::Core(error)) => of_core(error),
            // A cap that is reached is a run that did not come to its end.
            Self::Teacher(stillhouse_teacher::Error::Cap { .. }) | Self::Student(_) => Fault::Run,
            Self::Teacher(_) | Self::Hub(_) => Fault::World,
        }
    }
}

fn of_core(error: &stillhouse_core::Error) -> Fault {
    use stillhouse_core::Error as Core;
    match error {
        Core::Option { .. } => Fault::Config,
        // A file that the config names and that is not there: the config is wrong.
        Core::Io { source, .. } if source.kind() == ErrorKind::NotFound => Fault::Config,
        Core::Io { .. } => Fault::World,
        Core::Stopped => Fault::Stopped,
        _ => Fault::Run,
    }
}

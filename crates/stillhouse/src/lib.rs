//! One config file, one run: from claims to a student and a report.
//!
//! [`run`] carries a [`config::Config`] out; [`plan`] says what it would do. Only
//! [`pipeline`](self) knows the order of the stages.

pub mod ablate;
pub mod config;
mod doctor;
mod error;
pub mod evaluate;
mod fingerprint;
mod job;
mod known;
mod likelihood;
mod look;
mod memory;
mod models;
mod pipeline;
pub mod score;
mod stage;

pub use doctor::doctor;
pub use error::{Error, Fault, Result};
pub use look::{Lengths, Look, Shown, look};
pub use pipeline::{Planned, Request, Summary, World, plan, run};
pub use stillhouse_core::event::{Event, Observer};
pub use stillhouse_core::run::Stage;
pub use stillhouse_hub::HubOptions;
pub use stillhouse_student::Blocks;

/// Finds a model or a data set by name, fetching and verifying it where it is not on this machine
/// yet, and returns its folder, or the file that a data set is; `note` hears what is being fetched.
///
/// A data set is the name of one that comes with the program, or a dataset file.
pub fn pull(
    name: &str,
    hub: &HubOptions,
    note: &mut dyn FnMut(&str),
) -> Result<std::path::PathBuf> {
    if let Some(dataset) = job::dataset_named(std::path::Path::new(name))? {
        return job::fetch(&dataset, hub, note);
    }
    Ok(stillhouse_hub::find(name, hub, note)?.folder)
}

/// Holds the kernels to `name` ("avx512", "avx2" or "plain"), or to less where the processor has
/// less; to be called before anything else.
pub fn limit_processor(name: &str) -> Result<()> {
    use stillhouse_student::cpu::{Level, limit};

    let level = Level::named(name).ok_or_else(|| {
        let what = format!("`{name}`; expected avx512, avx2 or plain");
        stillhouse_core::Error::option("STILLHOUSE_CPU", what)
    })?;
    limit(level);
    Ok(())
}

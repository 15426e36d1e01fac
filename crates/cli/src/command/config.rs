//! `stillhouse config [RUN.toml]`.

use stillhouse::config::{Config, DEFAULT};

use crate::args::ConfigArgs;
use crate::progress::print;

/// Prints the commented defaults, or a file resolved.
pub(crate) fn run(args: &ConfigArgs) -> anyhow::Result<()> {
    match &args.config {
        None => print(DEFAULT),
        Some(path) => print(&Config::load(path, &args.set)?.to_toml()),
    }
}

//! `stillhouse completions SHELL`.

use clap::CommandFactory;

/// Prints the script for `shell`.
pub(crate) fn run(shell: clap_complete::Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(
        shell,
        &mut crate::args::Args::command(),
        "stillhouse",
        &mut script,
    );
    crate::progress::print(&String::from_utf8_lossy(&script))
}

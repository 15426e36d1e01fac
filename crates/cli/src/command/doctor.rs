//! `stillhouse doctor`.

use std::fmt::Write as _;

use crate::progress::print;

/// Prints what this machine has for a run.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut page = String::new();
    for (name, found) in stillhouse::doctor(&super::run::hub_options()) {
        writeln!(page, "{name:<12} {found}")?;
    }
    print(&page)
}

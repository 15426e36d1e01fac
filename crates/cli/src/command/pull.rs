//! `stillhouse pull NAME`.

use crate::args::Pull;
use crate::progress::{print, say};

/// Fetches a model and prints the folder in which it stands.
pub(crate) fn run(args: &Pull) -> anyhow::Result<()> {
    let mut note = |text: &str| say(format_args!("{text}"));
    let folder = stillhouse::pull(&args.name, &super::run::hub_options(), &mut note)?;
    print(&format!("{}\n", folder.display()))
}

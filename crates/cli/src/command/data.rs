//! `stillhouse data RUN.toml`, or the name of a data set.

use std::ops::ControlFlow;
use std::time::Instant;

use stillhouse::config::Config;
use stillhouse::{Event, World};

use crate::args::DataArgs;
use crate::progress::{print, say};

/// Prints what the data of a run look like.
pub(crate) fn run(args: &DataArgs) -> anyhow::Result<()> {
    let config = Config::for_data(&args.config, &args.set)?;
    let hub = super::run::hub_options();
    let begun = Instant::now();
    let clock = || begun.elapsed().as_secs_f64();
    let world = World {
        clock: &clock,
        hub: &hub,
        vars: &|name| std::env::var(name).ok(),
        available_memory: super::run::available_memory(),
    };
    let mut observe = |event: Event| {
        if let Event::Note { text } | Event::Warning { text } = event {
            say(format_args!("{text}"));
        }
        ControlFlow::Continue(())
    };
    let look = stillhouse::look(&config, &world, &mut observe)?;
    if args.json {
        return print(&format!("{}\n", serde_json::to_string_pretty(&look)?));
    }
    print(&look.to_string())
}

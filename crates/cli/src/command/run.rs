//! `stillhouse run RUN.toml`.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use stillhouse::config::Config;
use stillhouse::{Event, HubOptions, Request, World};

use crate::args::RunArgs;
use crate::progress::{Progress, print, say};

/// Set by Ctrl-C; a second one ends the process at once.
static STOP: AtomicBool = AtomicBool::new(false);

/// Carries a config file out.
pub(crate) fn run(args: &RunArgs) -> anyhow::Result<()> {
    let device = args
        .device
        .iter()
        .map(|d| format!("student.device=\"{d}\""));
    let sets: Vec<String> = args.set.iter().cloned().chain(device).collect();
    let mut config = Config::load(&args.config, &sets)?;
    if let Some(out) = &args.out {
        config.run.out.clone_from(out);
    }
    let request = Request {
        from: args.from.map(|s| s.0),
        to: args.to.map(|s| s.0),
        redo: args.redo,
    };
    let hub = hub_options();
    let begun = Instant::now();
    let clock = || begun.elapsed().as_secs_f64();
    let world = World {
        clock: &clock,
        hub: &hub,
        vars: &|name| std::env::var(name).ok(),
        available_memory: available_memory(),
    };

    if args.dry_run {
        return print(&stillhouse::plan(&config, request, &world)?.to_string());
    }
    let is_asked_to_stop = stop_on_interrupt()?;
    let mut progress = Progress::new(args.quiet, args.json);
    let mut observe = |event: Event| {
        progress.show(&event, clock());
        if is_asked_to_stop() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let summary = stillhouse::run(&config, request, &world, &mut observe)?;
    if !args.quiet && !args.json {
        print(&summary.to_string())?;
    }
    Ok(())
}

/// Listens for Ctrl-C, and says whether it was pressed.
pub(crate) fn stop_on_interrupt() -> anyhow::Result<impl Fn() -> bool> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::SeqCst) {
            #[expect(clippy::exit, reason = "asked for twice")]
            std::process::exit(130);
        }
        say(format_args!(
            "stopping after the step in flight; press Ctrl-C again to stop at once"
        ));
    })?;
    Ok(|| STOP.load(Ordering::SeqCst))
}

/// Where models are looked up, as the environment says.
pub(crate) fn hub_options() -> HubOptions {
    HubOptions::from_vars(|name| std::env::var(name).ok())
}

/// The memory that this machine can still give, where it says so.
#[expect(
    clippy::disallowed_methods,
    reason = "the system's own account, no file of a run"
)]
pub(crate) fn available_memory() -> Option<u64> {
    let account = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = account.lines().find(|l| l.starts_with("MemAvailable:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    // A container may be given less than the machine has.
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let limit = limit.and_then(|text| text.trim().parse().ok());
    Some((kilobytes * 1024).min(limit.unwrap_or(u64::MAX)))
}

//! The `stillhouse` command: arguments in, library call, result out.

mod args;
mod command;
mod progress;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command};

/// Training asks for the same large blocks again and again.
#[global_allocator]
static BLOCKS: stillhouse::Blocks = stillhouse::Blocks::new();

fn main() -> ExitCode {
    let args = Args::parse();
    let done = limit_processor().and_then(|()| run(&args.command));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Each error says the whole story, its cause included.
            progress::say(format_args!("error: {error}"));
            ExitCode::from(exit_code(&error))
        }
    }
}

/// `STILLHOUSE_CPU` holds the kernels to fewer instructions than the processor has.
fn limit_processor() -> anyhow::Result<()> {
    if let Ok(name) = std::env::var("STILLHOUSE_CPU") {
        stillhouse::limit_processor(&name)?;
    }
    Ok(())
}

fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Run(run) => command::run::run(run),
        Command::Evaluate(evaluate) => command::evaluate::run(evaluate),
        Command::Score(score) => command::score::run(score),
        Command::Ablate(ablate) => command::ablate::run(ablate),
        Command::Data(data) => command::data::run(data),
        Command::Pull(pull) => command::pull::run(pull),
        Command::Config(config) => command::config::run(config),
        Command::Doctor => command::doctor::run(),
        Command::Completions { shell } => command::completions::run(*shell),
    }
}

/// 1 the run failed, 2 arguments or config are wrong, 3 the outside world (network, disk),
/// 130 interrupted.
fn exit_code(error: &anyhow::Error) -> u8 {
    match error
        .downcast_ref::<stillhouse::Error>()
        .map(stillhouse::Error::fault)
    {
        Some(stillhouse::Fault::Config) => 2,
        Some(stillhouse::Fault::World) => 3,
        Some(stillhouse::Fault::Stopped) => 130,
        Some(stillhouse::Fault::Run) | None => 1,
    }
}

//! The only file that prints: results on standard output, everything else on standard error.
#![expect(clippy::print_stderr, reason = "this is where the command speaks")]

use std::fmt::Arguments;
use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use stillhouse::{Event, Stage};

/// Says one line on standard error.
pub(crate) fn say(line: Arguments<'_>) {
    eprintln!("{line}");
}

/// Prints a result on standard output; a closed pipe is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
}

/// Shows the events of a command without stages: a bar where standard error is a terminal, and
/// warnings anywhere.
pub(crate) fn watch() -> impl FnMut(Event) -> ControlFlow<()> {
    let bar = if std::io::stderr().is_terminal() {
        let style = ProgressStyle::with_template("{msg:<12} {bar:30} {pos}/{len} {eta}");
        ProgressBar::new(0).with_style(style.expect("the template is well formed"))
    } else {
        ProgressBar::hidden()
    };
    move |event| {
        match event {
            Event::Warning { text } => bar.suspend(|| say(format_args!("warning: {text}"))),
            Event::Progress { unit, done, total } => {
                if bar.is_finished() {
                    bar.reset();
                }
                bar.set_length(total as u64);
                bar.set_message(unit);
                bar.set_position(done as u64);
                if done >= total {
                    bar.finish_and_clear();
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Shows a run's events: one line a stage on a terminal, JSON lines, or only what was finished.
pub(crate) struct Progress {
    look: Look,
    stage: &'static str,
    bar: ProgressBar,
    begun: Begun,
}

enum Look {
    Quiet,
    Json,
    /// Standard error is no terminal: a line when a stage ends.
    Lines,
    Terminal,
}

/// Where the measuring of a rate began: seconds, things done and tokens read by then.
#[derive(Default)]
struct Begun {
    seconds: f64,
    done: Option<usize>,
    tokens: usize,
}

impl Progress {
    pub(crate) fn new(quiet: bool, json: bool) -> Self {
        let look = match (quiet, json) {
            (true, _) => Look::Quiet,
            (_, true) => Look::Json,
            _ if std::io::stderr().is_terminal() => Look::Terminal,
            _ => Look::Lines,
        };
        Self {
            look,
            stage: "",
            bar: ProgressBar::hidden(),
            begun: Begun::default(),
        }
    }

    /// Shows one event; `now` is in seconds.
    pub(crate) fn show(&mut self, event: &Event, now: f64) {
        match self.look {
            Look::Quiet => {}
            Look::Json => {
                let line = serde_json::to_string(event).expect("an event of plain values is JSON");
                // A reader that has gone away must not stop the run.
                let _ = print(&format!("{line}\n"));
            }
            Look::Lines => {
                if let Some(line) = self.line(event) {
                    say(format_args!("{line}"));
                }
            }
            Look::Terminal => self.draw(event, now),
        }
    }

    /// The line that stays when something is over.
    fn line(&mut self, event: &Event) -> Option<String> {
        match event {
            Event::StageStarted { stage } => {
                self.stage = stage.name();
                None
            }
            Event::StageSkipped { stage } => Some(format!("{stage:<9} unchanged, skipped")),
            Event::StageFinished { stage, seconds } => {
                Some(format!("{stage:<9} done in {}", span(*seconds)))
            }
            Event::Resumed { what } => Some(format!("{:<9} goes on: {what}", self.stage)),
            Event::Warning { text } => Some(format!("{:<9} warning: {text}", self.stage)),
            Event::Note { text } => Some(format!(
                "{:<9} {}",
                self.stage,
                text.replace('\n', "\n          ")
            )),
            _ => None,
        }
    }

    fn draw(&mut self, event: &Event, now: f64) {
        if let Some(line) = self.line(event) {
            self.bar.suspend(|| say(format_args!("{line}")));
        }
        match event {
            Event::StageStarted { stage } => self.begin(*stage, now),
            Event::StageFinished { .. } | Event::StageSkipped { .. } => self.bar.finish_and_clear(),
            Event::Progress { unit, done, total } => {
                self.advance(*done, *total, now, unit, "");
            }
            Event::Step {
                step,
                total,
                loss,
                tokens,
                memory,
                ..
            } => {
                self.begun.tokens += tokens;
                let rate = self.begun.tokens as f64 / (now - self.begun.seconds).max(1e-3);
                let memory = memory.map_or_else(String::new, |bytes| {
                    format!("{:.1} GB, ", bytes as f64 / 1e9)
                });
                let extra = format!("loss {loss:.3}, {rate:.0} tokens/s, {memory}");
                self.advance(*step, *total, now, "steps", &extra);
            }
            _ => {}
        }
    }

    fn begin(&mut self, stage: Stage, now: f64) {
        let style =
            ProgressStyle::with_template("{prefix:<9} {bar:24} {msg}").expect("a template of ours");
        self.bar = ProgressBar::new(1)
            .with_style(style)
            .with_prefix(stage.name());
        self.bar.enable_steady_tick(Duration::from_millis(200));
        self.begun = Begun {
            seconds: now,
            ..Begun::default()
        };
    }

    fn advance(&mut self, done: usize, total: usize, now: f64, unit: &str, extra: &str) {
        // What an earlier sitting did does not count into the rate.
        let first = *self.begun.done.get_or_insert(done.saturating_sub(1));
        let rate = done.saturating_sub(first) as f64 / (now - self.begun.seconds).max(1e-3);
        let left = total.saturating_sub(done) as f64 / rate.max(1e-9);
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
        let left = if rate > 0.0 {
            format!(", {} left", span(left))
        } else {
            String::new()
        };
        self.bar
            .set_message(format!("{done}/{total} {unit}, {extra}{rate:.1}/s{left}"));
    }
}

fn span(seconds: f64) -> String {
    #[expect(clippy::cast_sign_loss, reason = "no stage takes less than no time")]
    let whole = seconds.round() as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..120 => format!("{whole} s"),
        120..7200 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        let check = |seconds, expected: &str| assert_eq!(span(seconds), expected);
        check(0.04, "0.0 s");
        check(61.4, "61 s");
        check(150.0, "2 min 30 s");
        check(9000.0, "2 h 30 min");
    }
}

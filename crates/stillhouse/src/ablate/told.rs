//! What is told of many trainings that are all alike: everything of the first, one line of each.

use std::collections::HashSet;
use std::fmt;
use std::ops::ControlFlow;

use stillhouse_core::event::{Event, Observer, tell};
use stillhouse_core::run::Stage;

use super::options::Wanted;
use crate::error::Result;

/// How a cell came to its measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It was done before.
    Before,
    /// Another cell of this sitting keeps the same rationales with the same seed.
    Equal,
    /// By training.
    Trained,
}

/// What has been told of the cells of one RUN so far.
#[derive(Debug, Default)]
pub(super) struct Told {
    warnings: HashSet<String>,
    /// The first training has told all.
    is_introduced: bool,
    stage: Option<Stage>,
    n_trained: usize,
    seconds: f64,
}

impl Told {
    /// Whether an event is news: every step, a warning once, and of the rest what the first training
    /// says.
    fn is_news(&mut self, event: &Event) -> bool {
        match event {
            Event::StageStarted { stage } => {
                self.stage = Some(*stage);
                *stage == Stage::Train
            }
            Event::StageFinished { stage, .. } | Event::StageSkipped { stage } => {
                self.stage = None;
                let is_first = *stage == Stage::Train && !self.is_introduced;
                self.is_introduced |= *stage == Stage::Train;
                is_first
            }
            Event::Note { .. } => !self.is_introduced && self.stage != Some(Stage::Select),
            Event::Warning { text } => self.warnings.insert(text.clone()),
            _ => true,
        }
    }

    /// Hears for `observe`, and passes on what is news.
    pub(super) fn only_news<'a>(
        &'a mut self,
        observe: &'a mut Observer<'_>,
    ) -> impl FnMut(Event) -> ControlFlow<()> + 'a {
        // An observer can stop the work at any event, so that a silent one is asked at the next.
        move |event| {
            if self.is_news(&event) {
                observe(event)
            } else {
                ControlFlow::Continue(())
            }
        }
    }

    /// The line of a cell that is done, the `place`-th of `n`, after `seconds`.
    pub(super) fn cell(
        &mut self,
        (place, n): (usize, usize),
        wanted: &Wanted,
        origin: Origin,
        seconds: f64,
        observe: &mut Observer<'_>,
    ) -> Result<()> {
        if origin == Origin::Trained {
            self.n_trained += 1;
            self.seconds += seconds;
        }
        let how = match origin {
            Origin::Before => "was done before".to_owned(),
            Origin::Equal => "the same student as an earlier cell's".to_owned(),
            Origin::Trained => format!("trained and measured in {}", Span(seconds)),
        };
        let left = (n - place) as f64 * self.seconds / self.n_trained.max(1) as f64;
        let left = if left > 0.0 {
            format!("; at most about {} left", Span(left))
        } else {
            String::new()
        };
        let text = format!("cell {place} of {n}: {wanted}: {how}{left}");
        Ok(tell(observe, Event::Note { text })?)
    }
}

/// Seconds in the units that people read.
struct Span(f64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            seconds if seconds < 120.0 => write!(f, "{seconds:.0} s"),
            seconds if seconds < 7200.0 => write!(f, "{:.0} min", seconds / 60.0),
            seconds => write!(f, "{:.1} h", seconds / 3600.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stillhouse_core::select::Method;

    #[test]
    fn the_first_training_tells_all_and_the_others_their_steps_alone() {
        let mut told = Told::default();
        let note = |text: &str| Event::Note { text: text.into() };
        let step = || Event::Progress {
            unit: "steps".into(),
            done: 1,
            total: 2,
        };
        let warning = || Event::Warning {
            text: "beware".into(),
        };
        let started = |stage| Event::StageStarted { stage };
        let finished = |stage| Event::StageFinished {
            stage,
            seconds: 1.0,
        };
        let mut heard = |events: Vec<Event>| -> Vec<bool> {
            events.iter().map(|event| told.is_news(event)).collect()
        };
        let mut training = || {
            heard(vec![
                started(Stage::Select),
                note("kept 9"),
                finished(Stage::Select),
                note("takes 1 GB"),
                started(Stage::Train),
                warning(),
                note("one item"),
                step(),
                finished(Stage::Train),
            ])
        };
        let (yes, no) = (true, false);
        assert_eq!(training(), [no, no, no, yes, yes, yes, yes, yes, yes]);
        assert_eq!(training(), [no, no, no, no, yes, no, no, yes, no]);
    }

    #[test]
    fn a_cell_is_one_line_with_the_time_that_the_rest_may_take() {
        let mut told = Told::default();
        let wanted = Wanted {
            select: "random".into(),
            method: Method::All,
            keep: Some(2),
            seed: 0,
        };
        let mut line = |place, origin, seconds| {
            let mut said = String::new();
            let mut hear = |event| {
                if let Event::Note { text } = event {
                    said = text;
                }
                ControlFlow::Continue(())
            };
            told.cell((place, 4), &wanted, origin, seconds, &mut hear)
                .unwrap();
            said
        };
        assert_eq!(
            line(1, Origin::Before, 0.1),
            "cell 1 of 4: random, keep 2, seed 0: was done before"
        );
        assert_eq!(
            line(2, Origin::Trained, 90.0),
            "cell 2 of 4: random, keep 2, seed 0: trained and measured in 90 s; at most about 3 min left"
        );
        assert_eq!(
            line(4, Origin::Equal, 0.1),
            "cell 4 of 4: random, keep 2, seed 0: the same student as an earlier cell's"
        );
    }
}

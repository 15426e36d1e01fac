//! What a stage tells while it works: one enum, one function.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::run::Stage;

/// Something that happened in a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A stage begins its work.
    StageStarted {
        /// Which stage.
        stage: Stage,
    },
    /// A stage is skipped: its inputs have not changed since it finished.
    StageSkipped {
        /// Which stage.
        stage: Stage,
    },
    /// Work goes on from where an earlier run was stopped.
    Resumed {
        /// What was found done: "step 120 of 300".
        what: String,
    },
    /// Countable work inside a stage.
    Progress {
        /// What is counted: "examples", "sentences".
        unit: String,
        /// How many are done.
        done: usize,
        /// How many there are.
        total: usize,
    },
    /// The teacher answered, and the answer is in the ledger.
    Answered {
        /// The example's id, or the rationale's that was judged.
        id: String,
        /// Which of its samples, counted from 0.
        sample: usize,
        /// Tokens of the prompt.
        prompt_tokens: u64,
        /// Tokens of the answer.
        completion_tokens: u64,
        /// In the price table's currency, where the price is known.
        cost: Option<f64>,
    },
    /// One optimizer update.
    Step {
        /// Counted from 1.
        step: usize,
        /// How many there will be.
        total: usize,
        /// Mean loss over the supervised tokens, in nats.
        loss: f64,
        /// The learning rate of this update.
        learning_rate: f64,
        /// Norm of the gradient before clipping.
        gradient_norm: f64,
        /// Tokens read in this step.
        tokens: usize,
        /// Tokens read a second, in this sitting.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tokens_per_second: Option<f64>,
        /// Seconds until the last step, as this sitting goes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds_left: Option<f64>,
        /// Bytes of memory that the process holds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        memory: Option<u64>,
    },
    /// The validation split was measured.
    Validated {
        /// After this many steps.
        step: usize,
        /// Mean loss over the supervised tokens, in nats.
        loss: f64,
        /// Mean CEC of generated explanations, where the student is chosen by it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cec: Option<f64>,
        /// Whether it is the best so far.
        is_best: bool,
    },
    /// A checkpoint was saved; a kill loses nothing before it.
    Saved {
        /// After this many steps.
        step: usize,
    },
    /// Something that the user should know, and that does not stop the run.
    Warning {
        /// The sentence to show.
        text: String,
    },
    /// A fact that belongs in the log: "training on 412 rationales".
    Note {
        /// The sentence to show.
        text: String,
    },
    /// A stage is done.
    StageFinished {
        /// Which stage.
        stage: Stage,
        /// Wall-clock seconds, over all of its sittings.
        seconds: f64,
    },
}

/// Who listens; the return value is the only way to stop a stage.
pub type Observer<'a> = dyn FnMut(Event) -> ControlFlow<()> + 'a;

/// Tells an event, and turns a wish to stop into [`Error::Stopped`].
pub fn tell(observe: &mut Observer<'_>, event: Event) -> Result<()> {
    if observe(event).is_break() {
        Err(Error::Stopped)
    } else {
        Ok(())
    }
}

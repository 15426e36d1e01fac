//! What a training says before its first step, and the log of its steps.

use std::path::Path;

use serde_json::Value;
use stillhouse_core::event::{Event, Observer, tell};
use stillhouse_core::fs;
use stillhouse_core::jsonl::Log;
use stillhouse_core::record::Step;

use super::{Training, resting};
use crate::batch::Sequence;
use crate::device::is_host;
use crate::error::{Error, Result};
use crate::ops::Precision;
use crate::optimizer::trained;
use crate::options::Base;

impl Training<'_> {
    /// In what products with weights are taken.
    pub(super) fn precision_name(&self) -> &'static str {
        match self.precision {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        }
    }

    /// Says what will be trained on, with one example whose trained tokens are marked.
    pub(super) fn introduce(&self, observe: &mut Observer<'_>) -> Result<()> {
        let parameters = self.model.network.parameters();
        let n_trained: usize = trained(parameters)
            .map(|p| p.value.shape().iter().product::<usize>())
            .sum();
        let lessons = || self.data.lessons().map(|lesson| &lesson.sequence);
        let supervised: usize = lessons().map(Sequence::n_supervised).sum();
        let read: usize = lessons().map(Sequence::n_tokens).sum();
        let text = format!(
            "training {n_trained} of {} parameters in {} steps on {} items: {read} tokens, of which {supervised} carry loss; products in {}",
            self.model.n_parameters(),
            self.total,
            lessons().count(),
            self.precision_name(),
        );
        tell(observe, Event::Note { text })?;
        if let Some(text) = own_dropout(&self.model.network.to_json()) {
            tell(observe, Event::Warning { text })?;
        }
        if let Some(text) = resting::note(&self.model) {
            tell(observe, Event::Note { text })?;
        }
        let is_on_gpu = !is_host(&self.model.network.device());
        if is_on_gpu && self.options.base != Base::F32 {
            let text = "student.train.base saves nothing on a GPU: the weights have the values of their few bytes, and rest in f32";
            tell(
                observe,
                Event::Warning {
                    text: text.to_owned(),
                },
            )?;
        }
        let text = format!(
            "one item, its trained tokens between « and »: {}",
            self.marked(&self.data.train[0][0].sequence)
        );
        Ok(tell(observe, Event::Note { text })?)
    }

    fn marked(&self, sequence: &Sequence) -> String {
        let tokenizer = self.model.tokenizer();
        let last = sequence.targets.last().copied().flatten();
        let tokens: Vec<u32> = sequence.tokens.iter().copied().chain(last).collect();
        let is_trained = |at: usize| at > 0 && sequence.targets[at - 1].is_some();
        let mut text = tokenizer.decode_all(&sequence.source);
        let mut from = 0;
        while from < tokens.len() {
            let to = (from + 1..tokens.len())
                .find(|at| is_trained(*at) != is_trained(from))
                .unwrap_or(tokens.len());
            let span = tokenizer.decode_all(&tokens[from..to]);
            let marks = if is_trained(from) {
                ["«", "»"]
            } else {
                ["", ""]
            };
            text.extend([marks[0], &span, marks[1]]);
            from = to;
        }
        text
    }
}

/// The keys by which families name the dropout that they were trained with.
const DROPOUTS: [&str; 4] = [
    "resid_pdrop",
    "embd_pdrop",
    "attention_dropout",
    "dropout_rate",
];

/// What to know where a `config.json` asks for dropout, which transformers applies while it trains.
fn own_dropout(config: &Value) -> Option<String> {
    let asked = DROPOUTS.into_iter().filter_map(|key| {
        let rate = config[key].as_f64().filter(|rate| *rate > 0.0)?;
        Some(format!("{key} = {rate}"))
    });
    let asked: Vec<String> = asked.collect();
    (!asked.is_empty()).then(|| {
        format!(
            "the model's own dropout is not applied, while transformers would ({} in config.json); student.train.lora.dropout is the only one here",
            asked.join(", ")
        )
    })
}

/// Opens the step log and takes off what was written after the checkpoint; lines stay as they are,
/// to the last digit.
pub(super) fn open_log(path: &Path, done: usize) -> Result<Log> {
    if path.is_file() {
        let text = fs::read_text(path)?;
        let kept: String = text.split_inclusive('\n').take(done).collect();
        if kept.len() < text.len() {
            fs::write(path, kept)?;
        }
    }
    let (log, steps) = Log::open::<Step>(path)?;
    if steps.len() < done {
        let what = format!(
            "holds {} steps, the checkpoint stands after {done}; remove the checkpoint folder to start over",
            steps.len()
        );
        return Err(Error::folder(path, what));
    }
    Ok(log)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn dropout_that_the_folder_asks_for_is_named() {
        let phi = json!({"resid_pdrop": 0.1, "embd_pdrop": 0.0, "attention_dropout": 0.0});
        let text = own_dropout(&phi).unwrap();
        assert!(
            text.contains("(resid_pdrop = 0.1 in config.json)"),
            "{text}"
        );
        let t5 = json!({"dropout_rate": 0.1});
        assert!(own_dropout(&t5).is_some());
        assert_eq!(own_dropout(&json!({"attention_dropout": 0.0})), None);
    }
}

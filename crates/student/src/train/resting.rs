//! A base model that rests in few bytes: what is told of it, and what merging onto it changes.

use stillhouse_core::event::{Event, Observer, tell};
use stillhouse_core::fs;

use super::Training;
use crate::error::Result;
use crate::loss::mean_loss;
use crate::model::Model;
use crate::parameter::{Parameter, Value};

/// The weights that rest in few bytes.
pub(super) fn weights(model: &Model) -> impl Iterator<Item = &Parameter> {
    let parameters = model.network.parameters().iter();
    parameters.filter(|p| matches!(p.value, Value::Frozen(_)))
}

/// How many there are and what they take.
pub(super) fn note(model: &Model) -> Option<String> {
    let n: usize = weights(model)
        .map(|p| p.value.shape().iter().product::<usize>())
        .sum();
    let bytes: usize = weights(model).map(|p| p.value.bytes()).sum();
    (n > 0).then(|| {
        format!(
            "{n} weights rest in {:.1} MB, {:.3} bytes each",
            bytes as f64 / 1e6,
            bytes as f64 / n as f64
        )
    })
}

impl Training<'_> {
    /// Saves the model with its adapter folded in, and tells what that changes.
    pub(super) fn save_merged(&self, name: &str, observe: &mut Observer<'_>) -> Result<()> {
        let part = self.folder.join(format!("{name}.part"));
        fs::remove(&part)?;
        self.model.save(&part)?;
        fs::rename(&part, &self.folder.join(name))?;
        let loss = |model: &Model| {
            let tokens = self.options.micro_batch_tokens;
            mean_loss(&model.network, &self.data.validation, tokens)
        };
        let text = match (loss(&self.model), loss(&self.model.merged())) {
            (Some(before), Some(after)) => format!(
                "the merged model is saved in {name}/: validation loss {before:.4} before merging, {after:.4} after"
            ),
            _ => format!("the merged model is saved in {name}/"),
        };
        Ok(tell(observe, Event::Note { text })?)
    }
}

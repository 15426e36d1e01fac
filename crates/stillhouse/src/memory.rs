//! Whether a training fits into the memory that is free, said before it begins.

use std::path::Path;

use stillhouse_core::Error as CoreError;
use stillhouse_core::event::{Event, Observer, tell};
use stillhouse_hub::HubOptions;
use stillhouse_student::Init;
use stillhouse_student::memory::{Memory, Size};

use crate::error::Result;
use crate::job::Job;

/// What the training will take; a student that starts from nothing is too small to ask, and what a
/// GPU's memory holds is not known.
pub(crate) fn estimate(job: &Job<'_>, observe: &mut Observer<'_>) -> Result<Option<Memory>> {
    let student = &job.config.student;
    match student.init {
        _ if !student.place()?.is_cpu() => Ok(None),
        Init::Random => Ok(None),
        Init::Pretrained => {
            let folder = &job.base(observe)?.folder;
            let memory = Memory::estimate(folder, &student.train, student.context_tokens)?;
            Ok(Some(memory))
        }
    }
}

/// The same without fetching anything: `None` where the model is not on this machine.
pub(crate) fn estimate_at_hand(job: &Job<'_>) -> Result<Option<Memory>> {
    let student = &job.config.student;
    if student.init == Init::Random || !student.place()?.is_cpu() {
        return Ok(None);
    }
    let mut folder = job.given.locate(Path::new(&student.model));
    if !folder.is_dir() {
        let offline = HubOptions {
            offline: true,
            ..job.world.hub.clone()
        };
        match stillhouse_hub::find(&student.model, &offline, &mut |_: &str| {}) {
            Ok(found) => folder = found.folder,
            Err(_) => return Ok(None),
        }
    }
    let memory = Memory::estimate(&folder, &student.train, student.context_tokens)?;
    Ok(Some(memory))
}

/// Tells the estimate, and refuses what cannot fit.
pub(crate) fn check(job: &Job<'_>, observe: &mut Observer<'_>) -> Result<()> {
    let Some(memory) = estimate(job, observe)? else {
        return Ok(());
    };
    let available = job.world.available_memory;
    let free = available.map_or(String::new(), |free| format!("; {} are free", Size(free)));
    let text = format!("training takes {memory}{free}");
    if available.is_none_or(|free| memory.total() <= free) {
        return Ok(tell(observe, Event::Note { text })?);
    }
    let student = &job.config.student;
    let folder = &job.base(observe)?.folder;
    let advice = Memory::advice(folder, &student.train, student.context_tokens)?;
    Err(CoreError::option("student.train", format!("{text}; {}", advice.join("; "))).into())
}

//! Whether a training fits into the memory that is free, said before it begins.

use std::path::{Path, PathBuf};

use stillhouse_core::Error as CoreError;
use stillhouse_core::event::{Event, Observer, tell};
use stillhouse_hub::HubOptions;
use stillhouse_student::memory::{Memory, Setting, Size};
use stillhouse_student::train::Criterion;
use stillhouse_student::{Init, StudentOptions};

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
            let teacher = teacher(job, observe)?;
            let folder = &job.base(observe)?.folder;
            let setting = setting(student, folder, teacher.as_deref());
            Ok(Some(Memory::estimate(&setting)?))
        }
    }
}

/// The folder of the model whose distribution is learnt, where that is an objective.
fn teacher(job: &Job<'_>, observe: &mut Observer<'_>) -> Result<Option<PathBuf>> {
    let objectives = &job.config.student.train.objectives;
    match objectives.teacher {
        Some(_) => Ok(Some(job.local_teacher(observe)?.folder.clone())),
        None => Ok(None),
    }
}

fn setting<'a>(
    student: &'a StudentOptions,
    folder: &'a Path,
    teacher: Option<&'a Path>,
) -> Setting<'a> {
    let is_judged = student.train.choose_by == Criterion::Cec;
    Setting {
        folder,
        options: &student.train,
        context_tokens: student.context_tokens,
        teacher,
        judged_at_once: is_judged.then_some(student.generate.batch_size),
    }
}

/// The same without fetching anything: `None` where the model is not on this machine.
pub(crate) fn estimate_at_hand(job: &Job<'_>) -> Result<Option<Memory>> {
    let student = &job.config.student;
    if student.init == Init::Random || !student.place()?.is_cpu() {
        return Ok(None);
    }
    let Some(folder) = at_hand(job, &student.model) else {
        return Ok(None);
    };
    let teacher = student.train.objectives.teacher.as_ref();
    // One that would be fetched first is not known yet.
    let teacher = teacher.and_then(|teacher| at_hand(job, &teacher.model));
    let setting = setting(student, &folder, teacher.as_deref());
    Ok(Some(Memory::estimate(&setting)?))
}

/// A model's folder, if it is on this machine.
fn at_hand(job: &Job<'_>, model: &str) -> Option<PathBuf> {
    let folder = job.given.locate(Path::new(model));
    if folder.is_dir() {
        return Some(folder);
    }
    let offline = HubOptions {
        offline: true,
        ..job.world.hub.clone()
    };
    let found = stillhouse_hub::find(model, &offline, &mut |_: &str| {});
    found.ok().map(|found| found.folder)
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
    let teacher = teacher(job, observe)?;
    let folder = &job.base(observe)?.folder;
    let advice = Memory::advice(&setting(student, folder, teacher.as_deref()))?;
    Err(CoreError::option("student.train", format!("{text}; {}", advice.join("; "))).into())
}

//! How metrics react to changed texts: `stillhouse evaluate --stress`.

use std::path::{Path, PathBuf};

use serde_json::Value;
use stillhouse_core::evaluate::EvaluateOptions;
use stillhouse_core::evaluate::stress::{self, GIVEN, Item, Stress};
use stillhouse_core::event::Observer;
use stillhouse_core::table::{self, TableOptions};

use crate::HubOptions;
use crate::error::Result;
use crate::models::{Loaded, vectors_folder};

/// The files of references, and how to measure.
#[derive(Clone, Debug)]
pub struct StressFiles {
    /// Rows of `id`, `reference`, and versions of the reference under the names of
    /// [`GIVEN`]; without a version but a paraphrase they are made.
    pub paths: Vec<PathBuf>,
    /// The metrics.
    pub options: EvaluateOptions,
    /// The seed of what is made.
    pub seed: u64,
    /// Whether vectors of sentences are kept on disk, for the next time.
    pub cache: bool,
}

/// Measures changed versions of every reference.
pub fn stress(files: &StressFiles, hub: &HubOptions, observe: &mut Observer<'_>) -> Result<Stress> {
    let mut items = Vec::new();
    for path in &files.paths {
        read(path, &mut items)?;
    }
    let cache = files.cache.then(|| vectors_folder(hub));
    let mut loaded = Loaded::new(&files.options, cache.as_deref(), |name| {
        crate::pull(name, hub, &mut |_| {})
    })?;
    let (options, models) = (&files.options, loaded.models());
    Ok(stress::stress(
        &items, options, files.seed, models, observe,
    )?)
}

fn read(path: &Path, items: &mut Vec<Item>) -> Result<()> {
    let group = path.file_stem().unwrap_or_default();
    let group = group.to_string_lossy().into_owned();
    table::read_each(path, &TableOptions::default(), |place, row| {
        let text = |key: &str| row.get(key).and_then(Value::as_str);
        let reference = text("reference").ok_or_else(|| {
            let what =
                "`reference` is missing; each row is a reference, with versions of it or without";
            place.error(what)
        })?;
        let id = match row.get("id") {
            Some(Value::String(id)) => id.clone(),
            _ => place.row.to_string(),
        };
        let given = GIVEN.iter().filter_map(|kind| Some((*kind, text(kind)?)));
        items.push(Item {
            id: format!("{group}/{id}"),
            group: group.clone(),
            reference: reference.to_owned(),
            versions: given
                .map(|(kind, text)| (kind.to_owned(), text.to_owned()))
                .collect(),
        });
        Ok(())
    })?;
    Ok(())
}

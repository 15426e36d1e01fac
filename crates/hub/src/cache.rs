//! The two caches: our own folder a model, and the layout that Hugging Face tools share.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result, Tried};
use crate::known::Known;
use crate::options::HubOptions;
use crate::{Found, Id, Source, files, fs};

/// Holds the revision of a model in our cache.
const REVISION: &str = "REVISION";

/// Where our cache keeps the model.
pub(crate) fn folder_of(cache: &Path, id: &Id<'_>) -> PathBuf {
    let mut name = id.name.replace('/', "--");
    if id.revision != "main" {
        name.push('@');
        name.push_str(id.revision);
    }
    cache.join("models").join(name)
}

/// The model in our own cache.
pub(crate) fn own(id: &Id<'_>, options: &HubOptions) -> Result<Found, Tried> {
    let folder = folder_of(&options.cache_folder, id);
    let place = format!("cache {}", folder.display());
    if !folder.is_dir() {
        return Err(Tried::new(place, "not there"));
    }
    verify(&folder, id.known).map_err(|e| Tried::new(place, e.to_string()))?;
    let revision = fs::read_text(&folder.join(REVISION))
        .ok()
        .map(|text| text.trim().to_owned());
    Ok(Found {
        folder,
        source: Source::Cache,
        revision,
    })
}

/// The model in the cache that Hugging Face tools share:
/// `models--org--name/snapshots/COMMIT`, where `refs/main` holds the commit.
pub(crate) fn hugging_face(id: &Id<'_>, options: &HubOptions) -> Result<Found, Tried> {
    let Some(cache) = &options.hugging_face_cache else {
        return Err(Tried::new(
            "the Hugging Face cache",
            "no home folder is known",
        ));
    };
    let model = cache.join(format!("models--{}", id.name.replace('/', "--")));
    let place = format!("Hugging Face cache {}", model.display());
    if !model.is_dir() {
        return Err(Tried::new(place, "not there"));
    }
    let reference = model.join("refs").join(id.revision);
    let commit = match fs::read_text(&reference) {
        Ok(text) => text.trim().to_owned(),
        // A commit names its snapshot itself.
        Err(_) => id.revision.to_owned(),
    };
    let folder = model.join("snapshots").join(&commit);
    if !folder.is_dir() {
        return Err(Tried::new(
            place,
            format!("no snapshot of revision `{}`", id.revision),
        ));
    }
    // Another tool may have fetched only the files that it needed itself.
    let has_any = |names: &[&str]| names.iter().any(|name| folder.join(name).exists());
    let tokenizers = ["tokenizer.json", "tokenizer.model", "spiece.model"];
    if !has_any(&tokenizers) && !has_any(&["adapter_config.json"]) {
        return Err(Tried::new(place, "the snapshot has no tokenizer.json"));
    }
    verify(&folder, id.known).map_err(|e| Tried::new(place, e.to_string()))?;
    Ok(Found {
        folder,
        source: Source::HuggingFaceCache,
        revision: Some(commit),
    })
}

/// Checks that the folder holds a whole model, and for a model of the table the right one.
pub(crate) fn verify(folder: &Path, known: Option<&Known>) -> Result<()> {
    let names = fs::list(folder)?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if let Some(what) = files::missing(&names) {
        return Err(Error::file(folder, format!("it has no {what}")));
    }
    let Some(Known {
        weights: (name, expected),
        ..
    }) = known
    else {
        return Ok(());
    };
    let path = folder.join(name);
    let found = fs::sha256(&path)?;
    if found == *expected {
        Ok(())
    } else {
        Err(Error::file(
            path,
            format!("its SHA-256 is {found}, expected {expected}"),
        ))
    }
}

/// Moves a verified model to its place in our cache.
pub(crate) fn keep(part: &Path, place: &Path, revision: &str) -> Result<()> {
    fs::write(
        &part.join(REVISION),
        &mut format!("{revision}\n").as_bytes(),
    )?
    .map_err(|e| Error::io(part, e))?;
    fs::replace(part, place)
}

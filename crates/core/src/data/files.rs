//! Which files hold the records, and what they hash to.

use std::path::PathBuf;

use super::{DataOptions, Dataset, name_of};
use crate::error::{Error, Result};
use crate::fs;
use crate::record::Split;
use crate::table::TableOptions;

/// One table of records.
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) table: TableOptions,
    /// The official split that it is.
    pub(super) split: Option<Split>,
}

impl Source {
    fn files(&self) -> Vec<PathBuf> {
        if self.table.lines.is_empty() {
            vec![self.path.clone()]
        } else {
            let files = self.table.lines.values();
            files.map(|file| self.path.join(file)).collect()
        }
    }
}

/// The tables at `options.path`: one file, or those of the folder that the dataset file names.
/// Official files that are not there are left out.
pub(super) fn sources(dataset: &Dataset, options: &DataOptions) -> Result<Vec<Source>> {
    let path = &options.path;
    let one = |split, path: PathBuf, table: TableOptions| Source { path, table, split };
    if !path.is_dir() {
        return Ok(vec![one(None, path.clone(), dataset.table.clone())]);
    }
    if dataset.files.is_empty() {
        if dataset.table.lines.is_empty() {
            let what = "is a folder, expected a file: the dataset file names no [files]";
            return Err(Error::file(path, what));
        }
        return Ok(vec![one(None, path.clone(), dataset.table.clone())]);
    }
    let mut sources = Vec::new();
    for (split, file) in &dataset.files {
        let mut table = dataset.table.clone();
        let source = if table.lines.is_empty() {
            one(Some(*split), path.join(file), table)
        } else {
            // In the names of parallel files the split is a word of its own.
            let word = file.to_string_lossy();
            for name in table.lines.values_mut() {
                *name = PathBuf::from(name.to_string_lossy().replace("{split}", &word));
            }
            one(Some(*split), path.clone(), table)
        };
        if source.files().iter().any(|file| file.exists()) {
            sources.push(source);
        }
    }
    if sources.is_empty() {
        let names = dataset.files.iter().map(|(split, file)| {
            let file = file.display();
            format!("{file} ({})", name_of(*split))
        });
        let names: Vec<String> = names.collect();
        let what = format!(
            "is a folder without the files of this data set: {}",
            names.join(", ")
        );
        return Err(Error::file(path, what));
    }
    Ok(sources)
}

/// The SHA-256 of the records: of the file, or of the names and hashes of several.
pub fn sha256(dataset: &Dataset, options: &DataOptions) -> Result<String> {
    let sources = sources(dataset, options)?;
    let files: Vec<PathBuf> = sources.iter().flat_map(Source::files).collect();
    if let [one] = files.as_slice() {
        return fs::sha256(one);
    }
    let line = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Ok(format!("{} {name}\n", fs::sha256(file)?))
    };
    let lines = files.iter().map(line).collect::<Result<String>>()?;
    Ok(fs::sha256_of(lines.as_bytes()))
}

/// A warning where the file is another than the dataset file means.
pub(super) fn other_than_named(dataset: &Dataset, sha256: &str) -> Option<String> {
    let named = dataset.from.as_ref()?.sha256.as_ref()?;
    (!named.eq_ignore_ascii_case(sha256)).then(|| {
        format!(
            "the records are not the file that the dataset file names: SHA-256 {sha256}, expected \
             {named}; numbers cannot be compared with those of others"
        )
    })
}

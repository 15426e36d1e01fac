//! The tensors of a model folder, read one by one; all that does not fit is told at once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::Metadata;

use stillhouse_core::{Error, Result, fs};

use crate::weights;

/// A model folder's tensors by the names that a bare model of its family gives them.
///
/// What cannot be read comes back empty and is remembered for [`Tensors::finish`], so that a
/// loader goes on and finds everything that is wrong.
#[derive(Debug)]
pub(super) struct Tensors {
    folder: PathBuf,
    files: Vec<PathBuf>,
    places: HashMap<String, Place>,
    prefix: &'static str,
    wrong: Mutex<Vec<String>>,
}

/// Where a tensor stands.
#[derive(Debug)]
struct Place {
    file: usize,
    start: u64,
    n_bytes: usize,
    dtype: Dtype,
    shape: Vec<usize>,
}

impl Tensors {
    /// Reads the headers; a model with a head keeps its encoder under `prefix`.
    pub(super) fn open(folder: &Path, prefix: &'static str) -> Result<Self> {
        let files = weights::files(folder).map_err(|e| match e {
            crate::Error::Core(e) => e,
            other => Error::file(folder, other.to_string()),
        })?;
        let mut places = HashMap::new();
        for (file, path) in files.iter().enumerate() {
            read_header(path, file, &mut places)?;
        }
        let has_prefix = places.keys().any(|name| {
            name.starts_with(prefix) && name[prefix.len()..].starts_with("embeddings.")
        });
        Ok(Self {
            folder: folder.to_owned(),
            files,
            places,
            prefix: if has_prefix { prefix } else { "" },
            wrong: Mutex::new(Vec::new()),
        })
    }

    /// The SHA-256 of the one file, or of the hashes of its shards.
    pub(super) fn sha256(&self) -> Result<String> {
        match &self.files[..] {
            [file] => fs::sha256(file),
            files => {
                let hashes = files.par_iter().map(|file| fs::sha256(file));
                let hashes = hashes.collect::<Result<Vec<_>>>()?;
                Ok(fs::sha256_of(hashes.join("\n").as_bytes()))
            }
        }
    }

    /// The shape of one of the encoder's tensors.
    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(&self.place(&self.full(name))?.shape)
    }

    /// Reads one of the encoder's tensors as f32.
    pub(super) fn read(&self, name: &str, shape: &[usize]) -> Vec<f32> {
        self.read_full(&self.full(name), shape)
    }

    /// Reads a tensor of a head, by its whole name.
    pub(super) fn read_full(&self, name: &str, shape: &[usize]) -> Vec<f32> {
        self.try_read(name, shape).unwrap_or_else(|what| {
            self.complain(format!("tensor `{name}` {what}"));
            Vec::new()
        })
    }

    /// Ends the reading with the whole list of what was wrong.
    pub(super) fn finish(self) -> Result<()> {
        let mut wrong = self.wrong.into_inner().expect("no reader panics");
        wrong.sort();
        match (&wrong[..], &self.files[..]) {
            ([], _) => Ok(()),
            (wrong, [file]) => Err(Error::file(file, wrong.join("; "))),
            (wrong, _) => Err(Error::file(self.folder, wrong.join("; "))),
        }
    }

    fn complain(&self, what: String) {
        self.wrong.lock().expect("no reader panics").push(what);
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Old files call the gain and the shift of a normalisation gamma and beta.
    fn place(&self, name: &str) -> Option<&Place> {
        self.places.get(name).or_else(|| {
            let old = match name.strip_suffix("LayerNorm.weight") {
                Some(start) => format!("{start}LayerNorm.gamma"),
                None => format!("{}LayerNorm.beta", name.strip_suffix("LayerNorm.bias")?),
            };
            self.places.get(&old)
        })
    }

    fn try_read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        let place = self.place(name).ok_or("is missing")?;
        if place.shape != shape {
            return Err(format!("is {:?}, expected {shape:?}", place.shape));
        }
        let file = &self.files[place.file];
        let data = fs::read_part(file, place.start, place.n_bytes).map_err(|e| e.to_string())?;
        let pairs = || data.as_chunks::<2>().0.iter();
        let values: Vec<f32> = match place.dtype {
            Dtype::F32 => data
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect(),
            Dtype::F16 => pairs().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            Dtype::BF16 => pairs().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
            other => return Err(format!("is {other:?}, expected F32, F16 or BF16")),
        };
        // One that is not finite would make every vector NaN.
        match values.iter().position(|x| !x.is_finite()) {
            Some(at) => Err(format!("holds {} at entry {at}", values[at])),
            None => Ok(values),
        }
    }
}

fn read_header(path: &Path, file: usize, places: &mut HashMap<String, Place>) -> Result<()> {
    let bad = |what: &str| Error::file(path, format!("is not a safetensors file: {what}"));
    let length = fs::length(path)?;
    let first = fs::read_part(path, 0, 8.min(length as usize))?;
    let n = first.try_into().map_err(|_| bad("it has no header"))?;
    let n = u64::from_le_bytes(n);
    if n > length.saturating_sub(8) {
        return Err(bad("its header is cut or wrong"));
    }
    let header = fs::read_part(path, 8, n as usize)?;
    let header: Metadata =
        serde_json::from_slice(&header).map_err(|e| bad(&format!("its header: {e}")))?;
    let start = 8 + n;
    let ends = header.tensors();
    let ends = ends.values().map(|info| info.data_offsets.1);
    let expected = start + ends.max().unwrap_or(0) as u64;
    if expected != length {
        return Err(bad(&format!(
            "it has {length} bytes, its header tells of {expected}"
        )));
    }
    for (name, info) in header.tensors() {
        let (from, to) = info.data_offsets;
        let place = Place {
            file,
            start: start + from as u64,
            n_bytes: to - from,
            dtype: info.dtype,
            shape: info.shape.clone(),
        };
        places.insert(name, place);
    }
    Ok(())
}

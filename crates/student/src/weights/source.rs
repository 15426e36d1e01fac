//! Where a model folder's tensors stand, and their values in portions, so that a large tensor is
//! never whole in memory in more bytes than it is meant to rest in.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::Metadata;

use stillhouse_core::fs;

use super::{Array, files};
use crate::error::{Error, Result};

/// Entries read at a time: 4 MB in f32.
const PORTION: usize = 1 << 20;

/// Where one tensor stands.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    path: PathBuf,
    start: u64,
    dtype: Dtype,
    /// Length of each axis.
    pub(crate) shape: Vec<usize>,
}

impl Source {
    /// Gives all values in f32, in their order, in portions.
    pub(crate) fn read(&self, mut take: impl FnMut(&[f32])) -> Result<()> {
        let failed = |e| stillhouse_core::Error::io(&self.path, e);
        let mut file = fs::open(&self.path)?;
        file.seek(SeekFrom::Start(self.start)).map_err(failed)?;
        let mut rest = self.shape.iter().product::<usize>();
        let width = if self.dtype == Dtype::F32 { 4 } else { 2 };
        let mut bytes = vec![0; width * rest.min(PORTION)];
        let mut values = Vec::with_capacity(rest.min(PORTION));
        while rest > 0 {
            let n = rest.min(PORTION);
            let bytes = &mut bytes[..width * n];
            file.read_exact(bytes).map_err(failed)?;
            values.clear();
            widen(self.dtype, bytes, &mut values);
            take(&values);
            rest -= n;
        }
        Ok(())
    }

    /// All values at once.
    pub(crate) fn array(&self) -> Result<Array> {
        let mut values = Vec::with_capacity(self.shape.iter().product());
        self.read(|portion| values.extend_from_slice(portion))?;
        Ok(Array {
            shape: self.shape.clone(),
            values,
        })
    }
}

/// Finds the expected tensors of a model folder, in their order, without reading their values.
///
/// Everything that is missing, or has another shape or an unknown type, is listed in one error.
pub(crate) fn locate<'a>(
    folder: &Path,
    expected: impl Iterator<Item = (&'a str, &'a [usize])>,
) -> Result<Vec<Source>> {
    let mut sources = BTreeMap::new();
    for path in files(folder)? {
        read_header(&path, &mut sources)?;
    }
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    for (name, shape) in expected {
        match sources.get(name) {
            None => wrong.push(format!("{name} {shape:?} is missing")),
            Some(source) if source.shape != shape => wrong.push(format!(
                "{name} has shape {:?}, expected {shape:?}",
                source.shape
            )),
            Some(source) if !matches!(source.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) => {
                wrong.push(format!(
                    "{name} is stored as {:?}; supported: F32, F16, BF16",
                    source.dtype
                ));
            }
            Some(source) => found.push(source.clone()),
        }
    }
    if wrong.is_empty() {
        return Ok(found);
    }
    wrong.sort();
    let (n, of) = (wrong.len(), wrong.len() + found.len());
    let what = format!(
        "{n} of {of} tensors do not fit config.json: {}",
        wrong.join("; ")
    );
    Err(Error::folder(folder, what))
}

/// Adds the places of all tensors of one file.
fn read_header(path: &Path, sources: &mut BTreeMap<String, Source>) -> Result<()> {
    let bad = |what: &str| Error::folder(path, format!("not a whole safetensors file: {what}"));
    let length = fs::length(path)?;
    let first = fs::read_part(path, 0, 8.min(length as usize))?;
    let first = first.try_into().map_err(|_| bad("it has no header"))?;
    let n = u64::from_le_bytes(first);
    if n > length.saturating_sub(8) {
        return Err(bad("its header is cut"));
    }
    let header = fs::read_part(path, 8, n as usize)?;
    let header: Metadata =
        serde_json::from_slice(&header).map_err(|e| bad(&format!("its header: {e}")))?;
    let start = 8 + n;
    let expected = start + header.data_len() as u64;
    if expected != length {
        let what = format!("it has {length} bytes, its header tells of {expected}");
        return Err(bad(&what));
    }
    for (name, info) in header.tensors() {
        let source = Source {
            path: path.to_owned(),
            start: start + info.data_offsets.0 as u64,
            dtype: info.dtype,
            shape: info.shape.clone(),
        };
        sources.insert(name, source);
    }
    Ok(())
}

/// Values in f32, exactly.
pub(super) fn widen(dtype: Dtype, bytes: &[u8], values: &mut Vec<f32>) {
    let pairs = || bytes.as_chunks::<2>().0.iter();
    match dtype {
        Dtype::F16 => values.extend(pairs().map(|b| f16::from_le_bytes(*b).to_f32())),
        Dtype::BF16 => values.extend(pairs().map(|b| bf16::from_le_bytes(*b).to_f32())),
        _ => {
            let fours = bytes.as_chunks::<4>().0.iter();
            values.extend(fours.map(|b| f32::from_le_bytes(*b)));
        }
    }
}

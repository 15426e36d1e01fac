//! Reads and writes named tensors as safetensors, whole or sharded; knows no model.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};

use stillhouse_core::fs;

use crate::error::{Error, Result};

mod source;

pub(crate) use source::{Source, locate};

/// The values of one tensor, row by row, with its shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// As many as the product of the axes.
    pub values: Vec<f32>,
}

impl Array {
    /// Puts a vector on a device.
    pub(crate) fn vector(self, device: &Device) -> Tensor<1> {
        Tensor::from_data(TensorData::new(self.values, self.shape), device)
    }

    /// Puts a matrix on a device.
    pub(crate) fn matrix(self, device: &Device) -> Tensor<2> {
        Tensor::from_data(TensorData::new(self.values, self.shape), device)
    }

    /// Fetches a tensor from its device.
    pub(crate) fn of<const D: usize>(tensor: &Tensor<D>) -> Self {
        let values = tensor.clone().inner().try_into_vec_as::<f32>();
        Self {
            shape: tensor.dims().to_vec(),
            values: values.expect("a float tensor holds floats"),
        }
    }
}

/// Reads the expected tensors of a model folder: `model.safetensors` or its sharded form.
///
/// Everything that is missing or has another shape is listed in one error.
pub fn load(folder: &Path, expected: &[(String, Vec<usize>)]) -> Result<BTreeMap<String, Array>> {
    let pairs = expected.iter().map(|(n, s)| (n.as_str(), s.as_slice()));
    let sources = locate(folder, pairs)?;
    let named = expected.iter().zip(sources);
    named
        .map(|((name, _), source)| Ok((name.clone(), source.array()?)))
        .collect()
}

/// Whether a model folder holds a tensor of this name; reads no values.
pub fn holds(folder: &Path, name: &str) -> Result<bool> {
    for path in files(folder)? {
        let wrong = |what: &str| Error::folder(&path, format!("not safetensors: {what}"));
        let size = fs::read_part(&path, 0, 8)?;
        let size: [u8; 8] = size.try_into().map_err(|_| wrong("no header"))?;
        let header = fs::read_part(&path, 8, u64::from_le_bytes(size) as usize)?;
        let header: Value = serde_json::from_slice(&header).map_err(|e| wrong(&e.to_string()))?;
        if header.get(name).is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Reads every tensor of one file, with the file's metadata.
pub fn load_file(path: &Path) -> Result<(BTreeMap<String, Array>, BTreeMap<String, String>)> {
    let bytes = fs::read(path)?;
    let file = parse(path, &bytes)?;
    let mut arrays = BTreeMap::new();
    for (name, view) in file.iter() {
        arrays.insert(name.to_owned(), widen(path, name, &view)?);
    }
    let (_, header) = SafeTensors::read_metadata(&bytes)
        .map_err(|e| Error::folder(path, format!("not safetensors: {e}")))?;
    let metadata = header
        .metadata()
        .clone()
        .unwrap_or_default()
        .into_iter()
        .collect();
    Ok((arrays, metadata))
}

/// Writes tensors in f32, one at a time, whole or not at all; the metadata names `PyTorch`'s
/// layout.
///
/// # Panics
/// If `values` gives an array of another shape than was announced.
pub fn save_file<'a>(
    path: &Path,
    tensors: &[(String, Vec<usize>)],
    mut values: impl FnMut(usize) -> Array + 'a,
) -> Result<()> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let mut at = 0;
    for (name, shape) in tensors {
        let end = at + 4 * shape.iter().product::<usize>();
        header.insert(
            name.clone(),
            json!({"dtype": "F32", "shape": shape, "data_offsets": [at, end]}),
        );
        at = end;
    }
    let mut header = Value::Object(header).to_string();
    // Readers map the data in place, so that it begins at a multiple of eight bytes.
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let mut writer = fs::Writer::create(path)?;
    let mut put = |bytes: &[u8]| {
        writer
            .write_all(bytes)
            .map_err(|e| stillhouse_core::Error::io(path, e))
    };
    put(&(header.len() as u64).to_le_bytes())?;
    put(header.as_bytes())?;
    for (index, (name, shape)) in tensors.iter().enumerate() {
        let array = values(index);
        assert_eq!(
            array.shape, *shape,
            "{name} keeps the shape it was announced with"
        );
        let mut bytes = Vec::with_capacity(4 * array.values.len());
        array
            .values
            .iter()
            .for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
        put(&bytes)?;
    }
    Ok(writer.finish()?)
}

/// The files that hold a folder's tensors: one, or the shards that the index names.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let whole = folder.join("model.safetensors");
    let index = folder.join("model.safetensors.index.json");
    if whole.is_file() {
        return Ok(vec![whole]);
    }
    if !index.is_file() {
        let pickle = folder.join("pytorch_model.bin").is_file();
        let hint = if pickle {
            "; pytorch_model.bin is a pickle and is never read: convert it to safetensors"
        } else {
            ""
        };
        return Err(Error::folder(
            folder,
            format!("no model.safetensors and no model.safetensors.index.json{hint}"),
        ));
    }
    let json: Value = fs::read_json(&index)?;
    let map = json["weight_map"]
        .as_object()
        .ok_or_else(|| Error::folder(&index, "no `weight_map`"))?;
    let shards: BTreeSet<&str> = map.values().filter_map(Value::as_str).collect();
    // A shard is a file of this folder: a name with a path in it could point anywhere.
    if let Some(odd) = shards
        .iter()
        .find(|name| Path::new(name).components().count() != 1 || name.starts_with('.'))
    {
        return Err(Error::folder(
            &index,
            format!("shard `{odd}` is not a file name"),
        ));
    }
    let paths: Vec<PathBuf> = shards.into_iter().map(|name| folder.join(name)).collect();
    let missing: Vec<String> = paths
        .iter()
        .filter(|p| !p.is_file())
        .map(|p| p.display().to_string())
        .collect();
    if missing.is_empty() {
        Ok(paths)
    } else {
        Err(Error::folder(
            &index,
            format!("missing shards: {}", missing.join(", ")),
        ))
    }
}

fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<SafeTensors<'a>> {
    SafeTensors::deserialize(bytes)
        .map_err(|e| Error::folder(path, format!("not a whole safetensors file: {e}")))
}

fn widen(path: &Path, name: &str, view: &TensorView<'_>) -> Result<Array> {
    let dtype = view.dtype();
    if !matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
        let what = format!("{name} is stored as {dtype:?}; supported: F32, F16, BF16");
        return Err(Error::folder(path, what));
    }
    let mut values = Vec::new();
    source::widen(dtype, view.data(), &mut values);
    Ok(Array {
        shape: view.shape().to_vec(),
        values,
    })
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;

    fn named(names: &[(&str, &[usize])]) -> Vec<(String, Vec<usize>)> {
        names
            .iter()
            .map(|(n, s)| ((*n).to_owned(), s.to_vec()))
            .collect()
    }

    fn save(path: &Path, names: &[(&str, &[usize])]) {
        let tensors = named(names);
        save_file(path, &tensors, |i| {
            let shape = tensors[i].1.clone();
            let n = shape.iter().product::<usize>();
            Array {
                shape,
                values: (0..n).map(|v| v as f32).collect(),
            }
        })
        .unwrap();
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        save(&path, &[("b", &[2, 3]), ("a", &[4])]);
        let (arrays, metadata) = load_file(&path).unwrap();
        assert_eq!(arrays["b"].values, [0., 1., 2., 3., 4., 5.]);
        assert_eq!(arrays["a"].shape, [4]);
        assert_eq!(metadata["format"], "pt");
    }

    #[test]
    fn all_that_does_not_fit_is_listed_at_once() {
        let folder = tempfile::tempdir().unwrap();
        save(
            &folder.path().join("model.safetensors"),
            &[("a", &[2, 3]), ("extra", &[1])],
        );
        let error = load(
            folder.path(),
            &named(&[("a", &[3, 2]), ("b", &[1]), ("c", &[1])]),
        )
        .unwrap_err()
        .to_string();
        assert!(error.contains("3 of 3 tensors"), "{error}");
        assert!(
            error.contains(
                "a has shape [2, 3], expected [3, 2]; b [1] is missing; c [1] is missing"
            ),
            "{error}"
        );
    }

    #[test]
    fn shards_are_read_by_their_index() {
        let folder = tempfile::tempdir().unwrap();
        save(&folder.path().join("one.safetensors"), &[("a", &[2])]);
        let index = folder.path().join("model.safetensors.index.json");
        fs::write_json(
            &index,
            &json!({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}),
        )
        .unwrap();
        let wanted = named(&[("a", &[2]), ("b", &[3])]);
        let error = load(folder.path(), &wanted).unwrap_err().to_string();
        assert!(
            error.contains("missing shards:") && error.contains("two.safetensors"),
            "{error}"
        );
        save(&folder.path().join("two.safetensors"), &[("b", &[3])]);
        assert_eq!(
            load(folder.path(), &wanted).unwrap()["b"].values,
            [0., 1., 2.]
        );
        fs::write_json(&index, &json!({"weight_map": {"a": "../one.safetensors"}})).unwrap();
        assert!(
            load(folder.path(), &wanted)
                .unwrap_err()
                .to_string()
                .contains("is not a file name")
        );
    }

    #[test]
    fn a_cut_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        save(&path, &[("a", &[100])]);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let error = load(folder.path(), &named(&[("a", &[100])]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("not a whole safetensors file"), "{error}");
    }

    #[test]
    fn a_type_that_is_not_read_is_named_before_anything_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = [0u8; 24];
        let views = [("a", Dtype::I8, 24), ("b", Dtype::F64, 3)].map(|(name, dtype, n)| {
            let view = TensorView::new(dtype, vec![n], &bytes).unwrap();
            (name, view)
        });
        let file = safetensors::serialize(views, None).unwrap();
        fs::write(&folder.path().join("model.safetensors"), file).unwrap();
        let wanted = named(&[("a", &[24]), ("b", &[3])]);
        let error = load(folder.path(), &wanted).unwrap_err().to_string();
        assert!(
            error.ends_with(
                "2 of 2 tensors do not fit config.json: a is stored as I8; supported: F32, F16, \
                 BF16; b is stored as F64; supported: F32, F16, BF16"
            ),
            "{error}"
        );
    }

    #[test]
    fn half_precision_is_widened_exactly() {
        let values = [1.5f32, -0.25, 3.0];
        let narrow: Vec<u8> = values
            .iter()
            .flat_map(|v| bf16::from_f32(*v).to_le_bytes())
            .collect();
        let view = TensorView::new(Dtype::BF16, vec![3], &narrow).unwrap();
        assert_eq!(widen(Path::new("x"), "a", &view).unwrap().values, values);
        let narrow: Vec<u8> = values
            .iter()
            .flat_map(|v| f16::from_f32(*v).to_le_bytes())
            .collect();
        let view = TensorView::new(Dtype::F16, vec![3], &narrow).unwrap();
        assert_eq!(widen(Path::new("x"), "a", &view).unwrap().values, values);
    }
}

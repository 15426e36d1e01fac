//! Numbers that `PyTorch` made, and what the tests share.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

use stillhouse_core::event::Event;
use stillhouse_core::fs;

/// Sums of a few dozen products in f32, in another order than `PyTorch`'s.
const TOLERANCE: f32 = 1e-5;

pub(crate) fn go_on(_: Event) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures")
        .join(name)
}

pub(crate) fn texts(topic: &str) -> Vec<String> {
    fs::read_json(&fixture(topic).join("texts.json")).unwrap()
}

pub(crate) fn strs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// Tensors that `PyTorch` made.
pub(crate) struct Golden(Vec<u8>);

impl Golden {
    pub(crate) fn read(topic: &str) -> Self {
        Self::at(&format!("{topic}/golden.safetensors"))
    }

    pub(crate) fn at(path: &str) -> Self {
        Self(fs::read(&fixture(path)).unwrap())
    }

    pub(crate) fn numbers(&self, name: &str) -> Vec<f32> {
        self.chunks(name, f32::from_le_bytes)
    }

    pub(crate) fn ids(&self, name: &str) -> Vec<u32> {
        self.chunks(name, |b| u32::try_from(i64::from_le_bytes(b)).unwrap())
    }

    fn chunks<T, const N: usize>(&self, name: &str, number: impl Fn([u8; N]) -> T) -> Vec<T> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = tensors.tensor(name).unwrap();
        tensor
            .data()
            .as_chunks::<N>()
            .0
            .iter()
            .map(|bytes| number(*bytes))
            .collect()
    }
}

pub(crate) fn assert_near(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= TOLERANCE,
            "{i}: {found} is not {expected}"
        );
    }
}

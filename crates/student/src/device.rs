//! What the student computes on: the one file that knows which devices there are.
//!
//! A model is read into the machine's own memory and then put [`on`](crate::Model::on) its place; all that is computed with it follows its tensors.
//! Generation alone keeps its keys and values in the machine's own memory, and attends there; a GPU then makes the products.
//! On the CPU operations are our fused kernels, elsewhere the same compositions of burn's that these are tested against ([`ops::composed`](crate::ops::composed)).

use burn::tensor::Device as Tensors;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

#[cfg(feature = "wgpu")]
mod gpu;
#[cfg(not(feature = "wgpu"))]
mod gpu {
    //! What takes the place of GPUs in a program without them.

    use super::Place;

    pub(super) fn real() -> Option<Place> {
        None
    }

    pub(super) fn any() -> Result<Place, String> {
        let what = "this program is built without GPUs: build it with the cargo feature `wgpu`, or set \"cpu\"";
        Err(what.to_owned())
    }
}

/// The devices that can be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    /// The processor, with our own kernels.
    #[default]
    Cpu,
    /// A GPU through Vulkan, Metal or DX12; without a real one, a driver that plays one in software.
    Gpu,
    /// A real GPU where one is built in and found, else the processor.
    Auto,
}

/// A device that was found and opened.
#[derive(Clone, Debug)]
pub struct Place {
    tensors: Tensors,
    name: String,
}

impl Place {
    /// The processor.
    #[must_use]
    pub fn cpu() -> Self {
        Self {
            tensors: host(),
            name: "cpu".to_owned(),
        }
    }

    /// In one line: "cpu", or "gpu" with the name that the GPU has.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is the processor.
    #[must_use]
    pub fn is_cpu(&self) -> bool {
        is_host(&self.tensors)
    }

    /// Where its tensors are made.
    pub(crate) fn tensors(&self) -> &Tensors {
        &self.tensors
    }
}

impl Device {
    /// Finds and opens the device; of several GPUs the first discrete one, else the first one that is built in.
    ///
    /// A device is opened once in a process, however often it is asked for.
    pub fn open(self) -> Result<Place> {
        match self {
            Self::Cpu => Ok(Place::cpu()),
            Self::Auto => Ok(gpu::real().unwrap_or_else(Place::cpu)),
            Self::Gpu => gpu::any().map_err(|what| Error::option("student.device", what)),
        }
    }
}

/// The names of all places that a student could be put on here, the processor first.
///
/// ```
/// assert_eq!(stillhouse_student::device::found()[0], "cpu");
/// ```
#[must_use]
pub fn found() -> Vec<String> {
    let places = [Some(Place::cpu()), gpu::any().ok()];
    places
        .into_iter()
        .flatten()
        .map(|place| place.name)
        .collect()
}

/// Whether this program can use GPUs at all.
#[must_use]
pub const fn has_gpus() -> bool {
    cfg!(feature = "wgpu")
}

/// Where models are read and made, before they are put on their place.
pub(crate) fn host() -> Tensors {
    Tensors::flex()
}

/// Whether tensors of this device are in the machine's own memory, where our kernels work.
pub(crate) fn is_host(device: &Tensors) -> bool {
    device.clone().inner() == host()
}

/// Every device that a test should pass on: the processor, and a GPU if those are built in; then one must be there.
#[cfg(test)]
pub(crate) fn all() -> Vec<Place> {
    let mut places = vec![Place::cpu()];
    if has_gpus() {
        places.push(Device::Gpu.open().expect("a GPU, such as Mesa's lavapipe"));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_always_there_and_is_the_default() {
        assert_eq!(Device::default().open().unwrap().name(), "cpu");
        assert!(is_host(Place::cpu().tensors()));
        assert!(is_host(&host().autodiff()));
    }

    #[cfg(not(feature = "wgpu"))]
    #[test]
    fn without_the_feature_a_gpu_is_an_error_that_names_it_and_auto_is_the_processor() {
        let error = Device::Gpu.open().unwrap_err().to_string();
        assert!(error.starts_with("student.device: "), "{error}");
        assert!(error.contains("cargo feature `wgpu`"), "{error}");
        assert_eq!(Device::Auto.open().unwrap().name(), "cpu");
        assert_eq!(found(), ["cpu"]);
    }
}

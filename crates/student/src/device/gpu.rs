//! GPUs through burn's wgpu: Vulkan, Metal or DX12, whichever this machine has.

use std::sync::OnceLock;

use burn::tensor::{Device as Tensors, DeviceKind};

use super::Place;

/// The first real GPU.
pub(super) fn real() -> Option<Place> {
    static FOUND: OnceLock<Option<Place>> = OnceLock::new();
    let kinds = [
        DeviceKind::DiscreteGpu(0),
        DeviceKind::IntegratedGpu(0),
        DeviceKind::VirtualGpu(0),
    ];
    let first = || kinds.into_iter().find_map(|kind| open(kind, "").ok());
    FOUND.get_or_init(first).clone()
}

/// The first real GPU, or else what the drivers take for one, such as Mesa's lavapipe.
pub(super) fn any() -> Result<Place, String> {
    static FOUND: OnceLock<Result<Place, String>> = OnceLock::new();
    let software = || {
        let place = open(DeviceKind::DefaultDevice, " (in software)");
        place.map_err(|error| format!("no GPU is found, set \"cpu\": {error}"))
    };
    FOUND
        .get_or_init(|| real().map_or_else(software, Ok))
        .clone()
}

fn open(kind: DeviceKind, remark: &str) -> Result<Place, String> {
    let opened = Tensors::wgpu_options().device_kind(kind).init();
    let tensors = opened.map_err(|error| error.to_string())?;
    let name = tensors
        .identity()
        .map_or("of no name".to_owned(), |it| it.name);
    Ok(Place {
        name: format!("gpu: {name}{remark}"),
        tensors,
    })
}

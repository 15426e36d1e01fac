//! What this machine has for a run.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use stillhouse_hub::HubOptions;
use stillhouse_student::device;

/// Each thing looked at, and what was found.
pub fn doctor(hub: &HubOptions) -> Vec<(&'static str, String)> {
    let offline = HubOptions {
        offline: true,
        ..hub.clone()
    };
    let encoder = crate::config::RunConfig::default().evaluate.encoder;
    let found = match stillhouse_hub::find(&encoder, &offline, &mut |_| {}) {
        Ok(found) => found.folder.display().to_string(),
        Err(_) => format!("not here; `stillhouse pull {encoder}` fetches it"),
    };
    let cpu = stillhouse_student::cpu::detect();
    vec![
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        (
            "cores",
            std::thread::available_parallelism().map_or("unknown".into(), |n| n.to_string()),
        ),
        ("instructions", cpu.present().collect::<Vec<_>>().join(" ")),
        ("kernels", cpu.kernel_path().to_owned()),
        ("devices", devices()),
        ("cache", hub.cache_folder.display().to_string()),
        ("encoder", found),
        ("hub", reach(hub)),
    ]
}

/// What a student can be put on.
fn devices() -> String {
    let found = device::found().join(", ");
    if device::has_gpus() {
        found
    } else {
        format!("{found} (built without the feature `wgpu`, which brings GPUs)")
    }
}

/// Whether the hub's end point answers.
fn reach(hub: &HubOptions) -> String {
    if hub.offline {
        return format!("{} (not asked: HF_HUB_OFFLINE is set)", hub.endpoint);
    }
    let (host, port) = match hub.endpoint.split_once("://") {
        Some(("http", rest)) => (rest, 80),
        Some((_, rest)) => (rest, 443),
        None => (hub.endpoint.as_str(), 443),
    };
    let host = host.split('/').next().unwrap_or_default();
    let place = if host.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:{port}")
    };
    let address = place.to_socket_addrs().ok().and_then(|mut all| all.next());
    let connected =
        address.map(|address| TcpStream::connect_timeout(&address, Duration::from_secs(3)));
    let word = if matches!(connected, Some(Ok(_))) {
        "reachable"
    } else {
        "not reachable"
    };
    format!("{} ({word})", hub.endpoint)
}

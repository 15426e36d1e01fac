//! The rules of the house that a machine can hold: arrows, unsafe code, length of files.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may stop at what it did not expect"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every Rust file of the crates, without build outputs.
fn sources() -> Vec<PathBuf> {
    let mut open = vec![root().join("crates")];
    let mut files = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 40, "the walk is broken");
    files
}

/// The packages of ours that each package depends on, from the Cargo.toml files.
fn arrows() -> BTreeMap<String, Vec<String>> {
    let mut arrows = BTreeMap::new();
    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        let folder = entry.unwrap().path();
        let manifest: toml::Table = read(&folder.join("Cargo.toml")).parse().unwrap();
        let dependencies = manifest["dependencies"].as_table().unwrap().keys();
        let ours = dependencies.filter_map(|name| match name.as_str() {
            "stillhouse" => Some("stillhouse".to_owned()),
            name => name.strip_prefix("stillhouse-").map(str::to_owned),
        });
        arrows.insert(
            folder.file_name().unwrap().to_str().unwrap().to_owned(),
            ours.collect(),
        );
    }
    arrows
}

#[test]
fn the_picture_in_architecture_has_the_arrows_of_the_code() {
    let page = read(&root().join("ARCHITECTURE.md"));
    let drawn = page
        .split("```arrows\n")
        .nth(1)
        .expect("an `arrows` block")
        .split("```")
        .next()
        .unwrap();
    let real: Vec<String> = arrows()
        .iter()
        .map(|(from, to)| format!("{from} -> {}", to.join(" ")).trim().to_owned())
        .collect();
    assert_eq!(
        drawn.trim().lines().collect::<Vec<_>>(),
        real,
        "redraw the picture and this list"
    );
}

#[test]
fn core_opens_no_socket_and_links_no_tensor_library() {
    let manifest = read(&root().join("crates/core/Cargo.toml"));
    for heavy in [
        "burn",
        "candle",
        "gemm",
        "tokenizers",
        "hf-hub",
        "ureq",
        "reqwest",
        "tokio",
    ] {
        assert!(!manifest.contains(heavy), "core depends on {heavy}");
    }
    assert!(
        arrows()["core"].is_empty() && arrows()["hub"].is_empty() && arrows()["kernels"].is_empty()
    );
}

#[test]
fn records_import_nothing_of_ours_and_stages_do_not_import_each_other() {
    assert!(!read(&root().join("crates/core/src/record.rs")).contains("crate::"));
    let arrows = arrows();
    for (from, to) in [
        ("teacher", "student"),
        ("student", "teacher"),
        ("student", "hub"),
    ] {
        assert!(
            !arrows[from].iter().any(|name| name == to),
            "{from} imports {to}"
        );
    }
}

#[test]
fn unsafe_code_stands_in_kernels_alone_and_libraries_are_silent() {
    for path in sources() {
        let text = read(&path);
        let shown = path
            .strip_prefix(root())
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let code: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        let has = |word: &str| code.iter().any(|line| line.contains(word));
        if !shown.starts_with("crates/kernels/") && !shown.ends_with("house.rs") {
            assert!(
                !has("unsafe {") && !has("unsafe fn"),
                "{shown} holds unsafe code"
            );
        }
        let is_library = !shown.starts_with("crates/cli/") && shown.contains("/src/");
        for word in [
            "std::env::var",
            "SystemTime::now",
            "Instant::now",
            "println!",
        ] {
            assert!(!is_library || !has(word), "{shown} uses {word}");
        }
    }
}

#[test]
fn no_file_is_longer_than_600_lines() {
    let length = |path: &PathBuf| read(path).lines().count();
    let long: Vec<_> = sources()
        .into_iter()
        .filter(|path| length(path) > 600)
        .collect();
    assert!(long.is_empty(), "each file is one thought: {long:?}");
}

//! What a student is computed on: chosen by a flag, told in the manifest, and no reason to do anything again.

use crate::common::{expect, small_config, stillhouse};

#[cfg(not(feature = "wgpu"))]
#[test]
fn a_program_without_gpus_says_how_to_get_one_that_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let config = small_config(folder.path());
    let run = |device: &str| {
        let words = ["run", config.to_str().unwrap(), "--to", "data", "--device"];
        stillhouse(&[&words[..], &[device]].concat())
            .output()
            .unwrap()
    };
    let said = expect(&run("gpu"), 2);
    assert!(said.contains("student.device") && said.contains("cargo feature `wgpu`"));
    assert!(!folder.path().join("out").exists(), "nothing is begun");
    let said = expect(&run("tpu"), 2);
    assert!(said.contains("`cpu`, `gpu`, `auto`"), "{said}");
    expect(&run("auto"), 0);
    let doctor = stillhouse(&["doctor"]).output().unwrap();
    let found = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(
        found.contains("cpu (built without the feature `wgpu`"),
        "{found}"
    );
}

#[cfg(feature = "wgpu")]
#[test]
fn a_run_on_a_gpu_says_so_and_goes_on_on_the_processor() {
    let folder = tempfile::tempdir().unwrap();
    let config = small_config(folder.path());
    let run = |device: &str| {
        let words = [
            "run",
            config.to_str().unwrap(),
            "--to",
            "generate",
            "--device",
        ];
        stillhouse(&[&words[..], &[device]].concat())
            .output()
            .unwrap()
    };
    expect(&run("gpu"), 0);
    let out = folder.path().join("out");
    let manifest = || -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(out.join("manifest.json")).unwrap()).unwrap()
    };
    let found = manifest();
    let name = found["device"].as_str().unwrap();
    assert!(name.starts_with("gpu: "), "{name}");
    for stage in ["train", "generate"] {
        assert_eq!(found["stages"][stage]["facts"]["device"], name);
    }
    let again = expect(&run("cpu"), 0);
    assert_eq!(again.matches("unchanged, skipped").count(), 5, "{again}");
    assert_eq!(manifest()["device"], "cpu");
    let doctor = stillhouse(&["doctor"]).output().unwrap();
    let found = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(found.contains(name), "{found}");
}

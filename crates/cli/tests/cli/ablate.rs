//! Selectors side by side over a small run: every cell once, and what is wrong is named.

use crate::common::{expect, small_config, stillhouse};

#[test]
fn cells_are_done_once_and_shown_in_one_table() {
    let folder = tempfile::tempdir().unwrap();
    let config = small_config(folder.path());
    let config = config.to_str().unwrap();
    let ablate = |select: &str| {
        let args = [
            "ablate",
            config,
            "--keep",
            "1,9",
            "--seeds",
            "1",
            "--markdown",
            "--select",
        ];
        stillhouse(&[&args[..], &[select]].concat())
            .output()
            .unwrap()
    };
    let first = ablate("random,morsd");
    let said = expect(&first, 0);
    let trained = |said: &str| said.matches(": trained and measured in ").count();
    assert_eq!(trained(&said), 4, "{said}");
    assert!(
        said.contains("cell 4 of 4: morsd, keep 9, seed 0: "),
        "{said}"
    );
    // What a training says before it begins is said once.
    assert_eq!(said.matches("one item, its trained tokens").count(), 1);
    let table = String::from_utf8_lossy(&first.stdout).into_owned();
    assert!(
        table.contains("| morsd | 1 |") && table.contains("| p (Holm) |"),
        "{table}"
    );

    // One more selector trains its own cells alone; of equal selections one is trained.
    let said = expect(&ablate("random,morsd,rsr"), 0);
    assert_eq!(trained(&said), 1, "{said}");
    let again = ablate("random,morsd");
    assert_eq!(trained(&expect(&again, 0)), 0);
    let cell = folder.path().join("out/ablate/morsd-1/seed-0");
    assert!(cell.join("cell.json").is_file() && !cell.join("model").exists());
    assert!(folder.path().join("out/ablate/ablation.html").is_file());
}

#[test]
fn a_selector_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = small_config(folder.path());
    let output = stillhouse(&["ablate", config.to_str().unwrap(), "--select", "best"])
        .output()
        .unwrap();
    let said = expect(&output, 2);
    assert!(said.contains("--select: `best` is no selector"), "{said}");
}

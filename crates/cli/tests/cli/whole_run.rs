//! The whole run, from claims to a report; again, where nothing is redone; and killed on the way.
//!
//! Needs the sentence encoder in the cache: `stillhouse pull sentence-transformers/all-MiniLM-L6-v2`.

use std::time::Duration;

use crate::common::{expect, records, small_config, stillhouse};

#[test]
fn a_run_ends_in_a_report_and_is_not_done_twice() {
    let folder = tempfile::tempdir().unwrap();
    let config = small_config(folder.path());
    let run = || {
        stillhouse(&["run", config.to_str().unwrap()])
            .output()
            .unwrap()
    };

    let said = expect(&run(), 0);
    for stage in [
        "data", "teacher", "select", "train", "generate", "evaluate", "report",
    ] {
        assert!(
            said.lines()
                .any(|l| l.starts_with(stage) && l.contains("done in")),
            "{stage}: {said}"
        );
    }
    let out = folder.path().join("out");
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(
        page.contains("<svg") && !page.contains("http://") && !page.contains("<script"),
        "the page must be one file"
    );
    let first = records(&out);

    let again = expect(&run(), 0);
    assert_eq!(again.matches("unchanged, skipped").count(), 7, "{again}");
    assert_eq!(records(&out), first);

    // Another option is not silently put over the results; with --redo it is.
    let path = config.to_str().unwrap();
    let other = ["run", path, "--set", "select.method.keep=2"];
    let said = expect(&stillhouse(&other).output().unwrap(), 2);
    assert!(
        said.contains("keep was 1, now 2") && said.contains("--redo"),
        "{said}"
    );
    let redo = stillhouse(&[&other[..], &["--redo", "--to", "select"]].concat())
        .output()
        .unwrap();
    let said = expect(&redo, 0);
    assert_eq!(said.matches("unchanged, skipped").count(), 2, "{said}");
}

#[test]
fn an_encoder_decoder_goes_through_the_same_run() {
    let folder = tempfile::tempdir().unwrap();
    let config = small_config(folder.path());
    let student = [
        "student.init=\"pretrained\"",
        "student.model=\"fixtures/t5-tiny/flan\"",
        "student.context_tokens=2000",
        "student.train.steps=4",
    ];
    let mut words = vec!["run", config.to_str().unwrap(), "--to", "generate"];
    words.extend(student.iter().flat_map(|option| ["--set", option]));
    expect(&stillhouse(&words).output().unwrap(), 0);
    let predictions = folder.path().join("out/predictions.jsonl");
    let predictions = std::fs::read_to_string(predictions).unwrap();
    assert!(predictions.lines().count() > 2, "{predictions}");
}

#[test]
fn a_killed_run_goes_on_and_ends_the_same() {
    let whole = tempfile::tempdir().unwrap();
    let killed = tempfile::tempdir().unwrap();
    let config = small_config(whole.path());
    expect(
        &stillhouse(&["run", config.to_str().unwrap()])
            .output()
            .unwrap(),
        0,
    );

    let config = small_config(killed.path());
    let mut kills = 0;
    for attempt in 1..40 {
        let mut child = stillhouse(&["run", "--quiet", config.to_str().unwrap()])
            .spawn()
            .unwrap();
        // Ever longer sittings, so that each stage is hit and the run ends at last.
        std::thread::sleep(Duration::from_millis(60 * attempt));
        if child
            .try_wait()
            .unwrap()
            .is_some_and(|status| status.success())
        {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    assert!(kills >= 3, "the run was too quick to be killed");
    expect(
        &stillhouse(&["run", config.to_str().unwrap()])
            .output()
            .unwrap(),
        0,
    );
    for (one, other) in records(&whole.path().join("out"))
        .iter()
        .zip(&records(&killed.path().join("out")))
    {
        // The report quotes the config, and in it the run directory.
        assert!(
            one == other || one.0 == "report.md",
            "{} differs after {kills} kills",
            one.0
        );
    }
}

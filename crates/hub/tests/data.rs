//! Data sets from a hub and from addresses that this test plays itself.
#![expect(
    clippy::disallowed_methods,
    reason = "the test plays the world outside"
)]
#![expect(clippy::unwrap_used, reason = "a play that breaks fails its test")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use stillhouse_hub::{FoundData, HubOptions, Origin, Result, Source, Token, find_data};

const COMMIT: &str = "c0ffee00";
const TRAIN: &str = "one line\nanother line\n";
/// Its SHA-256, by `sha256sum`.
const SHA256: &str = "8822c3e70a9ae9345bd4ca74b8b64873fe7eb0240a24ce199cbe17b18d807052";

/// How the played server behaves.
#[derive(Clone, Copy, Default)]
struct Behaviour {
    /// Cuts the first answers in the middle of the announced length.
    cuts: usize,
    /// Names no content.
    without_tag: bool,
    /// Answers a question for a rest with the whole.
    without_ranges: bool,
}

/// A server on the loopback with one repository, which remembers what it was asked.
struct Server {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        let list = format!(
            r#"{{"sha":"{COMMIT}","siblings":[{{"rfilename":"data/train.jsonl","size":{}}},{{"rfilename":"data/test.jsonl"}}]}}"#,
            TRAIN.len()
        );
        let mut files: HashMap<String, String> = HashMap::new();
        files.insert("/api/datasets/org/tiny/revision/main".into(), list);
        for (file, text) in [("train", TRAIN), ("test", "a test\n")] {
            let path = format!("/datasets/org/tiny/resolve/{COMMIT}/data/{file}.jsonl");
            files.insert(path, text.into());
            files.insert(format!("/{file}.jsonl"), text.into());
        }
        std::thread::spawn(move || {
            let mut cuts = behaviour.cuts;
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = String::new();
                let mut lines = BufReader::new(stream.try_clone().unwrap());
                while lines.read_line(&mut request).is_ok_and(|n| n > 2) {}
                let path = request.split(' ').nth(1).unwrap_or_default();
                let body = files.get(path.split('?').next().unwrap_or_default());
                // A client that hangs up early is a part of the play.
                let _ = answer(&mut stream, &request, body, behaviour, &mut cuts);
                log.lock().unwrap().push(request);
            }
        });
        Self { url, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(
    stream: &mut TcpStream,
    request: &str,
    body: Option<&String>,
    behaviour: Behaviour,
    cuts: &mut usize,
) -> std::io::Result<()> {
    let Some(body) = body else {
        let none = "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        return stream.write_all(none.as_bytes());
    };
    let lower = request.to_lowercase();
    let from = lower.split("range: bytes=").nth(1);
    let from: usize = from
        .and_then(|rest| rest.split('-').next()?.parse().ok())
        .filter(|_| !behaviour.without_ranges)
        .unwrap_or(0);
    let tag = if behaviour.without_tag {
        ""
    } else {
        "etag: \"v1\"\r\n"
    };
    let head = format!(
        "{tag}connection: close\r\ncontent-length: {}",
        body.len() - from
    );
    let status = match from {
        0 => "200 OK".to_owned(),
        _ => format!(
            "206 Partial Content\r\ncontent-range: bytes {from}-{}/{}",
            body.len() - 1,
            body.len()
        ),
    };
    let mut rest = &body[from..];
    if *cuts > 0 && request.contains("train") {
        *cuts -= 1;
        rest = &rest[..rest.len() / 2];
    }
    write!(stream, "HTTP/1.1 {status}\r\n{head}\r\n\r\n{rest}")
}

struct World {
    folder: tempfile::TempDir,
    options: HubOptions,
}

impl World {
    fn new(server: &Server) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = HubOptions {
            cache_folder: folder.path().join("cache"),
            hugging_face_cache: Some(folder.path().join("hf")),
            endpoint: server.url.clone(),
            ..HubOptions::default()
        };
        Self { folder, options }
    }

    fn find(&self, origin: &Origin<'_>) -> Result<FoundData> {
        find_data(origin, &self.options, &mut |_| {})
    }
}

fn of_hub() -> Origin<'static> {
    Origin {
        hub: Some("org/tiny"),
        files: vec!["data/train.jsonl", "data/test.jsonl"],
        ..Origin::default()
    }
}

fn read(folder: &Path, file: &str) -> String {
    std::fs::read_to_string(folder.join(file)).unwrap()
}

#[test]
fn a_repository_s_files_are_fetched_once_and_then_stand_in_the_cache() {
    let server = Server::start(Behaviour::default());
    let mut world = World::new(&server);
    world.options.token = Some(Token::new("hf_canary"));
    let found = world.find(&of_hub()).unwrap();
    assert_eq!(
        (found.source, found.revision.as_deref()),
        (Source::Hub, Some(COMMIT))
    );
    assert_eq!(read(&found.folder, "data/train.jsonl"), TRAIN);
    assert_eq!(read(&found.folder, "data/test.jsonl"), "a test\n");
    let asked = server.requests();
    assert_eq!(asked.len(), 3);
    assert!(
        asked
            .iter()
            .all(|request| request.contains("Bearer hf_canary"))
    );

    world.options.offline = true;
    let again = world.find(&of_hub()).unwrap();
    assert_eq!((again.source, again.folder), (Source::Cache, found.folder));
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_file_of_an_address_has_its_hash_and_no_token() {
    let server = Server::start(Behaviour::default());
    let mut world = World::new(&server);
    world.options.token = Some(Token::new("hf_canary"));
    let url = format!("{}/train.jsonl", server.url);
    let mut origin = Origin {
        url: Some(&url),
        sha256: Some(SHA256),
        ..Origin::default()
    };
    let found = world.find(&origin).unwrap();
    assert_eq!(read(&found.folder, "train.jsonl"), TRAIN);
    assert!(!server.requests()[0].contains("canary"));

    // A file that was changed afterwards is not taken for it.
    std::fs::write(found.folder.join("train.jsonl"), "other").unwrap();
    world.options.offline = true;
    let error = world.find(&origin).unwrap_err().to_string();
    assert!(error.contains("the SHA-256 of train.jsonl is"), "{error}");

    let world = World::new(&server);
    let zeros = "0".repeat(64);
    origin.sha256 = Some(&zeros);
    let error = world.find(&origin).unwrap_err().to_string();
    assert!(
        error.contains(SHA256) && error.contains("expected 000"),
        "{error}"
    );

    let pattern = format!("{}/{{file}}.jsonl", server.url);
    let several = Origin {
        url: Some(&pattern),
        files: vec!["train", "test"],
        ..Origin::default()
    };
    let found = world.find(&several).unwrap();
    assert_eq!(read(&found.folder, "test"), "a test\n");
}

#[test]
fn a_download_goes_on_where_it_broke_off() {
    let check = |behaviour: Behaviour, sha256: Option<&str>, expected: &str| {
        let server = Server::start(behaviour);
        let world = World::new(&server);
        let url = format!("{}/train.jsonl", server.url);
        let origin = Origin {
            url: Some(&url),
            sha256,
            ..Origin::default()
        };
        // One go tries three times; what it could not finish the next one does.
        let found = world
            .find(&origin)
            .or_else(|_| world.find(&origin))
            .unwrap();
        assert_eq!(read(&found.folder, "train.jsonl"), TRAIN);
        let range = |request: &String| {
            let lower = request.to_lowercase();
            let from = lower
                .split("range: bytes=")
                .nth(1)
                .map(|rest| rest.split('-').next());
            from.flatten().unwrap_or("all").to_owned()
        };
        let asked: Vec<String> = server.requests().iter().map(range).collect();
        assert_eq!(asked.join(" "), expected);
    };
    let cut = |cuts| Behaviour {
        cuts,
        ..Behaviour::default()
    };
    check(cut(0), None, "all");
    check(cut(1), None, "all 11");
    check(cut(4), None, "all 11 16 19 20");
    let untagged = Behaviour {
        without_tag: true,
        ..cut(1)
    };
    check(untagged, None, "all all");
    check(untagged, Some(SHA256), "all 11");
    let whole = Behaviour {
        without_ranges: true,
        ..cut(1)
    };
    check(whole, None, "all 11");
}

#[test]
fn the_cache_of_other_tools_is_read() {
    let server = Server::start(Behaviour::default());
    let mut world = World::new(&server);
    world.options.offline = true;
    let repository = world.folder.path().join("hf/datasets--org--tiny");
    let error = world.find(&of_hub()).unwrap_err().to_string();
    assert!(
        error.contains("datasets--org--tiny: data/train.jsonl is not there")
            && error.contains("not asked: HF_HUB_OFFLINE is set"),
        "{error}"
    );
    let snapshot = repository.join("snapshots").join(COMMIT);
    std::fs::create_dir_all(snapshot.join("data")).unwrap();
    std::fs::create_dir_all(repository.join("refs")).unwrap();
    std::fs::write(repository.join("refs/main"), COMMIT).unwrap();
    for file in ["train", "test"] {
        std::fs::write(snapshot.join(format!("data/{file}.jsonl")), "x").unwrap();
    }
    let found = world.find(&of_hub()).unwrap();
    assert_eq!(found.source, Source::HuggingFaceCache);
    assert_eq!(found.folder, snapshot);
}

#[test]
fn what_cannot_be_had_is_named() {
    let server = Server::start(Behaviour::default());
    let world = World::new(&server);
    let check = |origin: Origin<'_>, expected: &str| {
        let error = world.find(&origin).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let hub = Some("org/tiny");
    let file = |file| Origin {
        hub,
        files: vec![file],
        ..Origin::default()
    };
    check(
        file("data/dev.jsonl"),
        "has no file data/dev.jsonl; it has data/train.jsonl, data/test.jsonl",
    );
    check(file("../x"), "must be a plain path inside the data set");
    check(
        file("/etc/passwd"),
        "must be a plain path inside the data set",
    );
    check(
        Origin {
            hub,
            ..Origin::default()
        },
        "the name of the file is missing",
    );
    check(Origin::default(), "from the hub or from a url");
    let url = Some("ftp://a.b/c");
    check(
        Origin {
            url,
            ..Origin::default()
        },
        "must begin with https://",
    );
    let gone = format!("{}/none.jsonl", server.url);
    let url = Some(gone.as_str());
    check(
        Origin {
            url,
            ..Origin::default()
        },
        "status 404",
    );
}

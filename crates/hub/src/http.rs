//! The hub's HTTP interface: one question for the list of files, then one a file.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use ureq::config::RedirectAuthHeaders;
use ureq::http::Response;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::typestate::WithoutBody;
use ureq::{Agent, Body, Proxy, RequestBuilder};

use crate::error::{Error, Result};
use crate::options::HubOptions;
use crate::{files, fs};

/// Fetches the wanted files of `name` into `part`, and returns the commit that they belong to.
pub(crate) fn fetch(
    name: &str,
    revision: &str,
    options: &HubOptions,
    part: &Path,
    note: &mut dyn FnMut(&str),
) -> Result<String> {
    let hub = Hub::open(options)?;
    let (commit, remote) = hub.list("models", name, revision)?;
    let names: Vec<&str> = remote.iter().map(|file| file.name.as_str()).collect();
    if let Some(what) = files::missing(&names) {
        let url = format!("{}/{name}", hub.endpoint);
        return Err(Error::Http {
            url,
            what: format!("the repository has no {what}"),
        });
    }
    for wanted in files::wanted(&names) {
        let file = remote
            .iter()
            .find(|file| file.name == wanted)
            .expect("the wanted names come out of this list");
        let size = file
            .size
            .map(|size| format!(" ({})", in_units(size)))
            .unwrap_or_default();
        note(&format!(
            "fetching {wanted}{size} of {name} from {}",
            hub.endpoint
        ));
        hub.download(name, &commit, file, &part.join(wanted))?;
    }
    Ok(commit)
}

/// A connection to one end point.
pub(crate) struct Hub<'a> {
    agent: Agent,
    pub(crate) endpoint: &'a str,
    authorization: Option<String>,
}

/// A file of a repository, as the hub lists it.
pub(crate) struct Remote {
    pub(crate) name: String,
    pub(crate) size: Option<u64>,
    /// Known for large files only.
    pub(crate) sha256: Option<String>,
}

impl<'a> Hub<'a> {
    pub(crate) fn open(options: &'a HubOptions) -> Result<Self> {
        let endpoint = options.endpoint.trim_end_matches('/');
        let bad = |what: String| Error::Http {
            url: endpoint.to_owned(),
            what,
        };
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            return Err(bad(
                "HF_ENDPOINT must begin with https:// or http://".to_owned()
            ));
        }
        let agent = agent(options, endpoint)?;
        let authorization = token(options)?.map(|token| format!("Bearer {token}"));
        Ok(Self {
            agent,
            endpoint,
            authorization,
        })
    }

    /// The commit of `revision` and its files; `kind` is `models` or `datasets`.
    pub(crate) fn list(
        &self,
        kind: &str,
        name: &str,
        revision: &str,
    ) -> Result<(String, Vec<Remote>)> {
        let url = format!(
            "{}/api/{kind}/{name}/revision/{revision}?blobs=true",
            self.endpoint
        );
        let text = self
            .get(&url)?
            .body_mut()
            .with_config()
            .limit(64 << 20)
            .read_to_string()
            .map_err(|e| self.explain(&url, &e))?;
        let unexpected = |what: &str| Error::Http {
            url: url.clone(),
            what: format!("the answer has {what}"),
        };
        let answer: Value =
            serde_json::from_str(&text).map_err(|_| unexpected("no JSON: is this a hub?"))?;
        let commit = answer["sha"].as_str().filter(|sha| is_commit(sha));
        let commit = commit.ok_or_else(|| unexpected("no commit (`sha`)"))?;
        let files = answer["siblings"]
            .as_array()
            .ok_or_else(|| unexpected("no `siblings`"))?;
        let remote = files.iter().filter_map(|file| {
            Some(Remote {
                name: file["rfilename"].as_str()?.to_owned(),
                size: file["size"].as_u64(),
                sha256: file["lfs"]["sha256"].as_str().map(str::to_owned),
            })
        });
        Ok((commit.to_owned(), remote.collect()))
    }

    fn download(&self, name: &str, commit: &str, file: &Remote, to: &Path) -> Result<()> {
        let url = format!("{}/{name}/resolve/{commit}/{}", self.endpoint, file.name);
        let bad = |what: String| Error::Http {
            url: url.clone(),
            what,
        };
        let mut response = self.get(&url)?;
        let length = response.body().content_length();
        let mut body = response.body_mut().as_reader();
        let (bytes, sha256) = fs::write(to, &mut (&mut body as &mut dyn Read))?
            .map_err(|e| bad(format!("the download broke off: {e}")))?;
        if let Some(expected) = file.size.or(length).filter(|expected| *expected != bytes) {
            return Err(bad(format!(
                "the download ended after {bytes} of {expected} bytes"
            )));
        }
        if let Some(expected) = file.sha256.as_ref().filter(|expected| **expected != sha256) {
            return Err(bad(format!(
                "the SHA-256 is {sha256}, the hub promised {expected}"
            )));
        }
        Ok(())
    }

    fn get(&self, url: &str) -> Result<Response<Body>> {
        self.request(url).call().map_err(|e| self.explain(url, &e))
    }

    /// A question to the hub, with the token.
    pub(crate) fn request(&self, url: &str) -> RequestBuilder<WithoutBody> {
        let request = self.agent.get(url);
        match &self.authorization {
            Some(authorization) => request.header("Authorization", authorization),
            None => request,
        }
    }

    fn explain(&self, url: &str, error: &ureq::Error) -> Error {
        explain(url, error, self.authorization.is_some())
    }
}

/// A client on the way to `url`.
pub(crate) fn agent(options: &HubOptions, url: &str) -> Result<Agent> {
    // The message of a bad proxy could hold its password.
    let bad = |_| Error::Http {
        url: url.to_owned(),
        what: "the proxy's address cannot be read".to_owned(),
    };
    let proxy = options.proxies.of(url);
    let proxy = proxy.map(|proxy| Proxy::new(proxy.reveal()).map_err(bad));
    let connect = Some(Duration::from_secs(options.connect_timeout_seconds));
    let stall = Some(Duration::from_secs(options.stall_timeout_seconds));
    Ok(Agent::config_builder()
        .timeout_resolve(connect)
        .timeout_connect(connect)
        .timeout_recv_response(stall)
        .timeout_per_read(stall)
        .redirect_auth_headers(RedirectAuthHeaders::SameHost)
        .proxy(proxy.transpose()?)
        .tls_config(TlsConfig::builder().root_certs(roots(options)?).build())
        .user_agent(concat!("stillhouse/", env!("CARGO_PKG_VERSION")))
        .build()
        .into())
}

/// What went wrong, in words.
pub(crate) fn explain(url: &str, error: &ureq::Error, with_token: bool) -> Error {
    use ureq::Error::{Io, StatusCode, Timeout};
    let what = match error {
        StatusCode(code @ (401 | 403)) if with_token => {
            format!("status {code}: the token does not open it, or there is none such")
        }
        StatusCode(code @ (401 | 403)) => {
            format!("status {code}: none such, or it asks for a token (set HF_TOKEN)")
        }
        StatusCode(404) => "status 404: no such repository, revision or file".to_owned(),
        StatusCode(429) => "status 429: too many requests, try again later".to_owned(),
        StatusCode(code) => format!("status {code}"),
        Timeout(what) => format!("no answer in time ({what})"),
        Io(e) => format!("cannot be reached: {e}"),
        other => format!("cannot be reached: {other}"),
    };
    Error::Http {
        url: url.to_owned(),
        what,
    }
}

/// The token of the options, or of the file that a log-in of another tool left.
fn token(options: &HubOptions) -> Result<Option<String>> {
    let (token, place) = match (&options.token, &options.token_file) {
        (Some(token), _) => (token.reveal().to_owned(), Path::new("HF_TOKEN")),
        (None, Some(path)) if path.is_file() => (fs::read_text(path)?.trim().to_owned(), &**path),
        _ => return Ok(None),
    };
    // A header cannot hold anything else, and its error would have to show it.
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Error::file(
            place,
            "holds no token: one word of printable characters",
        ));
    }
    Ok(Some(token))
}

/// The certificates to trust: the user's file, or those that are built in.
fn roots(options: &HubOptions) -> Result<RootCerts> {
    let Some(path) = &options.certificates_file else {
        return Ok(RootCerts::WebPki);
    };
    let pem = fs::read(path)?;
    let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(Error::file(path, "holds no certificate in PEM form"));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

fn is_commit(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

pub(crate) fn in_units(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

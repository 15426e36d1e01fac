//! Data sets: files of a repository on the hub, or of an address, kept in our cache as they came.
//!
//! A download that broke off goes on where it was, where the server says that the file is still
//! the same (its `ETag`) or where a hash is known; what is whole has its name, what is not ends
//! in `.part`.

use std::path::{Component, Path, PathBuf};

use ureq::http::Response;
use ureq::typestate::WithoutBody;
use ureq::{Body, RequestBuilder};

use crate::error::{Error, Result, Tried};
use crate::http::{self, Hub};
use crate::options::HubOptions;
use crate::{Id, Source, fs};

/// Tries of one file in one go, after a connection broke.
const TRIES: usize = 3;
/// Holds the commit whose files stand in a folder of our cache.
const REVISION: &str = "REVISION";

/// Where the files of a data set can be had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin<'a> {
    /// A data set on the hub: `org/name`.
    pub hub: Option<&'a str>,
    /// Its branch, tag or commit; unset, `main`.
    pub revision: Option<&'a str>,
    /// An address; `{file}` in it stands for the name of each file.
    pub url: Option<&'a str>,
    /// The files' names, as the repository has them.
    pub files: Vec<&'a str>,
    /// The SHA-256 of the file, where there is one alone.
    pub sha256: Option<&'a str>,
}

/// The files of a data set on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundData {
    /// The folder in which they stand under their names.
    pub folder: PathBuf,
    /// Their names.
    pub files: Vec<String>,
    /// Where they were found.
    pub source: Source,
    /// The hub's commit, where it is known.
    pub revision: Option<String>,
}

/// Finds the files of a data set: in our cache, in the Hugging Face cache, else on the hub or at
/// their address.
///
/// What is being fetched is told to `note`, one sentence at a time.
pub fn find_data(
    origin: &Origin<'_>,
    options: &HubOptions,
    note: &mut dyn FnMut(&str),
) -> Result<FoundData> {
    let wanted = Wanted::new(origin)?;
    let place = options.cache_folder.join("data").join(&wanted.key);
    let mut tried = Vec::new();
    match own(&wanted, &place) {
        Ok(found) => return Ok(found),
        Err(reason) => tried.push(reason),
    }
    if let Some(id) = &wanted.id {
        match hugging_face(&wanted, id, options) {
            Ok(found) => return Ok(found),
            Err(reason) => tried.push(reason),
        }
    }
    if options.offline {
        let reason = "not asked: HF_HUB_OFFLINE is set";
        tried.push(Tried::new("the network", reason));
        return Err(Error::NotFound {
            name: wanted.name,
            tried,
            is_offline: true,
        });
    }
    let _lock = fs::lock(&place.with_added_extension("lock"), note)?;
    if let Ok(found) = own(&wanted, &place) {
        return Ok(found);
    }
    fs::create_folder(&place)?;
    let (from, fetched) = match &wanted.id {
        Some(id) => ("hub", fetch_repository(&wanted, id, options, &place, note)),
        None => ("address", fetch_address(&wanted, options, &place, note)),
    };
    match fetched {
        Ok(()) => Ok(FoundData {
            revision: revision_of(&place),
            files: wanted.names(),
            folder: place,
            source: Source::Hub,
        }),
        Err(reason) => {
            tried.push(Tried::new(from, reason.to_string()));
            Err(Error::NotFound {
                name: wanted.name,
                tried,
                is_offline: false,
            })
        }
    }
}

/// An origin, checked.
struct Wanted<'a> {
    /// For messages.
    name: String,
    /// The folder in our cache.
    key: String,
    id: Option<Id<'a>>,
    url: Option<&'a str>,
    files: Vec<&'a str>,
    sha256: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    fn new(origin: &Origin<'a>) -> Result<Self> {
        let bad = |what: &str| {
            let place = origin.hub.or(origin.url).unwrap_or("[from]");
            Err(Error::Http {
                url: place.to_owned(),
                what: what.to_owned(),
            })
        };
        let mut files = origin.files.clone();
        let (id, key) = match (origin.hub, origin.url) {
            (Some(hub), None) => {
                let id = Id::of(hub, origin.revision.unwrap_or("main"))?;
                let key = crate::cache::name_of(&id);
                (Some(id), key)
            }
            (None, Some(url)) => {
                if !url.starts_with("https://") && !url.starts_with("http://") {
                    return bad("must begin with https:// or http://");
                }
                let bare = url.split(['?', '#']).next().unwrap_or_default();
                if files.is_empty() {
                    files.extend(bare.rsplit('/').next());
                }
                if files.len() > 1 && !url.contains("{file}") {
                    return bad("is one address for several files; put {file} into it");
                }
                (
                    None,
                    format!("url-{}", &fs::sha256_of(url.as_bytes())[..16]),
                )
            }
            _ => return bad("a data set comes from the hub or from a url, one of them"),
        };
        if files.is_empty() {
            return bad("the name of the file is missing: set `file` in [from]");
        }
        let is_inside = |file: &&str| {
            let mut parts = Path::new(file).components();
            !file.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)))
        };
        if !files.iter().all(is_inside) {
            return bad("a file's name must be a plain path inside the data set");
        }
        if origin.sha256.is_some() && files.len() > 1 {
            return bad("one SHA-256 goes with one file");
        }
        Ok(Self {
            name: origin.hub.or(origin.url).unwrap_or_default().to_owned(),
            key,
            id,
            url: origin.url,
            files,
            sha256: origin.sha256,
        })
    }

    fn names(&self) -> Vec<String> {
        self.files.iter().map(|file| (*file).to_owned()).collect()
    }

    /// Whether all files stand in `folder`, and are those that are meant.
    fn is_in(&self, folder: &Path) -> std::result::Result<(), String> {
        for file in &self.files {
            let path = folder.join(file);
            if !path.is_file() {
                return Err(format!("{file} is not there"));
            }
            let Some(expected) = self.sha256 else {
                continue;
            };
            let found = fs::sha256(&path).map_err(|e| e.to_string())?;
            if !found.eq_ignore_ascii_case(expected) {
                return Err(format!(
                    "the SHA-256 of {file} is {found}, expected {expected}"
                ));
            }
        }
        Ok(())
    }
}

fn revision_of(folder: &Path) -> Option<String> {
    let text = fs::read_text(&folder.join(REVISION)).ok()?;
    Some(text.trim().to_owned())
}

fn own(wanted: &Wanted<'_>, place: &Path) -> std::result::Result<FoundData, Tried> {
    let tried = |reason| Tried::new(format!("cache {}", place.display()), reason);
    wanted.is_in(place).map_err(tried)?;
    Ok(FoundData {
        folder: place.to_owned(),
        files: wanted.names(),
        source: Source::Cache,
        revision: revision_of(place),
    })
}

/// The cache of other tools: `datasets--org--name/snapshots/COMMIT`.
fn hugging_face(
    wanted: &Wanted<'_>,
    id: &Id<'_>,
    options: &HubOptions,
) -> std::result::Result<FoundData, Tried> {
    let Some(cache) = &options.hugging_face_cache else {
        let reason = "no home folder is known";
        return Err(Tried::new("the Hugging Face cache", reason));
    };
    let repository = cache.join(format!("datasets--{}", id.name.replace('/', "--")));
    let tried = |reason| {
        let place = format!("Hugging Face cache {}", repository.display());
        Tried::new(place, reason)
    };
    let reference = fs::read_text(&repository.join("refs").join(id.revision));
    let commit = reference.map_or(id.revision.to_owned(), |text| text.trim().to_owned());
    let folder = repository.join("snapshots").join(&commit);
    wanted.is_in(&folder).map_err(tried)?;
    Ok(FoundData {
        folder,
        files: wanted.names(),
        source: Source::HuggingFaceCache,
        revision: Some(commit),
    })
}

fn fetch_repository(
    wanted: &Wanted<'_>,
    id: &Id<'_>,
    options: &HubOptions,
    place: &Path,
    note: &mut dyn FnMut(&str),
) -> Result<()> {
    let hub = Hub::open(options)?;
    let (commit, remote) = hub.list("datasets", id.name, id.revision)?;
    // Files of two commits must not stand side by side.
    if revision_of(place).is_some_and(|before| before != commit) {
        fs::remove(place)?;
        fs::create_folder(place)?;
    }
    let text = format!("{commit}\n");
    fs::write(&place.join(REVISION), &mut text.as_bytes())?.map_err(|e| Error::io(place, e))?;
    for wanted_file in &wanted.files {
        let Some(file) = remote.iter().find(|file| file.name == *wanted_file) else {
            let names: Vec<&str> = remote.iter().take(20).map(|f| f.name.as_str()).collect();
            return Err(Error::Http {
                url: format!("{}/datasets/{}", hub.endpoint, id.name),
                what: format!("has no file {wanted_file}; it has {}", names.join(", ")),
            });
        };
        let url = format!(
            "{}/datasets/{}/resolve/{commit}/{wanted_file}",
            hub.endpoint, id.name
        );
        let download = Download {
            url: &url,
            to: &place.join(wanted_file),
            size: file.size,
            sha256: file.sha256.as_deref().or(wanted.sha256),
        };
        download.fetch(&|| hub.request(&url), note)?;
        check_named(wanted, &download)?;
    }
    Ok(())
}

fn fetch_address(
    wanted: &Wanted<'_>,
    options: &HubOptions,
    place: &Path,
    note: &mut dyn FnMut(&str),
) -> Result<()> {
    for file in &wanted.files {
        let url = wanted.url.unwrap_or_default().replace("{file}", file);
        let agent = http::agent(options, &url)?;
        let download = Download {
            url: &url,
            to: &place.join(file),
            size: None,
            sha256: wanted.sha256,
        };
        download.fetch(&|| agent.get(&url), note)?;
    }
    Ok(())
}

/// The dataset file's own hash, where the hub promised another one.
fn check_named(wanted: &Wanted<'_>, download: &Download<'_>) -> Result<()> {
    let Some(expected) = wanted.sha256 else {
        return Ok(());
    };
    let found = fs::sha256(download.to)?;
    if found.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    fs::remove(download.to)?;
    Err(download.bad(format!(
        "the SHA-256 is {found}, the dataset file expects {expected}"
    )))
}

/// One file on its way.
struct Download<'a> {
    url: &'a str,
    to: &'a Path,
    size: Option<u64>,
    sha256: Option<&'a str>,
}

impl Download<'_> {
    fn bad(&self, what: String) -> Error {
        Error::Http {
            url: self.url.to_owned(),
            what,
        }
    }

    /// Fetches the file unless it is there, from where an earlier try broke off.
    fn fetch(
        &self,
        request: &dyn Fn() -> RequestBuilder<WithoutBody>,
        note: &mut dyn FnMut(&str),
    ) -> Result<()> {
        if self.to.is_file() {
            return Ok(());
        }
        let part = self.to.with_added_extension("part");
        let tag_file = self.to.with_added_extension("part.etag");
        for left in (0..TRIES).rev() {
            let have = fs::length(&part);
            let tag = fs::read_text(&tag_file).ok();
            // Without either, what is there could be a part of something else.
            let resumes = have > 0 && (tag.is_some() || self.sha256.is_some());
            let mut question = request();
            if resumes {
                question = question.header("Range", format!("bytes={have}-"));
                if let Some(tag) = &tag {
                    question = question.header("If-Range", tag.trim());
                }
            }
            let size = self.size.map(|size| format!(" ({})", http::in_units(size)));
            let size = size.unwrap_or_default();
            let from = if resumes {
                format!(", from byte {have} on")
            } else {
                String::new()
            };
            note(&format!("fetching {}{size}{from}", self.url));
            let mut response = match question.call() {
                Ok(response) => response,
                // The part is longer than the file.
                Err(ureq::Error::StatusCode(416)) if resumes => {
                    fs::remove(&part)?;
                    continue;
                }
                Err(ureq::Error::Io(_)) if left > 0 => continue,
                Err(error) => return Err(http::explain(self.url, &error, false)),
            };
            let goes_on = resumes && is_rest(&response, have);
            let before = if goes_on { have } else { 0 };
            keep_tag(&response, &tag_file)?;
            let length = response.body().content_length();
            let mut body = response.body_mut().as_reader();
            let written = fs::append(&part, goes_on, &mut body)?;
            match written {
                Ok(bytes) if length.is_none_or(|length| length == bytes) => {
                    self.verify(&part, before + bytes)?;
                    fs::remove(&tag_file)?;
                    return fs::replace(&part, self.to);
                }
                Ok(bytes) if left == 0 => {
                    let expected = length.unwrap_or_default() + before;
                    let found = bytes + before;
                    let what = format!("the download ended after {found} of {expected} bytes");
                    return Err(self.bad(what));
                }
                Err(error) if left == 0 => {
                    return Err(self.bad(format!("the download broke off: {error}")));
                }
                Ok(_) | Err(_) => {}
            }
        }
        Err(self.bad("the server gives no rest and no whole of it".to_owned()))
    }

    fn verify(&self, part: &Path, bytes: u64) -> Result<()> {
        let mut wrong = None;
        if let Some(size) = self.size.filter(|size| *size != bytes) {
            wrong = Some(format!("the download has {bytes} bytes, expected {size}"));
        } else if let Some(expected) = self.sha256 {
            let found = fs::sha256(part)?;
            if !found.eq_ignore_ascii_case(expected) {
                wrong = Some(format!("the SHA-256 is {found}, expected {expected}"));
            }
        }
        match wrong {
            None => Ok(()),
            Some(what) => {
                fs::remove(part)?;
                Err(self.bad(what))
            }
        }
    }
}

/// Whether the answer is what follows the first `have` bytes.
fn is_rest(response: &Response<Body>, have: u64) -> bool {
    let range = response.headers().get("content-range");
    let range = range.and_then(|value| value.to_str().ok());
    response.status() == 206
        && range.is_some_and(|range| range.starts_with(&format!("bytes {have}-")))
}

/// Keeps the mark by which the server knows this content; a weak one promises too little.
fn keep_tag(response: &Response<Body>, to: &Path) -> Result<()> {
    let tag = response.headers().get("etag");
    let tag = tag.and_then(|value| value.to_str().ok());
    match tag.filter(|tag| tag.starts_with('"')) {
        Some(tag) => {
            let mut bytes = tag.as_bytes();
            fs::write(to, &mut bytes)?.map_err(|e| Error::io(to, e))?;
            Ok(())
        }
        None => fs::remove(to),
    }
}

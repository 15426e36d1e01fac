//! Vectors kept on disk, one file an encoder, so that a text is embedded once and not once a run.
//!
//! The file is a header and records of one size: the beginning of the text's SHA-256, a checksum,
//! and the vector in f32, so that a kept vector equals a fresh one bit for bit.
//! Several processes may use it at once.
//! A record that was cut off or changed is embedded again; a file that is not ours is begun anew.

use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Embed, TokenMatch};
use crate::error::{Error, Result};
use crate::event::{Event, Observer, tell};
use crate::fs;

/// Format and version, the width of a vector, and the hash of the encoder's key.
const HEADER: usize = 48;
const MAGIC: &[u8; 12] = b"sh-vectors 1";
/// Before the vector of a record: a text's hash and the checksum.
const RECORD_HEAD: usize = 24;
/// Texts that are embedded between two visits to the disk.
const TEXTS_A_SAVE: usize = 2048;
/// Records that are read at once where they stand side by side.
const RECORDS_A_READ: usize = 256;

/// The beginning of a text's SHA-256.
type Key = [u8; 16];

/// An embedder whose vectors are kept.
#[derive(Debug)]
pub struct Cached<E> {
    /// Who makes the vectors that are not there.
    pub embedder: E,
    file: VectorFile,
}

impl<E: Embed> Cached<E> {
    /// Keeps vectors in `folder`, under `key`: all that a vector depends on beside the text.
    ///
    /// A file that would grow beyond `most_bytes` is begun anew.
    pub fn open(embedder: E, key: &str, folder: &Path, most_bytes: Option<u64>) -> Result<Self> {
        fs::create_folder(folder)?;
        let file = VectorFile::open(folder, key, most_bytes.unwrap_or(u64::MAX))?;
        Ok(Self { embedder, file })
    }

    /// Vectors on disk.
    pub fn n_kept(&self) -> usize {
        self.file.places.len()
    }
}

impl<E: Embed> Embed for Cached<E> {
    fn name(&self) -> &str {
        self.embedder.name()
    }

    fn embed(&mut self, texts: &[&str], observe: &mut Observer<'_>) -> Result<Vec<Vec<f32>>> {
        let mut slots: HashMap<Key, usize> = HashMap::new();
        let mut different: Vec<(Key, &str)> = Vec::new();
        let mut at = Vec::with_capacity(texts.len());
        for text in texts {
            let key = key_of(text);
            at.push(*slots.entry(key).or_insert_with(|| {
                different.push((key, text));
                different.len() - 1
            }));
        }

        let mut vectors = self.file.read(&different, observe)?;
        let missing: Vec<usize> = (0..vectors.len())
            .filter(|i| vectors[*i].is_none())
            .collect();
        let mut before = 0;
        for chunk in missing.chunks(TEXTS_A_SAVE) {
            let texts: Vec<&str> = chunk.iter().map(|i| different[*i].1).collect();
            let fresh = self.embedder.embed(&texts, &mut |event| {
                observe(of_all(event, before, missing.len()))
            })?;
            if fresh.len() != texts.len() {
                let (found, expected) = (fresh.len(), texts.len());
                let what = format!("gave {found} vectors for {expected} texts");
                return Err(Error::option("evaluate.encoder", what));
            }
            let keys: Vec<Key> = chunk.iter().map(|i| different[*i].0).collect();
            self.file.save(&keys, &fresh, observe)?;
            for (i, vector) in chunk.iter().zip(fresh) {
                vectors[*i] = Some(vector);
            }
            before += chunk.len();
        }

        let vectors = vectors.into_iter().flatten();
        let vectors: Vec<Vec<f32>> = vectors.collect();
        if vectors.len() == texts.len() {
            return Ok(vectors);
        }
        Ok(at.into_iter().map(|i| vectors[i].clone()).collect())
    }

    fn n_layers(&self) -> usize {
        self.embedder.n_layers()
    }

    /// States of tokens are not kept: they are hundreds of times as large as the vectors.
    fn match_tokens(
        &mut self,
        pairs: &[(&str, &str)],
        layer: usize,
        observe: &mut Observer<'_>,
    ) -> Result<Vec<TokenMatch>> {
        self.embedder.match_tokens(pairs, layer, observe)
    }
}

/// Progress of one part, told as progress of the whole.
fn of_all(event: Event, before: usize, all: usize) -> Event {
    match event {
        Event::Progress { unit, done, .. } => Event::Progress {
            unit,
            done: before + done,
            total: all,
        },
        other => other,
    }
}

fn key_of(text: &str) -> Key {
    let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    *hash.first_chunk().expect("32 bytes are more than 16")
}

/// The file of one encoder.
#[derive(Debug)]
struct VectorFile {
    path: PathBuf,
    file: fs::Appended,
    key: [u8; 32],
    most_bytes: u64,
    /// 0 while the file is empty.
    width: usize,
    /// Where each text's record begins; of several, the last.
    places: HashMap<Key, u64>,
    /// Why what the file holds cannot be used, until that was told.
    foreign: Option<&'static str>,
    /// Whether the disk has refused once; then nothing more is kept.
    is_full: bool,
}

impl VectorFile {
    fn open(folder: &Path, key: &str, most_bytes: u64) -> Result<Self> {
        let name = &fs::sha256_of(key.as_bytes())[..16];
        let path = folder.join(format!("{name}.vectors"));
        let key = Sha256::digest(key.as_bytes()).into();
        let mut opened = Self {
            file: fs::Appended::open(&path)?,
            path,
            key,
            most_bytes,
            width: 0,
            places: HashMap::new(),
            foreign: None,
            is_full: false,
        };
        opened.scan()?;
        Ok(opened)
    }

    /// Finds the records; their vectors stay on the disk.
    fn scan(&mut self) -> Result<()> {
        let io = |e| Error::io(&self.path, e);
        let length = fs::length(&self.path)?;
        let mut reader = self.file.read_all()?;
        if length == 0 {
            return Ok(());
        }
        let mut header = [0; HEADER];
        if length < HEADER as u64 {
            self.foreign = Some("is cut before its first record");
            return Ok(());
        }
        reader.read_exact(&mut header).map_err(io)?;
        let width = u32::from_le_bytes([header[12], header[13], header[14], header[15]]) as usize;
        if header != header_of(width, &self.key) || width == 0 {
            self.foreign = Some("is not of this version and encoder");
            return Ok(());
        }
        let size = record_size(width);
        let n = (length - HEADER as u64) / size as u64;
        self.places.reserve(n as usize);
        for record in 0..n {
            let mut key = Key::default();
            reader.read_exact(&mut key).map_err(io)?;
            let place = HEADER as u64 + record * size as u64;
            self.places.insert(key, place);
            skip(&mut reader, size - key.len()).map_err(io)?;
        }
        self.width = width;
        Ok(())
    }

    /// The vectors that are there, in the order of `texts`.
    fn read(
        &mut self,
        texts: &[(Key, &str)],
        observe: &mut Observer<'_>,
    ) -> Result<Vec<Option<Vec<f32>>>> {
        if let Some(why) = self.foreign {
            self.warn(&format!("{why} and is begun anew"), observe)?;
        }
        let mut vectors: Vec<Option<Vec<f32>>> = vec![None; texts.len()];
        let mut wanted: Vec<(u64, usize)> = Vec::new();
        for (i, (key, _)) in texts.iter().enumerate() {
            wanted.extend(self.places.get(key).map(|place| (*place, i)));
        }
        wanted.sort_unstable();

        let size = record_size(self.width);
        let mut bytes = Vec::new();
        let mut n_wrong = 0;
        let is_next = |a: &(u64, usize), b: &(u64, usize)| b.0 == a.0 + size as u64;
        for run in wanted
            .chunk_by(is_next)
            .flat_map(|run| run.chunks(RECORDS_A_READ))
        {
            bytes.resize(run.len() * size, 0);
            // Another process may have begun the file anew: what is gone is embedded again.
            if self.file.read_at(run[0].0, &mut bytes).is_err() {
                bytes.fill(0);
            }
            for (record, (_, i)) in bytes.chunks_exact(size).zip(run) {
                let (key, _) = texts[*i];
                vectors[*i] = vector_of(record, &key);
                if vectors[*i].is_none() {
                    self.places.remove(&key);
                    n_wrong += 1;
                }
            }
        }
        if n_wrong > 0 {
            let text = format!("{n_wrong} vectors do not fit their checksums and are made again");
            self.warn(&text, observe)?;
        }
        Ok(vectors)
    }

    /// Appends vectors; a disk that refuses is told once and costs only the keeping.
    fn save(
        &mut self,
        keys: &[Key],
        vectors: &[Vec<f32>],
        observe: &mut Observer<'_>,
    ) -> Result<()> {
        let width = vectors.first().map_or(0, Vec::len);
        let has_one_width = vectors.iter().all(|v| v.len() == width);
        if self.is_full || width == 0 || !has_one_width {
            return Ok(());
        }
        let size = record_size(width);
        let records = keys.iter().zip(vectors);
        let records: Vec<u8> = records.flat_map(|(key, v)| record_of(key, v)).collect();
        let is_anew = self.foreign.take().is_some() || (self.width != 0 && self.width != width);
        let (header, most) = (header_of(width, &self.key), self.most_bytes);
        let mut keeps_others = true;
        let mut prefix = 0;
        let written = self.file.append(|length| {
            let whole = length.saturating_sub(HEADER as u64) / size as u64 * size as u64;
            let kept = HEADER as u64 + whole;
            let is_small = kept + records.len() as u64 <= most;
            if !is_anew && length >= HEADER as u64 && is_small {
                return (kept, records);
            }
            keeps_others = length < HEADER as u64;
            prefix = HEADER as u64;
            (0, [&header[..], &records].concat())
        });
        match written {
            Ok(start) => {
                if !keeps_others {
                    self.places.clear();
                }
                let places = (start + prefix..).step_by(size);
                self.places.extend(keys.iter().copied().zip(places));
                self.width = width;
                Ok(())
            }
            Err(e) => {
                self.is_full = true;
                self.warn(
                    &format!("cannot be written, vectors are not kept: {e}"),
                    observe,
                )
            }
        }
    }

    fn warn(&self, what: &str, observe: &mut Observer<'_>) -> Result<()> {
        let text = format!("{}: {what}", self.path.display());
        tell(observe, Event::Warning { text })
    }
}

fn record_size(width: usize) -> usize {
    RECORD_HEAD + 4 * width
}

fn header_of(width: usize, key: &[u8; 32]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..12].copy_from_slice(MAGIC);
    header[12..16].copy_from_slice(&(width as u32).to_le_bytes());
    header[16..].copy_from_slice(key);
    header
}

fn record_of(key: &Key, vector: &[f32]) -> Vec<u8> {
    let mut record = Vec::with_capacity(record_size(vector.len()));
    record.extend_from_slice(key);
    record.extend_from_slice(&[0; 8]);
    for x in vector {
        record.extend_from_slice(&x.to_le_bytes());
    }
    let sum = checksum(key, &record[RECORD_HEAD..]);
    record[16..RECORD_HEAD].copy_from_slice(&sum);
    record
}

fn vector_of(record: &[u8], key: &Key) -> Option<Vec<f32>> {
    let (head, vector) = record.split_at(RECORD_HEAD);
    let is_whole = head[..16] == key[..] && head[16..] == checksum(key, vector);
    let numbers = vector.as_chunks().0.iter();
    is_whole.then(|| numbers.map(|b| f32::from_le_bytes(*b)).collect())
}

/// Fowler, Noll and Vo's hash over words instead of bytes: it guards against accidents alone.
fn checksum(key: &Key, vector: &[u8]) -> [u8; 8] {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut take = |word: u64| {
        hash = (hash ^ word)
            .wrapping_mul(0x0000_0100_0000_01b3)
            .rotate_left(23);
    };
    for word in key.as_chunks::<8>().0 {
        take(u64::from_le_bytes(*word));
    }
    for word in vector.as_chunks::<4>().0 {
        take(u64::from(u32::from_le_bytes(*word)));
    }
    hash.to_le_bytes()
}

fn skip(reader: &mut impl BufRead, mut n: usize) -> std::io::Result<()> {
    while n > 0 {
        let there = reader.fill_buf()?.len().min(n);
        if there == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        reader.consume(there);
        n -= there;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;

    /// Remembers what it was asked.
    struct Counting {
        asked: Vec<String>,
    }

    impl Embed for Counting {
        fn name(&self) -> &'static str {
            "counting"
        }

        fn embed(&mut self, texts: &[&str], _: &mut Observer<'_>) -> Result<Vec<Vec<f32>>> {
            self.asked
                .extend(texts.iter().map(|text| (*text).to_owned()));
            Ok(texts.iter().map(|text| vector(text)).collect())
        }
    }

    fn vector(text: &str) -> Vec<f32> {
        (1..=5)
            .map(|i| 1.0 / (text.len() as f32 + 0.1 * i as f32))
            .collect()
    }

    /// Embeds with a freshly opened cache: the vectors are right; gives what the embedder was
    /// asked for, and the warnings.
    fn embed(folder: &Path, texts: &[&str]) -> (Vec<String>, Vec<String>) {
        let mut cached = open(folder, "key", None);
        let warnings = embed_with(&mut cached, texts);
        (cached.embedder.asked, warnings)
    }

    fn open(folder: &Path, key: &str, most_bytes: Option<u64>) -> Cached<Counting> {
        Cached::open(Counting { asked: Vec::new() }, key, folder, most_bytes).unwrap()
    }

    fn embed_with(cached: &mut Cached<Counting>, texts: &[&str]) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut observe = |event| {
            if let Event::Warning { text } = event {
                warnings.push(text);
            }
            ControlFlow::Continue(())
        };
        let found = cached.embed(texts, &mut observe).unwrap();
        let expected: Vec<Vec<f32>> = texts.iter().map(|text| vector(text)).collect();
        assert_eq!(found, expected);
        warnings
    }

    fn file_in(folder: &Path) -> PathBuf {
        folder.join(&fs::list(folder).unwrap()[0].0)
    }

    #[test]
    fn a_text_is_embedded_once_and_its_vector_comes_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let (asked, _) = embed(folder.path(), &["one", "three", "one", ""]);
        assert_eq!(asked, ["one", "three", ""]);
        let (asked, warnings) = embed(folder.path(), &["three", "new", "one", "three"]);
        assert_eq!((asked, warnings), (vec!["new".to_owned()], vec![]));
        assert!(embed(folder.path(), &["", "new"]).0.is_empty());
        assert!(embed(folder.path(), &[]).0.is_empty());
    }

    #[test]
    fn another_key_is_another_file() {
        let folder = tempfile::tempdir().unwrap();
        embed_with(&mut open(folder.path(), "key", None), &["one"]);
        let mut other = open(folder.path(), "other", None);
        embed_with(&mut other, &["one"]);
        assert_eq!(other.embedder.asked, ["one"]);
        assert_eq!(fs::list(folder.path()).unwrap().len(), 2);
    }

    #[test]
    fn a_cut_record_costs_only_itself() {
        let folder = tempfile::tempdir().unwrap();
        embed(folder.path(), &["one", "three"]);
        let path = file_in(folder.path());
        let bytes = fs::read(&path).unwrap();
        for n in 1..record_size(5) {
            fs::write(&path, &bytes[..bytes.len() - n]).unwrap();
            let (asked, warnings) = embed(folder.path(), &["one", "three"]);
            assert_eq!((asked, warnings), (vec!["three".to_owned()], vec![]));
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }

    #[test]
    fn a_changed_record_is_told_and_made_again() {
        let folder = tempfile::tempdir().unwrap();
        embed(folder.path(), &["one", "three"]);
        let path = file_in(folder.path());
        let mut bytes = fs::read(&path).unwrap();
        bytes[HEADER + RECORD_HEAD + 3] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let (asked, warnings) = embed(folder.path(), &["one", "three"]);
        assert_eq!(asked, ["one"]);
        assert!(
            warnings[0].contains("1 vectors do not fit their checksums"),
            "{warnings:?}"
        );
        let (asked, warnings) = embed(folder.path(), &["one", "three"]);
        assert_eq!((asked, warnings), (vec![], vec![]));
    }

    #[test]
    fn a_file_that_is_not_ours_is_told_and_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        embed(folder.path(), &["one"]);
        let path = file_in(folder.path());
        for content in ["short", &"not vectors ".repeat(20)] {
            fs::write(&path, content).unwrap();
            let (asked, warnings) = embed(folder.path(), &["one"]);
            assert_eq!((asked.len(), warnings.len()), (1, 1), "{warnings:?}");
            assert!(embed(folder.path(), &["one"]).0.is_empty());
        }
    }

    #[test]
    fn two_that_use_it_at_once_keep_the_vectors_of_both() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = open(folder.path(), "key", None);
        let mut second = open(folder.path(), "key", None);
        embed_with(&mut first, &["a", "bb"]);
        embed_with(&mut second, &["ccc", "bb"]);
        embed_with(&mut first, &["dddd"]);
        embed_with(&mut second, &["ccc", "a"]);
        let texts = ["a", "bb", "ccc", "dddd"];
        assert!(embed(folder.path(), &texts).0.is_empty());
    }

    #[test]
    fn a_file_that_would_grow_too_long_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let most = (HEADER + 2 * record_size(5)) as u64;
        let mut cached = open(folder.path(), "key", Some(most));
        let mut stale = open(folder.path(), "key", Some(most));
        embed_with(&mut cached, &["a", "bb"]);
        embed_with(&mut stale, &["a", "bb"]);
        embed_with(&mut cached, &["ccc"]);
        assert_eq!(cached.n_kept(), 1);
        assert!(fs::length(&file_in(folder.path())).unwrap() <= most);
        // The other still thinks that its vectors are there.
        embed_with(&mut stale, &["a", "bb", "ccc"]);
    }

    #[test]
    fn progress_counts_all_that_is_missing() {
        let event = |done, total| Event::Progress {
            unit: "sentences".to_owned(),
            done,
            total,
        };
        assert_eq!(of_all(event(3, 4), 10, 14), event(13, 14));
    }
}

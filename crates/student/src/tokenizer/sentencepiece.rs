//! A `SentencePiece` model file becomes the tokenizer that transformers makes of it.
//!
//! Its kinds are byte-pair encoding (Llama, Mistral, Gemma) and unigram (T5).
//! The file is a protocol buffer of `ModelProto`, of which few fields matter here.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use tokenizers::normalizers::Precompiled;

use crate::error::{Error, Result};

/// How `SentencePiece` writes a space.
const SPACE: &str = "\u{2581}";

/// What is asked of a model besides its file.
pub(super) struct Wishes {
    /// Whether a text begins with the begin token; byte-pair encodings have one.
    pub(super) adds_bos: bool,
    /// How many sentinels `<extra_id_N>` follow the pieces (T5).
    pub(super) n_sentinels: usize,
    /// More tokens with their ids, in that order; those that the file has are left out.
    pub(super) added: Vec<(usize, String)>,
}

/// The `tokenizer.json` of a model file.
pub(super) fn convert(path: &Path, bytes: &[u8], wishes: &Wishes) -> Result<Vec<u8>> {
    let model = Model::read(bytes)
        .ok_or_else(|| Error::folder(path, "not a SentencePiece model, or cut off"))?;
    let json = match model.kind {
        Kind::Unigram => unigram(path, &model, wishes)?,
        Kind::BytePairs => byte_pairs(&model, wishes),
        Kind::Other(kind) => {
            let what = format!("a model of kind {kind}; supported: unigram (1), byte pairs (2)");
            return Err(Error::folder(path, what));
        }
    };
    Ok(serde_json::to_vec(&json).expect("a tokenizer of ours is JSON"))
}

/// As transformers' converter for Llama; without a space before each text, as that for Gemma.
fn byte_pairs(model: &Model, wishes: &Wishes) -> Value {
    let unknown = &model.pieces[model.unknown].text;
    let mut normalizers =
        vec![json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE})];
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if model.adds_space {
        normalizers.insert(0, json!({"type": "Prepend", "prepend": SPACE}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let bos = model.bos.filter(|_| wishes.adds_bos);
    let vocabulary: BTreeMap<&str, usize> = model.ids().collect();
    assemble(
        model,
        wishes,
        json!({
            "normalizer": {"type": "Sequence", "normalizers": normalizers},
            "pre_tokenizer": null,
            "post_processor": bos.map(|id| around(model, id, true)),
            "decoder": {"type": "Sequence", "decoders": decoders},
            "model": {
                "type": "BPE",
                "dropout": null,
                "unk_token": unknown,
                "continuing_subword_prefix": null,
                "end_of_word_suffix": null,
                "fuse_unk": true,
                "byte_fallback": model.has_bytes,
                "ignore_merges": false,
                "vocab": vocabulary,
                "merges": merges(model),
            },
        }),
    )
}

/// As transformers' tokenizer for T5.
fn unigram(path: &Path, model: &Model, wishes: &Wishes) -> Result<Value> {
    let space = json!({
        "type": "Metaspace",
        "replacement": SPACE,
        "prepend_scheme": "always",
        "split": true,
    });
    let normalizer = match &model.characters[..] {
        [] => Value::Null,
        map => {
            let map = Precompiled::from(map)
                .map_err(|e| Error::folder(path, format!("its map of characters: {e}")))?;
            serde_json::to_value(map).expect("a map of characters is JSON")
        }
    };
    let pieces = model
        .pieces
        .iter()
        .map(|piece| json!([piece.text, piece.score]));
    let sentinels = sentinels(wishes).map(|text| json!([text, 0.0]));
    let pieces: Vec<Value> = pieces.chain(sentinels).collect();
    Ok(assemble(
        model,
        wishes,
        json!({
            "normalizer": normalizer,
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [{"type": "WhitespaceSplit"}, space],
            },
            "post_processor": model.eos.map(|id| around(model, id, false)),
            "decoder": space,
            "model": {
                "type": "Unigram",
                "unk_id": model.unknown,
                "vocab": pieces,
                "byte_fallback": model.has_bytes,
            },
        }),
    ))
}

/// The sentinels in the order of their ids: the last number comes first.
fn sentinels(wishes: &Wishes) -> impl Iterator<Item = String> {
    let numbers = (0..wishes.n_sentinels).rev();
    numbers.map(|number| format!("<extra_id_{number}>"))
}

/// Adds what all tokenizers have: the version and the tokens that are found before all others.
fn assemble(model: &Model, wishes: &Wishes, mut json: Value) -> Value {
    let token = |(id, text, is_special): (usize, &str, bool)| {
        json!({
            "id": id,
            "content": text,
            "single_word": false,
            "lstrip": false,
            "rstrip": false,
            "normalized": false,
            "special": is_special,
        })
    };
    let of_pieces = model.pieces.iter().enumerate();
    let of_pieces = of_pieces.filter_map(|(id, piece)| match piece.kind {
        CONTROL | UNKNOWN => Some((id, &piece.text[..], true)),
        USER_DEFINED => Some((id, &piece.text[..], false)),
        _ => None,
    });
    let sentinels: Vec<String> = sentinels(wishes).collect();
    let sentinels = (model.pieces.len()..).zip(&sentinels);
    let sentinels = sentinels.map(|(id, text)| (id, &text[..], true));
    let n = model.pieces.len() + wishes.n_sentinels;
    let added = wishes.added.iter().filter(|(id, _)| *id >= n);
    let added = added.map(|(id, text)| (*id, &text[..], true));
    let tokens: Vec<Value> = of_pieces.chain(sentinels).chain(added).map(token).collect();
    json["version"] = json!("1.0");
    json["truncation"] = Value::Null;
    json["padding"] = Value::Null;
    json["added_tokens"] = json!(tokens);
    json
}

/// A template with one token before or after a text.
fn around(model: &Model, id: usize, is_before: bool) -> Value {
    let name = &model.pieces[id].text;
    let special = json!({"SpecialToken": {"id": name, "type_id": 0}});
    let with = |text: &str| {
        let text = json!({"Sequence": {"id": text, "type_id": 0}});
        if is_before {
            [special.clone(), text]
        } else {
            [text, special.clone()]
        }
    };
    let pair = [with("A"), with("B")].concat();
    json!({
        "type": "TemplateProcessing",
        "single": with("A"),
        "pair": pair,
        "special_tokens": {name: {"id": name, "ids": [id], "tokens": [name]}},
    })
}

/// Every way of making a piece of two, best pieces first, as transformers' `generate_merges`.
fn merges(model: &Model) -> Vec<[&str; 2]> {
    struct Merge<'a> {
        parts: [&'a str; 2],
        score: f32,
        lengths: [usize; 2],
    }
    let ids: BTreeMap<&str, usize> = model.ids().collect();
    let mut merges = Vec::new();
    for piece in &model.pieces {
        let borders = piece.text.char_indices().skip(1);
        let mut ways: Vec<[&str; 2]> = borders
            .map(|(at, _)| piece.text.split_at(at).into())
            .filter(|parts: &[&str; 2]| parts.iter().all(|part| ids.contains_key(part)))
            .collect();
        ways.sort_by_key(|parts| parts.map(|part| ids[part]));
        merges.extend(ways.into_iter().map(|parts| Merge {
            parts,
            score: piece.score,
            lengths: parts.map(|part| part.chars().count()),
        }));
    }
    // The sort is stable: of equals the first stays first.
    merges.sort_by(|a, b| b.score.total_cmp(&a.score).then(b.lengths.cmp(&a.lengths)));
    merges.into_iter().map(|merge| merge.parts).collect()
}

const UNKNOWN: u64 = 2;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;

struct Piece {
    text: String,
    score: f32,
    kind: u64,
}

enum Kind {
    Unigram,
    BytePairs,
    Other(u64),
}

/// What matters of a `ModelProto`.
struct Model {
    pieces: Vec<Piece>,
    kind: Kind,
    /// Whether unknown characters are written as their bytes.
    has_bytes: bool,
    unknown: usize,
    bos: Option<usize>,
    eos: Option<usize>,
    /// What characters are replaced by, compiled by `SentencePiece`.
    characters: Vec<u8>,
    /// Whether a text begins with a space of its own.
    adds_space: bool,
}

impl Model {
    /// The pieces with their ids.
    fn ids(&self) -> impl Iterator<Item = (&str, usize)> {
        let pieces = self.pieces.iter().enumerate();
        pieces.map(|(id, piece)| (&piece.text[..], id))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        // What a file does not say has the defaults of `sentencepiece_model.proto`.
        let mut model = Self {
            pieces: Vec::new(),
            kind: Kind::Unigram,
            has_bytes: false,
            unknown: 0,
            bos: Some(1),
            eos: Some(2),
            characters: Vec::new(),
            adds_space: true,
        };
        for field in Fields(bytes) {
            match field? {
                (1, Content::Bytes(piece)) => model.pieces.push(Piece::read(piece)?),
                (2, Content::Bytes(trainer)) => model.read_trainer(trainer)?,
                (3, Content::Bytes(normalizer)) => model.read_normalizer(normalizer)?,
                _ => {}
            }
        }
        let n = model.pieces.len();
        let within = |id: &usize| *id < n;
        (model.bos, model.eos) = (model.bos.filter(within), model.eos.filter(within));
        (model.unknown < n).then_some(model)
    }

    fn read_trainer(&mut self, bytes: &[u8]) -> Option<()> {
        // Ids are 32-bit; -1 is none.
        let id = |number: u64| usize::try_from(number as i32).ok();
        for field in Fields(bytes) {
            match field? {
                (3, Content::Number(1)) => self.kind = Kind::Unigram,
                (3, Content::Number(2)) => self.kind = Kind::BytePairs,
                (3, Content::Number(kind)) => self.kind = Kind::Other(kind),
                (35, Content::Number(flag)) => self.has_bytes = flag != 0,
                (40, Content::Number(number)) => self.unknown = id(number)?,
                (41, Content::Number(number)) => self.bos = id(number),
                (42, Content::Number(number)) => self.eos = id(number),
                _ => {}
            }
        }
        Some(())
    }

    fn read_normalizer(&mut self, bytes: &[u8]) -> Option<()> {
        for field in Fields(bytes) {
            match field? {
                (2, Content::Bytes(map)) => self.characters = map.to_vec(),
                (3, Content::Number(flag)) => self.adds_space = flag != 0,
                _ => {}
            }
        }
        Some(())
    }
}

impl Piece {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut piece = Self {
            text: String::new(),
            score: 0.0,
            kind: 1,
        };
        for field in Fields(bytes) {
            match field? {
                (1, Content::Bytes(text)) => piece.text = String::from_utf8(text.to_vec()).ok()?,
                (2, Content::Fixed(bits)) => piece.score = f32::from_bits(bits),
                (3, Content::Number(kind)) => piece.kind = kind,
                _ => {}
            }
        }
        Some(piece)
    }
}

/// What a field of a protocol buffer holds.
enum Content<'a> {
    Number(u64),
    Fixed(u32),
    Bytes(&'a [u8]),
    /// Eight bytes, which no field here has.
    Long,
}

/// The fields of a message with their numbers; `None` where it is cut off.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Content<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Content<'a>)> {
        let key = self.number()?;
        let content = match key & 7 {
            0 => Content::Number(self.number()?),
            1 => {
                self.bytes(8)?;
                Content::Long
            }
            2 => {
                let n = self.number()?;
                Content::Bytes(self.bytes(usize::try_from(n).ok()?)?)
            }
            5 => Content::Fixed(u32::from_le_bytes(self.bytes(4)?.try_into().ok()?)),
            _ => return None,
        };
        Some((key >> 3, content))
    }

    /// Seven bits a byte, the lowest first; the eighth says that more follow.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = *self.bytes(1)? else { return None };
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use stillhouse_core::fs;
    use tokenizers::Tokenizer;

    use super::*;

    fn fixture(name: &str) -> std::path::PathBuf {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/tokenizers");
        Path::new(folder).join(name)
    }

    fn tokenizer(name: &str, n_sentinels: usize) -> Tokenizer {
        let path = fixture(name);
        let wishes = Wishes {
            adds_bos: true,
            n_sentinels,
            added: vec![(360, "<|im_end|>".to_owned())],
        };
        let json = convert(&path, &fs::read(&path).unwrap(), &wishes).unwrap();
        Tokenizer::from_bytes(json).unwrap()
    }

    #[test]
    fn every_text_has_the_tokens_that_sentencepiece_gives_it() {
        let golden: Value = fs::read_json(&fixture("golden.json")).unwrap();
        for (name, golden) in golden.as_object().unwrap() {
            let tokenizer = tokenizer(name, 0);
            for row in golden["texts"].as_array().unwrap() {
                let text = row["text"].as_str().unwrap();
                let found = tokenizer.encode_fast(text, false).unwrap();
                assert_eq!(json!(found.get_ids()), row["ids"], "{name}: {text:?}");
                // Pieces that no text has are written as a sign by one and left out by the other.
                let decoded = row["decoded"].as_str().unwrap();
                if !decoded.contains('\u{2047}') {
                    let again = tokenizer.decode(found.get_ids(), true).unwrap();
                    assert_eq!(again, decoded, "{name}: {text:?}");
                }
            }
        }
    }

    #[test]
    fn begin_and_end_stand_where_the_kind_puts_them() {
        let ids = |name: &str, n_sentinels: usize, text: &str| {
            let tokenizer = tokenizer(name, n_sentinels);
            tokenizer
                .encode_fast(text, true)
                .unwrap()
                .get_ids()
                .to_vec()
        };
        assert_eq!(ids("llama/tokenizer.model", 0, "")[..], [1]);
        assert_eq!(ids("gemma/tokenizer.model", 0, "")[..], [2]);
        assert_eq!(ids("t5/spiece.model", 100, "")[..], [1]);
        assert_eq!(ids("llama/tokenizer.model", 0, "<|im_end|>")[..], [1, 360]);
    }

    #[test]
    fn sentinels_follow_the_pieces_from_the_last_to_the_first() {
        let tokenizer = tokenizer("t5/spiece.model", 100);
        let n = tokenizer.get_vocab_size(false) as u32 - 100;
        assert_eq!(tokenizer.token_to_id("<extra_id_0>"), Some(n + 99));
        assert_eq!(tokenizer.token_to_id("<extra_id_99>"), Some(n));
        let found = tokenizer.encode_fast("ice <extra_id_0>", false).unwrap();
        assert_eq!(found.get_ids().last(), Some(&(n + 99)));
    }

    #[test]
    fn a_file_that_is_cut_or_something_else_is_refused() {
        let path = fixture("llama/tokenizer.model");
        let bytes = fs::read(&path).unwrap();
        let wishes = Wishes {
            adds_bos: true,
            n_sentinels: 0,
            added: Vec::new(),
        };
        for bytes in [&bytes[..bytes.len() / 2], b"not a model at all", b""] {
            let error = convert(&path, bytes, &wishes).unwrap_err().to_string();
            assert!(
                error.contains("not a SentencePiece model, or cut off"),
                "{error}"
            );
        }
    }
}

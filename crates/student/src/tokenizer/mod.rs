//! Text to tokens and back, by a model folder's `tokenizer.json` or `SentencePiece` model, or by one trained here.

mod sentencepiece;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, TokenizerImpl};

use stillhouse_core::fs;

use crate::error::{Error, Result};
use crate::interface::Interface;

/// The files that belong to a tokenizer, copied beside every model that is saved.
const FILES: [&str; 8] = [
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
];

/// A token that Gemma 3's tokenizer has and its models that read text alone lack.
const ROWLESS: &str = "<image_soft_token>";

/// A tokenizer with the files it came from.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// One more than the largest token.
    n_tokens: usize,
    /// Put before every prompt.
    prefix: Vec<u32>,
    /// Name and content of each file, as they were read.
    files: Vec<(String, Vec<u8>)>,
}

impl Tokenizer {
    /// Reads the tokenizer of a model folder and holds it against the model's vocabulary.
    pub fn load(folder: &Path, config: &Interface) -> Result<Self> {
        let mut files = Vec::new();
        for name in FILES {
            let path = folder.join(name);
            if path.is_file() {
                files.push((name.to_owned(), fs::read(&path)?));
            }
        }
        let settings = folder.join("tokenizer_config.json");
        let settings = if settings.is_file() {
            fs::read_json(&settings)?
        } else {
            Value::Null
        };
        let is_model = |(name, _): &(String, Vec<u8>)| FILES[1..3].contains(&&name[..]);
        match files.first() {
            Some((name, _)) if name == "tokenizer.json" => {}
            Some(file) if is_model(file) => {
                let json = converted(folder, file, &settings)?;
                files.insert(0, ("tokenizer.json".to_owned(), json));
            }
            _ => {
                let what = "no tokenizer.json, and no tokenizer.model or spiece.model in its place";
                return Err(Error::folder(folder, what));
            }
        }
        let path = folder.join("tokenizer.json");
        let inner = tokenizers::Tokenizer::from_bytes(&files[0].1)
            .map_err(|e| Error::folder(&path, format!("not a tokenizer: {e}")))?;
        Self::from_parts(inner, &settings, config, files, &path)
    }

    /// Trains a byte-level BPE on the given texts.
    ///
    /// # Panics
    /// Never: the template and the JSON are our own.
    pub fn train<'a>(
        texts: impl Iterator<Item = &'a str> + Send,
        vocabulary: usize,
    ) -> Result<Self> {
        let special = ["<pad>", "<bos>", "<eos>"];
        let smallest = 256 + special.len();
        if vocabulary < smallest {
            return Err(Error::option(
                "student.architecture.vocabulary",
                format!("{vocabulary} is too small; a byte-level tokenizer needs {smallest}"),
            ));
        }
        let mut trainer = BpeTrainer::builder()
            .vocab_size(vocabulary)
            .min_frequency(2)
            .show_progress(false)
            .special_tokens(
                special
                    .iter()
                    .map(|text| AddedToken::from(*text, true))
                    .collect(),
            )
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let byte_level = ByteLevel::new(false, true, true);
        let mut model = TokenizerImpl::<
            BPE,
            tokenizers::NormalizerWrapper,
            ByteLevel,
            TemplateProcessing,
            ByteLevelDecoder,
        >::new(BPE::default());
        model
            .with_pre_tokenizer(Some(byte_level))
            .with_decoder(Some(byte_level));
        let fault = |e: tokenizers::Error| {
            Error::option(
                "student.architecture.vocabulary",
                format!("the tokenizer cannot be trained: {e}"),
            )
        };
        model.train(&mut trainer, texts).map_err(fault)?;
        let template = TemplateProcessing::builder()
            .try_single("<bos> $A")
            .expect("a template of ours")
            .special_tokens(vec![("<bos>", 1)])
            .build()
            .expect("a template of ours");
        model.with_post_processor(Some(template));
        let json = serde_json::to_vec_pretty(&model).expect("a tokenizer is JSON");
        let inner = tokenizers::Tokenizer::from_bytes(&json).map_err(fault)?;
        let names = json!({"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"});
        let mut settings = names.clone();
        settings["tokenizer_class"] = json!("PreTrainedTokenizerFast");
        settings["add_bos_token"] = json!(true);
        settings["clean_up_tokenization_spaces"] = json!(false);
        let generation = json!({"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0});
        let text = |json: &Value| serde_json::to_vec_pretty(json).expect("JSON of ours");
        let files = [
            ("tokenizer.json", json),
            ("tokenizer_config.json", text(&settings)),
            ("special_tokens_map.json", text(&names)),
            ("generation_config.json", text(&generation)),
        ];
        let files = files
            .into_iter()
            .map(|(name, bytes)| (name.to_owned(), bytes))
            .collect();
        Ok(Self {
            n_tokens: n_tokens(&inner),
            inner,
            prefix: vec![1],
            files,
        })
    }

    fn from_parts(
        inner: tokenizers::Tokenizer,
        settings: &Value,
        config: &Interface,
        files: Vec<(String, Vec<u8>)>,
        path: &Path,
    ) -> Result<Self> {
        let n_tokens = n_tokens(&inner);
        if n_tokens > config.vocabulary {
            return Err(Error::folder(
                path,
                format!(
                    "holds token {}, but the model's embedding has {} rows; the folder mixes two models",
                    n_tokens - 1,
                    config.vocabulary
                ),
            ));
        }
        let mut tokenizer = Self {
            inner,
            n_tokens,
            prefix: Vec::new(),
            files,
        };
        // What the post-processor puts before a text; an end token that it adds belongs to none.
        let mut prefix = tokenizer.encode("", true);
        prefix.retain(|id| !config.eos.contains(id) || Some(*id) == config.bos);
        let named = settings["bos_token"]
            .as_str()
            .or(settings["bos_token"]["content"].as_str());
        let bos = named
            .and_then(|text| tokenizer.inner.token_to_id(text))
            .or(config.bos);
        match (settings["add_bos_token"].as_bool(), bos) {
            (Some(true), Some(bos)) if prefix.first() != Some(&bos) => prefix.insert(0, bos),
            (Some(false), Some(bos)) => prefix.retain(|id| *id != bos),
            _ => {}
        }
        tokenizer.prefix = prefix;
        Ok(tokenizer)
    }

    /// The tokens of a prompt, with what stands before every prompt.
    pub fn prompt(&self, text: &str) -> Vec<u32> {
        let mut tokens = self.prefix.clone();
        tokens.extend(self.completion(text));
        tokens
    }

    /// The tokens of a completion, with nothing before or after it.
    pub fn completion(&self, text: &str) -> Vec<u32> {
        self.encode(text, false)
    }

    /// Where each token of a completion ends, in bytes; it begins where the one before it ends.
    pub(crate) fn spans(&self, text: &str) -> Vec<usize> {
        let Ok(encoding) = self.inner.encode(text, false) else {
            return Vec::new();
        };
        let mut end = 0;
        let ends = encoding.get_offsets().iter().map(|(_, at)| {
            // White space may belong to no token's own span, and bytes of one character to several.
            end = end.max(*at);
            end
        });
        ends.collect()
    }

    /// The token that stands for exactly this text inside a completion, if there is one.
    pub(crate) fn one_token(&self, text: &str) -> Option<u32> {
        match self.completion(text).as_slice() {
            [token] if self.decode_all(&[*token]) == text => Some(*token),
            _ => None,
        }
    }

    /// Where two tokenizers differ, in words; nothing where they read every text alike.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        let (ours, theirs) = (self.inner.get_vocab(true), other.inner.get_vocab(true));
        if ours != theirs {
            let differing = ours
                .iter()
                .filter(|(text, id)| theirs.get(*text) != Some(id))
                .count();
            return Some(format!(
                "{} and {} tokens, of which {differing} of the first differ",
                ours.len(),
                theirs.len()
            ));
        }
        let starts = (&self.prefix, &other.prefix);
        (starts.0 != starts.1).then(|| {
            format!(
                "a prompt begins with {:?} and with {:?}",
                self.decode_all(starts.0),
                other.decode_all(starts.1)
            )
        })
    }

    /// The text of tokens, without special ones.
    pub fn decode(&self, tokens: &[u32]) -> String {
        self.inner.decode(tokens, true).unwrap_or_default()
    }

    /// The text of tokens, special ones too.
    pub fn decode_all(&self, tokens: &[u32]) -> String {
        self.inner.decode(tokens, false).unwrap_or_default()
    }

    /// How many tokens there are: one more than the largest.
    pub fn vocabulary(&self) -> usize {
        self.n_tokens
    }

    /// Writes the tokenizer's files into a model folder.
    pub fn save(&self, folder: &Path) -> Result<()> {
        for (name, bytes) in &self.files {
            fs::write(&folder.join(name), bytes)?;
        }
        Ok(())
    }

    fn encode(&self, text: &str, special: bool) -> Vec<u32> {
        // Encoding fails only where a model lacks its unknown token; such a text has no tokens.
        let encoding = self.inner.encode_fast(text, special);
        let ids = encoding.map(|e| e.get_ids().to_vec());
        let mut ids = ids.unwrap_or_default();
        ids.retain(|id| (*id as usize) < self.n_tokens);
        ids
    }
}

/// One more than the largest token.
fn n_tokens(inner: &tokenizers::Tokenizer) -> usize {
    let tokens = inner.get_vocab(true).into_iter();
    let tokens = tokens.filter(|(text, _)| text != ROWLESS);
    tokens.map(|(_, id)| id as usize + 1).max().unwrap_or(0)
}

/// The `tokenizer.json` of a folder that has a `SentencePiece` model alone.
fn converted(
    folder: &Path,
    (name, bytes): &(String, Vec<u8>),
    settings: &Value,
) -> Result<Vec<u8>> {
    let json = |name: &str| {
        let path = folder.join(name);
        let found: Option<Value> = path.is_file().then(|| fs::read_json(&path)).transpose()?;
        Ok::<_, Error>(found.unwrap_or_default())
    };
    // T5's files do not hold its hundred sentinels.
    let is_t5 = json("config.json")?["model_type"] == "t5";
    let n_sentinels = settings["extra_ids"].as_u64();
    let n_sentinels = n_sentinels.unwrap_or(if is_t5 { 100 } else { 0 }) as usize;
    let mut added = BTreeMap::new();
    for (id, token) in settings["added_tokens_decoder"]
        .as_object()
        .into_iter()
        .flatten()
    {
        if let (Ok(id), Some(text)) = (id.parse::<u64>(), token["content"].as_str()) {
            added.insert(id, text.to_owned());
        }
    }
    for (text, id) in json("added_tokens.json")?.as_object().into_iter().flatten() {
        added.extend(id.as_u64().map(|id| (id, text.clone())));
    }
    let wishes = sentencepiece::Wishes {
        adds_bos: settings["add_bos_token"].as_bool().unwrap_or(true),
        n_sentinels,
        added: added
            .into_iter()
            .map(|(id, text)| (id as usize, text))
            .collect(),
    };
    sentencepiece::convert(&folder.join(name), bytes, &wishes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 3] = [
        "the cat sat on the mat",
        "the dog sat on the log",
        "ice floats, iron sinks – héhé",
    ];

    #[test]
    fn a_trained_tokenizer_returns_every_text() {
        let tokenizer = Tokenizer::train(TEXTS.into_iter(), 280).unwrap();
        for text in TEXTS.into_iter().chain(["never seen: 日本 🙂\n\tend"]) {
            assert_eq!(tokenizer.decode(&tokenizer.completion(text)), text);
        }
        assert!(tokenizer.completion(" the").len() < 4, "merges were learnt");
    }

    #[test]
    fn training_twice_gives_the_same_tokenizer() {
        let files = || Tokenizer::train(TEXTS.into_iter(), 270).unwrap().files;
        assert_eq!(files(), files());
    }

    #[test]
    fn a_prompt_begins_with_bos_and_a_completion_does_not() {
        let tokenizer = Tokenizer::train(TEXTS.into_iter(), 270).unwrap();
        assert_eq!(tokenizer.prompt("cat")[0], 1);
        assert_eq!(tokenizer.prompt("cat")[1..], tokenizer.completion("cat"));
        assert_eq!(tokenizer.decode_all(&[1]), "<bos>");
    }

    #[test]
    fn a_vocabulary_without_room_for_bytes_is_refused() {
        let error = Tokenizer::train(TEXTS.into_iter(), 100)
            .unwrap_err()
            .to_string();
        assert!(error.contains("needs 259"), "{error}");
    }

    #[test]
    fn a_folder_with_a_sentencepiece_model_alone_is_read_and_saved_complete() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
        let folder = tempfile::tempdir().unwrap();
        let model = fs::read(&fixtures.join("tokenizers/llama/tokenizer.model")).unwrap();
        fs::write(&folder.path().join("tokenizer.model"), &model).unwrap();
        let mut config = Interface::load(&fixtures.join("decoders/tied")).unwrap();
        let error = Tokenizer::load(folder.path(), &config)
            .unwrap_err()
            .to_string();
        assert!(error.contains("embedding has 267 rows"), "{error}");
        config.vocabulary = 360;
        let tokenizer = Tokenizer::load(folder.path(), &config).unwrap();
        let prompt = tokenizer.prompt("Ice floats.");
        assert_eq!(prompt[0], 1);
        assert_eq!(prompt[1..], tokenizer.completion("Ice floats."));
        let saved = folder.path().join("saved");
        fs::create_folder(&saved).unwrap();
        tokenizer.save(&saved).unwrap();
        assert_eq!(fs::read(&saved.join("tokenizer.model")).unwrap(), model);
        let again = Tokenizer::load(&saved, &config).unwrap();
        assert_eq!(again.prompt("Ice floats."), prompt);
        let empty = tempfile::tempdir().unwrap();
        let error = Tokenizer::load(empty.path(), &config)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("no tokenizer.json, and no tokenizer.model"),
            "{error}"
        );
    }

    #[test]
    fn a_token_without_a_row_is_an_error_unless_its_family_has_one() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/decoders/gemma3");
        let mut interface = Interface::load(&fixture).unwrap();
        interface.vocabulary = 259;
        let load = |text: &str| {
            let folder = tempfile::tempdir().unwrap();
            let mut json: Value = fs::read_json(&fixture.join("tokenizer.json")).unwrap();
            let mut token = json["added_tokens"][0].clone();
            (token["id"], token["content"]) = (json!(259), json!(text));
            json["added_tokens"].as_array_mut().unwrap().push(token);
            fs::write_json(&folder.path().join("tokenizer.json"), &json).unwrap();
            Tokenizer::load(folder.path(), &interface)
        };
        let error = load("<more>").unwrap_err().to_string();
        assert!(error.contains("holds token 259"), "{error}");
        let tokenizer = load("<image_soft_token>").unwrap();
        assert_eq!(tokenizer.vocabulary(), 259);
        assert_eq!(tokenizer.completion("a<image_soft_token>").len(), 1);
    }
}

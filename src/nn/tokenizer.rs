//! Tokenizers of encoders: a text comes in, token ids leave, each with its place in the text.

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use rayon::prelude::*;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokenizers::{NormalizerWrapper, normalizers::BertNormalizer};

use crate::{
    artifact::write_atomic,
    error::{Error, Result},
};

/// Name of the tokenizer's file in a model's folder.
const FILE: &str = "tokenizer.json";
/// Name of the file with its settings.
const CONFIG_FILE: &str = "tokenizer_config.json";
/// Shown to a tokenizer when it is loaded, to find out what it puts around a text.
const SAMPLE: &str = "a 1";

/// Turns texts into token ids as the model's own tokenizer does.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    json: String,
    casing: Option<Casing>,
    specials: Specials,
    before: Vec<u32>,
    after: Vec<u32>,
    size: usize,
}

/// How a tokenizer of word pieces treats letters before it cuts words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Casing {
    /// Whether letters become small.
    pub lowercase: bool,
    /// Whether accents go, which turns й into и and ё into е. `None`: as `lowercase`.
    pub strip_accents: Option<bool>,
    /// Whether every Chinese character is a word.
    pub chinese: bool,
}

impl Default for Casing {
    /// What BERT does where nothing is said.
    fn default() -> Self {
        Self { lowercase: true, strip_accents: None, chinese: true }
    }
}

/// Ids of special tokens, as far as the vocabulary has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Specials {
    /// `[CLS]` or `<s>`.
    pub cls: Option<u32>,
    /// `[SEP]` or `</s>`.
    pub sep: Option<u32>,
    /// `[PAD]` or `<pad>`.
    pub pad: Option<u32>,
    /// `[MASK]` or `<mask>`.
    pub mask: Option<u32>,
    /// `[UNK]` or `<unk>`.
    pub unk: Option<u32>,
}

/// Tokens of a text, special tokens included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Id of each token.
    pub ids: Vec<u32>,
    /// Place of each token in the text, UTF-8 bytes, without blanks around; empty for special tokens.
    pub spans: Vec<Range<usize>>,
    /// Number of the word that a token belongs to, from 0; `None` for special tokens.
    pub words: Vec<Option<u32>>,
    /// Number of tokens that did not fit.
    pub cut: usize,
}

impl Tokens {
    /// Tells whether the text had nothing but blanks.
    pub fn is_empty(&self) -> bool {
        self.spans.iter().all(Range::is_empty)
    }
}

impl Tokenizer {
    /// Reads the tokenizer of a model's folder: `tokenizer.json`, else word pieces of `vocab.txt`.
    ///
    /// What `tokenizer_config.json` says of casing (`do_lower_case`, `strip_accents`, `tokenize_chinese_chars`) wins over
    /// `tokenizer.json`, as in transformers; a `vocab.txt` of which nothing is said is taken as lower case, also as there.
    ///
    /// # Errors
    /// - [`Error::EncoderLoad`] if there is no tokenizer, or it is damaged or of a form that is not supported.
    pub fn load(folder: &Path) -> Result<Self> {
        let config = read_config(folder)?;
        let name = folder.display().to_string();
        let read =
            |file: &str| std::fs::read_to_string(folder.join(file)).map_err(|e| Error::read(folder.join(file), e));
        if folder.join(FILE).exists() {
            return Self::from_json(&name, &read(FILE)?, &config);
        }
        if folder.join("vocab.txt").exists() {
            let pieces: Vec<String> = read("vocab.txt")?.lines().map(str::to_owned).collect();
            return Self::build(&name, &pieces, casing_of(&config, Casing::default()), &config);
        }
        let sentence_piece = ["sentencepiece.bpe.model", "spiece.model"].iter().find(|file| folder.join(file).exists());
        Err(match sentence_piece {
            Some(file) => broken(
                &name,
                format!("there is {file}, but no tokenizer.json"),
                "convert it where transformers is installed: `AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)` writes tokenizer.json",
            ),
            None => broken(&name, "there is neither tokenizer.json nor vocab.txt".into(), FOLDER_HINT),
        })
    }

    /// Makes a tokenizer of word pieces, ids in the order given. `[PAD]`, `[UNK]`, `[CLS]`, `[SEP]` and `[MASK]` must be among them.
    ///
    /// # Errors
    /// - [`Error::EncoderLoad`] if a special token is missing.
    pub fn from_pieces(pieces: &[String], casing: Casing) -> Result<Self> {
        Self::build("(new)", pieces, casing, &Map::new())
    }

    fn build(name: &str, pieces: &[String], casing: Casing, config: &Map<String, Value>) -> Result<Self> {
        let vocabulary: Vec<(String, u32)> = pieces.iter().cloned().zip(0..).collect();
        let special = |key: &str, usual: &str| -> Result<(String, u32)> {
            let token = token_name(config, key).unwrap_or_else(|| usual.to_owned());
            let id = vocabulary.iter().rev().find(|(piece, _)| *piece == token).map(|(_, id)| *id);
            let id = id.ok_or_else(|| broken(name, format!("vocab.txt has no `{token}`"), FOLDER_HINT))?;
            Ok((token, id))
        };
        let named = [
            special("unk_token", "[UNK]")?,
            special("cls_token", "[CLS]")?,
            special("sep_token", "[SEP]")?,
            special("pad_token", "[PAD]")?,
            special("mask_token", "[MASK]")?,
        ];
        Self::from_json(name, &word_pieces(&vocabulary, &named, casing).to_string(), config)
    }

    fn from_json(name: &str, json: &str, config: &Map<String, Value>) -> Result<Self> {
        let mut inner = guarded(name, || tokenizers::Tokenizer::from_bytes(json))?;
        let mut json = json.to_owned();
        if let Some(NormalizerWrapper::BertNormalizer(given)) = inner.get_normalizer().cloned() {
            let said = casing_of(config, casing_from(&given));
            if said != casing_from(&given) {
                inner.with_normalizer(Some(normalizer(said)));
                json = inner.to_string(false).map_err(|e| broken(name, e.to_string(), DAMAGED))?;
            }
        }
        Self::finish(name, inner, json, config)
    }

    fn finish(name: &str, mut inner: tokenizers::Tokenizer, json: String, config: &Map<String, Value>) -> Result<Self> {
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| broken(name, e.to_string(), DAMAGED))?;
        let sample = guarded(name, || inner.encode(SAMPLE, true))?;
        let (ids, mask) = (sample.get_ids(), sample.get_special_tokens_mask());
        let leading = mask.iter().take_while(|&&special| special == 1).count();
        let trailing = mask.iter().skip(leading).rev().take_while(|&&special| special == 1).count();
        let (before, after) = (ids[..leading].to_vec(), ids[ids.len() - trailing..].to_vec());
        let find = |key: &str, usual: [&str; 2]| {
            let named = token_name(config, key);
            named.as_deref().into_iter().chain(usual).find_map(|token| inner.token_to_id(token))
        };
        let specials = Specials {
            cls: find("cls_token", ["[CLS]", "<s>"]),
            sep: find("sep_token", ["[SEP]", "</s>"]),
            pad: find("pad_token", ["[PAD]", "<pad>"]),
            mask: find("mask_token", ["[MASK]", "<mask>"]),
            unk: find("unk_token", ["[UNK]", "<unk>"]),
        };
        let casing = match inner.get_normalizer() {
            Some(NormalizerWrapper::BertNormalizer(given)) => Some(casing_from(given)),
            _ => None,
        };
        let size = inner.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        Ok(Self { inner, json, casing, specials, before, after, size })
    }

    /// Cuts a text into at most `max_tokens` tokens, special tokens included; what does not fit is left out at the end.
    ///
    /// # Errors
    /// - [`Error::Sequence`] if not even the special tokens fit, or the tokenizer has no token for a part of the text.
    pub fn encode(&self, text: &str, max_tokens: usize) -> Result<Tokens> {
        let around = self.before.len() + self.after.len();
        let room = max_tokens.checked_sub(around).ok_or_else(|| Error::Sequence {
            expected: format!("at least {around} tokens, the special ones"),
            got: max_tokens.to_string(),
        })?;
        let failed =
            |reason: String| Error::Sequence { expected: "a text that the tokenizer can cut".into(), got: reason };
        let encoding = catch_unwind(AssertUnwindSafe(|| self.inner.encode(text, false)))
            .map_err(|_| failed("a panic within the tokenizer".into()))?
            .map_err(|e| failed(e.to_string()))?;
        let kept = encoding.len().min(room);
        let special = |ids: &[u32]| ids.iter().map(|&id| (id, 0..0, None)).collect::<Vec<_>>();
        let content = (0..kept).map(|at| {
            let span = trim(text, encoding.get_offsets()[at]);
            (encoding.get_ids()[at], span, encoding.get_word_ids()[at])
        });
        let mut tokens = Tokens { cut: encoding.len() - kept, ..Tokens::default() };
        for (id, span, word) in special(&self.before).into_iter().chain(content).chain(special(&self.after)) {
            tokens.ids.push(id);
            tokens.spans.push(span);
            tokens.words.push(word);
        }
        Ok(tokens)
    }

    /// Cuts texts on all cores, results in order.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_batch(&self, texts: &[&str], max_tokens: usize) -> Result<Vec<Tokens>> {
        texts.par_iter().map(|text| self.encode(text, max_tokens)).collect()
    }

    /// Returns one more than the highest token id.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Returns the ids of special tokens.
    pub fn specials(&self) -> Specials {
        self.specials
    }

    /// Returns how letters are treated; `None` if the tokenizer is not one of BERT's word pieces.
    pub fn casing(&self) -> Option<Casing> {
        self.casing
    }

    /// Returns the id of a token.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Returns the token of an id.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Returns a hash of all that the tokenizer does, in hexadecimal digits.
    pub fn sha256(&self) -> String {
        format!("{:x}", Sha256::digest(&self.json))
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json` into a folder, each atomically.
    ///
    /// # Errors
    /// - [`Error::Write`] if the folder cannot be written.
    pub fn save(&self, folder: &Path, max_tokens: usize) -> Result<()> {
        write_atomic(&folder.join(FILE), self.json.as_bytes())?;
        let mut config = Map::new();
        config.insert("model_max_length".into(), max_tokens.into());
        let class = if self.casing.is_some() { "BertTokenizer" } else { "PreTrainedTokenizerFast" };
        config.insert("tokenizer_class".into(), class.into());
        if let Some(casing) = self.casing {
            config.insert("do_lower_case".into(), casing.lowercase.into());
            config.insert("strip_accents".into(), casing.strip_accents.into());
            config.insert("tokenize_chinese_chars".into(), casing.chinese.into());
        }
        let Specials { cls, sep, pad, mask, unk } = self.specials;
        for (key, id) in
            [("cls_token", cls), ("sep_token", sep), ("pad_token", pad), ("mask_token", mask), ("unk_token", unk)]
        {
            if let Some(token) = id.and_then(|id| self.token(id)) {
                config.insert(key.into(), token.into());
            }
        }
        write_atomic(&folder.join(CONFIG_FILE), format!("{:#}\n", Value::Object(config)).as_bytes())
    }
}

const FOLDER_HINT: &str = "an encoder's folder holds config.json, model.safetensors (or pytorch_model.bin) and tokenizer.json (or vocab.txt), as `save_pretrained` writes them";
const DAMAGED: &str = "the file is cut short or damaged, or too new for this build; copy the folder again";

fn broken(name: &str, reason: String, hint: &str) -> Error {
    Error::EncoderLoad { name: name.into(), reason, hint: hint.into() }
}

/// Lays out `tokenizer.json` of word pieces, as transformers writes it for BERT. `named`: unknown, CLS, SEP and the other special tokens.
fn word_pieces(vocabulary: &[(String, u32)], named: &[(String, u32); 5], casing: Casing) -> Value {
    let [(unk, _), (cls, cls_id), (sep, sep_id), ..] = named;
    let piece = |id: &str, kind: u8| json!({ "SpecialToken": { "id": id, "type_id": kind } });
    let text = |id: &str, kind: u8| json!({ "Sequence": { "id": id, "type_id": kind } });
    let added = |(token, id): &(String, u32)| {
        let no = false;
        json!({ "id": id, "content": token, "single_word": no, "lstrip": no, "rstrip": no, "normalized": no, "special": true })
    };
    let mut by_id: Vec<&(String, u32)> = named.iter().collect();
    by_id.sort_by_key(|(_, id)| *id);
    json!({
        "version": "1.0",
        "added_tokens": by_id.into_iter().map(added).collect::<Vec<_>>(),
        "normalizer": normalizer(casing),
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [piece(cls, 0), text("A", 0), piece(sep, 0)],
            "pair": [piece(cls, 0), text("A", 0), piece(sep, 0), text("B", 1), piece(sep, 1)],
            "special_tokens": {
                cls: { "id": cls, "ids": [cls_id], "tokens": [cls] },
                sep: { "id": sep, "ids": [sep_id], "tokens": [sep] },
            },
        },
        "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
        "model": {
            "type": "WordPiece",
            "unk_token": unk,
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocabulary.iter().map(|(piece, id)| (piece.clone(), (*id).into())).collect::<Map<_, _>>(),
        },
    })
}

/// Runs code of the tokenizer library, which panics at some malformed files.
fn guarded<T>(name: &str, run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
    let failed = |reason: String| broken(name, format!("{FILE}: {reason}"), DAMAGED);
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|e| failed(e.to_string())),
        Err(_) => Err(failed("it contradicts itself".into())),
    }
}

fn read_config(folder: &Path) -> Result<Map<String, Value>> {
    let path = folder.join(CONFIG_FILE);
    if !path.exists() {
        return Ok(Map::new());
    }
    let text = std::fs::read(&path).map_err(|e| Error::read(&path, e))?;
    serde_json::from_slice(&text)
        .map_err(|e| broken(&folder.display().to_string(), format!("{CONFIG_FILE}: {e}"), DAMAGED))
}

/// Returns the name of a special token, which stands there as a string or as an object.
fn token_name(config: &Map<String, Value>, key: &str) -> Option<String> {
    let value = config.get(key)?;
    value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
}

fn casing_of(config: &Map<String, Value>, usual: Casing) -> Casing {
    let said = |key: &str| config.get(key).and_then(Value::as_bool);
    Casing {
        lowercase: said("do_lower_case").unwrap_or(usual.lowercase),
        strip_accents: said("strip_accents").or(usual.strip_accents),
        chinese: said("tokenize_chinese_chars").unwrap_or(usual.chinese),
    }
}

fn casing_from(given: &BertNormalizer) -> Casing {
    Casing { lowercase: given.lowercase, strip_accents: given.strip_accents, chinese: given.handle_chinese_chars }
}

fn normalizer(casing: Casing) -> BertNormalizer {
    BertNormalizer::new(true, casing.chinese, casing.strip_accents, casing.lowercase)
}

/// Takes blanks off both ends of a token's place and keeps it on the borders of characters.
fn trim(text: &str, (start, end): (usize, usize)) -> Range<usize> {
    let border = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let (start, end) = (border(start), border(end));
    let Some(token) = text.get(start..end) else { return start..start };
    let kept = token.trim_start();
    let start = end - kept.len();
    start..start + kept.trim_end().len()
}

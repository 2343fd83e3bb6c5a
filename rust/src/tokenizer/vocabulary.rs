//! The vocabulary and the merges, from either form that tokenizers are saved in.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Deserialize;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::special::{AddedToken, BOS, EOS};
use crate::error::Result;
use crate::files::{broken, read_json, read_text, shown};

const MAX_BYTES: u64 = 64 << 20;
/// CLIP's merges by rank, each the ids of its two halves, little-endian; `tools/clip_vocabulary.py` makes it.
const MERGES: &[u8] = include_bytes!("clip_merges.bin");

/// What a byte-pair encoding is made of. Every merge's two halves and their union are in the vocabulary.
pub(super) struct Vocabulary {
    pub ids: HashMap<String, u32>,
    /// By rank, the first merged first.
    pub merges: Vec<(String, String)>,
    /// Tokens that `tokenizer.json` holds beside the vocabulary, by id.
    pub added: BTreeMap<u64, AddedToken>,
    /// The file to name in errors.
    pub shown: String,
}

/// Asked for first, as the vocabulary of another kind has another form.
#[derive(Deserialize)]
struct KindJson {
    model: ModelKindJson,
}

#[derive(Deserialize)]
struct ModelKindJson {
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct TokenizerJson {
    model: ModelJson,
    #[serde(default)]
    added_tokens: Vec<AddedJson>,
}

#[derive(Deserialize)]
struct ModelJson {
    vocab: HashMap<String, u32>,
    merges: Vec<MergeJson>,
}

#[derive(Deserialize)]
struct AddedJson {
    id: u64,
    #[serde(flatten)]
    token: AddedToken,
}

/// Older files join the halves with a space.
#[derive(Deserialize)]
#[serde(untagged)]
enum MergeJson {
    Joined(String),
    Pair(String, String),
}

impl Vocabulary {
    /// From `tokenizer.json` where there is one, else from `vocab.json` and `merges.txt`.
    pub fn read(folder: &Path) -> Result<Self> {
        let json = folder.join("tokenizer.json");
        let vocabulary = if json.exists() { Self::from_json(&json)? } else { Self::from_pair(folder)? };
        vocabulary.check()?;
        Ok(vocabulary)
    }

    /// CLIP's own.
    pub fn clip() -> Self {
        let pairs = MERGES.as_chunks::<4>().0;
        let pairs = pairs.iter().map(|[a, b, c, d]| [[*a, *b], [*c, *d]].map(u16::from_le_bytes).map(usize::from));
        Self::merged(pairs, "CLIP's vocabulary")
    }

    /// Every byte, inside of a word and at its end, and CLIP's tokens that begin and end a text.
    pub fn of_bytes() -> Self {
        Self::merged([].into_iter(), "the vocabulary of bytes")
    }

    /// Every byte, inside of a word and at its end, what is merged of the tokens before it, and CLIP's tokens that begin
    /// and end a text: the order of ids in CLIP's vocabulary.
    fn merged(pairs: impl Iterator<Item = [usize; 2]>, shown: &str) -> Self {
        let mut tokens: Vec<_> = ByteLevel::alphabet().into_iter().map(String::from).collect();
        tokens.sort_unstable();
        tokens.extend_from_within(..);
        let letters = tokens.len() / 2;
        tokens[letters..].iter_mut().for_each(|letter| letter.push_str("</w>"));
        let mut merges = Vec::new();
        for [left, right] in pairs {
            let (left, right) = (tokens[left].clone(), tokens[right].clone());
            tokens.push(format!("{left}{right}"));
            merges.push((left, right));
        }
        tokens.extend([BOS, EOS].map(String::from));
        Self { ids: tokens.into_iter().zip(0..).collect(), merges, added: BTreeMap::new(), shown: shown.to_string() }
    }

    fn from_json(path: &Path) -> Result<Self> {
        let shown = shown(path);
        let text = read_text(path, &shown, MAX_BYTES)?;
        let parse_error = |error| broken(&shown, format_args!("is not a tokenizer: {error}"));
        let kind: KindJson = serde_json::from_str(&text).map_err(parse_error)?;
        if let Some(kind) = kind.model.kind.filter(|kind| kind != "BPE") {
            return Err(broken(&shown, format_args!("is a {kind} tokenizer, CLIP's is BPE")));
        }
        let TokenizerJson { model, added_tokens } = serde_json::from_str(&text).map_err(parse_error)?;
        let merges = model.merges.into_iter().enumerate().map(|(rank, merge)| match merge {
            MergeJson::Pair(left, right) => Ok((left, right)),
            MergeJson::Joined(line) => halves(&line).ok_or_else(|| bad_merge(&shown, rank + 1, &line)),
        });
        let merges = merges.collect::<Result<_>>()?;
        let added = added_tokens.into_iter().map(|AddedJson { id, token }| (id, token)).collect();
        Ok(Self { ids: model.vocab, merges, added, shown })
    }

    fn from_pair(folder: &Path) -> Result<Self> {
        let path = folder.join("vocab.json");
        let ids = read_json(&path, &shown(&path), MAX_BYTES)?;
        let path = folder.join("merges.txt");
        let shown = shown(&path);
        let text = read_text(&path, &shown, MAX_BYTES)?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with("#version"));
        let merges = lines.map(|(number, line)| halves(line).ok_or_else(|| bad_merge(&shown, number + 1, line)));
        let merges = merges.collect::<Result<_>>()?;
        Ok(Self { ids, merges, added: BTreeMap::new(), shown })
    }

    /// The encoder panics on merges that are not in the vocabulary.
    fn check(&self) -> Result<()> {
        if self.ids.is_empty() {
            return Err(broken(&self.shown, "has an empty vocabulary"));
        }
        let mut union = String::new();
        for (left, right) in &self.merges {
            union.clear();
            union.push_str(left);
            union.push_str(right);
            for token in [left, right, &union] {
                if !self.ids.contains_key(token) {
                    let reason = format!("merges {left:?} and {right:?}, but {token:?} is not in the vocabulary");
                    return Err(broken(&self.shown, reason));
                }
            }
        }
        Ok(())
    }
}

fn halves(line: &str) -> Option<(String, String)> {
    let (left, right) = line.split_once(' ')?;
    (!right.contains(' ')).then(|| (left.to_string(), right.to_string()))
}

fn bad_merge(shown: &str, number: usize, line: &str) -> crate::error::Error {
    let line: String = line.chars().take(40).collect();
    broken(shown, format_args!("merge {number} is not two tokens and a space: {line:?}"))
}

//! Special tokens, gathered as transformers gathers them from the files of many years.
//!
//! Which of a token's descriptions wins decides ids: a token that is `normalized` is found in the lowercased text,
//! another only as it is written. The order here is that of transformers 5's `_from_pretrained` and
//! `TokenizersBackend.__init__`.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::vocabulary::Vocabulary;
use crate::error::Result;
use crate::files::{broken, read_optional_json, shown};

const MAX_BYTES: u64 = 4 << 20;
/// The token that begins a text.
pub(super) const BOS: &str = "<|startoftext|>";
/// The token that ends a text.
pub(super) const EOS: &str = "<|endoftext|>";
/// The named tokens in the order that transformers adds them in, with CLIP's defaults.
const NAMED: [(&str, Option<&str>); 7] = [
    ("bos_token", Some(BOS)),
    ("eos_token", Some(EOS)),
    ("unk_token", Some(EOS)),
    ("sep_token", None),
    ("pad_token", Some(EOS)),
    ("cls_token", None),
    ("mask_token", None),
];
/// Beyond this, a length is transformers' way of saying that there is none.
const MAX_LENGTH: f64 = 1e6;

type Config = Map<String, Value>;

/// A token in the form of an object. Special tokens are not normalized unless they say so.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct AddedToken {
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    normalized: Option<bool>,
    #[serde(default)]
    special: bool,
}

impl AddedToken {
    fn special(content: &str) -> Self {
        let (content, normalized) = (content.to_string(), None);
        Self { content, single_word: false, lstrip: false, rstrip: false, normalized, special: true }
    }

    fn build(self) -> tokenizers::AddedToken {
        tokenizers::AddedToken::from(self.content, self.special)
            .single_word(self.single_word)
            .lstrip(self.lstrip)
            .rstrip(self.rstrip)
            .normalized(self.normalized.unwrap_or(!self.special))
    }
}

/// A token in either form that the files have.
#[derive(Clone)]
enum Given {
    Text(String),
    Token(AddedToken),
}

impl Given {
    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(Self::Text(text.clone())),
            Value::Object(_) => AddedToken::deserialize(value).ok().map(Self::Token),
            _ => None,
        }
    }

    fn content(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Token(token) => &token.content,
        }
    }

    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(one), Self::Text(other)) => one == other,
            (Self::Token(one), Self::Token(other)) => one.clone().build() == other.clone().build(),
            _ => false,
        }
    }
}

/// What the configuration files say about special tokens.
pub(super) struct SpecialTokens {
    pub bos: String,
    pub eos: String,
    pub unk: String,
    pub pad: String,
    /// All that the encoder must know, in the order to add them in.
    pub added: Vec<tokenizers::AddedToken>,
    pub model_max_length: Option<usize>,
}

impl SpecialTokens {
    pub fn read(folder: &Path, vocabulary: &Vocabulary) -> Result<Self> {
        let path = folder.join("tokenizer_config.json");
        let shown = shown(&path);
        let mut config: Config = read_optional_json(&path, &shown, MAX_BYTES)?.unwrap_or_default();
        let model_max_length = model_max_length(&config).map_err(|reason| broken(&shown, reason))?;
        settle_extra(&mut config);
        let listed = match config.get("added_tokens_decoder") {
            Some(listed) => BTreeMap::deserialize(listed)
                .map_err(|error| broken(&shown, format_args!("\"added_tokens_decoder\": {error}")))?,
            None => {
                merge_special_tokens_map(folder, &mut config)?;
                settle_extra(&mut config);
                legacy_tokens(folder, &config, vocabulary)?
            }
        };
        let named = named(&config, &listed).map_err(|name| broken(&shown, format_args!("{name:?} is not a token")))?;
        for name in ["bos_token", "eos_token", "pad_token"] {
            let token = content(&named, name);
            if !vocabulary.ids.contains_key(&token) && !listed.values().any(|listed| listed.content == token) {
                return Err(broken(&vocabulary.shown, format_args!("the {name} {token:?} is not in the vocabulary")));
            }
        }
        Ok(Self { model_max_length, ..Self::settled(&config, listed, &named) })
    }

    /// CLIP's, as the tokenizers of Stable Diffusion describe them; `pad` fills the window.
    pub fn clip(pad: &str) -> Self {
        let mut config = Config::new();
        for (name, token) in [("bos_token", BOS), ("eos_token", EOS), ("unk_token", EOS)] {
            config.insert(name.to_string(), json!({"content": token, "normalized": true, "special": true}));
        }
        config.insert("pad_token".to_string(), pad.into());
        let listed = BTreeMap::new();
        let named = named(&config, &listed).unwrap_or_default();
        Self::settled(&config, listed, &named)
    }

    fn settled(config: &Config, listed: BTreeMap<u64, AddedToken>, named: &BTreeMap<&'static str, Given>) -> Self {
        Self {
            bos: content(named, "bos_token"),
            eos: content(named, "eos_token"),
            unk: content(named, "unk_token"),
            pad: content(named, "pad_token"),
            added: in_order(config, listed, named),
            model_max_length: None,
        }
    }
}

fn content(named: &BTreeMap<&'static str, Given>, name: &str) -> String {
    named.get(name).map(|token| token.content().to_string()).unwrap_or_default()
}

/// Older files call `extra_special_tokens` otherwise.
fn settle_extra(config: &mut Config) {
    let given = |value: &Value| match value {
        Value::Array(tokens) => !tokens.is_empty(),
        Value::Object(tokens) => !tokens.is_empty(),
        _ => false,
    };
    if !config.get("extra_special_tokens").is_some_and(given)
        && let Some(tokens) = config.remove("additional_special_tokens")
    {
        config.insert("extra_special_tokens".to_string(), tokens);
    }
}

/// Before tokens were listed in `tokenizer_config.json`, this file overruled what it says.
fn merge_special_tokens_map(folder: &Path, config: &mut Config) -> Result<()> {
    let path = folder.join("special_tokens_map.json");
    let tokens: Config = read_optional_json(&path, &shown(&path), MAX_BYTES)?.unwrap_or_default();
    for (name, mut value) in tokens {
        match (&mut value, config.get_mut(&name)) {
            (Value::Array(tokens), Some(Value::Array(known))) if name == "extra_special_tokens" => {
                tokens.retain(|token| !known.contains(token));
                known.append(tokens);
                continue;
            }
            (Value::Object(token), _) if name != "extra_special_tokens" => {
                token.insert("special".to_string(), Value::Bool(true));
            }
            _ => {}
        }
        config.insert(name, value);
    }
    Ok(())
}

/// The tokens of `added_tokens.json` and `tokenizer.json` by id, the latter's where both have one.
fn legacy_tokens(folder: &Path, config: &Config, vocabulary: &Vocabulary) -> Result<BTreeMap<u64, AddedToken>> {
    let path = folder.join("added_tokens.json");
    let added: BTreeMap<String, u64> = read_optional_json(&path, &shown(&path), MAX_BYTES)?.unwrap_or_default();
    let named = NAMED.iter().filter_map(|(name, _)| config.get(*name));
    let extra = config.get("extra_special_tokens").and_then(Value::as_array).into_iter().flatten();
    let special: Vec<_> = named.chain(extra).filter_map(Given::read).collect();
    let added = added.into_iter().map(|(content, id)| {
        let special = special.iter().any(|token| token.content() == content);
        (id, AddedToken { special, ..AddedToken::special(&content) })
    });
    Ok(added.chain(vocabulary.added.clone()).collect())
}

/// The named tokens, described by `listed` where they are there; the name of one that is no token is the error.
fn named(config: &Config, listed: &BTreeMap<u64, AddedToken>) -> Result<BTreeMap<&'static str, Given>, &'static str> {
    let mut named = BTreeMap::new();
    for (name, default) in NAMED {
        let token = match config.get(name).filter(|value| !value.is_null()) {
            Some(value) => {
                let given = Given::read(value).ok_or(name)?;
                let listed = listed.values().rev().find(|token| token.content == given.content());
                listed.map_or(given, |token| Given::Token(token.clone()))
            }
            None => match default {
                Some(default) => Given::Text(default.to_string()),
                None => continue,
            },
        };
        named.insert(name, token);
    }
    Ok(named)
}

/// All tokens in the order that the encoder gets them in: of two with one content the later counts.
fn in_order(
    config: &Config,
    listed: BTreeMap<u64, AddedToken>,
    named: &BTreeMap<&str, Given>,
) -> Vec<tokenizers::AddedToken> {
    let known: HashSet<_> = listed.values().map(|token| token.content.clone()).collect();
    let is_other_name = |name: &str| name.ends_with("_token") && NAMED.iter().all(|(named, _)| *named != name);
    let other = config.iter().filter(|(name, _)| is_other_name(name)).map(|(_, value)| value);
    let (by_name, extra) = match config.get("extra_special_tokens") {
        Some(Value::Object(tokens)) => (Some(tokens.values()), None),
        Some(Value::Array(tokens)) => (None, Some(tokens)),
        _ => (None, None),
    };
    let other = other.chain(by_name.into_iter().flatten()).filter_map(Given::read);
    let named: Vec<_> = NAMED.iter().filter_map(|(name, _)| named.get(name).cloned()).chain(other).collect();
    let special: HashSet<_> = named.iter().map(|token| token.content().to_string()).collect();
    let extra = extra.into_iter().flatten().filter_map(Given::read);
    let mut tokens: Vec<_> = listed.into_values().map(Given::Token).collect();
    for token in named.into_iter().chain(extra) {
        if !known.contains(token.content()) && !tokens.iter().any(|other| other.same(&token)) {
            tokens.push(token);
        }
    }
    let build = |token| match token {
        Given::Text(text) => AddedToken::special(&text).build(),
        Given::Token(token) => {
            AddedToken { special: token.special || special.contains(&token.content), ..token }.build()
        }
    };
    tokens.into_iter().map(build).collect()
}

/// The number of tokens that the model was made for, if it says so.
fn model_max_length(config: &Config) -> Result<Option<usize>, String> {
    let Some(value) = config.get("model_max_length").or_else(|| config.get("max_len")).filter(|value| !value.is_null())
    else {
        return Ok(None);
    };
    match value.as_f64() {
        Some(length) if length > MAX_LENGTH => Ok(None),
        // In range and whole, so exact.
        Some(length) if length >= 2.0 && length.fract() == 0.0 => Ok(Some(length as usize)),
        _ => Err(format!("\"model_max_length\": got {value}, allowed are whole numbers from 2")),
    }
}

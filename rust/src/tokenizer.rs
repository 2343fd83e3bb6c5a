//! Prompts to the padded ids that CLIP's text encoders take, as transformers' `CLIPTokenizer` makes them.

mod chunks;
mod special;
mod vocabulary;

use std::path::Path;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Lowercase, NFC, NormalizerWrapper, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{SplitDelimiterBehavior, Tokenizer};

use crate::error::{Error, Result};
use crate::params;
pub use chunks::Chunk;
use special::SpecialTokens;
use vocabulary::Vocabulary;

/// The largest window that ids are prepared for; CLIP's is 77.
const MAX_WINDOW: usize = 1 << 16;
/// The token that ends a text, and fills the window of CLIP's own text encoder.
pub const CLIP_PAD: &str = special::EOS;
/// The token that fills the window of OpenCLIP's text encoders in Stable Diffusion; its id is 0.
pub const OPEN_CLIP_PAD: &str = "!";
/// CLIP's words: special tokens, English contractions, runs of letters, single digits, runs of anything else.
const WORDS: &str = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// CLIP's byte-pair encoding of lowercased text.
pub struct ClipTokenizer {
    encoder: Tokenizer,
    name: String,
    bos: u32,
    eos: u32,
    pad: u32,
    model_max_length: Option<usize>,
}

/// A prompt as a text encoder takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedPrompt {
    /// Exactly as many ids as the window: bos, the text's, eos, padding.
    pub ids: Vec<u32>,
    /// What did not fit, if anything.
    pub truncation: Option<Truncation>,
}

/// What was cut from a prompt that is longer than the window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truncation {
    /// Tokens that were kept, without bos and eos.
    pub kept: usize,
    /// Tokens that the whole prompt has, without bos and eos.
    pub total: usize,
    /// The end of the prompt, as it was written, from the first token that was cut.
    pub dropped_text: String,
}

impl ClipTokenizer {
    /// Reads the tokenizer in the folder `path`, from `tokenizer.json` or else `vocab.json` and `merges.txt`, with
    /// `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json` where they are there.
    ///
    /// Of `tokenizer.json` the vocabulary, the merges and the added tokens count; normalization, splitting,
    /// truncation and padding are CLIP's, whatever it says, as in transformers.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] that names the file: missing, too large, not what it should be, or without the tokens
    /// that begin, end and pad a text.
    pub fn from_folder(path: &Path) -> Result<Self> {
        let vocabulary = Vocabulary::read(path)?;
        let special = SpecialTokens::read(path, &vocabulary)?;
        Self::new(vocabulary, &special)
    }

    /// CLIP's own tokenizer, for models that bring none. `pad` fills the window: [`CLIP_PAD`]
    /// with CLIP's own text encoder, [`OPEN_CLIP_PAD`] with OpenCLIP's.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if `pad` is not in the vocabulary.
    pub fn clip(pad: &str) -> Result<Self> {
        Self::new(Vocabulary::clip(), &SpecialTokens::clip(pad))
    }

    /// A tokenizer without merges, for models that were never taught any words: each byte of a text is a token.
    ///
    /// # Errors
    /// None, unless the encoder cannot be built.
    pub fn of_bytes() -> Result<Self> {
        Self::new(Vocabulary::of_bytes(), &SpecialTokens::clip(special::EOS))
    }

    fn new(vocabulary: Vocabulary, special: &SpecialTokens) -> Result<Self> {
        let name = vocabulary.shown.clone();
        let broken = |error: tokenizers::Error| Error::Checkpoint(format!("{name}: {error}"));
        let encoder = build(vocabulary, special).map_err(broken)?;
        let id = |token: &str| {
            encoder.token_to_id(token).ok_or_else(|| Error::Checkpoint(format!("{name}: has no token {token:?}")))
        };
        let (bos, eos, pad) = (id(&special.bos)?, id(&special.eos)?, id(&special.pad)?);
        Ok(Self { bos, eos, pad, name, encoder, model_max_length: special.model_max_length })
    }

    /// The ids of the whole `text`, without bos and eos. `field` is the parameter's name in errors.
    ///
    /// # Errors
    /// [`Error::InvalidParams`] if `text` is longer than [`params::MAX_PROMPT_BYTES`].
    pub fn encode(&self, text: &str, field: &'static str) -> Result<Vec<u32>> {
        Ok(self.encoding(text, field)?.get_ids().to_vec())
    }

    /// The ids of `text` between bos and eos, cut or padded to `window` ids. `field` is the parameter's name in errors.
    ///
    /// # Errors
    /// [`Error::InvalidParams`] if `text` is longer than [`params::MAX_PROMPT_BYTES`], [`Error::Checkpoint`] if `window`,
    /// which is the model's, is not 2 to 65536.
    pub fn prepare(&self, text: &str, window: usize, field: &'static str) -> Result<PreparedPrompt> {
        let room = Self::room(window)?;
        let encoding = self.encoding(text, field)?;
        let all = encoding.get_ids();
        let mut ids = Vec::with_capacity(window);
        ids.push(self.bos);
        ids.extend(all.iter().take(room));
        ids.push(self.eos);
        ids.resize(window, self.pad);
        let truncation = encoding.get_offsets().get(room).map(|(start, _)| Truncation {
            kept: room,
            total: all.len(),
            dropped_text: from_boundary(text, *start).to_string(),
        });
        Ok(PreparedPrompt { ids, truncation })
    }

    /// Tokens of a window between bos and eos.
    fn room(window: usize) -> Result<usize> {
        if (2..=MAX_WINDOW).contains(&window) {
            return Ok(window - 2);
        }
        Err(Error::Checkpoint(format!("text length: got {window} tokens, allowed are 2 to {MAX_WINDOW}")))
    }

    /// How many ids the model was made for, where the tokenizer says it.
    pub fn model_max_length(&self) -> Option<usize> {
        self.model_max_length
    }

    /// The id that begins every prompt.
    pub fn bos_id(&self) -> u32 {
        self.bos
    }

    /// The id that ends every prompt.
    pub fn eos_id(&self) -> u32 {
        self.eos
    }

    /// The id that fills the window.
    pub fn pad_id(&self) -> u32 {
        self.pad
    }

    /// The largest id that a prompt can have; the text encoder's `vocab_size` must be larger.
    pub fn max_id(&self) -> u32 {
        self.encoder.get_vocab(true).into_values().max().unwrap_or_default()
    }

    fn encoding(&self, text: &str, field: &'static str) -> Result<tokenizers::Encoding> {
        params::check_prompt(field, text)?;
        self.encoder.encode(text, false).map_err(|error| Error::Checkpoint(format!("{}: {error}", self.name)))
    }
}

/// The end of `text` from the character that byte `start` is in.
fn from_boundary(text: &str, start: usize) -> &str {
    (0..=start).rev().find_map(|start| text.get(start..)).unwrap_or_default()
}

fn build(vocabulary: Vocabulary, special: &SpecialTokens) -> tokenizers::Result<Tokenizer> {
    let model = BPE::builder()
        .vocab_and_merges(vocabulary.ids.into_iter().collect::<Vocab>(), vocabulary.merges)
        .unk_token(special.unk.clone())
        .continuing_subword_prefix(String::new())
        .end_of_word_suffix("</w>".to_string())
        // The cache would hold every user's words for as long as the thread lives.
        .cache_capacity(0)
        .build()?;
    let mut encoder = Tokenizer::new(model);
    let spaces = Replace::new(ReplacePattern::Regex(r"\s+".to_string()), " ")?;
    let normalizers: Vec<NormalizerWrapper> = vec![NFC.into(), spaces.into(), Lowercase.into()];
    encoder.with_normalizer(Some(Normalizers::new(normalizers)))?;
    let words = Split::new(SplitPattern::Regex(WORDS.to_string()), SplitDelimiterBehavior::Removed, true)?;
    let bytes = ByteLevel::default().add_prefix_space(false);
    encoder.with_pre_tokenizer(Some(PreTokenizers::new(vec![words.into(), bytes.into()])));
    encoder.add_tokens(special.added.iter().cloned())?;
    Ok(encoder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_tokens_where_nobody_taught_words() {
        let tokenizer = ClipTokenizer::of_bytes().expect("a tokenizer");
        assert_eq!((tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.pad_id()), (512, 513, 513));
        assert_eq!(tokenizer.max_id(), 513);
        let ids = tokenizer.encode("a robot", "prompt").expect("ids");
        assert_eq!(ids.len(), 6);
        assert!(ids.iter().all(|id| *id < 512));
        assert_eq!(tokenizer.prepare("a robot", 77, "prompt").expect("a prompt").ids.len(), 77);
    }
}

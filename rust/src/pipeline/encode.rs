//! Prompts to embeddings.

use candle_core::{DType, Tensor};

use super::{Pipeline, PromptTruncation};
use crate::error::{Error, Result};
use crate::models::{AddedConditioning, Conditioning, TextEncoder};
use crate::nn::joined;
use crate::params::{GenerationParams, check_clip_skip};
use crate::prompt_syntax::{self, PromptSyntax};
use crate::size_conditioning::TimeIds;
use crate::tokenizer::{Chunk, ClipTokenizer, PreparedPrompt};

/// Chunks of a prompt, at most: each costs a forward of every text encoder, and attention at every step.
const MAX_CHUNKS: usize = 64;

/// A text encoder and the tokenizer whose ids it takes.
pub(super) struct TextStage {
    pub tokenizer: ClipTokenizer,
    pub encoder: Box<dyn TextEncoder>,
}

/// One prompt as each text encoder reads it, with the parameter's name for each.
type Texts<'a> = [(&'static str, &'a str); 2];

/// How prompts are read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading {
    /// What signs mean.
    pub syntax: PromptSyntax,
    /// Layers of the text encoders that are left out at their end.
    pub clip_skip: Option<usize>,
}

/// One prompt in the windows of each text encoder.
struct Chunks(Vec<Vec<Chunk>>);

/// What the text encoders make of one prompt.
struct Embedded {
    /// (1, window of each chunk, widths of all encoders)
    embeddings: Tensor,
    /// (1, width), of the encoder with a projection.
    pooled: Option<Tensor>,
}

impl Pipeline {
    /// The conditions of one generation, the unconditional before the conditional under guidance.
    pub(super) fn encode(&self, params: &GenerationParams) -> Result<(Conditioning, Vec<PromptTruncation>)> {
        let mut truncations = Vec::new();
        let (size, sizes) = ((params.height(), params.width()), params.sizes());
        let (positive_sizes, negative_sizes) = match params.initial_image() {
            None => sizes.time_ids(size),
            Some(_) => sizes.time_ids_over_image(size),
        };
        let reading = Reading { syntax: params.prompt_syntax(), clip_skip: params.clip_skip() };
        let texts = pair(("prompt", params.prompt()), ("prompt_2", params.prompt_2()));
        let prompt = self.read(texts, reading.syntax, &mut truncations)?;
        if !params.is_guided() {
            let embedded = self.embed(&prompt, prompt.len(), reading.clip_skip)?;
            return Ok((embedded.conditioned(&positive_sizes)?, truncations));
        }
        let (conditional, unconditional) = match params.negative_prompt() {
            None if self.model.force_zeros_for_empty_prompt => {
                let embedded = self.embed(&prompt, prompt.len(), reading.clip_skip)?;
                let zeros = embedded.zeros()?;
                (embedded, zeros)
            }
            negative => {
                let first = ("negative_prompt", negative.unwrap_or_default());
                let texts = pair(first, ("negative_prompt_2", params.negative_prompt_2()));
                let negative = self.read(texts, reading.syntax, &mut truncations)?;
                let chunks = prompt.len().max(negative.len());
                let embedded = self.embed(&prompt, chunks, reading.clip_skip)?;
                (embedded, self.embed(&negative, chunks, reading.of_negative())?)
            }
        };
        let unconditional = unconditional.conditioned(&negative_sizes)?;
        Ok((Conditioning::pair(&unconditional, &conditional.conditioned(&positive_sizes)?)?, truncations))
    }

    fn read(&self, texts: Texts<'_>, syntax: PromptSyntax, truncations: &mut Vec<PromptTruncation>) -> Result<Chunks> {
        let read = |(stage, (field, text)): (&TextStage, (&'static str, &str))| {
            let window = stage.encoder.window();
            if syntax == PromptSyntax::A1111 {
                let chunks = stage.tokenizer.chunks(&prompt_syntax::parse(text, field)?, window, field)?;
                return match chunks.len() {
                    0..=MAX_CHUNKS => Ok(chunks),
                    count => Err(Error::invalid(
                        field,
                        format_args!("{count} chunks of {} tokens", window.saturating_sub(2)),
                        format!("at most {MAX_CHUNKS}"),
                    )),
                };
            }
            let PreparedPrompt { ids, truncation } = stage.tokenizer.prepare(text, window, field)?;
            if let Some(truncation) = truncation {
                let truncation = PromptTruncation { field, truncation };
                // Two encoders that read the same text cut it at the same place.
                if !truncations.contains(&truncation) {
                    truncations.push(truncation);
                }
            }
            Ok(vec![Chunk { weights: vec![1.0; ids.len()], ids }])
        };
        self.text.iter().zip(texts).map(read).collect::<Result<_>>().map(Chunks)
    }

    /// `chunks` of each encoder, empty ones behind those that there are. The pooled state is the first chunk's.
    fn embed(&self, prompt: &Chunks, chunks: usize, clip_skip: Option<usize>) -> Result<Embedded> {
        let mut state = self.model.family.hidden_state();
        state.skipped += clip_skip.unwrap_or(0);
        let (mut of_encoders, mut pooled) = (Vec::new(), None);
        for (stage, read) in self.text.iter().zip(&prompt.0) {
            let empty = stage.tokenizer.empty_chunk(stage.encoder.window())?;
            let mut hidden = Vec::with_capacity(chunks);
            for index in 0..chunks {
                let chunk = read.get(index).unwrap_or(&empty);
                let encoding = stage.encoder.encode(&chunk.ids, state)?;
                hidden.push(emphasised(encoding.hidden, &chunk.weights)?);
                if index == 0 {
                    pooled = encoding.pooled.or(pooled);
                }
            }
            of_encoders.push(joined(&hidden, 1)?);
        }
        Ok(Embedded { embeddings: joined(&of_encoders, 2)?, pooled })
    }

    /// Token ids of `text`, begin, end and padding included, as many as the first encoder's window.
    pub fn tokenize(&self, text: &str) -> Result<Vec<u32>> {
        let stage = &self.text[0];
        Ok(stage.tokenizer.prepare(text, stage.encoder.window(), "prompt")?.ids)
    }

    /// The hidden states of `text` that the UNet reads, f32 (1, window of each chunk, width).
    ///
    /// # Errors
    /// [`Error::InvalidParams`] for more layers left out than the encoders have.
    pub fn encode_prompt(&self, text: &str, reading: Reading) -> Result<Tensor> {
        check_clip_skip(reading.clip_skip, &self.model.defaults)?;
        self.threads.run(|| self.give(&self.embed_alone(text, reading)?.embeddings))
    }

    /// The pooled state of `text`, f32 (1, width); none of models whose UNet takes none.
    pub fn pooled_prompt(&self, text: &str, syntax: PromptSyntax) -> Result<Option<Tensor>> {
        self.threads.run(|| {
            let embedded = self.embed_alone(text, Reading { syntax, clip_skip: None })?;
            embedded.pooled.map(|pooled| self.give(&pooled)).transpose()
        })
    }

    fn embed_alone(&self, text: &str, reading: Reading) -> Result<Embedded> {
        let prompt = self.read([("prompt", text); 2], reading.syntax, &mut Vec::new())?;
        self.embed(&prompt, prompt.len(), reading.clip_skip)
    }
}

impl Reading {
    /// What is left out of the text encoders for the negative prompt: nothing in diffusers, the same in the webui.
    fn of_negative(self) -> Option<usize> {
        self.clip_skip.filter(|_| self.syntax == PromptSyntax::A1111)
    }
}

impl Chunks {
    /// Of the encoder with the most.
    fn len(&self) -> usize {
        self.0.iter().map(Vec::len).max().unwrap_or_default()
    }
}

/// `hidden` (1, window, width) multiplied by the weight of each token and then brought back to its mean: the webui's
/// `EmphasisOriginal`.
fn emphasised(hidden: Tensor, weights: &[f64]) -> Result<Tensor> {
    if weights.iter().all(|weight| *weight == 1.0) {
        return Ok(hidden);
    }
    let mean = |tensor: &Tensor| -> Result<f64> {
        let values: Vec<f64> = tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        Ok(values.iter().sum::<f64>() / values.len() as f64)
    };
    let (dtype, device) = (hidden.dtype(), hidden.device());
    let weights = Tensor::from_vec(weights.to_vec(), (1, weights.len(), 1), device)?.to_dtype(DType::F32)?;
    let hidden = hidden.to_dtype(DType::F32)?;
    let weighted = hidden.broadcast_mul(&weights)?;
    Ok((&weighted * (mean(&hidden)? / mean(&weighted)?))?.to_dtype(dtype)?)
}

/// What each encoder reads: the second reads what the first does unless it has a text of its own.
fn pair<'a>(first: (&'static str, &'a str), second: (&'static str, Option<&'a str>)) -> Texts<'a> {
    [first, second.1.map_or(first, |text| (second.0, text))]
}

impl Embedded {
    fn zeros(&self) -> Result<Self> {
        let pooled = self.pooled.as_ref().map(Tensor::zeros_like).transpose()?;
        Ok(Self { embeddings: self.embeddings.zeros_like()?, pooled })
    }

    fn conditioned(&self, sizes: &TimeIds) -> Result<Conditioning> {
        let added = self.pooled.as_ref().map(|pooled| {
            let time_ids = Tensor::new(&[*sizes], pooled.device())?.to_dtype(DType::F32)?;
            Ok::<_, candle_core::Error>(AddedConditioning { pooled: pooled.clone(), time_ids })
        });
        Ok(Conditioning::new(self.embeddings.clone(), added.transpose()?))
    }
}

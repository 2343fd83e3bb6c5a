//! Prompts to embeddings.

use candle_core::{DType, Tensor};

use super::{Pipeline, PromptTruncation};
use crate::error::Result;
use crate::models::{AddedConditioning, Conditioning, TextEncoder};
use crate::params::GenerationParams;
use crate::size_conditioning::TimeIds;
use crate::tokenizer::ClipTokenizer;

/// A text encoder and the tokenizer whose ids it takes.
pub(super) struct TextStage {
    pub tokenizer: ClipTokenizer,
    pub encoder: Box<dyn TextEncoder>,
}

/// One prompt as each text encoder reads it, with the parameter's name for each.
type Texts<'a> = [(&'static str, &'a str); 2];

/// What the text encoders make of one prompt.
struct Embedded {
    /// (1, window, widths of all encoders)
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
        let texts = pair(("prompt", params.prompt()), ("prompt_2", params.prompt_2()));
        let embedded = self.embed(texts, &mut truncations)?;
        let unconditional = match (params.is_guided(), params.negative_prompt()) {
            (false, _) => None,
            (true, None) if self.model.force_zeros_for_empty_prompt => Some(embedded.zeros()?),
            (true, negative) => {
                let first = ("negative_prompt", negative.unwrap_or_default());
                let texts = pair(first, ("negative_prompt_2", params.negative_prompt_2()));
                Some(self.embed(texts, &mut truncations)?)
            }
        };
        let conditional = embedded.conditioned(&positive_sizes)?;
        match unconditional {
            None => Ok((conditional, truncations)),
            Some(embedded) => {
                Ok((Conditioning::pair(&embedded.conditioned(&negative_sizes)?, &conditional)?, truncations))
            }
        }
    }

    fn embed(&self, texts: Texts<'_>, truncations: &mut Vec<PromptTruncation>) -> Result<Embedded> {
        let (mut hidden, mut pooled) = (Vec::new(), None);
        for (stage, (field, text)) in self.text.iter().zip(texts) {
            let prepared = stage.tokenizer.prepare(text, stage.encoder.window(), field)?;
            if let Some(truncation) = prepared.truncation {
                let truncation = PromptTruncation { field, truncation };
                // Two encoders that read the same text cut it at the same place.
                if !truncations.contains(&truncation) {
                    truncations.push(truncation);
                }
            }
            let encoding = stage.encoder.encode(&prepared.ids, self.model.family.hidden_state())?;
            hidden.push(encoding.hidden);
            pooled = encoding.pooled.or(pooled);
        }
        let embeddings = match hidden.as_slice() {
            [only] => only.clone(),
            several => Tensor::cat(several, 2)?,
        };
        Ok(Embedded { embeddings, pooled })
    }

    /// Token ids of `text`, begin, end and padding included, as many as the first encoder's window.
    pub fn tokenize(&self, text: &str) -> Result<Vec<u32>> {
        let stage = &self.text[0];
        Ok(stage.tokenizer.prepare(text, stage.encoder.window(), "prompt")?.ids)
    }

    /// The hidden states of `text` that the UNet reads, f32 (1, window, width).
    pub fn encode_prompt(&self, text: &str) -> Result<Tensor> {
        self.threads.run(|| self.give(&self.embed([("prompt", text); 2], &mut Vec::new())?.embeddings))
    }

    /// The pooled state of `text`, f32 (1, width); none of models whose UNet takes none.
    pub fn pooled_prompt(&self, text: &str) -> Result<Option<Tensor>> {
        self.threads.run(|| {
            let embedded = self.embed([("prompt", text); 2], &mut Vec::new())?;
            embedded.pooled.map(|pooled| self.give(&pooled)).transpose()
        })
    }
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
        Ok(Conditioning { embeddings: self.embeddings.clone(), added: added.transpose()? })
    }
}

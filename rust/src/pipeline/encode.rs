//! Prompts to embeddings.

use candle_core::Tensor;

use super::{Pipeline, PromptTruncation};
use crate::error::Result;
use crate::params::GenerationParams;

impl Pipeline {
    /// The embeddings of one generation, (2, window, width) as unconditional and conditional under guidance, else
    /// (1, window, width).
    pub(super) fn encode(&self, params: &GenerationParams) -> Result<(Tensor, Vec<PromptTruncation>)> {
        let mut truncations = Vec::new();
        let conditional = self.embed("prompt", params.prompt(), &mut truncations)?;
        if !params.is_guided() {
            return Ok((conditional, truncations));
        }
        let negative = params.negative_prompt().unwrap_or_default();
        let unconditional = self.embed("negative_prompt", negative, &mut truncations)?;
        Ok((Tensor::cat(&[&unconditional, &conditional], 0)?, truncations))
    }

    fn embed(&self, field: &'static str, text: &str, truncations: &mut Vec<PromptTruncation>) -> Result<Tensor> {
        let prepared = self.tokenizer.prepare(text, self.text_encoder.window(), field)?;
        if let Some(truncation) = prepared.truncation {
            truncations.push(PromptTruncation { field, truncation });
        }
        self.text_encoder.encode(&prepared.ids)
    }

    /// Token ids of `text`, begin, end and padding included, as many as the encoder's window.
    pub fn tokenize(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.tokenizer.prepare(text, self.text_encoder.window(), "prompt")?.ids)
    }

    /// The last hidden state of `text`, f32 (1, window, width).
    pub fn encode_prompt(&self, text: &str) -> Result<Tensor> {
        let ids = self.tokenize(text)?;
        self.threads.run(|| self.give(&self.text_encoder.encode(&ids)?))
    }
}

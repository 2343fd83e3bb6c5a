//! Prompts of any length, in the windows of a text encoder, as the webui's `tokenize_line` cuts them.

use super::ClipTokenizer;
use crate::error::Result;
use crate::prompt_syntax::Part;

/// How far before the end of a chunk a comma may be for the next chunk to begin behind it: the webui's default.
const COMMA_BACKTRACK: usize = 20;

/// A text encoder's window full of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// Begin, the prompt's, end, padding: exactly as many as the window.
    pub ids: Vec<u32>,
    /// What the hidden state of each is multiplied by; 1 for what is not the prompt's.
    pub weights: Vec<f64>,
}

#[derive(Default)]
struct Unfinished {
    ids: Vec<u32>,
    weights: Vec<f64>,
    /// Position of the last comma.
    comma: Option<usize>,
}

impl ClipTokenizer {
    /// `parts` in as many chunks of `window` ids as they take, at least one. `field` is the parameter's name in errors.
    ///
    /// # Errors
    /// As [`ClipTokenizer::prepare`].
    pub fn chunks(&self, parts: &[Part], window: usize, field: &'static str) -> Result<Vec<Chunk>> {
        let room = Self::room(window)?;
        let comma = self.encoder.token_to_id(",</w>");
        let (mut chunks, mut chunk) = (Vec::new(), Unfinished::default());
        for part in parts {
            if part.is_break() {
                chunks.push(self.finish(std::mem::take(&mut chunk), room));
                continue;
            }
            for id in self.encode(&part.text, field)? {
                if Some(id) == comma {
                    chunk.comma = Some(chunk.ids.len());
                } else if let Some(comma) =
                    chunk.comma.filter(|comma| chunk.ids.len() == room && room - comma <= COMMA_BACKTRACK)
                {
                    let ids = chunk.ids.split_off(comma + 1);
                    let weights = chunk.weights.split_off(comma + 1);
                    chunks.push(
                        self.finish(std::mem::replace(&mut chunk, Unfinished { ids, weights, comma: None }), room),
                    );
                }
                if chunk.ids.len() == room {
                    chunks.push(self.finish(std::mem::take(&mut chunk), room));
                }
                chunk.ids.push(id);
                chunk.weights.push(part.weight);
            }
        }
        if !chunk.ids.is_empty() || chunks.is_empty() {
            chunks.push(self.finish(chunk, room));
        }
        Ok(chunks)
    }

    /// A chunk without any text.
    ///
    /// # Errors
    /// As [`ClipTokenizer::prepare`].
    pub fn empty_chunk(&self, window: usize) -> Result<Chunk> {
        Ok(self.finish(Unfinished::default(), Self::room(window)?))
    }

    fn finish(&self, chunk: Unfinished, room: usize) -> Chunk {
        let mut ids = vec![self.bos];
        ids.extend(chunk.ids);
        ids.push(self.eos);
        if self.pad != self.eos {
            // A prompt may spell the end itself.
            let end = ids.iter().position(|id| *id == self.eos).unwrap_or(room);
            ids.truncate(end + 1);
        }
        ids.resize(room + 2, self.pad);
        let mut weights = vec![1.0];
        weights.extend(chunk.weights);
        weights.resize(room + 2, 1.0);
        Chunk { ids, weights }
    }
}

//! Little-endian floats of one dtype made those of another, at the speed of memory.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;

/// Elements converted at a time: small enough for the first-level cache, large enough for vector loops.
const BLOCK: usize = 2048;
/// Elements that one thread takes at a time.
const CHUNK: usize = 64 * BLOCK;

/// A float that tensors are computed in.
pub(super) trait Float: Copy + Default + Send + Sync {
    /// How safetensors calls it.
    const STORED: Dtype;
    /// Reads the same dtype; both hold as many elements.
    fn read(bytes: &[u8], out: &mut [Self]);
    /// Rounds to the nearest, ties to even; both hold as many elements.
    fn round(values: &[f32], out: &mut [Self]);
}

macro_rules! float {
    ($type:ty, $stored:expr, $round:expr) => {
        impl Float for $type {
            const STORED: Dtype = $stored;

            fn read(bytes: &[u8], out: &mut [Self]) {
                let (words, _) = bytes.as_chunks();
                for (out, word) in out.iter_mut().zip(words) {
                    *out = Self::from_le_bytes(*word);
                }
            }

            fn round(values: &[f32], out: &mut [Self]) {
                $round(values, out);
            }
        }
    };
}

float!(f32, Dtype::F32, |values: &[f32], out: &mut [f32]| out.copy_from_slice(values));
float!(f16, Dtype::F16, |values: &[f32], out: &mut [f16]| out.convert_from_f32_slice(values));
float!(bf16, Dtype::BF16, |values: &[f32], out: &mut [bf16]| out.convert_from_f32_slice(values));

/// Reads a block of at most [`BLOCK`] elements as f32, exactly.
fn widen(stored: Dtype, bytes: &[u8], out: &mut [f32]) {
    match stored {
        Dtype::F16 => {
            let mut block = [f16::ZERO; BLOCK];
            let block = &mut block[..out.len()];
            f16::read(bytes, block);
            block.convert_to_f32_slice(out);
        }
        Dtype::BF16 => {
            for (out, word) in out.iter_mut().zip(bytes.as_chunks().0) {
                *out = bf16::from_le_bytes(*word).to_f32();
            }
        }
        _ => f32::read(bytes, out),
    }
}

fn convert_block<T: Float>(stored: Dtype, bytes: &[u8], out: &mut [T]) {
    let mut block = [0f32; BLOCK];
    let block = &mut block[..out.len()];
    widen(stored, bytes, block);
    T::round(block, out);
}

/// Bytes of one of the floats that [`convert`] takes.
pub(super) fn float_size(stored: Dtype) -> Option<usize> {
    match stored {
        Dtype::F32 => Some(4),
        Dtype::F16 | Dtype::BF16 => Some(2),
        _ => None,
    }
}

/// The `bytes` of `stored` floats, of any alignment, as `T`; `None` if `stored` is not F32, F16 or BF16.
pub(super) fn convert<T: Float>(stored: Dtype, bytes: &[u8]) -> Option<Vec<T>> {
    let size = float_size(stored)?;
    let mut out = vec![T::default(); bytes.len() / size];
    let chunks = out.par_chunks_mut(CHUNK).zip(bytes.par_chunks(CHUNK * size));
    if stored == T::STORED {
        chunks.for_each(|(out, bytes)| T::read(bytes, out));
    } else {
        chunks.for_each(|(out, bytes)| {
            for (out, bytes) in out.chunks_mut(BLOCK).zip(bytes.chunks(BLOCK * size)) {
                convert_block(stored, bytes, out);
            }
        });
    }
    Some(out)
}

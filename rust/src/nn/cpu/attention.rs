//! Attention in tiles of queries: no buffer grows with the square of the sequence.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, bail};
use gemm::Parallelism;
use rayon::prelude::*;

use super::gemm::{Matrix, SharedOutput, multiply};
use super::instruction_set::multiversion;
use super::math::exp;
use super::values;

/// Queries that one task takes.
const QUERIES: usize = 64;

/// `softmax(q k^T * scale + mask) v` of q (batch, n, heads * d), k and v (batch, m, heads * d).
pub struct Attention {
    /// Number of heads.
    pub heads: usize,
    /// Factor on the scores.
    pub scale: f32,
    /// Whether a query sees only keys up to its own position.
    pub causal: bool,
}

multiversion! {
    /// Softmax of one row of scores; what is behind `visible` becomes 0.
    fn softmax(row: &mut [f32], visible: usize) {
        let (seen, hidden) = row.split_at_mut(visible.min(row.len()));
        let mut lanes = [f32::NEG_INFINITY; 16];
        for chunk in seen.chunks(16) {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                *lane = lane.max(*value);
            }
        }
        let max = lanes.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
        let mut sums = [0f32; 16];
        for chunk in seen.chunks_mut(16) {
            for (sum, value) in sums.iter_mut().zip(chunk) {
                *value = exp(*value - max);
                *sum += *value;
            }
        }
        let scale = 1.0 / sums.iter().sum::<f32>();
        for value in seen {
            *value *= scale;
        }
        hidden.fill(0.0);
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (batch, queries, width) = q_layout.shape().dims3()?;
        let (_, keys, _) = k_layout.shape().dims3()?;
        let fit = k_layout.dims() == [batch, keys, width] && v_layout.dims() == k_layout.dims();
        if !fit || keys == 0 || self.heads == 0 || width % self.heads != 0 {
            bail!(
                "attention: {} heads of q {:?}, k {:?}, v {:?}",
                self.heads,
                q_layout.dims(),
                k_layout.dims(),
                v_layout.dims()
            );
        }
        let (q, k, v) = (values(q, q_layout)?, values(k, k_layout)?, values(v, v_layout)?);
        let dim = width / self.heads;

        let mut out = vec![0f32; batch * queries * width];
        let shared = SharedOutput::new(&mut out);
        let tasks: Vec<_> = (0..batch * self.heads)
            .flat_map(|head| (0..queries).step_by(QUERIES).map(move |first| (head, first)))
            .collect();
        tasks.into_par_iter().for_each_init(Vec::new, |scores, (head, first)| {
            let (b, head) = (head / self.heads, head % self.heads);
            let rows = QUERIES.min(queries - first);
            let part = |data, sequence, from, rows| {
                let offset = (b * sequence + from) * width + head * dim;
                Matrix { data: &<[f32]>::as_ref(data)[offset..], rows, cols: dim, row_stride: width, col_stride: 1 }
            };
            scores.resize(QUERIES * keys, 0f32);
            let scores = &mut scores[..rows * keys];
            let target = SharedOutput::new(scores).at(0, keys);
            let (q, k, v) = (part(q, queries, first, rows), part(k, keys, 0, keys), part(v, keys, 0, keys));
            // SAFETY: the scores belong to this task.
            unsafe { multiply(target, false, q, k.transposed(), self.scale, Parallelism::None) };
            for (i, row) in scores.chunks_exact_mut(keys).enumerate() {
                softmax(row, if self.causal { first + i + 1 } else { keys });
            }
            let target = shared.at((b * queries + first) * width + head * dim, width);
            // SAFETY: each task writes its own head of its own queries.
            unsafe { multiply(target, false, Matrix::rows(scores, rows, keys), v, 1.0, Parallelism::None) };
        });
        Ok((CpuStorage::F32(out), q_layout.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::instruction_set::assert_same_bits;
    use super::*;

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        for (count, visible) in [(1, 1), (7, 3), (16, 16), (77, 50), (1025, 1025)] {
            let scores: Vec<f32> = (0..count).map(|i| (i as f32 * 0.37).sin() * 30.0).collect();
            assert_same_bits(|set| {
                let mut row = scores.clone();
                softmax::on(set, &mut row, visible);
                row
            });
        }
    }
}

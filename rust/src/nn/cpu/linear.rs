//! Fully connected layer.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, bail};
use gemm::Parallelism;
use rayon::prelude::*;

use super::gemm::{Matrix, SharedOutput, multiply};
use super::values;

/// Input rows that one task multiplies.
const ROWS: usize = 256;
/// Output columns that one task makes.
const COLS: usize = 512;

/// `y = x W^T + b` of x (…, in), W (out, in), b (out) or empty.
pub struct Linear;

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (outputs, inputs) = weight_layout.shape().dims2()?;
        let (x, weight, bias) = (values(x, x_layout)?, values(weight, weight_layout)?, values(bias, bias_layout)?);
        let mut dims = x_layout.dims().to_vec();
        if dims.pop() != Some(inputs) {
            bail!("linear: {:?} does not end in {inputs}", x_layout.dims());
        }
        if inputs == 0 || outputs == 0 || !(bias.is_empty() || bias.len() == outputs) {
            bail!("linear: weight {:?} and {} biases", weight_layout.dims(), bias.len());
        }
        let rows: usize = dims.iter().product();
        dims.push(outputs);

        let mut out = vec![0f32; rows * outputs];
        if !bias.is_empty() {
            out.par_chunks_mut(outputs * 16).for_each(|block| {
                for row in block.chunks_exact_mut(outputs) {
                    row.copy_from_slice(bias);
                }
            });
        }
        let shared = SharedOutput::new(&mut out);
        let tasks: Vec<_> =
            (0..rows).step_by(ROWS).flat_map(|r| (0..outputs).step_by(COLS).map(move |c| (r, c))).collect();
        tasks.into_par_iter().for_each(|(row, col)| {
            let (height, width) = (ROWS.min(rows - row), COLS.min(outputs - col));
            let lhs = Matrix::rows(&x[row * inputs..(row + height) * inputs], height, inputs);
            let rhs = Matrix::rows(&weight[col * inputs..(col + width) * inputs], width, inputs).transposed();
            // SAFETY: each task writes its own rows and columns of the output, which is initialised.
            unsafe { multiply(shared.at(row * outputs + col, outputs), true, lhs, rhs, 1.0, Parallelism::None) };
        });
        Ok((CpuStorage::F32(out), Shape::from(dims)))
    }
}

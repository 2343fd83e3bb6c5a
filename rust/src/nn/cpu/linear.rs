//! Fully connected layers.

use std::ops::Range;

use candle_core::{D, Tensor};

use super::buffer::Output;
use super::dense_rows::{DenseRows, ZERO};
use super::depth::Depth;
use super::dispatch::multiversion;
use super::kernel::{PANEL, Products};
use super::math::gelu;
use super::packed::{PackedMatrix, Strided, quantise, quantising_factor};
use super::product::{Destination, finish_row, multiply};
use super::tensors::{Values, tensor};
use crate::error::{Error, Result};
use crate::instruction_set::InstructionSet;

/// `y = x W^T + b`, with x from one input or from several joined along their width.
pub struct Linear {
    weight: Weight,
    bias: Vec<f32>,
}

/// `(x V^T + c) * gelu(x W^T + b)` (Shazeer 2020, GEGLU), after diffusers' `GEGLU`.
pub struct Geglu {
    value: Weight,
    gate: Weight,
    bias: Vec<f32>,
}

/// A packed W^T, and what its quantised sums need.
struct Weight {
    matrix: PackedMatrix,
    /// What each column's sum is multiplied by; empty where nothing is quantised.
    scales: Vec<f32>,
    /// What the rows' [`ZERO`] adds to each column's sum.
    offsets: Vec<i32>,
}

impl Weight {
    /// Packs rows `first..first + outputs` of W (…, inputs), each with a scale of its own where they are quantised.
    fn new(products: Products, weight: &[f32], first: usize, outputs: usize, inputs: usize) -> Self {
        let data = &weight[first * inputs..];
        let (mut scales, mut factors, mut offsets) = (Vec::new(), Vec::new(), Vec::new());
        if products == Products::Int8 {
            for row in data.chunks_exact(inputs).take(outputs) {
                let largest = row.iter().fold(0f32, |largest, value| largest.max(value.abs()));
                let factor = quantising_factor(largest);
                let sum: i32 = row.iter().map(|value| i32::from(quantise(*value, factor))).sum();
                scales.push(largest / 127.0);
                factors.push(factor);
                offsets.push(i32::from(ZERO) * sum);
            }
        }
        let source = Strided { data, column: inputs, segment: 0, index: 1, factors: &factors };
        let matrix = PackedMatrix::pack(products, outputs, &[inputs], source);
        Self { matrix, scales, offsets }
    }

    fn bytes(&self) -> usize {
        self.matrix.bytes() + size_of_val(self.scales.as_slice()) + size_of_val(self.offsets.as_slice())
    }

    /// The sums of one row as they are; where they are quantised, in `buffer`.
    fn restore<'a>(
        &self,
        sums: &'a [f32],
        scale: f32,
        columns: Range<usize>,
        buffer: &'a mut [f32; PANEL],
    ) -> &'a [f32] {
        if self.scales.is_empty() {
            return sums;
        }
        let buffer = &mut buffer[..sums.len()];
        restore_row(sums, scale, &self.scales[columns.clone()], &self.offsets[columns], buffer);
        buffer
    }
}

multiversion! {
    /// Quantised sums, whose bits are those of whole numbers, as what they stand for.
    fn restore_row(sums: &[f32], scale: f32, scales: &[f32], offsets: &[i32], out: &mut [f32]) {
        for (((out, sum), column_scale), offset) in out.iter_mut().zip(sums).zip(scales).zip(offsets) {
            *out = (sum.to_bits() as i32).wrapping_sub(*offset) as f32 * (scale * column_scale);
        }
    }
}

fn bias_or_zeros(bias: Option<&[f32]>, outputs: usize) -> Result<Vec<f32>> {
    let bias = bias.map_or_else(|| vec![0.0; outputs], <[f32]>::to_vec);
    if bias.len() == outputs { Ok(bias) } else { Err(misfit("bias", &[bias.len()], &[outputs])) }
}

pub(super) fn misfit(what: &str, given: &[usize], wanted: &[usize]) -> Error {
    Error::Inference(format!("{what} is {given:?}, not {wanted:?}"))
}

impl Linear {
    /// Packs `weight` (outputs, inputs) and `bias` (outputs).
    ///
    /// # Errors
    /// [`Error::Inference`] for lengths that do not fit each other.
    pub fn new(
        products: Products,
        weight: &[f32],
        outputs: usize,
        inputs: usize,
        bias: Option<&[f32]>,
    ) -> Result<Self> {
        if weight.len() != outputs * inputs || inputs == 0 {
            return Err(misfit("weight", &[weight.len()], &[outputs, inputs]));
        }
        Ok(Self { weight: Weight::new(products, weight, 0, outputs, inputs), bias: bias_or_zeros(bias, outputs)? })
    }

    /// Bytes of the packed weight.
    pub fn bytes(&self) -> usize {
        self.weight.bytes()
    }

    /// (…, inputs), from one input or from several joined along the last dimension, to (…, outputs), plus `residual` of
    /// that shape where there is one.
    ///
    /// # Errors
    /// [`Error::Inference`] for shapes that do not fit.
    pub fn forward(&self, inputs: &[&Tensor], residual: Option<&Tensor>) -> Result<Tensor> {
        let products = self.weight.matrix.products();
        let splits_a_step =
            |input: &&Tensor| !input.dim(D::Minus1).is_ok_and(|w| w.is_multiple_of(products.per_step()));
        if let [before @ .., _] = inputs
            && before.iter().any(splits_a_step)
        {
            return self.forward(&[&Tensor::cat(inputs, D::Minus1)?], residual);
        }
        let (outputs, widths) = (self.weight.matrix.columns(), widths(inputs));
        let mut shape = leading(inputs, &widths, &self.weight.matrix)?;
        let rows: usize = shape.iter().product();
        shape.push(outputs);
        let residual = match residual {
            Some(residual) if residual.dims() != shape => return Err(misfit("residual", residual.dims(), &shape)),
            residual => residual.map(Tensor::contiguous).transpose()?,
        };
        let residual = residual.as_ref().map(Values::of).transpose()?;
        let residual = residual.as_deref();
        let mut output = Output::new(rows * outputs);
        let out = output.shared();
        let to = Destination { rows: out, stride: outputs };
        read(inputs, |segments| {
            let (source, depth) = (DenseRows { products, segments }, Depth::new(products, &widths));
            // SAFETY: the inputs were checked to have `rows` rows of the segments' depths; each block is written once.
            unsafe {
                multiply(InstructionSet::best(), [&self.weight.matrix], &depth, rows, &source, to, |sums| {
                    let bias = &self.bias[sums.columns.clone()];
                    for (row, scale, [sums_of_row]) in sums.rows() {
                        let mut buffer = [0f32; PANEL];
                        let sums_of_row = self.weight.restore(sums_of_row, scale, sums.columns.clone(), &mut buffer);
                        let from = row * outputs + sums.columns.start;
                        let out = std::slice::from_raw_parts_mut(out.at(from), sums.columns.len());
                        finish_row(sums_of_row, bias, residual.map(|r| &r[from..from + out.len()]), out);
                    }
                });
            }
        })?;
        // SAFETY: the blocks cover all rows and columns.
        unsafe { tensor(output, shape) }
    }
}

multiversion! {
    fn gate_row(value: &[f32], gate: &[f32], value_bias: &[f32], gate_bias: &[f32], out: &mut [f32]) {
        for ((((out, value), gate), value_bias), gate_bias) in
            out.iter_mut().zip(value).zip(gate).zip(value_bias).zip(gate_bias)
        {
            *out = (value + value_bias) * gelu(gate + gate_bias);
        }
    }
}

impl Geglu {
    /// Packs `weight` (2 outputs, inputs), the values' rows before the gates', and `bias` (2 outputs).
    ///
    /// # Errors
    /// [`Error::Inference`] for lengths that do not fit each other.
    pub fn new(products: Products, weight: &[f32], outputs: usize, inputs: usize, bias: &[f32]) -> Result<Self> {
        if weight.len() != 2 * outputs * inputs || inputs == 0 {
            return Err(misfit("weight", &[weight.len()], &[2 * outputs, inputs]));
        }
        let half = |first| Weight::new(products, weight, first, outputs, inputs);
        Ok(Self { value: half(0), gate: half(outputs), bias: bias_or_zeros(Some(bias), 2 * outputs)? })
    }

    /// Bytes of the packed weight.
    pub fn bytes(&self) -> usize {
        self.value.bytes() + self.gate.bytes()
    }

    /// (…, inputs) to (…, outputs).
    ///
    /// # Errors
    /// [`Error::Inference`] for another width.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (outputs, products, widths) = (self.value.matrix.columns(), self.value.matrix.products(), widths(&[x]));
        let mut shape = leading(&[x], &widths, &self.value.matrix)?;
        let rows: usize = shape.iter().product();
        shape.push(outputs);
        let (value_bias, gate_bias) = self.bias.split_at(outputs);
        let mut output = Output::new(rows * outputs);
        let out = output.shared();
        let to = Destination { rows: out, stride: outputs };
        read(&[x], |segments| {
            let (source, depth) = (DenseRows { products, segments }, Depth::new(products, &widths));
            // SAFETY: as in `Linear::forward`.
            unsafe {
                multiply(
                    InstructionSet::best(),
                    [&self.value.matrix, &self.gate.matrix],
                    &depth,
                    rows,
                    &source,
                    to,
                    |sums| {
                        let columns = sums.columns.clone();
                        for (row, scale, [value, gate]) in sums.rows() {
                            let mut buffers = [[0f32; PANEL]; 2];
                            let [of_value, of_gate] = &mut buffers;
                            let value = self.value.restore(value, scale, columns.clone(), of_value);
                            let gate = self.gate.restore(gate, scale, columns.clone(), of_gate);
                            let out =
                                std::slice::from_raw_parts_mut(out.at(row * outputs + columns.start), columns.len());
                            gate_row(value, gate, &value_bias[columns.clone()], &gate_bias[columns.clone()], out);
                        }
                    },
                );
            }
        })?;
        // SAFETY: the blocks cover all rows and columns.
        unsafe { tensor(output, shape) }
    }
}

fn widths(inputs: &[&Tensor]) -> Vec<usize> {
    inputs.iter().map(|input| input.dims().last().copied().unwrap_or(0)).collect()
}

/// The dimensions before the last one, which all inputs share; the last ones are together as wide as the weight is deep.
fn leading(inputs: &[&Tensor], widths: &[usize], weight: &PackedMatrix) -> Result<Vec<usize>> {
    let depth = weight.segments();
    if widths.contains(&0) || widths.iter().sum::<usize>() != depth.iter().sum::<usize>() {
        return Err(misfit("the width of the inputs", widths, depth));
    }
    let leading: Vec<_> = inputs.iter().map(|input| &input.dims()[..input.rank() - 1]).collect();
    match leading.iter().find(|dims| **dims != leading[0]) {
        Some(other) => Err(misfit("a joined input", other, leading[0])),
        None => Ok(leading[0].to_vec()),
    }
}

/// Calls `work` with the values of all inputs.
fn read(inputs: &[&Tensor], work: impl FnOnce(&[&[f32]])) -> Result<()> {
    let inputs: Vec<_> = inputs.iter().map(|input| input.contiguous()).collect::<std::result::Result<_, _>>()?;
    let values: Vec<_> = inputs.iter().map(Values::of).collect::<Result<_>>()?;
    let slices: Vec<&[f32]> = values.iter().map(|values| &**values).collect();
    work(&slices);
    Ok(())
}

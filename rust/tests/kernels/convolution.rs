use candle_core::Tensor;
use proptest::prelude::*;
use sd_rbee::nn::cpu::Conv2d;

use super::{assert_close, random, tolerance};

#[derive(Debug, Clone, Copy)]
struct Case {
    batch: usize,
    inputs: usize,
    outputs: usize,
    height: usize,
    width: usize,
    kernel: usize,
    stride: usize,
    padding: (usize, usize),
    bias: bool,
}

/// The definition, one output at a time.
fn plain(case: &Case, x: &[f64], weight: &[f64], bias: &[f64]) -> (Vec<usize>, Vec<f64>) {
    let Case { batch, inputs, outputs, height, width, kernel, stride, padding: (before, after), .. } = *case;
    let out = |size: usize| (size + before + after - kernel) / stride + 1;
    let mut y = Vec::new();
    for b in 0..batch {
        for o in 0..outputs {
            for (i, j) in (0..out(height)).flat_map(|i| (0..out(width)).map(move |j| (i, j))) {
                let mut sum = bias.get(o).copied().unwrap_or(0.0);
                for (c, ky, kx) in
                    (0..inputs).flat_map(|c| (0..kernel).flat_map(move |ky| (0..kernel).map(move |kx| (c, ky, kx))))
                {
                    let (row, column) = ((i * stride + ky).checked_sub(before), (j * stride + kx).checked_sub(before));
                    if let (Some(row), Some(column)) = (row, column)
                        && row < height
                        && column < width
                    {
                        let weight = weight[((o * inputs + c) * kernel + ky) * kernel + kx];
                        sum += weight * x[((b * inputs + c) * height + row) * width + column];
                    }
                }
                y.push(sum);
            }
        }
    }
    (vec![batch, outputs, out(height), out(width)], y)
}

fn check(case: &Case) {
    let Case { batch, inputs, outputs, height, width, kernel, stride, padding, bias } = *case;
    let (x, x_values) = random(&[batch, inputs, height, width], 1);
    let (weight, weight_values) = random(&[outputs, inputs, kernel, kernel], 2);
    let (bias, bias_values) = random(&[if bias { outputs } else { 0 }], 3);
    let (shape, want) = plain(case, &x_values, &weight_values, &bias_values);
    let got: Tensor = x.apply_op3_no_bwd(&weight, &bias, &Conv2d { stride, padding }).expect("a convolution");
    assert_close(&got, &shape, &want, tolerance(inputs * kernel * kernel));
}

const BASE: Case =
    Case { batch: 1, inputs: 4, outputs: 4, height: 8, width: 8, kernel: 3, stride: 1, padding: (1, 1), bias: true };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn equals_the_definition(
        (batch, inputs, outputs) in (1usize..4, 1usize..20, 1usize..40),
        (height, width) in (1usize..24, 1usize..24),
        kernel in prop::sample::select(vec![1usize, 2, 3, 5]),
        stride in 1usize..4,
        padding in (0usize..3, 0usize..3),
        bias: bool,
    ) {
        let padded = padding.0 + padding.1;
        prop_assume!(height + padded >= kernel && width + padded >= kernel);
        check(&Case { batch, inputs, outputs, height, width, kernel, stride, padding, bias });
    }
}

#[test]
fn equals_the_definition_in_the_shapes_of_the_models() {
    for kernel in [1, 3] {
        for stride in [1, 2] {
            for padding in [(0, 0), (1, 1), (0, 1)] {
                for (height, width) in [(3, 3), (4, 7), (16, 16), (17, 5)] {
                    check(&Case { height, width, kernel, stride, padding, ..BASE });
                }
            }
        }
    }
}

/// More pixels than a tile holds, with a tail, so that every way of splitting is taken.
#[test]
fn tiles_and_their_tails_fit_together() {
    for (inputs, outputs, height, width) in [(150, 3, 19, 23), (1, 5, 131, 257), (300, 20, 12, 12), (9, 70, 64, 65)] {
        check(&Case { inputs, outputs, height, width, ..BASE });
        check(&Case { inputs, outputs, height, width, kernel: 1, padding: (0, 0), ..BASE });
        check(&Case { inputs, outputs, height, width, stride: 2, padding: (0, 1), batch: 2, ..BASE });
    }
}

#[test]
fn one_channel_and_one_pixel_work() {
    for (inputs, outputs) in [(1, 1), (1, 33), (33, 1)] {
        check(&Case { inputs, outputs, height: 1, width: 1, ..BASE });
        check(&Case { inputs, outputs, height: 1, width: 1, kernel: 1, padding: (0, 0), ..BASE });
        check(&Case { inputs, outputs, height: 1, width: 9, stride: 2, batch: 3, ..BASE });
    }
}

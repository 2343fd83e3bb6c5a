use candle_core::{D, Tensor};
use proptest::prelude::*;
use sd_rbee::nn::Activation;
use sd_rbee::nn::cpu::{Geglu, Linear, Products};

use super::{PRODUCTS, as_multiplied, assert_close, elementwise, in_f64, quantised, random, tolerance, values};
use crate::common::noise;

const LINEAR_PRODUCTS: [Products; 3] = [Products::F32, Products::Bf16, Products::Int8];

/// The numbers that are multiplied where rows of `width` values are given.
fn of_rows(products: Products, values: &[f64], width: usize) -> Vec<f64> {
    if products == Products::Int8 { quantised(values, width) } else { as_multiplied(products, values) }
}

/// `x W^T`, rows of `inputs` numbers by rows of as many.
pub fn plain(x: &[f64], weight: &[f64], inputs: usize) -> Vec<f64> {
    let rows = |values: &'_ [f64]| values.chunks(inputs).map(<[f64]>::to_vec).collect::<Vec<_>>();
    let weight = rows(weight);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    rows(x).iter().flat_map(|x| weight.iter().map(|w| dot(x, w)).collect::<Vec<_>>()).collect()
}

fn check(dims: &[usize], widths: &[usize], outputs: usize, bias: bool, residual: bool) {
    let inputs: usize = widths.iter().sum();
    let shape = |last| [dims, &[last]].concat();
    let (x, x_values) = random(&shape(inputs), 1);
    let (weight, bias_values) = (noise(outputs * inputs, 2), noise(outputs, 3));
    let (residual_tensor, residual_values) = random(&shape(outputs), 4);
    let mut first = 0;
    let parts: Vec<Tensor> = widths
        .iter()
        .map(|width| {
            first += width;
            x.narrow(D::Minus1, first - width, *width).and_then(|part| part.contiguous()).expect("a part")
        })
        .collect();
    for products in LINEAR_PRODUCTS {
        let multiplied = [&x_values, &in_f64(&weight)].map(|values| of_rows(products, values, inputs));
        let mut want = if inputs * outputs == 0 { vec![] } else { plain(&multiplied[0], &multiplied[1], inputs) };
        for (index, want) in want.iter_mut().enumerate() {
            *want += if bias { f64::from(bias_values[index % outputs]) } else { 0.0 };
            *want += if residual { residual_values[index] } else { 0.0 };
        }
        let linear =
            Linear::new(products, &weight, outputs, inputs, bias.then_some(bias_values.as_slice())).expect("a layer");
        let parts: Vec<&Tensor> = parts.iter().collect();
        let got = linear.forward(&parts, residual.then_some(&residual_tensor)).expect("a linear layer");
        assert_close(&got, &shape(outputs), &want, tolerance(inputs));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn equals_the_definition(
        dims in prop::collection::vec(1usize..10, 0..4),
        widths in prop::collection::vec(1usize..40, 1..4),
        outputs in 1usize..70,
        (bias, residual) in any::<(bool, bool)>(),
    ) {
        check(&dims, &widths, outputs, bias, residual);
    }

    #[test]
    fn geglu_equals_the_definition(
        dims in prop::collection::vec(1usize..9, 0..3), inputs in 1usize..50, outputs in 1usize..60,
    ) {
        check_geglu(&dims, inputs, outputs);
    }
}

#[test]
fn blocks_and_their_tails_fit_together() {
    for (rows, inputs, outputs) in
        [(1, 700, 3), (257, 5, 113), (128, 33, 96), (300, 64, 49), (1, 1, 1), (129, 1, 2), (3, 5001, 7), (9, 4097, 50)]
    {
        check(&[rows], &[inputs], outputs, true, false);
        check(&[1, rows, 1], &[inputs], outputs, false, true);
        check_geglu(&[rows], inputs, outputs);
    }
    for widths in [vec![3000, 2000], vec![2048, 2048], vec![1, 4096], vec![4095, 1], vec![2050, 7, 1, 2]] {
        check(&[2, 5], &widths, 21, true, true);
    }
    check(&[2, 77], &[640], 20, true, true);
    check(&[0], &[4], 5, true, true);
    check(&[3], &[4], 0, true, true);
}

fn check_geglu(dims: &[usize], inputs: usize, outputs: usize) {
    let (x, x_values) = random(&[dims, &[inputs]].concat(), 1);
    let (weight, bias) = (noise(2 * outputs * inputs, 2), noise(2 * outputs, 3));
    for products in LINEAR_PRODUCTS {
        let multiplied = [&x_values, &in_f64(&weight)].map(|values| of_rows(products, values, inputs));
        let halves = plain(&multiplied[0], &multiplied[1], inputs);
        let mut want = Vec::new();
        for row in halves.chunks(2 * outputs) {
            let with_bias: Vec<f64> = row.iter().zip(&bias).map(|(sum, bias)| sum + f64::from(*bias)).collect();
            let (value, gate) = with_bias.split_at(outputs);
            want.extend(value.iter().zip(gate).map(|(a, b)| a * elementwise::plain(Activation::Gelu, *b)));
        }
        let geglu = Geglu::new(products, &weight, outputs, inputs, &bias).expect("a layer");
        let got = geglu.forward(&x).expect("a gate");
        // 1 + erf cancels where the gate is far below 0, and the value multiplies what is left of its 6 ulp; each
        // factor's error is multiplied by the other, which grows as the square root of the depth.
        let size = (inputs as f64 / 9.0).sqrt().max(1.0) * 5.0;
        assert_close(&got, &[dims, &[outputs]].concat(), &want, 3e-6 + tolerance(inputs) * size);
    }
}

/// Slices and transposes are not contiguous.
#[test]
fn views_are_read_as_what_they_show() {
    let (x, _) = random(&[4, 30, 11], 1);
    let view = x.transpose(1, 2).and_then(|x| x.narrow(2, 3, 9)).expect("a view");
    let copy = view.contiguous().expect("a copy");
    let weight = noise(14 * 9, 2);
    for products in PRODUCTS {
        let linear = Linear::new(products, &weight, 14, 9, None).expect("a layer");
        let geglu = Geglu::new(products, &weight, 7, 9, &noise(14, 3)).expect("a layer");
        let both = [&view, &copy].map(|x| values(&linear.forward(&[x], None).expect("a linear layer")));
        assert_eq!(both[0], both[1]);
        let both = [&view, &copy].map(|x| values(&geglu.forward(x).expect("a gate")));
        assert_eq!(both[0], both[1]);
    }
}

/// A layer's bytes are its matrix in the width of its products, in whole panels, and its bias.
#[test]
fn layers_tell_their_bytes() {
    let bytes = |products| Linear::new(products, &noise(48 * 64, 1), 48, 64, None).expect("a layer").bytes();
    assert_eq!(bytes(Products::F32), 48 * 64 * 4);
    assert_eq!(bytes(Products::Bf16), 48 * 64 * 2);
}

/// What a quantised row cannot hold must not get lost in it.
#[test]
fn quantised_rows_that_are_not_finite_give_results_that_are_not() {
    let weight = noise(5 * 40, 1);
    let linear = Linear::new(Products::Int8, &weight, 5, 40, None).expect("a layer");
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for place in [0, 33, 39] {
            let mut row = noise(40, 2);
            row[place] = bad;
            let x = Tensor::from_vec(row, (1, 40), &candle_core::Device::Cpu).expect("a row");
            let y = values(&linear.forward(&[&x], None).expect("a linear layer"));
            assert!(y.iter().all(|value| !value.is_finite()), "{bad} at {place}: {y:?}");
        }
    }
}

use candle_core::Tensor;
use proptest::prelude::*;
use sd_rbee::nn::cpu::{GroupNorm, LayerNorm};

use super::{assert_close, random};

fn moments(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64)
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

/// `offset` moves all inputs by as much: the larger, the more of them cancels.
fn check_group(batch: usize, groups: usize, in_group: usize, rest: &[usize], silu_after: bool, offset: f64) {
    let channels = groups * in_group;
    let plane: usize = rest.iter().product();
    let shape = [&[batch, channels], rest].concat();
    let (x, _) = random(&shape, 1);
    let x: Tensor = (x + offset).expect("moved");
    let x_values: Vec<f64> = super::values(&x).into_iter().map(f64::from).collect();
    let ((weight, weight_values), (bias, bias_values)) = (random(&[channels], 2), random(&[channels], 3));
    let mut want = Vec::new();
    for (index, group) in x_values.chunks(in_group * plane).enumerate() {
        let (mean, variance) = moments(group);
        for (i, value) in group.iter().enumerate() {
            let channel = index % groups * in_group + i / plane;
            let y = (value - mean) / (variance + 1e-5).sqrt() * weight_values[channel] + bias_values[channel];
            want.push(if silu_after { silu(y) } else { y });
        }
    }
    let op = GroupNorm { groups, eps: 1e-5, silu: silu_after };
    let got = x.apply_op3_no_bwd(&weight, &bias, &op).expect("a norm");
    assert_close(&got, &shape, &want, 1e-6 * (1.0 + 10.0 * offset.abs()));
}

fn check_layer(dims: &[usize], width: usize, offset: f64) {
    let shape = [dims, &[width]].concat();
    let (x, _) = random(&shape, 1);
    let x: Tensor = (x + offset).expect("moved");
    let x_values: Vec<f64> = super::values(&x).into_iter().map(f64::from).collect();
    let ((weight, weight_values), (bias, bias_values)) = (random(&[width], 2), random(&[width], 3));
    let mut want = Vec::new();
    for row in x_values.chunks(width) {
        let (mean, variance) = moments(row);
        for ((value, weight), bias) in row.iter().zip(&weight_values).zip(&bias_values) {
            want.push((value - mean) / (variance + 1e-5).sqrt() * weight + bias);
        }
    }
    let got = x.apply_op3_no_bwd(&weight, &bias, &LayerNorm { eps: 1e-5 }).expect("a norm");
    assert_close(&got, &shape, &want, 1e-6 * (1.0 + 10.0 * offset.abs()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn group_norm_equals_the_definition(
        (batch, groups, in_group) in (1usize..4, 1usize..9, 1usize..5),
        rest in prop::collection::vec(1usize..12, 0..3),
        silu: bool,
        offset in prop::sample::select(vec![0.0, 1.0, -20.0]),
    ) {
        // Two values that lie close together would be spread by a factor of hundreds, and their rounding with them.
        let in_group = if rest.iter().product::<usize>() < 4 { in_group + 3 } else { in_group };
        check_group(batch, groups, in_group, &rest, silu, offset);
    }

    #[test]
    fn layer_norm_equals_the_definition(
        dims in prop::collection::vec(1usize..9, 0..3),
        width in 4usize..200,
        offset in prop::sample::select(vec![0.0, 1.0, -20.0]),
    ) {
        check_layer(&dims, width, offset);
    }
}

#[test]
fn groups_of_a_million_values_keep_their_moments() {
    check_group(1, 2, 4, &[512, 512], true, 0.0);
    check_group(1, 1, 1, &[1023, 1025], false, 20.0);
}

#[test]
fn what_does_not_vary_becomes_the_bias() {
    let x = Tensor::full(3.7f32, (1, 4, 5, 5), &candle_core::Device::Cpu).expect("a tensor");
    let ((weight, _), (bias, bias_values)) = (random(&[4], 2), random(&[4], 3));
    let want: Vec<f64> = bias_values.iter().flat_map(|bias| [*bias; 25]).collect();
    let op = GroupNorm { groups: 2, eps: 1e-5, silu: false };
    let got = x.apply_op3_no_bwd(&weight, &bias, &op).expect("a norm");
    assert_close(&got, &[1, 4, 5, 5], &want, 1e-4);
}

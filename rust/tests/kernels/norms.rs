use candle_core::{D, Tensor};
use proptest::prelude::*;
use sd_rbee::nn::Activation;
use sd_rbee::nn::cpu::{GroupNorm, LayerNorm};

use super::{assert_close, elementwise, in_f64, random, values};
use crate::common::noise;

fn moments(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64)
}

/// `offset` moves all inputs by as much: the larger, the more of them cancels. The channels are split at `splits`.
fn check_group(
    batch: usize,
    (groups, in_group): (usize, usize),
    (height, width): (usize, usize),
    silu: bool,
    offset: f64,
    splits: &[usize],
) {
    let channels = groups * in_group;
    let shape = [batch, height, width, channels];
    let (x, _) = random(&shape, 1);
    let x: Tensor = (x + offset).expect("moved");
    let x_values = in_f64(&values(&x));
    let (weight, bias) = (noise(channels, 2), noise(channels, 3));
    let mut want = vec![0.0; x_values.len()];
    let image = height * width * channels;
    for (b, group) in (0..batch).flat_map(|b| (0..groups).map(move |group| (b, group))) {
        let of_group = |index: &usize| index % channels / in_group == group;
        let indices: Vec<usize> = (b * image..(b + 1) * image).filter(of_group).collect();
        let (mean, variance) = moments(&indices.iter().map(|index| x_values[*index]).collect::<Vec<_>>());
        for index in indices {
            let normal = (x_values[index] - mean) / (variance + 1e-5).sqrt();
            let y = normal * f64::from(weight[index % channels]) + f64::from(bias[index % channels]);
            want[index] = if silu { elementwise::plain(Activation::Silu, y) } else { y };
        }
    }
    let ends = splits.iter().copied().chain([channels]);
    let mut first = 0;
    let parts: Vec<Tensor> = ends
        .map(|end| {
            let part = x.narrow(D::Minus1, first, end - first).expect("a part");
            first = end;
            part
        })
        .collect();
    let norm = GroupNorm { weight, bias, groups, eps: 1e-5 };
    let got = norm.forward(&parts.iter().collect::<Vec<_>>(), silu).expect("a norm");
    assert_close(&got, &shape, &want, 1e-6 * (1.0 + 10.0 * offset.abs()));
}

fn check_layer(dims: &[usize], width: usize, offset: f64) {
    let shape = [dims, &[width]].concat();
    let (x, _) = random(&shape, 1);
    let x: Tensor = (x + offset).expect("moved");
    let x_values = in_f64(&values(&x));
    let (weight, bias) = (noise(width, 2), noise(width, 3));
    let mut want = Vec::new();
    for row in x_values.chunks(width) {
        let (mean, variance) = moments(row);
        for ((value, weight), bias) in row.iter().zip(&weight).zip(&bias) {
            want.push((value - mean) / (variance + 1e-5).sqrt() * f64::from(*weight) + f64::from(*bias));
        }
    }
    let got = LayerNorm { weight, bias, eps: 1e-5 }.forward(&x).expect("a norm");
    assert_close(&got, &shape, &want, 1e-6 * (1.0 + 10.0 * offset.abs()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn group_norm_equals_the_definition(
        (batch, groups, in_group) in (1usize..4, 1usize..9, 1usize..6),
        size in (1usize..12, 1usize..12),
        silu: bool,
        offset in prop::sample::select(vec![0.0, 1.0, -20.0]),
        (one, two) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        // Two values that lie close together would be spread by a factor of hundreds, and their rounding with them.
        let in_group = if size.0 * size.1 < 4 { in_group + 3 } else { in_group };
        let channels = groups * in_group;
        let mut splits: Vec<usize> = [one, two].iter().map(|at| at.index(channels)).filter(|at| *at > 0).collect();
        splits.sort_unstable();
        splits.dedup();
        check_group(batch, (groups, in_group), size, silu, offset, &splits);
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
fn groups_of_many_values_keep_their_moments() {
    check_group(1, (2, 4), (256, 256), true, 0.0, &[3]);
    check_group(1, (1, 1), (513, 515), false, 20.0, &[]);
}

#[test]
fn what_does_not_vary_becomes_the_bias() {
    let x = Tensor::full(3.7f32, (1, 5, 5, 4), &candle_core::Device::Cpu).expect("a tensor");
    let (weight, bias) = (noise(4, 2), noise(4, 3));
    let want = in_f64(&bias.repeat(25));
    let got = GroupNorm { weight, bias, groups: 2, eps: 1e-5 }.forward(&[&x], false).expect("a norm");
    assert_close(&got, &[1, 5, 5, 4], &want, 1e-4);
}

#[test]
fn what_is_no_number_stays_none() {
    let mut x = noise(3 * 3 * 8, 1);
    x[40] = f32::NAN;
    let x = super::tensor(&[1, 3, 3, 8], &x);
    let norm = GroupNorm { weight: vec![1.0; 8], bias: vec![0.0; 8], groups: 2, eps: 1e-5 };
    for silu in [false, true] {
        let got = values(&norm.forward(&[&x], silu).expect("a norm"));
        for (index, value) in got.iter().enumerate() {
            assert_eq!(value.is_nan(), index % 8 < 4, "element {index}");
        }
    }
}

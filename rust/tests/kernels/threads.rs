//! A result has the same bits on any number of threads.

use candle_core::Tensor;
use proptest::prelude::*;
use sd_rbee::nn::Activation;
use sd_rbee::nn::cpu::{
    Attention, Conv2d, Conv2dExtras, Geglu, GroupNorm, LayerNorm, Linear, Method, Products, activate,
};
use sd_rbee::threads::Threads;

use super::convolution::{BASE, Case};
use super::{PRODUCTS, random, values};
use crate::common::noise;

/// Runs `work` on pools of several sizes and compares the bits of what it returns.
#[track_caller]
fn assert_same_bits(work: impl Fn() -> Tensor + Sync) {
    let run = |threads: usize| {
        let threads = Threads::new(Some(threads)).expect("threads");
        let result = threads.run(|| values(&work()));
        result.into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    let alone = run(1);
    for threads in [2, 3, 5] {
        assert!(run(threads) == alone, "{threads} threads give other bits than one");
    }
}

fn conv(case: &Case, products: Products, method: Method) {
    let (x, _) = random(&[case.batch, case.height, case.width, case.inputs], 1);
    let weight = noise(case.outputs * case.inputs * case.kernel * case.kernel, 2);
    let conv = Conv2d::new(products, case.geometry(), &weight, &noise(case.outputs, 3), method).expect("a convolution");
    let (shift, _) = random(&[case.batch, case.outputs], 4);
    let (residual, _) = random(&case.out(), 5);
    let shift = (case.shifts > 0).then_some(&shift);
    let extras = Conv2dExtras { upsampled: case.upsampled, shift, residual: Some(&residual) };
    assert_same_bits(|| conv.forward(&x, extras).expect("a convolution"));
}

/// From images of a few pixels, where there are fewer blocks than threads and the columns are split, to many blocks.
#[test]
fn convolutions() {
    for (inputs, outputs, side) in [(160, 320, 1), (320, 160, 2), (128, 200, 4), (96, 100, 16), (33, 17, 45)] {
        let case = Case { inputs, outputs, height: side, width: side, ..BASE };
        for products in PRODUCTS {
            for method in [Method::Direct, Method::Winograd2, Method::Winograd4] {
                conv(&case, products, method);
            }
            conv(&Case { kernel: 1, padding: (0, 0), ..case }, products, Method::Auto);
            conv(&Case { stride: 2, batch: 2, shifts: 2, ..case }, products, Method::Auto);
        }
    }
    for products in PRODUCTS {
        conv(&Case { inputs: 3, outputs: 16, height: 96, width: 96, ..BASE }, products, Method::Auto);
        conv(&Case { inputs: 16, outputs: 3, height: 96, width: 96, ..BASE }, products, Method::Auto);
        conv(&Case { inputs: 70, outputs: 70, upsampled: Some((15, 16)), ..BASE }, products, Method::Auto);
    }
}

#[test]
fn linear_layers() {
    for (rows, inputs, outputs) in [(1, 700, 640), (2, 320, 5), (77, 256, 320), (300, 64, 400), (2048, 40, 33)] {
        let (x, _) = random(&[rows, inputs], 1);
        let (weight, bias) = (noise(2 * outputs * inputs, 2), noise(2 * outputs, 3));
        for products in PRODUCTS {
            let linear = Linear::new(products, &weight, 2 * outputs, inputs, Some(&bias)).expect("a layer");
            assert_same_bits(|| linear.forward(&[&x], None).expect("a linear layer"));
            let geglu = Geglu::new(products, &weight, outputs, inputs, &bias).expect("a layer");
            assert_same_bits(|| geglu.forward(&x).expect("a gate"));
        }
    }
}

#[test]
fn attentions() {
    for (queries, keys, heads, dim) in [(1, 1, 1, 8), (77, 77, 4, 64), (256, 77, 3, 40), (500, 500, 1, 128)] {
        let (q, _) = random(&[2, queries, heads * dim], 1);
        let (k, _) = random(&[2, keys, heads * dim], 2);
        let (v, _) = random(&[2, keys, heads * dim], 3);
        for (products, causal) in PRODUCTS.into_iter().flat_map(|products| [(products, false), (products, true)]) {
            let attention = Attention { products, heads, causal };
            assert_same_bits(|| attention.forward(&q, &k, &v).expect("attention"));
        }
    }
}

#[test]
fn norms() {
    for (channels, groups, side) in [(32, 32, 1), (64, 32, 16), (96, 8, 33), (320, 32, 40)] {
        let (x, _) = random(&[2, side, side, channels], 1);
        let (weight, bias) = (noise(channels, 2), noise(channels, 3));
        let norm = GroupNorm { weight: weight.clone(), bias: bias.clone(), groups, eps: 1e-5 };
        assert_same_bits(|| norm.forward(&[&x], true).expect("a norm"));
        let norm = LayerNorm { weight, bias, eps: 1e-5 };
        assert_same_bits(|| norm.forward(&x).expect("a norm"));
    }
}

#[test]
fn activations() {
    for shape in [[1, 1, 2, 2], [1, 3, 50, 60], [2, 32, 32, 160]] {
        let (x, _) = random(&shape, 1);
        for activation in [Activation::Silu, Activation::QuickGelu, Activation::Gelu] {
            assert_same_bits(|| activate(&x, activation).expect("an activation"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn convolutions_of_any_shape(
        (batch, inputs, outputs) in (1usize..3, 1usize..120, 1usize..120),
        (height, width) in (1usize..16, 1usize..16),
        (kernel, padding) in prop::sample::select(vec![(1, (0, 0)), (3, (1, 1)), (3, (0, 1))]),
        stride in 1usize..3,
    ) {
        prop_assume!(kernel == 1 || padding == (1, 1) || (height > 1 && width > 1));
        for products in PRODUCTS {
            conv(&Case { batch, inputs, outputs, height, width, kernel, stride, padding, ..BASE }, products, Method::Auto);
        }
    }
}

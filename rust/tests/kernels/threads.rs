//! A result has the same bits on any number of threads.

use candle_core::Tensor;
use proptest::prelude::*;
use rayon::ThreadPoolBuilder;
use sd_rbee::nn::cpu::{Conv2d, GroupNorm, LayerNorm, Linear};
use sd_rbee::nn::{Activation, AttentionShape, attention, geglu, upsample_nearest2x};

use super::{random, values};

/// Runs `work` on pools of several sizes and compares the bits of what it returns.
#[track_caller]
pub fn assert_same_bits(work: impl Fn() -> Tensor + Sync) {
    let run = |threads: usize| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let result = pool.install(|| values(&work()));
        result.into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    let alone = run(1);
    for threads in [2, 3, 5] {
        assert!(run(threads) == alone, "{threads} threads give other bits than one");
    }
}

fn conv(shape: [usize; 4], outputs: usize, kernel: usize, stride: usize, padding: (usize, usize)) {
    let (x, _) = random(&shape, 1);
    let (weight, _) = random(&[outputs, shape[1], kernel, kernel], 2);
    let (bias, _) = random(&[outputs], 3);
    assert_same_bits(|| x.apply_op3_no_bwd(&weight, &bias, &Conv2d { stride, padding }).expect("a convolution"));
}

/// From images of a few pixels, where there are fewer tiles than threads and the product itself is split, to many
/// tiles.
#[test]
fn convolutions() {
    for (channels, outputs, side) in
        [(320, 320, 1), (640, 640, 2), (256, 384, 4), (160, 160, 8), (96, 100, 16), (64, 64, 32), (33, 17, 61)]
    {
        conv([1, channels, side, side], outputs, 3, 1, (1, 1));
        conv([1, channels, side, side], outputs, 1, 1, (0, 0));
        conv([2, channels, side, side], outputs, 3, 2, (1, 1));
    }
    conv([1, 1280, 8, 8], 1280, 3, 1, (1, 1));
    conv([1, 3, 128, 128], 16, 3, 1, (1, 1));
    conv([1, 16, 128, 128], 3, 3, 1, (1, 1));
}

#[test]
fn linear_layers() {
    for (rows, inputs, outputs) in [(1, 1280, 1280), (2, 320, 5), (77, 768, 320), (300, 64, 1100), (4096, 40, 33)] {
        let (x, _) = random(&[rows, inputs], 1);
        let (weight, _) = random(&[outputs, inputs], 2);
        let (bias, _) = random(&[outputs], 3);
        assert_same_bits(|| x.apply_op3_no_bwd(&weight, &bias, &Linear).expect("a linear layer"));
    }
}

#[test]
fn attentions() {
    for (queries, keys, heads, dim) in [(1, 1, 1, 8), (77, 77, 12, 64), (256, 77, 8, 40), (1024, 1024, 1, 128)] {
        let (q, _) = random(&[2, queries, heads * dim], 1);
        let (k, _) = random(&[2, keys, heads * dim], 2);
        let (v, _) = random(&[2, keys, heads * dim], 3);
        for causal in [false, true] {
            assert_same_bits(|| attention(&q, &k, &v, AttentionShape { heads, causal }).expect("attention"));
        }
    }
}

#[test]
fn norms() {
    for (channels, groups, side) in [(32, 32, 1), (64, 32, 16), (96, 8, 33), (320, 32, 64)] {
        let (x, _) = random(&[2, channels, side, side], 1);
        let ((weight, _), (bias, _)) = (random(&[channels], 2), random(&[channels], 3));
        let op = GroupNorm { groups, eps: 1e-5, silu: true };
        assert_same_bits(|| x.apply_op3_no_bwd(&weight, &bias, &op).expect("a norm"));
        let ((weight, _), (bias, _)) = (random(&[side], 2), random(&[side], 3));
        assert_same_bits(|| x.apply_op3_no_bwd(&weight, &bias, &LayerNorm { eps: 1e-5 }).expect("a norm"));
    }
}

#[test]
fn elementwise() {
    for shape in [[1, 1, 2, 2], [1, 3, 50, 60], [2, 320, 32, 32]] {
        let (x, _) = random(&shape, 1);
        for activation in [Activation::Silu, Activation::QuickGelu, Activation::Gelu] {
            assert_same_bits(|| activation.forward(&x).expect("an activation"));
        }
        assert_same_bits(|| geglu(&x).expect("a gate"));
        assert_same_bits(|| upsample_nearest2x(&x).expect("twice the size"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn convolutions_of_any_shape(
        (batch, channels, outputs) in (1usize..3, 1usize..200, 1usize..200),
        (height, width) in (1usize..20, 1usize..20),
        (kernel, padding) in prop::sample::select(vec![(1, (0, 0)), (3, (1, 1)), (3, (0, 1))]),
        stride in 1usize..3,
    ) {
        prop_assume!(kernel == 1 || padding == (1, 1) || (height > 1 && width > 1));
        conv([batch, channels, height, width], outputs, kernel, stride, padding);
    }
}

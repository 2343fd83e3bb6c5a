//! Shapes that do not fit are errors.

use candle_core::{DType, Device, Tensor};
use sd_rbee::nn::cpu::{Conv2d, GroupNorm, LayerNorm, Linear};
use sd_rbee::nn::{Activation, AttentionShape, attention, geglu, upsample_nearest2x};

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).expect("a tensor")
}

#[test]
fn convolutions() {
    let conv = |x: &[usize], weight: &[usize], bias: usize, stride| {
        let op = Conv2d { stride, padding: (0, 1) };
        zeros(x).apply_op3_no_bwd(&zeros(weight), &zeros(&[bias]), &op).is_err()
    };
    assert!(!conv(&[1, 4, 8, 8], &[4, 4, 3, 3], 4, 1));
    for (x, weight, bias, stride) in [
        (&[1, 3, 8, 8][..], [4, 4, 3, 3], 4, 1),
        (&[1, 4, 8, 8], [4, 4, 3, 3], 3, 1),
        (&[1, 4, 8, 8], [4, 4, 3, 3], 4, 0),
        (&[1, 4, 1, 8], [4, 4, 3, 3], 4, 1),
        (&[1, 4, 8, 1], [4, 4, 3, 3], 4, 1),
        (&[1, 4, 0, 0], [4, 4, 3, 3], 4, 1),
        (&[1, 0, 8, 8], [4, 0, 3, 3], 4, 1),
        (&[1, 4, 8, 8], [0, 4, 3, 3], 0, 1),
        (&[1, 4, 8, 8], [4, 4, 0, 0], 4, 1),
        (&[4, 8, 8], [4, 4, 3, 3], 4, 1),
    ] {
        assert!(conv(x, &weight, bias, stride), "{x:?} {weight:?} {bias} {stride}");
    }
}

#[test]
fn linear_layers() {
    let linear = |x: &[usize], weight: &[usize], bias: usize| {
        zeros(x).apply_op3_no_bwd(&zeros(weight), &zeros(&[bias]), &Linear).is_err()
    };
    assert!(!linear(&[2, 4], &[3, 4], 3));
    for (x, weight, bias) in [
        (&[2, 5][..], &[3, 4][..], 3),
        (&[2, 4], &[3, 4], 2),
        (&[], &[3, 4], 3),
        (&[2, 0], &[3, 0], 3),
        (&[2, 4], &[0, 4], 0),
    ] {
        assert!(linear(x, weight, bias), "{x:?} {weight:?} {bias}");
    }
}

#[test]
fn norms() {
    let group = |x: &[usize], weight: usize, bias: usize, groups| {
        let op = GroupNorm { groups, eps: 1e-5, silu: false };
        zeros(x).apply_op3_no_bwd(&zeros(&[weight]), &zeros(&[bias]), &op).is_err()
    };
    assert!(!group(&[1, 4, 2, 2], 4, 4, 2));
    assert!(!group(&[1, 4, 0, 2], 4, 4, 2));
    for (x, weight, bias, groups) in [
        (&[1, 4, 2, 2][..], 4, 4, 3),
        (&[1, 4, 2, 2], 4, 4, 0),
        (&[1, 4, 2, 2], 3, 4, 2),
        (&[1, 4, 2, 2], 4, 3, 2),
        (&[1, 0, 2, 2], 0, 0, 2),
        (&[4], 4, 4, 2),
    ] {
        assert!(group(x, weight, bias, groups), "{x:?} {weight} {bias} {groups}");
    }
    let layer = |x: &[usize], weight: usize, bias: usize| {
        zeros(x).apply_op3_no_bwd(&zeros(&[weight]), &zeros(&[bias]), &LayerNorm { eps: 1e-5 }).is_err()
    };
    assert!(!layer(&[3, 4], 4, 4));
    for (x, weight, bias) in [(&[3, 4][..], 3, 3), (&[3, 4], 4, 3), (&[3, 0], 0, 0), (&[], 4, 4)] {
        assert!(layer(x, weight, bias), "{x:?} {weight} {bias}");
    }
}

#[test]
fn attentions() {
    let misfit = |q: &[usize], k: &[usize], v: &[usize], heads| {
        attention(&zeros(q), &zeros(k), &zeros(v), AttentionShape { heads, causal: false }).is_err()
    };
    assert!(!misfit(&[1, 3, 8], &[1, 5, 8], &[1, 5, 8], 2));
    for (q, k, v, heads) in [
        (&[1, 3, 8][..], [1, 5, 8], [1, 5, 8], 3),
        (&[1, 3, 8], [1, 5, 8], [1, 5, 8], 0),
        (&[1, 3, 8], [1, 0, 8], [1, 0, 8], 2),
        (&[2, 3, 8], [1, 5, 8], [1, 5, 8], 2),
        (&[1, 3, 8], [1, 5, 4], [1, 5, 4], 2),
        (&[1, 3, 8], [1, 5, 8], [1, 4, 8], 2),
        (&[3, 8], [1, 5, 8], [1, 5, 8], 2),
    ] {
        assert!(misfit(q, &k, &v, heads), "{q:?} {k:?} {v:?} {heads}");
    }
}

#[test]
fn gates_and_upsampling() {
    for shape in [&[2, 3][..], &[2, 0], &[]] {
        assert!(geglu(&zeros(shape)).is_err(), "{shape:?}");
    }
    assert!(upsample_nearest2x(&zeros(&[1, 2, 2])).is_err());
    assert_eq!(upsample_nearest2x(&zeros(&[1, 2, 0, 3])).expect("nothing").dims(), [1, 2, 0, 6]);
    assert_eq!(Activation::Silu.forward(&zeros(&[0])).expect("nothing").dims(), [0]);
}

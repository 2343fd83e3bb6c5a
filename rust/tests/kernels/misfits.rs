//! Shapes that do not fit are errors.

use candle_core::{DType, Device, Tensor};
use sd_rbee::Error;
use sd_rbee::nn::Activation;
use sd_rbee::nn::cpu::{
    Attention, Conv2d, Conv2dExtras, Conv2dGeometry, Geglu, GroupNorm, LayerNorm, Linear, Method, activate,
};

use super::PRODUCTS;

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).expect("a tensor")
}

fn is_misfit<T>(result: sd_rbee::Result<T>) -> bool {
    matches!(result, Err(Error::Inference(_)))
}

const GEOMETRY: Conv2dGeometry =
    Conv2dGeometry { inputs: 4, outputs: 5, kernel: 3, stride: 1, padding: (1, 1), side: None };

fn conv(geometry: Conv2dGeometry, method: Method) -> sd_rbee::Result<Conv2d> {
    let Conv2dGeometry { inputs, outputs, kernel, .. } = geometry;
    Conv2d::new(PRODUCTS[0], geometry, &vec![0.0; outputs * inputs * kernel * kernel], &vec![0.0; outputs], method)
}

#[test]
fn convolutions_that_cannot_be() {
    for products in PRODUCTS {
        for (weight, bias) in [(0, 5), (179, 5), (181, 5), (180, 4), (180, 0)] {
            let conv = Conv2d::new(products, GEOMETRY, &vec![0.0; weight], &vec![0.0; bias], Method::Auto);
            assert!(is_misfit(conv), "{weight} {bias}");
        }
    }
    for geometry in [
        Conv2dGeometry { stride: 0, ..GEOMETRY },
        Conv2dGeometry { kernel: 0, ..GEOMETRY },
        Conv2dGeometry { inputs: 0, ..GEOMETRY },
        Conv2dGeometry { outputs: 0, ..GEOMETRY },
    ] {
        assert!(is_misfit(conv(geometry, Method::Auto)), "{geometry:?}");
    }
    for geometry in [
        Conv2dGeometry { stride: 2, ..GEOMETRY },
        Conv2dGeometry { kernel: 1, padding: (0, 0), ..GEOMETRY },
        Conv2dGeometry { kernel: 5, ..GEOMETRY },
        Conv2dGeometry { padding: (0, 1), ..GEOMETRY },
    ] {
        assert!(conv(geometry, Method::Direct).is_ok() && conv(geometry, Method::Auto).is_ok(), "{geometry:?}");
        for method in [Method::Winograd2, Method::Winograd4] {
            assert!(is_misfit(conv(geometry, method)), "{geometry:?} {method:?}");
        }
    }
}

#[test]
fn inputs_of_convolutions() {
    for method in [Method::Direct, Method::Winograd2, Method::Winograd4] {
        let conv = conv(GEOMETRY, method).expect("a convolution");
        let run =
            |x: &[usize], upsampled| conv.forward(&zeros(x), Conv2dExtras { upsampled, ..Conv2dExtras::default() });
        assert_eq!(run(&[0, 8, 8, 4], None).expect("no images").dims(), [0, 8, 8, 5]);
        assert_eq!(run(&[2, 1, 1, 4], Some((2, 1))).expect("a convolution").dims(), [2, 2, 1, 5]);
        for x in
            [&[1, 8, 8, 3][..], &[1, 4, 8, 8], &[1, 0, 8, 4], &[1, 8, 0, 4], &[8, 8, 4], &[4], &[], &[1, 1, 8, 8, 4]]
        {
            assert!(is_misfit(run(x, None)), "{x:?}");
        }
        for upsampled in [(0, 0), (8, 8), (14, 16), (16, 14), (17, 16), (16, 17), (usize::MAX, 16)] {
            assert!(is_misfit(run(&[1, 8, 8, 4], Some(upsampled))), "{upsampled:?}");
        }
        let x = zeros(&[3, 8, 8, 4]);
        for shift in [&[2, 5][..], &[0, 5], &[3, 4], &[5], &[3, 5, 1], &[]] {
            let shift = zeros(shift);
            let extras = Conv2dExtras { shift: Some(&shift), ..Conv2dExtras::default() };
            assert!(is_misfit(conv.forward(&x, extras)), "{shift:?}");
        }
        for residual in [&[3, 8, 8, 4][..], &[1, 8, 8, 5], &[3, 5, 8, 8], &[3, 8, 5], &[]] {
            let residual = zeros(residual);
            let extras = Conv2dExtras { residual: Some(&residual), ..Conv2dExtras::default() };
            assert!(is_misfit(conv.forward(&x, extras)), "{residual:?}");
        }
    }
    let pointwise =
        conv(Conv2dGeometry { kernel: 1, padding: (0, 0), ..GEOMETRY }, Method::Auto).expect("a convolution");
    let (x, shift) = (zeros(&[1, 4, 4, 4]), zeros(&[1, 5]));
    let extras = Conv2dExtras::default();
    assert!(is_misfit(pointwise.forward(&x, Conv2dExtras { shift: Some(&shift), ..extras })));
    assert!(is_misfit(pointwise.forward(&x, Conv2dExtras { upsampled: Some((8, 8)), ..extras })));
}

#[test]
fn linear_layers() {
    for products in PRODUCTS {
        for (weight, bias) in [(11, None), (13, None), (12, Some(2)), (12, Some(4)), (12, Some(0))] {
            let bias = bias.map(|length| vec![0.0; length]);
            assert!(is_misfit(Linear::new(products, &vec![0.0; weight], 3, 4, bias.as_deref())), "{weight} {bias:?}");
        }
        assert!(is_misfit(Linear::new(products, &[], 3, 0, None)));
        let linear = Linear::new(products, &[0.0; 12], 3, 4, None).expect("a layer");
        let run = |inputs: &[&[usize]], residual: Option<&[usize]>| {
            let inputs: Vec<Tensor> = inputs.iter().map(|shape| zeros(shape)).collect();
            linear.forward(&inputs.iter().collect::<Vec<_>>(), residual.map(zeros).as_ref())
        };
        assert!(run(&[&[2, 4]], Some(&[2, 3])).is_ok() && run(&[&[2, 1], &[2, 3]], None).is_ok());
        for inputs in [
            &[] as &[&[usize]],
            &[&[]],
            &[&[2, 5]],
            &[&[4, 2]],
            &[&[2, 0]],
            &[&[2, 4], &[2, 4]],
            &[&[2, 2], &[3, 2]],
            &[&[2, 2], &[2]],
            &[&[2, 1], &[3, 3]],
            &[&[2, 4], &[]],
            &[&[], &[2, 4]],
            &[&[2, 4], &[2, 0]],
        ] {
            assert!(is_misfit(run(inputs, None)), "{inputs:?}");
        }
        for residual in [&[2, 4][..], &[3, 2], &[1, 3], &[3], &[]] {
            assert!(is_misfit(run(&[&[2, 4]], Some(residual))), "{residual:?}");
        }
    }
}

#[test]
fn gates() {
    for products in PRODUCTS {
        for (weight, bias) in [(23, 6), (24, 5), (24, 3), (12, 6)] {
            assert!(is_misfit(Geglu::new(products, &vec![0.0; weight], 3, 4, &vec![0.0; bias])), "{weight} {bias}");
        }
        assert!(is_misfit(Geglu::new(products, &[], 3, 0, &[0.0; 6])));
        let geglu = Geglu::new(products, &[0.0; 24], 3, 4, &[0.0; 6]).expect("a layer");
        for x in [&[2, 3][..], &[2, 0], &[4, 2], &[]] {
            assert!(is_misfit(geglu.forward(&zeros(x))), "{x:?}");
        }
    }
}

#[test]
fn norms() {
    let group = |inputs: &[&[usize]], weight: usize, bias: usize, groups| {
        let norm = GroupNorm { weight: vec![1.0; weight], bias: vec![0.0; bias], groups, eps: 1e-5 };
        let inputs: Vec<Tensor> = inputs.iter().map(|shape| zeros(shape)).collect();
        norm.forward(&inputs.iter().collect::<Vec<_>>(), false)
    };
    assert!(group(&[&[1, 2, 2, 4]], 4, 4, 2).is_ok() && group(&[&[1, 2, 2, 1], &[1, 2, 2, 3]], 4, 4, 2).is_ok());
    assert_eq!(group(&[&[1, 0, 2, 4]], 4, 4, 2).expect("no pixels").dims(), [1, 0, 2, 4]);
    assert_eq!(group(&[&[0, 2, 2, 4]], 4, 4, 2).expect("no images").dims(), [0, 2, 2, 4]);
    for (inputs, weight, bias, groups) in [
        (&[&[1, 2, 2, 4][..]][..], 4, 4, 3),
        (&[&[1, 2, 2, 4]], 4, 4, 0),
        (&[&[1, 2, 2, 4]], 3, 4, 2),
        (&[&[1, 2, 2, 4]], 4, 3, 2),
        (&[&[1, 2, 2, 0]], 0, 0, 2),
        (&[&[1, 4, 2, 2]], 4, 4, 2),
        (&[&[4]], 4, 4, 2),
        (&[&[2, 2, 4]], 4, 4, 2),
        (&[&[]], 4, 4, 2),
        (&[], 4, 4, 2),
        (&[&[1, 2, 2, 2], &[1, 2, 2, 3]], 4, 4, 2),
        (&[&[1, 2, 2, 2], &[2, 2, 2, 2]], 4, 4, 2),
        (&[&[1, 2, 2, 2], &[1, 2, 3, 2]], 4, 4, 2),
        (&[&[1, 2, 2, 2], &[2]], 4, 4, 2),
        (&[&[1, 2, 2, 4], &[]], 4, 4, 2),
        (&[&[1, 2, 2, 2], &[1, 2, 2, 1, 2]], 4, 4, 2),
    ] {
        assert!(is_misfit(group(inputs, weight, bias, groups)), "{inputs:?} {weight} {bias} {groups}");
    }
    let layer = |x: &[usize], weight: usize, bias: usize| {
        LayerNorm { weight: vec![1.0; weight], bias: vec![0.0; bias], eps: 1e-5 }.forward(&zeros(x))
    };
    assert!(layer(&[3, 4], 4, 4).is_ok() && layer(&[0, 4], 4, 4).is_ok());
    for (x, weight, bias) in [(&[3, 4][..], 3, 3), (&[3, 4], 4, 3), (&[3, 0], 0, 0), (&[], 4, 4)] {
        assert!(is_misfit(layer(x, weight, bias)), "{x:?} {weight} {bias}");
    }
}

#[test]
fn attentions() {
    for products in PRODUCTS {
        let run = |q: &[usize], k: &[usize], v: &[usize], heads| {
            Attention { products, heads, causal: false }.forward(&zeros(q), &zeros(k), &zeros(v))
        };
        assert!(run(&[1, 3, 8], &[1, 5, 8], &[1, 5, 8], 2).is_ok());
        assert_eq!(run(&[1, 0, 8], &[1, 5, 8], &[1, 5, 8], 2).expect("no queries").dims(), [1, 0, 8]);
        assert_eq!(run(&[0, 3, 8], &[0, 5, 8], &[0, 5, 8], 2).expect("no images").dims(), [0, 3, 8]);
        for (q, k, v, heads) in [
            (&[1, 3, 8][..], &[1, 5, 8][..], &[1, 5, 8][..], 3),
            (&[1, 3, 8], &[1, 5, 8], &[1, 5, 8], 0),
            (&[1, 3, 8], &[1, 5, 8], &[1, 5, 8], usize::MAX),
            (&[1, 3, 8], &[1, 0, 8], &[1, 0, 8], 2),
            (&[2, 3, 8], &[1, 5, 8], &[1, 5, 8], 2),
            (&[1, 3, 8], &[1, 5, 4], &[1, 5, 4], 2),
            (&[1, 3, 8], &[1, 5, 8], &[1, 4, 8], 2),
            (&[1, 3, 8], &[1, 5, 8], &[5, 8], 2),
            (&[1, 3, 0], &[1, 5, 0], &[1, 5, 0], 2),
            (&[3, 8], &[1, 5, 8], &[1, 5, 8], 2),
        ] {
            assert!(is_misfit(run(q, k, v, heads)), "{q:?} {k:?} {v:?} {heads}");
        }
    }
}

#[test]
fn other_dtypes() {
    let half = zeros(&[1, 2, 2, 4]).to_dtype(DType::F16).expect("f16");
    assert!(is_misfit(activate(&half, Activation::Silu)));
    assert!(is_misfit(conv(GEOMETRY, Method::Auto).expect("a convolution").forward(&half, Conv2dExtras::default())));
    let linear = Linear::new(PRODUCTS[0], &[0.0; 12], 3, 4, None).expect("a layer");
    assert!(is_misfit(linear.forward(&[&half], None)));
    let norm = GroupNorm { weight: vec![1.0; 4], bias: vec![0.0; 4], groups: 2, eps: 1e-5 };
    assert!(is_misfit(norm.forward(&[&half], true)));
    assert_eq!(activate(&zeros(&[0]), Activation::Silu).expect("nothing").dims(), [0]);
}

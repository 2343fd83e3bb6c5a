//! The layers that the models are made of, as they use the kernels: feature maps (batch, channels, h, w).

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use sd_rbee::nn::weights::TensorSource;
use sd_rbee::nn::{Conv2d, Conv2dConfig, Geglu, GroupNorm, LayerNorm, Linear, PointwiseConv2d, Weights};

use super::convolution::{self, BASE, Case, Operands};
use super::{as_multiplied, assert_close, in_f64, random, tolerance, values};
use crate::common::noise;

/// Tensors of noise, of the given shapes.
struct Noise(BTreeMap<&'static str, Vec<usize>>);

impl TensorSource for Noise {
    fn names(&self) -> Vec<String> {
        self.0.keys().map(|name| (*name).into()).collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.0.get(name).cloned()
    }

    fn load(&self, name: &str, dtype: DType, device: &Device) -> sd_rbee::Result<Tensor> {
        // What `Operands::noise` draws.
        let seed = if name == "weight" { 2 } else { 3 };
        let values = noise(self.0[name].iter().product(), seed);
        Ok(Tensor::from_vec(values, self.0[name].as_slice(), device)?.to_dtype(dtype)?)
    }
}

fn weights(dtype: DType, weight: &[usize], bias: usize) -> Weights {
    let shapes = BTreeMap::from([("weight", weight.to_vec()), ("bias", vec![bias])]);
    Weights::new(Box::new(Noise(shapes)), dtype, &Device::Cpu)
}

/// What is (batch, h, w, channels) as (batch, channels, h, w).
fn channels_first(values: &[f64], shape: [usize; 4]) -> Tensor {
    let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
    super::tensor(&shape, &values).permute((0, 3, 1, 2)).and_then(|map| map.contiguous()).expect("a feature map")
}

/// The values of a feature map in the order (batch, h, w, channels).
fn channels_last(map: &Tensor) -> Tensor {
    map.permute((0, 2, 3, 1)).and_then(|map| map.contiguous()).expect("a feature map")
}

fn check(case: &Case) {
    let Case { batch, inputs, outputs, height, width, kernel, stride, padding, .. } = *case;
    let operands = Operands::noise(case);
    let want = convolution::plain(case, &operands);
    let weights = weights(DType::F32, &[outputs, inputs, kernel, kernel], outputs);
    let config = Conv2dConfig { inputs, outputs, kernel, stride, padding, side: None };
    let conv = Conv2d::new(&weights, config).expect("a convolution");
    weights.finish("part").expect("all tensors are used");
    let x = channels_first(&operands.x, [batch, height, width, inputs]);
    let floats = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<_>>();
    let got = if let Some(size) = case.upsampled {
        conv.forward_upsampled(&x, size)
    } else if case.shifts > 0 {
        conv.forward_shifted(&x, &super::tensor(&[case.shifts, outputs], &floats(&operands.shift)))
    } else if case.residual {
        conv.forward_add(&x, &channels_first(&operands.residual, case.out()))
    } else {
        conv.forward(&x)
    };
    let got = got.expect("a convolution");
    let [_, out_height, out_width, _] = case.out();
    assert_eq!(got.dims(), [batch, outputs, out_height, out_width]);
    assert_close(&channels_last(&got), &case.out(), &want, 5.0 * tolerance(inputs * kernel * kernel));
}

#[test]
fn convolutions() {
    let case = Case { batch: 2, inputs: 17, outputs: 19, height: 5, width: 6, ..BASE };
    for case in [
        case,
        Case { kernel: 1, padding: (0, 0), ..case },
        Case { stride: 2, padding: (0, 1), ..case },
        Case { upsampled: Some((9, 12)), ..case },
        Case { shifts: 1, ..case },
        Case { shifts: 2, ..case },
        Case { residual: true, ..case },
    ] {
        check(&case);
    }
}

#[test]
fn layers_of_rows() {
    let (x, x_values) = random(&[2, 3, 10], 1);
    for dtype in [DType::F32, DType::BF16] {
        let weights = weights(dtype, &[8, 10], 8);
        let products = weights.products().expect("kernels");
        let layer = Linear::new(&weights, 10, 8).expect("a layer");
        let multiplied = [&x_values, &in_f64(&noise(80, 2))].map(|values| as_multiplied(products, values));
        let mut want = super::linear::plain(&multiplied[0], &multiplied[1], 10);
        let (residual, residual_values) = random(&[2, 3, 8], 4);
        for (index, want) in want.iter_mut().enumerate() {
            *want += f64::from(noise(8, 3)[index % 8]);
        }
        assert_close(&layer.forward(&x).expect("a linear layer"), &[2, 3, 8], &want, 1e-5);
        let want: Vec<f64> = want.iter().zip(&residual_values).map(|(want, residual)| want + residual).collect();
        assert_close(&layer.forward_add(&x, &residual).expect("a linear layer"), &[2, 3, 8], &want, 1e-5);
        let geglu = Geglu::new(&weights, 10, 4).expect("a layer");
        assert_eq!(geglu.forward(&x).expect("a gate").dims(), [2, 3, 4]);
    }
}

/// Joined inputs are what a layer makes of one that was joined before.
#[test]
fn joined_inputs() {
    let (one, two) = (random(&[2, 3, 5, 4], 1).0, random(&[2, 9, 5, 4], 2).0);
    let both = Tensor::cat(&[&one, &two], 1).expect("joined");
    for dtype in [DType::F32, DType::BF16] {
        let conv = PointwiseConv2d::new(&weights(dtype, &[7, 12, 1, 1], 7), 12, 7).expect("a layer");
        let joined = [&[&both][..], &[&one, &two]].map(|inputs| conv.forward_joined(inputs).expect("a convolution"));
        assert_eq!(values(&joined[0]), values(&joined[1]));
        let config = Conv2dConfig::pointwise(12, 7);
        let whole = Conv2d::new(&weights(dtype, &[7, 12, 1, 1], 7), config).expect("a convolution");
        assert_eq!(values(&whole.forward(&both).expect("a convolution")), values(&joined[0]));
        let norm = GroupNorm::new(&weights(dtype, &[12], 12), 4, 12, 1e-5).expect("a norm");
        let joined = [&[&both][..], &[&one, &two]].map(|inputs| norm.forward_silu(inputs).expect("a norm"));
        assert_eq!(values(&joined[0]), values(&joined[1]));
        assert_eq!(joined[0].dims(), both.dims());
    }
}

#[test]
fn layer_norms() {
    let (x, _) = random(&[2, 3, 10], 1);
    let norm = LayerNorm::new(&weights(DType::BF16, &[10], 10), 10, 1e-5).expect("a norm");
    let plain = sd_rbee::nn::cpu::LayerNorm { weight: noise(10, 2), bias: noise(10, 3), eps: 1e-5 };
    let both = [norm.forward(&x).expect("a norm"), plain.forward(&x).expect("a norm")];
    assert_eq!(values(&both[0]), values(&both[1]));
}

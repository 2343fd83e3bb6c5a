use candle_core::{Device, Tensor};
use proptest::prelude::*;
use sd_rbee::nn::Activation;

use super::{assert_close, random, values};

pub fn plain(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::QuickGelu => x / (1.0 + (-1.702 * x).exp()),
        Activation::Relu => x.max(0.0),
        Activation::Gelu => 0.5 * x * (1.0 + libm::erf(x / 2f64.sqrt())),
    }
}

const ALL: [Activation; 4] = [Activation::Silu, Activation::QuickGelu, Activation::Gelu, Activation::Relu];

proptest! {
    #[test]
    fn activations_equal_the_definition(x in prop::collection::vec(-40f32..40.0, 1..100)) {
        let tensor = Tensor::from_slice(&x, x.len(), &Device::Cpu).expect("a tensor");
        for activation in ALL {
            let want: Vec<f64> = x.iter().map(|x| plain(activation, f64::from(*x))).collect();
            assert_close(&activation.forward(&tensor).expect("an activation"), &[x.len()], &want, 1e-6);
        }
    }
}

#[test]
fn activations_of_what_is_no_number() {
    let x = Tensor::new(&[f32::NAN, f32::INFINITY, 1e30, -1e30], &Device::Cpu).expect("a tensor");
    for activation in ALL {
        let y = values(&activation.forward(&x).expect("an activation"));
        assert!(y[0].is_nan() && y[1] == f32::INFINITY && y[2] == 1e30 && y[3].abs() < 1.0, "{activation:?}: {y:?}");
    }
}

/// More than one task, and a tail.
#[test]
fn long_rows_and_many_rows_fit_together() {
    for shape in [[3, 40_000], [40_000, 2], [1, 2], [333, 334]] {
        let (x, x_values) = random(&shape, 1);
        for activation in ALL {
            let want: Vec<f64> = x_values.iter().map(|x| plain(activation, *x)).collect();
            assert_close(&activation.forward(&x).expect("an activation"), &shape, &want, 1e-6);
        }
    }
}

/// Slices and transposes are not contiguous.
#[test]
fn views_are_read_as_what_they_show() {
    let (x, _) = random(&[1, 6, 4, 10], 1);
    let view = x.narrow(1, 1, 4).and_then(|x| x.transpose(2, 3)).expect("a view");
    let copy = view.contiguous().expect("a copy");
    for activation in ALL {
        let both = [&view, &copy].map(|x| values(&activation.forward(x).expect("an activation")));
        assert_eq!(both[0], both[1]);
    }
}

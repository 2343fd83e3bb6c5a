use proptest::prelude::*;
use sd_rbee::nn::cpu::Linear;

use super::{assert_close, random, tolerance};

fn check(dims: &[usize], inputs: usize, outputs: usize, bias: bool) {
    let rows: usize = dims.iter().product();
    let shape = |last| [dims, &[last]].concat();
    let (x, x_values) = random(&shape(inputs), 1);
    let (weight, weight_values) = random(&[outputs, inputs], 2);
    let (bias, bias_values) = random(&[if bias { outputs } else { 0 }], 3);
    let mut want = Vec::new();
    for (row, column) in (0..rows).flat_map(|row| (0..outputs).map(move |column| (row, column))) {
        let products = (0..inputs).map(|i| x_values[row * inputs + i] * weight_values[column * inputs + i]);
        want.push(bias_values.get(column).copied().unwrap_or(0.0) + products.sum::<f64>());
    }
    let got = x.apply_op3_no_bwd(&weight, &bias, &Linear).expect("a linear layer");
    assert_close(&got, &shape(outputs), &want, tolerance(inputs));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn equals_the_definition(
        dims in prop::collection::vec(1usize..12, 0..4),
        inputs in 1usize..70,
        outputs in 1usize..70,
        bias: bool,
    ) {
        check(&dims, inputs, outputs, bias);
    }
}

#[test]
fn tasks_and_their_tails_fit_together() {
    for (rows, inputs, outputs) in [(1, 700, 3), (257, 5, 513), (256, 33, 512), (600, 64, 1100), (1, 1, 1), (300, 1, 2)]
    {
        check(&[rows], inputs, outputs, true);
        check(&[1, rows, 1], inputs, outputs, false);
    }
    check(&[2, 77], 1280, 20, true);
    check(&[0], 4, 5, true);
}

use candle_core::Tensor;
use proptest::prelude::*;
use sd_rbee::nn::cpu::{Attention, Products};

use super::{PRODUCTS, as_multiplied, assert_close, in_f64, random, values};

/// `softmax(q k^T / sqrt(dim)) v`, one query of one head at a time.
fn plain(q: &[f64], k: &[f64], v: &[f64], dims: (usize, usize, usize, usize), shape: Attention) -> Vec<f64> {
    let (batch, queries, keys, width) = dims;
    let dim = width / shape.heads;
    let mut out = vec![0.0; batch * queries * width];
    for b in 0..batch {
        for (head, i) in (0..shape.heads).flat_map(|head| (0..queries).map(move |i| (head, i))) {
            let at = |data: &[f64], sequence: usize, position: usize, d: usize| {
                data[(b * sequence + position) * width + head * dim + d]
            };
            let visible = if shape.causal { keys.min(i + 1) } else { keys };
            let scores = (0..visible)
                .map(|j| (0..dim).map(|d| at(q, queries, i, d) * at(k, keys, j, d)).sum::<f64>() / (dim as f64).sqrt());
            let scores: Vec<f64> = scores.collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - max).exp()).collect();
            let total: f64 = weights.iter().sum();
            for d in 0..dim {
                let mixed: f64 = weights.iter().enumerate().map(|(j, weight)| weight * at(v, keys, j, d)).sum();
                out[(b * queries + i) * width + head * dim + d] = mixed / total;
            }
        }
    }
    out
}

fn check(batch: usize, queries: usize, keys: usize, dim: usize, shape: Attention, spread: f64) {
    let width = dim * shape.heads;
    let (q, _) = random(&[batch, queries, width], 1);
    let (k, k_values) = random(&[batch, keys, width], 2);
    let (v, v_values) = random(&[batch, keys, width], 3);
    let q: Tensor = (q * spread).expect("scaled");
    let multiplied = [in_f64(&values(&q)), k_values, v_values].map(|values| as_multiplied(shape.products, &values));
    let [q_values, k_values, v_values] = &multiplied;
    let want = plain(q_values, k_values, v_values, (batch, queries, keys, width), shape);
    let got = shape.forward(&q, &k, &v).expect("attention");
    let tolerance = match shape.products {
        Products::F32 => 2e-6 * spread.max(1.0),
        // Each weight is rounded by 2^-9 of itself, and their sum is that of the exact ones.
        _ => 2f64.powi(-9) + 2e-6 * spread.max(1.0),
    };
    assert_close(&got, &[batch, queries, width], &want, tolerance);
}

fn of(products: Products, heads: usize, causal: bool) -> Attention {
    Attention { products, heads, causal }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn equals_the_definition(
        (batch, queries, keys) in (1usize..3, 1usize..80, 1usize..80),
        (heads, dim) in (1usize..5, 1usize..20),
        causal: bool,
        spread in prop::sample::select(vec![0.0, 1.0, 30.0]),
    ) {
        for products in PRODUCTS {
            check(batch, queries, keys, dim, of(products, heads, causal), spread);
        }
    }
}

/// Keys come in blocks of 128, queries in panels of 48 and four panels a task.
#[test]
fn blocks_of_queries_and_keys_and_their_tails_fit_together() {
    for products in PRODUCTS {
        for (queries, keys) in [
            (63, 1),
            (64, 77),
            (65, 65),
            (129, 300),
            (300, 129),
            (1, 1025),
            (70, 384),
            (65, 385),
            (67, 1153),
            (450, 450),
        ] {
            for causal in [false, true] {
                check(1, queries, keys, 5, of(products, 2, causal), 1.0);
            }
        }
        check(2, 400, 801, 3, of(products, 1, true), 30.0);
        check(1, 20, 20, 160, of(products, 3, false), 1.0);
        check(1, 9, 400, 513, of(products, 1, false), 1.0);
    }
}

#[test]
fn one_key_is_its_value() {
    let (q, _) = random(&[2, 5, 12], 1);
    let (k, _) = random(&[2, 1, 12], 2);
    let (v, v_values) = random(&[2, 1, 12], 3);
    for products in PRODUCTS {
        let want: Vec<f64> = as_multiplied(products, &v_values).chunks(12).flat_map(|value| value.repeat(5)).collect();
        let got = of(products, 4, false).forward(&q, &k, &v).expect("attention");
        assert_close(&got, &[2, 5, 12], &want, 0.0);
    }
}

/// Scores far beyond what e^x holds, in one block of keys and in several.
#[test]
fn large_scores_neither_overflow_nor_lose_their_order() {
    for keys in [9, 1000] {
        let (q, _) = random(&[1, 3, 4], 1);
        let (k, _) = random(&[1, keys, 4], 2);
        let (v, v_values) = random(&[1, keys, 4], 3);
        for products in PRODUCTS {
            let v_values = as_multiplied(products, &v_values);
            let (q, k) = ((&q * 1e18).expect("large"), (&k * 1e18).expect("large"));
            let got = of(products, 1, false).forward(&q, &k, &v).expect("attention");
            // Arm's products of bf16 round their sums to odd, so that the least addend is felt in the last bit.
            let is_odd = cfg!(target_arch = "aarch64") && products == Products::Bf16;
            let bound = if is_odd { f64::from(f32::EPSILON) } else { 0.0 };
            for row in values(&got).chunks(4) {
                let is_value = |value: &[f64]| {
                    value.iter().zip(row).all(|(value, got)| (value - f64::from(*got)).abs() <= bound * value.abs())
                };
                assert!(v_values.chunks(4).any(is_value), "{products:?}: {row:?} is no value");
            }
        }
    }
}

/// A common part of all scores changes nothing, however large it is.
#[test]
fn a_common_part_of_the_scores_is_no_weight() {
    let (keys, dim) = (900, 3);
    let mut k = vec![0f32; keys * dim];
    k.iter_mut().step_by(dim).for_each(|first| *first = 1.0);
    let k = super::tensor(&[1, keys, dim], &k);
    let (v, v_values) = random(&[1, keys, dim], 3);
    for products in PRODUCTS {
        for size in [0f32, 1e3, -1e3, 1e30, -1e30] {
            let q = super::tensor(&[1, 1, dim], &[size, 0.0, 0.0]);
            let v_values = as_multiplied(products, &v_values);
            let want: Vec<f64> =
                (0..dim).map(|d| v_values.chunks(dim).map(|value| value[d]).sum::<f64>() / keys as f64).collect();
            let got = of(products, 1, false).forward(&q, &k, &v).expect("attention");
            assert_close(&got, &[1, 1, dim], &want, 1e-5);
        }
    }
}

#[test]
fn what_is_no_number_is_not_hidden() {
    let (k, _) = random(&[1, 500, 4], 2);
    let (v, _) = random(&[1, 500, 4], 3);
    let q = super::tensor(&[1, 2, 4], &[f32::NAN, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5]);
    for products in PRODUCTS {
        let got = values(&of(products, 1, false).forward(&q, &k, &v).expect("attention"));
        assert!(got[..4].iter().all(|value| value.is_nan()), "{products:?}: {got:?}");
        assert!(got[4..].iter().all(|value| value.is_finite()), "{products:?}: {got:?}");
    }
}

/// Slices and transposes are not contiguous.
#[test]
fn views_are_read_as_what_they_show() {
    let (x, _) = random(&[2, 24, 70], 1);
    let view = x.transpose(1, 2).and_then(|x| x.narrow(2, 4, 12)).expect("a view");
    let copy = view.contiguous().expect("a copy");
    for products in PRODUCTS {
        let both = [&view, &copy].map(|x| values(&of(products, 3, false).forward(x, x, x).expect("attention")));
        assert_eq!(both[0], both[1]);
    }
}

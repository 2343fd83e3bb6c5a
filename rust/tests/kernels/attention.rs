use candle_core::Tensor;
use proptest::prelude::*;
use sd_rbee::nn::{AttentionShape, attention};

use super::{assert_close, random};

/// `softmax(q k^T / sqrt(dim)) v`, one query of one head at a time.
fn plain(q: &[f64], k: &[f64], v: &[f64], dims: (usize, usize, usize, usize), shape: AttentionShape) -> Vec<f64> {
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

fn check(batch: usize, queries: usize, keys: usize, dim: usize, shape: AttentionShape, spread: f64) {
    let width = dim * shape.heads;
    let (q, q_values) = random(&[batch, queries, width], 1);
    let (k, k_values) = random(&[batch, keys, width], 2);
    let (v, v_values) = random(&[batch, keys, width], 3);
    let q: Tensor = (q * spread).expect("scaled");
    let q_values: Vec<f64> = q_values.iter().map(|value| f64::from((value * spread) as f32)).collect();
    let want = plain(&q_values, &k_values, &v_values, (batch, queries, keys, width), shape);
    let got = attention(&q, &k, &v, shape).expect("attention");
    assert_close(&got, &[batch, queries, width], &want, 2e-6 * spread.max(1.0));
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
        check(batch, queries, keys, dim, AttentionShape { heads, causal }, spread);
    }
}

#[test]
fn tiles_of_queries_and_their_tails_fit_together() {
    for (queries, keys) in [(63, 1), (64, 77), (65, 65), (129, 300), (300, 129), (1, 1025)] {
        for causal in [false, true] {
            check(2, queries, keys, 8, AttentionShape { heads: 3, causal }, 1.0);
        }
    }
    check(1, 20, 20, 160, AttentionShape { heads: 8, causal: false }, 1.0);
}

#[test]
fn one_key_is_its_value() {
    let (q, _) = random(&[2, 5, 12], 1);
    let (k, _) = random(&[2, 1, 12], 2);
    let (v, v_values) = random(&[2, 1, 12], 3);
    let want: Vec<f64> = v_values.chunks(12).flat_map(|value| value.repeat(5)).collect();
    let got = attention(&q, &k, &v, AttentionShape { heads: 4, causal: false }).expect("attention");
    assert_close(&got, &[2, 5, 12], &want, 0.0);
}

/// Scores far beyond what e^x holds.
#[test]
fn large_scores_neither_overflow_nor_lose_their_order() {
    let (q, _) = random(&[1, 3, 4], 1);
    let (k, _) = random(&[1, 9, 4], 2);
    let (v, v_values) = random(&[1, 9, 4], 3);
    let shape = AttentionShape { heads: 1, causal: false };
    let got = attention(&(&q * 1e18).expect("large"), &(&k * 1e18).expect("large"), &v, shape).expect("attention");
    for row in super::values(&got).chunks(4) {
        let is_value = |value: &[f64]| value.iter().zip(row).all(|(value, got)| *value == f64::from(*got));
        assert!(v_values.chunks(4).any(is_value), "{row:?} is no value");
    }
}

//! What both halves of a variational autoencoder are made of, after diffusers' `AutoencoderKL`.

use candle_core::Tensor;

use super::autoencoder_kl_config::AutoencoderKlConfig;
use super::resnet::{ResnetBlock2D, ResnetConfig};
use crate::error::Result;
use crate::nn::{Attention, GroupNorm, GroupStatistics, Linear, Weights, to_feature_map, to_sequence};
use crate::progress::CancelToken;

pub(super) const NORM_EPS: f64 = 1e-6;

impl AutoencoderKlConfig {
    fn resnet(&self, inputs: usize, outputs: usize) -> ResnetConfig {
        ResnetConfig { inputs, outputs, time_embedding: None, groups: self.norm_num_groups, eps: NORM_EPS, side: None }
    }
}

struct AttentionBlock {
    group_norm: GroupNorm,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    attention: Attention,
}

impl AttentionBlock {
    fn new(weights: &Weights, channels: usize, groups: usize) -> Result<Self> {
        let linear = |name: &str| Linear::new(&weights.pp(name), channels, channels);
        Ok(Self {
            group_norm: GroupNorm::new(&weights.pp("group_norm"), groups, channels, NORM_EPS)?,
            to_q: linear("to_q")?,
            to_k: linear("to_k")?,
            to_v: linear("to_v")?,
            to_out: linear("to_out.0")?,
            attention: Attention::new(weights, 1, false),
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = x.dims4()?;
        let h = to_sequence(&self.group_norm.forward(x)?)?;
        let (q, k, v) = (self.to_q.forward(&h)?, self.to_k.forward(&h)?, self.to_v.forward(&h)?);
        let h = self.attention.forward(&q, &k, &v)?;
        to_feature_map(&self.to_out.forward_add(&h, &to_sequence(x)?)?, height, width)
    }
}

/// Two resnets with attention between them.
pub(super) struct MidBlock {
    first: ResnetBlock2D,
    attention: Option<AttentionBlock>,
    second: ResnetBlock2D,
}

impl MidBlock {
    pub fn new(weights: &Weights, channels: usize, config: &AutoencoderKlConfig) -> Result<Self> {
        let resnet = config.resnet(channels, channels);
        let attention = weights.pp("attentions.0");
        Ok(Self {
            first: ResnetBlock2D::new(&weights.pp("resnets.0"), resnet)?,
            attention: config
                .mid_block_add_attention
                .then(|| AttentionBlock::new(&attention, channels, config.norm_num_groups))
                .transpose()?,
            second: ResnetBlock2D::new(&weights.pp("resnets.1"), resnet)?,
        })
    }

    pub fn forward(&self, x: &Tensor, cancel: &CancelToken) -> Result<Tensor> {
        let mut x = self.first.forward(&[x], None)?;
        if let Some(attention) = &self.attention {
            cancel.check()?;
            x = attention.forward(&x)?;
        }
        cancel.check()?;
        self.second.forward(&[&x], None)
    }
}

/// The resnets of one size, and what leads to the next.
pub(super) struct Level<Resample> {
    pub resnets: Vec<ResnetBlock2D>,
    pub resample: Option<Resample>,
}

impl<Resample> Level<Resample> {
    pub fn resnets(
        weights: &Weights,
        layers: usize,
        inputs: usize,
        outputs: usize,
        config: &AutoencoderKlConfig,
    ) -> Result<Vec<ResnetBlock2D>> {
        let resnets = weights.pp("resnets");
        (0..layers)
            .map(|index| {
                let inputs = if index == 0 { inputs } else { outputs };
                ResnetBlock2D::new(&resnets.pp(index), config.resnet(inputs, outputs))
            })
            .collect()
    }

    pub fn forward(&self, mut x: Tensor, statistics: &mut GroupStatistics, cancel: &CancelToken) -> Result<Tensor> {
        for resnet in &self.resnets {
            cancel.check()?;
            x = resnet.forward_owned(x, statistics)?;
            if statistics.has_measured() {
                break;
            }
        }
        cancel.check()?;
        Ok(x)
    }

    /// Group norms of the resnets.
    pub fn norms(&self) -> usize {
        2 * self.resnets.len()
    }
}

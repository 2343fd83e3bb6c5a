//! Floating-point operations of the networks: two for each product of a convolution, a linear layer and attention, as
//! the plain algorithms count them. Norms and activations, some hundredths of the whole, are left out.

use super::autoencoder_kl_config::AutoencoderKlConfig;
use super::autoencoder_tiny_config::AutoencoderTinyConfig;
use super::unet_config::{UNet2DConditionConfig, UNetBlockKind, UNetMidKind};

/// Height and width of a feature map.
type Size = (usize, usize);

fn linear(rows: usize, inputs: usize, outputs: usize) -> f64 {
    2.0 * rows as f64 * inputs as f64 * outputs as f64
}

fn conv3x3(size: Size, inputs: usize, outputs: usize) -> f64 {
    9.0 * linear(size.0 * size.1, inputs, outputs)
}

/// Scores and the mixing of values.
fn attention(queries: usize, keys: usize, width: usize) -> f64 {
    2.0 * linear(queries, keys, width)
}

fn resnet(size: Size, inputs: usize, outputs: usize) -> f64 {
    let shortcut = if inputs == outputs { 0.0 } else { linear(size.0 * size.1, inputs, outputs) };
    conv3x3(size, inputs, outputs) + conv3x3(size, outputs, outputs) + shortcut
}

fn halved((height, width): Size) -> Size {
    (height.div_ceil(2), width.div_ceil(2))
}

impl UNet2DConditionConfig {
    /// Operations of one prediction for `batch` latents of `size`, height and width, with embeddings of `window` tokens.
    pub fn flops(&self, batch: usize, size: (usize, usize), window: usize) -> f64 {
        batch as f64 * (self.path_flops(size, window) + self.time_flops())
    }

    fn time_flops(&self) -> f64 {
        let (first, embedding) = (self.block_out_channels[0], self.time_embed_dim());
        let resnets =
            self.levels().map(|level| (2 * self.layers_per_block[level] + 1) * self.block_out_channels[level]);
        let mid = match self.mid_block_type {
            UNetMidKind::CrossAttention => 2 * self.block_out_channels[self.block_out_channels.len() - 1],
            UNetMidKind::Absent => 0,
        };
        let added = self.addition_embed.map_or(0.0, |added| {
            linear(1, added.projection_class_embeddings_input_dim, embedding) + linear(1, embedding, embedding)
        });
        linear(1, first, embedding) + linear(1, embedding, embedding + mid + resnets.sum::<usize>()) + added
    }

    fn path_flops(&self, size: Size, window: usize) -> f64 {
        let channels = &self.block_out_channels;
        let (first, last) = (channels[0], channels.len() - 1);
        let mut sizes = vec![size];
        sizes.extend((0..last).scan(size, |size, _| {
            *size = halved(*size);
            Some(*size)
        }));
        let mut sum = conv3x3(size, self.in_channels, first) + conv3x3(size, first, self.out_channels);
        let layer = |kind, level: usize, inputs| {
            let transformer = match kind {
                UNetBlockKind::Resnet => 0.0,
                UNetBlockKind::CrossAttention => self.transformer_flops(level, sizes[level], window),
            };
            resnet(sizes[level], inputs, channels[level]) + transformer
        };
        for level in self.levels() {
            let outputs = channels[level];
            for index in 0..self.layers_per_block[level] {
                let inputs = if index == 0 { channels[level.saturating_sub(1)] } else { outputs };
                sum += layer(self.down_block_types[level], level, inputs);
            }
            if level < last {
                sum += conv3x3(sizes[level + 1], outputs, outputs);
            }
        }
        if self.mid_block_type == UNetMidKind::CrossAttention {
            sum += layer(UNetBlockKind::CrossAttention, last, channels[last]);
            sum += resnet(sizes[last], channels[last], channels[last]);
        }
        for level in self.levels() {
            let (outputs, count) = (channels[level], self.layers_per_block[level] + 1);
            for index in 0..count {
                let below = if index == 0 { channels[(level + 1).min(last)] } else { outputs };
                let skip = if index + 1 == count { channels[level.saturating_sub(1)] } else { outputs };
                sum += layer(self.up_block_types[last - level], level, below + skip);
            }
            if level > 0 {
                sum += conv3x3(sizes[level - 1], outputs, outputs);
            }
        }
        sum
    }

    fn transformer_flops(&self, level: usize, size: Size, window: usize) -> f64 {
        let (positions, width) = (size.0 * size.1, self.block_out_channels[level]);
        let square = linear(positions, width, width);
        let keys_and_values = 2.0 * linear(window, self.cross_attention_dim, width);
        let mixing = attention(positions, positions, width) + attention(positions, window, width);
        // Four projections of self-attention, two of cross-attention; 8 and 4 times the width in the feed-forward.
        let block = 18.0 * square + keys_and_values + mixing;
        2.0 * square + self.transformer_layers_per_block[level] as f64 * block
    }

    fn levels(&self) -> std::ops::Range<usize> {
        0..self.block_out_channels.len()
    }
}

impl AutoencoderKlConfig {
    /// Operations of decoding one picture from latents of `size`, height and width.
    pub fn decode_flops(&self, size: (usize, usize)) -> f64 {
        let channels = &self.block_out_channels;
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let positions = size.0 * size.1;
        let mut sum = conv3x3(size, self.latent_channels, last) + 2.0 * resnet(size, last, last);
        if self.use_post_quant_conv {
            sum += linear(positions, self.latent_channels, self.latent_channels);
        }
        if self.mid_block_add_attention {
            sum += 4.0 * linear(positions, last, last) + attention(positions, positions, last);
        }
        let (mut size, mut inputs) = (size, last);
        for (index, outputs) in channels.iter().rev().copied().enumerate() {
            sum += resnet(size, inputs, outputs) + self.layers_per_block as f64 * resnet(size, outputs, outputs);
            if index + 1 < channels.len() {
                size = (2 * size.0, 2 * size.1);
                sum += conv3x3(size, outputs, outputs);
            }
            inputs = outputs;
        }
        sum + conv3x3(size, first, self.out_channels)
    }
}

impl AutoencoderTinyConfig {
    /// Operations of decoding one picture from latents of `size`, height and width.
    pub fn decode_flops(&self, mut size: (usize, usize)) -> f64 {
        let channels = self.decoder_block_out_channels[0];
        let mut sum = conv3x3(size, self.latent_channels, channels);
        for (level, blocks) in self.num_decoder_blocks.iter().enumerate() {
            sum += (3 * blocks) as f64 * conv3x3(size, channels, channels);
            if level + 1 < self.num_decoder_blocks.len() {
                size = (2 * size.0, 2 * size.1);
                sum += conv3x3(size, channels, channels);
            }
        }
        sum + conv3x3(size, channels, self.out_channels)
    }
}

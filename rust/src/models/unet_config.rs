//! `unet/config.json`.

use serde_json::Value;

use super::config::Fields;
use super::transformer::TransformerConfig;
use crate::error::Result;
use crate::nn::TimeEmbedding;

/// Most resnet and transformer blocks of a UNet, several times what SDXL's has: the network is built before a missing
/// tensor is reported, and a few characters of configuration must not make that long.
const MAX_BLOCKS: usize = 512;

/// What a block of the UNet is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UNetBlockKind {
    /// Resnet blocks: `DownBlock2D`, `UpBlock2D`.
    Resnet,
    /// Resnet blocks, each followed by a transformer: `CrossAttnDownBlock2D`, `CrossAttnUpBlock2D`.
    CrossAttention,
}

/// The middle of the UNet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UNetMidKind {
    /// `UNetMidBlock2DCrossAttn`
    CrossAttention,
    /// Nothing between the halves.
    Absent,
}

/// The fields of `unet/config.json` that shape the network.
#[derive(Debug, Clone, PartialEq)]
pub struct UNet2DConditionConfig {
    /// Height and width of the latents that the model was trained on.
    pub sample_size: usize,
    /// Channels in.
    pub in_channels: usize,
    /// Channels out.
    pub out_channels: usize,
    /// Cosines before sines in the time embedding.
    pub flip_sin_to_cos: bool,
    /// Shift of the time embedding's frequencies.
    pub freq_shift: f64,
    /// Kinds of the blocks on the way down, one a level.
    pub down_block_types: Vec<UNetBlockKind>,
    /// Kind of the middle block.
    pub mid_block_type: UNetMidKind,
    /// Kinds of the blocks on the way up, from the innermost.
    pub up_block_types: Vec<UNetBlockKind>,
    /// Channels of each level.
    pub block_out_channels: Vec<usize>,
    /// Resnet blocks of each level on the way down; on the way up there is one more.
    pub layers_per_block: Vec<usize>,
    /// Zeros around the input of a downsampling convolution.
    pub downsample_padding: usize,
    /// Groups of every norm.
    pub norm_num_groups: usize,
    /// Added to the variance in the group norms.
    pub norm_eps: f64,
    /// Width of the text embeddings.
    pub cross_attention_dim: usize,
    /// Transformer blocks after each resnet block, a level; 0 also where a level has no attention.
    pub transformer_layers_per_block: Vec<usize>,
    /// Attention heads of each level. diffusers' configurations call this `attention_head_dim`.
    pub num_attention_heads: Vec<usize>,
    /// Projections around the transformers are linear layers.
    pub use_linear_projection: bool,
    /// What is added to the time embedding beside the timestep: SDXL's `text_time`.
    pub addition_embed: Option<TextTimeConfig>,
}

/// SDXL's conditioning on pooled text and on sizes, `addition_embed_type` `text_time`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextTimeConfig {
    /// Width of the sinusoidal embedding of each size.
    pub addition_time_embed_dim: usize,
    /// Width of the pooled text and the embedded sizes together.
    pub projection_class_embeddings_input_dim: usize,
}

impl TextTimeConfig {
    /// Sizes that SDXL is conditioned on: height and width of the original, the crop's top and left, the target's.
    pub const SIZES: usize = 6;

    /// Width of the pooled text.
    pub fn pooled_width(&self) -> usize {
        self.projection_class_embeddings_input_dim - Self::SIZES * self.addition_time_embed_dim
    }

    fn from_fields(fields: &Fields<'_>) -> Result<Option<Self>> {
        let (time, inputs) = ("addition_time_embed_dim", "projection_class_embeddings_input_dim");
        match fields.text("addition_embed_type")? {
            None => return Ok(None),
            Some("text_time") => {}
            Some(_) => return Err(fields.wrong("addition_embed_type", "text_time or null")),
        }
        let addition_time_embed_dim = fields.size(time, 0, 2..=4096)?;
        if !addition_time_embed_dim.is_multiple_of(2) || addition_time_embed_dim == 0 {
            return Err(fields.wrong(time, "an even number in 2..=4096"));
        }
        let sizes = Self::SIZES * addition_time_embed_dim;
        let projection_class_embeddings_input_dim = fields.size(inputs, 0, sizes + 1..=65_536)?;
        if projection_class_embeddings_input_dim == 0 {
            return Err(fields.wrong(inputs, format!("a whole number in {}..=65536", sizes + 1)));
        }
        Ok(Some(Self { addition_time_embed_dim, projection_class_embeddings_input_dim }))
    }
}

impl UNet2DConditionConfig {
    /// Reads and checks `config.json`; what is absent takes diffusers' default, and what is not supported is an error.
    pub fn from_json(value: &Value) -> Result<Self> {
        let fields = Fields::new("unet", value)?;
        let block_out_channels = fields.channels("block_out_channels")?;
        let levels = block_out_channels.len();
        let kinds = |name, resnet, attention: &str| {
            fields.kinds(name, levels, &format!("{resnet} or {attention}"), |kind| match kind {
                _ if kind == resnet => Some(UNetBlockKind::Resnet),
                _ if kind == attention => Some(UNetBlockKind::CrossAttention),
                _ => None,
            })
        };
        let mid_block_type = match (value.get("mid_block_type"), fields.text("mid_block_type")?) {
            (Some(Value::Null), _) => UNetMidKind::Absent,
            (_, None | Some("UNetMidBlock2DCrossAttn")) => UNetMidKind::CrossAttention,
            _ => return Err(fields.wrong("mid_block_type", "UNetMidBlock2DCrossAttn or null")),
        };
        refuse_variants(&fields)?;
        let heads = match fields.sizes("num_attention_heads", levels, 1..=256)? {
            Some(heads) => heads,
            None => fields.sizes("attention_head_dim", levels, 1..=256)?.unwrap_or_else(|| vec![8; levels]),
        };
        let config = Self {
            sample_size: fields.size("sample_size", 64, 1..=4096)?,
            in_channels: fields.size("in_channels", 4, 1..=1024)?,
            out_channels: fields.size("out_channels", 4, 1..=1024)?,
            flip_sin_to_cos: fields.flag("flip_sin_to_cos", true)?,
            freq_shift: fields.number("freq_shift", 0.0, 0.0..=1.0)?,
            down_block_types: kinds("down_block_types", "DownBlock2D", "CrossAttnDownBlock2D")?,
            mid_block_type,
            up_block_types: kinds("up_block_types", "UpBlock2D", "CrossAttnUpBlock2D")?,
            layers_per_block: fields.sizes("layers_per_block", levels, 1..=32)?.unwrap_or_else(|| vec![2; levels]),
            downsample_padding: fields.size("downsample_padding", 1, 1..=1)?,
            norm_num_groups: fields.size("norm_num_groups", 32, 1..=16_384)?,
            norm_eps: fields.number("norm_eps", 1e-5, 0.0..=1.0)?,
            cross_attention_dim: fields.size("cross_attention_dim", 1280, 1..=65_536)?,
            transformer_layers_per_block: fields
                .sizes("transformer_layers_per_block", levels, 0..=64)?
                .unwrap_or_else(|| vec![1; levels]),
            num_attention_heads: heads,
            use_linear_projection: fields.flag("use_linear_projection", false)?,
            addition_embed: TextTimeConfig::from_fields(&fields)?,
            block_out_channels,
        };
        fields.divides("norm_num_groups", config.norm_num_groups, &config.block_out_channels)?;
        for (channels, heads) in config.block_out_channels.iter().zip(&config.num_attention_heads) {
            fields.divides("attention_head_dim", *heads, &[*channels])?;
        }
        let blocks = config.blocks();
        if blocks > MAX_BLOCKS {
            let allowed = format!("at most {MAX_BLOCKS} resnet and transformer blocks in all, which are {blocks}");
            return Err(fields.wrong("layers_per_block", allowed));
        }
        if !config.block_out_channels[0].is_multiple_of(2) {
            return Err(fields.wrong("block_out_channels", "an even first count, for the time embedding"));
        }
        Ok(config)
    }

    /// Resnet and transformer blocks in all.
    fn blocks(&self) -> usize {
        let block = |kind, level: usize| match kind {
            UNetBlockKind::Resnet => 1,
            UNetBlockKind::CrossAttention => 1 + self.transformer_layers_per_block[level],
        };
        let mid = match (self.mid_block_type, self.transformer_layers_per_block.last()) {
            (UNetMidKind::CrossAttention, Some(blocks)) => 2 + blocks,
            _ => 0,
        };
        let kinds = self.down_block_types.iter().zip(self.up_block_types.iter().rev()).enumerate();
        let levels = kinds.map(|(level, (down, up))| {
            let layers = self.layers_per_block[level];
            layers * block(*down, level) + (layers + 1) * block(*up, level)
        });
        mid + levels.sum::<usize>()
    }

    /// Skip connections: one of `conv_in`, one of each layer on the way down, one of each downsampler.
    pub fn skip_connections(&self) -> usize {
        self.layers_per_block.iter().sum::<usize>() + self.layers_per_block.len()
    }

    /// Skip connections that DeepCache may part the network at: the innermost has nothing inside without a middle block.
    pub fn deepcache_branches(&self) -> usize {
        self.skip_connections() - usize::from(self.mid_block_type == UNetMidKind::Absent)
    }

    /// The sinusoidal embedding of this network, `width` wide.
    pub(super) fn sinusoids(&self, width: usize) -> TimeEmbedding {
        TimeEmbedding { width, flip_sin_to_cos: self.flip_sin_to_cos, freq_shift: self.freq_shift }
    }

    /// Width of the time embedding behind its two layers.
    pub fn time_embed_dim(&self) -> usize {
        4 * self.block_out_channels[0]
    }

    /// Height and width of a level's feature maps at the model's own size.
    pub fn side(&self, level: usize) -> usize {
        self.sample_size.div_ceil(1 << level)
    }

    pub(super) fn transformer(&self, level: usize) -> TransformerConfig {
        TransformerConfig {
            channels: self.block_out_channels[level],
            heads: self.num_attention_heads[level],
            layers: self.transformer_layers_per_block[level],
            cross_attention_dim: self.cross_attention_dim,
            groups: self.norm_num_groups,
        }
    }
}

fn refuse_variants(fields: &Fields<'_>) -> Result<()> {
    fields.only("act_fn", "silu")?;
    fields.only("time_embedding_type", "positional")?;
    fields.only("resnet_time_scale_shift", "default")?;
    fields.only("attention_type", "default")?;
    for name in ["conv_in_kernel", "conv_out_kernel"] {
        fields.only(name, 3)?;
    }
    for name in [
        "center_input_sample",
        "only_cross_attention",
        "mid_block_only_cross_attention",
        "dual_cross_attention",
        "resnet_skip_time_act",
        "class_embeddings_concat",
    ] {
        fields.only(name, false)?;
    }
    for name in ["mid_block_scale_factor", "resnet_out_scale_factor"] {
        fields.number(name, 1.0, 1.0..=1.0)?;
    }
    for name in [
        "class_embed_type",
        "cross_attention_norm",
        "encoder_hid_dim",
        "encoder_hid_dim_type",
        "num_class_embeds",
        "reverse_transformer_layers_per_block",
        "time_cond_proj_dim",
        "time_embedding_act_fn",
        "time_embedding_dim",
        "timestep_post_act",
    ] {
        fields.only(name, Value::Null)?;
    }
    Ok(())
}

//! CLIP's text transformer (Radford et al. 2021), after transformers' `CLIPTextModel`.

use candle_core::Tensor;
use serde_json::Value;

use super::TextEncoder;
use super::config::Fields;
use crate::error::{Error, Result};
use crate::nn::{Activation, Attention, LayerNorm, Linear, Weights};

/// The fields of `text_encoder/config.json` that shape the network.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipTextConfig {
    /// Entries of the token embedding.
    pub vocab_size: usize,
    /// Width of the hidden state.
    pub hidden_size: usize,
    /// Width inside the feed-forward layers.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Number of heads; divides the width.
    pub num_attention_heads: usize,
    /// Tokens that the encoder takes.
    pub max_position_embeddings: usize,
    /// Function of the feed-forward layers.
    pub hidden_act: Activation,
    /// Added to the variance in the layer norms.
    pub layer_norm_eps: f64,
}

impl ClipTextConfig {
    /// Reads and checks `config.json`; what is absent takes transformers' default.
    pub fn from_json(value: &Value) -> Result<Self> {
        let fields = Fields::new("text_encoder", value)?;
        let config = Self {
            vocab_size: fields.size("vocab_size", 49_408, 1..=1 << 20)?,
            hidden_size: fields.size("hidden_size", 512, 1..=16_384)?,
            intermediate_size: fields.size("intermediate_size", 2048, 1..=65_536)?,
            num_hidden_layers: fields.size("num_hidden_layers", 12, 1..=128)?,
            num_attention_heads: fields.size("num_attention_heads", 8, 1..=256)?,
            max_position_embeddings: fields.size("max_position_embeddings", 77, 3..=4096)?,
            hidden_act: match fields.text("hidden_act")? {
                None | Some("quick_gelu") => Activation::QuickGelu,
                Some("gelu") => Activation::Gelu,
                Some(_) => return Err(fields.wrong("hidden_act", "quick_gelu or gelu")),
            },
            layer_norm_eps: fields.number("layer_norm_eps", 1e-5, 0.0..=1.0)?,
        };
        fields.divides("num_attention_heads", config.num_attention_heads, &[config.hidden_size])?;
        Ok(config)
    }
}

struct EncoderLayer {
    layer_norm1: LayerNorm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    attention: Attention,
    layer_norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl EncoderLayer {
    fn new(weights: &Weights, config: &ClipTextConfig) -> Result<Self> {
        let (width, inner, eps) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        let attn = weights.pp("self_attn");
        Ok(Self {
            layer_norm1: LayerNorm::new(&weights.pp("layer_norm1"), width, eps)?,
            q_proj: Linear::new(&attn.pp("q_proj"), width, width)?,
            k_proj: Linear::new(&attn.pp("k_proj"), width, width)?,
            v_proj: Linear::new(&attn.pp("v_proj"), width, width)?,
            out_proj: Linear::new(&attn.pp("out_proj"), width, width)?,
            attention: Attention::new(weights, config.num_attention_heads, true),
            layer_norm2: LayerNorm::new(&weights.pp("layer_norm2"), width, eps)?,
            fc1: Linear::new(&weights.pp("mlp.fc1"), width, inner)?,
            fc2: Linear::new(&weights.pp("mlp.fc2"), inner, width)?,
        })
    }

    fn forward(&self, x: &Tensor, config: &ClipTextConfig) -> Result<Tensor> {
        let h = self.layer_norm1.forward(x)?;
        let (q, k, v) = (self.q_proj.forward(&h)?, self.k_proj.forward(&h)?, self.v_proj.forward(&h)?);
        let x = self.out_proj.forward_add(&self.attention.forward(&q, &k, &v)?, x)?;
        let h = self.fc1.forward(&self.layer_norm2.forward(&x)?)?;
        self.fc2.forward_add(&config.hidden_act.forward(&h)?, &x)
    }
}

/// The text encoder of Stable Diffusion 1 and 2.
pub struct ClipTextModel {
    token_embedding: Tensor,
    position_embedding: Tensor,
    layers: Vec<EncoderLayer>,
    final_layer_norm: LayerNorm,
    config: ClipTextConfig,
}

impl ClipTextModel {
    /// Takes the tensors under the names that transformers 5 gives them, which have no `text_model.` prefix.
    pub fn new(weights: &Weights, config: ClipTextConfig) -> Result<Self> {
        let (width, window) = (config.hidden_size, config.max_position_embeddings);
        let embeddings = weights.pp("embeddings");
        let layers = weights.pp("encoder.layers");
        Ok(Self {
            token_embedding: embeddings.get_table(&[config.vocab_size, width], "token_embedding.weight")?,
            position_embedding: embeddings.get(&[window, width], "position_embedding.weight")?,
            layers: (0..config.num_hidden_layers)
                .map(|index| EncoderLayer::new(&layers.pp(index), &config))
                .collect::<Result<_>>()?,
            final_layer_norm: LayerNorm::new(&weights.pp("final_layer_norm"), width, config.layer_norm_eps)?,
            config,
        })
    }
}

impl TextEncoder for ClipTextModel {
    fn encode(&self, ids: &[u32]) -> Result<Tensor> {
        if ids.len() != self.window() {
            return Err(Error::Inference(format!("the text encoder takes {} ids, not {}", self.window(), ids.len())));
        }
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.config.vocab_size) {
            let entries = self.config.vocab_size;
            return Err(Error::Checkpoint(format!("token id {id} is outside the text encoder's {entries} entries")));
        }
        let ids = Tensor::new(ids, self.token_embedding.device())?;
        let tokens = self.token_embedding.index_select(&ids, 0)?.to_dtype(self.position_embedding.dtype())?;
        let mut x = (tokens + &self.position_embedding)?.unsqueeze(0)?;
        for layer in &self.layers {
            x = layer.forward(&x, &self.config)?;
        }
        self.final_layer_norm.forward(&x)
    }

    fn window(&self) -> usize {
        self.config.max_position_embeddings
    }
}

//! CLIP's text transformer (Radford et al. 2021), after transformers' `CLIPTextModel` and
//! `CLIPTextModelWithProjection`.

use candle_core::Tensor;
use serde_json::Value;

use super::config::Fields;
use super::{HiddenState, TextEncoder, TextEncoding};
use crate::error::{Error, Result};
use crate::nn::{Activation, Attention, LayerNorm, Linear, Weights};

/// What old configurations say instead of the end token's id; the end token is then the highest id of a prompt.
const LEGACY_EOS_TOKEN_ID: usize = 2;

/// The fields of a text encoder's `config.json` that shape the network.
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
    /// Id of the token whose state is the pooled one; 2 is any old configuration's, and means the highest id.
    pub eos_token_id: usize,
    /// Width of the projected pooled state; none for encoders without a projection.
    pub projection_dim: Option<usize>,
}

impl ClipTextConfig {
    /// Reads and checks the `config.json` of a `CLIPTextModel`; what is absent takes transformers' default.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] that names the field and `component`.
    pub fn from_json(component: &str, value: &Value) -> Result<Self> {
        Self::from_fields(&Fields::new(component, value)?)
    }

    /// The same of a `CLIPTextModelWithProjection`.
    ///
    /// # Errors
    /// As there.
    pub fn with_projection(component: &str, value: &Value) -> Result<Self> {
        let fields = Fields::new(component, value)?;
        let projection_dim = Some(fields.size("projection_dim", 512, 1..=16_384)?);
        Ok(Self { projection_dim, ..Self::from_fields(&fields)? })
    }

    fn from_fields(fields: &Fields<'_>) -> Result<Self> {
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
            eos_token_id: fields.size("eos_token_id", 49_407, 0..=1 << 20)?,
            projection_dim: None,
        };
        fields.divides("num_attention_heads", config.num_attention_heads, &[config.hidden_size])?;
        Ok(config)
    }

    /// Where the pooled state is among `ids`: transformers' rule.
    fn end_of(&self, ids: &[u32]) -> usize {
        let end = match self.eos_token_id {
            LEGACY_EOS_TOKEN_ID => ids.iter().max().copied(),
            id => u32::try_from(id).ok(),
        };
        ids.iter().position(|id| Some(*id) == end).unwrap_or(0)
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

/// A text encoder of Stable Diffusion.
pub struct ClipTextModel {
    token_embedding: Tensor,
    position_embedding: Tensor,
    layers: Vec<EncoderLayer>,
    final_layer_norm: LayerNorm,
    text_projection: Option<Linear>,
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
            text_projection: config
                .projection_dim
                .map(|outputs| Linear::without_bias(&weights.pp("text_projection"), width, outputs))
                .transpose()?,
            config,
        })
    }
}

impl ClipTextModel {
    fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        if ids.len() != self.window() {
            return Err(Error::Inference(format!("the text encoder takes {} ids, not {}", self.window(), ids.len())));
        }
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.config.vocab_size) {
            let entries = self.config.vocab_size;
            return Err(Error::Checkpoint(format!("token id {id} is outside the text encoder's {entries} entries")));
        }
        let ids = Tensor::new(ids, self.token_embedding.device())?;
        let tokens = self.token_embedding.index_select(&ids, 0)?.to_dtype(self.position_embedding.dtype())?;
        Ok((tokens + &self.position_embedding)?.unsqueeze(0)?)
    }

    /// The end token's state in `last`, which is normed, projected.
    fn pooled(&self, last: &Tensor, ids: &[u32]) -> Result<Option<Tensor>> {
        let Some(projection) = &self.text_projection else { return Ok(None) };
        let end = last.narrow(1, self.config.end_of(ids), 1)?.contiguous()?;
        Ok(Some(projection.forward(&end)?.squeeze(1)?))
    }
}

impl TextEncoder for ClipTextModel {
    fn encode(&self, ids: &[u32], state: HiddenState) -> Result<TextEncoding> {
        let layers = self.layers.len();
        let Some(wanted) = layers.checked_sub(state.skipped) else {
            let skipped = state.skipped;
            return Err(Error::Inference(format!("the text encoder has {layers} layers, {skipped} cannot be skipped")));
        };
        let mut x = self.embed(ids)?;
        let mut hidden = x.clone();
        // What lies behind the state asked for is only there for the pooled one.
        let needed = if self.text_projection.is_some() { layers } else { wanted };
        for (index, layer) in self.layers[..needed].iter().enumerate() {
            x = layer.forward(&x, &self.config)?;
            if index + 1 == wanted {
                hidden = x.clone();
            }
        }
        let hidden = if state.normed { self.final_layer_norm.forward(&hidden)? } else { hidden };
        let pooled = match &self.text_projection {
            Some(_) => self.pooled(&self.final_layer_norm.forward(&x)?, ids)?,
            None => None,
        };
        Ok(TextEncoding { hidden, pooled })
    }

    fn window(&self) -> usize {
        self.config.max_position_embeddings
    }
}

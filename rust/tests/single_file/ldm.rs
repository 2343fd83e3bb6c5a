//! The tensors of latent diffusion's networks, as its own code names them, by their published hyperparameters.

/// Names and shapes.
pub type Header = Vec<(String, Vec<usize>)>;

/// `openaimodel.UNetModel`
pub struct UNet {
    pub in_channels: usize,
    pub channel_mult: &'static [usize],
    /// Transformer blocks behind each resnet block, a level; none where there is no attention.
    pub transformer_depth: &'static [usize],
    pub middle_depth: usize,
    pub context_dim: usize,
    pub use_linear_in_transformer: bool,
    pub adm_in_channels: Option<usize>,
}

const MODEL_CHANNELS: usize = 320;
const RES_BLOCKS: usize = 2;

impl UNet {
    pub fn tensors(&self, prefix: &str) -> Header {
        let mut out = Tensors::new(prefix);
        let time = 4 * MODEL_CHANNELS;
        out.linear("time_embed.0", MODEL_CHANNELS, time);
        out.linear("time_embed.2", time, time);
        if let Some(adm) = self.adm_in_channels {
            out.linear("label_emb.0.0", adm, time);
            out.linear("label_emb.0.2", time, time);
        }
        out.conv("input_blocks.0.0", self.in_channels, MODEL_CHANNELS, 3);
        let (mut skips, mut width, mut block) = (vec![MODEL_CHANNELS], MODEL_CHANNELS, 1);
        for (level, mult) in self.channel_mult.iter().enumerate() {
            for _ in 0..RES_BLOCKS {
                let wide = mult * MODEL_CHANNELS;
                out.resnet(&format!("input_blocks.{block}.0"), width, wide);
                self.transformer(&mut out, &format!("input_blocks.{block}.1"), wide, self.transformer_depth[level]);
                (width, block) = (wide, block + 1);
                skips.push(width);
            }
            if level + 1 < self.channel_mult.len() {
                out.conv(&format!("input_blocks.{block}.0.op"), width, width, 3);
                block += 1;
                skips.push(width);
            }
        }
        out.resnet("middle_block.0", width, width);
        self.transformer(&mut out, "middle_block.1", width, self.middle_depth);
        out.resnet("middle_block.2", width, width);
        block = 0;
        for (level, mult) in self.channel_mult.iter().enumerate().rev() {
            for layer in 0..=RES_BLOCKS {
                let wide = mult * MODEL_CHANNELS;
                out.resnet(&format!("output_blocks.{block}.0"), width + skips.pop().expect("a skip"), wide);
                let depth = self.transformer_depth[level];
                self.transformer(&mut out, &format!("output_blocks.{block}.1"), wide, depth);
                width = wide;
                if level > 0 && layer == RES_BLOCKS {
                    let index = 1 + usize::from(depth > 0);
                    out.conv(&format!("output_blocks.{block}.{index}.conv"), width, width, 3);
                }
                block += 1;
            }
        }
        out.norm("out.0", width);
        out.conv("out.2", width, 4, 3);
        out.tensors
    }

    fn transformer(&self, out: &mut Tensors, name: &str, width: usize, depth: usize) {
        if depth == 0 {
            return;
        }
        out.norm(&format!("{name}.norm"), width);
        for end in ["proj_in", "proj_out"] {
            match self.use_linear_in_transformer {
                true => out.linear(&format!("{name}.{end}"), width, width),
                false => out.conv(&format!("{name}.{end}"), width, width, 1),
            }
        }
        for block in (0..depth).map(|index| format!("{name}.transformer_blocks.{index}")) {
            for (attention, context) in [("attn1", width), ("attn2", self.context_dim)] {
                out.weight(&format!("{block}.{attention}.to_q"), &[width, width]);
                out.weight(&format!("{block}.{attention}.to_k"), &[width, context]);
                out.weight(&format!("{block}.{attention}.to_v"), &[width, context]);
                out.linear(&format!("{block}.{attention}.to_out.0"), width, width);
            }
            out.linear(&format!("{block}.ff.net.0.proj"), width, 8 * width);
            out.linear(&format!("{block}.ff.net.2"), 4 * width, width);
            for norm in ["norm1", "norm2", "norm3"] {
                out.norm(&format!("{block}.{norm}"), width);
            }
        }
    }
}

/// `autoencoder.AutoencoderKL` of all Stable Diffusions.
pub fn vae(prefix: &str) -> Header {
    const WIDTHS: [usize; 4] = [128, 256, 512, 512];
    let mut out = Tensors::new(prefix);
    let block = |out: &mut Tensors, name: &str, from: usize, to: usize| {
        out.norm(&format!("{name}.norm1"), from);
        out.conv(&format!("{name}.conv1"), from, to, 3);
        out.norm(&format!("{name}.norm2"), to);
        out.conv(&format!("{name}.conv2"), to, to, 3);
        if from != to {
            out.conv(&format!("{name}.nin_shortcut"), from, to, 1);
        }
    };
    for half in ["encoder", "decoder"] {
        block(&mut out, &format!("{half}.mid.block_1"), 512, 512);
        out.norm(&format!("{half}.mid.attn_1.norm"), 512);
        for layer in ["q", "k", "v", "proj_out"] {
            out.conv(&format!("{half}.mid.attn_1.{layer}"), 512, 512, 1);
        }
        block(&mut out, &format!("{half}.mid.block_2"), 512, 512);
    }
    out.conv("encoder.conv_in", 3, 128, 3);
    let mut width = 128;
    for (level, wide) in WIDTHS.into_iter().enumerate() {
        for layer in 0..2 {
            block(&mut out, &format!("encoder.down.{level}.block.{layer}"), width, wide);
            width = wide;
        }
        if level < 3 {
            out.conv(&format!("encoder.down.{level}.downsample.conv"), width, width, 3);
        }
    }
    out.norm("encoder.norm_out", 512);
    out.conv("encoder.conv_out", 512, 8, 3);
    out.conv("quant_conv", 8, 8, 1);
    out.conv("post_quant_conv", 4, 4, 1);
    out.conv("decoder.conv_in", 4, 512, 3);
    for (level, wide) in WIDTHS.into_iter().enumerate().rev() {
        for layer in 0..3 {
            block(&mut out, &format!("decoder.up.{level}.block.{layer}"), width, wide);
            width = wide;
        }
        if level > 0 {
            out.conv(&format!("decoder.up.{level}.upsample.conv"), width, width, 3);
        }
    }
    out.norm("decoder.norm_out", 128);
    out.conv("decoder.conv_out", 128, 3, 3);
    out.tensors
}

/// OpenAI's CLIP as transformers names it: ViT-L/14's text tower.
pub fn clip_l(prefix: &str) -> Header {
    let mut out = Tensors::new(prefix);
    out.bare("text_model.embeddings.position_ids", &[1, 77]);
    out.weight("text_model.embeddings.token_embedding", &[49_408, 768]);
    out.weight("text_model.embeddings.position_embedding", &[77, 768]);
    for layer in (0..12).map(|index| format!("text_model.encoder.layers.{index}")) {
        for projection in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            out.linear(&format!("{layer}.self_attn.{projection}"), 768, 768);
        }
        out.linear(&format!("{layer}.mlp.fc1"), 768, 3072);
        out.linear(&format!("{layer}.mlp.fc2"), 3072, 768);
        out.norm(&format!("{layer}.layer_norm1"), 768);
        out.norm(&format!("{layer}.layer_norm2"), 768);
    }
    out.norm("text_model.final_layer_norm", 768);
    out.tensors
}

/// OpenCLIP's text tower.
pub fn open_clip(prefix: &str, width: usize, layers: usize) -> Header {
    let mut out = Tensors::new(prefix);
    out.bare("positional_embedding", &[77, width]);
    out.bare("text_projection", &[width, width]);
    out.bare("logit_scale", &[]);
    out.weight("token_embedding", &[49_408, width]);
    for layer in (0..layers).map(|index| format!("transformer.resblocks.{index}")) {
        out.bare(&format!("{layer}.attn.in_proj_weight"), &[3 * width, width]);
        out.bare(&format!("{layer}.attn.in_proj_bias"), &[3 * width]);
        out.linear(&format!("{layer}.attn.out_proj"), width, width);
        out.norm(&format!("{layer}.ln_1"), width);
        out.norm(&format!("{layer}.ln_2"), width);
        out.linear(&format!("{layer}.mlp.c_fc"), width, 4 * width);
        out.linear(&format!("{layer}.mlp.c_proj"), 4 * width, width);
    }
    out.norm("ln_final", width);
    out.tensors
}

struct Tensors {
    prefix: String,
    tensors: Header,
}

impl Tensors {
    fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into(), tensors: Vec::new() }
    }

    fn bare(&mut self, name: &str, shape: &[usize]) {
        self.tensors.push((format!("{}{name}", self.prefix), shape.to_vec()));
    }

    fn weight(&mut self, name: &str, shape: &[usize]) {
        self.bare(&format!("{name}.weight"), shape);
    }

    fn linear(&mut self, name: &str, from: usize, to: usize) {
        self.weight(name, &[to, from]);
        self.bare(&format!("{name}.bias"), &[to]);
    }

    fn conv(&mut self, name: &str, from: usize, to: usize, kernel: usize) {
        self.weight(name, &[to, from, kernel, kernel]);
        self.bare(&format!("{name}.bias"), &[to]);
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.weight(name, &[width]);
        self.bare(&format!("{name}.bias"), &[width]);
    }

    fn resnet(&mut self, name: &str, from: usize, to: usize) {
        self.norm(&format!("{name}.in_layers.0"), from);
        self.conv(&format!("{name}.in_layers.2"), from, to, 3);
        self.linear(&format!("{name}.emb_layers.1"), 4 * MODEL_CHANNELS, to);
        self.norm(&format!("{name}.out_layers.0"), to);
        self.conv(&format!("{name}.out_layers.3"), to, to, 3);
        if from != to {
            self.conv(&format!("{name}.skip_connection"), from, to, 1);
        }
    }
}

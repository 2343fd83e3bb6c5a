//! What each part of a guided step and of a decode costs:
//! `cargo run --release --example costs [f32|bf16] [v1-5|v2-1|xl] [seconds]`.
//!
//! Times every kernel by itself at every shape that the model has it in at 512 x 512, so many seconds each, and multiplies
//! by the number of calls. The last line has the whole network in one piece, with random weights: where it is slower than
//! the sum, the weights and activations come from farther away than those of a kernel that is called again and again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use sd_rbee::allocator::Recycling;
use sd_rbee::family::{Published, StableDiffusion};
use sd_rbee::models::{
    AddedConditioning, AutoencoderConfig, AutoencoderKlConfig, Conditioning, TextTimeConfig, UNetBlockKind, UNetMidKind,
};
use sd_rbee::nn::cpu::{
    Attention, Conv2d, Conv2dExtras, Conv2dGeometry, Geglu, GroupNorm, LayerNorm, Linear, Method, Products, peak_flops,
};
use sd_rbee::pipeline::Pipeline;
use sd_rbee::threads::Threads;

/// As in the extension module, so that outputs do not cost page faults.
#[global_allocator]
static ALLOCATOR: Recycling<std::alloc::System> = Recycling::new(std::alloc::System);

/// A guided step is a batch of two.
const GUIDED: usize = 2;
const WINDOW: usize = 77;
/// Of the latents.
const SIDE: usize = 64;

/// A kernel at a shape; the feature maps are square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kernel {
    Conv { batch: usize, side: usize, inputs: usize, outputs: usize, stride: usize, upsampled: bool },
    Linear { rows: usize, inputs: usize, outputs: usize },
    Geglu { rows: usize, width: usize },
    Attention { batch: usize, queries: usize, keys: usize, width: usize, heads: usize },
    GroupNorm { batch: usize, side: usize, channels: usize },
    LayerNorm { rows: usize, width: usize },
}

/// Calls by kernel.
type Calls = BTreeMap<Kernel, usize>;

/// The kernels of a network, its walk's batch remembered.
struct Walk {
    batch: usize,
    calls: Calls,
}

impl Walk {
    fn add(&mut self, kernel: Kernel) {
        *self.calls.entry(kernel).or_default() += 1;
    }

    fn conv(&mut self, side: usize, inputs: usize, outputs: usize, stride: usize, upsampled: bool) {
        self.add(Kernel::Conv { batch: self.batch, side, inputs, outputs, stride, upsampled });
    }

    fn linear(&mut self, positions: usize, inputs: usize, outputs: usize) {
        self.add(Kernel::Linear { rows: self.batch * positions, inputs, outputs });
    }

    fn group_norm(&mut self, side: usize, channels: usize) {
        self.add(Kernel::GroupNorm { batch: self.batch, side, channels });
    }

    fn attention(&mut self, queries: usize, keys: usize, width: usize, heads: usize) {
        self.add(Kernel::Attention { batch: self.batch, queries, keys, width, heads });
    }

    fn resnet(&mut self, side: usize, inputs: usize, outputs: usize) {
        self.group_norm(side, inputs);
        self.conv(side, inputs, outputs, 1, false);
        self.group_norm(side, outputs);
        self.conv(side, outputs, outputs, 1, false);
        if inputs != outputs {
            self.linear(side * side, inputs, outputs);
        }
    }

    fn transformer(&mut self, side: usize, width: usize, heads: usize, layers: usize) {
        let positions = side * side;
        self.group_norm(side, width);
        // In and out.
        (0..2).for_each(|_| self.linear(positions, width, width));
        for _ in 0..layers {
            // Queries, keys, values and what follows them; queries and what follows them.
            (0..4 + 2).for_each(|_| self.linear(positions, width, width));
            self.attention(positions, positions, width, heads);
            self.attention(positions, WINDOW, width, heads);
            (0..3).for_each(|_| self.add(Kernel::LayerNorm { rows: self.batch * positions, width }));
            self.add(Kernel::Geglu { rows: self.batch * positions, width });
            self.linear(positions, 4 * width, width);
        }
    }
}

fn unet(model: &StableDiffusion) -> Calls {
    let (config, mut walk) = (&model.unet, Walk { batch: GUIDED, calls: Calls::new() });
    let (channels, last) = (&config.block_out_channels, config.block_out_channels.len() - 1);
    let side = |level: usize| SIDE >> level;
    let layer = |walk: &mut Walk, kind, level: usize, inputs| {
        walk.resnet(side(level), inputs, channels[level]);
        if kind == UNetBlockKind::CrossAttention {
            let (heads, layers) = (config.num_attention_heads[level], config.transformer_layers_per_block[level]);
            walk.transformer(side(level), channels[level], heads, layers);
        }
    };
    walk.conv(side(0), config.in_channels, channels[0], 1, false);
    for level in 0..=last {
        for index in 0..config.layers_per_block[level] {
            let inputs = if index == 0 { channels[level.saturating_sub(1)] } else { channels[level] };
            layer(&mut walk, config.down_block_types[level], level, inputs);
        }
        if level < last {
            walk.conv(side(level), channels[level], channels[level], 2, false);
        }
    }
    if config.mid_block_type == UNetMidKind::CrossAttention {
        layer(&mut walk, UNetBlockKind::CrossAttention, last, channels[last]);
        walk.resnet(side(last), channels[last], channels[last]);
    }
    for level in (0..=last).rev() {
        let count = config.layers_per_block[level] + 1;
        for index in 0..count {
            let below = if index == 0 { channels[(level + 1).min(last)] } else { channels[level] };
            let skip = if index + 1 == count { channels[level.saturating_sub(1)] } else { channels[level] };
            layer(&mut walk, config.up_block_types[last - level], level, below + skip);
        }
        if level > 0 {
            walk.conv(side(level), channels[level], channels[level], 1, true);
        }
    }
    walk.group_norm(side(0), channels[0]);
    walk.conv(side(0), channels[0], config.out_channels, 1, false);
    walk.calls
}

fn decoder(config: &AutoencoderKlConfig) -> Calls {
    let mut walk = Walk { batch: 1, calls: Calls::new() };
    let channels = &config.block_out_channels;
    let (mut side, mut inputs) = (SIDE, channels[channels.len() - 1]);
    walk.conv(side, config.latent_channels, inputs, 1, false);
    (0..2).for_each(|_| walk.resnet(side, inputs, inputs));
    walk.group_norm(side, inputs);
    (0..4).for_each(|_| walk.linear(side * side, inputs, inputs));
    walk.attention(side * side, side * side, inputs, 1);
    for (index, outputs) in channels.iter().rev().copied().enumerate() {
        for layer in 0..=config.layers_per_block {
            walk.resnet(side, if layer == 0 { inputs } else { outputs }, outputs);
        }
        if index + 1 < channels.len() {
            walk.conv(side, outputs, outputs, 1, true);
            side *= 2;
        }
        inputs = outputs;
    }
    walk.group_norm(side, inputs);
    walk.conv(side, inputs, config.out_channels, 1, false);
    walk.calls
}

impl Kernel {
    /// The row of the table that it counts for.
    fn part(self) -> String {
        match self {
            Self::Conv { side, upsampled, .. } => {
                let side = if upsampled { 2 * side } else { side };
                format!("convolution 3x3, {side} x {side}")
            }
            Self::Linear { .. } | Self::Geglu { .. } => "linear layers, GEGLU".into(),
            Self::Attention { queries, keys, .. } if queries == keys => "self-attention".into(),
            Self::Attention { .. } => "cross-attention".into(),
            Self::GroupNorm { .. } => "group norms with SiLU".into(),
            Self::LayerNorm { .. } => "layer norms".into(),
        }
    }

    /// Operations of its products.
    fn flops(self) -> f64 {
        let count = match self {
            Self::Conv { batch, side, inputs, outputs, stride, upsampled } => {
                let side = if upsampled { 2 * side } else { side / stride };
                9 * batch * side * side * inputs * outputs
            }
            Self::Linear { rows, inputs, outputs } => rows * inputs * outputs,
            Self::Geglu { rows, width } => 8 * rows * width * width,
            Self::Attention { batch, queries, keys, width, .. } => 2 * batch * queries * keys * width,
            Self::GroupNorm { .. } | Self::LayerNorm { .. } => 0,
        };
        2.0 * count as f64
    }

    /// Seconds of a call.
    fn time(self, products: Products, time: Duration) -> f64 {
        let values = |count: usize| vec![0.01f32; count];
        match self {
            Self::Conv { batch, side, inputs, outputs, stride, upsampled } => {
                let side_out = Some(if upsampled { 2 * side } else { side / stride });
                let geometry = Conv2dGeometry { inputs, outputs, kernel: 3, stride, padding: (1, 1), side: side_out };
                let (weight, bias) = (values(9 * inputs * outputs), values(outputs));
                let conv = Conv2d::new(products, geometry, &weight, &bias, Method::Auto).expect("a convolution");
                let x = input(&[batch, side, side, inputs]);
                let upsampled = upsampled.then_some((2 * side, 2 * side));
                best(time, || conv.forward(&x, Conv2dExtras { upsampled, ..Default::default() }))
            }
            Self::Linear { rows, inputs, outputs } => {
                let (weight, bias) = (values(inputs * outputs), values(outputs));
                let linear = Linear::new(products, &weight, outputs, inputs, Some(&bias)).expect("a layer");
                let x = input(&[rows, inputs]);
                best(time, || linear.forward(&[&x], None))
            }
            Self::Geglu { rows, width } => {
                let (weight, bias) = (values(8 * width * width), values(8 * width));
                let geglu = Geglu::new(products, &weight, 4 * width, width, &bias).expect("a layer");
                let x = input(&[rows, width]);
                best(time, || geglu.forward(&x))
            }
            Self::Attention { batch, queries, keys, width, heads } => {
                let attention = Attention { products, heads, causal: false };
                let (q, k) = (input(&[batch, queries, width]), input(&[batch, keys, width]));
                best(time, || attention.forward(&q, &k, &k))
            }
            Self::GroupNorm { batch, side, channels } => {
                let norm = GroupNorm { weight: values(channels), bias: values(channels), groups: 32, eps: 1e-5 };
                let x = input(&[batch, side, side, channels]);
                best(time, || norm.forward(&[&x], true))
            }
            Self::LayerNorm { rows, width } => {
                let norm = LayerNorm { weight: values(width), bias: values(width), eps: 1e-5 };
                let x = input(&[rows, width]);
                best(time, || norm.forward(&x))
            }
        }
    }
}

fn input(shape: &[usize]) -> Tensor {
    Tensor::ones(shape, DType::F32, &Device::Cpu).expect("an input")
}

fn best<T>(time: Duration, call: impl Fn() -> sd_rbee::Result<T>) -> f64 {
    let (mut best, mut rounds, begun) = (f64::MAX, 0, Instant::now());
    while rounds < 3 || begun.elapsed() < time {
        let round = Instant::now();
        call().expect("a result");
        best = best.min(round.elapsed().as_secs_f64());
        rounds += 1;
    }
    best
}

fn report(name: &str, calls: &Calls, products: Products, time: Duration, peak: f64, whole: impl Fn()) {
    let mut parts: BTreeMap<String, (usize, f64, f64)> = BTreeMap::new();
    for (kernel, count) in calls {
        let part = parts.entry(kernel.part()).or_default();
        part.0 += count;
        part.1 += *count as f64 * kernel.flops();
        part.2 += *count as f64 * kernel.time(products, time);
    }
    let sum = parts.values().map(|part| part.2).sum::<f64>();
    println!("{name:<32} {:>6} {:>9} {:>10} {:>8} {:>8}", "calls", "GFLOP", "ms", "of all", "of peak");
    let line = |part: &str, calls: usize, flops: f64, seconds: f64| {
        let (share, of_peak) = (100.0 * seconds / sum, 100.0 * flops / seconds / peak);
        println!("{part:<32} {calls:>6} {:>9.1} {:>10.1} {share:>6.1} % {of_peak:>6.0} %", flops / 1e9, 1e3 * seconds);
    };
    for (part, (calls, flops, seconds)) in &parts {
        line(part, *calls, *flops, *seconds);
    }
    let flops = parts.values().map(|part| part.1).sum();
    line("sum", calls.values().sum(), flops, sum);
    line(
        "in one piece",
        1,
        flops,
        best(Duration::ZERO, || {
            whole();
            Ok(())
        }),
    );
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dtype = arguments.next().unwrap_or_else(|| "bf16".into());
    let shape: Published = arguments.next().as_deref().unwrap_or("v1-5").parse().expect("a model");
    let time = Duration::from_secs_f64(arguments.next().map_or(0.1, |seconds| seconds.parse().expect("seconds")));
    let products = if dtype == "f32" { Products::F32 } else { Products::Bf16 };
    let threads = Threads::new(None).expect("threads");
    let model = shape.model().expect("a model");
    let pipeline = Pipeline::random(shape, "cpu", &dtype, None).expect("a pipeline");
    let AutoencoderConfig::Kl(vae) = &model.vae else { panic!("the published VAE is an AutoencoderKL") };
    let sample = input(&[GUIDED, model.unet.in_channels, SIDE, SIDE]);
    let latents = sample.narrow(0, 0, 1).expect("latents");
    let added = model.unet.addition_embed.map(|added| AddedConditioning {
        pooled: input(&[GUIDED, added.pooled_width()]),
        time_ids: input(&[GUIDED, TextTimeConfig::SIZES]),
    });
    let conditions = Conditioning::new(input(&[GUIDED, WINDOW, model.unet.cross_attention_dim]), added);
    threads.run(|| {
        let peak = peak_flops(products, Duration::from_millis(500));
        println!("{dtype}, {} threads, peak {:.0} GFLOP/s", threads.count(), peak / 1e9);
        report("guided step", &unet(&model), products, time, peak, || {
            pipeline.predict(&sample, 500.0, &conditions).expect("a prediction");
        });
        report("decode", &decoder(vae), products, time, peak, || {
            pipeline.vae_decode(&latents, false).expect("pixels");
        });
    });
}

//! Which way of convolving is the fastest for a shape: `cargo run --release --example convolutions`.
//!
//! Prints, for the shapes of Stable Diffusion's networks, the time of each method in one run, and the share of the
//! machine's peak that a direct convolution of the same speed would reach: above 100 % a method saves products.

use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use sd_rbee::allocator::Recycling;
use sd_rbee::nn::cpu::{Conv2d, Conv2dExtras, Conv2dGeometry, Method, Products, peak_flops};

/// As in the extension module, so that outputs do not cost page faults.
#[global_allocator]
static ALLOCATOR: Recycling<std::alloc::System> = Recycling::new(std::alloc::System);

/// (batch, side, inputs, outputs)
const SHAPES: [(usize, usize, usize, usize); 17] = [
    (2, 64, 320, 320),
    (2, 64, 640, 320),
    (2, 64, 960, 320),
    (2, 32, 320, 640),
    (2, 32, 640, 640),
    (2, 32, 1280, 640),
    (2, 32, 1920, 640),
    (2, 16, 640, 1280),
    (2, 16, 1280, 1280),
    (2, 16, 2560, 1280),
    (2, 8, 1280, 1280),
    (2, 8, 2560, 1280),
    (1, 64, 512, 512),
    (1, 128, 512, 512),
    (1, 256, 512, 256),
    (1, 256, 256, 256),
    (1, 512, 128, 128),
];

fn main() {
    let quick: f64 = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(0.5);
    for products in [Products::F32, Products::Bf16] {
        let peak = peak_flops(products, Duration::from_millis(500));
        println!("{products:?}: peak {:.0} GFLOP/s, {} threads", peak / 1e9, rayon::current_num_threads());
        println!("{:>24} {:>26} {:>26} {:>26}", "batch side in out", "direct", "F(2x2)", "F(4x4)");
        for (batch, side, inputs, outputs) in SHAPES {
            let work = (2 * 9 * batch * side * side * inputs * outputs) as f64;
            print!("{batch:>6} {side:>5} {inputs:>5} {outputs:>5}");
            for method in [Method::Direct, Method::Winograd2, Method::Winograd4] {
                let (seconds, bytes) = time(products, (batch, side, inputs, outputs), method, quick);
                let share = 100.0 * work / seconds / peak;
                print!("{:>10.2} ms {share:>4.0} % {:>4} MiB", 1e3 * seconds, bytes >> 20);
            }
            println!();
        }
    }
}

fn time(
    products: Products,
    (batch, side, inputs, outputs): (usize, usize, usize, usize),
    method: Method,
    seconds: f64,
) -> (f64, usize) {
    let geometry = Conv2dGeometry { inputs, outputs, kernel: 3, stride: 1, padding: (1, 1), side: None };
    let weight = vec![0.01f32; outputs * inputs * 9];
    let conv = Conv2d::new(products, geometry, &weight, &vec![0.0; outputs], method).expect("a convolution");
    let x = Tensor::ones((batch, side, side, inputs), candle_core::DType::F32, &Device::Cpu).expect("an input");
    let mut best = f64::MAX;
    let begun = Instant::now();
    let mut rounds = 0;
    while rounds < 3 || begun.elapsed().as_secs_f64() < seconds {
        let round = Instant::now();
        conv.forward(&x, Conv2dExtras::default()).expect("a result");
        best = best.min(round.elapsed().as_secs_f64());
        rounds += 1;
    }
    (best, conv.bytes())
}

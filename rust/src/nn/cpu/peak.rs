//! What the machine can multiply at most.

use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::buffer::AlignedBuffer;
use super::kernel::{Ahead, PANEL, Products, TILE_ROWS, Tile, tile_kernel};
use crate::instruction_set::InstructionSet;

/// Steps of the product: its operands stay in the first-level cache.
const STEPS: usize = 64;
const REPEAT: usize = 2000;

/// Floating-point operations a second of the innermost product on all threads of the current pool, operands in the
/// first-level cache: the best of a few rounds that take `time` together.
pub fn peak_flops(products: Products, time: Duration) -> f64 {
    let threads = rayon::current_num_threads();
    let operations = (2 * TILE_ROWS * PANEL * STEPS * products.per_step() * REPEAT * threads) as f64;
    let begun = Instant::now();
    let mut best = 0f64;
    while best == 0.0 || begun.elapsed() < time {
        let round = Instant::now();
        (0..threads).into_par_iter().for_each(|_| multiply(products));
        best = best.max(operations / round.elapsed().as_secs_f64());
    }
    best
}

fn multiply(products: Products) {
    let zeros = |steps: usize| {
        let mut buffer = AlignedBuffer::new(steps);
        // SAFETY: all of the buffer.
        unsafe { buffer.as_mut_ptr::<u32>().write_bytes(0, steps) };
        buffer
    };
    let (rows, panel, mut out) = (zeros(TILE_ROWS * STEPS), zeros(PANEL * STEPS), zeros(TILE_ROWS * PANEL));
    let kernel = tile_kernel(InstructionSet::best(), products, PANEL);
    // SAFETY: a row of the buffer.
    let rows: [*const f32; TILE_ROWS] = std::array::from_fn(|row| unsafe { rows.as_ptr::<f32>().add(row * STEPS) });
    let tile = Tile {
        rows: rows.as_ptr(),
        depths: &[STEPS],
        panel: panel.as_ptr(),
        out: out.as_mut_ptr(),
        stride: PANEL,
        accumulate: false,
        ahead: Ahead::NONE,
    };
    for _ in 0..REPEAT {
        // SAFETY: rows of as many steps as the panel has, and room for a tile.
        unsafe { kernel(&tile) };
        std::hint::black_box(&out);
    }
}

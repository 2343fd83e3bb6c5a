//! The depth of a product: which of its parts have pointers of their own, and which are multiplied in one go.

use std::ops::Range;

use super::kernel::{Products, TILE_ROWS};
use super::packed::{PackedMatrix, longest_sum, parts};

/// The steps of a matrix's depth in the order in which they are multiplied.
pub struct Depth {
    /// (segment, first number, numbers) of each part that has pointers of its own.
    pub parts: Vec<(usize, usize, usize)>,
    /// Numbers in each segment.
    pub segments: Vec<usize>,
    /// Steps of each part.
    pub(super) steps: Vec<usize>,
    /// Parts of each chunk.
    pub(super) chunks: Vec<Range<usize>>,
}

impl Depth {
    /// A depth of `segments`, which need not be those that a matrix was packed with, as long as each begins where one of
    /// its steps does.
    pub fn new(products: Products, segments: &[usize]) -> Self {
        let parts = parts(products, segments);
        let steps: Vec<_> = parts.iter().map(|(_, _, numbers)| products.steps(*numbers)).collect();
        let mut chunks: Vec<Range<usize>> = Vec::new();
        let mut held = 0;
        for (index, steps) in steps.iter().enumerate() {
            match chunks.last_mut() {
                Some(chunk) if held + steps <= longest_sum(products) => chunk.end = index + 1,
                _ => {
                    chunks.push(index..index + 1);
                    held = 0;
                }
            }
            held += steps;
        }
        Self { parts, segments: segments.to_vec(), steps, chunks }
    }

    /// Steps of all parts together.
    pub fn steps_in_all(&self) -> usize {
        self.steps.iter().sum()
    }

    /// Chunks of the depth, one of which is multiplied in one go.
    pub fn chunks(&self) -> Range<usize> {
        0..self.chunks.len()
    }

    /// Pointers that a tile of rows needs.
    pub fn pointers(&self) -> usize {
        self.parts.len() * TILE_ROWS
    }
}

/// The part of a panel that is multiplied in one go: the steps of one chunk of a [`Depth`].
#[derive(Clone, Copy)]
pub struct Piece<'a> {
    /// The right matrix.
    pub matrix: &'a PackedMatrix,
    /// Its panel.
    pub panel: usize,
    /// The chunk, of [`Depth::chunks`].
    pub chunk: usize,
}

impl<'a> Piece<'a> {
    /// Its steps.
    pub fn data(self, depth: &Depth) -> &'a [f32] {
        let parts = &depth.chunks[self.chunk];
        let steps = |parts: Range<usize>| depth.steps[parts].iter().sum();
        self.matrix.panel_data(self.panel, steps(0..parts.start), steps(parts.clone()))
    }
}

/// Calls `work` with the pieces, each with its number and what the next one reads.
pub fn with_next<'a>(
    depth: &Depth,
    pieces: impl Iterator<Item = Piece<'a>>,
    mut work: impl FnMut(usize, Piece<'a>, &'a [f32]),
) {
    let mut pieces = pieces.enumerate().peekable();
    while let Some((number, piece)) = pieces.next() {
        work(number, piece, pieces.peek().map_or(&[], |(_, next)| next.data(depth)));
    }
}

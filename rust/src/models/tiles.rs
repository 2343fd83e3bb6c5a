//! Networks that run over a feature map in tiles, so that memory does not grow with the picture.
//!
//! Unlike diffusers' `tiled_decode`, whose tiles are decoded apart and blended, a tile here sees as far around it as the
//! network does, and norms have the same moments in every tile. So all tiles are cut from one and the same function,
//! and there is nothing to blend: what differs from the whole is the norms' moments alone, which come from samples of it.

use candle_core::Tensor;

use crate::error::Result;
use crate::nn::{GroupStatistics, Margin};

/// Levels of a VAE, counted from the pixels, that run in tiles.
pub(super) const TILED_LEVELS: usize = 2;
/// Largest height and width of a tile, in pixels, without what it sees around it.
const TILE: usize = 512;
/// Height and width of a sample, in pixels, margins included.
const SAMPLE: usize = 64;
/// What is left out of a sample's moments at each side, in pixels.
const MARGIN: usize = 8;

/// How a network is tiled that halves or doubles the size some times, or keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tiles {
    /// Positions of the input along one side of a cell, which is a position where the network is narrowest.
    pub inputs: usize,
    /// Positions of the output along one side of a cell.
    pub outputs: usize,
    /// Cells around a tile that its outputs depend on.
    pub halo: usize,
}

/// Cells of one side, from `begin` to before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    begin: usize,
    end: usize,
}

impl Tiles {
    /// [`Tiles::run`] of a network with group norms; it may write over what it is given.
    pub fn run_normed(
        &self,
        x: &Tensor,
        network: &dyn Fn(Tensor, &mut GroupStatistics) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let images = (0..x.dim(0)?).map(|image| {
            let x = x.narrow(0, image, 1)?;
            let (_, _, height, width) = x.dims4()?;
            if self.spans(height).len() * self.spans(width).len() == 1 {
                return network(x.force_contiguous()?, &mut GroupStatistics::own());
            }
            let mut statistics = self.sample(&x, network)?;
            self.run(&x, &mut |tile| {
                statistics.begin();
                network(tile, &mut statistics)
            })
        });
        Ok(Tensor::cat(&images.collect::<Result<Vec<_>>>()?, 0)?)
    }

    /// What `network` makes of (batch, channels, h, w), whose sides are multiples of [`Tiles::inputs`].
    pub fn run(&self, x: &Tensor, network: &mut dyn FnMut(Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let (_, _, height, width) = x.dims4()?;
        let mut rows = Vec::new();
        for row in self.spans(height) {
            let mut tiles = Vec::new();
            for column in self.spans(width) {
                let (above, left) = (self.with_halo(row, height), self.with_halo(column, width));
                let tile = self.cut(&self.cut(x, 2, above)?, 3, left)?.force_contiguous()?;
                let made = self.trim(&network(tile)?, 2, above, row)?;
                tiles.push(self.trim(&made, 3, left, column)?.contiguous()?);
            }
            rows.push(Tensor::cat(&tiles, 3)?);
        }
        Ok(Tensor::cat(&rows, 2)?)
    }

    /// The moments of samples that lie evenly over one picture, as many as have about the size of a tile together.
    fn sample(
        &self,
        x: &Tensor,
        network: &dyn Fn(Tensor, &mut GroupStatistics) -> Result<Tensor>,
    ) -> Result<GroupStatistics> {
        let (_, _, height, width) = x.dims4()?;
        let (height, width) = (height / self.inputs, width / self.inputs);
        let (sample, margin, tile) = (self.cells(SAMPLE), self.cells(MARGIN), self.cells(TILE) + 2 * self.halo);
        let (sample_height, sample_width) = (sample.min(height), sample.min(width));
        let count = (tile * tile / (sample_height * sample_width)).max(1);
        let rows = ((count as f64 * height as f64 / width as f64).sqrt().round() as usize).clamp(1, count);
        let columns = count / rows;
        let mut samples = Vec::with_capacity(rows * columns);
        for row in 0..rows {
            let vertical = placed(row, rows, sample_height, height);
            for column in 0..columns {
                let horizontal = placed(column, columns, sample_width, width);
                samples.push(self.cut(&self.cut(x, 2, vertical)?, 3, horizontal)?.force_contiguous()?);
            }
        }
        // A sample as large as the picture has no rim that is not the picture's own.
        let margin = |side: usize, whole: usize| Margin { rim: if side < whole { margin } else { 0 }, of: side };
        let margins = (margin(sample_height, height), margin(sample_width, width));
        let mut statistics = GroupStatistics::sampled(margins);
        network(Tensor::cat(&samples, 0)?, &mut statistics)?;
        Ok(statistics.kept())
    }

    /// Pixels in cells.
    fn cells(&self, pixels: usize) -> usize {
        (pixels / self.inputs.max(self.outputs)).max(1)
    }

    /// Tiles of about the same size along a side of the input.
    fn spans(&self, side: usize) -> Vec<Span> {
        let cells = side / self.inputs;
        let count = cells.div_ceil(self.cells(TILE)).max(1);
        (0..count).map(|index| Span { begin: index * cells / count, end: (index + 1) * cells / count }).collect()
    }

    fn with_halo(&self, span: Span, side: usize) -> Span {
        let end = (span.end + self.halo).min(side / self.inputs);
        Span { begin: span.begin.saturating_sub(self.halo), end }
    }

    fn cut(&self, x: &Tensor, dim: usize, span: Span) -> Result<Tensor> {
        Ok(x.narrow(dim, span.begin * self.inputs, (span.end - span.begin) * self.inputs)?)
    }

    /// The outputs of `span` from those of `computed`.
    fn trim(&self, made: &Tensor, dim: usize, computed: Span, span: Span) -> Result<Tensor> {
        let begin = (span.begin - computed.begin) * self.outputs;
        Ok(made.narrow(dim, begin, (span.end - span.begin) * self.outputs)?)
    }
}

/// Sample `index` of `count`, `size` cells wide, in the middle of its share of a side.
fn placed(index: usize, count: usize, size: usize, side: usize) -> Span {
    let middle = (2 * index + 1) * side / (2 * count);
    let begin = middle.saturating_sub(size / 2).min(side - size);
    Span { begin, end: begin + size }
}

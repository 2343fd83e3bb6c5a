//! Networks that run over a feature map in tiles, so that memory grows little with the picture.
//!
//! Unlike diffusers' `tiled_decode`, whose tiles are decoded apart and blended, a tile here sees as far around it as the
//! network does, and norms have the moments of the whole. So tiles are what the whole would be, up to rounding, and there
//! is nothing to blend; the price is a pass over the tiles for each norm.

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::nn::{Core, GroupStatistics, joined};

/// Levels of a VAE, counted from the pixels, that run in tiles.
pub(super) const TILED_LEVELS: usize = 2;
/// Largest height and width of a tile, in pixels, without what it sees around it: nothing smaller has several.
pub const TILE_SIDE: usize = 512;

/// How a network is tiled that halves or doubles the size some times, or keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tiles {
    /// Positions of the input along one side of a cell, which is a position where the network is narrowest.
    pub inputs: usize,
    /// Positions of the output along one side of a cell.
    pub outputs: usize,
    /// Pixels along one side of a cell.
    pub pixels: usize,
    /// Cells around a tile that its outputs depend on.
    pub halo: usize,
}

/// One side of a tile, in cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    /// The first that is computed.
    begin: usize,
    /// How many are computed.
    len: usize,
    /// Of these, how many come before those that are wanted.
    before: usize,
    /// How many are wanted.
    wanted: usize,
}

impl Span {
    /// Cells `begin` to `end` of `cells`, and `halo` more at both sides where there are so many.
    fn with_halo(begin: usize, end: usize, halo: usize, cells: usize) -> Self {
        let (before, after) = (halo.min(begin), halo.min(cells - end));
        Self { begin: begin - before, len: before + end - begin + after, before, wanted: end - begin }
    }

    fn core(self) -> Core {
        Core { begin: self.before, len: self.wanted, of: self.len }
    }
}

impl Tiles {
    /// [`Tiles::run`] of a network with `norms` group norms, which may write over what it is given.
    pub fn run_normed(
        &self,
        x: &Tensor,
        norms: usize,
        network: &dyn Fn(Tensor, &mut GroupStatistics) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let images = (0..x.dim(0)?).map(|image| {
            let x = x.narrow(0, image, 1)?;
            let (rows, columns) = self.spans(&x)?;
            if rows.len() * columns.len() == 1 {
                return network(x.force_contiguous()?, &mut GroupStatistics::own());
            }
            let mut statistics = GroupStatistics::shared();
            for _ in 0..norms {
                for (row, column) in rows.iter().flat_map(|row| columns.iter().map(move |column| (row, column))) {
                    statistics.begin_measuring((row.core(), column.core()));
                    network(self.cut(&x, *row, *column)?, &mut statistics)?;
                }
                statistics.adopt()?;
            }
            self.run(&x, &mut |tile| {
                statistics.begin_computing();
                network(tile, &mut statistics)
            })
        });
        joined(&images.collect::<Result<Vec<_>>>()?, 0)
    }

    /// What `network` makes of (batch, channels, h, w), whose sides are multiples of [`Tiles::inputs`].
    pub fn run(&self, x: &Tensor, network: &mut dyn FnMut(Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let (batch, _, height, width) = x.dims4()?;
        let (rows, columns) = self.spans(x)?;
        let outputs = |side: usize| side / self.inputs * self.outputs;
        let mut whole: Option<Tensor> = None;
        let mut filled = 0;
        for row in rows {
            let tile = |column: &Span| {
                let made = network(self.cut(x, row, *column)?)?;
                let made = made.narrow(2, row.before * self.outputs, row.wanted * self.outputs)?;
                Ok(made.narrow(3, column.before * self.outputs, column.wanted * self.outputs)?.force_contiguous()?)
            };
            let strip = Tensor::cat(&columns.iter().map(tile).collect::<Result<Vec<_>>>()?, 3)?.contiguous()?;
            let target = match whole.take() {
                Some(target) => target,
                None => {
                    let shape = (batch, strip.dim(1)?, outputs(height), outputs(width));
                    Tensor::zeros(shape, strip.dtype(), strip.device())?
                }
            };
            target.slice_set(&strip, 2, filled)?;
            filled += strip.dim(2)?;
            whole = Some(target);
        }
        whole.ok_or_else(|| Error::Inference("a feature map without positions has no tiles".into()))
    }

    /// Rows and columns of tiles of about the same size.
    fn spans(&self, x: &Tensor) -> Result<(Vec<Span>, Vec<Span>)> {
        let (_, _, height, width) = x.dims4()?;
        let spans = |side: usize| {
            let cells = side / self.inputs;
            let count = cells.div_ceil((TILE_SIDE / self.pixels).max(1));
            let at = |index: usize| index * cells / count;
            (0..count).map(|index| Span::with_halo(at(index), at(index + 1), self.halo, cells)).collect()
        };
        Ok((spans(height), spans(width)))
    }

    /// A copy, which the network may write over.
    fn cut(&self, x: &Tensor, rows: Span, columns: Span) -> Result<Tensor> {
        let x = x.narrow(2, rows.begin * self.inputs, rows.len * self.inputs)?;
        Ok(x.narrow(3, columns.begin * self.inputs, columns.len * self.inputs)?.force_contiguous()?)
    }
}

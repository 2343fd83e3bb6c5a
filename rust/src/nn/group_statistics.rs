use candle_core::Tensor;

use super::GroupNorm;
use super::cpu::GroupMoments;
use crate::error::{Error, Result};

/// Where the group norms of one forward find their moments.
///
/// A network that runs tile by tile is the same function in every tile only if its norms do not follow each tile's own
/// moments: they are taken once from samples of the whole, and then kept.
pub struct GroupStatistics(Source);

enum Source {
    Own,
    Sampled { margins: (Margin, Margin), moments: Vec<GroupMoments> },
    Kept { moments: Vec<GroupMoments>, next: usize },
}

/// The rim of a sample that its cut spoils, above and below or left and right: `rim` of every `of` positions.
#[derive(Debug, Clone, Copy)]
pub struct Margin {
    /// Positions of one rim.
    pub rim: usize,
    /// Positions of the whole side, both rims included.
    pub of: usize,
}

impl Margin {
    fn within(self, x: &Tensor, dim: usize) -> Result<Tensor> {
        let side = x.dim(dim)?;
        let rim = (side * self.rim).div_ceil(self.of.max(1));
        let rim = if 2 * rim < side { rim } else { 0 };
        Ok(x.narrow(dim, rim, side - 2 * rim)?)
    }
}

impl GroupStatistics {
    /// Each feature map's own.
    pub fn own() -> Self {
        Self(Source::Own)
    }

    /// Those of all samples of the batch together, without their margins, vertical and horizontal.
    pub fn sampled(margins: (Margin, Margin)) -> Self {
        Self(Source::Sampled { margins, moments: Vec::new() })
    }

    /// What the samples had, for one forward after the other through the same norms.
    #[must_use]
    pub fn kept(self) -> Self {
        match self.0 {
            Source::Sampled { moments, .. } => Self(Source::Kept { moments, next: 0 }),
            own_or_kept => Self(own_or_kept),
        }
    }

    /// Returns to the first norm.
    pub fn begin(&mut self) {
        if let Source::Kept { next, .. } = &mut self.0 {
            *next = 0;
        }
    }

    /// `norm` and SiLU of a feature map.
    ///
    /// # Errors
    /// [`Error::Inference`] for more norms than were sampled.
    pub fn forward_silu(&mut self, norm: &GroupNorm, x: &Tensor) -> Result<Tensor> {
        match self.0 {
            Source::Own => norm.forward_silu(&[x]),
            _ => self.forward_silu_in_place(norm, x.copy()?),
        }
    }

    /// [`GroupStatistics::forward_silu`] of one that nobody else holds.
    ///
    /// # Errors
    /// As there.
    pub fn forward_silu_in_place(&mut self, norm: &GroupNorm, x: Tensor) -> Result<Tensor> {
        match &mut self.0 {
            Source::Own => norm.forward_silu_in_place(x),
            Source::Sampled { margins, moments } => {
                let found = norm.moments(&margins.1.within(&margins.0.within(&x, 2)?, 3)?)?;
                let y = norm.forward_silu_by(x, &found)?;
                moments.push(found);
                Ok(y)
            }
            Source::Kept { moments, next } => {
                let moments = moments.get(*next).ok_or_else(|| Error::Inference("a norm was not sampled".into()))?;
                *next += 1;
                norm.forward_silu_by(x, moments)
            }
        }
    }
}

use candle_core::Tensor;

use super::GroupNorm;
use super::cpu::GroupMoments;
use crate::error::{Error, Result};

/// Where the group norms of a forward find their moments.
///
/// A network that runs tile by tile computes what it would of the whole only if its norms have the moments of the whole.
/// They are found norm after norm: once those of all norms before are known, a pass over all tiles that ends where the
/// next norm begins measures what that one has to take.
pub struct GroupStatistics(Source);

enum Source {
    Own,
    Shared {
        /// Of the norms that are known, in their order.
        moments: Vec<GroupMoments>,
        /// Of the next norm, over the tiles so far.
        measured: Option<Measured>,
        core: Option<(Core, Core)>,
        next: usize,
    },
}

struct Measured {
    elements: f64,
    moments: GroupMoments,
}

/// The part of one side of a feature map that counts: `len` of every `of` positions from `begin` on.
#[derive(Debug, Clone, Copy)]
pub struct Core {
    /// The first.
    pub begin: usize,
    /// How many.
    pub len: usize,
    /// The whole side.
    pub of: usize,
}

impl Core {
    fn within(self, x: &Tensor, dim: usize) -> Result<Tensor> {
        let side = x.dim(dim)?;
        Ok(x.narrow(dim, self.begin * side / self.of, self.len * side / self.of)?)
    }
}

impl Measured {
    /// Pools two parts (Chan, Golub and LeVeque 1979).
    fn add(&mut self, other: &Self) {
        let total = self.elements + other.elements;
        let share = other.elements / total;
        let own = self.moments.mean.iter_mut().zip(&mut self.moments.variance);
        for ((mean, variance), (other_mean, other_variance)) in
            own.zip(other.moments.mean.iter().zip(&other.moments.variance))
        {
            let difference = other_mean - *mean;
            *variance += share * (other_variance - *variance) + share * (1.0 - share) * difference * difference;
            *mean += share * difference;
        }
        self.elements = total;
    }
}

impl GroupStatistics {
    /// Each feature map's own.
    pub fn own() -> Self {
        Self(Source::Own)
    }

    /// Those of the whole of which the feature maps are tiles; none is known yet.
    pub fn shared() -> Self {
        Self(Source::Shared { moments: Vec::new(), measured: None, core: None, next: 0 })
    }

    /// Begins a forward of one tile that ends at the first norm that is not known, and measures `core`, of height and
    /// width, there.
    pub fn begin_measuring(&mut self, core: (Core, Core)) {
        self.begin(Some(core));
    }

    /// Begins a forward of one tile through norms that are all known.
    pub fn begin_computing(&mut self) {
        self.begin(None);
    }

    fn begin(&mut self, wanted: Option<(Core, Core)>) {
        if let Source::Shared { next, core, .. } = &mut self.0 {
            (*next, *core) = (0, wanted);
        }
    }

    /// Whether the forward has measured, so that what it computes from there on is for nothing.
    pub fn has_measured(&self) -> bool {
        matches!(&self.0, Source::Shared { moments, next, .. } if *next > moments.len())
    }

    /// Takes what was measured of all tiles.
    ///
    /// # Errors
    /// [`Error::Inference`] if nothing was.
    pub fn adopt(&mut self) -> Result<()> {
        if let Source::Shared { moments, measured, .. } = &mut self.0 {
            let measured = measured.take().ok_or_else(|| Error::Inference("no norm was left to measure".into()))?;
            moments.push(measured.moments);
        }
        Ok(())
    }

    /// `norm` and SiLU of a feature map; the map itself where the norm is measured.
    ///
    /// # Errors
    /// [`Error::Inference`] for a norm that is not known, unless it is to be measured.
    pub fn forward_silu(&mut self, norm: &GroupNorm, x: &Tensor) -> Result<Tensor> {
        match &self.0 {
            Source::Own => norm.forward_silu(&[x]),
            Source::Shared { .. } => self.forward_silu_in_place(norm, x.copy()?),
        }
    }

    /// [`GroupStatistics::forward_silu`] of one that nobody else holds.
    ///
    /// # Errors
    /// As there.
    pub fn forward_silu_in_place(&mut self, norm: &GroupNorm, x: Tensor) -> Result<Tensor> {
        let Source::Shared { moments, measured, core, next } = &mut self.0 else {
            return norm.forward_silu_in_place(x);
        };
        *next += 1;
        match (moments.get(*next - 1), core) {
            (Some(moments), _) => norm.forward_silu_by(x, moments),
            (None, Some((rows, columns))) => {
                let part = columns.within(&rows.within(&x, 2)?, 3)?;
                let found = Measured { elements: part.elem_count() as f64, moments: norm.moments(&part)? };
                match measured {
                    Some(measured) => measured.add(&found),
                    None => *measured = Some(found),
                }
                Ok(x)
            }
            (None, None) => Err(Error::Inference("a norm was not measured".into())),
        }
    }
}

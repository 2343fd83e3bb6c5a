//! How far a run is, for schedulers whose steps depend on those before them.

/// The place of a run. A step that does not follow on the one before it begins a run.
#[derive(Default)]
pub(super) struct Place {
    next: usize,
    taken: usize,
}

impl Place {
    /// How many steps the run has taken before `index`, which is the one that it takes now.
    pub(super) fn enter(&mut self, index: usize) -> usize {
        if self.next != index {
            self.taken = 0;
        }
        let before = self.taken;
        (self.next, self.taken) = (index + 1, before + 1);
        before
    }
}

//! An allocator that hands large blocks out again instead of giving them back.
//!
//! A forward pass allocates and frees every activation. Memory that comes fresh from the system costs a fault a page, and
//! whether another allocator keeps blocks of many megabytes is its own affair; here it is sure: after a first step there
//! are no new large blocks, and little more memory is held than was in use at one time.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Bytes from which on a block is large.
const LARGE: usize = 256 << 10;
/// Alignment of all large blocks; what needs more is left to the inner allocator.
const ALIGNMENT: usize = 64;
/// Bytes of a huge page of the system, on the machines where that can be had.
const HUGE_PAGE: usize = 2 << 20;
/// Bytes that may be held beyond the most that were in use at one time, and at most as many again: blocks of all
/// sizes that a step needs are more than it needs at once.
const SLACK: usize = 192 << 20;
/// Bytes from which on a new block begins something else than what ran before, whose blocks are of little use then.
const TURNING_POINT: usize = 32 << 20;
/// Blocks that are kept at most.
const SLOTS: usize = 256;

/// Keeps freed large blocks of `A` for the next allocation of their size.
pub struct Recycling<A> {
    inner: A,
    kept: Mutex<Kept>,
}

struct Kept {
    blocks: [Block; SLOTS],
    count: usize,
    /// Bytes of the kept blocks.
    bytes: usize,
    /// Bytes of the large blocks that are in use.
    used: usize,
    /// The most bytes that were in use at one time.
    peak: usize,
    /// The most bytes that were in use at one time since a [`Meter`] was asked the last time.
    watched: usize,
    /// Large blocks that were new.
    fresh: u64,
}

#[derive(Clone, Copy)]
struct Block {
    data: *mut u8,
    size: usize,
}

// SAFETY: a kept block belongs to nobody else.
unsafe impl Send for Kept {}

/// The process's allocator, as far as others need to know it.
pub trait Meter: Sync {
    /// The most bytes of large blocks that were in use at one time since the last call.
    fn peak(&self) -> usize;

    /// Gives the system back what is kept and not in use.
    fn release(&self);
}

static METER: OnceLock<&'static dyn Meter> = OnceLock::new();

/// Lets [`peak`] ask the process's allocator; the first one that is named stays.
pub fn measure_with(meter: &'static dyn Meter) {
    METER.get_or_init(|| meter);
}

/// What [`Meter::peak`] of the process's allocator says; none where there is none that tells.
pub fn peak() -> Option<usize> {
    METER.get().map(|meter| meter.peak())
}

/// Asks the process's allocator to give back what it keeps: what loading needed is not what drawing needs.
pub fn release() {
    if let Some(meter) = METER.get() {
        meter.release();
    }
}

impl<A: GlobalAlloc + Sync> Meter for Recycling<A> {
    fn peak(&self) -> usize {
        let mut kept = self.lock();
        let used = kept.used;
        std::mem::replace(&mut kept.watched, used)
    }

    fn release(&self) {
        Self::release(self);
    }
}

/// What a [`Recycling`] allocator did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    /// Large blocks that were new.
    pub fresh: u64,
    /// Bytes of large blocks in use.
    pub used: usize,
    /// Bytes of large blocks that are kept for later.
    pub kept: usize,
    /// The most bytes of large blocks in use at one time.
    pub peak: usize,
}

impl<A: GlobalAlloc> Recycling<A> {
    /// Keeps what `inner` gave.
    pub const fn new(inner: A) -> Self {
        let empty = Block { data: std::ptr::null_mut(), size: 0 };
        let kept = Kept { blocks: [empty; SLOTS], count: 0, bytes: 0, used: 0, peak: 0, watched: 0, fresh: 0 };
        Self { inner, kept: Mutex::new(kept) }
    }

    /// What this allocator did so far.
    pub fn statistics(&self) -> Statistics {
        let kept = self.lock();
        Statistics { fresh: kept.fresh, used: kept.used, kept: kept.bytes, peak: kept.peak }
    }

    /// Gives all kept blocks back, and forgets the peak.
    pub fn release(&self) {
        let mut kept = self.lock();
        kept.peak = kept.used;
        self.shrink(&mut kept, 0);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the oldest blocks back until at most `bytes` are kept.
    fn shrink(&self, kept: &mut Kept, bytes: usize) {
        let mut gone = 0;
        while kept.bytes > bytes {
            let block = kept.blocks[gone];
            kept.bytes -= block.size;
            gone += 1;
            // SAFETY: the block came from `fresh`, and is in no one's hands.
            unsafe { give_back(&self.inner, block) };
        }
        kept.blocks.copy_within(gone..kept.count, 0);
        kept.count -= gone;
    }

    /// A block of a size that [`rounded`] gave; the flag says whether it is new.
    fn take(&self, size: usize) -> (*mut u8, bool) {
        let mut kept = self.lock();
        let found = kept.blocks[..kept.count].iter().rposition(|block| block.size == size);
        kept.used += size;
        kept.peak = kept.peak.max(kept.used);
        kept.watched = kept.watched.max(kept.used);
        if let Some(index) = found {
            let block = kept.blocks[index];
            let count = kept.count;
            kept.blocks.copy_within(index + 1..count, index);
            kept.count -= 1;
            kept.bytes -= size;
            return (block.data, false);
        }
        let slack = if size < TURNING_POINT { SLACK.min(kept.peak) } else { 0 };
        let room = kept.peak - kept.used + slack;
        self.shrink(&mut kept, room);
        kept.fresh += 1;
        drop(kept);
        let data = fresh(&self.inner, size);
        if data.is_null() {
            self.lock().used -= size;
        }
        (data, true)
    }
}

/// A new large block, of zeros; null where there is no memory.
///
/// On Unix blocks come from the system itself: what is given back there is gone from the process at once. They begin where
/// huge pages do, which spare a block most faults and the processor most look-ups.
fn fresh<A: GlobalAlloc>(inner: &A, size: usize) -> *mut u8 {
    #[cfg(unix)]
    {
        let _ = inner;
        let alignment = if size < 2 * HUGE_PAGE { 0 } else { HUGE_PAGE };
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, of which the parts before and behind the block are given back.
        unsafe {
            let mapped = libc::mmap(
                std::ptr::null_mut(),
                size + alignment,
                access,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            if mapped == libc::MAP_FAILED {
                return std::ptr::null_mut();
            }
            let mapped: *mut u8 = mapped.cast();
            let before = if alignment == 0 { 0 } else { mapped.align_offset(alignment) };
            let block = mapped.add(before);
            if before > 0 {
                libc::munmap(mapped.cast(), before);
            }
            if alignment > before {
                libc::munmap(block.add(size).cast(), alignment - before);
            }
            #[cfg(target_os = "linux")]
            if alignment > 0 {
                libc::madvise(block.cast(), size, libc::MADV_HUGEPAGE);
            }
            block
        }
    }
    #[cfg(not(unix))]
    // SAFETY: the size is not 0.
    unsafe {
        inner.alloc_zeroed(large(size))
    }
}

/// Gives the system a large block back.
///
/// # Safety
/// The block came from [`fresh`] with this size, and is in no one's hands.
unsafe fn give_back<A: GlobalAlloc>(inner: &A, block: Block) {
    #[cfg(unix)]
    {
        let _ = inner;
        // SAFETY: by the caller's promise.
        unsafe { libc::munmap(block.data.cast(), block.size) };
    }
    #[cfg(not(unix))]
    // SAFETY: by the caller's promise.
    unsafe {
        inner.dealloc(block.data, large(block.size));
    }
}

/// The layout of all large blocks of a size.
#[cfg(not(unix))]
fn large(size: usize) -> Layout {
    // SAFETY: the alignment is a power of two, and `rounded` sees to it that sizes do not overflow.
    unsafe { Layout::from_size_align_unchecked(size, ALIGNMENT) }
}

/// The size that a large allocation is rounded up to: to eighths of a power of two, so that there are few sizes. None for
/// what is not large, and for what the inner allocator must handle itself.
fn rounded(layout: Layout) -> Option<usize> {
    if layout.size() < LARGE || layout.align() > ALIGNMENT {
        return None;
    }
    // Whole pages, as the smallest of these units is 32 KiB.
    let unit = 1 << (layout.size().ilog2() - 3);
    let size = layout.size().checked_next_multiple_of(unit)?;
    (size <= isize::MAX as usize - HUGE_PAGE).then_some(size)
}

// SAFETY: blocks come from the inner allocator, large ones from `fresh` with the size that `rounded` gives for every
// layout that they are asked for with, and only one at a time has them.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Recycling<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        unsafe {
            match rounded(layout) {
                Some(size) => self.take(size).0,
                None => self.inner.alloc(layout),
            }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on; a kept block is as large as was asked for.
        unsafe {
            let Some(size) = rounded(layout) else { return self.inner.alloc_zeroed(layout) };
            let (data, is_fresh) = self.take(size);
            if !is_fresh {
                data.write_bytes(0, layout.size());
            }
            data
        }
    }

    unsafe fn dealloc(&self, data: *mut u8, layout: Layout) {
        let Some(size) = rounded(layout) else {
            // SAFETY: the caller's promise is passed on.
            return unsafe { self.inner.dealloc(data, layout) };
        };
        let mut kept = self.lock();
        kept.used -= size;
        if kept.count == SLOTS {
            let without_oldest = kept.bytes - kept.blocks[0].size;
            self.shrink(&mut kept, without_oldest);
        }
        let index = kept.count;
        kept.blocks[index] = Block { data, size };
        kept.count += 1;
        kept.bytes += size;
    }

    unsafe fn realloc(&self, data: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the new size does not overflow with this alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (rounded(layout), rounded(wanted)) {
            // SAFETY: the caller's promise is passed on.
            (None, None) => unsafe { self.inner.realloc(data, layout, size) },
            (before, after) if before == after => data,
            // SAFETY: both blocks are as large as is copied, and the old one is the caller's to give up.
            _ => unsafe {
                let moved = self.alloc(wanted);
                if !moved.is_null() {
                    std::ptr::copy_nonoverlapping(data, moved, layout.size().min(size));
                    self.dealloc(data, layout);
                }
                moved
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::System;

    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).expect("a layout")
    }

    /// Allocates and frees, and returns the block's address.
    fn cycle(allocator: &Recycling<System>, size: usize) -> usize {
        // SAFETY: the block is freed with the layout that it was made with.
        unsafe {
            let data = allocator.alloc(layout(size));
            data.write_bytes(0xff, size);
            allocator.dealloc(data, layout(size));
            data as usize
        }
    }

    #[test]
    fn a_large_block_is_handed_out_again() {
        let allocator = Recycling::new(System);
        let first = cycle(&allocator, 3 << 20);
        // A little less is rounded up to the same size.
        assert_eq!(cycle(&allocator, (3 << 20) - 1000), first);
        assert_eq!(allocator.statistics().fresh, 1);
        assert_eq!(allocator.statistics().used, 0);
        allocator.release();
        assert_eq!(allocator.statistics(), Statistics { fresh: 1, used: 0, kept: 0, peak: 0 });
    }

    #[test]
    fn a_recycled_block_is_cleared_when_zeros_are_asked_for() {
        let allocator = Recycling::new(System);
        cycle(&allocator, 2 << 20);
        // SAFETY: the block is as large as is read, and freed with its layout.
        unsafe {
            let data = allocator.alloc_zeroed(layout(2 << 20));
            assert!(std::slice::from_raw_parts(data, 2 << 20).iter().all(|byte| *byte == 0));
            allocator.dealloc(data, layout(2 << 20));
        }
        assert_eq!(allocator.statistics().fresh, 1);
    }

    #[test]
    fn little_more_is_held_than_was_in_use_at_once() {
        let allocator = Recycling::new(System);
        for mib in [2, 3, 5, 7, 4, 6, 1] {
            cycle(&allocator, mib << 20);
            let Statistics { kept, peak, .. } = allocator.statistics();
            assert!(kept <= 2 * peak, "{kept} bytes kept, {peak} at most in use");
        }
        assert_eq!(allocator.statistics().peak, 7 << 20);
    }

    #[test]
    fn each_peak_is_that_since_the_last() {
        let allocator = Recycling::new(System);
        cycle(&allocator, 6 << 20);
        assert_eq!(allocator.peak(), 6 << 20);
        cycle(&allocator, 2 << 20);
        assert_eq!(allocator.peak(), 2 << 20);
        assert_eq!(allocator.peak(), 0);
    }

    #[test]
    fn growing_keeps_the_contents() {
        let allocator = Recycling::new(System);
        // SAFETY: each block is used within its size, and freed with its layout.
        unsafe {
            let mut data = allocator.alloc(layout(1000));
            data.write_bytes(7, 1000);
            let mut size = 1000;
            for next in [LARGE, LARGE + 1, 5 << 20, 3000] {
                data = allocator.realloc(data, layout(size), next);
                size = next;
                assert!(std::slice::from_raw_parts(data, 1000).iter().all(|byte| *byte == 7));
            }
            allocator.dealloc(data, layout(size));
        }
        assert_eq!(allocator.statistics().used, 0);
    }
}

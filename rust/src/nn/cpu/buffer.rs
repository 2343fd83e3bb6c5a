//! Memory that kernels fill: aligned to cache lines, and never cleared first.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// Bytes of a cache line, which no vector load should straddle.
const ALIGNMENT: usize = 64;

/// Memory for `u32`-sized elements: f32, pairs of bf16, or quadruples of i8.
///
/// What it holds is undefined until it is written; whoever makes one writes it before reading.
pub struct AlignedBuffer {
    data: NonNull<u32>,
    len: usize,
}

// SAFETY: the buffer owns its memory, as a `Vec` does.
unsafe impl Send for AlignedBuffer {}
// SAFETY: shared references only give out a pointer; those who write through it see to it that they write alone.
unsafe impl Sync for AlignedBuffer {}

impl AlignedBuffer {
    /// Memory for `len` elements.
    pub fn new(len: usize) -> Self {
        let layout = Self::layout(len);
        // SAFETY: the layout is never of size 0.
        let data = unsafe { alloc(layout) };
        let Some(data) = NonNull::new(data.cast::<u32>()) else { handle_alloc_error(layout) };
        Self { data, len }
    }

    #[expect(clippy::expect_used, reason = "a length over isize::MAX bytes is a bug, as it is for Vec")]
    fn layout(len: usize) -> Layout {
        let layout = Layout::array::<u32>(len.max(1)).and_then(|layout| layout.align_to(ALIGNMENT));
        layout.expect("capacity overflow")
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The first element, for writing.
    pub fn as_mut_ptr<T>(&mut self) -> *mut T {
        self.data.as_ptr().cast()
    }

    /// The first element.
    pub fn as_ptr<T>(&self) -> *const T {
        self.data.as_ptr().cast_const().cast()
    }

    /// Makes room for at least `len` elements; what was there is gone.
    pub fn reserve(&mut self, len: usize) {
        if self.len < len {
            *self = Self::new(len);
        }
    }
}

impl Default for AlignedBuffer {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same layout.
        unsafe { dealloc(self.data.as_ptr().cast(), Self::layout(self.len)) }
    }
}

/// A result that tasks fill in parts.
pub struct Output {
    values: Vec<f32>,
    len: usize,
}

/// A pointer that tasks writing to disjoint parts of one buffer may share.
pub struct Shared<T>(*mut T);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

// SAFETY: the pointer is only dereferenced in unsafe code, which has to see to it that the parts are disjoint.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub fn new(data: *mut T) -> Self {
        Self(data)
    }

    /// The element at `offset`.
    ///
    /// # Safety
    /// `offset` lies inside the buffer.
    pub unsafe fn at(self, offset: usize) -> *mut T {
        // SAFETY: by the caller's promise.
        unsafe { self.0.add(offset) }
    }
}

impl Output {
    /// Room for `len` values.
    pub fn new(len: usize) -> Self {
        Self { values: Vec::with_capacity(len), len }
    }

    /// Where the values go.
    pub fn shared(&mut self) -> Shared<f32> {
        Shared(self.values.as_mut_ptr())
    }

    /// The values.
    ///
    /// # Safety
    /// All of them have been written.
    pub unsafe fn finish(mut self) -> Vec<f32> {
        // SAFETY: the capacity is at least `len`, and by the caller's promise all values are initialised.
        unsafe { self.values.set_len(self.len) };
        self.values
    }
}

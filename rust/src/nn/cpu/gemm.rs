//! A checked door to the `gemm` crate.

use gemm::Parallelism;

/// A view of a matrix inside a slice: element (i, j) is at `i * row_stride + j * col_stride`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    pub data: &'a [f32],
    pub rows: usize,
    pub cols: usize,
    pub row_stride: usize,
    pub col_stride: usize,
}

/// A matrix to be written, rows contiguous: element (i, j) is at `i * row_stride + j` behind `data`.
pub struct Output {
    pub data: *mut f32,
    /// Elements from `data` on that may be written.
    pub len: usize,
    pub row_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A matrix with contiguous rows.
    pub fn rows(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// The same elements with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }

    fn fits(&self) -> bool {
        self.rows == 0
            || self.cols == 0
            || (self.rows - 1) * self.row_stride + (self.cols - 1) * self.col_stride < self.data.len()
    }
}

/// `out = lhs * rhs * scale`, or with `accumulate`, `out += lhs * rhs * scale`.
///
/// # Safety
/// `out.data` must point to `out.len` writable elements that nothing else reads or writes during the call, and
/// that are initialised when `accumulate` is set.
pub unsafe fn multiply(
    out: Output,
    accumulate: bool,
    lhs: Matrix<'_>,
    rhs: Matrix<'_>,
    scale: f32,
    parallelism: Parallelism,
) {
    let (m, n, k) = (lhs.rows, rhs.cols, lhs.cols);
    if m == 0 || n == 0 {
        return;
    }
    assert_eq!(k, rhs.rows, "inner dimensions");
    assert!(lhs.fits() && rhs.fits() && (m - 1) * out.row_stride + n <= out.len, "matrix inside its slice");
    // SAFETY: all three matrices were just checked to lie inside memory that is ours to read or, by the caller's
    // promise, to write.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.data,
            1,
            out.row_stride as isize,
            accumulate,
            lhs.data.as_ptr(),
            lhs.col_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr(),
            rhs.col_stride as isize,
            rhs.row_stride as isize,
            if accumulate { 1.0 } else { 0.0 },
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// A pointer that tasks writing to disjoint parts of one output may share.
#[derive(Clone, Copy)]
pub struct SharedOutput {
    data: *mut f32,
    len: usize,
}

// SAFETY: the pointer is only dereferenced through `at`, whose caller promises that the parts are disjoint.
unsafe impl Send for SharedOutput {}
// SAFETY: as above.
unsafe impl Sync for SharedOutput {}

impl SharedOutput {
    pub fn new(output: &mut [f32]) -> Self {
        Self { data: output.as_mut_ptr(), len: output.len() }
    }

    /// A matrix that begins `offset` elements into the output.
    pub fn at(self, offset: usize, row_stride: usize) -> Output {
        assert!(offset <= self.len, "offset inside the output");
        // SAFETY: the offset was just checked.
        Output { data: unsafe { self.data.add(offset) }, len: self.len - offset, row_stride }
    }
}

//! Values that cross to Python through the buffer protocol, without a copy.

use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use candle_core::Device;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::error::Error;
use crate::image::{Gray8, Rgb8};

/// Shape and strides that a buffer's consumers read for as long as they hold it.
struct Shape {
    lengths: Vec<isize>,
    strides: Vec<isize>,
    item: isize,
}

impl Shape {
    fn contiguous(lengths: &[usize], item: isize) -> Self {
        let lengths: Vec<isize> = lengths.iter().map(|length| *length as isize).collect();
        let mut strides = vec![item; lengths.len()];
        for index in (0..lengths.len().saturating_sub(1)).rev() {
            strides[index] = strides[index + 1] * lengths[index + 1];
        }
        Self { lengths, strides, item }
    }

    /// Describes `data` to a consumer of the buffer protocol.
    ///
    /// # Safety
    /// `view` must be null or valid for writing. `data` and `self` must live inside `owner`, in heap memory that
    /// never moves or changes, and `data` must have as many bytes as the shape says.
    unsafe fn fill(
        &self,
        owner: Bound<'_, PyAny>,
        data: *const c_void,
        format: &'static CStr,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("no view to fill"));
        }
        if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE {
            return Err(PyBufferError::new_err("the values are read-only"));
        }
        let wants = |flag: c_int| flags & flag == flag;
        // SAFETY: the view is valid by the caller's promise; every pointer written lives as long as `owner`, which
        // the view holds a reference to.
        unsafe {
            (*view).buf = data.cast_mut();
            (*view).len = self.lengths.iter().product::<isize>() * self.item;
            (*view).readonly = 1;
            (*view).itemsize = self.item;
            (*view).format = if wants(ffi::PyBUF_FORMAT) { format.as_ptr().cast_mut() } else { ptr::null_mut() };
            (*view).ndim = self.lengths.len() as c_int;
            (*view).shape = if wants(ffi::PyBUF_ND) { self.lengths.as_ptr().cast_mut() } else { ptr::null_mut() };
            (*view).strides =
                if wants(ffi::PyBUF_STRIDES) { self.strides.as_ptr().cast_mut() } else { ptr::null_mut() };
            (*view).suboffsets = ptr::null_mut();
            (*view).internal = ptr::null_mut();
            (*view).obj = owner.into_ptr();
        }
        Ok(())
    }
}

/// RGB pixels, uint8, (height, width, 3).
#[pyclass(frozen, module = "sd_rbee._native")]
pub struct Image {
    picture: Rgb8,
    shape: Shape,
}

impl From<Rgb8> for Image {
    fn from(picture: Rgb8) -> Self {
        let shape = Shape::contiguous(&[picture.height, picture.width, 3], 1);
        Self { picture, shape }
    }
}

#[pymethods]
impl Image {
    #[new]
    fn new(pixels: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(rgb("pixels", pixels)?.into())
    }

    #[getter]
    fn width(&self) -> usize {
        self.picture.width
    }

    #[getter]
    fn height(&self) -> usize {
        self.picture.height
    }

    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let this = slf.get();
        let data = this.picture.pixels.as_ptr().cast();
        // SAFETY: the object is frozen, so its vectors neither move nor change; Python passes a valid view.
        unsafe { this.shape.fill(slf.clone().into_any(), data, c"B", view, flags) }
    }
}

/// Contiguous float32 values in host memory.
#[pyclass(frozen, module = "sd_rbee._native")]
pub struct Tensor {
    values: Vec<f32>,
    shape: Shape,
}

impl Tensor {
    /// Copies `tensor`, which is f32 on the host.
    pub fn from_candle(tensor: &candle_core::Tensor) -> crate::Result<Self> {
        let values = tensor.flatten_all()?.to_vec1()?;
        Ok(Self::from_values(values, tensor.dims()))
    }

    /// `values` in the order of `shape`.
    pub fn from_values(values: Vec<f32>, shape: &[usize]) -> Self {
        Self { values, shape: Shape::contiguous(shape, 4) }
    }
}

#[pymethods]
impl Tensor {
    #[new]
    fn new(values: &Bound<'_, PyAny>) -> PyResult<Self> {
        let (values, shape) = floats("values", values)?;
        Ok(Self::from_values(values, &shape))
    }

    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.shape.lengths)
    }

    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let this = slf.get();
        let data = this.values.as_ptr().cast();
        // SAFETY: the object is frozen, so its vectors neither move nor change; Python passes a valid view.
        unsafe { this.shape.fill(slf.clone().into_any(), data, c"f", view, flags) }
    }
}

/// Values and shape of a C-contiguous float32 buffer of one to five dimensions.
fn floats(field: &'static str, buffer: &Bound<'_, PyAny>) -> PyResult<(Vec<f32>, Vec<usize>)> {
    let wrong = || {
        let given = buffer.get_type().name().map_or_else(|_| "another type".into(), |name| name.to_string());
        Error::invalid(field, given, "a C-contiguous float32 buffer of 1 to 5 dimensions, in this machine's byte order")
    };
    let view = PyBuffer::<f32>::get(buffer).map_err(|_| wrong())?;
    let foreign = if cfg!(target_endian = "little") { [b'>', b'!'] } else { [b'<', b'<'] };
    let swapped = view.format().to_bytes().first().is_some_and(|order| foreign.contains(order));
    if swapped || !view.is_c_contiguous() || !(1..=5).contains(&view.dimensions()) {
        return Err(wrong().into());
    }
    Ok((view.to_vec(buffer.py())?, view.shape().to_vec()))
}

/// The picture in a C-contiguous uint8 buffer (height, width, 3).
pub fn rgb(field: &'static str, buffer: &Bound<'_, PyAny>) -> PyResult<Rgb8> {
    const ALLOWED: &str = "a C-contiguous uint8 buffer (height, width, 3)";
    let (pixels, shape) = bytes(field, buffer, ALLOWED)?;
    match *shape {
        [height, width, 3] => Ok(Rgb8 { width, height, pixels }),
        _ => Err(Error::invalid(field, format!("shape {shape:?}"), ALLOWED).into()),
    }
}

/// The values in a C-contiguous uint8 buffer (height, width).
pub fn gray(field: &'static str, buffer: &Bound<'_, PyAny>) -> PyResult<Gray8> {
    const ALLOWED: &str = "a C-contiguous uint8 buffer (height, width)";
    let (pixels, shape) = bytes(field, buffer, ALLOWED)?;
    match *shape {
        [height, width] => Ok(Gray8 { width, height, pixels }),
        _ => Err(Error::invalid(field, format!("shape {shape:?}"), ALLOWED).into()),
    }
}

/// Values and shape of a C-contiguous uint8 buffer.
fn bytes(field: &'static str, buffer: &Bound<'_, PyAny>, allowed: &str) -> PyResult<(Vec<u8>, Vec<usize>)> {
    let wrong = || {
        let given = buffer.get_type().name().map_or_else(|_| "another type".into(), |name| name.to_string());
        Error::invalid(field, given, allowed)
    };
    let view = PyBuffer::<u8>::get(buffer).map_err(|_| wrong())?;
    if !view.is_c_contiguous() {
        return Err(wrong().into());
    }
    Ok((view.to_vec(buffer.py())?, view.shape().to_vec()))
}

/// A candle tensor of the values in `buffer`, which must have `dimensions` of them, none empty.
pub fn tensor(field: &'static str, buffer: &Bound<'_, PyAny>, dimensions: usize) -> PyResult<candle_core::Tensor> {
    let (values, shape) = floats(field, buffer)?;
    if shape.len() != dimensions || values.is_empty() {
        let allowed = format!("{dimensions} dimensions, none of them 0");
        return Err(Error::invalid(field, format!("shape {shape:?}"), allowed).into());
    }
    let tensor = candle_core::Tensor::from_vec(values, shape, &Device::Cpu);
    Ok(tensor.map_err(Error::from)?)
}

/// How far one tensor is from another.
#[pyclass(frozen, get_all, module = "sd_rbee._native")]
pub struct Difference {
    relative_rms: f64,
    max_abs: f64,
}

/// Compares two float32 buffers of one shape.
#[pyfunction]
pub fn compare(values: &Bound<'_, PyAny>, reference: &Bound<'_, PyAny>) -> PyResult<Difference> {
    let (values, shape) = floats("values", values)?;
    let (reference, expected) = floats("reference", reference)?;
    if shape != expected {
        return Err(PyValueError::new_err(format!("shapes differ: {shape:?} and {expected:?}")));
    }
    let (mut error, mut power, mut max_abs) = (0f64, 0f64, 0f64);
    for (value, reference) in values.iter().zip(&reference) {
        let difference = f64::from(*value) - f64::from(*reference);
        error += difference * difference;
        power += f64::from(*reference).powi(2);
        // A NaN on either side must not pass as equal.
        max_abs = if difference.is_nan() || max_abs.is_nan() { f64::NAN } else { max_abs.max(difference.abs()) };
    }
    let relative_rms = if error == 0.0 { 0.0 } else { (error / power).sqrt() };
    Ok(Difference { relative_rms, max_abs })
}

//! Named tensors for the models, taken strictly: everything missing, misshapen or left over is reported at once.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::rc::Rc;

use candle_core::{DType, Device, Tensor};

use super::cpu::{Products, Values};
use crate::device::QUANTISED;
use crate::error::{Error, Result};

/// Where tensors come from; `checkpoint` has the memory-mapped safetensors one.
pub trait TensorSource {
    /// All names, in any order.
    fn names(&self) -> Vec<String>;
    /// Shape of a tensor, if it is there; cheap, touches no data.
    fn shape(&self, name: &str) -> Option<Vec<usize>>;
    /// Shape of a tensor that a model asks for with the shape `asked`: a source that makes its tensors obeys it.
    fn find(&self, name: &str, asked: &[usize]) -> Option<Vec<usize>> {
        let _ = asked;
        self.shape(name)
    }
    /// Whether a tensor that is there can be loaded, as far as can be told without touching its data.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] as [`TensorSource::load`] for a dtype that cannot be used.
    fn check(&self, name: &str) -> Result<()> {
        let _ = name;
        Ok(())
    }
    /// What the files call the tensor that a model asks for by `name`, for reports.
    fn stored_name(&self, name: &str) -> String {
        name.to_string()
    }
    /// The tensor's data on `device` in `dtype`.
    fn load(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor>;
}

struct Ledger {
    source: Box<dyn TensorSource>,
    dtype: DType,
    device: Device,
    products: Option<Products>,
    /// Names that are accounted for, whether or not their tensors are in memory.
    taken: RefCell<BTreeSet<String>>,
    problems: RefCell<Vec<String>>,
    tensors: Cell<usize>,
    bytes: Cell<usize>,
}

/// A prefix into a [`TensorSource`]. Cheap to clone; all clones share one ledger.
#[derive(Clone)]
pub struct Weights {
    ledger: Rc<Ledger>,
    prefix: String,
    exact: bool,
    unread: bool,
}

/// What [`Weights::finish`] found to be in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loaded {
    /// Number of tensors.
    pub tensors: usize,
    /// Their bytes in the dtype that they were loaded in.
    pub bytes: usize,
}

impl Weights {
    /// The root of `source`, for layers that compute on `device` in `dtype`.
    ///
    /// On the CPU tensors are handed out in f32, and `dtype` is what the layers' products are made of: bf16, int8 for
    /// [`QUANTISED`], or f32 for every other.
    pub fn new(source: Box<dyn TensorSource>, dtype: DType, device: &Device) -> Self {
        let products = match (device.is_cpu(), dtype) {
            (false, _) => None,
            (true, DType::BF16) => Some(Products::Bf16),
            (true, QUANTISED) => Some(Products::Int8),
            (true, _) => Some(Products::F32),
        };
        let ledger = Ledger {
            source,
            dtype: if products.is_some() { DType::F32 } else { dtype },
            device: device.clone(),
            products,
            taken: RefCell::default(),
            problems: RefCell::default(),
            tensors: Cell::new(0),
            bytes: Cell::new(0),
        };
        Self { ledger: Rc::new(ledger), prefix: String::new(), exact: false, unread: false }
    }

    /// The view under `name`.
    #[must_use]
    pub fn pp(&self, name: impl Display) -> Self {
        Self { prefix: self.path(name), ..self.clone() }
    }

    /// The same view for layers that are not to be quantised.
    #[must_use]
    pub fn exact(&self) -> Self {
        Self { exact: true, ..self.clone() }
    }

    /// The same view for a network that is only to be checked: it accounts for every tensor and reads none, and what is
    /// built of it computes nothing of use.
    #[must_use]
    pub fn unread(&self) -> Self {
        Self { unread: true, ..self.clone() }
    }

    fn path(&self, name: impl Display) -> String {
        if self.prefix.is_empty() { name.to_string() } else { format!("{}.{name}", self.prefix) }
    }

    /// The device that tensors are handed out on.
    pub fn device(&self) -> &Device {
        &self.ledger.device
    }

    /// What the CPU's kernels multiply; none on other devices.
    pub fn products(&self) -> Option<Products> {
        if self.exact { self.ledger.products.map(Products::of_floats) } else { self.ledger.products }
    }

    /// Packs the values of `tensor`, which came from here, for the CPU's kernels; none on other devices.
    ///
    /// `pack` returns what it made and the bytes that this takes, which count instead of the tensor's. Once something is
    /// wrong with the weights nothing is packed any more, as [`Weights::finish`] will fail.
    pub fn pack<T>(
        &self,
        tensor: &Tensor,
        pack: impl FnOnce(Products, &[f32]) -> Result<(T, usize)>,
    ) -> Result<Option<T>> {
        let packs = !self.unread && self.ledger.problems.borrow().is_empty();
        let Some(products) = self.products().filter(|_| packs) else {
            return Ok(None);
        };
        let tensor = tensor.contiguous()?;
        let (packed, bytes) = pack(products, &Values::of(&tensor)?)?;
        let sum = &self.ledger.bytes;
        sum.set(sum.get().saturating_sub(tensor.elem_count() * self.ledger.dtype.size_in_bytes()) + bytes);
        Ok(Some(packed))
    }

    /// Whether a tensor of this name is there.
    pub fn contains(&self, name: impl Display) -> bool {
        self.ledger.source.shape(&self.path(name)).is_some()
    }

    /// Shape of the tensor `name`, if it is there.
    pub fn shape(&self, name: impl Display) -> Option<Vec<usize>> {
        self.ledger.source.shape(&self.path(name))
    }

    /// The tensor `name`, which must have exactly `shape`.
    ///
    /// A tensor that is missing, misshapen or of a dtype that cannot be used is noted for [`Weights::finish`], and a
    /// placeholder that takes no memory is returned, so that one pass over the model finds everything that is wrong.
    pub fn get(&self, shape: &[usize], name: impl Display) -> Result<Tensor> {
        self.get_as(self.ledger.dtype, shape, name)
    }

    /// Like [`Weights::get`], for a table whose rows are looked up: on the CPU as narrow as what is multiplied there.
    pub fn get_table(&self, shape: &[usize], name: impl Display) -> Result<Tensor> {
        let narrow = self.products().map(Products::of_floats) == Some(Products::Bf16);
        self.get_as(if narrow { DType::BF16 } else { self.ledger.dtype }, shape, name)
    }

    fn get_as(&self, dtype: DType, shape: &[usize], name: impl Display) -> Result<Tensor> {
        let path = self.path(name);
        match self.ledger.source.find(&path, shape) {
            Some(found) if found == shape => {
                let loaded = match self.unread {
                    true => self.ledger.source.check(&path).and_then(|()| self.placeholder(shape)),
                    false => self.ledger.source.load(&path, dtype, &self.ledger.device),
                };
                let is_new = self.ledger.taken.borrow_mut().insert(path);
                let tensor = match loaded {
                    Err(Error::Checkpoint(problem)) => return self.problem(shape, problem),
                    loaded => loaded?,
                };
                if is_new && !self.unread {
                    self.ledger.tensors.update(|count| count + 1);
                    self.ledger.bytes.update(|bytes| bytes + tensor.elem_count() * dtype.size_in_bytes());
                }
                Ok(tensor)
            }
            Some(found) => {
                let stored = self.ledger.source.stored_name(&path);
                let problem = format!("misshapen: {stored} is {found:?}, the configuration asks for {shape:?}");
                self.ledger.taken.borrow_mut().insert(path);
                self.problem(shape, problem)
            }
            None => {
                let stored = self.ledger.source.stored_name(&path);
                self.problem(shape, format!("missing: {stored} {shape:?}"))
            }
        }
    }

    /// Like [`Weights::get`], for a tensor that checkpoints hold in one of two layouts with the same elements:
    /// `stored` is accepted too and reshaped to `shape`.
    pub fn get_reshaped(&self, shape: &[usize], stored: &[usize], name: &str) -> Result<Tensor> {
        if self.shape(name).as_deref() == Some(stored) {
            Ok(self.get(stored, name)?.reshape(shape)?)
        } else {
            self.get(shape, name)
        }
    }

    /// Marks a tensor as known but not needed, so that it is not reported as unexpected.
    pub fn ignore(&self, name: impl Display) {
        self.ledger.taken.borrow_mut().insert(self.path(name));
    }

    fn problem(&self, shape: &[usize], problem: String) -> Result<Tensor> {
        self.ledger.problems.borrow_mut().push(problem);
        self.placeholder(shape)
    }

    fn placeholder(&self, shape: &[usize]) -> Result<Tensor> {
        Ok(Tensor::zeros(1, self.ledger.dtype, &self.ledger.device)?.broadcast_as(shape)?)
    }

    /// Ends the loading of one component, named `component` in the error.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] that names every missing, misshapen and unexpected tensor.
    pub fn finish(&self, component: &str) -> Result<Loaded> {
        let taken = self.ledger.taken.borrow();
        let mut problems = self.ledger.problems.borrow().clone();
        let source = &self.ledger.source;
        let left_over = source.names().into_iter().filter(|name| !taken.contains(name));
        let mut unexpected: Vec<_> = left_over.map(|name| source.stored_name(&name)).collect();
        unexpected.sort();
        problems.extend(unexpected.into_iter().map(|name| format!("unexpected: {name}")));
        if problems.is_empty() {
            return Ok(Loaded { tensors: self.ledger.tensors.get(), bytes: self.ledger.bytes.get() });
        }
        Err(Error::Checkpoint(format!(
            "{component}: {} tensors do not fit its configuration:\n  {}",
            problems.len(),
            problems.join("\n  ")
        )))
    }
}

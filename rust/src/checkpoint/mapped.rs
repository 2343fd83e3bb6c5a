//! Safetensors files mapped into memory: nothing is read before it is asked for, nothing is copied twice.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor, WithDType};
use memmap2::Mmap;
use safetensors::Dtype;

use super::convert::{Float, convert, float_size};
use super::header;
use super::names::{Canonical, Names};
use crate::error::{Error, Result};
use crate::files::{broken, open, shown};
use crate::nn::weights::TensorSource;

/// The tensors of one or more safetensors files.
///
/// The files stay mapped for as long as this lives; their pages are given back when it is dropped. A file that was
/// shortened in the meantime is noticed before a tensor is read from it. One that is shortened during the read itself
/// ends the process with SIGBUS, as with every reader that maps files: nothing short of copying it first would help.
#[derive(Clone)]
pub struct MappedTensors {
    entries: BTreeMap<String, Entry>,
    names: Option<Arc<Names>>,
    metadata: HashMap<String, String>,
}

struct MappedFile {
    shown: String,
    file: File,
    map: Mmap,
}

#[derive(Clone)]
struct Entry {
    file: Arc<MappedFile>,
    stored_name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    range: Range<usize>,
    transposed: bool,
}

impl MappedTensors {
    /// Maps the files and checks their headers in full; data is not read.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] that names the file and the reason: unreadable, empty, truncated, no safetensors at all,
    /// offsets, shapes and dtypes that contradict each other, a name that occurs twice.
    pub fn open(paths: &[PathBuf]) -> Result<Self> {
        let mut tensors = Self { entries: BTreeMap::new(), names: None, metadata: HashMap::new() };
        for path in paths {
            let shown = shown(path);
            let (file, length) = open(path, &shown)?;
            if length == 0 {
                return Err(broken(&shown, "is empty"));
            }
            // SAFETY: the map is only read, and as bytes, which have no invalid values. Its length is compared with
            // the file's before each read.
            let map = unsafe { Mmap::map(&file) }
                .map_err(|error| broken(&shown, format_args!("cannot be mapped into memory: {error}")))?;
            tensors.add(MappedFile { shown, file, map })?;
        }
        Ok(tensors)
    }

    fn add(&mut self, file: MappedFile) -> Result<()> {
        let (metadata, start) = header::parse(&file.map).map_err(|reason| broken(&file.shown, reason))?;
        let file = Arc::new(file);
        for (name, info) in metadata.tensors() {
            if let Some(other) = self.entries.get(&name) {
                return Err(broken(&file.shown, format_args!("the tensor {name:?} is in {} too", other.file.shown)));
            }
            let (from, to) = info.data_offsets;
            let entry = Entry {
                file: file.clone(),
                stored_name: name.clone(),
                dtype: info.dtype,
                shape: info.shape.clone(),
                range: start + from..start + to,
                transposed: false,
            };
            self.entries.insert(name, entry);
        }
        self.metadata.extend(metadata.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
        Ok(())
    }

    /// The same tensors under the names that `map` gives them; those that it gives none are left out.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if two tensors get one name.
    pub fn with_key_map(self, map: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let mut entries = BTreeMap::new();
        for (name, entry) in self.entries {
            if let Some(name) = map(&name) {
                insert(&mut entries, name, entry)?;
            }
        }
        Ok(Self { entries, ..self })
    }

    /// The tensors of one component, under the names that `names` has for them; the others are left out, and those below
    /// its prefix that it does not know keep their own names. The files are shared, not opened again.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if two tensors get one name, or one cannot be parted as its name says.
    pub(super) fn component(&self, names: &Arc<Names>) -> Result<Self> {
        let mut entries = BTreeMap::new();
        for (stored, entry) in self.entries.range(names.prefix().to_string()..) {
            if !stored.starts_with(names.prefix()) {
                break;
            }
            match names.canonical(stored) {
                Canonical::LeftOut => {}
                Canonical::Unknown => insert(&mut entries, stored.clone(), entry.clone())?,
                Canonical::Whole { name, transposed } => {
                    insert(&mut entries, name, if transposed { entry.transposed()? } else { entry.clone() })?;
                }
                Canonical::Parts(parts) => {
                    for (index, part) in parts.iter().enumerate() {
                        insert(&mut entries, part.clone(), entry.part(index, parts.len())?)?;
                    }
                }
            }
        }
        Ok(Self { entries, names: Some(names.clone()), metadata: HashMap::new() })
    }

    /// What the header of the file says in words; of several files, what any of them says.
    pub(super) fn metadata(&self) -> &HashMap<String, String> {
        &self.metadata
    }

    /// The one number of the tensor `name`, if it is one and of a dtype that counters have.
    pub(super) fn number(&self, name: &str) -> Option<f64> {
        let entry = self.entries.get(name).filter(|entry| entry.shape.iter().all(|length| *length == 1))?;
        let bytes = entry.file.map.get(entry.range.clone())?;
        Some(match entry.dtype {
            Dtype::I64 => i64::from_le_bytes(bytes.try_into().ok()?) as f64,
            Dtype::I32 => i32::from_le_bytes(bytes.try_into().ok()?).into(),
            dtype => convert::<f32>(dtype, bytes)?.first().copied()?.into(),
        })
    }

    /// Whether the name of any tensor is one that `is` asks for.
    pub(super) fn any_name(&self, is: impl Fn(&str) -> bool) -> bool {
        self.entries.keys().any(|name| is(name))
    }

    /// Whether any tensor's name begins with `prefix`.
    pub(super) fn any_under(&self, prefix: &str) -> bool {
        self.entries.range(prefix.to_string()..).next().is_some_and(|(name, _)| name.starts_with(prefix))
    }

    /// The dtype that most weights are stored in: `f32`, `f16` or `bf16`; `f32` where there is none of these.
    pub fn stored_dtype(&self) -> &'static str {
        let bytes = |dtype| {
            let entries = self.entries.values().filter(|entry| entry.dtype == dtype);
            entries.map(|entry| entry.range.len()).sum::<usize>() * 8 / dtype.bitsize()
        };
        let known = [(Dtype::F16, "f16"), (Dtype::BF16, "bf16"), (Dtype::F32, "f32")];
        known.into_iter().max_by_key(|(dtype, _)| bytes(*dtype)).map_or("f32", |(_, name)| name)
    }

    /// Bytes of all tensors, as stored.
    pub fn stored_bytes(&self) -> usize {
        self.entries.values().map(|entry| entry.range.len()).sum()
    }
}

fn insert(entries: &mut BTreeMap<String, Entry>, name: String, entry: Entry) -> Result<()> {
    if let Some(other) = entries.get(&name) {
        let reason = format!("{:?} and {:?} are the same tensor", other.stored_name, entry.stored_name);
        return Err(broken(&entry.file.shown, reason));
    }
    entries.insert(name, entry);
    Ok(())
}

impl Entry {
    /// As many of its rows as make one of `count` equal parts.
    fn part(&self, index: usize, count: usize) -> Result<Self> {
        let mut shape = self.shape.clone();
        match shape.first_mut() {
            Some(rows) if rows.is_multiple_of(count) => *rows /= count,
            _ => {
                let reason = format!("{:?} is {:?}, which cannot be {count} equal parts", self.stored_name, self.shape);
                return Err(broken(&self.file.shown, reason));
            }
        }
        let bytes = self.range.len() / count;
        let start = self.range.start + index * bytes;
        Ok(Self { shape, range: start..start + bytes, ..self.clone() })
    }

    fn transposed(&self) -> Result<Self> {
        let [rows, columns] = self.shape[..] else {
            let reason = format!("{:?} is {:?}, a matrix is needed", self.stored_name, self.shape);
            return Err(broken(&self.file.shown, reason));
        };
        Ok(Self { shape: vec![columns, rows], transposed: true, ..self.clone() })
    }

    fn unusable(&self) -> Error {
        let name = &self.stored_name;
        let reason = format!("the tensor {name:?} is {}, only F32, F16 and BF16 can be used", self.dtype);
        broken(&self.file.shown, reason)
    }

    fn load<T: Float + WithDType>(&self, device: &Device) -> Result<Tensor> {
        let file = &self.file;
        let length = file.file.metadata().map_or(0, |metadata| metadata.len());
        let bytes = match file.map.get(self.range.clone()) {
            Some(bytes) if length >= self.range.end as u64 => bytes,
            _ => {
                let reason =
                    format!("was shortened to {length} bytes after it was opened; {:?} is cut", self.stored_name);
                return Err(broken(&file.shown, reason));
            }
        };
        let values: Vec<T> = convert(self.dtype, bytes).ok_or_else(|| self.unusable())?;
        file.forget(&self.range);
        if self.transposed {
            let stored: Vec<_> = self.shape.iter().rev().copied().collect();
            return Ok(Tensor::from_vec(values, stored, &Device::Cpu)?.t()?.contiguous()?.to_device(device)?);
        }
        Ok(Tensor::from_vec(values, self.shape.as_slice(), device)?)
    }
}

impl MappedFile {
    /// Lets the system take back the pages of a tensor that has been read: it is not read again, and without this the file
    /// would lie in memory beside what was made of it.
    fn forget(&self, range: &Range<usize>) {
        #[cfg(unix)]
        // SAFETY: pages of a file that is only read come back from the file if they are read again. An error leaves
        // them where they are.
        let _ =
            unsafe { self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len()) };
        #[cfg(not(unix))]
        let _ = range;
    }
}

impl TensorSource for MappedTensors {
    fn names(&self) -> Vec<String> {
        self.entries.keys().cloned().collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.entries.get(name).map(|entry| entry.shape.clone())
    }

    fn check(&self, name: &str) -> Result<()> {
        match self.entries.get(name) {
            Some(entry) if float_size(entry.dtype).is_none() => Err(entry.unusable()),
            _ => Ok(()),
        }
    }

    fn stored_name(&self, name: &str) -> String {
        match self.entries.get(name) {
            Some(entry) => entry.stored_name.clone(),
            None => self.names.as_ref().and_then(|names| names.stored(name)).unwrap_or_else(|| name.to_string()),
        }
    }

    fn load(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        let entry = self.entries.get(name).ok_or_else(|| Error::Checkpoint(format!("missing: {name}")))?;
        match dtype {
            DType::F32 => entry.load::<f32>(device),
            DType::F16 => entry.load::<half::f16>(device),
            DType::BF16 => entry.load::<half::bf16>(device),
            other => Err(Error::Checkpoint(format!("{name}: weights cannot be loaded as {other:?}"))),
        }
    }
}

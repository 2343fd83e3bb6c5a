//! Safetensors files mapped into memory: nothing is read before it is asked for, nothing is copied twice.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor, WithDType};
use memmap2::Mmap;
use safetensors::Dtype;

use super::convert::{Float, convert};
use super::header;
use crate::error::{Error, Result};
use crate::files::{broken, open, shown};
use crate::nn::weights::TensorSource;

/// The tensors of one or more safetensors files.
///
/// The files stay mapped for as long as this lives; their pages are given back when it is dropped. A file that was
/// shortened in the meantime is noticed before a tensor is read from it. One that is shortened during the read itself
/// ends the process with SIGBUS, as with every reader that maps files: nothing short of copying it first would help.
pub struct MappedTensors {
    entries: BTreeMap<String, Entry>,
}

struct MappedFile {
    shown: String,
    file: File,
    map: Mmap,
}

struct Entry {
    file: Arc<MappedFile>,
    stored_name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    range: Range<usize>,
}

impl MappedTensors {
    /// Maps the files and checks their headers in full; data is not read.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] that names the file and the reason: unreadable, empty, truncated, no safetensors at all,
    /// offsets, shapes and dtypes that contradict each other, a name that occurs twice.
    pub fn open(paths: &[PathBuf]) -> Result<Self> {
        let mut tensors = Self { entries: BTreeMap::new() };
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
            };
            self.entries.insert(name, entry);
        }
        Ok(())
    }

    /// The same tensors under the names that `map` gives them; those that it gives none are left out.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if two tensors get one name.
    pub fn with_key_map(self, map: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        for (name, entry) in self.entries {
            let Some(name) = map(&name) else { continue };
            if let Some(other) = entries.get(&name) {
                let reason = format!("{:?} and {:?} are the same tensor", other.stored_name, entry.stored_name);
                return Err(broken(&entry.file.shown, reason));
            }
            entries.insert(name, entry);
        }
        Ok(Self { entries })
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

impl Entry {
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
        let values: Vec<T> = convert(self.dtype, bytes).ok_or_else(|| {
            let name = &self.stored_name;
            let reason = format!("the tensor {name:?} is {}, only F32, F16 and BF16 can be used", self.dtype);
            broken(&file.shown, reason)
        })?;
        file.forget(&self.range);
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

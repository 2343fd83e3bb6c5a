//! Devices: which there are, what they compute in, and where a model's bytes are.

use candle_core::{DType, Device, Tensor};

use crate::error::{Error, Result};
use crate::instruction_set::InstructionSet;

/// Cargo features of this build that add a device or speed one up.
pub fn features() -> Vec<&'static str> {
    let all = [
        ("cuda", cfg!(feature = "cuda")),
        ("cudnn", cfg!(feature = "cudnn")),
        ("flash-attn", cfg!(feature = "flash-attn")),
        ("metal", cfg!(feature = "metal")),
        ("accelerate", cfg!(feature = "accelerate")),
    ];
    all.into_iter().filter_map(|(name, present)| present.then_some(name)).collect()
}

/// Instruction sets that kernels may use and that this machine has.
pub fn cpu_features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let all = {
        use std::arch::is_x86_feature_detected as has;
        [
            ("sse4.1", has!("sse4.1")),
            ("avx", has!("avx")),
            ("avx2", has!("avx2")),
            ("fma", has!("fma")),
            ("f16c", has!("f16c")),
            ("avx512f", has!("avx512f")),
            ("avx512vnni", has!("avx512vnni")),
            ("avx512bf16", has!("avx512bf16")),
        ]
    };
    #[cfg(target_arch = "aarch64")]
    let all = {
        use std::arch::is_aarch64_feature_detected as has;
        [
            ("neon", has!("neon")),
            ("fp16", has!("fp16")),
            ("dotprod", has!("dotprod")),
            ("i8mm", has!("i8mm")),
            ("bf16", has!("bf16")),
        ]
    };
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let all: [(&str, bool); 0] = [];
    all.into_iter().filter_map(|(name, present)| present.then_some(name)).collect()
}

/// Names of the devices that can be opened now.
pub fn list() -> Vec<String> {
    let mut names = vec!["cpu".to_string()];
    for index in 0..16 {
        if cfg!(feature = "cuda") && open_cuda(index).is_ok() {
            names.push(format!("cuda:{index}"));
        } else if cfg!(feature = "metal") && open_metal(index).is_ok() {
            names.push(format!("metal:{index}"));
        } else {
            break;
        }
    }
    names
}

/// Opens `auto`, `cpu`, `cuda`, `cuda:N`, `metal` or `metal:N`.
///
/// `auto` takes the first GPU that this build can use, else the CPU. A device asked for by name is never replaced.
///
/// # Errors
/// [`Error::InvalidParams`] for another name, [`Error::Device`] for a device that is not there or not compiled in.
pub fn open(name: &str) -> Result<Device> {
    let (kind, index) = match name.split_once(':') {
        Some((kind, index)) => (kind, index.parse().ok()),
        None => (name, Some(0usize)),
    };
    match (kind, index) {
        ("auto", _) if !name.contains(':') => Ok(open_cuda(0).or_else(|_| open_metal(0)).unwrap_or(Device::Cpu)),
        ("cpu", _) if !name.contains(':') => Ok(Device::Cpu),
        ("cuda", Some(index)) => open_cuda(index),
        ("metal", Some(index)) => open_metal(index),
        _ => Err(Error::invalid("device", name, "auto, cpu, cuda, cuda:N, metal or metal:N")),
    }
}

fn open_cuda(index: usize) -> Result<Device> {
    if !cfg!(feature = "cuda") {
        return Err(Error::Device("cuda: this build has no CUDA; it was compiled without the feature `cuda`".into()));
    }
    // cudarc panics where the driver's library is missing.
    let opened = std::panic::catch_unwind(|| Device::new_cuda(index));
    match opened {
        Ok(Ok(device)) => Ok(device),
        Ok(Err(error)) => Err(Error::Device(format!("cuda:{index}: {error}"))),
        Err(_) => Err(Error::Device(format!("cuda:{index}: the NVIDIA driver could not be loaded"))),
    }
}

fn open_metal(index: usize) -> Result<Device> {
    if !cfg!(feature = "metal") {
        return Err(Error::Device(
            "metal: this build has no Metal; it was compiled without the feature `metal`".into(),
        ));
    }
    Device::new_metal(index).map_err(|error| Error::Device(format!("metal:{index}: {error}")))
}

/// The name that [`open`] takes for `device`.
pub fn name(device: &Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cpu => "cpu".into(),
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        candle_core::DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

/// Whether this build has flash attention for `device`.
pub fn has_flash_attention(device: &Device) -> bool {
    cfg!(feature = "flash-attn") && device.is_cuda()
}

/// The dtype to compute in on `device` for `auto`, `f32`, `f16`, `bf16` or `int8`, which is [`QUANTISED`].
///
/// On the CPU this is what products are made of; everything else there is f32. `auto` takes bf16 on a CPU that multiplies
/// it faster than f32, for a model that `tolerates_bf16`, and else f32.
///
/// # Errors
/// [`Error::InvalidParams`] for another name, or for one that the device does not compute in.
pub fn compute_dtype(device: &Device, name: &str, tolerates_bf16: bool) -> Result<DType> {
    let dtype = match name {
        "auto" if device.is_cpu() && tolerates_bf16 && InstructionSet::best().has_bf16() => DType::BF16,
        "auto" if device.is_cpu() => DType::F32,
        "auto" | "f16" => DType::F16,
        "bf16" => DType::BF16,
        "f32" => DType::F32,
        "int8" => QUANTISED,
        _ => return Err(Error::invalid("dtype", name, "auto, f32, f16, bf16 or int8")),
    };
    if device.is_cpu() && dtype == DType::F16 {
        let allowed = "auto, f32, bf16 or int8 on the CPU, which loads f16 checkpoints but does not compute in it";
        return Err(Error::invalid("dtype", name, allowed));
    }
    if !device.is_cpu() && dtype == QUANTISED {
        return Err(Error::invalid("dtype", name, "auto, f32, f16 or bf16 on a GPU"));
    }
    Ok(dtype)
}

/// What stands for int8, which candle does not have: linear layers of the UNet multiply weights and activations that are
/// quantised, and everything else multiplies floats as [`float_dtype`] says.
pub const QUANTISED: DType = DType::U8;

/// `dtype`, or for [`QUANTISED`] the floats that this machine multiplies the fastest.
pub fn float_dtype(dtype: DType) -> DType {
    match dtype {
        QUANTISED if InstructionSet::best().has_bf16() => DType::BF16,
        QUANTISED => DType::F32,
        floats => floats,
    }
}

/// The dtype of everything that layers hand to each other on `device` when they compute in `dtype`.
pub fn activation_dtype(device: &Device, dtype: DType) -> DType {
    if device.is_cpu() { DType::F32 } else { dtype }
}

/// `tensor` on `device`, as layers take it there that compute in `dtype`.
///
/// # Errors
/// [`Error::Inference`] from the copy or the conversion.
pub fn bring(tensor: &Tensor, device: &Device, dtype: DType) -> Result<Tensor> {
    Ok(tensor.to_device(device)?.to_dtype(activation_dtype(device, dtype))?)
}

/// The name of `dtype` on every interface.
pub fn dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 => "f16",
        DType::BF16 => "bf16",
        DType::F32 => "f32",
        QUANTISED => "int8",
        _ => dtype.as_str(),
    }
}

/// Where the bytes of one component are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Residency {
    /// The component's folder name: `unet`, `vae`, `text_encoder`.
    pub component: &'static str,
    /// As [`name`] gives it.
    pub device: String,
    /// The dtype that it computes in. On the CPU this is what products are made of; what is not multiplied is f32.
    pub dtype: &'static str,
    /// The dtype in the file.
    pub stored_dtype: &'static str,
    /// Number of tensors.
    pub tensors: usize,
    /// Bytes in memory.
    pub bytes: usize,
    /// `mmapped` where the memory is the file's own, `copied` where it was read, and converted if need be, `packed` where
    /// it was read and laid out anew for the CPU's kernels.
    pub storage: &'static str,
}

impl std::fmt::Display for Residency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { component, device, dtype, stored_dtype, tensors, bytes, storage } = self;
        let mib = *bytes as f64 / f64::from(1 << 20);
        write!(f, "{component}: {tensors} tensors, {mib:.1} MiB {dtype} on {device}, {storage} from {stored_dtype}")
    }
}

/// Memory of this process that is in RAM now, in bytes; none where the system does not tell.
pub fn resident_bytes() -> Option<u64> {
    proc_bytes("/proc/self/status", "VmRSS:")
}

/// Memory that a new allocation may take, of the machine and of the control group that this process is in, in bytes;
/// none where the system does not tell.
pub fn available_bytes() -> Option<u64> {
    let machine = proc_bytes("/proc/meminfo", "MemAvailable:")?;
    Some(group_bytes().map_or(machine, |group| group.min(machine)))
}

/// What the control group (version 2) leaves, as a container sees its own; pages of files that it can drop count as left.
fn group_bytes() -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok();
    let limit: u64 = read("memory.max")?.trim().parse().ok()?;
    let used: u64 = read("memory.current")?.trim().parse().ok()?;
    let statistics = read("memory.stat").unwrap_or_default();
    let droppable = statistics.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse().ok());
    Some((limit + droppable.unwrap_or(0)).saturating_sub(used).min(limit))
}

/// The number of `field`, which Linux gives in KiB.
fn proc_bytes(file: &str, field: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_device_names_what_there_is() {
        for name in ["", "gpu", "cpu:0", "cuda:x", "cuda:-1", "auto:1"] {
            let error = open(name).expect_err(name);
            assert!(matches!(error, Error::InvalidParams { field: "device", .. }), "{name}: {error}");
        }
    }

    #[test]
    fn a_device_that_was_asked_for_is_never_replaced() {
        for (feature, present) in [("cuda", cfg!(feature = "cuda")), ("metal", cfg!(feature = "metal"))] {
            if !present {
                assert!(matches!(open(feature), Err(Error::Device(_))));
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_tells_of_memory() {
        let before = resident_bytes().expect("told");
        let held = std::hint::black_box(vec![1u8; 64 << 20]);
        let after = resident_bytes().expect("told");
        assert!(after >= before + (32 << 20), "{before} to {after} bytes with {} more", held.len());
        assert!(available_bytes().expect("told") > 0);
    }

    #[test]
    fn the_cpu_computes_in_f32_and_bf16() {
        let dtype = |name, tolerates| compute_dtype(&Device::Cpu, name, tolerates);
        let fastest = if InstructionSet::best().has_bf16() { DType::BF16 } else { DType::F32 };
        assert_eq!(dtype("auto", false).expect("auto"), DType::F32);
        assert_eq!(dtype("auto", true).expect("auto"), fastest);
        assert_eq!(dtype("bf16", false).expect("bf16"), DType::BF16);
        let quantised = dtype("int8", false).expect("int8");
        assert_eq!((dtype_name(quantised), float_dtype(quantised)), ("int8", fastest));
        for name in ["f16", "float32", ""] {
            assert!(matches!(dtype(name, true), Err(Error::InvalidParams { field: "dtype", .. })));
        }
    }
}

//! Kernels of ours on a GPU (`csrc/gpu`): compiled by NVRTC for the card that is there when they
//! are first asked for, launched on the stream that libtorch computes on. The same lines, compiled
//! by g++, run on the CPU: [`Kernels::twin`], for tests and for `ewe selftest`.
//!
//! NVRTC comes with libtorch's wheel, and the driver's library with the driver. Both are opened by
//! their full names: what a system has of other versions must not be taken by chance.

mod adafactor;
mod adamw;
mod driver;
mod gated;
mod nf4;
mod norms;
pub mod nvrtc;
mod rms_norm;
mod rope;
mod sampler;
mod twin;

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::OnceLock;

use anyhow::{Result, bail};
use tch::{Device, Kind, Tensor};

use super::transfer::{self, Plain};

pub use adafactor::{FactoredSums, FactoredUpdate, SumsOf, adafactor};
pub use adamw::{AdamwUpdate, adamw};
pub use gated::gated;
pub use nf4::{nf4_values, register_nf4};
pub use norms::sums_of_squares;
pub use rms_norm::{NormResidual, rms_norm};
pub use rope::{RotatedWrite, rope_cache};
pub use sampler::{
    FOR_HOST, NO_NUMBERS, SampledTokens, SamplerInput, SamplerItem, SamplerMode, SamplerRequest,
    SamplerWorkspace, SeenUpdate, UploadedRequest, sample, seen_value,
};

/// Threads of a block.
const THREADS: i64 = 256;
/// Lanes of a warp; kernels divide their work by warps.
const WARP: i64 = 32;
/// Blocks for each multiprocessor of a GPU: enough to hide the memory's latency. Kernels stride
/// over the rest.
const BLOCKS_EACH: i64 = 16;
/// GPUs of a machine that are told apart.
const MOST_DEVICES: usize = 64;

/// What a kernel is given.
#[derive(Debug, Clone, Copy)]
pub enum Argument {
    /// An address on the device.
    Pointer(*mut c_void),
    /// `int`.
    Int(i32),
    /// `long long`.
    Long(i64),
    /// A structure that is passed by value, which must outlive the launch.
    Structure(*const c_void),
}

impl Argument {
    /// The memory of a tensor.
    fn of(x: &Tensor) -> Argument {
        Argument::Pointer(x.data_ptr())
    }

    /// A structure that the kernel gets by value.
    fn by_value<T>(structure: &T) -> Argument {
        Argument::Structure(std::ptr::from_ref(structure).cast())
    }

    /// Where the value itself is.
    fn address(&self) -> *mut c_void {
        match self {
            Argument::Pointer(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Argument::Int(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Argument::Long(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Argument::Structure(at) => at.cast_mut(),
        }
    }
}

/// All kernels for one device.
#[derive(Debug)]
pub struct Kernels {
    backend: Backend,
}

#[derive(Debug)]
enum Backend {
    Twin,
    Gpu(driver::Gpu),
}

impl Kernels {
    /// Returns those that run where the tensors of `device` are: the twin for the CPU.
    ///
    /// # Errors
    ///
    /// If a GPU's driver or NVRTC cannot be opened, or NVRTC does not know the card.
    pub fn on(device: Device) -> Result<&'static Kernels> {
        static OPEN: [OnceLock<Result<Kernels, String>>; MOST_DEVICES] =
            [const { OnceLock::new() }; MOST_DEVICES];
        let Device::Cuda(index) = device else {
            return Ok(Kernels::twin());
        };
        let Some(open) = OPEN.get(index) else {
            bail!("GPU {index} is beyond the {MOST_DEVICES} that are supported");
        };
        let opened = open.get_or_init(|| match driver::Gpu::open(index) {
            Ok(gpu) => Ok(Kernels {
                backend: Backend::Gpu(gpu),
            }),
            Err(error) => Err(format!("{error:#}")),
        });
        match opened {
            Ok(kernels) => Ok(kernels),
            Err(error) => bail!("kernels for GPU {index} cannot be made: {error}"),
        }
    }

    /// Returns the twin on the CPU.
    pub fn twin() -> &'static Kernels {
        static TWIN: Kernels = Kernels {
            backend: Backend::Twin,
        };
        &TWIN
    }

    /// Returns the items of a launch by the kernel that takes them, all kernels loaded.
    ///
    /// # Errors
    ///
    /// The first of the items', or if a kernel cannot be compiled. Nothing was launched then.
    fn grouped<T>(
        &self,
        items: impl Iterator<Item = Result<(String, T)>>,
    ) -> Result<BTreeMap<String, Vec<T>>> {
        let mut groups: BTreeMap<String, Vec<T>> = BTreeMap::new();
        for item in items {
            let (kernel, item) = item?;
            groups.entry(kernel).or_default().push(item);
        }
        for kernel in groups.keys() {
            self.load(kernel)?;
        }
        Ok(groups)
    }

    /// Compiles and loads the kernel `name`, unless it is there.
    ///
    /// # Errors
    ///
    /// If there is no such kernel, or NVRTC does not compile it for this card.
    fn load(&self, name: &str) -> Result<()> {
        match &self.backend {
            Backend::Twin => Ok(()),
            Backend::Gpu(gpu) => gpu.load(name),
        }
    }

    /// Launches the kernel `name` with enough warps for `work` pieces of work, one for each.
    ///
    /// # Safety
    ///
    /// `arguments` must be those that the kernel has in `csrc/gpu/kernels.h`, in their order and of
    /// their types, and their memory must be as large as the kernel reads and writes. Structures
    /// must live until the call returns.
    unsafe fn launch(&self, name: &str, work: i64, arguments: &[Argument]) -> Result<()> {
        if work == 0 {
            return Ok(());
        }
        let mut addresses: Vec<*mut c_void> = arguments.iter().map(Argument::address).collect();
        let wanted = groups(work * WARP, THREADS);
        // SAFETY: the caller's; each address is that of a value in `arguments`, which outlives the
        // call.
        unsafe {
            match &self.backend {
                Backend::Twin => twin::launch(name, wanted.min(3), THREADS, &mut addresses),
                Backend::Gpu(gpu) => {
                    let blocks = wanted.min(BLOCKS_EACH * gpu.multiprocessors());
                    gpu.launch(name, blocks, THREADS, &mut addresses)
                }
            }
        }
    }
}

/// Returns whether kernels for activations take `x`: it is on a GPU, in bf16 or fp32, and this
/// thread holds [`Inference`](super::Inference). By their twins, where a test has the CPU stand in
/// for a GPU.
pub fn takes(x: &Tensor) -> bool {
    let is_on_gpu = x.device().is_cuda();
    #[cfg(test)]
    let is_on_gpu = is_on_gpu || super::trace::operations_are_forced();
    is_on_gpu && super::holds() && matches!(x.kind(), Kind::BFloat16 | Kind::Float)
}

/// Returns how many groups of `of` hold `count`.
fn groups(count: i64, of: i64) -> i64 {
    (count + of - 1) / of
}

/// The update of one parameter, as [`update_all`] takes it.
#[derive(Debug)]
pub enum FusedUpdate<'a> {
    /// By AdamW.
    Adamw(AdamwUpdate<'a>),
    /// By Adafactor.
    Adafactor(FactoredUpdate<'a>),
}

/// Updates all these parameters in a few launches, without a read by the host.
///
/// # Errors
///
/// If a kernel cannot be compiled for this card, or a tensor does not lie as kernels read it.
/// Nothing has changed then.
///
/// # Panics
///
/// With CUDA's words if a launch fails.
pub fn update_all(updates: Vec<FusedUpdate>) -> Result<()> {
    let (mut by_adamw, mut by_adafactor) = (Vec::new(), Vec::new());
    for update in updates {
        match update {
            FusedUpdate::Adamw(update) => by_adamw.push(update),
            FusedUpdate::Adafactor(update) => by_adafactor.push(update),
        }
    }
    adamw(&by_adamw)?;
    adafactor(&by_adafactor)
}

/// Values of a type that has the same layout in Rust and in C++, as bytes on `device`.
fn on_device<T: Plain>(values: &[T], device: Device) -> Result<Tensor> {
    let size = std::mem::size_of_val(values);
    // SAFETY: the values have no padding, as their type promises.
    let bytes = unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size) };
    if !device.is_cuda() {
        return Ok(Tensor::from_slice(bytes));
    }
    // Freed or not, what is enqueued on one stream is done in its order, and libtorch keeps
    // page-locked memory until the copy is done.
    Ok(transfer::sent(bytes, device)?)
}

/// Returns the rows of a tensor as two dimensions, the outer one first: their numbers, and the
/// elements between two. None if it needs more dimensions, or features are not adjacent.
fn rows_of(x: &Tensor) -> Option<[(i64, i64); 2]> {
    let (size, strides) = (x.size(), x.stride());
    let (&width, outer) = size.split_last()?;
    if width > 1 && *strides.last()? != 1 {
        return None;
    }
    let mut rows: Vec<(i64, i64)> = Vec::new();
    for (&count, &stride) in outer.iter().zip(&strides).rev().filter(|(count, _)| **count != 1) {
        match rows.last_mut() {
            Some((inner, apart)) if *inner * *apart == stride => *inner *= count,
            _ => rows.push((count, stride)),
        }
    }
    match rows[..] {
        [] => Some([(1, width), (1, width)]),
        [tokens] => Some([tokens, (1, width)]),
        [heads, tokens] => Some([tokens, heads]),
        _ => None,
    }
}

/// Returns the address of a tensor of a launch, whose memory must be as kernels read it.
///
/// # Errors
///
/// If it does not lie at a multiple of 16 bytes, which wide loads ask for.
///
/// # Panics
///
/// If `x` is of another kind or size, not contiguous, or on another device.
fn checked(what: &str, x: &Tensor, kind: Kind, count: i64, device: Device) -> Result<*mut c_void> {
    assert!(
        x.kind() == kind && x.numel() as i64 == count && x.is_contiguous() && x.device() == device,
        "{what}: {count} contiguous {kind:?} on {device:?}, not {:?} {:?} on {:?}",
        x.size(),
        x.kind(),
        x.device()
    );
    let at = x.data_ptr();
    if count > 0 && !(at as usize).is_multiple_of(16) {
        bail!("{what}: its address {at:?} is no multiple of 16 bytes");
    }
    Ok(at)
}

/// Returns the suffix that kernels have for gradients of this kind.
fn suffix(gradient: &Tensor) -> &'static str {
    if gradient.kind() == Kind::BFloat16 {
        "bf16"
    } else {
        "fp32"
    }
}

/// The kind of a gradient, which is bf16 or must be fp32.
fn kind_of(gradient: &Tensor) -> Kind {
    if gradient.kind() == Kind::BFloat16 {
        Kind::BFloat16
    } else {
        Kind::Float
    }
}

#[cfg(test)]
mod tests;

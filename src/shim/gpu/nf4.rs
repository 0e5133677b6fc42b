//! Weights in 4 bits to the type that is computed with, in one launch; `csrc/gpu/nf4.h`.

use super::{Argument, Kernels, checked, groups};
use anyhow::Result;
use std::ffi::{c_int, c_void};
use std::sync::Once;
use tch::{Device, Kind, Tensor};

/// Weights of a warp.
const EACH: i64 = 256;
/// Weights that share a scale.
const BLOCK: i64 = 64;

/// Returns the weight `[outputs, inputs]`, bf16 or fp32, that codes of 4 bits stand for: `codes`
/// has two a byte, the first in the upper half, `scales` in fp32 one for each 64 weights, `table`
/// `[256, 2]` in fp32 the two levels of each byte.
///
/// # Errors
///
/// If a kernel cannot be compiled or launched.
///
/// # Panics
///
/// If a tensor is of another type or size, not contiguous, or not on the device of the codes.
pub fn nf4_values(
    codes: &Tensor,
    scales: &Tensor,
    table: &Tensor,
    (outputs, inputs): (i64, i64),
    kind: Kind,
) -> Result<Tensor> {
    let (count, device) = (outputs * inputs, codes.device());
    let pointers = [
        checked("codes", codes, Kind::Uint8, groups(count, 2), device)?,
        checked("scales", scales, Kind::Float, groups(count, BLOCK), device)?,
        checked("levels", table, Kind::Float, 512, device)?,
    ];
    let weight = Tensor::empty([outputs, inputs], (kind, device));
    let name = if kind == Kind::BFloat16 {
        "nf4_values_bf16"
    } else {
        "nf4_values_fp32"
    };
    assert!(
        matches!(kind, Kind::BFloat16 | Kind::Float),
        "weights of {kind:?}"
    );
    let [codes, scales, table] = pointers.map(Argument::Pointer);
    let arguments = [codes, scales, table, Argument::of(&weight), Argument::Long(count)];
    // SAFETY: all are of the types and sizes that the kernel reads, as checked; the weight was made
    // here.
    unsafe { Kernels::on(device)?.launch(name, groups(count, EACH), &arguments)? };
    Ok(weight)
}

/// Makes weights on a GPU, as `csrc/nf4.cpp` calls it: 0, or 1 where it cannot. Then the weights
/// are made by libtorch's operations.
///
/// # Safety
///
/// The addresses must be those of tensors on GPU `index` that `count` weights have, as in
/// [`nf4_values`].
unsafe extern "C" fn make(
    index: c_int,
    codes: *mut c_void,
    scales: *mut c_void,
    table: *mut c_void,
    weights: *mut c_void,
    count: i64,
    is_bf16: c_int,
) -> c_int {
    let name = if is_bf16 != 0 {
        "nf4_values_bf16"
    } else {
        "nf4_values_fp32"
    };
    let [codes, scales, table, weights] = [codes, scales, table, weights].map(Argument::Pointer);
    let arguments = [codes, scales, table, weights, Argument::Long(count)];
    let Ok(index) = usize::try_from(index) else {
        return 1;
    };
    let launched = Kernels::on(Device::Cuda(index)).and_then(|kernels| {
        // SAFETY: the caller's.
        unsafe { kernels.launch(name, groups(count, EACH), &arguments) }
    });
    match launched {
        Ok(()) => 0,
        Err(error) => {
            static TOLD: Once = Once::new();
            TOLD.call_once(|| tracing::warn!("weights in 4 bits are made without a kernel: {error:#}"));
            1
        }
    }
}

type Make =
    unsafe extern "C" fn(c_int, *mut c_void, *mut c_void, *mut c_void, *mut c_void, i64, c_int) -> c_int;

unsafe extern "C" {
    fn ewe_nf4_use(make: Make);
}

/// Has `csrc/nf4.cpp` make weights on GPUs by the kernel, in the backward pass too.
pub fn register_nf4() {
    static ONCE: Once = Once::new();
    // SAFETY: the function lives as long as the program.
    ONCE.call_once(|| unsafe { ewe_nf4_use(make) });
}

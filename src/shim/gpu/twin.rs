//! `csrc/gpu/twin.cpp`: the GPU's kernels on the CPU.

use anyhow::{Result, bail};
use std::ffi::{CStr, CString, c_char, c_int, c_void};

unsafe extern "C" {
    fn ewe_gpu_twin(name: *const c_char, blocks: i64, threads: i64, arguments: *mut *mut c_void) -> c_int;
    fn ewe_gpu_twin_name(index: i64) -> *const c_char;
}

/// Runs a kernel, warp after warp.
///
/// # Safety
///
/// As [`super::Kernels::launch`].
pub unsafe fn launch(name: &str, blocks: i64, threads: i64, arguments: &mut [*mut c_void]) -> Result<()> {
    let given = CString::new(name)?;
    // SAFETY: the caller's.
    match unsafe { ewe_gpu_twin(given.as_ptr(), blocks, threads, arguments.as_mut_ptr()) } {
        0 => Ok(()),
        _ => bail!("there is no kernel {name}"),
    }
}

/// Returns the names of all kernels.
#[cfg_attr(not(test), allow(dead_code))]
pub fn names() -> Vec<String> {
    (0..)
        .map(|index| {
            // SAFETY: a constant of the program, or null behind the last.
            unsafe {
                let name = ewe_gpu_twin_name(index);
                (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
            }
        })
        .map_while(|name| name)
        .collect()
}

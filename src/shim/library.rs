//! Libraries that are opened while the program runs, since not every machine has them.

use anyhow::{Result, bail};
use std::ffi::{CStr, CString, c_void};

/// Opens a library where the loader finds it (libtorch's CUDA half brings NVIDIA's), else in the
/// package `nvidia/FOLDER` beside the libtorch that this program runs with.
pub(super) fn open(name: &CStr, folder: &str) -> Option<*mut c_void> {
    let flags = libc::RTLD_NOW | libc::RTLD_GLOBAL;
    // SAFETY: the name is a C string; initialisers are those that linking would run; never closed.
    let handle = unsafe { libc::dlopen(name.as_ptr(), flags) };
    if !handle.is_null() {
        return Some(handle);
    }
    let package = ewe::program::libtorch::in_use()?.join("../nvidia").join(folder);
    let path = CString::new(package.join("lib").join(name.to_str().ok()?).to_str()?).ok()?;
    // SAFETY: as above.
    let handle = unsafe { libc::dlopen(path.as_ptr(), flags) };
    (!handle.is_null()).then_some(handle)
}

/// The address of a function of an open library.
pub(super) fn function(library: *mut c_void, name: &CStr) -> Result<*mut c_void> {
    // SAFETY: the handle is open, the name a C string.
    let address = unsafe { libc::dlsym(library, name.as_ptr()) };
    if address.is_null() {
        bail!("the library has no {}", name.to_string_lossy());
    }
    Ok(address)
}

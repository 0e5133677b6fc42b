//! CUDA C++ to machine code while the program runs, by the NVRTC of libtorch's wheel.

// The types of functions stand at the fields that receive them.
#![allow(clippy::missing_transmute_annotations)]

use crate::shim::library::{function, open};
use anyhow::{Context, Result, bail};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::OnceLock;

/// The headers of `csrc/gpu`, by name.
const HEADERS: [(&str, &str); 11] = [
    ("portable.h", include_str!("../../../csrc/gpu/portable.h")),
    ("weights.h", include_str!("../../../csrc/gpu/weights.h")),
    ("adamw.h", include_str!("../../../csrc/gpu/adamw.h")),
    ("adafactor.h", include_str!("../../../csrc/gpu/adafactor.h")),
    ("norms.h", include_str!("../../../csrc/gpu/norms.h")),
    ("nf4.h", include_str!("../../../csrc/gpu/nf4.h")),
    ("rms_norm.h", include_str!("../../../csrc/gpu/rms_norm.h")),
    ("exponential.h", include_str!("../../../csrc/gpu/exponential.h")),
    ("gated.h", include_str!("../../../csrc/gpu/gated.h")),
    ("rope_cache.h", include_str!("../../../csrc/gpu/rope_cache.h")),
    ("sampler.h", include_str!("../../../csrc/gpu/sampler.h")),
];
/// The list of kernels, which includes them.
const KERNELS: &str = include_str!("../../../csrc/gpu/kernels.h");

/// The library's names, those of the wheel first. Its second half must be there before the first
/// asks for it.
const LIBRARY: &CStr = c"libnvrtc.so.13";
const BUILTINS: &CStr = c"libnvrtc-builtins.so.13.0";
/// Where the wheels have the libraries of CUDA, beside libtorch's.
pub(super) const FOLDER: &str = "cu13";

type Program = *mut c_void;

/// The functions of the library that are called; see NVIDIA's NVRTC reference.
struct Nvrtc {
    create: unsafe extern "C" fn(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> c_int,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int,
    log_size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
    log: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
    code_size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
    code: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
    destroy: unsafe extern "C" fn(*mut Program) -> c_int,
}

impl Nvrtc {
    fn get() -> Result<&'static Nvrtc> {
        static OPEN: OnceLock<Result<Nvrtc, String>> = OnceLock::new();
        OPEN.get_or_init(|| Nvrtc::load().map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(|error| anyhow::anyhow!("{error}"))
    }

    fn load() -> Result<Nvrtc> {
        // Where it is missing, compiling says so.
        let _ = open(BUILTINS, FOLDER);
        let library = open(LIBRARY, FOLDER).with_context(|| {
            format!(
                "{} was not found\nhint: it comes with the torch wheel for CUDA 13",
                LIBRARY.to_string_lossy()
            )
        })?;
        // SAFETY: the types are those of NVIDIA's header nvrtc.h.
        unsafe {
            Ok(Nvrtc {
                create: std::mem::transmute::<*mut c_void, _>(function(library, c"nvrtcCreateProgram")?),
                compile: std::mem::transmute::<*mut c_void, _>(function(library, c"nvrtcCompileProgram")?),
                log_size: std::mem::transmute::<*mut c_void, _>(function(
                    library,
                    c"nvrtcGetProgramLogSize",
                )?),
                log: std::mem::transmute::<*mut c_void, _>(function(library, c"nvrtcGetProgramLog")?),
                code_size: std::mem::transmute::<*mut c_void, _>(function(library, c"nvrtcGetCUBINSize")?),
                code: std::mem::transmute::<*mut c_void, _>(function(library, c"nvrtcGetCUBIN")?),
                destroy: std::mem::transmute::<*mut c_void, _>(function(library, c"nvrtcDestroyProgram")?),
            })
        }
    }
}

/// Returns the source of a group of kernels, headers and all: `ADAMW_SPLIT`, `NORMS` and so on, as
/// `csrc/gpu/kernels.h` has them.
pub fn source(group: &str) -> String {
    let mut all = format!("#define EWE_{group}\n");
    for (_, text) in HEADERS {
        all.push_str(text);
    }
    all.push_str(KERNELS);
    // The headers stand before in their order.
    all.lines()
        .filter(|line| !line.starts_with("#include \""))
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// Compiles `source` for an architecture such as `sm_90`; the result is what the driver loads.
///
/// # Errors
///
/// If there is no NVRTC, or it refuses the source or the architecture; the error has its log.
pub fn compile(source: &str, architecture: &str) -> Result<Vec<u8>> {
    let nvrtc = Nvrtc::get()?;
    let text = CString::new(source)?;
    let options = ["--std=c++17", "--fmad=false"]
        .into_iter()
        .map(str::to_owned)
        .chain([format!("--gpu-architecture={architecture}")])
        .map(CString::new)
        .collect::<Result<Vec<_>, _>>()?;
    let pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
    let mut program: Program = std::ptr::null_mut();
    // SAFETY: all strings and buffers outlive the calls and have the sizes that the library tells.
    unsafe {
        let no_headers = std::ptr::null();
        if (nvrtc.create)(
            &mut program,
            text.as_ptr(),
            c"ewe.cu".as_ptr(),
            0,
            no_headers,
            no_headers,
        ) != 0
        {
            bail!("NVRTC cannot begin a program");
        }
        let failed = (nvrtc.compile)(program, pointers.len() as c_int, pointers.as_ptr()) != 0;
        let result = if failed {
            Err(anyhow::anyhow!(
                "NVRTC cannot compile for {architecture}: {}",
                text_of(nvrtc.log_size, nvrtc.log, program)
            ))
        } else {
            Ok(bytes_of(nvrtc.code_size, nvrtc.code, program))
        };
        (nvrtc.destroy)(&mut program);
        result
    }
}

type SizeOf = unsafe extern "C" fn(Program, *mut usize) -> c_int;
type Get = unsafe extern "C" fn(Program, *mut c_char) -> c_int;

/// # Safety
///
/// `program` must be one that was created and not destroyed.
unsafe fn bytes_of(size_of: SizeOf, get: Get, program: Program) -> Vec<u8> {
    let mut size = 0;
    // SAFETY: the caller's; the buffer has the size that was told.
    unsafe {
        size_of(program, &mut size);
        let mut bytes = vec![0u8; size];
        get(program, bytes.as_mut_ptr().cast());
        bytes
    }
}

/// # Safety
///
/// As [`bytes_of`].
unsafe fn text_of(size_of: SizeOf, get: Get, program: Program) -> String {
    // SAFETY: the caller's.
    let bytes = unsafe { bytes_of(size_of, get, program) };
    String::from_utf8_lossy(&bytes)
        .trim_end_matches('\0')
        .trim()
        .to_owned()
}

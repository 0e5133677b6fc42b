//! Kernels loaded and launched by NVIDIA's driver, in the context and on the stream of libtorch.

// The types of functions stand at the fields that receive them.
#![allow(clippy::missing_transmute_annotations)]

use super::nvrtc;
use crate::shim::library;
use anyhow::{Context, Result, anyhow, bail};
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::sync::{Mutex, OnceLock, PoisonError};

const LIBRARY: &CStr = c"libcuda.so.1";

/// `CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT` and the two of the compute capability.
const MULTIPROCESSORS: c_int = 16;
const CAPABILITY: [c_int; 2] = [75, 76];

type Status = c_int;

/// The functions of the driver that are called; see NVIDIA's CUDA Driver API reference.
struct Driver {
    init: unsafe extern "C" fn(c_uint) -> Status,
    device: unsafe extern "C" fn(*mut c_int, c_int) -> Status,
    attribute: unsafe extern "C" fn(*mut c_int, c_int, c_int) -> Status,
    retain: unsafe extern "C" fn(*mut *mut c_void, c_int) -> Status,
    set_current: unsafe extern "C" fn(*mut c_void) -> Status,
    load: unsafe extern "C" fn(*mut *mut c_void, *const c_void) -> Status,
    function: unsafe extern "C" fn(*mut *mut c_void, *mut c_void, *const c_char) -> Status,
    #[allow(clippy::type_complexity)]
    launch: unsafe extern "C" fn(
        *mut c_void,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        *mut c_void,
        *mut *mut c_void,
        *mut *mut c_void,
    ) -> Status,
    error: unsafe extern "C" fn(Status, *mut *const c_char) -> Status,
}

impl Driver {
    fn get() -> Result<&'static Driver> {
        static OPEN: OnceLock<Result<Driver, String>> = OnceLock::new();
        OPEN.get_or_init(|| Driver::load_library().map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(|error| anyhow!("{error}"))
    }

    fn load_library() -> Result<Driver> {
        let library = library::open(LIBRARY, nvrtc::FOLDER)
            .with_context(|| format!("{} was not found: no NVIDIA driver", LIBRARY.to_string_lossy()))?;
        let function = |name| library::function(library, name);
        // SAFETY: the types are those of NVIDIA's header cuda.h.
        let driver = unsafe {
            Driver {
                init: std::mem::transmute::<*mut c_void, _>(function(c"cuInit")?),
                device: std::mem::transmute::<*mut c_void, _>(function(c"cuDeviceGet")?),
                attribute: std::mem::transmute::<*mut c_void, _>(function(c"cuDeviceGetAttribute")?),
                retain: std::mem::transmute::<*mut c_void, _>(function(c"cuDevicePrimaryCtxRetain")?),
                set_current: std::mem::transmute::<*mut c_void, _>(function(c"cuCtxSetCurrent")?),
                load: std::mem::transmute::<*mut c_void, _>(function(c"cuModuleLoadData")?),
                function: std::mem::transmute::<*mut c_void, _>(function(c"cuModuleGetFunction")?),
                launch: std::mem::transmute::<*mut c_void, _>(function(c"cuLaunchKernel")?),
                error: std::mem::transmute::<*mut c_void, _>(function(c"cuGetErrorString")?),
            }
        };
        // SAFETY: takes a number that must be 0.
        driver.check("cuInit", unsafe { (driver.init)(0) })?;
        Ok(driver)
    }

    fn check(&self, what: &str, status: Status) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        let mut text: *const c_char = std::ptr::null();
        // SAFETY: gives a constant of the library, or leaves null.
        let said = unsafe {
            (self.error)(status, &mut text);
            if text.is_null() {
                "unknown error".into()
            } else {
                CStr::from_ptr(text).to_string_lossy()
            }
        };
        // As libtorch words it, so that a GPU without memory is known for that.
        bail!("CUDA error {status} in {what}: {said}")
    }
}

/// A loaded function, or the module of a group.
#[derive(Debug, Clone, Copy)]
struct Handle(*mut c_void);

// SAFETY: the driver's handles may be used from every thread.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

/// One GPU, with the kernels that were asked for so far.
#[derive(Debug)]
pub struct Gpu {
    index: usize,
    context: Handle,
    architecture: String,
    multiprocessors: i64,
    modules: Mutex<HashMap<&'static str, Handle>>,
    functions: Mutex<HashMap<String, Handle>>,
}

/// The group of `csrc/gpu/kernels.h` that a kernel is in: a group is compiled when its first kernel
/// is asked for.
pub fn group_of(kernel: &str) -> Option<&'static str> {
    const GROUPS: [(&str, &str); 17] = [
        ("adamw_fp32_", "ADAMW_FP32"),
        ("adamw_copy_", "ADAMW_COPY"),
        ("adamw_split_", "ADAMW_SPLIT"),
        ("adamw_stochastic_", "ADAMW_STOCHASTIC"),
        ("factored_", "ADAFACTOR"),
        ("square_tiles", "ADAFACTOR"),
        ("add_tiles", "ADAFACTOR"),
        ("scale_tiles", "ADAFACTOR"),
        ("mean_", "ADAFACTOR"),
        ("clip_rates", "ADAFACTOR"),
        ("square_stretches", "NORMS"),
        ("add_stretches", "NORMS"),
        ("nf4_", "NF4"),
        ("rms_norm_", "RMS_NORMS"),
        ("gated_", "GATED"),
        ("rope_cache", "ROPE"),
        ("sampler_", "SAMPLING"),
    ];
    GROUPS
        .iter()
        .find(|(begin, _)| kernel.starts_with(begin))
        .map(|(_, group)| *group)
}

impl Gpu {
    /// Opens GPU number `index` of those that libtorch counts.
    pub fn open(index: usize) -> Result<Gpu> {
        let driver = Driver::get()?;
        let (mut device, mut context) = (0, std::ptr::null_mut());
        let mut numbers = [0; 3];
        // SAFETY: each function writes one value to the address that it is given.
        unsafe {
            driver.check("cuDeviceGet", (driver.device)(&mut device, index as c_int))?;
            let wanted = [MULTIPROCESSORS, CAPABILITY[0], CAPABILITY[1]];
            for (number, attribute) in numbers.iter_mut().zip(wanted) {
                driver.check(
                    "cuDeviceGetAttribute",
                    (driver.attribute)(number, attribute, device),
                )?;
            }
            driver.check("cuDevicePrimaryCtxRetain", (driver.retain)(&mut context, device))?;
        }
        let [multiprocessors, major, minor] = numbers;
        Ok(Gpu {
            index,
            context: Handle(context),
            architecture: format!("sm_{major}{minor}"),
            multiprocessors: i64::from(multiprocessors).max(1),
            modules: Mutex::default(),
            functions: Mutex::default(),
        })
    }

    /// How many thread blocks run side by side at least.
    pub fn multiprocessors(&self) -> i64 {
        self.multiprocessors
    }

    /// Compiles the group of a kernel and loads it, unless it is there.
    pub fn load(&self, name: &str) -> Result<()> {
        self.function(Driver::get()?, name).map(|_| ())
    }

    /// Enqueues a kernel on the stream that libtorch computes on.
    ///
    /// # Safety
    ///
    /// As [`super::Kernels::launch`].
    pub unsafe fn launch(
        &self,
        name: &str,
        blocks: i64,
        threads: i64,
        arguments: &mut [*mut c_void],
    ) -> Result<()> {
        let driver = Driver::get()?;
        let function = self.function(driver, name)?;
        let stream = stream(self.index)?;
        // SAFETY: the caller's; context, function and stream are of this device.
        unsafe {
            driver.check("cuCtxSetCurrent", (driver.set_current)(self.context.0))?;
            let status = (driver.launch)(
                function.0,
                c_uint::try_from(blocks)?,
                1,
                1,
                c_uint::try_from(threads)?,
                1,
                1,
                0,
                stream,
                arguments.as_mut_ptr(),
                std::ptr::null_mut(),
            );
            driver.check(name, status)
        }
    }

    fn function(&self, driver: &Driver, name: &str) -> Result<Handle> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = functions.get(name) {
            return Ok(*function);
        }
        let group = group_of(name).with_context(|| format!("there is no kernel {name}"))?;
        let module = self.module(driver, group)?;
        let mut function = std::ptr::null_mut();
        let text = CString::new(name)?;
        // SAFETY: the module is loaded, the name a C string.
        unsafe {
            // A driver that loads lazily does so here, and another thread may have made the module.
            driver.check("cuCtxSetCurrent", (driver.set_current)(self.context.0))?;
            driver.check(name, (driver.function)(&mut function, module.0, text.as_ptr()))?;
        }
        functions.insert(name.to_owned(), Handle(function));
        Ok(Handle(function))
    }

    fn module(&self, driver: &Driver, group: &'static str) -> Result<Handle> {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.get(group) {
            return Ok(*module);
        }
        let code = nvrtc::compile(&nvrtc::source(group), &self.architecture)?;
        let mut module = std::ptr::null_mut();
        // SAFETY: the code is what NVRTC made for this device; the driver copies it.
        unsafe {
            driver.check("cuCtxSetCurrent", (driver.set_current)(self.context.0))?;
            driver.check(
                "cuModuleLoadData",
                (driver.load)(&mut module, code.as_ptr().cast()),
            )?;
        }
        modules.insert(group, Handle(module));
        Ok(Handle(module))
    }
}

unsafe extern "C" {
    fn ewe_gpu_stream(index: c_int, stream: *mut *mut c_void, error: *mut c_char, room: usize) -> c_int;
}

/// The stream that libtorch enqueues on, on this thread.
fn stream(index: usize) -> Result<*mut c_void> {
    let mut stream = std::ptr::null_mut();
    let index = c_int::try_from(index)?;
    // SAFETY: writes one address, or the reason into the buffer that `call` gives.
    crate::shim::checked(|error, room| unsafe { ewe_gpu_stream(index, &mut stream, error, room) })?;
    Ok(stream)
}

//! How busy a GPU is, from NVIDIA's management library (NVML), which comes with the driver:
//! <https://docs.nvidia.com/deploy/nvml-api/>. It is opened at run time; without it nothing is
//! known.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};

/// The management library and the driver.
const LIBRARIES: [&CStr; 2] = [c"libnvidia-ml.so.1", c"libcuda.so.1"];
/// Room for a PCI address such as `00000000:3B:00.0`.
const ADDRESS: usize = 32;

/// `nvmlUtilization_t`: percent of the last sampling period, a sixth of a second to one second.
#[repr(C)]
#[derive(Default)]
struct Utilization {
    /// Time in which a kernel was running.
    gpu: c_uint,
    /// Time in which memory was read or written.
    memory: c_uint,
}

type Status = c_int;
type Init = unsafe extern "C" fn() -> Status;
type HandleByAddress = unsafe extern "C" fn(*const c_char, *mut *mut c_void) -> Status;
type Rates = unsafe extern "C" fn(*mut c_void, *mut Utilization) -> Status;
type DriverInit = unsafe extern "C" fn(c_uint) -> Status;
type DeviceOf = unsafe extern "C" fn(*mut c_int, c_int) -> Status;
type AddressOf = unsafe extern "C" fn(*mut c_char, c_int, c_int) -> Status;

/// One GPU under NVML.
#[derive(Debug, Clone, Copy)]
pub struct GpuMonitor {
    handle: *mut c_void,
    rates: Rates,
}

impl GpuMonitor {
    /// Finds GPU number `index` of those that CUDA counts. `CUDA_VISIBLE_DEVICES` renumbers them
    /// and NVML does not, so the driver's PCI address leads from one to the other. None without
    /// NVML.
    pub fn open(index: usize) -> Option<GpuMonitor> {
        let libraries = LIBRARIES.map(|name| {
            // SAFETY: the name is a C string; the libraries' initializers have no preconditions,
            // and the handles are never closed.
            unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) }
        });
        if libraries.iter().any(|handle| handle.is_null()) {
            return None;
        }
        GpuMonitor::with(index, &|name| {
            libraries
                .iter()
                // SAFETY: the handles are open, the name is a C string.
                .map(|&library| unsafe { libc::dlsym(library, name.as_ptr()) })
                .find(|address| !address.is_null())
        })
    }

    /// As [`GpuMonitor::open`], with the functions that `find` returns.
    fn with(index: usize, find: &dyn Fn(&CStr) -> Option<*mut c_void>) -> Option<GpuMonitor> {
        // SAFETY: the types are those of NVIDIA's headers nvml.h and cuda.h; every pointer that is
        // passed is live, and the address has room for the length that is given.
        unsafe {
            let init: Init = std::mem::transmute::<*mut c_void, _>(find(c"nvmlInit_v2")?);
            let handle_by_address: HandleByAddress =
                std::mem::transmute::<*mut c_void, _>(find(c"nvmlDeviceGetHandleByPciBusId_v2")?);
            let rates: Rates = std::mem::transmute::<*mut c_void, _>(find(c"nvmlDeviceGetUtilizationRates")?);
            let driver_init: DriverInit = std::mem::transmute::<*mut c_void, _>(find(c"cuInit")?);
            let device_of: DeviceOf = std::mem::transmute::<*mut c_void, _>(find(c"cuDeviceGet")?);
            let address_of: AddressOf = std::mem::transmute::<*mut c_void, _>(find(c"cuDeviceGetPCIBusId")?);

            let (mut device, mut address) = (0, [0u8; ADDRESS]);
            let begun = init() == 0 && driver_init(0) == 0;
            let found = begun
                && device_of(&mut device, index as c_int) == 0
                && address_of(address.as_mut_ptr().cast(), ADDRESS as c_int, device) == 0;
            if !found {
                return None;
            }
            let address = CString::from(CStr::from_bytes_until_nul(&address).ok()?);
            let mut handle = std::ptr::null_mut();
            (handle_by_address(address.as_ptr(), &mut handle) == 0).then_some(GpuMonitor { handle, rates })
        }
    }

    /// Returns the percentage of the last moment in which a kernel was running. None where the GPU
    /// does not tell, such as a slice of one (MIG).
    pub fn utilization(&self) -> Option<u32> {
        let mut now = Utilization::default();
        // SAFETY: the handle is NVML's own, and the struct has the layout of nvml.h.
        let status = unsafe { (self.rates)(self.handle, &mut now) };
        (status == 0).then_some(now.gpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "C" fn init() -> Status {
        0
    }

    unsafe extern "C" fn driver_init(flags: c_uint) -> Status {
        flags as Status
    }

    /// There are two GPUs.
    unsafe extern "C" fn device_of(device: *mut c_int, index: c_int) -> Status {
        // SAFETY: the caller passes a live address.
        unsafe { *device = 70 + index };
        Status::from(index > 1)
    }

    unsafe extern "C" fn address_of(address: *mut c_char, room: c_int, device: c_int) -> Status {
        let text = CString::new(format!("0000:{device}:00.0")).unwrap();
        assert!(text.as_bytes_with_nul().len() <= room as usize);
        // SAFETY: the caller has that much room.
        unsafe { libc::strcpy(address, text.as_ptr()) };
        0
    }

    /// NVML counts the other way around.
    unsafe extern "C" fn handle_by_address(address: *const c_char, handle: *mut *mut c_void) -> Status {
        // SAFETY: the caller passes a C string and a live address.
        unsafe {
            let address = CStr::from_ptr(address).to_str().unwrap();
            *handle = match address {
                "0000:70:00.0" => 43 as *mut c_void,
                "0000:71:00.0" => 42 as *mut c_void,
                _ => return 6,
            };
        }
        0
    }

    unsafe extern "C" fn rates(handle: *mut c_void, now: *mut Utilization) -> Status {
        // SAFETY: the caller passes a live struct.
        unsafe { (*now).gpu = handle as usize as c_uint };
        0
    }

    unsafe extern "C" fn unsupported(_: *mut c_void, _: *mut Utilization) -> Status {
        3
    }

    fn fake(name: &CStr) -> Option<*mut c_void> {
        Some(match name.to_str().unwrap() {
            "nvmlInit_v2" => init as *mut c_void,
            "nvmlDeviceGetHandleByPciBusId_v2" => handle_by_address as *mut c_void,
            "nvmlDeviceGetUtilizationRates" => rates as *mut c_void,
            "cuInit" => driver_init as *mut c_void,
            "cuDeviceGet" => device_of as *mut c_void,
            "cuDeviceGetPCIBusId" => address_of as *mut c_void,
            _ => return None,
        })
    }

    #[test]
    fn a_gpu_is_found_by_its_address() {
        let of = |index| GpuMonitor::with(index, &fake)?.utilization();
        assert_eq!([of(0), of(1), of(2)], [Some(43), Some(42), None]);
    }

    #[test]
    fn what_is_missing_or_unsupported_is_none() {
        assert!(GpuMonitor::with(0, &|_| None).is_none());
        let mig = |name: &CStr| match name.to_str().unwrap() {
            "nvmlDeviceGetUtilizationRates" => Some(unsupported as *mut c_void),
            _ => fake(name),
        };
        assert_eq!(GpuMonitor::with(0, &mig).unwrap().utilization(), None);
    }
}

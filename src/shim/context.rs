//! NVIDIA's driver and its GPUs, and libtorch's settings for CUDA (`csrc/context.cpp`).
//!
//! The driver is asked through its own library: libtorch counts no GPU where a driver is missing or
//! too old, and does not tell which. Settings are changed only once a CUDA device is asked for.

use super::checked;
use std::ffi::{CStr, c_char, c_int};
use tch::TchError;

/// Fields of a C string: `char[128]` in `csrc/shim.h`.
type Text = [c_char; 128];

/// `ewe_driver` of `csrc/shim.h`.
#[repr(C)]
struct RawDriver {
    found: c_int,
    version: c_int,
    status: c_int,
    count: c_int,
    text: Text,
}

/// `ewe_card` of `csrc/shim.h`.
#[repr(C)]
struct RawCard {
    major: c_int,
    minor: c_int,
    virtual_memory: c_int,
    total: i64,
    name: Text,
}

/// `ewe_context` of `csrc/shim.h`.
#[repr(C)]
#[derive(Default)]
struct RawContext {
    flash: c_int,
    efficient: c_int,
    math: c_int,
    cudnn: c_int,
    deterministic: c_int,
    tf32: c_int,
    expandable: c_int,
}

unsafe extern "C" {
    fn ewe_cuda_driver(state: *mut RawDriver, error: *mut c_char, room: usize) -> c_int;
    fn ewe_cuda_card(index: c_int, card: *mut RawCard, error: *mut c_char, room: usize) -> c_int;
    fn ewe_cuda_toolkit(version: *mut c_int, error: *mut c_char, room: usize) -> c_int;
    fn ewe_cuda_free(index: c_int, bytes: *mut i64, error: *mut c_char, room: usize) -> c_int;
    fn ewe_cuda_choose_attention(error: *mut c_char, room: usize) -> c_int;
    fn ewe_cuda_expandable_segments(error: *mut c_char, room: usize) -> c_int;
    fn ewe_cuda_numerics(deterministic: c_int, tf32: c_int, error: *mut c_char, room: usize) -> c_int;
    fn ewe_cuda_context(settings: *mut RawContext, error: *mut c_char, room: usize) -> c_int;
}

/// A version of CUDA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CudaVersion {
    /// 13 of 13.0.
    pub major: u32,
    /// 0 of 13.0.
    pub minor: u32,
}

impl CudaVersion {
    /// Reads NVIDIA's number: 12040 is 12.4. None for 0, with which the driver says that it has
    /// none.
    pub fn of(number: i32) -> Option<CudaVersion> {
        let number = u32::try_from(number).ok().filter(|number| *number > 0)?;
        Some(CudaVersion {
            major: number / 1000,
            minor: number % 1000 / 10,
        })
    }
}

impl std::fmt::Display for CudaVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The state of the driver's library, `libcuda.so.1`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DriverLibrary {
    /// Whether the library was found.
    pub found: bool,
    /// Newest CUDA version that the driver runs.
    pub cuda: Option<CudaVersion>,
    /// Result of `cuInit`; 0 is success.
    pub status: i32,
    /// The library's words for a status other than 0.
    pub text: String,
    /// GPUs that this process may use.
    pub count: usize,
}

/// A GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Name, such as `NVIDIA A100-SXM4-40GB`; of a MIG slice with its profile.
    pub name: String,
    /// Compute capability: (9, 0) is 9.0, and so on.
    pub capability: (u32, u32),
    /// Whether the driver can map memory page by page, as expandable segments need.
    pub maps_pages: bool,
    /// Bytes of memory.
    pub total: u64,
}

/// libtorch's settings for CUDA, as they are now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CudaContext {
    /// Kernels that scaled dot product attention may choose, by name.
    pub attention: Vec<&'static str>,
    /// Whether operators must be deterministic.
    pub deterministic: bool,
    /// Whether fp32 products may use TF32.
    pub tf32: bool,
    /// Whether segments of the allocator grow.
    pub expandable_segments: bool,
}

/// Asks the driver's library; initializes it, but makes no context on a GPU.
pub fn driver_library() -> Result<DriverLibrary, TchError> {
    let mut raw = RawDriver {
        found: 0,
        version: 0,
        status: 0,
        count: 0,
        text: [0; 128],
    };
    // SAFETY: the struct is live and has the layout of the header.
    checked(|error, room| unsafe { ewe_cuda_driver(&mut raw, error, room) })?;
    Ok(DriverLibrary {
        found: raw.found != 0,
        cuda: CudaVersion::of(raw.version),
        status: raw.status,
        text: text(&raw.text),
        count: usize::try_from(raw.count).unwrap_or(0),
    })
}

/// Returns GPU number `index` of those that this process may use.
///
/// # Errors
///
/// If there is none, or [`driver_library`] has not succeeded before.
pub fn card(index: usize) -> Result<Card, TchError> {
    let mut raw = RawCard {
        major: 0,
        minor: 0,
        virtual_memory: 0,
        total: 0,
        name: [0; 128],
    };
    // SAFETY: the struct is live and has the layout of the header.
    checked(|error, room| unsafe { ewe_cuda_card(index as c_int, &mut raw, error, room) })?;
    Ok(Card {
        name: text(&raw.name),
        capability: (raw.major as u32, raw.minor as u32),
        maps_pages: raw.virtual_memory != 0,
        total: raw.total as u64,
    })
}

/// Returns the CUDA version that libtorch was built for. None if `libtorch_cuda` is not open.
pub fn toolkit() -> Option<CudaVersion> {
    let mut version = 0;
    // SAFETY: writes one number.
    checked(|error, room| unsafe { ewe_cuda_toolkit(&mut version, error, room) }).ok()?;
    CudaVersion::of(version)
}

/// Returns the free bytes of a GPU. Makes this process's context on it.
pub fn free(index: usize) -> Result<u64, TchError> {
    let mut bytes = 0;
    // SAFETY: writes one number.
    checked(|error, room| unsafe { ewe_cuda_free(index as c_int, &mut bytes, error, room) })?;
    Ok(u64::try_from(bytes).unwrap_or(0))
}

/// Takes cuDNN out of scaled dot product attention, and switches the other kernels on.
pub fn choose_attention() -> Result<(), TchError> {
    // SAFETY: the only pointer is the error's buffer.
    checked(|error, room| unsafe { ewe_cuda_choose_attention(error, room) })
}

/// Lets segments of libtorch's allocator grow. Call it after `libtorch_cuda` was opened and before
/// the first allocation.
pub fn expand_segments() -> Result<(), TchError> {
    // SAFETY: the only pointer is the error's buffer.
    checked(|error, room| unsafe { ewe_cuda_expandable_segments(error, room) })
}

/// Sets whether operators must be deterministic, and whether fp32 products may use TF32.
pub fn set_numerics(deterministic: bool, tf32: bool) -> Result<(), TchError> {
    // SAFETY: the only pointer is the error's buffer.
    checked(|error, room| unsafe { ewe_cuda_numerics(deterministic.into(), tf32.into(), error, room) })
}

/// Returns libtorch's settings for CUDA as they are now.
pub fn settings() -> Result<CudaContext, TchError> {
    let mut raw = RawContext::default();
    // SAFETY: the struct is live and has the layout of the header.
    checked(|error, room| unsafe { ewe_cuda_context(&mut raw, error, room) })?;
    let attention = [
        ("flash", raw.flash),
        ("memory-efficient", raw.efficient),
        ("math", raw.math),
        ("cuDNN", raw.cudnn),
    ];
    Ok(CudaContext {
        attention: attention
            .into_iter()
            .filter(|(_, on)| *on != 0)
            .map(|(name, _)| name)
            .collect(),
        deterministic: raw.deterministic != 0,
        tf32: raw.tf32 != 0,
        expandable_segments: raw.expandable != 0,
    })
}

/// Returns the text of a buffer, up to its zero.
fn text(buffer: &Text) -> String {
    let bytes = buffer.map(|byte| byte as u8);
    CStr::from_bytes_until_nul(&bytes)
        .map(|text| text.to_string_lossy().into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_written_as_nvidia_does() {
        let shown = |number| CudaVersion::of(number).map(|version| version.to_string());
        assert_eq!(shown(13000).as_deref(), Some("13.0"));
        assert_eq!(shown(12040).as_deref(), Some("12.4"));
        assert_eq!(shown(11080).as_deref(), Some("11.8"));
        assert_eq!(shown(0), None);
        assert!(CudaVersion::of(12080) < CudaVersion::of(13000));
    }

    /// libtorch's defaults; nothing changes them where no CUDA device is asked for.
    #[test]
    fn the_settings_are_libtorchs_own_on_the_cpu() {
        if std::path::Path::new("/dev/nvidiactl").exists() {
            return;
        }
        let settings = settings().unwrap();
        assert_eq!(settings.attention, ["flash", "memory-efficient", "math", "cuDNN"]);
        assert!(!settings.deterministic && !settings.tf32);
    }

    /// In a process of its own, since the settings are those of a process.
    #[test]
    fn what_is_set_for_a_gpu_is_what_libtorch_then_tells() {
        let run = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--exact",
                "shim::context::tests::settings_of_a_process_with_a_gpu",
            ])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    #[ignore = "changes the settings of its process: the test above runs it"]
    fn settings_of_a_process_with_a_gpu() {
        choose_attention().unwrap();
        set_numerics(true, true).unwrap();
        let set = settings().unwrap();
        assert_eq!(set.attention, ["flash", "memory-efficient", "math"]);
        assert!(set.deterministic && set.tf32);
        set_numerics(false, false).unwrap();
        let set = settings().unwrap();
        assert!(!set.deterministic && !set.tf32);
    }

    #[test]
    fn the_structs_are_as_large_as_those_of_the_header() {
        let sizes = [
            size_of::<RawDriver>(),
            size_of::<RawCard>(),
            size_of::<RawContext>(),
        ];
        assert_eq!(sizes, [144, 152, 28]);
    }

    #[test]
    fn text_ends_at_its_zero() {
        let mut buffer: Text = [b'x' as c_char; 128];
        assert_eq!(text(&buffer), "");
        buffer[3] = 0;
        assert_eq!(text(&buffer), "xxx");
    }
}

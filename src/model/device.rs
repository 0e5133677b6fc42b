//! Where tensors live and of which type they are.

use anyhow::{Context, Result, bail};
use tch::{Device, Kind};

/// Resolves `--device`: `auto`, `cpu`, `cuda` or `cuda:N`. `auto` takes the first GPU that answers, else the CPU.
///
/// The CUDA half of libtorch takes half a second and 400 MB to link, so it is opened only here, when asked for.
pub fn device(name: &str) -> Result<Device> {
    let index = match name {
        "cpu" => return Ok(Device::Cpu),
        "auto" => {
            let driver = std::path::Path::new("/proc/driver/nvidia").exists();
            if driver && open_cuda().is_ok() && tch::Cuda::device_count() > 0 {
                return Ok(Device::Cuda(0));
            }
            return Ok(Device::Cpu);
        }
        "cuda" => 0,
        other => match other.strip_prefix("cuda:").map(str::parse::<usize>) {
            Some(Ok(index)) => index,
            _ => bail!("unknown device `{other}`\nhint: auto, cpu, or cuda:N"),
        },
    };
    open_cuda().with_context(|| format!("device `{name}` cannot be used"))?;
    let count = tch::Cuda::device_count();
    if count == 0 {
        bail!("device `{name}` cannot be used: no NVIDIA driver or no GPU was found\nhint: --device cpu");
    }
    if index as i64 >= count {
        bail!("device `{name}` does not exist: this machine has {count} GPUs, numbered from 0");
    }
    Ok(Device::Cuda(index))
}

/// Loads libtorch_cuda, which registers its kernels. Does nothing the second time.
#[allow(unsafe_code)]
fn open_cuda() -> Result<()> {
    // SAFETY: the name is a C string; the library's initialisers are those that linking it would have run, and the
    // handle is never closed.
    let handle = unsafe { libc::dlopen(c"libtorch_cuda.so".as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if handle.is_null() {
        bail!(
            "libtorch_cuda.so could not be opened: this libtorch is built for the CPU only\nhint: --device cpu"
        );
    }
    Ok(())
}

/// Whether `device` multiplies matrices of bf16 at least as fast as of fp32. Without these instructions oneDNN leaves them to
/// loops of libtorch's own, which take ten times as long and more.
pub fn has_bf16(device: Device) -> bool {
    if device != Device::Cpu {
        return true;
    }
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512bw")
        && std::arch::is_x86_feature_detected!("avx512vl")
        && std::arch::is_x86_feature_detected!("avx512dq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("bf16");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    false
}

/// Resolves `--dtype` for a checkpoint stored in `stored`: `auto` computes in bf16 if that is of 16 bits and [`has_bf16`], else in
/// fp32.
pub fn dtype(name: &str, stored: Kind, device: Device) -> Result<Kind> {
    Ok(match name {
        "auto" if stored == Kind::Float || !has_bf16(device) => Kind::Float,
        "auto" | "bf16" => Kind::BFloat16,
        "fp16" => Kind::Half,
        "fp32" => Kind::Float,
        other => bail!("unknown dtype `{other}`\nhint: auto, bf16, fp16 or fp32"),
    })
}

/// The name that `--dtype` has for a kind.
pub fn dtype_name(kind: Kind) -> &'static str {
    match kind {
        Kind::BFloat16 => "bf16",
        Kind::Half => "fp16",
        _ => "fp32",
    }
}

/// Settles, once and before any tensor or thread, what this process computes with: as many threads as there are physical cores
/// (hyper-threads share the units that matter here; `OMP_NUM_THREADS` wins), and how many compiled products are kept.
pub fn prepare() {
    for (name, count) in KEPT_PRODUCTS {
        keep(name, count);
    }
    if std::env::var_os("OMP_NUM_THREADS").is_none() {
        tch::set_num_threads(cores() as i32);
    }
}

/// How many products of matrices stay compiled, by the variables that say so.
///
/// oneDNN compiles one for every shape, a third of a megabyte each, and with rows of every length few shapes come again. libtorch keeps
/// 1,024 of each thread beside the 1,024 of oneDNN itself: hundreds of megabytes that nobody counts, spread over the memory of
/// tensors, which they tear apart. One of a thread is enough, since what oneDNN keeps is found there; and that is as many as a
/// piece of some thirty examples has shapes, each of which all its blocks ask for.
const KEPT_PRODUCTS: [(&str, &str); 2] = [
    ("LRU_CACHE_CAPACITY", "1"),
    ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "384"),
];

/// Sets a variable of the environment that nobody has set.
#[allow(unsafe_code)]
fn keep(name: &str, value: &str) {
    if std::env::var_os(name).is_none() {
        // SAFETY: called before there is another thread that could read the environment.
        unsafe { std::env::set_var(name, value) };
    }
}

/// The memory of everything here, libtorch's tensors too: jemalloc, which keeps what is freed (`.cargo/config.toml` sets it).
///
/// The tensors of a step are large and of another size each time. glibc gives them back to the system, whose fresh pages cost more
/// than computing, or, told to keep them, fills with holes: training a GPT-J of 120M parameters grew from 2.4 to 5.2 GB within 24
/// steps. Here it takes 3.8 GB and goes 1.45 times as fast (2 cores, 2026-11-25).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn cores() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, |n| n.get());
    let siblings: std::collections::BTreeSet<String> = (0..allowed)
        .filter_map(|cpu| {
            std::fs::read_to_string(format!(
                "/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
            ))
            .ok()
        })
        .collect();
    if siblings.is_empty() {
        allowed
    } else {
        siblings.len().min(allowed)
    }
}

//! Devices and dtypes, and what a process sets up before it computes.
//!
//! - `signs`: what the file system shows of NVIDIA GPUs and their driver.
//! - `cuda`: opening CUDA, libtorch's settings for it, the choice of a GPU.
//! - `trouble`: why no GPU can be used.

mod cuda;
mod signs;
mod trouble;

use anyhow::{Result, bail};
use ewe::finetune::Precision;
use ewe::job::train::GpuNumerics;
use tch::{Device, Kind};

/// Resolves `--device`: `auto`, `cpu`, `cuda` (the first GPU) or `cuda:N`. `auto` takes the first
/// GPU that can be used, else the CPU; if there are signs of a GPU, it then says why in one line.
///
/// CUDA is opened, and libtorch's settings for it are changed, only if a GPU is asked for, or for
/// `auto` if there are signs of one. A line tells which GPU was taken.
///
/// # Errors
///
/// If `name` is no device. If a named GPU cannot be used: the error says what is there and what is
/// needed.
pub fn device(name: &str) -> Result<Device> {
    let index = match name {
        "cpu" => return Ok(Device::Cpu),
        "auto" => return Ok(automatic()),
        "cuda" => 0,
        other => match other.strip_prefix("cuda:").map(str::parse::<usize>) {
            Some(Ok(index)) => index,
            _ => bail!("unknown device `{other}`\nhint: auto, cpu, or cuda:N"),
        },
    };
    let count = cuda::open().map_err(|trouble| trouble.error(name))?;
    if index >= count {
        bail!(
            "device `{name}` does not exist: this machine has {}, numbered from 0",
            ewe::text::counted(count, "GPU")
        );
    }
    let taken = cuda::take(index).map_err(|trouble| trouble.error(name))?;
    taken.announce(count, name != "cuda");
    Ok(Device::Cuda(index))
}

/// Returns the name of the device of the rank that is number `local` on this machine: each has a
/// GPU of its own.
///
/// # Errors
///
/// If `name` is one GPU.
pub fn of_rank(name: &str, local: usize) -> Result<String> {
    match name {
        "cuda" => Ok(format!("cuda:{local}")),
        "auto" if cuda::signs().any() => Ok(format!("cuda:{local}")),
        _ if name.starts_with("cuda:") => bail!(
            "--device {name} is one GPU, and each rank computes on its own\nhint: --device cuda, and CUDA_VISIBLE_DEVICES for a choice"
        ),
        _ => Ok(name.to_owned()),
    }
}

/// Resolves `--device auto`.
fn automatic() -> Device {
    if !cuda::signs().any() {
        return Device::Cpu;
    }
    let taken = cuda::open().and_then(|count| Ok((cuda::take_first(count)?, count)));
    match taken {
        Ok((taken, count)) => {
            taken.announce(count, false);
            Device::Cuda(taken.index)
        }
        Err(trouble) => {
            tracing::warn!("{}", trouble.line());
            Device::Cpu
        }
    }
}

/// Resolves `--device` as [`device`] does, for training. On a GPU, operators become deterministic
/// and fp32 products use TF32 as `numerics` says, for the rest of the process.
pub fn for_training(name: &str, numerics: GpuNumerics) -> Result<Device> {
    let device = device(name)?;
    if device.is_cuda() {
        cuda::set_numerics(numerics).map_err(|trouble| trouble.error(name))?;
    }
    Ok(device)
}

/// Returns what is known of a GPU and of libtorch's settings for it, as names and values in the
/// order in which they are printed. Empty for the CPU.
pub fn facts(device: Device) -> Result<Vec<(String, String)>> {
    match device {
        Device::Cuda(index) => cuda::facts(index),
        _ => Ok(Vec::new()),
    }
}

/// Returns what `ewe doctor` says of this half: names and values. CUDA is opened if there are signs
/// of a GPU.
pub fn report() -> Vec<(String, String)> {
    let fact = |name: &str, value: String| (name.to_owned(), value);
    let mut report = vec![
        fact("threads", tch::get_num_threads().to_string()),
        fact("bf16 on the processor", yes_or_no(has_bf16(Device::Cpu))),
    ];
    if !cuda::signs().any() {
        report.push(fact("gpu", "no sign of an NVIDIA GPU".to_owned()));
        return report;
    }
    match cuda::open() {
        Ok(count) => {
            for index in 0..count {
                let prefix = if count == 1 {
                    String::new()
                } else {
                    format!("cuda:{index} ")
                };
                match cuda::facts(index) {
                    Ok(facts) => {
                        report.extend(
                            facts
                                .into_iter()
                                .map(|(name, value)| (format!("{prefix}{name}"), value)),
                        );
                    }
                    Err(error) => report.push((format!("{prefix}gpu"), format!("{error:#}"))),
                }
            }
        }
        Err(trouble) => report.push(fact("gpu", format!("cannot be used: {}", trouble.what))),
    }
    report
}

/// Returns the devices of this machine with their names, the GPUs first. CUDA is opened if there
/// are signs of a GPU.
pub fn of_this_machine() -> Vec<(Device, String)> {
    let gpus = match cuda::signs().any() {
        true => cuda::open().unwrap_or_default(),
        false => 0,
    };
    let gpus = (0..gpus).map(|index| {
        let name = format!("cuda:{index}, {}", cuda::described(index));
        (Device::Cuda(index), name)
    });
    gpus.chain([(Device::Cpu, "cpu".to_owned())]).collect()
}

fn yes_or_no(is_so: bool) -> String {
    if is_so { "yes" } else { "no" }.to_owned()
}

/// Fails if `precision` is bf16 and `device` a GPU that only emulates it.
pub fn check_training(device: Device, precision: Precision) -> Result<()> {
    if let (Device::Cuda(index), Precision::Bf16, false) = (device, precision, has_bf16(device)) {
        bail!(
            "{} does not multiply bf16 matrices: libtorch emulates them, ten times as slow\nhint: --precision fp32 with \
             --master split, or a GPU of compute capability 8.0 or newer",
            cuda::described(index)
        );
    }
    Ok(())
}

/// Returns why training computes in fp32 where nobody asked for it: `device` lacks bf16.
pub fn why_fp32(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!(
            "{} does not multiply bf16 matrices: computing in fp32, which takes twice the memory",
            cuda::described(index)
        ),
        _ => "this processor has no bf16 instructions: computing in fp32, which takes twice the memory; --precision bf16 \
              takes half, and is as fast"
            .to_owned(),
    }
}

/// Returns whether `device` multiplies bf16 matrices at least as fast as fp32 ones. Without these
/// instructions, oneDNN leaves bf16 to libtorch's own loops, which take ten times as long and more.
///
/// A GPU has them from Ampere on (compute capability 8.0); before, libtorch emulates them.
pub fn has_bf16(device: Device) -> bool {
    if let Device::Cuda(index) = device {
        return cuda::has_bf16(index);
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

/// Values of `model_type` whose activations exceed fp16, which ends at 65,504: those that vLLM
/// refuses in fp16 as well (2026-11). Reports of Qwen 2 and of early Phi models blame scores that
/// attention rounds to fp16, which it does not here; they do not rule out other causes.
const OVERFLOWS_FP16: [&str; 3] = ["gemma2", "gemma3_text", "gemma3"];

/// Resolves `--dtype` for a checkpoint stored in `stored`. `auto` computes in fp32 if that is fp32;
/// else in bf16 where the device [`has_bf16`]; else in fp16 on a GPU, unless the model overflows
/// it; else in fp32.
pub fn dtype(name: &str, stored: Kind, device: Device, model_type: &str) -> Result<Kind> {
    Ok(match name {
        "auto" => automatic_dtype(stored, device.is_cuda(), has_bf16(device), model_type),
        "bf16" => Kind::BFloat16,
        "fp16" => Kind::Half,
        "fp32" => Kind::Float,
        other => bail!("unknown dtype `{other}`\nhint: auto, bf16, fp16 or fp32"),
    })
}

fn automatic_dtype(stored: Kind, is_gpu: bool, has_bf16: bool, model_type: &str) -> Kind {
    match stored {
        Kind::Float => Kind::Float,
        _ if has_bf16 => Kind::BFloat16,
        _ if is_gpu && !OVERFLOWS_FP16.contains(&model_type) => Kind::Half,
        _ => Kind::Float,
    }
}

/// Returns what people call a device: `CPU`, `cuda:0`.
pub fn name(device: Device) -> String {
    match device {
        Device::Cpu => "CPU".to_owned(),
        Device::Cuda(number) => format!("cuda:{number}"),
        other => format!("{other:?}"),
    }
}

/// Returns the name of a kind as `--dtype` has it.
pub fn dtype_name(kind: Kind) -> &'static str {
    match kind {
        Kind::BFloat16 => "bf16",
        Kind::Half => "fp16",
        _ => "fp32",
    }
}

/// Sets, once and before any tensor or thread, how this process computes: with as many threads as
/// physical cores (hyper-threads share the units that matter here; `OMP_NUM_THREADS` wins), with
/// [`KEPT_PRODUCTS`], and with [`CUBLAS_WORKSPACE`], which the CPU does not read.
pub fn prepare() {
    for (name, value) in KEPT_PRODUCTS.into_iter().chain([CUBLAS_WORKSPACE]) {
        keep(name, value);
    }
    if std::env::var_os("OMP_NUM_THREADS").is_none() {
        tch::set_num_threads(cores() as i32);
    }
}

/// How many compiled matrix products are kept, as environment variables.
///
/// oneDNN compiles a product for every shape, a third of a megabyte each, and with rows of every
/// length few shapes come again. libtorch keeps 1,024 for each thread, and oneDNN itself another
/// 1,024: hundreds of megabytes that nobody counts, spread over the memory of tensors, which they
/// fragment. One for each thread is enough, since oneDNN's cache is asked next. That cache holds as
/// many products as a micro-batch of some thirty examples has shapes, each of which all of its
/// blocks ask for.
const KEPT_PRODUCTS: [(&str, &str); 2] = [
    ("LRU_CACHE_CAPACITY", "1"),
    ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "384"),
];

/// The workspace of cuBLAS: 8 buffers of 4 MiB, of fixed sizes, with which its results do not
/// depend on the streams that ran before (NVIDIA's cuBLAS documentation, Results Reproducibility).
/// It is set here, since cuBLAS reads it from the environment, which must not change once there are
/// threads.
const CUBLAS_WORKSPACE: (&str, &str) = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8");

/// Sets an environment variable that is not set yet.
#[allow(unsafe_code)]
fn keep(name: &str, value: &str) {
    if std::env::var_os(name).is_none() {
        // SAFETY: called before there is another thread that could read the environment.
        unsafe { std::env::set_var(name, value) };
    }
}

/// The allocator of all memory, libtorch's tensors included: jemalloc, which keeps what is freed
/// (set in `.cargo/config.toml`).
///
/// The tensors of a step are large, and of another size each time. glibc returns them to the
/// system, whose fresh pages cost more than computing; or, told to keep them, it leaves holes:
/// training a GPT-J of 120M parameters grew from 2.4 to 5.2 GB within 24 steps. With jemalloc it
/// takes 3.8 GB and is 1.45 times as fast (2 cores, 2026-11-25).
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_without_bf16_infers_in_fp16_unless_the_model_overflows_it() {
        let (bf16, fp16, fp32) = (Kind::BFloat16, Kind::Half, Kind::Float);
        for (stored, is_gpu, has_bf16, model_type, wanted) in [
            (bf16, true, true, "gptj", bf16),
            (fp16, true, true, "gptj", bf16),
            (bf16, true, false, "gptj", fp16),
            (fp16, true, false, "llama", fp16),
            (bf16, true, false, "gemma3_text", fp32),
            (bf16, true, false, "gemma2", fp32),
            (bf16, true, false, "phi3", fp16),
            (fp32, true, false, "gptj", fp32),
            (fp32, true, true, "gptj", fp32),
            (bf16, false, true, "gemma3_text", bf16),
            (bf16, false, false, "gptj", fp32),
        ] {
            assert_eq!(
                automatic_dtype(stored, is_gpu, has_bf16, model_type),
                wanted,
                "{stored:?} {is_gpu} {has_bf16} {model_type}"
            );
        }
    }

    #[test]
    fn the_cpu_has_no_facts_and_trains_in_any_precision() {
        assert!(facts(Device::Cpu).unwrap().is_empty());
        check_training(Device::Cpu, Precision::Bf16).unwrap();
        assert!(why_fp32(Device::Cpu).starts_with("this processor has no bf16"));
        let device = for_training("cpu", GpuNumerics::default()).unwrap();
        assert_eq!(device, Device::Cpu);
        // A setting for GPUs leaves the CPU as it was.
        assert!(!crate::shim::context::settings().unwrap().deterministic);
    }

    #[test]
    fn each_rank_has_its_own_gpu() {
        assert_eq!(of_rank("cuda", 3).unwrap(), "cuda:3");
        assert_eq!(of_rank("cpu", 3).unwrap(), "cpu");
        let error = of_rank("cuda:1", 0).unwrap_err().to_string();
        assert!(error.starts_with("--device cuda:1 is one GPU"), "{error}");
    }

    #[test]
    fn what_is_no_device_is_refused() {
        for name in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "CPU"] {
            let error = device(name).unwrap_err().to_string();
            assert!(error.starts_with(&format!("unknown device `{name}`")), "{error}");
        }
    }
}

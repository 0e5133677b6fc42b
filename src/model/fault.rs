//! Errors of libtorch. Its exceptions leave `tch` as panics; the most common, out of memory, is no
//! bug.

use anyhow::{Result, anyhow};
use std::any::Any;
use std::cell::Cell;
use std::fmt::Display;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

/// How `tch` prints an unwrapped exception of libtorch.
const TORCH: &str = "Torch(\"";
/// How libtorch and its libraries report that memory ran out: CUDA's allocator, the CPU's, cuBLAS
/// and cuDNN, C++. `cublasCreate` fails with NOT_INITIALIZED where there is no memory for its
/// workspace.
const OUT_OF_MEMORY: [&str; 5] = [
    "out of memory",
    "can't allocate memory",
    "STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "std::bad_alloc",
];
/// How errors begin after which the CUDA context is broken, or how they name themselves. CUDA's
/// reference says of them: "this leaves the process in an inconsistent state and any further CUDA
/// work will return the same error", so that only a new process can compute. Not every error is
/// written with "CUDA error": cuDNN, and our own launches, have words of their own.
const CONTEXT_BROKEN: [&str; 9] = [
    "CUDA error",
    "an illegal memory access",
    "an illegal instruction",
    "misaligned address",
    "device-side assert",
    "unspecified launch failure",
    "uncorrectable ECC",
    "CUDNN_STATUS_EXECUTION_FAILED",
    "CUBLAS_STATUS_EXECUTION_FAILED",
];
/// Errors of CUDA and cuBLAS about one call and its arguments. They leave the context as it was.
const CALL_REFUSED: [&str; 8] = [
    "invalid argument",
    "invalid configuration argument",
    "invalid device function",
    "no kernel image is available",
    "too many resources requested for launch",
    "CUBLAS_STATUS_INVALID_VALUE",
    "CUBLAS_STATUS_NOT_SUPPORTED",
    "CUBLAS_STATUS_ARCH_MISMATCH",
];

thread_local! {
    /// Whether libtorch's panics on this thread become errors.
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
    /// Whether all panics on this thread become errors.
    static TAMED: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// Runs `work`. If an operation of libtorch fails in it, returns an error in libtorch's words;
/// other panics go on. After an error, nothing that `work` had borrowed may be computed with.
/// Applies to this thread only.
pub fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    quieten();
    let before = CAUGHT.replace(true);
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    CAUGHT.set(before);
    done.unwrap_or_else(|panic| match text(panic.as_ref()).contains(TORCH) {
        true => Err(anyhow!("libtorch: {}", words(panic.as_ref()))),
        false => panic::resume_unwind(panic),
    })
}

/// Runs `work`. If it panics, returns the panic's message in one line: for libraries that panic on
/// malformed files. Applies to this thread only.
pub fn tamed<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    quieten();
    let before = TAMED.replace(true);
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    TAMED.set(before);
    done.map_err(|panic| words(panic.as_ref()))
}

/// Keeps panics that become errors from being printed.
fn quieten() {
    HOOK.call_once(|| {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // Any other error of libtorch is a bug of ours, and its place is worth printing.
            let text = text(info.payload());
            let is_known = is_out_of_memory(&text) || is_context_broken(&text);
            let known = CAUGHT.get() && text.contains(TORCH) && is_known;
            if !(known || TAMED.get()) {
                hook(info);
            }
        }));
    });
}

/// Panics with an error in the form in which `tch` panics with libtorch's.
pub fn raise(error: &impl Display) -> ! {
    panic!("{TORCH}{error:#}\")")
}

/// Returns whether an error says that memory ran out.
pub fn is_out_of_memory(error: &impl Display) -> bool {
    let text = format!("{error:#}");
    OUT_OF_MEMORY.iter().any(|says| text.contains(says))
}

/// Returns whether an error says that the CUDA context of this process is broken: whatever is
/// computed on the GPU after it fails with the same error.
pub fn is_context_broken(error: &impl Display) -> bool {
    let text = format!("{error:#}");
    let says = |words: &[&str]| words.iter().any(|words| text.contains(words));
    says(&CONTEXT_BROKEN) && !says(&CALL_REFUSED) && !is_out_of_memory(&text)
}

/// Returns the message of a panic in one line: libtorch appends a stack of C++ calls, escaped where
/// tch prints it as a debug value.
pub fn words(panic: &(dyn Any + Send)) -> String {
    let text = text(panic);
    let text = text
        .split_once(TORCH)
        .map_or(text, |(_, message)| message.trim_end_matches("\")"));
    let first = text.split("\\n").next().unwrap_or(text);
    first.lines().next().unwrap_or(first).trim().to_string()
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned
        .or(panic.downcast_ref::<&str>().copied())
        .unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind, Tensor};

    #[test]
    fn a_panic_is_told_in_one_line() {
        let of = |text: &str| words(&text.to_string());
        assert_eq!(
            of(
                r#"called `Result::unwrap()` on an `Err` value: Torch("[enforce fail] can't allocate memory: 5 bytes\nException raised from x\nframe #0")"#
            ),
            "[enforce fail] can't allocate memory: 5 bytes"
        );
        assert_eq!(of("index out of bounds\nsecond"), "index out of bounds");
        assert_eq!(words(&7), "unknown");
    }

    #[test]
    fn memory_that_runs_out_is_an_error() {
        // No processor has addresses for a petabyte.
        let error = caught(|| Ok(Tensor::zeros([1 << 48], (Kind::Float, Device::Cpu)))).unwrap_err();
        assert!(is_out_of_memory(&error), "{error:#}");
        assert!(!error.to_string().contains('\n'), "{error}");
        let error = caught(|| Ok(Tensor::zeros([2, 3], (Kind::Float, Device::Cpu)).view([5]))).unwrap_err();
        assert!(!is_out_of_memory(&error), "{error:#}");
        assert!(error.to_string().contains("shape '[5]' is invalid"), "{error}");
    }

    #[test]
    fn errors_of_a_gpu_are_told_apart() {
        // As libtorch 2.13, its libraries, and `shim::gpu` word them.
        let lost = [
            "CUDA error: an illegal memory access was encountered",
            "CUDA error: device-side assert triggered",
            "CUDA error: unspecified launch failure",
            "CUDA error: uncorrectable ECC error encountered",
            "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx(handle, opa)`",
            "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
            "CUDA error 700 in cuLaunchKernel: an illegal memory access was encountered",
        ];
        for text in lost {
            assert!(is_context_broken(&text) && !is_out_of_memory(&text), "{text}");
        }
        let full = [
            "CUDA out of memory. Tried to allocate 2.00 GiB.",
            "CUDA error: out of memory",
            "CUDA error 2 in cuModuleLoadData: out of memory",
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        ];
        for text in full {
            assert!(is_out_of_memory(&text) && !is_context_broken(&text), "{text}");
        }
        let others = [
            "shape '[5]' is invalid for input of size 6",
            "CUDA error: invalid configuration argument",
            "CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling `cublasLtMatmul(handle)`",
        ];
        for text in others {
            assert!(!is_out_of_memory(&text) && !is_context_broken(&text), "{text}");
        }
    }

    #[test]
    #[should_panic(expected = "a bug of ours")]
    fn other_panics_go_on() {
        let _ = caught::<()>(|| panic!("a bug of ours"));
    }
}

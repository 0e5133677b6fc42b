//! What libtorch could not do: its exceptions come out of `tch` as panics, of which the commonest, memory that ran out, is nobody's bug.

use anyhow::{Result, anyhow};
use std::any::Any;
use std::cell::Cell;
use std::fmt::Display;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

/// How `tch` prints an exception of libtorch that is unwrapped.
const TORCH: &str = "Torch(\"";
/// How libtorch and its libraries say that there is no more memory: CUDA's allocator, the CPU's, cuBLAS, C++.
const OUT_OF_MEMORY: [&str; 4] = [
    "out of memory",
    "can't allocate memory",
    "STATUS_ALLOC_FAILED",
    "std::bad_alloc",
];

thread_local! {
    /// Whether libtorch's panics of this thread become errors.
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
    /// Whether all panics of this thread become errors.
    static TAMED: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// What `work` gives, or, where one of libtorch's operations failed in it, an error in libtorch's words. Other panics go on. What `work` had
/// borrowed must not be computed with after an error. Of this thread only.
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

/// What `work` gives, or in one line what it panicked with: for libraries that panic on files of strangers. Of this thread only.
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
            // Whatever else libtorch finds is a bug of ours, and where it happened is of use.
            let text = text(info.payload());
            let known = CAUGHT.get() && text.contains(TORCH) && is_out_of_memory(&text);
            if !(known || TAMED.get()) {
                hook(info);
            }
        }));
    });
}

/// Panics with an error as `tch` does with libtorch's.
pub fn raise(error: &impl Display) -> ! {
    panic!("{TORCH}{error:#}\")")
}

/// Whether an error says that memory ran out.
pub fn is_out_of_memory(error: &impl Display) -> bool {
    let text = format!("{error:#}");
    OUT_OF_MEMORY.iter().any(|says| text.contains(says))
}

/// What a panic says, on one line: libtorch adds a stack of C++ calls, escaped where tch prints it as a debug value.
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
    #[should_panic(expected = "a bug of ours")]
    fn other_panics_go_on() {
        let _ = caught::<()>(|| panic!("a bug of ours"));
    }
}

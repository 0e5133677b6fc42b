//! What this thread has allocated, as the allocator counts it: the memory of its tensors, and of all else that it made.
//!
//! libtorch tells such figures for GPUs only. Tensors of a training step are made and freed on one thread, backward pass included.

/// Bytes allocated less bytes freed, so far. None where the allocator does not count.
pub fn allocated() -> Option<u64> {
    Some(counter::read(c"thread.allocated")?.wrapping_sub(counter::read(c"thread.deallocated")?))
}

/// Runs `f`, and gives its result and how many bytes more than before it there were at the most.
pub fn peak_of<T>(f: impl FnOnce() -> T) -> (T, Option<u64>) {
    counter::reset_peak();
    let result = f();
    (result, counter::read(c"thread.peak.read"))
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod counter {
    use std::ffi::CStr;
    use std::ptr::null_mut;

    /// One of jemalloc's counters of 64 bits.
    pub fn read(name: &CStr) -> Option<u64> {
        let (mut value, mut size) = (0u64, size_of::<u64>());
        // SAFETY: the counters that are asked for are of 64 bits, and that much room is given and said.
        let failed = unsafe {
            tikv_jemalloc_sys::mallctl(name.as_ptr(), (&raw mut value).cast(), &mut size, null_mut(), 0)
        };
        (failed == 0).then_some(value)
    }

    pub fn reset_peak() {
        // SAFETY: a name without a value; nothing is read or written through the null pointers.
        unsafe {
            tikv_jemalloc_sys::mallctl(
                c"thread.peak.reset".as_ptr(),
                null_mut(),
                null_mut(),
                null_mut(),
                0,
            );
        }
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod counter {
    pub fn read(_: &std::ffi::CStr) -> Option<u64> {
        None
    }

    pub fn reset_peak() {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind, Tensor};

    #[test]
    fn tensors_are_counted() {
        let megabytes = |count: i64| Tensor::zeros([count << 20], (Kind::Uint8, Device::Cpu));
        let Some(before) = allocated() else { return };
        let (kept, peak) = peak_of(|| {
            let kept = megabytes(8);
            drop(megabytes(24));
            kept
        });
        let near = |bytes: u64, count: u64| bytes.abs_diff(count << 20) < 1 << 20;
        assert!(near(allocated().unwrap() - before, 8), "{:?}", allocated());
        assert!(near(peak.unwrap(), 32), "{peak:?}");
        drop(kept);
    }
}

//! Memory in use. On the CPU it is counted by the allocator for this thread, tensors and everything
//! else; on a GPU by libtorch for the whole process.
//!
//! The tensors of a training step are allocated and freed on one thread, backward pass included.

use tch::Device;

/// Returns bytes allocated minus bytes freed so far; 0 if this thread has freed more than it
/// allocated, since other threads had allocated it. None if the allocator does not count.
pub fn allocated(device: Device) -> Option<u64> {
    match device {
        Device::Cuda(index) => Some(gpu::memory(index)?.allocated as u64),
        _ => Some(u64::try_from(counter::balance()?).unwrap_or(0)),
    }
}

/// Runs `f`. Returns its result and its peak memory, in bytes above what was allocated before.
pub fn peak_of<T>(device: Device, f: impl FnOnce() -> T) -> (T, Option<u64>) {
    if let Device::Cuda(index) = device {
        gpu::forget_peak(index);
        let before = gpu::memory(index);
        let result = f();
        let peak = before.zip(gpu::memory(index));
        return (
            result,
            peak.map(|(before, after)| (after.peak - before.allocated) as u64),
        );
    }
    counter::reset_peak();
    let result = f();
    (result, counter::peak())
}

/// Returns the bytes of this process in physical memory: allocated memory, freed memory that the
/// allocator keeps, and touched pages of libraries and mapped files. None if the system does not
/// tell.
pub fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(1024 * line.split_whitespace().next()?.parse::<u64>().ok()?)
}

/// Counts what the thread that computes has from step to step, although other threads free memory
/// of it: those of Gloo do with each exchange, and its own count drifts upward by that.
#[derive(Debug, Clone, Copy)]
pub struct Baseline {
    /// Bytes of other threads when it was made.
    others: i64,
}

impl Baseline {
    /// Begins to count, on the thread that computes.
    pub fn now() -> Baseline {
        let all = counter::of_all_threads().zip(counter::balance());
        Baseline {
            others: all.map_or(0, |(all, own)| all as i64 - own),
        }
    }

    /// As [`allocated`], between steps.
    pub fn allocated(self, device: Device) -> Option<u64> {
        if device.is_cuda() {
            return allocated(device);
        }
        let own = counter::of_all_threads()? as i64 - self.others;
        Some(u64::try_from(own).unwrap_or(0))
    }
}

/// Bounds the resident memory by what is needed. The allocator keeps freed memory, since the next
/// step needs as much. But where steps need other sizes each time, the gaps between longer-lived
/// blocks can become too small for any of them, and the heap grows. Memory beyond the bound is
/// returned to the system, at the cost of fresh pages in the next step, so it should not happen
/// often.
///
/// Memory in use is counted over all threads. Some memory is freed by another thread than allocated
/// it, such as prompts and answers of a server, and each time the count of a single thread drifts.
/// A thread counts for itself only within a step.
#[derive(Debug)]
pub struct Surplus {
    /// Resident minus allocated bytes, after everything possible was returned: libraries and holes,
    /// minus allocated memory that was not touched yet.
    beside: i64,
    /// Most bytes that a step needed beyond what it left allocated.
    step: u64,
}

impl Surplus {
    /// Resident bytes that are tolerated above the need.
    const LET_BE: u64 = 64 << 20;

    /// Begins to watch, on the thread that computes. Memory that was freed while files were read is
    /// returned first.
    pub fn watch() -> Surplus {
        let mut surplus = Surplus { beside: 0, step: 0 };
        surplus.trim();
        surplus
    }

    /// Runs a step and records its need. Within it there may be one [`peak_of`], around all of it.
    pub fn during<T>(&mut self, step: impl FnOnce() -> T) -> T {
        let before = counter::balance();
        counter::reset_peak();
        let result = step();
        if let Some(((before, after), peak)) = before.zip(counter::balance()).zip(counter::peak()) {
            let beyond = (peak as i64).saturating_sub(after.saturating_sub(before));
            self.step = self.step.max(u64::try_from(beyond).unwrap_or(0));
        }
        result
    }

    /// Returns memory beyond the bound to the system; to be called between steps. Returns the
    /// resident bytes from before.
    pub fn give_back(&mut self) -> Option<u64> {
        let resident = resident()?;
        if let Some(allocated) = counter::of_all_threads() {
            let needed = allocated + self.step;
            self.bound(resident, needed + needed / 8);
        }
        Some(resident)
    }

    /// Returns all unneeded memory to the system; to be called after a while without a step. The
    /// need of former steps is forgotten, and other threads may have freed much meanwhile.
    pub fn rest(&mut self) {
        self.step = 0;
        if let Some((resident, allocated)) = resident().zip(counter::of_all_threads()) {
            self.bound(resident, allocated);
        }
    }

    fn bound(&mut self, resident: u64, needed: u64) {
        let most = (needed + Surplus::LET_BE) as i64 + self.beside;
        if resident as i64 > most {
            self.trim();
        }
    }

    /// Returns all possible memory to the system. The rest is expected to stay after later steps,
    /// too.
    fn trim(&mut self) {
        counter::give_back();
        let now = resident().zip(counter::of_all_threads());
        self.beside = now.map_or(0, |(resident, allocated)| resident as i64 - allocated as i64);
    }
}

/// Returns the free bytes of a GPU's memory; none for the CPU.
pub fn free(device: Device) -> Option<u64> {
    match device {
        Device::Cuda(index) => Some(gpu::memory(index)?.free as u64),
        _ => None,
    }
}

/// Returns memory that libtorch's allocator keeps for later to the GPU's driver, where
/// [`free`] counts it. Does nothing on the CPU.
pub fn give_back(device: Device) {
    if device.is_cuda() {
        gpu::give_back();
    }
}

mod gpu {
    use super::super::checked;
    use std::ffi::{c_char, c_int};

    /// `ewe_gpu_bytes` of `csrc/shim.h`.
    #[repr(C)]
    #[derive(Default)]
    pub struct GpuBytes {
        pub allocated: i64,
        pub peak: i64,
        pub free: i64,
    }

    unsafe extern "C" {
        fn ewe_gpu_memory(index: c_int, bytes: *mut GpuBytes, error: *mut c_char, room: usize) -> c_int;
        fn ewe_gpu_forget_peak(index: c_int, error: *mut c_char, room: usize) -> c_int;
        fn ewe_gpu_give_back(error: *mut c_char, room: usize) -> c_int;
    }

    /// Returns the memory of a GPU; none if there is no such GPU.
    pub fn memory(index: usize) -> Option<GpuBytes> {
        let mut bytes = GpuBytes::default();
        // SAFETY: the struct is live and has the layout of the header.
        checked(|error, room| unsafe { ewe_gpu_memory(index as c_int, &mut bytes, error, room) }).ok()?;
        Some(bytes)
    }

    pub fn give_back() {
        // SAFETY: the only pointer is the error's buffer. What is not given back is used later.
        let _ = checked(|error, room| unsafe { ewe_gpu_give_back(error, room) });
    }

    pub fn forget_peak(index: usize) {
        // SAFETY: the only pointer is the error's buffer. If there is no GPU, `memory` says so.
        let _ = checked(|error, room| unsafe { ewe_gpu_forget_peak(index as c_int, error, room) });
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod counter {
    use std::ffi::CStr;
    use std::ptr::null_mut;

    /// Returns the bytes that this thread has allocated minus those that it has freed.
    pub fn balance() -> Option<i64> {
        Some(read(c"thread.allocated")?.wrapping_sub(read(c"thread.deallocated")?) as i64)
    }

    /// Returns the most bytes by which this thread's balance has exceeded its value at the last
    /// reset.
    pub fn peak() -> Option<u64> {
        read(c"thread.peak.read")
    }

    /// Returns the bytes that all threads have allocated and not freed.
    pub fn of_all_threads() -> Option<u64> {
        refresh();
        read(c"stats.allocated")
    }

    /// Reads one of jemalloc's 64-bit counters.
    fn read(name: &CStr) -> Option<u64> {
        let (mut value, mut size) = (0u64, size_of::<u64>());
        // SAFETY: the counters have 64 bits, and a buffer of that size is passed with its size.
        let failed = unsafe {
            tikv_jemalloc_sys::mallctl(name.as_ptr(), (&raw mut value).cast(), &mut size, null_mut(), 0)
        };
        (failed == 0).then_some(value)
    }

    /// Updates the statistics of the process, which are a snapshot.
    fn refresh() {
        let mut epoch = 1u64;
        // SAFETY: the epoch has 64 bits, and a live buffer of that size is passed.
        unsafe {
            tikv_jemalloc_sys::mallctl(
                c"epoch".as_ptr(),
                null_mut(),
                null_mut(),
                (&raw mut epoch).cast(),
                size_of::<u64>(),
            );
        }
    }

    pub fn reset_peak() {
        command(c"thread.peak.reset");
    }

    /// Returns the pages of freed memory to the system.
    pub fn give_back() {
        // 4096 stands for all arenas.
        command(c"arena.4096.purge");
    }

    fn command(name: &CStr) {
        // SAFETY: a name without a value; nothing is read or written through the null pointers.
        unsafe {
            tikv_jemalloc_sys::mallctl(name.as_ptr(), null_mut(), null_mut(), null_mut(), 0);
        }
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod counter {
    pub fn balance() -> Option<i64> {
        None
    }

    pub fn peak() -> Option<u64> {
        None
    }

    pub fn of_all_threads() -> Option<u64> {
        None
    }

    pub fn reset_peak() {}

    pub fn give_back() {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use tch::{Device, Kind, Tensor};

    #[test]
    fn tensors_are_counted() {
        let megabytes = |count: i64| Tensor::zeros([count << 20], (Kind::Uint8, Device::Cpu));
        let Some(before) = allocated(Device::Cpu) else {
            return;
        };
        let (kept, peak) = peak_of(Device::Cpu, || {
            let kept = megabytes(8);
            drop(megabytes(24));
            kept
        });
        let near = |bytes: u64, count: u64| bytes.abs_diff(count << 20) < 1 << 20;
        assert!(near(allocated(Device::Cpu).unwrap() - before, 8));
        assert!(near(peak.unwrap(), 32), "{peak:?}");
        drop(kept);
    }

    fn ones(megabytes: i64) -> Tensor {
        Tensor::ones([megabytes << 20], (Kind::Uint8, Device::Cpu))
    }

    /// Serializes tests that allocate much.
    fn alone() -> MutexGuard<'static, ()> {
        static ONE: Mutex<()> = Mutex::new(());
        ONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the test of this name in a process of its own: resident memory is that of the whole
    /// process, and the threads of other tests allocate and give back at any moment.
    fn by_itself(name: &str, test: impl FnOnce()) {
        const VARIABLE: &str = "TEST_BY_ITSELF";
        if std::env::var_os(VARIABLE).is_some() {
            return test();
        }
        let _alone = alone();
        let told = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("shim::memory::tests::{name}")])
            .env(VARIABLE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&told.stdout);
        assert!(told.status.success() && said.contains("1 passed"), "{said}");
    }

    /// Like prompts of requests on the engine's thread.
    #[test]
    fn what_others_made_may_be_freed_here() {
        let _alone = alone();
        let made: Vec<Tensor> = (0..8).map(|_| ones(32)).collect();
        let free_them = || {
            let mut surplus = Surplus::watch();
            for of in made {
                surplus.during(|| drop(of));
            }
            (allocated(Device::Cpu), surplus.step)
        };
        let (here, step) = std::thread::spawn(free_them).join().unwrap();
        assert!(matches!(here, None | Some(0)), "{here:?}");
        assert!(step < 64 << 20, "{step}");
    }

    /// Like answers: the engine's thread allocates them, the threads of connections free them. In
    /// the count of the former they seem to stay forever.
    #[test]
    fn what_is_made_here_and_freed_elsewhere_does_not_add_up() {
        let _alone = alone();
        let mut surplus = Surplus::watch();
        for _ in 0..40 {
            let made = surplus.during(|| ones(32));
            std::thread::spawn(move || drop(made)).join().unwrap();
            surplus.give_back();
        }
        let Some(here) = allocated(Device::Cpu) else {
            return;
        };
        assert!(here > 1200 << 20, "{here}");
        assert!(surplus.step < 8 << 20, "{}", surplus.step);
    }

    #[test]
    fn a_step_needs_what_it_frees_again_and_not_what_it_leaves() {
        let mut surplus = Surplus::watch();
        let left = surplus.during(|| {
            let (left, between) = (ones(48), ones(24));
            drop(between);
            left
        });
        if counter::balance().is_some() {
            assert!(surplus.step.abs_diff(24 << 20) < 1 << 20, "{}", surplus.step);
        }
        drop(left);
    }

    #[test]
    fn a_rest_gives_back_what_steps_had_needed() {
        by_itself("a_rest_gives_back_what_steps_had_needed", || {
            let mut surplus = Surplus::watch();
            surplus.during(|| drop(ones(512)));
            let Some(kept) = surplus.give_back() else { return };
            surplus.rest();
            let left = resident().unwrap();
            assert!(left + (300 << 20) < kept, "{left} of {kept}");
        });
    }

    /// Freeing tensors between others that stay fragments memory.
    #[test]
    fn what_nobody_needs_is_given_back() {
        by_itself("what_nobody_needs_is_given_back", || {
            let mut surplus = Surplus::watch();
            let many: Vec<Tensor> = (0..200).map(|_| ones(4)).collect();
            let Some(before) = resident() else { return };
            let stay: Vec<Tensor> = many
                .into_iter()
                .enumerate()
                .filter_map(|(n, of)| (n % 10 == 0).then_some(of))
                .collect();
            // Of these 800 MB, 80 are still needed.
            let told = surplus.give_back().unwrap();
            assert!(told + (200 << 20) > before, "{told} and {before}");
            let left = resident().unwrap();
            assert!(left + (300 << 20) < told, "{left} of {told}");
            assert_eq!(stay.len(), 20);
        });
    }

    #[test]
    fn without_a_gpu_nothing_of_it_is_known() {
        let device = Device::Cuda(1000);
        assert!(allocated(device).is_none() && free(device).is_none());
        assert_eq!(peak_of(device, || 7), (7, None));
    }
}

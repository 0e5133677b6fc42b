//! What has been allocated: on the CPU by this thread, as the allocator counts it, the memory of its tensors and of all else that it
//! made; on a GPU by everyone in this process, as libtorch counts it.
//!
//! Tensors of a training step are made and freed on one thread, backward pass included.

use tch::Device;

/// Bytes allocated less bytes freed, so far; 0 where this thread has freed more than it made, since others had made it. None where
/// the allocator does not count.
pub fn allocated(device: Device) -> Option<u64> {
    match device {
        Device::Cuda(index) => Some(gpu::memory(index)?.allocated as u64),
        _ => Some(counter::read(c"thread.allocated")?.saturating_sub(counter::read(c"thread.deallocated")?)),
    }
}

/// Runs `f`, and gives its result and how many bytes more than before it there were at the most.
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
    (result, counter::read(c"thread.peak.read"))
}

/// Bytes of this process that are in the machine's memory: what was allocated, what the allocator keeps of what was freed, and the pages of
/// libraries and mapped files that have been touched. None where the system does not tell.
pub fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(1024 * line.split_whitespace().next()?.parse::<u64>().ok()?)
}

/// Keeps what is resident near what is needed. The allocator keeps what is freed, since the next step wants as much; but where steps want
/// other sizes each time, what lies between the pieces that live longer can become too small for any of them, and more is taken.
/// Whatever is beyond the bound is given back to the system, which costs fresh pages in the next step: it should not happen often.
#[derive(Debug)]
pub struct Surplus {
    /// Resident beside what this thread allocates: libraries, other threads.
    beside: u64,
    /// The most that this thread had allocated at once.
    most: u64,
}

impl Surplus {
    /// Resident bytes that are let be, whatever is needed.
    const LET_BE: u64 = 64 << 20;

    /// Begins to watch, on the thread that computes. What was freed while everything was read is given back first, or it would count as
    /// what is needed beside.
    pub fn watch() -> Surplus {
        counter::give_back();
        let mut surplus = Surplus { beside: 0, most: 0 };
        surplus.look();
        surplus
    }

    /// Notes that this thread had so many bytes at once.
    pub fn needed(&mut self, peak: Option<u64>) {
        self.most = self.most.max(peak.unwrap_or_default());
    }

    /// To be called between steps. Gives what was resident, before anything was given back.
    pub fn give_back(&mut self) -> Option<u64> {
        let resident = resident()?;
        if resident > self.beside + self.most + self.most / 8 + Surplus::LET_BE {
            counter::give_back();
            // What cannot be given back will be there after the next step, too.
            self.look();
        }
        Some(resident)
    }

    fn look(&mut self) {
        let here = allocated(Device::Cpu).zip(resident());
        let beside = here.map_or(0, |(allocated, resident)| resident.saturating_sub(allocated));
        self.beside = self.beside.max(beside);
    }
}

/// Bytes of a GPU's memory that nobody uses. None for the CPU.
pub fn free(device: Device) -> Option<u64> {
    match device {
        Device::Cuda(index) => Some(gpu::memory(index)?.free as u64),
        _ => None,
    }
}

mod gpu {
    use super::super::checked;
    use std::ffi::{c_char, c_int};

    /// See `csrc/shim.h`.
    #[repr(C)]
    #[derive(Default)]
    pub struct Bytes {
        pub allocated: i64,
        pub peak: i64,
        pub free: i64,
    }

    unsafe extern "C" {
        fn ewe_gpu_memory(index: c_int, bytes: *mut Bytes, error: *mut c_char, room: usize) -> c_int;
        fn ewe_gpu_forget_peak(index: c_int, error: *mut c_char, room: usize) -> c_int;
    }

    /// None where there is no such GPU.
    pub fn memory(index: usize) -> Option<Bytes> {
        let mut bytes = Bytes::default();
        // SAFETY: the struct is live and laid out as the header says.
        checked(|error, room| unsafe { ewe_gpu_memory(index as c_int, &mut bytes, error, room) }).ok()?;
        Some(bytes)
    }

    pub fn forget_peak(index: usize) {
        // SAFETY: no pointer but that to the error's room. Where there is no GPU, `memory` says so.
        let _ = checked(|error, room| unsafe { ewe_gpu_forget_peak(index as c_int, error, room) });
    }
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
        command(c"thread.peak.reset");
    }

    /// Gives the pages of what was freed back to the system.
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
    pub fn read(_: &std::ffi::CStr) -> Option<u64> {
        None
    }

    pub fn reset_peak() {}

    pub fn give_back() {}
}

#[cfg(test)]
mod tests {
    use super::*;
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

    /// As the prompts of requests are, on the engine's thread.
    #[test]
    fn what_others_made_may_be_freed_here() {
        let made = Tensor::zeros([32 << 20], (Kind::Uint8, Device::Cpu));
        let free_it = || {
            drop(made);
            let here = allocated(Device::Cpu);
            let mut surplus = Surplus::watch();
            surplus.needed(here);
            surplus.give_back();
            here
        };
        let here = std::thread::spawn(free_it).join().unwrap();
        assert!(matches!(here, None | Some(0)), "{here:?}");
    }

    /// Tensors that are freed between others that stay, which is what tears memory apart.
    #[test]
    fn what_nobody_needs_is_given_back() {
        let mut surplus = Surplus::watch();
        let block = |_: usize| Tensor::ones([4 << 20], (Kind::Uint8, Device::Cpu));
        let many: Vec<Tensor> = (0..200).map(block).collect();
        let Some(before) = resident() else { return };
        let stay: Vec<Tensor> = many
            .into_iter()
            .enumerate()
            .filter_map(|(n, of)| (n % 10 == 0).then_some(of))
            .collect();
        // Of these 800 MB a step needed 80.
        let peak = allocated(Device::Cpu).unwrap();
        surplus.needed(Some(peak));
        let told = surplus.give_back().unwrap();
        assert!(told + (200 << 20) > before, "{told} and {before}");
        let left = resident().unwrap();
        assert!(left + (300 << 20) < told, "{left} of {told}");
        assert_eq!(stay.len(), 20);
    }

    #[test]
    fn without_a_gpu_nothing_of_it_is_known() {
        let device = Device::Cuda(1000);
        assert!(allocated(device).is_none() && free(device).is_none());
        assert_eq!(peak_of(device, || 7), (7, None));
    }
}

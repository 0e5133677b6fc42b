//! What a thread asks libtorch for (`csrc/trace.cpp`): operators, launches, bytes and copies
//! between host and device. Tests hold these counts as budgets.
//!
//! Without a GPU the CPU stands in for one: `force_operations` makes it compute by libtorch's
//! operations, as a GPU does.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;

use anyhow::Result;
use tch::Device;

use super::checked;

#[cfg(test)]
pub use for_tests::{
    KernelWeights, bytes_of_adafactor, bytes_of_adamw, force_operations, operations_are_forced,
};

/// `ewe_trace_counts` of `csrc/shim.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct RawCounts {
    operators: i64,
    views: i64,
    launches: i64,
    bytes: i64,
    reads: i64,
    uploads: i64,
}

type EachName = extern "C" fn(context: *mut c_void, name: *const c_char, calls: i64, launches: i64);

unsafe extern "C" {
    fn ewe_trace_begin(gpu: c_int, trace: *mut *mut c_void, error: *mut c_char, room: usize) -> c_int;
    fn ewe_trace_end(
        trace: *mut c_void,
        counts: *mut RawCounts,
        each: EachName,
        context: *mut c_void,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
}

/// Counts of a trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls of operators, with those that others call.
    pub operators: i64,
    /// Operators that give a tensor another shape in the same memory.
    #[cfg_attr(not(test), allow(dead_code))]
    pub views: i64,
    /// Kernels that a GPU launches for these operators. Kernels of ours are not counted.
    pub launches: i64,
    /// Bytes that the operators with launches read and write: the sizes of their tensors, or of the
    /// rows that they select.
    pub bytes: i64,
    /// Copies from the device to the host, for which the host waits.
    pub reads: i64,
    /// Copies from the host to the device.
    pub uploads: i64,
    /// Every operator by its name without `aten::`.
    pub by_name: BTreeMap<String, OperatorCounts>,
}

/// Counts of one operator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OperatorCounts {
    /// Calls, also by other operators.
    pub calls: i64,
    /// Launches.
    #[cfg_attr(not(test), allow(dead_code))]
    pub launches: i64,
}

#[cfg(test)]
impl Counts {
    /// Returns the operators with launches, the most frequent first: `mm 4, add 2`.
    pub fn launches_by_name(&self) -> String {
        let mut launched: Vec<(&String, i64)> = self
            .by_name
            .iter()
            .map(|(name, of)| (name, of.launches))
            .collect();
        launched.retain(|&(_, launches)| launches > 0);
        launched.sort_by_key(|&(_, launches)| -launches);
        let words: Vec<String> = launched
            .iter()
            .map(|(name, launches)| format!("{name} {launches}"))
            .collect();
        words.join(", ")
    }
}

/// While held, libtorch's operators on this thread are counted, and those of its backward passes on
/// whatever thread.
#[derive(Debug)]
pub struct Trace {
    held: *mut c_void,
    // libtorch keeps the callbacks by thread.
    _of_this_thread: PhantomData<*mut ()>,
}

impl Trace {
    /// Counts what is computed on the CPU, as a stand-in for a GPU. `to_device` copies nothing
    /// there: it counts as an upload of a tensor that was made of the host's values, else as a
    /// read, also where it would copy nothing on a GPU.
    ///
    /// # Errors
    ///
    /// If this thread holds a trace.
    #[cfg(test)]
    pub fn begin() -> Result<Trace> {
        Trace::begin_on(Device::Cpu)
    }

    /// Counts what is computed on `device`. A GPU gets its own operators, such as the backend of
    /// attention; the CPU counts as a stand-in for a GPU.
    ///
    /// # Errors
    ///
    /// If this thread holds a trace.
    pub fn begin_on(device: Device) -> Result<Trace> {
        let mut held = std::ptr::null_mut();
        let gpu = c_int::from(device != Device::Cpu);
        // SAFETY: the pointers are of live variables; the trace belongs to us.
        checked(|error, room| unsafe { ewe_trace_begin(gpu, &mut held, error, room) })?;
        Ok(Trace {
            held,
            _of_this_thread: PhantomData,
        })
    }

    /// Stops counting, and returns the counts.
    pub fn end(mut self) -> Counts {
        self.finish()
    }

    fn finish(&mut self) -> Counts {
        let held = std::mem::replace(&mut self.held, std::ptr::null_mut());
        if held.is_null() {
            return Counts::default();
        }
        let mut raw = RawCounts::default();
        let mut by_name: BTreeMap<String, OperatorCounts> = BTreeMap::new();
        let context = (&raw mut by_name).cast::<c_void>();
        // SAFETY: the trace began on this thread and ends once; `add` gets the map, which is live.
        let ended =
            checked(|error, room| unsafe { ewe_trace_end(held, &mut raw, add, context, error, room) });
        ended.expect("a trace ends on the thread where it began");
        Counts {
            operators: raw.operators,
            views: raw.views,
            launches: raw.launches,
            bytes: raw.bytes,
            reads: raw.reads,
            uploads: raw.uploads,
            by_name,
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Adds an operator to the map `context`.
extern "C" fn add(context: *mut c_void, name: *const c_char, calls: i64, launches: i64) {
    // SAFETY: the context is the map of `finish`, which nothing else uses meanwhile, and the name a
    // string that ends with a zero.
    let (by_name, name) = unsafe {
        let by_name = &mut *context.cast::<BTreeMap<String, OperatorCounts>>();
        (by_name, CStr::from_ptr(name).to_string_lossy().into_owned())
    };
    by_name.insert(name, OperatorCounts { calls, launches });
}

/// Counts of our kernels, and the switch to libtorch's operations.
#[cfg(test)]
mod for_tests {
    use std::cell::Cell;
    use std::ffi::c_int;

    unsafe extern "C" {
        fn ewe_touched_by_adamw(weights: c_int, in_8_bits: c_int, is_bf16: c_int, count: i64) -> i64;
        fn ewe_touched_by_adafactor(weights: c_int, is_bf16: c_int, rows: i64, columns: i64) -> i64;
    }

    /// Storage formats of a trained weight, as `csrc/trace_kernels.cpp` numbers them.
    #[repr(i32)]
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum KernelWeights {
        /// fp32.
        Fp32 = 0,
        /// bf16 with an fp32 master.
        Copy = 1,
        /// bf16 with the lower 16 bits of its fp32.
        Split = 2,
        /// bf16, rounded stochastically.
        Stochastic = 3,
    }

    /// Returns the bytes of a tensor of `count` weights that the GPU's AdamW kernel reads and
    /// writes, eight elements at a time; scales of 8-bit moments are not included.
    pub fn bytes_of_adamw(
        weights: KernelWeights,
        in_8_bits: bool,
        gradient_is_bf16: bool,
        count: i64,
    ) -> i64 {
        let flags = (c_int::from(in_8_bits), c_int::from(gradient_is_bf16));
        // SAFETY: only numbers are passed.
        unsafe { ewe_touched_by_adamw(weights as c_int, flags.0, flags.1, count) }
    }

    /// Returns the bytes of a matrix that the GPU's Adafactor kernels read and write, eight
    /// elements at a time: gradient, weights, and sums of squares along columns as they are
    /// written.
    pub fn bytes_of_adafactor(
        weights: KernelWeights,
        gradient_is_bf16: bool,
        rows: i64,
        columns: i64,
    ) -> i64 {
        // SAFETY: only numbers are passed.
        unsafe { ewe_touched_by_adafactor(weights as c_int, c_int::from(gradient_is_bf16), rows, columns) }
    }

    thread_local! {
        static OPERATIONS: Cell<bool> = const { Cell::new(false) };
    }

    /// While held, this thread computes by libtorch's operations where the CPU has kernels.
    #[derive(Debug)]
    pub struct Operations {
        before: bool,
    }

    /// Makes this thread compute by libtorch's operations, as a GPU does, until the guard is
    /// dropped.
    pub fn force_operations() -> Operations {
        Operations {
            before: OPERATIONS.replace(true),
        }
    }

    impl Drop for Operations {
        fn drop(&mut self) {
            OPERATIONS.set(self.before);
        }
    }

    /// Returns whether this thread must compute by libtorch's operations.
    pub fn operations_are_forced() -> bool {
        OPERATIONS.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::{Inference, usable};
    use tch::{Kind, Tensor};

    fn ones(size: &[i64]) -> Tensor {
        Tensor::ones(size, (Kind::Float, Device::Cpu))
    }

    fn traced(f: impl FnOnce()) -> Counts {
        let trace = Trace::begin().unwrap();
        f();
        trace.end()
    }

    #[test]
    fn launches_are_those_of_the_innermost_operators() {
        let _guard = tch::no_grad_guard();
        let (x, weight, bias) = (ones(&[4, 8]), ones(&[16, 8]), ones(&[16]));
        let counts = traced(|| drop(x.linear(&weight, Some(&bias))));
        assert_eq!(counts.launches, 1, "{counts:?}");
        assert_eq!(counts.bytes, 4 * (4 * 8 + 16 * 8 + 16 + 4 * 16), "{counts:?}");
        assert!(counts.operators > 1 && counts.by_name["linear"].calls == 1);
        let counts = traced(|| drop(x.rms_norm([8], Some(&ones(&[8])), 1e-5)));
        assert_eq!(counts.by_name["rms_norm"].launches, 1, "{counts:?}");
        let counts = traced(|| drop((&x * 2.0).sum(Kind::Float)));
        assert_eq!(counts.launches_by_name(), "mul 1, sum 1");
    }

    #[test]
    fn views_and_allocations_launch_nothing() {
        let x = ones(&[4, 8]);
        let counts = traced(|| {
            drop(x.view([8, 4]).narrow(0, 2, 3).unsqueeze(0).transpose(0, 1));
            drop(Tensor::empty([3], (Kind::Float, Device::Cpu)));
            drop(x.contiguous());
        });
        assert_eq!((counts.launches, counts.bytes), (0, 0), "{counts:?}");
        assert!(counts.views >= 4, "{counts:?}");
        let counts = traced(|| drop(x.tr().reshape([-1])));
        assert_eq!(counts.launches_by_name(), "copy_ 1");
        assert_eq!(counts.bytes, 2 * 4 * 32);
    }

    #[test]
    fn rows_that_are_selected_are_bytes_and_the_table_is_not() {
        let _guard = tch::no_grad_guard();
        let table = ones(&[1000, 8]);
        let rows = Tensor::from_slice(&[1i64, 5]);
        let counts = traced(|| drop(table.index_select(0, &rows)));
        assert_eq!(counts.bytes, 2 * 8 + 2 * (2 * 8 * 4), "{counts:?}");
        let new = ones(&[2, 8]);
        let counts = traced(|| {
            let _ = table.shallow_clone().index_copy_(0, &rows, &new);
        });
        assert_eq!(counts.bytes, 2 * (2 * 8 + 2 * 8 * 4), "{counts:?}");
    }

    #[test]
    fn copies_of_computed_tensors_are_reads_and_others_are_uploads() {
        let x = ones(&[4]);
        let counts = traced(|| {
            let position = Tensor::from_slice(&[1i64, 2]).to_device(Device::Cpu);
            drop((&x * 2.0).to_device(Device::Cpu));
            let _ = x.index_select(0, &position).sum(Kind::Float).double_value(&[]);
        });
        assert_eq!((counts.uploads, counts.reads), (1, 2), "{counts:?}");
        // The zeros that the host writes over before it uploads them are no launch.
        assert_eq!(counts.launches, 3, "{counts:?}");
    }

    #[test]
    fn backward_passes_are_counted() {
        let x = ones(&[3, 3]).set_requires_grad(true);
        let y = x.matmul(&x).sum(Kind::Float);
        let counts = traced(|| y.backward());
        assert_eq!(counts.by_name["mm"].launches, 2, "{counts:?}");
    }

    #[test]
    fn a_thread_holds_one_trace_and_a_dropped_one_is_gone() {
        let trace = Trace::begin().unwrap();
        let error = Trace::begin().unwrap_err().to_string();
        assert!(error.contains("a trace is held already"), "{error}");
        let elsewhere = std::thread::spawn(|| traced(|| drop(ones(&[2]))));
        assert!(elsewhere.join().unwrap().operators > 0);
        assert_eq!(trace.end().operators, 0, "other threads are not counted");
        drop(Trace::begin().unwrap());
        assert!(Trace::begin().is_ok());
    }

    #[test]
    fn forced_operations_leave_the_kernels() {
        let x = ones(&[2, 32]);
        let _held = Inference::hold();
        assert!(usable(&[&x]));
        let forced = force_operations();
        assert!(!usable(&[&x]));
        drop(forced);
        assert!(usable(&[&x]));
    }
}

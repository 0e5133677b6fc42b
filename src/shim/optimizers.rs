//! The update rules of `csrc/optimizers.h`, made safe.

use std::ffi::{c_int, c_void};

use tch::{Device, Kind, Tensor};

/// One step of AdamW (Loshchilov & Hutter 2017, <https://arxiv.org/abs/1711.05101>), as PyTorch computes it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// The gradient is multiplied by this first.
    pub factor: f32,
    /// `1 − beta1`.
    pub first_new: f32,
    /// `beta2`.
    pub second_keep: f32,
    /// `1 − beta2`.
    pub second_new: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// What decay leaves of the weight: `1 − rate · decay`.
    pub keep: f32,
    /// `−rate / (1 − beta1^t)`.
    pub rate: f32,
    /// `√(1 − beta2^t)`.
    pub bias2_root: f32,
}

#[repr(C)]
struct Optimizers {
    adamw: unsafe extern "C" fn(
        *const AdamWStep,
        c_int,
        *const c_void,
        *mut f32,
        *mut f32,
        *mut f32,
        *mut c_void,
        i64,
    ),
}

unsafe extern "C" {
    fn ewe_optimizers_here() -> *const Optimizers;
}

fn optimizers() -> &'static Optimizers {
    // SAFETY: a constant table of the program; choosing one reads what the processor can do and nothing else.
    unsafe { &*ewe_optimizers_here() }
}

/// What one step changes of one tensor: all of one size, contiguous, on the CPU.
#[derive(Debug)]
pub struct AdamWTensors<'a> {
    /// fp32 or bf16.
    pub gradient: &'a Tensor,
    /// fp32.
    pub master: &'a Tensor,
    /// fp32.
    pub first: &'a Tensor,
    /// fp32.
    pub second: &'a Tensor,
    /// bf16; gets the new master, rounded.
    pub leaf: Option<&'a Tensor>,
}

impl AdamWTensors<'_> {
    /// Whether [`AdamWTensors::step`] takes them.
    pub fn usable(&self) -> bool {
        let count = self.gradient.numel();
        let plain = |x: &Tensor, kinds: &[Kind]| {
            kinds.contains(&x.kind()) && x.device() == Device::Cpu && x.is_contiguous() && x.numel() == count
        };
        plain(self.gradient, &[Kind::Float, Kind::BFloat16])
            && [self.master, self.first, self.second]
                .into_iter()
                .all(|x| plain(x, &[Kind::Float]))
            && self.leaf.is_none_or(|leaf| plain(leaf, &[Kind::BFloat16]))
    }

    /// Moves the moments and the weight by one step.
    ///
    /// # Panics
    ///
    /// Unless they are [`AdamWTensors::usable`].
    pub fn step(&self, step: &AdamWStep) {
        assert!(self.usable(), "contiguous tensors of one size on the CPU");
        // SAFETY: all are contiguous, on the CPU, of the types that the pointers say and of `numel` elements, as checked.
        unsafe {
            (optimizers().adamw)(
                step,
                c_int::from(self.gradient.kind() == Kind::BFloat16),
                self.gradient.data_ptr(),
                self.master.data_ptr().cast(),
                self.first.data_ptr().cast(),
                self.second.data_ptr().cast(),
                self.leaf.map_or(std::ptr::null_mut(), Tensor::data_ptr),
                self.gradient.numel() as i64,
            );
        }
    }
}

//! The CPU kernels in training: each recorded for autograd as one operation (`csrc/fused.cpp`),
//! with a backward pass that reads and writes memory once.
//!
//! Shapes: `n` tokens, `d` features, `h` heads, `r` rotated features.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::marker::PhantomData;

use tch::Tensor;

use super::kernels::{Gate, Norm, RopePairing};
use super::{alike, checked, holds};

unsafe extern "C" {
    fn ewe_rms_norm_recorded(
        x: *mut c_void,
        weight: *mut c_void,
        residual: *mut c_void,
        kind: c_int,
        eps: f64,
        out: *mut *mut c_void,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
    fn ewe_gated_recorded(
        gate: *mut c_void,
        up: *mut c_void,
        activation: c_int,
        out: *mut *mut c_void,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
    fn ewe_rope_recorded(
        x: *mut c_void,
        cos: *mut c_void,
        sin: *mut c_void,
        pairing: c_int,
        out: *mut *mut c_void,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
}

thread_local! {
    static TRAINERS: Cell<usize> = const { Cell::new(0) };
}

/// While one is held, this thread trains: what it computes without
/// [`Inference`](super::Inference) is recorded. Elsewhere, such as in a comparison of two ways of
/// inference, libtorch's operations are meant.
pub struct Training {
    /// The count is that of the thread that holds it.
    on_thread: PhantomData<*const ()>,
}

impl Training {
    /// Holds it until dropped.
    pub fn hold() -> Training {
        TRAINERS.set(TRAINERS.get() + 1);
        Training {
            on_thread: PhantomData,
        }
    }
}

impl Drop for Training {
    fn drop(&mut self) {
        TRAINERS.set(TRAINERS.get() - 1);
    }
}

/// Returns whether the functions of this module take these tensors: all bf16 or all fp32,
/// contiguous, on the CPU, on a thread that [trains](Training).
pub fn recordable(tensors: &[&Tensor]) -> bool {
    #[cfg(test)]
    if super::trace::operations_are_forced() {
        return false;
    }
    TRAINERS.get() > 0 && !holds() && alike(tensors)
}

/// Returns `norm(x_nd) · weight_d`, plus `residual_nd` if given. All are [`recordable`]; the weight
/// gets no gradient.
///
/// # Panics
///
/// With libtorch's words if shapes or types do not match, as tch's own operations do.
pub fn rms_norm(
    norm: Norm,
    x_nd: &Tensor,
    weight_d: &Tensor,
    residual_nd: Option<&Tensor>,
    eps: f64,
) -> Tensor {
    debug_assert!(!weight_d.requires_grad(), "a weight that is not trained");
    let residual = residual_nd.map_or(std::ptr::null_mut(), raw);
    // SAFETY: the tensors are live; a null residual is none.
    made(|out, error, room| unsafe {
        ewe_rms_norm_recorded(
            raw(x_nd),
            raw(weight_d),
            residual,
            norm as c_int,
            eps,
            out,
            error,
            room,
        )
    })
}

/// Returns `activation(gate) · up`, elementwise. Both are [`recordable`].
///
/// # Panics
///
/// As [`rms_norm`].
pub fn gated(activation: Gate, gate: &Tensor, up: &Tensor) -> Tensor {
    // SAFETY: the tensors are live.
    made(|out, error, room| unsafe {
        ewe_gated_recorded(raw(gate), raw(up), activation as c_int, out, error, room)
    })
}

/// Rotates the first `r` features of every head of `x_nhd`. `cos_nr` and `sin_nr`, which includes
/// the sign, have a column for each of them and get no gradient. All are [`recordable`].
///
/// # Panics
///
/// As [`rms_norm`].
pub fn rope(pairing: RopePairing, x_nhd: &Tensor, cos_nr: &Tensor, sin_nr: &Tensor) -> Tensor {
    // SAFETY: the tensors are live.
    made(|out, error, room| unsafe {
        ewe_rope_recorded(
            raw(x_nhd),
            raw(cos_nr),
            raw(sin_nr),
            pairing as c_int,
            out,
            error,
            room,
        )
    })
}

fn raw(x: &Tensor) -> *mut c_void {
    x.as_ptr() as *mut c_void
}

/// Returns the tensor that a call makes.
fn made(call: impl FnOnce(*mut *mut c_void, *mut c_char, usize) -> c_int) -> Tensor {
    let mut out = std::ptr::null_mut();
    checked(|error, room| call(&mut out, error, room)).expect("tensors that fit");
    // SAFETY: the call has succeeded, so `out` is a new tensor of ours.
    unsafe { Tensor::from_ptr(out.cast()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::generator::with_seed;
    use tch::{Device, Kind};

    fn random(size: &[i64], kind: Kind, seed: i64) -> Tensor {
        let x = with_seed(seed, || Tensor::randn(size, (Kind::Float, Device::Cpu))).to_kind(kind);
        x.set_requires_grad(true)
    }

    /// Asserts that two functions have the same output and gradients, within a few roundings.
    fn agree(what: &str, inputs: &[&Tensor], ours: impl Fn() -> Tensor, theirs: impl Fn() -> Tensor) {
        let run = |f: &dyn Fn() -> Tensor| {
            let out = f();
            let direction = random(&out.size(), out.kind(), 9).detach();
            let sum = (&out * direction).sum(Kind::Float);
            let gradients = Tensor::run_backward(&[sum], inputs, false, false);
            std::iter::once(out.detach()).chain(gradients).collect::<Vec<_>>()
        };
        let tolerance = if inputs[0].kind() == Kind::BFloat16 {
            2e-2
        } else {
            2e-6
        };
        for (index, (a, b)) in run(&ours).iter().zip(run(&theirs)).enumerate() {
            assert_eq!((a.size(), a.kind()), (b.size(), b.kind()), "{what} {index}");
            let (a, b) = (a.to_kind(Kind::Double), b.to_kind(Kind::Double));
            let apart = (&a - &b).abs().max().double_value(&[]);
            let largest = b.abs().max().double_value(&[]);
            assert!(
                apart <= tolerance * largest.max(1.0),
                "{what} {index}: {apart} of {largest}"
            );
            // Nearly all of many numbers of 16 bits are the same to the last bit.
            let differing = a
                .ne_tensor(&b)
                .to_kind(Kind::Double)
                .mean(Kind::Double)
                .double_value(&[]);
            assert!(
                inputs[0].kind() == Kind::Float || a.numel() < 1000 || differing < 0.02,
                "{what} {index}: {differing} differ"
            );
        }
    }

    const KINDS: [Kind; 2] = [Kind::Float, Kind::BFloat16];

    #[test]
    fn norms_have_the_gradients_of_libtorch() {
        for kind in KINDS {
            for (rows, features) in [(1, 1), (3, 15), (5, 64), (200, 640), (7, 257)] {
                let x = random(&[rows, features], kind, 1);
                let residual = random(&[rows, features], kind, 2);
                let weight = random(&[features], kind, 3).detach();
                let wide = |x: &Tensor| x.to_kind(Kind::Float);
                let gemma = || {
                    wide(&x)
                        .rms_norm([features], Some(wide(&weight) + 1.0), 1e-6)
                        .to_kind(kind)
                };
                let llama = || wide(&x).rms_norm([features], None::<&Tensor>, 1e-6).to_kind(kind) * &weight;
                let what = format!("{kind:?} {rows} × {features}");
                agree(
                    &what,
                    &[&x],
                    || rms_norm(Norm::Gemma, &x, &weight, None, 1e-6),
                    gemma,
                );
                agree(
                    &what,
                    &[&x],
                    || rms_norm(Norm::Llama, &x, &weight, None, 1e-6),
                    llama,
                );
                let added = || rms_norm(Norm::Gemma, &x, &weight, Some(&residual), 1e-6);
                agree(&what, &[&x, &residual], added, || &residual + gemma());
            }
        }
    }

    #[test]
    fn gates_have_the_gradients_of_libtorch() {
        for kind in KINDS {
            for count in [1, 17, 1024, 5000, 40_000] {
                let gate = random(&[count], kind, 1);
                let up = random(&[count], kind, 2);
                let what = format!("{kind:?} {count}");
                agree(
                    &what,
                    &[&gate, &up],
                    || gated(Gate::Silu, &gate, &up),
                    || gate.silu() * &up,
                );
                agree(
                    &what,
                    &[&gate, &up],
                    || gated(Gate::GeluTanh, &gate, &up),
                    || gate.gelu("tanh") * &up,
                );
            }
        }
        // Where an exponential overflows, slopes are 0 and 1.
        let (gate, up) = (
            Tensor::from_slice(&[-1e4f32, 1e4, 0.0]).set_requires_grad(true),
            Tensor::ones([3], (Kind::Float, Device::Cpu)),
        );
        for activation in [Gate::Silu, Gate::GeluTanh] {
            let sum = gated(activation, &gate, &up).sum(Kind::Float);
            let slopes =
                Vec::<f32>::try_from(&Tensor::run_backward(&[sum], &[&gate], false, false)[0]).unwrap();
            assert_eq!(slopes, [0.0, 1.0, 0.5], "{activation:?}");
        }
    }

    #[test]
    fn rotations_have_the_gradients_of_libtorch() {
        for kind in KINDS {
            for (tokens, heads, width, rotated) in
                [(1, 1, 2, 2), (5, 3, 64, 64), (9, 2, 80, 32), (4, 1, 40, 20)]
            {
                let x = random(&[tokens, heads, width], kind, 1);
                let angle = random(&[tokens, rotated / 2], Kind::Float, 2).detach();
                let (cos, sin) = (angle.cos(), angle.sin());
                for pairing in [RopePairing::Halves, RopePairing::Pairs] {
                    let (cos, sin) = match pairing {
                        RopePairing::Halves => {
                            (Tensor::cat(&[&cos, &cos], 1), Tensor::cat(&[&-&sin, &sin], 1))
                        }
                        RopePairing::Pairs => {
                            let pairs = |a: &Tensor, b: &Tensor| Tensor::stack(&[a, b], 2).flatten(1, 2);
                            (pairs(&cos, &cos), pairs(&-&sin, &sin))
                        }
                    };
                    let (cos, sin) = (cos.to_kind(kind).contiguous(), sin.to_kind(kind).contiguous());
                    let theirs = || {
                        let part = x.narrow(2, 0, rotated);
                        let swapped = match pairing {
                            RopePairing::Halves => part.roll(rotated / 2, 2),
                            RopePairing::Pairs => {
                                part.unflatten(2, [rotated / 2, 2]).flip(-1).flatten(-2, -1)
                            }
                        };
                        let turned = part * cos.unsqueeze(1) + swapped * sin.unsqueeze(1);
                        Tensor::cat(&[turned, x.narrow(2, rotated, width - rotated)], 2)
                    };
                    let what = format!("{kind:?} {pairing:?} {tokens} × {heads} × {width}");
                    agree(&what, &[&x], || rope(pairing, &x, &cos, &sin), theirs);
                }
            }
        }
    }
}

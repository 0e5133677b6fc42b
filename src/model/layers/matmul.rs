//! Matrix products, where libtorch's own are not the fastest.
//!
//! Shapes: `n` rows, `i` features in, `o` features out.

use std::cell::Cell;

use tch::{Device, Kind, Tensor};

use crate::model::device::has_bf16;
use crate::shim::{linear_hollow, linear_widened};

/// Rows from which a product with a matrix of 4,096 by 4,096 is faster in fp32; smaller matrices
/// hardly matter. 16 rows take 25 ms in libtorch's loops and 38 widened, 32 take 49 and 40, 512
/// take 782 and 135 (2 cores with AVX2, 2026-11-27).
const ROWS: i64 = 24;

thread_local! {
    static HOLLOW: Cell<bool> = const { Cell::new(false) };
}

/// While held, this thread's layers compute no products: results are zeros that take the memory
/// they would take on a GPU.
pub struct Hollow {
    before: bool,
}

impl Hollow {
    /// Holds it until dropped.
    pub fn hold() -> Hollow {
        Hollow {
            before: HOLLOW.replace(true),
        }
    }
}

impl Drop for Hollow {
    fn drop(&mut self) {
        HOLLOW.set(self.before);
    }
}

/// Returns whether products of `x` should be computed in fp32: `x` is bf16 on a processor without
/// bf16 products, where libtorch's loops take six times as long or more.
pub fn lacks_bf16(x: &Tensor) -> bool {
    x.kind() == Kind::BFloat16 && x.device() == Device::Cpu && !has_bf16(Device::Cpu) && !HOLLOW.get()
}

/// Returns whether [`linear`] computes in fp32.
pub fn widens(x_ni: &Tensor) -> bool {
    lacks_bf16(x_ni) && x_ni.size()[0] >= ROWS
}

/// Returns `x_ni · weight_oiᵀ + bias_o`.
pub fn linear(x_ni: &Tensor, weight_oi: &Tensor, bias_o: Option<&Tensor>) -> Tensor {
    match widens(x_ni) {
        _ if HOLLOW.get() => linear_hollow(x_ni, weight_oi, bias_o),
        true => linear_widened(x_ni, weight_oi, bias_o),
        false => x_ni.linear(weight_oi, bias_o),
    }
}

/// Writes `x_ni · weight_oiᵀ + bias_o` to `out_no`, without recording it for autograd: for the few
/// rows and many features of a loss.
pub fn linear_into(out_no: &mut Tensor, x_ni: &Tensor, weight_oi: &Tensor, bias_o: Option<&Tensor>) {
    let _guard = tch::no_grad_guard();
    let weight_io = weight_oi.tr();
    if lacks_bf16(x_ni) {
        // Rounded while it is copied, so that the result does not exist three times.
        let wide = |x: &Tensor| x.to_kind(Kind::Float);
        let y_no = match bias_o {
            Some(bias_o) => wide(bias_o).addmm(&wide(x_ni), &wide(&weight_io)),
            None => wide(x_ni).mm(&wide(&weight_io)),
        };
        out_no.copy_(&y_no);
        return;
    }
    let _ = match bias_o {
        Some(bias_o) => bias_o.addmm_out(out_no, x_ni, &weight_io),
        None => x_ni.mm_out(out_no, &weight_io),
    };
}

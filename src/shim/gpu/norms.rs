//! Sums of squares of many gradients; `csrc/gpu/norms.h`.

use super::{Argument, Kernels, checked, groups, kind_of, on_device, suffix};
use crate::shim::transfer::Plain;
use anyhow::Result;
use std::ffi::c_void;
use tch::{Kind, Tensor};

/// `STRETCH` of the header.
const STRETCH: i64 = 1 << 14;

/// `NormItem` of the header.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Item {
    gradient: *mut c_void,
    count: i64,
    begin: i64,
}

// SAFETY: three fields of 8 bytes fill 24.
unsafe impl Plain for Item {}
const _: () = assert!(size_of::<Item>() == 3 * 8);

/// Returns the sum of squares of each gradient, in two launches for each type and one read by the
/// host.
///
/// # Errors
///
/// If a kernel cannot be compiled or launched.
///
/// # Panics
///
/// If a gradient is neither bf16 nor fp32, not contiguous, not on the device of the first, or not
/// at a multiple of 16 bytes.
pub fn sums_of_squares(gradients: &[Tensor]) -> Result<Vec<f64>> {
    let Some(first) = gradients.first() else {
        return Ok(Vec::new());
    };
    let device = first.device();
    let kernels = Kernels::on(device)?;
    let mut order = Vec::new();
    let mut totals = Vec::new();
    for kind in [Kind::Float, Kind::BFloat16] {
        let mut items = Vec::new();
        let mut stretches = 0;
        for (index, gradient) in gradients.iter().enumerate() {
            if kind_of(gradient) != kind {
                continue;
            }
            let count = gradient.numel() as i64;
            items.push(Item {
                gradient: checked("a gradient", gradient, kind, count, device)?,
                count,
                begin: stretches,
            });
            stretches += groups(count, STRETCH);
            order.push((index, suffix(gradient)));
        }
        if items.is_empty() {
            continue;
        }
        let table = on_device(&items, device)?;
        let sums = Tensor::empty([stretches.max(1)], (Kind::Float, device));
        let total = Tensor::empty([items.len() as i64], (Kind::Double, device));
        let (table, count) = (Argument::of(&table), Argument::Int(i32::try_from(items.len())?));
        let (stretch_sums, stretches_given) = (Argument::of(&sums), Argument::Long(stretches));
        let name = order.last().map_or("fp32", |(_, suffix)| suffix);
        // SAFETY: the table has as many items as are told, each of its count, as checked; the
        // others were made here with the sizes that are told.
        unsafe {
            let name = format!("square_stretches_{name}");
            kernels.launch(&name, stretches, &[table, count, stretches_given, stretch_sums])?;
            let arguments = [table, count, stretches_given, stretch_sums, Argument::of(&total)];
            kernels.launch("add_stretches", items.len() as i64, &arguments)?;
        }
        totals.push(total);
    }
    let read: Vec<f64> = Vec::try_from(Tensor::cat(&totals, 0))?;
    let mut result = vec![0.0; gradients.len()];
    for ((index, _), sum) in order.into_iter().zip(read) {
        result[index] = sum;
    }
    Ok(result)
}

//! AdamW over many tensors in one launch for each format; `csrc/gpu/adamw.h`.

use super::{Argument, Kernels, checked, kind_of, on_device, suffix};
use crate::shim::optimizers::{AdamwStep, MomentTensors, WeightTensors, blocks};
use crate::shim::transfer::Plain;
use anyhow::Result;
use std::ffi::c_void;
use tch::{Device, Kind, Tensor};

/// The step of one tensor.
#[derive(Debug)]
pub struct AdamwUpdate<'a> {
    /// Its factors.
    pub step: AdamwStep,
    /// The weights, which are updated in place.
    pub weights: WeightTensors<'a>,
    /// Its optimizer state, too.
    pub moments: MomentTensors<'a>,
    /// bf16 or fp32, contiguous.
    pub gradient: Tensor,
}

/// `AdamwItem` of the header.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Item {
    step: AdamwStep,
    weight: *mut c_void,
    exact: *mut c_void,
    first: *mut c_void,
    second: *mut c_void,
    first_scale: *mut c_void,
    second_scale: *mut c_void,
    gradient: *mut c_void,
    count: i64,
    begin: i64,
}

// SAFETY: ten numbers of 4 bytes in the step, and nine fields of 8, fill 112 bytes.
unsafe impl Plain for Item {}
const _: () = assert!(size_of::<Item>() == 10 * 4 + 9 * 8);

/// Addresses of a weight and of what is kept beside it.
pub(super) fn weight_addresses(
    weights: &WeightTensors,
    count: i64,
    device: Device,
) -> Result<(&'static str, *mut c_void, *mut c_void)> {
    let half = |x: &Tensor| checked("a weight", x, Kind::BFloat16, count, device);
    Ok(match weights {
        WeightTensors::Fp32(weight) => {
            let weight = checked("a weight", weight, Kind::Float, count, device)?;
            ("fp32", weight, std::ptr::null_mut())
        }
        WeightTensors::Copy(weight, master) => {
            let master = checked("a master weight", master, Kind::Float, count, device)?;
            ("copy", half(weight)?, master)
        }
        WeightTensors::Split(weight, low) => {
            let low = checked("a lower half", low, Kind::Int16, count, device)?;
            ("split", half(weight)?, low)
        }
        WeightTensors::Drawn(weight) => ("stochastic", half(weight)?, std::ptr::null_mut()),
    })
}

impl Item {
    /// The item, and the kernel that takes it.
    fn of(update: &AdamwUpdate, device: Device) -> Result<(String, Item)> {
        let count = update.gradient.numel() as i64;
        let (format, weight, exact) = weight_addresses(&update.weights, count, device)?;
        let moment = |x, kind| checked("a moment", x, kind, count, device);
        let scale = |x| checked("scales", x, Kind::Float, blocks(count), device);
        let nothing = std::ptr::null_mut();
        let (bits, first, second, first_scale, second_scale) = match update.moments {
            MomentTensors::Fp32 { first, second } => (
                32,
                moment(first, Kind::Float)?,
                moment(second, Kind::Float)?,
                nothing,
                nothing,
            ),
            MomentTensors::Eight {
                first,
                first_scale,
                second,
                second_scale,
            } => (
                8,
                moment(first, Kind::Int8)?,
                moment(second, Kind::Uint8)?,
                scale(first_scale)?,
                scale(second_scale)?,
            ),
        };
        let gradient = checked(
            "a gradient",
            &update.gradient,
            kind_of(&update.gradient),
            count,
            device,
        )?;
        let item = Item {
            step: update.step,
            weight,
            exact,
            first,
            second,
            first_scale,
            second_scale,
            gradient,
            count,
            begin: 0,
        };
        Ok((
            format!("adamw_{format}_{bits}_{}", suffix(&update.gradient)),
            item,
        ))
    }
}

/// AdamW (Loshchilov & Hutter 2017) of all these tensors: one launch for each format, no read by
/// the host. The bits are those of [`crate::shim::optimizers::adamw`].
///
/// # Errors
///
/// If a kernel cannot be compiled for this card, or a tensor does not lie at a multiple of 16
/// bytes. Nothing has changed then.
///
/// # Panics
///
/// With CUDA's words if a launch fails; if a tensor is of another type or size than its format has,
/// not contiguous, or not on the device of the first gradient.
pub fn adamw(updates: &[AdamwUpdate]) -> Result<()> {
    let Some(first) = updates.first() else {
        return Ok(());
    };
    let device = first.gradient.device();
    let kernels = Kernels::on(device)?;
    let items = updates.iter().map(|update| Item::of(update, device));
    for (kernel, mut items) in kernels.grouped(items)? {
        let mut work = 0;
        for item in &mut items {
            item.begin = work;
            work += blocks(item.count);
        }
        let table = on_device(&items, device)?;
        let arguments = [
            Argument::of(&table),
            Argument::Int(i32::try_from(items.len())?),
            Argument::Long(work),
        ];
        // SAFETY: the table has as many items as are told, whose memory is of the formats that the
        // kernel's name tells and of their counts, as checked.
        let launched = unsafe { kernels.launch(&kernel, work, &arguments) };
        launched.unwrap_or_else(|error| panic!("{error:#}"));
    }
    Ok(())
}

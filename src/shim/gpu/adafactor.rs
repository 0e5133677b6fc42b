//! Adafactor over many matrices in five launches, behind two for the norms that clipping needs;
//! `csrc/gpu/adafactor.h`.

use super::adamw::weight_addresses;
use super::{Argument, Kernels, WARP, checked, groups, kind_of, on_device, suffix};
use crate::shim::optimizers::WeightTensors;
use crate::shim::transfer::Plain;
use anyhow::Result;
use std::ffi::c_void;
use tch::{Device, Kind, Tensor};

/// Sides of a tile, `TILE_ROWS` and `TILE_COLUMNS` of the header.
const TILE: (i64, i64) = (64, 256);

/// The step of one matrix `[r, c]`; a vector is a matrix of one row.
#[derive(Debug)]
pub struct FactoredUpdate<'a> {
    /// Every gradient is multiplied by this.
    pub factor: f32,
    /// Every weight is, before it moves.
    pub decay: f32,
    /// The learning rate.
    pub rate: f32,
    /// Share of the running means that is kept.
    pub kept: f32,
    /// And that of the new ones: 1 − kept.
    pub share: f32,
    /// Decides, with an element's number, which way a weight is rounded.
    pub key: [u32; 2],
    /// The weights, which are updated in place.
    pub weights: WeightTensors<'a>,
    /// Running means of squares along rows, fp32 `[r]`.
    pub row_means: &'a Tensor,
    /// The same along columns, fp32 `[c]`.
    pub column_means: &'a Tensor,
    /// bf16 or fp32, contiguous.
    pub gradient: Tensor,
    /// Sums of its squares, if they were computed for its norm; none computes them.
    pub sums: Option<SumsOf<'a>>,
}

/// The sums of one gradient, by its number in the list that they were computed of. The gradient
/// must not have changed since.
#[derive(Debug, Clone, Copy)]
pub struct SumsOf<'a> {
    /// The sums of all.
    pub all: &'a FactoredSums,
    /// Its number.
    pub number: usize,
}

/// Sums of squares of gradients along rows and columns, on their device: what norms are computed
/// from first, and running means afterwards.
#[derive(Debug)]
pub struct FactoredSums {
    /// The memory of all.
    _room: Tensor,
    /// With the addresses of their sums.
    items: Vec<Item>,
}

/// `FactoredItem` of the header.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Item {
    factor: f32,
    decay: f32,
    rate: f32,
    kept: f32,
    share: f32,
    key: [u32; 2],
    unused: u32,
    weight: *mut c_void,
    exact: *mut c_void,
    gradient: *mut c_void,
    row_means: *mut c_void,
    column_means: *mut c_void,
    row_sums: *mut c_void,
    column_sums: *mut c_void,
    tile_sums: *mut c_void,
    mean_of_rows: *mut c_void,
    clipped_rate: *mut c_void,
    rows: i64,
    columns: i64,
    begin_tile: i64,
    begin_line: i64,
    aligned: i32,
    unused_end: u32,
}

// SAFETY: fourteen fields of 8 bytes, and ten of 4 in which the key counts twice, fill 152 bytes:
// the two unused ones are where C++ has gaps.
unsafe impl Plain for Item {}
const _: () = assert!(size_of::<Item>() == 14 * 8 + 10 * 4);

impl Item {
    fn tiles(&self) -> i64 {
        groups(self.rows, TILE.0) * groups(self.columns, TILE.1)
    }

    /// Rows and columns in groups of a warp.
    fn lines(&self) -> i64 {
        groups(self.rows, WARP) + groups(self.columns, WARP)
    }

    /// Numbers of room: row sums, column sums, tile sums, and the two single ones.
    fn room(&self) -> [i64; 4] {
        [
            groups(self.columns, TILE.1) * self.rows,
            groups(self.rows, TILE.0) * self.columns,
            self.tiles(),
            2,
        ]
    }

    /// An item of a gradient `[rows, columns]` alone.
    fn of_gradient(gradient: &Tensor, (rows, columns): (i64, i64), device: Device) -> Result<Item> {
        let kind = kind_of(gradient);
        let nothing = std::ptr::null_mut();
        Ok(Item {
            factor: 1.0,
            decay: 1.0,
            rate: 0.0,
            kept: 0.0,
            share: 0.0,
            key: [0; 2],
            unused: 0,
            weight: nothing,
            exact: nothing,
            gradient: checked("a gradient", gradient, kind, rows * columns, device)?,
            row_means: nothing,
            column_means: nothing,
            row_sums: nothing,
            column_sums: nothing,
            tile_sums: nothing,
            mean_of_rows: nothing,
            clipped_rate: nothing,
            rows,
            columns,
            begin_tile: 0,
            begin_line: 0,
            aligned: i32::from(columns % 8 == 0),
            unused_end: 0,
        })
    }

    /// The item, and the kernel that moves its weights.
    fn of(update: &FactoredUpdate, device: Device) -> Result<(String, Item)> {
        let (rows, columns) = (
            update.row_means.numel() as i64,
            update.column_means.numel() as i64,
        );
        let (format, weight, exact) = weight_addresses(&update.weights, rows * columns, device)?;
        let means = |x, count| checked("means", x, Kind::Float, count, device);
        let mut item = Item {
            factor: update.factor,
            decay: update.decay,
            rate: update.rate,
            kept: update.kept,
            share: update.share,
            key: update.key,
            weight,
            exact,
            row_means: means(update.row_means, rows)?,
            column_means: means(update.column_means, columns)?,
            ..Item::of_gradient(&update.gradient, (rows, columns), device)?
        };
        if let Some(sums) = update.sums {
            item.take_sums(&sums.all.items[sums.number]);
        }
        Ok((format!("factored_{format}_{}", suffix(&update.gradient)), item))
    }

    /// Takes the memory of sums that were computed already.
    ///
    /// # Panics
    ///
    /// If they are of a matrix of another size.
    fn take_sums(&mut self, of: &Item) {
        assert_eq!(
            (self.rows, self.columns),
            (of.rows, of.columns),
            "sums of the same gradient"
        );
        self.row_sums = of.row_sums;
        self.column_sums = of.column_sums;
        self.tile_sums = of.tile_sums;
        self.mean_of_rows = of.mean_of_rows;
        self.clipped_rate = of.clipped_rate;
    }
}

/// Places the items one behind the other. Returns tiles and lines of all.
fn lined_up(items: &mut [Item]) -> (i64, i64) {
    let (mut tiles, mut lines) = (0, 0);
    for item in items {
        (item.begin_tile, item.begin_line) = (tiles, lines);
        tiles += item.tiles();
        lines += item.lines();
    }
    (tiles, lines)
}

/// Gives the items room; returns it.
fn given_room(items: &mut [Item], device: Device) -> Tensor {
    let numbers: i64 = items.iter().flat_map(Item::room).sum();
    let room = Tensor::empty([numbers.max(1)], (Kind::Float, device));
    let mut at = room.data_ptr().cast::<f32>();
    for item in items {
        let [row_sums, column_sums, tile_sums, _] = item.room();
        let mut take = |count: i64| {
            let here = at;
            at = at.wrapping_add(count as usize);
            here.cast::<c_void>()
        };
        item.row_sums = take(row_sums);
        item.column_sums = take(column_sums);
        item.tile_sums = take(tile_sums);
        item.mean_of_rows = take(1);
        item.clipped_rate = take(1);
    }
    room
}

impl FactoredSums {
    /// Computes those of gradients, each bf16 or fp32, contiguous, and a matrix of these rows and
    /// columns. Returns the sum of squares of each, too: in two launches for each type and one read
    /// by the host.
    ///
    /// # Errors
    ///
    /// If a kernel cannot be compiled or launched, or a gradient does not lie at a multiple of 16
    /// bytes.
    ///
    /// # Panics
    ///
    /// If a gradient is of another type or size, not contiguous, or not on the device of the first.
    pub fn of(gradients: &[(Tensor, (i64, i64))]) -> Result<(FactoredSums, Vec<f64>)> {
        let device = gradients.first().map_or(Device::Cpu, |(first, _)| first.device());
        let kernels = Kernels::on(device)?;
        let items = gradients
            .iter()
            .map(|(gradient, size)| Item::of_gradient(gradient, *size, device));
        let mut items = items.collect::<Result<Vec<Item>>>()?;
        let room = given_room(&mut items, device);
        let (mut order, mut totals) = (Vec::new(), Vec::new());
        for kind in ["fp32", "bf16"] {
            let of_kind = gradients.iter().enumerate();
            let of_kind = of_kind.filter(|(_, (gradient, _))| suffix(gradient) == kind);
            let numbers: Vec<usize> = of_kind.map(|(number, _)| number).collect();
            if !numbers.is_empty() {
                let mut items: Vec<Item> = numbers.iter().map(|&number| items[number]).collect();
                totals.push(launch_sums(kernels, kind, &mut items, device)?);
                order.extend(numbers);
            }
        }
        let mut sums = vec![0.0; gradients.len()];
        if !totals.is_empty() {
            let read: Vec<f64> = Vec::try_from(Tensor::cat(&totals, 0))?;
            for (number, sum) in order.into_iter().zip(read) {
                sums[number] = sum;
            }
        }
        Ok((FactoredSums { _room: room, items }, sums))
    }
}

/// Launches the kernels for the sums of gradients of one type, which have room. Returns the sum of
/// all squares of each, fp64.
fn launch_sums(kernels: &Kernels, kind: &str, items: &mut [Item], device: Device) -> Result<Tensor> {
    let (tiles, _) = lined_up(items);
    let count = items.len() as i64;
    let totals = Tensor::empty([count], (Kind::Double, device));
    let table = on_device(items, device)?;
    let (list, given) = (Argument::of(&table), Argument::Int(i32::try_from(count)?));
    // SAFETY: the table has as many items as are told, whose gradients are of the type that the
    // kernel's name tells and of their sizes, as checked; their room is what `room` says, and there
    // is a total for each.
    unsafe {
        let name = format!("square_tiles_{kind}");
        kernels.launch(&name, tiles, &[list, given, Argument::Long(tiles)])?;
        kernels.launch("add_tiles", count, &[list, given, Argument::of(&totals)])?;
    }
    Ok(totals)
}

/// Adafactor (Shazeer & Stern 2018, algorithm 4, without a first moment) of all these matrices,
/// without a read by the host: five launches for each format, and one more if it has gradients
/// without sums.
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
pub fn adafactor(updates: &[FactoredUpdate]) -> Result<()> {
    let Some(first) = updates.first() else {
        return Ok(());
    };
    let device = first.gradient.device();
    let kernels = Kernels::on(device)?;
    let items = updates.iter().map(|update| Item::of(update, device));
    for (kernel, mut items) in kernels.grouped(items)? {
        launch(kernels, &kernel, &mut items, device).unwrap_or_else(|error| panic!("{error:#}"));
    }
    Ok(())
}

/// Launches all kernels for matrices of one format, whose weights `kernel` moves.
fn launch(kernels: &Kernels, kernel: &str, items: &mut [Item], device: Device) -> Result<()> {
    let has_sums = items.iter().all(|item| !item.row_sums.is_null());
    // Of some alone they are computed again.
    let _room = (!has_sums).then(|| given_room(items, device));
    let of = if kernel.ends_with("bf16") { "bf16" } else { "fp32" };
    let (tiles, lines) = lined_up(items);
    let count = items.len() as i64;
    let table = on_device(items, device)?;
    let (list, given) = (Argument::of(&table), Argument::Int(i32::try_from(count)?));
    let of_tiles = [list, given, Argument::Long(tiles)];
    // SAFETY: the table has as many items as are told, whose memory is of the formats that the
    // kernels' names tell and of their sizes, as checked; their room is what `room` says.
    unsafe {
        if !has_sums {
            kernels.launch(&format!("square_tiles_{of}"), tiles, &of_tiles)?;
        }
        kernels.launch("mean_lines", lines, &[list, given, Argument::Long(lines)])?;
        kernels.launch("mean_rows", count, &[list, given])?;
        kernels.launch(&format!("scale_tiles_{of}"), tiles, &of_tiles)?;
        kernels.launch("clip_rates", count, &[list, given])?;
        kernels.launch(kernel, tiles, &of_tiles)
    }
}

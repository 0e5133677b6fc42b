//! Adafactor over many matrices in six launches; `csrc/gpu/adafactor.h`.

use super::adamw::weight_addresses;
use super::{Argument, Kernels, WARP, checked, groups, kind_of, on_device, suffix};
use crate::shim::optimizers::WeightTensors;
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
}

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

    /// The item, and the kernel that moves its weights.
    fn of(update: &FactoredUpdate, device: Device) -> Result<(String, Item)> {
        let (rows, columns) = (
            update.row_means.numel() as i64,
            update.column_means.numel() as i64,
        );
        let count = rows * columns;
        let (format, weight, exact) = weight_addresses(&update.weights, count, device)?;
        let means = |x, count| checked("means", x, Kind::Float, count, device);
        let gradient = checked(
            "a gradient",
            &update.gradient,
            kind_of(&update.gradient),
            count,
            device,
        )?;
        let nothing = std::ptr::null_mut();
        let item = Item {
            factor: update.factor,
            decay: update.decay,
            rate: update.rate,
            kept: update.kept,
            share: update.share,
            key: update.key,
            weight,
            exact,
            gradient,
            row_means: means(update.row_means, rows)?,
            column_means: means(update.column_means, columns)?,
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
        };
        Ok((format!("factored_{format}_{}", suffix(&update.gradient)), item))
    }
}

/// Places the items one behind the other, and gives them room; returns that room.
fn laid_out(items: &mut [Item], device: Device) -> Tensor {
    let numbers: i64 = items.iter().flat_map(Item::room).sum();
    let room = Tensor::empty([numbers.max(1)], (Kind::Float, device));
    let mut at = room.data_ptr().cast::<f32>();
    let (mut tiles, mut lines) = (0, 0);
    for item in items {
        (item.begin_tile, item.begin_line) = (tiles, lines);
        tiles += item.tiles();
        lines += item.lines();
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

/// Adafactor (Shazeer & Stern 2018, algorithm 4, without a first moment) of all these matrices,
/// without a read by the host: six launches for each format.
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

/// Launches all six for matrices of one format, whose weights `kernel` moves.
fn launch(kernels: &Kernels, kernel: &str, items: &mut [Item], device: Device) -> Result<()> {
    let _room = laid_out(items, device);
    let of = if kernel.ends_with("bf16") { "bf16" } else { "fp32" };
    let tiles: i64 = items.iter().map(Item::tiles).sum();
    let lines: i64 = items.iter().map(Item::lines).sum();
    let count = items.len() as i64;
    let table = on_device(items, device);
    let (list, given) = (Argument::of(&table), Argument::Int(i32::try_from(count)?));
    let of_tiles = [list, given, Argument::Long(tiles)];
    // SAFETY: the table has as many items as are told, whose memory is of the formats that the
    // kernels' names tell and of their sizes, as checked; their room is what `room` says.
    unsafe {
        kernels.launch(&format!("square_tiles_{of}"), tiles, &of_tiles)?;
        kernels.launch("mean_lines", lines, &[list, given, Argument::Long(lines)])?;
        kernels.launch("mean_rows", count, &[list, given])?;
        kernels.launch(&format!("scale_tiles_{of}"), tiles, &of_tiles)?;
        kernels.launch("clip_rates", count, &[list, given])?;
        kernels.launch(kernel, tiles, &of_tiles)
    }
}

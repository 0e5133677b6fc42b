//! The header of a safetensors file.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use safetensors::{Dtype, SafeTensors};

use super::{map, row_major};
use crate::model::files::pickle::Number;
use crate::model::files::torch_file::TensorLocation;

/// Returns where the tensors of a safetensors file are.
pub(super) fn places(path: &Path, file: &File) -> Result<Vec<(String, TensorLocation)>> {
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    if length == 0 {
        bail!(
            "{} is empty\nhint: compare its size and checksum with the source's",
            path.display()
        );
    }
    // The format's crate takes the whole file, but reads only the header.
    let bytes = map(file, 0, length).with_context(|| format!("cannot map {}", path.display()))?;
    let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| {
        anyhow!(
            "{} is truncated or not a safetensors file ({error})\nhint: compare its size and checksum with the source's",
            path.display()
        )
    })?;
    let places = metadata.tensors().into_iter().map(|(name, info)| {
        let shape: Vec<i64> = info.shape.iter().map(|&n| n as i64).collect();
        let place = TensorLocation {
            number: match info.dtype {
                Dtype::F32 => Number::F32,
                Dtype::F16 => Number::F16,
                Dtype::BF16 => Number::Bf16,
                Dtype::F64 => Number::F64,
                Dtype::BOOL => Number::Other("bool", 1),
                Dtype::I64 => Number::Other("int64", 8),
                _ => Number::Other("of another kind than floating point", 1),
            },
            strides: row_major(&shape),
            shape,
            start: (8 + header + info.data_offsets.0) as u64,
            end: (8 + header + info.data_offsets.1) as u64,
        };
        (name, place)
    });
    Ok(places.collect())
}

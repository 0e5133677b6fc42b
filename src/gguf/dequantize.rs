//! Blocks of quantized numbers to f32, with the arithmetic of ggml's reference and of gguf-py's
//! `dequantize`, to the last bit.

use half::{bf16, f16};
use rayon::prelude::*;

use super::kind::TensorKind;

/// Numbers that one thread converts at once; a multiple of every block.
const CHUNK: usize = 1 << 14;

/// Converts `bytes`, whole blocks of `kind`, to `numbers`.
///
/// # Panics
///
/// If the lengths do not fit each other.
pub fn dequantize(kind: TensorKind, bytes: &[u8], numbers: &mut [f32]) {
    let chunk_bytes = CHUNK / kind.block() * kind.block_bytes();
    assert_eq!(
        numbers.len() / kind.block() * kind.block_bytes(),
        bytes.len(),
        "whole blocks of {}",
        kind.name()
    );
    let convert = of(kind);
    numbers
        .par_chunks_mut(CHUNK)
        .zip(bytes.par_chunks(chunk_bytes))
        .for_each(|(numbers, bytes)| {
            let blocks = bytes.chunks_exact(kind.block_bytes());
            for (numbers, block) in numbers.chunks_exact_mut(kind.block()).zip(blocks) {
                convert(block, numbers);
            }
        });
}

/// Returns what converts one block.
fn of(kind: TensorKind) -> fn(&[u8], &mut [f32]) {
    match kind {
        TensorKind::F32 => |block, out| out[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]),
        TensorKind::F16 => |block, out| out[0] = half_at(block, 0),
        TensorKind::Bf16 => |block, out| out[0] = bf16::from_le_bytes([block[0], block[1]]).to_f32(),
        TensorKind::Q4_0 => q4_0,
        TensorKind::Q4_1 => q4_1,
        TensorKind::Q5_0 => q5_0,
        TensorKind::Q5_1 => q5_1,
        TensorKind::Q8_0 => q8_0,
        TensorKind::Q4K => q4_k,
        TensorKind::Q5K => q5_k,
        TensorKind::Q6K => q6_k,
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Returns number `i` of 32 whose lower 4 bits are in 16 bytes: the first half of the numbers in
/// the lower halves of the bytes.
fn nibble(bytes: &[u8], i: usize) -> u8 {
    match i {
        0..16 => bytes[i] & 0x0f,
        _ => bytes[i - 16] >> 4,
    }
}

/// Returns number `i` of 32 of 5 bits, whose highest bits are in the 4 bytes `high`.
fn of_five_bits(high: &[u8], low: &[u8], i: usize) -> u8 {
    nibble(low, i) | (high[i / 8] >> (i % 8) & 1) << 4
}

fn q4_0(block: &[u8], out: &mut [f32]) {
    let scale = half_at(block, 0);
    for (i, number) in out.iter_mut().enumerate() {
        *number = scale * (f32::from(nibble(&block[2..], i)) - 8.0);
    }
}

fn q4_1(block: &[u8], out: &mut [f32]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    for (i, number) in out.iter_mut().enumerate() {
        *number = scale * f32::from(nibble(&block[4..], i)) + minimum;
    }
}

fn q5_0(block: &[u8], out: &mut [f32]) {
    let scale = half_at(block, 0);
    for (i, number) in out.iter_mut().enumerate() {
        *number = scale * (f32::from(of_five_bits(&block[2..6], &block[6..], i)) - 16.0);
    }
}

fn q5_1(block: &[u8], out: &mut [f32]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    for (i, number) in out.iter_mut().enumerate() {
        *number = scale * f32::from(of_five_bits(&block[4..8], &block[8..], i)) + minimum;
    }
}

fn q8_0(block: &[u8], out: &mut [f32]) {
    let scale = half_at(block, 0);
    for (number, byte) in out.iter_mut().zip(&block[2..]) {
        *number = f32::from(byte.cast_signed()) * scale;
    }
}

/// Returns scale and minimum of group `j` of 8, of 6 bits each, packed in 12 bytes.
fn scale_and_minimum(packed: &[u8], j: usize) -> (f32, f32) {
    let (scale, minimum) = match j {
        0..4 => (packed[j] & 0x3f, packed[j + 4] & 0x3f),
        _ => (
            packed[j + 4] & 0x0f | packed[j - 4] >> 2 & 0x30,
            packed[j + 4] >> 4 | packed[j] >> 2 & 0x30,
        ),
    };
    (f32::from(scale), f32::from(minimum))
}

fn q4_k(block: &[u8], out: &mut [f32]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    let (packed, low) = (&block[4..16], &block[16..]);
    for (j, group) in out.chunks_exact_mut(32).enumerate() {
        let (of_scale, of_minimum) = scale_and_minimum(packed, j);
        let (scale, minimum) = (scale * of_scale, minimum * of_minimum);
        let (bytes, shift) = (&low[j / 2 * 32..], j % 2 * 4);
        for (number, byte) in group.iter_mut().zip(bytes) {
            *number = scale * f32::from(byte >> shift & 0x0f) - minimum;
        }
    }
}

fn q5_k(block: &[u8], out: &mut [f32]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    let (packed, high, low) = (&block[4..16], &block[16..48], &block[48..]);
    for (j, group) in out.chunks_exact_mut(32).enumerate() {
        let (of_scale, of_minimum) = scale_and_minimum(packed, j);
        let (scale, minimum) = (scale * of_scale, minimum * of_minimum);
        let (bytes, shift) = (&low[j / 2 * 32..], j % 2 * 4);
        for (i, number) in group.iter_mut().enumerate() {
            let bits = bytes[i] >> shift & 0x0f | (high[i] >> j & 1) << 4;
            *number = scale * f32::from(bits) - minimum;
        }
    }
}

fn q6_k(block: &[u8], out: &mut [f32]) {
    let (low, high, scales, scale) = (
        &block[..128],
        &block[128..192],
        &block[192..208],
        half_at(block, 208),
    );
    for (j, group) in out.chunks_exact_mut(32).enumerate() {
        let (half, quarter) = (j / 4, j % 4);
        let (low, high) = (&low[half * 64 + quarter % 2 * 32..], &high[half * 32..]);
        for (i, number) in group.iter_mut().enumerate() {
            let bits = low[i] >> (quarter / 2 * 4) & 0x0f | (high[i] >> (quarter * 2) & 3) << 4;
            let of_scale = scales[(j * 32 + i) / 16].cast_signed();
            *number = scale * f32::from(of_scale) * (f32::from(bits) - 32.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::header::Header;

    /// Every type, as gguf-py dequantizes random blocks (`scripts/make_gguf_goldens.py`): the
    /// blocks in `NAME`, the numbers in `NAME.f32`.
    #[test]
    fn blocks_are_those_of_gguf_py_to_the_last_bit() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gguf/kinds.gguf");
        let header = Header::read(&path).unwrap();
        for kind in TensorKind::all() {
            let packed = header
                .tensor(kind.name())
                .unwrap_or_else(|| panic!("{}", kind.name()));
            assert_eq!(packed.kind, kind);
            let bytes = header.bytes_of(packed).unwrap();
            let wanted = header
                .bytes_of(header.tensor(&format!("{}.f32", kind.name())).unwrap())
                .unwrap();
            let wanted: Vec<u32> = wanted
                .chunks_exact(4)
                .map(|bits| u32::from_le_bytes(bits.try_into().unwrap()))
                .collect();
            let mut numbers = vec![0.0; wanted.len()];
            dequantize(kind, &bytes, &mut numbers);
            let got: Vec<u32> = numbers.iter().map(|number| number.to_bits()).collect();
            assert_eq!(got, wanted, "{}", kind.name());
        }
    }
}

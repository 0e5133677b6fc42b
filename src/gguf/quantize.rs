//! Numbers to the types that ewe writes.

use half::{bf16, f16};
use rayon::prelude::*;

use super::kind::TensorKind;

/// Blocks that one thread converts at once.
const BLOCKS: usize = 512;

/// Returns `numbers`, whole blocks, in type `kind`; with the first number that has become infinite
/// on the way, if there is one.
///
/// # Panics
///
/// If `kind` is one that is only read.
pub fn quantize(kind: TensorKind, numbers: &[f32]) -> (Vec<u8>, Option<f32>) {
    let mut bytes = vec![0; numbers.len() / kind.block() * kind.block_bytes()];
    let convert: fn(&[f32], &mut [u8]) = match kind {
        TensorKind::F32 => |block, out| out.copy_from_slice(&block[0].to_le_bytes()),
        TensorKind::F16 => |block, out| out.copy_from_slice(&f16::from_f32(block[0]).to_le_bytes()),
        TensorKind::Bf16 => |block, out| out.copy_from_slice(&bf16::from_f32(block[0]).to_le_bytes()),
        TensorKind::Q8_0 => q8_0,
        _ => unreachable!("{} is only read", kind.name()),
    };
    bytes
        .par_chunks_mut(BLOCKS * kind.block_bytes())
        .zip(numbers.par_chunks(BLOCKS * kind.block()))
        .for_each(|(bytes, numbers)| {
            let blocks = numbers.chunks_exact(kind.block());
            for (bytes, block) in bytes.chunks_exact_mut(kind.block_bytes()).zip(blocks) {
                convert(block, bytes);
            }
        });
    (bytes, beyond(kind, numbers))
}

/// Returns the first finite number that `kind` has no finite number for.
fn beyond(kind: TensorKind, numbers: &[f32]) -> Option<f32> {
    let is_beyond: fn(f32) -> bool = match kind {
        TensorKind::F16 => |number| !f16::from_f32(number).is_finite(),
        TensorKind::Bf16 => |number| !bf16::from_f32(number).is_finite(),
        // The scale is a half.
        TensorKind::Q8_0 => |number| !f16::from_f32(number / 127.0).is_finite(),
        _ => |_| false,
    };
    numbers
        .par_iter()
        .copied()
        .find_first(|number| number.is_finite() && is_beyond(*number))
}

/// As ggml's reference: numbers are divided by the scale in f32, and rounded half away from zero.
fn q8_0(block: &[f32], out: &mut [u8]) {
    let largest = block.iter().fold(0.0, |most: f32, number| most.max(number.abs()));
    let scale = largest / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    out[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
    for (byte, number) in out[2..].iter_mut().zip(block) {
        *byte = ((number * inverse).round() as i8).cast_unsigned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::header::Header;

    /// As gguf-py quantizes the same numbers (`scripts/make_gguf_goldens.py`).
    #[test]
    fn numbers_are_quantized_as_by_gguf_py() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gguf/kinds.gguf");
        let header = Header::read(&path).unwrap();
        let bytes_of = |name: &str| header.bytes_of(header.tensor(name).expect(name)).unwrap();
        let numbers: Vec<f32> = bytes_of("numbers")
            .chunks_exact(4)
            .map(|bits| f32::from_le_bytes(bits.try_into().unwrap()))
            .collect();
        for kind in [
            TensorKind::F32,
            TensorKind::F16,
            TensorKind::Bf16,
            TensorKind::Q8_0,
        ] {
            let (bytes, beyond) = quantize(kind, &numbers);
            assert_eq!(
                bytes,
                bytes_of(&format!("numbers.{}", kind.name())),
                "{}",
                kind.name()
            );
            assert_eq!(beyond, None);
        }
    }

    #[test]
    fn numbers_beyond_a_type_are_told() {
        let numbers = [1.0, -7e4]
            .map(|last| [[0.5; 31].as_slice(), &[last]].concat())
            .concat();
        assert_eq!(quantize(TensorKind::F16, &numbers).1, Some(-7e4));
        assert_eq!(quantize(TensorKind::Bf16, &numbers).1, None);
        assert_eq!(quantize(TensorKind::Q8_0, &numbers).1, None);
        assert_eq!(quantize(TensorKind::Q8_0, &[1e7; 32]).1, Some(1e7));
        assert_eq!(quantize(TensorKind::Q8_0, &[0.0; 32]).0, [0; 34]);
    }
}

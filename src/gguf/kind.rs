//! Types of tensors: plain numbers, and blocks of quantized ones.

use anyhow::{Result, bail};

/// The type of a tensor's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorKind {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a single.
    Bf16,
    /// 32 numbers of 4 bits, one scale.
    Q4_0,
    /// 32 numbers of 4 bits, scale and minimum.
    Q4_1,
    /// 32 numbers of 5 bits, one scale.
    Q5_0,
    /// 32 numbers of 5 bits, scale and minimum.
    Q5_1,
    /// 32 numbers of 8 bits, one scale.
    Q8_0,
    /// 256 numbers of 4 bits, with scales and minima of 6 bits for each 32.
    Q4K,
    /// 256 numbers of 5 bits, with scales and minima of 6 bits for each 32.
    Q5K,
    /// 256 numbers of 6 bits, with scales of 8 bits for each 16.
    Q6K,
}

/// A row of the table: type, its number in files, its name, numbers in a block, bytes of a block.
type Row = (TensorKind, u32, &'static str, usize, usize);

const TABLE: [Row; 11] = [
    (TensorKind::F32, 0, "F32", 1, 4),
    (TensorKind::F16, 1, "F16", 1, 2),
    (TensorKind::Q4_0, 2, "Q4_0", 32, 18),
    (TensorKind::Q4_1, 3, "Q4_1", 32, 20),
    (TensorKind::Q5_0, 6, "Q5_0", 32, 22),
    (TensorKind::Q5_1, 7, "Q5_1", 32, 24),
    (TensorKind::Q8_0, 8, "Q8_0", 32, 34),
    (TensorKind::Q4K, 12, "Q4_K", 256, 144),
    (TensorKind::Q5K, 13, "Q5_K", 256, 176),
    (TensorKind::Q6K, 14, "Q6_K", 256, 210),
    (TensorKind::Bf16, 30, "BF16", 1, 2),
];

/// Names of types that are not read, for messages.
const OTHERS: [(u32, &str); 21] = [
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
];

impl TensorKind {
    /// Every type.
    #[cfg(test)]
    pub fn all() -> impl Iterator<Item = TensorKind> {
        TABLE.iter().map(|row| row.0)
    }

    /// Returns the type of a number in a file. Fails on one that is not read, with its name.
    pub fn of(id: u32) -> Result<TensorKind> {
        if let Some(row) = TABLE.iter().find(|row| row.1 == id) {
            return Ok(row.0);
        }
        let name = match OTHERS.iter().find(|(other, _)| *other == id) {
            Some((_, name)) => (*name).to_owned(),
            None => format!("number {id}"),
        };
        let known: Vec<&str> = TABLE.iter().map(|row| row.2).collect();
        bail!(
            "type {name} is not supported\nhint: known are {}; a file of Q4_K_M or Q8_0 has no others",
            known.join(", ")
        )
    }

    fn row(self) -> &'static Row {
        let row = TABLE.iter().find(|row| row.0 == self);
        row.unwrap_or_else(|| unreachable!("the table has every type"))
    }

    /// Returns the number that stands for the type in files.
    pub fn id(self) -> u32 {
        self.row().1
    }

    /// Returns the type's name in llama.cpp.
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// Returns how many numbers a block has.
    pub fn block(self) -> usize {
        self.row().3
    }

    /// Returns the bytes of a block.
    pub fn block_bytes(self) -> usize {
        self.row().4
    }

    /// Returns the bytes of `numbers` numbers in rows of `width`; none if a row is no whole number
    /// of blocks, or on an overflow.
    pub fn bytes(self, numbers: u64, width: u64) -> Option<u64> {
        let block = self.block() as u64;
        if !width.is_multiple_of(block) {
            return None;
        }
        (numbers / block).checked_mul(self.block_bytes() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_their_numbers_and_others_are_named() {
        for kind in TensorKind::all() {
            assert_eq!(TensorKind::of(kind.id()).unwrap(), kind);
        }
        assert_eq!(TensorKind::Q4K.bytes(512, 256), Some(288));
        assert_eq!(TensorKind::Q4K.bytes(512, 128), None);
        for (id, name) in OTHERS {
            assert!(TABLE.iter().all(|row| row.1 != id), "{name}");
        }
        let error = TensorKind::of(10).unwrap_err().to_string();
        assert!(error.contains("Q2_K") && error.contains("Q6_K"), "{error}");
        assert!(TensorKind::of(999).unwrap_err().to_string().contains("999"));
    }
}

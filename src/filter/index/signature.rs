//! Bounds the number of words that two texts share, by 256 bits of each text.

use crate::filter::lcs::LcsPattern;

/// Each bit is the parity of the number of tokens that hash to it.
///
/// A bit that differs between two signatures needs a token that only one of the texts has, so the
/// differing bits bound the overlap from above. After the bitmap filter of Sandes et al. 2017, with
/// parity instead of "or", which long texts do not saturate.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    bits: [u64; 4],
}

impl Signature {
    /// The signature of a text's tokens. Unknown tokens do not count.
    pub fn new(tokens: &[u32]) -> Signature {
        let mut bits = [0; 4];
        for &token in tokens.iter().filter(|&&token| token != LcsPattern::UNKNOWN) {
            let bit = token.wrapping_mul(0x9E37_79B1) >> 24;
            bits[(bit >> 6) as usize] ^= 1 << (bit & 63);
        }
        Signature { bits }
    }

    /// The signature folded to 64 bits, with the same property: the XOR of parities is a parity.
    #[inline(always)]
    pub fn digest(self) -> u64 {
        self.bits.iter().fold(0, |all, bits| all ^ bits)
    }

    /// A lower bound on the number of tokens that only one of the two texts has.
    #[inline(always)]
    pub fn difference(self, other: Signature) -> u32 {
        (0..4).map(|i| (self.bits[i] ^ other.bits[i]).count_ones()).sum()
    }
}

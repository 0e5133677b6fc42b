//! A bound on how many words two texts share, from 256 bits of each.

use crate::filter::lcs::Pattern;

/// The parity, bit by bit, of the tokens that hash to the bit. A bit that differs between two signatures needs a token
/// that only one of the texts has, so the differing bits bound the overlap from above (after the bitmap filter of
/// Sandes et al. 2017, with parity in place of "or": long texts do not fill it).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    bits: [u64; 4],
}

impl Signature {
    /// Of the tokens of a text; unknown ones leave no mark.
    pub fn new(tokens: &[u32]) -> Signature {
        let mut bits = [0; 4];
        for &token in tokens.iter().filter(|&&token| token != Pattern::UNKNOWN) {
            let bit = token.wrapping_mul(0x9E37_79B1) >> 24;
            bits[(bit >> 6) as usize] ^= 1 << (bit & 63);
        }
        Signature { bits }
    }

    /// A quarter as many bits, of which the same holds: the parities of quarters together are parities again.
    #[inline(always)]
    pub fn digest(self) -> u64 {
        self.bits.iter().fold(0, |all, bits| all ^ bits)
    }

    /// How many tokens, at least, only one of the two texts has.
    #[inline(always)]
    pub fn difference(self, other: Signature) -> u32 {
        (0..4).map(|i| (self.bits[i] ^ other.bits[i]).count_ones()).sum()
    }
}

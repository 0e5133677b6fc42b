//! A bound on how many words two texts share, from 128 bits of each.

use crate::filter::lcs::Pattern;

/// The parity, bit by bit, of the tokens that hash to the bit. A bit that differs between two signatures needs a token
/// that only one of the texts has, so the differing bits bound the overlap from above (after the bitmap filter of
/// Sandes et al. 2017, with parity in place of "or": long texts do not fill it).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    bits: [u64; 2],
}

impl Signature {
    /// Of the tokens of a text; unknown ones leave no mark.
    pub fn new(tokens: &[u32]) -> Signature {
        let mut bits = [0; 2];
        for &token in tokens.iter().filter(|&&token| token != Pattern::UNKNOWN) {
            let bit = token.wrapping_mul(0x9E37_79B1) >> 25;
            bits[(bit >> 6) as usize] ^= 1 << (bit & 63);
        }
        Signature { bits }
    }

    /// Half as many bits, of which the same holds: two halves of parities make parities.
    #[inline(always)]
    pub fn digest(self) -> u64 {
        self.bits[0] ^ self.bits[1]
    }

    /// How many tokens, at least, only one of the two texts has.
    #[inline(always)]
    pub fn difference(self, other: Signature) -> u32 {
        (self.bits[0] ^ other.bits[0]).count_ones() + (self.bits[1] ^ other.bits[1]).count_ones()
    }
}

//! The tokens of texts that were added lately: most tokens of a text are in none of them, so most
//! lists need not be looked into for these texts.

/// A set of tokens that may say yes for one that it does not have (Bloom 1970, with one hash). It
/// is small enough to stay in a processor's cache.
#[derive(Debug)]
pub struct Recent {
    bits: Box<[u64; WORDS]>,
    /// Whether it has all tokens.
    all: bool,
}

/// 2¹⁷ bits for the rare tokens of a batch.
const WORDS: usize = 1 << 11;

impl Default for Recent {
    fn default() -> Recent {
        Recent {
            bits: Box::new([0; WORDS]),
            all: true,
        }
    }
}

impl Recent {
    /// Forgets all tokens.
    pub fn clear(&mut self) {
        self.bits.fill(0);
        self.all = false;
    }

    /// Adds all tokens that there are, until it is cleared.
    pub fn add_all(&mut self) {
        self.all = true;
    }

    /// Adds the tokens of a text by which others find it.
    pub fn add(&mut self, tokens: &[u32]) {
        for &token in tokens {
            let (word, bit) = place(token);
            self.bits[word] |= bit;
        }
    }

    /// Whether it may have a token; surely if that was added.
    #[inline(always)]
    pub fn may_have(&self, token: u32) -> bool {
        let (word, bit) = place(token);
        self.all || self.bits[word] & bit != 0
    }
}

#[inline(always)]
fn place(token: u32) -> (usize, u64) {
    let hash = token.wrapping_mul(0x9E37_79B1) >> (32 - WORDS.ilog2() - 6);
    ((hash >> 6) as usize, 1 << (hash & 63))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_there_until_it_is_cleared() {
        let mut recent = Recent::default();
        assert!(recent.may_have(7));
        recent.clear();
        let tokens: Vec<u32> = (0..1000).map(|i| i * 37).collect();
        assert!(!tokens.iter().any(|&token| recent.may_have(token)));
        recent.add(&tokens);
        assert!(tokens.iter().all(|&token| recent.may_have(token)));
        let others = (0..1000).filter(|i| recent.may_have(i * 37 + 1)).count();
        assert!(others < 50, "{others}");
        recent.add_all();
        assert!(recent.may_have(1));
    }
}

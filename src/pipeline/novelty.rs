//! The novelty of a run: the share of recent instructions that are new.

use std::collections::VecDeque;

/// The number of recent instructions that count.
pub const SPAN: usize = 500;

/// Whether each of the last [`SPAN`] instructions that the rules accepted was new, or a
/// near-duplicate.
#[derive(Debug, Default)]
pub struct Novelty {
    last: VecDeque<bool>,
    new: usize,
}

impl Novelty {
    /// Starts after these instructions, oldest first.
    pub fn after(verdicts: impl IntoIterator<Item = bool>) -> Novelty {
        let mut novelty = Novelty::default();
        verdicts.into_iter().for_each(|is_new| novelty.push(is_new));
        novelty
    }

    /// Adds an instruction.
    pub fn push(&mut self, is_new: bool) {
        if self.last.len() == SPAN {
            self.new -= usize::from(self.last.pop_front() == Some(true));
        }
        self.last.push_back(is_new);
        self.new += usize::from(is_new);
    }

    /// The share of new ones; `None` before the first instruction.
    pub fn share(&self) -> Option<f64> {
        (!self.last.is_empty()).then(|| self.new as f64 / self.last.len() as f64)
    }

    /// Whether a smaller share than `least` was new, over a whole span. Fewer instructions say
    /// little.
    pub fn is_below(&self, least: f64) -> bool {
        self.last.len() == SPAN && self.share().is_some_and(|share| share < least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_ones_count() {
        let mut novelty = Novelty::default();
        assert_eq!(novelty.share(), None);
        for _ in 0..SPAN - 1 {
            novelty.push(true);
        }
        novelty.push(false);
        assert_eq!(novelty.share(), Some((SPAN - 1) as f64 / SPAN as f64));
        assert!(!novelty.is_below(0.9) && novelty.is_below(0.999));
        for _ in 0..SPAN {
            novelty.push(false);
        }
        assert_eq!(novelty.share(), Some(0.0));
        assert!(
            !Novelty::after([false; 10]).is_below(1.0),
            "ten are too few to tell"
        );
    }
}

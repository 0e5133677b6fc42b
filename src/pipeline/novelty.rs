//! How much of what a model writes is still new.

use std::collections::VecDeque;

/// Instructions that are looked back on.
pub const SPAN: usize = 500;

/// The last instructions that the rules let through, up to [`SPAN`]: was each one new, or a near-duplicate of a task?
#[derive(Debug, Default)]
pub struct Novelty {
    last: VecDeque<bool>,
    new: usize,
}

impl Novelty {
    /// After these, oldest first.
    pub fn after(verdicts: impl IntoIterator<Item = bool>) -> Novelty {
        let mut novelty = Novelty::default();
        verdicts.into_iter().for_each(|is_new| novelty.push(is_new));
        novelty
    }

    /// One more.
    pub fn push(&mut self, is_new: bool) {
        if self.last.len() == SPAN {
            self.new -= usize::from(self.last.pop_front() == Some(true));
        }
        self.last.push_back(is_new);
        self.new += usize::from(is_new);
    }

    /// The part that was new; none before the first.
    pub fn part(&self) -> Option<f64> {
        (!self.last.is_empty()).then(|| self.new as f64 / self.last.len() as f64)
    }

    /// Whether less than `least` was new, over a whole span: a few say little.
    pub fn is_below(&self, least: f64) -> bool {
        self.last.len() == SPAN && self.part().is_some_and(|part| part < least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_ones_count() {
        let mut novelty = Novelty::default();
        assert_eq!(novelty.part(), None);
        for _ in 0..SPAN - 1 {
            novelty.push(true);
        }
        novelty.push(false);
        assert_eq!(novelty.part(), Some((SPAN - 1) as f64 / SPAN as f64));
        assert!(!novelty.is_below(0.9) && novelty.is_below(0.999));
        for _ in 0..SPAN {
            novelty.push(false);
        }
        assert_eq!(novelty.part(), Some(0.0));
        assert!(
            !Novelty::after([false; 10]).is_below(1.0),
            "ten are too few to tell"
        );
    }
}

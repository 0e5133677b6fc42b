//! Branches of a micro-batch's prefix tree.

use crate::model::layers::prefix_tree::PrefixNode;

/// Tokens of an example in a plan without a dataset. Alpaca's have 119 on average.
const EXAMPLE: u64 = 128;

/// Branches of a micro-batch's prefix tree. Attention takes each as a sequence of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Branches {
    /// How many there are.
    pub count: u64,
    /// Keys that they see: shared ones count once for each.
    pub keys: u64,
}

impl Branches {
    /// Returns those of a micro-batch.
    pub fn of(nodes: &[PrefixNode]) -> Branches {
        let (mut ends, mut keys): (Vec<u64>, u64) = (Vec::new(), 0);
        for node in nodes {
            let end = node.after.map_or(0, |before| ends[before]) + node.length as u64;
            ends.push(end);
            keys += end;
        }
        Branches {
            count: nodes.len() as u64,
            keys,
        }
    }

    /// Returns those of examples of [`EXAMPLE`] tokens that share nothing.
    pub fn apart(tokens: u64) -> Branches {
        Branches {
            count: tokens.div_ceil(EXAMPLE),
            keys: tokens,
        }
    }

    /// Returns the branches of `tokens` tokens when these are those of `all`.
    pub fn part(&self, tokens: u64, all: u64) -> Branches {
        let part = |of: u64| (of * tokens).div_ceil(all.max(1));
        Branches {
            count: part(self.count),
            keys: part(self.keys),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(length: i64, after: Option<usize>) -> PrefixNode {
        PrefixNode { length, after }
    }

    /// A prefix of 10 tokens, two continuations of 5 and 7, and one of 2 behind the first.
    #[test]
    fn shared_keys_count_once_for_each_branch() {
        let nodes = [
            node(10, None),
            node(5, Some(0)),
            node(7, Some(0)),
            node(2, Some(1)),
        ];
        let branches = Branches::of(&nodes);
        assert_eq!((branches.count, branches.keys), (4, 10 + 15 + 17 + 17));
        assert_eq!(
            Branches::apart(2048),
            Branches {
                count: 16,
                keys: 2048
            }
        );
        assert_eq!(Branches::apart(2048).part(1024, 2048), Branches::apart(1024));
    }
}

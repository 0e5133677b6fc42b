//! Which rank has which numbers of the parameters that are gathered together.
//!
//! They lie flat, one behind the other, and each rank has an equal part of all of it. A parameter
//! begins, and a part ends, at a multiple of [`BLOCK`]: the blocks that share a scale in an 8-bit
//! state are those of one rank alone, so a state does not depend on how it was divided.

use crate::shim::optimizers::{BLOCK, blocks};

/// One parameter of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its index in the list of all.
    pub index: usize,
    /// Where it begins in the unit.
    pub start: i64,
    /// Its numbers.
    pub count: i64,
}

/// The parameters of a unit, divided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// In their order.
    pub members: Vec<Member>,
    /// Numbers of a part.
    pub part: i64,
    /// Parts.
    pub parts: i64,
}

/// What a rank has of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Own {
    /// The first number, counted in the parameter.
    pub first: i64,
    /// The same, counted in the rank's part.
    pub at: i64,
    /// How many.
    pub count: i64,
}

impl Layout {
    /// Divides parameters of these indices and sizes into `parts`.
    pub fn of(sizes: impl IntoIterator<Item = (usize, i64)>, parts: usize) -> Layout {
        let (mut members, mut start, parts) = (Vec::new(), 0, parts as i64);
        for (index, count) in sizes {
            members.push(Member { index, start, count });
            start += blocks(count) * BLOCK;
        }
        Layout {
            members,
            part: (blocks(start) + parts - 1) / parts * BLOCK,
            parts,
        }
    }

    /// Returns the numbers of all parts, gaps included.
    pub fn whole(&self) -> i64 {
        self.part * self.parts
    }

    /// Returns what the rank with part number `part` has of a member.
    pub fn own(&self, member: &Member, part: usize) -> Own {
        let begin = part as i64 * self.part;
        let first = (begin - member.start).clamp(0, member.count);
        let end = (begin + self.part - member.start).clamp(first, member.count);
        Own {
            first,
            at: (member.start + first - begin).clamp(0, self.part),
            count: end - first,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts_are_equal_and_end_between_blocks() {
        let layout = Layout::of([(4, 1000), (5, 1), (6, 300)], 2);
        let starts: Vec<i64> = layout.members.iter().map(|of| of.start).collect();
        assert_eq!((starts, layout.part), (vec![0, 1024, 1280], 1024));
        let own = |at: usize, part| {
            let Own { first, at, count } = layout.own(&layout.members[at], part);
            (first, at, count)
        };
        assert_eq!([own(0, 0), own(1, 0), own(2, 0)].map(|of| of.2), [1000, 0, 0]);
        assert_eq!([own(0, 1).2, own(1, 1).2], [0, 1]);
        assert_eq!(own(2, 1), (0, 256, 300));
    }

    proptest! {
        #[test]
        fn every_number_has_one_rank(
            counts in prop::collection::vec(0i64..3000, 1..6),
            parts in 1usize..9,
        ) {
            let layout = Layout::of(counts.iter().copied().enumerate(), parts);
            for member in &layout.members {
                let mut next = 0;
                for part in 0..parts {
                    let own = layout.own(member, part);
                    prop_assert!(own.at + own.count <= layout.part);
                    if own.count > 0 {
                        prop_assert_eq!(own.first, next);
                        prop_assert_eq!(own.first % BLOCK, 0);
                        prop_assert_eq!(part as i64 * layout.part + own.at, member.start + own.first);
                    }
                    next += own.count;
                }
                prop_assert_eq!(next, member.count);
            }
        }
    }
}

//! New tokens of sequences, and where they stand in a cache of slots.

use crate::shim::Segment;

/// New tokens of one sequence in a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuerySpan {
    /// Slot of the sequence.
    pub slot: i64,
    /// Number of its tokens that are cached already.
    pub start: i64,
    /// Number of new tokens.
    pub length: i64,
}

/// Returns position and place of every token of the spans, in slots of `capacity` tokens.
pub(super) fn in_slots(spans: &[QuerySpan], capacity: i64) -> (Vec<i64>, Vec<i64>) {
    let (mut positions, mut places) = (Vec::new(), Vec::new());
    for span in spans {
        let new = span.start..span.start + span.length;
        places.extend(new.clone().map(|at| span.slot * capacity + at));
        positions.extend(new);
    }
    (positions, places)
}

/// Lays spans out one after the other.
pub(super) fn segments(spans: impl Iterator<Item = QuerySpan>) -> Vec<Segment> {
    let mut offset = 0;
    spans
        .map(|span| {
            let segment = Segment {
                offset,
                length: span.length,
                slot: span.slot,
                start: span.start,
            };
            offset += span.length;
            segment
        })
        .collect()
}

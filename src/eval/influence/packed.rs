//! Examples one behind the other in one row, each for itself: no prefix is shared, so that every
//! token belongs to one example and the gradients of examples can be told apart.

use crate::model::layers::prefix_tree::PrefixNode;
use crate::train::data::dataset::Example;
use std::ops::Range;
use tch::{Device, Kind, Tensor};

/// Some examples in one row of `t` tokens with `n` targets.
#[derive(Debug, Default)]
pub struct PackedExamples {
    /// Numbers of the examples, in the order of their tokens.
    pub members: Vec<usize>,
    /// The sequences of the row.
    pub nodes: Vec<PrefixNode>,
    /// Places of each example's tokens in the row.
    pub spans: Vec<Range<i64>>,
    /// Targets of each example.
    pub targets: Vec<i64>,
    id_t: Vec<i64>,
    position_n: Vec<i64>,
    target_n: Vec<i64>,
}

/// A row of packed examples as tensors.
pub struct PackedTensors {
    /// Token ids, int64 `[1, t]`.
    pub token_1t: Tensor,
    /// The positions before the targets, int64 `[n]`.
    pub position_n: Tensor,
    /// The targets, int64 `[n]`.
    pub target_n: Tensor,
    /// One over the number of targets of each token's example, fp32 `[t, 1]`.
    pub share_t1: Tensor,
}

impl PackedExamples {
    /// Appends example number `member`. Its last token is a target only.
    fn push(&mut self, member: usize, example: &Example) {
        let start = self.id_t.len() as i64;
        let positions = example.positions();
        self.members.push(member);
        self.nodes.push(PrefixNode {
            length: positions as i64,
            after: None,
        });
        self.spans.push(start..start + positions as i64);
        self.targets.push(example.target_count() as i64);
        let ids = example.ids[..positions].iter();
        self.id_t.extend(ids.map(|&id| i64::from(id)));
        for at in example.targets.iter().cloned().flatten() {
            self.position_n.push(start + at as i64 - 1);
            self.target_n.push(i64::from(example.ids[at]));
        }
    }

    /// Returns the row on `device`.
    pub fn on(&self, device: Device) -> PackedTensors {
        let tensor = |values: &[i64]| Tensor::from_slice(values).to_device(device);
        let shares = self.spans.iter().zip(&self.targets).flat_map(|(span, &count)| {
            std::iter::repeat_n(1.0 / count as f32, (span.end - span.start) as usize)
        });
        let shares: Vec<f32> = shares.collect();
        PackedTensors {
            token_1t: tensor(&self.id_t).unsqueeze(0),
            position_n: tensor(&self.position_n),
            target_n: tensor(&self.target_n),
            share_t1: Tensor::from_slice(&shares)
                .to_kind(Kind::Float)
                .to_device(device)
                .unsqueeze(1),
        }
    }
}

/// Packs `examples` in their order into rows of at most `positions` tokens; a longer example gets a
/// row of its own. The rows are a function of the examples, so that a second computation has the
/// same numbers to the last bit.
pub fn pack(examples: &[&Example], positions: usize) -> Vec<PackedExamples> {
    let mut rows: Vec<PackedExamples> = Vec::new();
    for (member, example) in examples.iter().enumerate() {
        let fits = |row: &PackedExamples| row.id_t.len() + example.positions() <= positions;
        match rows.last_mut().filter(|row| fits(row)) {
            Some(row) => row.push(member, example),
            None => {
                let mut row = PackedExamples::default();
                row.push(member, example);
                rows.push(row);
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_keep_their_order_and_share_nothing() {
        let of = |ids: &[u32], first| Example::with_targets_from(first, String::new(), ids.to_vec());
        let examples = [
            of(&[1, 2, 3, 4], 2),
            of(&[1, 2, 3, 9], 3),
            of(&[5, 6, 7, 8, 9], 1),
        ];
        let rows = pack(&examples.iter().collect::<Vec<_>>(), 6);
        assert_eq!(rows.len(), 2);
        assert_eq!(
            (rows[0].members.as_slice(), rows[1].members.as_slice()),
            (&[0, 1][..], &[2][..])
        );
        assert_eq!(rows[0].id_t, [1, 2, 3, 1, 2, 3]);
        assert_eq!(rows[0].spans, [0..3, 3..6]);
        assert!(
            rows[0]
                .nodes
                .iter()
                .all(|node| (node.length, node.after) == (3, None))
        );
        assert_eq!(
            (rows[0].position_n.as_slice(), rows[0].target_n.as_slice()),
            (&[1, 2, 5][..], &[3, 4, 9][..])
        );
        assert_eq!(
            (rows[0].targets.as_slice(), rows[1].targets.as_slice()),
            (&[2, 1][..], &[4][..])
        );
        let share = rows[0].on(Device::Cpu).share_t1;
        let share: Vec<f32> = Vec::try_from(share.squeeze()).unwrap();
        assert_eq!(share, [0.5, 0.5, 0.5, 1.0, 1.0, 1.0]);
    }
}

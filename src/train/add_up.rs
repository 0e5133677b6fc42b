//! Adds up the gradients of all ranks of a run, in fp32 and a bucket at a time.

use super::trainer::Trainer;
use crate::distributed::group::{Ranks, Work};
use crate::train::optim::parameter::Parameter;
use anyhow::Result;
use tch::{Kind, Tensor};

/// Numbers of a bucket, at most; a larger gradient has one of its own. While one is under way, the
/// next is filled.
const BUCKET: usize = 1 << 23;

/// A bucket under way.
struct UnderWay<'r> {
    sum: Option<Work<'r>>,
    /// fp32, where ranks exchange it.
    flat: Tensor,
    indices: Vec<usize>,
}

impl Trainer {
    /// Replaces the gradients of the step by their sums over all ranks: the same bits on each.
    /// A parameter that has none on this rank counts as zeros; one that has none on any keeps none.
    ///
    /// # Errors
    ///
    /// When another rank is gone, or does not come.
    pub fn add_up(&mut self, ranks: &Ranks) -> Result<()> {
        if !ranks.has_others() {
            return Ok(());
        }
        let _guard = tch::no_grad_guard();
        let has = |of: &Parameter| f64::from(u8::from(of.gradient().is_some()));
        let have = ranks.sums(&self.trained.iter().map(has).collect::<Vec<_>>())?;
        let sizes = self
            .trained
            .iter()
            .map(|of| of.leaf.numel())
            .zip(have)
            .enumerate();
        let some = sizes.filter(|(_, (_, have))| *have > 0.0);
        let mut before: Option<UnderWay> = None;
        for indices in buckets(some.map(|(index, (size, _))| (index, size))) {
            let next = self.begin_bucket(indices, ranks)?;
            if let Some(done) = before.replace(next) {
                self.end_bucket(done)?;
            }
        }
        before.map_or(Ok(()), |last| self.end_bucket(last))
    }

    fn begin_bucket<'r>(&mut self, indices: Vec<usize>, ranks: &'r Ranks) -> Result<UnderWay<'r>> {
        let sizes = indices
            .iter()
            .map(|&index| self.trained[index].leaf.numel() as i64);
        let device = self.trained[indices[0]].leaf.device();
        let flat = Tensor::zeros([sizes.sum()], (Kind::Float, ranks.exchanges_on(device)));
        let mut at = 0;
        for &index in &indices {
            let of = &mut self.trained[index];
            let size = of.leaf.numel() as i64;
            if let Some(gradient) = of.gradient() {
                flat.narrow(0, at, size).copy_(&gradient.reshape(-1));
            }
            of.clear();
            at += size;
        }
        Ok(UnderWay {
            sum: ranks.begin_sum(&flat)?,
            flat,
            indices,
        })
    }

    fn end_bucket(&mut self, bucket: UnderWay) -> Result<()> {
        if let Some(sum) = bucket.sum {
            sum.wait()?;
        }
        let mut at = 0;
        for index in bucket.indices {
            let of = &mut self.trained[index];
            let (shape, device) = (of.leaf.size(), of.leaf.device());
            let size = of.leaf.numel() as i64;
            let part = bucket.flat.narrow(0, at, size).to_device(device);
            of.set_gradient(part.view(shape.as_slice()));
            at += size;
        }
        Ok(())
    }
}

/// Divides parameters, each with its size, into buckets.
fn buckets(all: impl Iterator<Item = (usize, usize)>) -> Vec<Vec<usize>> {
    let (mut buckets, mut room) = (Vec::<Vec<usize>>::new(), 0);
    for (index, size) in all {
        match buckets.last_mut() {
            Some(last) if size <= room => {
                last.push(index);
                room -= size;
            }
            _ => {
                buckets.push(vec![index]);
                room = BUCKET.saturating_sub(size);
            }
        }
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_as_much_as_they_may() {
        let sizes = [BUCKET / 2, BUCKET / 2, 1, 3 * BUCKET, 5, 6];
        let numbered = sizes.into_iter().enumerate();
        assert_eq!(buckets(numbered), [vec![0, 1], vec![2], vec![3], vec![4, 5]]);
        assert!(buckets(std::iter::empty()).is_empty());
    }
}

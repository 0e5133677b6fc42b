//! Gradients of a unit: those of all ranks are added up, in fp32, and each keeps its part.
//!
//! Every rank sends each other one the part that it is to have (a reduce-scatter in one round), and
//! adds up what it receives in the order of ranks: the sums have the same bits in every run. That
//! is half the bytes of Gloo's own reduce-scatter, which adds up all and keeps a part.

use super::units::{Shards, Unit};
use crate::distributed::group::{Ranks, Work};
use crate::train::optim::parameter::Parameter;
use anyhow::Result;
use tch::{Kind, Tensor};

/// Numbers of a unit that are exchanged at once, at most, on a CPU and on a GPU: two copies of two
/// such pieces in fp32 are there. Only the last piece overlaps with computing, so that on a GPU
/// most blocks are one.
pub const AT_ONCE: [i64; 2] = [1 << 23, 1 << 28];

/// The same numbers of each part under way.
struct Exchange<'r> {
    /// The first of them, counted in a part.
    at: i64,
    /// fp32 `[parts · count]`, where ranks exchange it; not to be touched before the end.
    _sent: Tensor,
    received: Tensor,
    work: Work<'r>,
}

impl Exchange<'_> {
    /// Waits for its end, and writes the sums to where they are in `sum`.
    fn end(self, sum: &Tensor, parts: i64) -> Result<()> {
        self.work.wait()?;
        let count = self.received.numel() as i64 / parts;
        let mut to = sum.narrow(0, self.at, count);
        to.copy_(&self.received.narrow(0, 0, count));
        for other in 1..parts {
            let _ = to.g_add_(&self.received.narrow(0, other * count, count));
        }
        Ok(())
    }
}

/// The gradients of a unit under way.
pub struct Reducing<'r> {
    unit: usize,
    last: Option<Exchange<'r>>,
    /// Sums of this rank's part, as far as they are there.
    sum: Tensor,
    have: Tensor,
    counted: Option<Work<'r>>,
}

/// Copies numbers `range` of a unit from the gradients of its members, each with where it begins.
fn fill(to: &Tensor, range: std::ops::Range<i64>, gradients: &[(i64, Tensor)]) {
    for (start, gradient) in gradients {
        let end = start + gradient.numel() as i64;
        let (first, last) = (range.start.max(*start), range.end.min(end));
        if first < last {
            to.narrow(0, first - range.start, last - first)
                .copy_(&gradient.narrow(0, first - start, last - first));
        }
    }
}

impl Shards {
    /// Begins to add up the gradients of a unit that this rank has computed, and drops them.
    ///
    /// # Errors
    ///
    /// When another rank is gone.
    pub fn begin_reduce<'r>(
        &self,
        trained: &mut [Parameter],
        unit: usize,
        ranks: &'r Ranks,
    ) -> Result<Reducing<'r>> {
        let _guard = tch::no_grad_guard();
        let (layout, device) = (&self.units[unit].layout, self.units[unit].own.device());
        let (mut have, mut gradients) = (Vec::new(), Vec::new());
        for member in &layout.members {
            let gradient = trained[member.index].whole_gradient();
            have.push(f64::from(u8::from(gradient.is_some())));
            gradients.extend(gradient.map(|gradient| (member.start, gradient.reshape(-1))));
        }
        let have = Tensor::from_slice(&have);
        let counted = ranks.begin_sum(&have)?;
        let there = (Kind::Float, ranks.exchanges_on(device));
        let sum = Tensor::empty([layout.part], there);
        let at_once = AT_ONCE[usize::from(device.is_cuda())] / layout.parts;
        let mut last: Option<Exchange> = None;
        for at in (0..layout.part).step_by(at_once as usize) {
            let count = at_once.min(layout.part - at);
            let sent = Tensor::zeros([layout.parts * count], there);
            for part in 0..layout.parts {
                let first = part * layout.part + at;
                fill(
                    &sent.narrow(0, part * count, count),
                    first..first + count,
                    &gradients,
                );
            }
            let received = Tensor::empty([layout.parts * count], there);
            let work = ranks.begin_exchange(&received, &sent)?;
            let next = Exchange {
                at,
                _sent: sent,
                received,
                work,
            };
            if let Some(before) = last.replace(next) {
                before.end(&sum, layout.parts)?;
            }
        }
        drop(gradients);
        for member in &layout.members {
            trained[member.index].clear_whole();
        }
        Ok(Reducing {
            unit,
            last,
            sum,
            have,
            counted,
        })
    }

    /// Waits for the sums, and adds them to the step's gradients of this rank's parts.
    ///
    /// # Errors
    ///
    /// When another rank is gone, or does not come.
    pub fn end_reduce(
        &mut self,
        trained: &mut [Parameter],
        reducing: Reducing,
        ranks: &Ranks,
    ) -> Result<usize> {
        let _guard = tch::no_grad_guard();
        let unit = &mut self.units[reducing.unit];
        let sum = reducing.sum;
        if let Some(last) = reducing.last {
            last.end(&sum, unit.layout.parts)?;
        }
        if let Some(counted) = reducing.counted {
            counted.wait()?;
        }
        if let Some(replicas) = ranks.begin_sum_of_part(&sum)? {
            replicas.wait()?;
        }
        let sum = sum.to_device(unit.own.device());
        unit.gradient = Some(match unit.gradient.take() {
            None => sum,
            Some(mut before) => before.g_add_(&sum),
        });
        let have: Vec<f64> = Vec::try_from(&reducing.have)?;
        unit.have.iter_mut().zip(have).for_each(|(all, now)| *all += now);
        unit.give_gradients(trained, self.division.part);
        Ok(reducing.unit)
    }

    /// Drops the gradients of this rank's part of a unit.
    pub fn forget(&mut self, trained: &mut [Parameter], unit: usize) {
        let unit = &mut self.units[unit];
        unit.gradient = None;
        unit.have.fill(0.0);
        for member in &unit.layout.members {
            trained[member.index].clear();
        }
    }
}

impl Unit {
    /// Gives each parameter its part of the gradient; none where no rank has one.
    fn give_gradients(&self, trained: &mut [Parameter], part: usize) {
        let Some(gradient) = &self.gradient else { return };
        for (member, have) in self.layout.members.iter().zip(&self.have) {
            let own = self.layout.own(member, part);
            let of_member = (*have > 0.0).then(|| gradient.narrow(0, own.at, own.count));
            trained[member.index].set_piece_gradient(of_member);
        }
    }
}

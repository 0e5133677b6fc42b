//! A unit is whole while it computes. While it does, the next one is on its way.

use super::units::{Shards, Unit};
use crate::distributed::group::{Ranks, Work};
use anyhow::Result;
use tch::{Device, Kind, Tensor};

/// A unit on its way.
struct Arriving<'r> {
    unit: usize,
    work: Work<'r>,
    /// All parts in host memory, if they are exchanged there.
    host: Option<Tensor>,
}

/// Gathers units in an order that is known before.
pub struct Gathers<'r> {
    ranks: &'r Ranks,
    /// Those still to come, the next one last.
    order: Vec<usize>,
    arriving: Option<Arriving<'r>>,
}

/// Returns the bytes of a flat tensor, as Gloo knows every type of them.
fn bytes(flat: &Tensor) -> Tensor {
    flat.view_dtype(Kind::Uint8)
}

impl Unit {
    fn begin_gather<'r>(&mut self, unit: usize, ranks: &'r Ranks) -> Result<Arriving<'r>> {
        self.whole.fill()?;
        let device = self.own.device();
        let (host, work) = match ranks.exchanges_on(device) == device {
            true => {
                let whole = bytes(self.whole.flat());
                (None, ranks.begin_gather(&whole, &bytes(&self.own))?)
            }
            false => {
                let host = Tensor::empty([self.layout.whole()], (self.own.kind(), Device::Cpu));
                let own = self.own.to_device(Device::Cpu);
                let work = ranks.begin_gather(&bytes(&host), &bytes(&own))?;
                (Some(host), work)
            }
        };
        Ok(Arriving { unit, work, host })
    }
}

impl<'r> Gathers<'r> {
    /// Begins with the first unit of `order`.
    ///
    /// # Errors
    ///
    /// When another rank is gone.
    pub fn begin(
        shards: &mut Shards,
        ranks: &'r Ranks,
        order: impl IntoIterator<Item = usize>,
    ) -> Result<Gathers<'r>> {
        let mut order: Vec<usize> = order.into_iter().collect();
        order.reverse();
        let mut gathers = Gathers {
            ranks,
            order,
            arriving: None,
        };
        gathers.next(shards)?;
        Ok(gathers)
    }

    fn next(&mut self, shards: &mut Shards) -> Result<()> {
        let _guard = tch::no_grad_guard();
        if let Some(unit) = self.order.pop() {
            self.arriving = Some(shards.units[unit].begin_gather(unit, self.ranks)?);
        }
        Ok(())
    }

    /// Waits until the next unit of the order is whole, and has the one behind it begin its way.
    ///
    /// # Errors
    ///
    /// When another rank is gone, or does not come.
    pub fn enter(&mut self, shards: &mut Shards, unit: usize) -> Result<()> {
        let arriving = self.arriving.take().expect("the order has it");
        debug_assert_eq!(arriving.unit, unit);
        arriving.work.wait()?;
        if let Some(host) = arriving.host {
            let _guard = tch::no_grad_guard();
            shards.units[unit].whole.flat().shallow_clone().copy_(&host);
        }
        self.next(shards)
    }

    /// Waits for the unit that is on its way, and gathers no other.
    ///
    /// # Errors
    ///
    /// When another rank is gone, or does not come.
    pub fn abandon(mut self, shards: &mut Shards) -> Result<()> {
        match self.arriving.take() {
            Some(arriving) => {
                arriving.work.wait()?;
                shards.leave(arriving.unit)
            }
            None => Ok(()),
        }
    }
}

impl Shards {
    /// Drops all parts of a unit but this rank's.
    ///
    /// # Errors
    ///
    /// In libtorch's words.
    pub fn leave(&mut self, unit: usize) -> Result<()> {
        Ok(self.units[unit].whole.release()?)
    }

    /// Returns the order of a forward pass.
    pub fn forward(&self) -> impl Iterator<Item = usize> + '_ {
        let blocks = self.blocks.iter().copied();
        std::iter::once(self.embedding).chain(blocks).chain([self.head])
    }

    /// Returns the order of a forward and a backward pass.
    pub fn both_passes(&self) -> Vec<usize> {
        let back = self.blocks.iter().rev().copied();
        self.forward().chain(back).chain([self.embedding]).collect()
    }
}

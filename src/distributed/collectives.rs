//! Groups of ranks that exchange tensors: by NCCL where GPUs have them, by Gloo in host memory.

use std::time::Duration;

use anyhow::Result;
use tch::{Device, TchError, Tensor};

use crate::shim::distributed::{Collective, Gloo};
use crate::shim::nccl::{Nccl, UnderWay};

/// A group of ranks.
#[derive(Debug)]
pub struct Group {
    gloo: Gloo,
    nccl: Option<Nccl>,
}

/// A collective in progress. Its tensors must stay, and must not be used, before it has ended.
#[derive(Debug)]
#[must_use]
pub enum Pending {
    /// In host memory.
    Gloo(Collective),
    /// On a device.
    Nccl(UnderWay),
}

impl Group {
    /// A group whose tensors are in host memory.
    pub fn new(gloo: Gloo) -> Group {
        Group { gloo, nccl: None }
    }

    /// Has it exchange tensors of a device, too.
    pub fn add(&mut self, nccl: Nccl) {
        self.nccl = Some(nccl);
    }

    fn nccl(&self, device: Device) -> Option<&Nccl> {
        self.nccl.as_ref().filter(|nccl| nccl.takes(device))
    }

    /// Returns whether it exchanges tensors of a device without Gloo.
    pub fn is_direct(&self, device: Device) -> bool {
        self.nccl(device).is_some()
    }

    /// Begins to replace `x`, of one shape on all ranks, by its sum over them, with the same bits.
    ///
    /// # Errors
    ///
    /// In the words of NCCL or libtorch.
    pub fn sum(&self, x: &Tensor) -> Result<Pending, TchError> {
        match self.nccl(x.device()) {
            Some(nccl) => nccl.all_reduce(x).map(Pending::Nccl),
            None => self.gloo.all_reduce(x, false).map(Pending::Gloo),
        }
    }

    /// Begins to fill `whole` with the `part` of each rank, one behind the other.
    ///
    /// # Errors
    ///
    /// In the words of NCCL or libtorch.
    pub fn all_gather(&self, whole: &Tensor, part: &Tensor) -> Result<Pending, TchError> {
        match self.nccl(whole.device()) {
            Some(nccl) => nccl.all_gather(whole, part).map(Pending::Nccl),
            None => self.gloo.all_gather(whole, part).map(Pending::Gloo),
        }
    }

    /// Begins to send each rank its part of `from`, and to fill `to` with the parts that they send,
    /// one behind the other.
    ///
    /// # Errors
    ///
    /// In the words of NCCL or libtorch.
    pub fn exchange(&self, to: &Tensor, from: &Tensor) -> Result<Pending, TchError> {
        match self.nccl(to.device()) {
            Some(nccl) => nccl.exchange(to, from).map(Pending::Nccl),
            None => self.gloo.exchange(to, from).map(Pending::Gloo),
        }
    }

    /// Begins to wait for all ranks.
    ///
    /// # Errors
    ///
    /// In libtorch's words.
    pub fn barrier(&self) -> Result<Pending, TchError> {
        self.gloo.barrier().map(Pending::Gloo)
    }
}

impl Pending {
    /// Waits for it for `time` at most. Returns whether it has ended.
    ///
    /// # Errors
    ///
    /// In the words of NCCL or libtorch, when it has failed.
    pub fn wait(&self, time: Duration) -> Result<bool, TchError> {
        match self {
            Pending::Gloo(work) => work.wait(time),
            Pending::Nccl(work) => work.wait(time),
        }
    }
}

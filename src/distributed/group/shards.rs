//! Groups of ranks among which parameters are divided: `size` ranks have all of them together, a
//! part each, and every `size` ranks are one replica (FSDP's hybrid sharding). Ranks of one part in
//! all replicas are a group, too, which adds up what the parts received.

use anyhow::{Result, anyhow};
use tch::{TchError, Tensor};

use super::{NEVER, Ranks, Work, first_line};
use crate::distributed::collectives::{Group, Pending};
use crate::shim::distributed::Gloo;
use crate::shim::nccl::Nccl;

/// How parameters are divided, as one rank sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Division {
    /// This rank's part, from 0.
    pub part: usize,
    /// The number of parts.
    pub parts: usize,
    /// This rank's replica, from 0.
    pub replica: usize,
    /// The number of replicas.
    pub replicas: usize,
}

impl Division {
    /// Returns the division of `size` ranks by `parts`, which divides it, for one of them.
    pub fn of(rank: usize, size: usize, parts: usize) -> Division {
        Division {
            part: rank % parts,
            parts,
            replica: rank / parts,
            replicas: size / parts,
        }
    }
}

/// The groups of a rank.
#[derive(Debug)]
pub(super) struct ShardGroups {
    division: Division,
    /// The ranks of its replica; none if that is all of them.
    replica: Option<Group>,
    /// The ranks with its part; none if there is one replica.
    part: Option<Group>,
}

impl Division {
    /// The ranks of this one's replica: how they are called, and its place among them.
    fn within(&self) -> (String, (usize, usize)) {
        (format!("replica/{}", self.replica), (self.part, self.parts))
    }

    /// Those with its part.
    fn across(&self) -> (String, (usize, usize)) {
        (format!("part/{}", self.part), (self.replica, self.replicas))
    }
}

impl ShardGroups {
    /// Has groups exchange what is on GPUs, which `join` joins.
    pub(super) fn add(&mut self, join: impl Fn((usize, usize), &str) -> Result<Nccl>) -> Result<()> {
        let named = [self.division.within(), self.division.across()];
        for (group, (name, place)) in [&mut self.replica, &mut self.part].into_iter().zip(named) {
            if let Some(group) = group {
                group.add(join(place, &name)?);
            }
        }
        Ok(())
    }
}

impl Ranks {
    /// Divides parameters among every `parts` ranks, a divisor of their number.
    ///
    /// # Errors
    ///
    /// When another rank cannot be reached.
    pub fn divide(&mut self, parts: usize) -> Result<()> {
        let division = Division::of(self.rank, self.size, parts);
        let Some(joined) = &self.joined else { return Ok(()) };
        let join = |(name, place): (String, (usize, usize))| {
            let joined = Gloo::join(&joined.store, place, &joined.network, NEVER, &name);
            joined.map(Group::new).map_err(|error| {
                anyhow!(
                    "cannot reach the ranks to divide parameters with: {}\nhint: GLOO_SOCKET_IFNAME names the network \
                     interface by which they reach each other",
                    first_line(&error)
                )
            })
        };
        let (within, across) = match division.replicas {
            1 => (None, None),
            _ => (Some(join(division.within())?), Some(join(division.across())?)),
        };
        self.shards = Some(ShardGroups {
            division,
            replica: within,
            part: across,
        });
        Ok(())
    }

    /// Returns how parameters are divided; none if they are not.
    pub fn division(&self) -> Option<Division> {
        self.shards.as_ref().map(|shards| shards.division)
    }

    /// Begins to fill `whole` with the parts of all ranks of this replica, one behind the other.
    ///
    /// # Errors
    ///
    /// When another rank is gone.
    pub fn begin_gather(&self, whole: &Tensor, part: &Tensor) -> Result<Work<'_>> {
        self.within(|group| group.all_gather(whole, part))
    }

    /// Begins to send each rank of this replica its part of `from`; `to` receives theirs, one
    /// behind the other.
    ///
    /// # Errors
    ///
    /// When another rank is gone.
    pub fn begin_exchange(&self, to: &Tensor, from: &Tensor) -> Result<Work<'_>> {
        self.within(|group| group.exchange(to, from))
    }

    /// Begins to replace `x` by its sum over the ranks that have this part, if there are several.
    ///
    /// # Errors
    ///
    /// When another rank is gone.
    pub fn begin_sum_of_part(&self, x: &Tensor) -> Result<Option<Work<'_>>> {
        let Some((joined, group)) = self
            .joined
            .as_ref()
            .zip(self.shards.as_ref().and_then(|shards| shards.part.as_ref()))
        else {
            return Ok(None);
        };
        joined.work(|| group.sum(x)).map(Some)
    }

    /// Returns the sum over all parts of what each rank has for its own: the same bits on all.
    ///
    /// # Errors
    ///
    /// When another rank is gone, or does not come.
    pub fn sums_over_parts(&self, numbers: &[f64]) -> Result<Vec<f64>> {
        let Some(division) = self.division() else {
            return Ok(numbers.to_vec());
        };
        let mut all = vec![0.0; numbers.len() * division.parts];
        if division.replica == 0 {
            all[division.part * numbers.len()..][..numbers.len()].copy_from_slice(numbers);
        }
        let all = self.sums(&all)?;
        let sum = |at: usize| all.iter().skip(at).step_by(numbers.len()).sum();
        Ok((0..numbers.len()).map(sum).collect())
    }

    fn within(&self, begin: impl FnOnce(&Group) -> Result<Pending, TchError>) -> Result<Work<'_>> {
        let (Some(joined), Some(shards)) = (&self.joined, &self.shards) else {
            anyhow::bail!("no other rank has a part of the parameters");
        };
        joined.work(|| begin(shards.replica.as_ref().unwrap_or(&joined.all)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_have_parts_and_replicas() {
        let of = |rank| {
            let of = Division::of(rank, 6, 2);
            (of.part, of.replica)
        };
        assert_eq!([0, 1, 2, 5].map(of), [(0, 0), (1, 0), (0, 1), (1, 2)]);
        assert_eq!(Division::of(3, 4, 4).replicas, 1);
    }
}

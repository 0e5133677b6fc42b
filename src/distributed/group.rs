//! The ranks of a run. A run of one process is the only rank, and waits for nobody.
//!
//! All ranks call the same functions in the same order. An error of any of them is the end: others
//! may be in the middle of what failed.

mod shards;

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use ewe::ranks::place::Place;
use ewe::ranks::report::LostRank;
use ewe::text::chosen;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use tch::{Device, TchError, Tensor};

use super::collectives::{Group, Pending};
use super::pulse::{Pulse, is_gone};
use crate::shim::distributed::{Gloo, Network, Store, StoreAddress};
use crate::shim::nccl::{self, Nccl};
use crate::shim::stream::Stream;
pub use shards::Division;
use shards::ShardGroups;

/// How often a rank looks whether all have come.
const JOINING: Duration = Duration::from_millis(20);
/// The longest time without a sign of life.
const SILENCE: Duration = Duration::from_secs(15);
/// The time after which Gloo itself gives up: never, since who waits looks after the others.
const NEVER: Duration = Duration::from_secs(30 * 86_400);
/// How long to wait before looking.
const LOOK: Duration = Duration::from_secs(1);

/// This process among the ranks of its run.
#[derive(Debug)]
pub struct Ranks {
    /// Its number, from 0.
    pub rank: usize,
    /// The number of ranks.
    pub size: usize,
    /// How many of them `ewe` started on this machine; 1 if another program did.
    pub here: usize,
    joined: Option<Joined>,
    /// The groups of a run whose parameters are divided among ranks.
    shards: Option<ShardGroups>,
}

#[derive(Debug)]
struct Joined {
    network: Network,
    store: Store,
    all: Group,
    pulse: Pulse,
    timeout: Duration,
    silence: Duration,
    /// NCCL's version, if it exchanges what is on GPUs.
    nccl: Option<String>,
}

/// A collective in progress.
#[derive(Debug)]
#[must_use]
pub struct Work<'r> {
    ranks: &'r Joined,
    number: u64,
    work: Pending,
}

impl Ranks {
    /// A run of this process alone.
    pub fn alone() -> Ranks {
        Ranks {
            rank: 0,
            size: 1,
            here: 1,
            joined: None,
            shards: None,
        }
    }

    /// Joins the other ranks, which come within `timeout`. A collective that another does not join
    /// within `timeout`, although it gives signs of life, fails.
    ///
    /// # Errors
    ///
    /// When a rank does not come, or cannot be reached.
    pub fn join(place: &Place, timeout: Duration) -> Result<Ranks> {
        let (rank, size) = (place.rank, place.size);
        let silence = SILENCE.min(timeout);
        let mut address = StoreAddress {
            host: place.address.clone(),
            port: place.port,
            prefix: format!("ewe/{}", place.restarts),
            timeout,
        };
        let unreachable = |error: TchError| {
            anyhow!(
                "cannot reach the other ranks at {}:{}: {}\nhint: MASTER_ADDR must be the host of rank 0, and MASTER_PORT \
                 a free port that no firewall closes",
                place.address,
                place.port,
                first_line(&error)
            )
        };
        let store = Store::open(&address, place.serves, place.listening).map_err(unreachable)?;
        let mut here = store.add("joined", 1).map_err(unreachable)?;
        let begun = Instant::now();
        while here < size as i64 {
            if begun.elapsed() > timeout {
                bail!(
                    "{}, of {size}, within {} s\nhint: start all of them; --rank-timeout sets how long the others wait",
                    chosen(here, "rank has come", "ranks have come"),
                    timeout.as_secs()
                );
            }
            std::thread::sleep(JOINING);
            here = store.add("joined", 0).map_err(unreachable)?;
        }
        let network = match std::env::var("GLOO_SOCKET_IFNAME") {
            Ok(name) if !name.is_empty() => Network::Interface(name),
            _ if place.is_local() => Network::Address("127.0.0.1".to_owned()),
            _ => Network::HostName,
        };
        let gloo = Gloo::join(&store, (rank, size), &network, NEVER, "").map_err(|error| {
            anyhow!(
                "cannot reach the other ranks: {}\nhint: GLOO_SOCKET_IFNAME names the network interface by which they \
                 reach each other",
                first_line(&error)
            )
        })?;
        address.timeout = silence;
        let beats = Store::open(&address, false, None).map_err(unreachable)?;
        let interval = (silence / 8).min(Duration::from_secs(2));
        let pulse = Pulse::begin(beats, rank, size, interval);
        let joined = Joined {
            network,
            store,
            all: Group::new(gloo),
            pulse,
            timeout,
            silence,
            nccl: None,
        };
        Ok(Ranks {
            rank,
            size,
            here: if place.launcher.is_some() { size } else { 1 },
            joined: Some(joined),
            shards: None,
        })
    }

    /// Has NCCL exchange what is on `device`, where each rank has the library. Comes after
    /// [`Ranks::divide`].
    ///
    /// # Errors
    ///
    /// When another rank cannot be reached by it.
    pub fn exchange_on(&mut self, device: Device) -> Result<()> {
        if !self.has_others() {
            return Ok(());
        }
        let version = nccl::version(device)?;
        if self.least("nccl", usize::from(version.is_some()))? == 0 {
            return Ok(());
        }
        let place = (self.rank, self.size);
        let Some(joined) = &mut self.joined else {
            return Ok(());
        };
        // One stream for all groups: what is enqueued on two might wait for each other.
        let on = (device, Stream::beside(device)?);
        let join = |place: (usize, usize), meeting: &str| {
            Nccl::join(&joined.store, place, on, joined.timeout, meeting).map_err(|error| {
                anyhow!(
                    "ranks cannot reach each other's GPUs: {error}\nhint: NCCL_DEBUG=INFO says more; with EWE_NCCL=0 they exchange by \
                     host memory"
                )
            })
        };
        let all = join(place, "")?;
        if let Some(shards) = &mut self.shards {
            shards.add(join)?;
        }
        joined.all.add(all);
        joined.nccl = version;
        Ok(())
    }

    /// Returns where ranks exchange what is on `device`: there, or in host memory.
    pub fn exchanges_on(&self, device: Device) -> Device {
        let is_direct = |ranks: &Joined| ranks.all.is_direct(device);
        match self.joined.as_ref().is_some_and(is_direct) {
            true => device,
            false => Device::Cpu,
        }
    }

    /// Returns by what they do.
    pub fn exchanges_by(&self) -> String {
        match self.joined.as_ref().and_then(|ranks| ranks.nccl.as_ref()) {
            Some(version) => format!("NCCL {version}"),
            None => "Gloo, in host memory".to_owned(),
        }
    }

    /// Returns whether this rank writes and speaks for all.
    pub fn is_first(&self) -> bool {
        self.rank == 0
    }

    /// Returns whether there are others.
    pub fn has_others(&self) -> bool {
        self.joined.is_some()
    }

    /// Begins to replace `x`, of one shape and type on all ranks, by its sum over them: the same
    /// bits on all, and in each run of as many ranks.
    ///
    /// # Errors
    ///
    /// When another rank is gone.
    pub fn begin_sum(&self, x: &Tensor) -> Result<Option<Work<'_>>> {
        let Some(ranks) = &self.joined else {
            return Ok(None);
        };
        ranks.work(|| ranks.all.sum(x)).map(Some)
    }

    /// Returns the sums of these numbers over all ranks, as [`Ranks::begin_sum`] does.
    ///
    /// # Errors
    ///
    /// When another rank is gone, or does not come.
    pub fn sums(&self, numbers: &[f64]) -> Result<Vec<f64>> {
        if !self.has_others() {
            return Ok(numbers.to_vec());
        }
        let sums = Tensor::from_slice(numbers);
        if let Some(sum) = self.begin_sum(&sums)? {
            sum.wait()?;
        }
        Ok(Vec::try_from(sums)?)
    }

    /// Waits for all ranks.
    ///
    /// # Errors
    ///
    /// When another rank is gone, or does not come.
    pub fn meet(&self) -> Result<()> {
        let Some(ranks) = &self.joined else { return Ok(()) };
        ranks.work(|| ranks.all.barrier())?.wait()
    }

    /// Runs `work`, which this rank does alone and for which others wait as long as it takes.
    pub fn alone_with<T>(&self, work: impl FnOnce() -> T) -> T {
        self.set_alone(true);
        let done = work();
        self.set_alone(false);
        done
    }

    /// Says whether this rank does something for which others wait as long as it takes.
    pub fn set_alone(&self, alone: bool) {
        if let Some(ranks) = &self.joined {
            ranks.pulse.set_busy(alone);
        }
    }

    /// Returns what each rank has as `what`, by its number.
    fn values(&self, what: &str, value: &str) -> Result<Vec<String>> {
        let Some(ranks) = &self.joined else {
            return Ok(vec![value.to_owned()]);
        };
        let key = format!("{what}/");
        let lost = |error: TchError| ranks.failed(0, &error);
        let own = format!("{key}{}", self.rank);
        ranks.store.set(&own, value).map_err(lost)?;
        // Only then all have set theirs.
        self.meet()?;
        ranks.store.get_all(&key, self.size).map_err(lost)
    }

    /// Returns the least `number` that any rank has as `what`.
    ///
    /// # Errors
    ///
    /// When another rank is gone, or does not come.
    pub fn least(&self, what: &str, number: usize) -> Result<usize> {
        let all = self.values(what, &number.to_string())?;
        let numbers = all.iter().filter_map(|text| text.parse().ok());
        Ok(numbers.min().unwrap_or(number))
    }

    /// Fails unless all ranks have the same `value` of `what`.
    ///
    /// # Errors
    ///
    /// Names a rank with another value.
    pub fn agree(&self, what: &str, value: &str) -> Result<()> {
        let all = self.values(what, value)?;
        match all.iter().position(|other| *other != all[0]) {
            Some(rank) => bail!(
                "rank {rank} has {what} other than rank 0\nhint: give all ranks the same options, files and version of ewe"
            ),
            None => Ok(()),
        }
    }
}

impl Work<'_> {
    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// When another rank is gone, or does not come.
    pub fn wait(self) -> Result<()> {
        self.ranks.wait(self.number, &self.work)
    }
}

impl Joined {
    fn work(&self, begin: impl FnOnce() -> Result<Pending, TchError>) -> Result<Work<'_>> {
        let number = self.pulse.begin_collective();
        let work = begin().map_err(|error| self.failed(number, &error))?;
        Ok(Work {
            ranks: self,
            number,
            work,
        })
    }

    fn wait(&self, number: u64, work: &Pending) -> Result<()> {
        let look = LOOK.min(self.silence / 4);
        // How long it has waited, and for the store: a pause of the process counts as one look.
        let (mut waited, mut unanswered) = (Duration::ZERO, Duration::ZERO);
        let mut rounds = self.pulse.rounds();
        loop {
            if work.wait(look).map_err(|error| self.failed(number, &error))? {
                return Ok(());
            }
            let before = std::mem::replace(&mut rounds, self.pulse.rounds());
            unanswered = if before == rounds {
                unanswered + look
            } else {
                Duration::ZERO
            };
            // Rank 0 serves the store, or is on the host that does.
            let silent = match unanswered > self.silence {
                true => Some(0),
                false => self.pulse.silent(self.silence),
            };
            if let Some(rank) = silent {
                return Err(lost(format!(
                    "rank {rank} has given no sign of life for {} s\nhint: it hangs, or its machine is out of reach",
                    self.silence.as_secs()
                )));
            }
            let behind = self.pulse.behind(number);
            let is_busy = behind.iter().any(|(_, is_busy)| *is_busy);
            waited = if is_busy { Duration::ZERO } else { waited + look };
            if waited > self.timeout {
                return Err(lost(self.late(&behind)));
            }
        }
    }

    fn late(&self, behind: &[(usize, bool)]) -> String {
        let names: Vec<String> = behind.iter().map(|(rank, _)| rank.to_string()).collect();
        let who = match names.len() {
            0 => "the ranks did not finish a step together".to_owned(),
            1 => format!("rank {} did not come to the end of its part", names[0]),
            _ => format!("ranks {} did not come to the end of their part", names.join(", ")),
        };
        format!(
            "{who} within {} s\nhint: --rank-timeout sets how long the others wait",
            self.timeout.as_secs()
        )
    }

    /// The error of a collective that failed.
    fn failed(&self, number: u64, error: &TchError) -> anyhow::Error {
        if !is_gone(error) {
            return anyhow!("ranks cannot compute together: {}", first_line(error));
        }
        let behind = self.pulse.behind(number);
        lost(match behind[..] {
            [(rank, _)] => format!("rank {rank} is gone"),
            _ => format!("another rank is gone: {}", first_line(error)),
        })
    }
}

fn lost(message: String) -> anyhow::Error {
    LostRank(message).into()
}

/// libtorch appends a stack of C++ calls.
fn first_line(error: &TchError) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

/// Has the system kill this process with the `ewe` that started it.
///
/// # Errors
///
/// If that has ended already.
pub fn end_with_launcher(place: &Place) -> Result<()> {
    let Some(launcher) = place.launcher else {
        return Ok(());
    };
    // Without it, the process ends as soon as it misses the others.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let parent = getppid().map(|parent| parent.as_raw_nonzero().get());
    if parent.and_then(|parent| u32::try_from(parent).ok()) != Some(launcher) {
        bail!("the process that started rank {} has ended", place.rank);
    }
    Ok(())
}

//! Which rank this process is: told by variables of the environment, which `ewe` itself, `torchrun`
//! or Slurm sets.

use std::os::fd::RawFd;

use anyhow::{Result, bail};

/// The process that started this rank, if that was `ewe`.
pub const LAUNCHER: &str = "EWE_LAUNCHER";
/// The file descriptor on which this rank is to listen as the store.
pub const LISTENING: &str = "EWE_LISTENING";
/// The file descriptor to which this rank writes its [`super::report::Report`].
pub const REPORTS: &str = "EWE_REPORTS";
/// How often the ranks were started before; a name of torchrun's.
pub const RESTARTS: &str = "TORCHELASTIC_RESTART_COUNT";

/// One rank of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its number, from 0.
    pub rank: usize,
    /// The number of ranks.
    pub size: usize,
    /// Its number on this machine, from 0.
    pub local: usize,
    /// The host of the store.
    pub address: String,
    /// The port of the store.
    pub port: u16,
    /// Whether this rank serves the store.
    pub serves: bool,
    /// The socket on which it does, if there is one already.
    pub listening: Option<RawFd>,
    /// How often the ranks were started before.
    pub restarts: u64,
    /// The process id of the `ewe` that started it.
    pub launcher: Option<u32>,
    /// Where that wants to hear of errors.
    pub reports: Option<RawFd>,
}

impl Place {
    /// Reads the environment; none if this process is no rank.
    ///
    /// # Errors
    ///
    /// Names the variable that is missing or no number.
    pub fn of_environment() -> Result<Option<Place>> {
        Place::read(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// As [`Place::of_environment`], of variables that `get` returns.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Option<Place>> {
        let names = if get("RANK").is_some() && get("WORLD_SIZE").is_some() {
            ["RANK", "WORLD_SIZE", "LOCAL_RANK"]
        } else if get("SLURM_PROCID").is_some()
            && get("SLURM_NTASKS").is_some()
            && get("MASTER_ADDR").is_some()
        {
            // Within `sbatch` these are set without `srun`, too; who wants ranks names the store.
            ["SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"]
        } else {
            return Ok(None);
        };
        let [rank, size, local] = names.map(|name| number::<usize>(&get, name));
        let (rank, size) = (rank?.unwrap_or(0), size?.unwrap_or(0));
        let [name, of_size, _] = names;
        if rank >= size {
            bail!(
                "{name} is {rank} and {of_size} is {size}: ranks are numbered from 0 to one less than their number\nhint: start \
                 ranks by `ewe train --ranks N`, `torchrun --no-python ewe train` or `srun ewe train`"
            );
        }
        let (Some(address), Some(port)) = (get("MASTER_ADDR"), number(&get, "MASTER_PORT")?) else {
            bail!(
                "{name} is {rank}, and MASTER_ADDR or MASTER_PORT is missing, where the ranks meet\nhint: set both to the host of \
                 rank 0 and a free port there, or unset {name}"
            );
        };
        let is_agent = get("TORCHELASTIC_USE_AGENT_STORE").is_some_and(|value| value == "True");
        Ok(Some(Place {
            rank,
            size,
            local: local?.unwrap_or(rank),
            address,
            port,
            serves: rank == 0 && !is_agent,
            listening: number(&get, LISTENING)?,
            restarts: number(&get, RESTARTS)?.unwrap_or(0),
            launcher: number(&get, LAUNCHER)?,
            reports: number(&get, REPORTS)?,
        }))
    }

    /// Returns whether the store is on this machine, by its name.
    pub fn is_local(&self) -> bool {
        matches!(self.address.as_str(), "localhost" | "127.0.0.1" | "::1")
    }
}

fn number<T: std::str::FromStr>(get: &impl Fn(&str) -> Option<String>, name: &str) -> Result<Option<T>> {
    let Some(value) = get(name) else { return Ok(None) };
    match value.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => bail!("{name} is `{value}`, which is no number that it can be\nhint: correct or unset it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Place>> {
        Place::read(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    const STORE: [(&str, &str); 2] = [("MASTER_ADDR", "node-1"), ("MASTER_PORT", "29500")];

    fn with(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
        more.iter().copied().chain(STORE).collect()
    }

    #[test]
    fn launchers_tell_a_rank_its_place() {
        let torchrun = [
            ("RANK", "5"),
            ("WORLD_SIZE", "8"),
            ("LOCAL_RANK", "1"),
            ("TORCHELASTIC_RESTART_COUNT", "2"),
            ("TORCHELASTIC_USE_AGENT_STORE", "True"),
        ];
        let place = read(&with(&torchrun)).unwrap().unwrap();
        assert_eq!((place.rank, place.size, place.local), (5, 8, 1));
        assert_eq!((place.address.as_str(), place.port), ("node-1", 29500));
        assert_eq!((place.restarts, place.serves, place.launcher), (2, false, None));
        let slurm = [
            ("SLURM_PROCID", "0"),
            ("SLURM_NTASKS", "4"),
            ("SLURM_LOCALID", "0"),
        ];
        let place = read(&with(&slurm)).unwrap().unwrap();
        assert_eq!((place.rank, place.size, place.serves), (0, 4, true));
        assert!(!place.is_local());
        // An allocation alone makes no ranks, and neither does one variable.
        assert_eq!(read(&slurm).unwrap(), None);
        assert_eq!(read(&[("WORLD_SIZE", "8")]).unwrap(), None);
        assert_eq!(read(&[]).unwrap(), None);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let error = |variables: &[(&str, &str)]| read(variables).unwrap_err().to_string();
        assert!(
            error(&[("RANK", "0"), ("WORLD_SIZE", "2")]).contains("MASTER_ADDR or MASTER_PORT is missing")
        );
        assert!(
            error(&with(&[("RANK", "2"), ("WORLD_SIZE", "2")])).contains("RANK is 2 and WORLD_SIZE is 2")
        );
        assert!(error(&with(&[("RANK", "x"), ("WORLD_SIZE", "2")])).contains("RANK is `x`"));
        let port = [("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_PORT", "70000")];
        assert!(error(&port).contains("MASTER_PORT is `70000`"));
    }
}

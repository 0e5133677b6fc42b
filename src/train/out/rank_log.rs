//! `OUT/rank-1.log` and so on: what each rank of several did and took, a line for each step. The
//! first rank prints for all, and what it prints holds for itself.

use super::metrics::StepMetrics;
use crate::distributed::group::Ranks;
use anyhow::{Context, Result};
use std::fmt::Arguments;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The log of a rank.
#[derive(Debug)]
pub struct RankLog {
    path: PathBuf,
    file: File,
}

impl RankLog {
    /// Opens the log of this rank; none if it is alone. It begins anew with a run, and goes on with
    /// one that is resumed after `done` steps. `planned` are the bytes of memory that it is
    /// expected to need: by the allocator's count, and of the process.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn begin(out: &Path, ranks: &Ranks, done: u64, planned: Option<[u64; 2]>) -> Result<Option<RankLog>> {
        if !ranks.has_others() {
            return Ok(None);
        }
        let path = out.join(format!("rank-{}.log", ranks.rank));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        if done == 0 {
            file.set_len(0)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let mut log = RankLog { path, file };
        let part = ranks.division().map_or(String::new(), |of| {
            format!(
                ", with part {} of {} in replica {} of {}",
                of.part + 1,
                of.parts,
                of.replica + 1,
                of.replicas
            )
        });
        log.say(format_args!(
            "rank {} of {}{part}, process {}, after step {done}, exchanging by {}",
            ranks.rank,
            ranks.size,
            std::process::id(),
            ranks.exchanges_by()
        ))?;
        if let Some([allocated, resident]) = planned {
            log.say(format_args!(
                "planned: {} of memory, {} of the process",
                megabytes(allocated),
                megabytes(resident)
            ))?;
        }
        Ok(Some(log))
    }

    fn say(&mut self, text: Arguments) -> Result<()> {
        self.file
            .write_all(format!("{text}\n").as_bytes())
            .with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Appends what a step took here.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn step(&mut self, line: &StepMetrics, seconds: f64) -> Result<()> {
        let size = |bytes: Option<u64>| bytes.map_or("?".to_owned(), megabytes);
        self.say(format_args!(
            "step {}: {seconds:.3} s, {} of memory, {} of the process",
            line.step,
            size(line.memory),
            size(line.resident)
        ))
    }
}

/// Formats bytes as `1234.5 MB`: plans are compared to the megabyte.
fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

//! Saves the checkpoints of a run: at once, or from a snapshot on a thread of its own while
//! training goes on.

use super::checkpoint::{Checkpoints, State};
use super::host_bytes;
use super::snapshot::Snapshot;
use anyhow::{Context, Result, anyhow};
use std::path::PathBuf;
use std::thread::JoinHandle;
use tch::{Device, Tensor};

/// Share of the free host memory that a snapshot may take.
const SHARE: f64 = 0.8;

/// Returns whether checkpoints of a state of `state` bytes, with tensors of at most `largest`
/// bytes, are written while training goes on: on a GPU whose host has `free` bytes for it. On the
/// CPU a snapshot would only take memory: the processor that writes is the one that trains.
pub fn writes_behind(device: Device, state: u64, largest: u64, free: Option<u64>) -> bool {
    let room = free.map(|free| (free as f64 * SHARE) as u64);
    device.is_cuda() && room.is_some_and(|room| host_bytes(state, largest) <= room)
}

/// Writes the checkpoints of a run, one at a time.
#[derive(Debug)]
pub struct CheckpointWriter {
    checkpoints: Checkpoints,
    /// Memory of the next snapshot, unless it is in use; none if each save waits for its end.
    snapshot: Option<Snapshot>,
    running: Option<JoinHandle<(Snapshot, Result<PathBuf>)>>,
}

impl CheckpointWriter {
    /// Writes to `checkpoints`; through `snapshot` if there is one, else before [`save`] returns.
    ///
    /// [`save`]: CheckpointWriter::save
    pub fn new(checkpoints: Checkpoints, snapshot: Option<Snapshot>) -> CheckpointWriter {
        CheckpointWriter {
            checkpoints,
            snapshot,
            running: None,
        }
    }

    /// Saves a checkpoint, after the one before it. With a snapshot it returns as soon as the
    /// tensors may change.
    ///
    /// # Errors
    ///
    /// When this one, or the one before it, cannot be saved.
    pub fn save(&mut self, state: State, tensors: &[(String, Tensor)]) -> Result<()> {
        self.wait()?;
        let Some(mut snapshot) = self.snapshot.take() else {
            return self.checkpoints.save(&state, tensors).map(drop);
        };
        if let Err(error) = snapshot.take(tensors) {
            // From here on there is no snapshot.
            tracing::warn!("each checkpoint stops training until it is written: {error:#}");
            return self.checkpoints.save(&state, tensors).map(drop);
        }
        let checkpoints = self.checkpoints.clone();
        let write = move || {
            let saved = checkpoints.save_snapshot(&state, &snapshot);
            (snapshot, saved)
        };
        let thread = std::thread::Builder::new().name("checkpoint".to_owned());
        self.running = Some(thread.spawn(write).context("cannot start a thread")?);
        Ok(())
    }

    /// Returns the error of the checkpoint in flight if it has failed already.
    ///
    /// # Errors
    ///
    /// When it cannot be saved.
    pub fn check(&mut self) -> Result<()> {
        match self.running.as_ref().is_some_and(JoinHandle::is_finished) {
            true => self.wait(),
            false => Ok(()),
        }
    }

    /// Waits for the checkpoint in flight.
    ///
    /// # Errors
    ///
    /// When it cannot be saved.
    pub fn wait(&mut self) -> Result<()> {
        let Some(running) = self.running.take() else {
            return Ok(());
        };
        let (snapshot, saved) = running
            .join()
            .map_err(|_| anyhow!("the thread that writes checkpoints has ended without a word"))?;
        self.snapshot = Some(snapshot);
        saved.map(drop)
    }
}

impl Drop for CheckpointWriter {
    /// A run that fails keeps the checkpoint in flight.
    fn drop(&mut self) {
        if let Err(error) = self.wait() {
            tracing::warn!("{error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::checkpoint::tests::state;
    use super::super::snapshot::tests::{small, tensors};
    use super::*;
    use std::fs;
    use std::path::Path;

    /// Returns the bytes of the checkpoint after `step` steps.
    fn read(out: &Path, step: u64) -> Vec<u8> {
        fs::read(Checkpoints::of(out).place(step).join("state.safetensors")).unwrap()
    }

    #[test]
    fn a_thread_writes_the_bytes_of_the_moment_it_was_asked() {
        let (at_once, behind) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let writer = |out: &Path, snapshot| CheckpointWriter::new(Checkpoints::of(out), snapshot);
        let mut first = writer(at_once.path(), None);
        let mut second = writer(behind.path(), Some(small(32)));
        for step in 1..=3 {
            let mut tensors = tensors(step as i64);
            first.save(state(step), &tensors).unwrap();
            second.save(state(step), &tensors).unwrap();
            for (_, tensor) in &mut tensors {
                let _ = tensor.zero_();
            }
            // The last one is waited for when the writer is dropped.
            if step < 3 {
                second.wait().unwrap();
                assert_eq!(read(behind.path(), step), read(at_once.path(), step));
            }
        }
        drop(second);
        assert_eq!(read(behind.path(), 3), read(at_once.path(), 3));
        let checkpoints = behind.path().join("checkpoints");
        assert_eq!(
            fs::read_dir(checkpoints).unwrap().count(),
            1,
            "only the last is kept"
        );
    }

    #[test]
    fn one_is_in_flight_and_the_next_follows_it() {
        let out = tempfile::tempdir().unwrap();
        let mut writer = CheckpointWriter::new(Checkpoints::of(out.path()), Some(small(64)));
        for step in 1..=5 {
            writer.save(state(step), &tensors(step as i64)).unwrap();
        }
        writer.wait().unwrap();
        let (_, last) = Checkpoints::of(out.path()).last().unwrap().unwrap();
        assert_eq!(last.step, 5);
        assert!(writer.check().is_ok() && writer.snapshot.is_some());
    }

    #[test]
    fn an_error_of_the_thread_reaches_the_run_and_leaves_the_checkpoint_before() {
        let out = tempfile::tempdir().unwrap();
        let mut writer = CheckpointWriter::new(Checkpoints::of(out.path()), Some(small(64)));
        writer.save(state(1), &tensors(1)).unwrap();
        writer.wait().unwrap();
        // A file is where the folder of the next one would be.
        fs::write(out.path().join("checkpoints/.step-00000002.partial"), "").unwrap();
        writer.save(state(2), &tensors(2)).unwrap();
        let error = format!("{:#}", writer.wait().unwrap_err());
        assert!(
            error.contains("after step 2; the one before it is intact"),
            "{error}"
        );
        assert_eq!(Checkpoints::of(out.path()).last().unwrap().unwrap().1.step, 1);
        writer.wait().unwrap();
    }

    #[test]
    fn only_a_gpu_with_enough_host_memory_writes_behind() {
        let of = |device, free| writes_behind(device, 36 << 30, 1 << 30, free);
        assert!(of(Device::Cuda(0), Some(64 << 30)));
        assert!(!of(Device::Cuda(0), Some(40 << 30)));
        assert!(!of(Device::Cuda(0), None));
        assert!(!of(Device::Cpu, Some(64 << 30)));
    }
}

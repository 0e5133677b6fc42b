//! `ewe gain`: did the data make the model better, and which rows did not?
//!
//! Everything is done by commands that exist, each in a process of its own, so that memory is given
//! back between them, and that people can type. What was done is recorded beside the result, so a
//! command that was killed at any point goes on. In reading order:
//!
//! - [`job`]: what is asked for; [`options`]: the options that go on to `ewe train`.
//! - [`steps`]: the commands as they are typed; [`child`]: runs one.
//! - [`sides`]: the rows on both sides of the split; [`record`]: what was done.
//! - [`walk`]: the commands in their order, and what of them is left to do.
//! - [`paired`]: differences over the same held-out tasks.
//! - [`conclusion`]: what people read at the end; [`result`]: the same as JSON.

pub mod child;
pub mod conclusion;
pub mod job;
pub mod options;
pub mod paired;
pub mod record;
pub mod result;
pub mod sides;
pub mod steps;
pub mod walk;

use anyhow::Result;

use crate::atomic_file;
use child::{Runner, Stopped};
use job::GainJob;

/// Runs the command. Returns its exit code, which is that of a step that failed. Must be called on
/// the main thread of a runtime with one thread: the system ends a step that outlives the thread
/// that began it.
///
/// # Errors
///
/// If there is nothing to begin with, if `--out` has something else, or if the dataset or a file
/// fails.
pub async fn run(job: &GainJob) -> Result<u8> {
    if let Some(path) = &job.result {
        atomic_file::check(path)?;
    }
    let begun = walk::Begun::of(job).await?;
    let mut runner = Runner::listen(job)?;
    let found = match begun.go(&mut runner).await {
        Ok(found) => found,
        Err(error) => match error.downcast::<Stopped>() {
            Ok(stopped) => {
                eprintln!("{}", stopped.way_on());
                return Ok(stopped.code);
            }
            Err(error) => return Err(error),
        },
    };
    for line in conclusion::lines(job, &found) {
        println!("{line}");
    }
    if let Some(path) = &job.result {
        result::write(path, job, &found, &runner.lines)?;
    }
    Ok(0)
}

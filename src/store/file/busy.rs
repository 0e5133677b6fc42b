//! Waiting for other processes that write to the dataset.

use std::time::{Duration, Instant};

use crate::store::{Error, Result};

/// How long a writer or a statement waits for others.
pub(in crate::store) const TIMEOUT: Duration = Duration::from_secs(5);

/// The interval between attempts to take a lock. Left to itself, SQLite tries less and less often,
/// and would miss the moments between the transactions of an import.
pub(in crate::store) const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Repeats `act`, with pauses, as long as it fails with [`Error::Locked`], for up to [`TIMEOUT`].
pub(in crate::store) async fn retry<T, F>(pause: Duration, mut act: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let start = Instant::now();
    loop {
        match act().await {
            Err(Error::Locked) if start.elapsed() < TIMEOUT => {
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
            }
            done => return done,
        }
    }
}

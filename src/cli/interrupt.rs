//! Requests to end while a model is asked.

use crate::signals::ShutdownSignals;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set once somebody wants the command to stop. The first request lets what is in flight finish;
/// the second leaves at once. Neither loses what is committed.
///
/// # Errors
///
/// When the system lets nobody listen for signals.
pub fn on_signal() -> anyhow::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    tokio::spawn(stop(ShutdownSignals::listen()?, interrupted.clone()));
    Ok(interrupted)
}

async fn stop(mut requests: ShutdownSignals, interrupted: Arc<AtomicBool>) {
    loop {
        requests.next().await;
        if interrupted.swap(true, Ordering::Relaxed) {
            crate::leave::at_once();
        }
        eprintln!(
            "stopping: what is in flight is still answered, and kept; Ctrl-C again leaves at once, and loses only that"
        );
    }
}

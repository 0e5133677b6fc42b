//! Ctrl-C while a model is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set once somebody wants the command to stop. The first Ctrl-C lets what is in flight finish; the second leaves at
/// once. Neither loses what is committed.
pub fn on_signal() -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    tokio::spawn(stop(interrupted.clone()));
    interrupted
}

async fn stop(interrupted: Arc<AtomicBool>) {
    let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
        return;
    };
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        if interrupted.swap(true, Ordering::Relaxed) {
            crate::leave::at_once(130);
        }
        eprintln!("stopping when what is in flight is answered; once more to leave at once");
    }
}

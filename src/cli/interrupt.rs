//! Ctrl-C, the terminate signal, and a terminal that hangs up while a model is asked.

use crate::signals::{self, SIGHUP, SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Set once somebody wants the command to stop. The first Ctrl-C lets what is in flight finish; the second leaves at
/// once. Neither loses what is committed.
pub fn on_signal() -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    signals::taken(&[SIGINT, SIGTERM, SIGHUP]);
    tokio::spawn(stop(interrupted.clone()));
    interrupted
}

async fn stop(interrupted: Arc<AtomicBool>) {
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        hangup(),
    ) else {
        return;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            Some(_) = async { hangup.as_mut()?.recv().await } => {}
        }
        if interrupted.swap(true, Ordering::Relaxed) {
            crate::leave::at_once(130);
        }
        eprintln!("stopping when what is in flight is answered; once more to leave at once");
    }
}

/// A terminal that hangs up; none where whoever started us wants that ignored, as `nohup` does.
fn hangup() -> std::io::Result<Option<Signal>> {
    match signals::is_ignored(SIGHUP) {
        true => Ok(None),
        false => signal(SignalKind::hangup()).map(Some),
    }
}

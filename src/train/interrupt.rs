//! Ctrl-C and the terminate signal: the first asks the run to stop at a clean place, the second ends it at once.

use anyhow::{Context, Result};
use ewe::signals;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};

/// Whether somebody asked to stop.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on, on a thread of its own.
    pub fn listen() -> Result<Interrupt> {
        let asked = Arc::new(AtomicBool::new(false));
        let flag = asked.clone();
        signals::taken(&[signals::SIGINT, signals::SIGTERM]);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot listen for signals")?;
        std::thread::spawn(move || {
            runtime.block_on(async move {
                let (Ok(mut interrupt), Ok(mut terminate)) =
                    (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
                else {
                    return;
                };
                loop {
                    tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
                    if flag.swap(true, Ordering::SeqCst) {
                        ewe::leave::at_once(130);
                    }
                }
            })
        });
        Ok(Interrupt(asked))
    }

    /// Whether somebody asked to stop.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

//! Signals that end a run: the first stops it at the next checkpoint, the second ends it at once.

use anyhow::{Context, Result};
use ewe::leave;
use ewe::signals::ShutdownSignals;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a signal asked to stop.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Begins to listen, on a thread of its own. The first signal is answered at once: `kept` says
    /// what is not lost; without it nothing is said, as by ranks that are not the first.
    pub fn listen(kept: Option<&'static str>) -> Result<Interrupt> {
        let asked = Arc::new(AtomicBool::new(false));
        let flag = asked.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot listen for signals")?;
        let requests = {
            let _within = runtime.enter();
            ShutdownSignals::listen().context("cannot listen for signals")?
        };
        std::thread::spawn(move || runtime.block_on(stop(requests, flag, kept)));
        Ok(Interrupt(asked))
    }

    /// Returns whether a signal asked to stop.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

async fn stop(mut requests: ShutdownSignals, asked: Arc<AtomicBool>, kept: Option<&str>) {
    loop {
        requests.next().await;
        if asked.swap(true, Ordering::SeqCst) {
            leave::at_once();
        }
        if let Some(kept) = kept {
            eprintln!("stopping: {kept}; Ctrl-C again leaves at once");
        }
    }
}

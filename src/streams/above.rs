//! What is printed while a progress bar is drawn: it stands above the bar, which would otherwise be
//! drawn over it.

use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, WeakProgressBar};

/// The bars that were begun, the last one on top.
static BARS: Mutex<Vec<WeakProgressBar>> = Mutex::new(Vec::new());

/// Makes room above this bar for whatever is printed until it is finished.
pub fn drawn(bar: &ProgressBar) {
    let mut bars = BARS.lock().unwrap_or_else(PoisonError::into_inner);
    bars.retain(|bar| bar.upgrade().is_some());
    bars.push(bar.downgrade());
}

/// Calls `print` while no bar is drawn.
pub(super) fn write<T>(print: impl FnOnce() -> T) -> T {
    let bar = {
        let bars = BARS.lock().unwrap_or_else(PoisonError::into_inner);
        let mut live = bars.iter().rev().filter_map(WeakProgressBar::upgrade);
        live.find(|bar| !bar.is_finished())
    };
    match bar {
        Some(bar) => bar.suspend(print),
        None => print(),
    }
}

//! What a run shows while it works: a bar on a terminal, a line now and then elsewhere, nothing when told to be quiet.
//! All of it goes to stderr.

use super::metrics::StepMetrics;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Between two lines where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// The display of one run.
pub struct Progress {
    quiet: bool,
    bar: Option<ProgressBar>,
    total: u64,
    first: u64,
    begun: Instant,
    last_line: Option<Instant>,
}

impl Progress {
    /// Of a run of `total` steps of which `first` are done.
    pub fn new(quiet: bool, first: u64, total: u64) -> Progress {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr()).with_position(first);
            let style = "{spinner} step {pos}/{len} {wide_bar} {msg} · {elapsed} gone, {eta} left";
            bar.set_style(ProgressStyle::with_template(style).expect("a constant template"));
            bar.reset_eta();
            bar
        });
        Progress { quiet, bar, total, first, begun: Instant::now(), last_line: None }
    }

    /// Says one thing, above the bar if there is one.
    pub fn say(&self, text: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    /// Shows a finished step.
    pub fn step(&mut self, metrics: &StepMetrics) {
        if self.quiet {
            return;
        }
        let loss = metrics.loss.map_or("skipped".to_owned(), |loss| format!("loss {loss:.4}"));
        let rate = format!("{loss} · {:.0} tokens/s · {:.0}% mfu", metrics.tokens_per_s, 100.0 * metrics.mfu);
        if let Some(bar) = &self.bar {
            bar.set_message(rate);
            bar.set_position(metrics.step);
            return;
        }
        let due = self.last_line.is_none_or(|last| last.elapsed() >= BETWEEN_LINES) || metrics.step == self.total;
        if due {
            self.last_line = Some(Instant::now());
            let done = metrics.step - self.first;
            let left = self.begun.elapsed().as_secs_f64() / done.max(1) as f64 * (self.total - metrics.step) as f64;
            eprintln!("step {}/{} · {rate} · {} left", metrics.step, self.total, duration(left));
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `47 s`, `3 min 20 s`, `2 h 5 min`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn durations_read_well() {
        let texts: Vec<_> = [0.4, 59.6, 200.0, 7500.0].map(super::duration).into();
        assert_eq!(texts, ["0 s", "1 min 0 s", "3 min 20 s", "2 h 5 min"]);
    }
}

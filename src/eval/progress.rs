//! How far a file of rows is: a bar on a terminal, a line every ten seconds elsewhere. All of it on stderr.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Progress of one command.
pub struct Progress {
    bar: ProgressBar,
    what: &'static str,
    /// None on a terminal, where the bar speaks, and when nothing shall be said.
    next_line: Option<Instant>,
}

const EVERY: Duration = Duration::from_secs(10);

impl Progress {
    /// Starts at none of `total` `what`s (`prompts`, `rows`).
    pub fn new(what: &'static str, total: usize, quiet: bool) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal && !quiet {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(total as u64), target);
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {elapsed} (eta {eta})")
            .expect("a template");
        bar.set_style(style);
        bar.set_message(what);
        Progress {
            bar,
            what,
            next_line: (!terminal && !quiet).then(|| Instant::now() + EVERY),
        }
    }

    /// `n` more are done; `rate` says how fast ("180 tok/s").
    pub fn advance(&mut self, n: usize, rate: &str) {
        self.bar.inc(n as u64);
        self.bar.set_message(format!("{} {rate}", self.what));
        if let Some(next) = &mut self.next_line
            && Instant::now() >= *next
        {
            *next = Instant::now() + EVERY;
            let (done, total) = (self.bar.position(), self.bar.length().unwrap_or(0));
            eprintln!(
                "{done}/{total} {} {rate} (eta {} s)",
                self.what,
                self.bar.eta().as_secs()
            );
        }
    }

    /// Ends with a line of what was done.
    pub fn finish(self, summary: &str, quiet: bool) {
        self.bar.finish_and_clear();
        if !quiet {
            eprintln!("{summary}");
        }
    }
}

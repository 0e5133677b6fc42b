//! What long work shows on stderr: a bar with rate and time left on a terminal, a line now and then elsewhere.

mod pace;

use crate::streams;
use crate::text::{clean, counted, noun};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use pace::Pace;
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The progress of one piece of work that counts to `total`.
pub struct Progress {
    bar: Option<ProgressBar>,
    /// For lines: none when nothing is to be shown.
    lines: bool,
    what: String,
    total: u64,
    /// What is counted are the bytes of a file.
    bytes: bool,
    start: Instant,
    pace: Arc<Mutex<Pace>>,
    last_line: Option<Instant>,
}

impl Progress {
    /// Starts at `first` of `total`; `unit` names one of what is counted. Silent when `quiet`.
    pub fn new(what: &str, unit: &str, first: u64, total: u64, quiet: bool) -> Self {
        let terminal = streams::stderr().is_terminal();
        let start = Instant::now();
        let pace = Arc::new(Mutex::new(Pace::starting(first, total)));
        let bar = (terminal && !quiet).then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let template = format!(
                "{{prefix}} {{bar:28}} {{pos}}/{{len}} {} · {{elapsed}} · {{per_sec}} · {{left}} left\n  {{msg}}",
                noun(total, unit)
            );
            bar.set_style(style(&template, &pace));
            bar.set_prefix(clean(what));
            bar.set_position(first);
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        let lines = !terminal && !quiet;
        Progress {
            bar,
            lines,
            what: what.to_string(),
            total,
            bytes: false,
            start,
            pace,
            last_line: None,
        }
    }

    /// The reading of a file of `total` bytes. Where lines are written, a file that is read in no time has none.
    pub fn bytes(what: &str, total: u64, quiet: bool) -> Self {
        let mut progress = Progress::new(what, "", 0, total, quiet);
        progress.bytes = true;
        progress.last_line = Some(Instant::now());
        if let Some(bar) = &progress.bar {
            let template = "{prefix} {bar:28} {bytes}/{total_bytes} · {elapsed} · {bytes_per_sec} · {left} left\n  {msg}";
            bar.set_style(style(template, &progress.pace));
        }
        progress
    }

    /// Work whose end is not known: shows how much is done and how fast.
    pub fn counter(what: &str, unit: &str, quiet: bool) -> Self {
        let mut progress = Progress::new(what, unit, 0, 0, quiet);
        progress.total = u64::MAX;
        progress.last_line = Some(Instant::now());
        if let Some(bar) = &progress.bar {
            bar.unset_length();
            let unit = unit.to_owned();
            let style = ProgressStyle::with_template("{prefix} {done} · {elapsed} · {per_sec}");
            let style = style.expect("the template is fixed");
            bar.set_style(
                style.with_key("done", move |state: &ProgressState, out: &mut dyn Write| {
                    // Nobody is there to be told when a line cannot be drawn.
                    let _ = out.write_str(&counted(state.pos(), &unit));
                }),
            );
        }
        progress
    }

    /// Whether there is a terminal to draw on, where a message may have several lines.
    pub fn is_drawn(&self) -> bool {
        self.bar.is_some()
    }

    /// Shows that the work stands at `position`, with what else there is to say.
    pub fn set(&mut self, position: u64, message: &str) {
        self.note(position);
        if let Some(bar) = &self.bar {
            bar.set_position(position);
            bar.set_message(fit(message));
        }
        let due = self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY)
            || (position >= self.total && !self.bytes);
        if self.lines && due {
            self.last_line = Some(Instant::now());
            let elapsed = self.start.elapsed();
            if self.total == u64::MAX {
                return eprintln!("{}: {position} in {} {message}", self.what, clock(elapsed));
            }
            let left = self.left().map_or("?".to_string(), clock);
            let (position, total) = match self.bytes {
                true => (
                    HumanBytes(position).to_string(),
                    HumanBytes(self.total).to_string(),
                ),
                false => (position.to_string(), self.total.to_string()),
            };
            eprintln!(
                "{}: {position}/{total} in {}, {left} left; {message}",
                self.what,
                clock(elapsed)
            );
        }
    }

    /// Notes that the work stands at `position`, without showing it.
    pub fn note(&mut self, position: u64) {
        let mut pace = self.pace.lock().expect("nobody panics with it");
        pace.note(self.start.elapsed(), position);
    }

    /// How long it will go on at the pace of now; none while nobody can tell.
    pub fn left(&self) -> Option<Duration> {
        self.pace.lock().expect("nobody panics with it").left()
    }

    /// Says something that is to stay, above the bar; nothing when quiet.
    pub fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(clean(text)),
            None if self.lines => eprintln!("{text}"),
            None => {}
        }
    }

    /// Takes the bar away.
    pub fn finish(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// How a bar of this template is drawn; `{left}` is the time that is left.
fn style(template: &str, pace: &Arc<Mutex<Pace>>) -> ProgressStyle {
    let pace = pace.clone();
    ProgressStyle::with_template(template)
        .expect("the template is fixed")
        .with_key("left", move |_: &ProgressState, out: &mut dyn Write| {
            let left = pace.lock().expect("nobody panics with it").left();
            // Nobody is there to be told when a line cannot be drawn.
            let _ = out.write_str(&left.map_or("?".to_string(), clock));
        })
        .progress_chars("█▉░")
}

/// The message with each line cut to the width of the terminal: a line that wraps would be drawn over and over.
fn fit(message: &str) -> String {
    let width = streams::stderr().columns().map_or(80, usize::from);
    // The lines after the first are moved in as the first one is.
    let lines: Vec<String> = clean(message)
        .lines()
        .map(|line| line.chars().take(width.saturating_sub(3)).collect())
        .collect();
    lines.join("\n  ")
}

/// `m:ss`, or `h:mm:ss`.
pub fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if h > 0 {
        format!("{h}:{m:02}:{s:02}")
    } else {
        format!("{m}:{s:02}")
    }
}

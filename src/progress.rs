//! Progress of long work on standard error: a bar with rate and time left on a terminal, a line now
//! and then elsewhere.

mod pace;

use crate::streams;
use crate::text::{clean, counted, noun};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use pace::Pace;
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The interval between lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The progress of one job that counts up to `total`.
pub struct ProgressMeter {
    bar: Option<ProgressBar>,
    /// Whether to write lines: there is no terminal, and the command is not quiet.
    lines: bool,
    what: String,
    total: u64,
    /// Whether the bytes of a file are counted.
    bytes: bool,
    start: Instant,
    pace: Arc<Mutex<Pace>>,
    last_line: Option<Instant>,
    /// Whether the line of the end was written.
    has_ended: bool,
}

impl ProgressMeter {
    /// Starts at `first` of `total`; `unit` is the singular of what is counted. Silent if `quiet`.
    pub fn new(what: &str, unit: &str, first: u64, total: u64, quiet: bool) -> Self {
        let terminal = streams::stderr().is_terminal();
        let start = Instant::now();
        let pace = Arc::new(Mutex::new(Pace::starting(first, total)));
        let bar = (terminal && !quiet).then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let template = format!(
                "{{prefix}} {{bar:28}} {{pos}}/{{len}} {} · {{elapsed}} · {{rate}} · {{left}} left\n  {{msg}}",
                noun(total, unit)
            );
            bar.set_style(style(&template, &pace));
            bar.set_prefix(clean(what));
            bar.set_position(first);
            bar.enable_steady_tick(Duration::from_millis(250));
            streams::drawn(&bar);
            bar
        });
        let lines = !terminal && !quiet;
        ProgressMeter {
            bar,
            lines,
            what: what.to_string(),
            total,
            bytes: false,
            start,
            pace,
            last_line: None,
            has_ended: false,
        }
    }

    /// Starts reading a file of `total` bytes. Where lines are written, a file that is read at once
    /// has none.
    pub fn bytes(what: &str, total: u64, quiet: bool) -> Self {
        let mut progress = ProgressMeter::new(what, "", 0, total, quiet);
        progress.bytes = true;
        progress.last_line = Some(Instant::now());
        if let Some(bar) = &progress.bar {
            let template = "{prefix} {bar:28} {bytes}/{total_bytes} · {elapsed} · {bytes_per_sec} · {left} left\n  {msg}";
            bar.set_style(style(template, &progress.pace));
        }
        progress
    }

    /// Starts work of unknown length: shows how much is done and how fast.
    pub fn counter(what: &str, unit: &str, quiet: bool) -> Self {
        let mut progress = ProgressMeter::new(what, unit, 0, 0, quiet);
        progress.total = u64::MAX;
        progress.last_line = Some(Instant::now());
        if let Some(bar) = &progress.bar {
            bar.unset_length();
            let unit = unit.to_owned();
            let style = style("{prefix} {done} · {elapsed} · {rate}", &progress.pace);
            bar.set_style(
                style.with_key("done", move |state: &ProgressState, out: &mut dyn Write| {
                    // A line that cannot be drawn has no reader.
                    let _ = out.write_str(&counted(state.pos(), &unit));
                }),
            );
        }
        progress
    }

    /// Whether it is drawn on a terminal, where a message may have several lines.
    pub fn is_drawn(&self) -> bool {
        self.bar.is_some()
    }

    /// Sets the position and shows it with a message.
    pub fn set(&mut self, position: u64, message: &str) {
        self.note(position);
        if let Some(bar) = &self.bar {
            bar.set_position(position);
            bar.set_message(fit(message));
        }
        // The end is said once, whatever is still counted after it.
        let is_end = position >= self.total && !self.bytes;
        let due = match self.has_ended {
            true => false,
            false => is_end || self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY),
        };
        if self.lines && due {
            self.has_ended = is_end;
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
            let message = match message {
                "" => String::new(),
                message => format!("; {message}"),
            };
            eprintln!(
                "{}: {position}/{total} in {}, {left} left{message}",
                self.what,
                clock(elapsed)
            );
        }
    }

    /// Sets the position without showing it.
    pub fn note(&mut self, position: u64) {
        let mut pace = self.pace.lock().expect("nobody panics with it");
        pace.note(self.start.elapsed(), position);
    }

    /// Returns the time left at the present pace, or `None` while it is unknown.
    pub fn left(&self) -> Option<Duration> {
        self.pace.lock().expect("nobody panics with it").left()
    }

    /// Prints a line that stays, above the bar; nothing if quiet.
    pub fn say(&self, text: &str) {
        if self.bar.is_some() || self.lines {
            eprintln!("{text}");
        }
    }

    /// Removes the bar.
    pub fn finish(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Returns the style of a bar with this template; `{rate}` is the present pace, `{left}` the time
/// left.
fn style(template: &str, pace: &Arc<Mutex<Pace>>) -> ProgressStyle {
    let key = |value: fn(&Pace) -> String| {
        let pace = pace.clone();
        move |_: &ProgressState, out: &mut dyn Write| {
            let text = value(&pace.lock().expect("nobody panics with it"));
            // A line that cannot be drawn has no reader.
            let _ = out.write_str(&text);
        }
    };
    ProgressStyle::with_template(template)
        .expect("the template is fixed")
        .with_key("rate", key(|pace| rate(pace.rate())))
        .with_key("left", key(|pace| pace.left().map_or("?".to_string(), clock)))
        .progress_chars("█▉░")
}

/// Formats a rate: by second, minute or hour, whichever has a digit before the point.
fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate >= 10.0 => format!("{rate:.0}/s"),
        rate if rate >= 1.0 => format!("{rate:.1}/s"),
        rate if rate * 60.0 >= 1.0 => format!("{:.1}/min", rate * 60.0),
        rate if rate > 0.0 => format!("{:.1}/h", rate * 3600.0),
        _ => "0/s".to_owned(),
    }
}

/// Cuts each line to the width of the terminal: a wrapped line would be drawn again and again.
fn fit(message: &str) -> String {
    let width = streams::stderr().columns().map_or(80, usize::from);
    // Lines after the first are indented as the first one is.
    let lines: Vec<String> = clean(message)
        .lines()
        .map(|line| line.chars().take(width.saturating_sub(3)).collect())
        .collect();
    lines.join("\n  ")
}

/// Formats a duration as `m:ss` or `h:mm:ss`.
pub fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if h > 0 {
        format!("{h}:{m:02}:{s:02}")
    } else {
        format!("{m}:{s:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_the_unit_that_it_can_be_read_in() {
        for (per_second, text) in [
            (0.0, "0/s"),
            (0.000_5, "1.8/h"),
            (0.12, "7.2/min"),
            (3.456, "3.5/s"),
            (1234.5, "1234/s"),
        ] {
            assert_eq!(rate(per_second), text);
        }
    }
}

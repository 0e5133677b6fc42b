//! What `ewe generate` shows while it runs.

use crate::backend::EndpointStatus;
use crate::cli::terminal::one_line;
use crate::pipeline::GenerateProgress as Growth;
use crate::progress::ProgressMeter;
use crate::text::counted;
use serde_json::json;
use std::time::{Duration, Instant};

/// How often a line of JSON is written.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// How often the view of a terminal is drawn: more often nobody can read.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// A view of several lines on a terminal; elsewhere a line of text, or of JSON, now and then. All
/// of it on stderr.
pub struct Live {
    /// The tasks that there were at the beginning.
    first: u64,
    bar: ProgressMeter,
    json: bool,
    quiet: bool,
    priced: bool,
    start: Instant,
    last: Option<Instant>,
}

impl Live {
    /// A run that begins with so many of the `target` tasks. `priced` when there is a cost to show.
    pub fn new(first: u64, target: u64, json: bool, priced: bool, quiet: bool) -> Live {
        let json = json && !crate::streams::stderr().is_terminal();
        Live {
            first,
            bar: ProgressMeter::new("generate", "task", first, target, quiet || json),
            json,
            quiet,
            priced,
            start: Instant::now(),
            last: None,
        }
    }

    /// Says what begins.
    pub fn begin(&self, text: &str) {
        if !self.json {
            self.bar.say(text);
        }
    }

    /// What to wait for, as long as nothing has come of the answers.
    fn first_wait(&self, now: &Growth) -> Option<String> {
        let nothing = now.accepted == self.first && now.rejections() == 0;
        nothing.then(|| {
            format!(
                "{} so far; the first tasks come when the first round is complete",
                counted(now.answers, "answer")
            )
        })
    }

    /// Shows how it stands, unless it did just now.
    pub fn show(&mut self, now: &Growth) {
        let every = if self.json { LINE_EVERY } else { DRAW_EVERY };
        let is_end = now.accepted >= now.target;
        if !is_end && self.last.is_some_and(|last| last.elapsed() < every) {
            return;
        }
        self.last = Some(Instant::now());
        self.bar.note(now.accepted);
        if self.json && !self.quiet {
            eprintln!("{}", crate::streams::json::value(&self.line(now)));
        } else if self.bar.is_drawn() {
            self.bar.set(now.accepted, &self.view(now));
        } else {
            let rate = now.tokens() as f64 / self.seconds();
            let text = self.first_wait(now).unwrap_or_else(|| {
                format!(
                    "{} rejected, {}, {rate:.0} tokens/s{}{}",
                    now.rejections(),
                    counted(now.requests, "request"),
                    match self.stage_rates(now).as_str() {
                        "" => String::new(),
                        rates => format!(", {rates}"),
                    },
                    match now.last.as_str() {
                        "" => String::new(),
                        last => format!("; last: {last}"),
                    }
                )
            });
            self.bar.set(now.accepted, &text);
        }
    }

    /// Takes the view away.
    pub fn finish(self) {
        self.bar.finish();
    }

    fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64().max(1e-3)
    }

    /// How many answers of each stage come in a minute, where there are several stages.
    fn stage_rates(&self, now: &Growth) -> String {
        if now.stages.len() < 2 {
            return String::new();
        }
        let minutes = self.seconds() / 60.0;
        let rate = |(stage, count): &(&str, u64)| format!("{stage} {:.0}/min", *count as f64 / minutes);
        now.stages.iter().map(rate).collect::<Vec<_>>().join(", ")
    }

    fn line(&self, now: &Growth) -> serde_json::Value {
        let seconds = self.seconds();
        let endpoints: Vec<_> = now.endpoints.iter().map(endpoint_json).collect();
        json!({
            "seconds": seconds,
            "accepted": now.accepted,
            "target": now.target,
            "seconds_left": self.bar.left().map(|left| left.as_secs_f64()),
            "rejected_by_reason": now.rejected,
            "novelty": now.novelty,
            "requests": now.requests,
            "answers": now.answers,
            "answers_per_second": now.stages.iter().map(|(stage, count)| ((*stage).to_owned(), (*count as f64 / seconds).into()))
                .collect::<serde_json::Map<_, _>>(),
            "prompt_tokens_per_second": now.prompt_tokens as f64 / seconds,
            "completion_tokens_per_second": now.completion_tokens as f64 / seconds,
            "cost": now.cost,
            "endpoints": endpoints,
            "last": now.last,
        })
    }

    fn view(&self, now: &Growth) -> String {
        let seconds = self.seconds();
        let mut first = vec![
            counted(now.requests, "request"),
            format!(
                "{:.0} tokens/s in, {:.0} out",
                now.prompt_tokens as f64 / seconds,
                now.completion_tokens as f64 / seconds
            ),
        ];
        if let Some(novelty) = now.novelty {
            first.push(format!("{:.0} % new", 100.0 * novelty));
        }
        if self.priced {
            first.push(format!("cost {:.2}", now.cost));
        }
        let mut reasons: Vec<_> = now.rejected.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let reasons: Vec<String> = reasons
            .iter()
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        let mut lines = vec![first.join(" · ")];
        lines.extend(Some(self.stage_rates(now)).filter(|rates| !rates.is_empty()));
        lines.push(
            self.first_wait(now)
                .unwrap_or_else(|| format!("{} rejected: {}", now.rejections(), reasons.join(", "))),
        );
        for endpoint in &now.endpoints {
            lines.push(format!(
                "{}: {} of {} in flight, {} answered, {} tried again",
                endpoint.url, endpoint.in_flight, endpoint.limit, endpoint.answered, endpoint.retried
            ));
        }
        if !now.last.is_empty() {
            lines.push(format!("last: {}", now.last));
        }
        let lines: Vec<String> = lines.iter().map(|line| one_line(line, 200)).collect();
        lines.join("\n")
    }
}

fn endpoint_json(endpoint: &EndpointStatus) -> serde_json::Value {
    json!({
        "url": endpoint.url,
        "in_flight": endpoint.in_flight,
        "limit": endpoint.limit,
        "answered": endpoint.answered,
        "retried": endpoint.retried,
    })
}

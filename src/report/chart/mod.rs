//! Charts as SVG. Texts and numbers are text, colors come from `chart.css`, so that one chart fits
//! light and dark pages. Each has a sentence that sums it up and a table of its data, for people
//! who do not see it. Everything from the dataset is escaped: models wrote it.
//!
//! - [`svg`]: elements, texts and numbers.
//! - [`bars`], [`histogram`], [`growth`], [`sunburst`]: kinds of charts.
//! - [`fields`]: values of people's own fields.
//! - [`curve`] and [`dots`], on an [`axis`]: losses of runs, and values with intervals.
//! - [`all`]: the charts of a dataset.

mod address;
mod axis;
mod bars;
pub mod curve;
pub mod dots;
mod fields;
mod growth;
mod histogram;
mod sunburst;
pub mod svg;

use std::borrow::Cow;
use std::fmt::Write;

use super::{Figures, VerdictCount};
use bars::{Bar, Bars};
use histogram::Histogram;
use svg::{chosen, escape, grouped};

/// Colors and fonts of charts, for the page that has them.
pub const STYLE: &str = include_str!("chart.css");

/// The most reasons, models and the like that have a bar of their own.
const MOST_BARS: usize = 14;

/// A chart with its title.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Chart {
    /// Its name for programs: `growth`, `roots`, ….
    pub name: Cow<'static, str>,
    /// Its title.
    pub title: String,
    /// A `<figure>` with title, picture and table, valid as XML and as HTML.
    pub figure: String,
}

/// A chart before it becomes a figure.
struct Drawing {
    name: Cow<'static, str>,
    title: String,
    /// A summary of one or two sentences.
    says: String,
    height: f64,
    /// SVG elements.
    body: String,
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Drawing {
    fn into_chart(self) -> Chart {
        let Drawing {
            name, title, says, ..
        } = &self;
        let (title, says) = (escape(title), escape(says));
        let mut figure = format!(
            r#"<figure xmlns="http://www.w3.org/1999/xhtml" class="chart" id="chart-{name}"><figcaption>{title}</figcaption>"#
        );
        let _ = write!(
            figure,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {:.0} {:.0}" role="img" aria-labelledby="{name}-title {name}-says"><title id="{name}-title">{title}</title><desc id="{name}-says">{says}</desc>{}</svg>"#,
            svg::WIDTH,
            self.height,
            self.body
        );
        let _ = write!(
            figure,
            r#"<p class="says">{says}</p><details><summary>Numbers</summary><div class="scroll"><table><caption>{title}</caption><thead><tr>"#
        );
        for head in &self.heads {
            let _ = write!(figure, r#"<th scope="col">{}</th>"#, escape(head));
        }
        figure.push_str("</tr></thead><tbody>");
        for row in &self.rows {
            figure.push_str("<tr>");
            for (at, cell) in row.iter().enumerate() {
                let cell = escape(cell);
                let _ = match at {
                    0 => write!(figure, r#"<th scope="row">{cell}</th>"#),
                    _ => write!(figure, "<td>{cell}</td>"),
                };
            }
            figure.push_str("</tr>");
        }
        figure.push_str("</tbody></table></div></details></figure>");
        Chart {
            name: self.name,
            title: self.title,
            figure,
        }
    }
}

/// Returns the charts of a dataset, without those that would be empty.
pub fn all(figures: &Figures) -> Vec<Chart> {
    let [instructions, inputs, outputs] = lengths(figures);
    let drawings = [
        growth::growth(figures),
        growth::acceptance(figures),
        similarities(figures),
        sunburst::roots(figures),
        reasons(figures),
        labels(figures),
        instructions,
        inputs,
        outputs,
        reviews(figures),
        balance(figures),
        scores(figures),
        tokens(figures),
    ];
    let drawings = drawings.into_iter().chain(fields::fields(figures));
    drawings.flatten().map(Drawing::into_chart).collect()
}

fn reviews(figures: &Figures) -> Option<Drawing> {
    let bars = figures.origins.iter().map(|row| {
        let of = |review: &str| address::of(&[("review", review), ("origin", row.origin.as_str())]);
        Bar::new(
            row.origin.to_string(),
            vec![row.accepted, row.pending, row.rejected],
        )
        .to(["accepted", "pending", "rejected"].map(of).to_vec())
    });
    let sum = |pick: fn(&super::OriginCount) -> i64| figures.origins.iter().map(pick).sum();
    Bars {
        name: "reviews",
        title: "Tasks by origin and review",
        says: format!(
            "{}, {}, {}.",
            chosen(
                sum(|row| row.accepted),
                "task was accepted",
                "tasks were accepted"
            ),
            chosen(sum(|row| row.pending), "waits for review", "wait for review"),
            chosen(sum(|row| row.rejected), "was rejected", "were rejected")
        ),
        first: "origin",
        parts: &["accepted", "pending", "rejected"],
        bars: bars.collect(),
    }
    .draw()
}

fn reasons(figures: &Figures) -> Option<Drawing> {
    let rejected = |row: &&VerdictCount| row.verdict == "rejected" && !row.fell();
    let mut bars: Vec<Bar> = Vec::new();
    for row in figures.candidates.verdicts.iter().filter(rejected) {
        let label = row.reason.clone().unwrap_or_default();
        let at = bars.iter().position(|bar| bar.label == label).unwrap_or_else(|| {
            bars.push(Bar::new(label, vec![0, 0]));
            bars.len() - 1
        });
        bars[at].parts[usize::from(row.kind != "instruction")] += row.candidates;
    }
    bars.sort_by_key(|bar| std::cmp::Reverse(bar.sum()));
    let most = bars.first()?;
    let says = format!(
        "{} of {} rejected, most often as {} ({}).",
        grouped(figures.candidates.rejected),
        chosen(figures.candidates.parsed, "candidate was", "candidates were"),
        most.label,
        grouped(most.sum())
    );
    Bars {
        name: "reasons",
        title: "Rejected candidates by reason",
        says,
        first: "reason",
        parts: &["instructions", "instances"],
        bars: bars::fold(bars, MOST_BARS, "other reasons"),
    }
    .draw()
}

fn similarities(figures: &Figures) -> Option<Drawing> {
    let (all, near) = figures.similarities.iter().fold((0, 0), |(all, near), bucket| {
        (
            all + bucket.count,
            near + if bucket.from >= 50 { bucket.count } else { 0 },
        )
    });
    Histogram {
        name: "similarities",
        title: "ROUGE-L with the nearest task",
        says: format!(
            "Of {} compared, {} a nearest neighbor at 0.50 or more.",
            chosen(all, "task that was", "tasks that were"),
            chosen(near, "has", "have")
        ),
        axis: "ROUGE-L F1",
        one: "task",
        step: 5,
        span: Some((0, 100)),
        label: |from| format!("{:.2}", from as f64 / 100.0),
        to: Some(|from, until| {
            let below = match until {
                Some(until) if until < 99 => format!(" and similarity < {:.2}", (until + 1) as f64 / 100.0),
                _ => String::new(),
            };
            address::kept(&[], &format!("similarity >= {:.2}{below}", from as f64 / 100.0))
        }),
        buckets: &figures.similarities,
    }
    .draw()
}

fn lengths(figures: &Figures) -> [Option<Drawing>; 3] {
    let of = |name, title, one, step, buckets: &[super::Bucket]| {
        let all: i64 = buckets.iter().map(|bucket| bucket.count).sum();
        // The end of the bucket with the median: the buckets say how many are below it, not the
        // median.
        let mut below = 0;
        let median = buckets.iter().find(|bucket| {
            below += bucket.count;
            below * 2 >= all
        })?;
        Histogram {
            name,
            title,
            says: format!(
                "{}; {} less than {}.",
                svg::counted(all, one),
                svg::chosen(below, "of them has", "of them have"),
                svg::counted(median.from + step, "character")
            ),
            axis: "characters",
            one,
            step,
            span: None,
            label: grouped,
            to: None,
            buckets,
        }
        .draw()
    };
    [
        of(
            "instruction-lengths",
            "Length of instructions",
            "instruction",
            25,
            &figures.instruction_lengths,
        ),
        of(
            "input-lengths",
            "Length of inputs",
            "input",
            100,
            &figures.input_lengths,
        ),
        of(
            "output-lengths",
            "Length of outputs",
            "output",
            100,
            &figures.output_lengths,
        ),
    ]
}

fn balance(figures: &Figures) -> Option<Drawing> {
    let balance = &figures.balance;
    let bar = |label: &str, yes, no| Bar::new(label, vec![yes, no]);
    let classifies = ["yes", "no"].map(|is| address::kept(&[("is_classification", is)], ""));
    Bars {
        name: "balance",
        title: "Classification and inputs",
        says: format!(
            "{} of {}; {} of {} an input.",
            grouped(balance.classification),
            chosen(
                balance.classification + balance.other,
                "task classifies",
                "tasks classify"
            ),
            grouped(balance.with_input),
            chosen(
                balance.with_input + balance.without_input,
                "example has",
                "examples have"
            )
        ),
        first: "what",
        parts: &["yes", "no"],
        bars: vec![
            bar("tasks that classify", balance.classification, balance.other).to(classifies.to_vec()),
            bar("examples with input", balance.with_input, balance.without_input),
        ],
    }
    .draw()
}

fn labels(figures: &Figures) -> Option<Drawing> {
    let labels = &figures.labels;
    let bar = |label: &str, examples| Bar::new(label, vec![examples]);
    // Labels that occur once say little on their own.
    let named = labels.most.iter().take_while(|row| row.examples > 1);
    let mut bars: Vec<_> = named
        .take(MOST_BARS)
        .map(|row| {
            let to = [("label", row.label.as_str()), ("is_classification", "yes")];
            bar(&row.label, row.examples).to(vec![address::kept(&to, "")])
        })
        .collect();
    let most = labels.most.first()?;
    let rest: i64 = labels.most.iter().skip(bars.len()).map(|row| row.examples).sum();
    bars.push(bar("other labels", rest + labels.other));
    bars.push(bar("longer answers", labels.long));
    bars.retain(|bar| bar.sum() > 0);
    Bars {
        name: "labels",
        title: "Answers of classification tasks",
        says: format!(
            "{}; “{}” is the most frequent, with {}.",
            svg::counted(labels.different, "different label"),
            svg::short(&most.label, 40),
            svg::counted(most.examples, "example")
        ),
        first: "label",
        parts: &["examples"],
        bars,
    }
    .draw()
}

fn scores(figures: &Figures) -> Option<Drawing> {
    const SCORES: [&str; 6] = ["1", "2", "3", "4", "5", "unreadable"];
    let bars = figures.scores.chunk_by(|a, b| a.model == b.model).map(|rows| {
        let mut parts = vec![0; SCORES.len()];
        for row in rows {
            let at = row
                .score
                .map_or(SCORES.len() - 1, |score| (score - 1).clamp(0, 4) as usize);
            parts[at] += row.instances;
        }
        let to = (1..=5).map(|from| address::kept(&[], &format!("score >= {from} and score < {}", from + 1)));
        Bar::new(rows[0].model.clone(), parts).to(to.collect())
    });
    let bars: Vec<_> = bars.collect();
    Bars {
        name: "scores",
        title: "Scores by judge",
        says: format!(
            "{} of {}, 1 the worst and 5 the best.",
            svg::counted(bars.iter().map(Bar::sum).sum(), "score"),
            svg::counted(bars.len() as i64, "model")
        ),
        first: "judge",
        parts: &SCORES,
        bars: bars::fold(bars, MOST_BARS, "other judges"),
    }
    .draw()
}

fn tokens(figures: &Figures) -> Option<Drawing> {
    let mut bars: Vec<_> = figures
        .runs
        .iter()
        .filter(|run| run.requests > 0)
        .map(|run| {
            let label = format!(
                "{} {} {}",
                run.run_id,
                run.command,
                run.model.as_deref().unwrap_or_default()
            );
            let to = match run.tasks {
                0 => String::new(),
                _ => address::of(&[("review", ""), ("run_id", &run.run_id.to_string())]),
            };
            let parts = vec![run.prompt_tokens, run.completion_tokens];
            Bar::new(label, parts).to(vec![to.clone(), to])
        })
        .collect();
    // The latest runs matter most; the earlier ones are summed up.
    bars.reverse();
    let requests = &figures.requests;
    Bars {
        name: "tokens",
        title: "Tokens by run",
        says: format!(
            "{} took {} of prompts and {} of answers.",
            svg::counted(requests.requests, "request"),
            svg::counted(requests.prompt_tokens, "token"),
            grouped(requests.completion_tokens)
        ),
        first: "run",
        parts: &["prompt tokens", "completion tokens"],
        bars: bars::fold(bars, MOST_BARS, "earlier runs"),
    }
    .draw()
}

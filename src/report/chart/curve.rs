//! The losses of a training run over its steps.

use std::fmt::Write;

use super::axis::Axis;
use super::svg::{self, WIDTH, grouped};
use super::{Chart, Drawing};

const LEFT: f64 = 42.0;
const RIGHT: f64 = WIDTH - 8.0;
const TOP: f64 = 34.0;
const HEIGHT: f64 = 180.0;
const BOTTOM: f64 = TOP + HEIGHT;

/// A chart of losses.
pub struct Curve<'a> {
    /// Its name, unique on the page.
    pub name: &'static str,
    /// Its title.
    pub title: String,
    /// A summary.
    pub says: String,
    /// Steps with the loss on what was trained on.
    pub train: &'a [(u64, f64)],
    /// Steps with the loss on what was held out; step 0 is before the first.
    pub held_out: &'a [(u64, f64)],
}

impl Curve<'_> {
    /// Draws the chart; none without a loss.
    pub fn draw(self) -> Option<Chart> {
        let points = || self.train.iter().chain(self.held_out);
        let axis = Axis::of(points().map(|&(_, loss)| loss))?;
        let last = points().map(|&(step, _)| step).max().unwrap_or(0).max(1);
        let x = |step: u64| LEFT + step as f64 / last as f64 * (RIGHT - LEFT);
        let y = |loss: f64| BOTTOM - axis.place(loss) * HEIGHT;
        let mut body = legend(!self.held_out.is_empty());
        for (value, text) in axis.lines() {
            body.push_str(&svg::line("grid", (LEFT, y(value)), (RIGHT, y(value))));
            body.push_str(&svg::text("value", LEFT - 5.0, y(value) + 4.0, "end", &text));
        }
        for (class, points) in [("line", self.train), ("line line-2", self.held_out)] {
            let places: Vec<String> = points
                .iter()
                .map(|&(step, loss)| format!("{:.1},{:.1}", x(step), y(loss)))
                .collect();
            if places.len() > 1 {
                let _ = write!(
                    body,
                    r#"<polyline class="{class}" points="{}"/>"#,
                    places.join(" ")
                );
            }
        }
        for &(step, loss) in self.held_out {
            body.push_str(&dot(
                "dot-2",
                x(step),
                y(loss),
                &format!("step {}: {loss:.3}", grouped(step as i64)),
            ));
        }
        body.push_str(&svg::line("axis", (LEFT, BOTTOM), (RIGHT, BOTTOM)));
        for (step, anchor) in [(0, "start"), (last, "end")] {
            let text = format!("step {}", grouped(step as i64));
            body.push_str(&svg::text("value", x(step), BOTTOM + 16.0, anchor, &text));
        }
        Some(
            Drawing {
                name: self.name,
                title: self.title.clone(),
                says: self.says.clone(),
                height: BOTTOM + 22.0,
                body,
                heads: ["step", "trained on", "held out"].map(str::to_owned).to_vec(),
                rows: self.rows(),
            }
            .into_chart(),
        )
    }

    /// The rows of the table, in order of steps.
    fn rows(&self) -> Vec<Vec<String>> {
        let mut steps: Vec<u64> = self
            .train
            .iter()
            .chain(self.held_out)
            .map(|point| point.0)
            .collect();
        steps.sort_unstable();
        steps.dedup();
        let cell = |points: &[(u64, f64)], step: u64| {
            let found = points.binary_search_by_key(&step, |point| point.0);
            found.map_or(String::new(), |at| format!("{:.4}", points[at].1))
        };
        steps
            .into_iter()
            .map(|step| {
                vec![
                    grouped(step as i64),
                    cell(self.train, step),
                    cell(self.held_out, step),
                ]
            })
            .collect()
    }
}

/// Draws a dot with a tooltip.
pub fn dot(class: &str, x: f64, y: f64, title: &str) -> String {
    format!(
        r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="3.5"><title>{}</title></circle>"#,
        svg::escape(title)
    )
}

/// Names both lines.
fn legend(has_held_out: bool) -> String {
    let mut legend = svg::line("line", (LEFT, 8.0), (LEFT + 16.0, 8.0));
    legend.push_str(&svg::text("label", LEFT + 22.0, 12.0, "start", "trained on"));
    if has_held_out {
        let x = LEFT + 110.0;
        legend.push_str(&svg::line("line line-2", (x, 8.0), (x + 16.0, 8.0)));
        legend.push_str(&dot("dot-2", x + 8.0, 8.0, "held out"));
        legend.push_str(&svg::text("label", x + 22.0, 12.0, "start", "held out"));
    }
    legend
}

//! Figures of a training run over its steps: losses, learning rate, memory.

use std::fmt::Write;

use super::axis::Axis;
use super::svg::{self, WIDTH, grouped};
use super::{Chart, Drawing, STYLE};

const LEFT: f64 = 42.0;
const RIGHT: f64 = WIDTH - 8.0;
const TOP: f64 = 34.0;
const HEIGHT: f64 = 180.0;
const BOTTOM: f64 = TOP + HEIGHT;
/// Classes of the lines.
const CLASSES: [&str; 2] = ["line", "line line-2"];

/// A chart of one or two lines.
pub struct Curve<'a> {
    /// Its name, unique on the page.
    pub name: String,
    /// Its title.
    pub title: String,
    /// A summary.
    pub says: String,
    /// Names of the lines, and their steps with values. The points of a second one have dots; its
    /// step 0 is before the first.
    pub lines: Vec<(&'static str, &'a [(u64, f64)])>,
}

impl Curve<'_> {
    /// Draws the chart; none without a value.
    pub fn draw(self) -> Option<Chart> {
        Some(self.drawing()?.into_chart())
    }

    /// Draws a picture that is a file of its own, with its title above it; none without a value.
    pub fn svg(self) -> Option<String> {
        let (width, above) = (svg::WIDTH, 26.0);
        let drawing = self.drawing()?;
        let height = drawing.height + above;
        Some(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" viewBox=\"-6 0 {:.0} {:.0}\" width=\"{:.0}\" role=\"img\" \
             aria-label=\"{title}\">\n<style>{STYLE}</style>\n\
             <text class=\"strong\" x=\"0\" y=\"17\">{title}</text>\n<g transform=\"translate(0 {above:.0})\">{}</g>\n</svg>\n",
            width + 12.0,
            height + 4.0,
            2.0 * (width + 12.0),
            drawing.body,
            title = svg::escape(&drawing.title),
        ))
    }

    fn drawing(self) -> Option<Drawing> {
        let axis = Axis::of(self.points().map(|&(_, value)| value))?;
        let last = self.points().map(|&(step, _)| step).max().unwrap_or(0).max(1);
        let x = |step: u64| LEFT + step as f64 / last as f64 * (RIGHT - LEFT);
        let y = |value: f64| BOTTOM - axis.place(value) * HEIGHT;
        let mut body = self.legend();
        for (value, text) in axis.lines() {
            body.push_str(&svg::line("grid", (LEFT, y(value)), (RIGHT, y(value))));
            body.push_str(&svg::text("value", LEFT - 5.0, y(value) + 4.0, "end", &text));
        }
        for (class, (_, points)) in CLASSES.into_iter().zip(&self.lines) {
            let places: Vec<String> = points
                .iter()
                .map(|&(step, value)| format!("{:.1},{:.1}", x(step), y(value)))
                .collect();
            if places.len() > 1 {
                let _ = write!(
                    body,
                    r#"<polyline class="{class}" points="{}"/>"#,
                    places.join(" ")
                );
            }
        }
        let single = self.lines.iter().filter(|(_, points)| points.len() == 1);
        for (class, points) in self
            .lines
            .iter()
            .skip(1)
            .map(|(_, points)| ("dot-2", points))
            .chain(single.take(1).map(|(_, points)| ("dot-1", points)))
        {
            for &(step, value) in *points {
                let says = format!("step {}: {value:.3}", grouped(step as i64));
                body.push_str(&dot(class, x(step), y(value), &says));
            }
        }
        body.push_str(&svg::line("axis", (LEFT, BOTTOM), (RIGHT, BOTTOM)));
        for (step, anchor) in [(0, "start"), (last, "end")] {
            let text = format!("step {}", grouped(step as i64));
            body.push_str(&svg::text("value", x(step), BOTTOM + 16.0, anchor, &text));
        }
        let heads = self.lines.iter().map(|(name, _)| (*name).to_owned());
        Some(Drawing {
            heads: std::iter::once("step".to_owned()).chain(heads).collect(),
            rows: self.rows(),
            name: self.name.into(),
            title: self.title,
            says: self.says,
            height: BOTTOM + 22.0,
            body,
        })
    }

    fn points(&self) -> impl Iterator<Item = &(u64, f64)> {
        self.lines.iter().flat_map(|(_, points)| points.iter())
    }

    /// The rows of the table, in order of steps.
    fn rows(&self) -> Vec<Vec<String>> {
        let mut steps: Vec<u64> = self.points().map(|point| point.0).collect();
        steps.sort_unstable();
        steps.dedup();
        let cell = |points: &[(u64, f64)], step: u64| {
            let found = points.binary_search_by_key(&step, |point| point.0);
            found.map_or(String::new(), |at| number(points[at].1))
        };
        let row = |step: u64| {
            let cells = self.lines.iter().map(|(_, points)| cell(points, step));
            std::iter::once(grouped(step as i64)).chain(cells).collect()
        };
        steps.into_iter().map(row).collect()
    }

    /// Names the lines.
    fn legend(&self) -> String {
        let (mut legend, mut x) = (String::new(), LEFT);
        for (at, ((name, points), class)) in self.lines.iter().zip(CLASSES).enumerate() {
            if points.is_empty() {
                continue;
            }
            legend.push_str(&svg::line(class, (x, 8.0), (x + 16.0, 8.0)));
            if at > 0 {
                legend.push_str(&dot("dot-2", x + 8.0, 8.0, name));
            }
            legend.push_str(&svg::text("label", x + 22.0, 12.0, "start", name));
            x += 22.0 + svg::width(name) + 18.0;
        }
        legend
    }
}

/// Formats a value: learning rates are small.
fn number(value: f64) -> String {
    match value.abs() {
        size if size > 0.0 && size < 0.01 => format!("{value:.2e}"),
        _ => format!("{value:.4}"),
    }
}

/// Draws a dot with a tooltip.
pub fn dot(class: &str, x: f64, y: f64, title: &str) -> String {
    format!(
        r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="3.5"><title>{}</title></circle>"#,
        svg::escape(title)
    )
}

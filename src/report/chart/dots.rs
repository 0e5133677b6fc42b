//! Values with their intervals: a dot on a line. Up to two series, which differ in shape as well
//! as in color.

use super::axis::Axis;
use super::svg::{self, WIDTH};
use super::{Chart, Drawing, curve};
use crate::suite::interval::Interval;

/// The distance from one row to the next, and from one series to the next within it.
const ROW: f64 = 22.0;
const SERIES: f64 = 12.0;
/// Room for the legend, and for the numbers of the axis.
const LEGEND: f64 = 26.0;
const NUMBERS: f64 = 22.0;

/// A row of a chart.
#[derive(Debug, Clone)]
pub struct Row {
    /// What it is about.
    pub label: String,
    /// The value of each series.
    pub values: Vec<Option<Interval>>,
}

/// A chart of values with intervals.
pub struct Dots<'a> {
    /// Its name, unique on the page.
    pub name: &'static str,
    /// Its title.
    pub title: String,
    /// A summary.
    pub says: String,
    /// The table's heading of the labels.
    pub first: &'a str,
    /// The names of the series: one, which is not drawn, or two.
    pub series: &'a [&'a str],
    /// The rows.
    pub rows: Vec<Row>,
    /// A value to draw a line at, such as one half of a win rate.
    pub line_at: Option<f64>,
}

impl Dots<'_> {
    /// Draws the chart; none without a value.
    pub fn draw(self) -> Option<Chart> {
        let intervals = self.rows.iter().flat_map(|row| row.values.iter().flatten());
        let ends = intervals.flat_map(|of| [of.mean, of.low, of.high]);
        let axis = Axis::of(ends.chain(self.line_at))?;
        let labels = self
            .rows
            .iter()
            .map(|row| svg::width(&svg::short(&row.label, 40)));
        let labels = labels.fold(0.0, f64::max).min(150.0);
        let left = labels + 14.0;
        let right = WIDTH - 16.0;
        let x = |value: f64| left + axis.place(value) * (right - left);
        let top = if self.series.len() > 1 { LEGEND } else { 4.0 };
        let height = ROW + SERIES * (self.series.len().max(1) - 1) as f64;
        let bottom = top + height * self.rows.len() as f64;
        let mut body = self.legend();
        for (value, text) in axis.lines() {
            body.push_str(&svg::line("grid", (x(value), top), (x(value), bottom)));
            body.push_str(&svg::text("value", x(value), bottom + 14.0, "middle", &text));
        }
        if let Some(at) = self.line_at {
            body.push_str(&svg::line("axis", (x(at), top), (x(at), bottom)));
        }
        for (number, row) in self.rows.iter().enumerate() {
            let y = top + height * number as f64 + ROW / 2.0;
            let middle = y + SERIES * (self.series.len().max(1) - 1) as f64 / 2.0;
            let label = svg::fit(&row.label, labels + 2.0);
            body.push_str(&svg::text("label", labels, middle + 4.0, "end", &label));
            for (series, value) in row.values.iter().enumerate() {
                let Some(value) = value.filter(|value| value.mean.is_finite()) else {
                    continue;
                };
                let y = y + SERIES * series as f64;
                let title = format!("{}: {}", row.label, text(&value));
                let class = if series == 0 {
                    "leader leader-1"
                } else {
                    "leader leader-3"
                };
                body.push_str(&svg::line(class, (x(value.low), y), (x(value.high), y)));
                let class = if series == 0 { "dot-1" } else { "dot-3" };
                body.push_str(&curve::dot(class, x(value.mean), y, &title));
            }
        }
        let mut heads = vec![self.first.to_owned()];
        heads.extend(self.series.iter().map(|name| (*name).to_owned()));
        let rows = self.rows.iter().map(|row| {
            let mut cells = vec![svg::short(&row.label, 80)];
            cells.extend(
                row.values
                    .iter()
                    .map(|of| of.map_or(String::new(), |of| text(&of))),
            );
            cells
        });
        let rows = rows.collect();
        Some(
            Drawing {
                name: self.name.into(),
                title: self.title,
                says: self.says,
                height: bottom + NUMBERS,
                body,
                heads,
                rows,
            }
            .into_chart(),
        )
    }

    /// Names the series if there are several.
    fn legend(&self) -> String {
        let mut legend = String::new();
        if self.series.len() < 2 {
            return legend;
        }
        let mut x = 6.0;
        for (number, name) in self.series.iter().enumerate() {
            let class = if number == 0 { "dot-1" } else { "dot-3" };
            legend.push_str(&curve::dot(class, x, 8.0, name));
            legend.push_str(&svg::text("label", x + 10.0, 12.0, "start", name));
            x += 26.0 + svg::width(name);
        }
        legend
    }
}

/// Formats `31.2 [28.0, 34.9]`, or the value alone without a width.
pub fn text(of: &Interval) -> String {
    let digits = digits(of);
    if of.low == of.high || !of.low.is_finite() {
        return format!("{:.digits$}", of.mean);
    }
    format!("{:.digits$} [{:.digits$}, {:.digits$}]", of.mean, of.low, of.high)
}

/// Formats a difference: `+7.2 [+2.1, +12.4]`.
pub fn signed(of: &Interval) -> String {
    let digits = digits(of);
    if of.low == of.high || !of.low.is_finite() {
        return format!("{:+.digits$}", of.mean);
    }
    format!(
        "{:+.digits$} [{:+.digits$}, {:+.digits$}]",
        of.mean, of.low, of.high
    )
}

/// More digits for losses and shares than for percent.
fn digits(of: &Interval) -> usize {
    let largest = of.mean.abs().max(of.low.abs()).max(of.high.abs());
    if largest < 10.0 { 3 } else { 1 }
}

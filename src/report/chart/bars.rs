//! Horizontal bars of one or several parts. Parts differ in shape as well as in color.

use super::{
    Drawing,
    svg::{self, WIDTH, grouped, rounded},
};

/// A bar.
pub struct Bar {
    /// What is counted.
    pub label: String,
    /// The count of each part.
    pub parts: Vec<i64>,
    /// The filter of the page with what each part counts; empty where there is none.
    pub to: Vec<String>,
}

impl Bar {
    /// Makes a bar that leads nowhere.
    pub fn new(label: impl Into<String>, parts: Vec<i64>) -> Bar {
        Bar {
            label: label.into(),
            parts,
            to: Vec::new(),
        }
    }

    /// Returns the bar with the filter of each part.
    pub fn to(mut self, to: Vec<String>) -> Bar {
        self.to = to;
        self
    }

    /// Adds up all parts.
    pub fn sum(&self) -> i64 {
        self.parts.iter().sum()
    }
}

/// Limits the number of bars: the last one becomes the sum of the rest.
pub fn fold(mut bars: Vec<Bar>, most: usize, label: &str) -> Vec<Bar> {
    if bars.len() > most {
        let rest = bars.split_off(most - 1);
        let parts = rest[0].parts.len();
        let sums = (0..parts).map(|part| rest.iter().map(|bar| bar.parts[part]).sum());
        bars.push(Bar::new(label, sums.collect()));
    }
    bars
}

/// A bar chart.
pub struct Bars<'a> {
    pub name: &'static str,
    pub title: &'a str,
    pub says: String,
    /// The table's heading of the labels.
    pub first: &'a str,
    /// The names of the parts.
    pub parts: &'a [&'a str],
    pub bars: Vec<Bar>,
}

/// The distance from one bar to the next.
const LINE: f64 = 22.0;
/// The height of a bar.
const THICK: f64 = 14.0;
/// Room for the number after the longest bar.
const VALUE: f64 = 44.0;

impl Bars<'_> {
    /// Draws the chart; `None` if all bars would be empty.
    pub fn draw(self) -> Option<Drawing> {
        let most = self.bars.iter().map(Bar::sum).max().filter(|&most| most > 0)?;
        let labels = self
            .bars
            .iter()
            .map(|bar| svg::width(&svg::short(&bar.label, 40)))
            .fold(0.0, f64::max)
            .min(138.0);
        let left = labels + 10.0;
        let (mut body, mut y) = self.legend();
        for bar in &self.bars {
            let label = svg::fit(&bar.label, labels + 2.0);
            body.push_str(&svg::text("label", labels, y + 12.0, "end", &label));
            let mut x = left;
            for (part, &count) in bar.parts.iter().enumerate().filter(|(_, count)| **count > 0) {
                // Parts too narrow to be seen are drawn wider.
                let width = (count as f64 / most as f64 * (WIDTH - left - VALUE)).max(1.5);
                let tooltip = format!("{}, {}: {}", bar.label, self.parts[part], grouped(count));
                let drawn = self.part(part, x, y, width, &tooltip);
                body.push_str(&svg::leading(bar.to.get(part), &tooltip, &drawn));
                x += width;
            }
            let value = rounded(bar.sum());
            body.push_str(&svg::text("value", x + 5.0, y + 12.0, "start", &value));
            y += LINE;
        }
        let mut heads = vec![self.first.to_owned()];
        heads.extend(self.parts.iter().map(|part| part.to_string()));
        let rows = self.bars.iter().map(|bar| {
            let mut row = vec![svg::short(&bar.label, 80)];
            row.extend(bar.parts.iter().map(|&count| grouped(count)));
            row
        });
        Some(Drawing {
            name: self.name.into(),
            title: self.title.to_owned(),
            says: self.says,
            height: y,
            body,
            heads,
            rows: rows.collect(),
        })
    }

    /// Draws the names of the parts if there are several. Returns where the bars begin.
    fn legend(&self) -> (String, f64) {
        let mut legend = String::new();
        if self.parts.len() < 2 {
            return (legend, 0.0);
        }
        let (mut x, mut y) = (0.0, 0.0);
        for (part, name) in self.parts.iter().enumerate() {
            let width = 20.0 + svg::width(name) + 12.0;
            if x + width > WIDTH && x > 0.0 {
                (x, y) = (0.0, y + LINE);
            }
            legend.push_str(&self.part(part, x, y, 14.0, name));
            legend.push_str(&svg::text("label", x + 20.0, y + 12.0, "start", name));
            x += width;
        }
        (legend, y + LINE + 8.0)
    }

    /// Draws one part. Up to three parts are filled, outlined and thin; of more, each is higher
    /// than the one before, and the last is outlined.
    fn part(&self, part: usize, x: f64, y: f64, width: f64, tooltip: &str) -> String {
        let last = part + 1 == self.parts.len();
        let (class, height) = match (self.parts.len(), part) {
            (..=3, 0) => ("part-1".to_owned(), THICK),
            (..=3, 1) => ("part-2".to_owned(), THICK),
            (..=3, _) => ("part-3".to_owned(), THICK / 2.0),
            _ if last => ("part-2".to_owned(), THICK),
            (many, _) => {
                let height = THICK * (part + 1) as f64 / (many - 1) as f64;
                (format!("step-{}", part + 1), height)
            }
        };
        // Outlines are drawn inside, so that adjacent parts do not cover them.
        let inset = if class == "part-2" { 0.75 } else { 0.0 };
        svg::rect(
            &class,
            x + inset,
            y + 2.0 + (THICK - height) + inset,
            width - 1.0 - 2.0 * inset,
            height - 2.0 * inset,
            tooltip,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(bars: Vec<Bar>) -> Option<Drawing> {
        Bars {
            name: "x",
            title: "x",
            says: String::new(),
            first: "x",
            parts: &["a", "b"],
            bars,
        }
        .draw()
    }

    fn bar(label: &str, parts: [i64; 2]) -> Bar {
        Bar::new(label, parts.to_vec())
    }

    #[test]
    fn nothing_to_show_is_no_chart() {
        assert!(bars(vec![]).is_none());
        assert!(bars(vec![bar("a", [0, 0])]).is_none());
        assert!(bars(vec![bar("a", [0, 1])]).is_some());
    }

    #[test]
    fn parts_lead_to_what_they_count() {
        let to = vec!["review=&label=a%26b".to_owned(), String::new()];
        let body = bars(vec![bar("a", [3, 1]).to(to)]).unwrap().body;
        assert!(
            body.contains("data-to=\"review=&amp;label=a%26b\" data-says=\"a, a: 3\""),
            "{body}"
        );
        assert_eq!(body.matches("data-to").count(), 1);
    }

    #[test]
    fn the_rest_is_one_bar() {
        let folded = fold((0..9).map(|n| bar("a", [n, 1])).collect(), 4, "others");
        assert_eq!(folded.len(), 4);
        assert_eq!(
            (folded[3].label.as_str(), &folded[3].parts[..]),
            ("others", &[33, 6][..])
        );
    }
}

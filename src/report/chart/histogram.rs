//! Histograms: a column for each step from the first to the last, empty ones included.

use super::{
    Drawing,
    svg::{self, WIDTH, grouped, rounded, scale_step},
};
use crate::report::Bucket;
use crate::text::noun;

/// A histogram.
pub struct Histogram<'a> {
    pub name: &'static str,
    pub title: &'a str,
    pub says: String,
    /// The label of the horizontal axis.
    pub axis: &'a str,
    /// The singular of what is counted.
    pub one: &'a str,
    /// The width of a bucket.
    pub step: i64,
    /// The lowest and the highest end of the columns, if the buckets do not decide.
    pub span: Option<(i64, i64)>,
    /// Formats a number on the axis.
    pub label: fn(i64) -> String,
    /// Returns the filter of the page with what a column counts, by its first and last value.
    pub to: Option<fn(i64, Option<i64>) -> String>,
    pub buckets: &'a [Bucket],
}

/// The tail beyond them goes into the last column.
const MOST_COLUMNS: i64 = 28;
/// Of a distribution with a tail, at least so many are drawn.
const FEWEST_COLUMNS: i64 = 8;
/// The share of all that a tail may have. Of a heavier one, one column would say too little:
/// columns double in width.
const MOST_IN_TAIL: f64 = 0.05;
const LEFT: f64 = 38.0;
const TOP: f64 = 10.0;
const HEIGHT: f64 = 150.0;

impl Histogram<'_> {
    /// Draws the histogram; `None` if it would be empty.
    pub fn draw(self) -> Option<Drawing> {
        let columns = self.columns()?;
        let most = columns
            .iter()
            .map(|column| column.count)
            .max()
            .filter(|&most| most > 0)?;
        let (bottom, width) = (TOP + HEIGHT, (WIDTH - LEFT - 8.0) / columns.len() as f64);
        let mut body = svg::scale(most as f64, (LEFT, WIDTH - 8.0), (TOP, bottom), |value| {
            rounded(value as i64)
        });
        let step = scale_step(most as f64);
        let top = (most as f64 / step).ceil() * step;
        let every = (columns.len() as f64 * svg::width(&(self.label)(columns[columns.len() - 1].from))
            / 230.0)
            .ceil() as usize;
        // The last column of a long tail says that it is one; the label before it must leave room.
        let has_tail = columns[columns.len() - 1].until.is_none();
        let last = columns.len() - 1;
        let is_labeled = |at: usize| match has_tail {
            true => at == last || (at.is_multiple_of(every.max(1)) && at + every.max(2) <= last),
            false => at.is_multiple_of(every.max(1)),
        };
        for (at, column) in columns.iter().enumerate() {
            let x = LEFT + at as f64 * width;
            let height = column.count as f64 / top * HEIGHT;
            let tooltip = format!("{}: {}", self.range(column), svg::counted(column.count, self.one));
            // A column of few beside one of many must be visible.
            let height = if column.count > 0 { height.max(1.5) } else { 0.0 };
            let drawn = svg::rect("part-1", x + 0.5, bottom - height, width - 1.0, height, &tooltip);
            let to = self.to.filter(|_| column.count > 0);
            let to = to.map(|to| to(column.from, column.until));
            body.push_str(&svg::leading(to.as_ref(), &tooltip, &drawn));
            if is_labeled(at) {
                let more = if column.until.is_none() { "+" } else { "" };
                let text = format!("{}{more}", (self.label)(column.from));
                body.push_str(&svg::text("label", x, bottom + 16.0, "middle", &text));
            }
        }
        body.push_str(&svg::line("axis", (LEFT, bottom), (WIDTH - 8.0, bottom)));
        let axis = match columns
            .get(2)
            .is_some_and(|third| third.width() > columns[0].width())
        {
            true => format!("{}; columns double in width", self.axis),
            false => self.axis.to_owned(),
        };
        body.push_str(&svg::text("label", WIDTH - 8.0, bottom + 34.0, "end", &axis));
        let all = noun(columns.iter().map(|column| column.count).sum::<i64>(), self.one);
        body.push_str(&svg::text(
            "label",
            LEFT,
            bottom + 34.0,
            "start",
            &format!("↑ {all}"),
        ));
        let rows = columns
            .iter()
            .map(|column| vec![self.range(column), grouped(column.count)]);
        let heads = vec![self.axis.to_owned(), all];
        Some(Drawing {
            name: self.name.into(),
            title: self.title.to_owned(),
            says: self.says.clone(),
            height: bottom + 40.0,
            body,
            heads,
            rows: rows.collect(),
        })
    }

    fn range(&self, column: &HistogramColumn) -> String {
        match column.until {
            Some(until) => format!("{} to {}", (self.label)(column.from), (self.label)(until)),
            None => format!("{} or more", (self.label)(column.from)),
        }
    }

    fn columns(&self) -> Option<Vec<HistogramColumn>> {
        let (first, last) = (self.buckets.first()?.from, self.buckets.last()?.from);
        let (first, last) = match self.span {
            Some((from, until)) => (first.min(from), last.max(until - self.step)),
            None => (first, last),
        };
        let count = (last - first) / self.step + 1;
        let shown = count.min(MOST_COLUMNS);
        let all: i64 = self.buckets.iter().map(|bucket| bucket.count).sum();
        let tail = self.count_in(first + shown * self.step, i64::MAX);
        if tail as f64 > MOST_IN_TAIL * all as f64 {
            return Some(self.doubling(first, last));
        }
        let shown = match count > shown {
            true => self.before_gap(first, shown),
            false => shown,
        };
        let columns = (0..shown).map(|at| {
            let from = first + at * self.step;
            let open = at + 1 == shown && count > shown;
            let here = self
                .buckets
                .iter()
                .filter(|bucket| bucket.from == from || (open && bucket.from > from));
            HistogramColumn {
                from,
                until: (!open).then_some(from + self.step - 1),
                count: here.map(|bucket| bucket.count).sum(),
            }
        });
        Some(columns.collect())
    }
}

impl Histogram<'_> {
    /// What is counted from `from` on, and below `until`.
    fn count_in(&self, from: i64, until: i64) -> i64 {
        let here = self
            .buckets
            .iter()
            .filter(|bucket| (from..until).contains(&bucket.from));
        here.map(|bucket| bucket.count).sum()
    }

    /// How many of `shown` columns to draw if the last has the tail, so that no more than one empty
    /// column comes before it: a single outlier would press all others together.
    fn before_gap(&self, first: i64, shown: i64) -> i64 {
        let end = first + (shown - 1) * self.step;
        let before = self
            .buckets
            .iter()
            .filter(|bucket| bucket.from < end && bucket.count > 0);
        let filled = before
            .map(|bucket| (bucket.from - first) / self.step + 1)
            .max()
            .unwrap_or(0);
        shown.min((filled + 2).max(FEWEST_COLUMNS))
    }

    /// Columns each of which is as wide as all before it together, up to `last`.
    fn doubling(&self, first: i64, last: i64) -> Vec<HistogramColumn> {
        let mut columns = Vec::new();
        let (mut from, mut width) = (first, self.step);
        while from <= last {
            let until = from.saturating_add(width);
            columns.push(HistogramColumn {
                from,
                until: Some(until - 1),
                count: self.count_in(from, until),
            });
            (from, width) = (until, until.saturating_sub(first));
        }
        columns
    }
}

struct HistogramColumn {
    from: i64,
    /// The last value in it; `None` for the column of the tail.
    until: Option<i64>,
    count: i64,
}

impl HistogramColumn {
    /// How many values it has; 0 for the column of the tail.
    fn width(&self) -> i64 {
        self.until.map_or(0, |until| until - self.from + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(buckets: &[Bucket]) -> Option<Drawing> {
        Histogram {
            name: "x",
            title: "x",
            says: String::new(),
            axis: "x",
            one: "y",
            step: 100,
            span: None,
            label: grouped,
            to: None,
            buckets,
        }
        .draw()
    }

    #[test]
    fn nothing_to_show_is_no_chart() {
        assert!(columns(&[]).is_none());
    }

    #[test]
    fn a_long_tail_is_in_the_last_column() {
        let buckets = [(0, 100), (200, 2), (5000, 3), (6000, 1)].map(|(from, count)| Bucket { from, count });
        let drawing = columns(&buckets).unwrap();
        let rows = drawing.rows;
        assert_eq!(rows.len(), 8, "and no empty columns before it");
        assert_eq!(rows[1], ["100 to 199", "0"]);
        assert_eq!(rows[7], ["700 or more", "4"]);
        assert!(!drawing.body.contains("double"), "{}", drawing.body);
        assert!(drawing.body.contains(">700+<"), "the axis says so");
        let long: Vec<Bucket> = (0..27)
            .map(|at| (at * 100, 10))
            .chain([(5000, 3)])
            .map(|(from, count)| Bucket { from, count })
            .collect();
        let drawing = columns(&long).unwrap();
        assert_eq!(drawing.rows.len(), 28);
        assert_eq!(drawing.rows[27], ["2,700 or more", "3"]);
        // The label before it is not under it.
        assert!(drawing.body.contains(">2,700+<"));
        assert!(!drawing.body.contains(">2,600<") && !drawing.body.contains(">2,500<"));
    }

    #[test]
    fn columns_of_a_heavy_tail_double_in_width() {
        let buckets = [(0, 1), (200, 2), (5000, 3), (6000, 4)].map(|(from, count)| Bucket { from, count });
        let drawing = columns(&buckets).unwrap();
        let rows = drawing.rows;
        assert_eq!(rows.len(), 7);
        assert_eq!(rows[0], ["0 to 99", "1"]);
        assert_eq!(rows[1], ["100 to 199", "0"]);
        assert_eq!(rows[2], ["200 to 399", "2"]);
        assert_eq!(rows[6], ["3,200 to 6,399", "7"]);
        assert!(
            drawing.body.contains("x; columns double in width"),
            "{}",
            drawing.body
        );
        let far = [(0, 1), (i64::MAX - 200, 1)].map(|(from, count)| Bucket { from, count });
        assert!(columns(&far).unwrap().rows.len() < 64);
    }
}

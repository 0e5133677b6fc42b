//! Charts as SVG: text with numbers in it, coloured by `chart.css`, so that one picture fits a light page and a dark
//! one. Everything from the dataset is escaped: a model wrote it.

use std::fmt::Write;

use super::Figures;

/// The colours and fonts of charts, for the page that holds them.
pub const STYLE: &str = include_str!("chart.css");

/// A picture with its title.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// An `<svg>` element.
    pub svg: String,
}

/// Units of all charts: as wide as a column of text.
const WIDTH: f64 = 480.0;

/// The charts of a dataset; those that would be empty are left out.
pub fn all(figures: &Figures) -> Vec<Chart> {
    let origins = figures
        .origins
        .iter()
        .filter(|row| row.pending + row.accepted + row.rejected > 0);
    let tasks = origins
        .flat_map(|row| {
            [
                ("accepted", row.accepted),
                ("pending", row.pending),
                ("rejected", row.rejected),
            ]
            .map(|(review, count)| (format!("{} {review}", row.origin), count))
        })
        .filter(|(_, count)| *count > 0);
    let reasons = figures
        .candidates
        .verdicts
        .iter()
        .filter(|row| row.verdict == "rejected");
    let balance = &figures.balance;
    let charts = [
        bars("Tasks by origin and review", &tasks.collect::<Vec<_>>()),
        growth("Candidates by round, summed up", figures),
        bars(
            "Rejected candidates by reason",
            &reasons
                .map(|row| {
                    (
                        format!("{}: {}", row.kind, row.reason.as_deref().unwrap_or("")),
                        row.candidates,
                    )
                })
                .collect::<Vec<_>>(),
        ),
        columns(
            "ROUGE-L with the nearest task, in hundredths",
            &pairs(&figures.similarities),
            5,
        ),
        columns(
            "Instructions by length in characters",
            &pairs(&figures.instruction_lengths),
            25,
        ),
        columns(
            "Outputs by length in characters",
            &pairs(&figures.output_lengths),
            100,
        ),
        bars(
            "Classification and input",
            &[
                ("tasks that classify".to_owned(), balance.classification),
                ("other tasks".to_owned(), balance.other),
                ("examples with input".to_owned(), balance.with_input),
                ("examples without".to_owned(), balance.without_input),
            ],
        ),
        bars(
            "First words of instructions",
            &figures
                .first_words
                .iter()
                .map(|row| (row.word.clone(), row.tasks))
                .collect::<Vec<_>>(),
        ),
    ];
    charts.into_iter().flatten().collect()
}

fn pairs(buckets: &[crate::store::stats::Bucket]) -> Vec<(i64, i64)> {
    buckets.iter().map(|bucket| (bucket.from, bucket.count)).collect()
}

/// A bar for each row, one under the other. None where there is nothing to show.
fn bars(title: &str, rows: &[(String, i64)]) -> Option<Chart> {
    const LINE: f64 = 20.0;
    const LABEL: f64 = 190.0;
    let most = rows.iter().map(|row| row.1).max().filter(|&most| most > 0)?;
    let mut svg = open(title, rows.len() as f64 * LINE);
    for (index, (label, count)) in rows.iter().enumerate() {
        let y = index as f64 * LINE;
        // Room for the number behind the longest bar.
        let width = *count as f64 / most as f64 * (WIDTH - LABEL - 50.0);
        let _ = write!(
            svg,
            r#"<text class="label" x="{:.0}" y="{:.0}" text-anchor="end">{}</text><rect class="bar" x="{LABEL:.0}" y="{:.0}" width="{width:.1}" height="14" rx="2"/><text class="value" x="{:.1}" y="{:.0}">{count}</text>"#,
            LABEL - 6.0,
            y + 14.0,
            escape(&short(label, 28)),
            y + 3.0,
            LABEL + width + 5.0,
            y + 14.0,
        );
    }
    svg.push_str("</svg>");
    Some(Chart {
        title: title.to_owned(),
        svg,
    })
}

/// A histogram: a column for each step from the first to the last, empty ones too. A long tail goes into the last
/// column.
fn columns(title: &str, buckets: &[(i64, i64)], step: i64) -> Option<Chart> {
    const MOST_COLUMNS: i64 = 24;
    const HEIGHT: f64 = 150.0;
    let (first, last) = (buckets.first()?.0, buckets.last()?.0);
    let count = ((last - first) / step + 1).min(MOST_COLUMNS);
    let cut = first + (count - 1) * step;
    let columns: Vec<(i64, i64)> = (0..count)
        .map(|index| {
            let from = first + index * step;
            let here = buckets
                .iter()
                .filter(|bucket| bucket.0 == from || (from == cut && bucket.0 > cut));
            (from, here.map(|bucket| bucket.1).sum())
        })
        .collect();
    let most = columns
        .iter()
        .map(|column| column.1)
        .max()
        .filter(|&most| most > 0)?;
    let width = WIDTH / count as f64;
    let mut svg = open(title, HEIGHT + 20.0);
    for (index, (from, tasks)) in columns.iter().enumerate() {
        let x = index as f64 * width;
        let height = *tasks as f64 / most as f64 * (HEIGHT - 16.0);
        let until = if *from == cut && last > cut { last } else { *from } + step - 1;
        let _ = write!(
            svg,
            r#"<rect class="bar" x="{:.1}" y="{:.1}" width="{:.1}" height="{height:.1}" rx="1"><title>{from} to {until}: {tasks}</title></rect>"#,
            x + 1.0,
            HEIGHT - height,
            (width - 2.0).max(1.0),
        );
        // Numbers stand only where there is room for them.
        if width >= 26.0 && *tasks > 0 {
            let (x, y) = (x + width / 2.0, HEIGHT - height - 3.0);
            let _ = write!(
                svg,
                r#"<text class="value" x="{x:.1}" y="{y:.1}" text-anchor="middle">{tasks}</text>"#
            );
        }
        if index as i64 % (count / 8 + 1) == 0 {
            let (x, y) = (x + 1.0, HEIGHT + 14.0);
            let more = if *from == cut && last > cut { "+" } else { "" };
            let _ = write!(
                svg,
                r#"<text class="label" x="{x:.1}" y="{y:.1}">{from}{more}</text>"#
            );
        }
    }
    let _ = write!(
        svg,
        r#"<line class="axis" x1="0" x2="{WIDTH:.0}" y1="{HEIGHT:.0}" y2="{HEIGHT:.0}"/></svg>"#
    );
    Some(Chart {
        title: title.to_owned(),
        svg,
    })
}

/// What was parsed and what was accepted, added up over the rounds.
fn growth(title: &str, figures: &Figures) -> Option<Chart> {
    const HEIGHT: f64 = 150.0;
    let last = figures.rounds.last()?.round.max(1) as f64;
    let (mut parsed, mut accepted) = (0, 0);
    let sums: Vec<(i64, i64, i64)> = figures
        .rounds
        .iter()
        .map(|row| {
            parsed += row.parsed;
            accepted += row.accepted;
            (row.round, parsed, accepted)
        })
        .collect();
    let most = parsed.max(1) as f64;
    let line = |pick: fn(&(i64, i64, i64)) -> i64| {
        let points = sums.iter().map(|row| {
            let (x, y) = (
                row.0 as f64 / last * (WIDTH - 110.0),
                pick(row) as f64 / most * (HEIGHT - 10.0),
            );
            format!("{x:.1},{:.1}", HEIGHT - y)
        });
        format!("0,{HEIGHT:.0} {}", points.collect::<Vec<_>>().join(" "))
    };
    let mut svg = open(title, HEIGHT + 20.0);
    for (class, name, points, sum) in [
        ("line other", "parsed", line(|row| row.1), parsed),
        ("line", "tasks accepted", line(|row| row.2), accepted),
    ] {
        let y = HEIGHT - sum as f64 / most * (HEIGHT - 10.0) + 4.0;
        let _ = write!(
            svg,
            r#"<polyline class="{class}" points="{points}"/><text class="label" x="{:.0}" y="{:.1}">{sum} {name}</text>"#,
            WIDTH - 105.0,
            y.min(HEIGHT - 2.0)
        );
    }
    let _ = write!(
        svg,
        r#"<line class="axis" x1="0" x2="{:.0}" y1="{HEIGHT:.0}" y2="{HEIGHT:.0}"/><text class="label" x="0" y="{:.0}">round 0</text><text class="label" x="{:.0}" y="{:.0}" text-anchor="end">{last}</text></svg>"#,
        WIDTH - 110.0,
        HEIGHT + 14.0,
        WIDTH - 110.0,
        HEIGHT + 14.0
    );
    Some(Chart {
        title: title.to_owned(),
        svg,
    })
}

fn open(title: &str, height: f64) -> String {
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {WIDTH:.0} {height:.0}" role="img" aria-label="{}">"#,
        escape(title)
    )
}

/// At most so many characters, with `…` for the rest.
fn short(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// The text with everything that HTML or XML would read replaced. Control characters, which XML forbids, are dropped.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(character),
            '\u{fffe}' | '\u{ffff}' => {}
            character if character.is_control() => {}
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_model_wrote_is_inert() {
        let chart = bars("x", &[("<script>\"'&\0".to_owned(), 3)]).unwrap();
        assert!(
            chart.svg.contains("&lt;script&gt;&quot;&#39;&amp;</text>"),
            "{}",
            chart.svg
        );
    }

    #[test]
    fn nothing_to_show_is_no_chart() {
        assert_eq!(bars("x", &[]), None);
        assert_eq!(bars("x", &[("a".to_owned(), 0)]), None);
        assert_eq!(columns("x", &[], 5), None);
    }

    #[test]
    fn a_long_tail_is_in_the_last_column() {
        let chart = columns("x", &[(0, 1), (100, 2), (5000, 3), (6000, 4)], 100).unwrap();
        assert!(
            chart.svg.contains("<title>2300 to 6099: 7</title>"),
            "{}",
            chart.svg
        );
    }
}

//! Accepted and rejected instructions over the rounds of generation: cumulative, and as a rate.

use std::{collections::BTreeMap, fmt::Write};

use super::{
    Drawing,
    svg::{self, WIDTH, grouped, rounded},
};
use crate::report::{Figures, Growth, GrowthPoint};

/// How many reasons have a band of their own; the others share one.
const MOST_BANDS: usize = 6;

const LEFT: f64 = 42.0;
/// The names of the bands stand right of it.
const RIGHT: f64 = WIDTH - 136.0;
const TOP: f64 = 10.0;
const HEIGHT: f64 = 190.0;
const BOTTOM: f64 = TOP + HEIGHT;

/// A cumulative count of instructions at each point.
struct Band {
    name: String,
    sums: Vec<i64>,
}

/// Draws tasks and rejected instructions by reason as stacked bands.
pub fn growth(figures: &Figures) -> Option<Drawing> {
    let growth = &figures.growth;
    let bands = bands(&growth.points);
    let all: i64 = bands.iter().filter_map(|band| band.sums.last()).sum();
    if all == 0 {
        return None;
    }
    let accepted = bands[0].sums.last().copied().unwrap_or(0);
    let across = Across::of(growth)?;
    let step = svg::scale_step(all as f64);
    let highest = (all as f64 / step).ceil() * step;
    let y = |sum: i64| BOTTOM - sum as f64 / highest * HEIGHT;
    let mut body = svg::scale(all as f64, (LEFT, RIGHT), (TOP, BOTTOM), |value| {
        rounded(value as i64)
    });
    let mut below = vec![0; growth.points.len()];
    let mut names = Vec::new();
    for (at, band) in bands.iter().enumerate() {
        let above: Vec<i64> = below
            .iter()
            .zip(&band.sums)
            .map(|(below, sum)| below + sum)
            .collect();
        let edge = |sums: &[i64]| {
            let ends = growth.points.iter().zip(sums);
            let mut points = vec![format!("{LEFT:.1},{BOTTOM:.1}")];
            points.extend(ends.map(|(point, &sum)| format!("{:.1},{:.1}", across.end(point), y(sum))));
            points
        };
        let mut outline = edge(&above);
        outline.extend(edge(&below).into_iter().rev());
        let last = (
            above.last().copied().unwrap_or(0),
            below.last().copied().unwrap_or(0),
        );
        let _ = write!(
            body,
            r#"<polygon class="band band-{}" points="{}"><title>{}: {}</title></polygon>"#,
            at + 1,
            outline.join(" "),
            svg::escape(&band.name),
            grouped(last.0 - last.1)
        );
        names.push((
            y((last.0 + last.1) / 2),
            format!("{} {}", rounded(last.0 - last.1), band.name),
        ));
        below = above;
    }
    name_bands(&mut body, names);
    across.axis(&mut body, growth, RIGHT);
    let mut heads = vec!["from round".to_owned(), "admitted".to_owned()];
    heads.extend(bands.iter().map(|band| svg::short(&band.name, 40)));
    let rows = growth.points.iter().enumerate().map(|(at, point)| {
        let mut row = vec![grouped(point.round), moment(point)];
        row.extend(bands.iter().map(|band| grouped(band.sums[at])));
        row
    });
    Some(Drawing {
        name: "growth".into(),
        title: "What became of instructions, added up over the rounds".to_owned(),
        says: format!(
            "Of {} parsed, {} and {} rejected.",
            svg::chosen(all, "instruction that was", "instructions that were"),
            svg::chosen(accepted, "became a task", "became tasks"),
            svg::chosen(all - accepted, "was", "were")
        ),
        height: BOTTOM + 38.0,
        body,
        heads,
        rows: rows.collect(),
    })
}

/// Draws the share of each point's instructions that became tasks.
pub fn acceptance(figures: &Figures) -> Option<Drawing> {
    let growth = &figures.growth;
    let across = Across::of(growth)?;
    let rate = |point: &GrowthPoint| {
        let all = point.accepted + point.rejected.values().sum::<i64>();
        (point.accepted, all)
    };
    let percent = |(accepted, all): (i64, i64)| accepted as f64 / all.max(1) as f64 * 100.0;
    let (accepted, all) = growth
        .points
        .iter()
        .map(rate)
        .fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
    if all == 0 {
        return None;
    }
    let right = WIDTH - 52.0;
    let across = Across { right, ..across };
    let y = |percent: f64| BOTTOM - percent / 100.0 * HEIGHT;
    let mut body = String::new();
    for at in [0.0, 25.0, 50.0, 75.0, 100.0] {
        body.push_str(&svg::line("grid", (LEFT, y(at)), (right, y(at))));
        body.push_str(&svg::text(
            "value",
            LEFT - 5.0,
            y(at) + 4.0,
            "end",
            &format!("{at:.0} %"),
        ));
    }
    let mut path = String::new();
    for point in &growth.points {
        let height = y(percent(rate(point)));
        let command = if path.is_empty() { 'M' } else { 'L' };
        let _ = write!(
            path,
            "{command}{:.1} {height:.1}H{:.1}",
            across.start(point),
            across.end(point)
        );
    }
    let _ = write!(body, r#"<path class="line" d="{path}"/>"#);
    if let Some(last) = growth.points.last() {
        let now = percent(rate(last));
        body.push_str(&svg::text(
            "value strong",
            right + 5.0,
            y(now) + 4.0,
            "start",
            &format!("{now:.0} %"),
        ));
    }
    across.axis(&mut body, growth, right);
    let rows = growth.points.iter().map(|point| {
        let (accepted, all) = rate(point);
        vec![
            grouped(point.round),
            moment(point),
            grouped(all),
            grouped(accepted),
            format!("{:.1} %", percent((accepted, all))),
        ]
    });
    let heads = ["from round", "admitted", "parsed", "accepted", "share"];
    Some(Drawing {
        name: "acceptance".into(),
        title: "Share of instructions that became tasks".to_owned(),
        says: format!(
            "{:.1} % over all rounds; each step is {}.",
            percent((accepted, all)),
            svg::counted(growth.rounds_per_point, "round")
        ),
        height: BOTTOM + 38.0,
        body,
        heads: heads.map(str::to_owned).to_vec(),
        rows: rows.collect(),
    })
}

/// Makes the bands: accepted instructions first, then the reasons, the most frequent first.
fn bands(points: &[GrowthPoint]) -> Vec<Band> {
    let mut totals = BTreeMap::<&str, i64>::new();
    for (reason, count) in points.iter().flat_map(|point| &point.rejected) {
        *totals.entry(reason).or_default() += count;
    }
    let mut reasons: Vec<_> = totals.into_iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    // One more reason takes no more room than "other reasons" with one reason.
    let named = if reasons.len() <= MOST_BANDS + 1 {
        reasons.len()
    } else {
        MOST_BANDS
    };
    let (named, others) = reasons.split_at(named);
    let band = |name: &str, count: &dyn Fn(&GrowthPoint) -> i64| {
        let mut sum = 0;
        let sums = points.iter().map(|point| {
            sum += count(point);
            sum
        });
        Band {
            name: name.to_owned(),
            sums: sums.collect(),
        }
    };
    let of = |point: &GrowthPoint, reason: &str| point.rejected.get(reason).copied().unwrap_or(0);
    let mut bands = vec![band("accepted", &|point| point.accepted)];
    bands.extend(
        named
            .iter()
            .map(|(reason, _)| band(reason, &|point| of(point, reason))),
    );
    if !others.is_empty() {
        bands.push(band("other reasons", &|point| {
            others.iter().map(|(reason, _)| of(point, reason)).sum()
        }));
    }
    bands
}

/// Writes names beside the bands, each as near as there is room, with a line to its band.
fn name_bands(body: &mut String, mut names: Vec<(f64, String)>) {
    const ROOM: f64 = 15.0;
    // The lowest band comes first, so places are given from below upwards, and pushed down again at
    // the top.
    let mut places: Vec<f64> = Vec::new();
    for (y, _) in &names {
        let highest = places.last().map_or(BOTTOM - 2.0, |below| below - ROOM);
        places.push(y.min(highest));
    }
    let mut lowest = TOP;
    for place in places.iter_mut().rev() {
        *place = place.max(lowest);
        lowest = *place + ROOM;
    }
    for (at, ((y, name), place)) in names.drain(..).zip(places).enumerate() {
        body.push_str(&svg::line(
            &format!("leader leader-{}", at + 1),
            (RIGHT + 1.0, y),
            (RIGHT + 12.0, place),
        ));
        body.push_str(&svg::text(
            "label",
            RIGHT + 15.0,
            place + 4.0,
            "start",
            &svg::fit(&name, WIDTH - RIGHT - 16.0),
        ));
    }
}

/// The horizontal axis of rounds.
struct Across {
    first: i64,
    end: i64,
    per_point: i64,
    right: f64,
}

impl Across {
    fn of(growth: &Growth) -> Option<Across> {
        let (first, last) = (growth.points.first()?.round, growth.points.last()?.round);
        Some(Across {
            first,
            end: last + growth.rounds_per_point,
            per_point: growth.rounds_per_point,
            right: RIGHT,
        })
    }

    fn x(&self, round: i64) -> f64 {
        LEFT + (round - self.first) as f64 / (self.end - self.first).max(1) as f64 * (self.right - LEFT)
    }

    fn start(&self, point: &GrowthPoint) -> f64 {
        self.x(point.round)
    }

    fn end(&self, point: &GrowthPoint) -> f64 {
        self.x(point.round + self.per_point)
    }

    /// Draws the axis, with the first round of the first and the last point and their time of
    /// admission.
    fn axis(&self, body: &mut String, growth: &Growth, right: f64) {
        body.push_str(&svg::line("axis", (LEFT, BOTTOM), (right, BOTTOM)));
        let ends = growth.points.first().into_iter().chain(growth.points.last());
        for (point, (x, anchor)) in ends.zip([(LEFT, "start"), (right, "end")]) {
            body.push_str(&svg::text(
                "value",
                x,
                BOTTOM + 16.0,
                anchor,
                &format!("round {}", grouped(point.round)),
            ));
            body.push_str(&svg::text("label", x, BOTTOM + 32.0, anchor, &day(point)));
        }
    }
}

/// `2026-01-31`, where room is scarce.
fn day(point: &GrowthPoint) -> String {
    moment(point).chars().take(10).collect()
}

/// `2026-01-31 12:00`
fn moment(point: &GrowthPoint) -> String {
    let at = point.admitted_at.as_deref().unwrap_or_default();
    at.chars()
        .take(16)
        .map(|c| if c == 'T' { ' ' } else { c })
        .collect()
}

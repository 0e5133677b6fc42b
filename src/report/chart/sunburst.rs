//! Root verbs and their objects in two rings, as in figure 3 of the Self-Instruct paper (Wang et
//! al. 2023).

use std::{f64::consts::TAU, fmt::Write};

use super::{
    Drawing,
    svg::{self, WIDTH, grouped},
};
use crate::report::{Figures, VerbCount};

const MIDDLE: f64 = WIDTH / 2.0;
/// Radii of the hole, between the rings, and of the whole.
const RADII: [f64; 3] = [42.0, 110.0, 178.0];
/// The height of a line of text of 11 units.
const LINE: f64 = 11.0;
/// How many colors the verbs have by turns.
const COLORS: usize = 8;

/// The inner ring, of verbs: its inner and outer radius.
const VERBS: (f64, f64) = (RADII[0], RADII[1]);
/// The outer ring, of objects.
const OBJECTS: (f64, f64) = (RADII[1] + 1.5, RADII[2]);
/// The narrow band in place of objects that are not shown.
const REST: (f64, f64) = (RADII[1] + 1.5, RADII[1] + 9.0);

/// Draws the most frequent verbs with their most frequent objects.
pub fn roots(figures: &Figures) -> Option<Drawing> {
    let roots = &figures.roots;
    let all = roots.with_object + roots.verb_only + roots.without;
    let shown: i64 = roots.verbs.iter().map(|verb| verb.tasks).sum();
    if shown == 0 {
        return None;
    }
    let covered = roots.with_object as f64 / all as f64 * 100.0;
    let (mut body, rows) = rings(&roots.verbs, shown);
    body.push_str(&middle(covered));
    Some(Drawing {
        name: "roots".into(),
        title: "Verbs of instructions and their objects".to_owned(),
        says: format!(
            "Of {}, {} with a verb and an object that were found ({covered:.1} %), {} with a verb only. Shown: \
             {}, with {}, and of each the most frequent objects.",
            svg::counted(all, "task"),
            svg::chosen(roots.with_object, "begins", "begin"),
            grouped(roots.verb_only),
            svg::chosen(
                roots.verbs.len() as i64,
                "verb, the most frequent one",
                "verbs, the most frequent ones"
            ),
            svg::counted(shown, "task")
        ),
        height: WIDTH,
        body,
        heads: ["verb", "object", "tasks"].map(str::to_owned).to_vec(),
        rows,
    })
}

/// Draws both rings, in which `shown` tasks take the whole circle. Returns the elements and the
/// rows of the table.
fn rings(verbs: &[VerbCount], shown: i64) -> (String, Vec<Vec<String>>) {
    let mut rings = Rings {
        shown,
        segments: String::new(),
        labels: String::new(),
        rows: Vec::new(),
    };
    let mut from = 0.0;
    for (at, verb) in verbs.iter().enumerate() {
        from = rings.add(verb, from, at % COLORS + 1);
    }
    (rings.segments + &rings.labels, rings.rows)
}

/// Both rings, as far as they are drawn.
struct Rings {
    shown: i64,
    segments: String,
    /// Drawn above all segments: a later one would cover the end of a label.
    labels: String,
    /// Rows of the table: verb, object, tasks.
    rows: Vec<Vec<String>>,
}

impl Rings {
    fn angle(&self, tasks: i64) -> f64 {
        tasks as f64 / self.shown as f64 * TAU
    }

    /// Adds a verb and its objects at the angle `from`. Returns the angle where they end.
    fn add(&mut self, verb: &VerbCount, from: f64, color: usize) -> f64 {
        let until = from + self.angle(verb.tasks);
        let says = format!("{}: {}", verb.verb, svg::counted(verb.tasks, "task"));
        let class = format!("verb tint-{color}");
        segment(&mut self.segments, &class, VERBS, (from, until), &says);
        label(&mut self.labels, "verb-label", VERBS, (from, until), &verb.verb);
        let mut start = from;
        for object in &verb.objects {
            let end = start + self.angle(object.tasks);
            let tasks = svg::counted(object.tasks, "task");
            let says = format!("{} {}: {tasks}", verb.verb, object.noun);
            let class = format!("noun tint-{color}");
            segment(&mut self.segments, &class, OBJECTS, (start, end), &says);
            label(
                &mut self.labels,
                "noun-label",
                OBJECTS,
                (start, end),
                &object.noun,
            );
            self.add_row(verb, &object.noun, object.tasks);
            start = end;
        }
        let rest = verb.tasks - verb.objects.iter().map(|object| object.tasks).sum::<i64>();
        if rest > 0 {
            let tasks = svg::counted(rest, "task");
            let says = format!("{}, other objects or none: {tasks}", verb.verb);
            let class = format!("rest tint-{color}");
            segment(&mut self.segments, &class, REST, (start, until), &says);
            self.add_row(verb, "others or none", rest);
        }
        until
    }

    fn add_row(&mut self, verb: &VerbCount, object: &str, tasks: i64) {
        self.rows
            .push(vec![verb.verb.clone(), object.to_owned(), grouped(tasks)]);
    }
}

/// Draws the share of tasks with verb and object in the middle, in percent.
fn middle(covered: f64) -> String {
    let share = format!("{covered:.0} %");
    let share = svg::text("share", MIDDLE, MIDDLE + 1.0, "middle", &share);
    share + &svg::text("label", MIDDLE, MIDDLE + 17.0, "middle", "verb + noun")
}

/// Returns a point of the circle. Angles begin at the top and go clockwise.
fn point(radius: f64, angle: f64) -> (f64, f64) {
    (MIDDLE + radius * angle.sin(), MIDDLE - radius * angle.cos())
}

/// Appends a segment of a ring, with a tooltip.
fn segment(
    body: &mut String,
    class: &str,
    (inner, outer): (f64, f64),
    (from, until): (f64, f64),
    says: &str,
) {
    // An arc of the whole circle would begin where it ends, and be empty.
    let until = until.min(from + TAU - 1e-3);
    let large = u8::from(until - from > TAU / 2.0);
    let [a, b, c, d] = [
        point(inner, from),
        point(outer, from),
        point(outer, until),
        point(inner, until),
    ];
    let _ = write!(
        body,
        r#"<path class="{class}" d="M{:.2} {:.2}L{:.2} {:.2}A{outer:.1} {outer:.1} 0 {large} 1 {:.2} {:.2}L{:.2} {:.2}A{inner:.1} {inner:.1} 0 {large} 0 {:.2} {:.2}Z"><title>{}</title></path>"#,
        a.0,
        a.1,
        b.0,
        b.1,
        c.0,
        c.1,
        d.0,
        d.1,
        a.0,
        a.1,
        svg::escape(says)
    );
}

/// Appends a text along the radius, if there is room for its height.
fn label(body: &mut String, class: &str, (inner, outer): (f64, f64), (from, until): (f64, f64), text: &str) {
    if (until - from) * (inner + 12.0) < LINE {
        return;
    }
    let angle = (from + until) / 2.0;
    let text = svg::fit(text, (outer - inner) * 12.0 / 11.0);
    // On the left side texts are turned around, so that none is upside down.
    let (turn, anchor, radius) = if angle <= TAU / 2.0 {
        (angle.to_degrees() - 90.0, "start", inner + 5.0)
    } else {
        (angle.to_degrees() + 90.0, "end", inner + 5.0)
    };
    let (x, y) = point(radius, angle);
    let _ = write!(
        body,
        r#"<text class="{class}" transform="translate({x:.1} {y:.1}) rotate({turn:.1})" y="4" text-anchor="{anchor}">{}</text>"#,
        svg::escape(&text)
    );
}

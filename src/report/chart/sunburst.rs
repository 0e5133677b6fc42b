//! Root verbs and their objects in two rings, as in figure 3 of the Self-Instruct paper (Wang et al. 2023).

use std::{f64::consts::TAU, fmt::Write};

use super::{
    Drawing,
    svg::{self, WIDTH, grouped},
};
use crate::report::Figures;

const MIDDLE: f64 = WIDTH / 2.0;
/// Radii: of the hole, between the rings, of the whole.
const RADII: [f64; 3] = [42.0, 110.0, 178.0];
/// The room that a line of text of 11 units needs.
const LINE: f64 = 11.0;
/// Colours that verbs take in turn.
const COLOURS: usize = 8;

/// The most frequent verbs with their most frequent objects.
pub fn roots(figures: &Figures) -> Option<Drawing> {
    let roots = &figures.roots;
    let all = roots.with_object + roots.verb_only + roots.without;
    let shown: i64 = roots.verbs.iter().map(|verb| verb.tasks).sum();
    if shown == 0 {
        return None;
    }
    let share = |count: i64| count as f64 / all as f64 * 100.0;
    let mut body = String::new();
    // Above all segments, or a later one would cover the end of a label.
    let mut labels = String::new();
    let mut rows = Vec::new();
    let mut from = 0.0;
    for (at, verb) in roots.verbs.iter().enumerate() {
        let angle = |tasks: i64| tasks as f64 / shown as f64 * TAU;
        let until = from + angle(verb.tasks);
        let colour = at % COLOURS + 1;
        let says = format!("{}: {}", verb.verb, svg::counted(verb.tasks, "task"));
        segment(
            &mut body,
            &format!("verb tint-{colour}"),
            (RADII[0], RADII[1]),
            (from, until),
            &says,
        );
        label(
            &mut labels,
            "verb-label",
            (RADII[0], RADII[1]),
            (from, until),
            &verb.verb,
        );
        let mut start = from;
        for object in &verb.objects {
            let end = start + angle(object.tasks);
            let says = format!(
                "{} {}: {}",
                verb.verb,
                object.noun,
                svg::counted(object.tasks, "task")
            );
            let rings = (RADII[1] + 1.5, RADII[2]);
            segment(
                &mut body,
                &format!("noun tint-{colour}"),
                rings,
                (start, end),
                &says,
            );
            label(&mut labels, "noun-label", rings, (start, end), &object.noun);
            rows.push(vec![
                verb.verb.clone(),
                object.noun.clone(),
                grouped(object.tasks),
            ]);
            start = end;
        }
        let rest = verb.tasks - verb.objects.iter().map(|object| object.tasks).sum::<i64>();
        if rest > 0 {
            let says = format!(
                "{}, other objects or none: {}",
                verb.verb,
                svg::counted(rest, "task")
            );
            segment(
                &mut body,
                &format!("rest tint-{colour}"),
                (RADII[1] + 1.5, RADII[1] + 9.0),
                (start, until),
                &says,
            );
            rows.push(vec![
                verb.verb.clone(),
                "others or none".to_owned(),
                grouped(rest),
            ]);
        }
        from = until;
    }
    body.push_str(&labels);
    let covered = share(roots.with_object);
    body.push_str(&svg::text(
        "share",
        MIDDLE,
        MIDDLE + 1.0,
        "middle",
        &format!("{covered:.0} %"),
    ));
    body.push_str(&svg::text(
        "label",
        MIDDLE,
        MIDDLE + 17.0,
        "middle",
        "verb + noun",
    ));
    Some(Drawing {
        name: "roots",
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

/// A point of the circle; angles begin at the top and go clockwise.
fn point(radius: f64, angle: f64) -> (f64, f64) {
    (MIDDLE + radius * angle.sin(), MIDDLE - radius * angle.cos())
}

fn segment(
    body: &mut String,
    class: &str,
    (inner, outer): (f64, f64),
    (from, until): (f64, f64),
    says: &str,
) {
    // An arc of the whole circle would begin where it ends, and be nothing.
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

/// A text along the radius, if there is room for its height.
fn label(body: &mut String, class: &str, (inner, outer): (f64, f64), (from, until): (f64, f64), text: &str) {
    if (until - from) * (inner + 12.0) < LINE {
        return;
    }
    let angle = (from + until) / 2.0;
    let text = svg::fit(text, (outer - inner) * 12.0 / 11.0);
    // On the left side texts are turned over, so that none stands on its head.
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

//! Comparisons of two models by a judge and by people.

use std::fmt::Write;

use serde_json::Value;

use super::html::{moment, write_source};
use crate::report::card::table;
use crate::report::chart::dots::{self, Dots, Row};
use crate::report::chart::svg::{chosen, counted, escape, short};
use crate::store::query::evaluation::StoredComparison;
use crate::store::{Result, Store};
use crate::suite::interval::Interval;

/// The most comparisons, the latest first, and the names of their charts.
const CHARTS: [&str; 6] = ["wins-1", "wins-2", "wins-3", "wins-4", "wins-5", "wins-6"];
/// The most categories of a chart, and the most remarks.
const MOST_CATEGORIES: usize = 30;
const MOST_REMARKS: usize = 12;

/// A comparison with its figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    stored: StoredComparison,
    result: Value,
}

/// Reads the latest comparisons that came to a result.
pub async fn load(store: &Store) -> Result<Vec<Comparison>> {
    let stored = store.stored_comparisons(CHARTS.len() as i64).await?;
    let read = |stored: StoredComparison| {
        let result: Value = serde_json::from_str(&stored.result).unwrap_or_default();
        result["n"].is_number().then_some(Comparison { stored, result })
    };
    Ok(stored.into_iter().filter_map(read).collect())
}

/// Reads a rate, as a share or an interval; in percent.
fn percent(value: &Value) -> Option<Interval> {
    let mean = value["mean"].as_f64().or(value["rate"]["mean"].as_f64())?;
    let end = |name: &str| {
        value[name]
            .as_f64()
            .or(value["rate"][name].as_f64())
            .unwrap_or(mean)
    };
    Some(
        Interval {
            mean,
            low: end("low"),
            high: end("high"),
        }
        .times(100.0),
    )
}

/// Appends the comparisons.
pub fn write(body: &mut String, comparisons: &[Comparison]) {
    for (name, comparison) in CHARTS.into_iter().zip(comparisons) {
        comparison.write(body, name);
    }
}

impl Comparison {
    fn write(&self, body: &mut String, chart: &'static str) {
        let Comparison { stored, result } = self;
        let [a, b] = [&stored.model_a, &stored.model_b].map(|model| escape(&short(model, 120)));
        let _ = writeln!(
            body,
            "<h3>Comparison of two models</h3>\n<p>a is {a}; b is {b}.</p>"
        );
        let count = |name: &str| result[name].as_i64().unwrap_or(0);
        let mut says = format!(
            "Of {}, b won {}, a won {}, {}, {} without a verdict.",
            counted(count("n"), "pair"),
            count("wins_b"),
            count("wins_a"),
            chosen(count("ties"), "was a tie", "were ties"),
            chosen(count("errors"), "is", "are")
        );
        match (&result["winner"], &result["no_winner_because"]) {
            (Value::String(winner), _) => says += &format!(" {} is better.", short(winner, 8)),
            (_, Value::String(why)) => says += &format!(" No winner is named: {}.", short(why, 300)),
            _ => {}
        }
        let _ = writeln!(body, "<p class=\"verdict\">{}</p>", escape(&says));
        let figure = self.chart(chart);
        if let Some(chart) = figure {
            let _ = writeln!(body, "<div class=\"charts\">\n{}\n</div>", chart.figure);
        }
        self.judge(body);
        let remarks = result["remarks"].as_array().into_iter().flatten();
        let remarks = remarks.filter_map(Value::as_str).take(MOST_REMARKS);
        let remarks: String = remarks
            .map(|remark| format!("<li>{}</li>\n", escape(&short(remark, 400))))
            .collect();
        if !remarks.is_empty() {
            let _ = writeln!(body, "<ul>\n{remarks}</ul>");
        }
        let judge = stored.judge.as_deref().map_or(String::new(), |judge| {
            format!(", judged by {}", escape(&short(judge, 120)))
        });
        write_source(
            body,
            &format!(
                "comparison {} of run {} ({}), prompts of <code>{}</code>{judge}. \
                 <code>SELECT * FROM comparison_pair WHERE comparison_id = {}</code> has the pairs.",
                stored.id,
                stored.run_id,
                escape(&moment(&stored.created_at)),
                escape(&short(&stored.source, 200)),
                stored.id
            ),
        );
    }

    /// Draws the win rate, overall, if answers were equally long, and by category.
    fn chart(&self, name: &'static str) -> Option<crate::report::chart::Chart> {
        let result = &self.result;
        let row = |label: &str, value: &Value| Row {
            label: label.to_owned(),
            values: vec![percent(value)],
        };
        let mut rows = vec![row("all", &result["win_rate"])];
        rows.push(row("if equally long", &result["length_controlled"]));
        let categories = result["by_category"].as_object().into_iter().flatten();
        for (category, of) in categories.take(MOST_CATEGORIES) {
            let label = format!("{category} ({})", of["n"].as_i64().unwrap_or(0));
            rows.push(row(&label, &of["win_rate"]));
        }
        rows.retain(|row| row.values.iter().any(Option::is_some));
        let all = rows.first().and_then(|row| row.values[0]);
        Dots {
            name,
            title: "Win rate of b, percent".to_owned(),
            says: all.map_or(String::new(), |all| {
                format!(
                    "{} with its 95 % interval; 50 is no difference.",
                    dots::text(&all)
                )
            }),
            first: "pairs",
            series: &["win rate"],
            rows,
            line_at: Some(50.0),
        }
        .draw()
        .filter(|_| all.is_some())
    }

    /// Appends how the judge did, and what people say.
    fn judge(&self, body: &mut String) {
        let judge = &self.result["judge"];
        let people = &self.result["people"];
        let share = |value: &Value| value.as_f64().map(|share| format!("{:.0} %", share * 100.0));
        let mut rows: Vec<Vec<String>> = Vec::new();
        let mut add = |what: &str, value: Option<String>| {
            rows.extend(value.map(|value| vec![what.to_owned(), value]));
        };
        let accuracy = percent(&judge["exam"]["accuracy"]).map(|of| format!("{} %", dots::text(&of)));
        add(
            "exam of the judge: right",
            accuracy.or_else(|| share(&judge["exam"]["accuracy"])),
        );
        add(
            "exam: chose the answer shown first",
            share(&judge["exam"]["chose_first"]),
        );
        add(
            "chose the answer shown first",
            share(&judge["conduct"]["chose_first"]),
        );
        add("its two orders disagreed", share(&judge["conduct"]["disagreed"]));
        let votes = people["votes"].as_i64().filter(|votes| *votes > 0);
        add(
            "people",
            votes.map(|votes| {
                let of = |name: &str| people[name].as_i64().unwrap_or(0);
                format!(
                    "{}: {} for a, {} for b, {} for neither",
                    counted(votes, "vote"),
                    of("wins_a"),
                    of("wins_b"),
                    of("ties")
                )
            }),
        );
        let kappa = people["kappa"].as_f64().map(|kappa| format!("{kappa:.2}"));
        add("agreement of people and judge (Cohen's kappa)", kappa);
        table(body, "", &["judge and people", "value"], rows.into_iter());
    }
}

//! Renders templates for `scripts/check_jinja.py`. Reads lines of JSON with `template` and
//! `variables`, and writes for each a line with `text` or `error`.

use std::io::{BufRead, Write};

use chrono::NaiveDate;
use ewe::jinja::{self, RenderOptions};
use serde_json::{Map, Value, json};

fn main() {
    let now = NaiveDate::from_ymd_opt(2026, 3, 7).and_then(|day| day.and_hms_opt(9, 5, 0));
    let now = now.expect("a day that was");
    let mut out = ewe::streams::stdout();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("text");
        let request: Value = serde_json::from_str(&line).expect("JSON");
        let empty = Map::new();
        let options = RenderOptions {
            strict: false,
            now,
            variables: request["variables"].as_object().unwrap_or(&empty),
        };
        let source = request["template"].as_str().unwrap_or_default();
        let reply = match jinja::Template::parse(source).and_then(|template| template.render(&options)) {
            Ok(rendered) => json!({ "text": rendered.text }),
            Err(error) => json!({ "error": error.to_string() }),
        };
        writeln!(out, "{reply}").expect("a reader");
    }
}

//! Judges answers for `scripts/check_ifeval.py`. Reads lines of JSON with `row` and `answer`, and
//! writes for each a line with `strict` and `loose`, or `error`. Or with `text`, and writes the
//! number of its `sentences`. The argument is the directory of Punkt's parameters; without it, the
//! program's own are used.

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;

use ewe::suite::ifeval::sentences::sentences;
use ewe::suite::ifeval::{IfevalRow, PunktParameters, verify};
use serde_json::{Value, json};

fn main() {
    let punkt = Arc::new(match std::env::args_os().nth(1) {
        Some(dir) => PunktParameters::read(Path::new(&dir)).expect("parameters"),
        None => PunktParameters::english(),
    });
    let mut out = ewe::streams::stdout();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("text");
        let request: Value = serde_json::from_str(&line).expect("JSON");
        writeln!(out, "{}", reply(&request, &punkt)).expect("a reader");
    }
}

fn reply(request: &Value, punkt: &Arc<PunktParameters>) -> Value {
    if let Some(text) = request["text"].as_str() {
        return json!({ "sentences": sentences(text, punkt).len() });
    }
    let answer = request["answer"].as_str().unwrap_or_default();
    match IfevalRow::parse(&request["row"], 1, punkt) {
        Ok(row) => {
            let verdict = verify(&row, answer);
            json!({ "strict": verdict.strict, "loose": verdict.loose })
        }
        Err(error) => json!({ "error": error }),
    }
}

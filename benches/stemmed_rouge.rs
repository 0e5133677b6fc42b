//! Stems words and scores pairs for `scripts/check_rouge_stemmed.py`. Reads lines of JSON with
//! `word`, or with `answer` and `reference`, and writes for each a line with `stem` or `score`.

use std::io::{BufRead, Write};

use ewe::pipeline::evaluate::rouge::rouge_l;
use ewe::suite::porter::stem;
use ewe::suite::words::StemmedWords;
use serde_json::{Value, json};

fn main() {
    let mut out = std::io::BufWriter::new(ewe::streams::stdout());
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("text");
        let request: Value = serde_json::from_str(&line).expect("JSON");
        let text = |name: &str| request[name].as_str().unwrap_or_default();
        let reply = match request["word"].as_str() {
            Some(word) => json!({ "stem": stem(word) }),
            None => {
                let words = |name: &str| StemmedWords::of(text(name));
                json!({ "score": rouge_l(&words("answer"), &words("reference")) })
            }
        };
        writeln!(out, "{reply}").expect("a reader");
    }
    out.flush().expect("a reader");
}

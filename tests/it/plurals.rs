//! One is singular: `ewe::text` formats a number with its noun, and on the page `counted` of
//! `element.js` does.

use std::collections::BTreeSet;
use std::path::Path;

use regex::Regex;

use crate::mock::Mock;
use crate::shell::Dir;
use crate::source::Sources;
use crate::support::ewe;

/// Texts that look like a number with its noun and need no singular: file, words, reason.
const NEVER_ONE: &[(&str, &str, &str)] = &[
    ("cli/data/init.rs", "{shown} tasks", "the recipe's constant"),
    ("chat/serve.rs", "{of} are", "not a number"),
    ("chat/tokenize.rs", "{most} tokens", "a limit"),
    ("cli/args/paths.rs", "{} are", "two options"),
    ("client/endpoint.rs", "{} models", "several"),
    ("gguf/vocabulary.rs", "{} are", "not a number"),
    ("http_server.rs", "{0} bytes", "a limit"),
    ("interchange/parse.rs", "{length} bytes", "beyond a limit"),
    ("interchange/parse.rs", "{} lists", "a limit"),
    ("jinja/interpreter.rs", "{how} values", "not a number"),
    (
        "model/families/gemma/config.rs",
        "{layer_type} are",
        "not a number",
    ),
    ("model/files/hub/download.rs", "{} are", "a size with its unit"),
    (
        "model/files/torch_file.rs",
        "{length} bytes",
        "an archive has more",
    ),
    ("pipeline.rs", "{} rounds", "a limit was reached"),
    ("prompt/self_instruct.rs", "{} have", "two tasks"),
    ("prompt/alpaca.rs", "{last} tasks", "more than the examples"),
    ("report/card.rs", "{origin} tasks", "where they are from"),
    ("report/reviewers.rs", "{:<14} reviewers", "a heading"),
    ("train/out/files.rs", "{} are", "a size with its unit"),
    ("train/plan/report.rs", "{} parameters", "a model has more"),
    ("train/fit.rs", "{} are", "a size with its unit"),
    ("train/reference/updates.rs", "{rows} rows", "a test's own"),
    ("train/run.rs", "{} are", "a size with its unit"),
    ("train/run.rs", "{} were", "a size with its unit"),
];

/// Words that end in `s` after something that is not a number, and are not plurals.
const NO_PLURALS: &[&str] = &[
    "announces",
    "brings",
    "changes",
    "contiguous",
    "describes",
    "differs",
    "does",
    "ends",
    "gives",
    "goes",
    "has",
    "is",
    "its",
    "lacks",
    "leaves",
    "names",
    "needs",
    "says",
    "stands",
    "stays",
    "takes",
    "this",
    "uses",
    "was",
];

/// Whether a word after a number is a plural.
fn is_plural(word: &str) -> bool {
    let noun = word.len() > 2 && word.ends_with('s') && !word.ends_with("ss");
    noun && !NO_PLURALS.contains(&word) || ["are", "have", "were"].contains(&word)
}

#[test]
fn numbers_with_nouns_are_formatted_by_ewe_text() {
    // Constants are known, decimals are never singular, and rates are per unit.
    let number = Regex::new(r"(\{[^{}]*\}) ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?([^ ]?[^.;:\n]*)").unwrap();
    let fixed = Regex::new(r"^\{([A-Z_]+|.*:.*\.[1-9].*)\}$").unwrap();
    // About values that are too large.
    let beyond = Regex::new(r"^[a-z ]*, (more than|want at most|which no )").unwrap();
    let no_adjectives = [
        "at", "beyond", "each", "for", "from", "in", "into", "of", "on", "or", "to", "while",
    ];
    let (mut wrong, mut needed) = (Vec::new(), BTreeSet::new());
    for source in &Sources::get().files {
        let file = source.name.as_str();
        for text in &source.texts {
            let plain = text.text.replace("{{", "(").replace("}}", ")");
            for start in plain.match_indices('{').map(|(at, _)| at) {
                let Some(found) = number
                    .captures(&plain[start..])
                    .filter(|found| found.get(0).unwrap().start() == 0)
                else {
                    continue;
                };
                let (of, first, after) = (&found[1], &found[2], &found[4]);
                let second = found.get(3).map_or("", |word| word.as_str());
                let words = match is_plural(first) {
                    true => format!("{of} {first}"),
                    false if NO_PLURALS.contains(&first) || no_adjectives.contains(&first) => continue,
                    false if is_plural(second) => format!("{of} {first} {second}"),
                    false => continue,
                };
                if fixed.is_match(of) || after.starts_with('/') || beyond.is_match(after) {
                    continue;
                }
                let excuse = NEVER_ONE
                    .iter()
                    .find(|excuse| excuse.0 == file && excuse.1 == words);
                match excuse {
                    Some(excuse) => {
                        needed.insert(excuse);
                    }
                    None => wrong.push(format!("src/{file}:{}: {words}", text.line)),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{} texts", wrong.join("\n"), wrong.len());
    let excuses: BTreeSet<_> = NEVER_ONE.iter().collect();
    let idle: Vec<_> = excuses.difference(&needed).collect();
    assert!(idle.is_empty(), "no text needs these excuses: {idle:?}");
}

#[test]
fn numbers_with_nouns_on_the_page_are_formatted_by_counted() {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/curate/assets");
    let number = Regex::new(r"\$\{(?:[^{}]|\{[^{}]*\})*\} ([a-z-]+)").unwrap();
    let mut scripts = 0;
    for entry in std::fs::read_dir(assets).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "js") {
            continue;
        }
        scripts += 1;
        let source = std::fs::read_to_string(&path).unwrap();
        for found in number.captures_iter(&source) {
            let shown = path.display();
            assert!(!is_plural(&found[1]), "{shown}: {}", &found[0]);
        }
    }
    assert!(scripts > 10, "{scripts}");
}

const ONE: &str = "{\"instruction\": \"Name a river that flows through Cologne.\", \"input\": \"\", \
                   \"output\": \"The Rhine.\"}\n";

#[test]
fn a_dataset_of_one_task_is_singular() {
    let dir = Dir::new();
    dir.write("one.jsonl", ONE);
    let run = |line: &str| ewe(&dir, &line.split(' ').collect::<Vec<_>>()).success();
    let made = run("init --db d.db --seeds one.jsonl");
    assert!(made.stdout().contains("1 seed task\n"), "{}", made.stdout());
    let stats = run("stats --db d.db").stdout();
    for line in [
        "dataset       1 task, 1 example\n",
        "\nclassification        0 tasks\n",
        "\nwithout input         1 example\n",
    ] {
        assert!(stats.contains(line), "{stats}");
    }
    let said = run("export --db d.db --format alpaca --out out.json").stderr();
    assert!(said.contains("out.json: 1 row of "), "{said}");
    let said = run("filter --db d.db --dry-run").stdout();
    assert!(said.contains("0 tasks would be rejected, 1 stays"), "{said}");
    run("report --db d.db --out report.html");
    let page = dir.read("report.html");
    for words in [
        "1 instruction; 1 of them has less than",
        "25 to 49: 1 instruction<",
        "Of 1 task, 1 begins with a verb",
    ] {
        assert!(page.contains(words), "{words}");
    }
    for found in Regex::new(r"\b1 ([a-z]+)").unwrap().captures_iter(&page) {
        // A verb in the singular is not a plural.
        assert!(&found[1] == "begins" || !is_plural(&found[1]), "{}", &found[0]);
    }
}

#[test]
fn a_file_of_one_row_is_singular() {
    let dir = Dir::new();
    dir.write("one.jsonl", ONE);
    dir.write("bad.jsonl", format!("{ONE}nonsense\n"));
    dir.write("word.jsonl", "{\"instruction\": \"Hello\", \"output\": \"x\"}\n");
    dir.write("none.jsonl", "{\"instruction\": \"\", \"output\": \"x\"}\n");
    dir.write("cells.csv", "instruction,output\nName a river.\n");
    let said = ewe(&dir, &["filter", "one.jsonl"]).success().stdout();
    assert!(said.contains("1 of 1 row kept"), "{said}");
    let line = ["filter", "bad.jsonl", "--keep-going", "--left-out", "left.jsonl"];
    let said = ewe(&dir, &line).success().stderr();
    assert!(
        said.contains("left out: 1 of 2 rows; it is in `left.jsonl`"),
        "{said}"
    );
    let said = ewe(&dir, &["init", "--db", "d.db", "--seeds", "word.jsonl"])
        .success()
        .stderr();
    assert!(said.contains("1 of 1 seed breaks a rule"), "{said}");
    assert!(said.contains("1 word, at least"), "{said}");
    let said = ewe(&dir, &["filter", "cells.csv"]).failure(1).stderr();
    assert!(said.contains("1 cell in a table of 2 columns"), "{said}");
    let said = ewe(&dir, &["import", "--db", "d.db", "none.jsonl", "--keep-going"])
        .failure(1)
        .stderr();
    assert!(
        said.contains("the only row cannot be read: none.jsonl:1"),
        "{said}"
    );
}

#[test]
fn a_run_for_one_task_is_singular() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    let at = ["--endpoint", &mock.url, "--endpoint-model", "mock"];
    let line = [&["generate", "--db", "d.db", "--target", "1"], &at[..]].concat();
    let said = ewe(&dir, &line).success().stdout();
    assert!(
        said.contains("d.db: 1 machine-made task, 1 of them new"),
        "{said}"
    );
    let line = [&["judge", "--db", "d.db", "--limit", "1"], &at[..]].concat();
    let said = ewe(&dir, &line).success().stdout();
    assert!(said.contains("1 of 1 instance judged by "), "{said}");
    assert!(said.contains("; 1 request, "), "{said}");
    let twice = [
        "generate",
        "--db",
        "d.db",
        "--target",
        "2",
        "--endpoint",
        &mock.url,
        "--endpoint-model",
        "a",
        "--endpoint-model",
        "b",
    ];
    let said = ewe(&dir, &twice).failure(1).stderr();
    assert!(
        said.contains("--endpoint-model is given 2 times for 1 endpoint\n"),
        "{said}"
    );
}

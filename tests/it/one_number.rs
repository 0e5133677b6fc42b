//! One number for one thing: what `generate` says, `stats`, the lists, the report and the page count
//! the same.

use serde_json::Value;

use crate::mock::Mock;
use crate::page::Page;
use crate::recipes::{ALPACA, arguments};
use crate::shell::{Dir, ewe as run};
use crate::support::{ewe, json};

/// The number before `words` in a text.
fn before(text: &str, words: &str) -> i64 {
    let start = text.split(words).next().unwrap_or_default();
    assert!(start.len() < text.len(), "no `{words}` in:\n{text}");
    let digits: String = start
        .chars()
        .rev()
        .take_while(|c| c.is_ascii_digit() || *c == ',')
        .filter(|c| *c != ',')
        .collect();
    digits.chars().rev().collect::<String>().parse().unwrap()
}

fn number(value: &Value, pointer: &str) -> i64 {
    let found = value.pointer(pointer);
    found
        .and_then(Value::as_i64)
        .unwrap_or_else(|| panic!("{pointer}: {value}"))
}

/// Grows a dataset in two runs, and returns what `generate` said of the rejected candidates.
fn grown() -> (Dir, i64) {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    let first = run(&dir, &arguments(&mock, "30", &ALPACA)).success().stdout();
    let more = [&ALPACA[..], &["--json"]].concat();
    let second = json(run(&dir, &arguments(&mock, "60", &more)));
    assert_eq!(number(&second, "/accepted"), 60);
    let by_reason = second["rejected_by_reason"].as_object().unwrap();
    let sum: i64 = by_reason.values().filter_map(Value::as_i64).sum();
    assert_eq!(number(&second, "/rejected"), sum);
    let rejected = before(&first, " candidates rejected");
    assert!(first.contains("30 machine-made tasks, 30 of them new"), "{first}");
    (dir, rejected + number(&second, "/rejected"))
}

#[test]
fn rejected_candidates_are_counted_alike_everywhere() {
    let (dir, said) = grown();
    let stats = json(ewe(&dir, &["stats", "--db", "d.db", "--json"]));
    let counts = &stats["candidates"];
    assert_eq!(number(counts, "/rejected"), said);
    let fell = number(counts, "/fell_with_instruction");
    assert!(fell > 0, "{counts}");
    assert_eq!(
        number(counts, "/accepted") + said + fell,
        number(counts, "/parsed")
    );
    let text = ewe(&dir, &["stats", "--db", "d.db"]).success().stdout();
    let parts = format!(" + {said} rejected + {fell} that fell with their instruction\n");
    assert!(text.contains(&parts), "{text}");

    // The lists have as many lines.
    let list = ewe(&dir, &["candidates", "--db", "d.db", "--limit", "1"]).success();
    assert_eq!(before(&list.stderr(), " rejected candidates"), said);
    let all = json(ewe(
        &dir,
        &["candidates", "--db", "d.db", "--json", "--limit", "100000"],
    ));
    assert_eq!(all.as_array().unwrap().len() as i64, said);

    // Report and page.
    ewe(&dir, &["report", "--db", "d.db", "--out", "r.html"]).success();
    let report = dir.read("r.html");
    let chart = format!("{said} of {} candidates were rejected", number(counts, "/parsed"));
    let page = Page::start(&dir, &[]);
    let (_, board) = page.get("/api/dashboard");
    assert_eq!(&board["figures"]["candidates"], counts);
    let drawn = board["charts"].as_array().unwrap();
    let reasons = drawn.iter().find(|chart| chart["name"] == "reasons").unwrap();
    for text in [report.as_str(), reasons["figure"].as_str().unwrap()] {
        assert!(text.contains(&chart), "{chart}\n{text}");
    }
    assert_eq!(before(&report, " did not, and"), said, "{report}");
    let (_, listed) = page.get(r#"/api/candidates/counts?filter={"alone":true}"#);
    assert_eq!(number(&listed, "/passing"), said);

    // A rescue is counted beside them.
    let id = all[0]["id"].to_string();
    ewe(&dir, &["rescue", "--db", "d.db", &id]).success();
    let (_, board) = page.get("/api/dashboard");
    let counts = &board["figures"]["candidates"];
    assert_eq!(
        (number(counts, "/rescued"), number(counts, "/rejected")),
        (1, said)
    );
    ewe(&dir, &["undo", "--db", "d.db"]).success();
    let stats = json(ewe(&dir, &["stats", "--db", "d.db", "--json"]));
    assert_eq!(number(&stats, "/candidates/rescued"), 0);
}

#[test]
fn tasks_examples_and_actions_are_counted_alike_everywhere() {
    let (dir, _) = grown();
    ewe(&dir, &["accept", "--db", "d.db", "216-225"]).success();
    ewe(&dir, &["reject", "--db", "d.db", "226-230", "3"]).success();
    let stats = json(ewe(&dir, &["stats", "--db", "d.db", "--json"]));
    let (tasks, examples) = (
        number(&stats, "/dataset/tasks"),
        number(&stats, "/dataset/examples"),
    );
    assert_eq!(
        number(&stats, "/dataset/accepted_examples") + number(&stats, "/dataset/pending_examples"),
        examples
    );
    let page = Page::start(&dir, &[]);
    let (_, board) = page.get("/api/dashboard");
    assert_eq!(board["figures"], stats);
    ewe(&dir, &["report", "--db", "d.db", "--out", "r.html"]).success();
    let lead = format!("<b>{tasks}</b> tasks with <b>{examples}</b> examples are in the dataset.");
    assert!(dir.read("r.html").contains(&lead), "{lead}");

    // Each review, as stats, list and page have it.
    let mut kept = 0;
    for review in ["pending", "accepted", "rejected"] {
        let of_stats: i64 = stats["origins"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| number(row, &format!("/{review}")))
            .sum();
        let (_, count) = page.get(&format!(r#"/api/count?filter={{"review":"{review}"}}"#));
        assert_eq!(number(&count, "/count"), of_stats, "{review}");
        let list = ewe(
            &dir,
            &["list", "--db", "d.db", "--review", review, "--limit", "1"],
        )
        .success();
        assert_eq!(before(&list.stderr(), " tasks"), of_stats, "{review}");
        kept += if review == "rejected" { 0 } else { of_stats };
    }
    assert_eq!(kept, tasks);

    // Where the charts lead is what they count.
    let drawn = board["charts"].as_array().unwrap();
    let figure = |name: &str| {
        let chart = drawn.iter().find(|chart| chart["name"] == name);
        chart.unwrap_or_else(|| panic!("{name}"))["figure"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let reviews = figure("reviews");
    let accepted = reviews
        .split("data-to=\"review=accepted&amp;origin=machine\" data-says=\"machine, accepted: ")
        .nth(1)
        .unwrap();
    let accepted: i64 = accepted.split('"').next().unwrap().parse().unwrap();
    let (_, count) = page.get(r#"/api/count?filter={"review":"accepted","origin":"machine"}"#);
    assert_eq!(number(&count, "/count"), accepted);
    assert!(
        figure("similarities").contains("similarity%20%3E%3D"),
        "{}",
        figure("similarities")
    );

    // What was done, in the log and on the page.
    let log = json(ewe(&dir, &["log", "--db", "d.db", "--json"]));
    let (_, latest) = page.get("/api/latest");
    assert_eq!(latest["action"]["group"], log[0]["group"], "{latest} {log}");
    assert_eq!(latest["action"]["tasks"], log[0]["tasks"], "{latest} {log}");
}

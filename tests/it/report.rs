//! Figures, charts and the report equal counts by SQL, whatever was done to the dataset.

use std::io::{BufRead, BufReader};

use serde_json::Value;

use crate::{
    shell::Dir,
    support::{ewe, filled, json, number},
};

fn stats(dir: &Dir) -> Value {
    json(ewe(dir, &["stats", "--db", "d.db", "--json"]))
}

fn report(dir: &Dir) -> String {
    ewe(dir, &["report", "--db", "d.db", "--out", "r.html"]).success();
    dir.read("r.html")
}

fn unescaped(html: &str) -> String {
    html.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&amp;", "&")
}

/// Name, figure and query of each row in the last table of the dataset card.
fn facts(report: &str) -> Vec<(String, i64, String)> {
    let queries = report.split("<summary>Queries</summary>").nth(1).unwrap();
    let rows = queries.split("<tr>").skip(2);
    rows.map(|row| {
        let cells: Vec<_> = row
            .split("<td")
            .skip(1)
            .map(|cell| unescaped(cell.split_once('>').unwrap().1.split("</td>").next().unwrap()))
            .collect();
        let figure = cells[1].replace(',', "").parse().unwrap();
        (cells[0].clone(), figure, cells[2].clone())
    })
    .collect()
}

/// Asserts that each figure equals its query; returns how many there are.
#[track_caller]
fn check_facts(dir: &Dir) -> usize {
    let facts = facts(&report(dir));
    for (what, figure, query) in &facts {
        assert_eq!(*figure, number(dir, query), "{what}: {query}");
    }
    facts.len()
}

/// A dataset with texts that a model could write to break charts and queries.
fn hostile() -> Dir {
    let dir = filled();
    dir.sql("update instance set output = '</svg><script>''\u{202e}\u{200d}' || char(1) where task_id = (select max(id) from task)");
    dir.sql("update run set model = 'x</title>\"''&' || char(27, 0, 8238) || '列出三种动物列出三种动物列出三种动物列出三种动物' where id = 2");
    dir.sql("update candidate set reason = ']]>--><b onload=x>''' where verdict = 'rejected' and kind = 'instruction'");
    dir.sql("update task set instruction = 'Write <b>bold</b> \u{202e}words' || char(0, 10) where id = 7");
    dir.sql("update task set instruction = 'Write a poem, ' || hex(zeroblob(50000)) where id = 8");
    dir
}

#[test]
fn every_figure_of_the_card_equals_its_query() {
    let dir = filled();
    let all = check_facts(&dir);
    assert!(all > 60, "{all} figures");
    // Not all figures are zero.
    let more = facts(&report(&dir))
        .iter()
        .filter(|(_, figure, _)| *figure > 0)
        .count();
    assert!(more > 40, "{more}");
    assert!(check_facts(&hostile()) > 60);
}

#[test]
fn figures_follow_every_change() {
    let dir = filled();
    stats(&dir);
    let last = number(&dir, "select max(id) from task");
    let mut random = 7_u64;
    let mut draw = |below: i64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as i64 % below
    };
    for round in 0..40 {
        let id = draw(last) + 1;
        let other = draw(last) + 1;
        let by_id = id.to_string();
        match round % 13 {
            0 => drop(dir.sql(&format!("update task set review = 'rejected' where id = {id}"))),
            1 => drop(dir.sql(&format!("update task set review = 'accepted' where id % {} = 0", draw(5) + 2))),
            2 => drop(dir.sql(&format!("update task set instruction = 'List a sheep.' || {id}, is_classification = 1 - is_classification where id = {id}"))),
            3 => drop(dir.sql(&format!("update instance set output = 'yes', input = output where task_id = {id}"))),
            4 => drop(dir.sql(&format!("insert into task (id, instruction, origin) values ({}, 'Shear {id} ewes.', 'import')", (round << 11) + 100_000))),
            5 => drop(dir.sql(&format!("update instance set task_id = {other}, ordinal = 9 + {round} where id = {id}"))),
            6 => drop(dir.sql(&format!("insert or replace into neighbor values ({id}, {other}, 1, 0.{})", draw(90) + 10))),
            7 => drop(dir.sql(&format!("insert into judgment (instance_id, run_id, request_id, model, instruction, input, output, score, reason) select instance.id, 2, 1, 'm{round}', instruction, input, output, 3, '' from instance join task on task.id = task_id where task_id = {id}"))),
            8 => drop(dir.sql(&format!("update candidate set verdict = 'rejected', reason = 'r{}', round = {id} where id = {}", draw(3), draw(7) + 1))),
            9 => drop(dir.sql(&format!("delete from instance where task_id = {id} and id not in (select instance_id from judgment) and id not in (select instance_id from revision where instance_id is not null)"))),
            10 => drop(ewe(&dir, &["reject", "--db", "d.db", &by_id])),
            11 => drop(ewe(&dir, &["undo", "--db", "d.db"])),
            _ => drop(ewe(&dir, &["edit", "--db", "d.db", &by_id, "--instruction", "Knit a scarf."])),
        }
        if round % 3 == 0 {
            let kept = stats(&dir);
            dir.sql("delete from tally");
            assert_eq!(kept, stats(&dir), "after change {round}");
        }
    }
    check_facts(&dir);
    // A tally is valid for its version only, and an unreadable one is recounted.
    let right = stats(&dir);
    dir.sql("update tally set counts = '{\"nonsense\": 1}'");
    assert_eq!(stats(&dir), right);
    dir.sql("update tally set counts = replace(counts, '1', '2'), version = version + 1");
    assert_eq!(stats(&dir), right);
}

#[test]
fn tallies_are_kept_and_can_be_missing() {
    let dir = filled();
    let right = stats(&dir);
    assert!(number(&dir, "select count(*) from tally") > 0);
    // Kept tallies are used: a wrong tally that claims to be valid shows.
    dir.sql("update tally set counts = json_set(counts, '$.with_input', 99) where subject = 'task'");
    assert_eq!(stats(&dir)["balance"]["with_input"], 99);
    dir.sql("delete from tally");
    // While another process writes, no tally can be kept, and everything is counted.
    let file = dir.path("d.db");
    let mut held = std::process::Command::new("python3")
        .args(["-c", "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('begin immediate'); print(1, flush=True); input()"])
        .arg(file)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(held.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(stats(&dir), right);
    held.kill().unwrap();
    held.wait().unwrap();
    assert_eq!(number(&dir, "select count(*) from tally"), 0);
}

/// Names of the elements in order of their start tags. Panics if an element is not closed where it
/// should be.
#[track_caller]
fn elements(xml: &str) -> Vec<String> {
    let (mut open, mut all) = (Vec::new(), Vec::new());
    for tag in xml.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').expect("a tag ends");
        let name = tag
            .trim_matches('/')
            .split_whitespace()
            .next()
            .unwrap()
            .to_owned();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "in {xml}");
        } else {
            all.push(name.clone());
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
    }
    assert!(open.is_empty(), "{open:?} in {xml}");
    all
}

#[test]
fn charts_are_well_formed_labelled_and_inert() {
    for (dir, least) in [(Dir::with_dataset(), 7), (filled(), 12), (hostile(), 12)] {
        let report = report(&dir);
        let figures: Vec<_> = report
            .split_inclusive("</figure>")
            .filter_map(|part| part.find("<figure").map(|at| &part[at..]))
            .collect();
        assert!(figures.len() >= least, "{}", figures.len());
        for figure in figures {
            let all = elements(figure);
            for element in [
                "figcaption",
                "svg",
                "title",
                "desc",
                "details",
                "table",
                "caption",
            ] {
                assert!(all.iter().any(|name| name == element), "no {element} in {figure}");
            }
            for element in ["script", "b", "a", "image", "foreignObject", "style"] {
                assert!(!all.iter().any(|name| name == element), "{element} in {figure}");
            }
            // Styles are classes, since the page's policy allows nothing else.
            assert!(!figure.contains(" style=") && figure.contains("role=\"img\""));
            let is_hidden = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
            assert!(!figure.contains(is_hidden));
        }
        let policy = "content=\"default-src 'none'; style-src 'unsafe-inline'\"";
        assert!(report.contains(policy) && !report.contains("<script"));
    }
}

#[test]
fn an_empty_dataset_has_a_report() {
    let dir = Dir::with_dataset();
    dir.sql("update task set review = 'rejected'");
    assert_eq!(stats(&dir)["dataset"]["examples"], 0);
    assert!(report(&dir).contains("<b>0</b> tasks with <b>0</b> examples"));
    check_facts(&dir);
}

#[test]
fn a_report_appears_whole_or_not_at_all() {
    let dir = filled();
    dir.write("r.html", "what was there");
    let out = crate::shell::ewe_limited(&dir, 100, &["report", "--db", "d.db", "--out", "r.html"]).failure(1);
    assert!(out.stderr().contains("r.html"), "{}", out.stderr());
    assert_eq!(dir.read("r.html"), "what was there");
}

//! `ewe filter` over several files, and over more rows than memory holds.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::filter::many_rows;
use crate::shell::{self, Dir, command, ewe};
use crate::waiting::until;

/// Filters near-duplicates only. Returns what is printed.
#[track_caller]
fn filter(dir: &Dir, input: &str, more: &str) -> Value {
    let line = format!("filter {input} --rules none --json {}", more.trim());
    let said = ewe(dir, &shell::words(&line)).success().stdout();
    serde_json::from_str(&said).unwrap()
}

fn hidden(dir: &Dir) -> Vec<String> {
    let mut names = dir.entries();
    names.retain(|name| name.starts_with(".ewe-"));
    names
}

#[test]
fn little_memory_gives_the_same_verdicts_in_more_parts() {
    let dir = Dir::new();
    dir.write("rows.jsonl", many_rows(6000));
    let whole = filter(&dir, "rows.jsonl", "--out kept.jsonl --verdicts v.jsonl");
    assert_eq!(whole["parts"], Value::Null);
    let mut parts = Vec::new();
    for memory in ["8GB", "1MB", "0.2MB"] {
        let parted = filter(
            &dir,
            "rows.jsonl",
            &format!("--memory {memory} --out less.jsonl --verdicts less-v.jsonl"),
        );
        for name in ["rows", "accepted", "rejected"] {
            assert_eq!(parted[name], whole[name], "{memory}");
        }
        assert!(dir.read("less.jsonl") == dir.read("kept.jsonl"), "{memory}");
        assert!(dir.read("less-v.jsonl") == dir.read("v.jsonl"), "{memory}");
        assert_eq!(hidden(&dir), [""; 0]);
        parts.push(parted["parts"].as_u64().unwrap());
    }
    assert_eq!(parts[0], 1);
    assert!(parts[1] > 1 && parts[2] > parts[1], "{parts:?}");
}

#[test]
fn rules_evaluation_data_and_rows_left_out_are_the_same_in_parts() {
    let dir = Dir::new();
    let mut rows = many_rows(1500);
    rows.push_str("{\"instruction\": \"half a\n");
    rows.push_str(&many_rows(3000));
    rows.push_str(r#"{"instruction":"Draw a picture of a small cat","input":"","output":"Meow"}"#);
    dir.write("rows.jsonl", rows);
    dir.write("eval.jsonl", many_rows(40));
    for rules in ["none", "default"] {
        let run = |out: &str, more: &str| {
            let line = format!(
                "filter rows.jsonl --rules {rules} --against eval.jsonl --keep-going --left-out {out}.left \
                 --verdicts {out}.verdicts --out {out}.jsonl {more}"
            );
            ewe(&dir, &shell::words(line.trim())).success()
        };
        let whole = run("whole", "");
        let parted = run("parted", "--memory 0.2MB");
        assert!(parted.stdout().contains("; compared in "), "{}", parted.stdout());
        let left_out = |said: String, name: &str| -> Vec<String> {
            let lines = said.lines().filter(|line| line.starts_with("left out"));
            lines.map(|line| line.replace(name, "")).collect()
        };
        assert_eq!(
            left_out(parted.stderr(), "parted"),
            left_out(whole.stderr(), "whole")
        );
        for kind in ["left", "verdicts", "jsonl"] {
            assert!(
                dir.read(&format!("parted.{kind}")) == dir.read(&format!("whole.{kind}")),
                "{rules} {kind}"
            );
        }
        assert!(dir.read("whole.verdicts").contains("\"malformed\""));
    }
    let out = ewe(
        &dir,
        &shell::words("filter rows.jsonl --memory 0.2MB --out new.jsonl"),
    );
    let said = out.failure(1).stderr();
    assert!(
        said.contains("rows.jsonl:1501") && said.contains("hint: --keep-going"),
        "{said}"
    );
    assert!(!dir.path("new.jsonl").exists());
    assert_eq!(hidden(&dir), [""; 0]);
}

/// Each part that is written has been computed; after a kill, only the others are.
#[test]
fn a_killed_filter_goes_on_after_the_parts_it_finished() {
    let dir = Dir::new();
    dir.write("rows.jsonl", many_rows(8000));
    filter(&dir, "rows.jsonl", "--out kept.jsonl --verdicts v.jsonl");
    let line = "filter rows.jsonl --rules none --memory 0.2MB --scratch work --out less.jsonl --verdicts less-v.jsonl";
    std::fs::create_dir(dir.path("work")).unwrap();
    let finished = |part: usize| {
        let folders = std::fs::read_dir(dir.path("work")).unwrap().flatten();
        folders
            .map(|folder| folder.path().join(format!("verdicts-{part}.zst")))
            .any(|path| path.exists())
    };
    // Killed twice, so that a run that goes on is killed, too.
    for part in [1, 3] {
        let mut child = command(&dir, &shell::words(line))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("a part that is finished", || {
            finished(part) || child.try_wait().unwrap().is_some()
        });
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success(), "it was killed before its end");
        assert!(!dir.path("less.jsonl").exists() && finished(0));
    }
    // With other options, the finished parts are of no use.
    let other = line.replace("less", "other").replace("0.2MB", "0.3MB") + " --threshold 0.8";
    let said = ewe(&dir, &shell::words(&other)).success().stderr();
    assert!(!said.contains("going on"), "{said}");
    assert!(finished(0), "those of another output stay");
    // Another amount of memory makes no difference.
    let said = ewe(&dir, &shell::words(&line.replace("0.2MB", "0.3MB")))
        .success()
        .stderr();
    assert!(said.contains("going on after "), "{said}");
    assert!(dir.read("less.jsonl") == dir.read("kept.jsonl"));
    assert!(dir.read("less-v.jsonl") == dir.read("v.jsonl"));
    assert_eq!(std::fs::read_dir(dir.path("work")).unwrap().count(), 0);
}

#[test]
fn a_full_disk_ends_a_filter_in_parts_and_leaves_nothing() {
    let dir = Dir::new();
    dir.write("rows.jsonl", many_rows(6000));
    dir.write("v.jsonl", "what was there before");
    let line = "filter rows.jsonl --rules none --memory 0.2MB --verdicts v.jsonl";
    let said = shell::ewe_limited(&dir, 40, &shell::words(line))
        .failure(1)
        .stderr();
    assert!(
        said.contains("cannot write `") && said.contains("File too large"),
        "{said}"
    );
    assert_eq!(dir.read("v.jsonl"), "what was there before");
    assert_eq!(hidden(&dir), [""; 0]);
}

#[test]
fn parts_are_read_and_written_in_every_type() {
    let dir = Dir::new();
    dir.write("rows.jsonl", many_rows(3000));
    filter(&dir, "rows.jsonl", "--out kept.jsonl");
    let rows = |text: &str| -> Vec<Value> {
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let kept = rows(&dir.read("kept.jsonl"));
    for ending in ["jsonl", "jsonl.gz", "jsonl.zst", "json", "parquet"] {
        // Nothing is above a similarity of 1: all rows stay.
        let made = filter(
            &dir,
            "rows.jsonl",
            &format!("--threshold 1 --out in.{ending} --rows-per-file 700"),
        );
        assert_eq!(made["files"], 5);
        let parts: Vec<String> = (0..5).map(|part| format!("part-0000{part}.{ending}")).collect();
        let mut names: Vec<String> = std::fs::read_dir(dir.path(&format!("in.{ending}")))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, parts);
        for (out, memory) in [("a", ""), ("b", "--memory 0.3MB")] {
            let more = format!("{memory} --out {out}.{ending} --rows-per-file 999 --verdicts {out}.v");
            let done = filter(&dir, &format!("in.{ending}"), &more);
            assert_eq!(done["accepted"], kept.len());
            assert_eq!(done["files"], kept.len().div_ceil(999));
            filter(&dir, &format!("{out}.{ending}"), "--threshold 1 --out read.jsonl");
            assert_eq!(rows(&dir.read("read.jsonl")), kept, "{ending}");
        }
        assert!(dir.read("a.v") == dir.read("b.v"), "{ending}");
        let verdicts = rows(&dir.read("a.v"));
        let place = |row: usize| (format!("in.{ending}/{}", parts[row / 700]), row % 700);
        for (row, verdict) in verdicts.iter().enumerate() {
            let (source, number) = place(row);
            assert_eq!(
                (&verdict["source"], &verdict["row"]),
                (&json!(source), &json!(number))
            );
        }
    }
    let both = filter(&dir, "in.parquet in.jsonl", "--out both.jsonl");
    assert_eq!(both["rows"], 6000);
    assert_eq!(rows(&dir.read("both.jsonl")), kept);
    let said = ewe(&dir, &shell::words("filter in.parquet in.jsonl --out x.parquet"));
    let said = said.failure(1).stderr();
    assert!(
        said.contains("the columns of `in.jsonl/part-00000.jsonl` are not those of the first file")
            && said.contains("hint: JSON lines"),
        "{said}"
    );
    let again = ewe(
        &dir,
        &shell::words("filter rows.jsonl --out a.parquet --rows-per-file 5"),
    );
    assert!(again.failure(1).stderr().contains("cannot write `a.parquet`"));
}

/// The commands of docs/large-files.md for a cluster: a part is filled, then all blocks behind it are
/// compared with it, each on a machine of its own.
#[test]
fn blocks_on_several_machines_keep_the_rows_of_one() {
    let dir = Dir::new();
    dir.write("rows.jsonl", many_rows(3000));
    filter(&dir, "rows.jsonl", "--out kept.jsonl");
    filter(
        &dir,
        "rows.jsonl",
        "--threshold 1 --out blocks.jsonl --rows-per-file 800",
    );
    let blocks: Vec<String> = (0..4)
        .map(|block| format!("blocks.jsonl/part-0000{block}.jsonl"))
        .collect();
    let mut kept = String::new();
    for i in 0..blocks.len() {
        filter(&dir, &blocks[i], "--out part.jsonl");
        kept += &dir.read("part.jsonl");
        for block in &blocks[i + 1..] {
            filter(&dir, block, "--against part.jsonl --apart --out rest.jsonl");
            std::fs::rename(dir.path("rest.jsonl"), dir.path(block)).unwrap();
        }
    }
    assert!(kept == dir.read("kept.jsonl"));
}

#[test]
fn hostile_rows_are_filtered_in_parts() {
    let dir = Dir::new();
    let row = |text: &str, input: usize| {
        json!({"instruction": text, "input": format!("{input}"), "output": "x"}).to_string() + "\n"
    };
    // One row is far longer than a part may be.
    let long: String = (0..100_000u64)
        .map(|n| format!("w{} ", n * n % 999_983))
        .collect();
    dir.write(
        "long.jsonl",
        many_rows(500) + &row(&long, 0) + &many_rows(900) + &row(&long, 1) + &row(&long, 0),
    );
    let name = |word: String| format!("Name the capital of a country that begins with {word}");
    dir.write(
        "same.jsonl",
        (0..4000)
            .map(|n| row(&name("A".into()), n % 3))
            .collect::<String>(),
    );
    dir.write(
        "one-word-apart.jsonl",
        (0..4000)
            .map(|n| row(&name(format!("w{n}")), 0))
            .collect::<String>(),
    );
    for (file, kept) in [
        ("long.jsonl", None),
        ("same.jsonl", Some(3)),
        ("one-word-apart.jsonl", Some(1)),
    ] {
        let whole = filter(&dir, file, "--out kept.jsonl --verdicts v.jsonl");
        let parted = filter(
            &dir,
            file,
            "--memory 0.1MB --out less.jsonl --verdicts less-v.jsonl",
        );
        assert_eq!(parted["accepted"], whole["accepted"], "{file}");
        assert!(
            kept.is_none_or(|kept| parted["accepted"] == kept),
            "{file}: {parted}"
        );
        assert!(dir.read("less.jsonl") == dir.read("kept.jsonl"), "{file}");
        assert!(dir.read("less-v.jsonl") == dir.read("v.jsonl"), "{file}");
    }
}

#[test]
fn what_cannot_be_done_in_parts_is_refused() {
    let dir = Dir::new();
    dir.write("rows.jsonl", many_rows(3000));
    for line in [
        "filter rows.jsonl --memory 1GB --nearest --verdicts v",
        "filter --db d.db --memory 1GB",
        "filter rows.jsonl --scratch x",
        "filter rows.jsonl --apart",
        "filter rows.jsonl --rows-per-file 5",
        "filter rows.jsonl --out x --rows-per-file 0",
        "filter rows.jsonl --memory 0",
    ] {
        ewe(&dir, &shell::words(line)).failure(2);
    }
    let said = ewe(
        &dir,
        &shell::words("filter rows.jsonl --memory 0.1MB --scratch nowhere --out x.jsonl"),
    );
    let said = said.failure(1).stderr();
    assert!(said.contains("cannot make `nowhere/"), "{said}");
    // Standard input is read once only, and within the limit.
    let mut piped = command(&dir, &shell::words("filter - --rules none --memory 0.1MB"));
    piped.stdin(std::fs::File::open(dir.path("rows.jsonl")).unwrap());
    let said = shell::ran(piped).failure(1).stderr();
    assert!(
        said.contains("do not fit into --memory") && said.contains("hint: write them to a file"),
        "{said}"
    );
}

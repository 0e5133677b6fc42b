//! Settings files without an end, too deeply nested, or invalid: errors name them, and come soon.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::shell::{Dir, Ran, ewe, ran};

/// Runs `ewe` with 2 GB of address space, for at most a minute.
fn limited(dir: &Dir, arguments: &[&str]) -> Ran {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -v 2000000; exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_ewe"))
        .args(arguments)
        .current_dir(dir.path(""))
        // Each thread takes addresses, and there may be one for each core.
        .envs(["RAYON_NUM_THREADS", "TOKIO_WORKER_THREADS", "MALLOC_ARENA_MAX"].map(|name| (name, "2")))
        .stdin(Stdio::null());
    let started = Instant::now();
    let ran = ran(shell);
    assert!(started.elapsed() < Duration::from_secs(60), "{arguments:?}");
    ran
}

#[track_caller]
fn says(ran: Ran, words: &[&str]) {
    let message = ran.failure(1).stderr();
    assert!(
        message.starts_with("error: ") && message.len() < 1000,
        "{message}"
    );
    for word in words {
        assert!(message.contains(word), "{message:?} does not say {word:?}");
    }
}

/// Each option that reads a settings file, in a command that gets so far.
const OPTIONS: [(&str, &str); 4] = [
    ("--rules", "filter rows.jsonl"),
    (
        "--recipe-file",
        "generate --db d.db --target 1 --endpoint http://127.0.0.1:9 --endpoint-model m",
    ),
    (
        "--topics",
        "generate --db d.db --target 1 --endpoint http://127.0.0.1:9 --endpoint-model m",
    ),
    (
        "--extra-body",
        "generate --db d.db --target 1 --endpoint http://127.0.0.1:9 --endpoint-model m",
    ),
];

#[test]
fn endless_settings_are_refused_by_size() {
    let dir = Dir::with_dataset();
    dir.write("rows.jsonl", "{\"instruction\": \"a b\", \"output\": \"c\"}\n");
    dir.write("open.toml", "[".repeat(3 << 20));
    std::os::unix::fs::symlink("/dev/zero", dir.path("link")).unwrap();
    for (option, command) in OPTIONS {
        for file in ["/dev/zero", "link"] {
            let arguments: Vec<&str> = command.split(' ').chain([option, file]).collect();
            says(limited(&dir, &arguments), &[file, "more than", "MiB", "hint:"]);
        }
    }
    for (option, command) in &OPTIONS[..2] {
        let arguments: Vec<&str> = command.split(' ').chain([*option, "open.toml"]).collect();
        says(limited(&dir, &arguments), &["open.toml", "more than 1 MiB"]);
    }
}

#[test]
fn deeply_nested_settings_are_refused() {
    let dir = Dir::with_dataset();
    dir.write("rows.jsonl", "{\"instruction\": \"a b\", \"output\": \"c\"}\n");
    for deep in [
        format!("x={}", "[".repeat(900_000)),
        format!("x={}", "{a=".repeat(300_000)),
        format!("[{}a]", "a.".repeat(300_000)),
        format!("{}a=1", "a.".repeat(300_000)),
    ] {
        dir.write("deep.toml", deep);
        for (option, command) in &OPTIONS[..2] {
            let arguments: Vec<&str> = command.split(' ').chain([*option, "deep.toml"]).collect();
            says(limited(&dir, &arguments), &["deep.toml:1", "hint:"]);
        }
    }
    dir.write("deep.json", format!("{{\"a\": {}", "[".repeat(1_000_000)));
    let arguments: Vec<&str> = OPTIONS[3]
        .1
        .split(' ')
        .chain(["--extra-body", "deep.json"])
        .collect();
    says(limited(&dir, &arguments), &["deep.json", "recursion"]);
}

#[test]
fn settings_may_come_through_a_pipe() {
    let dir = Dir::new();
    dir.write("rows.jsonl", "{\"instruction\": \"a b\", \"output\": \"c\"}\n");
    dir.write("rules.toml", "base = \"none\"\n");
    let mut shell = Command::new("sh");
    shell
        .args([
            "-c",
            "cat rules.toml | \"$0\" filter rows.jsonl --rules /dev/stdin",
        ])
        .arg(env!("CARGO_BIN_EXE_ewe"))
        .current_dir(dir.path(""));
    ran(shell).success();
}

#[test]
fn an_endless_line_is_an_error() {
    let dir = Dir::with_dataset();
    let batch =
        "generate --db d.db --target 1 --endpoint-model m --batch-file out.jsonl --batch-results /dev/zero";
    let arguments: Vec<&str> = batch.split(' ').collect();
    says(limited(&dir, &arguments), &["/dev/zero", "line 1 has no end"]);
    assert!(!dir.path("out.jsonl").exists());
    // A row, as lines and as an array: `xxx…`.
    for begin in [
        "{\"instruction\": \"a\", \"output\": \"",
        "[{\"instruction\": \"a\", \"output\": \"",
    ] {
        dir.write("begin", begin);
        let mut shell = Command::new("sh");
        let line = "ulimit -v 2000000; (cat begin; tr '\\0' x < /dev/zero) | \"$0\" filter - --rules none";
        shell
            .args(["-c", line])
            .arg(env!("CARGO_BIN_EXE_ewe"))
            .current_dir(dir.path(""));
        says(ran(shell), &["the row at line 1 has no end"]);
    }
}

#[test]
fn errors_show_only_part_of_a_long_line() {
    let dir = Dir::new();
    dir.write("rows.jsonl", "{\"instruction\": \"a b\", \"output\": \"c\"}\n");
    dir.write("long.toml", format!("base = none # {}\n", "so ".repeat(9000)));
    says(
        ewe(&dir, &["filter", "rows.jsonl", "--rules", "long.toml"]),
        &["long.toml:1", "`base = none # so so", "…`", "docs/rules.md"],
    );
}

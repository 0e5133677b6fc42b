//! Outputs never replace a dataset or an input, are complete or absent, and keep file modes.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::CommandFactory;
use ewe::cli::Cli;
use ewe::cli::args::paths;

use crate::shell::{Dir, ewe, ran, signal};
use crate::waiting::{pause, until};

const ROWS: &str = "{\"instruction\":\"Name the capital of France\",\"input\":\"\",\"output\":\"Paris\"}\n\
                    {\"instruction\":\"Explain how rain forms\",\"input\":\"\",\"output\":\"Vapour cools\"}\n";

fn mode(dir: &Dir, name: &str) -> u32 {
    dir.path(name).metadata().unwrap().mode() & 0o777
}

fn set_mode(dir: &Dir, name: &str, mode: u32) {
    std::fs::set_permissions(dir.path(name), PermissionsExt::from_mode(mode)).unwrap();
}

/// The names in the directory, sorted, without SQLite's files, which an error may leave until the
/// dataset is opened next.
fn entries(dir: &Dir) -> Vec<String> {
    let mut names = dir.entries();
    names.retain(|name| !name.ends_with(".db-wal") && !name.ends_with(".db-shm"));
    names
}

/// Command lines that write a file, with `OUT` in place of its name.
const WRITERS: [&str; 7] = [
    "export --db d.db --format alpaca --out OUT",
    "export --db d.db --format parquet --out OUT",
    "report --db d.db --out OUT",
    "filter rows.jsonl --out OUT",
    "filter rows.jsonl --verdicts OUT",
    "filter --db d.db --verdicts OUT",
    "backup --db d.db --out OUT",
];

/// An output name that fits such a command line.
fn named(writer: &str, stem: &str) -> String {
    match writer.contains("parquet") {
        true => format!("{stem}.parquet"),
        false => format!("{stem}.json"),
    }
}

#[test]
fn no_output_overwrites_a_dataset() {
    let dir = Dir::with_dataset();
    dir.write("rows.jsonl", ROWS);
    std::fs::create_dir(dir.path("sub")).unwrap();
    ewe(&dir, &["init", "--db", "other.db"]).success();
    symlink("other.db", dir.path("link")).unwrap();
    symlink("link", dir.path("link-to-link.jsonl")).unwrap();
    std::fs::hard_link(dir.path("d.db"), dir.path("hard.json")).unwrap();
    std::fs::hard_link(dir.path("d.db"), dir.path("hard.parquet")).unwrap();
    for name in ["d.db-wal", "other.db-shm"] {
        // These files exist only while a dataset is open; their names alone are enough.
        assert!(!dir.path(name).exists());
    }
    let names = [
        "d.db",
        "./d.db",
        "sub/../d.db",
        "other.db",
        "link",
        "link-to-link.jsonl",
        "hard.json",
        // The name before is not one for Parquet.
        "hard.parquet",
        "d.db-wal",
        "d.db-shm",
        "d.db-journal",
        "d.db.lock",
        "other.db.lock",
        "other.db.judge.lock",
        "other.db.import.lock",
    ];
    let tasks = dir.sql("select count(*) from task");
    let there = entries(&dir);
    let batch = "generate --db other.db --target 1 --endpoint-model m --batch-file OUT";
    for (number, writer) in WRITERS.into_iter().chain([batch]).enumerate() {
        // The names are compared in one place: the first writer is refused all of them, every other
        // one some.
        let is_tried = |at: usize| number == 0 || at == 0 || at % 4 == number % 4;
        for (_, name) in names.into_iter().enumerate().filter(|(at, _)| is_tried(*at)) {
            let line = writer.replace("OUT", name);
            let arguments: Vec<&str> = line.split(' ').collect();
            let out = ewe(&dir, &arguments).failure(1);
            let said = out.stderr();
            assert!(said.contains(name) && said.contains("hint: "), "{line}: {said}");
            assert_eq!(out.stdout(), "", "{line}");
        }
        // Tallies are kept in the dataset, so its bytes may differ.
        assert_eq!(dir.sql("select count(*) from task"), tasks, "{writer}");
        ewe(&dir, &["check", "--db", "other.db"]).success();
        assert_eq!(entries(&dir), there, "{writer}");
    }
}

#[test]
fn a_database_log_is_recognized_by_its_content() {
    let dir = Dir::with_dataset();
    // An open reader keeps the log and its index.
    let url = format!("sqlite://{}", dir.path("d.db").display());
    crate::support::block_on(async {
        use sqlx::{Connection, SqliteConnection};
        let mut reader = SqliteConnection::connect(&url).await.unwrap();
        sqlx::query("select count(*) from task")
            .execute(&mut reader)
            .await
            .unwrap();
        ewe(&dir, &["reject", "--db", "d.db", "3"]).success();
        for (file, name) in [("d.db-wal", "log.json"), ("d.db-shm", "index.json")] {
            std::fs::hard_link(dir.path(file), dir.path(name)).unwrap();
            let out = ewe(&dir, &["report", "--db", "d.db", "--out", name]).failure(1);
            assert!(out.stderr().contains(name), "{}", out.stderr());
        }
        reader.close().await.unwrap();
    });
    assert_eq!(dir.sql("pragma integrity_check"), [["ok"]]);
}

#[test]
fn an_output_may_not_be_an_input_or_another_output() {
    let dir = Dir::with_dataset();
    dir.write("rows.jsonl", ROWS);
    dir.write("rules.toml", "base = \"none\"\n");
    dir.write("out.jsonl", "");
    symlink("rows.jsonl", dir.path("link.jsonl")).unwrap();
    std::fs::hard_link(dir.path("rows.jsonl"), dir.path("hard.jsonl")).unwrap();
    for line in [
        "filter rows.jsonl --out rows.jsonl",
        "filter rows.jsonl --out ./rows.jsonl",
        "filter rows.jsonl --out link.jsonl",
        "filter hard.jsonl --verdicts rows.jsonl",
        "filter rows.jsonl --rules rules.toml --out rules.toml",
        "filter out.jsonl --against rows.jsonl --out rows.jsonl",
        "filter rows.jsonl --out new.jsonl --verdicts ./new.jsonl",
        "filter rows.jsonl --out out.jsonl --verdicts out.jsonl",
        "generate --db d.db --target 1 --endpoint-model m --batch-file out.jsonl --batch-results out.jsonl",
        "complete --model m --prompts rows.jsonl --out rows.jsonl",
        "score --model m --data rows.jsonl --out hard.jsonl",
        "train --data rows.jsonl --model sub --out sub",
        "merge --model sub --adapter a --out sub/.",
    ] {
        std::fs::create_dir_all(dir.path("sub")).unwrap();
        let arguments: Vec<&str> = line.split(' ').collect();
        let said = ewe(&dir, &arguments).failure(1).stderr();
        assert!(
            said.contains("are the same") && said.contains("hint: "),
            "{line}: {said}"
        );
    }
    assert_eq!(dir.read("rows.jsonl"), ROWS);
    // Pipes and devices may be input and output.
    ewe(
        &dir,
        &[
            "filter",
            "rows.jsonl",
            "--out",
            "/dev/null",
            "--verdicts",
            "/dev/null",
        ],
    )
    .success();
}

/// Every new option that takes a path must say whether it writes.
#[test]
fn every_path_option_says_whether_it_writes() {
    const INPUTS: &[&str] = &[
        "adapter",
        "against",
        "batch_results",
        "data",
        "db",
        "endpoints",
        "eval_data",
        "evaluation",
        "extra_body",
        "file",
        "first",
        "model",
        // Of `ewe recipe`.
        "of",
        "others",
        "paths",
        "prompts",
        "punkt",
        "recipe_file",
        "rubric",
        "run_dir",
        // Its own folder is hidden there, and gone at the end.
        "scratch",
        "seeds",
        "template_file",
        "token_file",
        "topics",
        "workload",
        "training_data",
    ];
    let path = clap::value_parser!(PathBuf).type_id();
    for command in Cli::command().get_subcommands() {
        for argument in command.get_arguments() {
            let id = argument.get_id().as_str();
            if argument.get_value_parser().type_id() != path {
                continue;
            }
            let name = format!("{} {id}", command.get_name());
            assert!(
                paths::is_path(argument),
                "{name}: its value is called neither FILE nor DIR"
            );
            assert!(paths::OUTPUTS.contains(&id) != INPUTS.contains(&id), "{name}");
        }
    }
}

#[test]
fn a_replaced_file_keeps_its_mode_and_a_backup_gets_the_dataset_s() {
    let dir = Dir::with_dataset();
    dir.write("rows.jsonl", ROWS);
    ewe(&dir, &["report", "--db", "d.db", "--out", "new"]).success();
    dir.write("plain", "");
    assert_eq!(mode(&dir, "new"), mode(&dir, "plain"), "what a new file gets");
    for (at, writer) in WRITERS
        .iter()
        .filter(|writer| !writer.starts_with("backup"))
        .enumerate()
    {
        for wanted in [0o600, 0o640, 0o664] {
            let name = named(writer, &format!("out{at}"));
            dir.write(&name, "what was there");
            set_mode(&dir, &name, wanted);
            let line = writer.replace("OUT", &name);
            ewe(&dir, &line.split(' ').collect::<Vec<_>>()).success();
            assert_eq!(mode(&dir, &name), wanted, "{writer}");
            assert_ne!(std::fs::read(dir.path(&name)).unwrap(), b"what was there");
        }
    }
    for wanted in [0o600, 0o640] {
        set_mode(&dir, "d.db", wanted);
        let name = format!("copy{wanted:o}.db");
        ewe(&dir, &["backup", "--db", "d.db", "--out", &name]).success();
        assert_eq!(mode(&dir, &name), wanted);
    }
    // A backup is a new file. It grants no rights that the umask of the process withholds.
    for (of_dataset, mask, wanted) in [
        (0o644, "077", 0o600),
        (0o666, "027", 0o640),
        (0o664, "002", 0o664),
    ] {
        set_mode(&dir, "d.db", of_dataset);
        let mut shell = Command::new("sh");
        shell
            .args([
                "-c",
                "umask $1; exec \"$0\" backup --db d.db --out copy$1.db",
                env!("CARGO_BIN_EXE_ewe"),
                mask,
            ])
            .current_dir(dir.path("."));
        ran(shell).success();
        assert_eq!(mode(&dir, &format!("copy{mask}.db")), wanted, "umask {mask}");
    }
}

#[test]
fn a_symbolic_link_stays_and_its_target_is_written() {
    let dir = Dir::with_dataset();
    std::fs::create_dir(dir.path("sub")).unwrap();
    dir.write("sub/old.json", "old");
    symlink("sub/old.json", dir.path("one.json")).unwrap();
    symlink("sub/new.json", dir.path("two.json")).unwrap();
    for (link, file) in [("one.json", "sub/old.json"), ("two.json", "sub/new.json")] {
        ewe(
            &dir,
            &["export", "--db", "d.db", "--format", "alpaca", "--out", link],
        )
        .success();
        assert!(dir.path(link).symlink_metadata().unwrap().is_symlink());
        assert!(dir.read(file).contains("instruction"));
    }
    // A file that the shell has opened is appended to.
    let mut shell = Command::new("sh");
    shell
        .args([
            "-c",
            "exec \"$0\" report --db d.db --out /dev/stdout >> log",
            env!("CARGO_BIN_EXE_ewe"),
        ])
        .current_dir(dir.path("."));
    dir.write("log", "before\n");
    ran(shell).success();
    assert!(dir.read("log").starts_with("before\n<!doctype html>"));
    assert!(
        std::path::Path::new("/dev/stdout")
            .symlink_metadata()
            .unwrap()
            .is_symlink()
    );
}

#[test]
fn errors_name_the_path_that_was_given() {
    let dir = Dir::with_dataset();
    dir.write("rows.jsonl", ROWS);
    let others = [
        "init --db OUT",
        "filter rows.jsonl --keep-going --left-out OUT",
        "generate --db d.db --target 1 --endpoint-model m --batch-file OUT",
    ];
    for writer in WRITERS.into_iter().chain(others) {
        let name = named(writer, "no/such/x");
        let line = writer.replace("OUT", &name);
        let said = ewe(&dir, &line.split(' ').collect::<Vec<_>>())
            .failure(1)
            .stderr();
        assert!(
            said.contains(&format!("`{name}`: No such file")) && !said.contains(".ewe-"),
            "{line}: {said}"
        );
        assert!(
            said.contains("\nhint: make its directory first"),
            "{line}: {said}"
        );
    }
}

/// Starts `ewe filter` and waits until it has begun its outputs and wants more rows. All signals
/// have their default action, even if the tests themselves run under `nohup`.
fn waiting(dir: &Dir) -> std::process::Child {
    let mut command = Command::new("env");
    command
        .args([
            "--default-signal=INT,TERM,HUP",
            env!("CARGO_BIN_EXE_ewe"),
            "-q",
            "filter",
            "-",
            "--out",
            "kept.jsonl",
            "--verdicts",
            "v.jsonl",
        ])
        .current_dir(dir.path("."))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    // A process that was killed may have left some.
    let before = entries(dir);
    let mut child = command.spawn().unwrap();
    // More than detection reads, less than one batch.
    child
        .stdin
        .as_mut()
        .unwrap()
        .write_all(ROWS.repeat(3000).as_bytes())
        .unwrap();
    until("two outputs that are begun", || {
        let begun = |name: &&String| name.starts_with(".ewe-") && !before.contains(name);
        entries(dir).iter().filter(begun).count() == 2
    });
    child
}

#[test]
fn signals_leave_no_files_and_the_next_run_cleans_up_after_a_kill() {
    let dir = Dir::new();
    dir.write("rows.jsonl", ROWS);
    dir.write("kept.jsonl", "old\n");
    let there = entries(&dir);
    for name in ["INT", "TERM", "HUP"] {
        let mut child = waiting(&dir);
        signal(child.id(), name);
        // Waiting for the child would close its standard input, which would end it.
        let stdin = child.stdin.take();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{name}");
        drop(stdin);
        assert_eq!(entries(&dir), there, "{name}");
    }
    let mut killed = waiting(&dir);
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(entries(&dir).len(), there.len() + 2);
    // Unfinished files of a living process are left alone.
    let mut child = waiting(&dir);
    until("its own files and no others", || {
        entries(&dir).len() == there.len() + 2
    });
    ewe(&dir, &["filter", "rows.jsonl", "--out", "other.jsonl"]).success();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert_eq!(
        entries(&dir),
        ["kept.jsonl", "other.jsonl", "rows.jsonl", "v.jsonl"]
    );
    assert_eq!(dir.read("kept.jsonl"), ROWS);
}

#[test]
fn signals_ignored_by_nohup_stay_ignored() {
    let dir = Dir::new();
    let mut shell = Command::new("sh");
    shell
        .args([
            "-c",
            "trap '' HUP; exec \"$0\" -q filter - --out kept.jsonl",
            env!("CARGO_BIN_EXE_ewe"),
        ])
        .current_dir(dir.path("."))
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    let mut child = shell.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(ROWS.repeat(3000).as_bytes()).unwrap();
    until("an output that is begun", || !entries(&dir).is_empty());
    signal(child.id(), "HUP");
    pause(Duration::from_millis(200));
    drop(stdin);
    assert!(child.wait().unwrap().success());
    assert_eq!(entries(&dir), ["kept.jsonl"]);
}

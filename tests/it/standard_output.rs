//! `-` as an output, pipes and devices as outputs and as datasets, and what a terminal receives.

use std::io::Read;
use std::process::Command;

use portable_pty::{CommandBuilder, PtySize, native_pty_system};

use crate::shell::{Dir, Ran, ewe, ran, words};
use crate::support::number;

const ROWS: &str = "{\"instruction\":\"Name the capital of France\",\"input\":\"\",\"output\":\"Paris\"}\n\
                    {\"instruction\": [1]}\n\
                    {\"instruction\":\"Explain how rain forms\",\"input\":\"\",\"output\":\"Vapour cools\"}\n";

fn place() -> Dir {
    let dir = Dir::with_dataset();
    dir.write("rows.jsonl", ROWS);
    dir
}

/// Runs a command for at most a minute, in case it waits forever.
fn in_time(dir: &Dir, line: &str) -> Ran {
    let mut command = Command::new("timeout");
    command
        .arg("60")
        .arg(env!("CARGO_BIN_EXE_ewe"))
        .args(line.split(' '))
        .current_dir(dir.path("."));
    ran(command)
}

/// Command lines that write a text to `OUT`, and a word of their message.
const TEXTS: [(&str, &str); 8] = [
    ("export --db d.db --format alpaca --out OUT", "rows of alpaca"),
    ("report --db d.db --out OUT", "written"),
    ("filter rows.jsonl --keep-going --out OUT", "of 3 rows kept"),
    ("filter rows.jsonl --keep-going --verdicts OUT", "of 3 rows kept"),
    ("filter --db d.db --verdicts OUT", "rejected"),
    (
        "import --db d.db rows.jsonl --keep-going --left-out OUT",
        "from `rows.jsonl`",
    ),
    (
        "init --db new.db --seeds rows.jsonl --keep-going --left-out OUT",
        "a dataset with 2 seed tasks",
    ),
    (
        "generate --db d.db --target 1 --endpoint-model m --batch-file OUT",
        "requests wait",
    ),
];

#[test]
fn a_dash_is_standard_output_and_messages_go_to_standard_error() {
    for (line, message) in TEXTS {
        // Two equal datasets, since some of these lines change theirs.
        let (dir, other) = (place(), place());
        let out = ewe(&dir, &words(&line.replace("OUT", "-"))).success();
        ewe(&other, &words(&line.replace("OUT", "file"))).success();
        let (written, expected) = (out.stdout(), other.read("file"));
        assert!(!expected.is_empty());
        if line.starts_with("report") {
            // The report contains the dataset's time.
            assert!(
                written.starts_with("<!doctype html>") && written.ends_with("</html>\n"),
                "{line}"
            );
        } else {
            assert_eq!(written, expected, "{line}");
        }
        assert!(out.stderr().contains(message), "{line}: {}", out.stderr());
        assert!(!dir.path("-").exists(), "{line}");
        // `./-` names a file called `-`.
        ewe(&place(), &words(&line.replace("OUT", "./-"))).success();
    }
    let dir = place();
    let out = ewe(
        &dir,
        &words("filter rows.jsonl --keep-going --out /dev/stdout --rules none"),
    );
    assert_eq!(out.success().stdout().lines().count(), 2);
}

#[test]
fn only_one_output_may_be_standard_output() {
    let dir = place();
    for line in [
        "filter rows.jsonl --out - --verdicts -",
        "filter rows.jsonl --out - --verdicts /dev/stdout",
        "filter rows.jsonl --keep-going --out - --left-out -",
    ] {
        let said = ewe(&dir, &words(line)).failure(1).stderr();
        assert!(said.contains("are the same") && said.contains("hint: "), "{said}");
    }
    for line in [
        "filter rows.jsonl --out - --json",
        "import --db d.db rows.jsonl --keep-going --left-out - --json",
        "generate --db d.db --target 1 --endpoint-model m --batch-file - --json",
    ] {
        let said = ewe(&dir, &words(line)).failure(1).stderr();
        assert!(
            said.contains("--json and --") && said.contains("hint: "),
            "{said}"
        );
    }
    // `-` as an input is another stream.
    let mut filter = Command::new("sh");
    filter
        .args([
            "-c",
            "exec \"$0\" filter - --keep-going --out - < rows.jsonl",
            env!("CARGO_BIN_EXE_ewe"),
        ])
        .current_dir(dir.path("."));
    assert_eq!(ran(filter).success().stdout().lines().count(), 2);
}

#[test]
fn a_dash_is_refused_for_datasets_and_folders() {
    let dir = place();
    for line in [
        "backup --db d.db --out -",
        "merge-db d.db other.db --out -",
        "train --data rows.jsonl --model m --out -",
        "merge --model m --adapter a --out -",
        "init --db -",
        "list --db -",
    ] {
        let said = ewe(&dir, &words(line)).failure(1).stderr();
        assert!(
            said.contains("cannot be `-`") && said.contains("hint: ") && said.contains("`./-`"),
            "{line}: {said}"
        );
        assert!(!dir.path("-").exists(), "{line}");
    }
}

#[test]
fn pipes_and_devices_are_not_datasets() {
    let dir = place();
    dir.make_pipe("pipe");
    dir.write("empty", "");
    std::fs::create_dir(dir.path("folder")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path("socket")).unwrap();
    for (number, (db, what)) in [
        ("pipe", "it is a pipe"),
        ("socket", "it is a socket"),
        ("/dev/null", "it is a device"),
        ("/dev/zero", "it is a device"),
        ("folder", "it is a folder"),
        ("empty", "it is empty"),
    ]
    .into_iter()
    .enumerate()
    {
        let lines = [
            "list --db DB",
            "stats --db DB",
            "backup --db DB --out copy.db",
            "accept --db DB 1",
            "import --db DB rows.jsonl",
            "filter --db DB",
            "generate --db DB --target 1 --endpoint-model m --batch-file out.jsonl",
        ];
        // Datasets are opened in one place: every command meets the first, some the others.
        let is_tried = |at: usize| number == 0 || at % 3 == number % 3;
        for (_, line) in lines.into_iter().enumerate().filter(|(at, _)| is_tried(*at)) {
            let said = in_time(&dir, &line.replace("DB", db)).failure(1).stderr();
            assert!(
                said.contains(&format!("`{db}` is not a database: {what}")) && said.contains("hint: "),
                "{line} of {db}: {said}"
            );
        }
    }
    assert_eq!(dir.read("empty"), "");
    assert!(!dir.path("copy.db").exists());
}

#[test]
fn a_full_device_is_named() {
    let dir = place();
    for line in [
        "filter --db d.db --verdicts /dev/full",
        "filter rows.jsonl --keep-going --verdicts /dev/full",
        "filter rows.jsonl --keep-going --out /dev/full",
        "filter rows.jsonl --keep-going --left-out /dev/full",
        "import --db d.db rows.jsonl --keep-going --left-out /dev/full",
        "export --db d.db --format alpaca --out /dev/full",
        "report --db d.db --out /dev/full",
        "generate --db d.db --target 1 --endpoint-model m --batch-file /dev/full",
    ] {
        let said = ewe(&dir, &words(line)).failure(1).stderr();
        assert!(
            said.contains("error: cannot write `/dev/full`: No space left"),
            "{line}: {said}"
        );
    }
    assert_eq!(
        number(&dir, "select count(*) from task where origin <> 'seed'"),
        0
    );
}

#[test]
fn a_failed_import_writes_no_left_out_file() {
    let dir = place();
    // A trigger makes the dataset refuse new tasks.
    dir.sql("create trigger closed before insert on task begin select raise(abort, 'closed'); end");
    dir.write("bad.jsonl", "{\"instruction\": [1]}\n{\"instruction\": [2]}\n");
    for line in [
        "import --db d.db rows.jsonl",
        "import --db d.db bad.jsonl",
        "init --db d.db --seeds rows.jsonl",
        "init --db no/such/new.db --seeds rows.jsonl",
        "filter bad.jsonl",
    ] {
        let line = format!("{line} --keep-going --left-out left.jsonl");
        ewe(&dir, &words(&line)).failure(1);
        assert!(!dir.path("left.jsonl").exists(), "{line}");
    }
}

/// Runs a command with a terminal for its streams; returns all that the terminal received.
fn on_a_terminal(dir: &Dir, line: &str) -> String {
    let pair = native_pty_system().openpty(PtySize::default()).unwrap();
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_ewe"));
    command.args(line.split(' '));
    command.cwd(dir.path("."));
    // Nobody is there to leave a pager.
    command.env("PAGER", "cat");
    let mut child = pair.slave.spawn_command(command).unwrap();
    drop(pair.slave);
    let mut reader = pair.master.try_clone_reader().unwrap();
    let mut sent = Vec::new();
    // The end of a terminal is an error on some systems.
    let _ = reader.read_to_end(&mut sent);
    child.wait().unwrap();
    String::from_utf8(sent).unwrap()
}

#[test]
fn a_terminal_receives_no_control_characters_from_data() {
    let dir = place();
    let name = "a\x1b]0;mine\x07b\u{9b}31mc\u{202e}d";
    dir.write(
        &format!("{name}.jsonl"),
        "{\"instruction\":\"Say \u{9b}31m and \u{202e}.\",\"output\":\"Red.\"}\n\
         {\"instruction\": [1]}\n",
    );
    std::fs::copy(dir.path("d.db"), dir.path(&format!("{name}.db"))).unwrap();
    for line in [
        "import --db NAME.db NAME.jsonl --keep-going --left-out -",
        "import --db NAME.db NAME.jsonl --keep-going --left-out NAME.left",
        "filter NAME.jsonl --keep-going --against NAME.jsonl",
        "filter NAME.jsonl --keep-going --out - --rules none",
        "filter NAME.jsonl --keep-going --out /dev/stdout --rules none",
        "filter NAME.jsonl --keep-going --verdicts -",
        "filter --db NAME.db --threshold 0.3 --dry-run",
        "init --db NAME2.db --seeds NAME.jsonl --keep-going",
        "export --db NAME.db --format alpaca --out -",
        "export --db NAME.db --format completion --out -",
        "list --db NAME.db --sort newest",
        "search --db NAME.db say",
        "report --db NAME.db --out -",
        "backup --db NAME.db --out NAME.copy",
        "list --db NAME.none",
    ] {
        let sent = on_a_terminal(&dir, &line.replace("NAME", name));
        assert!(!sent.is_empty(), "{line}");
        for of_others in ["\x1b]0;mine", "\x07", "\u{9b}", "\u{202e}"] {
            assert!(!sent.contains(of_others), "{line}: {sent:?}");
        }
    }
    // Output that does not go to a terminal is unchanged.
    let out = ewe(
        &dir,
        &[
            "export",
            "--db",
            &format!("{name}.db"),
            "--format",
            "alpaca",
            "--review",
            "any",
            "--out",
            "-",
        ],
    );
    let said = out.success().stdout();
    assert!(said.contains("Say \u{9b}31m and \u{202e}."), "{said:?}");
    // Parquet is refused on a terminal.
    let sent = on_a_terminal(&dir, "export --db d.db --format parquet --out -");
    assert!(
        sent.contains("error: Parquet") && sent.contains("hint: "),
        "{sent}"
    );
}

#[cfg(feature = "torch")]
mod with_a_model {
    use super::*;
    use crate::golden::golden;

    /// `complete` and `score` with the tiny model, writing to `out`.
    fn commands(out: &str) -> [String; 2] {
        let model = golden("gptj").display().to_string();
        [
            format!("complete --model {model} --prompts asked.jsonl --max-tokens 2 --out {out}"),
            format!("score --model {model} --data asked.jsonl --out {out}"),
        ]
    }

    fn asked() -> Dir {
        let dir = Dir::new();
        dir.write(
            "asked.jsonl",
            "{\"prompt\": \"count 1: \", \"completion\": \"1 2\"}\n".repeat(2),
        );
        dir
    }

    #[test]
    fn answers_go_to_standard_output_and_to_pipes() {
        let dir = asked();
        for (at, line) in commands("-").iter().enumerate() {
            let written = ewe(&dir, &words(line)).success().stdout();
            assert_eq!(written.lines().count(), 2, "{written}");
            dir.make_pipe(&format!("pipe{at}"));
            let pipe = dir.path(&format!("pipe{at}"));
            // It reads up to the first end of file.
            let reader = std::thread::spawn(move || std::fs::read_to_string(pipe).unwrap());
            in_time(&dir, &commands(&format!("pipe{at}"))[at]).success();
            assert_eq!(reader.join().unwrap(), written);
        }
        assert!(!dir.path("-").exists());
    }

    #[test]
    fn an_unwritable_output_fails_before_the_model_is_loaded() {
        let dir = asked();
        std::fs::create_dir(dir.path("folder")).unwrap();
        for (out, what) in [
            ("folder", "Is a directory"),
            ("no/such/x", "make its directory first"),
        ] {
            for line in commands(out) {
                let line = line.replace("gptj", "none");
                let said = ewe(&dir, &words(&line)).failure(1).stderr();
                assert!(
                    said.contains(what) && said.contains(&format!("`{out}`")),
                    "{line}: {said}"
                );
            }
        }
    }

    #[test]
    fn no_folder_takes_the_name_of_a_dataset_s_files() {
        let dir = place();
        let names = [
            "d.db-wal",
            "d.db-shm",
            "d.db-journal",
            "d.db.lock",
            "d.db.judge.lock",
            "d.db.import.lock",
            "./d.db-wal/",
            "d.db-wal/deeper/still",
        ];
        for name in names {
            for line in [
                "train --data rows.jsonl --keep-going --model none --out OUT",
                "merge --model none --adapter none --out OUT",
            ] {
                let said = ewe(&dir, &words(&line.replace("OUT", name))).failure(1).stderr();
                assert!(
                    said.contains("belongs to the dataset `d.db` beside it\nhint: "),
                    "{line} {name}: {said}"
                );
            }
        }
        ewe(&dir, &["check", "--db", "d.db"]).success();
        ewe(&dir, &["accept", "--db", "d.db", "1"]).success();
    }
}

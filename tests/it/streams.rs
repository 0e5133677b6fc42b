//! Standard output and standard error that cannot be written to.

use std::io::Read;
use std::process::{Command, Stdio};

use portable_pty::{CommandBuilder, PtySize, native_pty_system};

use crate::mock::Mock;
use crate::shell::{Dir, Ran, ran};
use crate::support::{filled, number};

/// Runs a command line through the shell, which redirects.
fn shell(dir: &Dir, line: &str) -> Ran {
    let mut shell = Command::new("sh");
    shell
        .args([
            "-c",
            &line.replace("EWE", "exec \"$0\""),
            env!("CARGO_BIN_EXE_ewe"),
        ])
        .current_dir(dir.path("."))
        .env("EWE_USER", "ann")
        .stdin(Stdio::null());
    ran(shell)
}

/// Command lines that print their result to standard output.
const SAYERS: [&str; 19] = [
    "--help",
    "--version",
    "export --help",
    "list --db d.db",
    "list --db d.db --json",
    "show --db d.db 1",
    "search --db d.db name",
    "search --db d.db name --json",
    "stats --db d.db",
    "stats --db d.db --json",
    "log --db d.db",
    "filter rows.jsonl",
    "filter rows.jsonl --json",
    "filter --db d.db --dry-run",
    "import --db i.db rows.jsonl",
    "init --db made.db",
    "export --db d.db --format alpaca --out -",
    "export --db d.db --format parquet --out -",
    "accept --db a.db 1",
];

fn place() -> Dir {
    let dir = filled();
    dir.write(
        "rows.jsonl",
        "{\"instruction\":\"Name the capital of France\",\"input\":\"\",\"output\":\"Paris\"}\n",
    );
    for name in ["i.db", "a.db"] {
        std::fs::copy(dir.path("d.db"), dir.path(name)).unwrap();
    }
    dir
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let dir = place();
    for line in SAYERS {
        for redirection in [">/dev/full", ">&-"] {
            let _ = std::fs::remove_file(dir.path("made.db"));
            let out = shell(&dir, &format!("EWE {line} {redirection}")).failure(1);
            let said = out.stderr();
            let expected = match redirection {
                ">&-" => "error: cannot write to standard output: it is closed",
                _ => "error: cannot write to standard output: No space left on device",
            };
            assert!(said.contains(expected), "{line} {redirection}: {said}");
            assert!(!said.contains("panicked"), "{line} {redirection}: {said}");
        }
    }
}

#[test]
fn a_reader_that_closes_the_pipe_is_not_an_error() {
    let dir = place();
    for line in SAYERS {
        let _ = std::fs::remove_file(dir.path("made.db"));
        let mut shell = Command::new("sh");
        let line = format!("{{ \"$0\" {line}; echo $? >&2; }} | true");
        shell
            .args(["-c", &line, env!("CARGO_BIN_EXE_ewe")])
            .current_dir(dir.path("."));
        let said = ran(shell).success().stderr();
        assert!(said.ends_with("0\n") && !said.contains("error"), "{line}: {said}");
    }
}

#[test]
fn commands_work_without_standard_error() {
    let dir = place();
    let lines = SAYERS
        .into_iter()
        .filter(|line| !line.starts_with("init") && !line.starts_with("accept"));
    for line in lines.chain([
        "export --db d.db --format alpaca --out x.json",
        "report --db d.db --out r.html",
        "-v filter rows.jsonl --out kept.jsonl",
        "-vv check --db d.db",
    ]) {
        let expected = shell(&dir, &format!("EWE {line}")).success();
        for redirection in ["2>/dev/full", "2>&-", "2>/dev/full </dev/null"] {
            let out = shell(&dir, &format!("EWE {line} {redirection}")).success();
            // A repeated import prints something else, and Parquet is not text.
            if !line.starts_with("import") && !line.contains("parquet") {
                assert_eq!(out.stdout(), expected.stdout(), "{line} {redirection}");
            }
        }
    }
    // An error has its exit code, even if nobody can read it.
    for redirection in ["2>/dev/full", "2>&-"] {
        shell(&dir, &format!("EWE list --db none.db {redirection}")).failure(1);
        shell(&dir, &format!("EWE list --nonsense {redirection}")).failure(2);
    }
}

#[test]
fn a_run_completes_whatever_happens_to_its_streams() {
    let dir = Dir::with_dataset();
    let mock = Mock::start();
    let line = format!(
        "EWE generate --db d.db --endpoint {} --endpoint-model mock --target",
        mock.url
    );
    for (at, redirection) in ["2>/dev/full", "2>&-", "2>/dev/full --json"].iter().enumerate() {
        shell(&dir, &format!("{line} {} {redirection}", 5 * (at + 1))).success();
    }
    // The tasks were added; only their number could not be printed.
    for (at, redirection) in [">/dev/full", ">&-", ">/dev/full 2>&1"].iter().enumerate() {
        shell(&dir, &format!("{line} {} {redirection}", 20 + 5 * at)).failure(1);
    }
    assert_eq!(
        number(&dir, "select count(*) from task where origin = 'machine'"),
        30
    );
    assert_eq!(number(&dir, "select count(*) from run where status <> 'done'"), 0);
}

#[test]
fn a_hangup_does_not_stop_a_run_that_ignores_it() {
    let dir = Dir::with_dataset();
    let mock = Mock::start();
    let pair = native_pty_system().openpty(PtySize::default()).unwrap();
    let mut command = CommandBuilder::new("sh");
    let line = format!(
        "trap '' HUP; echo begun; sleep 1; exec \"$0\" generate --db d.db --endpoint {} --endpoint-model mock --target 10 >out",
        mock.url
    );
    command.args(["-c", &line, env!("CARGO_BIN_EXE_ewe")]);
    command.cwd(dir.path("."));
    let mut child = pair.slave.spawn_command(command).unwrap();
    drop(pair.slave);
    let mut reader = pair.master.try_clone_reader().unwrap();
    let mut first = [0; 5];
    reader.read_exact(&mut first).unwrap();
    drop(reader);
    drop(pair.master);
    let status = child.wait().unwrap();
    assert_eq!(status.exit_code(), 0, "{status:?}");
    assert!(
        dir.read("out").contains("10 machine-made tasks"),
        "{}",
        dir.read("out")
    );
    assert_eq!(number(&dir, "select count(*) from run where status <> 'done'"), 0);
}

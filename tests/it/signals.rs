//! What a command leaves behind after a signal: nothing. Ctrl-C, `kill`, and a closed terminal act
//! alike. What `kill -9` leaves, the next command of its kind cleans up.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::mock::Mock;
use crate::shell::{self, Dir, ewe, signal};
use crate::support::{generate, generation, judging, large_rows, number};
use crate::waiting::{self, pause, until};

const SIGNALS: [&str; 3] = ["INT", "TERM", "HUP"];

/// `count` different rows in Alpaca's format.
fn rows(count: usize) -> String {
    let row = |i: usize| {
        let instruction = format!("Count the sheep of farm {i} before it is dark.");
        serde_json::json!({"instruction": instruction, "input": "", "output": format!("{i} sheep")})
            .to_string()
            + "\n"
    };
    (1..=count).map(row).collect()
}

/// Starts a command with open standard input, whose output nobody reads.
fn start(dir: &Dir, line: &str) -> Child {
    let arguments: Vec<&str> = line.split(' ').collect();
    shell::command(dir, &arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits for the end without closing standard input; returns the exit code.
#[track_caller]
fn ended(child: &mut Child) -> Option<i32> {
    waiting::ended(child).code()
}

fn imported(dir: &Dir) -> i64 {
    number(dir, "select count(*) from task where origin = 'import'")
}

#[test]
fn a_signal_closes_the_dataset_whatever_the_command_waits_for() {
    let dir = Dir::with_dataset();
    dir.write("rows.jsonl", rows(2000));
    ewe(&dir, &["import", "--db", "d.db", "rows.jsonl", "-q"]).success();
    dir.make_pipe("pipe");
    let there = dir.entries();
    for line in [
        // Waits for rows.
        "import --db d.db -",
        // Waits for a writer of a file.
        "filter --db d.db --dry-run --against pipe",
        "filter --db d.db --against pipe",
        // Waits for a reader of its output.
        "export --db d.db --format alpaca --out -",
        "list --db d.db --limit 100000",
        "list --db d.db --limit 100000 --json",
    ] {
        for name in SIGNALS {
            let mut child = start(&dir, line);
            let stdin = child.stdin.take();
            until(line, || dir.path("d.db-shm").exists());
            pause(Duration::from_millis(100));
            signal(child.id(), name);
            assert_eq!(ended(&mut child), Some(130), "{line}: {name}");
            assert_eq!(dir.entries(), there, "{line}: {name}");
            drop(stdin);
        }
    }
    assert_eq!(imported(&dir), 2000);
    assert_eq!(
        dir.sql("select status from run where command = 'import'"),
        [["done"]]
    );
    ewe(&dir, &["check", "--db", "d.db"]).success();
}

/// An import that a signal interrupted.
struct Interrupted {
    dir: Dir,
    /// The exit code.
    code: Option<i32>,
    /// What was in the folder at the end.
    left: Vec<String>,
}

/// Begins an import of [`large_rows`], and sends a signal once the first row is there. On a busy
/// machine whoever waits for that may be late: an import that was over by then is repeated.
fn interrupted_import(count: usize, name: &str, begin: impl Fn(&Dir) -> Child) -> Interrupted {
    for _ in 0..20 {
        let dir = Dir::with_dataset();
        let mut child = begin(&dir);
        until("an imported row", || imported(&dir) > 0);
        signal(child.id(), name);
        let (code, left) = (ended(&mut child), dir.entries());
        if imported(&dir) < count as i64 {
            return Interrupted { dir, code, left };
        }
    }
    panic!("each import was over before {name} came");
}

/// As [`interrupted_import`], of the file `rows.jsonl`.
fn interrupted_import_of_a_file(count: usize, name: &str) -> Interrupted {
    interrupted_import(count, name, |dir| {
        dir.write("rows.jsonl", large_rows(count));
        start(dir, "import --db d.db rows.jsonl -q")
    })
}

#[test]
fn an_interrupted_import_continues_as_the_same_run() {
    const ALL: i64 = 16;
    for name in ["INT", "TERM", "HUP", "KILL"] {
        let there = ["d.db", "rows.jsonl"];
        let Interrupted { dir, code, left } = interrupted_import_of_a_file(ALL as usize, name);
        let run = "select status, ended_at is not null from run where command = 'import'";
        match name {
            "KILL" => assert_eq!(dir.sql(run), [["running", "0"]]),
            _ => {
                assert_eq!(code, Some(130), "{name}");
                assert_eq!(left, there, "{name}");
                assert_eq!(dir.sql(run), [["interrupted", "1"]], "{name}");
            }
        }
        // What all three signals leave is the same, and continues alike.
        if ["TERM", "HUP"].contains(&name) {
            continue;
        }

        ewe(&dir, &["import", "--db", "d.db", "rows.jsonl", "-q"]).success();
        assert_eq!(dir.entries(), there, "{name}");
        assert_eq!(
            (imported(&dir), dir.sql(run)),
            (ALL, vec![vec!["done".into(), "1".into()]])
        );
        let log = ewe(&dir, &["log", "--db", "d.db"]).success().stdout();
        assert!(
            log.lines().count() == 1 && log.contains("16 tasks"),
            "{name}: {log}"
        );
        ewe(&dir, &["undo", "--db", "d.db"]).success();
        assert_eq!(
            number(&dir, "select count(*) from dataset where origin = 'import'"),
            0,
            "{name}"
        );
        ewe(&dir, &["check", "--db", "d.db"]).success();
    }
}

/// An import that was interrupted and undone is not continued; nor is one that read rows of another
/// source under the same name.
#[test]
fn an_interrupted_import_continues_with_its_own_rows_only() {
    let Interrupted { dir, code, .. } = interrupted_import(16, "INT", |dir| {
        let mut child = start(dir, "import --db d.db - -q");
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(large_rows(16).as_bytes()).unwrap();
        child
    });
    assert_eq!(code, Some(130));
    let from = |name: &str| {
        let mut command = shell::command(&dir, &["import", "--db", "d.db", "-", "-q"]);
        command.stdin(File::open(dir.path(name)).unwrap());
        shell::ran(command).success();
    };
    let runs = || dir.sql("select status from run where command = 'import' order by id");
    dir.write("others.jsonl", rows(3).replace("sheep", "goats"));
    from("others.jsonl");
    assert_eq!(runs(), [["interrupted"], ["done"]]);
    dir.write("rows.jsonl", large_rows(16));
    from("rows.jsonl");
    assert_eq!(runs(), [["interrupted"], ["done"], ["done"]]);
    assert_eq!(imported(&dir), 19);

    let Interrupted { dir, code, .. } = interrupted_import_of_a_file(16, "TERM");
    assert_eq!(code, Some(130));
    ewe(&dir, &["undo", "--db", "d.db"]).success();
    ewe(&dir, &["import", "--db", "d.db", "rows.jsonl", "-q"]).success();
    assert_eq!(
        dir.sql("select status from run where command = 'import' order by id"),
        [["interrupted"], ["done"]]
    );
    assert_eq!(
        number(&dir, "select count(*) from dataset where origin = 'import'"),
        16
    );
    ewe(&dir, &["check", "--db", "d.db"]).success();
}

/// Starts a command that sends requests to a mock with a long latency, and waits until its run is
/// recorded and a request is in flight.
fn asking(dir: &Dir, mock: &Mock, arguments: &[&str]) -> Child {
    let before = mock.received();
    let mut child = shell::spawn(dir, arguments);
    until("a run that asks", || {
        if child.try_wait().unwrap().is_some() {
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("{arguments:?} ended: {:?} {said}", child.wait());
        }
        mock.received() > before && number(dir, "select count(*) from run where status = 'running'") > 0
    });
    child
}

#[test]
fn a_second_signal_leaves_no_files_and_a_kill_is_noted_by_the_next_run() {
    const LATER: Duration = Duration::from_secs(600);
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    generate(&dir, "12", &mock.url, &[]).success();
    let there = dir.entries();
    let judge = judging(&mock.url, "mock", &["--concurrency", "2"]);
    // A target far beyond the stored responses of the first run.
    let grow = generation("60", &mock.url, &["--concurrency", "2"]);
    let last = "select status, ended_at is not null from run order by id desc limit 1";
    for arguments in [grow, judge] {
        mock.set_latency(LATER);
        for name in SIGNALS {
            let mut child = asking(&dir, &mock, &arguments);
            signal(child.id(), name);
            let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
            assert!(
                said.any(|line| line.unwrap().contains("again leaves at once")),
                "{name}"
            );
            signal(child.id(), name);
            assert_eq!(ended(&mut child), Some(130), "{name}");
            assert_eq!(dir.entries(), there, "{name}");
            assert_eq!(dir.sql(last), [["interrupted", "1"]], "{name}");
        }
        let mut child = asking(&dir, &mock, &arguments);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(dir.sql(last), [["running", "0"]]);
        let killed = number(&dir, "select max(id) from run");
        mock.set_latency(Duration::ZERO);
        ewe(&dir, &arguments).success();
        assert_eq!(dir.sql(last), [["done", "1"]]);
        assert_eq!(
            dir.sql(&format!(
                "select status, ended_at is not null from run where id = {killed}"
            )),
            [["interrupted", "0"]]
        );
        assert_eq!(dir.entries(), there);
    }
}

#[test]
fn curate_closes_its_dataset() {
    let dir = Dir::with_dataset();
    let there = dir.entries();
    for name in SIGNALS {
        let mut child = start(&dir, "curate --db d.db --bind 127.0.0.1:0");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(line.contains("http://"), "{line}");
        pause(Duration::from_millis(100));
        signal(child.id(), name);
        assert_eq!(ended(&mut child), Some(130), "{name}");
        assert_eq!(dir.entries(), there, "{name}");
    }
}

/// Under `nohup` a terminal may be closed, whether or not the command handles signals itself.
#[test]
fn signals_ignored_by_nohup_stay_ignored() {
    let ignoring = |dir: &Dir, arguments: &[&str]| {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_ewe")])
            .args(arguments)
            .current_dir(dir.path("."))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        shell.spawn().unwrap()
    };
    let dir = Dir::with_dataset();
    let there = dir.entries();
    let mut child = ignoring(&dir, &["import", "--db", "d.db", "-"]);
    until("an open dataset", || dir.path("d.db-shm").exists());
    signal(child.id(), "HUP");
    pause(Duration::from_millis(200));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(rows(3).as_bytes()).unwrap();
    drop(stdin);
    assert_eq!(ended(&mut child), Some(0));
    assert_eq!((imported(&dir), dir.entries()), (3, there));

    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    mock.set_latency(Duration::from_millis(40));
    let mut child = ignoring(&dir, &generation("12", &mock.url, &[]));
    until("a run", || {
        number(&dir, "select count(*) from run where command = 'generate'") > 0
    });
    pause(Duration::from_millis(50));
    signal(child.id(), "HUP");
    assert_eq!(ended(&mut child), Some(0));
    assert_eq!(
        dir.sql("select status from run where command = 'generate'"),
        [["done"]]
    );
}

#[cfg(feature = "torch")]
mod models {
    use super::*;
    use crate::server::Server;
    use crate::train::{EWE_TORCH, arguments, metrics, rows};
    use std::path::Path;

    /// `ewe merge` into `x.m` of the directory, after these words of a shell.
    fn merge(dir: &Dir, before: &str) -> Command {
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
        let line = format!(
            "{before} exec '{EWE_TORCH}' merge --dtype fp32 --model '{golden}/gemma3' --adapter '{golden}/gemma3_lora' --out x.m"
        );
        let mut command = Command::new("bash");
        command
            .args(["-c", &line])
            .current_dir(dir.path("."))
            .stderr(Stdio::piped());
        command
    }

    /// Merges undisturbed, and removes the result.
    fn merges(dir: &Dir) {
        shell::ran(merge(dir, "")).success();
        removed(dir);
    }

    /// Removes a merged model, which must be complete.
    #[track_caller]
    fn removed(dir: &Dir) {
        assert_eq!(dir.entries(), ["x.m"]);
        assert!(dir.path("x.m/model.safetensors").is_file() && dir.path("x.m/tokenizer.json").is_file());
        std::fs::remove_dir_all(dir.path("x.m")).unwrap();
    }

    /// Starts a merge and sends a signal; returns the exit code. A merge that finishes before the
    /// signal is repeated.
    fn disturbed(dir: &Dir, name: &str) -> Option<i32> {
        for _ in 0..20 {
            let mut child = merge(dir, "").spawn().unwrap();
            until("an unfinished merge", || !dir.entries().is_empty());
            signal(child.id(), name);
            let code = ended(&mut child);
            // The model appears whole, so the signal came too late for the merge, whatever the code.
            if code != Some(0) && !dir.path("x.m").exists() {
                return code;
            }
            removed(dir);
        }
        panic!("it was over before any signal came");
    }

    #[test]
    fn a_merged_model_is_complete_or_absent() {
        let dir = Dir::new();
        for name in SIGNALS {
            assert_eq!(disturbed(&dir, name), Some(130), "{name}");
            assert_eq!(dir.entries(), [""; 0], "{name}");
        }
        let left_by_a_kill = |dir: &Dir| {
            let left = dir.entries();
            assert!(left.len() == 1 && left[0].starts_with(".ewe-tmp-"), "{left:?}");
        };
        assert_eq!(disturbed(&dir, "KILL"), None);
        left_by_a_kill(&dir);
        merges(&dir);

        // In the middle of the weights: a full disk, and a process that is killed there.
        let full = shell::ran(merge(&dir, "trap '' XFSZ; ulimit -f 20;"))
            .failure(1)
            .stderr();
        assert!(full.contains("cannot write `x.m/model.safetensors`"), "{full}");
        assert_eq!(dir.entries(), [""; 0]);
        let killed = merge(&dir, "ulimit -c 0; ulimit -f 20;").spawn().unwrap().wait();
        assert_eq!(killed.unwrap().code(), None);
        left_by_a_kill(&dir);
        merges(&dir);

        // An existing empty folder is filled, and stays if the merge fails.
        std::fs::create_dir(dir.path("x.m")).unwrap();
        shell::ran(merge(&dir, "trap '' XFSZ; ulimit -f 20;")).failure(1);
        assert_eq!(std::fs::read_dir(dir.path("x.m")).unwrap().count(), 0);
        merges(&dir);
    }

    /// Starts a training run and waits for three steps.
    fn training(arguments: &[String], out: &Path) -> Child {
        let child = Command::new(EWE_TORCH)
            .env("OMP_NUM_THREADS", "1")
            .args(arguments)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("three steps", || metrics(out).len() >= 3);
        child
    }

    #[test]
    fn training_saves_a_checkpoint_on_every_signal() {
        let scratch = Dir::new();
        let data = rows(&scratch);
        let steps = "--steps 100000 --save-every 0 --batch-size 4";
        let in_backward = format!("{steps} --method full --precision fp32 --update-in-backward");
        for (name, more) in [("HUP", steps), ("TERM", steps), ("INT", in_backward.as_str())] {
            let out = scratch.path(name);
            let mut child = training(&arguments("gptj", &data, &out, more), &out);
            signal(child.id(), name);
            assert_eq!(ended(&mut child), Some(130), "{name}");
            let saved = std::fs::read_dir(out.join("checkpoints")).unwrap();
            assert_eq!(saved.count(), 1, "{name}");
            assert!(!out.join(".lock").exists(), "{name}");
        }
    }

    #[test]
    fn an_interrupted_training_run_is_noted_in_the_dataset() {
        let dir = Dir::with_dataset();
        let row = |n: u32| serde_json::json!({"instruction": format!("add {n} and 1"), "output": format!("{}", n + 1)});
        let lines: String = (0..12).map(|n| row(n).to_string() + "\n").collect();
        dir.write("rows.jsonl", lines);
        ewe(&dir, &["import", "--db", "d.db", "rows.jsonl", "-q"]).success();
        let there = dir.entries();
        let out = dir.path("out");
        let more = "--template completion --steps 100000 --save-every 3 --batch-size 4";
        let mut command = arguments("gptj", &dir.path("d.db"), &out, more);
        command[3] = "--db".to_owned();
        let last = "select status from run order by id desc limit 1";
        let mut child = training(&command, &out);
        signal(child.id(), "HUP");
        assert_eq!(ended(&mut child), Some(130));
        std::fs::remove_dir_all(&out).unwrap();
        assert_eq!(dir.entries(), there);
        assert_eq!(dir.sql(last), [["interrupted"]]);

        // After a kill, the run that resumes notes it.
        let mut child = training(&command, &out);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(dir.sql(last), [["running"]]);
        command.push("--resume".to_owned());
        let done = metrics(&out).len();
        let mut child = training(&command, &out);
        until("a further step", || metrics(&out).len() > done);
        signal(child.id(), "TERM");
        assert_eq!(ended(&mut child), Some(130));
        assert_eq!(
            dir.sql("select status from run where command = 'train'"),
            [["interrupted"], ["interrupted"], ["interrupted"]]
        );
    }

    /// Before the first step there is nothing to save, and nothing stays.
    #[test]
    fn a_signal_before_the_first_step_leaves_no_files() {
        let dir = Dir::new();
        dir.make_pipe("pipe");
        for name in SIGNALS {
            let out = dir.path("out");
            let command = arguments("gptj", &dir.path("pipe"), &out, "--steps 2");
            let mut child = Command::new(EWE_TORCH)
                .args(command)
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            until("a locked folder", || out.join(".lock").exists());
            signal(child.id(), name);
            assert_eq!(ended(&mut child), Some(130), "{name}");
            assert_eq!(dir.entries(), ["pipe"], "{name}");
        }
    }

    #[test]
    fn closing_the_terminal_ends_the_server() {
        let server = Server::start("gemma3");
        server.signal("HUP");
        assert_eq!(server.end().0, Some(130));
    }
}

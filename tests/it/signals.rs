//! What signals leave of a command: nothing. Ctrl-C, what `kill` sends, and what comes of a
//! terminal that is closed are the same; what `kill -9` leaves, the next command of its kind puts
//! in order.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::mock::Mock;
use crate::shell::{self, Dir, ewe};
use crate::support::{generate, generation, number};

const SIGNALS: [&str; 3] = ["INT", "TERM", "HUP"];

/// Everything that is in the directory, sorted: SQLite's files and locks, too.
fn entries(dir: &Dir) -> Vec<String> {
    let entries = std::fs::read_dir(dir.path(".")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Rows of Alpaca's format, each another one.
fn rows(count: usize) -> String {
    let row = |i: usize| {
        let instruction = format!("Count the sheep of farm {i} before it is dark.");
        serde_json::json!({"instruction": instruction, "input": "", "output": format!("{i} sheep")})
            .to_string()
            + "\n"
    };
    (1..=count).map(row).collect()
}

/// Starts a command that may be written to and whose output nobody takes.
fn start(dir: &Dir, line: &str) -> Child {
    let arguments: Vec<&str> = line.split(' ').collect();
    shell::command(dir, &arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Makes a pipe that nobody writes to.
fn make_pipe(dir: &Dir) {
    let made = Command::new("mkfifo").arg(dir.path("pipe")).status();
    assert!(made.unwrap().success());
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status();
    assert!(status.unwrap().success());
}

/// Waits for the end, without closing what the command reads; the exit code.
fn ended(child: &mut Child) -> Option<i32> {
    let begun = Instant::now();
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return status.code(),
            None if begun.elapsed() > Duration::from_secs(20) => {
                let _ = child.kill();
                panic!("it goes on");
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn imported(dir: &Dir) -> i64 {
    number(dir, "select count(*) from task where origin = 'import'")
}

#[test]
fn a_dataset_is_closed_whatever_its_command_waits_for() {
    let dir = Dir::with_dataset();
    dir.write("rows.jsonl", rows(3000));
    ewe(&dir, &["import", "--db", "d.db", "rows.jsonl", "-q"]).success();
    make_pipe(&dir);
    let there = entries(&dir);
    for line in [
        // For rows.
        "import --db d.db -",
        // For somebody who writes a file.
        "filter --db d.db --dry-run --against pipe",
        "filter --db d.db --against pipe",
        // For somebody who reads what it says.
        "export --db d.db --format alpaca --out -",
        "list --db d.db --limit 100000",
        "list --db d.db --limit 100000 --json",
    ] {
        for name in SIGNALS {
            let mut child = start(&dir, line);
            let stdin = child.stdin.take();
            wait_for(line, || dir.path("d.db-shm").exists());
            std::thread::sleep(Duration::from_millis(100));
            signal(&child, name);
            assert_eq!(ended(&mut child), Some(130), "{line}: {name}");
            assert_eq!(entries(&dir), there, "{line}: {name}");
            drop(stdin);
        }
    }
    assert_eq!(imported(&dir), 3000);
    assert_eq!(
        dir.sql("select status from run where command = 'import'"),
        [["done"]]
    );
    ewe(&dir, &["check", "--db", "d.db"]).success();
}

#[test]
fn an_import_that_was_cut_off_goes_on_as_the_same_run() {
    const ALL: i64 = 12_000;
    for name in ["INT", "TERM", "HUP", "KILL"] {
        let dir = Dir::with_dataset();
        dir.write("rows.jsonl", rows(ALL as usize));
        let there = entries(&dir);
        let mut child = start(&dir, "import --db d.db rows.jsonl -q");
        wait_for("nothing is imported", || imported(&dir) > 0);
        signal(&child, name);
        let code = ended(&mut child);
        let run = "select status, ended_at is not null from run where command = 'import'";
        match name {
            "KILL" => assert_eq!(dir.sql(run), [["running", "0"]]),
            _ => {
                assert_eq!((code, entries(&dir)), (Some(130), there.clone()), "{name}");
                assert_eq!(dir.sql(run), [["interrupted", "1"]], "{name}");
            }
        }
        let brought = imported(&dir);
        assert!(brought < ALL, "{name}: it was over before the signal came");

        ewe(&dir, &["import", "--db", "d.db", "rows.jsonl", "-q"]).success();
        assert_eq!(entries(&dir), there, "{name}");
        assert_eq!(
            (imported(&dir), dir.sql(run)),
            (ALL, vec![vec!["done".into(), "1".into()]])
        );
        let log = ewe(&dir, &["log", "--db", "d.db"]).success().stdout();
        assert!(
            log.lines().count() == 1 && log.contains("12000 tasks"),
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

/// What was cut off and taken back, and rows of another source under the same name, are no part of
/// what comes next.
#[test]
fn an_import_goes_on_with_its_own_rows_only() {
    let dir = Dir::with_dataset();
    let mut child = start(&dir, "import --db d.db - -q");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(rows(12_000).as_bytes()).unwrap();
    drop(stdin);
    wait_for("nothing is imported", || imported(&dir) > 0);
    signal(&child, "INT");
    assert_eq!(ended(&mut child), Some(130));
    let from = |name: &str| {
        let mut command = shell::command(&dir, &["import", "--db", "d.db", "-", "-q"]);
        command.stdin(File::open(dir.path(name)).unwrap());
        shell::ran(command).success();
    };
    let runs = || dir.sql("select status from run where command = 'import' order by id");
    dir.write("others.jsonl", rows(3).replace("sheep", "goats"));
    from("others.jsonl");
    assert_eq!(runs(), [["interrupted"], ["done"]]);
    dir.write("rows.jsonl", rows(12_000));
    from("rows.jsonl");
    assert_eq!(runs(), [["interrupted"], ["done"], ["done"]]);
    assert_eq!(imported(&dir), 12_003);

    let dir = Dir::with_dataset();
    dir.write("rows.jsonl", rows(12_000));
    let mut child = start(&dir, "import --db d.db rows.jsonl -q");
    wait_for("nothing is imported", || imported(&dir) > 0);
    signal(&child, "TERM");
    assert_eq!(ended(&mut child), Some(130));
    ewe(&dir, &["undo", "--db", "d.db"]).success();
    ewe(&dir, &["import", "--db", "d.db", "rows.jsonl", "-q"]).success();
    assert_eq!(
        dir.sql("select status from run where command = 'import' order by id"),
        [["interrupted"], ["done"]]
    );
    assert_eq!(
        number(&dir, "select count(*) from dataset where origin = 'import'"),
        12_000
    );
    ewe(&dir, &["check", "--db", "d.db"]).success();
}

/// Starts what asks `mock`, which answers some other day, and waits until its run is noted and it
/// has asked.
fn asking(dir: &Dir, arguments: &[&str]) -> Child {
    let mut child = shell::spawn(dir, arguments);
    wait_for("there is no run", || {
        if child.try_wait().unwrap().is_some() {
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("{arguments:?} ended: {:?} {said}", child.wait());
        }
        number(dir, "select count(*) from run where status = 'running'") > 0
    });
    std::thread::sleep(Duration::from_millis(300));
    child
}

#[test]
fn a_second_signal_leaves_nothing_and_a_kill_is_noted_by_the_next_run() {
    const LATER: Duration = Duration::from_secs(600);
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    generate(&dir, "12", &mock.url, &[]).success();
    let there = entries(&dir);
    let judge = [
        "judge",
        "--db",
        "d.db",
        "--endpoint",
        mock.url.as_str(),
        "--endpoint-model",
        "mock",
        "--concurrency",
        "2",
    ];
    // Far beyond what the first run has answers for.
    let grow = generation("60", &mock.url, &["--concurrency", "2"]);
    let last = "select status, ended_at is not null from run order by id desc limit 1";
    for arguments in [grow, judge.to_vec()] {
        mock.set_latency(LATER);
        for name in SIGNALS {
            let mut child = asking(&dir, &arguments);
            signal(&child, name);
            let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
            assert!(
                said.any(|line| line.unwrap().contains("once more to leave at once")),
                "{name}"
            );
            signal(&child, name);
            assert_eq!(ended(&mut child), Some(130), "{name}");
            assert_eq!(entries(&dir), there, "{name}");
            assert_eq!(dir.sql(last), [["interrupted", "1"]], "{name}");
        }
        let mut child = asking(&dir, &arguments);
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
        assert_eq!(entries(&dir), there);
    }
}

#[test]
fn a_page_closes_its_dataset() {
    let dir = Dir::with_dataset();
    let there = entries(&dir);
    for name in SIGNALS {
        let mut child = start(&dir, "curate --db d.db --bind 127.0.0.1:0");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(line.contains("http://"), "{line}");
        std::thread::sleep(Duration::from_millis(100));
        signal(&child, name);
        assert_eq!(ended(&mut child), Some(130), "{name}");
        assert_eq!(entries(&dir), there, "{name}");
    }
}

/// Below `nohup` a terminal may be closed, whether the command listens to signals itself or not.
#[test]
fn what_nohup_ignores_stays_ignored() {
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
    let there = entries(&dir);
    let mut child = ignoring(&dir, &["import", "--db", "d.db", "-"]);
    wait_for("it opens nothing", || dir.path("d.db-shm").exists());
    signal(&child, "HUP");
    std::thread::sleep(Duration::from_millis(200));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(rows(3).as_bytes()).unwrap();
    drop(stdin);
    assert_eq!(ended(&mut child), Some(0));
    assert_eq!((imported(&dir), entries(&dir)), (3, there));

    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    mock.set_latency(Duration::from_millis(40));
    let mut child = ignoring(&dir, &generation("12", &mock.url, &[]));
    wait_for("there is no run", || {
        number(&dir, "select count(*) from run where command = 'generate'") > 0
    });
    std::thread::sleep(Duration::from_millis(50));
    signal(&child, "HUP");
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

    /// `ewe merge` into `x.m` of the directory, begun by these words of a shell.
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

    /// Merges without being disturbed, and takes the result away.
    fn merges(dir: &Dir) {
        shell::ran(merge(dir, "")).success();
        assert_eq!(entries(dir), ["x.m"]);
        assert!(dir.path("x.m/model.safetensors").is_file() && dir.path("x.m/tokenizer.json").is_file());
        std::fs::remove_dir_all(dir.path("x.m")).unwrap();
    }

    /// Begins to merge and sends a signal; the exit code. What is faster than the signal is tried
    /// again.
    fn disturbed(dir: &Dir, name: &str) -> Option<i32> {
        for _ in 0..20 {
            let mut child = merge(dir, "").spawn().unwrap();
            wait_for("nothing is begun", || !entries(dir).is_empty());
            signal(&child, name);
            match ended(&mut child) {
                Some(0) => std::fs::remove_dir_all(dir.path("x.m")).unwrap(),
                code => return code,
            }
        }
        panic!("it was over before any signal came");
    }

    #[test]
    fn a_merged_model_is_whole_or_not_there() {
        let dir = Dir::new();
        for name in SIGNALS {
            assert_eq!(disturbed(&dir, name), Some(130), "{name}");
            assert_eq!(entries(&dir), [""; 0], "{name}");
        }
        let left_by_a_kill = |dir: &Dir| {
            let left = entries(dir);
            assert!(left.len() == 1 && left[0].starts_with(".ewe-tmp-"), "{left:?}");
        };
        assert_eq!(disturbed(&dir, "KILL"), None);
        left_by_a_kill(&dir);
        merges(&dir);

        // In the middle of its weights: a full disk, and a process that is killed there.
        let full = shell::ran(merge(&dir, "trap '' XFSZ; ulimit -f 20;"))
            .failure(1)
            .stderr();
        assert!(full.contains("cannot write `x.m/model.safetensors`"), "{full}");
        assert_eq!(entries(&dir), [""; 0]);
        let killed = merge(&dir, "ulimit -c 0; ulimit -f 20;").spawn().unwrap().wait();
        assert_eq!(killed.unwrap().code(), None);
        left_by_a_kill(&dir);
        merges(&dir);

        // An empty folder that stands there is filled, and stays when nothing comes of it.
        std::fs::create_dir(dir.path("x.m")).unwrap();
        shell::ran(merge(&dir, "trap '' XFSZ; ulimit -f 20;")).failure(1);
        assert_eq!(std::fs::read_dir(dir.path("x.m")).unwrap().count(), 0);
        merges(&dir);
    }

    /// Starts a run and waits until it has done some steps.
    fn training(arguments: &[String], out: &Path) -> Child {
        let child = Command::new(EWE_TORCH)
            .env("OMP_NUM_THREADS", "1")
            .args(arguments)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for("the run does not get anywhere", || metrics(out).len() >= 3);
        child
    }

    #[test]
    fn a_run_saves_a_checkpoint_whichever_signal_comes() {
        let scratch = Dir::new();
        let data = rows(&scratch);
        let steps = "--steps 100000 --save-every 0 --batch-size 4";
        let in_backward = format!("{steps} --method full --precision fp32 --update-in-backward");
        for (name, more) in [("HUP", steps), ("TERM", steps), ("INT", in_backward.as_str())] {
            let out = scratch.path(name);
            let mut child = training(&arguments("gptj", &data, &out, more), &out);
            signal(&child, name);
            assert_eq!(ended(&mut child), Some(130), "{name}");
            let saved = std::fs::read_dir(out.join("checkpoints")).unwrap();
            assert_eq!(saved.count(), 1, "{name}");
            assert!(!out.join(".lock").exists(), "{name}");
        }
    }

    #[test]
    fn a_run_on_a_dataset_is_noted_as_interrupted() {
        let dir = Dir::with_dataset();
        let row = |n: u32| serde_json::json!({"instruction": format!("add {n} and 1"), "output": format!("{}", n + 1)});
        let lines: String = (0..12).map(|n| row(n).to_string() + "\n").collect();
        dir.write("rows.jsonl", lines);
        ewe(&dir, &["import", "--db", "d.db", "rows.jsonl", "-q"]).success();
        let there = entries(&dir);
        let out = dir.path("out");
        let more = "--template completion --steps 100000 --save-every 3 --batch-size 4";
        let mut command = arguments("gptj", &dir.path("d.db"), &out, more);
        command[3] = "--db".to_owned();
        let last = "select status from run order by id desc limit 1";
        let mut child = training(&command, &out);
        signal(&child, "HUP");
        assert_eq!(ended(&mut child), Some(130));
        std::fs::remove_dir_all(&out).unwrap();
        assert_eq!(entries(&dir), there);
        assert_eq!(dir.sql(last), [["interrupted"]]);

        // After a kill the run that goes on notes it.
        let mut child = training(&command, &out);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(dir.sql(last), [["running"]]);
        command.push("--resume".to_owned());
        let done = metrics(&out).len();
        let mut child = training(&command, &out);
        wait_for("it does not go on", || metrics(&out).len() > done);
        signal(&child, "TERM");
        assert_eq!(ended(&mut child), Some(130));
        assert_eq!(
            dir.sql("select status from run where command = 'train'"),
            [["interrupted"], ["interrupted"], ["interrupted"]]
        );
    }

    /// Before the first step nothing is to be saved, and nothing stays.
    #[test]
    fn a_run_that_has_not_begun_leaves_nothing() {
        let dir = Dir::new();
        make_pipe(&dir);
        for name in SIGNALS {
            let out = dir.path("out");
            let command = arguments("gptj", &dir.path("pipe"), &out, "--steps 2");
            let mut child = Command::new(EWE_TORCH)
                .args(command)
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            wait_for("nothing is begun", || out.join(".lock").exists());
            signal(&child, name);
            assert_eq!(ended(&mut child), Some(130), "{name}");
            assert_eq!(entries(&dir), ["pipe"], "{name}");
        }
    }

    #[test]
    fn a_server_whose_terminal_is_closed_ends() {
        let server = Server::start("gemma3");
        server.signal("HUP");
        assert_eq!(server.end().0, Some(130));
    }
}

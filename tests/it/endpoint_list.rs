//! `--endpoints FILE`: pools of servers that come and go while a command runs.

use crate::faulty_endpoint::{Asked, Reply, Server, refusal};
use crate::mock::Mock;
use crate::shell::{self, Dir, Ran, ewe};
use crate::support::{export, generate, json, undisturbed};
use crate::waiting::{ended, until};
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const LIST: &str = "pool.txt";

/// Writes the list of these servers.
fn list(dir: &Dir, servers: &[&Server]) {
    let lines: String = servers.iter().map(|server| format!("{}\n", server.url)).collect();
    dir.write(LIST, format!("# the pool\n\n{lines}"));
}

/// Arguments that generate `target` tasks at the endpoints of the list.
fn generation<'a>(target: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let common = [
        "generate",
        "--db",
        "d.db",
        "--target",
        target,
        "--endpoints",
        LIST,
        "--endpoint-model",
        "mock",
        "--backoff",
        "0.01",
    ];
    [&common[..], more].concat()
}

/// What a running command has said so far on standard error.
struct Said(Arc<Mutex<String>>);

impl Said {
    fn by(child: &mut Child) -> Said {
        let said: Arc<Mutex<String>> = Arc::default();
        let (all, stderr) = (said.clone(), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                *all.lock().unwrap() += &(line + "\n");
            }
        });
        Said(said)
    }

    fn all(&self) -> String {
        self.0.lock().unwrap().clone()
    }

    #[track_caller]
    fn wait_for(&self, words: &str) {
        until(words, || self.all().contains(words));
    }
}

#[test]
fn servers_join_and_leave_while_requests_are_in_flight() {
    // Each server answers its first request, and the others once the test says so: four at once.
    let is_open = Arc::new(AtomicBool::new(false));
    let servers: Vec<Server> = (0..8)
        .map(|_| {
            let is_open = is_open.clone();
            Server::start(move |asked: &Asked| match asked.number {
                0 => Reply::Answer,
                _ => Reply::When(is_open.clone()),
            })
        })
        .collect();
    let all: Vec<&Server> = servers.iter().collect();
    let asked = |i: usize| servers[i].asked().len();

    let dir = Dir::with_dataset();
    list(&dir, &all[..6]);
    let wide = ["--concurrency", "4", "--window", "64"];
    let mut child = shell::spawn(&dir, &generation("80", &wide));
    let said = Said::by(&mut child);
    until("four requests in flight at each of six servers", || {
        (0..6).all(|i| asked(i) == 5)
    });
    // Nothing changes while the file is empty or wrong, which is said once.
    dir.write(LIST, "");
    said.wait_for("`pool.txt` has no address; until it is mended");
    dir.write(LIST, "127.0.0.1:8000\n");
    list(&dir, &all[2..]);
    said.wait_for("pool.txt: 2 joined and 2 left; 6 endpoints now");
    until("the new ones are asked", || (6..8).all(|i| asked(i) == 5));
    // One more leaves, and another comes back.
    list(&dir, &[all[1], all[3], all[4], all[5], all[6], all[7]]);
    said.wait_for("pool.txt: 1 joined and 1 left; 6 endpoints now");
    is_open.store(true, Ordering::SeqCst);
    assert!(ended(&mut child).success(), "{}", said.all());

    // Those that left answered what they had, and got nothing more.
    for i in [0, 2] {
        assert_eq!(asked(i), 5);
        assert_eq!(servers[i].answered().values().sum::<usize>(), 5);
    }
    assert!([1, 3, 4, 5, 6, 7].iter().all(|i| asked(*i) > 5));
    assert_eq!(
        said.all().matches("until it is mended").count(),
        1,
        "{}",
        said.all()
    );
    // No request was lost or repeated, and the tasks are those that one server gives.
    let answered: usize = servers
        .iter()
        .map(|server| server.answered().values().sum::<usize>())
        .sum();
    assert_eq!(
        dir.sql("select count(*) from request")[0][0],
        answered.to_string()
    );
    let (alone, mock) = (Dir::with_dataset(), Mock::start());
    generate(&alone, "80", &mock.url, &wide).success();
    assert_eq!(export(&dir), export(&alone));
    // The name of the model does not depend on who answered.
    let names = dir.sql("select distinct model from run where command = 'generate'");
    assert_eq!(names, [["mock at the endpoints of pool.txt"]]);
}

#[test]
fn a_server_of_the_list_that_refuses_everything_is_left_out() {
    let good = Server::start(|_| Reply::After(Duration::from_millis(2)));
    for refused in [401, 404] {
        let bad = Server::start(move |_| refusal(refused, "not yet"));
        let dir = Dir::with_dataset();
        list(&dir, &[&bad, &good]);
        ewe(&dir, &generation("20", &[])).success();
        // If all refuse, the command ends with the server's words.
        list(&dir, &[&bad]);
        let said = ewe(&dir, &generation("40", &[])).failure(1).stderr();
        assert!(said.contains("not yet") && said.contains("hint: "), "{said}");
    }
}

#[test]
fn one_server_that_hangs_holds_nothing_back() {
    // It answers two requests, and keeps all others for ever.
    let never = Arc::new(AtomicBool::new(false));
    let stuck = Server::start(move |asked: &Asked| match asked.number {
        0..2 => Reply::Answer,
        _ => Reply::When(never.clone()),
    });
    let good = Server::start(|_| Reply::Answer);
    let dir = Dir::with_dataset();
    list(&dir, &[&stuck, &good]);
    let mut child = shell::spawn(&dir, &generation("5", &["--timeout", "6000"]));
    let said = Said::by(&mut child);
    assert!(ended(&mut child).success(), "{}", said.all());
    assert!(stuck.asked().len() > 2);
    assert_eq!(export(&dir), undisturbed("5"));
}

#[test]
fn every_command_that_asks_endpoints_takes_a_list() {
    let (a, b) = (Mock::start(), Mock::start());
    let dir = Dir::with_dataset();
    dir.write(LIST, format!("{} weight=2 limit=3 # large\n{}\n", a.url, b.url));
    let rows: Vec<String> = (0..8)
        .map(|n| {
            json!({"instruction": format!("Count flock {n}."), "output": format!("{n} ewes")}).to_string()
        })
        .collect();
    dir.write("rows.jsonl", rows.join("\n"));
    dir.write("ewe.toml", "[judge]\nendpoints = 'pool.txt'\n");
    let all = |line: &str| -> Ran { ewe(&dir, &shell::words(line)) };
    let mut before = 0;
    for line in [
        "generate --db d.db --target 10 --endpoints pool.txt --endpoint-model mock",
        "judge --db d.db --endpoint-model mock",
        "eval --suite instructions=rows.jsonl --endpoints pool.txt --endpoint-model mock --out e.json",
        "compare --a @pool.txt#mock --b @pool.txt#other --no-judge --data rows.jsonl --out c.json",
    ] {
        all(line).success();
        // A few requests may all go to the one that seems quicker.
        let now = a.received() + b.received();
        assert!(now > before, "{line}: {before}, {now}");
        before = now;
    }
    assert!(a.received() > 0 && b.received() > 0);
    let result: serde_json::Value = serde_json::from_str(&dir.read("c.json")).unwrap();
    assert!(
        result.to_string().contains("mock at the endpoints of pool.txt"),
        "{result}"
    );
    let shown = json(ewe(&dir, &["config", "--json", "judge", "--db", "d.db"]));
    assert!(shown.to_string().contains("pool.txt"), "{shown}");
}

#[test]
fn errors_of_a_list_name_file_and_line() {
    let dir = Dir::with_dataset();
    for (text, words) in [
        (
            "http://127.0.0.1:9/v1\n\nhttp:/\n",
            &["pool.txt:3: ", "hint: "][..],
        ),
        (
            "http://127.0.0.1:9/v1 wieght=2\n",
            &["pool.txt:1: `wieght=2`", "hint: "],
        ),
        ("# none\n", &["`pool.txt` has no address", "hint: "]),
        (
            "http://127.0.0.1:9/v1/chat/completions\n",
            &["pool.txt:1: ", "--api"],
        ),
    ] {
        dir.write(LIST, text);
        let said = ewe(&dir, &generation("5", &["--api", "completions"]))
            .failure(1)
            .stderr();
        assert!(words.iter().all(|word| said.contains(word)), "{text}: {said}");
    }
    std::fs::remove_file(dir.path(LIST)).unwrap();
    let said = ewe(&dir, &generation("5", &[])).failure(1).stderr();
    assert!(said.contains("cannot read `pool.txt`"), "{said}");
    dir.make_pipe(LIST);
    let said = ewe(&dir, &generation("5", &[])).failure(1).stderr();
    assert!(said.contains("cannot read `pool.txt`"), "{said}");
    // Both would leave open what a run is a run of.
    let both = generation("5", &["--endpoint", "http://127.0.0.1:9/v1"]);
    let said = ewe(&dir, &both).failure(2).stderr();
    assert!(
        said.contains("--endpoint <URL>") && said.contains("--endpoints <FILE>"),
        "{said}"
    );
    let twice = generation("5", &["--endpoint-model", "other"]);
    let said = ewe(&dir, &twice).failure(1).stderr();
    assert!(said.contains("--endpoint-model is given 2 times"), "{said}");
}

/// The memory of a process, in bytes.
fn memory(child: &Child) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.map_or(0, |line| {
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    })
}

/// Starts an evaluation of so many rows, all of which are asked at once if that is possible.
fn evaluation(dir: &Dir, rows: usize, more: &[&str]) -> Child {
    let row = |n: usize| json!({"instruction": format!("Count flock {n}."), "output": "some"}).to_string();
    dir.write("rows.jsonl", (0..rows).map(row).collect::<Vec<_>>().join("\n"));
    let line = "eval --suite instructions=rows.jsonl --endpoint-model mock --endpoints pool.txt --out e.json \
                --api completions";
    shell::spawn(dir, &[&shell::words(line)[..], more].concat())
}

#[test]
fn requests_in_flight_take_little_memory() {
    // Few enough for the usual bound of open files, on both sides.
    const SERVERS: usize = 8;
    // The memory of a run with so many requests in flight at each server, when all of them are.
    let taken = |at_once: usize| {
        let is_open = Arc::new(AtomicBool::new(false));
        let servers: Vec<Server> = (0..SERVERS)
            .map(|_| {
                let is_open = is_open.clone();
                Server::start(move |asked: &Asked| match asked.number {
                    0 => Reply::Answer,
                    _ => Reply::When(is_open.clone()),
                })
            })
            .collect();
        let dir = Dir::new();
        list(&dir, &servers.iter().collect::<Vec<_>>());
        let mut child = evaluation(
            &dir,
            300,
            &["--concurrency", &at_once.to_string(), "--give-up-after", "0"],
        );
        let said = Said::by(&mut child);
        until("each server has its requests", || {
            servers.iter().all(|server| server.count() == 1 + at_once)
        });
        let taken = memory(&child);
        is_open.store(true, Ordering::SeqCst);
        assert!(ended(&mut child).success(), "{}", said.all());
        taken
    };
    let (few, many) = (taken(1), taken(32));
    let each = many.saturating_sub(few) / (SERVERS * 31);
    // Ten thousand are to fit into 500 MB.
    assert!(each < 50_000, "{each} bytes each: {few}, then {many}");
}

/// 10,000 requests in flight, and what they take.
#[test]
#[ignore = "takes 10,000 open files on both sides; run by `make soak`"]
fn ten_thousand_in_flight_soak() {
    const SERVERS: usize = 8;
    const EACH: usize = 1250;
    // A limit grows with answers, so there are some first; and only while requests wait for their
    // turn rather than for their commit, so an answer takes as long as a model does.
    const ANSWERED: usize = 4000;
    const LATENCY: Duration = Duration::from_secs(2);
    let is_open = Arc::new(AtomicBool::new(false));
    let servers: Vec<Server> = (0..SERVERS)
        .map(|_| {
            let is_open = is_open.clone();
            Server::start(move |asked: &Asked| match asked.number < ANSWERED {
                true => Reply::After(LATENCY),
                false => Reply::When(is_open.clone()),
            })
        })
        .collect();
    let dir = Dir::new();
    list(&dir, &servers.iter().collect::<Vec<_>>());
    let at_once = EACH.to_string();
    let rows = SERVERS * (ANSWERED + EACH);
    let mut child = evaluation(&dir, rows, &["--concurrency", &at_once, "--give-up-after", "0"]);
    let said = Said::by(&mut child);
    until("each server has its requests", || {
        servers.iter().all(|server| server.count() == ANSWERED + EACH)
    });
    let taken = memory(&child);
    println!("{} requests in flight: {} MB", SERVERS * EACH, taken / 1_000_000);
    is_open.store(true, Ordering::SeqCst);
    assert!(ended(&mut child).success(), "{}", said.all());
    assert!(taken < 500_000_000, "{taken} bytes");
}

/// 64 servers of different speed, of which some fail: what they answer together, as a share of what
/// they could.
#[test]
#[ignore = "takes minutes; run by `make soak`"]
fn soak() {
    const SERVERS: usize = 64;
    let slots = |i: usize| 2 + i * 5 % 7;
    let latency = |i: usize| Duration::from_millis(1500 + (i as u64 * 37 % 64) * 100);
    let servers: Vec<Server> = (0..SERVERS)
        .map(|i| {
            Server::start(move |asked: &Asked| match asked.number {
                _ if asked.in_flight > slots(i) => refusal(429, "too many"),
                n if i % 8 == 3 && n % 40 == 39 => refusal(500, "oops"),
                n if i % 8 == 5 && n % 60 == 59 => Reply::Reset(20),
                _ => Reply::After(latency(i)),
            })
        })
        .collect();
    let speed: f64 = (0..SERVERS)
        .map(|i| slots(i) as f64 / latency(i).as_secs_f64())
        .sum();
    let dir = Dir::new();
    list(&dir, &servers.iter().collect::<Vec<_>>());
    let (warm, measured) = (Duration::from_secs(60), Duration::from_secs(120));
    let rows = (speed * 240.0) as usize;
    let mut child = evaluation(&dir, rows, &[]);
    let said = Said::by(&mut child);
    let answered = || {
        let all = servers
            .iter()
            .map(|server| server.answered().values().sum::<usize>());
        all.sum::<usize>() as f64
    };
    crate::waiting::pause(warm);
    let (start, before) = (Instant::now(), answered());
    crate::waiting::pause(measured);
    let rate = (answered() - before) / start.elapsed().as_secs_f64();
    let share = rate / speed;
    println!(
        "{rate:.1} of {speed:.1} requests a second: {:.1} %; {} MB",
        100.0 * share,
        memory(&child) >> 20
    );
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(share >= 0.95, "{share}: {}", said.all());
}

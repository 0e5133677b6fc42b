//! Ranks whose connection drops: the test shuts down a socket of theirs.

use std::fs;
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::Child;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::ranks::{ewe, line, none_left, process_of, start};
use crate::shell::{Dir, signal};
use crate::train::{losses, metrics, rows};
use crate::waiting::{ended, until};

/// The ports of a rank's connections, by the numbers of their sockets among the open files.
fn connections(process: i32) -> Vec<(i32, u16)> {
    let read = |name: &str| fs::read_to_string(format!("/proc/{process}/net/{name}")).unwrap_or_default();
    let tables = read("tcp") + &read("tcp6");
    let connected = |line: &str| {
        let of: Vec<&str> = line.split_whitespace().collect();
        let port = u16::from_str_radix(of.get(2)?.rsplit(':').next()?, 16).ok()?;
        let (state, number) = (*of.get(3)?, *of.get(9)?);
        // A connection that is open.
        (state == "01").then(|| (format!("socket:[{number}]"), port))
    };
    let table: Vec<(String, u16)> = tables.lines().filter_map(connected).collect();
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{process}/fd")).unwrap().flatten() {
        let Ok(target) = fs::read_link(entry.path()) else {
            continue;
        };
        let number = entry.file_name().to_str().unwrap().parse().unwrap();
        let of = table.iter().filter(|(name, _)| target == Path::new(name));
        found.extend(of.map(|(_, port)| (number, *port)));
    }
    found
}

/// The port of the store at which ranks meet.
fn store_of(process: i32) -> u16 {
    let environment = fs::read(format!("/proc/{process}/environ")).unwrap();
    let texts = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let mut ports = texts.filter_map(|text| text.strip_prefix("MASTER_PORT=")?.parse().ok());
    ports.next().unwrap()
}

/// Shuts down connections of rank 1: those to the store, or those to rank 0. Returns whether the
/// system lets a test do that, which some containers do not.
fn cut(run: &Child, is_of_store: bool) -> bool {
    let process = process_of(run, 1);
    let store = store_of(process);
    let pid = Pid::from_raw(process).unwrap();
    let held = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    let sockets: Vec<i32> = connections(process)
        .into_iter()
        .filter(|(_, port)| (*port == store) == is_of_store)
        .map(|(number, _)| number)
        .collect();
    assert!(!sockets.is_empty(), "{:?}", connections(process));
    for number in sockets {
        match pidfd_getfd(&held, number, PidfdGetfdFlags::empty()) {
            Ok(socket) => TcpStream::from(socket).shutdown(Shutdown::Both).unwrap(),
            Err(Errno::PERM | Errno::NOSYS) => {
                eprintln!("not tested: the system lets nobody have the sockets of others");
                return false;
            }
            Err(error) => panic!("{error}"),
        }
    }
    true
}

#[test]
fn a_connection_of_two_ranks_that_drops_ends_all() {
    let dir = Dir::new();
    let (data, out, errors) = (rows(&dir), dir.path("out"), dir.path("errors"));
    let options = "--steps 4000 --save-every 5 --ranks 2 --rank-timeout 3s";
    let mut run = start(line(&data, &out, options), &errors);
    until("steps", || metrics(&out).len() >= 3);
    let is_cut = cut(&run, false);
    if !is_cut {
        signal(run.id(), "KILL");
    }
    let status = ended(&mut run);
    if !is_cut {
        return;
    }
    assert_eq!(status.code(), Some(1));
    let text = fs::read_to_string(&errors).unwrap();
    assert_eq!(text.matches("error: ").count(), 1, "{text}");
    assert!(text.contains("rank"), "{text}");
    none_left(run.id());
}

/// Cuts a connection of a run, and asserts that its result is that of an undisturbed one.
/// Returns what it said.
#[track_caller]
fn comes_to_its_end(is_of_store: bool) -> String {
    let dir = Dir::new();
    let data = rows(&dir);
    let (whole, disturbed, errors) = (dir.path("whole"), dir.path("disturbed"), dir.path("errors"));
    let options = "--steps 60 --save-every 5 --ranks 2 --max-restarts 1";
    ewe(line(&data, &whole, options)).assert().success();
    let mut run = start(line(&data, &disturbed, options), &errors);
    until("steps", || metrics(&disturbed).len() >= 7);
    let is_cut = cut(&run, is_of_store);
    let status = ended(&mut run);
    let said = fs::read_to_string(&errors).unwrap();
    assert!(status.success(), "{said}");
    let file = "adapter_model.safetensors";
    assert!(fs::read(whole.join(file)).unwrap() == fs::read(disturbed.join(file)).unwrap());
    assert_eq!(losses(&whole), losses(&disturbed));
    assert!(
        is_of_store || !is_cut || said.contains("1 of 1 restart"),
        "{said}"
    );
    said
}

#[test]
fn after_a_connection_dropped_the_run_goes_on_by_itself() {
    comes_to_its_end(false);
}

/// Ranks that compute need no store.
#[test]
fn a_run_does_without_its_store_once_it_has_begun() {
    let said = comes_to_its_end(true);
    assert!(!said.contains("restart"), "{said}");
}

//! Programs that accept, refuse, fail, and do not end.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Accepted, Program, ProgramPolicy};

/// Runs a shell script as the program.
fn run(script: &str, input: &str, timeout: u64) -> Accepted {
    let policy = ProgramPolicy {
        allowed: true,
        timeout: Duration::from_millis(timeout),
        ..ProgramPolicy::default()
    };
    let program = Program::parse(&json!(["sh", "-c", script]), &std::env::temp_dir()).expect("a program");
    program.accepts(input, policy)
}

fn fault(accepted: Accepted) -> String {
    match accepted {
        Accepted::Fault(what) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_exit_code_decides_and_the_first_line_says_why() {
    let yes = |said: &str| Accepted::Yes(said.into());
    let no = |why: &str| Accepted::No(why.into());
    assert_eq!(run("exit 0", "", 60_000), yes(""));
    assert_eq!(run("echo; echo fine; echo more", "", 60_000), yes("fine"));
    assert_eq!(run("echo too short; exit 1", "", 60_000), no("too short"));
    assert_eq!(run("exit 3", "", 60_000), no("exit code 3"));
    assert_eq!(run("echo a >&2; echo b >&2; exit 1", "", 60_000), no("b"));
    assert_eq!(
        run("read line; echo \"$line\"", "{\"a\": 1}\n", 60_000),
        yes("{\"a\": 1}")
    );
    // The input is larger than a pipe, and nobody reads it.
    assert_eq!(run("exit 0", &"x".repeat(1 << 20), 60_000), yes(""));
    assert_eq!(
        run("kill -9 $$", "", 60_000),
        Accepted::Fault("was ended by signal 9".into())
    );
}

#[test]
fn a_program_that_does_not_end_is_killed_with_its_children() {
    let start = Instant::now();
    assert_eq!(fault(run("while :; do :; done", "", 300)), "took more than 300ms");
    assert_eq!(fault(run("sleep 60 & sleep 60", "", 300)), "took more than 300ms");
    // The child that it leaves behind holds its output.
    assert_eq!(
        run("sleep 60 & echo done", "", 60_000),
        Accepted::Yes("done".into())
    );
    assert_eq!(
        fault(run("exec >&- 2>&-; sleep 60", "", 300)),
        "took more than 300ms"
    );
    // None of them sleeps to its end.
    assert!(start.elapsed() < Duration::from_secs(55), "{:?}", start.elapsed());
}

#[test]
fn output_without_end_is_cut_off() {
    let start = Instant::now();
    assert_eq!(fault(run("yes", "", 60_000)), "wrote more than 1 MiB");
    assert_eq!(fault(run("yes >&2", "", 60_000)), "wrote more than 1 MiB");
    assert!(start.elapsed() < Duration::from_secs(55), "{:?}", start.elapsed());
}

#[test]
#[cfg(target_os = "linux")]
fn memory_is_limited() {
    let why = match run("dd if=/dev/zero of=/dev/null bs=10G count=1", "", 20_000) {
        Accepted::No(why) => why,
        other => panic!("{other:?}"),
    };
    assert!(why.contains("memory"), "{why}");
}

#[test]
fn the_environment_is_small() {
    let names = "env | grep -v -e ^PWD= -e ^OLDPWD= -e ^SHLVL= -e ^_= -e ^PATH= -e ^HOME= -e ^TMPDIR= -e ^LANG= -e ^LC_ALL=";
    assert_eq!(run(names, "", 60_000), Accepted::No("exit code 1".into()));
}

#[test]
fn a_missing_program_is_a_fault() {
    let program = Program::parse(&json!(["no-such-program-here"]), &std::env::temp_dir()).expect("a program");
    let policy = ProgramPolicy {
        allowed: true,
        ..ProgramPolicy::default()
    };
    assert!(fault(program.accepts("", policy)).contains("cannot run `no-such-program-here`"));
    assert!(program.usable(policy).unwrap_err().contains("is not found"));
    // A file that is no program.
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("check.py"), "text").expect("a file");
    let program = Program::parse(&json!(["./check.py"]), folder.path()).expect("a program");
    assert!(fault(program.accepts("", policy)).contains("check.py"));
}

//! Programs of others, started with limits: private memory, processor time, an environment of a
//! few variables, and a process group of their own, which is killed at their end. On Linux, so are
//! processes that left the group, as `timeout` and `setsid` do.
//!
//! The limits are set by a fixed script of `/bin/sh`, which the program then replaces: only the
//! process itself can set them before its first instruction. The shell reads no word of the program
//! and nothing that it is given.
//!
//! These limits protect from mistakes, not from malice: a process that left its group, and whose
//! parent has ended, escapes them, and a program has the rights of the user.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};

/// Limits private memory (`$1`, in KiB), core files and, for the case that nobody is left to kill
/// it, processor time (`$2`, in seconds), then becomes the program. A lower limit that is already
/// set stays. The address space is not limited, since some runtimes reserve far more than they use.
const LIMITED: &str = r#"ulimit -d "$1" 2>/dev/null || [ "$(ulimit -d)" != unlimited ] || {
echo "cannot limit memory" >&2; exit 126; }
ulimit -c 0; ulimit -t "$2" 2>/dev/null; shift 2; exec "$@""#;

/// The variables of the environment that a program gets, if they are set.
const ENVIRONMENT: [&str; 5] = ["PATH", "HOME", "TMPDIR", "LANG", "LC_ALL"];

/// Processes of a program after which no more are looked for.
const MOST_DESCENDANTS: usize = 10_000;

/// How a program is started.
#[derive(Debug, Clone, Copy)]
pub struct Limited<'a> {
    /// The program.
    pub path: &'a Path,
    /// Its arguments.
    pub arguments: &'a [String],
    /// Where it runs.
    pub folder: &'a Path,
    /// The most private memory of each of its processes, in bytes. macOS does not enforce it.
    pub memory: u64,
    /// The most processor time of each of its processes, in seconds.
    pub seconds: u64,
    /// Variables besides those of our own environment that it gets.
    pub variables: &'a [(&'a str, &'a str)],
}

impl Limited<'_> {
    /// Starts the program in a process group of its own, with pipes to it and from it.
    pub fn start(&self) -> io::Result<(Child, Pid)> {
        let set = ENVIRONMENT
            .into_iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?)));
        let child = Command::new("/bin/sh")
            .args(["-c", LIMITED, "sh"])
            .args([(self.memory >> 10).to_string(), self.seconds.to_string()])
            .arg(self.path)
            .args(self.arguments)
            .current_dir(self.folder)
            .env_clear()
            .envs(set)
            .envs(self.variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let pid = Pid::from_child(&child);
        Ok((child, pid))
    }
}

/// Kills the program with its process group and its descendants, and collects its exit.
pub fn end(child: &mut Child, pid: Pid) -> io::Result<ExitStatus> {
    let family = match is_running(pid) {
        true => stopped(pid),
        // Nothing tells whose children its own were.
        false => Vec::new(),
    };
    // The group is gone if all of it has ended.
    let _ = kill_process_group(pid, Signal::KILL);
    for pid in family {
        let _ = kill_process(pid, Signal::KILL);
    }
    child.wait()
}

/// Whether a child has not ended. Its exit is not collected.
fn is_running(pid: Pid) -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::Pid(pid), look), Ok(None))
}

/// Stops a program and its descendants, so that they start no more, and returns all of them.
fn stopped(pid: Pid) -> Vec<Pid> {
    let mut family = Vec::new();
    let mut more = vec![pid];
    while !more.is_empty() && family.len() < MOST_DESCENDANTS {
        for &pid in &more {
            let _ = kill_process(pid, Signal::STOP);
        }
        family.append(&mut more);
        more = children(&family);
    }
    family
}

/// The children of these processes that are not among them; none where there is no `/proc`.
fn children(family: &[Pid]) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            let stat = fs::read(entry.path().join("stat")).ok()?;
            let is_child = family.contains(&parent(&stat)?) && !family.contains(&pid);
            is_child.then_some(pid)
        })
        .collect()
}

/// The parent in a `stat` of `/proc`: the second fact after the name of the program, which may have
/// any signs.
fn parent(stat: &[u8]) -> Option<Pid> {
    let stat = String::from_utf8_lossy(stat);
    let (_, facts) = stat.rsplit_once(')')?;
    Pid::from_raw(facts.split_whitespace().nth(1)?.parse().ok()?)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    /// Whether a process is there and has not ended.
    fn is_alive(pid: i32) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ")
            .is_some_and(|(_, facts)| !facts.starts_with(['Z', 'X']))
    }

    #[test]
    fn processes_that_left_the_group_end_with_the_program() {
        let script = "setsid sh -c 'sleep 600 & setsid sleep 600 & wait' & wait";
        let arguments = ["-c".to_string(), script.to_string()];
        let limited = Limited {
            path: Path::new("/bin/sh"),
            arguments: &arguments,
            folder: Path::new("."),
            memory: 1 << 30,
            seconds: 60,
            variables: &[],
        };
        let (mut child, pid) = limited.start().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut family = vec![pid];
        // Both shells and both programs that sleep.
        while family.len() < 4 {
            assert!(Instant::now() < deadline, "{family:?}");
            std::thread::sleep(Duration::from_millis(5));
            family.extend(children(&family));
        }
        let started: Vec<i32> = family.iter().map(|pid| pid.as_raw_pid()).collect();
        end(&mut child, pid).unwrap();
        while started.iter().any(|&pid| is_alive(pid)) {
            assert!(Instant::now() < deadline, "{started:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn the_parent_of_a_process_is_told_whatever_its_name() {
        let of = |stat: &[u8]| parent(stat).map(|pid| pid.as_raw_pid());
        assert_eq!(of(b"7 (a) b \xff) S 5 7 7 0"), Some(5));
        assert_eq!(of(b"1 (init) S 0 1"), None);
        assert_eq!(of(b""), None);
    }
}

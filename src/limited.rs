//! Programs of others, started with limits: private memory, processor time, an environment of a
//! few variables, and a process group of their own, which is killed at their end.
//!
//! The limits are set by a fixed script of `/bin/sh`, which the program then replaces: only the
//! process itself can set them before its first instruction. The shell reads no word of the program
//! and nothing that it is given.
//!
//! These limits protect from mistakes, not from malice: a program that leaves its process group
//! escapes them, and it has the rights of the user.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

/// Limits private memory (`$1`, in KiB), core files and, for the case that nobody is left to kill
/// it, processor time (`$2`, in seconds), then becomes the program. A lower limit that is already
/// set stays. The address space is not limited, since some runtimes reserve far more than they use.
const LIMITED: &str = r#"ulimit -d "$1" 2>/dev/null || [ "$(ulimit -d)" != unlimited ] || {
echo "cannot limit memory" >&2; exit 126; }
ulimit -c 0; ulimit -t "$2" 2>/dev/null; shift 2; exec "$@""#;

/// The variables of the environment that a program gets, if they are set.
const ENVIRONMENT: [&str; 5] = ["PATH", "HOME", "TMPDIR", "LANG", "LC_ALL"];

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

/// Kills the process group and collects the program's exit.
pub fn end(child: &mut Child, pid: Pid) -> io::Result<ExitStatus> {
    // The group is gone if all of it has ended.
    let _ = kill_process_group(pid, Signal::KILL);
    child.wait()
}

//! Runs `ewe` as a user would, in a temporary directory, and reads what it left there.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use sqlx::{Connection, Row, SqliteConnection, TypeInfo, ValueRef};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, LazyLock, Once};

/// A directory for one test, removed at its end.
pub struct Dir(tempfile::TempDir);

impl Dir {
    pub fn new() -> Dir {
        hear_signals();
        Dir(tempfile::tempdir().unwrap())
    }

    /// A directory with a dataset `d.db` of the default seeds: a copy of one that `ewe init` makes
    /// once for all tests.
    pub fn with_dataset() -> Dir {
        static MADE: LazyLock<Vec<u8>> = LazyLock::new(|| {
            let dir = Dir::new();
            ewe(&dir, &["init", "--db", "d.db"]).success();
            dir.dataset()
        });
        Dir::with_copy(&MADE)
    }

    /// A directory with this dataset as `d.db`.
    pub fn with_copy(dataset: &[u8]) -> Dir {
        let dir = Dir::new();
        dir.write("d.db", dataset);
        dir
    }

    /// The bytes of `d.db`, which nobody may have open.
    pub fn dataset(&self) -> Vec<u8> {
        assert_eq!(self.entries(), ["d.db"]);
        std::fs::read(self.path("d.db")).unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// The names in the directory, sorted, SQLite's files and locks included.
    pub fn entries(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(".")).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Makes a named pipe, which nobody writes to yet.
    pub fn make_pipe(&self, name: &str) {
        let made = Command::new("mkfifo").arg(self.path(name)).status();
        assert!(made.unwrap().success());
    }

    /// The rows of a query against `d.db`, as text. Reads the file without any code of ewe.
    pub fn sql(&self, query: &str) -> Vec<Vec<String>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let url = format!("sqlite://{}", self.path("d.db").display());
            let mut connection = SqliteConnection::connect(&url).await.unwrap();
            let rows = sqlx::query(sqlx::AssertSqlSafe(query))
                .fetch_all(&mut connection)
                .await
                .unwrap();
            connection.close().await.unwrap();
            let text = |row: &sqlx::sqlite::SqliteRow, i: usize| {
                let kind = row.try_get_raw(i).unwrap().type_info().name().to_string();
                match kind.as_str() {
                    "INTEGER" => row.get::<i64, _>(i).to_string(),
                    "REAL" => row.get::<f64, _>(i).to_string(),
                    "NULL" => String::new(),
                    _ => row.get::<String, _>(i),
                }
            };
            rows.iter()
                .map(|row| (0..row.len()).map(|i| text(row, i)).collect())
                .collect()
        })
    }
}

/// Makes commands start with default signal actions. A child inherits ignored signals, as in a
/// background script or under `nohup`; handled ones are reset to the default in the child, so this
/// installs handlers that do nothing.
fn hear_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let mask = u64::from_str_radix(mask.unwrap().trim(), 16).unwrap();
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            if mask >> (signal - 1) & 1 == 1 {
                signal_hook::flag::register(signal, Arc::default()).unwrap();
            }
        }
    });
}

/// Variables that lead requests elsewhere than to a test's own server.
const PROXIES: [&str; 6] = [
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
];

/// `ewe` with these arguments in the directory, without a terminal, and without a key or a proxy in
/// its environment.
pub fn command(dir: &Dir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ewe"));
    for name in PROXIES {
        command.env_remove(name);
    }
    command
        .args(arguments)
        .current_dir(dir.0.path())
        .env_remove("OPENAI_API_KEY")
        .stdin(Stdio::null());
    command
}

/// Runs `ewe` to its end.
pub fn ewe(dir: &Dir, arguments: &[&str]) -> Ran {
    ran(command(dir, arguments))
}

/// Starts `ewe` and returns at once.
pub fn spawn(dir: &Dir, arguments: &[&str]) -> Child {
    command(dir, arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs `ewe` where no file may grow beyond `blocks` blocks of 512 bytes, which simulates a full
/// disk.
pub fn ewe_limited(dir: &Dir, blocks: u64, arguments: &[&str]) -> Ran {
    let mut shell = Command::new("sh");
    shell
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f \"$1\"; shift; exec \"$@\"",
            "sh",
            &blocks.to_string(),
        ])
        .arg(env!("CARGO_BIN_EXE_ewe"))
        .args(arguments)
        .current_dir(dir.0.path())
        .stdin(Stdio::null());
    ran(shell)
}

/// Sends a signal to a process.
pub fn signal(process: u32, name: &str) {
    let sent = Command::new("kill")
        .args(["-s", name, &process.to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// The arguments of a command line without quotes.
pub fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// Runs a command to its end.
pub fn ran(mut command: Command) -> Ran {
    let shown = format!("{command:?}");
    Ran {
        output: command.output().unwrap(),
        shown,
    }
}

/// A command that has ended.
pub struct Ran {
    output: Output,
    shown: String,
}

impl Ran {
    #[track_caller]
    pub fn success(self) -> Ran {
        self.code(0)
    }

    #[track_caller]
    pub fn failure(self, code: i32) -> Ran {
        self.code(code)
    }

    /// It was refused, as a wrong line or by the command, in these words.
    #[track_caller]
    pub fn refused(self, said: &str) -> Ran {
        assert!(
            matches!(self.output.status.code(), Some(1 | 2)) && self.stderr().contains(said),
            "{}\nwant: {said}\n{}\n{}",
            self.shown,
            self.stdout(),
            self.stderr()
        );
        self
    }

    #[track_caller]
    fn code(self, code: i32) -> Ran {
        assert_eq!(
            self.output.status.code(),
            Some(code),
            "{}\n{}\n{}",
            self.shown,
            self.stdout(),
            self.stderr()
        );
        self
    }

    pub fn stdout(&self) -> String {
        String::from_utf8(self.output.stdout.clone()).unwrap()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }
}

//! Runs `ewe` as a user would, in a directory of the test's own, and looks at what it left there.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use sqlx::{Connection, Row, SqliteConnection, TypeInfo, ValueRef};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Once};

/// A directory for one test, gone when the test has ended.
pub struct Dir(tempfile::TempDir);

impl Dir {
    pub fn new() -> Dir {
        hear_signals();
        Dir(tempfile::tempdir().unwrap())
    }

    /// With a dataset `d.db` of the default seeds.
    pub fn with_dataset() -> Dir {
        let dir = Dir::new();
        ewe(&dir, &["init", "--db", "d.db"]).success();
        dir
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

    /// The rows of a query against `d.db`, as text. No part of ewe is between the test and the file.
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

/// What the tests ignore their commands would ignore, too: Ctrl-C in the background of a script, a
/// terminal that is closed below `nohup`. What somebody hears begins anew with each command, and
/// whoever hears it here does nothing.
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

/// `ewe` with these arguments in the directory, with no terminal and no key in its environment.
pub fn command(dir: &Dir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ewe"));
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

/// Starts `ewe` and lets it run.
pub fn spawn(dir: &Dir, arguments: &[&str]) -> Child {
    command(dir, arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs `ewe` where no file may grow beyond so many blocks of 512 bytes: what a full disk looks like to a program.
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

//! Several validators side by side, which take rows in turn.

use super::process::Process;
use super::{Said, ValidatorConfig};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use tokio::sync::oneshot;

/// Rows in a row without a verdict that end a run.
pub const FAILED: u64 = 10;

/// The validators of a run. Dropping it ends them.
pub struct Validators {
    rows: Option<Sender<Row>>,
    threads: Vec<JoinHandle<()>>,
    closing: Arc<AtomicBool>,
    faults: Mutex<Faults>,
}

/// Rows without a verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// How many there were.
    pub count: u64,
    /// How many of them came last in a row.
    pub in_a_row: u64,
    /// The first: which row, and what went wrong.
    pub first: Option<String>,
}

struct Row {
    line: String,
    reply: oneshot::Sender<Said>,
}

impl Validators {
    /// Prepares validators. They start with their first row.
    pub fn new(config: &ValidatorConfig) -> Validators {
        let (rows, receiver) = channel();
        let receiver = Arc::new(Mutex::new(receiver));
        let closing = Arc::new(AtomicBool::new(false));
        let threads = (0..config.jobs.max(1)).map(|_| {
            let process = Process::new(config.clone(), closing.clone());
            let (receiver, closing) = (receiver.clone(), closing.clone());
            thread::spawn(move || work(process, &receiver, &closing))
        });
        Validators {
            threads: threads.collect(),
            rows: Some(rows),
            closing,
            faults: Mutex::default(),
        }
    }

    /// Asks about a row. `place` names it in messages.
    ///
    /// # Errors
    ///
    /// Once so many rows in a row had no verdict that something is wrong with the validator.
    pub async fn ask(&self, row: &serde_json::Value, place: &str) -> anyhow::Result<Said> {
        let (reply, said) = oneshot::channel();
        let sent = Row {
            line: row.to_string(),
            reply,
        };
        let is_sent = self.rows.as_ref().is_some_and(|rows| rows.send(sent).is_ok());
        let said = match is_sent {
            true => said.await.ok(),
            false => None,
        };
        let said = said.unwrap_or_else(|| Said::Failed("it is not running".into()));
        let mut faults = self.faults.lock().expect("nobody panics with it");
        match &said {
            Said::Failed(what) => {
                faults.count += 1;
                faults.in_a_row += 1;
                let first = faults
                    .first
                    .get_or_insert_with(|| format!("{place}: it {what}"))
                    .clone();
                if faults.in_a_row >= FAILED {
                    anyhow::bail!(
                        "the validator gave no verdict on {FAILED} rows in a row; the first, {first}\nhint: mend it; the same \
                         command goes on, and nothing is asked again"
                    );
                }
            }
            _ => faults.in_a_row = 0,
        }
        Ok(said)
    }

    /// Returns the rows without a verdict so far.
    pub fn faults(&self) -> Faults {
        self.faults.lock().expect("nobody panics with it").clone()
    }
}

impl Drop for Validators {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        self.rows = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn work(mut process: Process, rows: &Mutex<Receiver<Row>>, closing: &AtomicBool) {
    loop {
        let next = match rows.lock() {
            Ok(rows) => rows.recv(),
            Err(_) => return,
        };
        let Ok(Row { line, reply }) = next else { return };
        // Nobody waits for a row of a run that has ended.
        if closing.load(Ordering::Relaxed) || reply.is_closed() {
            continue;
        }
        let _ = reply.send(process.ask(&line));
    }
}

//! `ewe review` in a real terminal: the screen, the keys, and what remains afterwards.

use std::io::{Read, Write};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use crate::{
    shell::Dir,
    support::{block_on, ewe, filled, json, number},
    waiting::{PATIENCE, pause, until},
};
use ewe::store::{Actor, Store};
use ewe::task::Review;

/// A terminal that runs ewe.
pub struct Screen {
    master: Box<dyn MasterPty + Send>,
    child: Box<dyn Child + Send + Sync>,
    writer: Box<dyn Write + Send>,
    parser: Arc<Mutex<vt100::Parser>>,
    /// All bytes that the terminal received.
    sent: Arc<Mutex<Vec<u8>>>,
    /// Lines that [`Screen::enter`] ended.
    entered: usize,
}

impl Screen {
    fn open(dir: &Dir, rest: &[&str], editor: &str, size: (u16, u16)) -> Screen {
        Screen::run(dir, &[&["review", "--db", "d.db"], rest].concat(), editor, size)
    }

    pub fn run(dir: &Dir, args: &[&str], editor: &str, size: (u16, u16)) -> Screen {
        let (rows, cols) = size;
        let pair = native_pty_system()
            .openpty(PtySize {
                rows,
                cols,
                pixel_width: 0,
                pixel_height: 0,
            })
            .unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_ewe"));
        command.args(args);
        command.cwd(dir.path("."));
        command.env("EWE_USER", "ann");
        command.env("TERM", "xterm-256color");
        command.env("EDITOR", editor);
        command.env_remove("VISUAL");
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().unwrap();
        let writer = pair.master.take_writer().unwrap();
        let parser = Arc::new(Mutex::new(vt100::Parser::new(sized(rows), sized(cols), 0)));
        let sent = Arc::new(Mutex::new(Vec::new()));
        let (screen, all) = (parser.clone(), sent.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                // First, so that what led to a screen is there once the screen is.
                all.lock().unwrap().extend_from_slice(&buffer[..count]);
                screen.lock().unwrap().process(&buffer[..count]);
            }
        });
        Screen {
            master: pair.master,
            child,
            writer,
            parser,
            sent,
            entered: 0,
        }
    }

    /// Types at the prompt of a line editor, once it is there: between two prompts, the terminal
    /// itself would take Ctrl-C and Ctrl-D.
    #[track_caller]
    pub fn enter(&mut self, keys: &str) {
        // Each prompt begins with it.
        const PASTE: &[u8] = b"\x1b[?2004h";
        until("a prompt", || {
            let sent = self.sent.lock().unwrap();
            sent.windows(PASTE.len()).filter(|bytes| *bytes == PASTE).count() > self.entered
        });
        self.press(keys);
        self.entered += keys.matches(['\r', '\x03', '\x04']).count();
    }

    pub fn press(&mut self, keys: &str) {
        self.writer.write_all(keys.as_bytes()).unwrap();
        self.writer.flush().unwrap();
    }

    /// Waits until all of these are on the screen.
    #[track_caller]
    pub fn shows(&self, parts: &[&str]) -> String {
        let begin = Instant::now();
        loop {
            let contents = self.parser.lock().unwrap().screen().contents();
            if parts.iter().all(|part| contents.contains(part)) {
                return contents;
            }
            assert!(begin.elapsed() < PATIENCE, "no {parts:?} in\n{contents}");
            pause(Duration::from_millis(5));
        }
    }

    /// Waits until this is no longer on the screen.
    #[track_caller]
    pub fn scrolls_away(&self, part: &str) {
        until("the text to scroll away", || {
            !self.parser.lock().unwrap().screen().contents().contains(part)
        });
    }

    /// The underlined words on the screen.
    fn underlined(&self) -> String {
        let parser = self.parser.lock().unwrap();
        let (rows, cols) = parser.screen().size();
        (0..rows.get())
            .flat_map(|row| (0..cols.get()).map(move |col| (row, col)))
            .filter_map(|(row, col)| parser.screen().cell(row, col))
            .filter(|cell| cell.underline())
            .map(|cell| cell.contents().to_owned())
            .collect()
    }

    fn resize(&self, rows: u16, cols: u16) {
        self.parser
            .lock()
            .unwrap()
            .screen_mut()
            .set_size(sized(rows), sized(cols));
        self.master
            .resize(PtySize {
                rows,
                cols,
                pixel_width: 0,
                pixel_height: 0,
            })
            .unwrap();
    }

    fn signal(&self, name: &str) {
        let id = self.child.process_id().unwrap().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// Waits for the end and asserts that the terminal is restored; returns the exit code.
    #[track_caller]
    pub fn ended(mut self) -> u32 {
        until("the end of the program", || {
            self.child.try_wait().unwrap().is_some()
        });
        let code = self.child.wait().unwrap().exit_code();
        let name = self.master.tty_name().unwrap();
        let settings = Command::new("stty")
            .arg("-a")
            .arg("-F")
            .arg(name)
            .output()
            .unwrap();
        let settings = String::from_utf8(settings.stdout).unwrap();
        assert!(
            settings.contains(" icanon") && settings.contains(" echo "),
            "{settings}"
        );
        until("the usual screen, with its cursor", || {
            let parser = self.parser.lock().unwrap();
            !parser.screen().alternate_screen() && !parser.screen().hide_cursor()
        });
        code
    }
}

fn sized(cells: u16) -> std::num::NonZero<u16> {
    std::num::NonZero::new(cells).expect("a terminal has cells")
}

/// A dataset with `count` pending tasks after the seeds, and the id of the first of them.
fn waiting(count: usize) -> (Dir, i64) {
    let dir = Dir::with_dataset();
    let rows: String = (0..count)
        .map(|n| {
            format!("{{\"instruction\": \"Count to {n}.\", \"input\": \"\", \"output\": \"done {n}\"}}\n")
        })
        .collect();
    dir.write("rows.jsonl", rows);
    ewe(&dir, &["import", "--db", "d.db", "rows.jsonl"]).success();
    let first = number(&dir, "select min(id) from task where origin = 'import'");
    (dir, first)
}

#[test]
fn fifty_tasks_are_reviewed_by_keys() {
    let (dir, first) = waiting(50);
    let mut screen = Screen::open(&dir, &[], "true", (24, 80));
    screen.shows(&["50 in the queue", "Count to 0.", "? shows the keys"]);
    for n in 0..50 {
        screen.shows(&[
            &format!("task {} ", first + n),
            &format!("Count to {n}."),
            &format!("done {n}"),
        ]);
        match n % 3 {
            0 => screen.press("a"),
            1 => {
                screen.press("R");
                screen.shows(&["reason (may be empty)"]);
                screen.press("too dull\r");
            }
            _ => screen.press("j"),
        }
    }
    screen.shows(&["no task", "that was the last one"]);
    let counts =
        dir.sql("select review, count(*) from task where origin = 'import' group by review order by review");
    assert_eq!(
        counts,
        [["accepted", "17"], ["pending", "16"], ["rejected", "17"]]
    );
    assert_eq!(
        number(
            &dir,
            "select count(*) from revision where note = 'too dull' and who = 'ann'"
        ),
        17
    );
    // Back to decided tasks, with undo and redo.
    screen.press("b");
    screen.shows(&[&format!("task {} ", first + 49), "Count to 49.", "rejected"]);
    screen.press("u");
    screen.shows(&["taken back", "pending"]);
    screen.press("u");
    screen.shows(&[&format!("task {} · import · pending", first + 48)]);
    screen.press("U");
    screen.shows(&["done again", &format!("task {} · import · accepted", first + 48)]);
    screen.press("q");
    // What the session did, without what was undone.
    screen.shows(&["17 accepted, 16 rejected; 17 in the queue"]);
    assert_eq!(screen.ended(), 0);
    // The same after a restart.
    let mut screen = Screen::open(&dir, &[], "true", (24, 80));
    screen.shows(&["17 in the queue"]);
    screen.press("u");
    screen.shows(&[
        "taken back",
        &format!("task {} · import · pending", first + 48),
        "18 in the queue",
    ]);
    screen.press("\x03");
    assert_eq!(screen.ended(), 0);
}

#[test]
fn neighbors_are_shown_with_their_own_words_marked() {
    let dir = filled();
    let last = number(&dir, "select max(id) from task");
    let mut screen = Screen::open(&dir, &["--sort", "similar"], "true", (30, 120));
    screen.shows(&[
        "1 of 2 similar",
        "ROUGE-L 0.50",
        "Name an animal. <script>alert(1)</script>",
        "a ewe",
        "score 2 by critic",
    ]);
    let marked = screen.underlined();
    assert!(!marked.is_empty() && !marked.contains("animal"), "{marked}");
    screen.press("\t");
    screen.shows(&["2 of 2 similar", "ROUGE-L 0.25"]);
    screen.press("p");
    screen.shows(&["where it came from", "Come up with tasks:", "3. Hm."]);
    screen.press("?");
    screen.shows(&["reject, with a reason", "leave; everything is saved"]);
    screen.press("x/late invoices\r");
    screen.shows(&["“late invoices”", "0 in the queue", "nothing in this queue"]);
    screen.press("f");
    screen.shows(&[
        "accepted",
        &format!("task {last} "),
        "invoice 1: late",
        "output 1",
    ]);
    // In a narrow terminal they are one below the other.
    screen.resize(30, 60);
    let narrow = screen.shows(&["1 of 1 similar", "List the late invoices."]);
    let line = |part: &str| narrow.lines().position(|line| line.contains(part)).unwrap();
    assert!(
        line("1 of 1 similar") > line("List the late invoices."),
        "{narrow}"
    );
    screen.resize(3, 10);
    screen.resize(30, 120);
    screen.shows(&["1 of 1 similar", "List the late invoices."]);
    screen.press("q");
    assert_eq!(screen.ended(), 0);
}

#[test]
fn edits_go_through_the_editor() {
    let (dir, first) = waiting(2);
    let mut screen = Screen::open(&dir, &[], "sed -i s/done/finished/", (24, 80));
    screen.shows(&["done 0"]);
    screen.press("e");
    screen.shows(&["finished 0", &format!("task {first} edited"), "last edit by ann"]);
    screen.press("u");
    screen.shows(&["done 0", "taken back"]);
    screen.press("q");
    assert_eq!(screen.ended(), 0);
    let mut screen = Screen::open(&dir, &[], "false", (24, 80));
    screen.shows(&["done 0"]);
    screen.press("e");
    screen.shows(&["the editor `false` ended with"]);
    screen.press("q");
    assert_eq!(screen.ended(), 0);
}

#[test]
fn a_task_changed_meanwhile_is_not_decided() {
    let (dir, first) = waiting(3);
    let mut screen = Screen::open(&dir, &[], "true", (24, 100));
    screen.shows(&["done 0"]);
    let id = first.to_string();
    ewe(&dir, &["edit", "--db", "d.db", &id, "--output", "theirs 0"]).success();
    screen.press("a");
    screen.shows(&[
        "as you saw it",
        "done 0",
        "as it is now",
        "theirs 0",
        "nothing was decided",
    ]);
    assert!(screen.underlined().contains("theirs"), "{}", screen.underlined());
    assert_eq!(
        dir.sql(&format!("select review from task where id = {id}")),
        [["pending"]]
    );
    screen.press("\r");
    screen.shows(&["nothing of yours was saved", "theirs 0"]);
    screen.press("a");
    screen.shows(&["Count to 1."]);
    screen.press("q");
    assert_eq!(screen.ended(), 0);
    // Another user saves while the editor is open.
    let program = format!(
        "sed -i s/done/mine/ \"$@\"; {} edit --db d.db {} --output 'theirs 1' >&2; :",
        env!("CARGO_BIN_EXE_ewe"),
        first + 1
    );
    dir.write("editor.sh", program);
    let mut screen = Screen::open(&dir, &[], "sh editor.sh", (24, 100));
    screen.shows(&["done 1"]);
    screen.press("e");
    screen.shows(&["yours, not saved", "mine 1", "as it is now", "theirs 1"]);
    let output = format!("select output from instance where task_id = {}", first + 1);
    assert_eq!(dir.sql(&output), [["theirs 1"]]);
    screen.press("o");
    screen.shows(&["edited", "mine 1"]);
    assert_eq!(dir.sql(&output), [["mine 1"]]);
    screen.press("q");
    assert_eq!(screen.ended(), 0);
}

#[test]
fn control_characters_in_rows_are_escaped() {
    let (dir, first) = waiting(1);
    let hostile = "A\x1b[2J\x1b]0;title\x07 b\u{9b}31m \u{202e}back\r\x08 \x1b[?1049l end";
    dir.sql(&format!(
        "update task set instruction = '{hostile}', name = '{hostile}' where id = {first}"
    ));
    let mut screen = Screen::open(&dir, &[], "true", (24, 100));
    screen.shows(&["A␛[2J␛]0;title␇ b", "end", "done 0"]);
    screen.press("/\u{202e}x");
    screen.shows(&["words: ", "x▏"]);
    // A key that follows Esc at once would form one key with it.
    screen.press("\x1b");
    screen.shows(&["? shows the keys"]);
    screen.press("q");
    let sent = screen.sent.clone();
    assert_eq!(screen.ended(), 0);
    let sent = String::from_utf8(sent.lock().unwrap().clone()).unwrap();
    for part in ["\x1b[2J\x1b]", "\x1b]0;", "\u{9b}", "\u{202e}", "\x07"] {
        assert!(!sent.contains(part), "{part:?} was sent");
    }
}

#[test]
fn signals_restore_the_terminal_and_kills_lose_nothing() {
    let (dir, first) = waiting(3);
    for (signal, code) in [("-TERM", 130), ("-HUP", 130), ("-INT", 130)] {
        let screen = Screen::open(&dir, &[], "true", (24, 80));
        screen.shows(&["done 0"]);
        screen.signal(signal);
        assert_eq!(screen.ended(), code, "{signal}");
    }
    let mut screen = Screen::open(&dir, &[], "true", (24, 80));
    screen.shows(&["done 0"]);
    screen.press("a");
    screen.shows(&["done 1"]);
    screen.signal("-KILL");
    screen.child.wait().unwrap();
    assert_eq!(
        dir.sql(&format!("select review from task where id = {first}")),
        [["accepted"]]
    );
    assert_eq!(dir.sql("pragma integrity_check"), [["ok"]]);
    let log = json(ewe(&dir, &["log", "--db", "d.db", "--json"]));
    assert_eq!(log[0]["action"], "accept");
}

/// Closes the terminal of `ewe review` once it draws, and prints how the command ends.
const CLOSE: &str = r#"
import os, pty, sys, time
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[1], sys.argv[1:])
seen = b""
while b"?1049h" not in seen:
    seen += os.read(terminal, 4096)
time.sleep(0.3)
os.close(terminal)
for _ in range(1200):
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
        sys.exit(print(os.waitstatus_to_exitcode(status)))
    time.sleep(0.1)
os.kill(child, 9)
print("still there")
"#;

#[test]
fn closing_the_terminal_ends_review() {
    let (dir, _) = waiting(1);
    let out = Command::new("python3")
        .args(["-c", CLOSE, env!("CARGO_BIN_EXE_ewe"), "review", "--db", "d.db"])
        .current_dir(dir.path("."))
        .env("TERM", "xterm-256color")
        .output()
        .unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    assert_eq!(said, "130\n", "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn a_bulk_review_asks_first() {
    let (dir, first) = waiting(3);
    let reject = ["reject", "--db", "d.db", "--review", "pending"];
    let pending = || number(&dir, "select count(*) from task where review = 'pending'");
    let all = pending();
    for answer in ["\r", "n\r", "yesterday\r", "\u{4}"] {
        let mut screen = Screen::run(&dir, &reject, "true", (24, 100));
        screen.shows(&[&format!(
            "{all} tasks will become rejected, as one action. Go on? [y/N]"
        )]);
        screen.press(answer);
        screen.shows(&["nothing was changed"]);
        assert_eq!(screen.ended(), 1, "{answer:?}");
        assert_eq!(pending(), all);
    }
    // Another user was faster: the number in question has changed.
    let mut screen = Screen::run(&dir, &reject, "true", (24, 100));
    screen.shows(&["[y/N]"]);
    ewe(&dir, &["accept", "--db", "d.db", &first.to_string()]).success();
    screen.press("y\r");
    screen.shows(&[&format!("it would be {} tasks by now, not {all}", all - 1)]);
    assert_eq!((screen.ended(), pending()), (1, all - 1));
    let mut screen = Screen::run(&dir, &reject, "true", (24, 100));
    screen.shows(&["[y/N]"]);
    screen.press("y\r");
    screen.shows(&[&format!("{} tasks rejected", all - 1)]);
    assert_eq!(screen.ended(), 0);
    assert_eq!(pending(), 0);
}

#[test]
fn without_a_terminal_review_names_the_alternatives() {
    let (dir, _) = waiting(1);
    let out = ewe(&dir, &["review", "--db", "d.db"]).failure(1);
    assert!(
        out.stderr().contains("needs a terminal\nhint: "),
        "{}",
        out.stderr()
    );
}

#[test]
fn decisions_by_others_appear() {
    let (dir, first) = waiting(2);
    let screen = Screen::open(&dir, &[], "true", (24, 100));
    screen.shows(&["done 0"]);
    block_on(async {
        let store = Store::open(&dir.path("d.db")).await.unwrap();
        let actor = Actor {
            who: "bob",
            note: None,
        };
        store.review(&[first], Review::Rejected, actor).await.unwrap();
    });
    let mut screen = screen;
    screen.press("a");
    screen.shows(&["nothing was decided", "rejected"]);
    screen.press("\rq");
    assert_eq!(screen.ended(), 0);
    assert_eq!(
        dir.sql(&format!("select review from task where id = {first}")),
        [["rejected"]]
    );
}

#[test]
fn a_small_terminal_shows_what_there_is_and_says_if_there_is_more() {
    let dir = Dir::with_dataset();
    let long = (1..=60)
        .map(|n| format!("Line {n} of it."))
        .collect::<Vec<_>>()
        .join("\\n");
    dir.write(
        "rows.jsonl",
        format!(
            "{{\"instruction\":\"Count the lines of a long text.\",\"input\":\"\",\"output\":\"{long}\"}}\n"
        ),
    );
    ewe(&dir, &["import", "--db", "d.db", "rows.jsonl"]).success();
    let mut screen = Screen::open(&dir, &[], "true", (15, 60));
    screen.shows(&[
        "Count the lines",
        "Line 3 of it.",
        "more below: ↓",
        "a accept · r reject",
        "? shows the keys · q leave",
    ]);
    // The wheel of a mouse comes as arrows.
    let sent = String::from_utf8_lossy(&screen.sent.lock().unwrap()).into_owned();
    assert!(sent.contains("\x1b[?1007h"));
    screen.press("\x1b[B\x1b[B\x1b[B");
    screen.scrolls_away("Count the lines");
    screen.press(&"\x1b[6~".repeat(20));
    screen.shows(&["Line 60 of it."]);
    screen.scrolls_away("more below");
    // No further than the text goes.
    screen.press(&"\x1b[B".repeat(30));
    screen.shows(&["Line 60 of it."]);
    // All keys, whatever the height.
    screen.press("?");
    screen.shows(&["reject, with a reason", "more below: ↓"]);
    screen.press(&"\x1b[B".repeat(20));
    screen.shows(&["leave; everything is saved"]);
    screen.press("x");
    screen.shows(&["Count the lines"]);
    // The similar task, where there is room for one only, on a key.
    screen.press("n");
    screen.shows(&["1 of 10 similar"]);
    screen.press("/nosuchword\r");
    screen.shows(&["nothing in this queue"]);
    screen.press("c");
    screen.shows(&["Count the lines"]);
    screen.press("r");
    screen.shows(&["rejected", "that was the last one"]);
    screen.press("q");
    screen.shows(&["1 rejected; 0 in the queue"]);
    assert_eq!(screen.ended(), 0);
}

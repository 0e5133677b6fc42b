//! Waiting for what another process or thread does. Machines may be slow and busy: tests wait for an
//! event, as long as it takes, and no test sleeps and hopes.

use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// How long anything may take. Only a fault takes longer, so it may be generous.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until something is so.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "in vain for: {what}");
        pause(Duration::from_millis(3));
    }
}

/// Waits for the end of a process without closing its standard input. Kills one that goes on.
#[track_caller]
pub fn ended(child: &mut Child) -> ExitStatus {
    let begun = Instant::now();
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return status,
            None if begun.elapsed() > PATIENCE => {
                let _ = child.kill();
                panic!("it goes on");
            }
            None => pause(Duration::from_millis(3)),
        }
    }
}

/// Lets time pass. For waits that are a part of the test itself: moments for a signal or a kill, which
/// may be any, a slow client, and time in which nothing must happen. What follows must hold however
/// long it takes; for an event there is [`until`].
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

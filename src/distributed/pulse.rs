//! Signs of life: each rank tells the store every few seconds how far it is, and reads how far the
//! others are. So a rank that waits can tell one that computes from one that is gone, and name it.
//!
//! All of it is on a thread of its own with its own connection: the store may be the one that does
//! not answer. Time is counted in rounds of that thread, which stop with the process: after a pause
//! (Ctrl-Z) nobody has been silent.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tch::TchError;

use crate::shim::distributed::Store;

/// The key of a rank's signs of life, before its number.
const KEY: &str = "pulse/";

/// What a rank says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Beat {
    /// Signs so far.
    count: u64,
    /// Collectives that it has begun.
    collectives: u64,
    /// Whether it does something that the others have no part in, such as saving.
    busy: bool,
}

impl fmt::Display for Beat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.count, self.collectives, u8::from(self.busy))
    }
}

impl Beat {
    fn parse(text: &str) -> Option<Beat> {
        let numbers: Vec<u64> = text.split(' ').map_while(|number| number.parse().ok()).collect();
        match numbers[..] {
            [count, collectives, busy] => Some(Beat {
                count,
                collectives,
                busy: busy != 0,
            }),
            _ => None,
        }
    }
}

/// What is known of another rank.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    beat: Option<Beat>,
    /// Rounds since it last said something new.
    same: u32,
}

/// What the threads of this rank share.
#[derive(Debug)]
struct Shared {
    collectives: AtomicU64,
    busy: AtomicBool,
    /// Of each rank.
    seen: Mutex<Vec<Seen>>,
    /// Rounds in which the store answered.
    rounds: AtomicU64,
}

/// The signs of life of all ranks.
#[derive(Debug, Clone)]
pub struct Pulse {
    rank: usize,
    interval: Duration,
    shared: Arc<Shared>,
}

impl Pulse {
    /// Begins to give signs and to read those of the others, every `interval`.
    pub fn begin(store: Store, rank: usize, size: usize, interval: Duration) -> Pulse {
        let pulse = Pulse::new(rank, size, interval);
        let own = pulse.clone();
        std::thread::spawn(move || own.go_on(&store, size));
        pulse
    }

    fn new(rank: usize, size: usize, interval: Duration) -> Pulse {
        let shared = Arc::new(Shared {
            collectives: AtomicU64::new(0),
            busy: AtomicBool::new(false),
            seen: Mutex::new(vec![Seen::default(); size]),
            rounds: AtomicU64::new(0),
        });
        Pulse {
            rank,
            interval,
            shared,
        }
    }

    fn go_on(&self, store: &Store, size: usize) {
        for count in 1.. {
            let beat = Beat {
                count,
                collectives: self.shared.collectives.load(Ordering::SeqCst),
                busy: self.shared.busy.load(Ordering::SeqCst),
            };
            let told = store.set(&format!("{KEY}{}", self.rank), &beat.to_string());
            // A store that is gone stays so; who waits will see that there are no more rounds.
            match told.and_then(|()| store.get_all(KEY, size)) {
                Ok(beats) => self.note(&beats),
                Err(error) => tracing::debug!("no signs of life: {error}"),
            }
            std::thread::sleep(self.interval);
        }
    }

    fn note(&self, beats: &[String]) {
        let mut seen = lock(&self.shared.seen);
        for (seen, beat) in seen.iter_mut().zip(beats) {
            let beat = Beat::parse(beat);
            let same = if seen.beat == beat { seen.same + 1 } else { 0 };
            *seen = Seen { beat, same };
        }
        self.shared.rounds.fetch_add(1, Ordering::SeqCst);
    }

    /// Returns the number of rounds in which the store has answered.
    pub fn rounds(&self) -> u64 {
        self.shared.rounds.load(Ordering::SeqCst)
    }

    /// Counts a collective that this rank begins. Returns its number.
    pub fn begin_collective(&self) -> u64 {
        self.shared.collectives.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Says whether this rank does something for which the others wait as long as it takes.
    pub fn set_busy(&self, busy: bool) {
        self.shared.busy.store(busy, Ordering::SeqCst);
    }

    /// Returns a rank that has given no sign for `silence`.
    pub fn silent(&self, silence: Duration) -> Option<usize> {
        let seen = lock(&self.shared.seen);
        let is_silent =
            |(rank, seen): &(usize, &Seen)| *rank != self.rank && self.interval * seen.same > silence;
        seen.iter().enumerate().find(is_silent).map(|(rank, _)| rank)
    }

    /// Returns the ranks that have not begun collective `number`, each with whether it is busy.
    pub fn behind(&self, number: u64) -> Vec<(usize, bool)> {
        let seen = lock(&self.shared.seen);
        let others = seen.iter().enumerate().filter(|(rank, _)| *rank != self.rank);
        let behind = others.filter_map(|(rank, seen)| {
            let beat = seen.beat?;
            (beat.collectives < number).then_some((rank, beat.busy))
        });
        behind.collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns whether an error of libtorch says that another rank is gone.
pub fn is_gone(error: &TchError) -> bool {
    let text = error.to_string();
    [
        "closed by peer",
        "reset by peer",
        "Broken pipe",
        "Connection refused",
    ]
    .iter()
    .any(|words| text.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_that_says_nothing_new_is_silent() {
        let pulse = Pulse::new(0, 3, Duration::from_secs(1));
        let note = |own: u64, other: u64| {
            pulse.note(&[format!("{own} 2 0"), format!("{other} 2 1"), "3 1 0".to_owned()]);
        };
        let silence = Duration::from_secs(2);
        note(5, 7);
        assert_eq!(pulse.behind(2), [(2, false)]);
        assert_eq!(pulse.behind(3), [(1, true), (2, false)]);
        for round in 1..3 {
            note(5, 7 + round);
            assert_eq!(pulse.silent(silence), None);
        }
        note(5, 10);
        assert_eq!(pulse.silent(silence), Some(2), "not the rank itself");
        assert_eq!(pulse.rounds(), 4);
    }

    #[test]
    fn a_beat_is_read_as_it_was_written() {
        let beat = Beat {
            count: 3,
            collectives: 8,
            busy: true,
        };
        assert_eq!(Beat::parse(&beat.to_string()), Some(beat));
        assert_eq!(Beat::parse("3 8"), None);
        assert_eq!(Beat::parse(""), None);
    }
}

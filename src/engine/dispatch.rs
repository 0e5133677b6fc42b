//! One queue in front of the engines of a model, one engine for each device. A request goes to an
//! engine as soon as one has a place for it, in order of arrival, and waits here until then. An
//! engine that fails is left out, and its requests go to the others.
//!
//! - [`choice`]: which engine gets a request.
//! - [`prefixes`]: what the engines have in their prefix caches, as far as one can tell from here.

mod choice;
mod prefixes;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc};

use super::prefix::AdaptedPrompt;
use choice::Candidate;
use prefixes::{KnownPrefixes, Marks};

/// The most engines: those that a request was given to are bits of a number.
pub const MOST_ENGINES: usize = 64;

/// What is dispatched: a request, or in tests something like it.
pub trait Job: Send + Sized + 'static {
    /// Returns the prompt, by which the engine is chosen.
    fn prompt(&self) -> AdaptedPrompt<'_>;

    /// Whether nobody waits for it any more.
    fn gone(&self) -> bool;

    /// Returns its way through the engines.
    fn way(&mut self) -> &mut Way;

    /// Ends it, since no engine is left that could take it.
    fn stopped(self, reason: &str);
}

/// The way of a job through the engines.
#[derive(Default)]
pub struct Way {
    /// Engines that failed while they had it, a bit each.
    pub tried: u64,
    /// Its place with the engine that has it; none in the queue.
    pub place: Option<Place>,
}

/// A job's place with an engine. Dropped when the job has ended, so that the next one gets it.
pub struct Place {
    engine: usize,
    of: Weak<dyn Places>,
}

/// Who gives places.
trait Places: Send + Sync {
    /// Takes a place back.
    fn left(&self, engine: usize);
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(of) = self.of.upgrade() {
            of.left(self.engine);
        }
    }
}

/// An engine, as the dispatcher is told of it.
pub struct Seat<J> {
    /// The name of its device.
    pub name: String,
    /// Requests that it runs at once.
    pub capacity: usize,
    /// Tokens of its prefix cache.
    pub prefix_tokens: usize,
    /// Where it takes its requests from.
    pub jobs: mpsc::Sender<Vec<J>>,
}

/// How an engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    /// It gets requests.
    Up,
    /// It failed several times in a row. It gets requests only if no other engine does, until a
    /// step succeeds.
    Resting,
    /// It gets none any more.
    Out,
}

/// An engine, as the dispatcher knows it.
struct Member<J> {
    name: String,
    capacity: usize,
    /// The most jobs that it may have at once: some more than it runs, so that it need not wait.
    most: usize,
    /// Jobs that it has.
    load: usize,
    condition: Condition,
    /// Whether people were told that it failed.
    is_said: bool,
    known: KnownPrefixes,
    /// None once it is out.
    jobs: Option<mpsc::Sender<Vec<J>>>,
}

/// The queue and its engines.
struct Queue<J> {
    waiting: VecDeque<J>,
    members: Vec<Member<J>>,
    /// Why no engine is left, if so.
    over: Option<String>,
}

/// The queue in front of the engines, shared by those who ask and the engines' threads.
pub struct Dispatcher<J> {
    queue: Mutex<Queue<J>>,
    me: Weak<Dispatcher<J>>,
}

impl<J: Job> Dispatcher<J> {
    /// Returns a queue in front of these engines, at least one. A single one gets everything at
    /// once: it has a queue of its own.
    pub fn new(seats: Vec<Seat<J>>) -> Arc<Dispatcher<J>> {
        assert!(
            (1..=MOST_ENGINES).contains(&seats.len()),
            "engines: {}",
            seats.len()
        );
        let is_alone = seats.len() == 1;
        let member = |seat: Seat<J>| Member {
            name: seat.name,
            most: match is_alone {
                true => usize::MAX,
                false => seat.capacity + (seat.capacity / 4).max(1),
            },
            capacity: seat.capacity.max(1),
            load: 0,
            condition: Condition::Up,
            is_said: false,
            known: KnownPrefixes::new(seat.prefix_tokens),
            jobs: Some(seat.jobs),
        };
        let queue = Queue {
            waiting: VecDeque::new(),
            members: seats.into_iter().map(member).collect(),
            over: None,
        };
        Arc::new_cyclic(|me| Dispatcher {
            queue: Mutex::new(queue),
            me: me.clone(),
        })
    }

    /// Adds jobs to the queue, in this order.
    ///
    /// # Errors
    ///
    /// Returns why no engine is left.
    pub fn submit(&self, jobs: Vec<J>) -> Result<(), String> {
        let mut queue = self.locked();
        if let Some(reason) = &queue.over {
            return Err(reason.clone());
        }
        queue.waiting.extend(jobs);
        self.pass_on(queue);
        Ok(())
    }

    /// Returns how many jobs wait for an engine.
    pub fn waiting(&self) -> usize {
        self.locked().waiting.len()
    }

    /// Puts jobs of an engine that failed, with `reason`, back to the front of the queue: those
    /// that it ran, and behind them those that `waited` there, each in this order. A job ends with
    /// the reason if all engines have failed while they ran it.
    pub fn take_back(&self, engine: usize, mut ran: Vec<J>, mut waited: Vec<J>, reason: &str) {
        ran.iter_mut().for_each(|job| job.way().tried |= 1 << engine);
        // Before the lock: a place takes it, too.
        let jobs = ran.iter_mut().chain(&mut waited);
        jobs.for_each(|job| job.way().place = None);
        let mut queue = self.locked();
        queue.members[engine].known.clear();
        let there = queue.there();
        let mut ended = Vec::new();
        for mut job in ran.into_iter().chain(waited).rev() {
            match there & !job.way().tried {
                0 => ended.push(job),
                _ => queue.waiting.push_front(job),
            }
        }
        self.pass_on(queue);
        ended.into_iter().rev().for_each(|job| job.stopped(reason));
    }

    /// Gives an engine no more jobs while there are others, after it has failed several times.
    pub fn rest(&self, engine: usize, reason: &str) {
        let mut queue = self.locked();
        if queue.members[engine].condition == Condition::Up {
            queue.members[engine].condition = Condition::Resting;
            queue.say(engine, "fails again and again, so others come first", reason);
        }
    }

    /// Gives an engine jobs again, since it has succeeded.
    pub fn wake(&self, engine: usize) {
        let mut queue = self.locked();
        if queue.members[engine].condition == Condition::Resting {
            queue.members[engine].condition = Condition::Up;
            self.pass_on(queue);
        }
    }

    /// Gives an engine no more jobs, ever. Afterwards, nothing is sent to it any more; what it was
    /// sent goes back by [`Dispatcher::take_back`]. If it was the last, everything that waits ends
    /// with the reason.
    pub fn leave_out(&self, engine: usize, reason: &str) {
        let mut queue = self.locked();
        queue.members[engine].condition = Condition::Out;
        queue.members[engine].jobs = None;
        if queue
            .members
            .iter()
            .any(|member| member.condition != Condition::Out)
        {
            queue.say(engine, "is left out", reason);
            self.pass_on(queue);
            return;
        }
        queue.over = Some(reason.to_owned());
        let ended = std::mem::take(&mut queue.waiting);
        drop(queue);
        ended.into_iter().for_each(|job| job.stopped(reason));
    }

    /// Returns whether an engine but this one gets jobs.
    pub fn are_others_up(&self, engine: usize) -> bool {
        let queue = self.locked();
        let mut members = queue.members.iter().enumerate();
        members.any(|(index, member)| index != engine && member.condition == Condition::Up)
    }

    /// Returns whether no engine is left.
    pub fn is_over(&self) -> bool {
        self.locked().over.is_some()
    }

    /// Lets the engines end once they have nothing to do. What waits is dropped.
    pub fn close(&self) {
        let mut queue = self.locked();
        queue.members.iter_mut().for_each(|member| member.jobs = None);
        let waiting = std::mem::take(&mut queue.waiting);
        drop(queue);
        drop(waiting);
    }

    /// Passes on what engines have places for, and unlocks the queue.
    fn pass_on(&self, mut queue: MutexGuard<'_, Queue<J>>) {
        let me: Weak<dyn Places> = self.me.clone();
        let gone = queue.pass_on(&me);
        drop(queue);
        // Only now: what a job holds is none of ours.
        drop(gone);
    }

    fn locked(&self) -> MutexGuard<'_, Queue<J>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<J: Job> Places for Dispatcher<J> {
    fn left(&self, engine: usize) {
        let mut queue = self.locked();
        let member = &mut queue.members[engine];
        member.load = member.load.saturating_sub(1);
        self.pass_on(queue);
    }
}

impl<J: Job> Queue<J> {
    /// Sends jobs to the engines that have places, in order of arrival. Returns those that nobody
    /// waits for any more.
    fn pass_on(&mut self, places: &Weak<dyn Places>) -> Vec<J> {
        let mut gone = Vec::new();
        let mut sent: Vec<Vec<J>> = self.members.iter().map(|_| Vec::new()).collect();
        let mut index = 0;
        while index < self.waiting.len() && self.has_place() {
            if self.waiting[index].gone() {
                gone.extend(self.waiting.remove(index));
                continue;
            }
            let marks = Marks::of(self.waiting[index].prompt());
            let tried = self.waiting[index].way().tried;
            let Some(engine) = self.choose(&marks, tried) else {
                // Another one, since the engines with a place have failed with this one.
                index += 1;
                continue;
            };
            let Some(mut job) = self.waiting.remove(index) else {
                break;
            };
            job.way().place = Some(Place {
                engine,
                of: places.clone(),
            });
            self.members[engine].load += 1;
            self.members[engine].known.add(&marks);
            sent[engine].push(job);
        }
        for (member, jobs) in self.members.iter().zip(sent) {
            // Nobody takes them once the queue is closed: an engine's thread that ends for another
            // reason says so before it lets go of its receiver.
            gone.extend(match &member.jobs {
                Some(sender) if !jobs.is_empty() => {
                    let sent = sender.send(jobs);
                    sent.err().map_or_else(Vec::new, |mpsc::SendError(jobs)| jobs)
                }
                _ => jobs,
            });
        }
        gone
    }

    /// Whether an engine that may get jobs has a place.
    fn has_place(&self) -> bool {
        let are_any_up = self.are_any_up();
        let mut members = self.members.iter();
        members.any(|member| member.may_take(are_any_up) && member.load < member.most)
    }

    /// Returns the engine that gets a job whose prompt has these marks, if one has a place that it
    /// was not `tried` with.
    fn choose(&self, marks: &Marks, tried: u64) -> Option<usize> {
        let are_any_up = (0..self.members.len())
            .any(|index| tried & (1 << index) == 0 && self.members[index].condition == Condition::Up);
        let candidates = self.members.iter().enumerate().filter(|(index, member)| {
            tried & (1 << index) == 0 && member.may_take(are_any_up) && member.load < member.most
        });
        let candidates = candidates.map(|(index, member)| Candidate {
            index,
            load: member.load as f64 / member.capacity as f64,
            known: member.known.longest(marks),
        });
        choice::choose(&candidates.collect::<Vec<_>>(), marks.tokens())
    }

    fn are_any_up(&self) -> bool {
        self.members
            .iter()
            .any(|member| member.condition == Condition::Up)
    }

    /// Returns the engines that are not out, a bit each.
    fn there(&self) -> u64 {
        let members = self.members.iter().enumerate();
        let there = members.filter(|(_, member)| member.condition != Condition::Out);
        there.fold(0, |bits, (index, _)| bits | 1 << index)
    }

    /// Tells people, once, that an engine failed.
    fn say(&mut self, engine: usize, what: &str, reason: &str) {
        let others = self.members.iter().enumerate();
        let others = others.filter(|&(index, member)| index != engine && member.condition == Condition::Up);
        let others: Vec<&str> = others.map(|(_, member)| member.name.as_str()).collect();
        let others = others.join(", ");
        let member = &mut self.members[engine];
        if std::mem::replace(&mut member.is_said, true) || others.is_empty() {
            return;
        }
        let reason = reason.lines().next().unwrap_or_default();
        // Whoever names devices twice, as in cpu,cpu, has them numbered here.
        tracing::warn!(
            "device {} ({engine}) {what}: {reason}; its requests go to {others}",
            member.name
        );
    }
}

impl<J> Member<J> {
    /// Whether it may get jobs, given whether any engine is up.
    fn may_take(&self, are_any_up: bool) -> bool {
        match self.condition {
            Condition::Up => true,
            Condition::Resting => !are_any_up,
            Condition::Out => false,
        }
    }
}

//! The queue over engines that are the other ends of channels.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::*;

/// What became of jobs that ended without an engine, by their numbers.
type Ends = Arc<Mutex<BTreeMap<usize, String>>>;

struct Mock {
    number: usize,
    prompt: Vec<i64>,
    is_gone: bool,
    ends: Ends,
    way: Way,
}

impl Job for Mock {
    fn prompt(&self) -> AdaptedPrompt<'_> {
        AdaptedPrompt {
            tokens: &self.prompt,
            adapter: None,
        }
    }

    fn gone(&self) -> bool {
        self.is_gone
    }

    fn way(&mut self) -> &mut Way {
        &mut self.way
    }

    fn stopped(self, reason: &str) {
        self.ends.lock().unwrap().insert(self.number, reason.to_owned());
    }
}

/// A dispatcher, its engines, and the jobs that each of them has.
struct Bench {
    dispatcher: Arc<Dispatcher<Mock>>,
    incoming: Vec<mpsc::Receiver<Vec<Mock>>>,
    has: Vec<Vec<Mock>>,
    ends: Ends,
    count: usize,
}

impl Bench {
    /// Engines that run so many jobs at once, each.
    fn of(capacities: &[usize]) -> Bench {
        let (seats, incoming): (Vec<_>, Vec<_>) = capacities
            .iter()
            .enumerate()
            .map(|(index, &capacity)| {
                let (jobs, incoming) = mpsc::channel();
                let seat = Seat {
                    name: format!("cuda:{index}"),
                    capacity,
                    prefix_tokens: 1 << 16,
                    jobs,
                };
                (seat, incoming)
            })
            .unzip();
        Bench {
            dispatcher: Dispatcher::new(seats),
            has: incoming.iter().map(|_| Vec::new()).collect(),
            incoming,
            ends: Ends::default(),
            count: 0,
        }
    }

    fn job(&mut self, prompt: &[i64]) -> Mock {
        self.count += 1;
        Mock {
            number: self.count - 1,
            prompt: prompt.to_vec(),
            is_gone: false,
            ends: self.ends.clone(),
            way: Way::default(),
        }
    }

    /// Submits jobs of prompts that nobody knows.
    fn submit(&mut self, count: usize) {
        let jobs = (0..count).map(|_| self.job(&[])).collect();
        self.dispatcher.submit(jobs).unwrap();
        self.receive();
    }

    /// Lets the engines take what they were sent.
    fn receive(&mut self) {
        for (incoming, has) in self.incoming.iter().zip(&mut self.has) {
            has.extend(incoming.try_iter().flatten());
        }
    }

    /// Returns how many jobs each engine has.
    fn loads(&self) -> Vec<usize> {
        self.has.iter().map(Vec::len).collect()
    }

    /// Returns the numbers of an engine's jobs.
    fn numbers(&self, engine: usize) -> Vec<usize> {
        self.has[engine].iter().map(|job| job.number).collect()
    }

    /// Ends the first job of an engine. Returns its number.
    fn end(&mut self, engine: usize) -> usize {
        let number = self.has[engine].remove(0).number;
        self.receive();
        number
    }
}

#[test]
fn a_single_engine_gets_everything_at_once_and_in_order() {
    let mut bench = Bench::of(&[2]);
    bench.submit(100);
    assert_eq!(bench.numbers(0), (0..100).collect::<Vec<_>>());
    assert_eq!(bench.dispatcher.waiting(), 0);
}

#[test]
fn load_is_balanced_by_capacity_and_the_rest_waits_in_order() {
    let mut bench = Bench::of(&[4, 8]);
    bench.submit(6);
    assert_eq!(bench.loads(), [2, 4]);
    bench.submit(30);
    // A quarter more than they run.
    assert_eq!(bench.loads(), [5, 10]);
    assert_eq!(bench.dispatcher.waiting(), 21);
    // Whoever ends a job gets the one that waits longest: a slow engine holds nothing back.
    for number in 15..20 {
        bench.end(1);
        assert_eq!(bench.numbers(1).last(), Some(&number));
    }
    assert_eq!(bench.loads(), [5, 10]);
    let mut ended = BTreeMap::new();
    while bench.loads() != [0, 0] {
        for engine in [0, 1, 1] {
            if !bench.has[engine].is_empty() {
                *ended.entry(bench.end(engine)).or_insert(0) += 1;
            }
        }
    }
    // All but the five from above, each once.
    assert_eq!(ended.len(), 31);
    assert!(ended.values().all(|&times| times == 1));
}

#[test]
fn prompts_that_begin_alike_go_to_one_engine_until_it_has_much_more_to_do() {
    let mut bench = Bench::of(&[8, 8]);
    let family = |first: i64, last: i64| [vec![first; 128], vec![last; 16]].concat();
    // Two families of prompts, in turns.
    for turn in 0..2 {
        for first in [1, 2] {
            let job = bench.job(&family(first, turn));
            bench.dispatcher.submit(vec![job]).unwrap();
        }
    }
    bench.receive();
    for engine in 0..2 {
        let firsts: Vec<i64> = bench.has[engine].iter().map(|job| job.prompt[0]).collect();
        assert_eq!(firsts, [1 + engine as i64; 2]);
    }
    // One family alone: the second engine gets its share, though it knows nothing.
    let jobs: Vec<Mock> = (0..12).map(|last| bench.job(&family(1, last))).collect();
    bench.dispatcher.submit(jobs).unwrap();
    bench.receive();
    let loads = bench.loads();
    assert_eq!(loads.iter().sum::<usize>(), 16);
    assert!(loads[0].abs_diff(loads[1]) <= 4, "{loads:?}");
}

#[test]
fn jobs_that_nobody_waits_for_take_no_place() {
    let mut bench = Bench::of(&[1, 1]);
    let mut jobs: Vec<Mock> = (0..8).map(|_| bench.job(&[])).collect();
    for job in &mut jobs[4..7] {
        job.is_gone = true;
    }
    bench.dispatcher.submit(jobs).unwrap();
    bench.receive();
    assert_eq!(bench.loads(), [2, 2]);
    bench.end(0);
    assert_eq!(bench.numbers(0).last(), Some(&7));
    assert_eq!(bench.dispatcher.waiting(), 0);
    assert!(bench.ends.lock().unwrap().is_empty());
}

#[test]
fn an_engine_that_fails_is_left_out_and_nothing_is_lost() {
    let mut bench = Bench::of(&[2, 2, 2]);
    bench.submit(12);
    assert_eq!((bench.loads(), bench.dispatcher.waiting()), (vec![3, 3, 3], 3));
    bench.dispatcher.leave_out(1, "CUDA error");
    let mut jobs = std::mem::take(&mut bench.has[1]);
    let waited = jobs.split_off(2);
    let moved: Vec<usize> = jobs.iter().chain(&waited).map(|job| job.number).collect();
    bench.dispatcher.take_back(1, jobs, waited, "CUDA error");
    bench.receive();
    assert_eq!((bench.loads(), bench.dispatcher.waiting()), (vec![3, 0, 3], 6));
    // They come before those that waited.
    let mut order: Vec<usize> = Vec::new();
    for _ in 0..3 {
        for engine in [0, 2] {
            bench.end(engine);
            order.extend(bench.numbers(engine).last());
        }
    }
    assert_eq!(order, [moved, (9..12).collect()].concat());
    // It gets none, whatever comes.
    bench.submit(20);
    assert_eq!(bench.loads()[1], 0);
    assert!(!bench.dispatcher.is_over());
    assert!(bench.ends.lock().unwrap().is_empty());
}

#[test]
fn the_error_of_the_last_engine_is_that_of_all() {
    let mut bench = Bench::of(&[1, 1]);
    bench.submit(6);
    for (engine, reason) in [(0, "the first"), (1, "the last")] {
        bench.dispatcher.leave_out(engine, reason);
        let ran = std::mem::take(&mut bench.has[engine]);
        bench.dispatcher.take_back(engine, ran, Vec::new(), reason);
        bench.receive();
    }
    assert!(bench.dispatcher.is_over());
    let ends = bench.ends.lock().unwrap();
    assert_eq!(ends.len(), 6);
    assert!(ends.values().all(|reason| reason == "the last"), "{ends:?}");
    let job = Mock {
        number: 6,
        prompt: Vec::new(),
        is_gone: false,
        ends: Ends::default(),
        way: Way::default(),
    };
    assert_eq!(bench.dispatcher.submit(vec![job]), Err("the last".to_owned()));
}

#[test]
fn a_job_that_every_engine_fails_with_ends_with_the_last_reason() {
    let mut bench = Bench::of(&[4, 4]);
    bench.submit(1);
    let ran = std::mem::take(&mut bench.has[0]);
    bench.dispatcher.take_back(0, ran, Vec::new(), "first");
    bench.receive();
    assert_eq!(bench.loads(), [0, 1]);
    let ran = std::mem::take(&mut bench.has[1]);
    bench.dispatcher.take_back(1, ran, Vec::new(), "second");
    bench.receive();
    assert_eq!(bench.loads(), [0, 0]);
    assert_eq!(
        bench.ends.lock().unwrap().get(&0).map(String::as_str),
        Some("second")
    );
    // Both engines go on.
    bench.submit(2);
    assert_eq!(bench.loads(), [1, 1]);
}

#[test]
fn an_engine_rests_until_it_succeeds_and_is_used_if_there_is_no_other() {
    let mut bench = Bench::of(&[4, 4]);
    bench.dispatcher.rest(0, "shape");
    assert!(bench.dispatcher.are_others_up(0) && !bench.dispatcher.are_others_up(1));
    bench.submit(8);
    assert_eq!((bench.loads(), bench.dispatcher.waiting()), (vec![0, 5], 3));
    bench.dispatcher.wake(0);
    bench.receive();
    assert_eq!((bench.loads(), bench.dispatcher.waiting()), (vec![3, 5], 0));
    bench.has.iter_mut().for_each(Vec::clear);
    bench.dispatcher.rest(0, "shape");
    bench.dispatcher.rest(1, "shape");
    bench.submit(2);
    assert_eq!(bench.loads(), [1, 1]);
}

#[test]
fn engines_end_once_nobody_can_ask() {
    let mut bench = Bench::of(&[1, 1]);
    bench.submit(5);
    bench.dispatcher.close();
    for incoming in &bench.incoming {
        assert_eq!(incoming.recv().err(), Some(mpsc::RecvError));
    }
    assert_eq!(bench.dispatcher.waiting(), 0);
}

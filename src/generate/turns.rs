//! Decides which round continues which task as a conversation, to how many turns and by which
//! moves, and parses the messages of one. All of it is a function of seed, round and pool, so an
//! interrupted run goes on with the same tasks.

use super::parse::Fault;
use super::recipe::turns::Turns;
use super::round::{Part, RoundRng, turn_order};
use crate::backend::FinishReason;
use crate::lenient_json;
use crate::prompt::turns::Move;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What the deal knows of a task.
#[derive(Debug, Clone, Copy)]
pub struct Beginning {
    /// The task's id.
    pub id: i64,
    /// The task that it continues, which is earlier in the pool.
    pub continues: Option<i64>,
    /// Whether it may be continued.
    pub is_eligible: bool,
}

/// What a round does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continuation {
    /// The id of the task that it continues.
    pub parent: i64,
    /// How each of the user's messages goes on.
    pub moves: Vec<Move>,
}

/// Deals tasks to rounds, each to as many as [`Turns::tries`] until one succeeds: those first that
/// were tried least, and of these in an order that the seed draws. Rounds are dealt in order, and
/// no task to two rounds that run side by side.
pub struct Deal {
    seed: u64,
    part: Part,
    /// Rounds that run side by side.
    window: u64,
    /// The next round to deal to.
    next: u64,
    /// How many tasks of the pool are known.
    read: usize,
    /// Tasks that can be dealt now.
    open: BTreeSet<Place>,
    /// Tasks that may be dealt at some time, each with its place if it is open.
    known: HashMap<i64, Option<Place>>,
    /// How often each task was dealt.
    tries: HashMap<i64, u32>,
    /// Rounds that may be under way, each with its task.
    running: BTreeMap<u64, i64>,
    /// The last of these rounds for each of their tasks.
    last: HashMap<i64, u64>,
    /// Rounds that were dealt to, and not asked for yet.
    dealt: BTreeMap<u64, Continuation>,
}

/// The place of a task among those that wait: how often it was tried, a number that the seed draws
/// for that, its id.
type Place = (u32, u64, i64);

impl Deal {
    /// Makes a deal for a run with this seed that begins with the round `first`, after earlier
    /// rounds continued the tasks `before`, each given with its round.
    pub fn new(seed: u64, part: Part, window: u64, first: u64, before: &[(u64, i64)]) -> Deal {
        let mut deal = Deal {
            seed,
            part,
            window,
            next: first,
            read: 0,
            open: BTreeSet::new(),
            known: HashMap::new(),
            tries: HashMap::new(),
            running: BTreeMap::new(),
            last: HashMap::new(),
            dealt: BTreeMap::new(),
        };
        for &(round, parent) in before {
            deal.note(round, parent);
        }
        deal.end_before(first);
        deal
    }

    fn note(&mut self, round: u64, parent: i64) {
        *self.tries.entry(parent).or_default() += 1;
        self.running.insert(round, parent);
        self.last.insert(parent, round);
    }

    /// Ends the rounds that are done before `round` begins.
    fn end_before(&mut self, round: u64) {
        let still = self.running.split_off(&(round + 1).saturating_sub(self.window));
        for (ended, id) in std::mem::replace(&mut self.running, still) {
            if self.last.get(&id) == Some(&ended) {
                self.last.remove(&id);
                self.open(id);
            }
        }
    }

    /// Returns what `round` does; `None` if no task is left to continue. `pool` returns the tasks
    /// that a round may continue, in the order of admission, without the first so many; `None` for
    /// a round that continues none. Rounds may be asked for in any order, each once.
    pub fn of(
        &mut self,
        constants: &Turns,
        round: u64,
        pool: impl Fn(u64, usize) -> Option<Vec<Beginning>>,
    ) -> Option<Continuation> {
        while self.next <= round {
            let next = self.next;
            if let Some(tasks) = pool(next, self.read) {
                self.read(&tasks);
                if let Some(continuation) = self.draw(constants, next) {
                    self.dealt.insert(next, continuation);
                }
            }
            self.next += 1;
        }
        self.dealt.remove(&round)
    }

    /// Learns of further tasks. One that is continued has had its turn.
    fn read(&mut self, tasks: &[Beginning]) {
        self.read += tasks.len();
        for task in tasks {
            if let Some(Some(place)) = task.continues.and_then(|parent| self.known.remove(&parent)) {
                self.open.remove(&place);
            }
            if task.is_eligible {
                self.known.insert(task.id, None);
                self.open(task.id);
            }
        }
    }

    /// Opens a task that may be dealt, unless it is under way.
    fn open(&mut self, id: i64) {
        if self.last.contains_key(&id) {
            return;
        }
        if let Some(known) = self.known.get_mut(&id) {
            let tries = self.tries.get(&id).copied().unwrap_or(0);
            let place = (tries, turn_order(self.seed, self.part, tries, id), id);
            *known = Some(place);
            self.open.insert(place);
        }
    }

    /// Deals the open task that comes first.
    fn draw(&mut self, constants: &Turns, round: u64) -> Option<Continuation> {
        self.end_before(round);
        let place = self
            .open
            .first()
            .copied()
            .filter(|place| place.0 < constants.tries)?;
        self.open.remove(&place);
        let parent = place.2;
        self.known.insert(parent, None);
        self.note(round, parent);
        let mut rng = RoundRng::for_turns(self.seed, self.part.place(round));
        let range = constants.turns;
        let turns = range.fewest + rng.below((range.most - range.fewest + 1) as u64) as usize;
        let mut draw = || Move::ALL[rng.below(Move::ALL.len() as u64) as usize];
        Some(Continuation {
            parent,
            moves: (1..turns).map(|_| draw()).collect(),
        })
    }
}

/// A message of a conversation as a response has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedMessage {
    /// The text, trimmed; of a response that cannot be read, all of it.
    pub text: String,
    /// Why it cannot be used.
    pub fault: Option<Fault>,
}

/// Parses the continuation of a text that ends with `label`, which the model may repeat.
pub fn message(response: &str, finish: FinishReason, label: &str) -> ParsedMessage {
    let text = response.trim();
    let text = text.strip_prefix(label).unwrap_or(text).trim();
    of_text(text, finish)
}

/// Parses a JSON object with a message.
pub fn structured_message(response: &str, finish: FinishReason) -> ParsedMessage {
    let object = response.find('{').map_or("", |at| &response[at..]);
    let read = lenient_json::first(object.as_bytes()).ok();
    let message = read.and_then(|(value, _)| Some(value.get("message")?.as_str()?.trim().to_owned()));
    match message {
        Some(text) => of_text(&text, FinishReason::Stop),
        None if finish == FinishReason::Length => of_text(response.trim(), finish),
        None => ParsedMessage {
            text: response.trim().to_owned(),
            fault: Some(Fault::Unparsed),
        },
    }
}

fn of_text(text: &str, finish: FinishReason) -> ParsedMessage {
    let fault = match finish {
        FinishReason::Length => Some(Fault::Truncated),
        FinishReason::Stop => text.is_empty().then_some(Fault::Unparsed),
    };
    ParsedMessage {
        text: text.to_owned(),
        fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::recipe::turns::TurnRange;
    use std::collections::HashSet;

    fn turns(fewest: usize, most: usize) -> Turns {
        Turns {
            turns: TurnRange { fewest, most },
            ..Turns::default()
        }
    }

    fn tasks(count: i64) -> Vec<Beginning> {
        let task = |id| Beginning {
            id,
            continues: None,
            is_eligible: true,
        };
        (1..=count).map(task).collect()
    }

    fn deal(before: &[(u64, i64)], first: u64) -> Deal {
        Deal::new(7, Part::WHOLE, 4, first, before)
    }

    #[test]
    fn every_task_has_its_turn_before_one_is_tried_again() {
        let constants = turns(2, 4);
        let all = tasks(9);
        let mut whole = deal(&[], 0);
        let rounds: Vec<_> = (0..40)
            .map(|round| whole.of(&constants, round, |_, known| Some(all[known..].to_vec())))
            .collect();
        // Three tries each, none of them successful.
        assert!(rounds[..27].iter().all(Option::is_some) && rounds[27..].iter().all(Option::is_none));
        for some in rounds[..27].chunks(9) {
            let ids: HashSet<i64> = some.iter().flatten().map(|dealt| dealt.parent).collect();
            assert_eq!(ids.len(), 9);
        }
        let lengths: HashSet<usize> = rounds.iter().flatten().map(|dealt| dealt.moves.len()).collect();
        assert_eq!(lengths, HashSet::from([1, 2, 3]));
        // A run that begins in between deals the same, in whatever order it is asked.
        let before: Vec<(u64, i64)> = (0..11)
            .zip(rounds.iter().flatten().map(|dealt| dealt.parent))
            .collect();
        let mut resumed = deal(&before, 11);
        for round in [13, 11, 12, 20] {
            let dealt = resumed.of(&constants, round, |_, known| Some(all[known..].to_vec()));
            assert_eq!(dealt, rounds[round as usize], "{round}");
        }
    }

    #[test]
    fn a_task_that_is_continued_or_being_continued_is_left_alone() {
        let constants = turns(3, 3);
        let mut all = tasks(2);
        let mut deal = deal(&[], 0);
        let mut of = |round, all: &[Beginning]| {
            let dealt = deal.of(&constants, round, |_, known| Some(all[known..].to_vec()));
            dealt.map(|dealt| (dealt.parent, dealt.moves.len()))
        };
        let first = of(0, &all).unwrap();
        assert_eq!(first.1, 2);
        assert_ne!(of(1, &all).unwrap().0, first.0);
        assert_eq!(of(2, &all), None, "both are under way");
        assert_eq!(of(3, &all), None);
        all.push(Beginning {
            id: 3,
            continues: Some(first.0),
            is_eligible: false,
        });
        assert_eq!(of(4, &all), None, "the other one is under way until round 5");
        assert_ne!(of(5, &all).unwrap().0, first.0);
        all.push(Beginning {
            id: 4,
            continues: None,
            is_eligible: false,
        });
        assert_eq!(
            of(6, &all),
            None,
            "the other one is under way, the new one cannot be continued"
        );
    }

    #[test]
    fn a_run_goes_on_as_if_it_had_not_stopped_while_the_pool_grows() {
        let constants = turns(2, 4);
        // Each round admits a task; every third continuation succeeds.
        let pool = |dealt: &[Option<Continuation>], round: u64| {
            let mut all = tasks(3 + round as i64);
            for (continued, dealt) in dealt.iter().enumerate().filter(|(round, _)| round % 3 == 0) {
                if let Some(task) = all.get_mut(continued + 7) {
                    task.continues = dealt.as_ref().map(|dealt| dealt.parent);
                    task.is_eligible = task.continues.is_none();
                }
            }
            all
        };
        let run = |deal: &mut Deal, dealt: &mut Vec<Option<Continuation>>| {
            for round in dealt.len() as u64..200 {
                let all = pool(dealt, round);
                let rest = |_: u64, known: usize| (round % 5 != 4).then(|| all[known..].to_vec());
                dealt.push(deal.of(&constants, round, rest));
            }
        };
        let mut whole = Vec::new();
        run(&mut deal(&[], 0), &mut whole);
        assert_eq!(whole.iter().flatten().count(), 160);
        for stop in [1, 2, 50, 99, 150] {
            let mut dealt = whole[..stop].to_vec();
            let rounds = (0..).zip(dealt.iter().map(|dealt| Some(dealt.as_ref()?.parent)));
            let before: Vec<(u64, i64)> = rounds.filter_map(|(round, id)| Some((round, id?))).collect();
            run(&mut deal(&before, stop as u64), &mut dealt);
            assert_eq!(dealt, whole, "stopped before round {stop}");
        }
    }

    #[test]
    fn parts_of_a_seed_continue_tasks_in_their_own_order() {
        let order = |part: &str| {
            let mut deal = Deal::new(7, part.parse().unwrap(), 1, 0, &[]);
            let all = tasks(40);
            let mut dealt = |round| deal.of(&turns(2, 2), round, |_, known| Some(all[known..].to_vec()));
            (0..40)
                .map(|round| dealt(round).unwrap().parent)
                .collect::<Vec<_>>()
        };
        let (first, second) = (order("1/2"), order("2/2"));
        assert!(first.iter().zip(&second).filter(|(a, b)| a == b).count() < 10);
        assert!(!first.is_sorted());
    }

    #[test]
    fn messages_are_read_with_and_without_their_label() {
        let read = |text: &str| message(text, FinishReason::Stop, "User:");
        assert_eq!(read(" Why?\n"), read("User: Why?"));
        assert_eq!(read(" Why?").text, "Why?");
        assert_eq!(read("User: ").fault, Some(Fault::Unparsed));
        let cut = message("Why is", FinishReason::Length, "User:");
        assert_eq!(cut.fault, Some(Fault::Truncated));
        let json = |text: &str| structured_message(text, FinishReason::Stop);
        for text in [
            r#"{"message": "Why?"}"#,
            "```json\n{\"message\": \" Why? \"}\n```",
            r#"{"message":"Why?"} Is that it?"#,
        ] {
            assert_eq!(
                (json(text).text.as_str(), json(text).fault),
                ("Why?", None),
                "{text}"
            );
        }
        for text in [
            "Why?",
            r#"{"text": "Why?"}"#,
            r#"{"message": 3}"#,
            r#"{"message": ""}"#,
            "",
        ] {
            assert_eq!(json(text).fault, Some(Fault::Unparsed), "{text}");
        }
        let cut = structured_message(r#"{"message": "Wh"#, FinishReason::Length);
        assert_eq!(cut.fault, Some(Fault::Truncated));
    }
}

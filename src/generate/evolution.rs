//! Decides which rounds rewrite a task, which task, and by which operator. All of it is a function
//! of seed, round and pool. So an interrupted run continues with the same tasks, and nothing has to
//! be stored beforehand.

use super::recipe::evolve::Evolve;
use super::round::RoundRng;
use crate::prompt::evolution::Operator;
use std::collections::HashMap;

/// The weight of a task without ancestors and children. With n of them, the weight is WEIGHT / (n +
/// 1).
const WEIGHT: u64 = 1 << 20;

/// What [`Draw::parent`] knows of a task.
#[derive(Debug, Clone, Copy)]
pub struct Ancestry {
    /// The task's id.
    pub id: i64,
    /// The task that it was rewritten from, which is earlier in the pool.
    pub parent_id: Option<i64>,
    /// Whether it may be rewritten.
    pub is_eligible: bool,
}

/// A round that rewrites a task.
pub struct Draw {
    /// The kind of rewrite.
    pub operator: Operator,
    rng: RoundRng,
}

impl Draw {
    /// Draws what a round does; `None` if it does not rewrite a task.
    pub fn of(evolve: &Evolve, seed: u64, round: u64) -> Option<Draw> {
        let mut rng = RoundRng::for_evolution(seed, round);
        if !rng.is_below(evolve.part) {
            return None;
        }
        let operator = if rng.is_below(evolve.breadth) {
            Operator::InBreadth
        } else {
            Operator::IN_DEPTH[rng.below(Operator::IN_DEPTH.len() as u64) as usize]
        };
        Some(Draw { operator, rng })
    }

    /// Draws the task to rewrite, and returns its position in `tasks`, which are in the order of
    /// admission; `None` if no task may be rewritten.
    ///
    /// A task is less likely the more children it has and the more ancestors, since otherwise a few
    /// lines of descent would make up the dataset. A task with `generations` ancestors is never
    /// rewritten. The published code rewrites every task once an epoch, for four epochs.
    pub fn parent(mut self, tasks: &[Ancestry], generations: u64) -> Option<usize> {
        let mut ancestors: HashMap<i64, u64> = HashMap::new();
        let mut children: HashMap<i64, u64> = HashMap::new();
        for task in tasks {
            if let Some(parent) = task.parent_id {
                let of_parent = ancestors.get(&parent).copied().unwrap_or(0);
                ancestors.insert(task.id, of_parent + 1);
                *children.entry(parent).or_default() += 1;
            }
        }
        let weight = |task: &Ancestry| {
            let [ancestors, children] =
                [&ancestors, &children].map(|of| of.get(&task.id).copied().unwrap_or(0));
            if task.is_eligible && ancestors < generations {
                (WEIGHT / (1 + ancestors + children)).max(1)
            } else {
                0
            }
        };
        let total = tasks.iter().map(weight).sum();
        if total == 0 {
            return None;
        }
        let mut point = self.rng.below(total);
        tasks.iter().position(|task| {
            let weight = weight(task);
            let is_it = point < weight;
            point = point.saturating_sub(weight);
            is_it
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evolve(part: f64) -> Evolve {
        Evolve {
            part,
            ..Evolve::default()
        }
    }

    fn task(id: i64, parent_id: Option<i64>) -> Ancestry {
        Ancestry {
            id,
            parent_id,
            is_eligible: true,
        }
    }

    /// Counts how often each position is drawn in 6000 rounds.
    fn counts(tasks: &[Ancestry]) -> Vec<u32> {
        let mut counts = vec![0; tasks.len()];
        for round in 0..6000 {
            let draw = Draw::of(&evolve(1.0), 1, round).expect("every round");
            counts[draw.parent(tasks, 2).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn the_part_is_kept_and_a_larger_one_has_all_rounds_of_a_smaller_one() {
        let rounds = |part, seed| -> Vec<u64> {
            let rounds = (0..6000).filter(|&round| Draw::of(&evolve(part), seed, round).is_some());
            rounds.collect()
        };
        let half = rounds(0.5, 7);
        // Six standard deviations are about 232.
        assert!((2768..3232).contains(&half.len()), "{}", half.len());
        assert_eq!(half, rounds(0.5, 7));
        assert_ne!(half, rounds(0.5, 8));
        let third = rounds(0.3, 7);
        assert!(third.iter().all(|round| half.contains(round)));
        assert!(rounds(0.0, 7).is_empty());
        assert_eq!(rounds(1.0, 7).len(), 6000);
    }

    #[test]
    fn operators_have_their_parts() {
        let mut counts = std::collections::BTreeMap::new();
        for round in 0..6000 {
            let draw = Draw::of(&evolve(1.0), 3, round).expect("every round");
            *counts.entry(draw.operator.as_str()).or_insert(0) += 1;
        }
        // Expected are 1020 in breadth and 996 of each in depth.
        assert_eq!(counts.len(), 6);
        assert!(
            counts.values().all(|count| (820..1200).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn tasks_that_were_rewritten_less_come_first() {
        // 1 → 2 → 3, and 4 by itself. So 1 has a child, 2 a child and an ancestor, 3 two ancestors.
        let tasks = [task(1, None), task(2, Some(1)), task(3, Some(2)), task(4, None)];
        let counts = counts(&tasks);
        assert_eq!(counts[2], 0, "two generations are enough: {counts:?}");
        // Weights are 1/2, 1/3 and 1.
        for (count, wanted) in [(counts[0], 1636), (counts[1], 1090), (counts[3], 3272)] {
            assert!(count.abs_diff(wanted) < 240, "{counts:?}");
        }
    }

    #[test]
    fn what_may_not_be_rewritten_is_not() {
        let mut tasks = [task(1, None), task(2, None)];
        tasks[0].is_eligible = false;
        assert_eq!(counts(&tasks), [0, 6000]);
        tasks[1].is_eligible = false;
        let draw = Draw::of(&evolve(1.0), 1, 0).unwrap();
        assert_eq!(draw.parent(&tasks, 4), None);
        let draw = Draw::of(&evolve(1.0), 1, 0).unwrap();
        assert_eq!(draw.parent(&[], 4), None);
    }
}

//! Tasks dealt to reviewers: evenly, and so that every two of them share about as many.

use std::collections::HashMap;

/// Deals tasks. `has` are the reviewers that each task has already, by their places among the
/// `reviewers` ones that are dealt to, and how many others it has. Returns for each task the places
/// of those who are added, so that it has `each`.
///
/// Whoever has the least so far is next, and among equals whoever shares the least with those that
/// the task has, so that all pairs of reviewers can be compared; then the order of the names.
pub fn deal(has: &[(Vec<usize>, usize)], reviewers: usize, each: usize) -> Vec<Vec<usize>> {
    let mut load = vec![0_u64; reviewers];
    let mut shared: HashMap<(usize, usize), u64> = HashMap::new();
    let mut dealt = Vec::with_capacity(has.len());
    for (own, others) in has {
        let mut team = own.clone();
        let mut added = Vec::new();
        while team.len() + others < each {
            let together = |place: usize| -> u64 {
                let pairs = team.iter().map(|&other| shared.get(&pair(place, other)));
                pairs.map(|count| count.copied().unwrap_or(0)).sum()
            };
            let free = (0..reviewers).filter(|place| !team.contains(place));
            let Some(next) = free.min_by_key(|&place| (load[place], together(place), place)) else {
                break;
            };
            load[next] += 1;
            for &other in &team {
                *shared.entry(pair(next, other)).or_default() += 1;
            }
            team.push(next);
            added.push(next);
        }
        dealt.push(added);
    }
    dealt
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(dealt: &[Vec<usize>], reviewers: usize) -> Vec<usize> {
        (0..reviewers)
            .map(|place| dealt.iter().filter(|team| team.contains(&place)).count())
            .collect()
    }

    #[test]
    fn everybody_gets_as_many_and_every_pair_shares_some() {
        let none = vec![(Vec::new(), 0); 12];
        let dealt = deal(&none, 4, 2);
        assert_eq!(loads(&dealt, 4), [6, 6, 6, 6]);
        for a in 0..4 {
            for b in a + 1..4 {
                let both = dealt.iter().filter(|team| team.contains(&a) && team.contains(&b));
                assert_eq!(both.count(), 2, "{a} and {b}");
            }
        }
        assert_eq!(loads(&deal(&none, 5, 1), 5), [3, 3, 2, 2, 2]);
        assert_eq!(deal(&none, 3, 2), deal(&none, 3, 2));
    }

    #[test]
    fn tasks_keep_those_that_they_have() {
        let has = [(vec![0], 0), (vec![0, 1], 0), (Vec::new(), 1), (Vec::new(), 2)];
        let dealt = deal(&has, 2, 2);
        assert_eq!(dealt, [vec![1], vec![], vec![0], vec![]]);
        // Nobody is left who could be added.
        assert_eq!(deal(&[(vec![0], 0)], 1, 2), [Vec::<usize>::new()]);
    }
}

//! How the examples of a step are dealt to ranks.

use super::dataset::Example;
use super::micro_batch::Bin;

/// Tokens whose attention to each other costs as much as their other arithmetic, about. It only
/// balances ranks.
const ATTENTION_ALIKE: usize = 8192;

/// Deals the examples of a step to ranks, so that all have about as much to compute: the longest
/// first, each to the rank that has least with it. A prefix that a rank has already costs nothing.
/// Every rank has an example if there are enough. The result depends on the arguments alone.
pub fn deal(examples: &[Example], members: &[usize], ranks: usize) -> Vec<Vec<usize>> {
    if ranks == 1 {
        return vec![members.to_vec()];
    }
    let mut sorted = members.to_vec();
    sorted.sort_by_key(|&index| (std::cmp::Reverse(examples[index].positions()), index));
    let mut bins: Vec<(usize, Bin)> = (0..ranks).map(|_| (0, Bin::default())).collect();
    for index in sorted {
        let length = examples[index].positions();
        let attention = length * length / ATTENTION_ALIKE;
        let with = |(cost, bin): &(usize, Bin)| {
            let added = bin.added(examples, index);
            (cost + added + attention, bin.members.len(), added)
        };
        let least = bins
            .iter_mut()
            .map(|bin| (with(bin), bin))
            .min_by_key(|(with, _)| *with);
        let ((total, _, added), (cost, bin)) = least.expect("there are ranks");
        *cost = total;
        bin.add(examples, index, added);
    }
    bins.into_iter().map(|(_, bin)| bin.members).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(ids: &[u32], first_target: usize) -> Example {
        Example::with_targets_from(first_target, String::new(), ids.to_vec())
    }

    #[test]
    fn ranks_get_all_examples_of_a_step_once_and_about_as_much_to_do() {
        let mut rng = crate::train::rng(1, "lengths", 0);
        let lengths: Vec<usize> = (0..200)
            .map(|_| rand::RngExt::random_range(&mut rng, 5..300))
            .collect();
        let of_length = |(number, length): (usize, &usize)| {
            let ids: Vec<u32> = (0..*length).map(|at| (number * 1000 + at) as u32).collect();
            example(&ids, 1)
        };
        let examples: Vec<Example> = lengths.iter().enumerate().map(of_length).collect();
        let members: Vec<usize> = (0..200).collect();
        for ranks in [1, 2, 3, 8, 200] {
            let dealt = deal(&examples, &members, ranks);
            let mut all = dealt.concat();
            all.sort_unstable();
            assert_eq!((dealt.len(), all), (ranks, members.clone()));
            let tokens = |of: &Vec<usize>| of.iter().map(|&at| examples[at].positions()).sum::<usize>();
            let most = dealt.iter().map(tokens).max().unwrap();
            let least = dealt.iter().map(tokens).min().unwrap();
            assert!(least > 0, "every rank has work");
            assert!(ranks == 200 || most - least < 100, "{ranks}: {least} to {most}");
        }
        // More ranks than examples: some have nothing to do.
        let dealt = deal(&examples, &[3, 4], 3);
        assert_eq!(dealt.iter().filter(|of| of.is_empty()).count(), 1);
        // Examples that begin alike are together, where that balances, too.
        let alike = [
            example(&[1, 2, 3, 4, 5, 6, 7, 8, 1, 1], 8),
            example(&[9, 8, 7, 6, 5, 4, 3, 2, 1, 1], 8),
            example(&[1, 2, 3, 4, 5, 6, 7, 8, 2, 2], 8),
            example(&[9, 8, 7, 6, 5, 4, 3, 2, 2, 2], 8),
        ];
        assert_eq!(deal(&alike, &[0, 1, 2, 3], 2), [[0, 2], [1, 3]].map(Vec::from));
    }
}

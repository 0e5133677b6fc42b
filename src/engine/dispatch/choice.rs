//! Which engine gets a request: the one that knows its prefix, unless another has much less to do.
//! SGLang's router decides alike: by the prefix where at least half of it is known, and by load
//! where engines differ too much.

/// How much more of its capacity an engine may be given than the least loaded one, for the sake of
/// prefixes that it has.
const SLACK: f64 = 0.25;

/// An engine with a place for the request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Its number.
    pub index: usize,
    /// Requests that it has, as a share of those that it runs at once.
    pub load: f64,
    /// Tokens of the prompt that are in its prefix cache, as far as is known.
    pub known: usize,
}

/// Returns the number of the engine that gets a prompt of `tokens` tokens; none if there is no
/// candidate. Of equal ones, the first.
pub fn choose(candidates: &[Candidate], tokens: usize) -> Option<usize> {
    let least = candidates.iter().min_by(|a, b| a.load.total_cmp(&b.load))?;
    let knows = |candidate: &&Candidate| 2 * candidate.known >= tokens && candidate.known > 0;
    let knowing = candidates.iter().filter(knows).min_by(|a, b| {
        let by_load = a.load.total_cmp(&b.load);
        b.known.cmp(&a.known).then(by_load)
    });
    match knowing {
        Some(knowing) if knowing.load <= least.load + SLACK => Some(knowing.index),
        _ => Some(least.index),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(candidates: &[(f64, usize)], tokens: usize) -> Option<usize> {
        let candidates = candidates.iter().enumerate();
        let candidates = candidates.map(|(index, &(load, known))| Candidate { index, load, known });
        choose(&candidates.collect::<Vec<_>>(), tokens)
    }

    #[test]
    fn the_least_loaded_engine_is_chosen_unless_another_knows_the_prefix() {
        assert_eq!(choice(&[], 100), None);
        assert_eq!(choice(&[(0.5, 0), (0.25, 0), (0.25, 0)], 100), Some(1));
        assert_eq!(choice(&[(0.5, 64), (0.25, 0)], 100), Some(0));
        // Much less to do elsewhere.
        assert_eq!(choice(&[(0.75, 64), (0.25, 0)], 100), Some(1));
        // Less than half of the prompt is not worth it.
        assert_eq!(choice(&[(0.5, 32), (0.25, 0)], 100), Some(1));
        // Who knows more; of those, who has less to do.
        assert_eq!(choice(&[(0.1, 64), (0.2, 96), (0.15, 96)], 100), Some(2));
        // A prompt too short to be kept.
        assert_eq!(choice(&[(0.1, 0), (0.0, 0)], 0), Some(1));
    }
}

//! Compares the index with brute force.

use super::*;
use proptest::prelude::*;

/// Compares with every text by the textbook algorithm.
fn brute(words: &[String], others: &[Vec<String>]) -> Vec<SimilarText> {
    let mut all: Vec<SimilarText> = others
        .iter()
        .enumerate()
        .map(|(position, other)| SimilarText {
            position,
            score: RougeL {
                lcs: table(words, other),
                total: (words.len() + other.len()) as u32,
            },
        })
        .filter(|neighbor| neighbor.score.lcs > 0)
        .collect();
    all.sort_by(|a, b| b.score.cmp(&a.score).then(a.position.cmp(&b.position)));
    all
}

fn table(a: &[String], b: &[String]) -> u32 {
    let mut row = vec![0u32; b.len() + 1];
    for word in a {
        let mut diagonal = 0;
        for (j, other) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if word == other {
                diagonal + 1
            } else {
                above.max(row[j])
            };
            diagonal = above;
        }
    }
    row[b.len()]
}

/// Texts of a few words, and edited copies of them, so that all similarities occur.
fn texts(most: usize, length: usize) -> impl Strategy<Value = Vec<Vec<String>>> {
    let word = || (0u32..40).prop_map(|n| format!("w{}", n * n / 40));
    let text = prop::collection::vec(word(), 0..=length);
    let change = prop::collection::vec((any::<prop::sample::Index>(), word(), 0u8..3), 0..8);
    let copy = (any::<prop::sample::Index>(), change);
    prop::collection::vec((text, copy, any::<bool>()), 1..most).prop_map(|drawn| {
        let mut texts: Vec<Vec<String>> = Vec::new();
        for (fresh, (of, changes), is_copy) in drawn {
            let mut text = match is_copy && !texts.is_empty() {
                true => of.get(&texts).clone(),
                false => fresh,
            };
            for (place, word, what) in changes {
                if text.is_empty() {
                    break;
                }
                let place = place.index(text.len());
                match what {
                    0 => drop(text.remove(place)),
                    1 => text.insert(place, word),
                    _ => text[place] = word,
                }
            }
            texts.push(text);
        }
        texts
    })
}

fn thresholds() -> impl Strategy<Value = Threshold> {
    prop_oneof![
        Just("0.7".to_string()),
        Just("1".to_string()),
        Just("0.5".to_string()),
        Just("0.000000001".to_string()),
        (1u32..1000).prop_map(|n| format!("0.{n:03}")),
    ]
    .prop_map(|text| text.parse().unwrap())
}

/// Keeps texts in order, each compared with all that are kept. Returns what each is a duplicate of.
fn admit_by_brute_force(texts: &[Vec<String>], threshold: Threshold) -> Vec<Option<SimilarText>> {
    let mut kept: Vec<Vec<String>> = Vec::new();
    texts
        .iter()
        .map(|text| {
            let near = brute(text, &kept).first().copied();
            let near = near.filter(|near| threshold.is_exceeded_by(near.score));
            if near.is_none() {
                kept.push(text.clone());
            }
            near
        })
        .collect()
}

fn joined(texts: &[Vec<String>]) -> Vec<String> {
    texts.iter().map(|text| text.join(" ")).collect()
}

fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap()
        .install(work)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn admission_is_that_of_brute_force(
        texts in prop_oneof![texts(300, 12), texts(40, 200)],
        threshold in thresholds(),
        batch in 1usize..200,
        threads in 1usize..4,
    ) {
        let expected = admit_by_brute_force(&texts, threshold);
        let texts = joined(&texts);
        let (verdicts, kept) = with_threads(threads, || {
            let mut index = Index::new(threshold);
            let verdicts: Vec<_> = texts.chunks(batch).flat_map(|batch| index.admit(batch, |_| false)).collect();
            (verdicts, index.len())
        });
        prop_assert_eq!(kept, expected.iter().filter(|near| near.is_none()).count());
        prop_assert_eq!(verdicts, expected);
    }

    #[test]
    fn searches_are_those_of_brute_force(
        texts in prop_oneof![texts(400, 12), texts(30, 200)],
        threshold in thresholds(),
        count in 1usize..12,
        within in any::<prop::sample::Index>(),
    ) {
        let within = within.index(texts.len() + 1);
        let mut index = Index::new(threshold);
        index.extend(&joined(&texts));
        let query = texts[texts.len() / 2].clone();
        let mut all = brute(&query, &texts[..within]);
        let near = all.first().copied().filter(|near| threshold.is_exceeded_by(near.score));
        prop_assert_eq!(index.duplicate(&query.join(" "), within), near);
        all.truncate(count);
        prop_assert_eq!(index.nearest(&[(&query.join(" "), within)], count), vec![all]);
        let position = texts.len() - 1;
        let mut before = brute(&texts[position], &texts[..position]);
        before.truncate(count);
        prop_assert_eq!(index.nearest_before(&[position], count), vec![before]);
    }
}

/// Tests every pair of lengths up to 200, at scores around the threshold.
#[test]
fn every_length_is_judged_like_brute_force() {
    let threshold = Threshold::SELF_INSTRUCT;
    let word = |n: usize| format!("w{n}");
    for m in 0..=200usize {
        let query: Vec<String> = (0..m).map(word).collect();
        // For each length, one text that shares one word too few, and one that shares just enough.
        let mut texts = Vec::new();
        for n in (m / 2..=(2 * m + 1).min(200)).filter(|n| n % 7 == m % 7) {
            let enough = threshold.least_lcs((m + n) as u32) as usize;
            for shared in [enough - 1, enough] {
                if shared <= m.min(n) {
                    texts.push(
                        (0..n)
                            .map(|i| word(if i < shared { i } else { 1000 + i }))
                            .collect(),
                    );
                }
            }
        }
        let mut index = Index::new(threshold);
        index.extend(&joined(&texts));
        for within in 0..=texts.len() {
            let near = brute(&query, &texts[..within]).first().copied();
            let near = near.filter(|near| threshold.is_exceeded_by(near.score));
            assert_eq!(
                index.duplicate(&query.join(" "), within),
                near,
                "{m} words, within {within}"
            );
        }
    }
}

#[test]
fn an_unseen_word_is_no_word_of_the_index() {
    let mut index = Index::new(Threshold::SELF_INSTRUCT);
    index.push("explain how rain forms");
    assert_eq!(index.duplicate("alpha beta gamma delta", 1), None);
    assert_eq!(index.duplicate("", 1), None);
    index.push("");
    assert_eq!(index.duplicate("", 2), None);
    let near = index.duplicate("please explain how rain forms", 2).unwrap();
    assert_eq!((near.position, near.score.lcs, near.score.total), (0, 4, 9));
}

#[test]
fn what_is_certain_stays_and_counts() {
    let mut index = Index::new(Threshold::SELF_INSTRUCT);
    let texts = [
        "explain how rain forms",
        "explain how the rain forms",
        "tell how the rain forms",
    ];
    let verdicts = index.admit(&texts, |i| i == 1);
    let positions: Vec<_> = verdicts
        .iter()
        .map(|near| near.map(|near| near.position))
        .collect();
    // The third is no duplicate of the first, but of the second, which is certain to stay although
    // it is a duplicate itself.
    assert_eq!(positions, [None, Some(0), Some(1)]);
    assert_eq!(index.len(), 2);
}

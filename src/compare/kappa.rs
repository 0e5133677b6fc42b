//! Agreement of two raters beyond chance (Cohen 1960).

/// Cohen's kappa of paired ratings, unweighted: (observed − expected) / (1 − expected) agreement,
/// where the expected one is that of two raters who choose at random as often as these. None
/// without ratings, and where both always say the same word, since any agreement is then expected.
pub fn kappa<T: PartialEq>(ratings: &[(T, T)]) -> Option<f64> {
    let count = ratings.len() as f64;
    let mut words: Vec<&T> = Vec::new();
    for (one, other) in ratings {
        for word in [one, other] {
            if !words.contains(&word) {
                words.push(word);
            }
        }
    }
    let share =
        |is: &dyn Fn(&(T, T)) -> bool| ratings.iter().filter(|rating| is(rating)).count() as f64 / count;
    let observed = share(&|(one, other)| one == other);
    let expected: f64 = words
        .iter()
        .map(|word| share(&|(one, _)| one == *word) * share(&|(_, other)| other == *word))
        .sum();
    (words.len() > 1).then(|| (observed - expected) / (1.0 - expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rated(pairs: &[(&str, &str, usize)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .flat_map(|(one, other, times)| vec![(one.to_string(), other.to_string()); *times])
            .collect()
    }

    /// Numbers of scikit-learn 1.9.1, `cohen_kappa_score`.
    #[test]
    fn it_is_that_of_scikit_learn() {
        let two = rated(&[
            ("yes", "yes", 20),
            ("yes", "no", 5),
            ("no", "yes", 10),
            ("no", "no", 15),
        ]);
        assert!((kappa(&two).unwrap() - 0.4).abs() < 1e-12);
        let three = rated(&[
            ("a", "a", 11),
            ("a", "b", 3),
            ("a", "tie", 4),
            ("b", "a", 2),
            ("b", "b", 14),
            ("b", "tie", 5),
            ("tie", "a", 6),
            ("tie", "b", 1),
            ("tie", "tie", 9),
        ]);
        assert!(
            (kappa(&three).unwrap() - 0.42736737729300944).abs() < 1e-9,
            "{:?}",
            kappa(&three)
        );
        let against = rated(&[("a", "b", 3), ("b", "a", 3)]);
        assert!((kappa(&against).unwrap() + 1.0).abs() < 1e-12);
    }

    #[test]
    fn there_is_none_without_ratings_or_choice() {
        assert_eq!(kappa::<u8>(&[]), None);
        assert_eq!(kappa(&[(1, 1), (1, 1)]), None);
        assert_eq!(kappa(&[(1, 2), (1, 2)]), Some(0.0));
    }
}

//! The table of the 25 checkers.

use super::checker::Checker;
use super::{case, combination, content, format, keywords, language, length, punctuation, startend};

/// All checkers by family.
const FAMILIES: [&[Checker]; 9] = [
    keywords::CHECKERS,
    language::CHECKERS,
    length::CHECKERS,
    content::CHECKERS,
    format::CHECKERS,
    combination::CHECKERS,
    startend::CHECKERS,
    case::CHECKERS,
    punctuation::CHECKERS,
];

/// Returns the checker with this id.
pub fn checker(id: &str) -> Option<&'static Checker> {
    all().find(|checker| checker.id == id)
}

/// Returns the id that is most like `id`, for messages.
pub fn nearest(id: &str) -> &'static str {
    let like = |checker: &&Checker| (strsim::jaro_winkler(checker.id, id) * 1e6) as u64;
    all().max_by_key(like).map_or("", |checker| checker.id)
}

fn all() -> impl Iterator<Item = &'static Checker> {
    FAMILIES.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_25_with_different_ids() {
        let mut ids: Vec<&str> = all().map(|checker| checker.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 25, "{ids:?}");
    }

    #[test]
    fn a_wrong_id_is_corrected() {
        assert!(checker("length_constraints:number_word").is_none());
        assert_eq!(
            nearest("length_constraint:number_word"),
            "length_constraints:number_words"
        );
    }
}

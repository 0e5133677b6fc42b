//! What a response was worth: whether a run should go on asking for such responses.

use crate::task::{Reason, Verdict};

/// The worth of a response, by the verdicts on the texts in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Worth<'a> {
    /// Some texts are good, or only too similar to other tasks.
    Usable,
    /// No text has the form that the prompt asked for.
    Unreadable,
    /// All texts are rejected: the most frequent reason, and the first text rejected for it.
    Rejected { reason: Reason, text: &'a str },
}

impl<'a> Worth<'a> {
    /// The worth of a response with these texts.
    pub(super) fn of(offers: impl IntoIterator<Item = (&'a str, &'a Verdict)>) -> Worth<'a> {
        let mut against: Vec<(u64, Reason, &str)> = Vec::new();
        for (text, verdict) in offers {
            let Some(reason) = verdict.reason.filter(|_| verdict.nearest.is_none()) else {
                return Worth::Usable;
            };
            if reason.is_unreadable() {
                continue;
            }
            match against.iter_mut().find(|(_, other, _)| *other == reason) {
                Some((count, ..)) => *count += 1,
                None => against.push((1, reason, text)),
            }
        }
        // Among equally frequent reasons, `max_by_key` returns the last, which is the first one
        // found.
        let most = against.into_iter().rev().max_by_key(|(count, ..)| *count);
        most.map_or(Worth::Unreadable, |(_, reason, text)| Worth::Rejected {
            reason,
            text,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::TaskRef;

    #[test]
    fn known_texts_are_usable_and_rejected_ones_are_not() {
        let rejections = [
            Reason::Refusal,
            Reason::TooShort,
            Reason::Unparsed,
            Reason::Refusal,
        ]
        .map(|reason| Verdict::rejected(reason, ""));
        let [refusal, short, unparsed, refusal_too] = &rejections;
        let near = Verdict::near_duplicate(TaskRef::Stored(1), 0.9);
        let good = Verdict::accepted();
        let of = |offers: &[(&'static str, &Verdict)]| match Worth::of(offers.iter().copied()) {
            Worth::Usable => "usable".to_string(),
            Worth::Unreadable => "unreadable".to_string(),
            Worth::Rejected { reason, text } => format!("{reason}: {text}"),
        };
        assert_eq!(of(&[("a", refusal), ("b", &good)]), "usable");
        assert_eq!(of(&[("a", refusal), ("b", &near)]), "usable");
        assert_eq!(of(&[]), "unreadable");
        assert_eq!(of(&[("a", unparsed), ("b", unparsed)]), "unreadable");
        assert_eq!(of(&[("a", unparsed), ("b", short)]), "too_short: b");
        assert_eq!(of(&[("a", short), ("b", refusal)]), "too_short: a");
        let most = [("a", short), ("b", refusal), ("c", refusal_too)];
        assert_eq!(of(&most), "refusal: b");
    }
}

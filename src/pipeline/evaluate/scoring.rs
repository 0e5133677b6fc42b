//! Scores answers by what their suite asks for.

use super::models::TokenLoss;
use super::rouge;
use crate::backend::FinishReason;
use crate::pipeline::answers::Answer;
use crate::suite::checks::{self, ProgramPolicy};
use crate::suite::figures::Scores;
use crate::suite::ifeval;
use crate::suite::item::{Item, SuiteKind, Test};
use crate::suite::words::{StemmedWords, count_words, normal_form};

/// The most bytes of an answer that checkers and an exact match see. ROUGE-L has its own limit
/// ([`crate::suite::words::MOST_COMPARED`]).
pub const LONGEST: usize = 1 << 20;

/// Returns the scores of an answer, and whether they are of a part of it.
pub fn scores(kind: SuiteKind, item: &Item, answer: &Answer, programs: ProgramPolicy) -> (Scores, bool) {
    let whole = answer.text.trim();
    let text = &whole[..whole.floor_char_boundary(LONGEST)];
    let mut scores = Scores {
        words: Some(count_words(whole)),
        stopped: Some(answer.finish_reason == FinishReason::Stop),
        ..Scores::default()
    };
    let mut is_cut = text.len() < whole.len();
    if !item.references.is_empty() {
        let words = StemmedWords::of(whole);
        is_cut |= words.is_cut();
        scores.rouge_l = Some(100.0 * rouge::best(&words, &item.references));
    }
    if kind == SuiteKind::Superni {
        let form = normal_form(text);
        scores.exact_match = Some(item.references.iter().any(|right| normal_form(right) == form));
    }
    match &item.test {
        Test::References => {}
        Test::Ifeval(row) => {
            let verdict = ifeval::verify(row, text);
            (scores.strict, scores.loose) = (Some(verdict.strict), Some(verdict.loose));
        }
        Test::Checks(row) => {
            let verdict = checks::verify(row, text, programs);
            scores.passed = Some(verdict.passed());
            let failed = verdict.outcomes.iter().filter(|outcome| !outcome.passed);
            scores.remarks = failed
                .map(|outcome| format!("{}: {}", outcome.kind, outcome.reason))
                .collect();
        }
    }
    (scores, is_cut)
}

/// Adds the likelihood of the reference.
pub fn add_loss(scores: &mut Scores, loss: Option<TokenLoss>) {
    if let Some(TokenLoss { tokens, nll }) = loss.filter(|loss| loss.tokens > 0) {
        scores.nll = Some(nll);
        scores.reference_tokens = Some(tokens);
    }
}

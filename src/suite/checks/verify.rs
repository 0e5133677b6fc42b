//! The verdict on an answer: each check passed or not, and why not.

use serde_json::json;

use super::json_value;
use super::kind::{Check, Test};
use super::program::{Accepted, ProgramPolicy};
use super::row::CheckRow;
use crate::text::{counted, one_line};

/// How many characters of a reason are kept.
const SHOWN: usize = 300;

/// What came of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckOutcome {
    /// The name of the kind, such as `regex`.
    pub kind: &'static str,
    /// Whether the answer passed.
    pub passed: bool,
    /// Why it did not, on one line; of a program also what it says of an answer that passed.
    pub reason: String,
    /// Whether the check itself failed: its program did not start, took too long, or was ended by a
    /// signal. The answer has not passed then.
    pub is_fault: bool,
}

/// What came of the checks of a row, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckVerdict {
    /// One outcome a check.
    pub outcomes: Vec<CheckOutcome>,
}

impl CheckVerdict {
    /// Whether the answer passed all checks.
    pub fn passed(&self) -> bool {
        self.outcomes.iter().all(|outcome| outcome.passed)
    }
}

/// Judges an answer by the checks of its row. Programs run one after another.
pub fn verify(row: &CheckRow, answer: &str, programs: ProgramPolicy) -> CheckVerdict {
    let outcome = |check: &Check| {
        let (result, is_fault) = match &check.test {
            Test::Program(program) => {
                let input = json!({
                    "prompt": row.question.text(),
                    "answer": answer,
                    "references": row.references,
                });
                match program.accepts(&format!("{input}\n"), programs) {
                    Accepted::Yes(said) => (Ok(said), false),
                    Accepted::No(why) => (Err(why), false),
                    Accepted::Fault(what) => (Err(what), true),
                }
            }
            test => (satisfies(test, answer).map(|()| String::new()), false),
        };
        CheckOutcome {
            kind: check.kind,
            passed: result.is_ok(),
            reason: one_line(&result.unwrap_or_else(|why| why), SHOWN),
            is_fault,
        }
    };
    CheckVerdict {
        outcomes: row.checks.iter().map(outcome).collect(),
    }
}

/// Tests an answer without running anything. The error says why it does not pass.
fn satisfies(test: &Test, answer: &str) -> Result<(), String> {
    let fault = match test {
        Test::Regex(pattern) => (!pattern.is_match(answer)).then(|| format!("`{pattern}` is not found")),
        Test::Exact(texts) => {
            let answer = answer.trim();
            let wanted = || format!("is not `{}`", texts.join("` or `"));
            (!texts.iter().any(|text| text == answer)).then(wanted)
        }
        Test::Contains(texts) => {
            let missing = texts.iter().find(|text| !answer.contains(text.as_str()));
            missing.map(|text| format!("`{text}` is missing"))
        }
        Test::NotContains(texts) => {
            let found = texts.iter().find(|text| answer.contains(text.as_str()));
            found.map(|text| format!("`{text}` is in it"))
        }
        Test::MaxWords(most) => {
            let words = answer.split_whitespace().count() as u64;
            (words > *most).then(|| format!("{}, more than {most}", counted(words, "word")))
        }
        Test::JsonSchema { validator, extract } => {
            let value = match extract {
                true => json_value::first(answer)?,
                false => json_value::whole(answer)?,
            };
            let error = validator.iter_errors(&value).next();
            error.map(|error| match error.instance_path().as_str() {
                "" => error.to_string(),
                place => format!("{place}: {error}"),
            })
        }
        Test::Program(_) => unreachable!("programs are run"),
    };
    fault.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Question;
    use serde_json::Value;
    use std::path::Path;

    fn row(check: &Value) -> CheckRow {
        CheckRow {
            key: "1".into(),
            question: Question::new("q"),
            references: vec!["r".into()],
            checks: vec![Check::parse(check, Path::new(".")).unwrap_or_else(|error| panic!("{error}"))],
        }
    }

    #[test]
    fn checks_pass_or_say_why_not() {
        let schema = json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"},
            "b": {"type": "string", "pattern": "^x+$"}}});
        let whole = json!({"json_schema": schema});
        let extract = json!({"json_schema": schema, "extract": true});
        // An empty reason: it passes.
        let cases = [
            (json!({"regex": "^\\d+$"}), "42", ""),
            (json!({"regex": "^\\d+$"}), "42\n", "`^\\d+$` is not found"),
            (json!({"exact": " a b "}), "\na b", ""),
            (json!({"exact": ["a", "b"]}), "c", "is not `a` or `b`"),
            (json!({"exact": ""}), " ", ""),
            (json!({"contains": ["a", "b"]}), "ba", ""),
            (json!({"contains": ["a", "b"]}), "A b", "`a` is missing"),
            (json!({"not_contains": "x"}), "abc", ""),
            (json!({"not_contains": ["x", "c"]}), "abc", "`c` is in it"),
            (json!({"max_words": 2}), "a b", ""),
            (json!({"max_words": 2}), "a b c", "3 words, more than 2"),
            (json!({"max_words": 0}), "a", "1 word, more than 0"),
            (whole.clone(), "{\"a\": 1}", ""),
            (whole.clone(), "{}", "\"a\" is a required property"),
            (
                whole.clone(),
                "{\"a\": \"1\"}",
                "/a: \"1\" is not of type \"integer\"",
            ),
            (
                whole.clone(),
                "{\"a\": 1, \"b\": \"y\"}",
                "/b: \"y\" does not match \"^x+$\"",
            ),
            (whole.clone(), "Sure: {\"a\": 1}", "the answer is no JSON"),
            (extract.clone(), "Sure:\n```json\n{\"a\": 1}\n```", ""),
            (extract, "Sure!", "the answer has no JSON"),
            (
                json!({"json_schema": false}),
                "1",
                "False schema does not allow 1",
            ),
        ];
        for (check, answer, reason) in cases {
            let verdict = verify(&row(&check), answer, ProgramPolicy::default());
            let outcome = &verdict.outcomes[0];
            assert_eq!(
                verdict.passed(),
                reason.is_empty(),
                "{check} {answer}: {outcome:?}"
            );
            assert!(
                outcome.reason.starts_with(reason) && !outcome.is_fault,
                "{check} {answer}: {outcome:?}"
            );
        }
    }

    #[test]
    fn patterns_take_linear_time() {
        let verdict = verify(
            &row(&json!({"regex": "(a+)+$"})),
            &("a".repeat(1 << 20) + "b"),
            ProgramPolicy::default(),
        );
        assert!(!verdict.passed());
        let schema = json!({"json_schema": {"pattern": "^(a+)+$"}});
        let answer = format!("\"{}b\"", "a".repeat(1 << 20));
        assert!(!verify(&row(&schema), &answer, ProgramPolicy::default()).passed());
    }

    #[test]
    fn programs_need_leave() {
        let row = row(&json!({"program": ["true"]}));
        let outcome = |policy| verify(&row, "a", policy).outcomes.remove(0);
        assert!(outcome(ProgramPolicy::default()).is_fault);
        let allowed = ProgramPolicy {
            allowed: true,
            ..ProgramPolicy::default()
        };
        assert!(outcome(allowed).passed);
    }
}

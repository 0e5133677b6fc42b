//! An answer that is either in a format or calls tools, as the model decides. Calls are recognized
//! by what they begin with; from there on the answer is free, as it is where nothing is asked of
//! it.

use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use serde_json::{Value, json};

/// The names of the grammars that the whole refers to.
const ANSWER: &str = "answer";
const BARE: &str = "bare";

/// How calls of tools begin.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CallMarks {
    /// Texts, one of which stands before calls.
    pub texts: Vec<String>,
    /// Special tokens, one of which stands before calls.
    pub tokens: Vec<i64>,
    /// Special tokens that calls are written with.
    pub within: Vec<i64>,
    /// The schema of a call that nothing stands before.
    pub bare: Option<Value>,
}

/// Returns the grammar of an answer that `answer` accepts, or that is calls.
pub fn either(mut answer: GrammarWithLexer, marks: &CallMarks) -> TopLevelGrammar {
    answer.name = Some(ANSWER.to_owned());
    let whole = GrammarWithLexer::from_lark(lark(marks));
    let bare = marks.bare.clone().map(|schema| GrammarWithLexer {
        name: Some(BARE.to_owned()),
        ..GrammarWithLexer::from_json_schema(super::spaced(&schema))
    });
    TopLevelGrammar {
        grammars: [whole, answer].into_iter().chain(bare).collect(),
        max_tokens: None,
    }
}

/// The grammar that refers to the others.
fn lark(marks: &CallMarks) -> String {
    let texts = marks.texts.iter().map(|text| json!(text).to_string());
    let begins: Vec<String> = texts.chain(marks.tokens.iter().map(special)).collect();
    let mut rules = Vec::new();
    let mut start = vec![format!("@{ANSWER}")];
    if !begins.is_empty() {
        start.push("calls".to_owned());
        let within: Vec<String> = marks.within.iter().map(special).collect();
        let rest = match within.is_empty() {
            true => "TEXT?".to_owned(),
            false => format!("TEXT? (({}) TEXT?)*", within.join(" | ")),
        };
        rules.push(format!("calls: SPACE? ({}) {rest}", begins.join(" | ")));
        rules.push(r"SPACE: /[ \t\r\n]{1,16}/".to_owned());
        rules.push(r"TEXT: /(.|\n)+/".to_owned());
    }
    if marks.bare.is_some() {
        start.push(format!("@{BARE}"));
    }
    rules.insert(0, format!("start: {}", start.join(" | ")));
    rules.join("\n")
}

/// A special token, by its number: its name may have letters that the notation has not.
fn special(id: &i64) -> String {
    format!("<[{id}]>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_has_what_the_format_of_calls_has() {
        let mut marks = CallMarks {
            texts: vec!["<a \"b\">".to_owned()],
            ..CallMarks::default()
        };
        let text = lark(&marks);
        assert!(text.starts_with("start: @answer | calls\n"), "{text}");
        assert!(
            text.contains("calls: SPACE? (\"<a \\\"b\\\">\") TEXT?\n"),
            "{text}"
        );
        (marks.tokens, marks.within) = (vec![7], vec![7, 9]);
        let text = lark(&marks);
        assert!(
            text.contains("| <[7]>) TEXT? ((<[7]> | <[9]>) TEXT?)*\n"),
            "{text}"
        );
        marks = CallMarks {
            bare: Some(json!({})),
            ..CallMarks::default()
        };
        assert_eq!(lark(&marks), "start: @answer | @bare");
    }
}

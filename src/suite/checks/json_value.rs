//! JSON within an answer.

use serde_json::{Deserializer, Value};

/// How many places are tried at most. An answer with more brackets has no JSON that was meant.
const MOST_PLACES: usize = 1000;

/// Returns the JSON value that is the whole answer, or why it is none.
pub fn whole(answer: &str) -> Result<Value, String> {
    serde_json::from_str(answer.trim()).map_err(|error| format!("the answer is no JSON: {error}"))
}

/// Returns the first JSON value in a code block; without one, the first object or list.
pub fn first(answer: &str) -> Result<Value, String> {
    let value = fenced(answer).or_else(|| bracketed(answer));
    value.ok_or_else(|| "the answer has no JSON in a code block or in brackets".into())
}

fn fenced(answer: &str) -> Option<Value> {
    let mut lines = answer.split_inclusive('\n');
    let mut blocks = std::iter::from_fn(|| {
        let is_fence = |line: &&str| line.trim_start().starts_with("```");
        lines.find(is_fence)?;
        let lines = lines.by_ref().take_while(|line| !is_fence(line));
        Some(lines.collect::<String>())
    });
    blocks.find_map(|block| serde_json::from_str(block.trim()).ok())
}

fn bracketed(answer: &str) -> Option<Value> {
    let starts = answer.match_indices(['{', '[']).take(MOST_PLACES);
    starts.into_iter().find_map(|(start, _)| {
        let mut values = Deserializer::from_str(&answer[start..]).into_iter::<Value>();
        values.next()?.ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_value_is_found() {
        let cases = [
            ("{\"a\": 1}", json!({"a": 1})),
            ("Sure: {\"a\": [1]} and [2].", json!({"a": [1]})),
            ("[x] then [1, 2]", json!([1, 2])),
            ("[0]\n```json\n{\"a\": 1}\n```\n", json!({"a": 1})),
            ("```\nno\n```\n```\n[3]\n```", json!([3])),
            ("```json\n[4]", json!([4])),
            ("``` x\n{ \"b\"\n```\n{\"c\": {}}", json!({"c": {}})),
        ];
        for (answer, wanted) in cases {
            assert_eq!(first(answer), Ok(wanted), "{answer}");
        }
        for answer in ["", "none", "{", "[1, 2", "```\n```"] {
            assert!(first(answer).is_err(), "{answer}");
        }
    }

    #[test]
    fn the_whole_answer_is_one_value() {
        assert_eq!(whole(" [1]\n"), Ok(json!([1])));
        assert!(whole("[1] [2]").unwrap_err().starts_with("the answer is no JSON"));
        assert!(whole("").is_err());
    }

    #[test]
    fn brackets_without_end_take_no_time() {
        for part in ["[", "{\"a\":", "[1,", "```\n", "[\"", "[[1x],"] {
            assert!(first(&part.repeat(1 << 20)).is_err(), "{part}");
        }
    }
}

//! The parsers of a recipe: an answer as items with fields. No text is lost: a part that cannot be
//! read is an item with a fault, except between the matches of a pattern, which says what counts.

use super::item::{Flaw, Item, TEXT};
use super::objects::{self, Fields};
use crate::backend::FinishReason;
use crate::generate::parse::{Fault, instructions};
use regex::Regex;
use serde_json::Value;

/// How the answer of a stage is read.
#[derive(Debug)]
pub enum Parser {
    /// The whole answer.
    Whole,
    /// Each line.
    Lines,
    /// A numbered list. `after` is the number that the prompt ends with, if it does.
    Numbered {
        /// The number of the first item, which the prompt has.
        after: Option<usize>,
    },
    /// Objects with fields.
    Json(Fields),
    /// Each match, with the pattern's named groups.
    Regex(Regex),
}

impl Parser {
    /// The names of the fields that every item has.
    pub fn fields(&self) -> Vec<String> {
        match self {
            Parser::Whole | Parser::Lines | Parser::Numbered { .. } => vec![TEXT.to_string()],
            Parser::Json(fields) => fields.names().map(str::to_string).collect(),
            Parser::Regex(pattern) => pattern.capture_names().flatten().map(str::to_string).collect(),
        }
    }

    /// Reads an answer that is not empty.
    pub fn read(&self, answer: &str, finish: FinishReason) -> Vec<Item> {
        let cut = finish == FinishReason::Length;
        match self {
            Parser::Whole if cut => vec![Item::flawed(answer, Flaw::truncated())],
            Parser::Whole => vec![Item::of_text(answer)],
            Parser::Lines => cut_last(lines(answer), cut),
            Parser::Numbered { after: Some(number) } => {
                let items = instructions(answer, finish, *number).into_iter();
                items
                    .map(|item| match item.fault {
                        None => Item::of_text(&item.text),
                        Some(Fault::Truncated) => Item::flawed(&item.text, Flaw::truncated()),
                        Some(Fault::Unparsed) => Item::flawed(&item.text, Flaw::unparsed("")),
                    })
                    .collect()
            }
            Parser::Numbered { after: None } => cut_last(numbered(answer), cut),
            Parser::Json(fields) => objects::read(answer, finish, fields),
            Parser::Regex(pattern) => matches(pattern, answer, cut),
        }
    }
}

/// Marks the last item of an answer that was cut off.
fn cut_last(mut items: Vec<Item>, cut: bool) -> Vec<Item> {
    if let (true, Some(last)) = (cut, items.last_mut()) {
        last.fields = Err(Flaw::truncated());
    }
    items
}

/// The lines that say something, without the signs of a list.
fn lines(answer: &str) -> Vec<Item> {
    let lines = answer.lines().map(|line| {
        let line = line.trim();
        let bare = ["- ", "* ", "• ", "– "]
            .iter()
            .find_map(|sign| line.strip_prefix(sign));
        bare.unwrap_or(line)
    });
    lines
        .filter(|line| line.chars().any(char::is_alphanumeric))
        .map(Item::of_text)
        .collect()
}

/// The items of a numbered list, of one or more lines each. A number begins an item if it comes
/// after the last one. Text around the list is no item.
fn numbered(answer: &str) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    let mut before = String::new();
    let mut open: Option<(usize, String)> = None;
    for line in answer.lines() {
        match (number(line), &mut open) {
            (Some((at, rest)), None) => open = Some((at, rest.to_string())),
            (Some((at, rest)), Some((last, text))) if at > *last && at <= *last + 3 => {
                items.push(Item::of_text(text));
                open = Some((at, rest.to_string()));
            }
            (_, Some((_, text))) => {
                text.push('\n');
                text.push_str(line);
            }
            (None, None) => {
                before.push_str(line);
                before.push('\n');
            }
        }
    }
    if let Some((_, text)) = open {
        // Behind an empty line, the model talks about its list.
        let (item, after) = text.trim().split_once("\n\n").unwrap_or((text.trim(), ""));
        items.push(Item::of_text(item));
        if !after.trim().is_empty() {
            items.push(Item::flawed(after, Flaw::unparsed("behind the list")));
        }
    } else if !before.trim().is_empty() {
        return vec![Item::flawed(&before, Flaw::unparsed("no numbered list"))];
    }
    items.retain(|item| !item.text.is_empty());
    items
}

/// Splits `12. text`, `12) text`, and the same in bold.
fn number(line: &str) -> Option<(usize, &str)> {
    let line = line.trim_start().trim_start_matches('*');
    let digits = line.len() - line.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let rest = line[digits..].strip_prefix(['.', ')'])?;
    if !rest.is_empty() && !rest.starts_with([' ', '\t', '*']) {
        return None;
    }
    Some((line[..digits].parse().ok()?, rest.trim_start_matches('*')))
}

/// The matches of a pattern. A group that took no part in one is an empty text.
fn matches(pattern: &Regex, answer: &str, cut: bool) -> Vec<Item> {
    let mut items = Vec::new();
    let mut end = 0;
    for found in pattern.captures_iter(answer) {
        let all = found.get(0).expect("every match has the whole one");
        // An empty match says nothing.
        if all.is_empty() {
            continue;
        }
        end = all.end();
        let groups = pattern.capture_names().flatten().map(|name| {
            let text = found.name(name).map_or("", |group| group.as_str().trim());
            (name.to_string(), Value::from(text))
        });
        items.push(Item {
            text: all.as_str().trim().to_string(),
            fields: Ok(groups.collect()),
        });
    }
    let rest = answer[end..].trim();
    if cut && !rest.is_empty() {
        items.push(Item::flawed(rest, Flaw::truncated()));
    } else if cut {
        items = cut_last(items, true);
    } else if items.is_empty() {
        items.push(Item::flawed(answer, Flaw::unparsed("the pattern is not found")));
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use FinishReason::{Length, Stop};

    fn read(parser: &Parser, answer: &str, finish: FinishReason) -> Vec<(String, Option<Fault>)> {
        let items = parser.read(answer, finish).into_iter();
        items
            .map(|item| match item.fields {
                Ok(fields) => (Value::Object(fields).to_string(), None),
                Err(flaw) => (item.text, Some(flaw.fault)),
            })
            .collect()
    }

    fn texts(parser: &Parser, answer: &str) -> Vec<String> {
        parser
            .read(answer, Stop)
            .into_iter()
            .map(|item| item.text)
            .collect()
    }

    #[test]
    fn lists_are_read_with_and_without_numbers() {
        assert_eq!(
            texts(&Parser::Lines, "- one\n\n* two\nthree\n---"),
            ["one", "two", "three"]
        );
        let list = Parser::Numbered { after: None };
        assert_eq!(
            texts(
                &list,
                "Here are three:\n\n1. One\n   more\n2) Two of 2020. Yes\n**3.** Three"
            ),
            ["One\n   more", "Two of 2020. Yes", "Three"]
        );
        assert_eq!(
            read(&list, "1. One\n2. Two\n\nI hope that helps!", Stop)[2],
            ("I hope that helps!".to_string(), Some(Fault::Unparsed))
        );
        assert_eq!(
            read(&list, "I cannot.", Stop),
            [("I cannot.".into(), Some(Fault::Unparsed))]
        );
        assert_eq!(read(&list, "1. One\n2. Tw", Length)[1].1, Some(Fault::Truncated));
        let goes_on = Parser::Numbered { after: Some(4) };
        assert_eq!(texts(&goes_on, " One\n5. Two\n6. Three"), ["One", "Two", "Three"]);
    }

    #[test]
    fn matches_have_the_named_groups() {
        let pattern = Regex::new(r"(?s)Q: (?P<question>.*?)\nA: (?P<answer>.*?)(?:\n\n|\z)").unwrap();
        let parser = Parser::Regex(pattern);
        let answer = "Well.\nQ: Who?\nA: We.\nAll.\n\nQ: When?\nA: Now.";
        assert_eq!(
            read(&parser, answer, Stop),
            [
                (r#"{"question":"Who?","answer":"We.\nAll."}"#.to_string(), None),
                (r#"{"question":"When?","answer":"Now."}"#.to_string(), None)
            ]
        );
        assert_eq!(read(&parser, answer, Length)[1].1, Some(Fault::Truncated));
        assert_eq!(
            read(&parser, "No.", Stop),
            [("No.".to_string(), Some(Fault::Unparsed))]
        );
    }
}

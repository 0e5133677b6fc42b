//! From the text of an answer to text and calls, piece by piece: however the text is cut, the
//! pieces join to the same.

use super::format::{Call, HERMES, LLAMA, MISTRAL, ToolFormat, llama, mistral};

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text for people.
    Text(String),
    /// A call, or its beginning.
    Call(Call),
    /// More arguments of the last call.
    Arguments(String),
}

/// How an answer is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// As text with calls that the model may make.
    Auto(ToolFormat),
    /// As a list of calls, to which the answer is held.
    Required,
    /// As the arguments of this tool, to which the answer is held.
    Named(String),
}

/// Where the parser is.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// Before anything but white space.
    Beginning,
    /// In text.
    Text,
    /// Behind what begins a call, which is no part of what is held.
    Call,
}

/// Reads an answer. Holds back what may belong to a call.
#[derive(Debug)]
pub struct ToolParser {
    reading: Reading,
    place: Place,
    held: String,
    /// Whether there was a call.
    has_called: bool,
}

impl ToolParser {
    /// Returns a parser at the beginning of an answer.
    pub fn new(reading: Reading) -> ToolParser {
        ToolParser {
            reading,
            place: Place::Beginning,
            held: String::new(),
            has_called: false,
        }
    }

    /// Takes more text. Returns what is certain now.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        if text.is_empty() {
            return Vec::new();
        }
        if let Reading::Named(name) = &self.reading {
            let arguments = text.to_owned();
            let is_begun = std::mem::replace(&mut self.has_called, true);
            return vec![match is_begun {
                true => Piece::Arguments(arguments),
                false => Piece::Call(Call {
                    name: name.clone(),
                    arguments,
                }),
            }];
        }
        self.held.push_str(text);
        match self.reading {
            Reading::Auto(ToolFormat::Hermes) => self.hermes(),
            Reading::Auto(ToolFormat::Mistral) => self.until(MISTRAL).into_iter().collect(),
            Reading::Auto(ToolFormat::Llama) => self.llama().into_iter().collect(),
            Reading::Required | Reading::Named(_) => Vec::new(),
        }
    }

    /// Returns the rest, when no text follows.
    pub fn finish(&mut self) -> Vec<Piece> {
        let held = std::mem::take(&mut self.held);
        let (calls, mark) = match (&self.reading, &self.place) {
            (Reading::Required, _) => (Call::all_of(&held), ""),
            (Reading::Auto(ToolFormat::Hermes), Place::Call) => (one(&held), HERMES[0]),
            (Reading::Auto(ToolFormat::Mistral), Place::Call) => (mistral(&held), MISTRAL),
            (Reading::Auto(ToolFormat::Llama), Place::Call) => {
                (llama(held.trim_start().strip_prefix(LLAMA).unwrap_or(&held)), "")
            }
            _ => (None, ""),
        };
        match calls {
            Some(calls) => {
                self.has_called = true;
                calls.into_iter().map(Piece::Call).collect()
            }
            // White space behind calls says nothing.
            None if self.has_called && mark.is_empty() && held.trim().is_empty() => Vec::new(),
            None if held.is_empty() && mark.is_empty() => Vec::new(),
            None => vec![Piece::Text(format!("{mark}{held}"))],
        }
    }

    /// Reads what is held as Hermes writes it.
    fn hermes(&mut self) -> Vec<Piece> {
        let [begin, end] = HERMES;
        let mut pieces = Vec::new();
        loop {
            if self.place != Place::Call {
                pieces.extend(self.until(begin));
                if self.place != Place::Call {
                    return pieces;
                }
            }
            let Some(at) = self.held.find(end) else {
                return pieces;
            };
            let body: String = self.held.drain(..at + end.len()).collect();
            let body = &body[..at];
            match one(body) {
                Some(calls) => {
                    self.has_called = true;
                    pieces.extend(calls.into_iter().map(Piece::Call));
                }
                None => pieces.push(Piece::Text(format!("{begin}{body}{end}"))),
            }
            self.place = Place::Text;
        }
    }

    /// Returns held text that is certain to be no part of `mark`, nor the white space before it.
    /// Goes behind the mark if it is there.
    fn until(&mut self, mark: &str) -> Option<Piece> {
        if self.place == Place::Call {
            return None;
        }
        let certain = match self.held.find(mark) {
            Some(at) => {
                let text = self.held[..at].trim_end().to_owned();
                self.held.drain(..at + mark.len());
                self.place = Place::Call;
                text
            }
            None => {
                let begun = beginning(&self.held, mark);
                let text = self.held[..self.held.len() - begun].trim_end().len();
                self.held.drain(..text).collect()
            }
        };
        (!certain.is_empty()).then_some(Piece::Text(certain))
    }

    /// Reads what is held as Llama 3 writes it: whether the answer is calls is known at its
    /// beginning, and which ones at its end.
    fn llama(&mut self) -> Option<Piece> {
        if self.place == Place::Beginning {
            let begun = self.held.trim_start();
            if begun.starts_with('{') || begun.starts_with(LLAMA) {
                self.place = Place::Call;
            } else if !LLAMA.starts_with(begun) {
                self.place = Place::Text;
            }
        }
        let is_text = self.place == Place::Text && !self.held.is_empty();
        is_text.then(|| Piece::Text(std::mem::take(&mut self.held)))
    }
}

/// Reads one call.
fn one(body: &str) -> Option<Vec<Call>> {
    let value = serde_json::from_str(body.trim()).ok()?;
    Some(vec![Call::of(&value)?])
}

/// Returns how many bytes at the end of `text` are a beginning of `mark`, but not all of it.
fn beginning(text: &str, mark: &str) -> usize {
    let longest = text.len().min(mark.len() - 1);
    (1..=longest)
        .rev()
        .find(|&n| text.ends_with(&mark[..n]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Joins what belongs together.
    fn joined(pieces: Vec<Piece>) -> (String, Vec<Call>) {
        let (mut text, mut calls) = (String::new(), Vec::<Call>::new());
        for piece in pieces {
            match piece {
                Piece::Text(more) => text += &more,
                Piece::Call(call) => calls.push(call),
                Piece::Arguments(more) => calls.last_mut().unwrap().arguments += &more,
            }
        }
        (text, calls)
    }

    fn read<'a>(reading: &Reading, parts: impl Iterator<Item = &'a str>) -> (String, Vec<Call>) {
        let mut parser = ToolParser::new(reading.clone());
        let mut pieces: Vec<Piece> = parts.flat_map(|part| parser.push(part)).collect();
        pieces.extend(parser.finish());
        joined(pieces)
    }

    fn call(name: &str, arguments: &str) -> Call {
        Call {
            name: name.to_owned(),
            arguments: arguments.to_owned(),
        }
    }

    const HERMES_CALLS: &str = "Let me see.\n<tool_call>\n{\"name\": \"a\", \"arguments\": {\"x\": [1, \"}\"]}}\n</tool_call>\n\
        <tool_call>{\"name\": \"b\", \"arguments\": {}}</tool_call>\n";

    fn cases() -> Vec<(Reading, &'static str, &'static str, Vec<Call>)> {
        let (hermes, mistral, llama) = (
            Reading::Auto(ToolFormat::Hermes),
            Reading::Auto(ToolFormat::Mistral),
            Reading::Auto(ToolFormat::Llama),
        );
        let both = || vec![call("a", r#"{"x":[1,"}"]}"#), call("b", "{}")];
        vec![
            (hermes.clone(), HERMES_CALLS, "Let me see.", both()),
            (hermes.clone(), "a < b <tool", "a < b <tool", vec![]),
            (
                hermes.clone(),
                "<tool_call>no</tool_call> so",
                "<tool_call>no</tool_call> so",
                vec![],
            ),
            // Cut off behind its end, and within it.
            (
                hermes.clone(),
                "<tool_call>{\"name\": \"b\"}",
                "",
                vec![call("b", "{}")],
            ),
            (hermes, "x<tool_call>{\"name\"", "x<tool_call>{\"name\"", vec![]),
            (
                mistral.clone(),
                r#"[TOOL_CALLS] [{"name": "a", "arguments": {"x": [1, "}"]}}, {"name": "b", "arguments": {}}]"#,
                "",
                both(),
            ),
            (
                mistral.clone(),
                r#"So: [TOOL_CALLS]a[CALL_ID]abc[ARGS]{"x": [1, "}"]}[TOOL_CALLS]b{}"#,
                "So:",
                both(),
            ),
            (mistral.clone(), "[TOOL_CALLS] oh", "[TOOL_CALLS] oh", vec![]),
            (mistral, "an [array] of [TOOL", "an [array] of [TOOL", vec![]),
            (
                llama.clone(),
                r#"<|python_tag|>{"name": "a", "parameters": {"x": [1, "}"]}}; {"name": "b", "parameters": {}}"#,
                "",
                both(),
            ),
            (
                llama.clone(),
                "{\"name\": \"Ada\"}",
                "{\"name\": \"Ada\"}",
                vec![],
            ),
            (llama, " <|pyt hon {}", " <|pyt hon {}", vec![]),
            (
                Reading::Required,
                r#"[{"name": "a", "arguments": {"x": [1, "}"]}}, {"name": "b", "arguments": {}}]"#,
                "",
                both(),
            ),
            (
                Reading::Named("c".into()),
                "{\"x\": 1}",
                "",
                vec![call("c", "{\"x\": 1}")],
            ),
        ]
    }

    #[test]
    fn calls_of_every_format_are_read() {
        for (reading, text, want, calls) in cases() {
            let got = read(&reading, [text].into_iter());
            assert_eq!(got, (want.to_owned(), calls), "{reading:?} {text:?}");
        }
    }

    proptest! {
        #[test]
        fn however_a_text_is_cut_the_same_is_read(
            case in 0..cases().len(),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let (reading, text, want, calls) = cases().swap_remove(case);
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            places.extend([0, text.len()]);
            places.sort_unstable();
            let parts = places.windows(2).map(|pair| &text[pair[0]..pair[1]]);
            prop_assert_eq!(read(&reading, parts), (want.to_owned(), calls));
        }

        #[test]
        fn any_text_cut_anywhere_reads_as_the_whole(
            parts in proptest::collection::vec(
                prop_oneof!["[a-z \\n]{0,3}", Just("<tool_call>".to_owned()), Just("</tool_call>".to_owned()),
                    Just("[TOOL_CALLS]".to_owned()), Just("<|python_tag|>".to_owned()), Just("{\"name\":\"a\",".to_owned()),
                    Just("\"arguments\":{}}".to_owned()), Just("<tool".to_owned()), Just("羊".to_owned())], 0..8),
        ) {
            let whole = parts.concat();
            for format in [ToolFormat::Hermes, ToolFormat::Mistral, ToolFormat::Llama] {
                let reading = Reading::Auto(format);
                let want = read(&reading, [whole.as_str()].into_iter());
                prop_assert_eq!(&read(&reading, parts.iter().map(String::as_str)), &want);
                let letters: Vec<String> = whole.chars().map(String::from).collect();
                prop_assert_eq!(&read(&reading, letters.iter().map(String::as_str)), &want);
            }
        }
    }
}

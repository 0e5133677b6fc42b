//! Calls of tools in the parts of an answer as they come.

use std::hash::{BuildHasher, RandomState};

use super::asked::{ToolChoice, Tools};
use super::format::ToolFormat;
use super::parser::{Piece, Reading, ToolParser};

/// A call of a tool, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallDelta {
    /// Its place among the calls of the answer.
    pub index: usize,
    /// Its id and the tool, where it begins.
    pub begun: Option<(String, String)>,
    /// More of its arguments, as JSON.
    pub arguments: String,
}

/// How the answers to a request are read.
#[derive(Debug, Clone)]
pub struct ToolReading {
    reading: Reading,
    parallel: bool,
}

impl ToolReading {
    /// Returns how answers are read that may call these tools; `format` is the model's way to write
    /// calls. Answers that do not call have a format themselves if they are held to one.
    pub fn of(tools: &Tools, format: ToolFormat, is_held: bool) -> ToolReading {
        ToolReading {
            reading: match &tools.choice {
                ToolChoice::None | ToolChoice::Auto if is_held => Reading::Either(format, tools.schemas()),
                ToolChoice::None | ToolChoice::Auto => Reading::Auto(format, tools.schemas()),
                ToolChoice::Required => Reading::Required,
                ToolChoice::Named(name) => Reading::Named(name.clone()),
            },
            parallel: tools.parallel,
        }
    }

    /// Begins an answer.
    pub fn begin(&self) -> ToolStream {
        ToolStream {
            parser: ToolParser::new(self.reading.clone()),
            parallel: self.parallel,
            calls: 0,
            ids: RandomState::new(),
        }
    }
}

/// The calls of one answer.
#[derive(Debug)]
pub struct ToolStream {
    parser: ToolParser,
    parallel: bool,
    /// Calls so far.
    calls: usize,
    ids: RandomState,
}

impl ToolStream {
    /// Takes the calls out of more text, the last if `is_last`. Returns what is left of the text,
    /// and the calls.
    pub fn read(&mut self, text: &str, is_last: bool) -> (String, Vec<CallDelta>) {
        let mut pieces = self.parser.push(text);
        if is_last {
            pieces.extend(self.parser.finish());
        }
        let (mut left, mut calls) = (String::new(), Vec::new());
        for piece in pieces {
            match piece {
                Piece::Text(text) => left += &text,
                Piece::Call(call) => {
                    let index = self.calls;
                    self.calls += 1;
                    if self.parallel || index == 0 {
                        calls.push(CallDelta {
                            index,
                            begun: Some((self.id(index), call.name)),
                            arguments: call.arguments,
                        });
                    }
                }
                Piece::Arguments(arguments) => calls.push(CallDelta {
                    index: self.calls - 1,
                    begun: None,
                    arguments,
                }),
            }
        }
        (left, calls)
    }

    /// Whether there was a call.
    pub fn has_called(&self) -> bool {
        self.calls > 0
    }

    /// Returns the id of a call: nine letters and digits, as the templates of Mistral demand.
    fn id(&self, index: usize) -> String {
        const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let mut rest = self.ids.hash_one(index);
        let mut letter = || {
            let letter = LETTERS[(rest % 36) as usize];
            rest /= 36;
            char::from(letter)
        };
        (0..9).map(|_| letter()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::tools::call::ArgumentSchemas;

    #[test]
    fn calls_have_numbers_and_ids_and_a_second_one_only_where_it_may_be() {
        for parallel in [true, false] {
            let reading = ToolReading {
                reading: Reading::Auto(ToolFormat::Hermes, ArgumentSchemas::default()),
                parallel,
            };
            let mut stream = reading.begin();
            let (mut text, mut calls) = (String::new(), Vec::new());
            for (part, is_last) in [
                ("so <tool_", false),
                (
                    "call>{\"name\": \"a\"}</tool_call><tool_call>{\"name\": \"b\"}",
                    false,
                ),
                ("</tool_call>", true),
            ] {
                let (left, more) = stream.read(part, is_last);
                text += &left;
                calls.extend(more);
            }
            assert_eq!(text, "so");
            assert!(stream.has_called());
            let begun: Vec<(String, String)> = calls.into_iter().filter_map(|call| call.begun).collect();
            let names: Vec<&str> = begun.iter().map(|(_, name)| name.as_str()).collect();
            assert_eq!(names, if parallel { &["a", "b"][..] } else { &["a"][..] });
            let is_id = |id: &str| id.len() == 9 && id.chars().all(|c| c.is_ascii_alphanumeric());
            assert!(begun.iter().all(|(id, _)| is_id(id)));
        }
    }
}

//! From the text of an answer to text and calls, piece by piece: however the text is cut, the
//! pieces join to the same.

use super::call::{ArgumentSchemas, Call};
use super::format::{Mark, ToolFormat};
use super::{python, read};

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
    /// As text with calls that the model may make, of tools whose arguments have these schemas.
    Auto(ToolFormat, ArgumentSchemas),
    /// As calls from its beginning on, or else as nothing but text, which is held to a format.
    Either(ToolFormat, ArgumentSchemas),
    /// As a list of calls, to which the answer is held.
    Required,
    /// As the arguments of this tool, to which the answer is held.
    Named(String),
}

/// Where the parser is.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// Before anything but white space.
    Beginning,
    /// In text.
    Text,
    /// In text that has no calls.
    Plain,
    /// Behind what begins calls, which is no part of what is held.
    Call(&'static Mark),
    /// In an answer that may be nothing but calls, with nothing before them.
    Bare,
}

/// Reads an answer. Holds back what may belong to a call.
#[derive(Debug)]
pub struct ToolParser {
    reading: Reading,
    place: Place,
    held: String,
    /// How many bytes of what is held were searched for the end of a call.
    searched: usize,
    /// The mark before what is held, with the white space before it: text, if no call follows.
    opening: String,
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
            searched: 0,
            opening: String::new(),
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
            Reading::Auto(format, _) | Reading::Either(format, _) => self.certain(format),
            Reading::Required | Reading::Named(_) => Vec::new(),
        }
    }

    /// Returns the rest, when no text follows.
    pub fn finish(&mut self) -> Vec<Piece> {
        let held = std::mem::take(&mut self.held);
        let opening = std::mem::take(&mut self.opening);
        let calls = match (&self.reading, self.place) {
            (Reading::Required, _) => Call::all_of(&held),
            (Reading::Auto(_, schemas) | Reading::Either(_, schemas), Place::Call(mark))
                if !mark.must_end =>
            {
                (mark.read)(&held, schemas)
            }
            (Reading::Auto(..), Place::Bare) => read::llama(&held),
            // An answer in a format may look like a call.
            (Reading::Either(_, schemas), Place::Bare) => {
                read::llama(&held).filter(|calls| calls.iter().all(|call| schemas.contains_key(&call.name)))
            }
            _ => None,
        };
        match calls {
            Some(calls) => {
                self.has_called |= !calls.is_empty();
                calls.into_iter().map(Piece::Call).collect()
            }
            // White space behind calls says nothing.
            None if self.has_called && opening.is_empty() && held.trim().is_empty() => Vec::new(),
            None if held.is_empty() && opening.is_empty() => Vec::new(),
            None => vec![Piece::Text(opening + &held)],
        }
    }

    /// Returns what is certain of what is held.
    fn certain(&mut self, format: ToolFormat) -> Vec<Piece> {
        let mut pieces = Vec::new();
        loop {
            match self.place {
                Place::Beginning => match (self.is_plain(format), self.is_bare(format)) {
                    (Some(true), _) => self.place = Place::Plain,
                    (Some(false), Some(true)) => self.place = Place::Bare,
                    (Some(false), Some(false)) => self.place = Place::Text,
                    _ => return pieces,
                },
                Place::Plain => {
                    let text = std::mem::take(&mut self.held);
                    pieces.extend((!text.is_empty()).then_some(Piece::Text(text)));
                    return pieces;
                }
                // Which calls they are is known at the end.
                Place::Bare => return pieces,
                Place::Call(mark) => match self.whole(mark) {
                    Some(found) => pieces.extend(found),
                    None => return pieces,
                },
                Place::Text => {
                    pieces.extend(self.text(format.marks()));
                    if matches!(self.place, Place::Text) {
                        return pieces;
                    }
                }
            }
        }
    }

    /// Whether an answer that has a format or calls has the format: it does not begin as calls do;
    /// none as long as that is not known.
    fn is_plain(&self, format: ToolFormat) -> Option<bool> {
        let (begun, marks) = (self.held.trim_start(), format.marks());
        if !matches!(self.reading, Reading::Either(..))
            || marks.iter().any(|mark| begun.starts_with(mark.begin))
        {
            return Some(false);
        }
        if marks.iter().any(|mark| mark.begin.starts_with(begun)) {
            return None;
        }
        self.is_bare(format).map(|is_bare| !is_bare)
    }

    /// Whether an answer may be calls without any mark, as those of Llama 3 are; none as long as
    /// that is not known.
    fn is_bare(&self, format: ToolFormat) -> Option<bool> {
        let begun = self.held.trim_start();
        match begun.chars().next() {
            _ if format != ToolFormat::Llama => Some(false),
            None => None,
            Some('{') => Some(true),
            Some('[') => python::may_be_listed(begun),
            Some(_) => Some(false),
        }
    }

    /// Takes held text that is certain to be no part of a mark, nor the white space before one.
    /// Goes behind the first mark if there is one.
    fn text(&mut self, marks: &'static [Mark]) -> Option<Piece> {
        let places = marks
            .iter()
            .filter_map(|mark| Some((self.held.find(mark.begin)?, mark)));
        let certain: String = match places.min_by_key(|(at, _)| *at) {
            Some((at, mark)) => {
                let text = self.held[..at].trim_end().len();
                let mut rest = self.held.split_off(text);
                let behind = at - text + mark.begin.len();
                let held = rest.split_off(behind);
                self.opening = rest;
                self.place = Place::Call(mark);
                self.searched = 0;
                std::mem::replace(&mut self.held, held)
            }
            None => {
                let begun = marks.iter().map(|mark| beginning(&self.held, mark.begin));
                let begun = begun.max().unwrap_or(0);
                let text = self.held[..self.held.len() - begun].trim_end().len();
                self.held.drain(..text).collect()
            }
        };
        (!certain.is_empty()).then_some(Piece::Text(certain))
    }

    /// Takes calls that have ended from what is held; none as long as they go on.
    fn whole(&mut self, mark: &Mark) -> Option<Vec<Piece>> {
        let end = mark.end?;
        let from = self
            .held
            .floor_char_boundary(self.searched.saturating_sub(end.len()));
        let Some(at) = self.held[from..].find(end) else {
            self.searched = self.held.len();
            return None;
        };
        let behind = self.held.split_off(from + at + end.len());
        let taken = std::mem::replace(&mut self.held, behind);
        let opening = std::mem::take(&mut self.opening);
        let schemas = match &self.reading {
            Reading::Auto(_, schemas) | Reading::Either(_, schemas) => schemas.clone(),
            _ => ArgumentSchemas::default(),
        };
        self.place = Place::Text;
        Some(match (mark.read)(&taken[..from + at], &schemas) {
            Some(calls) => {
                self.has_called |= !calls.is_empty();
                calls.into_iter().map(Piece::Call).collect()
            }
            None => vec![Piece::Text(opening + &taken)],
        })
    }
}

/// Returns how many bytes at the end of `text` are a beginning of `mark`, but not all of it.
fn beginning(text: &str, mark: &str) -> usize {
    let longest = text.len().min(mark.len() - 1);
    (1..=longest)
        .rev()
        .find(|&n| mark.is_char_boundary(n) && text.ends_with(&mark[..n]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests;

//! What is typed into a chat: lines with editing and history on a terminal, and messages of several
//! lines.

use std::io::{BufRead, IsTerminal};

use anyhow::{Context, Result};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

/// Before and after a message of several lines.
const FENCE: &str = "\"\"\"";

/// What was typed.
pub enum Entry {
    /// A message or a command, which is not blank.
    Message(String),
    /// Ctrl-C before it was sent.
    Nothing,
    /// The end of the input.
    End,
}

/// Standard input.
pub struct Input {
    is_terminal: bool,
    /// None where there is no terminal to edit a line on.
    editor: Option<DefaultEditor>,
}

enum Line {
    Text(String),
    Interrupted,
    End,
}

impl Input {
    /// Opens standard input.
    ///
    /// # Errors
    ///
    /// When the terminal cannot be used.
    pub fn open() -> Result<Input> {
        let is_terminal = std::io::stdin().is_terminal();
        let editor = match is_terminal && ewe::streams::stdout().is_terminal() {
            true => Some(DefaultEditor::new().context("cannot read the terminal")?),
            false => None,
        };
        Ok(Input { is_terminal, editor })
    }

    /// Whether somebody types.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Waits for what is typed next.
    ///
    /// # Errors
    ///
    /// When standard input cannot be read.
    pub fn next(&mut self) -> Result<Entry> {
        let mut message = Message::default();
        loop {
            let prompt = if message.is_empty() { "> " } else { "… " };
            match self.line(prompt)? {
                Line::Interrupted => return Ok(Entry::Nothing),
                Line::End if message.is_empty() => return Ok(Entry::End),
                // What was typed before Ctrl-D is sent.
                Line::End => break,
                // Each line of a file is a message.
                Line::Text(line) if !self.is_terminal => message.add_last(&line),
                Line::Text(line) => message.add(&line),
            }
            if message.is_whole && !message.text.trim().is_empty() {
                break;
            }
            if message.is_whole {
                message = Message::default();
            }
        }
        if message.text.trim().is_empty() {
            return Ok(Entry::End);
        }
        if let Some(editor) = &mut self.editor {
            // A message that cannot be kept is only typed again.
            let _ = editor.add_history_entry(message.text.as_str());
        }
        Ok(Entry::Message(message.text))
    }

    fn line(&mut self, prompt: &str) -> Result<Line> {
        let Some(editor) = &mut self.editor else {
            return self.plain_line(prompt);
        };
        loop {
            return match editor.readline(prompt) {
                Ok(line) => Ok(Line::Text(line)),
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
                // The terminal has another size.
                Err(ReadlineError::Signal(_)) => continue,
                Err(error) => Err(error).context("cannot read standard input"),
            };
        }
    }

    fn plain_line(&self, prompt: &str) -> Result<Line> {
        if self.is_terminal {
            eprint!("{prompt}");
        }
        let mut line = String::new();
        let count = std::io::stdin()
            .lock()
            .read_line(&mut line)
            .context("cannot read standard input")?;
        Ok(match count {
            0 => Line::End,
            _ => Line::Text(line.trim_end_matches(['\n', '\r']).to_owned()),
        })
    }
}

/// A message in the making.
#[derive(Default)]
struct Message {
    text: String,
    has_begun: bool,
    is_fenced: bool,
    is_whole: bool,
}

impl Message {
    fn is_empty(&self) -> bool {
        !self.has_begun
    }

    /// Adds the only line of a message.
    fn add_last(&mut self, line: &str) {
        self.text.push_str(line);
        self.is_whole = true;
    }

    /// Adds a line, which may say that others follow.
    fn add(&mut self, line: &str) {
        let mut line = line;
        if !self.has_begun
            && let Some(rest) = line.trim_start().strip_prefix(FENCE)
        {
            self.is_fenced = true;
            line = rest;
            // A fence alone on its line is no line of the message.
            if rest.trim().is_empty() {
                self.has_begun = true;
                return;
            }
        }
        if self.has_begun && !self.text.is_empty() {
            self.text.push('\n');
        }
        self.has_begun = true;
        if self.is_fenced {
            let end = line.trim_end().strip_suffix(FENCE);
            self.text.push_str(end.unwrap_or(line));
            self.is_whole = end.is_some();
            if self.is_whole {
                self.text.truncate(self.text.trim_end_matches('\n').len());
            }
            return;
        }
        let more = line.strip_suffix('\\');
        self.text.push_str(more.unwrap_or(line));
        self.is_whole = more.is_none();
    }
}

#[cfg(test)]
mod tests {
    use super::Message;

    /// The message of these lines; none if it is not whole.
    fn message(lines: &[&str]) -> Option<String> {
        let mut message = Message::default();
        for line in lines {
            assert!(!message.is_whole, "{lines:?}");
            message.add(line);
        }
        message.is_whole.then_some(message.text)
    }

    #[test]
    fn a_message_may_have_several_lines() {
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(message(&["hello"]), is("hello"));
        assert_eq!(message(&["one \\", "two"]), is("one \ntwo"));
        assert_eq!(message(&["one\\", "two\\", "three"]), is("one\ntwo\nthree"));
        assert_eq!(message(&["one\\"]), None);
        assert_eq!(message(&["\"\"\"", "a\\", "", "  b", "\"\"\""]), is("a\\\n\n  b"));
        assert_eq!(message(&["\"\"\"a", "b\"\"\""]), is("a\nb"));
        assert_eq!(message(&["\"\"\"a\"\"\""]), is("a"));
        assert_eq!(message(&["\"\"\"", "a"]), None);
        assert_eq!(message(&["say \"\"\" twice"]), is("say \"\"\" twice"));
    }
}

//! Classifies the lines of a list of tasks, however the model writes the numbers: `12. Input:`,
//! `12) Input:`, `#12.Input:`, `Task 12 - Input:`, `**Input:**`.

use crate::prompt::alpaca::{LABELS, SEPARATOR};
use regex::{Captures, Regex};
use std::sync::LazyLock;

/// The label of a part of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    Instruction,
    Input,
    Output,
}

/// The kind of a line by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    Blank,
    /// `###`, `### 12.`
    Separator,
    /// A number alone.
    Number,
    /// A label, which begins a part.
    Label(Label),
    /// `12. text`
    Numbered,
    Text,
}

/// A line of a response.
#[derive(Debug, Clone, Copy)]
pub struct AnswerLine {
    pub kind: LineKind,
    /// The number before the label, after the separator, or before the text.
    pub number: Option<usize>,
    /// Whether the line begins with a separator.
    pub separated: bool,
    /// Its first byte in the response.
    pub start: usize,
    /// The first byte after label and number.
    pub text: usize,
    /// The byte of the line break.
    pub end: usize,
}

/// The lines of a response.
pub fn lines(answer: &str) -> Vec<AnswerLine> {
    let mut start = 0;
    let mut lines = Vec::new();
    for text in answer.split('\n') {
        lines.push(read(text, start));
        start += text.len() + 1;
    }
    lines
}

/// Text before a number: Markdown, brackets, the word `Task`.
const BEFORE: &str = r"^[\s#*_(\[-]*(?:Task\s*)?";

static LABEL: LazyLock<Regex> = LazyLock::new(|| {
    let labels = LABELS.join("|");
    pattern(&format!(r"(\d{{1,4}})?[\s.:)\]*_-]*({labels})[\s*_]*:[*_]*"))
});
static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"(\d{1,4})?[\s.:)\]*_#-]*$"));
static NUMBERED: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(\d{1,4})\s*[.):\]-](?:[\s*_]+([^\s*_])|[*_]*([^\d\s*_]))"));

fn pattern(rest: &str) -> Regex {
    Regex::new(&format!("{BEFORE}{rest}")).expect("the pattern is well-formed")
}

fn read(line: &str, start: usize) -> AnswerLine {
    let bare = line.trim();
    let mut read = AnswerLine {
        kind: if bare.is_empty() {
            LineKind::Blank
        } else {
            LineKind::Text
        },
        number: None,
        separated: bare.starts_with(SEPARATOR),
        start,
        text: start,
        end: start + line.len(),
    };
    let number = |found: &Captures| found.get(1).and_then(|digits| digits.as_str().parse().ok());
    if let Some(found) = LABEL.captures(line) {
        let labels = [Label::Instruction, Label::Input, Label::Output];
        let label = LABELS.iter().position(|&word| word == &found[2]);
        read.kind = LineKind::Label(labels[label.expect("the pattern is made of the labels")]);
        read.number = number(&found);
        read.text = start + found[0].len();
    } else if let Some(found) = NUMBER.captures(line) {
        let number = number(&found);
        if read.separated {
            read.kind = LineKind::Separator;
            read.number = number;
        } else if number.is_some() {
            read.kind = LineKind::Number;
            read.number = number;
        }
    } else if let Some(found) = NUMBERED.captures(line) {
        read.kind = LineKind::Numbered;
        read.number = number(&found);
        // `3.5` is not the number of a task; `3.a` and `3. 5` begin with one.
        let text = found
            .get(2)
            .or(found.get(3))
            .expect("one of two alternatives matched");
        read.text = start + text.start();
    }
    read
}

//! What a line of a list of tasks may be, whatever the model does to its numbers: `12. Input:`, `12) Input:`,
//! `#12.Input:`, `Task 12 - Input:`, `**Input:**`.

use crate::prompt::task_list::{LABELS, SEPARATOR};
use regex::{Captures, Regex};
use std::sync::LazyLock;

/// A part of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    Instruction,
    Input,
    Output,
}

/// What a line is by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Blank,
    /// `###`, `### 12.`
    Separator,
    /// A number alone.
    Number,
    /// Begins a part.
    Label(Label),
    /// `12. text`
    Numbered,
    Text,
}

/// A line of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    pub kind: Kind,
    /// The number before the label, after the separator, of the text.
    pub number: Option<usize>,
    /// Whether it begins with a separator.
    pub separated: bool,
    /// Where it begins in the answer.
    pub start: usize,
    /// Where its text begins, label and number left aside.
    pub text: usize,
    /// Where it ends, before the line break.
    pub end: usize,
}

/// The lines of an answer.
pub fn lines(answer: &str) -> Vec<Line> {
    let mut start = 0;
    let mut lines = Vec::new();
    for text in answer.split('\n') {
        lines.push(read(text, start));
        start += text.len() + 1;
    }
    lines
}

/// What stands before a number: signs of Markdown, brackets, the word `Task`.
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

fn read(line: &str, start: usize) -> Line {
    let bare = line.trim();
    let mut read = Line {
        kind: if bare.is_empty() { Kind::Blank } else { Kind::Text },
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
        read.kind = Kind::Label(labels[label.expect("the pattern is made of the labels")]);
        read.number = number(&found);
        read.text = start + found[0].len();
    } else if let Some(found) = NUMBER.captures(line) {
        let number = number(&found);
        if read.separated {
            read.kind = Kind::Separator;
            read.number = number;
        } else if number.is_some() {
            read.kind = Kind::Number;
            read.number = number;
        }
    } else if let Some(found) = NUMBERED.captures(line) {
        read.kind = Kind::Numbered;
        read.number = number(&found);
        // `3.5` is no number of a task, `3.a` and `3. 5` are.
        let text = found
            .get(2)
            .or(found.get(3))
            .expect("one of two alternatives matched");
        read.text = start + text.start();
    }
    read
}

//! Parses lists with numbered labels: first finds where tasks begin, then the parts of each.

use super::line::{AnswerLine, Label, LineKind, lines};
use super::{Flaw, ListItem, ParsedTask};
use crate::backend::FinishReason;
use crate::generate::parse::is_no_input;
use crate::prompt::alpaca::{LABELS, NO_INPUT, SEPARATOR};
use crate::task::Instance;
use regex::Regex;
use std::sync::LazyLock;

/// How certain it is that a task begins at a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Certain.
    Sure,
    /// Certain if the lines from here on parse as a task.
    IfTask,
    /// The line may belong to the task before.
    Unsure,
}

/// The beginning of a task.
#[derive(Debug, Clone, Copy)]
struct TaskHead {
    /// The index of its first line.
    line: usize,
    number: Option<usize>,
    /// The byte at which the instruction begins.
    text: usize,
    /// Whether the instruction is missing.
    headless: bool,
    trust: Trust,
}

/// Parses the continuation of a list whose prompt ends with the instruction label of task `first`.
///
/// A task begins with a label `Instruction:` with a number, if it follows a separator or the number
/// is next. Without label or number, it begins only after a separator, and only if it parses as a
/// task. Labels inside a task count if they have its number, or if the task uses none; all else is
/// text. The last task of a response that was cut off is truncated, since nothing shows that it is
/// complete.
pub fn numbered(answer: &str, finish: FinishReason, first: usize) -> Vec<ListItem<'_>> {
    let list = NumberedList::new(answer);
    let heads = list.heads(first);
    let mut items: Vec<(ListItem, TaskHead)> = Vec::new();
    for (i, &head) in heads.iter().enumerate() {
        let end = heads.get(i + 1).map_or(list.lines.len(), |next| next.line);
        let text = list.item(head.line, end);
        let mut task = list.task(head, end);
        if finish == FinishReason::Length && i + 1 == heads.len() {
            task = Err(Flaw::TRUNCATED);
        }
        if !list.says_something(head, end) {
            // The list stops at the label of the next task, or an output contains labels.
            if let (Trust::Unsure, Some((before, _))) = (head.trust, items.last_mut()) {
                before.task = Err(Flaw::unparsed("its end is not clear"));
            }
            continue;
        }
        items.push((ListItem { text, task }, head));
    }
    for i in 1..items.len() {
        let (before, after) = (
            items[i - 1].1.number,
            items.get(i + 1).and_then(|next| next.1.number),
        );
        let head = items[i].1;
        // If no number is missing between two tasks, an item without one belongs to the first.
        let superfluous = head.number.is_none()
            && before
                .zip(after)
                .is_some_and(|(before, after)| after == before + 1);
        let may_hold_more = |task: &ParsedTask| {
            let output = &task.instance.output;
            head.headless && output.contains('\n') || may_hold(output, head.number)
        };
        let skipped = before
            .zip(head.number)
            .is_some_and(|(before, number)| number > before + 1);
        // The missing part of this task, or a skipped task, may be inside the one before.
        let above = items[i - 1].0.task.as_ref().is_ok_and(may_hold_more);
        let doubtful = match head.trust {
            Trust::Sure => (skipped || items[i].0.task.is_err()) && above,
            Trust::IfTask => superfluous || above || items[i].0.task.is_err(),
            Trust::Unsure => true,
        };
        if doubtful {
            items[i - 1].0.task = Err(Flaw::unparsed("its end is not clear"));
        }
        if doubtful && head.trust != Trust::Sure && items[i].0.task.is_ok() {
            items[i].0.task = Err(Flaw::unparsed("its beginning is not clear"));
        }
    }
    items.into_iter().map(|(item, _)| item).collect()
}

/// A response with its lines.
struct NumberedList<'a> {
    answer: &'a str,
    lines: Vec<AnswerLine>,
    /// For each line, whether it begins with a separator or is below one, and the separator's
    /// number.
    separators: Vec<Option<Option<usize>>>,
}

impl<'a> NumberedList<'a> {
    fn new(answer: &'a str) -> Self {
        let lines = lines(answer);
        let mut above = None;
        let separators = lines.iter().map(|line| {
            let separator = if line.separated { Some(line.number) } else { above };
            above = match line.kind {
                LineKind::Blank => above,
                LineKind::Separator => Some(line.number),
                LineKind::Number => above.map(|_| line.number),
                _ => None,
            };
            separator
        });
        NumberedList {
            answer,
            separators: separators.collect(),
            lines,
        }
    }

    /// The beginnings of all tasks, in order.
    fn heads(&self, first: usize) -> Vec<TaskHead> {
        let named = self.lines[0].kind == LineKind::Numbered && self.lines[0].number == Some(first);
        let mut heads = vec![TaskHead {
            line: 0,
            number: Some(first),
            text: if named { self.lines[0].text } else { 0 },
            headless: false,
            trust: Trust::Sure,
        }];
        let mut next_label = vec![None; self.lines.len()];
        let mut label = None;
        for i in (0..self.lines.len()).rev() {
            next_label[i] = label;
            match self.lines[i].kind {
                LineKind::Label(_) => label = Some(i),
                LineKind::Separator => label = None,
                _ => {}
            }
        }
        // The number after that of the last task, and the number if none was skipped or repeated.
        let (mut in_turn, mut counted) = (first + 1, first + 1);
        for (i, line) in self.lines.iter().enumerate() {
            let current = heads.last().expect("there is a first").number;
            let separator = self.separators[i];
            let separated = separator.is_some();
            let is_due = |number: usize| {
                number == in_turn || number == counted || (heads.len() == 1 && number == first)
            };
            let head = match line.kind {
                LineKind::Label(Label::Instruction) => match line.number.or(separator.flatten()) {
                    Some(number) if separated || is_due(number) => Some((Some(number), Trust::Sure)),
                    Some(number) => Some((Some(number), Trust::Unsure)),
                    None if separated => Some((None, Trust::IfTask)),
                    None => None,
                },
                LineKind::Label(_) => match (line.number, current) {
                    (Some(number), None) if is_due(number) && self.is_first_label(i, heads.last()) => {
                        heads.last_mut().expect("there is a first").number = Some(number);
                        None
                    }
                    (Some(number), current) if current != Some(number) => {
                        Some((Some(number), if separated { Trust::Sure } else { Trust::Unsure }))
                    }
                    _ => None,
                },
                LineKind::Numbered | LineKind::Text if i > 0 => {
                    let label = next_label[i].map(|label| self.lines[label]);
                    self.unlabelled(i, separated, label.as_ref(), is_due)
                        .filter(|(number, _)| *number != current)
                }
                _ => None,
            };
            if let Some((number, trust)) = head {
                heads.push(TaskHead {
                    line: i,
                    number,
                    text: line.text,
                    headless: matches!(line.kind, LineKind::Label(Label::Input | Label::Output)),
                    trust,
                });
                counted += 1;
            }
            if let Some(number) = heads.last().expect("there is a first").number {
                in_turn = number + 1;
            }
        }
        heads
    }

    /// Whether there is no label between the beginning of the task and line `i`.
    fn is_first_label(&self, i: usize, head: Option<&TaskHead>) -> bool {
        let mut between = self.lines[head.map_or(0, |head| head.line + 1)..i].iter();
        !between.any(|line| matches!(line.kind, LineKind::Label(_)))
    }

    /// The number and trust of a task that begins at line `i` without a label; `None` if none
    /// begins. One begins with a number that is due or after a separator, before the label of an
    /// input or output that belongs to no task so far.
    fn unlabelled(
        &self,
        i: usize,
        separated: bool,
        label: Option<&AnswerLine>,
        is_due: impl Fn(usize) -> bool,
    ) -> Option<(Option<usize>, Trust)> {
        let line = self.lines[i];
        let label = label.filter(|label| label.kind != LineKind::Label(Label::Instruction))?;
        let mut below = self.lines[i + 1..]
            .iter()
            .filter(|line| line.kind != LineKind::Blank);
        let follows = below.next().is_some_and(|next| next.start == label.start);
        match (line.number, label.number) {
            (Some(number), Some(same)) if number == same && separated => Some((Some(number), Trust::Sure)),
            (Some(number), Some(same)) if number == same && is_due(number) => {
                Some((Some(number), Trust::Sure))
            }
            (Some(number), None) if is_due(number) && separated => Some((Some(number), Trust::IfTask)),
            (Some(number), None) if is_due(number) && follows => Some((Some(number), Trust::Unsure)),
            (None, Some(number)) if separated && is_due(number) && follows => {
                Some((Some(number), Trust::IfTask))
            }
            _ => None,
        }
    }

    /// The end of lines `from..to` without separators, the numbers below them and blank lines.
    fn end(&self, from: usize, to: usize) -> usize {
        let mut end = to;
        while end > from {
            match self.lines[end - 1].kind {
                LineKind::Blank | LineKind::Separator => end -= 1,
                LineKind::Number if self.separators[end - 1].is_some() => end -= 1,
                _ => break,
            }
        }
        end
    }

    /// The text of lines `from..to`, trimmed.
    fn item(&self, from: usize, to: usize) -> &'a str {
        let end = self.end(from, to);
        if end == from {
            return "";
        }
        self.answer[self.lines[from].start..self.lines[end - 1].end].trim()
    }

    /// A part of a task: from the byte `text` in line `from` up to line `to`.
    fn part(&self, text: usize, from: usize, to: usize) -> &'a str {
        // The label's line belongs to the part even if nothing follows the label.
        let end = self.end(from + 1, to.max(from + 1));
        self.answer[text..self.lines[end - 1].end].trim()
    }

    /// Whether the lines of a task have more than labels.
    fn says_something(&self, head: TaskHead, end: usize) -> bool {
        let labelled = |line: &AnswerLine| match line.kind {
            LineKind::Label(_) => line.text,
            _ => line.start,
        };
        let from = self.lines[head.line..end]
            .iter()
            .map(|line| (labelled(line), line));
        from.filter(|(_, line)| {
            !matches!(
                line.kind,
                LineKind::Blank | LineKind::Separator | LineKind::Number
            )
        })
        .any(|(text, line)| !self.answer[text..line.end].trim().is_empty())
    }

    /// Parses the task in lines `head.line..end`.
    fn task(&self, head: TaskHead, end: usize) -> Result<ParsedTask, Flaw> {
        if head.headless {
            return Err(Flaw::unparsed("no instruction"));
        }
        let (input, output) = self.labels(head, end)?;
        let instruction_end = input.unwrap_or(output);
        let instruction = self.part(head.text, head.line, instruction_end);
        let input = match input {
            Some(line) => self.part(self.lines[line].text, line, output),
            // Two lines without a label may be an instruction and its input.
            None if instruction.contains('\n') => return Err(Flaw::unparsed("no label before the input")),
            None => "",
        };
        let output = self.part(self.lines[output].text, output, end);
        if instruction.is_empty() {
            return Err(Flaw::unparsed("no instruction"));
        }
        if output.is_empty() {
            return Err(Flaw::unparsed("no output"));
        }
        let beside = |text: &str| text.contains(NO_INPUT) && text != NO_INPUT;
        if beside(input) || [instruction, output].iter().any(|text| text.contains(NO_INPUT)) {
            return Err(Flaw::unparsed("text beside `<noinput>`"));
        }
        if instruction.lines().any(|line| line.starts_with(SEPARATOR)) {
            return Err(Flaw::unparsed("a separator within the instruction"));
        }
        let bare = head.line > 0 && self.lines[head.line].kind == LineKind::Text;
        if bare
            && head
                .number
                .is_some_and(|number| instruction.starts_with(&number.to_string()))
        {
            return Err(Flaw::unparsed("the number is part of the instruction"));
        }
        let parts = [instruction, input, output];
        if parts
            .iter()
            .any(|text| text.ends_with(SEPARATOR) || GLUED.is_match(text))
        {
            return Err(Flaw::unparsed("a label within a line"));
        }
        Ok(ParsedTask {
            instruction: instruction.to_string(),
            instance: Instance {
                input: if is_no_input(input) { "" } else { input }.to_string(),
                output: output.to_string(),
            },
        })
    }

    /// The lines of the labels of a task's input, if it has one, and of its output.
    fn labels(&self, head: TaskHead, end: usize) -> Result<(Option<usize>, usize), Flaw> {
        let of = |label: Label, numbered: bool| {
            (head.line + 1..end).filter(move |&i| {
                self.lines[i].kind == LineKind::Label(label) && self.lines[i].number.is_some() == numbered
            })
        };
        // A task that numbers a label always does. Without numbers, an output cannot have a line
        // that begins with "Output:".
        let output = match (of(Label::Output, true).count(), of(Label::Output, false).count()) {
            (1, _) => of(Label::Output, true).next(),
            (0, 1) => of(Label::Output, false).next(),
            (0, 0) => return Err(Flaw::unparsed("no output")),
            _ => return Err(Flaw::unparsed("more than one output")),
        };
        let output = output.expect("there is one");
        let is_bare = self.lines[output].number.is_none();
        let input = match of(Label::Input, true).count() {
            1 => of(Label::Input, true).next(),
            0 => {
                let mut bare = of(Label::Input, false).filter(|&i| is_bare || i < output);
                let input = bare.next();
                if bare.next().is_some() {
                    return Err(Flaw::unparsed("more than one input"));
                }
                input
            }
            _ => return Err(Flaw::unparsed("more than one input")),
        };
        if is_bare && input.is_some_and(|input| self.lines[input].number.is_some()) {
            return Err(Flaw::unparsed("the output has no number"));
        }
        if input.is_some_and(|input| input > output) {
            return Err(Flaw::unparsed("the output stands before the input"));
        }
        // Labels below a separator, or those of a complete task, belong to a task without numbers,
        // or to an output that looks like one.
        let follow = |first: LineKind, then: fn(LineKind) -> bool| {
            let mut after = (output + 1..end).skip_while(|&i| self.lines[i].kind != first);
            after.any(|i| then(self.lines[i].kind))
        };
        if follow(LineKind::Separator, |kind| matches!(kind, LineKind::Label(_)))
            || follow(LineKind::Label(Label::Instruction), |kind| {
                kind == LineKind::Label(Label::Output)
            })
        {
            return Err(Flaw::unparsed("labels of another task"));
        }
        let instruction = |i: &usize| self.lines[*i].kind == LineKind::Label(Label::Instruction);
        if is_bare && (head.line + 1..end).any(|i| instruction(&i)) {
            return Err(Flaw::unparsed("more than one instruction"));
        }
        Ok((input, output))
    }
}

/// Whether an output may contain a part of the task with this number, or of one before: it has a
/// label, a separator, or a line with that number.
fn may_hold(output: &str, number: Option<usize>) -> bool {
    let suspicious = |line: &AnswerLine| match line.kind {
        LineKind::Label(_) | LineKind::Separator => true,
        LineKind::Numbered => line.number == number,
        _ => false,
    };
    lines(output).iter().any(suspicious)
}

/// A label within a line, whose line break was lost: after a number, or directly after a word or
/// sentence.
static GLUED: LazyLock<Regex> = LazyLock::new(|| {
    let labels = LABELS.join("|");
    let pattern = format!(r"(?:[\p{{L}}\p{{N}}.?!>]|\d[^\p{{L}}\p{{N}}\n]{{1,4}})(?:{labels}) ?:");
    Regex::new(&pattern).expect("the pattern is well-formed")
});

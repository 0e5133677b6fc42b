//! Which passage a round asks about, and for what: a function of seed and round. And what its
//! response says.

use crate::backend::FinishReason;
use crate::generate::alpaca;
use crate::generate::parse::Fault;
use crate::generate::recipe::documents::FromDocuments;
use crate::generate::round::RoundRng;
use crate::prompt::documents::{ANSWER, Kind, after_label};

/// A passage that tasks are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// Its id.
    pub id: i64,
    /// The document that it is of.
    pub document: i64,
    /// The title of the document and the headings that it is under; empty without any.
    pub about: String,
    /// Its text.
    pub text: String,
    /// Its language, where it can be told.
    pub language: Option<String>,
}

/// The passages of a run, in the order in which rounds ask about them.
pub struct Passages {
    all: Vec<Passage>,
    order: Vec<usize>,
}

/// What a round asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice<'a> {
    /// The kind of task.
    pub kind: Kind,
    /// The passage.
    pub passage: &'a Passage,
    /// The one that it is compared with, for [`Kind::Comparison`].
    pub other: Option<&'a Passage>,
    /// A number of the round, to choose among forms.
    pub form: u64,
}

/// Passages among which the one is chosen that another is compared with.
const COMPARED: usize = 64;

impl Passages {
    /// Orders passages so that each comes once before any comes twice, and each document is spread
    /// over all rounds by its number of passages. Shorter ones than `fewest_words` are left out.
    pub fn new(all: Vec<Passage>, fewest_words: usize, seed: u64) -> Passages {
        let all: Vec<Passage> = all
            .into_iter()
            .filter(|passage| {
                passage.text.split_whitespace().count() >= fewest_words || is_unspaced(&passage.text)
            })
            .collect();
        let mut rng = RoundRng::for_documents(seed, u64::MAX);
        let mut by_document: std::collections::BTreeMap<i64, Vec<usize>> = Default::default();
        for (place, passage) in all.iter().enumerate() {
            by_document.entry(passage.document).or_default().push(place);
        }
        let mut keyed: Vec<(u64, usize)> = Vec::new();
        for places in by_document.values_mut() {
            rng.shuffle(places);
            let stride = (1 << 40) / places.len() as u64;
            let shift = rng.below(stride.max(1));
            keyed.extend(
                places
                    .iter()
                    .enumerate()
                    .map(|(rank, &place)| (rank as u64 * stride + shift, place)),
            );
        }
        keyed.sort_unstable();
        Passages {
            order: keyed.into_iter().map(|(_, place)| place).collect(),
            all,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// What a round asks for; `None` without passages.
    pub fn choose(&self, recipe: &FromDocuments, seed: u64, round: u64) -> Option<Choice<'_>> {
        let mut rng = RoundRng::for_documents(seed, round);
        let count = self.order.len() as u64;
        let place = *self.order.get(round.checked_rem(count)? as usize)?;
        let passage = &self.all[place];
        let mut kind = draw(recipe, &mut rng);
        let form = rng.below(1 << 20);
        let other = match kind {
            Kind::Comparison => self.alike(place, &mut rng),
            _ => None,
        };
        if kind == Kind::Comparison && other.is_none() {
            kind = Kind::Question;
        }
        Some(Choice {
            kind,
            passage,
            other,
            form,
        })
    }

    /// Another passage in the same language that has most long words in common with this one, of
    /// some that are drawn.
    fn alike(&self, place: usize, rng: &mut RoundRng) -> Option<&Passage> {
        let own = &self.all[place];
        let words = |text: &str| -> std::collections::HashSet<String> {
            let long = text
                .split(|c: char| !c.is_alphanumeric())
                .filter(|word| word.chars().count() >= 5);
            long.map(str::to_lowercase).collect()
        };
        let ours = words(&own.text);
        let drawn = (0..COMPARED.min(self.all.len() * 2)).map(|_| rng.below(self.all.len() as u64) as usize);
        let others = drawn.filter(|&other| {
            other != place && self.all[other].language == own.language && self.all[other].text != own.text
        });
        let best = others.max_by_key(|&other| {
            let theirs = words(&self.all[other].text);
            let common = theirs.intersection(&ours).count();
            (
                common * 1000 / (theirs.len() + ours.len()).max(1),
                std::cmp::Reverse(other),
            )
        });
        best.map(|other| &self.all[other])
    }
}

/// Whether a text is in a script without spaces, so that its words cannot be counted so.
fn is_unspaced(text: &str) -> bool {
    let (mut wide, mut spaces) = (0, 0);
    for c in text.chars() {
        wide += usize::from(('\u{0e00}'..='\u{0eff}').contains(&c) || ('\u{3040}'..='\u{9fff}').contains(&c));
        spaces += usize::from(c.is_whitespace());
    }
    wide > 20 && wide > spaces * 4
}

fn draw(recipe: &FromDocuments, rng: &mut RoundRng) -> Kind {
    if rng.is_below(recipe.absent) {
        return Kind::Absent;
    }
    if rng.is_below(recipe.comparison / (1.0 - recipe.absent).max(1e-9)) {
        return Kind::Comparison;
    }
    // Questions are what people have most of.
    match rng.below(10) {
        0..=4 => Kind::Question,
        5..=6 => Kind::Extraction,
        7 => Kind::Summary,
        _ => Kind::Transformation,
    }
}

/// A task of a response: instruction and answer, or why it cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftTask {
    /// The instruction; the text that cannot be read, with a fault.
    pub instruction: String,
    /// The answer.
    pub answer: String,
    /// Why it cannot be used.
    pub fault: Option<Fault>,
}

/// The most lines that a task is wrapped into, as its passage is.
const WRAPPED: usize = 3;

/// Parses the continuation of a few-shot prompt: a task, a line that begins with `Answer:`, the
/// answer, and perhaps a further task, which nobody asked for.
pub fn task(response: &str, finish: FinishReason) -> DraftTask {
    let text = response.trim();
    let text = after_label(text).map_or(text, str::trim_start);
    let found = text.find(&format!("\n{ANSWER}"));
    let (instruction, rest) = match found {
        Some(at) => (text[..at].trim(), &text[at + 1 + ANSWER.len()..]),
        None => (text, ""),
    };
    let more = rest
        .match_indices('\n')
        .find(|(at, _)| after_label(&rest[at + 1..]).is_some() || rest[at + 1..].starts_with(ANSWER));
    let answer = rest[..more.map_or(rest.len(), |(at, _)| at)].trim();
    let lines: Vec<&str> = instruction.lines().map(str::trim).collect();
    let is_one = (1..=WRAPPED).contains(&lines.len()) && lines.iter().all(|line| !line.is_empty());
    let fault = match finish {
        FinishReason::Length if more.is_none() => Some(Fault::Truncated),
        _ if answer.is_empty() || !is_one => Some(Fault::Unparsed),
        _ => None,
    };
    DraftTask {
        instruction: match fault {
            None => lines.join(" "),
            Some(_) => instruction.to_string(),
        },
        answer: answer.to_string(),
        fault,
    }
}

/// Parses a structured response: a list of tasks.
pub fn tasks(response: &str, finish: FinishReason) -> Vec<DraftTask> {
    let items = alpaca::objects(response, finish);
    let drafts = items.into_iter().map(|item| match item.task {
        Ok(task) => DraftTask {
            instruction: task.instruction,
            answer: task.instance.output,
            fault: None,
        },
        Err(flaw) => DraftTask {
            instruction: item.text.to_string(),
            answer: String::new(),
            fault: Some(flaw.fault),
        },
    });
    drafts.collect()
}

/// Parses the instruction that an answer was asked for by: a line, or JSON.
pub fn instruction(response: &str, finish: FinishReason, structured: bool) -> DraftTask {
    let read = |text: &str| -> Option<String> {
        let value: serde_json::Value = serde_json::from_str(text).ok()?;
        Some(value.get("instruction")?.as_str()?.trim().to_string())
    };
    let text = response.trim();
    let (instruction, is_read) = match structured {
        true => read(text).map_or((text.to_string(), false), |instruction| (instruction, true)),
        false => (text.trim_start_matches("Instruction:").trim().to_string(), true),
    };
    let fault = match finish {
        FinishReason::Length => Some(Fault::Truncated),
        _ if !is_read || instruction.is_empty() || instruction.contains('\n') => Some(Fault::Unparsed),
        _ => None,
    };
    DraftTask {
        instruction,
        answer: String::new(),
        fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passage(id: i64, document: i64, text: &str) -> Passage {
        Passage {
            id,
            document,
            about: String::new(),
            text: text.to_string(),
            language: None,
        }
    }

    fn many(counts: &[(i64, usize)]) -> Passages {
        let mut all = Vec::new();
        for &(document, count) in counts {
            for _ in 0..count {
                let id = all.len() as i64;
                all.push(passage(
                    id,
                    document,
                    &format!("Passage number {id} says something about sheep and their wool."),
                ));
            }
        }
        Passages::new(all, 5, 3)
    }

    #[test]
    fn each_passage_comes_once_and_documents_are_spread() {
        let passages = many(&[(1, 90), (2, 30), (3, 2)]);
        let recipe = FromDocuments::default();
        let chosen: Vec<(i64, i64)> = (0..122)
            .map(|round| {
                let choice = passages.choose(&recipe, 7, round).unwrap();
                (choice.passage.id, choice.passage.document)
            })
            .collect();
        let ids: std::collections::HashSet<i64> = chosen.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids.len(), 122);
        for part in chosen.chunks(41) {
            let of_first = part.iter().filter(|(_, document)| *document == 1).count();
            assert!((28..=33).contains(&of_first), "{of_first}");
        }
        assert_eq!(passages.choose(&recipe, 7, 122).unwrap().passage.id, chosen[0].0);
        assert!(Passages::new(Vec::new(), 5, 3).choose(&recipe, 7, 0).is_none());
        assert!(Passages::new(vec![passage(1, 1, "Too short.")], 5, 3).is_empty());
    }

    #[test]
    fn kinds_have_their_shares() {
        let passages = many(&[(1, 50)]);
        let recipe = FromDocuments {
            absent: 0.2,
            comparison: 0.1,
            ..FromDocuments::default()
        };
        let mut counts = std::collections::HashMap::new();
        for round in 0..4000 {
            let choice = passages.choose(&recipe, 1, round).unwrap();
            assert_eq!(choice.other.is_some(), choice.kind == Kind::Comparison);
            assert!(choice.other.is_none_or(|other| other.id != choice.passage.id));
            *counts.entry(choice.kind).or_insert(0) += 1;
        }
        assert!((700..900).contains(&counts[&Kind::Absent]), "{counts:?}");
        assert!((320..480).contains(&counts[&Kind::Comparison]), "{counts:?}");
        assert!((1250..1550).contains(&counts[&Kind::Question]), "{counts:?}");
        assert_eq!(counts.len(), 6);
        let none = FromDocuments {
            absent: 0.0,
            ..FromDocuments::default()
        };
        assert!((0..500).all(|round| passages.choose(&none, 1, round).unwrap().kind != Kind::Absent));
    }

    #[test]
    fn responses_are_parsed() {
        let stop = FinishReason::Stop;
        let read = task(" How many sheep are there?\nAnswer: Forty,\nall white.", stop);
        assert_eq!(
            (read.instruction.as_str(), read.answer.as_str()),
            ("How many sheep are there?", "Forty,\nall white.")
        );
        assert_eq!(read.fault, None);
        assert_eq!(task("Task: a?\nAnswer: b", stop).instruction, "a?");
        assert_eq!(task("a?", stop).fault, Some(Fault::Unparsed));
        // Wrapped like its passage; then the model goes on by itself.
        let read = task(
            "Question: How many sheep\n    are there?\nAnswer: Forty.\n\nQuestion: And goats?\nAnswer: N",
            FinishReason::Length,
        );
        assert_eq!(
            (read.instruction.as_str(), read.answer.as_str(), read.fault),
            ("How many sheep are there?", "Forty.", None)
        );
        let read = task("a?\nAnswer: b\nAnswer: c", stop);
        assert_eq!((read.answer.as_str(), read.fault), ("b", None));
        let read = task("a?\nAnswer: b\nTask, to sum the text up: c", stop);
        assert_eq!((read.answer.as_str(), read.fault), ("b", None));
        let read = task("a?\nAnswer: Tasks of\nTaskmasters: all", stop);
        assert_eq!(read.answer, "Tasks of\nTaskmasters: all");
        assert_eq!(task("a\n\nb?\nAnswer: c", stop).fault, Some(Fault::Unparsed));
        assert_eq!(
            task("1. a\n2. b\n3. c\n4. d\nAnswer: c", stop).fault,
            Some(Fault::Unparsed)
        );
        assert_eq!(task("Question:\nAnswer: c", stop).fault, Some(Fault::Unparsed));
        assert_eq!(
            task("a?\nAnswer: b", FinishReason::Length).fault,
            Some(Fault::Truncated)
        );
        let list = tasks(
            "{\"tasks\": [{\"instruction\": \"a?\", \"input\": \"\", \"output\": \"b\"}]}",
            stop,
        );
        assert_eq!((list.len(), list[0].answer.as_str()), (1, "b"));
        assert_eq!(instruction("Write it.\n", stop, false).instruction, "Write it.");
        assert_eq!(
            instruction("{\"instruction\": \"Write it.\"}", stop, true).instruction,
            "Write it."
        );
        assert_eq!(instruction("Write it.", stop, true).fault, Some(Fault::Unparsed));
        assert_eq!(instruction("", stop, false).fault, Some(Fault::Unparsed));
    }
}

//! From the engine's events to pieces of answers: text with the tokens that it is made of.

use std::collections::VecDeque;

use ewe::backend::{BackendError, FinishReason};
use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll, select_all};

use crate::engine::answer::{Answer, Event};
use crate::engine::logprobs::Logprobs;

/// How likely a token was, and where in the text it begins, in characters.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// How likely.
    pub logprobs: Logprobs,
    /// Where.
    pub offset: usize,
}

/// Part of an answer, or all of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Delta {
    /// More text.
    pub text: String,
    /// The tokens that begin in it, where they were asked for.
    pub tokens: Vec<Told>,
    /// Why the answer ends with it, and after how many tokens.
    pub end: Option<(FinishReason, usize)>,
}

impl Delta {
    /// Adds what follows.
    pub fn append(&mut self, next: Delta) {
        self.text += &next.text;
        self.tokens.extend(next.tokens);
        self.end = next.end;
    }
}

/// Makes pieces of one answer's events. A token waits for the text that it begins in; tokens of a stop string, whose
/// text never comes, are dropped.
#[derive(Debug, Default)]
struct Assembly {
    waiting: VecDeque<Told>,
    characters: usize,
}

impl Assembly {
    fn take(&mut self, event: Event) -> Option<Delta> {
        match event {
            Event::Token { logprobs, offset } => {
                self.waiting.push_back(Told { logprobs, offset });
                None
            }
            Event::Text(text) => {
                self.characters += text.chars().count();
                let begun = self.waiting.partition_point(|told| told.offset < self.characters);
                Some(Delta {
                    text,
                    tokens: self.waiting.drain(..begun).collect(),
                    end: None,
                })
            }
            Event::Done {
                finish_reason,
                completion_tokens,
            } => {
                let tokens = match finish_reason {
                    // Without text of their own, but within the answer.
                    FinishReason::Length => self.waiting.drain(..).collect(),
                    FinishReason::Stop => Vec::new(),
                };
                Some(Delta {
                    text: String::new(),
                    tokens,
                    end: Some((finish_reason, completion_tokens)),
                })
            }
        }
    }
}

/// The pieces of several answers as they come.
pub struct Deltas {
    events: SelectAll<BoxStream<'static, (usize, Result<Event, BackendError>)>>,
    assemblies: Vec<Assembly>,
}

impl Deltas {
    /// Of `answers`, each known by its place among them.
    pub fn of(answers: Vec<Answer>) -> Deltas {
        Deltas {
            assemblies: answers.iter().map(|_| Assembly::default()).collect(),
            events: select_all(
                answers
                    .into_iter()
                    .enumerate()
                    .map(|(index, answer)| answer.map(move |event| (index, event)).boxed()),
            ),
        }
    }

    /// The next piece and whose it is; none when all answers have ended. Fails as soon as one of them does.
    pub async fn next(&mut self) -> Option<Result<(usize, Delta), BackendError>> {
        loop {
            let (index, event) = self.events.next().await?;
            match event {
                Err(error) => return Some(Err(error)),
                Ok(event) => {
                    if let Some(piece) = self.assemblies[index].take(event) {
                        return Some(Ok((index, piece)));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::logprobs::Scored;

    fn token(id: i64, offset: usize) -> Event {
        let chosen = Scored { id, logprob: -1.0 };
        Event::Token {
            logprobs: Logprobs {
                chosen,
                likeliest: Vec::new(),
            },
            offset,
        }
    }

    fn pieces(events: Vec<Event>) -> Vec<(String, Vec<i64>)> {
        let mut assembly = Assembly::default();
        events
            .into_iter()
            .filter_map(|event| assembly.take(event))
            .map(|piece| {
                let ids = piece.tokens.iter().map(|told| told.logprobs.chosen.id).collect();
                (piece.text, ids)
            })
            .collect()
    }

    #[test]
    fn tokens_come_with_the_text_that_they_begin_in() {
        let done = |finish_reason| Event::Done {
            finish_reason,
            completion_tokens: 9,
        };
        let text = |text: &str| Event::Text(text.to_string());
        // Two tokens make one character of two; the last two are a stop string that was held back, met in mid-token.
        let events = |reason| {
            vec![
                token(1, 0),
                text("a"),
                token(2, 1),
                token(3, 1),
                text("\u{e9}x"),
                token(4, 3),
                text("b"),
                token(5, 4),
                token(6, 5),
                done(reason),
            ]
        };
        let piece = |text: &str, ids: &[i64]| (text.to_string(), ids.to_vec());
        let common = [piece("a", &[1]), piece("\u{e9}x", &[2, 3]), piece("b", &[4])];
        let stopped = pieces(events(FinishReason::Stop));
        assert_eq!(stopped, [&common[..], &[piece("", &[])]].concat());
        let cut = pieces(events(FinishReason::Length));
        assert_eq!(cut, [&common[..], &[piece("", &[5, 6])]].concat());
    }
}

//! From the engine's events to deltas: parts of an answer, each with the tokens of its text. The
//! first one begins with the echo of the prompt.

use std::collections::VecDeque;

use ewe::backend::{BackendError, FinishReason};
use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll, select_all};

use super::echo::Echo;
use super::tools::stream::{CallDelta, ToolReading, ToolStream};
use crate::engine::answer::AnswerStream;
use crate::engine::event::Event;
use crate::engine::logprobs::Logprobs;

/// A token of a delta.
#[derive(Debug, Clone, PartialEq)]
pub struct DeltaToken {
    /// Its id.
    pub id: i64,
    /// Its logprobs; none of the first token of a prompt, which nothing precedes.
    pub logprobs: Option<Logprobs>,
    /// Where its text begins, in characters of the answer with its echo.
    pub offset: usize,
}

/// A part of an answer, or all of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Delta {
    /// More text.
    pub text: String,
    /// The tokens that begin in it, if the request asks for logprobs.
    pub tokens: Vec<DeltaToken>,
    /// Calls of tools.
    pub calls: Vec<CallDelta>,
    /// Whether there was a call here or before.
    pub has_called: bool,
    /// Why the answer ends here, and its number of tokens; none if it goes on.
    pub end: Option<(FinishReason, usize)>,
}

impl Delta {
    /// Appends the next delta.
    pub fn append(&mut self, next: Delta) {
        self.text += &next.text;
        self.tokens.extend(next.tokens);
        for call in next.calls {
            match self.calls.last_mut() {
                Some(last) if call.begun.is_none() => last.arguments += &call.arguments,
                _ => self.calls.push(call),
            }
        }
        self.has_called |= next.has_called;
        self.end = next.end;
    }

    /// Whether there is nothing in it.
    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.tokens.is_empty() && self.calls.is_empty() && self.end.is_none()
    }

    /// Returns why the answer ends here, as OpenAI calls it; none if it goes on.
    pub fn reason(&self) -> Option<&'static str> {
        let (reason, _) = self.end?;
        Some(match reason {
            FinishReason::Stop if self.has_called => "tool_calls",
            reason => reason.as_str(),
        })
    }
}

/// Makes deltas of one answer's events. A token is held back until the text that it begins in.
/// Tokens whose text never comes, the end token and those of a stop string, are dropped: but not
/// behind the tokens of a prompt, since clients that score prompts count on one logprob for each
/// token that was generated, as vLLM sends them.
#[derive(Debug, Default)]
struct DeltaAssembler {
    waiting: VecDeque<DeltaToken>,
    /// Of the answer so far, with its echo.
    characters: usize,
    /// Characters of the echo.
    before: usize,
    /// What the first delta begins with.
    echo: Option<Echo>,
    /// Whether the answer begins with the logprobs of its prompt.
    has_prompt: bool,
}

impl DeltaAssembler {
    /// Returns one for an answer that begins with `echo`.
    fn behind(echo: Echo) -> DeltaAssembler {
        let before = echo.text.chars().count();
        DeltaAssembler {
            characters: before,
            before,
            echo: Some(echo),
            ..DeltaAssembler::default()
        }
    }

    /// Takes an event. Returns the delta that it completes, if it does.
    fn take(&mut self, event: Event) -> Option<Delta> {
        let mut delta = self.assemble(event)?;
        if let Some(echo) = self.echo.take() {
            delta.text.insert_str(0, &echo.text);
        }
        Some(delta)
    }

    /// As [`DeltaAssembler::take`], without the text of the echo.
    fn assemble(&mut self, event: Event) -> Option<Delta> {
        match event {
            Event::Prompt(logprobs) => {
                self.has_prompt = true;
                let tokens = self.echo.as_mut().map(|echo| std::mem::take(&mut echo.tokens));
                let logprobs = [None].into_iter().chain(logprobs.into_iter().map(Some));
                let tokens = tokens.unwrap_or_default().into_iter().zip(logprobs);
                let token = |((id, offset), logprobs)| DeltaToken { id, logprobs, offset };
                Some(Delta {
                    tokens: tokens.map(token).collect(),
                    ..Delta::default()
                })
            }
            Event::Token { logprobs, offset } => {
                self.waiting.push_back(DeltaToken {
                    id: logprobs.chosen.id,
                    logprobs: Some(logprobs),
                    offset: self.before + offset,
                });
                None
            }
            Event::Text(text) => {
                self.characters += text.chars().count();
                let begun = self
                    .waiting
                    .partition_point(|token| token.offset < self.characters);
                Some(Delta {
                    text,
                    tokens: self.waiting.drain(..begun).collect(),
                    ..Delta::default()
                })
            }
            Event::Done {
                finish_reason,
                completion_tokens,
            } => {
                let mut tokens: Vec<DeltaToken> = match finish_reason {
                    FinishReason::Stop if !self.has_prompt => Vec::new(),
                    // Those of `Length` have no text of their own, but are within the answer.
                    _ => self.waiting.drain(..).collect(),
                };
                if finish_reason == FinishReason::Stop {
                    let end = self.characters;
                    tokens
                        .iter_mut()
                        .for_each(|token| token.offset = token.offset.min(end));
                }
                Some(Delta {
                    tokens,
                    end: Some((finish_reason, completion_tokens)),
                    ..Delta::default()
                })
            }
        }
    }
}

/// The deltas of several answers as they come.
pub struct Deltas {
    events: SelectAll<BoxStream<'static, (usize, Result<Event, BackendError>)>>,
    assemblers: Vec<DeltaAssembler>,
    /// Takes calls of tools out of each answer's text; empty where there are none.
    tools: Vec<ToolStream>,
}

impl Deltas {
    /// Merges `answers`, each identified by its index and with its echo.
    /// With `tools`, calls are taken out of the text.
    pub fn of(
        answers: Vec<AnswerStream>,
        echoes: impl Iterator<Item = Echo>,
        tools: Option<&ToolReading>,
    ) -> Deltas {
        Deltas {
            tools: tools.map_or_else(Vec::new, |tools| answers.iter().map(|_| tools.begin()).collect()),
            assemblers: echoes.map(DeltaAssembler::behind).collect(),
            events: select_all(
                answers
                    .into_iter()
                    .enumerate()
                    .map(|(index, answer)| answer.map(move |event| (index, event)).boxed()),
            ),
        }
    }

    /// Returns the next delta and the index of its answer; none when all answers have ended. Fails
    /// as soon as one of them does.
    pub async fn next(&mut self) -> Option<Result<(usize, Delta), BackendError>> {
        loop {
            let (index, event) = self.events.next().await?;
            match event {
                Err(error) => return Some(Err(error)),
                Ok(event) => {
                    let Some(mut delta) = self.assemblers[index].take(event) else {
                        continue;
                    };
                    if let Some(tools) = self.tools.get_mut(index) {
                        let text = std::mem::take(&mut delta.text);
                        (delta.text, delta.calls) = tools.read(&text, delta.end.is_some());
                        delta.has_called = tools.has_called();
                        if delta.is_empty() {
                            continue;
                        }
                    }
                    return Some(Ok((index, delta)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::logprobs::TokenLogprob;

    fn token(id: i64, offset: usize) -> Event {
        let chosen = TokenLogprob { id, logprob: -1.0 };
        Event::Token {
            logprobs: Logprobs {
                chosen,
                likeliest: Vec::new(),
            },
            offset,
        }
    }

    fn deltas(events: Vec<Event>) -> Vec<(String, Vec<i64>)> {
        let mut assembler = DeltaAssembler::default();
        events
            .into_iter()
            .filter_map(|event| assembler.take(event))
            .map(|delta| {
                let ids = delta.tokens.iter().map(|token| token.id).collect();
                (delta.text, ids)
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
        // Two tokens make up a text of two characters; the last two are a held-back stop string,
        // which begins within a token.
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
        let delta = |text: &str, ids: &[i64]| (text.to_string(), ids.to_vec());
        let common = [delta("a", &[1]), delta("\u{e9}x", &[2, 3]), delta("b", &[4])];
        let stopped = deltas(events(FinishReason::Stop));
        assert_eq!(stopped, [&common[..], &[delta("", &[])]].concat());
        let cut = deltas(events(FinishReason::Length));
        assert_eq!(cut, [&common[..], &[delta("", &[5, 6])]].concat());
    }

    #[test]
    fn an_echo_precedes_the_answer_with_its_tokens() {
        let logprobs = |id| match token(id, 0) {
            Event::Token { logprobs, .. } => logprobs,
            _ => unreachable!(),
        };
        let done = Event::Done {
            finish_reason: FinishReason::Stop,
            completion_tokens: 2,
        };
        let echo = Echo {
            text: "pr\u{e9}".to_string(),
            tokens: vec![(7, 0), (8, 0), (9, 2)],
        };
        let mut assembler = DeltaAssembler::behind(echo.clone());
        let mut whole = Delta::default();
        let events = [
            Event::Prompt(vec![logprobs(8), logprobs(9)]),
            token(1, 0),
            Event::Text("a".to_string()),
            // The end token, which has no text.
            token(2, 1),
            done.clone(),
        ];
        for delta in events.into_iter().filter_map(|event| assembler.take(event)) {
            whole.append(delta);
        }
        assert_eq!(whole.text, "pr\u{e9}a");
        let tokens: Vec<_> = whole.tokens.iter().map(|of| (of.id, of.offset)).collect();
        assert_eq!(tokens, [(7, 0), (8, 0), (9, 2), (1, 3), (2, 4)]);
        let without: Vec<bool> = whole.tokens.iter().map(|of| of.logprobs.is_none()).collect();
        assert_eq!(without, [true, false, false, false, false]);
        // Without logprobs there is only the text, even of an empty answer.
        let mut assembler = DeltaAssembler::behind(Echo::of("pr".to_string()));
        let delta = assembler.take(done).unwrap();
        assert_eq!((delta.text.as_str(), delta.tokens.len()), ("pr", 0));
    }
}

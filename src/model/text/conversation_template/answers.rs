//! Which parts of a conversation are answers, in a template that does not mark them: what is added
//! to the prompt of each.
//!
//! Published templates write a conversation differently once it goes on. They leave out the
//! thoughts of earlier answers (Qwen 3), end the last answer by a token of its own (gpt-oss,
//! Phi-3), and open an answer by a thought that it may not have (DeepSeek-R1, Nemotron).

use std::ops::Range;

use anyhow::{Result, bail};
use chrono::NaiveDateTime;
use serde_json::Map;

use super::ConversationTemplate;
use crate::model::text::chat_template::{ChatMessage, Rendering};
use crate::model::text::tokenizer::Tokenizer;

/// A character that no answer begins with, nor a prompt: one for private use.
const MARK: char = '\u{f8ff}';

/// The answers of a conversation.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Where they are in its text, in order.
    pub(super) ranges: Vec<Range<usize>>,
    /// What the template's prompt for an answer ends with that the answer does not begin with.
    pub(super) unanswered: Option<String>,
}

/// Texts of special tokens, the longest first.
#[derive(Debug, Default)]
pub(super) struct SpecialTexts(Vec<String>);

impl SpecialTexts {
    pub(super) fn of(tokenizer: &Tokenizer) -> SpecialTexts {
        let added = tokenizer.added_tokens().into_iter();
        let special = added.filter_map(|(id, is_special)| is_special.then_some(id));
        let ids = special.chain(tokenizer.end_tokens().iter().copied());
        let mut texts: Vec<String> = ids.filter_map(|id| tokenizer.token(id)).collect();
        texts.retain(|text| !text.is_empty());
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        SpecialTexts(texts)
    }

    /// Returns the length of the special token that `text` begins with.
    fn first(&self, text: &str) -> Option<usize> {
        self.0
            .iter()
            .find(|special| text.starts_with(special.as_str()))
            .map(String::len)
    }

    /// Returns the range of the first special token in `text`.
    fn find(&self, text: &str) -> Option<Range<usize>> {
        let starts = text.char_indices().map(|(at, _)| at);
        starts
            .filter_map(|at| Some(at..at + self.first(&text[at..])?))
            .next()
    }

    /// Returns the length of what both texts begin with, without a part of a special token.
    fn common(&self, one: &str, other: &str) -> usize {
        let pairs = one.char_indices().zip(other.chars());
        let equal = pairs.take_while(|((_, a), b)| a == b);
        let same = equal.last().map_or(0, |((at, a), _)| at + a.len_utf8());
        let longest = self.0.first().map_or(0, String::len);
        let near = one[..same].char_indices().map(|(at, _)| at);
        let near = near.filter(|at| same - at < longest);
        let crosses = |text: &str, at: usize| self.first(&text[at..]).is_some_and(|len| at + len > same);
        near.clone()
            .find(|&at| crosses(one, at) || crosses(other, at))
            .unwrap_or(same)
    }
}

impl ConversationTemplate {
    /// Finds each answer in `whole`, the text of `messages`.
    ///
    /// # Errors
    ///
    /// If the text has nothing of how the template begins an answer, or of how it closes one: then
    /// no part of it is the answer.
    pub(super) fn answers(
        &self,
        now: NaiveDateTime,
        messages: &[ChatMessage],
        whole: &str,
    ) -> Result<Answers> {
        let mut answers = Answers::default();
        let said = |at: &usize| messages[*at].role == "assistant";
        let places: Vec<usize> = (0..messages.len()).filter(said).collect();
        let prompt = |&at: &usize| self.render(now, &messages[..at], &Rendering::default());
        let prompts = places.iter().map(prompt).collect::<Result<Vec<_>>>()?;
        let begin = |number: usize| {
            let prompt = prompts.get(number)?.text.as_str();
            whole.starts_with(prompt).then_some(prompt.len())
        };
        let mut behind = 0..0;
        for (number, &at) in places.iter().enumerate() {
            let start = match begin(number) {
                Some(start) => start,
                None => {
                    let opened = &prompts[number].text;
                    let (start, unanswered) =
                        self.start_behind(now, (messages, at), opened, &behind, whole)?;
                    answers.unanswered = answers
                        .unanswered
                        .or((!unanswered.is_empty()).then_some(unanswered));
                    start
                }
            };
            let end = match at + 1 == messages.len() {
                true => whole.len(),
                false => {
                    let next = begin(number + 1).unwrap_or(whole.len()).max(start);
                    self.end(now, &messages[..=at], start..next, whole)?
                }
            };
            if start > end || start < behind.end {
                bail!("{}: the text of an answer is empty", self.name);
            }
            answers.ranges.push(start..end);
            behind = at + 1..end;
        }
        Ok(answers)
    }

    /// Returns where the answer `at` a place of the messages begins in `whole`, which does not
    /// begin with its prompt `opened`, and what that ends with that is not in it. The answer before
    /// it is `behind`: the place after it, and where it ends.
    fn start_behind(
        &self,
        now: NaiveDateTime,
        (messages, at): (&[ChatMessage], usize),
        opened: &str,
        behind: &Range<usize>,
        whole: &str,
    ) -> Result<(usize, String)> {
        let before = &messages[..at];
        let silent = Rendering {
            variables: Map::from_iter([("enable_thinking".to_owned(), false.into())]),
            ..Rendering::default()
        };
        let silent = self.render(now, before, &silent)?.text;
        let mut said = behind.end;
        for message in &messages[behind.start..at] {
            let text = message.content.trim();
            said += whole[said..].find(text).map_or(0, |at| at + text.len());
        }
        // The answer may begin with the letters that the prompt goes on with.
        let mut marked = messages.to_vec();
        marked[at].content.insert(0, MARK);
        let marked = self.render(now, &marked, &Rendering::closed())?.text;
        let common = self.special.common(opened, &marked);
        if whole.starts_with(&silent) && silent.len() > said {
            return Ok((silent.len(), opened[common..].to_owned()));
        }
        if common > said && whole.is_char_boundary(common) && whole[..common] == opened[..common] {
            return Ok((common, opened[common..].to_owned()));
        }
        // What is before it is written differently, but the prompt's own end may be there.
        let closed = self.render(now, before, &Rendering::closed())?.text;
        let heading = opened.strip_prefix(&closed).unwrap_or_default();
        let line = heading.lines().next().unwrap_or_default();
        match marked.get(said..).and_then(|rest| rest.find(line)) {
            Some(at) if !line.trim().is_empty() => {
                let common = self.special.common(heading, &marked[said + at..]);
                Ok((said + at + common, heading[common..].to_owned()))
            }
            _ => bail!("{}", self.otherwise(opened, whole)),
        }
    }

    /// Returns where the answer that messages end with ends in `whole`, within `range`, where it
    /// begins and the next one does.
    fn end(
        &self,
        now: NaiveDateTime,
        messages: &[ChatMessage],
        range: Range<usize>,
        whole: &str,
    ) -> Result<usize> {
        let closed = self.render(now, messages, &Rendering::closed())?.text;
        if whole.starts_with(&closed) {
            return Ok(closed.len());
        }
        let text = messages.last().map_or("", |message| message.content.trim());
        let start = range.start;
        let within = &whole[range];
        let Some(said) = within.find(text).map(|at| start + at + text.len()) else {
            bail!("{}", self.otherwise(&closed, whole));
        };
        let common = self.special.common(&closed, whole);
        if common > start && common >= said && !text.is_empty() {
            // Only what closes the answer differs, or what is behind it.
            let closing = self.special.first(&whole[common..]);
            return Ok(match (self.special.find(&whole[said..common]), closing) {
                (None, Some(closing)) => common + closing,
                _ => common,
            });
        }
        let closing = self.closing.whole.as_str();
        // Of an answer without a text, such as calls of tools, the first that closes one.
        let by_closing = within.match_indices(&format!("{text}{closing}")).next();
        let end = match by_closing.filter(|_| !closing.is_empty()) {
            Some((at, found)) => start + at + found.len(),
            None => match self.special.find(&whole[said..]) {
                Some(special) if !text.is_empty() => said + special.end,
                _ => bail!("{}", self.otherwise(&closed, whole)),
            },
        };
        // A line break behind the token that closes it, as in other answers.
        let behind = closed
            .rfind(closing)
            .map_or("", |at| &closed[at + closing.len()..]);
        let space = &behind[..behind.len() - behind.trim_start().len()];
        let follows = whole[end..].starts_with(space);
        Ok(end + if follows { space.len() } else { 0 })
    }

    /// Says that `whole` does not begin with `part`.
    fn otherwise(&self, part: &str, whole: &str) -> String {
        let at = self.special.common(part, whole);
        let after = |text: &str| text[at..].chars().take(30).collect::<String>();
        format!(
            "{}: the template writes a question differently once it is answered, {:?} in place of {:?}, so no part is the answer's\n\
             hint: put {{% generation %}}…{{% endgeneration %}} around the answer in a copy of it, for --template; or --template alpaca",
            self.name,
            after(whole),
            after(part)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_texts_have_in_common_ends_between_special_tokens() {
        let special = SpecialTexts(["<|return|>", "<|end|>", "<s>"].map(str::to_owned).to_vec());
        assert_eq!(special.common("a<|end|>b", "a<|end|>c"), 8);
        assert_eq!(special.common("a<|end|>", "a<|return|>"), 1);
        assert_eq!(special.common("a<|end|>", "a<|other"), 1);
        assert_eq!(special.common("é1", "éa"), 2);
        assert_eq!(special.common("", "a"), 0);
        assert_eq!(special.find("é<|x<|end|>"), Some(5..12));
    }
}

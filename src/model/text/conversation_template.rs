//! The path from messages to text and tokens: a chat template, and what ends an answer in it.
//! Training renders rows with it and saves it; inference uses the saved one, or another that is
//! named.

mod affixes;
mod answers;
mod closing;

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use chrono::{Local, NaiveDateTime};
use ewe::prompt::template::{Template, TemplateChoice};
use ewe::settings_file;

use super::block_template;
use super::chat_template::{ChatMessage, ChatTemplate, Rendered, Rendering};
use super::tokenizer::{Marked, Tokenizer};
use affixes::{begin, end};
use answers::{Answers, SpecialTexts};
use closing::{ANSWER, Closing};

/// A chat template for one tokenizer.
pub struct ConversationTemplate {
    template: ChatTemplate,
    /// Its name, such as `alpaca`, or the path it was read from.
    name: String,
    /// Whether it reads a user message's `input`.
    takes_input: bool,
    /// Whether it ignores system messages.
    ignores_system: bool,
    closing: Closing,
    special: SpecialTexts,
    /// Stop strings of the template.
    stop: Vec<String>,
    is_fallback: bool,
    /// Whether it leaves the text of an answer away.
    omits_answers: bool,
}

/// A conversation in tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizedConversation {
    /// Token ids.
    pub ids: Vec<i64>,
    /// Ranges of target tokens, in order, one for each answer.
    pub targets: Vec<Range<usize>>,
    /// Whether the first answer begins within a token, so that the prompt alone has other tokens.
    pub splits_token: bool,
    /// What the template's prompt for an answer ends with that an answer does not begin with.
    pub unanswered: Option<String>,
}

const INPUT: &str = "ewe's input";
const SYSTEM: &str = "ewe's system message";

/// The template for models without one: the default of `ewe train`.
const FALLBACK: Template = Template::Alpaca;

impl ConversationTemplate {
    /// Returns the template that `choice` names, or the model's own; none if that has none.
    ///
    /// Fails on an unusable file, and if the model's own is named and it has none.
    pub fn choose(
        choice: Option<&TemplateChoice>,
        tokenizer: &Tokenizer,
    ) -> Result<Option<ConversationTemplate>> {
        match choice {
            None if tokenizer.chat_template().is_none() => Ok(None),
            None | Some(TemplateChoice::Known(Template::Chat)) => {
                ConversationTemplate::of_model(tokenizer).map(Some)
            }
            Some(TemplateChoice::Known(template)) => {
                ConversationTemplate::builtin(*template, tokenizer).map(Some)
            }
            Some(TemplateChoice::File(path)) => ConversationTemplate::of_file(path, tokenizer).map(Some),
        }
    }

    /// Returns the template to prompt a model with: as [`ConversationTemplate::choose`], or
    /// Alpaca's for a model without a template.
    pub fn for_inference(
        choice: Option<&TemplateChoice>,
        tokenizer: &Tokenizer,
    ) -> Result<ConversationTemplate> {
        if let Some(chosen) = ConversationTemplate::choose(choice, tokenizer)? {
            return Ok(chosen);
        }
        let mut fallback = ConversationTemplate::builtin(FALLBACK, tokenizer)?;
        fallback.is_fallback = true;
        fallback.name = format!("{FALLBACK}, since the model came without a chat template");
        // A base model that has not learned to end its answer continues with the next instruction.
        fallback.stop.push("### Instruction:".to_owned());
        Ok(fallback)
    }

    /// Returns the model's own template. Fails if it has none.
    pub fn of_model(tokenizer: &Tokenizer) -> Result<ConversationTemplate> {
        let file = tokenizer.chat_template().context(
            "the model has no chat template\nhint: --template alpaca, or put chat_template.jinja beside its tokenizer",
        )?;
        let mut template =
            ConversationTemplate::of(&file.source, file.path.display().to_string(), tokenizer)?;
        template.stop.extend(tokenizer.stop_strings().iter().cloned());
        Ok(template)
    }

    /// Returns one of ewe's templates. Fails for [`Template::Chat`], the model's own.
    pub fn builtin(template: Template, tokenizer: &Tokenizer) -> Result<ConversationTemplate> {
        let space = match template {
            // Its text begins as the messages do, and the tokenizer puts no space before a space.
            Template::Completion => "('' if messages[0]['content'].startswith(' ') else ' ')",
            _ => "' '",
        };
        let source = template
            .source(&begin(tokenizer, space)?, &end(tokenizer))
            .context("the template is the model's own")?;
        ConversationTemplate::of(&source, template.to_string(), tokenizer)
    }

    /// Reads a template from a file: a chat template, or one in blocks.
    pub fn of_file(path: &Path, tokenizer: &Tokenizer) -> Result<ConversationTemplate> {
        let mut source = settings_file::read_text(path, settings_file::LONGEST)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let at = || path.display().to_string();
        if block_template::is_in_blocks(&source) || !source.contains("messages") {
            source = block_template::as_chat_template(&source, &begin(tokenizer, "' '")?, &end(tokenizer))
                .with_context(at)?;
        }
        ConversationTemplate::of(&source, at(), tokenizer)
    }

    /// Reads a chat template from its source; `name` is for messages.
    pub fn of(source: &str, name: String, tokenizer: &Tokenizer) -> Result<ConversationTemplate> {
        let template = ChatTemplate::new(source, tokenizer.special_texts()).with_context(|| name.clone())?;
        let mut made = ConversationTemplate {
            template,
            name,
            takes_input: false,
            ignores_system: false,
            closing: Closing::default(),
            special: SpecialTexts::of(tokenizer),
            stop: Vec::new(),
            is_fallback: false,
            omits_answers: false,
        };
        let now = Local::now().naive_local();
        let asked = ChatMessage::new("user", "q").about(Some(INPUT));
        let opened = made
            .template
            .render(now, std::slice::from_ref(&asked), &Rendering::default());
        made.takes_input = opened.is_ok_and(|opened| opened.text.contains(INPUT));
        let answered = [
            ChatMessage::new("user", "q"),
            ChatMessage::new("assistant", ANSWER),
        ];
        let parts = made.wants_parts(now, &answered);
        made.template.give_parts(parts);
        // A template that refuses even this says why when it is used.
        if let Ok(whole) = made.template.render(now, &answered, &Rendering::closed()) {
            made.omits_answers = !whole.text.contains(ANSWER);
            made.closing = Closing::of(&whole, tokenizer)?;
            let below = [&[ChatMessage::new("system", SYSTEM)], &answered[..]].concat();
            let below = made.template.render(now, &below, &Rendering::closed());
            made.ignores_system = below.is_ok_and(|below| below.text == whole.text);
        }
        // Words that end an answer, as Dolly's do. Fewer than three letters may occur anywhere.
        if made.closing.text.trim().len() >= 3 {
            made.stop.push(made.closing.text.trim_end().to_owned());
            made.stop.push(made.closing.text.trim().to_owned());
            made.stop.dedup();
        }
        Ok(made)
    }

    /// Returns whether the template passes over contents that are texts, and writes lists of parts.
    fn wants_parts(&mut self, now: NaiveDateTime, answered: &[ChatMessage]) -> bool {
        let mut says = |parts: bool| {
            self.template.give_parts(parts);
            let rendered = self.template.render(now, answered, &Rendering::closed());
            rendered.is_ok_and(|whole| whole.text.contains(ANSWER))
        };
        !says(false) && says(true)
    }

    /// Returns the template's name, such as `alpaca`, or the path it was read from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the source of the chat template.
    pub fn source(&self) -> &str {
        self.template.source()
    }

    /// Returns the token that ends a message, if the template writes one.
    pub fn end_token(&self) -> Option<i64> {
        self.closing.end
    }

    /// Returns the stop strings of an answer.
    pub fn stop(&self) -> &[String] {
        &self.stop
    }

    /// Returns the stop strings to save with a model, for other programs, which trim an answer's
    /// last line breaks themselves.
    pub fn saved_stop(&self) -> Vec<String> {
        let words = Some(self.closing.text.trim()).filter(|text| text.len() >= 3);
        words.into_iter().map(str::to_owned).collect()
    }

    /// Returns whether it is the fallback for a model without a template.
    pub fn is_fallback(&self) -> bool {
        self.is_fallback
    }

    /// Returns the names of all variables that the template reads.
    pub fn variables(&self) -> HashSet<String> {
        self.template.variables()
    }

    /// Returns the token ids of the prompt for an answer to `messages`; none if there are more than
    /// `most`. Fails if the template refuses the messages, ignores a system message, or renders
    /// nothing.
    pub fn prompt(
        &self,
        tokenizer: &Tokenizer,
        messages: &[ChatMessage],
        rendering: &Rendering,
        most: usize,
    ) -> Result<Option<Vec<i64>>> {
        self.refuse_ignored_system(messages)?;
        let messages = self.known_fields(messages);
        let now = Local::now().naive_local();
        let rendered = self.render(now, &messages, rendering)?;
        self.refuse_missing_system(now, &messages, rendering, &rendered.text)?;
        let ids = tokenizer.encode_within(&rendered.text, false, most)?;
        if ids.as_ref().is_some_and(Vec::is_empty) {
            bail!(
                "{}: the chat template makes nothing of the messages, and a model needs a token to go on from\nhint: take another \
                 template: --template alpaca",
                self.name
            );
        }
        Ok(ids)
    }

    /// Returns the token ids of the prompt for an answer to a row's messages. Fails as
    /// [`ConversationTemplate::prompt`] does.
    pub fn question(&self, tokenizer: &Tokenizer, messages: &[ChatMessage]) -> Result<Vec<i64>> {
        let ids = self.prompt(tokenizer, messages, &Rendering::default(), usize::MAX)?;
        Ok(ids.unwrap_or_default())
    }

    /// Tokenizes a conversation for training. Targets are the parts that the template marks as
    /// generated, or else the answers: the text that the template adds to the prompt of each.
    ///
    /// If the template does not end a message with a token, the end-of-text token is added.
    ///
    /// Fails if the template refuses the messages or ignores a system message. Fails also if it
    /// marks nothing and its text of an answered question does not begin with its text of the
    /// question: then no part of the text is the answer.
    pub fn tokenize(&self, tokenizer: &Tokenizer, messages: &[ChatMessage]) -> Result<TokenizedConversation> {
        self.tokenized(tokenizer, messages, false)
    }

    /// Like [`ConversationTemplate::tokenize`], with the last answer as the only target.
    pub fn tokenize_last(
        &self,
        tokenizer: &Tokenizer,
        messages: &[ChatMessage],
    ) -> Result<TokenizedConversation> {
        self.tokenized(tokenizer, messages, true)
    }

    fn tokenized(
        &self,
        tokenizer: &Tokenizer,
        messages: &[ChatMessage],
        only_last: bool,
    ) -> Result<TokenizedConversation> {
        self.refuse_ignored_system(messages)?;
        if self.omits_answers {
            bail!(
                "{}: the template leaves the text of answers away, so there is nothing to learn\nhint: take another template: \
                 --template alpaca",
                self.name
            );
        }
        let now = Local::now().naive_local();
        let mut messages = self.known_fields(messages);
        self.cut_end_tokens(&mut messages, tokenizer);
        let whole = self.render(now, &messages, &Rendering::closed())?;
        let Answers {
            ranges: mut answers,
            unanswered,
        } = match self.template.is_marked() {
            true if whole.generated.is_empty() => {
                bail!("{}: {{% generation %}} marks nothing of the answer", self.name)
            }
            true => Answers {
                ranges: whole.generated,
                unanswered: None,
            },
            false => self.answers(now, &messages, &whole.text)?,
        };
        if only_last {
            let from = self.last_answer(now, &messages, &whole.text);
            // Templates that write the messages before it differently mark each answer once.
            let last = answers.last().map_or(0, |last| last.start);
            answers.retain(|answer| answer.start >= from.unwrap_or(last).min(last));
        }
        let Marked {
            mut ids,
            marked: mut targets,
            splits_token,
        } = tokenizer.encode_marked(&whole.text, false, &answers)?;
        if self.closing.end.is_none() {
            let end = tokenizer.required_end_token()?;
            let at = ids.len();
            ids.push(end);
            match targets.last_mut() {
                Some(last) if last.end == at => last.end += 1,
                _ => targets.push(at..at + 1),
            }
        }
        Ok(TokenizedConversation {
            ids,
            targets,
            splits_token,
            unanswered,
        })
    }

    /// Returns whether the token that ends a message is no target, so that the model does not learn
    /// to end.
    pub fn omits_end_token(&self, exchange: &TokenizedConversation) -> bool {
        let Some(end) = self.closing.end else {
            return false;
        };
        let mut targets = exchange.targets.iter().cloned().flatten();
        !targets.any(|at| exchange.ids[at] == end)
    }

    /// Returns where the last answer may begin in `whole`: behind all messages before it, or none
    /// if the template writes these differently without it.
    fn last_answer(&self, now: NaiveDateTime, messages: &[ChatMessage], whole: &str) -> Option<usize> {
        let at = messages.iter().rposition(|message| message.role == "assistant")?;
        let before = self.render(now, &messages[..at], &Rendering::closed()).ok()?;
        whole.starts_with(&before.text).then_some(before.text.len())
    }

    fn render(
        &self,
        now: NaiveDateTime,
        messages: &[ChatMessage],
        rendering: &Rendering,
    ) -> Result<Rendered> {
        self.template.render(now, messages, rendering).map_err(|error| {
            let without: Vec<ChatMessage> = messages
                .iter()
                .filter(|message| message.role != "system")
                .cloned()
                .collect();
            let only_the_system = without.len() < messages.len()
                && !without.is_empty()
                && self.template.render(now, &without, rendering).is_ok();
            match only_the_system {
                true => anyhow!(
                    "{}: the chat template refuses a system message: {}\nhint: say it in the first user message, or take another template: \
                     --template alpaca has a place for one",
                    self.name,
                    // Its own hint would be in the middle of the message.
                    error.root_cause().to_string().lines().next().unwrap_or_default()
                ),
                false => error.context(self.name.clone()),
            }
        })
    }

    fn refuse_ignored_system(&self, messages: &[ChatMessage]) -> Result<()> {
        match messages.iter().find(|message| says_system(message)) {
            Some(system) if self.ignores_system => Err(self.lost(system)),
            _ => Ok(()),
        }
    }

    /// Fails on system messages that are missing from `text`: many templates look at the first
    /// message only.
    fn refuse_missing_system(
        &self,
        now: NaiveDateTime,
        messages: &[ChatMessage],
        rendering: &Rendering,
        text: &str,
    ) -> Result<()> {
        let is_missing =
            |message: &&ChatMessage| says_system(message) && !text.contains(message.content.trim());
        let Some(lost) = messages.iter().find(is_missing) else {
            return Ok(());
        };
        let others: Vec<ChatMessage> = messages
            .iter()
            .filter(|message| !is_missing(message))
            .cloned()
            .collect();
        // Other words may stand for it; it is lost if the text is the same without it.
        match self.template.render(now, &others, rendering) {
            Ok(without) if without.text == text => Err(self.lost(lost)),
            _ => Ok(()),
        }
    }

    fn lost(&self, system: &ChatMessage) -> anyhow::Error {
        anyhow!(
            "{}: the chat template passes over system messages, so {:?} would be lost\nhint: --template alpaca has a place for one, \
             or a template of your own",
            self.name,
            system.content.chars().take(40).collect::<String>()
        )
    }

    /// Returns the messages without fields that the template does not read: an input follows its
    /// instruction after an empty line.
    fn known_fields(&self, messages: &[ChatMessage]) -> Vec<ChatMessage> {
        let known = |message: &ChatMessage| match message.input() {
            Some(input) if !self.takes_input => {
                let mut known = message.clone();
                known.content = format!("{}\n\n{input}", message.content);
                known.more.remove("input");
                known
            }
            _ => message.clone(),
        };
        messages.iter().map(known).collect()
    }

    /// Cuts the text of an end token off an answer, which would otherwise end twice.
    fn cut_end_tokens(&self, messages: &mut [ChatMessage], tokenizer: &Tokenizer) {
        let ends = self.closing.end.into_iter().chain(tokenizer.end_token());
        let ends: Vec<String> = ends.filter_map(|id| tokenizer.token(id)).collect();
        for message in messages.iter_mut().filter(|message| message.role == "assistant") {
            for end in &ends {
                if let Some(answer) = message.content.trim_end().strip_suffix(end.as_str()) {
                    message.content = answer.to_owned();
                }
            }
        }
    }
}

/// Returns whether a message is a system message with a text.
fn says_system(message: &ChatMessage) -> bool {
    message.role == "system" && !message.content.trim().is_empty()
}

#[cfg(test)]
mod tests;

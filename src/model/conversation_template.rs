//! In which form a model is asked: a chat template, and what ends an answer in it. Training lays rows out by it and saves it; whoever
//! asks takes the one that was saved, or another that is named.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use chrono::{Local, NaiveDateTime};
use ewe::prompt::template::{Template, TemplateChoice};
use ewe::settings_file;

use super::block_template::{self, literal};
use super::chat_template::{ChatTemplate, Message, Rendered, Rendering};
use super::tokenizer::{Marked, Tokenizer};

/// A chat template for one tokenizer.
pub struct ConversationTemplate {
    template: ChatTemplate,
    /// `alpaca`, or where it was read.
    name: String,
    /// Whether it knows a user message's `input`.
    takes_input: bool,
    /// Whether its text is the same without a system message.
    passes_over_systems: bool,
    closing: Closing,
    /// Stop strings that go with it.
    stop: Vec<String>,
    stands_in: bool,
}

/// What a template writes behind an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Closing {
    /// Up to the token that ends the turn, or all of it.
    text: String,
    /// That token: the first special one.
    end: Option<i64>,
}

/// A conversation in tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The ids.
    pub ids: Vec<i64>,
    /// Those that the model is to say, in order; one stretch an answer.
    pub learnt: Vec<Range<usize>>,
    /// Whether the first answer begins within a token, so that a prompt without an answer is other tokens.
    pub parts_a_token: bool,
}

/// An answer that no template writes.
const ANSWER: &str = "ewe's answer";
const INPUT: &str = "ewe's input";
const SYSTEM: &str = "ewe's system message";

/// Asked where a model came without a template: what `ewe train` lays rows out by unless told.
const FALLBACK: Template = Template::Alpaca;

impl ConversationTemplate {
    /// The form that `choice` names, or the one that came with the model; None if that came with none.
    ///
    /// Fails on a file that is unusable, and where a model's own is asked for that has none.
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
                ConversationTemplate::known(*template, tokenizer).map(Some)
            }
            Some(TemplateChoice::File(path)) => ConversationTemplate::of_file(path, tokenizer).map(Some),
        }
    }

    /// The same to ask a model: Alpaca's for one that came without.
    pub fn to_ask(choice: Option<&TemplateChoice>, tokenizer: &Tokenizer) -> Result<ConversationTemplate> {
        if let Some(form) = ConversationTemplate::choose(choice, tokenizer)? {
            return Ok(form);
        }
        let mut form = ConversationTemplate::known(FALLBACK, tokenizer)?;
        form.stands_in = true;
        form.name = format!("{FALLBACK}, since the model came without a chat template");
        // A base model that has not learnt to end its answer goes on with the next instruction.
        form.stop.push("### Instruction:".to_owned());
        Ok(form)
    }

    /// The one that came with the model. Fails if it came with none.
    pub fn of_model(tokenizer: &Tokenizer) -> Result<ConversationTemplate> {
        let file = tokenizer.chat_template().context(
            "the model has no chat template\nhint: --template alpaca, or put chat_template.jinja beside its tokenizer",
        )?;
        let mut form = ConversationTemplate::of(&file.source, file.path.display().to_string(), tokenizer)?;
        form.stop.extend(tokenizer.stop_strings().iter().cloned());
        Ok(form)
    }

    /// One of ewe's. Fails for [`Template::Chat`], which is the model's.
    pub fn known(template: Template, tokenizer: &Tokenizer) -> Result<ConversationTemplate> {
        let space = match template {
            // It begins as the messages do, and a text that begins with a space gets no other in front.
            Template::Completion => "('' if messages[0]['content'].startswith(' ') else ' ')",
            _ => "' '",
        };
        let source = template
            .source(&begin(tokenizer, space)?, &end(tokenizer))
            .context("the template is the model's own")?;
        ConversationTemplate::of(&source, template.to_string(), tokenizer)
    }

    /// One in a file of the user's: a chat template, or one in blocks.
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

    fn of(source: &str, name: String, tokenizer: &Tokenizer) -> Result<ConversationTemplate> {
        let template = ChatTemplate::new(source, tokenizer.special_texts()).with_context(|| name.clone())?;
        let mut form = ConversationTemplate {
            template,
            name,
            takes_input: false,
            passes_over_systems: false,
            closing: Closing::default(),
            stop: Vec::new(),
            stands_in: false,
        };
        let now = Local::now().naive_local();
        let asked = Message::new("user", "q").about(Some(INPUT));
        let opened = form
            .template
            .render(now, std::slice::from_ref(&asked), &Rendering::default());
        form.takes_input = opened.is_ok_and(|opened| opened.text.contains(INPUT));
        let answered = [Message::new("user", "q"), Message::new("assistant", ANSWER)];
        // A template that refuses even this says why when it is used.
        if let Ok(whole) = form.template.render(now, &answered, &Rendering::closed()) {
            form.closing = Closing::of(&whole, tokenizer)?;
            let below = [&[Message::new("system", SYSTEM)], &answered[..]].concat();
            let below = form.template.render(now, &below, &Rendering::closed());
            form.passes_over_systems = below.is_ok_and(|below| below.text == whole.text);
        }
        // Words that end an answer, as Dolly's do; less than three letters may be anything.
        if form.closing.text.trim().len() >= 3 {
            form.stop.push(form.closing.text.trim_end().to_owned());
            form.stop.push(form.closing.text.trim().to_owned());
            form.stop.dedup();
        }
        Ok(form)
    }

    /// `alpaca`, or where it was read.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The chat template.
    pub fn source(&self) -> &str {
        self.template.source()
    }

    /// The token that ends a turn, if the template writes one.
    pub fn end_token(&self) -> Option<i64> {
        self.closing.end
    }

    /// What ends an answer besides tokens.
    pub fn stop(&self) -> &[String] {
        &self.stop
    }

    /// The same as others are told of it, who cut an answer's last line breaks off themselves.
    pub fn saved_stop(&self) -> Vec<String> {
        let words = Some(self.closing.text.trim()).filter(|text| text.len() >= 3);
        words.into_iter().map(str::to_owned).collect()
    }

    /// Whether it is asked in because the model came without a template.
    pub fn stands_in(&self) -> bool {
        self.stands_in
    }

    /// The names of what the template reads.
    pub fn variables(&self) -> HashSet<String> {
        self.template.variables()
    }

    /// Token ids of a prompt for the answer to `messages`; none where there are more than `most`. Fails if the template refuses them,
    /// passes over a system message, or makes nothing of them.
    pub fn prompt(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        rendering: &Rendering,
        most: usize,
    ) -> Result<Option<Vec<i64>>> {
        self.refuse_a_lost_system(messages)?;
        let messages = self.known_fields(messages);
        let now = Local::now().naive_local();
        let rendered = self.render(now, &messages, rendering)?;
        self.refuse_a_system_lost_among_others(now, &messages, rendering, &rendered.text)?;
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

    /// Token ids of a prompt for the answer to a row's messages. Fails as [`ConversationTemplate::prompt`] does.
    pub fn question(&self, tokenizer: &Tokenizer, messages: &[Message]) -> Result<Vec<i64>> {
        let ids = self.prompt(tokenizer, messages, &Rendering::default(), usize::MAX)?;
        Ok(ids.unwrap_or_default())
    }

    /// A conversation as it is learnt: token ids of the whole, of which the model is to say what the template marks as generated, or
    /// else each answer: what the template over it adds to the template over what comes before, with the answer's opening.
    ///
    /// The end-of-text token is added behind a template that does not end a turn with a token itself.
    ///
    /// Fails if the template refuses the messages or passes over a system message; and if it marks nothing and its text of an
    /// answered question does not begin with its text of the question, for then no part is the answer's.
    pub fn exchange(&self, tokenizer: &Tokenizer, messages: &[Message]) -> Result<Exchange> {
        self.refuse_a_lost_system(messages)?;
        let now = Local::now().naive_local();
        let mut messages = self.known_fields(messages);
        self.leave_ends_to_the_template(&mut messages, tokenizer);
        let whole = self.render(now, &messages, &Rendering::closed())?;
        let answers = if self.template.is_marked() {
            if whole.generated.is_empty() {
                bail!("{}: {{% generation %}} marks nothing of the answer", self.name);
            }
            whole.generated
        } else {
            self.answers(now, &messages, &whole.text)?
        };
        let Marked {
            mut ids,
            marked: mut learnt,
            parts_a_token,
        } = tokenizer.encode_marked(&whole.text, false, &answers)?;
        if self.closing.end.is_none() {
            let end = tokenizer.required_end_token()?;
            let at = ids.len();
            ids.push(end);
            match learnt.last_mut() {
                Some(last) if last.end == at => last.end += 1,
                _ => learnt.push(at..at + 1),
            }
        }
        Ok(Exchange {
            ids,
            learnt,
            parts_a_token,
        })
    }

    /// Whether the model does not learn to end its turn, since the marks leave that out.
    pub fn leaves_the_end_out(&self, exchange: &Exchange) -> bool {
        let Some(end) = self.closing.end else {
            return false;
        };
        let mut learnt = exchange.learnt.iter().cloned().flatten();
        !learnt.any(|at| exchange.ids[at] == end)
    }

    /// Where each answer stands in `whole`, by prefixes.
    fn answers(&self, now: NaiveDateTime, messages: &[Message], whole: &str) -> Result<Vec<Range<usize>>> {
        let mut answers = Vec::new();
        for (at, message) in messages.iter().enumerate() {
            if message.role != "assistant" {
                continue;
            }
            let opened = self.render(now, &messages[..at], &Rendering::default())?.text;
            let end = match at + 1 == messages.len() {
                true => whole.len(),
                false => {
                    let closed = self.render(now, &messages[..=at], &Rendering::closed())?;
                    self.beginning(&closed.text, whole)?
                }
            };
            let start = self.beginning(&opened, whole)?;
            if start > end {
                bail!("{}: the text of an answer is empty", self.name);
            }
            answers.push(start..end);
        }
        Ok(answers)
    }

    /// The length of `part`, with which `whole` begins.
    fn beginning(&self, part: &str, whole: &str) -> Result<usize> {
        if whole.starts_with(part) {
            return Ok(part.len());
        }
        let pairs = part.char_indices().zip(whole.chars());
        let at = pairs
            .take_while(|((_, a), b)| a == b)
            .map(|((at, a), _)| at + a.len_utf8());
        let at = at.last().unwrap_or(0);
        let after = |text: &str| text[at..].chars().take(30).collect::<String>();
        bail!(
            "{}: the template writes a question differently once it is answered, {:?} in place of {:?}, so no part is the answer's\n\
             hint: put {{% generation %}}…{{% endgeneration %}} around the answer in a copy of it, for --template; or --template alpaca",
            self.name,
            after(whole),
            after(part)
        )
    }

    fn render(&self, now: NaiveDateTime, messages: &[Message], rendering: &Rendering) -> Result<Rendered> {
        self.template.render(now, messages, rendering).map_err(|error| {
            let without: Vec<Message> = messages
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
                    // Its own hint would stand in the middle.
                    error.root_cause().to_string().lines().next().unwrap_or_default()
                ),
                false => error.context(self.name.clone()),
            }
        })
    }

    fn refuse_a_lost_system(&self, messages: &[Message]) -> Result<()> {
        match messages.iter().find(|message| says_system(message)) {
            Some(system) if self.passes_over_systems => Err(self.lost(system)),
            _ => Ok(()),
        }
    }

    /// Fails on system messages of which `text` has nothing: many templates look at the first message only.
    fn refuse_a_system_lost_among_others(
        &self,
        now: NaiveDateTime,
        messages: &[Message],
        rendering: &Rendering,
        text: &str,
    ) -> Result<()> {
        let is_missing = |message: &&Message| says_system(message) && !text.contains(message.content.trim());
        let Some(lost) = messages.iter().find(is_missing) else {
            return Ok(());
        };
        let others: Vec<Message> = messages
            .iter()
            .filter(|message| !is_missing(message))
            .cloned()
            .collect();
        // Other words may stand for it; it is lost where the text is the same without it.
        match self.template.render(now, &others, rendering) {
            Ok(without) if without.text == text => Err(self.lost(lost)),
            _ => Ok(()),
        }
    }

    fn lost(&self, system: &Message) -> anyhow::Error {
        anyhow!(
            "{}: the chat template passes over system messages, so {:?} would be lost\nhint: --template alpaca has a place for one, \
             or a template of your own",
            self.name,
            system.content.chars().take(40).collect::<String>()
        )
    }

    /// Messages without fields that the template does not know: an input stands behind its instruction, after an empty line.
    fn known_fields(&self, messages: &[Message]) -> Vec<Message> {
        let known = |message: &Message| match message.input() {
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

    /// An answer that already ends with the text of the token that ends it would end twice.
    fn leave_ends_to_the_template(&self, messages: &mut [Message], tokenizer: &Tokenizer) {
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

impl Closing {
    fn of(whole: &Rendered, tokenizer: &Tokenizer) -> Result<Closing> {
        let Some(at) = whole.text.rfind(ANSWER) else {
            return Ok(Closing::default());
        };
        let from = at + ANSWER.len();
        let mut closing = Closing {
            text: whole.text[from..].to_owned(),
            end: None,
        };
        let all = tokenizer.encode_marked(&whole.text, false, &[from..whole.text.len()])?;
        let ends = |id: &i64| tokenizer.is_special(*id) || tokenizer.end_tokens().contains(id);
        closing.end = all.ids[all.marked[0].clone()].iter().copied().find(ends);
        let text = closing.end.and_then(|end| tokenizer.token(end));
        if let Some(at) = text.and_then(|text| closing.text.find(&text)) {
            closing.text.truncate(at);
        }
        Ok(closing)
    }
}

/// Whether a message is a system message with something in it.
fn says_system(message: &Message) -> bool {
    message.role == "system" && !message.content.trim().is_empty()
}

/// What stands in front of a text, as an expression of Jinja; `space` is the expression for a space
/// at its end, which the tokenizer puts in front of a text. Fails where the tokenizer puts a token
/// there that cannot be written.
fn begin(tokenizer: &Tokenizer, space: &str) -> Result<String> {
    let text = tokenizer.begin_text().context(
        "the tokenizer puts a token in front of every text that a chat template cannot write\nhint: --template chat, with a template of \
         the model's own",
    )?;
    let (special, space) = match text.strip_suffix(' ') {
        Some(special) => (special, Some(space)),
        None => (text.as_str(), None),
    };
    let bos = tokenizer
        .special_texts()
        .get("bos_token")
        .filter(|bos| !bos.is_empty());
    let special = match bos.and_then(|bos| special.strip_prefix(bos.as_str())) {
        Some("") => "bos_token".to_owned(),
        Some(rest) => format!("bos_token + {}", literal(rest)),
        None => literal(special),
    };
    Ok(match space {
        Some(space) => format!("{special} + {space}"),
        None => special,
    })
}

/// What ends an answer, as an expression of Jinja: nothing where no text stands for the token, which is then added as it is.
fn end(tokenizer: &Tokenizer) -> String {
    let text = tokenizer.end_token().and_then(|end| tokenizer.end_text(end));
    match (text, tokenizer.special_texts().get("eos_token")) {
        (Some(text), Some(eos)) if &text == eos => "eos_token".to_owned(),
        (text, _) => literal(&text.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;

//! In which form rows are laid out, and in which the model that was trained on them is to be asked.

use crate::model::conversation_template::ConversationTemplate;
use crate::model::tokenizer::Tokenizer;
use crate::train::out::saved_template::SavedTemplate;
use anyhow::Result;
use ewe::cli::models::train::Args;
use ewe::prompt::template::{Template, TemplateChoice};

/// The form of a run's rows.
pub struct RowTemplate {
    /// How settings call it.
    pub template: Template,
    /// What a person should know of the choice.
    pub remarks: Vec<String>,
    /// Rows are prompt and completion as they are, without a template.
    plain: bool,
    /// Whether the template is the user's own.
    own: bool,
    /// How the model is asked; None where no template can say it.
    chat: Option<ConversationTemplate>,
}

impl RowTemplate {
    /// As told, or as suits the rows: what is trained further was trained on its own template.
    ///
    /// `tokenizer` knows what the model, or the adapter that is gone on with, came with.
    pub fn choose(args: &Args, rows_are_completions: bool, tokenizer: &Tokenizer) -> Result<RowTemplate> {
        let own = tokenizer.chat_template();
        let goes_on = args.adapter.as_deref().and_then(|dir| {
            own.filter(|own| own.path.starts_with(dir))
                .map(|_| TemplateChoice::Known(Template::Chat))
        });
        let told = args.template_choice();
        let choice = match &told {
            Some(choice) => choice.clone(),
            None if rows_are_completions => TemplateChoice::Known(Template::Completion),
            None => goes_on.unwrap_or(TemplateChoice::Known(Template::Alpaca)),
        };
        let TemplateChoice::Known(template) = choice else {
            return Ok(RowTemplate {
                template: Template::Chat,
                remarks: Vec::new(),
                plain: false,
                own: true,
                chat: ConversationTemplate::choose(Some(&choice), tokenizer)?,
            });
        };
        let mut form = RowTemplate {
            template,
            remarks: Vec::new(),
            plain: template == Template::Completion,
            own: false,
            chat: None,
        };
        form.chat = match own {
            // Finished prompts are most likely written in the form that the model knows.
            Some(own) if form.plain && rows_are_completions => {
                form.remarks.push(format!(
                    "rows of finished prompts: the chat template of {} stays",
                    own.path.display()
                ));
                Some(ConversationTemplate::of_model(tokenizer)?)
            }
            _ => match ConversationTemplate::choose(Some(&TemplateChoice::Known(template)), tokenizer) {
                Err(error) if form.plain => {
                    form.remarks
                        .push(format!("warning: no chat template is saved: {error:#}"));
                    None
                }
                chat => chat?,
            },
        };
        if told.is_none()
            && template == Template::Alpaca
            && let Some(own) = own
        {
            form.remarks.push(format!(
                "rows are laid out as alpaca, which takes the place of the chat template in {}; --template chat lays them out by that",
                own.path.display()
            ));
        }
        if let Some(chat) = &form.chat
            && told.is_none()
            && template == Template::Chat
        {
            form.remarks.push(format!("rows are laid out by {}", chat.name()));
        }
        Ok(form)
    }

    /// By what rows are laid out; none for prompt and completion as they are.
    pub fn rows(&self) -> Option<&ConversationTemplate> {
        self.chat.as_ref().filter(|_| !self.plain)
    }

    /// The text of the user's own template, and what is saved.
    pub fn finish(self, tokenizer: &Tokenizer) -> Result<(Option<String>, SavedTemplate)> {
        let own = self.chat.as_ref().filter(|_| self.own);
        let text = own.map(|chat| chat.source().to_owned());
        let chat = self.chat.as_ref();
        let end = match chat.and_then(ConversationTemplate::end_token) {
            Some(end) => end,
            None => tokenizer.required_end_token()?,
        };
        let saved = SavedTemplate {
            template: chat.map(|chat| chat.source().to_owned()),
            special: tokenizer.special_texts().clone(),
            ends: vec![end],
            stop: chat.map(ConversationTemplate::saved_stop).unwrap_or_default(),
        };
        Ok((text, saved))
    }
}

//! In which form rows are laid out, and in which the model that was trained on them is to be asked.

use super::saved_form::SavedForm;
use crate::model::chat_form::ChatForm;
use crate::model::tokenizer::Tokenizer;
use anyhow::Result;
use ewe::cli::train::Args;
use ewe::prompt::template::{Template, TemplateChoice};

/// The form of a run's rows.
pub struct RowForm {
    /// How settings call it.
    pub template: Template,
    /// What a person should know of the choice.
    pub remarks: Vec<String>,
    /// Rows are prompt and completion as they are, without a template.
    plain: bool,
    /// Whether the template is the user's own.
    own: bool,
    /// How the model is asked; None where no template can say it.
    chat: Option<ChatForm>,
}

impl RowForm {
    /// As told, or as suits the rows: what is trained further was trained on its own template.
    ///
    /// `tokenizer` knows what the model, or the adapter that is gone on with, came with.
    pub fn choose(args: &Args, rows_are_completions: bool, tokenizer: &Tokenizer) -> Result<RowForm> {
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
            return Ok(RowForm {
                template: Template::Chat,
                remarks: Vec::new(),
                plain: false,
                own: true,
                chat: ChatForm::choose(Some(&choice), tokenizer)?,
            });
        };
        let mut form = RowForm {
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
                Some(ChatForm::of_model(tokenizer)?)
            }
            _ => match ChatForm::choose(Some(&TemplateChoice::Known(template)), tokenizer) {
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
    pub fn rows(&self) -> Option<&ChatForm> {
        self.chat.as_ref().filter(|_| !self.plain)
    }

    /// The text of the user's own template, and what is saved.
    pub fn finish(self, tokenizer: &Tokenizer) -> Result<(Option<String>, SavedForm)> {
        let own = self.chat.as_ref().filter(|_| self.own);
        let text = own.map(|chat| chat.source().to_owned());
        let chat = self.chat.as_ref();
        let end = match chat.and_then(ChatForm::end_token) {
            Some(end) => end,
            None => tokenizer.required_end_token()?,
        };
        let saved = SavedForm {
            template: chat.map(|chat| chat.source().to_owned()),
            special: tokenizer.special_texts().clone(),
            ends: vec![end],
            stop: chat.map(ChatForm::saved_stop).unwrap_or_default(),
        };
        Ok((text, saved))
    }
}

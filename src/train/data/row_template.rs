//! The template of one training run: how its rows are laid out, and how the trained model is
//! prompted later.

use crate::model::text::conversation_template::ConversationTemplate;
use crate::model::text::tokenizer::Tokenizer;
use crate::train::out::saved_template::SavedTemplate;
use anyhow::Result;
use ewe::job::train::TrainJob;
use ewe::prompt::template::{Template, TemplateChoice};

/// How the rows of a run are laid out.
pub struct RowTemplate {
    /// Name in the settings.
    pub template: Template,
    /// Remarks for the user.
    pub remarks: Vec<String>,
    /// Whether rows are prompt and completion as they are, without a template.
    plain: bool,
    /// Whether the template is the user's own file.
    own: bool,
    /// Template that the trained model is prompted with; none if no template can express it.
    chat: Option<ConversationTemplate>,
}

impl RowTemplate {
    /// Chooses the template: as given, or what suits the rows. An adapter that is trained further
    /// keeps its own template.
    ///
    /// `tokenizer` has the chat template of the model, or of the adapter that the run continues.
    pub fn choose(job: &TrainJob, rows_are_completions: bool, tokenizer: &Tokenizer) -> Result<RowTemplate> {
        let own = tokenizer.chat_template();
        let adapters_own = job.adapter.as_deref().and_then(|dir| {
            own.filter(|own| own.path.starts_with(dir))
                .map(|_| TemplateChoice::Known(Template::Chat))
        });
        let choice = match &job.template {
            Some(choice) => choice.clone(),
            None if rows_are_completions => TemplateChoice::Known(Template::Completion),
            None => adapters_own.unwrap_or(TemplateChoice::Known(Template::Alpaca)),
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
        let mut chosen = RowTemplate {
            template,
            remarks: Vec::new(),
            plain: template == Template::Completion,
            own: false,
            chat: None,
        };
        chosen.chat = match own {
            // Finished prompts are most likely written in the form that the model knows.
            Some(own) if chosen.plain && rows_are_completions => {
                chosen.remarks.push(format!(
                    "rows of finished prompts: the chat template of {} stays",
                    own.path.display()
                ));
                Some(ConversationTemplate::of_model(tokenizer)?)
            }
            _ => match ConversationTemplate::choose(Some(&TemplateChoice::Known(template)), tokenizer) {
                Err(error) if chosen.plain => {
                    chosen
                        .remarks
                        .push(format!("warning: no chat template is saved: {error:#}"));
                    None
                }
                chat => chat?,
            },
        };
        if job.template.is_none()
            && template == Template::Alpaca
            && let Some(own) = own
        {
            chosen.remarks.push(format!(
                "rows are laid out as alpaca, which replaces the chat template in {}; --template chat uses that one",
                own.path.display()
            ));
        }
        if let Some(chat) = &chosen.chat
            && job.template.is_none()
            && template == Template::Chat
        {
            chosen
                .remarks
                .push(format!("rows are laid out by {}", chat.name()));
        }
        Ok(chosen)
    }

    /// Returns the template that lays out rows; none for prompt and completion as they are.
    pub fn rows(&self) -> Option<&ConversationTemplate> {
        self.chat.as_ref().filter(|_| !self.plain)
    }

    /// Returns the text of the user's own template, and the files to save with the result.
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

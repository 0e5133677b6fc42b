//! What was said in a chat.

use serde_json::{Value, json};

use crate::model::text::chat_template::ChatMessage;

/// The messages of a chat: questions and answers in turn, and the system message before them.
#[derive(Debug, Default)]
pub struct Conversation {
    system: Option<String>,
    messages: Vec<ChatMessage>,
    /// Whether the model is shown what was said before its last message.
    remembers: bool,
}

impl Conversation {
    /// Begins a chat of which the model is shown all messages, or the last one only.
    pub fn new(remembers: bool) -> Conversation {
        Conversation {
            remembers,
            ..Conversation::default()
        }
    }

    /// Returns the system message.
    pub fn system(&self) -> Option<&str> {
        self.system.as_deref()
    }

    /// Sets the system message.
    pub fn instruct(&mut self, system: String) {
        self.system = Some(system);
    }

    /// Adds a question.
    pub fn ask(&mut self, question: String) {
        self.messages.push(ChatMessage::new("user", &question));
    }

    /// Adds the answer to the last question.
    pub fn answered(&mut self, answer: String) {
        self.messages.push(ChatMessage::new("assistant", &answer));
    }

    /// Takes back a question that could not be answered.
    pub fn take_back_question(&mut self) {
        if self.messages.last().is_some_and(|message| message.role == "user") {
            self.messages.pop();
        }
    }

    /// Takes back the last answer, whose question is the last message then; none if there is none.
    pub fn take_back_answer(&mut self) -> Option<ChatMessage> {
        self.messages.pop_if(|message| message.role == "assistant")
    }

    /// Puts back an answer that [`Conversation::take_back_answer`] returned.
    pub fn put_back_answer(&mut self, answer: ChatMessage) {
        self.messages.push(answer);
    }

    /// Forgets all questions and answers.
    pub fn reset(&mut self) {
        self.messages.clear();
    }

    /// Returns what the model is shown.
    pub fn shown(&self) -> Vec<ChatMessage> {
        let from = match self.remembers {
            true => 0,
            false => self.messages.len().saturating_sub(1),
        };
        self.with_system(&self.messages[from..])
    }

    fn with_system(&self, messages: &[ChatMessage]) -> Vec<ChatMessage> {
        let system = self.system.iter().map(|text| ChatMessage::new("system", text));
        system.chain(messages.iter().cloned()).collect()
    }

    /// Returns the chat as rows of messages: one, or one for each question that was asked alone.
    pub fn rows(&self) -> Vec<Value> {
        let row = |messages: &[ChatMessage]| json!({ "messages": self.with_system(messages) });
        match self.remembers {
            _ if self.messages.is_empty() => Vec::new(),
            true => vec![row(&self.messages)],
            false => self.messages.chunks(2).map(row).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(messages: &[ChatMessage]) -> Vec<&str> {
        messages.iter().map(|message| message.content.as_str()).collect()
    }

    fn two_questions(remembers: bool) -> Conversation {
        let mut chat = Conversation::new(remembers);
        for (question, answer) in [("a?", "a."), ("b?", "b.")] {
            chat.ask(question.to_owned());
            chat.answered(answer.to_owned());
        }
        chat
    }

    #[test]
    fn a_model_with_memory_is_shown_everything() {
        let mut chat = two_questions(true);
        chat.instruct("s".to_owned());
        chat.ask("c?".to_owned());
        assert_eq!(contents(&chat.shown()), ["s", "a?", "a.", "b?", "b.", "c?"]);
        chat.take_back_question();
        assert_eq!(chat.rows().len(), 1);
        assert_eq!(
            chat.rows()[0]["messages"][0],
            json!({ "role": "system", "content": "s" })
        );
        let answer = chat.take_back_answer().unwrap();
        assert!(chat.take_back_answer().is_none());
        chat.put_back_answer(answer);
        assert_eq!(contents(&chat.shown()), ["s", "a?", "a.", "b?", "b."]);
        assert!(chat.take_back_answer().is_some() && chat.take_back_answer().is_none());
        assert_eq!(contents(&chat.shown()), ["s", "a?", "a.", "b?"]);
        chat.reset();
        assert_eq!(contents(&chat.shown()), ["s"]);
        assert!(chat.rows().is_empty());
    }

    #[test]
    fn a_model_without_memory_is_shown_the_last_question() {
        let mut chat = two_questions(false);
        assert!(chat.take_back_answer().is_some());
        assert_eq!(contents(&chat.shown()), ["b?"]);
        chat.answered("B.".to_owned());
        let rows = chat.rows();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[1]["messages"][1]["content"], "B.");
    }
}

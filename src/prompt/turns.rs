//! The prompts that continue a conversation by a message of the user, then by the answer to it.
//! Each in two forms: examples to continue, for base models; a request with JSON for chat models.
//!
//! Instructions of the dataset show how its users write. A move says what the message is to do, so
//! that conversations do not all go on in the same way.

mod examples;

use serde_json::json;

/// Starts a message of the user.
pub const USER: &str = "User:";
/// Starts an answer.
pub const ASSISTANT: &str = "Assistant:";
/// Stands between examples.
const SEPARATOR: &str = "\n###\n\n";

/// What the next message of the user does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// Asks about something in the answer.
    Ask,
    /// Wants the answer in another form.
    Change,
    /// Goes one step further.
    GoOn,
    /// Says more of the situation.
    Tell,
    /// Doubts a point.
    Doubt,
    /// Asks for something else.
    Turn,
}

impl Move {
    /// All moves. The last one, which leaves the subject, is as likely as each other one.
    pub const ALL: [Move; 6] = [
        Move::Ask,
        Move::Change,
        Move::GoOn,
        Move::Tell,
        Move::Doubt,
        Move::Turn,
    ];

    /// What the message does, behind "in which the user".
    fn what(self) -> &'static str {
        match self {
            Move::Ask => "asks about something in the answer that is not clear yet",
            Move::Change => {
                "wants the answer changed: shorter, plainer, in another form, or for another reader"
            }
            Move::GoOn => "asks for the next step, now that this one is done",
            Move::Tell => "adds a circumstance, and asks what it changes",
            Move::Doubt => "doubts a point of the answer, or asks for the reason behind it",
            Move::Turn => "asks for something else that the same person may need",
        }
    }
}

/// A conversation up to an answer, or up to a message of the user.
#[derive(Debug, Clone, Default)]
pub struct Talk {
    /// The system message; empty for none.
    pub system: String,
    /// The messages of the user and the answers in turn; the user begins.
    pub messages: Vec<String>,
}

impl Talk {
    /// The messages with their speakers, and the label of the next one.
    fn transcript(&self) -> String {
        let mut text = String::new();
        if !self.system.trim().is_empty() {
            text.push_str(&format!("System: {}\n", self.system.trim()));
        }
        for (place, message) in self.messages.iter().enumerate() {
            text.push_str(&format!("{} {}\n", speaker(place), message.trim()));
        }
        text.push_str(speaker(self.messages.len()));
        text
    }

    /// The messages as a JSON list, like those of chat models.
    fn json(&self) -> String {
        let system = Some(self.system.trim()).filter(|system| !system.is_empty());
        let system = system.map(|system| json!({"role": "system", "content": system}));
        let messages = self.messages.iter().enumerate().map(|(place, message)| {
            let role = if place % 2 == 0 { "user" } else { "assistant" };
            json!({"role": role, "content": message})
        });
        let lines: Vec<String> = system
            .into_iter()
            .chain(messages)
            .map(|message| message.to_string())
            .collect();
        lines.join("\n")
    }
}

fn speaker(place: usize) -> &'static str {
    match place % 2 {
        0 => USER,
        _ => ASSISTANT,
    }
}

/// The messages of the conversations that prompts show. A model may copy one.
pub fn examples() -> impl Iterator<Item = &'static str> {
    examples::FOLLOW_UPS
        .iter()
        .flat_map(|(_, conversation)| conversation.iter().copied())
}

/// A text to continue by the next message of the user.
pub fn follow_up(talk: &Talk, manner: &[&str], next: Move) -> String {
    let mut prompt = String::from(
        "Conversations between users and an assistant that reads and writes text. A user asks, and asks again once there \
         is an answer. A user never answers, and never only gives thanks.\n\n",
    );
    prompt.push_str(&manners(manner));
    let (like, others): (Vec<&_>, Vec<&_>) = examples::FOLLOW_UPS.iter().partition(|(what, _)| *what == next);
    // What the message is to do is shown last.
    for &(what, conversation) in others.into_iter().chain(like) {
        prompt.push_str(&heading(what));
        prompt.push_str(&shown(conversation));
        prompt.push_str(SEPARATOR);
    }
    prompt.push_str(&heading(next));
    prompt.push_str(&talk.transcript());
    prompt
}

/// The line above a conversation.
fn heading(next: Move) -> String {
    format!(
        "A conversation whose last message is one in which the user {}:\n",
        next.what()
    )
}

/// The lines that show how users write.
fn manners(manner: &[&str]) -> String {
    if manner.is_empty() {
        return String::new();
    }
    let mut text = String::from("Users write like this:\n");
    for instruction in manner {
        let line: Vec<&str> = instruction.split_whitespace().collect();
        text.push_str(&format!("- {}\n", line.join(" ")));
    }
    text.push('\n');
    text
}

/// A text to continue by the answer to the last message.
pub fn reply(talk: &Talk) -> String {
    let mut prompt = String::from(
        "Conversations between users and an assistant that reads and writes text. An answer is correct, does what the last \
         message asks for, and takes what was said before into account.\n\n",
    );
    for (_, conversation) in examples::FOLLOW_UPS {
        prompt.push_str(&shown(conversation));
        prompt.push_str(SEPARATOR);
    }
    prompt.push_str(&talk.transcript());
    prompt
}

/// An example with its speakers.
fn shown(conversation: &[&str]) -> String {
    let lines = conversation.iter().enumerate();
    lines
        .map(|(place, message)| format!("{} {message}\n", speaker(place)))
        .collect()
}

/// A request for the next message of the user, as JSON.
pub fn structured_follow_up(talk: &Talk, manner: &[&str], next: Move) -> String {
    format!(
        "Below is a conversation between a user and an assistant. Write the user's next message, one in which the user {}. \
         It is what a person would type: mostly a sentence or two, in the language of the conversation. The user does not \
         answer, does not speak as the assistant, and does not only give thanks.\n\n{}The conversation, a message a \
         line:\n{}\n\nThe user's next message, as one JSON object of the form {{\"message\": \"…\"}}:\n",
        next.what(),
        manners(manner),
        talk.json()
    )
}

/// A request for the answer to the last message, as JSON.
pub fn structured_reply(talk: &Talk) -> String {
    format!(
        "Below is a conversation between a user and an assistant. Write the assistant's next message: a correct answer to \
         the last message of the user, which takes what was said before into account, in the language of the \
         conversation.\n\nThe conversation, a message a line:\n{}\n\nThe assistant's next message, as one JSON object of the \
         form {{\"message\": \"…\"}}:\n",
        talk.json()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(messages: &[&str]) -> Talk {
        Talk {
            system: String::new(),
            messages: messages.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    #[test]
    fn the_next_speaker_is_to_be_continued() {
        let manner = ["Name a\nlake.", "Sort this."];
        let prompt = follow_up(&talk(&["Name a river.", "Loire"]), &manner, Move::Doubt);
        assert!(
            prompt.ends_with("\nUser: Name a river.\nAssistant: Loire\nUser:"),
            "{prompt}"
        );
        assert!(prompt.contains("Users write like this:\n- Name a lake.\n- Sort this.\n\n"));
        let prompt = reply(&talk(&["Name a river.", "Loire", "Why?"]));
        assert!(prompt.ends_with("\n###\n\nUser: Name a river.\nAssistant: Loire\nUser: Why?\nAssistant:"));
        let with_system = Talk {
            system: "Be brief.".into(),
            ..talk(&["Name a river.", "Loire"])
        };
        let prompt = follow_up(&with_system, &[], Move::Ask);
        assert!(prompt.contains("\nSystem: Be brief.\nUser: Name a river.\n"));
        let prompt = structured_reply(&with_system);
        assert!(prompt.contains(concat!(
            "{\"role\":\"system\",\"content\":\"Be brief.\"}\n",
            "{\"role\":\"user\",\"content\":\"Name a river.\"}\n"
        )));
        let prompt = structured_follow_up(&talk(&["Name a river.", "Loire"]), &manner, Move::GoOn);
        assert!(prompt.contains("asks for the next step") && prompt.contains("- Sort this.\n"));
    }

    #[test]
    fn each_move_has_an_example_that_ends_with_an_answer() {
        for next in Move::ALL {
            assert!(
                examples::FOLLOW_UPS.iter().any(|(what, _)| *what == next),
                "{next:?}"
            );
        }
        for (_, conversation) in examples::FOLLOW_UPS {
            assert!(conversation.len() >= 4 && conversation.len().is_multiple_of(2));
            for message in *conversation {
                assert!(!message.contains(SEPARATOR.trim()) && message.trim() == *message);
            }
        }
    }
}

//! The later messages of a conversation under an edit: other texts, turns removed and added.

use serde::de::IgnoredAny;
use sqlx::{FromRow, SqliteConnection};

use crate::fold::is_blank;
use crate::store::{Error, Result};
use crate::task::Turn;

/// A new text for a message after the first answer of a conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TurnEdit {
    /// Its place among them: 0, 1, 2 …
    pub place: i64,
    /// The new text.
    pub content: String,
}

/// A question and its answer, to be added to a conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTurn {
    /// What the user says.
    pub question: String,
    /// What the model answers.
    pub answer: String,
    /// The later question that it is put before, by its place before the edit; else it is the last.
    #[serde(default)]
    pub before: Option<i64>,
}

/// What an edit changes among the later messages of an instance.
#[derive(Debug, Clone, Copy)]
pub(super) struct TurnChanges<'e> {
    /// New texts.
    pub(super) texts: &'e [TurnEdit],
    /// Places of later questions, each removed with all that follows it up to the next one.
    pub(super) removed: &'e [i64],
    /// Turns that are added.
    pub(super) added: &'e [NewTurn],
}

/// A message as it is stored, so that an edit leaves the fields that it does not name alone.
struct Message {
    json: String,
    is_question: bool,
}

/// An instance with messages after its first answer, and what is said before them.
#[derive(FromRow)]
pub(in crate::store) struct Conversation {
    /// The instance.
    pub(in crate::store) id: i64,
    instruction: String,
    output: String,
    extra: Option<String>,
    turns: String,
}

/// What is looked at in a later message.
#[derive(serde::Deserialize)]
struct Said {
    role: String,
    content: Option<String>,
    tool_calls: Option<IgnoredAny>,
    function_call: Option<IgnoredAny>,
}

impl Conversation {
    /// Returns how many of its messages, by the user or by the assistant, say nothing and call no
    /// tool: files of rows may not have such ones. What is no list of messages has none.
    pub(in crate::store) fn silent(&self) -> usize {
        let Ok(later) = serde_json::from_str::<Vec<Said>>(&self.turns) else {
            return 0;
        };
        let Some(next) = later.first() else {
            return 0;
        };
        let question = is_blank(&self.instruction);
        // A tool speaks after a call only. Otherwise calls are among the other fields of the row.
        let answer = is_blank(&self.output) && next.role == Turn::USER && !self.may_call_tools();
        let silent = later.iter().filter(|said| said.is_silent()).count();
        usize::from(question) + usize::from(answer) + silent
    }

    /// Whether the first answer may call tools.
    fn may_call_tools(&self) -> bool {
        let extra = self.extra.as_deref().unwrap_or_default();
        ["\"tool_calls\"", "\"function_call\""]
            .iter()
            .any(|name| extra.contains(name))
    }
}

impl Said {
    /// Whether it is a message by the user or by the assistant that says nothing.
    fn is_silent(&self) -> bool {
        let is_spoken = [Turn::USER, Turn::ASSISTANT].contains(&self.role.as_str());
        let calls_tools = self.tool_calls.is_some() || self.function_call.is_some();
        is_spoken && !calls_tools && is_blank(self.content.as_deref().unwrap_or_default())
    }
}

/// Returns how many messages of the conversations of a task say nothing.
pub(super) async fn silent(connection: &mut SqliteConnection, task_id: i64) -> Result<usize> {
    let conversations: Vec<Conversation> = sqlx::query_as(
        "SELECT instance.id, task.instruction, instance.output, instance.extra, instance.turns
        FROM task
        JOIN instance ON instance.task_id = task.id
        WHERE task.id = ? AND instance.turns IS NOT NULL",
    )
    .bind(task_id)
    .fetch_all(connection)
    .await?;
    Ok(conversations.iter().map(Conversation::silent).sum())
}

/// Returns the messages of an instance after an edit, as column `turns` has them: empty if none is
/// left, and `None` if the edit is about none of them. All places are those before the edit.
pub(super) async fn edited(
    connection: &mut SqliteConnection,
    task_id: i64,
    column: Option<&str>,
    changes: TurnChanges<'_>,
) -> Result<Option<String>> {
    if changes.texts.is_empty() && changes.removed.is_empty() && changes.added.is_empty() {
        return Ok(None);
    }
    let mut messages = read(connection, column.unwrap_or("[]")).await?;
    for turn in changes.texts {
        let place = at(task_id, &messages, turn.place)?;
        messages[place].json = with_text(connection, &messages[place].json, &turn.content).await?;
    }
    let mut stays = vec![true; messages.len()];
    for &place in changes.removed {
        let question = question(task_id, &messages, place)?;
        let next = (question + 1..messages.len()).find(|&place| messages[place].is_question);
        stays[question..next.unwrap_or(messages.len())].fill(false);
    }
    let mut added = vec![Vec::new(); messages.len() + 1];
    for turn in changes.added {
        let place = match turn.before {
            Some(place) => question(task_id, &messages, place)?,
            None => messages.len(),
        };
        added[place].extend(messages_of(task_id, turn)?);
    }
    let kept = messages
        .into_iter()
        .zip(stays)
        .map(|(message, stays)| stays.then_some(message.json));
    let list: Vec<String> = added
        .into_iter()
        .zip(kept.chain([None]))
        .flat_map(|(added, message)| added.into_iter().chain(message))
        .collect();
    Ok(Some(match list.is_empty() {
        true => String::new(),
        false => format!("[{}]", list.join(",")),
    }))
}

async fn read(connection: &mut SqliteConnection, column: &str) -> Result<Vec<Message>> {
    let messages = sqlx::query!(
        r#"
        SELECT CAST(value AS TEXT) AS "json!: String", coalesce(value ->> 'role' = 'user', FALSE) AS "is_question!: bool"
        FROM json_each(?)
        ORDER BY key
        "#,
        column
    )
    .fetch_all(connection)
    .await?;
    Ok(messages
        .into_iter()
        .map(|message| Message {
            json: message.json,
            is_question: message.is_question,
        })
        .collect())
}

/// Returns a message with another text. Its other fields stay as they are written.
async fn with_text(connection: &mut SqliteConnection, message: &str, content: &str) -> Result<String> {
    let query = sqlx::query_scalar!(
        r#"SELECT json_set(?1, '$.content', ?2) AS "json!: String""#,
        message,
        content
    );
    Ok(query.fetch_one(connection).await?)
}

/// Returns the index of a message.
fn at(task_id: i64, messages: &[Message], place: i64) -> Result<usize> {
    let index = usize::try_from(place)
        .ok()
        .filter(|&index| index < messages.len());
    index.ok_or(Error::NoTurn { id: task_id, place })
}

/// Returns the index of a message that is a question, where a turn begins.
fn question(task_id: i64, messages: &[Message], place: i64) -> Result<usize> {
    let index = at(task_id, messages, place)?;
    match messages[index].is_question {
        true => Ok(index),
        false => Err(Error::NotAQuestion { id: task_id, place }),
    }
}

/// Returns a turn as the two messages that it becomes.
fn messages_of(task_id: i64, turn: &NewTurn) -> Result<[String; 2]> {
    if is_blank(&turn.question) || is_blank(&turn.answer) {
        return Err(Error::EmptyTurn { id: task_id });
    }
    Ok([(Turn::USER, &turn.question), (Turn::ASSISTANT, &turn.answer)]
        .map(|(role, content)| Turn::new(role, content.as_str()).to_json()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many messages say nothing, after a question with this answer.
    fn silent(output: &str, extra: Option<&str>, turns: &str) -> usize {
        let conversation = Conversation {
            id: 1,
            instruction: "q".into(),
            output: output.into(),
            extra: extra.map(str::to_owned),
            turns: turns.into(),
        };
        conversation.silent()
    }

    #[test]
    fn messages_that_say_nothing_are_counted() {
        let asked = r#"[{"role":"user","content":"r"},{"role":"assistant","content":"b"}]"#;
        assert_eq!(silent("a", None, asked), 0);
        assert_eq!(silent(" ", None, asked), 1);
        assert_eq!(
            silent("", Some(r#"{"messages":[{},{"tool_calls":[1]}]}"#), asked),
            0
        );
        let blank = r#"[{"role":"user","content":" \n"},{"role":"assistant","content":"\u200b"}]"#;
        assert_eq!(silent("a", None, blank), 2);
        let called = r#"[{"role":"tool","content":""},{"role":"assistant","content":null,"tool_calls":[1e400]},
            {"role":"tool","content":"","name":"\ud800"},{"role":"assistant","content":"b"}]"#;
        assert_eq!(silent("", None, called), 0);
        for none in ["[]", "{}", "[1]", r#"[{"content":""}]"#] {
            assert_eq!(silent("", None, none), 0, "{none}");
        }
    }
}

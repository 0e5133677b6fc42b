//! OpenAssistant's trees: a prompt, its replies, their replies. Each path from the prompt to a last
//! answer is a conversation.

use super::{DialectMessage, Exchange, Speaker, calls_tools, exchanged, order::MOST_MESSAGES, speaker};
use crate::interchange::{
    extra::Extra,
    format::PREFIX,
    json::{Fields, Json},
};

/// The most conversations of a tree.
const MOST_PATHS: usize = 4096;

/// A message with its replies, in the order of their ranks.
struct Node {
    message: DialectMessage,
    rank: u64,
    replies: Vec<Node>,
}

/// Reads a tree. Returns its conversations, each up to its last answer: the one of the replies
/// that people ranked best at each step, or all of them, the best first. Deleted messages, and
/// replies to them, are not read. A prompt that nobody answers is one question.
pub(in crate::interchange) fn exchanges(prompt: Json<'_>, all: bool) -> Result<Vec<Exchange>, String> {
    let root = node(prompt, 1)?.ok_or("the prompt of the tree was deleted")?;
    let mut paths = Vec::new();
    walk(&root, &mut Vec::new(), all, &mut paths)?;
    if paths.is_empty() {
        return Ok(vec![Exchange {
            unanswered: Some("nobody answers the prompt of the tree".into()),
            ..exchanged(vec![root.message])?
        }]);
    }
    paths.into_iter().map(exchanged).collect()
}

/// Whether the prompt of a tree was deleted, or nobody answers it.
pub(in crate::interchange) fn is_unanswered(prompt: Json<'_>) -> bool {
    match node(prompt, 1) {
        Ok(None) => true,
        Ok(Some(root)) => !has_answer(&root),
        Err(_) => false,
    }
}

/// Whether the assistant says this message or a reply to it.
fn has_answer(node: &Node) -> bool {
    node.message.speaker == Speaker::Assistant || node.replies.iter().any(has_answer)
}

/// Whether a name of a message is one that an export made up.
pub(in crate::interchange) fn is_our_name(name: Json<'_>) -> bool {
    name.text().is_ok_and(|name| name.starts_with(PREFIX))
}

/// Reads a message and its replies. Returns `None` for a deleted one.
fn node(value: Json<'_>, depth: usize) -> Result<Option<Node>, String> {
    let mut fields = Fields::of(value.get())
        .ok_or_else(|| format!("a message of the tree is {}, not an object", value.kind()))?;
    if depth > MOST_MESSAGES.min(256) {
        return Err("a tree of more than 256 replies to replies".into());
    }
    if fields
        .get("deleted")
        .is_some_and(|deleted| deleted.get() == "true")
    {
        return Ok(None);
    }
    let role = fields.text("role")?;
    let speaks = match role.as_str() {
        "prompter" | "user" => Speaker::User,
        "assistant" => Speaker::Assistant,
        // OpenAssistant has no tools; conversations that ewe writes may.
        other if speaker(other) == Some(Speaker::Tool) => Speaker::Tool,
        _ => {
            return Err(format!(
                "a message of `{role}`: in a tree, speakers are prompter and assistant"
            ));
        }
    };
    let content = fields.text("text")?;
    let calls_tools = calls_tools(&fields);
    // Names that an export made up are not kept.
    for name in ["message_id", "parent_id"] {
        if fields.get(name).is_some_and(is_our_name) {
            fields.take(name);
        }
    }
    // Replies without a rank come after those with one.
    let rank = fields
        .get("rank")
        .and_then(|rank| rank.get().parse().ok())
        .unwrap_or(u64::MAX);
    let mut replies = Vec::new();
    if let Some(list) = fields.take("replies").filter(|list| !list.is_null()) {
        let list = list
            .elements()
            .ok_or_else(|| format!("`replies` is {}, not an array", list.kind()))?;
        for reply in list {
            replies.extend(node(reply, depth + 1)?);
        }
    }
    replies.sort_by_key(|reply| reply.rank);
    Ok(Some(Node {
        message: DialectMessage {
            calls_tools,
            rest: Extra::rest_of(fields),
            ..DialectMessage::new(&role, speaks, content)
        },
        rank,
        replies,
    }))
}

/// Collects the paths below a node that end with an answer.
fn walk<'n>(
    node: &'n Node,
    path: &mut Vec<&'n DialectMessage>,
    all: bool,
    paths: &mut Vec<Vec<DialectMessage>>,
) -> Result<(), String> {
    path.push(&node.message);
    let before = paths.len();
    for reply in node.replies.iter().take(if all { usize::MAX } else { 1 }) {
        walk(reply, path, all, paths)?;
    }
    // A question that nobody answers ends with the answer before it.
    if paths.len() == before && node.message.speaker == Speaker::Assistant {
        if paths.len() == MOST_PATHS {
            return Err(format!(
                "a tree of more than {MOST_PATHS} conversations; --format oasst reads the best one"
            ));
        }
        paths.push(path.iter().map(|message| (*message).clone()).collect());
    }
    path.pop();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interchange::format::is_tree;

    const TREE: &str = r#"{"message_id": "1", "text": "q", "role": "prompter", "lang": "en", "replies": [
        {"message_id": "2", "text": "worse", "role": "assistant", "rank": 1, "replies": [
            {"text": "why", "role": "prompter", "replies": []}]},
        {"message_id": "3", "text": "best", "role": "assistant", "rank": 0, "replies": [
            {"text": "and", "role": "prompter", "replies": [
                {"text": "more", "role": "assistant", "rank": 1, "replies": []},
                {"text": "gone", "role": "assistant", "rank": 0, "deleted": true, "replies": []}]},
            {"text": "or", "role": "prompter", "replies": [
                {"text": "less", "role": "assistant", "replies": []}]}]}]}"#;

    #[test]
    fn the_best_path_or_all() {
        let tree = Json::of(TREE).unwrap();
        assert!(is_tree(tree));
        let said = |exchange: &Exchange| -> Vec<String> {
            let turns = exchange.turns.iter().map(|turn| turn.content.clone());
            [exchange.user.clone(), exchange.assistant.clone().unwrap()]
                .into_iter()
                .chain(turns)
                .collect()
        };
        let best = exchanges(tree, false).unwrap();
        assert_eq!(best.len(), 1);
        assert_eq!(said(&best[0]), ["q", "best", "and", "more"]);
        assert_eq!(best[0].rest[1].get("message_id"), Some("\"3\""));
        let all: Vec<_> = exchanges(tree, true).unwrap().iter().map(said).collect();
        assert_eq!(
            all,
            [
                vec!["q", "best", "and", "more"],
                vec!["q", "best", "or", "less"],
                vec!["q", "worse"]
            ]
        );
    }

    #[test]
    fn a_tree_may_have_no_answer() {
        let unanswered = |json| is_unanswered(Json::of(json).unwrap());
        for json in [
            r#"{"text": "q", "role": "prompter", "replies": []}"#,
            r#"{"text": "q", "role": "prompter", "deleted": true, "replies": [
                {"text": "a", "role": "assistant", "replies": []}]}"#,
            r#"{"text": "q", "role": "prompter", "replies": [
                {"text": "a", "role": "assistant", "deleted": true, "replies": []}]}"#,
        ] {
            assert!(unanswered(json), "{json}");
        }
        assert!(!unanswered(TREE) && !unanswered(r#"{"text": "q", "role": "critic", "replies": []}"#));
        let prompt = r#"{"text": "q", "role": "prompter", "replies": []}"#;
        let read = exchanges(Json::of(prompt).unwrap(), false).unwrap();
        assert_eq!((read[0].user.as_str(), &read[0].assistant), ("q", &None));
        assert!(read[0].unanswered.as_ref().unwrap().contains("nobody answers"));
    }

    #[test]
    fn what_is_no_tree_is_named() {
        for (json, what) in [
            (
                r#"{"text": "q", "role": "critic", "replies": []}"#,
                "a message of `critic`",
            ),
            (
                r#"{"text": "q", "role": "assistant", "replies": []}"#,
                "begins with the assistant",
            ),
            (
                r#"{"text": "q", "role": "prompter", "replies": 1}"#,
                "`replies` is a number",
            ),
        ] {
            let error = exchanges(Json::of(json).unwrap(), true).unwrap_err();
            assert!(error.contains(what), "{json}: {error}");
        }
    }
}

//! Conversations as trees of OpenAssistant: a question, its replies, their replies.
//!
//! The rows of a task that begin with the same question are one tree, as far as reading it gives
//! the same rows in the same order: a row is a path to a last answer. What would not come back
//! begins another tree, such as a row that is the beginning of another one.

use super::dialect;
use crate::interchange::conversation::oasst::is_our_name;
use crate::interchange::extra::Extra;
use crate::interchange::format::{PREFIX, TREE_ID, TREE_ROWS};
use crate::interchange::json::Json;
use crate::task::{ExportRow, Turn};

/// The most messages of a path. Each is two levels deeper in JSON, of which readers take 128.
pub(super) const MOST_MESSAGES: usize = 48;

/// Fields of a message that the format has.
const OWN: [&str; 4] = ["role", "text", "replies", "deleted"];

/// A message with its replies.
#[derive(Debug)]
struct Node {
    message: Turn,
    replies: Vec<Node>,
}

/// Rows of one tree.
#[derive(Debug)]
pub(super) struct Tree {
    root: Node,
    /// How many rows it has.
    rows: usize,
    /// Whether it has only the first messages of its row, which is too long.
    is_cut: bool,
}

/// The fields of a tree, as names and JSON values.
pub(super) type TreeFields = Vec<(String, String)>;

impl Tree {
    /// Makes trees of the rows of a task, each with its question and the other fields of its first
    /// messages. Returns each tree with the place of its first row.
    pub(super) fn of_task(rows: &[ExportRow], said: Vec<(String, Vec<Extra>)>) -> Vec<(usize, Tree)> {
        let mut trees: Vec<(usize, Tree)> = Vec::new();
        for (place, (row, (question, rest))) in rows.iter().zip(said).enumerate() {
            let path = dialect::said(row, question, rest);
            // There is one system message for a tree, and it is no message of it.
            let mut path: Vec<Turn> = path.into_iter().filter(|turn| turn.role != "system").collect();
            if path.len() > MOST_MESSAGES {
                // The others are a field beside the tree, as in formats without turns.
                path.truncate(2);
                let cut = Tree::of_path(path).map(|tree| Tree { is_cut: true, ..tree });
                trees.extend(cut.map(|tree| (place, tree)));
                continue;
            }
            let path = match trees.last_mut() {
                Some((_, tree)) => match tree.add(path) {
                    Ok(()) => continue,
                    Err(path) => path,
                },
                None => path,
            };
            trees.extend(Tree::of_path(path).map(|tree| (place, tree)));
        }
        trees
    }

    fn of_path(path: Vec<Turn>) -> Option<Tree> {
        Some(Tree {
            root: chain(path)?,
            rows: 1,
            is_cut: false,
        })
    }

    /// Adds a row, or gives it back if the tree would not say the same.
    fn add(&mut self, path: Vec<Turn>) -> Result<(), Vec<Turn>> {
        if self.is_cut || !fits(&self.root, &path) {
            return Err(path);
        }
        add_below(&mut self.root, path);
        self.rows += 1;
        Ok(())
    }

    /// Whether the later messages of its row are to be written beside it.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Returns the fields of the tree, the one with this number in its file. `extra` has the other
    /// fields of its row, of which a name of the tree is one if it was read from a file of trees.
    pub(super) fn fields(&self, number: usize, extra: &Extra, is_plain: bool) -> TreeFields {
        let mut names = Names { number, next: 0 };
        let (name, prompt) = names.node(&self.root, None);
        let mut fields = TreeFields::new();
        if extra.get(TREE_ID).is_none() && is_made_up(&name) {
            fields.push((TREE_ID.into(), name));
        }
        fields.push(("prompt".into(), prompt.to_json()));
        if self.rows > 1 && !is_plain {
            fields.push((TREE_ROWS.into(), self.rows.to_string()));
        }
        fields
    }
}

/// A message with all that follow it, one after the other.
fn chain(path: Vec<Turn>) -> Option<Node> {
    path.into_iter().rev().fold(None, |below, message| {
        Some(Node {
            message,
            replies: below.into_iter().collect(),
        })
    })
}

/// Whether a row is read as the last one of a tree: it has the question, and leaves the last path
/// at a message that is no end of it, by a reply that is not ranked before its siblings.
fn fits(root: &Node, path: &[Turn]) -> bool {
    let Some((first, mut rest)) = path.split_first() else {
        return false;
    };
    if root.message != *first {
        return false;
    }
    let mut node = root;
    loop {
        let (Some(last), Some((next, behind))) = (node.replies.last(), rest.split_first()) else {
            return false;
        };
        if last.message != *next {
            // The last answer is where a row ends, so a question without one is none.
            return rank(&last.message) <= rank(next);
        }
        (node, rest) = (last, behind);
    }
}

fn add_below(node: &mut Node, path: Vec<Turn>) {
    let mut rest = path.into_iter().skip(1).peekable();
    let mut node = node;
    while let Some(next) = rest.peek()
        && node.replies.last().is_some_and(|last| last.message == *next)
    {
        rest.next();
        let last = node.replies.len() - 1;
        node = &mut node.replies[last];
    }
    node.replies.extend(chain(rest.collect()));
}

/// The place of a message among its siblings, as readers see it: those without a rank are last.
fn rank(message: &Turn) -> u64 {
    let rank = message.field("rank").and_then(|rank| rank.parse().ok());
    rank.unwrap_or(u64::MAX)
}

/// Whether a name is one that readers of ewe drop.
fn is_made_up(name: &str) -> bool {
    Json::of(name).is_some_and(is_our_name)
}

/// Gives names to messages that have none. Readers of ewe drop these again. Names that rows have
/// are written where they have them, and nowhere else, so that the same rows come back.
struct Names {
    /// That of the tree.
    number: usize,
    next: usize,
}

impl Names {
    /// Returns the name of a message, and the message with its replies.
    fn node(&mut self, node: &Node, parent: Option<&str>) -> (String, Extra) {
        let own = node.message.field("message_id");
        let name = match own {
            Some(name) => name.to_owned(),
            None => self.name(),
        };
        let mut fields = Extra::default();
        if own.is_none() {
            push(&mut fields, "message_id", &name);
        }
        let is_said = node.message.field("parent_id").is_some();
        if let Some(parent) = parent.filter(|parent| !is_said && is_made_up(parent)) {
            push(&mut fields, "parent_id", parent);
        }
        fields.push_text("text", &node.message.content);
        let role = match node.message.role.as_str() {
            Turn::USER => "prompter",
            role => role,
        };
        fields.push_text("role", role);
        for (field, value) in &node.message.fields {
            match OWN.contains(&field.as_str()) {
                true => push(&mut fields, &format!("{PREFIX}{field}"), value),
                false => push(&mut fields, field, value),
            }
        }
        let replies: Vec<String> = node
            .replies
            .iter()
            .map(|reply| self.node(reply, Some(&name)).1.to_json())
            .collect();
        push(&mut fields, "replies", &format!("[{}]", replies.join(",")));
        (name, fields)
    }

    fn name(&mut self) -> String {
        self.next += 1;
        format!("\"{PREFIX}{}_{}\"", self.number, self.next)
    }
}

/// Adds a field by its JSON.
fn push(fields: &mut Extra, name: &str, value: &str) {
    if let Some(value) = Json::of(value) {
        fields.push(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(texts: &[&str]) -> Vec<Turn> {
        let roles = [Turn::USER, Turn::ASSISTANT].into_iter().cycle();
        texts
            .iter()
            .zip(roles)
            .map(|(text, role)| Turn::new(role, *text))
            .collect()
    }

    fn tree_of(first: &[&str]) -> Tree {
        Tree::of_path(path(first)).unwrap()
    }

    #[test]
    fn rows_are_added_as_far_as_they_come_back() {
        let mut tree = tree_of(&["q", "a", "r", "b"]);
        assert!(tree.add(path(&["q", "a", "r", "c"])).is_ok());
        assert!(tree.add(path(&["q", "a", "s", "d"])).is_ok());
        assert!(tree.add(path(&["q", "e"])).is_ok());
        // Another question, the beginning of a row, a row again, and a row that goes on.
        for texts in [&["p", "a"][..], &["q"], &["q", "e"], &["q", "e", "t", "f"], &[]] {
            assert!(tree.add(path(texts)).is_err(), "{texts:?}");
        }
        // The last path has another beginning now, so that this one begins anew below the question.
        assert!(tree.add(path(&["q", "a", "t", "f"])).is_ok());
        assert_eq!((tree.rows, tree.root.replies.len()), (5, 3));
        let mut ranked = tree_of(&["q", "a"]);
        ranked.root.replies[0]
            .message
            .fields
            .push(("rank".into(), "1".into()));
        let mut better = path(&["q", "b"]);
        better[1].fields.push(("rank".into(), "0".into()));
        assert!(ranked.add(better).is_err(), "it would be read first");
        assert!(ranked.add(path(&["q", "b"])).is_ok());
    }

    #[test]
    fn messages_have_names_and_their_other_fields() {
        let mut tree = tree_of(&["q", "a"]);
        tree.root
            .message
            .fields
            .push(("message_id".into(), "\"x\"".into()));
        tree.root.replies[0]
            .message
            .fields
            .push(("text".into(), "1".into()));
        assert_eq!(
            tree.fields(7, &Extra::default(), false),
            [(
                "prompt".to_owned(),
                concat!(
                    r#"{"text":"q","role":"prompter","message_id":"x","replies":[{"message_id":"ewe_7_1","#,
                    r#""text":"a","role":"assistant","ewe_text":1,"replies":[]}]}"#
                )
                .to_owned()
            )]
        );
        let named = tree_of(&["q", "a"]).fields(7, &Extra::default(), false);
        assert_eq!(named[0], ("message_tree_id".to_owned(), "\"ewe_7_1\"".to_owned()));
        assert!(
            named[1]
                .1
                .contains(r#""message_id":"ewe_7_2","parent_id":"ewe_7_1""#),
            "{named:?}"
        );
    }
}

//! What the rows of a file say that nothing but [`Extra`](super::extra::Extra) has a place for, counted: it is never passed over in
//! silence.

use std::collections::BTreeMap;

use super::{format::CONVERSATIONS, parse::Incoming};
use crate::text::{chosen, noun};

/// Counts of rows.
#[derive(Debug, Clone, Default)]
pub struct Notes {
    fields: BTreeMap<String, u64>,
    tools: u64,
    reasoning: u64,
    weights: u64,
    empty_answers: u64,
}

/// Fields that speak of tools.
const TOOLS: &[&str] = &["tools", "functions", "tool_calls", "function_call"];

/// Fields with what a model thought before it answered.
const REASONING: &[&str] = &[
    "reasoning",
    "reasoning_content",
    "thinking",
    "thought",
    "chain_of_thought",
];

/// Fields that say how much a row or a message counts in training.
const WEIGHTS: &[&str] = &["weight", "weights", "loss", "train"];

impl Notes {
    /// Counts what a row says besides.
    pub fn add(&mut self, incoming: &Incoming) {
        self.empty_answers += u64::from(incoming.answer_is_empty);
        let extra = &incoming.extra;
        if extra.is_empty() {
            return;
        }
        let (mut tools, mut reasoning, mut weights) = (false, false, false);
        let mut note = |field: &str, path: Option<&str>| {
            tools |= TOOLS.contains(&field);
            reasoning |= REASONING.contains(&field);
            weights |= WEIGHTS.contains(&field);
            let name = match path {
                Some(path) => format!("{path}.{field}"),
                None => field.to_owned(),
            };
            *self.fields.entry(name).or_default() += 1;
        };
        for name in extra.names() {
            let within = match name == "instances" || CONVERSATIONS.contains(&name) {
                true => extra.list(name),
                false => None,
            };
            match within {
                Some(list) => {
                    let names: std::collections::BTreeSet<&str> =
                        list.iter().flat_map(|element| element.names()).collect();
                    names.into_iter().for_each(|field| note(field, Some(name)));
                }
                None => note(name, None),
            }
        }
        self.tools += u64::from(tools);
        self.reasoning += u64::from(reasoning);
        self.weights += u64::from(weights);
    }

    /// The fields that rows have besides, and how many rows have each.
    pub fn fields(&self) -> &BTreeMap<String, u64> {
        &self.fields
    }

    /// What there is to say. `kept`: the fields stay with the rows; else they go no further.
    pub fn lines(&self, kept: bool) -> Vec<String> {
        /// So many fields are named.
        const NAMED: usize = 12;
        let mut lines = Vec::new();
        let rows = |count: u64| chosen(count, "row has", "rows have");
        if self.empty_answers > 0 {
            lines.push(format!("{} an empty answer", rows(self.empty_answers)));
        }
        if self.fields.is_empty() {
            return lines;
        }
        let mut names: Vec<String> = self
            .fields
            .keys()
            .take(NAMED)
            .map(|name| format!("`{name}`"))
            .collect();
        if self.fields.len() > NAMED {
            names.push(format!("and {} more", self.fields.len() - NAMED));
        }
        let what = if kept { "kept beside the texts" } else { "not used" };
        let fields = noun(self.fields.len(), "field");
        lines.push(format!("{what}: the {fields} {}", names.join(", ")));
        let fate = if kept {
            "kept, and no part of the texts"
        } else {
            "not used"
        };
        for (count, what) in [
            (self.tools, "tools or tool calls"),
            (self.reasoning, "reasoning apart from the answer"),
            (self.weights, "weights"),
        ] {
            if count > 0 {
                lines.push(format!("{} {what}: {fate}", rows(count)));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interchange::extra::Extra;

    #[test]
    fn what_is_kept_is_counted() {
        let mut notes = Notes::default();
        for json in [
            r#"{"id": 1, "messages": [{}, {"tool_calls": [1], "weight": 0}]}"#,
            r#"{"id": 2, "tools": []}"#,
            "{}",
        ] {
            notes.add(&Incoming {
                extra: Extra::parse(json).unwrap(),
                ..Incoming::default()
            });
        }
        assert_eq!(
            notes.lines(true),
            [
                "kept beside the texts: the fields `id`, `messages.tool_calls`, `messages.weight`, `tools`",
                "2 rows have tools or tool calls: kept, and no part of the texts",
                "1 row has weights: kept, and no part of the texts",
            ]
        );
        assert!(notes.lines(false)[2].ends_with("1 row has weights: not used"));
        assert!(Notes::default().lines(true).is_empty());
        let mut notes = Notes::default();
        notes.add(&Incoming {
            answer_is_empty: true,
            ..Incoming::default()
        });
        assert_eq!(notes.lines(true), ["1 row has an empty answer"]);
    }
}

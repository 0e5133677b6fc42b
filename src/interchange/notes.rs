//! Counts of the fields that nothing but [`Extra`](super::extra::Extra) has a place for. They are
//! always reported.

use std::collections::BTreeMap;

use super::{ParsedRow, format::CONVERSATIONS};
use crate::text::{chosen, noun};

/// How many rows have which fields besides their task.
#[derive(Debug, Clone, Default)]
pub struct Notes {
    fields: BTreeMap<String, u64>,
    tools: u64,
    reasoning: u64,
    weights: u64,
    empty_answers: u64,
}

/// Fields with tools or tool calls.
const TOOLS: &[&str] = &["tools", "functions", "tool_calls", "function_call"];

/// Fields with reasoning.
const REASONING: &[&str] = &[
    "reasoning",
    "reasoning_content",
    "thinking",
    "thought",
    "chain_of_thought",
];

/// Fields with the weight of a row or a message in training.
const WEIGHTS: &[&str] = &["weight", "weights", "loss", "train"];

impl Notes {
    /// Counts the fields of a row.
    pub fn add(&mut self, row: &ParsedRow) {
        self.empty_answers += u64::from(row.answer_is_empty);
        let extra = &row.extra;
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

    /// Returns the fields, and how many rows have each.
    pub fn fields(&self) -> &BTreeMap<String, u64> {
        &self.fields
    }

    /// Returns the report, a line each. `kept`: the fields are stored with their rows; otherwise
    /// they are dropped.
    pub fn lines(&self, kept: bool) -> Vec<String> {
        /// How many fields are named at most.
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
            notes.add(&ParsedRow {
                extra: Extra::parse(json).unwrap(),
                ..ParsedRow::default()
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
        notes.add(&ParsedRow {
            answer_is_empty: true,
            ..ParsedRow::default()
        });
        assert_eq!(notes.lines(true), ["1 row has an empty answer"]);
    }
}

//! Duplicate examples: two are the same if they say the same, whichever files and formats they are
//! in.

use std::collections::{HashMap, HashSet};

use futures::TryStreamExt;
use sha2::{Digest, Sha256};

use crate::store::{Result, Store};

/// The most versions of one example that are remembered: a task edited more often is another task.
const MOST_VERSIONS: usize = 1000;

/// The hash of an example's texts. A collision of two different examples is out of the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity([u8; 16]);

impl Identity {
    /// Hashes an example. Formats differ in where they put a system message and an input, so the
    /// three are hashed as one text, as a prompt has them; white space around a text does not
    /// count. Other fields (`extra`, JSON) count only if the output is empty: they are the answer
    /// then. The messages after it (`turns`, JSON) count if there are any.
    pub fn of(
        system: Option<&str>,
        instruction: &str,
        input: &str,
        output: &str,
        extra: Option<&str>,
        turns: Option<&str>,
    ) -> Identity {
        let mut hash = Sha256::new();
        let question = [system.unwrap_or_default(), instruction, input];
        for text in question
            .map(str::trim)
            .into_iter()
            .filter(|text| !text.is_empty())
        {
            hash.update(text);
            hash.update("\n\n");
        }
        let output = output.trim();
        // No text has this byte, so that nothing moves from the question to the answer.
        hash.update([0xff]);
        hash.update(output);
        if let (true, Some(extra)) = (output.is_empty(), extra) {
            hash.update([0xff]);
            hash.update(extra);
        }
        if let Some(turns) = turns {
            hash.update([0xfe]);
            hash.update(turns);
        }
        let hash = hash.finalize();
        Identity(hash[..16].try_into().expect("a hash is longer"))
    }
}

/// The examples of a dataset of any review, as they are and as they were before they were edited.
#[derive(Debug, Default)]
pub struct Known {
    tasks: HashMap<Identity, i64>,
    withdrawn: HashSet<i64>,
}

/// Where an example is stored already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicate {
    /// In this task.
    Task(i64),
    /// In this task, whose import was undone.
    Withdrawn(i64),
}

impl Known {
    /// Returns where the example is stored, if it is.
    pub fn find(&self, identity: Identity) -> Option<Duplicate> {
        let &task = self.tasks.get(&identity)?;
        Some(match self.withdrawn.contains(&task) {
            true => Duplicate::Withdrawn(task),
            false => Duplicate::Task(task),
        })
    }

    fn add(&mut self, identity: Identity, task: i64) {
        let withdrawn = &self.withdrawn;
        let known = self.tasks.entry(identity).or_insert(task);
        // Of two, the one that is in the dataset.
        if withdrawn.contains(known) {
            *known = task;
        }
    }
}

/// The texts that an edited task and its instances have had.
#[derive(Debug, Default)]
struct Versions {
    instructions: HashSet<String>,
    inputs: HashMap<i64, HashSet<String>>,
    outputs: HashMap<i64, HashSet<String>>,
    turns: HashMap<i64, HashSet<String>>,
}

impl Versions {
    /// Adds one side of a revision, such as `{"output": "…"}`.
    fn add(&mut self, instance: Option<i64>, columns: &str) {
        let Ok(serde_json::Value::Object(columns)) = serde_json::from_str(columns) else {
            return;
        };
        for (column, text) in columns {
            let serde_json::Value::String(text) = text else {
                continue;
            };
            match (column.as_str(), instance) {
                ("instruction", None) => self.instructions.insert(text),
                ("input", Some(id)) => self.inputs.entry(id).or_default().insert(text),
                ("output", Some(id)) => self.outputs.entry(id).or_default().insert(text),
                ("turns", Some(id)) => self.turns.entry(id).or_default().insert(text),
                _ => continue,
            };
        }
    }
}

impl Store {
    /// Returns all examples of the file. Reads the whole table.
    pub async fn known_examples(&self) -> Result<Known> {
        let mut transaction = self.pool.begin().await?;
        let withdrawn = sqlx::query_scalar!(r#"SELECT task_id AS "task_id!" FROM withdrawn"#)
            .fetch_all(&mut *transaction)
            .await?;
        let mut known = Known {
            withdrawn: withdrawn.into_iter().collect(),
            ..Known::default()
        };
        let mut edited = HashMap::<i64, Versions>::new();
        let mut edits = sqlx::query!(
            "SELECT task_id, instance_id, before, after FROM revision WHERE action = 'edit' AND about IS NULL"
        )
        .fetch(&mut *transaction);
        while let Some(edit) = edits.try_next().await? {
            let versions = edited.entry(edit.task_id).or_default();
            versions.add(edit.instance_id, &edit.before);
            versions.add(edit.instance_id, &edit.after);
        }
        drop(edits);
        let mut examples = sqlx::query!(
            r#"
            SELECT
                task.id AS "task_id!", instance.id AS "instance_id?", task.system, task.instruction,
                instance.input AS "input?", instance.output AS "output?", instance.turns AS "turns?",
                iif(trim(instance.output, ' ' || char(9, 10, 13)) = '', instance.extra, NULL) AS "extra?: String"
            FROM task
            LEFT JOIN instance ON instance.task_id = task.id
            "#
        )
        .fetch(&mut *transaction);
        while let Some(row) = examples.try_next().await? {
            let (system, extra) = (row.system.as_deref(), row.extra.as_deref());
            let (input, output) = (row.input.unwrap_or_default(), row.output.unwrap_or_default());
            let turns = row.turns.as_deref();
            let identity = |instruction: &str, input: &str, output: &str, turns: Option<&str>| {
                Identity::of(system, instruction, input, output, extra, turns)
            };
            known.add(identity(&row.instruction, &input, &output, turns), row.task_id);
            let Some(versions) = edited.get(&row.task_id) else {
                continue;
            };
            let earlier = |texts: Option<&'_ HashSet<String>>, now: &str| -> Vec<String> {
                let earlier = texts.into_iter().flatten().filter(|text| *text != now).cloned();
                std::iter::once(now.to_owned()).chain(earlier).collect()
            };
            let id = row.instance_id.unwrap_or_default();
            let instructions = earlier(Some(&versions.instructions), &row.instruction);
            let inputs = earlier(versions.inputs.get(&id), &input);
            let outputs = earlier(versions.outputs.get(&id), &output);
            let all = instructions.iter().flat_map(|instruction| {
                inputs
                    .iter()
                    .flat_map(|input| outputs.iter().map(move |output| (input, output)))
                    .map(move |(input, output)| (instruction, input, output))
            });
            for (instruction, input, output) in all.take(MOST_VERSIONS) {
                known.add(identity(instruction, input, output, turns), row.task_id);
            }
            // Of conversations, versions of the later turns beside the texts as they are.
            for earlier in versions.turns.get(&id).into_iter().flatten() {
                let earlier = Some(earlier.as_str());
                known.add(identity(&row.instruction, &input, &output, earlier), row.task_id);
            }
        }
        Ok(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_make_no_difference_and_texts_do() {
        let of = |instruction, input, output| Identity::of(None, instruction, input, output, None, None);
        let row = of("Sort these.", "3 1 2", "1 2 3");
        assert_eq!(row, of("Sort these.\n\n3 1 2", "", " 1 2 3\n"));
        assert_eq!(
            Identity::of(Some("Be brief."), "Hi", "", "Ho", None, None),
            of("Be brief.\n\nHi", "", "Ho")
        );
        for other in [
            of("Sort these.", "3 1 2", "1 2"),
            of("Sort these.", "3 1 2 1 2 3", ""),
            of("Sort these. 3 1 2", "", "1 2 3"),
            of("Sort these.", "", "1 2 3"),
            of("sort these.", "3 1 2", "1 2 3"),
        ] {
            assert_ne!(row, other);
        }
        let call = |extra| Identity::of(None, "Weather?", "", "", Some(extra), None);
        assert_ne!(call(r#"{"tool_calls":[1]}"#), call(r#"{"tool_calls":[2]}"#));
        let said = |extra| Identity::of(None, "Weather?", "", "Fine.", Some(extra), None);
        assert_eq!(said(r#"{"weight":1}"#), said(r#"{"weight":2}"#));
        let then = |turns| Identity::of(None, "Weather?", "", "Fine.", None, turns);
        assert_ne!(
            then(None),
            then(Some(r#"[{"role":"user","content":"And now?"}]"#))
        );
    }
}

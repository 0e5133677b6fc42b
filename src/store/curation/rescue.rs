//! Rescue: a person makes a task of a rejected candidate.
//!
//! The verdict stays what it was, so that accepted and rejected candidates still add up to all that
//! were parsed; the candidate names its task. The history has a rescue as an import of the
//! candidate: before it, a task is as one that was rejected, so that undo takes it out again.

use sqlx::SqliteConnection;

use super::revision::{Actor, Change, next_group};
use crate::store::asked::bulk_guard;
use crate::store::query::candidates::CandidateView;
use crate::store::rows::json_rows;
use crate::store::{Result, Store};
use crate::task::Turn;

/// What a rescue did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Rescue {
    /// The action; `None` if every candidate was a task already.
    pub change: Option<Change>,
    /// The task of each candidate, in their order.
    pub tasks: Vec<i64>,
}

impl Store {
    /// Makes a pending task of each rejected candidate, as one action. An instruction takes along
    /// its instances, or one with an empty output where it has none, for somebody to write. Those
    /// that are tasks already are left alone.
    ///
    /// # Errors
    ///
    /// [`crate::store::Error::NoCandidate`] if one of the ids names no rejected candidate; then
    /// nothing happens.
    pub async fn rescue(&self, ids: &[i64], actor: Actor<'_>) -> Result<Rescue> {
        let mut action = self.act(actor.who).await?;
        let first = bulk_guard::begin(&mut action).await?;
        let group = next_group(&mut action).await?;
        let (mut next, mut tasks, mut rescued) = (first, Vec::new(), 0);
        for &id in ids {
            // Nobody else writes while this action has the lock, so this is how it is.
            let view = self.candidate(id).await?;
            let (task, is_new) = match here(&mut action, id).await? {
                Some((task, false)) => (task, false),
                Some((task, true)) => {
                    bring_back(&mut action, task).await?;
                    (task, true)
                }
                None => {
                    add(&mut action, next, &view).await?;
                    next += 1;
                    (next - 1, true)
                }
            };
            tasks.push(task);
            if is_new {
                record(&mut action, group, task, &view, actor).await?;
                rescued += 1;
            }
        }
        bulk_guard::end(&mut action, first).await?;
        if rescued == 0 {
            return Ok(Rescue { change: None, tasks });
        }
        action.commit().await?;
        let change = Change {
            group,
            tasks: rescued,
            undoes: None,
        };
        Ok(Rescue {
            change: Some(change),
            tasks,
        })
    }
}

/// Returns the task of a candidate, and whether its rescue was undone.
async fn here(connection: &mut SqliteConnection, id: i64) -> Result<Option<(i64, bool)>> {
    let row = sqlx::query!(
        r#"
        SELECT
            task_id AS "task!",
            EXISTS (SELECT 1 FROM withdrawn WHERE withdrawn.task_id = candidate.task_id) AS "is_withdrawn!: bool"
        FROM candidate
        WHERE id = ? AND task_id IS NOT NULL
        "#,
        id
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| (row.task, row.is_withdrawn)))
}

/// Makes a task whose rescue was undone pending again.
async fn bring_back(connection: &mut SqliteConnection, task: i64) -> Result<()> {
    sqlx::query!(
        "
        UPDATE task
        SET review = 'pending', updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
        WHERE id = ?
        ",
        task
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Adds the task, its instances and its nearest neighbor. It has no round: rounds count what they
/// accepted themselves.
async fn add(connection: &mut SqliteConnection, task: i64, view: &CandidateView) -> Result<()> {
    let candidate = &view.candidate;
    let Taken {
        system,
        texts,
        turns,
        takes,
    } = taken(connection, view).await?;
    let each = texts.iter().flat_map(|(input, output)| [input, output]);
    let length = bulk_guard::length_of(std::iter::once(&candidate.instruction).chain(each));
    // Whether it classifies is known of a task that the instruction became.
    sqlx::query!(
        "
        INSERT INTO task (id, instruction, length, is_classification, origin, review, request_id, run_id, system)
        VALUES (
            ?1, ?2, ?3,
            coalesce(
                (
                    SELECT task.is_classification
                    FROM candidate AS parent
                    JOIN task ON task.id = parent.task_id
                    WHERE parent.id = ?4
                ),
                0
            ),
            'machine', 'pending', ?5, ?6, ?7
        )
        ",
        task,
        candidate.instruction,
        length,
        candidate.parent_id,
        candidate.request_id,
        candidate.run_id,
        system
    )
    .execute(&mut *connection)
    .await?;
    let rows: Vec<(i64, &String, &String, &Option<String>)> =
        (0..).zip(&texts).map(|(at, (i, o))| (at, i, o, &turns)).collect();
    let rows = json_rows(&rows);
    sqlx::query!(
        "
        INSERT INTO instance (task_id, ordinal, input, output, turns)
        SELECT ?, value ->> 0, value ->> 1, value ->> 2, value ->> 3
        FROM json_each(?)
        ",
        task,
        rows
    )
    .execute(&mut *connection)
    .await?;
    let part = json_rows(&[&[candidate.id][..], &takes].concat());
    sqlx::query!(
        "UPDATE candidate SET task_id = ? WHERE id IN (SELECT value FROM json_each(?)) AND task_id IS NULL",
        task,
        part
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "
        INSERT INTO neighbor (task_id, neighbor_id, rank, rouge_l)
        SELECT ?, nearest_task_id, 1, rouge_l
        FROM candidate
        WHERE id = ? AND nearest_task_id IS NOT NULL AND rouge_l IS NOT NULL
        ",
        task,
        candidate.id
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What a task made of a candidate has.
struct Taken {
    system: Option<String>,
    /// Inputs and outputs.
    texts: Vec<(String, String)>,
    /// The messages after the output of a conversation.
    turns: Option<String>,
    /// The candidates that it takes along.
    takes: Vec<i64>,
}

/// Returns what a task made of a candidate has: its instances, or as one conversation the turns up
/// to it, behind what they continue.
async fn taken(connection: &mut SqliteConnection, view: &CandidateView) -> Result<Taken> {
    let candidate = &view.candidate;
    let opening = opening(connection, candidate.round).await?;
    let takes = match (&opening, candidate.parent_id) {
        (Some(_), Some(parent)) => turns_up_to(connection, candidate.round, parent, candidate.id).await?,
        _ => view.takes.clone(),
    };
    let texts = texts(connection, &takes).await?;
    Ok(match opening {
        Some(opening) => Taken {
            system: opening.system,
            turns: turns_of(&texts),
            texts: vec![(opening.input, opening.output)],
            takes,
        },
        None => Taken {
            system: None,
            turns: None,
            texts,
            takes,
        },
    })
}

/// What a conversation continues: the system message, first input and first answer of a task.
struct Opening {
    system: Option<String>,
    input: String,
    output: String,
}

/// Returns what the candidates of a round continue; `None` if they are no turns of a conversation.
async fn opening(connection: &mut SqliteConnection, round: i64) -> Result<Option<Opening>> {
    Ok(sqlx::query_as!(
        Opening,
        "
        SELECT task.system, instance.input, instance.output
        FROM evolution
        JOIN task ON task.id = evolution.parent_task_id
        JOIN instance ON instance.task_id = task.id AND instance.ordinal = 0
        WHERE evolution.round = ? AND evolution.operator = 'continue'
        ",
        round
    )
    .fetch_optional(connection)
    .await?)
}

/// Returns the turns of a conversation up to this one.
async fn turns_up_to(
    connection: &mut SqliteConnection,
    round: i64,
    parent: i64,
    turn: i64,
) -> Result<Vec<i64>> {
    Ok(sqlx::query_scalar!(
        r#"SELECT id AS "id!: i64" FROM candidate WHERE round = ? AND parent_id = ? AND id <= ? ORDER BY id"#,
        round,
        parent,
        turn
    )
    .fetch_all(connection)
    .await?)
}

/// Returns questions with their answers as column `turns`. One without an answer is left out,
/// unless it is the only one: then somebody is to write the answer.
fn turns_of(texts: &[(String, String)]) -> Option<String> {
    let is_answered = |(_, answer): &&(String, String)| !answer.trim().is_empty();
    let answered: Vec<_> = texts.iter().filter(is_answered).collect();
    let texts = match answered.is_empty() {
        true => texts.iter().collect(),
        false => answered,
    };
    let turns: Vec<Turn> = texts
        .into_iter()
        .flat_map(|(question, answer)| {
            [(Turn::USER, question), (Turn::ASSISTANT, answer)]
                .map(|(role, text)| Turn::new(role, text.as_str()))
        })
        .collect();
    Turn::list_to_column(&turns)
}

/// Returns the inputs and outputs of these instances; a pair of empty ones if there are none.
async fn texts(connection: &mut SqliteConnection, instances: &[i64]) -> Result<Vec<(String, String)>> {
    let chosen = json_rows(instances);
    let texts = sqlx::query!(
        r#"
        SELECT coalesce(input, '') AS "input!: String", coalesce(output, '') AS "output!: String"
        FROM candidate
        WHERE id IN (SELECT value FROM json_each(?))
        ORDER BY id
        "#,
        chosen
    )
    .fetch_all(connection)
    .await?;
    let mut texts: Vec<(String, String)> = texts.into_iter().map(|row| (row.input, row.output)).collect();
    if texts.is_empty() {
        texts.push(Default::default());
    }
    Ok(texts)
}

/// Records the rescue of a task. The note begins with the reason, which the log counts by.
async fn record(
    connection: &mut SqliteConnection,
    group: i64,
    task: i64,
    view: &CandidateView,
    actor: Actor<'_>,
) -> Result<()> {
    let note = match actor.note {
        Some(note) => note.to_owned(),
        None => format!("{} (candidate {})", view.candidate.reason, view.candidate.id),
    };
    sqlx::query!(
        r#"
        INSERT INTO revision (group_id, task_id, who, action, before, after, note)
        VALUES (?, ?, ?, 'import', '{"review":"rejected"}', '{"review":"pending"}', ?)
        "#,
        group,
        task,
        actor.who,
        note
    )
    .execute(connection)
    .await?;
    Ok(())
}

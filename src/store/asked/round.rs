//! Tables `round` and `candidate`: what became of everything that a round brought, written together.

use super::bulk_guard;
use super::evolution::NewEvolution;
use crate::store::rows::json_rows;
use crate::store::{Result, Store};
use crate::task::{Instance, Origin, Review};
use sqlx::SqliteConnection;

/// Rounds that are over, with the verdict on each of their candidates.
#[derive(Debug, Clone)]
pub struct Admission {
    /// The run that asked.
    pub run_id: i64,
    /// In order.
    pub rounds: Vec<AdmittedRound>,
}

/// One of them.
#[derive(Debug, Clone)]
pub struct AdmittedRound {
    /// Its number.
    pub round: u64,
    /// Which task it rewrote, where it did.
    pub evolution: Option<NewEvolution>,
    /// In the order in which they stood in the answer.
    pub instructions: Vec<AdmittedInstruction>,
}

/// An instruction that was parsed; accepted when nothing speaks against it.
#[derive(Debug, Clone)]
pub struct AdmittedInstruction {
    /// The answer it stood in.
    pub request_id: i64,
    /// Its text.
    pub text: String,
    /// What stage 2 said; false where it was not asked.
    pub is_classification: bool,
    /// Why it is turned down.
    pub rejection: Option<Rejection>,
    /// What stage 3 made of it.
    pub instances: Vec<AdmittedInstance>,
}

/// An instance that was parsed.
#[derive(Debug, Clone)]
pub struct AdmittedInstance {
    /// The answer it stood in.
    pub request_id: i64,
    /// Its texts.
    pub instance: Instance,
    /// Why it is turned down.
    pub rejection: Option<Rejection>,
}

/// Another task, which may be so new that it has no id yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Similar {
    /// A stored task's id.
    Task(i64),
    /// The n-th accepted instruction of the same admission.
    Fresh(usize),
}

/// Why a candidate was turned down.
#[derive(Debug, Clone)]
pub struct Rejection {
    /// Reason code.
    pub reason: String,
    /// What exactly was found; may be empty.
    pub detail: String,
    /// The task it is too similar to, and its ROUGE-L F1.
    pub nearest: Option<(Similar, f64)>,
}

impl Rejection {
    /// A rejection that has to do with no other task.
    pub fn new(reason: &str, detail: String) -> Self {
        Rejection {
            reason: reason.to_string(),
            detail,
            nearest: None,
        }
    }

    /// The detail, when there is one.
    fn detail(&self) -> Option<String> {
        (!self.detail.is_empty()).then(|| self.detail.clone())
    }
}

/// A task as candidates are compared with it.
#[derive(Debug, Clone)]
pub struct PoolTask {
    /// Its id.
    pub id: i64,
    /// What candidates are compared with.
    pub instruction: String,
    /// Where it came from.
    pub origin: Origin,
    /// What people think of it.
    pub review: Review,
    /// The round it was admitted in; none for what no round made.
    pub round: Option<i64>,
    /// The task it was made of; none for one that was not made of another.
    pub parent_task_id: Option<i64>,
}

/// Whether an instruction that was rejected for this reason, or for none, is unlike all tasks; none where it was not
/// compared with them.
pub fn is_new(reason: Option<&str>) -> Option<bool> {
    match reason {
        None | Some("over_target" | "no_valid_instance" | "unclear_label" | "unclear_equality") => Some(true),
        Some("near_duplicate" | "no_gain") => Some(false),
        Some(_) => None,
    }
}

impl Store {
    /// All tasks, rejected ones too, in the order of their admission: what no round made first. Tasks whose import was taken
    /// back are none.
    pub async fn pool(&self) -> Result<Vec<PoolTask>> {
        Ok(sqlx::query_as!(
            PoolTask,
            r#"
            SELECT
                task.id AS "id!", task.instruction, task.origin AS "origin: Origin", task.review AS "review: Review",
                task.round, evolution.parent_task_id AS "parent_task_id?"
            FROM task
            LEFT JOIN evolution ON evolution.round = task.round
            WHERE task.id NOT IN (SELECT task_id FROM withdrawn)
            ORDER BY task.round IS NOT NULL, task.round, task.id
            "#
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// How many machine-made tasks are in the dataset.
    pub async fn accepted_machine_tasks(&self) -> Result<u64> {
        let count = sqlx::query_scalar!(
            r#"
            SELECT count(*) AS "count!: i64"
            FROM task
            WHERE origin = 'machine' AND review <> 'rejected'
            "#
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(count as u64)
    }

    /// The number of the first round that was not admitted yet.
    pub async fn next_round(&self) -> Result<u64> {
        let next = sqlx::query_scalar!(
            r#"
            SELECT coalesce(max(round) + 1, 0) AS "next!: i64"
            FROM round
            "#
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(next as u64)
    }

    /// Of the last instructions that were compared with the pool, oldest first: was each one new, or a near-duplicate?
    pub async fn last_novelties(&self, count: usize, since_run: i64) -> Result<Vec<bool>> {
        let count = count as i64;
        let mut reasons = sqlx::query_scalar!(
            "
            SELECT reason
            FROM candidate
            WHERE kind = 'instruction'
                AND run_id >= ?
                AND (
                    verdict = 'accepted'
                    OR reason IN (
                        'near_duplicate', 'no_gain', 'over_target', 'no_valid_instance', 'unclear_label',
                        'unclear_equality'
                    )
                )
            ORDER BY id DESC
            LIMIT ?
            ",
            since_run,
            count
        )
        .fetch_all(&self.pool)
        .await?;
        reasons.reverse();
        Ok(reasons
            .iter()
            .filter_map(|reason| is_new(reason.as_deref()))
            .collect())
    }

    /// How many rounds at the end, since a run and up to `most`, brought no task, though there were candidates.
    pub async fn fruitless_rounds(&self, most: u64, since_run: i64) -> Result<u64> {
        let most = most as i64;
        let accepted = sqlx::query_scalar!(
            "
            SELECT accepted
            FROM round
            WHERE run_id >= ?
                AND parsed > 0
            ORDER BY round DESC
            LIMIT ?
            ",
            since_run,
            most
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(accepted.iter().take_while(|accepted| **accepted == 0).count() as u64)
    }

    /// Why instructions of a round and those after it were turned away: each reason and how often, most frequent first.
    pub async fn rejections_since(&self, round: u64) -> Result<Vec<(String, u64)>> {
        let round = round as i64;
        let rows = sqlx::query!(
            r#"
            SELECT reason AS "reason!", count(*) AS "count!: i64"
            FROM candidate
            WHERE round >= ?
                AND kind = 'instruction'
                AND verdict = 'rejected'
            GROUP BY reason
            ORDER BY 2 DESC, 1
            "#,
            round
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| (row.reason, row.count as u64))
            .collect())
    }

    /// Stores everything about some rounds in one transaction; returns the new tasks in order.
    pub async fn admit(&self, admission: &Admission) -> Result<Vec<PoolTask>> {
        let mut transaction = self.write().await?;
        let next = NextIds {
            task: bulk_guard::begin(&mut transaction).await?,
            candidate: sqlx::query_scalar!(
                r#"SELECT coalesce(max(id), 0) + 1 AS "next!: i64" FROM candidate"#
            )
            .fetch_one(&mut *transaction)
            .await?,
        };
        let rows = Rows::of(admission, &next);
        rows.insert(&mut transaction, admission.run_id).await?;
        bulk_guard::end(&mut transaction, next.task).await?;
        for round in &admission.rounds {
            if let Some(evolution) = &round.evolution {
                evolution.insert(&mut transaction, round.round as i64).await?;
            }
        }
        transaction.commit().await?;
        Ok(rows.into_pool_tasks())
    }
}

/// The ids that the next rows get. Nobody else takes them while the write lock is held.
struct NextIds {
    task: i64,
    candidate: i64,
}

/// The rows of an admission. Each table's go to SQLite as one JSON array: a statement for each row would wake its thread
/// for each row, which costs more than the row.
#[derive(Default)]
struct Rows<'a> {
    tasks: Vec<TaskRow<'a>>,
    instances: Vec<InstanceRow<'a>>,
    candidates: Vec<CandidateRow<'a>>,
    rounds: Vec<RoundRow>,
    /// What each of `tasks` was made of.
    parents: Vec<Option<i64>>,
}

/// `id`, `instruction`, `length`, `is_classification`, `request_id`, `round`
#[derive(serde::Serialize)]
struct TaskRow<'a>(i64, &'a str, i64, bool, i64, u64);

/// `task_id`, `ordinal`, `input`, `output`
#[derive(serde::Serialize)]
struct InstanceRow<'a>(i64, usize, &'a str, &'a str);

/// `round`, `parsed`, `accepted`
#[derive(serde::Serialize)]
struct RoundRow(u64, usize, usize);

/// Columns of `candidate`.
#[derive(serde::Serialize)]
struct CandidateRow<'a> {
    id: i64,
    round: u64,
    request_id: i64,
    kind: &'static str,
    parent_id: Option<i64>,
    task_id: Option<i64>,
    instruction: &'a str,
    input: Option<&'a str>,
    output: Option<&'a str>,
    verdict: &'static str,
    reason: Option<&'a str>,
    detail: Option<String>,
    nearest_task_id: Option<i64>,
    rouge_l: Option<f64>,
}

impl<'a> Rows<'a> {
    fn of(admission: &'a Admission, next: &NextIds) -> Rows<'a> {
        let mut rows = Rows::default();
        for round in &admission.rounds {
            let tasks_before = rows.tasks.len();
            let candidates_before = rows.candidates.len();
            for instruction in &round.instructions {
                rows.add(round.round, instruction, next);
            }
            let parent = round.evolution.map(|evolution| evolution.parent_task_id);
            rows.parents.resize(rows.tasks.len(), parent);
            rows.rounds.push(RoundRow(
                round.round,
                rows.candidates.len() - candidates_before,
                rows.tasks.len() - tasks_before,
            ));
        }
        rows
    }

    /// Adds an instruction and its instances.
    fn add(&mut self, round: u64, instruction: &'a AdmittedInstruction, next: &NextIds) {
        let rejection = instruction.rejection.as_ref();
        let task_id = rejection.is_none().then_some(next.task + self.tasks.len() as i64);
        if let Some(task_id) = task_id {
            let good: Vec<&Instance> = instruction
                .instances
                .iter()
                .filter(|instance| instance.rejection.is_none())
                .map(|AdmittedInstance { instance, .. }| instance)
                .collect();
            self.tasks.push(TaskRow(
                task_id,
                &instruction.text,
                bulk_guard::length(&instruction.text, good.iter().copied()),
                instruction.is_classification,
                instruction.request_id,
                round,
            ));
            let rows = good.iter().enumerate();
            self.instances.extend(
                rows.map(|(ordinal, instance)| {
                    InstanceRow(task_id, ordinal, &instance.input, &instance.output)
                }),
            );
        }
        let parent_id = next.candidate + self.candidates.len() as i64;
        let nearest = rejection.and_then(|rejection| rejection.nearest);
        self.candidates.push(CandidateRow {
            id: parent_id,
            round,
            request_id: instruction.request_id,
            kind: "instruction",
            parent_id: None,
            task_id,
            instruction: &instruction.text,
            input: None,
            output: None,
            verdict: verdict(rejection),
            reason: rejection.map(|rejection| rejection.reason.as_str()),
            detail: rejection.and_then(Rejection::detail),
            nearest_task_id: nearest.map(|(similar, _)| match similar {
                Similar::Task(id) => id,
                Similar::Fresh(place) => next.task + place as i64,
            }),
            rouge_l: nearest.map(|(_, rouge_l)| rouge_l),
        });
        for instance in &instruction.instances {
            // Good instances of an instruction that is turned down go with it.
            let (reason, detail) = match (&instance.rejection, rejection) {
                (Some(own), _) => (Some(own.reason.as_str()), own.detail()),
                (None, Some(with)) => (Some("instruction_rejected"), Some(with.reason.clone())),
                (None, None) => (None, None),
            };
            self.candidates.push(CandidateRow {
                id: next.candidate + self.candidates.len() as i64,
                round,
                request_id: instance.request_id,
                kind: "instance",
                parent_id: Some(parent_id),
                task_id: task_id.filter(|_| reason.is_none()),
                instruction: &instruction.text,
                input: Some(&instance.instance.input),
                output: Some(&instance.instance.output),
                verdict: if reason.is_some() { "rejected" } else { "accepted" },
                reason,
                detail,
                nearest_task_id: None,
                rouge_l: None,
            });
        }
    }

    async fn insert(&self, connection: &mut SqliteConnection, run_id: i64) -> Result<()> {
        let tasks = json_rows(&self.tasks);
        sqlx::query!(
            "
            INSERT INTO task (id, instruction, length, is_classification, request_id, round, run_id, origin)
            SELECT
                value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, ?, 'machine'
            FROM json_each(?)
            ",
            run_id,
            tasks
        )
        .execute(&mut *connection)
        .await?;
        let instances = json_rows(&self.instances);
        sqlx::query!(
            "
            INSERT INTO instance (task_id, ordinal, input, output)
            SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3
            FROM json_each(?)
            ",
            instances
        )
        .execute(&mut *connection)
        .await?;
        let candidates = json_rows(&self.candidates);
        sqlx::query!(
            "
            INSERT INTO candidate (
                id, run_id, round, request_id, kind, parent_id, task_id, instruction, input, output, verdict, reason,
                detail, nearest_task_id, rouge_l
            )
            SELECT
                value ->> 'id', ?, value ->> 'round', value ->> 'request_id', value ->> 'kind', value ->> 'parent_id',
                value ->> 'task_id', value ->> 'instruction', value ->> 'input', value ->> 'output',
                value ->> 'verdict', value ->> 'reason', value ->> 'detail', value ->> 'nearest_task_id',
                value ->> 'rouge_l'
            FROM json_each(?)
            ",
            run_id,
            candidates
        )
        .execute(&mut *connection)
        .await?;
        let rounds = json_rows(&self.rounds);
        sqlx::query!(
            "
            INSERT INTO round (round, run_id, parsed, accepted)
            SELECT value ->> 0, ?, value ->> 1, value ->> 2
            FROM json_each(?)
            ",
            run_id,
            rounds
        )
        .execute(&mut *connection)
        .await?;
        Ok(())
    }

    fn into_pool_tasks(self) -> Vec<PoolTask> {
        self.tasks
            .into_iter()
            .zip(self.parents)
            .map(|(TaskRow(id, instruction, .., round), parent_task_id)| PoolTask {
                id,
                instruction: instruction.to_string(),
                origin: Origin::Machine,
                review: Review::Pending,
                round: Some(round as i64),
                parent_task_id,
            })
            .collect()
    }
}

fn verdict(rejection: Option<&Rejection>) -> &'static str {
    if rejection.is_some() {
        "rejected"
    } else {
        "accepted"
    }
}

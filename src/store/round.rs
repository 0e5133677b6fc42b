//! Tables `round` and `candidate`: what became of everything that a round brought, written together.

use super::evolution::NewEvolution;
use super::{NewTask, Result, Store, task};
use crate::task::{Instance, Origin, Review, Task};
use sqlx::SqliteConnection;

/// A round that is over, with the verdict on each of its candidates.
#[derive(Debug, Clone)]
pub struct Admission {
    /// The run that asked.
    pub run_id: i64,
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
    /// An accepted instruction of the same admission, by its position.
    SameRound(usize),
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
    /// All tasks, rejected ones too, in the order of their admission: what no round made first.
    pub async fn pool(&self) -> Result<Vec<PoolTask>> {
        Ok(sqlx::query_as!(
            PoolTask,
            r#"
            SELECT
                task.id AS "id!", task.instruction, task.origin AS "origin: Origin", task.review AS "review: Review",
                task.round, evolution.parent_task_id AS "parent_task_id?"
            FROM task
            LEFT JOIN evolution ON evolution.round = task.round
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
    pub async fn last_novelties(&self, count: usize) -> Result<Vec<bool>> {
        let count = count as i64;
        let mut reasons = sqlx::query_scalar!(
            "
            SELECT reason
            FROM candidate
            WHERE kind = 'instruction'
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

    /// Stores everything about a round in one transaction; returns the new tasks in order.
    pub async fn admit(&self, admission: &Admission) -> Result<Vec<PoolTask>> {
        let mut transaction = self.write().await?;
        let mut tasks = Vec::new();
        let mut ids = vec![None; admission.instructions.len()];
        let mut parsed = 0;
        for (position, instruction) in admission.instructions.iter().enumerate() {
            parsed += 1 + instruction.instances.len() as i64;
            let resolve = |similar: Similar, ids: &[Option<i64>]| match similar {
                Similar::Task(id) => Some(id),
                Similar::SameRound(position) => ids[position],
            };
            if instruction.rejection.is_none() {
                let id = task::insert(&mut transaction, &new_task(admission, instruction)).await?;
                ids[position] = Some(id);
                tasks.push(PoolTask {
                    id,
                    instruction: instruction.text.clone(),
                    origin: Origin::Machine,
                    review: Review::Pending,
                    round: Some(admission.round as i64),
                    parent_task_id: admission.evolution.map(|evolution| evolution.parent_task_id),
                });
            }
            let mut row = Candidate {
                kind: "instruction",
                request_id: instruction.request_id,
                parent_id: None,
                task_id: ids[position],
                instruction: &instruction.text,
                instance: None,
                rejection: instruction.rejection.as_ref(),
                nearest: None,
            };
            row.nearest = row
                .rejection
                .and_then(|rejection| rejection.nearest)
                .map(|(similar, rouge_l)| (resolve(similar, &ids), rouge_l));
            let parent_id = row.insert(&mut transaction, admission).await?;
            // Good instances of an instruction that is turned down go with it.
            let with_it = instruction
                .rejection
                .as_ref()
                .map(|rejection| Rejection::new("instruction_rejected", rejection.reason.clone()));
            for instance in &instruction.instances {
                let rejection = instance.rejection.as_ref().or(with_it.as_ref());
                Candidate {
                    kind: "instance",
                    request_id: instance.request_id,
                    parent_id: Some(parent_id),
                    task_id: ids[position].filter(|_| rejection.is_none()),
                    instruction: &instruction.text,
                    instance: Some(&instance.instance),
                    rejection,
                    nearest: None,
                }
                .insert(&mut transaction, admission)
                .await?;
            }
        }
        let (round, accepted) = (admission.round as i64, tasks.len() as i64);
        sqlx::query!(
            "
            INSERT INTO round (round, run_id, parsed, accepted)
            VALUES (?, ?, ?, ?)
            ",
            round,
            admission.run_id,
            parsed,
            accepted
        )
        .execute(&mut *transaction)
        .await?;
        if let Some(evolution) = &admission.evolution {
            evolution.insert(&mut transaction, round).await?;
        }
        transaction.commit().await?;
        Ok(tasks)
    }
}

fn new_task(admission: &Admission, instruction: &AdmittedInstruction) -> NewTask {
    let good = instruction
        .instances
        .iter()
        .filter(|instance| instance.rejection.is_none());
    let task = Task {
        name: None,
        instruction: instruction.text.clone(),
        instances: good.map(|instance| instance.instance.clone()).collect(),
        is_classification: instruction.is_classification,
    };
    NewTask {
        request_id: Some(instruction.request_id),
        round: Some(admission.round as i64),
        run_id: Some(admission.run_id),
        ..NewTask::new(task, Origin::Machine)
    }
}

/// A row of `candidate`.
struct Candidate<'a> {
    kind: &'static str,
    request_id: i64,
    parent_id: Option<i64>,
    task_id: Option<i64>,
    instruction: &'a str,
    instance: Option<&'a Instance>,
    rejection: Option<&'a Rejection>,
    nearest: Option<(Option<i64>, f64)>,
}

impl Candidate<'_> {
    async fn insert(&self, connection: &mut SqliteConnection, admission: &Admission) -> Result<i64> {
        let round = admission.round as i64;
        let verdict = if self.rejection.is_some() {
            "rejected"
        } else {
            "accepted"
        };
        let reason = self.rejection.map(|rejection| rejection.reason.as_str());
        let detail = self
            .rejection
            .map(|rejection| rejection.detail.as_str())
            .filter(|detail| !detail.is_empty());
        let (input, output) = (
            self.instance.map(|i| i.input.as_str()),
            self.instance.map(|i| i.output.as_str()),
        );
        let (nearest_task_id, rouge_l) = (self.nearest.and_then(|n| n.0), self.nearest.map(|n| n.1));
        let row = sqlx::query!(
            "
            INSERT INTO candidate (
                run_id, round, request_id, kind, parent_id, task_id, instruction, input, output, verdict, reason,
                detail, nearest_task_id, rouge_l
            )
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            ",
            admission.run_id,
            round,
            self.request_id,
            self.kind,
            self.parent_id,
            self.task_id,
            self.instruction,
            input,
            output,
            verdict,
            reason,
            detail,
            nearest_task_id,
            rouge_l
        )
        .execute(connection)
        .await?;
        Ok(row.last_insert_rowid())
    }
}

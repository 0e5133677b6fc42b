//! Tables `round` and `candidate`: the rounds with the verdicts on all their candidates.

use super::bulk_guard;
use super::evolution::NewEvolution;
use crate::store::documents::grounding::NewGrounding;
use crate::store::rows::json_rows;
use crate::store::{Result, Store};
use crate::task::{Candidate, InstanceCandidate, Nearest, Origin, Reason, Review, TaskRef, Turn, Verdict};
use sqlx::SqliteConnection;

/// Finished rounds, with verdicts on all their candidates.
#[derive(Debug, Clone)]
pub struct Admission {
    /// The run of the rounds.
    pub run_id: i64,
    /// The rounds in order.
    pub rounds: Vec<AdmittedRound>,
}

/// A finished round.
#[derive(Debug, Clone)]
pub struct AdmittedRound {
    /// Its number.
    pub round: u64,
    /// The task that it rewrote, if it did.
    pub evolution: Option<NewEvolution>,
    /// The passages that it asked about, if it did.
    pub grounding: Option<NewGrounding>,
    /// Its candidates, in the order of the response.
    pub candidates: Vec<Candidate>,
}

/// A task of the pool: candidates are compared with it, and prompts may show it.
#[derive(Debug, Clone)]
pub struct PoolTask {
    /// Its id.
    pub id: i64,
    /// Its instruction, which candidates are compared with.
    pub instruction: String,
    /// Its origin.
    pub origin: Origin,
    /// A person's decision on it.
    pub review: Review,
    /// The round that admitted it; `None` for seeds and imports.
    pub round: Option<i64>,
    /// The task that it was rewritten from, or that it continues, if any.
    pub parent_task_id: Option<i64>,
    /// Whether it continues its parent as a conversation: its question is that of the parent.
    pub is_continuation: bool,
    /// Whether it is held out for evaluation, so that no prompt may show it.
    pub is_held_out: bool,
}

impl Store {
    /// All tasks, also rejected ones, in the order of admission: seeds and imports first. Tasks
    /// whose import was undone are left out.
    pub async fn pool(&self) -> Result<Vec<PoolTask>> {
        Ok(sqlx::query_as!(
            PoolTask,
            r#"
            SELECT
                task.id AS "id!", task.instruction, task.origin AS "origin: Origin", task.review AS "review: Review",
                task.round, evolution.parent_task_id AS "parent_task_id?",
                evolution.operator IS 'continue' AS "is_continuation!: bool",
                EXISTS (SELECT 1 FROM held_out WHERE held_out.task_id = task.id) AS "is_held_out!: bool"
            FROM task
            LEFT JOIN evolution ON evolution.round = task.round
            WHERE task.id NOT IN (SELECT task_id FROM withdrawn)
            ORDER BY task.round IS NOT NULL, task.round, task.id
            "#
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// The number of machine-made tasks in the dataset.
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

    /// The number of the next round.
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

    /// Whether each of the last instructions that were compared with the pool was new, oldest
    /// first.
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
            .filter_map(|reason| match reason {
                Some(code) => Reason::of_code(code)?.is_new(),
                None => Some(true),
            })
            .collect())
    }

    /// The number of last rounds that had candidates but added no task, up to `most`, beginning
    /// with the run `since_run`.
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

    /// The reasons of rejected instructions since a round, as codes with their numbers, most
    /// frequent first. A code may be one that only another version of ewe knows.
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

    /// Stores rounds in one transaction, and returns the new tasks in order.
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
        let rows = AdmissionRows::of(admission, &next);
        rows.insert(&mut transaction, admission.run_id).await?;
        bulk_guard::end(&mut transaction, next.task).await?;
        for round in &admission.rounds {
            if let Some(evolution) = &round.evolution {
                evolution.insert(&mut transaction, round.round as i64).await?;
            }
            if let Some(grounding) = &round.grounding {
                grounding.insert(&mut transaction, round.round as i64).await?;
            }
        }
        transaction.commit().await?;
        Ok(rows.into_pool_tasks())
    }
}

/// The ids of the next rows. No other writer takes them while the write lock is held.
struct NextIds {
    task: i64,
    candidate: i64,
}

/// The rows of an admission. SQLite gets those of a table as one JSON array: a statement per row
/// would wake its thread for every row, which costs more than the row.
#[derive(Default)]
struct AdmissionRows<'a> {
    tasks: Vec<AdmittedTaskRow<'a>>,
    instances: Vec<AdmittedInstanceRow<'a>>,
    candidates: Vec<CandidateRow<'a>>,
    rounds: Vec<RoundRow>,
    /// The round that made each of `tasks` of another one.
    parents: Vec<Option<NewEvolution>>,
}

/// `id`, `instruction`, `length`, `is_classification`, `request_id`, `round`, `system`
#[derive(serde::Serialize)]
struct AdmittedTaskRow<'a>(i64, &'a str, i64, bool, i64, u64, Option<&'a str>);

/// `task_id`, `ordinal`, `input`, `output`, `turns`
#[derive(serde::Serialize)]
struct AdmittedInstanceRow<'a>(i64, usize, &'a str, &'a str, Option<String>);

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
    reason: Option<Reason>,
    detail: Option<String>,
    nearest_task_id: Option<i64>,
    rouge_l: Option<f64>,
}

impl<'a> AdmissionRows<'a> {
    fn of(admission: &'a Admission, next: &NextIds) -> AdmissionRows<'a> {
        let mut rows = AdmissionRows::default();
        for round in &admission.rounds {
            let tasks_before = rows.tasks.len();
            let candidates_before = rows.candidates.len();
            for candidate in &round.candidates {
                rows.add(round.round, candidate, next);
            }
            rows.parents.resize(rows.tasks.len(), round.evolution);
            rows.rounds.push(RoundRow(
                round.round,
                rows.candidates.len() - candidates_before,
                rows.tasks.len() - tasks_before,
            ));
        }
        rows
    }

    /// Adds the rows of a candidate: its instruction, its instances, and its task if it is
    /// accepted.
    fn add(&mut self, round: u64, candidate: &'a Candidate, next: &NextIds) {
        let task_id = candidate
            .verdict
            .is_accepted()
            .then_some(next.task + self.tasks.len() as i64);
        if let Some(task_id) = task_id {
            self.add_task(task_id, round, candidate);
        }
        let verdict = &candidate.verdict;
        let nearest_id = |nearest: Nearest| match nearest.task {
            TaskRef::Stored(id) => Some(id),
            TaskRef::Fresh(place) => Some(next.task + place as i64),
            TaskRef::Row { .. } => None,
        };
        let parent_id = next.candidate + self.candidates.len() as i64;
        self.candidates.push(CandidateRow {
            id: parent_id,
            round,
            request_id: candidate.request_id,
            kind: "instruction",
            parent_id: None,
            task_id,
            instruction: &candidate.instruction,
            input: None,
            output: None,
            verdict: verdict.as_str(),
            reason: verdict.reason,
            detail: detail(verdict),
            nearest_task_id: verdict.nearest.and_then(nearest_id),
            rouge_l: verdict.nearest.and_then(|nearest| nearest.rouge_l),
        });
        for instance in &candidate.instances {
            let verdict = of_instance(instance, verdict);
            self.candidates.push(CandidateRow {
                id: next.candidate + self.candidates.len() as i64,
                round,
                request_id: instance.request_id,
                kind: "instance",
                parent_id: Some(parent_id),
                task_id: task_id.filter(|_| verdict.is_accepted()),
                instruction: &candidate.instruction,
                input: Some(&instance.instance.input),
                output: Some(&instance.instance.output),
                verdict: verdict.as_str(),
                reason: verdict.reason,
                detail: detail(&verdict),
                nearest_task_id: None,
                rouge_l: None,
            });
        }
    }

    /// Adds the task of an accepted candidate, with its accepted instances.
    fn add_task(&mut self, task_id: i64, round: u64, candidate: &'a Candidate) {
        let instances = candidate.task_instances();
        let opening = candidate.opening.as_ref();
        self.tasks.push(AdmittedTaskRow(
            task_id,
            &candidate.instruction,
            bulk_guard::length(
                &candidate.instruction,
                instances.iter().map(|(instance, _)| *instance),
            ),
            candidate.is_classification,
            candidate.request_id,
            round,
            opening.and_then(|opening| opening.system.as_deref()),
        ));
        let rows = instances.into_iter().enumerate();
        self.instances.extend(rows.map(|(ordinal, (instance, turns))| {
            let turns = Turn::list_to_column(&turns);
            AdmittedInstanceRow(task_id, ordinal, &instance.input, &instance.output, turns)
        }));
    }

    async fn insert(&self, connection: &mut SqliteConnection, run_id: i64) -> Result<()> {
        let tasks = json_rows(&self.tasks);
        sqlx::query!(
            "
            INSERT INTO task (id, instruction, length, is_classification, request_id, round, system, run_id, origin)
            SELECT
                value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, ?,
                'machine'
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
            INSERT INTO instance (task_id, ordinal, input, output, turns)
            SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4
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
            .map(
                |(AdmittedTaskRow(id, instruction, _, _, _, round, _), made_of)| PoolTask {
                    id,
                    instruction: instruction.to_string(),
                    origin: Origin::Machine,
                    review: Review::Pending,
                    round: Some(round as i64),
                    parent_task_id: made_of.map(|made_of| made_of.parent_task_id),
                    is_continuation: made_of.is_some_and(|made_of| made_of.is_continuation()),
                    is_held_out: false,
                },
            )
            .collect()
    }
}

/// The verdict on an instance. An accepted instance of a rejected instruction is rejected with it.
fn of_instance(instance: &InstanceCandidate, instruction: &Verdict) -> Verdict {
    match (instance.verdict.reason, instruction.reason) {
        (None, Some(reason)) => Verdict::rejected(Reason::InstructionRejected, reason.code()),
        _ => instance.verdict.clone(),
    }
}

/// The detail of a verdict; `None` if it is empty.
fn detail(verdict: &Verdict) -> Option<String> {
    (!verdict.detail.is_empty()).then(|| verdict.detail.clone())
}

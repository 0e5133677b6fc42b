//! Rejected candidates: what the rules threw away, a page at a time, the latest first.
//!
//! A candidate that was rescued keeps its verdict, so that accepted and rejected ones still add up
//! to all; `task_id` says what became of it.

use super::sql::{Sql, SqlValue};
use crate::store::rows::json_rows;
use crate::store::{Error, Result, Store};

/// Which rejected candidates.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CandidateFilter {
    /// Only those rejected for this reason, a code.
    pub reason: Option<String>,
    /// Only those of this run.
    pub run_id: Option<i64>,
    /// Only those with these letters in a text or in what was found, in any case.
    pub text: Option<String>,
    /// Only those that are rescued, or those that are not.
    pub rescued: Option<bool>,
    /// Not those that were rejected only with their instruction, unless a reason is given: they are
    /// shown with it.
    pub alone: bool,
}

/// A rejected candidate.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct RejectedCandidate {
    /// Its id.
    pub id: i64,
    /// The run that asked for it.
    pub run_id: i64,
    /// Its round.
    pub round: i64,
    /// The request whose response has it.
    pub request_id: i64,
    /// `instruction` or `instance`.
    pub kind: String,
    /// The instruction that an instance was generated for, a candidate.
    pub parent_id: Option<i64>,
    /// What to do.
    pub instruction: String,
    /// The input of an instance.
    pub input: Option<String>,
    /// The output of an instance.
    pub output: Option<String>,
    /// Why it was rejected, a code.
    pub reason: String,
    /// What exactly was found, if the reason does not say everything.
    pub detail: Option<String>,
    /// The task that it was compared with.
    pub nearest_task_id: Option<i64>,
    /// That task's instruction.
    pub nearest: Option<String>,
    /// ROUGE-L F1 with that task, 0 to 1.
    pub rouge_l: Option<f64>,
    /// The task that it became when somebody rescued it, unless that was undone.
    pub rescued_as: Option<i64>,
    /// When it was stored, in UTC.
    pub created_at: String,
}

/// A rejected candidate with its instances.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct CandidateView {
    /// The candidate.
    #[serde(flatten)]
    pub candidate: RejectedCandidate,
    /// The instances of an instruction, in the order of the response.
    pub instances: Vec<RejectedCandidate>,
    /// The instances that a task made of it has; empty if somebody is to write the output.
    pub takes: Vec<i64>,
}

/// How many candidates were rejected for a reason.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ReasonCount {
    /// The code.
    pub reason: String,
    /// How many, up to the number that was asked for.
    pub candidates: i64,
}

impl CandidateFilter {
    /// Appends the conditions.
    fn push(&self, sql: &mut Sql) {
        if let Some(reason) = &self.reason {
            sql.push(" AND reason = ?").values(&[reason.as_str().into()]);
        }
        if let Some(run_id) = self.run_id {
            sql.push(" AND run_id = ?").values(&[run_id.into()]);
        }
        if let Some(text) = self.text.as_deref().filter(|text| !text.trim().is_empty()) {
            let escaped = text
                .trim()
                .replace('\\', "\\\\")
                .replace('%', "\\%")
                .replace('_', "\\_");
            let pattern: SqlValue = format!("%{escaped}%").as_str().into();
            let places = ["instruction", "input", "output", "detail"];
            let each: Vec<String> = places
                .iter()
                .map(|name| format!("{name} LIKE ? ESCAPE '\\'"))
                .collect();
            sql.push(" AND (").push(&each.join(" OR ")).push(")");
            sql.values(&vec![pattern; places.len()]);
        }
        match self.rescued {
            Some(true) => {
                sql.push(" AND task_id IS NOT NULL AND task_id NOT IN (SELECT task_id FROM withdrawn)")
            }
            Some(false) => sql.push(" AND (task_id IS NULL OR task_id IN (SELECT task_id FROM withdrawn))"),
            None => sql,
        };
        if self.alone && self.reason.is_none() {
            sql.push(" AND reason <> 'instruction_rejected'");
        }
    }

    /// Builds a query over the candidates that pass.
    fn statement(&self, what: &str) -> Sql {
        let mut sql = Sql::default();
        // The index has the candidates of a reason in order of ids; others are read in that order.
        let index = match self.reason {
            Some(_) => " INDEXED BY candidate_by_verdict",
            None => " NOT INDEXED",
        };
        sql.push("SELECT ").push(what).push(" FROM candidate").push(index);
        sql.push(" WHERE verdict = 'rejected'");
        self.push(&mut sql);
        sql
    }
}

impl Store {
    /// Returns a page of the rejected candidates that pass `filter`, the latest first, of those
    /// before the candidate `before`, or from the latest on.
    pub async fn candidates(
        &self,
        filter: &CandidateFilter,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<RejectedCandidate>> {
        let mut sql = filter.statement("id");
        if let Some(before) = before {
            sql.push(" AND id < ?").values(&[before.into()]);
        }
        sql.push(" ORDER BY id DESC LIMIT ?").values(&[limit.into()]);
        let ids = self.numbers(sql).await?;
        let mut rows = self.rejected(&ids).await?;
        rows.sort_by_key(|row| std::cmp::Reverse(row.id));
        Ok(rows)
    }

    /// Counts the rejected candidates that pass `filter`, up to `most`.
    pub async fn count_candidates(&self, filter: &CandidateFilter, most: i64) -> Result<i64> {
        let mut sql = Sql::default();
        sql.push("SELECT count(*) FROM (");
        sql.append(filter.statement("1"));
        sql.push(" LIMIT ?)").values(&[most.into()]);
        Ok(self.numbers(sql).await?.iter().sum())
    }

    /// Counts the rejected candidates of each reason, each up to `most`, the most frequent first.
    pub async fn candidate_reasons(&self, most: i64) -> Result<Vec<ReasonCount>> {
        let mut counts = Vec::new();
        // A statement has at most 500 parts.
        for reasons in self.reasons().await?.chunks(400) {
            let mut sql = Sql::default();
            for (place, reason) in reasons.iter().enumerate() {
                sql.push(if place > 0 { " UNION ALL " } else { "" })
                    .push("SELECT count(*) FROM (SELECT 1 FROM candidate INDEXED BY candidate_by_verdict ")
                    .push("WHERE verdict = 'rejected' AND reason = ? LIMIT ?)")
                    .values(&[reason.as_str().into(), most.into()]);
            }
            let of_these = self.numbers(sql).await?;
            let named = reasons.iter().zip(of_these);
            counts.extend(named.map(|(reason, candidates)| ReasonCount {
                reason: reason.clone(),
                candidates,
            }));
        }
        counts.sort_by(|one, other| (other.candidates, &one.reason).cmp(&(one.candidates, &other.reason)));
        Ok(counts)
    }

    /// Returns one rejected candidate with its instances.
    ///
    /// # Errors
    ///
    /// [`Error::NoCandidate`].
    pub async fn candidate(&self, id: i64) -> Result<CandidateView> {
        let candidate = self.rejected(&[id]).await?.pop();
        let candidate = candidate.ok_or(Error::NoCandidate { id })?;
        let instances = match candidate.kind.as_str() {
            "instruction" => self.rejected(&self.fell_with(&candidate).await?).await?,
            _ => Vec::new(),
        };
        let takes = match candidate.kind.as_str() {
            "instruction" => taken(&instances),
            _ => vec![id],
        };
        Ok(CandidateView {
            candidate,
            instances,
            takes,
        })
    }

    /// Returns the rejected instances of an instruction.
    async fn fell_with(&self, instruction: &RejectedCandidate) -> Result<Vec<i64>> {
        // All of a round, which has an index.
        let mut sql = Sql::default();
        sql.push("SELECT id FROM candidate INDEXED BY candidate_by_round WHERE round = ? AND parent_id = ?")
            .push(" AND verdict = 'rejected' ORDER BY id")
            .values(&[instruction.round.into(), instruction.id.into()]);
        self.numbers(sql).await
    }

    /// Returns these candidates, without those that were accepted, in order of their ids.
    async fn rejected(&self, ids: &[i64]) -> Result<Vec<RejectedCandidate>> {
        let ids = json_rows(ids);
        Ok(sqlx::query_as!(
            RejectedCandidate,
            r#"
            SELECT
                candidate.id AS "id!", candidate.run_id AS "run_id!", candidate.round AS "round!",
                candidate.request_id AS "request_id!", candidate.kind AS "kind!", candidate.parent_id,
                coalesce(candidate.instruction, '') AS "instruction!: String", candidate.input, candidate.output,
                coalesce(candidate.reason, '') AS "reason!: String", candidate.detail,
                candidate.nearest_task_id, nearest.instruction AS "nearest?", candidate.rouge_l,
                CASE
                    WHEN NOT EXISTS (SELECT 1 FROM withdrawn WHERE withdrawn.task_id = candidate.task_id)
                    THEN candidate.task_id
                END AS "rescued_as: i64",
                candidate.created_at AS "created_at!"
            FROM json_each(?) AS wanted
            CROSS JOIN candidate ON candidate.id = wanted.value AND candidate.verdict = 'rejected'
            LEFT JOIN task AS nearest ON nearest.id = candidate.nearest_task_id
            ORDER BY candidate.id
            "#,
            ids
        )
        .fetch_all(&self.pool)
        .await?)
    }
}

/// Returns the instances that a task made of their instruction has: those with nothing against
/// them but their instruction, or if there are none, all.
fn taken(instances: &[RejectedCandidate]) -> Vec<i64> {
    let ids = |only: fn(&RejectedCandidate) -> bool| -> Vec<i64> {
        instances
            .iter()
            .filter(|row| only(row))
            .map(|row| row.id)
            .collect()
    };
    let good = ids(|row| row.reason == "instruction_rejected");
    match good.is_empty() {
        true => ids(|_| true),
        false => good,
    }
}

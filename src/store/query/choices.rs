//! The choices of a filter in this dataset: its runs, and its reasons of rejections.

use std::time::Duration;

use tokio::time::timeout;

use super::expression::Expression;
use super::sql::Sql;
use crate::store::{Error, FieldError, Filter, Result, Store, fields};
use crate::task::Reason;

/// How long it may take to tell whether a reason has tasks.
const PATIENCE: Duration = Duration::from_millis(50);

/// A run in the list of choices.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RunName {
    /// Its id.
    pub id: i64,
    /// Its command.
    pub command: String,
    /// The model it asked.
    pub model: Option<String>,
}

/// How alike a code must be to be suggested, from 0 to 1 (Jaro-Winkler).
const ALIKE: f64 = 0.8;

impl Store {
    /// Checks that the run, the reviewers and the reason of a filter exist, for people who typed
    /// them: a filter with a wrong name passes no task, and says nothing. A reason exists if it is
    /// a rule's, or somebody gave it.
    ///
    /// # Errors
    ///
    /// [`Error::NoRun`], [`Error::NoReason`], [`TeamError::Nobody`](crate::store::TeamError).
    pub async fn check_choices(&self, filter: &Filter) -> Result<()> {
        if let Some(id) = filter.run_id {
            let mut sql = Sql::default();
            sql.push("SELECT id FROM run WHERE id = ?").values(&[id.into()]);
            if self.numbers(sql).await?.is_empty() {
                return Err(Error::NoRun { id });
            }
        }
        for name in [&filter.assigned_to, &filter.awaiting].into_iter().flatten() {
            self.reviewer(name).await?;
        }
        self.check_fields(filter).await?;
        self.check_criteria(filter).await?;
        let Some(code) = filter.reason.as_deref().map(str::trim) else {
            return Ok(());
        };
        let reason = Some(code.to_owned());
        let filter = Filter {
            reason,
            ..Filter::default()
        };
        if Reason::of_code(code).is_some() || self.count(&filter, Some(1)).await? > 0 {
            return Ok(());
        }
        let known = self.reasons().await?;
        let codes = Reason::ALL.iter().map(|reason| reason.code());
        let likeness = |other: &str| strsim::jaro_winkler(code, other);
        let nearest = codes
            .chain(known.iter().map(String::as_str))
            .filter(|other| likeness(other) >= ALIKE)
            .max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        Err(Error::NoReason {
            code: code.to_owned(),
            nearest: nearest.map(str::to_owned),
        })
    }

    /// Checks that the fields of a filter exist, and may have the values that it names.
    ///
    /// # Errors
    ///
    /// [`FieldError`](crate::store::FieldError).
    pub async fn check_fields(&self, filter: &Filter) -> Result<()> {
        let of_expression = filter.expression.as_ref().filter(|one| one.has_fields());
        if filter.fields.is_empty() && of_expression.is_none() {
            return Ok(());
        }
        let known = self.fields().await?;
        for test in &filter.fields.0 {
            let field = fields::named(&known, &test.name)?;
            if let Some(value) = &test.value {
                field.is_exactly(value)?;
            }
        }
        match of_expression.map(|expression| expression.check(&known)) {
            Some(Err(what)) => Err(FieldError::Where { what }.into()),
            _ => Ok(()),
        }
    }

    /// Checks that judges have scored by the criteria that a filter names; where they have by none,
    /// there is nothing to tell a wrong name from.
    async fn check_criteria(&self, filter: &Filter) -> Result<()> {
        let named = filter.expression.as_ref().map_or(&[][..], Expression::criteria);
        for criterion in named {
            let mut sql = Sql::default();
            sql.push("SELECT criterion FROM criterion_score WHERE criterion = ? LIMIT 1")
                .values(&[criterion.as_str().into()]);
            if !self.texts(sql).await?.is_empty() {
                continue;
            }
            let mut sql = Sql::default();
            sql.push("SELECT DISTINCT criterion FROM criterion_score ORDER BY criterion");
            let known = self.texts(sql).await?;
            if !known.is_empty() {
                let criterion = criterion.clone();
                return Err(Error::NoCriterion { criterion, known });
            }
        }
        Ok(())
    }

    /// Returns the latest runs that have added tasks, the last one first.
    pub async fn runs(&self, limit: i64) -> Result<Vec<RunName>> {
        Ok(sqlx::query_as!(
            RunName,
            "
            SELECT id, command, model
            FROM run
            WHERE EXISTS (SELECT 1 FROM task WHERE task.run_id = run.id)
            ORDER BY id DESC
            LIMIT ?
            ",
            limit
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Returns the reasons that a filter finds tasks by, in order. One that takes longer to tell is
    /// among them: the page waits for these.
    pub async fn reasons_of_tasks(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for reason in self.reasons().await? {
            let filter = Filter {
                reason: Some(reason.clone()),
                ..Filter::default()
            };
            let count = timeout(PATIENCE, self.count(&filter, Some(1))).await;
            if count.unwrap_or(Ok(1))? > 0 {
                found.push(reason);
            }
        }
        Ok(found)
    }

    /// Returns the reasons for which candidates were rejected, in order.
    pub async fn reasons(&self) -> Result<Vec<String>> {
        // One index search per reason: there are many candidates and few reasons.
        Ok(sqlx::query_scalar!(
            r#"
            WITH RECURSIVE each (reason) AS (
                SELECT min(reason)
                FROM candidate
                WHERE verdict = 'rejected'
                UNION ALL
                SELECT (
                    SELECT min(candidate.reason)
                    FROM candidate
                    WHERE candidate.verdict = 'rejected' AND candidate.reason > each.reason
                )
                FROM each
                WHERE each.reason IS NOT NULL
            )
            SELECT reason AS "reason!: String"
            FROM each
            WHERE reason IS NOT NULL
            "#
        )
        .fetch_all(&self.pool)
        .await?)
    }
}

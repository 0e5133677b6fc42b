//! Tables `comparison`, `comparison_pair` and `comparison_vote`: two models that answered the same
//! prompts, what a judge said of their answers, and what people said.

use crate::store::rows::json_rows;
use crate::store::{Error, Result, Store};
use sqlx::SqliteConnection;

/// A comparison to store.
#[derive(Debug, Clone, Copy)]
pub struct NewComparison<'a> {
    /// The run that made it.
    pub run_id: i64,
    /// The name of model a.
    pub model_a: &'a str,
    /// The name of model b.
    pub model_b: &'a str,
    /// The name of the judge; none if people alone vote.
    pub judge: Option<&'a str>,
    /// Where the prompts are from.
    pub source: &'a str,
}

/// A pair of answers to store. Choices are `a`, `b`, `tie` or `error`.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct NewPair<'a> {
    /// The prompt's name within its source.
    pub item: &'a str,
    /// What kind of question it is.
    pub category: Option<&'a str>,
    /// The whole question.
    pub prompt: String,
    /// A good answer, if one is known.
    pub reference: Option<&'a str>,
    /// Model a's answer.
    pub answer_a: &'a str,
    /// Model b's answer.
    pub answer_b: &'a str,
    /// The judge's choice with a's answer first; none where it was not asked.
    pub a_first: Option<&'static str>,
    /// The judge's choice with b's answer first.
    pub b_first: Option<&'static str>,
    /// What follows from both.
    pub verdict: Option<&'static str>,
    /// By likelihood, the probability that b's answer is better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub b_wins: Option<f64>,
}

/// A comparison, as a person may see it who votes: without the models.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ComparisonRow {
    /// Its id.
    pub id: i64,
    /// Where the prompts are from.
    pub source: String,
    /// When it was made, in UTC.
    pub created_at: String,
    /// Its pairs that can be compared: both models answered, and not the same.
    pub pairs: i64,
    /// How many of them this person voted on.
    pub voted: i64,
}

/// What a comparison is about, for those who have voted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComparedModels {
    /// The name of model a.
    pub model_a: String,
    /// The name of model b.
    pub model_b: String,
    /// The name of the judge.
    pub judge: Option<String>,
    /// The figures, as JSON.
    pub result: String,
}

/// A pair, for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPair {
    /// Its id.
    pub id: i64,
    /// The whole question.
    pub prompt: String,
    /// Model a's answer.
    pub answer_a: String,
    /// Model b's answer.
    pub answer_b: String,
}

/// A person's latest vote on a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vote {
    /// The pair.
    pub pair_id: i64,
    /// Who voted.
    pub who: String,
    /// `a`, `b` or `tie`.
    pub choice: String,
    /// The judge's verdict on the pair.
    pub verdict: Option<String>,
}

impl Vote {
    /// Returns who voted, the vote, and the verdict.
    pub fn words(&self) -> (&str, &str, Option<&str>) {
        (&self.who, &self.choice, self.verdict.as_deref())
    }
}

/// The question of a held-out task, with its first instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldOutQuestion {
    /// The task.
    pub task_id: i64,
    /// Its system message.
    pub system: Option<String>,
    /// What to do.
    pub instruction: String,
    /// The input; may be empty.
    pub input: String,
    /// The expected answer.
    pub output: String,
    /// Whether the answer is one of a few labels.
    pub is_classification: bool,
}

impl Store {
    /// Returns the questions of the tasks that are held out, in order. Rejected tasks are left out.
    pub async fn held_out_questions(&self) -> Result<Vec<HeldOutQuestion>> {
        Ok(sqlx::query_as!(
            HeldOutQuestion,
            r#"
            SELECT
                task.id AS "task_id!: i64", task.system, task.instruction, instance.input, instance.output,
                task.is_classification AS "is_classification!: bool"
            FROM held_out
            JOIN task ON task.id = held_out.task_id
            JOIN instance ON instance.task_id = task.id
            WHERE task.review <> 'rejected'
                AND instance.ordinal = (SELECT min(ordinal) FROM instance WHERE task_id = task.id)
            ORDER BY task.id
            "#
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Stores a comparison with its pairs, and returns its id. The same answers of the same models
    /// to the same prompts are the same comparison, which keeps its votes: then only what a judge
    /// said is set, unless another judge did.
    pub async fn add_comparison(&self, new: &NewComparison<'_>, pairs: &[NewPair<'_>]) -> Result<i64> {
        let rows = json_rows(pairs);
        let mut transaction = self.write().await?;
        let known = the_same(&mut transaction, new, &rows).await?;
        let id = match known {
            Some(id) => {
                sqlx::query!(
                    "UPDATE comparison SET judge = ?, run_id = ? WHERE id = ?",
                    new.judge,
                    new.run_id,
                    id
                )
                .execute(&mut *transaction)
                .await?;
                id
            }
            None => sqlx::query!(
                "
                INSERT INTO comparison (run_id, model_a, model_b, judge, source, result)
                VALUES (?, ?, ?, ?, ?, '{}')
                ",
                new.run_id,
                new.model_a,
                new.model_b,
                new.judge,
                new.source
            )
            .execute(&mut *transaction)
            .await?
            .last_insert_rowid(),
        };
        sqlx::query!(
            "
            INSERT INTO comparison_pair (
                comparison_id, item, category, prompt, reference, answer_a, answer_b, a_first, b_first, verdict,
                b_wins
            )
            SELECT
                ?, value ->> 'item', value ->> 'category', value ->> 'prompt', value ->> 'reference',
                value ->> 'answer_a', value ->> 'answer_b', value ->> 'a_first', value ->> 'b_first',
                value ->> 'verdict', value ->> 'b_wins'
            FROM json_each(?)
            WHERE true
            ON CONFLICT (comparison_id, item) DO UPDATE
            SET a_first = excluded.a_first, b_first = excluded.b_first, verdict = excluded.verdict,
                b_wins = excluded.b_wins
            ",
            id,
            rows
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(id)
    }

    /// Sets the figures of a comparison, as JSON.
    pub async fn set_comparison_result(&self, id: i64, result: &serde_json::Value) -> Result<()> {
        let result = result.to_string();
        let mut transaction = self.write().await?;
        sqlx::query!("UPDATE comparison SET result = ? WHERE id = ?", result, id)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Returns the comparisons on which somebody can vote, the latest first.
    pub async fn comparisons(&self, who: &str) -> Result<Vec<ComparisonRow>> {
        Ok(sqlx::query_as!(
            ComparisonRow,
            r#"
            SELECT
                comparison.id AS "id!: i64", comparison.source, comparison.created_at, count(*) AS "pairs!: i64",
                coalesce(sum(
                    EXISTS (SELECT 1 FROM comparison_vote WHERE pair_id = comparison_pair.id AND who = ?)
                ), 0) AS "voted!: i64"
            FROM comparison
            JOIN comparison_pair ON comparison_pair.comparison_id = comparison.id
            WHERE comparison_pair.answer_a <> comparison_pair.answer_b
            GROUP BY comparison.id
            ORDER BY comparison.id DESC
            "#,
            who
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Returns the pairs of a comparison that can be compared, in order.
    pub async fn comparable_pairs(&self, comparison_id: i64) -> Result<Vec<i64>> {
        Ok(sqlx::query_scalar!(
            r#"
            SELECT id AS "id!: i64"
            FROM comparison_pair
            WHERE comparison_id = ? AND answer_a <> answer_b
            ORDER BY id
            "#,
            comparison_id
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Returns a pair.
    ///
    /// # Errors
    ///
    /// [`Error::NoPair`].
    pub async fn comparison_pair(&self, id: i64) -> Result<StoredPair> {
        sqlx::query_as!(
            StoredPair,
            "
            SELECT id, prompt, answer_a, answer_b
            FROM comparison_pair
            WHERE id = ?
            ",
            id
        )
        .fetch_optional(&self.pool)
        .await?
        .ok_or(Error::NoPair { id })
    }

    /// Adds a vote: `a`, `b` or `tie`. It counts in place of the person's earlier ones.
    ///
    /// # Errors
    ///
    /// [`Error::NoPair`].
    pub async fn vote(&self, pair_id: i64, who: &str, choice: &str) -> Result<()> {
        let mut transaction = self.write().await?;
        let added = sqlx::query!(
            "
            INSERT INTO comparison_vote (pair_id, who, choice)
            SELECT id, ?, ?
            FROM comparison_pair
            WHERE id = ?
            ",
            who,
            choice,
            pair_id
        )
        .execute(&mut *transaction)
        .await?;
        if added.rows_affected() == 0 {
            return Err(Error::NoPair { id: pair_id });
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Returns the latest vote of each person on each pair of a comparison, in order of pairs.
    pub async fn votes(&self, comparison_id: i64) -> Result<Vec<Vote>> {
        Ok(sqlx::query_as!(
            Vote,
            r#"
            SELECT
                vote.pair_id, vote.who, vote.choice, comparison_pair.verdict
            FROM comparison_vote AS vote
            JOIN comparison_pair ON comparison_pair.id = vote.pair_id
            WHERE comparison_pair.comparison_id = ?
                AND vote.id = (
                    SELECT max(id)
                    FROM comparison_vote
                    WHERE pair_id = vote.pair_id AND who = vote.who
                )
            ORDER BY vote.pair_id, vote.who
            "#,
            comparison_id
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Returns what a comparison is about.
    ///
    /// # Errors
    ///
    /// [`Error::NoComparison`].
    pub async fn compared_models(&self, id: i64) -> Result<ComparedModels> {
        sqlx::query_as!(
            ComparedModels,
            "
            SELECT model_a, model_b, judge, result
            FROM comparison
            WHERE id = ?
            ",
            id
        )
        .fetch_optional(&self.pool)
        .await?
        .ok_or(Error::NoComparison { id })
    }
}

/// Returns the comparison of the same models with the same answers to the same prompts, `pairs` as
/// JSON, if there is one that no other judge judged.
async fn the_same(
    connection: &mut SqliteConnection,
    new: &NewComparison<'_>,
    pairs: &str,
) -> Result<Option<i64>> {
    Ok(sqlx::query_scalar!(
        r#"
        SELECT id AS "id!: i64"
        FROM comparison
        WHERE model_a = ?1 AND model_b = ?2 AND source = ?3 AND (judge IS NULL OR judge IS ?4)
            AND (SELECT count(*) FROM comparison_pair WHERE comparison_id = comparison.id)
                = json_array_length(?5)
            AND NOT EXISTS (
                SELECT 1
                FROM json_each(?5) AS new
                WHERE NOT EXISTS (
                    SELECT 1
                    FROM comparison_pair
                    WHERE comparison_id = comparison.id AND item = new.value ->> 'item'
                        AND prompt = new.value ->> 'prompt' AND answer_a = new.value ->> 'answer_a'
                        AND answer_b = new.value ->> 'answer_b'
                )
            )
        ORDER BY id DESC
        LIMIT 1
        "#,
        new.model_a,
        new.model_b,
        new.source,
        new.judge,
        pairs
    )
    .fetch_optional(connection)
    .await?)
}

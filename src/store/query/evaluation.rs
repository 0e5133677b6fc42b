//! What the report shows of evaluations, comparisons and influence. Texts are cut in SQL, with
//! their whole length beside them: an answer may have megabytes.

use crate::store::{Result, Store};

/// A suite of one `ewe eval`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvaluation {
    /// Its id.
    pub id: i64,
    /// The run that asked.
    pub run_id: i64,
    /// The kind of suite.
    pub suite: String,
    /// Its file or directory; empty for held-out tasks.
    pub source: String,
    /// The name of the model.
    pub model: String,
    /// The training run that made the model.
    pub train_run_id: Option<i64>,
    /// The figures, as JSON.
    pub result: String,
    /// When it was stored, in UTC.
    pub created_at: String,
}

/// A text, cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutText {
    /// Its beginning.
    pub text: String,
    /// The characters of all of it.
    pub length: i64,
}

/// The scores that an item has from two evaluations. What a suite does not score is none.
#[derive(Debug, Clone, PartialEq)]
pub struct PairedScores {
    /// The item.
    pub item: String,
    /// ROUGE-L times 100, before and after.
    pub rouge_l: [Option<f64>; 2],
    /// Negative log-likelihood of the reference, in nats, summed over its tokens.
    pub nll: [Option<f64>; 2],
    /// These tokens.
    pub tokens: [Option<f64>; 2],
    /// 1 if the answer passed all checks, or followed all instructions, else 0.
    pub passed: [Option<f64>; 2],
}

/// The scores of one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerScores {
    /// The item.
    pub item: String,
    /// The held-out task that was asked.
    pub task_id: Option<i64>,
    /// The scores, as JSON.
    pub scores: String,
    /// The training task in which the item was found.
    pub found_in: Option<i64>,
}

/// A score by which answers of two models are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComparedScore {
    /// ROUGE-L times 100.
    RougeL,
    /// Negative log-likelihood of the reference in nats a token: the lower the better.
    Nll,
    /// Whether all checks passed.
    Passed,
}

impl ComparedScore {
    /// The word in queries.
    fn as_str(self) -> &'static str {
        match self {
            ComparedScore::RougeL => "rougeL",
            ComparedScore::Nll => "nll",
            ComparedScore::Passed => "passed",
        }
    }

    /// 1 if more is better, -1 if less is.
    pub fn sign(self) -> f64 {
        match self {
            ComparedScore::RougeL | ComparedScore::Passed => 1.0,
            ComparedScore::Nll => -1.0,
        }
    }
}

/// Two models' answers to an item.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangedAnswer {
    /// The item.
    pub item: String,
    /// Its category.
    pub category: Option<String>,
    /// The whole question.
    pub prompt: CutText,
    /// A right answer; empty if there is none.
    pub reference: CutText,
    /// The answer of the model before.
    pub before: CutText,
    /// The answer of the model after.
    pub after: CutText,
    /// The scores of both.
    pub scores: [f64; 2],
}

/// An item that was found in the training rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundItem {
    /// The item.
    pub item: String,
    /// Its question.
    pub prompt: CutText,
    /// The training task.
    pub task_id: i64,
    /// Its instruction.
    pub instruction: CutText,
}

/// A comparison of two models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredComparison {
    /// Its id.
    pub id: i64,
    /// The run that made it.
    pub run_id: i64,
    /// The name of model a.
    pub model_a: String,
    /// The name of model b.
    pub model_b: String,
    /// The name of the judge.
    pub judge: Option<String>,
    /// Where the prompts are from.
    pub source: String,
    /// The figures, as JSON.
    pub result: String,
    /// When it was stored, in UTC.
    pub created_at: String,
}

/// What a run of `ewe influence` has stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InfluenceTotals {
    /// The run.
    pub run_id: i64,
    /// Its configuration, as JSON.
    pub config: String,
    /// Rows with a value.
    pub rows: i64,
    /// Those above zero.
    pub above: i64,
}

/// A row among those that helped or hurt most.
#[derive(Debug, Clone, PartialEq)]
pub struct InfluentialRow {
    /// Its task.
    pub task_id: i64,
    /// Its influence.
    pub value: f64,
    /// What to do.
    pub instruction: CutText,
    /// The input.
    pub input: CutText,
    /// The answer.
    pub output: CutText,
    /// The held-out task that it helped or hurt most, with the instruction of that, if it is known.
    pub speaks_to: Option<(i64, CutText)>,
}

impl Store {
    /// Returns the latest `most` evaluations, in order.
    pub async fn evaluations(&self, most: i64) -> Result<Vec<StoredEvaluation>> {
        Ok(sqlx::query_as!(
            StoredEvaluation,
            r#"
            SELECT
                id AS "id!", run_id AS "run_id!", suite AS "suite!", source AS "source!", model AS "model!",
                train_run_id, result AS "result!", created_at AS "created_at!"
            FROM (SELECT * FROM evaluation ORDER BY id DESC LIMIT ?)
            ORDER BY id
            "#,
            most
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Returns the scores of all answers of an evaluation, in order; none if it is not there.
    pub async fn answer_scores(&self, evaluation_id: i64) -> Result<Vec<AnswerScores>> {
        Ok(sqlx::query_as!(
            AnswerScores,
            r#"
            SELECT item AS "item!", task_id, scores AS "scores!", found_in
            FROM evaluation_answer
            WHERE evaluation_id = ?
            ORDER BY id
            "#,
            evaluation_id
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Returns the scores of the items that two evaluations asked alike, at most `most` of them.
    pub async fn paired_scores(&self, before: i64, after: i64, most: i64) -> Result<Vec<PairedScores>> {
        let rows = sqlx::query!(
            r#"
            WITH answer AS NOT MATERIALIZED (
                SELECT
                    id, evaluation_id, item, prompt, CAST(scores ->> 'rougeL' AS REAL) AS rouge_l,
                    CAST(scores ->> 'nll' AS REAL) AS nll, CAST(scores ->> 'reference_tokens' AS REAL) AS tokens,
                    CAST(CASE json_type(scores, '$.strict')
                        WHEN 'array' THEN NOT EXISTS (SELECT 1 FROM json_each(scores, '$.strict') WHERE value = 0)
                        ELSE scores ->> 'passed'
                    END AS REAL) AS passed
                FROM evaluation_answer
            )
            SELECT
                one.item AS "item!", one.rouge_l AS "rouge_l_before?: f64", two.rouge_l AS "rouge_l_after?: f64",
                one.nll AS "nll_before?: f64", two.nll AS "nll_after?: f64", one.tokens AS "tokens_before?: f64",
                two.tokens AS "tokens_after?: f64", one.passed AS "passed_before?: f64",
                two.passed AS "passed_after?: f64"
            FROM answer AS one
            JOIN answer AS two ON two.evaluation_id = ?2 AND two.item = one.item AND two.prompt = one.prompt
            WHERE one.evaluation_id = ?1
            ORDER BY one.id
            LIMIT ?3
            "#,
            before,
            after,
            most
        )
        .fetch_all(&self.pool)
        .await?;
        let scores = rows.into_iter().map(|row| PairedScores {
            item: row.item,
            rouge_l: [row.rouge_l_before, row.rouge_l_after],
            nll: [row.nll_before, row.nll_after],
            tokens: [row.tokens_before, row.tokens_after],
            passed: [row.passed_before, row.passed_after],
        });
        Ok(scores.collect())
    }

    /// Returns the `count` answers that became better by a score, or worse, the most changed first.
    /// Texts have at most `characters`.
    pub async fn most_changed(
        &self,
        (before, after): (i64, i64),
        score: ComparedScore,
        is_better: bool,
        (count, characters): (i64, i64),
    ) -> Result<Vec<ChangedAnswer>> {
        let sign = if is_better { score.sign() } else { -score.sign() };
        let word = score.as_str();
        let rows = sqlx::query!(
            r#"
            WITH answer AS NOT MATERIALIZED (
                SELECT
                    id, evaluation_id, item, prompt, CAST(scores ->> 'rougeL' AS REAL) AS rouge_l,
                    CAST(scores ->> 'nll' AS REAL) AS nll, CAST(scores ->> 'reference_tokens' AS REAL) AS tokens,
                    CAST(CASE json_type(scores, '$.strict')
                        WHEN 'array' THEN NOT EXISTS (SELECT 1 FROM json_each(scores, '$.strict') WHERE value = 0)
                        ELSE scores ->> 'passed'
                    END AS REAL) AS passed
                FROM evaluation_answer
            ), scored AS (
                SELECT
                    one.id AS one_id, two.id AS two_id,
                    CASE ?3
                        WHEN 'rougeL' THEN one.rouge_l
                        WHEN 'nll' THEN one.nll / one.tokens
                        ELSE one.passed
                    END AS score_before,
                    CASE ?3
                        WHEN 'rougeL' THEN two.rouge_l
                        WHEN 'nll' THEN two.nll / two.tokens
                        ELSE two.passed
                    END AS score_after
                FROM answer AS one
                JOIN answer AS two ON two.evaluation_id = ?2 AND two.item = one.item AND two.prompt = one.prompt
                WHERE one.evaluation_id = ?1
            )
            SELECT
                one.item AS "item!", one.category,
                substr(one.prompt, 1, ?6) AS "prompt!: String", length(one.prompt) AS "prompt_length!: i64",
                coalesce(substr(one."references" ->> 0, 1, ?6), '') AS "reference!: String",
                coalesce(length(one."references" ->> 0), 0) AS "reference_length!: i64",
                substr(one.answer, 1, ?6) AS "before!: String", length(one.answer) AS "before_length!: i64",
                substr(two.answer, 1, ?6) AS "after!: String", length(two.answer) AS "after_length!: i64",
                score_before AS "score_before!: f64", score_after AS "score_after!: f64"
            FROM scored
            JOIN evaluation_answer AS one ON one.id = one_id
            JOIN evaluation_answer AS two ON two.id = two_id
            WHERE (score_after - score_before) * ?4 > 0.0
            ORDER BY (score_after - score_before) * ?4 DESC, one_id
            LIMIT ?5
            "#,
            before,
            after,
            word,
            sign,
            count,
            characters
        )
        .fetch_all(&self.pool)
        .await?;
        let cut = |text, length| CutText { text, length };
        let changed = rows.into_iter().map(|row| ChangedAnswer {
            item: row.item,
            category: row.category,
            prompt: cut(row.prompt, row.prompt_length),
            reference: cut(row.reference, row.reference_length),
            before: cut(row.before, row.before_length),
            after: cut(row.after, row.after_length),
            scores: [row.score_before, row.score_after],
        });
        Ok(changed.collect())
    }

    /// Returns the first `count` items of an evaluation that were found in a training task. Texts
    /// have at most `characters`.
    pub async fn found_items(
        &self,
        evaluation_id: i64,
        count: i64,
        characters: i64,
    ) -> Result<Vec<FoundItem>> {
        let rows = sqlx::query!(
            r#"
            SELECT
                answer.item AS "item!", task.id AS "task_id!: i64",
                substr(answer.prompt, 1, ?3) AS "prompt!: String", length(answer.prompt) AS "prompt_length!: i64",
                substr(task.instruction, 1, ?3) AS "instruction!: String",
                length(task.instruction) AS "instruction_length!: i64"
            FROM evaluation_answer AS answer
            JOIN task ON task.id = answer.found_in
            WHERE answer.evaluation_id = ?1
            ORDER BY answer.id
            LIMIT ?2
            "#,
            evaluation_id,
            count,
            characters
        )
        .fetch_all(&self.pool)
        .await?;
        let found = rows.into_iter().map(|row| FoundItem {
            item: row.item,
            prompt: CutText {
                text: row.prompt,
                length: row.prompt_length,
            },
            task_id: row.task_id,
            instruction: CutText {
                text: row.instruction,
                length: row.instruction_length,
            },
        });
        Ok(found.collect())
    }

    /// Returns the latest `most` comparisons, the latest first.
    pub async fn stored_comparisons(&self, most: i64) -> Result<Vec<StoredComparison>> {
        Ok(sqlx::query_as!(
            StoredComparison,
            r#"
            SELECT id AS "id!", run_id, model_a, model_b, judge, source, result, created_at
            FROM comparison
            ORDER BY id DESC
            LIMIT ?
            "#,
            most
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Returns what the latest run of `ewe influence` that came to its end has stored.
    pub async fn latest_influence(&self) -> Result<Option<InfluenceTotals>> {
        Ok(sqlx::query_as!(
            InfluenceTotals,
            r#"
            SELECT
                run.id AS "run_id!: i64", run.config AS "config!: String", count(*) AS "rows!: i64",
                count(*) FILTER (WHERE influence.value > 0.0) AS "above!: i64"
            FROM influence
            JOIN run ON run.id = influence.run_id
            WHERE influence.run_id = (
                SELECT max(id)
                FROM run
                WHERE command = 'influence' AND status = 'done'
            )
            GROUP BY run.id
            "#
        )
        .fetch_optional(&self.pool)
        .await?)
    }

    /// Returns the `count` rows that helped most by a run of `ewe influence`, or hurt most, the
    /// strongest first. Texts have at most `characters`.
    pub async fn influential_rows(
        &self,
        run_id: i64,
        helped: bool,
        count: i64,
        characters: i64,
    ) -> Result<Vec<InfluentialRow>> {
        let sign = if helped { 1.0 } else { -1.0 };
        let rows = sqlx::query!(
            r#"
            SELECT
                task.id AS "task_id!: i64", influence.value AS "value!: f64",
                substr(task.instruction, 1, ?4) AS "instruction!: String",
                length(task.instruction) AS "instruction_length!: i64",
                substr(instance.input, 1, ?4) AS "input!: String", length(instance.input) AS "input_length!: i64",
                substr(instance.output, 1, ?4) AS "output!: String", length(instance.output) AS "output_length!: i64",
                held.id AS "held_id?: i64", substr(held.instruction, 1, ?4) AS "held?: String",
                length(held.instruction) AS "held_length?: i64"
            FROM influence
            JOIN instance ON instance.id = influence.instance_id
            JOIN task ON task.id = instance.task_id
            LEFT JOIN task AS held ON held.id = (
                SELECT task_id
                FROM influence_on
                WHERE run_id = ?1 AND instance_id = influence.instance_id AND value * ?2 > 0.0
                ORDER BY value * ?2 DESC, task_id
                LIMIT 1
            )
            WHERE influence.run_id = ?1 AND influence.value * ?2 > 0.0
            ORDER BY influence.value * ?2 DESC, instance.id
            LIMIT ?3
            "#,
            run_id,
            sign,
            count,
            characters
        )
        .fetch_all(&self.pool)
        .await?;
        let cut = |text, length| CutText { text, length };
        let strong = rows.into_iter().map(|row| InfluentialRow {
            task_id: row.task_id,
            value: row.value,
            instruction: cut(row.instruction, row.instruction_length),
            input: cut(row.input, row.input_length),
            output: cut(row.output, row.output_length),
            speaks_to: row
                .held_id
                .zip(row.held)
                .map(|(id, text)| (id, cut(text, row.held_length.unwrap_or(0)))),
        });
        Ok(strong.collect())
    }
}

//! Table `request`: every answered model call. A response is committed before it is parsed, so one
//! that was paid for is never lost or requested again.

use crate::backend::{Completion, FinishReason, Sampling, content_key};
use crate::store::rows::json_rows;
use crate::store::{Result, Store};
use sqlx::SqliteConnection;

/// A request to a model, with its place in the run.
#[derive(Debug, Clone)]
pub struct NewRequest<'a> {
    /// The run.
    pub run_id: i64,
    /// The round.
    pub round: u64,
    /// The stage of the recipe.
    pub stage: &'a str,
    /// The number of the request within its round and stage.
    pub ordinal: u64,
    /// The name of the model.
    pub model: &'a str,
    /// The text to continue.
    pub prompt: String,
    /// The sampling parameters.
    pub sampling: Sampling,
}

impl NewRequest<'_> {
    /// The hash that identifies model, prompt and sampling parameters.
    pub fn content_key(&self) -> String {
        content_key(self.model, &self.prompt, &self.sampling)
    }
}

impl Store {
    /// The response to the request with this content key, with the id of its row; `None` if there
    /// is none yet.
    pub async fn answer(&self, content_key: &str) -> Result<Option<(i64, Completion)>> {
        let row = sqlx::query!(
            r#"
            SELECT
                id AS "id!", response, finish_reason, reasoning, refusal, prompt_tokens, completion_tokens, places
            FROM request
            WHERE content_key = ?
            "#,
            content_key
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| {
            let completion = Completion {
                text: row.response,
                finish_reason: match row.finish_reason.as_str() {
                    "length" => FinishReason::Length,
                    _ => FinishReason::Stop,
                },
                reasoning: row.reasoning,
                refusal: row.refusal,
                prompt_tokens: row.prompt_tokens as usize,
                completion_tokens: row.completion_tokens as usize,
                places: row.places.and_then(|json| serde_json::from_str(&json).ok()),
            };
            (row.id, completion)
        }))
    }

    /// Commits a response, and returns the id of its row. Responses that arrive while others are
    /// written are committed together, with one wait for the disk.
    pub async fn insert_request(
        &self,
        content_key: &str,
        request: &NewRequest<'_>,
        completion: &Completion,
        latency_ms: u64,
    ) -> Result<i64> {
        self.answers
            .commit(
                &self.pool,
                NewAnswer::new(content_key, request, completion, latency_ms),
            )
            .await
    }
}

/// A row to insert.
#[derive(Debug, serde::Serialize)]
pub(in crate::store) struct NewAnswer {
    run_id: i64,
    round: i64,
    stage: String,
    ordinal: i64,
    content_key: String,
    prompt: String,
    parameters: String,
    response: String,
    finish_reason: &'static str,
    reasoning: String,
    refusal: Option<String>,
    prompt_tokens: i64,
    completion_tokens: i64,
    latency_ms: i64,
    places: Option<String>,
}

impl NewAnswer {
    fn new(
        content_key: &str,
        request: &NewRequest<'_>,
        completion: &Completion,
        latency_ms: u64,
    ) -> NewAnswer {
        NewAnswer {
            run_id: request.run_id,
            round: request.round as i64,
            stage: request.stage.to_string(),
            ordinal: request.ordinal as i64,
            content_key: content_key.to_string(),
            prompt: request.prompt.clone(),
            parameters: serde_json::to_string(&request.sampling)
                .expect("sampling parameters are plain values"),
            response: completion.text.clone(),
            finish_reason: completion.finish_reason.as_str(),
            reasoning: completion.reasoning.clone(),
            refusal: completion.refusal.clone(),
            prompt_tokens: completion.prompt_tokens as i64,
            completion_tokens: completion.completion_tokens as i64,
            latency_ms: latency_ms as i64,
            places: completion
                .places
                .as_ref()
                .map(|places| serde_json::to_string(places).expect("places are plain values")),
        }
    }
}

/// Inserts rows within the caller's transaction, and returns their ids in order.
pub(in crate::store) async fn insert(
    connection: &mut SqliteConnection,
    rows: &[&NewAnswer],
) -> Result<Vec<i64>> {
    let first = sqlx::query_scalar!(
        r#"
        SELECT coalesce(max(id), 0) + 1 AS "first!: i64"
        FROM request
        "#
    )
    .fetch_one(&mut *connection)
    .await?;
    let json = json_rows(rows);
    sqlx::query!(
        "
        INSERT INTO request (
            id, run_id, round, stage, ordinal, content_key, prompt, parameters, response, finish_reason,
            reasoning, refusal, prompt_tokens, completion_tokens, latency_ms, places
        )
        SELECT
            ? + key, value ->> 'run_id', value ->> 'round', value ->> 'stage', value ->> 'ordinal',
            value ->> 'content_key', value ->> 'prompt', value ->> 'parameters', value ->> 'response',
            value ->> 'finish_reason', value ->> 'reasoning', value ->> 'refusal', value ->> 'prompt_tokens',
            value ->> 'completion_tokens', value ->> 'latency_ms', value ->> 'places'
        FROM json_each(?)
        ",
        first,
        json
    )
    .execute(&mut *connection)
    .await?;
    Ok((first..).take(rows.len()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_question_is_in_its_key() {
        let request = NewRequest {
            run_id: 1,
            round: 0,
            stage: "instructions",
            ordinal: 0,
            model: "m",
            prompt: "p".into(),
            sampling: Sampling::default(),
        };
        let key = request.content_key();
        let seeded = Sampling {
            seed: 1,
            ..Sampling::default()
        };
        assert_eq!(
            NewRequest {
                run_id: 2,
                round: 5,
                ..request.clone()
            }
            .content_key(),
            key
        );
        assert_ne!(
            NewRequest {
                model: "mp",
                prompt: String::new(),
                ..request.clone()
            }
            .content_key(),
            key
        );
        assert_ne!(
            NewRequest {
                prompt: "q".into(),
                ..request.clone()
            }
            .content_key(),
            key
        );
        assert_ne!(
            NewRequest {
                sampling: seeded,
                ..request.clone()
            }
            .content_key(),
            key
        );
        let held = Sampling {
            schema: Some(serde_json::json!({"type": "object"})),
            ..Sampling::default()
        };
        assert_ne!(
            NewRequest {
                sampling: held,
                ..request
            }
            .content_key(),
            key
        );
    }

    /// New parameters are left out of the key unless they are set, so older datasets keep their
    /// keys.
    #[test]
    fn a_key_of_the_first_release_still_holds() {
        let sampling = r#"{"max_tokens":256,"temperature":0.7,"top_p":1.0,"top_k":0,"min_p":0.0,"presence_penalty":0.0,"frequency_penalty":0.0,"repetition_penalty":1.0,"stop":[],"seed":0}"#;
        assert_eq!(serde_json::to_string(&Sampling::default()).unwrap(), sampling);
        assert_eq!(
            serde_json::from_str::<Sampling>(sampling).unwrap(),
            Sampling::default()
        );
    }
}

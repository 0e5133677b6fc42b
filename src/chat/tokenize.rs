//! `POST /tokenize` and `/detokenize`: tokens of a text and back, with the fields of vLLM and
//! llama.cpp's server.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use ewe::text::format_error;
use serde_json::{Value, json};

use super::error::ApiError;
use super::fields::JsonFields;
use super::server::ServerState;

/// The most tokens of a text, if the model's context has fewer.
const MOST: usize = 1 << 17;

/// `POST /tokenize`. vLLM calls the text `prompt`, and puts special tokens before it unless
/// `add_special_tokens` is false; llama.cpp calls it `content`, and puts none unless `add_special`
/// is true.
pub async fn tokenize(
    State(server): State<Arc<ServerState>>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let body = server.body_limits.body(request).await?;
    let read = |json: &[u8]| {
        let mut fields = JsonFields::read(json)?;
        let text = fields.one_of(&["prompt", "content"], |fields, name| match fields.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(fields.wrong(name, &other, "a text")),
        })?;
        let Some((name, text)) = text else {
            return Err(ApiError::parameter("prompt", "`prompt` is missing"));
        };
        let special = fields
            .one_of(&["add_special_tokens", "add_special"], JsonFields::flag)?
            .map_or(name == "prompt", |(_, special)| special);
        fields.take("model");
        fields.end(&[], &[])?;
        let tokenizer = server.backend.tokenizer();
        // A longer text is no prompt, and takes much memory.
        let most = server.backend.context().max(MOST);
        let ids = tokenizer.encode_within(&text, special, most);
        let ids = ids.map_err(|error| ApiError::parameter(name, format_error(&error)))?;
        ids.ok_or_else(|| {
            let message = format!("`{name}` has more than {most} tokens\nhint: shorten it");
            ApiError::parameter(name, message).coded("context_length_exceeded")
        })
    };
    let ids = server.body_limits.work(&body, read).await?;
    let context = server.backend.context();
    Ok(Json(
        json!({ "count": ids.len(), "max_model_len": context, "tokens": ids }),
    ))
}

/// `POST /detokenize`. The text is called as vLLM and as llama.cpp call it.
pub async fn detokenize(
    State(server): State<Arc<ServerState>>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let body = server.body_limits.body(request).await?;
    let read = |json: &[u8]| {
        let mut fields = JsonFields::read(json)?;
        let value = fields.take("tokens").unwrap_or(Value::Null);
        let vocabulary = server.backend.vocabulary();
        let ids = value.as_array().and_then(|list| {
            let ids = list
                .iter()
                .map(|id| id.as_i64().filter(|id| (0..vocabulary).contains(id)));
            ids.collect::<Option<Vec<i64>>>()
        });
        let Some(ids) = ids else {
            return Err(fields.wrong(
                "tokens",
                &value,
                &format!("a list of token ids below {vocabulary}"),
            ));
        };
        fields.take("model");
        fields.end(&[], &[])?;
        if ids.is_empty() {
            return Ok(String::new());
        }
        let text = server.backend.tokenizer().decode(&ids);
        text.map_err(|error| ApiError::parameter("tokens", format_error(&error)))
    };
    let text = server.body_limits.work(&body, read).await?;
    Ok(Json(json!({ "prompt": text, "content": text })))
}

//! What is served, a model and adapters on it, and their names in answers, in the list of models,
//! and in requests.

use std::path::Path;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::error::ApiError;
use super::fields::quoted;
use crate::model::files::fingerprint::called;
use crate::model::text::conversation_template::ConversationTemplate;

/// A model, or an adapter on it, as it is served.
pub struct ServedModel {
    /// What it is called.
    pub names: ModelNames,
    /// The template of chats.
    pub template: ConversationTemplate,
    /// Its place among the adapters; none for the model itself.
    pub adapter: Option<usize>,
    /// Tokens that end its answers besides those of the model.
    pub end_tokens: Vec<i64>,
}

/// The names of the served model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelNames {
    /// At least one name; answers carry the first.
    listed: Vec<String>,
    /// The name that identifies the weights, unless other names were chosen.
    fingerprint: Option<String>,
}

impl ModelNames {
    /// Returns the names that were `chosen`; without any, the name of the model's directory,
    /// followed by the adapter's as in `gemma-3-270m+sheep`. It stays the same when weights are
    /// trained again, so that clients can be configured with it.
    pub fn new(chosen: &[String], fingerprint: &str, adapter: Option<&Path>) -> ModelNames {
        if !chosen.is_empty() {
            return ModelNames {
                listed: chosen.to_vec(),
                fingerprint: None,
            };
        }
        let base = fingerprint.rsplit_once('@').map_or(fingerprint, |(name, _)| name);
        let name = match adapter {
            Some(adapter) => format!("{base}+{}", called(adapter)),
            None => base.to_string(),
        };
        ModelNames {
            listed: vec![name],
            fingerprint: Some(fingerprint.to_string()),
        }
    }

    /// Returns the names of an adapter that was given this name.
    pub fn of_adapter(name: &str, fingerprint: &str) -> ModelNames {
        ModelNames {
            listed: vec![name.to_owned()],
            fingerprint: Some(fingerprint.to_owned()),
        }
    }

    /// Whether the model has this name.
    pub fn has(&self, asked: &str) -> bool {
        self.listed
            .iter()
            .chain(&self.fingerprint)
            .any(|name| name == asked)
    }

    /// Returns the name in answers.
    pub fn first(&self) -> &str {
        &self.listed[0]
    }

    /// Returns all names, for people.
    pub fn line(&self) -> String {
        self.listed.join(", ")
    }

    /// Fails on the name of another model, if names were chosen. If none were, clients may send
    /// whatever their own settings call a model, since there is only one.
    pub fn check(&self, asked: &str) -> Result<(), ApiError> {
        match self.fingerprint {
            Some(_) => Ok(()),
            None => self.find(asked),
        }
    }

    /// Fails if the model has no such name.
    pub fn find(&self, asked: &str) -> Result<(), ApiError> {
        match self.has(asked) {
            true => Ok(()),
            false => Err(not_found(asked, &self.listed)),
        }
    }

    /// Returns the model under one of its names, as in `/v1/models`; `parent` is the model that it
    /// is an adapter on.
    fn card(&self, name: &str, room: usize, parent: Option<&str>) -> Value {
        let mut card = json!({ "id": name, "object": "model", "created": 0, "owned_by": "ewe",
            "max_model_len": room });
        if let Some(fingerprint) = &self.fingerprint {
            card["fingerprint"] = json!(fingerprint);
        }
        if let Some(parent) = parent {
            card["parent"] = json!(parent);
        }
        card
    }
}

/// Returns the error of a name that none of several models has.
pub fn unknown(asked: &str, models: &[ServedModel]) -> ApiError {
    let listed: Vec<String> = models
        .iter()
        .flat_map(|model| model.names.listed.clone())
        .collect();
    not_found(asked, &listed)
}

fn not_found(asked: &str, listed: &[String]) -> ApiError {
    let message = format!(
        "there is no model {} here\nhint: it is `{}`",
        quoted(asked),
        listed.join("` or `")
    );
    ApiError {
        status: StatusCode::NOT_FOUND,
        ..ApiError::parameter("model", message).coded("model_not_found")
    }
}

/// Returns the body of `/v1/models`. `room` is the most tokens of a request.
pub fn list(models: &[ServedModel], room: usize) -> Value {
    let base = models.first().map(|model| model.names.first());
    let cards = models.iter().flat_map(|model| {
        let parent = base.filter(|_| model.adapter.is_some());
        let names = model.names.listed.iter();
        names.map(move |name| model.names.card(name, room, parent))
    });
    json!({ "object": "list", "data": cards.collect::<Vec<Value>>() })
}

/// Returns the model that has a name, as in `/v1/models`.
///
/// # Errors
///
/// If there is none.
pub fn find(asked: &str, models: &[ServedModel], room: usize) -> Result<Value, ApiError> {
    let base = models.first().map(|model| model.names.first());
    let found = models.iter().find(|model| model.names.has(asked));
    let model = found.ok_or_else(|| unknown(asked, models))?;
    let parent = base.filter(|_| model.adapter.is_some());
    Ok(model.names.card(asked, room, parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_called_after_its_directory_and_its_adapter_s() {
        let of = |chosen: &[&str], adapter: Option<&str>| {
            let chosen: Vec<String> = chosen.iter().map(|name| name.to_string()).collect();
            ModelNames::new(&chosen, "a@b@0123456789ab-bf16", adapter.map(Path::new))
        };
        for (names, first) in [
            (of(&[], None), "a@b"),
            (of(&[], Some("runs/sheep/")), "a@b+sheep"),
        ] {
            assert_eq!(names.first(), first);
            assert!(names.check("gpt-4").is_ok(), "{first}");
        }
        let chosen = of(&["x", "y"], Some("runs/sheep"));
        assert_eq!(chosen.first(), "x");
        for name in ["a@b", "a@b+sheep", "a@b@0123456789ab-bf16", "x", "y", "X", ""] {
            assert_eq!(chosen.check(name).is_ok(), ["x", "y"].contains(&name), "{name:?}");
        }
    }

    #[test]
    fn the_name_of_another_model_is_quoted_in_part() {
        let names = ModelNames::new(&["x".to_string(), "y".to_string()], "m@0-fp32", None);
        let refusal = names.check(&"long".repeat(1 << 20)).unwrap_err();
        assert_eq!(
            (refusal.status.as_u16(), refusal.param.as_deref(), refusal.code),
            (404, Some("model"), Some("model_not_found"))
        );
        assert!(
            refusal.message.len() < 200 && refusal.message.ends_with("hint: it is `x` or `y`"),
            "{}",
            refusal.message
        );
    }
}

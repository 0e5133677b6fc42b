//! What the served model is called: in answers, in the list of models, and by requests.

use std::path::Path;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::error::ApiError;
use super::fields::quoted;
use crate::model::fingerprint::called;

/// The names of the one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// At least one; the first is the one in answers.
    listed: Vec<String>,
    /// The name that no other weights have, where nobody chose another.
    fingerprint: Option<String>,
}

impl Names {
    /// Those that were `chosen`; without any, the name of the model's directory, with the adapter's
    /// behind it as in `gemma-3-270m+sheep`. That one stays when weights are trained anew, so that
    /// clients can be set up with it.
    pub fn new(chosen: &[String], fingerprint: &str, adapter: Option<&Path>) -> Names {
        if !chosen.is_empty() {
            return Names {
                listed: chosen.to_vec(),
                fingerprint: None,
            };
        }
        let base = fingerprint.rsplit_once('@').map_or(fingerprint, |(name, _)| name);
        let name = match adapter {
            Some(adapter) => format!("{base}+{}", called(adapter)),
            None => base.to_string(),
        };
        Names {
            listed: vec![name],
            fingerprint: Some(fingerprint.to_string()),
        }
    }

    /// The one in answers.
    pub fn first(&self) -> &str {
        &self.listed[0]
    }

    /// All of them, for people.
    pub fn line(&self) -> String {
        self.listed.join(", ")
    }

    /// Fails on the name of another model, where names were chosen. Where none were, clients come with whatever their own
    /// settings call a model, and there is one only.
    pub fn check(&self, asked: &str) -> Result<(), ApiError> {
        match self.fingerprint {
            Some(_) => Ok(()),
            None => self.find(asked),
        }
    }

    /// Fails where the model has no such name.
    pub fn find(&self, asked: &str) -> Result<(), ApiError> {
        if self
            .listed
            .iter()
            .chain(&self.fingerprint)
            .any(|name| name == asked)
        {
            return Ok(());
        }
        let message = format!(
            "there is no model {} here\nhint: it is `{}`",
            quoted(asked),
            self.listed.join("` or `")
        );
        Err(ApiError {
            status: StatusCode::NOT_FOUND,
            ..ApiError::parameter("model", message).coded("model_not_found")
        })
    }

    /// `/v1/models`, of a model that has `room` for so many tokens in a request.
    pub fn list(&self, room: usize) -> Value {
        let cards: Vec<Value> = self.listed.iter().map(|name| self.card(name, room)).collect();
        json!({ "object": "list", "data": cards })
    }

    /// The model under one of its names, as `/v1/models` describes it.
    pub fn card(&self, name: &str, room: usize) -> Value {
        let mut card = json!({ "id": name, "object": "model", "created": 0, "owned_by": "ewe",
            "max_model_len": room });
        if let Some(fingerprint) = &self.fingerprint {
            card["fingerprint"] = json!(fingerprint);
        }
        card
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_called_after_its_directory_and_its_adapter_s() {
        let of = |chosen: &[&str], adapter: Option<&str>| {
            let chosen: Vec<String> = chosen.iter().map(|name| name.to_string()).collect();
            Names::new(&chosen, "a@b@0123456789ab-bf16", adapter.map(Path::new))
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
        let names = Names::new(&["x".to_string(), "y".to_string()], "m@0-fp32", None);
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

//! Learns from refusals: fields to leave out, to rename, or to send with another value. A statement
//! in an error is believed. A field that an error merely names is tried without, and learnt if that
//! helps.

use super::{Dialect, Endpoint, Refusal, Refused, wire};
use crate::backend::{Leave, Prompt, Sampling};
use crate::client::objection::{FieldObjection, objections, suspects};
use crate::client::reply::Reply;
use crate::client::request_shape::Learnt;
use serde_json::{Map, Value};
use std::sync::MutexGuard;

/// A request as it is sent.
pub(super) struct PreparedRequest {
    body: Map<String, Value>,
    /// Whether stop strings are sent.
    pub(super) knows_stop: bool,
    /// The `max_tokens` that is sent.
    pub(super) allowed: usize,
}

/// A field that is left out or changed to see whether that helps.
struct Guess {
    objection: FieldObjection,
    /// The refusal that named it.
    refusal: String,
    /// The body that was refused.
    body: Map<String, Value>,
}

impl Guess {
    /// Whether the refusal of the changed request is about the same field again.
    fn is_wrong(&self, refusal: &str) -> bool {
        let is_named = |objection: &FieldObjection| objection.field == self.objection.field;
        refusal == self.refusal
            || suspects(refusal, &self.body)
                .iter()
                .chain(&objections(refusal, &self.body))
                .any(is_named)
    }
}

/// The guesses for one request.
#[derive(Default)]
struct Guesses {
    /// Guesses that the current request tries out.
    held: Vec<Guess>,
    /// Guesses that did not help.
    in_vain: Vec<Guess>,
    /// Whether all guesses are tried together, after none of them helped by itself.
    together: bool,
}

impl Endpoint {
    /// Sends a request with one API, and again whenever a refusal names a field that can be
    /// changed.
    pub(super) async fn ask_in(
        &self,
        dialect: Dialect,
        http: &reqwest::Client,
        prompt: Prompt<'_>,
        sampling: &Sampling,
        leave: &dyn Leave,
    ) -> Result<(Reply, PreparedRequest), Refusal> {
        let fields = wire::Request::new(dialect, self.model(), prompt, sampling).fields();
        let mut guesses = Guesses::default();
        loop {
            let sent = self.prepared(&fields, &guesses);
            let refusal = match self.send(dialect, http, &sent.body).await {
                Ok(reply) => {
                    for guess in &guesses.held {
                        self.learns(&guess.objection, &guess.refusal, &fields);
                    }
                    return Ok((reply, sent));
                }
                Err(refusal) => refusal,
            };
            let goes_on = match &refusal {
                Refusal::Refused(refused) => self.goes_on(refused, &fields, &sent.body, &mut guesses),
                Refusal::Missing(_) | Refusal::Other(_) => false,
            };
            if !goes_on {
                return Err(refusal);
            }
            leave.follow_up();
        }
    }

    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        self.learnt.lock().expect("nobody panics with it")
    }

    /// Prepares a request with these fields, with everything learnt and guessed so far.
    fn prepared(&self, fields: &Map<String, Value>, guesses: &Guesses) -> PreparedRequest {
        let shape = &self.config.shape;
        let mut learnt = self.learnt().clone();
        for guess in &guesses.held {
            shape.learn(&guess.objection, fields, &mut learnt);
        }
        let tokens = fields.get("max_tokens").and_then(Value::as_u64).unwrap_or(0);
        PreparedRequest {
            body: shape.body(fields, &learnt),
            knows_stop: shape.sends_stop(&learnt),
            allowed: learnt.allowed(usize::try_from(tokens).unwrap_or(usize::MAX)),
        }
    }

    /// Whether another request can be sent after a refusal of this body. Each time, fewer fields
    /// are left to refuse or to guess.
    fn goes_on(
        &self,
        refused: &Refused,
        fields: &Map<String, Value>,
        body: &Map<String, Value>,
        guesses: &mut Guesses,
    ) -> bool {
        let objections = objections(&refused.body, body);
        let is_about_fields =
            !objections.is_empty() || refused.may_be_guessed && !suspects(&refused.body, body).is_empty();
        // Another request may have learnt in the meantime what is wrong with this one.
        if is_about_fields && self.prepared(fields, guesses).body != *body {
            return true;
        }
        let mut is_news = false;
        for objection in &objections {
            is_news |= self.learns(objection, &refused.body, fields);
        }
        if is_news || refused.may_be_guessed && self.guesses(&refused.body, fields, body, guesses) {
            return true;
        }
        let mut learnt = self.learnt();
        for guess in &guesses.in_vain {
            learnt.note_in_vain(&guess.objection.field);
        }
        false
    }

    /// Learns from an objection, and logs the consequence. Returns whether it was new.
    fn learns(&self, objection: &FieldObjection, refusal: &str, fields: &Map<String, Value>) -> bool {
        let line = self.config.shape.learn(objection, fields, &mut self.learnt());
        if let Some(line) = &line {
            tracing::warn!(
                "endpoint '{}' refuses `{}`: '{}'; {line}",
                self.url(),
                wire::excerpt(&objection.field),
                wire::excerpt(&self.secrets.redact(&wire::error_message(refusal)))
            );
        }
        line.is_some()
    }

    /// Chooses the next field to try without: one after another, then all together. A field whose
    /// omission changed the error stays out. Returns whether there is one.
    fn guesses(
        &self,
        refusal: &str,
        fields: &Map<String, Value>,
        body: &Map<String, Value>,
        guesses: &mut Guesses,
    ) -> bool {
        if guesses.together {
            guesses.in_vain.append(&mut guesses.held);
            return false;
        }
        let mut body = body.clone();
        if let Some(wrong) = guesses.held.pop_if(|guess| guess.is_wrong(refusal)) {
            body.clone_from(&wrong.body);
            guesses.in_vain.push(wrong);
        }
        for objection in suspects(refusal, &body) {
            let mut tried = guesses.held.iter().chain(&guesses.in_vain);
            let is_tried = tried.any(|guess| guess.objection.field == objection.field);
            if is_tried || self.learnt().was_in_vain(&objection.field) {
                continue;
            }
            guesses.held.push(Guess {
                objection,
                refusal: refusal.to_string(),
                body: body.clone(),
            });
            if self.prepared(fields, guesses).body != body {
                return true;
            }
            guesses.held.pop();
        }
        guesses.together = guesses.in_vain.len() > 1;
        if guesses.together {
            guesses.held.append(&mut guesses.in_vain);
        }
        guesses.together
    }
}

//! What an endpoint teaches by refusing requests: fields to be left out, to have another name, to
//! be sent otherwise. What a refusal says is learnt; what it only names is tried, and learnt if
//! that helps.

use super::{Dialect, Endpoint, Refusal, Refused, wire};
use crate::backend::{Leave, Sampling};
use crate::client::objection::{Objection, objections, suspects};
use crate::client::reply::Reply;
use crate::client::shape::Learnt;
use serde_json::{Map, Value};
use std::sync::MutexGuard;

/// A request as it is sent.
pub(super) struct Sent {
    body: Map<String, Value>,
    /// Whether the server is told where to stop.
    pub(super) knows_stop: bool,
    /// How many tokens the answer may have.
    pub(super) allowed: usize,
}

/// A field that is left out, or sent otherwise, to see whether that helps.
struct Guess {
    objection: Objection,
    /// The refusal that named it.
    refusal: String,
    /// The body that was refused.
    body: Map<String, Value>,
}

impl Guess {
    /// Whether another refusal, of a request that was changed so, is about the field all the same.
    fn is_wrong(&self, refusal: &str) -> bool {
        let is_named = |objection: &Objection| objection.field == self.objection.field;
        refusal == self.refusal
            || suspects(refusal, &self.body)
                .iter()
                .chain(&objections(refusal, &self.body))
                .any(is_named)
    }
}

/// What is tried with one request.
#[derive(Default)]
struct Guesses {
    held: Vec<Guess>,
    in_vain: Vec<Guess>,
    /// Whether everything is tried together, each by itself having been in vain.
    together: bool,
}

impl Endpoint {
    /// Asks in one dialect, and again whenever a refusal says or names what can be sent otherwise.
    pub(super) async fn ask_in(
        &self,
        dialect: Dialect,
        http: &reqwest::Client,
        prompt: &str,
        sampling: &Sampling,
        leave: &dyn Leave,
    ) -> Result<(Reply, Sent), Refusal> {
        let fields = wire::Request::new(dialect, self.model(), prompt, sampling).fields();
        let mut guesses = Guesses::default();
        loop {
            let sent = self.formed(&fields, &guesses);
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

    /// The request with these fields, as it is sent now.
    fn formed(&self, fields: &Map<String, Value>, guesses: &Guesses) -> Sent {
        let shape = &self.config.shape;
        let mut learnt = self.learnt().clone();
        for guess in &guesses.held {
            shape.learn(&guess.objection, fields, &mut learnt);
        }
        let tokens = fields.get("max_tokens").and_then(Value::as_u64).unwrap_or(0);
        Sent {
            body: shape.body(fields, &learnt),
            knows_stop: shape.sends_stop(&learnt),
            allowed: learnt.allowed(usize::try_from(tokens).unwrap_or(usize::MAX)),
        }
    }

    /// Whether there is something else to be sent after a refusal of this body. Each time there is
    /// less to refuse, or to guess.
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
        // A request beside it may have taught what is wrong with this one, too.
        if is_about_fields && self.formed(fields, guesses).body != *body {
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

    /// Whether an objection is news. What is done about it is said.
    fn learns(&self, objection: &Objection, refusal: &str, fields: &Map<String, Value>) -> bool {
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

    /// Whether there is a field left to be tried without, one after another and then all together.
    /// One without which something else is refused stays out.
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
            if self.formed(fields, guesses).body != body {
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

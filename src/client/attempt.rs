//! One attempt to get a response: at one endpoint or, if that is late, at two.

use super::Client;
use super::balancer::Slot;
use super::endpoint::{Answered, Endpoint};
use super::failure::RequestFailure;
use crate::backend::{Leave, Prompt, Sampling};
use std::sync::Arc;

/// An attempt that is over.
pub struct EndedAttempt<'a> {
    /// The slot of the endpoint, which is to be told how it ended.
    pub slot: Slot<'a>,
    /// Who answered, or did not.
    pub endpoint: Arc<Endpoint>,
    /// The answer, or why there is none.
    pub answer: Result<Answered, RequestFailure>,
}

impl Client {
    /// Asks the endpoint of a slot. One of a list that is late is overtaken: the same request is
    /// sent to another that has room for it, and the first answer counts. So one slow server of
    /// many does not hold up all that waits for its answer.
    pub(super) async fn attempt<'a>(
        &'a self,
        slot: Slot<'a>,
        prompt: Prompt<'_>,
        sampling: &Sampling,
        leave: &dyn Leave,
    ) -> EndedAttempt<'a> {
        let endpoint = self.members.at(slot.endpoint());
        let first = endpoint.ask(&self.http, prompt, sampling, leave);
        tokio::pin!(first);
        let ended = |slot, endpoint: &Arc<Endpoint>, answer| EndedAttempt {
            slot,
            endpoint: endpoint.clone(),
            answer,
        };
        // At addresses that were given one by one, a second request may cost money.
        if self.follower.is_none() {
            let answer = first.await;
            return ended(slot, &endpoint, answer);
        }
        let second = tokio::select! {
            biased;
            answer = &mut first => return ended(slot, &endpoint, answer),
            second = self.members.balancer().overtaker(&slot) => second,
        };
        leave.follow_up();
        let other = self.members.at(second.endpoint());
        tracing::info!(
            "endpoint '{}' is late; '{}' is asked, too",
            endpoint.url(),
            other.url()
        );
        // Boxed: few requests need it.
        let mut again = Box::pin(other.ask(&self.http, prompt, sampling, leave));
        tokio::select! {
            biased;
            answer = &mut first => ended(slot, &endpoint, answer),
            answer = &mut again => match answer {
                Ok(answer) => {
                    slot.overtaken();
                    ended(second, &other, Ok(answer))
                }
                Err(failure) => {
                    if let RequestFailure::Transient(failure) = &failure {
                        second.failed(failure, true);
                    }
                    let answer = first.await;
                    ended(slot, &endpoint, answer)
                }
            }
        }
    }
}

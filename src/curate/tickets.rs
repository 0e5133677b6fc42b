//! Tickets of exports that the page has requested and not fetched yet.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use rand::{TryRng, rngs::SysRng};
use serde::Deserialize;

use super::error::ApiError;
use crate::{interchange::write::ExportFormat, store::Filter};

/// How long a ticket is valid.
const VALID: Duration = Duration::from_secs(120);

/// The most tickets that are kept; the oldest is dropped first.
const MOST: usize = 32;

/// A request for an export.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportRequest {
    pub(super) format: String,
    pub(super) filter: Filter,
    /// Only examples that were judged and themselves score at least this much.
    #[serde(default)]
    pub(super) min_score: Option<f64>,
}

/// An export that was requested.
#[derive(Debug)]
pub(super) struct Ticket {
    name: String,
    until: Instant,
    /// The format.
    pub target: ExportFormat,
    /// The rows.
    pub request: ExportRequest,
}

/// Exports that were requested and not fetched yet.
#[derive(Debug, Clone, Default)]
pub struct Tickets(Arc<Mutex<VecDeque<Ticket>>>);

impl Tickets {
    /// Adds a ticket. Returns its name, 32 random hexadecimal digits.
    pub(super) fn add(&self, target: ExportFormat, request: ExportRequest) -> Result<String, ApiError> {
        let number = SysRng
            .try_next_u64()
            .and_then(|high| Ok((high, SysRng.try_next_u64()?)));
        let (high, low) = number.map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error))?;
        let name = format!("{high:016x}{low:016x}");
        let mut tickets = self.0.lock().expect("nobody panics with the tickets");
        if tickets.len() == MOST {
            tickets.pop_front();
        }
        tickets.push_back(Ticket {
            name: name.clone(),
            until: Instant::now() + VALID,
            target,
            request,
        });
        Ok(name)
    }

    /// Takes a ticket, which is valid for one export.
    pub(super) fn take(&self, name: &str) -> Option<Ticket> {
        let mut tickets = self.0.lock().expect("nobody panics with the tickets");
        let at = tickets.iter().position(|ticket| ticket.name == name)?;
        tickets.remove(at).filter(|ticket| Instant::now() < ticket.until)
    }
}

//! The end of a rank.

use anyhow::Result;
use ewe::leave;
use ewe::ranks::place::Place;
use ewe::ranks::report::{self, Report};
use ewe::streams;
use ewe::text::format_error;

/// Ends this process, which is one rank of several: its error goes to the `ewe` that started it, or
/// to standard error. Runs no destructors, which would wait for threads that wait for ranks that
/// are gone.
pub fn leave(place: &Place, done: Result<u8>) -> ! {
    let done = done.and_then(|code| Ok(streams::finish().map(|()| code)?));
    let code = done.unwrap_or_else(|error| {
        let report = Report {
            lost: report::is_lost(&error),
            message: format_error(&error),
        };
        match place.reports {
            Some(to) => report::send(&report, to),
            None => eprintln!("error: rank {}: {}", place.rank, report.message),
        }
        1
    });
    leave::at_once_with(code)
}

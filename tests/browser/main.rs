//! The page of `ewe curate` in a real browser, headless Chromium through WebDriver: what a person
//! presses and sees. `make test-browser` runs them; without Chromium they are skipped.

// The output of tests is for whoever runs them.
#![allow(clippy::disallowed_macros, clippy::disallowed_methods)]

mod address;
mod browser;
mod candidates;
mod charts;
mod compare;
mod conflict;
mod conversation;
mod hostile;
mod influence;
mod keys;
mod live;
mod looks;
mod progress;
mod reading;
mod selection;
mod states;
mod teams;

// The dataset, the endpoint and the command line of the other tests.
#[allow(dead_code)]
#[path = "../it/mock.rs"]
mod mock;
#[allow(dead_code)]
#[path = "../it/shell.rs"]
mod shell;
#[allow(dead_code)]
#[path = "../it/support.rs"]
mod support;
#[allow(dead_code)]
#[path = "../it/waiting.rs"]
mod waiting;

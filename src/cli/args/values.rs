//! Values for tests that try every option of every command.

/// Values of which every option takes one.
pub const VALUES: &[&str] = &[
    "1",
    "2",
    "100",
    "2=x",
    "1/2",
    "0.5",
    "0.25",
    "x",
    "yes",
    "1GB",
    "1m",
    "pending",
    "accepted",
    "seed",
    "alpaca",
    "instruction=x",
    "train",
    "score > 1",
    "held-out",
    "127.0.0.1:9",
    "http://127.0.0.1:9",
    "http://localhost",
    "text",
];

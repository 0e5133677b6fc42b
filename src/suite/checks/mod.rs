//! Checks of the user's own: what an answer to a row must satisfy, in a field `checks` of the row.
//!
//! ```json
//! {"instruction": "…", "checks": [{"regex": "^\\d+$"}, {"max_words": 10}]}
//! ```
//!
//! - `{"regex": "…"}`: the pattern is found in the answer.
//! - `{"exact": "…"}` or `{"exact": ["…", "…"]}`: the answer is the text, or one of them; white
//!   space around it does not count.
//! - `{"contains": "…"}` or a list: the text, or each of them, is in the answer.
//! - `{"not_contains": "…"}` or a list: none of them is.
//! - `{"max_words": 10}`: there are at most so many words between white space.
//! - `{"json_schema": {…}}`: the answer is JSON that satisfies the schema; with `"extract": true`,
//!   the first JSON value in a code block or, without one, in brackets does.
//! - `{"program": ["python3", "check.py"]}`: the program, given the answer, ends with exit code 0.
//!
//! [`row`] reads the file, [`kind`] its checks, [`verify`](mod@verify) judges, [`program`] runs
//! programs, `json_value` finds JSON in an answer.

mod json_value;
pub mod kind;
pub mod program;
pub mod row;
pub mod verify;

pub use program::ProgramPolicy;
pub use row::{CheckRow, read};
pub use verify::{CheckOutcome, CheckVerdict, verify};

//! Evaluation suites: what a model is asked, and how its answers are scored. Plain values in and
//! out; nothing here talks to a model or the store. `pipeline::evaluate` connects them.
//!
//! - [`ifeval`]: instructions that a program can verify; [`checks`]: checks of the user's own.
//! - [`item`]: a suite and its items; [`superni`], [`instructions`]: files of items.
//! - [`words`]: words for ROUGE, stemmed by [`porter`]; the normal form of an exact match.
//! - [`grade`]: a judge's reply.
//! - [`figures`]: scores and figures; [`interval`]: means with error bars.

pub mod checks;
pub mod figures;
pub mod grade;
pub mod ifeval;
pub mod instructions;
pub mod interval;
pub mod item;
pub mod porter;
pub mod superni;
pub mod words;

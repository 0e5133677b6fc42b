//! Two models on the same prompts: what a judge and people said of their answers, as plain values.
//!
//! A judge sees every pair in both orders, and disagreement with itself is a tie (MT-Bench, Zheng
//! et al. 2023, arXiv 2306.05685). It is examined before it is believed: on pairs whose better half
//! is known. Nothing here asks a model or reads a file.
//!
//! - [`item`]: what both models are asked.
//! - [`verdict`]: what one reply, and what both orders say of a pair.
//! - [`reply`]: a judge's reply, read strictly.
//! - [`exam`]: pairs whose better half is known, and how a judge did on them.
//! - [`figures`]: wins, rates with intervals, categories, and the winner, if there is one.
//! - [`length`], [`kappa`]: win rates at equal lengths, and agreement.

pub mod exam;
pub mod figures;
pub mod item;
pub mod kappa;
pub mod length;
pub mod reply;
pub mod verdict;

//! IFEval: answers to instructions that a program can verify (Zhou et al. 2023, arXiv 2311.07911).
//!
//! The 25 checkers, the strict and the loose verdict, and the published file format (`key`,
//! `prompt`, `instruction_id_list`, `kwargs`). The verdicts are those of the paper's code as
//! lm-evaluation-harness has it (`lm_eval/tasks/ifeval`, with NLTK 3.9.1);
//! `scripts/check_ifeval.py` compares them. All checks take linear time in the answer.
//!
//! What differs, and why:
//!
//! - Languages are detected by `whatlang` and frequent words, not by `langdetect`, whose result is
//!   random: [`detect`].
//! - The paper's code draws an argument at random where a row lacks it or has an impossible value.
//!   Here the row is refused. The letters `#` and `!`, which two published rows count and the
//!   paper's code replaces by a random letter, are counted.
//! - Sentences are split by a short list of abbreviations of ewe's own, unless NLTK's files are
//!   given: [`punkt`]. With them, the number of sentences is NLTK's.
//! - An argument that is 0 counts as 0, as in the paper's code. lm-evaluation-harness drops it.
//! - Keywords are regular expressions, as published, in the syntax of the `regex` crate: one with
//!   look-around or a back reference is refused.
//! - JSON may nest to any depth, and integers may have any length; Python fails on both.
//!
//! Files: [`row`] reads, [`verify`](mod@verify) judges; `registry` lists the checkers, one file a
//! family; [`sentences`] and [`words`] split as NLTK does, by the parameters of [`punkt`], which
//! [`punkt_files`] reads; `python` has the character classes of Python.

mod arguments;
mod case;
mod checker;
mod combination;
mod content;
pub mod detect;
mod english;
mod format;
mod json_text;
mod keywords;
mod language;
mod length;
mod punctuation;
pub mod punkt;
pub mod punkt_files;
mod python;
mod registry;
pub mod row;
pub mod sentences;
mod startend;
pub mod verify;
pub mod words;

pub use punkt::PunktParameters;
pub use row::{IfevalRow, Instruction, read};
pub use verify::{IfevalVerdict, verify};

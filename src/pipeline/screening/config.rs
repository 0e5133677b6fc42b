//! How files are filtered.

use std::path::PathBuf;

use crate::filter::Compared;
use crate::filter::rouge::Threshold;
use crate::filter::rules::RuleSet;
use crate::interchange::Reading;
use crate::interchange::left_out::Policy;

/// How to filter files.
#[derive(Debug, Clone)]
pub struct FilterConfig {
    /// The files, of which there is at least one. Their rows are those of one dataset, in this
    /// order.
    pub files: Vec<PathBuf>,
    /// Evaluation files: rows must not be similar to their tasks, nor contain parts of them.
    pub against: Vec<PathBuf>,
    /// ROUGE-L F1 above which two texts are near-duplicates.
    pub threshold: Threshold,
    /// What of a conversation is compared.
    pub compared: Compared,
    /// The rules for each row.
    pub rules: RuleSet,
    /// Compare rows with those of `against` only, not with one another.
    pub apart: bool,
    /// Name the most similar row in every verdict, not only in those on near-duplicates.
    pub nearest: bool,
    /// How to read the rows.
    pub reading: Reading,
    /// What to do with rows that cannot be read.
    pub policy: Policy,
    /// The file for kept rows; a folder of files, if each has so many rows.
    pub out: Option<PathBuf>,
    /// Rows in each file of the folder.
    pub rows_per_file: Option<u64>,
    /// The file for verdicts.
    pub verdicts: Option<PathBuf>,
    /// The bytes of memory that the program may take; without it, as many as it needs.
    pub memory: Option<u64>,
    /// The folder for files in between, if not all rows kept fit into memory.
    pub scratch: Option<PathBuf>,
}

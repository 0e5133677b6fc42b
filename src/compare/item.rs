//! What both models are asked.

use crate::backend::Question;

/// One prompt of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its name within the file or the dataset, such as `row 12`.
    pub key: String,
    /// What kind of question it is, where that is known.
    pub category: Option<String>,
    /// The question.
    pub question: Question,
    /// A good answer, where there is one; never blank.
    pub reference: Option<String>,
}

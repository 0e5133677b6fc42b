//! One checker of the table: its id, its arguments, and how to make a check of them.

use std::sync::Arc;

use super::arguments::Arguments;
use super::punkt::PunktParameters;

/// Whether a text follows an instruction, with the parameters by which it is split into sentences.
/// The text is not blank.
pub type Check = Arc<dyn Fn(&str, &PunktParameters) -> bool + Send + Sync>;

/// A kind of instruction.
#[derive(Debug, Clone, Copy)]
pub struct Checker {
    /// Its id in files, `family:name`.
    pub id: &'static str,
    /// The names of its arguments.
    pub arguments: &'static [&'static str],
    /// Makes the check of a row's arguments. The error says which argument is wrong.
    pub make: fn(&Arguments<'_>) -> Result<Check, String>,
}

/// Makes a check of a function of the text.
pub fn check(verify: impl Fn(&str) -> bool + Send + Sync + 'static) -> Check {
    Arc::new(move |text, _| verify(text))
}

/// Makes a check of a function that splits the text into sentences.
pub fn sentence_check(verify: impl Fn(&str, &PunktParameters) -> bool + Send + Sync + 'static) -> Check {
    Arc::new(verify)
}

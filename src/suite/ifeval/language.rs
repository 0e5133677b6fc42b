//! The checker of family `language`.

use super::arguments::Arguments;
use super::checker::{Check, Checker, check};
use super::detect;

pub(super) const CHECKERS: &[Checker] = &[Checker {
    id: "language:response_language",
    arguments: &["language"],
    make: response_language,
}];

/// The text is in the language of this code. A text whose language cannot be told passes, as
/// published.
fn response_language(arguments: &Arguments<'_>) -> Result<Check, String> {
    let wanted = arguments.text("language")?;
    let Some(wanted) = detect::known(wanted) else {
        return Err(format!(
            "needs the code of a language as `language`, not `{wanted}`; there are {}",
            detect::codes()
        ));
    };
    Ok(check(move |text| {
        detect::language(text).is_none_or(|found| found == wanted)
    }))
}

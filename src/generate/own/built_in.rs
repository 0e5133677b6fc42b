//! Built-in recipes as files, for users to begin with; and why some cannot be written so.

/// A built-in recipe: its name, and its file or why there is none.
type BuiltIn = (&'static str, Result<&'static str, &'static str>);

/// All built-in recipes.
pub const ALL: [BuiltIn; 4] = [
    (
        "self-instruct",
        Err(
            "its second stage decides which prompt and which parser the third one has, and sorts the seeds that each \
             prompt shows by that decision; a stage of a file has one prompt and one parser",
        ),
    ),
    ("alpaca", Ok(include_str!("files/alpaca.toml"))),
    ("grounded", Ok(include_str!("files/grounded.toml"))),
    ("backtranslation", Ok(include_str!("files/backtranslation.toml"))),
];

/// Returns the file of a built-in recipe.
///
/// # Errors
///
/// Says why it has none, or that there is no such recipe.
pub fn file(name: &str) -> Result<&'static str, String> {
    let names = |with_file: bool| {
        let all = ALL.iter().filter(|(_, file)| file.is_ok() || !with_file);
        all.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    };
    match ALL.iter().find(|(known, _)| *known == name) {
        Some((_, Ok(file))) => Ok(file),
        Some((_, Err(why))) => Err(format!(
            "`{name}` cannot be written as a file: {why}\nhint: these can: {}",
            names(true)
        )),
        None => Err(format!(
            "there is no recipe `{name}`\nhint: there are {}",
            names(false)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::own::form;

    #[test]
    fn every_file_is_a_recipe() {
        for (name, file) in ALL {
            if let Ok(file) = file {
                form::of_text(name, name, file.to_string()).unwrap();
            }
        }
        assert!(
            self::file("self-instruct")
                .unwrap_err()
                .contains("cannot be written")
        );
        assert!(self::file("x").unwrap_err().contains("alpaca"));
    }
}

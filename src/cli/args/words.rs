//! Texts on the command line that must say something.

/// A text that is not empty. An empty name would be read as none, and an empty text stands
/// everywhere.
pub fn some(text: &str) -> Result<String, String> {
    match text {
        "" => Err("want a text that is not empty".to_owned()),
        text => Ok(text.to_owned()),
    }
}

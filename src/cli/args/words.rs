//! Texts on the command line that must say something.

/// A text that is not empty. An empty name would be read as none, and an empty text stands
/// everywhere.
pub fn some(text: &str) -> Result<String, String> {
    match text {
        "" => Err("want a text that is not empty".to_owned()),
        text => Ok(text.to_owned()),
    }
}

/// Whether a value that is a word or a file is a file.
pub fn is_file(value: &str) -> bool {
    value.contains(['.', '/']) || std::path::Path::new(value).is_file()
}

//! Parts of a README.md: its head in YAML, and texts and tables below. Names and texts come from
//! files, so they are quoted where a reader would take them for something else.

use std::fmt::Write;

use crate::text::one_line;

/// The most characters of a text that is quoted.
const LONGEST: usize = 400;

/// The head, which the hub reads.
#[derive(Debug, Default)]
pub(super) struct Head(String);

impl Head {
    /// Adds a field, if there is a value.
    pub fn field(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            let _ = writeln!(self.0, "{name}: {}", scalar(value));
        }
    }

    /// Adds a list, unless it is empty.
    pub fn list<T: AsRef<str>>(&mut self, name: &str, values: &[T]) {
        if values.is_empty() {
            return;
        }
        let _ = writeln!(self.0, "{name}:");
        for value in values {
            let _ = writeln!(self.0, "- {}", scalar(value.as_ref()));
        }
    }

    /// Adds lines of YAML as they are.
    pub fn lines(&mut self, lines: &str) {
        self.0 += lines;
    }

    /// Returns the head with its fences, and an empty line.
    pub fn end(self) -> String {
        format!("---\n{}---\n\n", self.0)
    }
}

/// A text as a value of YAML: as it is if that is a text to every reader, else as in JSON, which is
/// YAML.
pub(super) fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let words = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(plain)
        && !words.contains(&text.to_ascii_lowercase().as_str());
    match is_plain {
        true => text.to_owned(),
        false => serde_json::Value::from(text).to_string(),
    }
}

/// A text on one line, in which Markdown and HTML have no meaning.
pub(super) fn text(text: &str) -> String {
    let mut quoted = String::new();
    for c in one_line(text, LONGEST).chars() {
        match c {
            '<' => quoted += "&lt;",
            '&' => quoted += "&amp;",
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' => {
                quoted.push('\\');
                quoted.push(c);
            }
            c => quoted.push(c),
        }
    }
    quoted
}

/// A table with these heads; nothing without rows.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let rule = vec!["---".to_owned(); heads.len()];
    let mut table = line(&heads) + &line(&rule);
    table.extend(rows.iter().map(|row| line(row)));
    table + "\n"
}

/// A block of code.
pub(super) fn code(language: &str, lines: &str) -> String {
    format!("```{language}\n{}\n```\n\n", lines.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_yaml_are_texts() {
        for text in ["apache-2.0", "google/gemma-3-270m", "en", "text-generation"] {
            assert_eq!(scalar(text), text);
        }
        for (text, quoted) in [
            ("no", "\"no\""),
            ("1.0", "\"1.0\""),
            ("", "\"\""),
            ("a: b", "\"a: b\""),
            ("x\n---", "\"x\\n---\""),
            ("- x", "\"- x\""),
        ] {
            assert_eq!(scalar(text), quoted);
        }
        let mut head = Head::default();
        head.field("license", Some("mit"));
        head.field("base_model", None);
        head.list("language", &["en", "no"]);
        head.list::<&str>("tags", &[]);
        assert_eq!(
            head.end(),
            "---\nlicense: mit\nlanguage:\n- en\n- \"no\"\n---\n\n"
        );
    }

    #[test]
    fn texts_mean_nothing_to_markdown() {
        assert_eq!(
            text("a|b <script>\n# x [y](z) `w`"),
            "a\\|b &lt;script> \\# x \\[y\\](z) \\`w\\`"
        );
        let rows = [vec!["a".to_owned(), "1".to_owned()]];
        assert_eq!(
            table(&["what", "n"], &rows),
            "| what | n |\n| --- | --- |\n| a | 1 |\n\n"
        );
        assert_eq!(table(&["what"], &[]), "");
    }
}

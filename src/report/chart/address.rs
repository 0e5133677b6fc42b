//! Addresses of filters on the page, for charts that lead to what they count.

use std::fmt::Write;

/// Returns the address with these fields of the filter, without `#`.
pub fn of(fields: &[(&str, &str)]) -> String {
    let fields = fields
        .iter()
        .map(|(name, value)| format!("{name}={}", encoded(value)));
    fields.collect::<Vec<_>>().join("&")
}

/// Returns the address of the tasks of the dataset, which are not rejected, with these fields and a
/// condition; none if that is empty.
pub fn kept(fields: &[(&str, &str)], condition: &str) -> String {
    let and = if condition.is_empty() { "" } else { " and " };
    let condition = format!("review != 'rejected'{and}{condition}");
    of(&[&[("review", "")], fields, &[("where", condition.as_str())]].concat())
}

/// Encodes a value as `URLSearchParams` reads it.
fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => text.push(char::from(byte)),
            byte => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_encoded() {
        assert_eq!(
            of(&[("review", ""), ("label", "a&b é")]),
            "review=&label=a%26b%20%C3%A9"
        );
        assert_eq!(
            kept(&[], "score >= 4"),
            "review=&where=review%20%21%3D%20%27rejected%27%20and%20score%20%3E%3D%204"
        );
    }
}

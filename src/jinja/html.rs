//! HTML and URLs, as `markupsafe` and Jinja2 write them.

use super::text::is_space;

const ENTITIES: [(&str, &str); 6] = [
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&#39;", "'"),
    ("&#34;", "\""),
    ("&quot;", "\""),
    ("&amp;", "&"),
];

/// Escapes a text for HTML (`markupsafe.escape`).
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            c => out.push(c),
        }
    }
    out
}

/// Returns the text of HTML without comments and tags, each run of white space as one space
/// (`Markup.striptags`).
pub fn strip_tags(text: &str) -> String {
    let mut rest = text.to_owned();
    while let Some(start) = rest.find("<!--") {
        let Some(end) = rest[start..].find("-->") else {
            break;
        };
        rest.replace_range(start..start + end + 3, "");
    }
    while let Some(start) = rest.find('<') {
        let Some(end) = rest[start..].find('>') else {
            break;
        };
        rest.replace_range(start..=start + end, "");
    }
    let words: Vec<&str> = rest.split(is_space).filter(|word| !word.is_empty()).collect();
    ENTITIES.iter().fold(words.join(" "), |text, (entity, letter)| {
        text.replace(entity, letter)
    })
}

/// Quotes a text for a URL. In a query, `/` is quoted and a space becomes `+`.
pub fn url_quoted(text: &str, for_query: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => out.push(byte.into()),
            b'/' if !for_query => out.push('/'),
            b' ' if for_query => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

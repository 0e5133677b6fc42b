//! Calls as FunctionGemma writes them: `call:name{city:<escape>Paris<escape>,days:3}`, JSON without
//! quotes around names, and with a mark of its own around texts.

use serde_json::{Map, Value, json};

use super::call::{ArgumentSchemas, Call};

/// Stands before and behind a text.
pub const QUOTE: &str = "<escape>";

/// The deepest nesting of lists and objects.
const DEEPEST: usize = 64;

/// Reads one call.
pub fn calls(body: &str, _: &ArgumentSchemas) -> Option<Vec<Call>> {
    let body = body.trim().strip_prefix("call:")?;
    let at = body.find('{')?;
    let mut rest = &body[at..];
    let arguments = value(&mut rest, 0)?;
    rest.trim().is_empty().then_some(())?;
    Some(vec![Call::new(&body[..at], &arguments)?])
}

/// Takes a sign from the beginning of `rest`, if it is next.
fn take(rest: &mut &str, sign: &str) -> bool {
    match rest.trim_start().strip_prefix(sign) {
        Some(behind) => {
            *rest = behind;
            true
        }
        None => false,
    }
}

/// Takes a value from the beginning of `rest`.
fn value(rest: &mut &str, depth: usize) -> Option<Value> {
    if depth > DEEPEST {
        return None;
    }
    if take(rest, QUOTE) {
        let (text, behind) = rest.split_once(QUOTE)?;
        *rest = behind;
        return Some(json!(text));
    }
    if take(rest, "[") {
        let mut items = Vec::new();
        while !take(rest, "]") {
            items.push(value(rest, depth + 1)?);
            let goes_on = take(rest, ",");
            if !goes_on && !rest.trim_start().starts_with(']') {
                return None;
            }
        }
        return Some(Value::Array(items));
    }
    if take(rest, "{") {
        let mut fields = Map::new();
        while !take(rest, "}") {
            let (name, behind) = rest.split_once(':')?;
            *rest = behind;
            let name = name.trim().trim_matches('"');
            fields.insert(name.to_owned(), value(rest, depth + 1)?);
            let goes_on = take(rest, ",");
            if !goes_on && !rest.trim_start().starts_with('}') {
                return None;
            }
        }
        return Some(Value::Object(fields));
    }
    let end = rest.find([',', ']', '}'])?;
    let word = rest[..end].trim();
    *rest = &rest[end..];
    serde_json::from_str(word).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bare_and_texts_marked() {
        let read = |text: &str| {
            let calls = calls(text, &ArgumentSchemas::default())?;
            Some((calls[0].name.clone(), calls[0].arguments.clone()))
        };
        for (text, want) in [
            ("call:now{}", r#"{}"#),
            (
                "call:now{city:<escape>a, {b}: c<escape>,days:3}",
                r#"{"city":"a, {b}: c","days":3}"#,
            ),
            (
                "call:now{list:[1,<escape>x<escape>, true], o:{a:-1.5,b:null}}",
                r#"{"list":[1,"x",true],"o":{"a":-1.5,"b":null}}"#,
            ),
        ] {
            assert_eq!(read(text), Some(("now".to_owned(), want.to_owned())), "{text}");
        }
        let deep = format!("call:a{{x:{}", "[".repeat(100_000));
        for bad in [
            "",
            "now{}",
            "call:{}",
            "call:a",
            "call:a{x}",
            "call:a{x:y}",
            "call:a{x:1} z",
            "call:a{x:1 y:2}",
            deep.as_str(),
        ] {
            assert_eq!(read(bad), None, "{bad:.40}");
        }
    }
}

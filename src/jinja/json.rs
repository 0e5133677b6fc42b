//! `tojson` of chat templates: Python's `json.dumps`, without Jinja2's escapes for HTML.

use super::error::{Error, Result};
use super::text;
use super::value::{PyObject, Value};

/// Arguments of `json.dumps` that the filter passes on.
pub struct JsonOptions {
    pub ensure_ascii: bool,
    /// Indentation of one level; none for output on one line.
    pub indent: Option<String>,
    /// Separators after an item and after a key.
    pub separators: (String, String),
    pub sort_keys: bool,
}

impl JsonOptions {
    /// Reads the filter's arguments; none is the default.
    pub fn read(
        ensure_ascii: Option<Value>,
        indent: Option<Value>,
        separators: Option<Value>,
        sort_keys: Option<Value>,
    ) -> Result<JsonOptions> {
        let indent = match indent.unwrap_or(Value::None) {
            Value::None => None,
            value => match (value.as_text(), value.as_int()) {
                (Some(text), _) => Some(text.to_string()),
                (_, Some(width)) if width <= 100 => Some(" ".repeat(width.max(0) as usize)),
                _ => return Err(Error::fault("tojson: `indent` is neither a number nor a text")),
            },
        };
        let separators = match separators.unwrap_or(Value::None) {
            Value::None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
            Value::None => (", ".to_owned(), ": ".to_owned()),
            value => match value.items() {
                Some([Value::Str(item), Value::Str(key)]) => (item.to_string(), key.to_string()),
                _ => return Err(Error::fault("tojson: `separators` are not two texts")),
            },
        };
        Ok(JsonOptions {
            ensure_ascii: ensure_ascii.is_some_and(|value| value.is_true()),
            indent,
            separators,
            sort_keys: sort_keys.is_some_and(|value| value.is_true()),
        })
    }
}

/// Returns `json.dumps(value)`.
pub fn dumps(value: &Value, options: &JsonOptions) -> Result<String> {
    let mut out = String::new();
    write(&mut out, value, options, 0)?;
    Ok(out)
}

fn write(out: &mut String, value: &Value, options: &JsonOptions, depth: usize) -> Result<()> {
    match value {
        Value::None => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Int(number) => out.push_str(&number.to_string()),
        Value::Float(number) => out.push_str(&float(*number)),
        Value::Str(text) | Value::Markup(text) => string(out, text, options.ensure_ascii),
        Value::List(seq) | Value::Tuple(seq) => {
            brackets(out, ('[', ']'), &seq.items, options, depth, |out, item| {
                write(out, item, options, depth + 1)
            })?;
        }
        Value::Dict(dict) => {
            let mut entries: Vec<&(Value, Value)> = dict.entries().iter().collect();
            if options.sort_keys {
                sort(&mut entries)?;
            }
            brackets(out, ('{', '}'), &entries, options, depth, |out, (key, value)| {
                let key = match key {
                    Value::Str(text) | Value::Markup(text) => text.to_string(),
                    Value::None => "null".to_owned(),
                    Value::Bool(value) => value.to_string(),
                    Value::Int(number) => number.to_string(),
                    Value::Float(number) => float(*number),
                    other => {
                        return Err(Error::fault(format!(
                            "keys must be str, int, float, bool or None, not {}",
                            other.kind()
                        )));
                    }
                };
                string(out, &key, options.ensure_ascii);
                out.push_str(&options.separators.1);
                write(out, value, options, depth + 1)
            })?;
        }
        Value::Object(object) if matches!(&**object, PyObject::Namespace(_)) => {
            return Err(Error::fault(
                "Object of type TemplateNamespace is not JSON serializable",
            ));
        }
        other => {
            return Err(Error::fault(format!(
                "Object of type {} is not JSON serializable",
                other.kind()
            )));
        }
    }
    Ok(())
}

fn brackets<T>(
    out: &mut String,
    (open, close): (char, char),
    items: &[T],
    options: &JsonOptions,
    depth: usize,
    mut each: impl FnMut(&mut String, &T) -> Result<()>,
) -> Result<()> {
    let line = |out: &mut String, depth: usize| {
        if let Some(indent) = &options.indent {
            out.push('\n');
            out.push_str(&indent.repeat(depth));
        }
    };
    out.push(open);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push_str(&options.separators.0);
        }
        line(out, depth + 1);
        each(out, item)?;
    }
    if !items.is_empty() {
        line(out, depth);
    }
    out.push(close);
    Ok(())
}

fn sort(entries: &mut [&(Value, Value)]) -> Result<()> {
    let mut failed = None;
    entries.sort_by(|a, b| match a.0.compare(&b.0, "<") {
        Ok(order) => order.unwrap_or(std::cmp::Ordering::Equal),
        Err(error) => {
            failed.get_or_insert(error);
            std::cmp::Ordering::Equal
        }
    });
    failed.map_or(Ok(()), Err)
}

fn float(number: f64) -> String {
    match number {
        n if n.is_nan() => "NaN".to_owned(),
        n if n.is_infinite() => if n > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
        n => text::float(n),
    }
}

fn string(out: &mut String, text: &str, ascii: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\0'..='\x1f' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c if ascii && !matches!(c, ' '..='~') => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

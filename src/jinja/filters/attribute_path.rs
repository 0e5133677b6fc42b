//! The argument `attribute` of filters: a path like `author.name` or `pair.0`.

use crate::jinja::attributes;
use crate::jinja::error::Result;
use crate::jinja::runtime::Runtime;
use crate::jinja::text;
use crate::jinja::value::Value;

/// Keys, each applied to the value of the one before. Without keys, it is the value itself.
pub(super) struct AttributePath(Vec<Value>);

impl AttributePath {
    pub(super) fn from_argument(attribute: &Option<Value>) -> AttributePath {
        match attribute {
            None | Some(Value::None) => AttributePath(Vec::new()),
            Some(attribute) => match attribute.as_text() {
                Some(text) => AttributePath::parse(text),
                None => AttributePath(vec![attribute.clone()]),
            },
        }
    }

    pub(super) fn parse(path: &str) -> AttributePath {
        let key = |part: &str| match part.parse::<i128>() {
            Ok(number) if text::is_digit(part) => Value::Int(number),
            _ => Value::text(part),
        };
        AttributePath(path.split('.').map(key).collect())
    }

    /// Returns the value at the path within `value`. `default` stands in for undefined values on
    /// the way.
    pub(super) fn follow(
        &self,
        runtime: &mut Runtime,
        value: &Value,
        default: Option<&Value>,
    ) -> Result<Value> {
        let mut found = value.clone();
        for key in &self.0 {
            found = attributes::item(runtime, &found, key)?;
            if let (true, Some(default)) = (found.is_undefined(), default) {
                found = default.clone();
            }
        }
        Ok(found)
    }
}

//! Calls of tools, and the schemas of their arguments.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

/// The schemas of the arguments of tools, by the tools' names: some formats write values without
/// their types.
pub type ArgumentSchemas = Arc<HashMap<String, Value>>;

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The tool.
    pub name: String,
    /// The arguments, as JSON.
    pub arguments: String,
}

impl Call {
    /// Returns a call; none without a name.
    pub fn new(name: &str, arguments: &Value) -> Option<Call> {
        let name = name.trim();
        (!name.is_empty()).then(|| Call {
            name: name.to_owned(),
            arguments: arguments.to_string(),
        })
    }

    /// Reads a call from an object with `name`, and `arguments` or `parameters`.
    pub fn of(value: &Value) -> Option<Call> {
        let name = value.get("name")?.as_str()?.to_owned();
        let arguments = match value.get("arguments").or_else(|| value.get("parameters")) {
            None | Some(Value::Null) => "{}".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(object @ Value::Object(_)) => object.to_string(),
            Some(_) => return None,
        };
        (!name.is_empty()).then_some(Call { name, arguments })
    }

    /// Reads calls from a list of such objects, which is not empty.
    pub fn all_of(text: &str) -> Option<Vec<Call>> {
        let list: Vec<Value> = serde_json::from_str(text.trim()).ok()?;
        let calls: Option<Vec<Call>> = list.iter().map(Call::of).collect();
        calls.filter(|calls| !calls.is_empty())
    }
}

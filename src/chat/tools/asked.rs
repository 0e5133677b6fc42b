//! Which tools a request offers, and whether one must be called.

use serde_json::{Value, json};

use crate::chat::error::ApiError;
use crate::chat::fields::{JsonFields, quoted, wrong};
use crate::chat::structured::AnswerFormat;
use crate::chat::tools::call::ArgumentSchemas;
use crate::engine::grammar::GrammarSource;
use crate::engine::grammar::calls::CallMarks;

/// The most tools of a request.
const MOST: usize = 512;

/// Whether a tool is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    /// None is.
    None,
    /// The model decides.
    Auto,
    /// At least one is.
    Required,
    /// This one is.
    Named(String),
}

/// A function that may be called.
#[derive(Debug, Clone, PartialEq)]
struct Function {
    name: String,
    /// The schema of its arguments.
    parameters: Value,
}

/// The tools of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Tools {
    functions: Vec<Function>,
    /// As they were sent, for the template.
    pub sent: Value,
    /// Whether one is called.
    pub choice: ToolChoice,
    /// Whether one answer may have several calls.
    pub parallel: bool,
}

impl Tools {
    /// Takes the parameters that are about tools; none if there are none, or if none may be called.
    pub fn take(fields: &mut JsonFields) -> Result<Option<Tools>, ApiError> {
        let functions = match fields.take("tools") {
            None => None,
            Some(Value::Array(list)) if list.is_empty() => None,
            Some(Value::Array(list)) if list.len() > MOST => {
                let message = format!("`tools` has {} tools, want at most {MOST}", list.len());
                return Err(ApiError::parameter("tools", message));
            }
            Some(Value::Array(list)) => {
                let functions = list.iter().enumerate().map(function);
                Some((functions.collect::<Result<Vec<_>, _>>()?, Value::Array(list)))
            }
            Some(other) => return Err(wrong("tools", &other, "a list of tools")),
        };
        let chosen = fields.take("tool_choice");
        let parallel = fields.flag("parallel_tool_calls")?.unwrap_or(true);
        let (functions, chosen) = match (functions, chosen) {
            (Some(functions), Some(value)) if value["type"] == "allowed_tools" => allowed(functions, &value)?,
            (functions, chosen) => (functions, chosen),
        };
        let Some((functions, sent)) = functions else {
            return match chosen.as_ref().map(|value| (value, value.as_str())) {
                None | Some((_, Some("none" | "auto"))) => Ok(None),
                Some((value, _)) => Err(wrong("tool_choice", value, "none or auto where `tools` has none")),
            };
        };
        let choice = match chosen {
            None => ToolChoice::Auto,
            Some(value) => choice(&value, &functions)?,
        };
        Ok((choice != ToolChoice::None).then_some(Tools {
            functions,
            sent,
            choice,
            parallel,
        }))
    }

    /// Returns the format of an answer that must be a call: a list of objects with `name` and
    /// `arguments`, or the arguments of the tool that is named, as vLLM has models write them.
    pub fn format(&self) -> Option<AnswerFormat> {
        let schema = match &self.choice {
            ToolChoice::None | ToolChoice::Auto => return None,
            ToolChoice::Named(name) => {
                let named = self.functions.iter().find(|function| function.name == *name)?;
                named.parameters.clone()
            }
            ToolChoice::Required => self.calls(),
        };
        Some(AnswerFormat {
            place: "tools".to_owned(),
            source: GrammarSource::Schema(schema),
        })
    }

    /// Returns the schemas of arguments, by the names of the tools.
    pub fn schemas(&self) -> ArgumentSchemas {
        let functions = self.functions.iter();
        let schemas = functions.map(|function| (function.name.clone(), function.parameters.clone()));
        ArgumentSchemas::new(schemas.collect())
    }

    /// Lets the model answer in `format` or call, as it decides; where it must call, the format
    /// has nothing to say. `calls` is how calls begin.
    pub fn beside(&self, format: Option<AnswerFormat>, calls: CallMarks) -> Option<AnswerFormat> {
        self.format().or_else(|| {
            let AnswerFormat { place, source } = format?;
            Some(AnswerFormat {
                place,
                source: GrammarSource::OrCalls(Box::new(source), calls),
            })
        })
    }

    /// Returns the schema of one call whose arguments are called `parameters`, as Llama 3 writes
    /// them.
    pub fn bare(&self) -> Value {
        json!({ "anyOf": self.each("#/anyOf", "parameters") })
    }

    /// Returns the schemas of calls of each tool, which will stand at `place`, with the name that
    /// arguments have.
    fn each(&self, place: &str, arguments: &str) -> Vec<Value> {
        let call = |(index, function): (usize, &Function)| {
            let to = format!("{place}/{index}/properties/{arguments}");
            json!({
                "type": "object",
                "properties": { "name": { "const": function.name }, arguments: moved(&function.parameters, &to) },
                "required": ["name", arguments],
                "additionalProperties": false,
            })
        };
        self.functions.iter().enumerate().map(call).collect()
    }

    /// Returns the schema of a list of calls.
    fn calls(&self) -> Value {
        let calls = self.each("#/items/anyOf", "arguments");
        let mut schema = json!({ "type": "array", "items": { "anyOf": calls }, "minItems": 1 });
        if !self.parallel {
            schema["maxItems"] = json!(1);
        }
        schema
    }

    /// Fails on a schema of arguments that is none, with the path to what is wrong.
    pub fn check(&self) -> Result<(), ApiError> {
        self.functions
            .iter()
            .enumerate()
            .try_for_each(|(index, function)| {
                let place = format!("tools[{index}].function.parameters");
                crate::chat::structured::check_schema(&place, &function.parameters)
            })
    }
}

/// Returns a schema as it must be where it is no longer the whole: references to its parts, such as
/// `#/$defs/x`, begin with the place that it moves `to`.
fn moved(schema: &Value, to: &str) -> Value {
    match schema {
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| {
                let value = match (name.as_str(), value) {
                    ("$ref", Value::String(target)) => match target.strip_prefix('#') {
                        Some(path) if path.is_empty() || path.starts_with('/') => {
                            json!(format!("{to}{path}"))
                        }
                        _ => value.clone(),
                    },
                    // Those are data.
                    ("const" | "enum" | "default" | "examples", _) => value.clone(),
                    // There, names are the caller's, and may be as those above.
                    ("properties" | "patternProperties" | "$defs" | "definitions", Value::Object(own)) => own
                        .iter()
                        .map(|(name, schema)| (name.clone(), moved(schema, to)))
                        .collect(),
                    _ => moved(value, to),
                };
                (name.clone(), value)
            };
            Value::Object(fields.iter().map(field).collect())
        }
        Value::Array(values) => values.iter().map(|value| moved(value, to)).collect(),
        other => other.clone(),
    }
}

/// Reads a tool.
fn function((index, tool): (usize, &Value)) -> Result<Function, ApiError> {
    let place = format!("tools[{index}]");
    let described = &tool["function"];
    if tool["type"] != "function" || !described.is_object() {
        return Err(wrong(&place, tool, "{\"type\": \"function\", \"function\": {…}}"));
    }
    let name = described["name"].as_str().unwrap_or_default();
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.:/".contains(c);
    if name.is_empty() || name.len() > 256 || !name.chars().all(is_name) {
        let place = format!("{place}.function.name");
        let want = "a name of letters, digits, `_`, `-`, `.`, `:` and `/`";
        return Err(wrong(&place, &described["name"], want));
    }
    let parameters = match &described["parameters"] {
        Value::Null => json!({ "type": "object", "properties": {}, "additionalProperties": false }),
        schema @ Value::Object(fields) if fields.contains_key("type") => schema.clone(),
        Value::Object(fields) => {
            // Arguments are an object in any case.
            let mut fields = fields.clone();
            fields.insert("type".to_owned(), json!("object"));
            Value::Object(fields)
        }
        other => {
            let place = format!("{place}.function.parameters");
            return Err(wrong(&place, other, "a JSON Schema of an object"));
        }
    };
    Ok(Function {
        name: name.to_owned(),
        parameters,
    })
}

/// Tools that may be called, and the same as they were sent.
type Offered = (Vec<Function>, Value);

/// Reads a `tool_choice` that names the tools that may be called, and whether one must be. Returns
/// them, and the rest of the choice: the model learns of no others.
fn allowed((functions, sent): Offered, choice: &Value) -> Result<(Option<Offered>, Option<Value>), ApiError> {
    const PLACE: &str = "tool_choice.allowed_tools";
    // OpenAI's chats have them within a field, its other interface beside the type.
    let asked = choice.get("allowed_tools").unwrap_or(choice);
    let names = asked["tools"].as_array().and_then(|tools| {
        let name = |tool: &Value| {
            let name = tool["function"]["name"].as_str().or(tool["name"].as_str());
            name.map(str::to_owned)
        };
        tools.iter().map(name).collect::<Option<Vec<String>>>()
    });
    let Some(names) = names.filter(|names| !names.is_empty()) else {
        return Err(wrong(
            PLACE,
            asked,
            "{\"mode\": …, \"tools\": [{\"type\": \"function\", \"function\": {\"name\": …}}]}",
        ));
    };
    if let Some(name) = names
        .iter()
        .find(|name| functions.iter().all(|function| function.name != **name))
    {
        let message = format!("`{PLACE}`: there is no tool {}", quoted(name));
        return Err(ApiError::parameter(PLACE, message));
    }
    let sent = match sent {
        Value::Array(list) => list,
        _ => Vec::new(),
    };
    let (functions, sent): (Vec<Function>, Vec<Value>) = functions
        .into_iter()
        .zip(sent)
        .filter(|(function, _)| names.contains(&function.name))
        .unzip();
    let mode = asked.get("mode").cloned().unwrap_or(json!("auto"));
    Ok((Some((functions, Value::Array(sent))), Some(mode)))
}

/// Reads `tool_choice`.
fn choice(value: &Value, functions: &[Function]) -> Result<ToolChoice, ApiError> {
    match value {
        Value::String(word) if word == "none" => return Ok(ToolChoice::None),
        Value::String(word) if word == "auto" => return Ok(ToolChoice::Auto),
        // Mistral's word for the same.
        Value::String(word) if word == "required" || word == "any" => return Ok(ToolChoice::Required),
        Value::Object(fields) if fields.get("type").is_some_and(|kind| kind == "function") => {
            if let Some(name) = value["function"]["name"].as_str() {
                if functions.iter().any(|function| function.name == name) {
                    return Ok(ToolChoice::Named(name.to_owned()));
                }
                let names: Vec<&str> = functions.iter().map(|function| function.name.as_str()).collect();
                let message = format!(
                    "`tool_choice.function.name`: there is no tool {}\nhint: `tools` has `{}`",
                    quoted(name),
                    names.join("`, `")
                );
                return Err(ApiError::parameter("tool_choice.function.name", message));
            }
        }
        _ => {}
    }
    const WANT: &str = "none, auto, required, or {\"type\": \"function\", \"function\": {\"name\": …}}";
    Err(wrong("tool_choice", value, WANT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(body: &Value) -> Result<Option<Tools>, ApiError> {
        Tools::take(&mut JsonFields::read(body.to_string().as_bytes()).unwrap())
    }

    fn tool(name: &str) -> Value {
        json!({ "type": "function", "function": { "name": name, "parameters": { "properties": { "a": {} } } } })
    }

    #[test]
    fn tools_and_their_choice_are_read() {
        assert_eq!(taken(&json!({})), Ok(None));
        assert_eq!(taken(&json!({ "tools": [], "tool_choice": "auto" })), Ok(None));
        assert_eq!(
            taken(&json!({ "tools": [tool("x")], "tool_choice": "none" })),
            Ok(None)
        );
        let tools = |choice: Value| {
            let body = json!({ "tools": [tool("x"), tool("y")], "tool_choice": choice });
            taken(&body).unwrap().unwrap()
        };
        assert_eq!(tools(json!("auto")).format(), None);
        let named = tools(json!({ "type": "function", "function": { "name": "y" } }));
        assert_eq!(named.choice, ToolChoice::Named("y".into()));
        let want = json!({ "properties": { "a": {} }, "type": "object" });
        assert_eq!(named.format().unwrap().source, GrammarSource::Schema(want));
        let GrammarSource::Schema(calls) = tools(json!("required")).format().unwrap().source else {
            panic!("no schema");
        };
        assert_eq!(calls["items"]["anyOf"][1]["properties"]["name"]["const"], "y");
        let allowed = tools(
            json!({ "type": "allowed_tools", "allowed_tools": { "mode": "required",
            "tools": [{ "type": "function", "function": { "name": "y" } }] } }),
        );
        assert_eq!(allowed.choice, ToolChoice::Required);
        assert_eq!(allowed.sent, json!([tool("y")]));
        for (body, param) in [
            (
                json!({ "tools": [tool("x")], "tool_choice": { "type": "allowed_tools", "allowed_tools": { "mode": "auto",
                    "tools": [{ "type": "function", "function": { "name": "z" } }] } } }),
                "tool_choice.allowed_tools",
            ),
            (
                json!({ "tools": [tool("x")], "tool_choice": { "type": "allowed_tools" } }),
                "tool_choice.allowed_tools",
            ),
            (json!({ "tools": 3 }), "tools"),
            (json!({ "tools": [{}] }), "tools[0]"),
            (json!({ "tools": [tool("a b")] }), "tools[0].function.name"),
            (json!({ "tool_choice": "required" }), "tool_choice"),
            (json!({ "tools": [tool("x")], "tool_choice": "x" }), "tool_choice"),
            (
                json!({ "tools": [tool("x")], "tool_choice": { "type": "function", "function": { "name": "z" } } }),
                "tool_choice.function.name",
            ),
        ] {
            let refusal = taken(&body).unwrap_err();
            assert_eq!(refusal.param.as_deref(), Some(param), "{body}");
        }
    }

    #[test]
    fn a_format_stands_beside_calls_unless_one_must_be_made() {
        let json = AnswerFormat {
            place: "response_format".to_owned(),
            source: GrammarSource::Schema(json!({ "type": "object" })),
        };
        let tools = |choice: &str| {
            let body = json!({ "tools": [tool("x"), tool("y")], "tool_choice": choice });
            taken(&body).unwrap().unwrap()
        };
        let marks = CallMarks {
            texts: vec!["<tool_call>".to_owned()],
            ..CallMarks::default()
        };
        let both = tools("auto").beside(Some(json.clone()), marks.clone()).unwrap();
        assert_eq!(both.place, "response_format");
        assert_eq!(
            both.source,
            GrammarSource::OrCalls(Box::new(json.source.clone()), marks.clone())
        );
        assert_eq!(tools("auto").beside(None, marks.clone()), None);
        let called = tools("required").beside(Some(json), marks).unwrap();
        assert_eq!(called.place, "tools");
        let bare = tools("auto").bare();
        assert_eq!(bare["anyOf"][1]["properties"]["name"]["const"], "y");
        assert_eq!(bare["anyOf"][1]["required"], json!(["name", "parameters"]));
    }

    #[test]
    fn references_of_a_schema_move_with_it() {
        let schema = json!({ "properties": { "a": { "$ref": "#/$defs/x" }, "b": { "$ref": "#" }, "c": { "$ref": "https://x.org" },
            "$ref": { "const": { "$ref": "#/$defs/x" } }, "default": { "$ref": "#" } },
            "$defs": { "x": { "items": { "$ref": "#/$defs/x" } } } });
        let want = json!({ "properties": { "a": { "$ref": "#/p/$defs/x" }, "b": { "$ref": "#/p" }, "c": { "$ref": "https://x.org" },
            "$ref": { "const": { "$ref": "#/$defs/x" } }, "default": { "$ref": "#/p" } },
            "$defs": { "x": { "items": { "$ref": "#/p/$defs/x" } } } });
        assert_eq!(moved(&schema, "#/p"), want);
    }
}

//! Jinja2's filters, with `tojson` as chat templates have it.

mod numbers;
mod sequences;
mod texts;

use super::error::Error;
use super::functions::Arguments;
use super::machine::{Machine, Result};
use super::value::Value;
use super::{attributes, json, methods};

pub use texts::strip_tags;

const NAMES: &[&str] = &[
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "float",
    "forceescape",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "random",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "urlize",
    "wordcount",
    "wordwrap",
    "xmlattr",
];

/// Whether there is a filter of this name.
pub fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

fn int(value: &Option<Value>, default: i128) -> Result<i128> {
    match value {
        None => Ok(default),
        Some(value) => value.as_int().ok_or_else(|| {
            let kind = value.kind();
            Error::fault(format!("'{kind}' object cannot be interpreted as an integer"))
        }),
    }
}

fn size(value: &Option<Value>, default: usize) -> Result<usize> {
    Ok(usize::try_from(int(value, default as i128)?).unwrap_or(0))
}

fn is_true(value: &Option<Value>) -> bool {
    value.as_ref().is_some_and(Value::is_true)
}

/// `value|name(…)`.
pub fn apply(machine: &mut Machine, name: &str, value: Value, given: Arguments) -> Result<Value> {
    if !matches!(name, "default" | "d") {
        machine.known(&value)?;
    }
    let done = match name {
        "default" | "d" => {
            let [other, boolean] = given.bind_array(name, ["default_value", "boolean"], 0)?;
            match value.is_undefined() || (is_true(&boolean) && !value.is_true()) {
                true => other.unwrap_or_else(|| Value::text("")),
                false => value,
            }
        }
        "length" | "count" => {
            given.bind(name, &[], 0)?;
            Value::Int(value.length()? as i128)
        }
        "upper" | "lower" | "capitalize" | "title" | "wordcount" | "striptags" | "urlencode" | "string"
        | "safe" | "escape" | "e" | "forceescape" | "pprint" | "urlize" => {
            texts::of_text(machine, name, &value, given)?
        }
        "trim" | "replace" | "center" | "truncate" | "indent" | "wordwrap" | "format" => {
            texts::laid_out(machine, name, value, given)?
        }
        "abs" | "int" | "float" | "round" | "filesizeformat" => numbers::of_number(name, &value, given)?,
        "first" | "last" | "random" | "list" | "reverse" | "items" | "join" | "sum" => {
            sequences::of_sequence(machine, name, &value, given)?
        }
        "min" | "max" | "sort" | "dictsort" | "unique" | "groupby" => {
            sequences::ordered(machine, name, &value, given)?
        }
        "map" => sequences::map(machine, &value, given)?,
        "select" | "reject" | "selectattr" | "rejectattr" => sequences::select(machine, name, &value, given)?,
        "batch" | "slice" => sequences::pieces(machine, name, &value, given)?,
        "attr" => {
            let [name] = given.bind_array("attr", ["name"], 1)?;
            let name = name.unwrap_or(Value::None).to_text();
            match &value {
                // Items are no attributes.
                Value::Dict(_) if !methods::is_known(&value, &name) && !methods::changes(&value, &name) => {
                    Value::undefined(format!("'dict object' has no attribute '{name}'"))
                }
                _ => attributes::attribute(machine, &value, &name)?,
            }
        }
        "tojson" => {
            let [ascii, indent, separators, sort] =
                given.bind_array(name, ["ensure_ascii", "indent", "separators", "sort_keys"], 0)?;
            let settings = json::Settings::read(ascii, indent, separators, sort)?;
            Value::text(&json::dumps(&value, &settings)?)
        }
        "xmlattr" => {
            let [space] = given.bind_array(name, ["autospace"], 0)?;
            texts::xml_attributes(&value, space.is_none_or(|space| space.is_true()))?
        }
        _ => return Err(Error::fault(format!("there is no filter `{name}`"))),
    };
    if let Some(text) = done.as_text() {
        machine.charge(text.len())?;
    }
    Ok(done)
}

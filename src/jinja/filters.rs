//! Jinja2's filters, with `tojson` of chat templates.

mod attribute_path;
mod markup;
mod numbers;
mod selection;
mod sequences;
mod sorting;
mod texts;

use super::ast::Text;
use super::call::{Arguments, Call, Table, find, int};
use super::error::{Error, Result};
use super::runtime::Runtime;
use super::value::Value;
use super::{attributes, json};

/// A filter: `value|name(arguments)`.
type Filter = fn(&mut Runtime, Call) -> Result<Value>;

const FILTERS: Table<Filter> = &[
    ("abs", numbers::abs),
    ("attr", attr),
    ("batch", sequences::batch),
    ("capitalize", texts::capitalize),
    ("center", texts::center),
    ("count", length),
    ("d", default),
    ("default", default),
    ("dictsort", sorting::dictsort),
    ("e", markup::escape),
    ("escape", markup::escape),
    ("filesizeformat", numbers::filesizeformat),
    ("first", sequences::first),
    ("float", numbers::float),
    ("forceescape", markup::forceescape),
    ("format", texts::format),
    ("groupby", sorting::groupby),
    ("indent", texts::indent),
    ("int", numbers::int),
    ("items", sequences::items),
    ("join", sequences::join),
    ("last", sequences::last),
    ("length", length),
    ("list", sequences::list),
    ("lower", texts::lower),
    ("map", selection::map),
    ("max", sorting::max),
    ("min", sorting::min),
    ("pprint", texts::pprint),
    ("random", sequences::random),
    ("reject", selection::reject),
    ("rejectattr", selection::rejectattr),
    ("replace", texts::replace),
    ("reverse", sequences::reverse),
    ("round", numbers::round),
    ("safe", markup::safe),
    ("select", selection::select),
    ("selectattr", selection::selectattr),
    ("slice", sequences::slice),
    ("sort", sorting::sort),
    ("string", markup::string),
    ("striptags", markup::striptags),
    ("sum", sequences::sum),
    ("title", texts::title),
    ("tojson", tojson),
    ("trim", texts::trim),
    ("truncate", texts::truncate),
    ("unique", sorting::unique),
    ("upper", texts::upper),
    ("urlencode", markup::urlencode),
    ("urlize", markup::urlize),
    ("wordcount", texts::wordcount),
    ("wordwrap", texts::wordwrap),
    ("xmlattr", markup::xmlattr),
];

/// Returns whether there is a filter of this name.
pub fn is_known(name: &str) -> bool {
    find(FILTERS, name).is_some()
}

/// Returns `value|name(given)`.
pub fn apply(runtime: &mut Runtime, name: &str, value: &Value, given: Arguments) -> Result<Value> {
    if !matches!(name, "default" | "d") {
        runtime.known(value)?;
    }
    let filter = find(FILTERS, name).ok_or_else(|| Error::fault(format!("there is no filter `{name}`")))?;
    let call = Call {
        name,
        value,
        arguments: given,
    };
    let done = filter(runtime, call)?;
    if let Some(text) = done.as_text() {
        runtime.charge(text.len())?;
    }
    Ok(done)
}

/// Reads an argument that must be an integer, as a length. A negative one is 0.
fn size(value: &Option<Value>, default: usize) -> Result<usize> {
    Ok(usize::try_from(int(value, default as i128)?).unwrap_or(0))
}

fn is_true(value: &Option<Value>) -> bool {
    value.as_ref().is_some_and(Value::is_true)
}

/// Returns a value as text, which is charged.
fn charged(runtime: &mut Runtime, value: &Value) -> Result<Text> {
    let text = value.to_text();
    runtime.charge(text.len())?;
    Ok(text)
}

/// Binds a filter of texts that takes no arguments. Returns the value, and the same as text.
fn plain<'a>(runtime: &mut Runtime, call: Call<'a>) -> Result<(&'a Value, Text)> {
    let value = call.bind_none()?;
    Ok((value, charged(runtime, value)?))
}

fn default(_: &mut Runtime, call: Call) -> Result<Value> {
    let (value, [other, boolean]) = call.bind(["default_value", "boolean"], 0)?;
    Ok(
        match value.is_undefined() || (is_true(&boolean) && !value.is_true()) {
            true => other.unwrap_or_else(|| Value::text("")),
            false => value.clone(),
        },
    )
}

fn length(_: &mut Runtime, call: Call) -> Result<Value> {
    Ok(Value::Int(call.bind_none()?.length()? as i128))
}

fn attr(runtime: &mut Runtime, call: Call) -> Result<Value> {
    let (value, [name]) = call.bind(["name"], 1)?;
    attributes::attribute_only(runtime, value, &name.unwrap_or(Value::None).to_text())
}

fn tojson(_: &mut Runtime, call: Call) -> Result<Value> {
    let (value, [ascii, indent, separators, sort]) =
        call.bind(["ensure_ascii", "indent", "separators", "sort_keys"], 0)?;
    let options = json::JsonOptions::read(ascii, indent, separators, sort)?;
    Ok(Value::text(&json::dumps(value, &options)?))
}

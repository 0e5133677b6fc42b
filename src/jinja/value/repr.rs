//! `str` and `repr` of values.

use super::super::ast::Text;
use super::super::text;
use super::{DEEPEST, Dict, PyObject, Value};

impl Value {
    /// Returns `str(value)`.
    pub fn to_text(&self) -> Text {
        match self {
            Value::Undefined(_) => "".into(),
            Value::Str(text) | Value::Markup(text) => text.clone(),
            _ => self.repr().into(),
        }
    }

    /// Returns `repr(value)`.
    pub fn repr(&self) -> String {
        let mut out = String::new();
        self.write_repr(&mut out, 0);
        out
    }

    fn write_repr(&self, out: &mut String, depth: u32) {
        if depth > DEEPEST {
            return out.push_str("...");
        }
        let list = |out: &mut String, items: &[Value]| {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                item.write_repr(out, depth + 1);
            }
        };
        let pairs = |out: &mut String, dict: &Dict| {
            out.push('{');
            for (index, (key, value)) in dict.entries().iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                key.write_repr(out, depth + 1);
                out.push_str(": ");
                value.write_repr(out, depth + 1);
            }
            out.push('}');
        };
        match self {
            Value::Undefined(_) => out.push_str("Undefined"),
            Value::None => out.push_str("None"),
            Value::Bool(true) => out.push_str("True"),
            Value::Bool(false) => out.push_str("False"),
            Value::Int(value) => out.push_str(&value.to_string()),
            Value::Float(value) => out.push_str(&text::float(*value)),
            Value::Str(value) => text::write_repr(out, value),
            Value::Markup(value) => {
                out.push_str("Markup(");
                text::write_repr(out, value);
                out.push(')');
            }
            Value::List(seq) => {
                out.push('[');
                list(out, &seq.items);
                out.push(']');
            }
            Value::Tuple(seq) => {
                out.push('(');
                list(out, &seq.items);
                out.push_str(if seq.items.len() == 1 { ",)" } else { ")" });
            }
            Value::Dict(dict) => pairs(out, dict),
            Value::Range(start, stop, 1) => out.push_str(&format!("range({start}, {stop})")),
            Value::Range(start, stop, step) => out.push_str(&format!("range({start}, {stop}, {step})")),
            Value::Object(object) => match &**object {
                PyObject::View(kind, seq) => {
                    out.push_str(&format!("{kind}(["));
                    list(out, &seq.items);
                    out.push_str("])");
                }
                PyObject::Namespace(dict) => {
                    out.push_str("<Namespace ");
                    match dict.try_borrow() {
                        Ok(dict) => pairs(out, &dict),
                        Err(_) => out.push_str("{...}"),
                    }
                    out.push('>');
                }
                PyObject::Macro(made, _) => {
                    out.push_str("<Macro ");
                    text::write_repr(out, &made.name);
                    out.push('>');
                }
                PyObject::Loop(state) => {
                    out.push_str(&format!(
                        "<LoopContext {}/{}>",
                        state.at.get() + 1,
                        state.items.items.len()
                    ));
                }
                _ => out.push_str(&format!("<{} object>", self.kind())),
            },
        }
    }
}

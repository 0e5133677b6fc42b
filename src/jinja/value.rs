//! Python's values, as far as templates can see them.
//!
//! [`dict`] has dictionaries and their keys, [`scope`] variables, [`range`] the numbers of ranges,
//! [`repr`] Python's `str` and `repr`.

mod dict;
mod range;
mod repr;
mod scope;

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::ast::{For, Macro, Text};
use super::error::{Error, Result};
pub use dict::Dict;
pub use range::{range_items, range_length};
pub use scope::Scope;

/// Maximum nesting depth of a value. Printing, comparing and dropping values is recursive.
const DEEPEST: u32 = 100;

#[derive(Clone)]
pub enum Value {
    Undefined(Rc<Missing>),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Text),
    /// A string that `safe` or `escape` marked as HTML. Strings added to it are escaped.
    Markup(Text),
    List(Rc<Seq>),
    Tuple(Rc<Seq>),
    Dict(Rc<Dict>),
    /// `range(start, stop, step)`.
    Range(i64, i64, i64),
    Object(Rc<PyObject>),
}

/// Why a value is undefined.
#[derive(Debug)]
pub struct Missing {
    pub message: String,
    /// Whether it exists but the sandbox forbids it.
    pub forbidden: bool,
}

impl Missing {
    /// Returns the error of using the value.
    pub fn error(&self) -> Error {
        Error::fault(self.message.clone())
    }
}

/// Items of a list or tuple.
pub struct Seq {
    pub items: Vec<Value>,
    /// Whether it is a named tuple of `groupby`, with the attributes `grouper` and `list`.
    pub group: bool,
    depth: u32,
}

/// A value of any other Python type.
pub enum PyObject {
    /// Items that can be iterated once, and their depth. An error stands where it occurred.
    Generator(RefCell<VecDeque<Result<Value>>>, u32),
    /// `dict_keys`, `dict_values` or `dict_items` of a dictionary.
    View(&'static str, Seq),
    Namespace(RefCell<Dict>),
    Cycler(Seq, Cell<usize>),
    Joiner(Text, Cell<bool>),
    Loop(LoopState),
    Macro(Arc<Macro>, Rc<Scope>),
    /// A method bound to its value.
    Method(Value, Text),
    /// A global function, by name.
    Function(&'static str),
    /// A block, called as `self.name()`. The empty name is `self`.
    Block(Text),
}

/// The variable `loop`.
pub struct LoopState {
    pub items: Seq,
    /// Index of the current item.
    pub at: Cell<usize>,
    /// Number of recursive loops around this one.
    pub depth: usize,
    /// Arguments of the last call of `loop.changed`.
    pub changed: RefCell<Option<Vec<Value>>>,
    /// Statement and scope, if the loop is recursive.
    pub again: Option<(Arc<For>, Rc<Scope>)>,
}

impl Seq {
    pub fn new(items: Vec<Value>) -> Result<Seq> {
        let depth = deeper(items.iter())?;
        Ok(Seq {
            items,
            group: false,
            depth,
        })
    }
}

/// Returns the depth of a container of `values`. Fails if that is too deep.
fn deeper<'a>(values: impl Iterator<Item = &'a Value>) -> Result<u32> {
    let depth = 1 + values.map(Value::depth).max().unwrap_or(0);
    match depth > DEEPEST {
        true => Err(Error::budget(format!(
            "a value nests deeper than {DEEPEST} levels"
        ))),
        false => Ok(depth),
    }
}

impl Value {
    pub fn text(text: &str) -> Value {
        Value::Str(text.into())
    }

    pub fn list(items: Vec<Value>) -> Result<Value> {
        Ok(Value::List(Rc::new(Seq::new(items)?)))
    }

    pub fn tuple(items: Vec<Value>) -> Result<Value> {
        Ok(Value::Tuple(Rc::new(Seq::new(items)?)))
    }

    pub fn dict(dict: Dict) -> Value {
        Value::Dict(Rc::new(dict))
    }

    pub fn undefined(message: impl Into<String>) -> Value {
        Value::Undefined(Rc::new(Missing {
            message: message.into(),
            forbidden: false,
        }))
    }

    pub fn object(object: PyObject) -> Value {
        Value::Object(Rc::new(object))
    }

    /// Returns a generator of items that were computed beforehand.
    pub fn generator(items: Vec<Result<Value>>) -> Result<Value> {
        let depth = deeper(items.iter().filter_map(|item| item.as_ref().ok()))?;
        Ok(Value::object(PyObject::Generator(
            RefCell::new(items.into()),
            depth,
        )))
    }

    pub fn view(kind: &'static str, items: Vec<Value>) -> Result<Value> {
        Ok(Value::object(PyObject::View(kind, Seq::new(items)?)))
    }

    fn depth(&self) -> u32 {
        match self {
            Value::List(seq) | Value::Tuple(seq) => seq.depth,
            Value::Dict(dict) => dict.depth(),
            Value::Object(object) => match &**object {
                PyObject::Generator(_, depth) => *depth,
                PyObject::View(_, seq) | PyObject::Cycler(seq, _) => seq.depth,
                PyObject::Loop(state) => state.items.depth,
                PyObject::Method(of, _) => 1 + of.depth(),
                // Interpreter and runtime keep these alive and empty them at the end, so they are
                // not dropped recursively.
                _ => 0,
            },
            _ => 0,
        }
    }

    /// Converts JSON. Fails if it nests too deep.
    pub fn from_json(json: &serde_json::Value) -> Result<Value> {
        Ok(match json {
            serde_json::Value::Null => Value::None,
            serde_json::Value::Bool(value) => Value::Bool(*value),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => Value::Int(value.into()),
                (_, Some(value)) => Value::Int(value.into()),
                _ => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            serde_json::Value::String(value) => Value::text(value),
            serde_json::Value::Array(items) => {
                Value::list(items.iter().map(Value::from_json).collect::<Result<_>>()?)?
            }
            serde_json::Value::Object(fields) => {
                let mut dict = Dict::default();
                for (name, value) in fields {
                    dict.insert(Value::text(name), Value::from_json(value)?)?;
                }
                Value::dict(dict)
            }
        })
    }

    /// Returns Python's name of the type.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Undefined(_) => "Undefined",
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Str(_) => "str",
            Value::Markup(_) => "Markup",
            Value::List(_) => "list",
            Value::Tuple(_) => "tuple",
            Value::Dict(_) => "dict",
            Value::Range(..) => "range",
            Value::Object(object) => match &**object {
                PyObject::Generator(..) => "generator",
                PyObject::View(kind, _) => kind,
                PyObject::Namespace(_) => "Namespace",
                PyObject::Cycler(..) => "Cycler",
                PyObject::Joiner(..) => "Joiner",
                PyObject::Loop(_) => "LoopContext",
                PyObject::Macro(..) => "Macro",
                PyObject::Method(..) => "method",
                PyObject::Function(_) | PyObject::Block(_) => "function",
            },
        }
    }

    /// Returns the characters of a `str` or `Markup`.
    pub fn as_text(&self) -> Option<&Text> {
        match self {
            Value::Str(text) | Value::Markup(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the value of an integer. Booleans are integers.
    pub fn as_int(&self) -> Option<i128> {
        match self {
            Value::Bool(value) => Some(i128::from(*value)),
            Value::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns the value of a number.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Value::Float(value) => Some(*value),
            _ => self.as_int().map(|value| value as f64),
        }
    }

    /// Returns `text` as `Markup` if this value is `Markup`, otherwise as `str`.
    pub fn like(&self, text: &str) -> Value {
        match self {
            Value::Markup(_) => Value::Markup(text.into()),
            _ => Value::Str(text.into()),
        }
    }

    pub fn is_undefined(&self) -> bool {
        matches!(self, Value::Undefined(_))
    }

    /// Returns the items of a list, tuple or view.
    pub fn items(&self) -> Option<&[Value]> {
        match self {
            Value::List(seq) | Value::Tuple(seq) => Some(&seq.items),
            Value::Object(object) => match &**object {
                PyObject::View(_, seq) => Some(&seq.items),
                _ => None,
            },
            _ => None,
        }
    }

    pub fn is_true(&self) -> bool {
        match self {
            Value::Undefined(_) | Value::None => false,
            Value::Bool(value) => *value,
            Value::Int(value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Str(text) | Value::Markup(text) => !text.is_empty(),
            Value::List(seq) | Value::Tuple(seq) => !seq.items.is_empty(),
            Value::Dict(dict) => dict.len() > 0,
            Value::Range(..) => range_length(self) > 0,
            Value::Object(object) => match &**object {
                PyObject::View(_, seq) => !seq.items.is_empty(),
                _ => true,
            },
        }
    }

    /// Returns `len(value)`. Fails if the type has none.
    pub fn length(&self) -> Result<usize> {
        match self {
            Value::Undefined(missing) if missing.forbidden => Err(missing.error()),
            Value::Undefined(_) => Ok(0),
            Value::Str(text) | Value::Markup(text) => Ok(text.chars().count()),
            Value::Dict(dict) => Ok(dict.len()),
            Value::Range(..) => Ok(range_length(self)),
            Value::Object(object) if matches!(&**object, PyObject::Loop(_)) => match &**object {
                PyObject::Loop(state) => Ok(state.items.items.len()),
                _ => Ok(0),
            },
            _ => match self.items() {
                Some(items) => Ok(items.len()),
                None => Err(Error::fault(format!(
                    "object of type '{}' has no len()",
                    self.kind()
                ))),
            },
        }
    }

    pub fn equals(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Undefined(_), Value::Undefined(_)) | (Value::None, Value::None) => true,
            (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
                a.items.len() == b.items.len() && a.items.iter().zip(&b.items).all(|(a, b)| a.equals(b))
            }
            (Value::Dict(a), Value::Dict(b)) => {
                a.len() == b.len()
                    && a.entries().iter().all(|(key, value)| {
                        let found = key.key().ok().and_then(|key| b.get(&key));
                        found.is_some_and(|found| found.equals(value))
                    })
            }
            (Value::Range(..), Value::Range(..)) => {
                let (a, b) = (range_length(self), range_length(other));
                let ends = |range: &Value, length: usize| match (range, length) {
                    (_, 0) => None,
                    (Value::Range(start, ..), 1) => Some((*start, 0)),
                    (Value::Range(start, _, step), _) => Some((*start, *step)),
                    _ => None,
                };
                a == b && ends(self, a) == ends(other, b)
            }
            (Value::Object(a), Value::Object(b)) => {
                Rc::ptr_eq(a, b)
                    || match (&**a, &**b) {
                        (PyObject::View(kind, a), PyObject::View(other, b))
                            if kind == other && *kind != "dict_values" =>
                        {
                            a.items.len() == b.items.len()
                                && a.items
                                    .iter()
                                    .all(|item| b.items.iter().any(|other| other.equals(item)))
                        }
                        _ => false,
                    }
            }
            _ => match (self.as_text(), other.as_text()) {
                (Some(a), Some(b)) => a == b,
                (None, None) => match (self.as_int(), other.as_int()) {
                    (Some(a), Some(b)) => a == b,
                    _ => matches!((self.as_float(), other.as_float()), (Some(a), Some(b)) if a == b),
                },
                _ => false,
            },
        }
    }

    /// Compares by Python's order; returns none if one is NaN. Fails between different types,
    /// naming the operator `sign`.
    pub fn compare(&self, other: &Value, sign: &str) -> Result<Option<Ordering>> {
        if let (Some(a), Some(b)) = (self.as_int(), other.as_int()) {
            return Ok(Some(a.cmp(&b)));
        }
        if let (Some(a), Some(b)) = (self.as_float(), other.as_float()) {
            return Ok(a.partial_cmp(&b));
        }
        if let (Some(a), Some(b)) = (self.as_text(), other.as_text()) {
            // The order of UTF-8 bytes is the order of code points.
            return Ok(Some(a.cmp(b)));
        }
        match (self, other) {
            (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
                for (a, b) in a.items.iter().zip(&b.items) {
                    if !a.equals(b) {
                        return a.compare(b, sign);
                    }
                }
                Ok(Some(a.items.len().cmp(&b.items.len())))
            }
            (Value::Undefined(missing), _) | (_, Value::Undefined(missing)) => Err(missing.error()),
            _ => Err(Error::fault(format!(
                "'{sign}' not supported between instances of '{}' and '{}'",
                self.kind(),
                other.kind()
            ))),
        }
    }
}

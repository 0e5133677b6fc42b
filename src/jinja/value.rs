//! Python's values, as far as templates see them. [`dict`] has mappings and their keys, [`range`] the
//! numbers of ranges, [`repr`] how a value is written.

mod dict;
mod range;
mod repr;

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::ast::{For, Macro, Text};
use super::error::Error;
use super::scope::Scope;
pub use dict::Dict;
pub use range::{range_items, range_length};

type Result<T, E = Error> = std::result::Result<T, E>;

/// How deep values may nest: what prints, compares and drops them recurses.
const DEEPEST: u32 = 100;

#[derive(Clone)]
pub enum Value {
    Undefined(Rc<Missing>),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Text),
    /// Text that `safe` or `escape` marked: what is added to it is escaped.
    Markup(Text),
    List(Rc<Seq>),
    Tuple(Rc<Seq>),
    Dict(Rc<Dict>),
    /// `range(start, stop, step)`.
    Range(i64, i64, i64),
    Object(Rc<Object>),
}

/// What is not there.
#[derive(Debug)]
pub struct Missing {
    pub message: String,
    /// It is there, but may not be used.
    pub forbidden: bool,
}

/// Values in order.
pub struct Seq {
    pub items: Vec<Value>,
    /// A pair of `groupby`, whose parts have names.
    pub group: bool,
    depth: u32,
}

pub enum Object {
    /// What can be iterated once. An error waits where it occurred.
    Generator(RefCell<VecDeque<Result<Value>>>, u32),
    /// `keys`, `values`, `items` of a dictionary.
    View(&'static str, Seq),
    Namespace(RefCell<Dict>),
    Cycler(Seq, Cell<usize>),
    Joiner(Text, Cell<bool>),
    Loop(LoopState),
    Macro(Arc<Macro>, Rc<Scope>),
    /// A bound method.
    Method(Value, Text),
    /// A function of the environment, by name.
    Function(&'static str),
    /// A block, called as `self.name()`; the empty name is `self`.
    Block(Text),
}

/// `loop`.
pub struct LoopState {
    pub items: Seq,
    pub at: Cell<usize>,
    pub depth: usize,
    pub changed: RefCell<Option<Vec<Value>>>,
    /// Of a recursive loop: what runs, and where.
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

/// The depth of what holds `values`.
fn deeper<'a>(values: impl Iterator<Item = &'a Value>) -> Result<u32> {
    let depth = 1 + values.map(Value::depth).max().unwrap_or(0);
    match depth > DEEPEST {
        true => Err(Error::new(
            super::error::Kind::Budget,
            format!("a value nests deeper than {DEEPEST} levels"),
        )),
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

    pub fn object(object: Object) -> Value {
        Value::Object(Rc::new(object))
    }

    /// An iterator over values that were computed already, up to the first that failed.
    pub fn generator(items: Vec<Result<Value>>) -> Result<Value> {
        let depth = deeper(items.iter().filter_map(|item| item.as_ref().ok()))?;
        Ok(Value::object(Object::Generator(
            RefCell::new(items.into()),
            depth,
        )))
    }

    pub fn view(kind: &'static str, items: Vec<Value>) -> Result<Value> {
        Ok(Value::object(Object::View(kind, Seq::new(items)?)))
    }

    fn depth(&self) -> u32 {
        match self {
            Value::List(seq) | Value::Tuple(seq) => seq.depth,
            Value::Dict(dict) => dict.depth(),
            Value::Object(object) => match &**object {
                Object::Generator(_, depth) => *depth,
                Object::View(_, seq) | Object::Cycler(seq, _) => seq.depth,
                Object::Loop(state) => state.items.depth,
                Object::Method(of, _) => 1 + of.depth(),
                // Kept alive, and emptied at the end, by the one who renders.
                _ => 0,
            },
            _ => 0,
        }
    }

    /// From JSON. Fails where that nests too deep.
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

    /// What Python calls its type.
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
                Object::Generator(..) => "generator",
                Object::View(kind, _) => kind,
                Object::Namespace(_) => "Namespace",
                Object::Cycler(..) => "Cycler",
                Object::Joiner(..) => "Joiner",
                Object::Loop(_) => "LoopContext",
                Object::Macro(..) => "Macro",
                Object::Method(..) => "method",
                Object::Function(_) | Object::Block(_) => "function",
            },
        }
    }

    pub fn as_text(&self) -> Option<&Text> {
        match self {
            Value::Str(text) | Value::Markup(text) => Some(text),
            _ => None,
        }
    }

    /// An integer; booleans are integers.
    pub fn as_int(&self) -> Option<i128> {
        match self {
            Value::Bool(value) => Some(i128::from(*value)),
            Value::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// A number.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Value::Float(value) => Some(*value),
            _ => self.as_int().map(|value| value as f64),
        }
    }

    pub fn is_undefined(&self) -> bool {
        matches!(self, Value::Undefined(_))
    }

    /// Items of a list, a tuple or a view.
    pub fn items(&self) -> Option<&[Value]> {
        match self {
            Value::List(seq) | Value::Tuple(seq) => Some(&seq.items),
            Value::Object(object) => match &**object {
                Object::View(_, seq) => Some(&seq.items),
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
                Object::View(_, seq) => !seq.items.is_empty(),
                _ => true,
            },
        }
    }

    /// `len`. Fails on what has none.
    pub fn length(&self) -> Result<usize> {
        match self {
            Value::Undefined(missing) if missing.forbidden => Err(Error::fault(missing.message.clone())),
            Value::Undefined(_) => Ok(0),
            Value::Str(text) | Value::Markup(text) => Ok(text.chars().count()),
            Value::Dict(dict) => Ok(dict.len()),
            Value::Range(..) => Ok(range_length(self)),
            Value::Object(object) if matches!(&**object, Object::Loop(_)) => match &**object {
                Object::Loop(state) => Ok(state.items.items.len()),
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
                        (Object::View(kind, a), Object::View(other, b))
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

    /// Python's order, none between a NaN and anything. Fails between values of different kinds.
    pub fn compare(&self, other: &Value, sign: &str) -> Result<Option<Ordering>> {
        if let (Some(a), Some(b)) = (self.as_int(), other.as_int()) {
            return Ok(Some(a.cmp(&b)));
        }
        if let (Some(a), Some(b)) = (self.as_float(), other.as_float()) {
            return Ok(a.partial_cmp(&b));
        }
        if let (Some(a), Some(b)) = (self.as_text(), other.as_text()) {
            // Code points in order are bytes of UTF-8 in order.
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
            (Value::Undefined(missing), _) | (_, Value::Undefined(missing)) => {
                Err(Error::fault(missing.message.clone()))
            }
            _ => Err(Error::fault(format!(
                "'{sign}' not supported between instances of '{}' and '{}'",
                self.kind(),
                other.kind()
            ))),
        }
    }
}

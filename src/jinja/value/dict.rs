//! Dictionaries and their keys.

use std::collections::HashMap;
use std::rc::Rc;

use super::super::ast::Text;
use super::super::error::{Error, Result};
use super::{Value, deeper};

/// A dictionary in the order of insertion. Keys are equal as in Python: 1, 1.0 and True are one.
#[derive(Default)]
pub struct Dict {
    entries: Vec<(Value, Value)>,
    index: HashMap<DictKey, usize>,
    depth: u32,
}

/// A hashable form of a value, equal where Python's values are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DictKey {
    None,
    Int(i128),
    Float(u64),
    Str(Text),
    Tuple(Vec<DictKey>),
    Range(i64, i64, i64),
    /// Any other value is equal to itself only.
    Address(usize),
}

impl Dict {
    pub fn get(&self, key: &DictKey) -> Option<&Value> {
        Some(&self.entries[*self.index.get(key)?].1)
    }

    pub fn get_text(&self, name: &Text) -> Option<&Value> {
        self.get(&DictKey::Str(name.clone()))
    }

    pub fn insert(&mut self, key: Value, value: Value) -> Result<()> {
        self.depth = self.depth.max(deeper([&key, &value].into_iter())?);
        let at = key.key()?;
        match self.index.get(&at) {
            Some(&index) => self.entries[index].1 = value,
            None => {
                self.index.insert(at, self.entries.len());
                self.entries.push((key, value));
            }
        }
        Ok(())
    }

    pub fn entries(&self) -> &[(Value, Value)] {
        &self.entries
    }

    /// Returns the entries as tuples.
    pub fn pairs(&self) -> Result<Vec<Value>> {
        let pair = |(key, value): &(Value, Value)| Value::tuple(vec![key.clone(), value.clone()]);
        self.entries.iter().map(pair).collect()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Removes all entries, so that they are not dropped from within each other.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.index.clear();
    }

    /// Returns the nesting depth.
    pub(super) fn depth(&self) -> u32 {
        self.depth
    }
}

impl Value {
    /// Returns the key of this value in dictionaries. Fails on mutable values.
    pub fn key(&self) -> Result<DictKey> {
        Ok(match self {
            Value::None => DictKey::None,
            Value::Bool(value) => DictKey::Int(i128::from(*value)),
            Value::Int(value) => DictKey::Int(*value),
            Value::Float(value) if value.fract() == 0.0 && value.abs() < 1e30 => DictKey::Int(*value as i128),
            Value::Float(value) => DictKey::Float(value.to_bits()),
            Value::Str(text) | Value::Markup(text) => DictKey::Str(text.clone()),
            Value::Tuple(seq) => DictKey::Tuple(seq.items.iter().map(Value::key).collect::<Result<_>>()?),
            Value::Range(start, stop, step) => DictKey::Range(*start, *stop, *step),
            Value::Undefined(_) => DictKey::Address(0),
            Value::List(_) | Value::Dict(_) => {
                return Err(Error::fault(format!("unhashable type: '{}'", self.kind())));
            }
            Value::Object(object) => DictKey::Address(Rc::as_ptr(object) as usize),
        })
    }
}

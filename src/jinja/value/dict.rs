//! Mappings, and what they look values up by.

use std::collections::HashMap;
use std::rc::Rc;

use super::super::ast::Text;
use super::super::error::Error;
use super::{Result, Value, deeper};

/// A mapping in the order of insertion, with Python's equality of keys: 1, 1.0 and True are one.
#[derive(Default)]
pub struct Dict {
    entries: Vec<(Value, Value)>,
    index: HashMap<Key, usize>,
    depth: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    None,
    Int(i128),
    Float(u64),
    Str(Text),
    Tuple(Vec<Key>),
    Range(i64, i64, i64),
    /// Anything else is equal to itself only.
    Address(usize),
}

impl Dict {
    pub fn get(&self, key: &Key) -> Option<&Value> {
        Some(&self.entries[*self.index.get(key)?].1)
    }

    pub fn get_text(&self, name: &Text) -> Option<&Value> {
        self.get(&Key::Str(name.clone()))
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

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes all out of it, so that what it held is dropped from here.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.index.clear();
    }

    /// How deep it nests.
    pub(super) fn depth(&self) -> u32 {
        self.depth
    }
}

impl Value {
    /// What a dictionary looks it up by. Fails on what is mutable.
    pub fn key(&self) -> Result<Key> {
        Ok(match self {
            Value::None => Key::None,
            Value::Bool(value) => Key::Int(i128::from(*value)),
            Value::Int(value) => Key::Int(*value),
            Value::Float(value) if value.fract() == 0.0 && value.abs() < 1e30 => Key::Int(*value as i128),
            Value::Float(value) => Key::Float(value.to_bits()),
            Value::Str(text) | Value::Markup(text) => Key::Str(text.clone()),
            Value::Tuple(seq) => Key::Tuple(seq.items.iter().map(Value::key).collect::<Result<_>>()?),
            Value::Range(start, stop, step) => Key::Range(*start, *stop, *step),
            Value::Undefined(_) => Key::Address(0),
            Value::List(_) | Value::Dict(_) => {
                return Err(Error::fault(format!("unhashable type: '{}'", self.kind())));
            }
            Value::Object(object) => Key::Address(Rc::as_ptr(object) as usize),
        })
    }
}

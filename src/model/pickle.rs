//! The pickles inside `torch.save` files, read without running anything: a machine with the opcodes that describe a
//! dictionary of tensors, and no other. A pickle is a program that may call any Python function; here, names outside
//! [`GLOBALS`] and opcodes outside [`Machine::step`] are errors that say which.
//!
//! Values live in one list and refer to each other by index, so that nesting costs no stack, on the way in or out.

mod machine;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use anyhow::{Result, bail};
use machine::Machine;

/// No model's pickle comes near it; what it may grow to in memory is some forty times as much.
pub const LARGEST: usize = 16 << 20;

/// The functions and types a dictionary of tensors is made with. They are known here; nothing is ever looked up.
const GLOBALS: &[(&str, Global)] = &[
    ("collections.OrderedDict", Global::OrderedDict),
    ("torch._utils._rebuild_tensor_v2", Global::RebuildTensor),
    ("torch._utils._rebuild_parameter", Global::RebuildParameter),
    ("torch.FloatStorage", Global::Storage(Number::F32)),
    ("torch.HalfStorage", Global::Storage(Number::F16)),
    ("torch.BFloat16Storage", Global::Storage(Number::Bf16)),
    ("torch.DoubleStorage", Global::Storage(Number::F64)),
    ("torch.LongStorage", Global::Storage(Number::Other("int64", 8))),
    ("torch.IntStorage", Global::Storage(Number::Other("int32", 4))),
    ("torch.ShortStorage", Global::Storage(Number::Other("int16", 2))),
    ("torch.CharStorage", Global::Storage(Number::Other("int8", 1))),
    ("torch.ByteStorage", Global::Storage(Number::Other("uint8", 1))),
    ("torch.BoolStorage", Global::Storage(Number::Other("bool", 1))),
];

/// The type of a tensor's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// 32 bits.
    F32,
    /// 16 bits, IEEE.
    F16,
    /// 16 bits with the range of 32.
    Bf16,
    /// 64 bits.
    F64,
    /// Another, by name and bytes: masks and counters, of which models have some and need none.
    Other(&'static str, u64),
}

impl Number {
    /// Bytes of one.
    pub fn bytes(self) -> u64 {
        match self {
            Number::F32 => 4,
            Number::F16 | Number::Bf16 => 2,
            Number::F64 => 8,
            Number::Other(_, bytes) => bytes,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Number),
}

/// A run of numbers somewhere in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// Of this type.
    pub number: Number,
    /// Under this name.
    pub key: String,
    /// So many.
    pub count: u64,
}

/// A view of a storage; it lies within it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorRef {
    /// What it is a view of.
    pub storage: Storage,
    /// Numbers before its first.
    pub offset: u64,
    /// Sizes.
    pub shape: Vec<i64>,
    /// Numbers from one element to the next, for each dimension; never negative.
    pub strides: Vec<i64>,
    /// Numbers from its first to its last, both included; 0 when it has none.
    pub extent: u64,
}

/// Index of a value.
type Id = usize;

#[derive(Debug)]
enum Value {
    /// None, a float, a number too large to matter: nothing of what a tensor is made of.
    Opaque,
    Bool,
    Int(i64),
    /// An integer of more than 8 bytes, little-endian.
    Long(Vec<u8>),
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Box<Storage>),
    Tensor(Box<TensorRef>),
}

/// What a pickle describes.
#[derive(Debug)]
pub struct Pickle {
    values: Vec<Value>,
    root: Id,
    /// Bytes it took.
    pub length: usize,
}

impl Pickle {
    /// Reads the pickle at the beginning of `bytes`. Fails on anything that is not data of the kinds above.
    pub fn read(bytes: &[u8]) -> Result<Pickle> {
        Machine::run(bytes)
    }

    /// The tensors of a dictionary by name; what else it has is left out. Fails where there is no dictionary, on names
    /// that are no text, and on a name that comes twice.
    pub fn tensors(&self) -> Result<Vec<(&str, &TensorRef)>> {
        let Value::Dict(pairs) = &self.values[self.root] else {
            bail!("it holds no dictionary of tensors");
        };
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        for &(key, value) in pairs {
            let Value::Tensor(tensor) = &self.values[value] else {
                continue;
            };
            let Value::Text(name) = &self.values[key] else {
                bail!("it has a tensor whose name is no text");
            };
            if !seen.insert(name.as_str()) {
                bail!("it has two tensors called `{name}`");
            }
            found.push((name.as_str(), tensor.as_ref()));
        }
        if found.is_empty() && !pairs.is_empty() {
            bail!("its dictionary has no tensors, perhaps a level further in");
        }
        Ok(found)
    }

    /// The texts of a list.
    pub fn texts(&self) -> Option<Vec<&str>> {
        let Value::List(items) = &self.values[self.root] else {
            return None;
        };
        items.iter().map(|&id| self.text(id)).collect()
    }

    /// The bytes of an integer, little-endian, without leading zeros.
    pub fn integer(&self) -> Option<Vec<u8>> {
        let mut bytes = match &self.values[self.root] {
            Value::Int(number) => number.to_le_bytes().to_vec(),
            Value::Long(bytes) => bytes.clone(),
            _ => return None,
        };
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        Some(bytes)
    }

    fn text(&self, id: Id) -> Option<&str> {
        match &self.values[id] {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

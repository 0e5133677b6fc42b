//! The pickles in `torch.save` files, read without running them. A pickle is a program that may
//! call any Python function. The reader here knows only the opcodes and names that describe a
//! dictionary of tensors; names outside [`GLOBALS`] and opcodes outside [`Unpickler::step`] are
//! refused by name.
//!
//! Values are in one list and refer to each other by index, so nesting costs no stack, neither when
//! they are read nor when they are dropped.

mod op;
#[cfg(test)]
mod tests;
mod unpickler;

use std::collections::HashSet;

use anyhow::{Result, bail};
use unpickler::Unpickler;

/// Most bytes of a pickle. No model's comes near it; in memory it may become some forty times as
/// much.
pub const LARGEST: usize = 16 << 20;

/// The functions and types that describe a dictionary of tensors. They are only recognized; nothing
/// is ever looked up or called.
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
    /// 16 bits with the exponent of fp32.
    Bf16,
    /// 64 bits.
    F64,
    /// Another type, by name and bytes: masks and counters, which some files have and no model
    /// needs.
    Other(&'static str, u64),
}

impl Number {
    /// Returns the bytes of one number.
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

/// A contiguous run of numbers in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// Type of the numbers.
    pub number: Number,
    /// Name of the storage.
    pub key: String,
    /// Count of numbers.
    pub count: u64,
}

/// A view of a storage, checked to lie within it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorRef {
    /// The storage.
    pub storage: Storage,
    /// Numbers before the first element.
    pub offset: u64,
    /// Size of each dimension.
    pub shape: Vec<i64>,
    /// Distance from one element to the next, in numbers, for each dimension; never negative.
    pub strides: Vec<i64>,
    /// Numbers from the first element to the last, inclusive; 0 without elements.
    pub extent: u64,
}

/// Index of a value in [`Pickle::values`].
type Id = usize;

#[derive(Debug)]
enum PickleValue {
    /// None, a float, or anything else that no tensor is made of.
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

/// The values of a pickle.
#[derive(Debug)]
pub struct Pickle {
    values: Vec<PickleValue>,
    root: Id,
    /// Bytes of the pickle.
    pub length: usize,
}

impl Pickle {
    /// Reads the pickle at the beginning of `bytes`. Fails on anything but data of the kinds above.
    pub fn read(bytes: &[u8]) -> Result<Pickle> {
        Unpickler::run(bytes)
    }

    /// Returns the tensors of a dictionary with their names, and leaves out its other values. Fails
    /// where there is no dictionary, and on names that are no text or occur twice.
    pub fn tensors(&self) -> Result<Vec<(&str, &TensorRef)>> {
        let PickleValue::Dict(pairs) = &self.values[self.root] else {
            bail!("it holds no dictionary of tensors");
        };
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        for &(key, value) in pairs {
            let PickleValue::Tensor(tensor) = &self.values[value] else {
                continue;
            };
            let PickleValue::Text(name) = &self.values[key] else {
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

    /// Returns the texts of a list.
    pub fn texts(&self) -> Option<Vec<&str>> {
        let PickleValue::List(items) = &self.values[self.root] else {
            return None;
        };
        items.iter().map(|&id| self.text(id)).collect()
    }

    /// Returns the bytes of an integer, little-endian, without leading zeros.
    pub fn integer(&self) -> Option<Vec<u8>> {
        let mut bytes = match &self.values[self.root] {
            PickleValue::Int(number) => number.to_le_bytes().to_vec(),
            PickleValue::Long(bytes) => bytes.clone(),
            _ => return None,
        };
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        Some(bytes)
    }

    fn text(&self, id: Id) -> Option<&str> {
        match &self.values[id] {
            PickleValue::Text(text) => Some(text),
            _ => None,
        }
    }
}

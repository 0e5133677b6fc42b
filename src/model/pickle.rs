//! The pickles inside `torch.save` files, read without running anything: a machine with the opcodes that describe a
//! dictionary of tensors, and no other. A pickle is a program that may call any Python function; here, names outside
//! [`GLOBALS`] and opcodes outside [`Machine::step`] are errors that say which.
//!
//! Values live in one list and refer to each other by index, so that nesting costs no stack, on the way in or out.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, anyhow, bail};

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
        let mut machine = Machine {
            bytes,
            at: 0,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        };
        loop {
            let at = machine.at;
            let opcode = machine.byte()?;
            if opcode == b'.' {
                let root = machine.pop()?;
                return Ok(Pickle {
                    values: machine.values,
                    root,
                    length: machine.at,
                });
            }
            machine
                .step(opcode)
                .with_context(|| format!("at byte {at} of its pickle"))?;
        }
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

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl Machine<'_> {
    fn step(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            // PROTO
            0x80 => match self.byte()? {
                2..=5 => {}
                other => bail!("pickle protocol {other} is not supported"),
            },
            // FRAME
            0x95 => self.take(8).map(|_| ())?,
            // MARK
            b'(' => self.marks.push(self.stack.len()),
            // NONE
            b'N' => self.push(Value::Opaque),
            // NEWTRUE, NEWFALSE
            0x88 | 0x89 => self.push(Value::Bool),
            // BINFLOAT
            b'G' => {
                self.take(8)?;
                self.push(Value::Opaque);
            }
            // BININT, BININT1, BININT2
            b'J' => {
                let number = i32::from_le_bytes(self.array()?);
                self.push(Value::Int(number.into()));
            }
            b'K' => {
                let number = self.byte()?;
                self.push(Value::Int(number.into()));
            }
            b'M' => {
                let number = u16::from_le_bytes(self.array()?);
                self.push(Value::Int(number.into()));
            }
            // LONG1
            0x8a => self.long()?,
            // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8
            b'X' => {
                let length = u32::from_le_bytes(self.array()?);
                self.text(length.into())?;
            }
            0x8c => {
                let length = self.byte()?;
                self.text(length.into())?;
            }
            0x8d => {
                let length = u64::from_le_bytes(self.array()?);
                self.text(length)?;
            }
            // BINPUT, LONG_BINPUT, MEMOIZE
            b'q' => {
                let slot = self.byte()?;
                self.remember(slot.into())?;
            }
            b'r' => {
                let slot = u32::from_le_bytes(self.array()?);
                self.remember(slot.into())?;
            }
            0x94 => self.remember(self.memo.len() as u64)?,
            // BINGET, LONG_BINGET
            b'h' => {
                let slot = self.byte()?;
                self.recall(slot.into())?;
            }
            b'j' => {
                let slot = u32::from_le_bytes(self.array()?);
                self.recall(slot.into())?;
            }
            // EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3, TUPLE
            b')' => self.push(Value::Tuple(Vec::new())),
            0x85..=0x87 => {
                let mut items = Vec::new();
                for _ in 0..opcode - 0x84 {
                    items.push(self.pop()?);
                }
                items.reverse();
                self.push(Value::Tuple(items));
            }
            b't' => {
                let items = self.since_mark()?;
                self.push(Value::Tuple(items));
            }
            // EMPTY_LIST, APPEND, APPENDS
            b']' => self.push(Value::List(Vec::new())),
            b'a' => {
                let item = self.pop()?;
                self.list()?.push(item);
            }
            b'e' => {
                let items = self.since_mark()?;
                self.list()?.extend(items);
            }
            // EMPTY_DICT, SETITEM, SETITEMS
            b'}' => self.push(Value::Dict(Vec::new())),
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.dict()?.push((key, value));
            }
            b'u' => {
                let items = self.since_mark()?;
                if items.len() % 2 != 0 {
                    bail!("a key has no value");
                }
                self.dict()?
                    .extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
            }
            // BUILD: attributes. Those of an ordered dictionary are versions of modules.
            b'b' => {
                self.pop()?;
                self.dict()
                    .map_err(|_| anyhow!("it sets attributes of something that is no dictionary"))?;
            }
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(&module, &name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (name, module) = (self.text_of(name)?, self.text_of(module)?);
                self.global(&module, &name)?;
            }
            // BINPERSID
            b'Q' => self.storage()?,
            // REDUCE
            b'R' => self.call()?,
            other => bail!(
                "opcode {} is refused: no dictionary of tensors needs it",
                opcode_name(other)
            ),
        }
        Ok(())
    }

    // --- bytes -------------------------------------------------------------------------------------------------------

    fn take(&mut self, count: u64) -> Result<&[u8]> {
        let left = (self.bytes.len() - self.at) as u64;
        if count > left {
            bail!("the pickle is cut off: {count} bytes are announced, {left} are left");
        }
        let start = self.at;
        self.at += count as usize;
        Ok(&self.bytes[start..self.at])
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N as u64)?.try_into().expect("as many were taken"))
    }

    fn line(&mut self) -> Result<String> {
        let rest = &self.bytes[self.at..];
        let end = memchr::memchr(b'\n', rest).context("the pickle is cut off in a name")?;
        let line = String::from_utf8_lossy(&rest[..end]).into_owned();
        self.at += end + 1;
        Ok(line)
    }

    fn text(&mut self, length: u64) -> Result<()> {
        let text = std::str::from_utf8(self.take(length)?).context("a text is not UTF-8")?;
        let text = text.to_owned();
        self.push(Value::Text(text));
        Ok(())
    }

    fn long(&mut self) -> Result<()> {
        let length = self.byte()?;
        let bytes = self.take(length.into())?;
        let value = if bytes.len() <= 8 {
            let sign = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
            let mut wide = [if sign { 0xff } else { 0 }; 8];
            wide[..bytes.len()].copy_from_slice(bytes);
            Value::Int(i64::from_le_bytes(wide))
        } else {
            Value::Long(bytes.to_vec())
        };
        self.push(value);
        Ok(())
    }

    // --- the stack ---------------------------------------------------------------------------------------------------

    fn push(&mut self, value: Value) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    fn pop(&mut self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            bail!("it takes a value that is not there");
        }
        Ok(self.stack.pop().expect("checked above"))
    }

    fn since_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self
            .marks
            .pop()
            .context("it looks for a mark that is not there")?;
        Ok(self.stack.split_off(mark))
    }

    fn top(&self) -> Result<Id> {
        self.stack
            .last()
            .copied()
            .context("it looks at a value that is not there")
    }

    fn remember(&mut self, slot: u64) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(slot, top);
        Ok(())
    }

    fn recall(&mut self, slot: u64) -> Result<()> {
        let id = self
            .memo
            .get(&slot)
            .with_context(|| format!("nothing was remembered as {slot}"))?;
        self.stack.push(*id);
        Ok(())
    }

    fn list(&mut self) -> Result<&mut Vec<Id>> {
        let top = self.top()?;
        match &mut self.values[top] {
            Value::List(items) => Ok(items),
            _ => bail!("it appends to something that is no list"),
        }
    }

    fn dict(&mut self) -> Result<&mut Vec<(Id, Id)>> {
        let top = self.top()?;
        match &mut self.values[top] {
            Value::Dict(pairs) => Ok(pairs),
            _ => bail!("it sets a key of something that is no dictionary"),
        }
    }

    fn text_of(&self, id: Id) -> Result<String> {
        match &self.values[id] {
            Value::Text(text) => Ok(text.clone()),
            _ => bail!("a name is no text"),
        }
    }

    fn tuple(&mut self) -> Result<Vec<Id>> {
        let id = self.pop()?;
        match &self.values[id] {
            Value::Tuple(items) => Ok(items.clone()),
            _ => bail!("arguments are no tuple"),
        }
    }

    // --- what stands for Python's objects ----------------------------------------------------------------------------

    fn global(&mut self, module: &str, name: &str) -> Result<()> {
        let full = format!("{module}.{name}");
        match GLOBALS.iter().find(|(known, _)| *known == full) {
            Some((_, global)) => self.push(Value::Global(*global)),
            // A name from a stranger, perhaps a long one.
            None => bail!(
                "`{}` is refused: no dictionary of tensors needs it",
                full.chars().take(120).collect::<String>().escape_debug()
            ),
        }
        Ok(())
    }

    /// `("storage", type, key, device, count)`, and in old files what it is a view of.
    fn storage(&mut self) -> Result<()> {
        let items = self.tuple()?;
        let value = |n: usize| items.get(n).map(|&id| &self.values[id]);
        let (
            Some(Value::Text(kind)),
            Some(Value::Global(Global::Storage(number))),
            Some(Value::Text(key)),
            Some(Value::Int(count)),
        ) = (value(0), value(1), value(2), value(4))
        else {
            bail!("a reference is no storage");
        };
        if kind != "storage" || *count < 0 || !matches!(value(5), None | Some(Value::Opaque)) {
            bail!("a reference is no storage that stands for itself");
        }
        let storage = Storage {
            number: *number,
            key: key.clone(),
            count: *count as u64,
        };
        self.push(Value::Storage(Box::new(storage)));
        Ok(())
    }

    fn call(&mut self) -> Result<()> {
        let arguments = self.tuple()?;
        let callee = self.pop()?;
        let Value::Global(callee) = self.values[callee] else {
            bail!("it calls something that is no function");
        };
        match (callee, arguments.as_slice()) {
            (Global::OrderedDict, []) => self.push(Value::Dict(Vec::new())),
            (Global::RebuildParameter, [tensor, ..]) if matches!(self.values[*tensor], Value::Tensor(_)) => {
                self.stack.push(*tensor);
            }
            (Global::RebuildTensor, [storage, offset, shape, strides, ..]) => {
                let tensor = self.tensor(*storage, *offset, *shape, *strides)?;
                self.push(Value::Tensor(Box::new(tensor)));
            }
            _ => bail!("it calls a known function with arguments it cannot have"),
        }
        Ok(())
    }

    /// The view, checked to lie within its storage.
    fn tensor(&self, storage: Id, offset: Id, shape: Id, strides: Id) -> Result<TensorRef> {
        let (Value::Storage(storage), Value::Int(offset)) = (&self.values[storage], &self.values[offset])
        else {
            bail!("a tensor has no storage");
        };
        let sizes = |id: Id, what: &str| -> Result<Vec<i64>> {
            let Value::Tuple(items) = &self.values[id] else {
                bail!("a tensor's {what} is no tuple");
            };
            let sizes = items.iter().map(|&id| match self.values[id] {
                Value::Int(size) if size >= 0 => Ok(size),
                _ => Err(anyhow!("a tensor's {what} has something that is no size")),
            });
            sizes.collect()
        };
        let (shape, strides) = (sizes(shape, "shape")?, sizes(strides, "strides")?);
        if shape.len() != strides.len() || shape.len() > 8 {
            bail!("a tensor's shape and strides do not go together");
        }
        // The shape may be absurd while a stride of 0 keeps it within its storage; who asks for the tensor has a shape
        // of their own and compares.
        let mut extent: i128 = 1;
        for (size, stride) in shape.iter().zip(&strides) {
            extent = extent.saturating_add(i128::from(size - 1) * i128::from(*stride));
        }
        let extent = if shape.contains(&0) { 0 } else { extent };
        let end = i128::from(*offset).saturating_add(extent);
        if *offset < 0 || end > i128::from(storage.count) {
            bail!(
                "a tensor of shape {shape:?}, strides {strides:?}, offset {offset} does not fit its storage of {} numbers",
                storage.count
            );
        }
        Ok(TensorRef {
            storage: (**storage).clone(),
            offset: *offset as u64,
            shape,
            strides,
            extent: extent as u64,
        })
    }
}

/// Names of the opcodes that attacks use, for messages.
fn opcode_name(opcode: u8) -> String {
    let name = match opcode {
        b'i' => "INST",
        b'o' => "OBJ",
        0x81 => "NEWOBJ",
        0x92 => "NEWOBJ_EX",
        0x82..=0x84 => "EXT",
        b'P' => "PERSID",
        b'U' | b'T' => "BINSTRING",
        b'B' | b'C' | 0x8e => "BINBYTES",
        _ => return format!("{opcode:#04x}"),
    };
    format!("{name} ({opcode:#04x})")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `{"w": tensor}` of four floats, with the given shape and strides, as torch.save writes it.
    pub(crate) fn one_tensor(shape: &[i32], strides: &[i32], offset: i32) -> Vec<u8> {
        let mut bytes = b"\x80\x02}X\x01\0\0\0w".to_vec();
        bytes.extend(tensor(shape, strides, offset));
        bytes.extend(b"s.");
        bytes
    }

    fn tensor(shape: &[i32], strides: &[i32], offset: i32) -> Vec<u8> {
        let mut bytes =
            b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n".to_vec();
        bytes.extend(b"X\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ");
        let int = |n: i32| [b"J".to_vec(), n.to_le_bytes().to_vec()].concat();
        let tuple = |of: &[i32]| {
            [
                b"(".to_vec(),
                of.iter().flat_map(|n| int(*n)).collect(),
                b"t".to_vec(),
            ]
            .concat()
        };
        bytes.extend(int(offset));
        bytes.extend(tuple(shape));
        bytes.extend(tuple(strides));
        bytes.extend(b"\x89ccollections\nOrderedDict\n)RtR");
        bytes
    }

    fn fails(bytes: &[u8], words: &str) {
        let read = Pickle::read(bytes).and_then(|pickle| pickle.tensors().map(|_| ()));
        let message = format!("{:#}", read.expect_err(words));
        assert!(message.contains(words), "{message:?} does not say {words:?}");
    }

    #[test]
    fn a_tensor_is_a_view_of_a_storage() {
        let bytes = one_tensor(&[2, 2], &[1, 2], 0);
        let pickle = Pickle::read(&bytes).unwrap();
        let found = pickle.tensors().unwrap();
        let [("w", tensor)] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!((tensor.storage.count, tensor.extent, tensor.offset), (4, 4, 0));
        assert_eq!((&*tensor.shape, &*tensor.strides), (&[2, 2][..], &[1, 2][..]));
        assert_eq!(pickle.length, bytes.len());
    }

    #[test]
    fn whatever_could_run_something_is_refused_by_name() {
        fails(
            b"\x80\x02cos\nsystem\nX\x02\0\0\0ls\x85R.",
            "`os.system` is refused",
        );
        fails(
            b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02ls\x85R.",
            "`posix.system`",
        );
        fails(b"\x80\x02c__builtin__\neval\n.", "`__builtin__.eval`");
        fails(b"\x80\x02ctorch\nload\n.", "`torch.load`");
        fails(b"\x80\x02(S'ls'\nios\nsystem\n.", "0x53");
        fails(b"\x80\x02(ios\nsystem\n.", "INST");
        fails(b"\x80\x02ccollections\nOrderedDict\n)\x81.", "NEWOBJ");
        fails(b"\x80\x02\x82\x01.", "EXT");
        fails(
            b"\x80\x02ccollections\nOrderedDict\n]\x85R.",
            "arguments it cannot have",
        );
        fails(b"\x80\x02K\x01)R.", "calls something that is no function");
        fails(b"\x80\x02ctorch\nFloatStorage\n}b.", "attributes");
        fails(b"\x80\x07.", "protocol 7");
    }

    #[test]
    fn absurd_numbers_are_refused_and_cost_nothing() {
        fails(&one_tensor(&[2, 3], &[3, 1], 0), "does not fit its storage of 4");
        fails(&one_tensor(&[2], &[1], 3), "does not fit");
        fails(&one_tensor(&[2], &[-1], 3), "no size");
        fails(&one_tensor(&[2], &[1], -1), "does not fit");
        fails(&one_tensor(&[i32::MAX; 8], &[i32::MAX; 8], 0), "does not fit");
        fails(&one_tensor(&[1; 9], &[1; 9], 0), "do not go together");
        fails(&one_tensor(&[1, 1], &[1], 0), "do not go together");
        fails(b"\x80\x02X\xff\xff\xff\xffw.", "cut off");
        fails(b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", "cut off");
        fails(
            b"\x80\x02]r\xff\xff\xff\xffj\0\0\0\0.",
            "nothing was remembered as 0",
        );
    }

    #[test]
    fn nesting_costs_no_stack() {
        let deep = |open: &[u8], close: &[u8]| {
            [
                &b"\x80\x02}"[..],
                &open.repeat(200_000),
                &close.repeat(200_000),
                b".",
            ]
            .concat()
        };
        fails(&deep(b"\x85", b""), "no dictionary");
        fails(&deep(b"(", b"t"), "no dictionary");
        // A list within itself.
        fails(b"\x80\x02]q\0h\0a.", "no dictionary");
        fails(b"\x80\x02}q\0X\x01\0\0\0wh\0s.", "a level further in");
    }

    #[test]
    fn broken_pickles_are_errors() {
        let twice = [
            &b"\x80\x02}(X\x01\0\0\0w"[..],
            &tensor(&[4], &[1], 0),
            b"X\x01\0\0\0w",
            &tensor(&[4], &[1], 0),
            b"u.",
        ]
        .concat();
        fails(&twice, "two tensors called `w`");
        let unnamed = [&b"\x80\x02}K\x01"[..], &tensor(&[4], &[1], 0), b"s."].concat();
        fails(&unnamed, "name is no text");
        fails(b"", "cut off");
        fails(b"\x80\x02.", "not there");
        fails(b"\x80\x02(K\x01(.", "not there");
        fails(b"\x80\x02t.", "mark");
        fails(b"\x80\x02}(K\x01u.", "no value");
        let whole = one_tensor(&[4], &[1], 0);
        for end in 0..whole.len() {
            assert!(Pickle::read(&whole[..end]).is_err(), "cut at {end}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        /// Any bytes, and valid pickles with a few bytes changed, end in a value or an error.
        #[test]
        fn nothing_panics(
            noise in proptest::collection::vec(
                prop_oneof![any::<u8>(), proptest::sample::select(b"(t)}]saueQRbcXKJMNqhrj.\x85\x86\x87\x8a\x80".as_slice())],
                0..200,
            ),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        ) {
            let read = |bytes: &[u8]| {
                if let Ok(pickle) = Pickle::read(bytes) {
                    let _ = (pickle.tensors().map(|found| found.len()), pickle.texts(), pickle.integer());
                }
            };
            read(&noise);
            read(&[b"\x80\x02".as_slice(), &noise, b"."].concat());
            let mut changed = one_tensor(&[2, 2], &[2, 1], 0);
            for (at, byte) in changes {
                let at = at.index(changed.len());
                changed[at] = byte;
            }
            read(&changed);
        }
    }
}

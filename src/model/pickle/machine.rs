//! The machine that runs a pickle: a stack of values, and the opcodes that describe a dictionary of tensors.

use std::collections::HashMap;

use anyhow::{Context, Result, anyhow, bail};

use super::{GLOBALS, Global, Id, Pickle, Storage, TensorRef, Value};
use ewe::text::counted;

pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl Machine<'_> {
    /// Runs the pickle at the beginning of `bytes`.
    pub fn run(bytes: &[u8]) -> Result<Pickle> {
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
            bail!(
                "the pickle is cut off: of {} announced there are {left}",
                counted(count, "byte")
            );
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
                "a tensor of shape {shape:?}, strides {strides:?}, offset {offset} does not fit its storage of {}",
                counted(storage.count, "number")
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

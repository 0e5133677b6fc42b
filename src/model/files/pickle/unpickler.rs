//! The stack machine that reads a pickle, with the opcodes that describe a dictionary of tensors.

use std::collections::HashMap;

use anyhow::{Context, Result, anyhow, bail};

use super::op;
use super::{GLOBALS, Global, Id, Pickle, PickleValue, Storage, TensorRef};
use ewe::text::counted;

pub(super) struct Unpickler<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<PickleValue>,
    stack: Vec<Id>,
    /// Heights of the stack at each mark.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl Unpickler<'_> {
    /// Reads the pickle at the beginning of `bytes`.
    pub fn run(bytes: &[u8]) -> Result<Pickle> {
        let mut unpickler = Unpickler {
            bytes,
            at: 0,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        };
        loop {
            let at = unpickler.at;
            let opcode = unpickler.byte()?;
            if opcode == op::STOP {
                let root = unpickler.pop()?;
                return Ok(Pickle {
                    values: unpickler.values,
                    root,
                    length: unpickler.at,
                });
            }
            unpickler
                .step(opcode)
                .with_context(|| format!("at byte {at} of its pickle"))?;
        }
    }

    fn step(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            op::PROTO => self.protocol()?,
            op::FRAME => self.skip(8)?,
            op::MARK => self.marks.push(self.stack.len()),
            op::NONE => self.push(PickleValue::Opaque),
            op::NEWTRUE | op::NEWFALSE => self.push(PickleValue::Bool),
            op::BINFLOAT => {
                self.skip(8)?;
                self.push(PickleValue::Opaque);
            }
            op::BININT => {
                let number = i32::from_le_bytes(self.array()?);
                self.push(PickleValue::Int(number.into()));
            }
            op::BININT1 => self.small_int(1)?,
            op::BININT2 => self.small_int(2)?,
            op::LONG1 => self.long()?,
            op::BINUNICODE => self.text(4)?,
            op::SHORT_BINUNICODE => self.text(1)?,
            op::BINUNICODE8 => self.text(8)?,
            op::BINPUT => self.put(1)?,
            op::LONG_BINPUT => self.put(4)?,
            op::MEMOIZE => self.remember(self.memo.len() as u64)?,
            op::BINGET => self.get(1)?,
            op::LONG_BINGET => self.get(4)?,
            op::EMPTY_TUPLE => self.push(PickleValue::Tuple(Vec::new())),
            op::TUPLE1 => self.tuple_of(1)?,
            op::TUPLE2 => self.tuple_of(2)?,
            op::TUPLE3 => self.tuple_of(3)?,
            op::TUPLE => {
                let items = self.since_mark()?;
                self.push(PickleValue::Tuple(items));
            }
            op::EMPTY_LIST => self.push(PickleValue::List(Vec::new())),
            op::APPEND => {
                let item = self.pop()?;
                self.list()?.push(item);
            }
            op::APPENDS => {
                let items = self.since_mark()?;
                self.list()?.extend(items);
            }
            op::EMPTY_DICT => self.push(PickleValue::Dict(Vec::new())),
            op::SETITEM => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.dict()?.push((key, value));
            }
            op::SETITEMS => self.set_items()?,
            op::BUILD => self.build()?,
            op::GLOBAL => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(&module, &name)?;
            }
            op::STACK_GLOBAL => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (name, module) = (self.text_of(name)?, self.text_of(module)?);
                self.global(&module, &name)?;
            }
            op::BINPERSID => self.storage()?,
            op::REDUCE => self.call()?,
            other => bail!(
                "opcode {} is refused: no dictionary of tensors needs it",
                op::name(other)
            ),
        }
        Ok(())
    }

    // Bytes.

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

    fn skip(&mut self, count: u64) -> Result<()> {
        self.take(count).map(|_| ())
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// Reads an unsigned number of `width` bytes, 8 at most.
    fn unsigned(&mut self, width: u64) -> Result<u64> {
        let mut wide = [0; 8];
        let bytes = self.take(width)?;
        wide[..bytes.len()].copy_from_slice(bytes);
        Ok(u64::from_le_bytes(wide))
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

    fn protocol(&mut self) -> Result<()> {
        match self.byte()? {
            2..=5 => Ok(()),
            other => bail!("pickle protocol {other} is not supported"),
        }
    }

    /// Pushes an unsigned number of `width` bytes.
    fn small_int(&mut self, width: u64) -> Result<()> {
        let number = self.unsigned(width)?;
        self.push(PickleValue::Int(number as i64));
        Ok(())
    }

    /// Pushes a text, whose length comes first, in `width` bytes.
    fn text(&mut self, width: u64) -> Result<()> {
        let length = self.unsigned(width)?;
        let text = std::str::from_utf8(self.take(length)?).context("a text is not UTF-8")?;
        let text = text.to_owned();
        self.push(PickleValue::Text(text));
        Ok(())
    }

    fn long(&mut self) -> Result<()> {
        let length = self.byte()?;
        let bytes = self.take(length.into())?;
        let value = if bytes.len() <= 8 {
            let sign = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
            let mut wide = [if sign { 0xff } else { 0 }; 8];
            wide[..bytes.len()].copy_from_slice(bytes);
            PickleValue::Int(i64::from_le_bytes(wide))
        } else {
            PickleValue::Long(bytes.to_vec())
        };
        self.push(value);
        Ok(())
    }

    // The stack.

    fn push(&mut self, value: PickleValue) {
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

    /// Remembers the top of the stack in a slot, whose number has `width` bytes.
    fn put(&mut self, width: u64) -> Result<()> {
        let slot = self.unsigned(width)?;
        self.remember(slot)
    }

    /// Pushes the value of a slot, whose number has `width` bytes.
    fn get(&mut self, width: u64) -> Result<()> {
        let slot = self.unsigned(width)?;
        self.recall(slot)
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
            PickleValue::List(items) => Ok(items),
            _ => bail!("it appends to something that is no list"),
        }
    }

    fn dict(&mut self) -> Result<&mut Vec<(Id, Id)>> {
        let top = self.top()?;
        match &mut self.values[top] {
            PickleValue::Dict(pairs) => Ok(pairs),
            _ => bail!("it sets a key of something that is no dictionary"),
        }
    }

    fn tuple_of(&mut self, count: usize) -> Result<()> {
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push(PickleValue::Tuple(items));
        Ok(())
    }

    fn set_items(&mut self) -> Result<()> {
        let items = self.since_mark()?;
        if items.len() % 2 != 0 {
            bail!("a key has no value");
        }
        let pairs = items.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        self.dict()?.extend(pairs);
        Ok(())
    }

    /// Drops attributes of an ordered dictionary: versions of modules.
    fn build(&mut self) -> Result<()> {
        self.pop()?;
        self.dict()
            .map_err(|_| anyhow!("it sets attributes of something that is no dictionary"))?;
        Ok(())
    }

    fn text_of(&self, id: Id) -> Result<String> {
        match &self.values[id] {
            PickleValue::Text(text) => Ok(text.clone()),
            _ => bail!("a name is no text"),
        }
    }

    fn tuple(&mut self) -> Result<Vec<Id>> {
        let id = self.pop()?;
        match &self.values[id] {
            PickleValue::Tuple(items) => Ok(items.clone()),
            _ => bail!("arguments are no tuple"),
        }
    }

    // Python's objects.

    fn global(&mut self, module: &str, name: &str) -> Result<()> {
        let full = format!("{module}.{name}");
        match GLOBALS.iter().find(|(known, _)| *known == full) {
            Some((_, global)) => self.push(PickleValue::Global(*global)),
            // The name is untrusted and may be long.
            None => bail!(
                "`{}` is refused: no dictionary of tensors needs it",
                full.chars().take(120).collect::<String>().escape_debug()
            ),
        }
        Ok(())
    }

    /// Pushes the storage of `("storage", type, key, device, count)`. Old files add what it is a
    /// view of.
    fn storage(&mut self) -> Result<()> {
        let items = self.tuple()?;
        let value = |n: usize| items.get(n).map(|&id| &self.values[id]);
        let (
            Some(PickleValue::Text(kind)),
            Some(PickleValue::Global(Global::Storage(number))),
            Some(PickleValue::Text(key)),
            Some(PickleValue::Int(count)),
        ) = (value(0), value(1), value(2), value(4))
        else {
            bail!("a reference is no storage");
        };
        if kind != "storage" || *count < 0 || !matches!(value(5), None | Some(PickleValue::Opaque)) {
            bail!("a reference is no storage that stands for itself");
        }
        let storage = Storage {
            number: *number,
            key: key.clone(),
            count: *count as u64,
        };
        self.push(PickleValue::Storage(Box::new(storage)));
        Ok(())
    }

    fn call(&mut self) -> Result<()> {
        let arguments = self.tuple()?;
        let callee = self.pop()?;
        let PickleValue::Global(callee) = self.values[callee] else {
            bail!("it calls something that is no function");
        };
        match (callee, arguments.as_slice()) {
            (Global::OrderedDict, []) => self.push(PickleValue::Dict(Vec::new())),
            (Global::RebuildParameter, [tensor, ..])
                if matches!(self.values[*tensor], PickleValue::Tensor(_)) =>
            {
                self.stack.push(*tensor);
            }
            (Global::RebuildTensor, [storage, offset, shape, strides, ..]) => {
                let tensor = self.tensor(*storage, *offset, *shape, *strides)?;
                self.push(PickleValue::Tensor(Box::new(tensor)));
            }
            _ => bail!("it calls a known function with arguments it cannot have"),
        }
        Ok(())
    }

    /// Makes a view, checked to lie within its storage.
    fn tensor(&self, storage: Id, offset: Id, shape: Id, strides: Id) -> Result<TensorRef> {
        let (PickleValue::Storage(storage), PickleValue::Int(offset)) =
            (&self.values[storage], &self.values[offset])
        else {
            bail!("a tensor has no storage");
        };
        let sizes = |id: Id, what: &str| -> Result<Vec<i64>> {
            let PickleValue::Tuple(items) = &self.values[id] else {
                bail!("a tensor's {what} is no tuple");
            };
            let sizes = items.iter().map(|&id| match self.values[id] {
                PickleValue::Int(size) if size >= 0 => Ok(size),
                _ => Err(anyhow!("a tensor's {what} has something that is no size")),
            });
            sizes.collect()
        };
        let (shape, strides) = (sizes(shape, "shape")?, sizes(strides, "strides")?);
        if shape.len() != strides.len() || shape.len() > 8 {
            bail!("a tensor's shape and strides do not go together");
        }
        // With strides of 0 an absurd shape may lie within its storage; callers ask for a tensor
        // with a shape of their own and compare.
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

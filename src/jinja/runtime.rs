//! What functions, methods, filters and tests need while a template runs: the budget of steps, the
//! options, and the items of values.

use std::rc::Rc;

use super::RenderOptions;
use super::ast::{Body, Text};
use super::error::{Error, Result};
use super::value::{Dict, PyObject, Value, range_items};

/// Maximum number of steps of a template. Rendering a long conversation takes a hundredth of it.
const STEPS: u64 = 10_000_000;
/// Bytes of text or values that count as one step.
const BYTES: usize = 16;

pub struct Runtime<'t> {
    pub options: &'t RenderOptions<'t>,
    blocks: &'t [(Text, Body)],
    /// Whether there is a filter of this name. The test `filter` asks, as tests of Jinja2 ask
    /// `environment.filters`.
    pub is_filter: fn(&str) -> bool,
    /// Steps left.
    steps: u64,
    /// All namespaces. They can contain themselves, so they are emptied at the end.
    namespaces: Vec<Rc<PyObject>>,
}

impl Drop for Runtime<'_> {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            if let PyObject::Namespace(dict) = &**namespace
                && let Ok(mut dict) = dict.try_borrow_mut()
            {
                dict.clear();
            }
        }
    }
}

impl<'t> Runtime<'t> {
    /// `bytes` is the size of the variables, which raises the budget.
    pub fn new(
        options: &'t RenderOptions<'t>,
        blocks: &'t [(Text, Body)],
        is_filter: fn(&str) -> bool,
        bytes: usize,
    ) -> Runtime<'t> {
        Runtime {
            options,
            blocks,
            is_filter,
            steps: STEPS + 4 * bytes as u64,
            namespaces: Vec::new(),
        }
    }

    /// Takes from the budget one step and what `bytes` bytes of output cost. Fails when it is
    /// spent.
    pub fn charge(&mut self, bytes: usize) -> Result<()> {
        let cost = 1 + (bytes / BYTES) as u64;
        if cost > self.steps {
            self.steps = 0;
            return Err(Error::budget(format!(
                "it takes more than {STEPS} steps, which no conversation needs"
            )));
        }
        self.steps -= cost;
        Ok(())
    }

    /// Takes from the budget what a list of `items` items costs.
    pub fn charge_items(&mut self, items: usize) -> Result<()> {
        self.charge(items.saturating_mul(2 * BYTES))
    }

    pub fn block(&self, name: &str) -> Option<&'t Body> {
        let found = self.blocks.iter().find(|(known, _)| &**known == name);
        found.map(|(_, body)| body)
    }

    pub fn keep_namespace(&mut self, dict: Dict) -> Value {
        let object = Rc::new(PyObject::Namespace(dict.into()));
        self.namespaces.push(object.clone());
        Value::Object(object)
    }

    /// Returns whether a value counts as true. Fails like [`Runtime::known`].
    pub fn truth(&self, value: &Value) -> Result<bool> {
        self.known(value)?;
        Ok(value.is_true())
    }

    /// Fails on an undefined value if the options are strict.
    pub fn known(&self, value: &Value) -> Result<()> {
        match value {
            Value::Undefined(missing) if self.options.strict => Err(missing.error()),
            _ => Ok(()),
        }
    }

    /// Returns `value in container`.
    pub fn contains(&mut self, container: &Value, value: &Value) -> Result<bool> {
        match container {
            Value::Str(text) | Value::Markup(text) => {
                let wanted = value.as_text().ok_or_else(|| {
                    let kind = value.kind();
                    Error::fault(format!(
                        "'in <string>' requires string as left operand, not {kind}"
                    ))
                })?;
                self.charge(text.len())?;
                Ok(text.contains(&**wanted))
            }
            Value::Dict(dict) => Ok(dict.get(&value.key()?).is_some()),
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => Err(Error::fault(format!(
                "argument of type '{}' is not iterable",
                container.kind()
            ))),
            _ => Ok(self.iterate(container)?.iter().any(|item| item.equals(value))),
        }
    }

    /// Returns the items that a loop over the value visits.
    pub fn iterate(&mut self, value: &Value) -> Result<Vec<Value>> {
        self.known(value)?;
        let not_iterable = || Error::fault(format!("'{}' object is not iterable", value.kind()));
        let items: Vec<Value> = match value {
            Value::Undefined(missing) if missing.forbidden => return Err(missing.error()),
            Value::Undefined(_) => Vec::new(),
            Value::Str(text) | Value::Markup(text) => {
                self.charge_items(text.len())?;
                text.chars()
                    .map(|c| Value::text(c.encode_utf8(&mut [0; 4])))
                    .collect()
            }
            Value::Dict(dict) => dict.entries().iter().map(|(key, _)| key.clone()).collect(),
            Value::Range(..) => range_items(value).collect(),
            Value::Object(object) => match &**object {
                PyObject::Generator(items, _) => {
                    let items = std::mem::take(&mut *items.borrow_mut());
                    items.into_iter().collect::<Result<_>>()?
                }
                PyObject::View(_, seq) => seq.items.clone(),
                PyObject::Loop(state) => {
                    let items = &state.items.items;
                    items[(state.at.get() + 1).min(items.len())..].to_vec()
                }
                _ => return Err(not_iterable()),
            },
            _ => value.items().ok_or_else(not_iterable)?.to_vec(),
        };
        self.charge_items(items.len())?;
        Ok(items)
    }
}

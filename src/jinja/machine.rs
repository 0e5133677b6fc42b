//! Runs a template's statements.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use super::ast::*;
use super::error::{Error, Kind};
use super::functions::{self, Arguments as Given};
use super::parser::Parsed;
use super::scope::Scope;
use super::value::{Dict, LoopState, Object, Seq, Value};
use super::{Options, text};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Steps a template may take. One that renders a long conversation takes a hundredth of it.
const STEPS: u64 = 10_000_000;
/// Bytes of text or values that count as a step.
const BYTES: usize = 16;
/// How deep statements, expressions and calls may nest while they run.
const DEEPEST: usize = 1_000;

/// What happens after a statement.
#[derive(PartialEq, Eq, Clone, Copy)]
enum Flow {
    Next,
    Break,
    Continue,
}

pub struct Machine<'t> {
    template: &'t Parsed,
    pub options: &'t Options<'t>,
    /// What is rendered; the last is written to, those below wait for it.
    out: Vec<String>,
    root: Rc<Scope>,
    steps: u64,
    depth: usize,
    pub autoescape: bool,
    /// What the model says, in bytes of the outermost text.
    said: Vec<Range<usize>>,
    /// Whether it is speaking.
    saying: bool,
    /// What can hold itself, emptied at the end.
    scopes: Vec<Rc<Scope>>,
    namespaces: Vec<Rc<Object>>,
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        for scope in &self.scopes {
            scope.clear();
        }
        for namespace in &self.namespaces {
            if let Object::Namespace(dict) = &**namespace
                && let Ok(mut dict) = dict.try_borrow_mut()
            {
                dict.clear();
            }
        }
        self.root.clear();
    }
}

impl<'t> Machine<'t> {
    pub fn new(template: &'t Parsed, options: &'t Options<'t>, bytes: usize) -> Machine<'t> {
        Machine {
            template,
            options,
            out: vec![String::new()],
            root: Scope::new(None),
            steps: STEPS + 4 * bytes as u64,
            depth: 0,
            autoescape: false,
            said: Vec::new(),
            saying: false,
            scopes: Vec::new(),
            namespaces: Vec::new(),
        }
    }

    /// Makes a variable known.
    pub fn set(&mut self, name: &str, value: Value) {
        self.root.set(name.into(), value);
    }

    /// Renders the whole template: its text, and where in it the model speaks.
    pub fn render(&mut self) -> Result<(String, Vec<Range<usize>>)> {
        let root = self.root.clone();
        self.body(&self.template.body, &root)?;
        Ok((self.out.pop().unwrap_or_default(), std::mem::take(&mut self.said)))
    }

    /// Renders the whole template and then one of its blocks, whose text it gives. None if there is no such block.
    pub fn render_block(&mut self, name: &str) -> Result<Option<String>> {
        let root = self.root.clone();
        self.body(&self.template.body, &root)?;
        if !self.template.blocks.iter().any(|(known, _)| &**known == name) {
            return Ok(None);
        }
        self.block(name).map(Some)
    }

    /// Counts a step and what it makes.
    pub fn charge(&mut self, bytes: usize) -> Result<()> {
        let cost = 1 + (bytes / BYTES) as u64;
        if cost > self.steps {
            self.steps = 0;
            return Err(Error::new(
                Kind::Budget,
                format!("it takes more than {STEPS} steps, which no conversation needs"),
            ));
        }
        self.steps -= cost;
        Ok(())
    }

    /// Counts the items of a list to come.
    pub fn charge_items(&mut self, items: usize) -> Result<()> {
        self.charge(items.saturating_mul(2 * BYTES))
    }

    pub fn deeper<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Error::new(
                Kind::Budget,
                format!("calls and statements nest deeper than {DEEPEST} levels"),
            ));
        }
        let done = work(self);
        self.depth -= 1;
        done
    }

    pub fn keep_namespace(&mut self, dict: Dict) -> Value {
        let object = Rc::new(Object::Namespace(dict.into()));
        self.namespaces.push(object.clone());
        Value::Object(object)
    }

    fn keep_scope(&mut self, scope: &Rc<Scope>) {
        if !self.scopes.last().is_some_and(|last| Rc::ptr_eq(last, scope)) {
            self.scopes.push(scope.clone());
        }
    }

    fn emit(&mut self, text: &str) -> Result<()> {
        self.charge(text.len())?;
        self.out.last_mut().expect("a text to write to").push_str(text);
        Ok(())
    }

    /// What `work` writes.
    fn captured(&mut self, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<Value> {
        self.out.push(String::new());
        let done = work(self);
        let text = self.out.pop().unwrap_or_default();
        done?;
        self.charge(text.len())?;
        Ok(match self.autoescape {
            true => Value::Markup(text.into()),
            false => Value::Str(text.into()),
        })
    }

    /// Whether a value counts as true. Fails on what is undefined, if that is to be noticed.
    pub fn truth(&self, value: &Value) -> Result<bool> {
        self.known(value)?;
        Ok(value.is_true())
    }

    /// Fails on what is undefined, if that is to be noticed.
    pub fn known(&self, value: &Value) -> Result<()> {
        match value {
            Value::Undefined(missing) if self.options.strict => Err(Error::fault(missing.message.clone())),
            _ => Ok(()),
        }
    }

    /// A value as it is printed.
    pub fn printed(&self, value: &Value) -> Result<Text> {
        self.known(value)?;
        let text = value.to_text();
        Ok(match value {
            Value::Markup(_) => text,
            _ if self.autoescape => text::escape(&text).into(),
            _ => text,
        })
    }

    fn body(&mut self, body: &Body, scope: &Rc<Scope>) -> Result<Flow> {
        for node in body {
            let flow = self.deeper(|machine| machine.statement(&node.statement, scope));
            match flow.map_err(|error| error.at(node.line))? {
                Flow::Next => {}
                flow => return Ok(flow),
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&mut self, statement: &Statement, scope: &Rc<Scope>) -> Result<Flow> {
        self.charge(0)?;
        let inner = || Scope::new(Some(scope.clone()));
        match statement {
            Statement::Data(text) => self.emit(text)?,
            Statement::Print(value) => {
                let value = self.eval(value, scope)?;
                let text = self.printed(&value)?;
                self.emit(&text)?;
            }
            Statement::If(branches, otherwise) => {
                for (test, body) in branches {
                    let test = self.eval(test, scope)?;
                    if self.truth(&test)? {
                        return self.body(body, scope);
                    }
                }
                return self.body(otherwise, scope);
            }
            Statement::For(each) => {
                let items = self.eval(&each.items, scope)?;
                return self.run_loop(each, &items, scope, 0);
            }
            Statement::Set(target, value) => {
                let value = self.eval(value, scope)?;
                self.assign(target, value, scope)?;
            }
            Statement::SetBlock(target, filters, body) => {
                let text = self.captured(|machine| machine.body(body, &inner()).map(drop))?;
                let value = self.postfixes(text, filters, scope)?;
                self.assign(target, value, scope)?;
            }
            Statement::With(values, body) => {
                let inner = inner();
                for (target, value) in values {
                    let value = self.eval(value, scope)?;
                    self.assign(target, value, &inner)?;
                }
                return self.body(body, &inner);
            }
            Statement::Macro(made) => {
                self.keep_scope(scope);
                let value = Value::object(Object::Macro(made.clone(), scope.clone()));
                scope.set(made.name.clone(), value);
            }
            Statement::Call(call, made) => {
                self.keep_scope(scope);
                let caller = Value::object(Object::Macro(made.clone(), scope.clone()));
                let value = self.call_with(call, caller, scope)?;
                let text = self.printed(&value)?;
                self.emit(&text)?;
            }
            Statement::Filter(filters, body) => {
                let text = self.captured(|machine| machine.body(body, &inner()).map(drop))?;
                let value = self.postfixes(text, filters, scope)?;
                let text = self.printed(&value)?;
                self.emit(&text)?;
            }
            Statement::Generation(body) => {
                let outermost = self.out.len() == 1 && !std::mem::replace(&mut self.saying, true);
                let start = self.out[0].len();
                self.body(body, &inner())?;
                if outermost {
                    self.saying = false;
                    if self.out[0].len() > start {
                        self.said.push(start..self.out[0].len());
                    }
                }
            }
            Statement::Autoescape(on, body) => {
                let on = self.eval(on, scope)?;
                let before = std::mem::replace(&mut self.autoescape, on.is_true());
                let flow = self.body(body, &inner());
                self.autoescape = before;
                return flow;
            }
            Statement::Block(name) => {
                let text = self.block(name)?;
                self.emit(&text)?;
            }
            Statement::Other(tag) => {
                return Err(Error::fault(format!(
                    "`{tag}` wants another template, and there is none"
                )));
            }
            Statement::Break => return Ok(Flow::Break),
            Statement::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    /// The text of a block, which sees what the template as a whole has set.
    pub fn block(&mut self, name: &str) -> Result<String> {
        let template = self.template;
        let found = template.blocks.iter().find(|(known, _)| &**known == name);
        let (_, body) = found.ok_or_else(|| Error::fault(format!("block '{name}' is undefined")))?;
        let scope = Scope::new(Some(self.root.clone()));
        let text = self.deeper(|machine| machine.captured(|machine| machine.body(body, &scope).map(drop)))?;
        Ok(text.to_text().to_string())
    }

    fn run_loop(&mut self, each: &Arc<For>, items: &Value, scope: &Rc<Scope>, depth: usize) -> Result<Flow> {
        let mut items = self.iterate(items)?;
        if let Some(test) = &each.test {
            let mut wanted = Vec::new();
            for item in items {
                let scope = Scope::new(Some(scope.clone()));
                self.assign(&each.target, item.clone(), &scope)?;
                let test = self.eval(test, &scope)?;
                if self.truth(&test)? {
                    wanted.push(item);
                }
            }
            items = wanted;
        }
        if items.is_empty() {
            return self.body(&each.otherwise, &Scope::new(Some(scope.clone())));
        }
        if each.recursive {
            self.keep_scope(scope);
        }
        let state = Rc::new(Object::Loop(LoopState {
            items: Seq::new(items)?,
            at: 0.into(),
            depth,
            changed: None.into(),
            again: each.recursive.then(|| (each.clone(), scope.clone())),
        }));
        let Object::Loop(running) = &*state else {
            unreachable!("it was made here");
        };
        let name: Text = "loop".into();
        for (index, item) in running.items.items.iter().enumerate() {
            running.at.set(index);
            let inner = Scope::new(Some(scope.clone()));
            self.assign(&each.target, item.clone(), &inner)?;
            inner.set(name.clone(), Value::Object(state.clone()));
            match self.body(&each.body, &inner)? {
                Flow::Break => break,
                Flow::Next | Flow::Continue => {}
            }
        }
        Ok(Flow::Next)
    }

    /// `loop(items)` in a recursive loop.
    pub fn loop_again(&mut self, state: &LoopState, items: &Value) -> Result<Value> {
        let Some((each, scope)) = &state.again else {
            return Err(Error::fault("the loop must be marked `recursive` to be called"));
        };
        let depth = state.depth + 1;
        self.deeper(|machine| {
            machine.captured(|machine| machine.run_loop(each, items, scope, depth).map(drop))
        })
    }

    pub fn assign(&mut self, target: &Target, value: Value, scope: &Rc<Scope>) -> Result<()> {
        match target {
            Target::Name(name) => scope.set(name.clone(), value),
            Target::Attribute(name, attribute) => {
                let Some(Value::Object(object)) = scope.get(name) else {
                    return Err(Error::fault(format!(
                        "cannot assign `{name}.{attribute}`: `{name}` is no namespace"
                    )));
                };
                let Object::Namespace(dict) = &*object else {
                    return Err(Error::fault(format!(
                        "cannot assign `{name}.{attribute}`: `{name}` is no namespace"
                    )));
                };
                functions::check_namespace_name(attribute)?;
                self.charge_items(1)?;
                dict.borrow_mut().insert(Value::Str(attribute.clone()), value)?;
            }
            Target::Tuple(targets) => {
                let items = self.iterate(&value)?;
                if items.len() != targets.len() {
                    let how = if items.len() < targets.len() {
                        "not enough"
                    } else {
                        "too many"
                    };
                    return Err(Error::fault(format!(
                        "{how} values to unpack (expected {}, got {})",
                        targets.len(),
                        items.len()
                    )));
                }
                for (target, item) in targets.iter().zip(items) {
                    self.assign(target, item, scope)?;
                }
            }
        }
        Ok(())
    }

    /// Calls a macro with these arguments.
    pub fn call_macro(&mut self, made: &Arc<Macro>, outer: &Rc<Scope>, mut given: Given) -> Result<Value> {
        let scope = Scope::new(Some(outer.clone()));
        let name = &made.name;
        let fault = |words: String| Error::fault(format!("macro '{name}' {words}"));
        let caller = match given.keywords.iter().position(|(name, _)| &**name == "caller") {
            Some(at) if made.caller || made.parameters.iter().any(|p| &**p == "caller") => {
                Some(given.keywords.remove(at).1)
            }
            _ => None,
        };
        let rest = given
            .positional
            .split_off(given.positional.len().min(made.parameters.len()));
        if !rest.is_empty() && !made.varargs {
            let (most, got) = (made.parameters.len(), made.parameters.len() + rest.len());
            return Err(fault(format!(
                "takes not more than {most} argument(s), got {got}"
            )));
        }
        let without_default = made.parameters.len() - made.defaults.len();
        let mut positional = given.positional.into_iter();
        for (index, parameter) in made.parameters.iter().enumerate() {
            let named = given.keywords.iter().position(|(name, _)| name == parameter);
            let value = match (positional.next(), named) {
                (Some(_), Some(_)) => return Err(fault(format!("got two values for '{parameter}'"))),
                (Some(value), None) => value,
                (None, Some(at)) => given.keywords.remove(at).1,
                (None, None) if &**parameter == "caller" && caller.is_some() => {
                    caller.clone().unwrap_or(Value::None)
                }
                (None, None) if index >= without_default => {
                    self.eval(&made.defaults[index - without_default], &scope)?
                }
                (None, None) => Value::undefined(format!("parameter '{parameter}' was not provided")),
            };
            scope.set(parameter.clone(), value);
        }
        if made.caller && !made.parameters.iter().any(|p| &**p == "caller") {
            scope.set(
                "caller".into(),
                caller.unwrap_or_else(|| Value::undefined("No caller defined")),
            );
        }
        if made.kwargs {
            let mut dict = Dict::default();
            for (name, value) in given.keywords.drain(..) {
                dict.insert(Value::Str(name), value)?;
            }
            scope.set("kwargs".into(), Value::dict(dict));
        }
        if let Some((name, _)) = given.keywords.first() {
            return Err(fault(format!("takes no keyword argument '{name}'")));
        }
        if made.varargs {
            scope.set("varargs".into(), Value::tuple(rest)?);
        }
        self.deeper(|machine| machine.captured(|machine| machine.body(&made.body, &scope).map(drop)))
    }

    pub fn lookup(&self, name: &Text, scope: &Rc<Scope>) -> Value {
        if let Some(value) = scope.get(name) {
            return value;
        }
        if let Some(function) = functions::named(name) {
            return Value::object(Object::Function(function));
        }
        if &**name == "self" {
            return Value::object(Object::Block("".into()));
        }
        Value::undefined(format!("'{name}' is undefined"))
    }

    pub fn has_block(&self, name: &str) -> bool {
        self.template.blocks.iter().any(|(known, _)| &**known == name)
    }
}

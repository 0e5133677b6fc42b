//! Runs the statements of a template. [`eval`] evaluates expressions, [`calls`] calls macros and
//! other values.

mod calls;
mod eval;

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use super::ast::*;
use super::error::{Error, Result};
use super::parser::ParsedTemplate;
use super::runtime::Runtime;
use super::value::{LoopState, PyObject, Scope, Seq, Value};
use super::{RenderOptions, filters, functions, html};

/// Maximum depth of statements, expressions and calls within each other at run time.
const DEEPEST: usize = 1_000;

/// What follows a statement.
#[derive(PartialEq, Eq, Clone, Copy)]
enum Flow {
    Next,
    Break,
    Continue,
}

pub struct Interpreter<'t> {
    template: &'t ParsedTemplate,
    runtime: Runtime<'t>,
    /// Texts being rendered. The last is written to, and those before it wait for it.
    out: Vec<String>,
    root: Rc<Scope>,
    depth: usize,
    autoescape: bool,
    /// Parts of the outermost text within `{% generation %}`, in bytes.
    generated: Vec<Range<usize>>,
    /// Whether a statement `generation` is running.
    generating: bool,
    /// Scopes that can contain themselves, emptied at the end.
    scopes: Vec<Rc<Scope>>,
}

impl Drop for Interpreter<'_> {
    fn drop(&mut self) {
        for scope in &self.scopes {
            scope.clear();
        }
        self.root.clear();
    }
}

impl<'t> Interpreter<'t> {
    /// `bytes` is the size of the variables to be set.
    pub fn new(
        template: &'t ParsedTemplate,
        options: &'t RenderOptions<'t>,
        bytes: usize,
    ) -> Interpreter<'t> {
        Interpreter {
            template,
            runtime: Runtime::new(options, &template.blocks, filters::is_known, bytes),
            out: vec![String::new()],
            root: Scope::new(None),
            depth: 0,
            autoescape: false,
            generated: Vec::new(),
            generating: false,
            scopes: Vec::new(),
        }
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: Value) {
        self.root.set(name.into(), value);
    }

    /// Renders the template. Returns its text and the parts within `{% generation %}`, in bytes.
    pub fn render(&mut self) -> Result<(String, Vec<Range<usize>>)> {
        let root = self.root.clone();
        self.body(&self.template.body, &root)?;
        let text = self.out.pop().unwrap_or_default();
        Ok((text, std::mem::take(&mut self.generated)))
    }

    /// Renders the template and then one of its blocks, and returns the text of the block. None if
    /// there is no such block.
    pub fn render_block(&mut self, name: &str) -> Result<Option<String>> {
        let root = self.root.clone();
        self.body(&self.template.body, &root)?;
        match self.runtime.block(name) {
            Some(_) => self.block(name).map(Some),
            None => Ok(None),
        }
    }

    /// Does `work` one level deeper. Fails if that is too deep.
    fn deeper<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Error::budget(format!(
                "calls and statements nest deeper than {DEEPEST} levels"
            )));
        }
        let done = work(self);
        self.depth -= 1;
        done
    }

    /// Keeps a scope alive to the end, because a value is about to hold it.
    fn keep_scope(&mut self, scope: &Rc<Scope>) {
        if !self.scopes.last().is_some_and(|last| Rc::ptr_eq(last, scope)) {
            self.scopes.push(scope.clone());
        }
    }

    fn emit(&mut self, text: &str) -> Result<()> {
        self.runtime.charge(text.len())?;
        self.out.last_mut().expect("a text to write to").push_str(text);
        Ok(())
    }

    /// Writes a value as `{{ value }}` does.
    fn emit_value(&mut self, value: &Value) -> Result<()> {
        self.runtime.known(value)?;
        let text = value.to_text();
        match value {
            Value::Markup(_) => self.emit(&text),
            _ if self.autoescape => self.emit(&html::escape(&text)),
            _ => self.emit(&text),
        }
    }

    /// Returns what `work` writes.
    fn captured(&mut self, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<Value> {
        self.out.push(String::new());
        let done = work(self);
        let text = self.out.pop().unwrap_or_default();
        done?;
        self.runtime.charge(text.len())?;
        Ok(match self.autoescape {
            true => Value::Markup(text.into()),
            false => Value::Str(text.into()),
        })
    }

    /// Returns what a body writes.
    fn captured_body(&mut self, body: &Body, scope: &Rc<Scope>) -> Result<Value> {
        self.captured(|interpreter| interpreter.body(body, scope).map(drop))
    }

    fn body(&mut self, body: &Body, scope: &Rc<Scope>) -> Result<Flow> {
        for node in body {
            let flow = self.deeper(|interpreter| interpreter.statement(&node.statement, scope));
            match flow.map_err(|error| error.at(node.line))? {
                Flow::Next => {}
                flow => return Ok(flow),
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&mut self, statement: &Statement, scope: &Rc<Scope>) -> Result<Flow> {
        self.runtime.charge(0)?;
        match statement {
            Statement::Data(text) => self.emit(text)?,
            Statement::Print(value) => {
                let value = self.eval(value, scope)?;
                self.emit_value(&value)?;
            }
            Statement::If(branches, otherwise) => return self.run_if(branches, otherwise, scope),
            Statement::For(each) => {
                let items = self.eval(&each.items, scope)?;
                return self.run_loop(each, &items, scope, 0);
            }
            Statement::Set(target, value) => {
                let value = self.eval(value, scope)?;
                self.assign(target, value, scope)?;
            }
            Statement::SetBlock(target, filters, body) => {
                let value = self.filtered(filters, body, scope)?;
                self.assign(target, value, scope)?;
            }
            Statement::With(values, body) => return self.run_with(values, body, scope),
            Statement::Macro(made) => {
                let value = self.macro_value(made, scope);
                scope.set(made.name.clone(), value);
            }
            Statement::Call(call, made) => {
                let caller = self.macro_value(made, scope);
                let value = self.call_with(call, caller, scope)?;
                self.emit_value(&value)?;
            }
            Statement::Filter(filters, body) => {
                let value = self.filtered(filters, body, scope)?;
                self.emit_value(&value)?;
            }
            Statement::Generation(body) => self.run_generation(body, scope)?,
            Statement::Autoescape(on, body) => return self.run_autoescape(on, body, scope),
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

    fn run_if(&mut self, branches: &[(Expr, Body)], otherwise: &Body, scope: &Rc<Scope>) -> Result<Flow> {
        for (test, body) in branches {
            let test = self.eval(test, scope)?;
            if self.runtime.truth(&test)? {
                return self.body(body, scope);
            }
        }
        self.body(otherwise, scope)
    }

    fn run_with(&mut self, values: &[(AssignTarget, Expr)], body: &Body, scope: &Rc<Scope>) -> Result<Flow> {
        let inner = Scope::new(Some(scope.clone()));
        for (target, value) in values {
            let value = self.eval(value, scope)?;
            self.assign(target, value, &inner)?;
        }
        self.body(body, &inner)
    }

    /// Returns what a body writes in a scope of its own, filtered.
    fn filtered(&mut self, filters: &[Postfix], body: &Body, scope: &Rc<Scope>) -> Result<Value> {
        let text = self.captured_body(body, &Scope::new(Some(scope.clone())))?;
        self.postfixes(text, filters, scope)
    }

    fn run_generation(&mut self, body: &Body, scope: &Rc<Scope>) -> Result<()> {
        let outermost = self.out.len() == 1 && !std::mem::replace(&mut self.generating, true);
        let start = self.out[0].len();
        self.body(body, &Scope::new(Some(scope.clone())))?;
        if outermost {
            self.generating = false;
            if self.out[0].len() > start {
                self.generated.push(start..self.out[0].len());
            }
        }
        Ok(())
    }

    fn run_autoescape(&mut self, on: &Expr, body: &Body, scope: &Rc<Scope>) -> Result<Flow> {
        let on = self.eval(on, scope)?;
        let before = std::mem::replace(&mut self.autoescape, on.is_true());
        let flow = self.body(body, &Scope::new(Some(scope.clone())));
        self.autoescape = before;
        flow
    }

    /// Returns the text of a block, which sees the variables of the template but of no scope around
    /// it.
    fn block(&mut self, name: &str) -> Result<String> {
        let body = self.runtime.block(name);
        let body = body.ok_or_else(|| Error::fault(format!("block '{name}' is undefined")))?;
        let scope = Scope::new(Some(self.root.clone()));
        let text = self.deeper(|interpreter| interpreter.captured_body(body, &scope))?;
        Ok(text.to_text().to_string())
    }

    fn run_loop(&mut self, each: &Arc<For>, items: &Value, scope: &Rc<Scope>, depth: usize) -> Result<Flow> {
        let mut items = self.runtime.iterate(items)?;
        if let Some(test) = &each.test {
            items = self.wanted_items(each, test, items, scope)?;
        }
        if items.is_empty() {
            return self.body(&each.otherwise, &Scope::new(Some(scope.clone())));
        }
        if each.recursive {
            self.keep_scope(scope);
        }
        let state = Rc::new(PyObject::Loop(LoopState {
            items: Seq::new(items)?,
            at: 0.into(),
            depth,
            changed: None.into(),
            again: each.recursive.then(|| (each.clone(), scope.clone())),
        }));
        let PyObject::Loop(running) = &*state else {
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

    /// Returns the items that pass the test of `for … if`.
    fn wanted_items(
        &mut self,
        each: &For,
        test: &Expr,
        items: Vec<Value>,
        scope: &Rc<Scope>,
    ) -> Result<Vec<Value>> {
        let mut wanted = Vec::new();
        for item in items {
            let scope = Scope::new(Some(scope.clone()));
            self.assign(&each.target, item.clone(), &scope)?;
            let test = self.eval(test, &scope)?;
            if self.runtime.truth(&test)? {
                wanted.push(item);
            }
        }
        Ok(wanted)
    }

    fn assign(&mut self, target: &AssignTarget, value: Value, scope: &Rc<Scope>) -> Result<()> {
        match target {
            AssignTarget::Name(name) => {
                scope.set(name.clone(), value);
                Ok(())
            }
            AssignTarget::Attribute(name, attribute) => self.assign_attribute(name, attribute, value, scope),
            AssignTarget::Tuple(targets) => self.assign_tuple(targets, &value, scope),
        }
    }

    fn assign_attribute(
        &mut self,
        name: &Text,
        attribute: &Text,
        value: Value,
        scope: &Rc<Scope>,
    ) -> Result<()> {
        let found = scope.get(name);
        let Some(Value::Object(object)) = found else {
            return Err(no_namespace(name, attribute));
        };
        let PyObject::Namespace(dict) = &*object else {
            return Err(no_namespace(name, attribute));
        };
        functions::check_namespace_name(attribute)?;
        self.runtime.charge_items(1)?;
        dict.borrow_mut().insert(Value::Str(attribute.clone()), value)
    }

    fn assign_tuple(&mut self, targets: &[AssignTarget], value: &Value, scope: &Rc<Scope>) -> Result<()> {
        let items = self.runtime.iterate(value)?;
        if items.len() != targets.len() {
            let how = match items.len() < targets.len() {
                true => "not enough",
                false => "too many",
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
        Ok(())
    }
}

fn no_namespace(name: &str, attribute: &str) -> Error {
    Error::fault(format!(
        "cannot assign `{name}.{attribute}`: `{name}` is no namespace"
    ))
}

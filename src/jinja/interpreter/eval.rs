//! Evaluates expressions.

use std::rc::Rc;

use super::Interpreter;
use crate::jinja::ast::*;
use crate::jinja::error::Result;
use crate::jinja::value::{Dict, PyObject, Scope, Value};
use crate::jinja::{attributes, filters, functions, html, is_tests, ops};

impl Interpreter<'_> {
    /// Returns the value of an expression.
    pub(super) fn eval(&mut self, expr: &Expr, scope: &Rc<Scope>) -> Result<Value> {
        self.deeper(|interpreter| interpreter.eval_here(expr, scope))
    }

    fn eval_here(&mut self, expr: &Expr, scope: &Rc<Scope>) -> Result<Value> {
        self.runtime.charge(0)?;
        match expr {
            Expr::Constant(constant) => Ok(eval_constant(constant)),
            Expr::Name(name) => Ok(lookup(name, scope)),
            Expr::List(items) => Value::list(self.all(items, scope)?),
            Expr::Tuple(items) => Value::tuple(self.all(items, scope)?),
            Expr::Dict(items) => self.eval_dict(items, scope),
            Expr::Binary(first, rest) => {
                let mut value = self.eval(first, scope)?;
                for (operator, other) in rest {
                    let other = self.eval(other, scope)?;
                    value = ops::binary(&mut self.runtime, &value, *operator, &other)?;
                }
                Ok(value)
            }
            Expr::Compare(first, rest) => self.eval_comparisons(first, rest, scope),
            Expr::And(all) => self.eval_logical(all, false, scope),
            Expr::Or(all) => self.eval_logical(all, true, scope),
            Expr::Not(value) => {
                let value = self.eval(value, scope)?;
                Ok(Value::Bool(!self.runtime.truth(&value)?))
            }
            Expr::Minus(value) => ops::negative(&self.eval(value, scope)?),
            Expr::Plus(value) => ops::positive(&self.eval(value, scope)?),
            Expr::Concat(all) => self.eval_concat(all, scope),
            Expr::If(value, test, otherwise) => {
                let test = self.eval(test, scope)?;
                match (self.runtime.truth(&test)?, otherwise) {
                    (true, _) => self.eval(value, scope),
                    (false, Some(otherwise)) => self.eval(otherwise, scope),
                    (false, None) => Ok(Value::undefined("the inline `if` is false and has no `else`")),
                }
            }
            Expr::Postfix(value, posts) => {
                let value = self.eval(value, scope)?;
                self.postfixes(value, posts, scope)
            }
        }
    }

    /// Returns the values of several expressions.
    pub(super) fn all(&mut self, exprs: &[Expr], scope: &Rc<Scope>) -> Result<Vec<Value>> {
        self.runtime.charge_items(exprs.len())?;
        exprs.iter().map(|expr| self.eval(expr, scope)).collect()
    }

    fn eval_dict(&mut self, items: &[(Expr, Expr)], scope: &Rc<Scope>) -> Result<Value> {
        let mut dict = Dict::default();
        for (key, value) in items {
            let key = self.eval(key, scope)?;
            let value = self.eval(value, scope)?;
            self.runtime.charge_items(2)?;
            dict.insert(key, value)?;
        }
        Ok(Value::dict(dict))
    }

    /// Evaluates `a < b < c`, up to the first comparison that is false.
    fn eval_comparisons(
        &mut self,
        first: &Expr,
        rest: &[(Comparison, Expr)],
        scope: &Rc<Scope>,
    ) -> Result<Value> {
        let mut value = self.eval(first, scope)?;
        for (comparison, other) in rest {
            let other = self.eval(other, scope)?;
            if !self.compare(&value, *comparison, &other)? {
                return Ok(Value::Bool(false));
            }
            value = other;
        }
        Ok(Value::Bool(true))
    }

    fn compare(&mut self, value: &Value, comparison: Comparison, other: &Value) -> Result<bool> {
        use std::cmp::Ordering::*;
        self.runtime.known(value)?;
        self.runtime.known(other)?;
        let order = |sign: &str| value.compare(other, sign);
        Ok(match comparison {
            Comparison::Eq => value.equals(other),
            Comparison::Ne => !value.equals(other),
            Comparison::Lt => order("<")? == Some(Less),
            Comparison::Le => matches!(order("<=")?, Some(Less | Equal)),
            Comparison::Gt => order(">")? == Some(Greater),
            Comparison::Ge => matches!(order(">=")?, Some(Greater | Equal)),
            Comparison::In => self.runtime.contains(other, value)?,
            Comparison::NotIn => !self.runtime.contains(other, value)?,
        })
    }

    /// Evaluates operands of `and` or `or` and returns the first whose truth is `ends_at`, or else
    /// the last.
    fn eval_logical(&mut self, all: &[Expr], ends_at: bool, scope: &Rc<Scope>) -> Result<Value> {
        let (last, first) = all.split_last().expect("two at least");
        for one in first {
            let value = self.eval(one, scope)?;
            if self.runtime.truth(&value)? == ends_at {
                return Ok(value);
            }
        }
        self.eval(last, scope)
    }

    fn eval_concat(&mut self, all: &[Expr], scope: &Rc<Scope>) -> Result<Value> {
        let mut joined = String::new();
        let values = self.all(all, scope)?;
        let marked = self.autoescape && values.iter().any(|value| matches!(value, Value::Markup(_)));
        for value in &values {
            self.runtime.known(value)?;
            let text = value.to_text();
            self.runtime.charge(text.len())?;
            match value {
                Value::Markup(_) => joined.push_str(&text),
                _ if marked => joined.push_str(&html::escape(&text)),
                _ => joined.push_str(&text),
            }
        }
        Ok(match marked {
            true => Value::Markup(joined.into()),
            false => Value::Str(joined.into()),
        })
    }

    /// Applies operations to a value, one after the other.
    pub(super) fn postfixes(
        &mut self,
        mut value: Value,
        posts: &[Postfix],
        scope: &Rc<Scope>,
    ) -> Result<Value> {
        for post in posts {
            value = self.postfix(value, post, scope)?;
        }
        Ok(value)
    }

    fn postfix(&mut self, value: Value, post: &Postfix, scope: &Rc<Scope>) -> Result<Value> {
        self.runtime.charge(0)?;
        match post {
            Postfix::Attribute(name) => attributes::attribute(&mut self.runtime, &value, name),
            Postfix::Item(key) => {
                let key = self.eval(key, scope)?;
                attributes::item(&mut self.runtime, &value, &key)
            }
            Postfix::Slice(start, stop, step) => {
                let mut bound = |expr: &Option<Expr>| match expr {
                    Some(expr) => self.eval(expr, scope),
                    None => Ok(Value::None),
                };
                let bounds = [bound(start)?, bound(stop)?, bound(step)?];
                attributes::slice(&mut self.runtime, &value, &bounds)
            }
            Postfix::Call(arguments) => {
                let given = self.arguments(arguments, scope)?;
                self.call(&value, given)
            }
            Postfix::Filter(name, arguments) => {
                let given = self.arguments(arguments, scope)?;
                filters::apply(&mut self.runtime, name, &value, given)
            }
            Postfix::Test(name, arguments, negated) => {
                let given = self.arguments(arguments, scope)?;
                let holds = is_tests::holds(&mut self.runtime, name, &value, given)?;
                Ok(Value::Bool(holds != *negated))
            }
        }
    }
}

fn eval_constant(constant: &Constant) -> Value {
    match constant {
        Constant::None => Value::None,
        Constant::Bool(value) => Value::Bool(*value),
        Constant::Int(value) => Value::Int(*value),
        Constant::Float(value) => Value::Float(*value),
        Constant::Str(text) => Value::Str(text.clone()),
    }
}

/// Returns the value of a name: a variable, a global function, or `self`.
fn lookup(name: &Text, scope: &Scope) -> Value {
    if let Some(value) = scope.get(name) {
        return value;
    }
    if let Some(function) = functions::named(name) {
        return Value::object(PyObject::Function(function));
    }
    if &**name == "self" {
        return Value::object(PyObject::Block("".into()));
    }
    Value::undefined(format!("'{name}' is undefined"))
}

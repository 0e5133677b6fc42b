//! Computes expressions.

use std::rc::Rc;

use super::ast::*;
use super::error::{Error, Kind};
use super::functions::Arguments as Given;
use super::machine::{Machine, Result};
use super::ops;
use super::scope::Scope;
use super::value::{Dict, Object, Value, range_items};
use super::{attributes, filters, functions, methods, tests, text};

impl Machine<'_> {
    /// The value of an expression.
    pub fn eval(&mut self, expr: &Expr, scope: &Rc<Scope>) -> Result<Value> {
        self.deeper(|machine| machine.eval_here(expr, scope))
    }

    fn eval_here(&mut self, expr: &Expr, scope: &Rc<Scope>) -> Result<Value> {
        self.charge(0)?;
        Ok(match expr {
            Expr::Constant(constant) => match constant {
                Constant::None => Value::None,
                Constant::Bool(value) => Value::Bool(*value),
                Constant::Int(value) => Value::Int(*value),
                Constant::Float(value) => Value::Float(*value),
                Constant::Str(text) => Value::Str(text.clone()),
            },
            Expr::Name(name) => self.lookup(name, scope),
            Expr::List(items) => Value::list(self.all(items, scope)?)?,
            Expr::Tuple(items) => Value::tuple(self.all(items, scope)?)?,
            Expr::Dict(items) => {
                let mut dict = Dict::default();
                for (key, value) in items {
                    let key = self.eval(key, scope)?;
                    let value = self.eval(value, scope)?;
                    self.charge_items(2)?;
                    dict.insert(key, value)?;
                }
                Value::dict(dict)
            }
            Expr::Binary(first, rest) => {
                let mut value = self.eval(first, scope)?;
                for (operator, other) in rest {
                    let other = self.eval(other, scope)?;
                    value = ops::binary(self, &value, *operator, &other)?;
                }
                value
            }
            Expr::Compare(first, rest) => {
                let mut value = self.eval(first, scope)?;
                let mut holds = true;
                for (comparison, other) in rest {
                    let other = self.eval(other, scope)?;
                    holds = self.compare(&value, *comparison, &other)?;
                    if !holds {
                        break;
                    }
                    value = other;
                }
                Value::Bool(holds)
            }
            Expr::And(all) | Expr::Or(all) => {
                let ends_at = matches!(expr, Expr::Or(_));
                let (last, first) = all.split_last().expect("two at least");
                for one in first {
                    let value = self.eval(one, scope)?;
                    if self.truth(&value)? == ends_at {
                        return Ok(value);
                    }
                }
                self.eval(last, scope)?
            }
            Expr::Not(value) => {
                let value = self.eval(value, scope)?;
                Value::Bool(!self.truth(&value)?)
            }
            Expr::Minus(value) => ops::negative(&self.eval(value, scope)?)?,
            Expr::Plus(value) => {
                let value = self.eval(value, scope)?;
                match (value.as_int(), &value) {
                    (Some(number), _) => Value::Int(number),
                    (_, Value::Float(_)) => value,
                    _ => return Err(ops::unsupported_unary("+", &value)),
                }
            }
            Expr::Concat(all) => {
                let mut joined = String::new();
                let values = self.all(all, scope)?;
                let marked = self.autoescape && values.iter().any(|value| matches!(value, Value::Markup(_)));
                for value in &values {
                    self.known(value)?;
                    let text = value.to_text();
                    self.charge(text.len())?;
                    match value {
                        Value::Markup(_) => joined.push_str(&text),
                        _ if marked => joined.push_str(&text::escape(&text)),
                        _ => joined.push_str(&text),
                    }
                }
                match marked {
                    true => Value::Markup(joined.into()),
                    false => Value::Str(joined.into()),
                }
            }
            Expr::If(value, test, otherwise) => {
                let test = self.eval(test, scope)?;
                match (self.truth(&test)?, otherwise) {
                    (true, _) => self.eval(value, scope)?,
                    (false, Some(otherwise)) => self.eval(otherwise, scope)?,
                    (false, None) => Value::undefined("the inline `if` is false and has no `else`"),
                }
            }
            Expr::Postfix(value, posts) => {
                let value = self.eval(value, scope)?;
                self.postfixes(value, posts, scope)?
            }
        })
    }

    fn all(&mut self, exprs: &[Expr], scope: &Rc<Scope>) -> Result<Vec<Value>> {
        self.charge_items(exprs.len())?;
        exprs.iter().map(|expr| self.eval(expr, scope)).collect()
    }

    fn compare(&mut self, value: &Value, comparison: Comparison, other: &Value) -> Result<bool> {
        use std::cmp::Ordering::*;
        self.known(value)?;
        self.known(other)?;
        let order = |sign: &str| value.compare(other, sign);
        Ok(match comparison {
            Comparison::Eq => value.equals(other),
            Comparison::Ne => !value.equals(other),
            Comparison::Lt => order("<")? == Some(Less),
            Comparison::Le => matches!(order("<=")?, Some(Less | Equal)),
            Comparison::Gt => order(">")? == Some(Greater),
            Comparison::Ge => matches!(order(">=")?, Some(Greater | Equal)),
            Comparison::In => self.contains(other, value)?,
            Comparison::NotIn => !self.contains(other, value)?,
        })
    }

    /// `value in container`.
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

    /// What a loop over the value goes through.
    pub fn iterate(&mut self, value: &Value) -> Result<Vec<Value>> {
        self.known(value)?;
        let items: Vec<Value> = match value {
            Value::Undefined(missing) if missing.forbidden => {
                return Err(Error::fault(missing.message.clone()));
            }
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
                Object::Generator(items, _) => {
                    let items = std::mem::take(&mut *items.borrow_mut());
                    items.into_iter().collect::<Result<_>>()?
                }
                Object::View(_, seq) => seq.items.clone(),
                Object::Loop(state) => {
                    state.items.items[(state.at.get() + 1).min(state.items.items.len())..].to_vec()
                }
                _ => return Err(Error::fault(format!("'{}' object is not iterable", value.kind()))),
            },
            _ => match value.items() {
                Some(items) => items.to_vec(),
                None => return Err(Error::fault(format!("'{}' object is not iterable", value.kind()))),
            },
        };
        self.charge_items(items.len())?;
        Ok(items)
    }

    pub fn postfixes(&mut self, mut value: Value, posts: &[Postfix], scope: &Rc<Scope>) -> Result<Value> {
        for post in posts {
            value = self.postfix(value, post, scope)?;
        }
        Ok(value)
    }

    fn postfix(&mut self, value: Value, post: &Postfix, scope: &Rc<Scope>) -> Result<Value> {
        self.charge(0)?;
        match post {
            Postfix::Attribute(name) => attributes::attribute(self, &value, name),
            Postfix::Item(key) => {
                let key = self.eval(key, scope)?;
                attributes::item(self, &value, &key)
            }
            Postfix::Slice(start, stop, step) => {
                let mut bound = |expr: &Option<Expr>| match expr {
                    Some(expr) => self.eval(expr, scope),
                    None => Ok(Value::None),
                };
                let bounds = [bound(start)?, bound(stop)?, bound(step)?];
                attributes::slice(self, &value, &bounds)
            }
            Postfix::Call(arguments) => {
                let given = self.given(arguments, scope)?;
                self.call(&value, given)
            }
            Postfix::Filter(name, arguments) => {
                let given = self.given(arguments, scope)?;
                filters::apply(self, name, value, given)
            }
            Postfix::Test(name, arguments, negated) => {
                let given = self.given(arguments, scope)?;
                Ok(Value::Bool(tests::holds(self, name, &value, given)? != *negated))
            }
        }
    }

    /// A call with a keyword argument `caller` besides its own.
    pub fn call_with(&mut self, call: &Expr, caller: Value, scope: &Rc<Scope>) -> Result<Value> {
        let Expr::Postfix(value, posts) = call else {
            unreachable!("the parser lets nothing else pass");
        };
        let Some((Postfix::Call(arguments), before)) = posts.split_last() else {
            unreachable!("the parser lets nothing else pass");
        };
        let callee = self.eval(value, scope)?;
        let callee = self.postfixes(callee, before, scope)?;
        let mut given = self.given(arguments, scope)?;
        given.keywords.push(("caller".into(), caller));
        self.call(&callee, given)
    }

    fn given(&mut self, arguments: &Arguments, scope: &Rc<Scope>) -> Result<Given> {
        let mut given = Given {
            positional: self.all(&arguments.positional, scope)?,
            keywords: Vec::new(),
        };
        for (name, value) in &arguments.keywords {
            let value = self.eval(value, scope)?;
            given.add_keyword(name.clone(), value)?;
        }
        if let Some(rest) = &arguments.rest {
            let rest = self.eval(rest, scope)?;
            given.positional.extend(self.iterate(&rest)?);
        }
        if let Some(rest) = &arguments.rest_keywords {
            let rest = self.eval(rest, scope)?;
            let Value::Dict(dict) = &rest else {
                return Err(Error::fault(format!(
                    "argument after ** must be a mapping, not {}",
                    rest.kind()
                )));
            };
            for (name, value) in dict.entries() {
                let name = name
                    .as_text()
                    .ok_or_else(|| Error::fault("keywords must be strings"))?;
                given.add_keyword(name.clone(), value.clone())?;
            }
        }
        Ok(given)
    }

    /// Calls a value.
    pub fn call(&mut self, callee: &Value, given: Given) -> Result<Value> {
        let not_callable = || Error::fault(format!("'{}' object is not callable", callee.kind()));
        match callee {
            Value::Undefined(missing) => Err(Error::fault(missing.message.clone())),
            Value::Object(object) => match &**object {
                Object::Method(of, name) => methods::call(self, of, name, given),
                Object::Function(name) => functions::call(self, name, given),
                Object::Macro(made, outer) => self.call_macro(made, outer, given),
                Object::Joiner(separator, used) => {
                    given.bind("joiner", &[], 0)?;
                    Ok(Value::Str(if used.replace(true) {
                        separator.clone()
                    } else {
                        "".into()
                    }))
                }
                Object::Loop(state) => {
                    let [items] = given.bind_array("loop", ["iterable"], 1)?;
                    self.loop_again(state, &items.unwrap_or(Value::None))
                }
                Object::Block(name) if !name.is_empty() => {
                    given.bind(name, &[], 0)?;
                    Ok(Value::Str(self.block(name)?.into()))
                }
                _ => Err(not_callable()),
            },
            _ => Err(not_callable()),
        }
    }

    /// An error for what the reference computes and this program does not.
    pub fn unsupported(what: &str) -> Error {
        Error::new(Kind::Unsupported, format!("{what} is not supported"))
    }
}

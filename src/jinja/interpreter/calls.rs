//! Calls of macros and other values.

use std::rc::Rc;
use std::sync::Arc;

use super::Interpreter;
use crate::jinja::ast::{ArgumentExprs, Expr, Macro, Postfix};
use crate::jinja::attributes::methods;
use crate::jinja::call::Arguments;
use crate::jinja::error::{Error, Result};
use crate::jinja::functions;
use crate::jinja::value::{Dict, LoopState, PyObject, Scope, Value};

impl Interpreter<'_> {
    /// Calls a value.
    pub(super) fn call(&mut self, callee: &Value, given: Arguments) -> Result<Value> {
        let not_callable = || Error::fault(format!("'{}' object is not callable", callee.kind()));
        match callee {
            Value::Undefined(missing) => Err(missing.error()),
            Value::Object(object) => match &**object {
                PyObject::Method(of, name) => methods::call(&mut self.runtime, of, name, given),
                PyObject::Function(name) => functions::call(&mut self.runtime, name, given),
                PyObject::Macro(made, outer) => self.call_macro(made, outer, given),
                PyObject::Joiner(separator, used) => {
                    given.bind("joiner", &[], 0)?;
                    Ok(Value::Str(match used.replace(true) {
                        true => separator.clone(),
                        false => "".into(),
                    }))
                }
                PyObject::Loop(state) => {
                    let [items] = given.bind_array("loop", ["iterable"], 1)?;
                    self.call_loop(state, &items.unwrap_or(Value::None))
                }
                PyObject::Block(name) if !name.is_empty() => {
                    given.bind(name, &[], 0)?;
                    Ok(Value::Str(self.block(name)?.into()))
                }
                _ => Err(not_callable()),
            },
            _ => Err(not_callable()),
        }
    }

    /// Calls with the keyword argument `caller` besides those of the call.
    pub(super) fn call_with(&mut self, call: &Expr, caller: Value, scope: &Rc<Scope>) -> Result<Value> {
        let Expr::Postfix(value, posts) = call else {
            unreachable!("the parser accepts only calls");
        };
        let Some((Postfix::Call(arguments), before)) = posts.split_last() else {
            unreachable!("the parser accepts only calls");
        };
        let callee = self.eval(value, scope)?;
        let callee = self.postfixes(callee, before, scope)?;
        let mut given = self.arguments(arguments, scope)?;
        given.keywords.push(("caller".into(), caller));
        self.call(&callee, given)
    }

    /// Evaluates the arguments of a call.
    pub(super) fn arguments(&mut self, exprs: &ArgumentExprs, scope: &Rc<Scope>) -> Result<Arguments> {
        let mut given = Arguments::from_positional(self.all(&exprs.positional, scope)?);
        for (name, value) in &exprs.keywords {
            let value = self.eval(value, scope)?;
            given.add_keyword(name.clone(), value)?;
        }
        if let Some(rest) = &exprs.rest {
            let rest = self.eval(rest, scope)?;
            given.positional.extend(self.runtime.iterate(&rest)?);
        }
        if let Some(rest) = &exprs.rest_keywords {
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

    /// Calls `loop(items)` in a recursive loop.
    fn call_loop(&mut self, state: &LoopState, items: &Value) -> Result<Value> {
        let Some((each, scope)) = &state.again else {
            return Err(Error::fault("the loop must be marked `recursive` to be called"));
        };
        let depth = state.depth + 1;
        self.deeper(|interpreter| {
            interpreter.captured(|interpreter| interpreter.run_loop(each, items, scope, depth).map(drop))
        })
    }

    /// Returns a macro as a value, which holds its scope.
    pub(super) fn macro_value(&mut self, made: &Arc<Macro>, scope: &Rc<Scope>) -> Value {
        self.keep_scope(scope);
        Value::object(PyObject::Macro(made.clone(), scope.clone()))
    }

    fn call_macro(&mut self, made: &Macro, outer: &Rc<Scope>, mut given: Arguments) -> Result<Value> {
        let scope = Scope::new(Some(outer.clone()));
        let caller_is_parameter = made.parameters.iter().any(|name| &**name == "caller");
        let caller = match given.keywords.iter().position(|(name, _)| &**name == "caller") {
            Some(at) if made.caller || caller_is_parameter => Some(given.keywords.remove(at).1),
            _ => None,
        };
        let rest = given
            .positional
            .split_off(given.positional.len().min(made.parameters.len()));
        if !rest.is_empty() && !made.varargs {
            let (most, got) = (made.parameters.len(), made.parameters.len() + rest.len());
            return Err(macro_fault(
                made,
                format!("takes not more than {most} argument(s), got {got}"),
            ));
        }
        self.bind_parameters(made, &mut given, caller.as_ref(), &scope)?;
        if made.caller && !caller_is_parameter {
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
            return Err(macro_fault(made, format!("takes no keyword argument '{name}'")));
        }
        if made.varargs {
            scope.set("varargs".into(), Value::tuple(rest)?);
        }
        self.deeper(|interpreter| interpreter.captured_body(&made.body, &scope))
    }

    /// Sets the parameters of a macro in `scope`: from the arguments, which are removed from
    /// `given`, from `caller`, or from their defaults.
    fn bind_parameters(
        &mut self,
        made: &Macro,
        given: &mut Arguments,
        caller: Option<&Value>,
        scope: &Rc<Scope>,
    ) -> Result<()> {
        let without_default = made.parameters.len() - made.defaults.len();
        let mut positional = std::mem::take(&mut given.positional).into_iter();
        for (index, parameter) in made.parameters.iter().enumerate() {
            let named = given.keywords.iter().position(|(name, _)| name == parameter);
            let value = match (positional.next(), named) {
                (Some(_), Some(_)) => {
                    return Err(macro_fault(made, format!("got two values for '{parameter}'")));
                }
                (Some(value), None) => value,
                (None, Some(at)) => given.keywords.remove(at).1,
                (None, None) => match caller {
                    Some(caller) if &**parameter == "caller" => caller.clone(),
                    _ if index >= without_default => {
                        self.eval(&made.defaults[index - without_default], scope)?
                    }
                    _ => Value::undefined(format!("parameter '{parameter}' was not provided")),
                },
            };
            scope.set(parameter.clone(), value);
        }
        Ok(())
    }
}

fn macro_fault(made: &Macro, words: String) -> Error {
    Error::fault(format!("macro '{}' {words}", made.name))
}

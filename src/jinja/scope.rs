//! Names and what they stand for, inside out.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::ast::Text;
use super::value::Value;

/// The names of a loop's turn, a macro's call, a template.
pub struct Scope {
    names: RefCell<HashMap<Text, Value>>,
    outer: Option<Rc<Scope>>,
}

impl Scope {
    pub fn new(outer: Option<Rc<Scope>>) -> Rc<Scope> {
        Rc::new(Scope {
            names: RefCell::default(),
            outer,
        })
    }

    pub fn set(&self, name: Text, value: Value) {
        self.names.borrow_mut().insert(name, value);
    }

    pub fn get(&self, name: &str) -> Option<Value> {
        let mut scope = self;
        loop {
            if let Some(value) = scope.names.borrow().get(name) {
                return Some(value.clone());
            }
            scope = scope.outer.as_deref()?;
        }
    }

    /// Takes all names out of it, so that what they hold does not hold it.
    pub fn clear(&self) {
        let names = std::mem::take(&mut *self.names.borrow_mut());
        drop(names);
    }
}

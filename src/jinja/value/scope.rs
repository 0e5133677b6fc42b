//! Variables, from the innermost scope outwards.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::super::ast::Text;
use super::Value;

/// Variables of one iteration of a loop, one call of a macro, or the template.
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

    /// Removes all variables. A macro among them holds this scope, which would never be freed.
    pub fn clear(&self) {
        let names = std::mem::take(&mut *self.names.borrow_mut());
        drop(names);
    }
}

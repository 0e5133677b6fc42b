//! Methods of `loop` and `cycler`.

use std::cell::Cell;

use crate::jinja::call::Table;
use crate::jinja::error::{Error, Result};
use crate::jinja::value::{LoopState, Seq, Value};

type LoopMethod = fn(&LoopState, Vec<Value>) -> Result<Value>;
type CyclerMethod = fn(&Seq, &Cell<usize>) -> Value;

pub(super) const LOOP: Table<LoopMethod> = &[("changed", changed), ("cycle", cycle)];

pub(super) const CYCLER: Table<CyclerMethod> = &[("next", next), ("reset", reset)];

fn changed(state: &LoopState, given: Vec<Value>) -> Result<Value> {
    let mut last = state.changed.borrow_mut();
    let same = last
        .as_ref()
        .is_some_and(|last| last.len() == given.len() && last.iter().zip(&given).all(|(a, b)| a.equals(b)));
    *last = Some(given);
    Ok(Value::Bool(!same))
}

fn cycle(state: &LoopState, given: Vec<Value>) -> Result<Value> {
    match given.len() {
        0 => Err(Error::fault("no items for cycling given")),
        count => Ok(given[state.at.get() % count].clone()),
    }
}

fn next(seq: &Seq, at: &Cell<usize>) -> Value {
    let now = at.get();
    at.set((now + 1) % seq.items.len());
    seq.items[now].clone()
}

fn reset(_: &Seq, at: &Cell<usize>) -> Value {
    at.set(0);
    Value::None
}

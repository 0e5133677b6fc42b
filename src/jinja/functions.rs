//! Arguments of calls, and the functions that every template has.

use super::ast::Text;
use super::error::{Error, Kind};
use super::machine::{Machine, Result};
use super::time;
use super::value::{Dict, Object, Seq, Value, range_length};
use crate::text::counted;

/// The sandbox's bound on a range.
const LONGEST_RANGE: usize = 100_000;

/// What a call is given.
#[derive(Default, Clone)]
pub struct Arguments {
    pub positional: Vec<Value>,
    pub keywords: Vec<(Text, Value)>,
}

impl Arguments {
    pub fn add_keyword(&mut self, name: Text, value: Value) -> Result<()> {
        if self.keywords.iter().any(|(known, _)| *known == name) {
            return Err(Error::fault(format!("keyword argument repeated: {name}")));
        }
        self.keywords.push((name, value));
        Ok(())
    }

    /// Its values by the names of parameters, of which the first `needed` must be there. A name that begins with `/` is
    /// given by its position only. Fails on what does not fit, naming `function`.
    pub fn bind(self, function: &str, names: &[&str], needed: usize) -> Result<Vec<Option<Value>>> {
        let fault = |words: String| Error::fault(format!("{function}() {words}"));
        let (most, given) = (names.len(), self.positional.len());
        if given > most {
            return Err(fault(format!(
                "takes at most {} ({given} given)",
                counted(most, "argument")
            )));
        }
        let mut bound: Vec<Option<Value>> = self.positional.into_iter().map(Some).collect();
        bound.resize_with(most, || None);
        for (name, value) in self.keywords {
            let Some(at) = names.iter().position(|known| **known == *name) else {
                return Err(fault(format!("got an unexpected keyword argument '{name}'")));
            };
            if bound[at].replace(value).is_some() {
                return Err(fault(format!("got multiple values for argument '{name}'")));
            }
        }
        if let Some(at) = bound[..needed].iter().position(Option::is_none) {
            return Err(fault(format!(
                "misses its argument '{}'",
                names[at].trim_start_matches('/')
            )));
        }
        Ok(bound)
    }

    /// As [`Arguments::bind`], for a known number.
    pub fn bind_array<const N: usize>(
        self,
        function: &str,
        names: [&str; N],
        needed: usize,
    ) -> Result<[Option<Value>; N]> {
        let bound = self.bind(function, &names, needed)?;
        bound
            .try_into()
            .map_err(|_| Error::fault("wrong number of arguments"))
    }
}

const NAMES: &[&str] = &[
    "range",
    "dict",
    "lipsum",
    "cycler",
    "joiner",
    "namespace",
    "raise_exception",
    "strftime_now",
];

/// The function of this name.
pub fn named(name: &str) -> Option<&'static str> {
    NAMES.iter().find(|known| **known == name).copied()
}

/// Calls the function `name`, one that [`named`] gave or `dict.fromkeys`.
pub fn call(machine: &mut Machine, name: &str, given: Arguments) -> Result<Value> {
    match name {
        "range" => range(given),
        "dict" => dict(machine, given).map(Value::dict),
        "dict.fromkeys" => {
            let [keys, value] = given.bind_array(name, ["/iterable", "/value"], 1)?;
            let mut dict = Dict::default();
            for key in machine.iterate(&keys.unwrap_or(Value::None))? {
                dict.insert(key, value.clone().unwrap_or(Value::None))?;
            }
            Ok(Value::dict(dict))
        }
        "namespace" => {
            let dict = dict(machine, given)?;
            for (name, _) in dict.entries() {
                if let Some(name) = name.as_text() {
                    check_namespace_name(name)?;
                }
            }
            Ok(machine.keep_namespace(dict))
        }
        "cycler" => {
            let Arguments { positional, keywords } = given;
            if positional.is_empty() || !keywords.is_empty() {
                return Err(Error::fault("cycler() needs items, and no names"));
            }
            Ok(Value::object(Object::Cycler(Seq::new(positional)?, 0.into())))
        }
        "joiner" => {
            let [separator] = given.bind_array(name, ["sep"], 0)?;
            let separator = separator.map_or_else(|| ", ".into(), |value| value.to_text());
            Ok(Value::object(Object::Joiner(separator, false.into())))
        }
        "raise_exception" => {
            let [message] = given.bind_array(name, ["message"], 1)?;
            let message = message.unwrap_or(Value::None).to_text();
            Err(Error::new(Kind::Refusal, message.to_string()))
        }
        "strftime_now" => {
            let [format] = given.bind_array(name, ["format"], 1)?;
            match format.as_ref().and_then(Value::as_text) {
                Some(format) => Ok(Value::text(&time::strftime(machine.options.now, format)?)),
                None => Err(Error::fault("strftime_now() needs a text")),
            }
        }
        _ => Err(Machine::unsupported(&format!(
            "`{name}`, which writes random text,"
        ))),
    }
}

fn range(given: Arguments) -> Result<Value> {
    let bounds = given.bind("range", &["/start", "/stop", "/step"], 1)?;
    let mut numbers = Vec::new();
    for bound in bounds.into_iter().flatten() {
        let number = bound.as_int().ok_or_else(|| {
            let kind = bound.kind();
            Error::fault(format!("'{kind}' object cannot be interpreted as an integer"))
        })?;
        numbers.push(i64::try_from(number).map_err(|_| Error::fault("a bound of range() is too large"))?);
    }
    let range = match numbers[..] {
        [stop] => Value::Range(0, stop, 1),
        [start, stop] => Value::Range(start, stop, 1),
        [_, _, 0] => return Err(Error::fault("range() arg 3 must not be zero")),
        [start, stop, step] => Value::Range(start, stop, step),
        _ => return Err(Error::fault("range() needs one to three bounds")),
    };
    match range_length(&range) > LONGEST_RANGE {
        true => Err(Error::fault(format!("range() is longer than {LONGEST_RANGE}"))),
        false => Ok(range),
    }
}

/// `dict(…)`: of a mapping or of pairs, and of names.
fn dict(machine: &mut Machine, given: Arguments) -> Result<Dict> {
    let mut dict = Dict::default();
    if given.positional.len() > 1 {
        return Err(Error::fault("dict expected at most 1 argument"));
    }
    match given.positional.first() {
        None => {}
        Some(Value::Dict(other)) => {
            for (key, value) in other.entries() {
                dict.insert(key.clone(), value.clone())?;
            }
        }
        Some(pairs) => {
            for pair in machine.iterate(pairs)? {
                match &machine.iterate(&pair)?[..] {
                    [key, value] => dict.insert(key.clone(), value.clone())?,
                    _ => return Err(Error::fault("dict() needs pairs")),
                }
            }
        }
    }
    for (name, value) in given.keywords {
        dict.insert(Value::Str(name), value)?;
    }
    machine.charge_items(2 * dict.len())?;
    Ok(dict)
}

/// Fails on a name that no namespace may have.
pub fn check_namespace_name(name: &str) -> Result<()> {
    match name.starts_with('_') {
        true => Err(Error::fault(format!(
            "a namespace cannot have the attribute '{name}', which begins with an underscore"
        ))),
        false => Ok(()),
    }
}

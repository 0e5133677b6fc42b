//! Calls: their arguments, and tables of what can be called by name.

use super::ast::Text;
use super::error::{Error, Result};
use super::value::Value;
use crate::text::counted;

/// Arguments of a call.
#[derive(Default, Clone)]
pub struct Arguments {
    pub positional: Vec<Value>,
    pub keywords: Vec<(Text, Value)>,
}

impl Arguments {
    pub fn from_positional(positional: Vec<Value>) -> Arguments {
        Arguments {
            positional,
            keywords: Vec::new(),
        }
    }

    pub fn add_keyword(&mut self, name: Text, value: Value) -> Result<()> {
        if self.keywords.iter().any(|(known, _)| *known == name) {
            return Err(Error::fault(format!("keyword argument repeated: {name}")));
        }
        self.keywords.push((name, value));
        Ok(())
    }

    /// Returns the values of the parameters `names`, of which the first `needed` are required. A
    /// name that begins with `/` is positional only. Fails on arguments that do not fit, naming
    /// `function`.
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

    /// [`Arguments::bind`] for a fixed number of parameters.
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

/// One use of a filter or method: `value|name(arguments)`, `value.name(arguments)`.
pub struct Call<'a> {
    /// Name as written in the template; error messages begin with it.
    pub name: &'a str,
    pub value: &'a Value,
    pub arguments: Arguments,
}

impl<'a> Call<'a> {
    /// Returns the value, and the arguments by [`Arguments::bind_array`].
    pub fn bind<const N: usize>(
        self,
        names: [&str; N],
        needed: usize,
    ) -> Result<(&'a Value, [Option<Value>; N])> {
        Ok((self.value, self.arguments.bind_array(self.name, names, needed)?))
    }

    /// Returns the value. Fails if there are arguments.
    pub fn bind_none(self) -> Result<&'a Value> {
        self.arguments.bind(self.name, &[], 0)?;
        Ok(self.value)
    }
}

/// Functions by name, in a table of the file that defines them.
pub type Table<F> = &'static [(&'static str, F)];

/// Returns the function `name` of a table.
pub fn find<F: Copy>(table: Table<F>, name: &str) -> Option<F> {
    let found = table.iter().find(|(known, _)| *known == name);
    found.map(|(_, function)| *function)
}

/// Reads an argument that must be an integer.
pub fn int(value: &Option<Value>, default: i128) -> Result<i128> {
    match value {
        None => Ok(default),
        Some(value) => value.as_int().ok_or_else(|| {
            let kind = value.kind();
            Error::fault(format!("'{kind}' object cannot be interpreted as an integer"))
        }),
    }
}

//! The arguments of an instruction, one object of `kwargs`.

use serde_json::{Map, Value};

/// The arguments of one instruction. Null is no argument: tables have a column for every argument.
#[derive(Debug, Clone, Copy)]
pub struct Arguments<'a>(pub &'a Map<String, Value>);

/// How a count is compared with its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// `less than`
    LessThan,
    /// `at least`
    AtLeast,
}

impl Relation {
    /// Whether `count` is in the relation to `bound`.
    pub fn holds(self, count: usize, bound: u64) -> bool {
        match self {
            Relation::LessThan => (count as u64) < bound,
            Relation::AtLeast => count as u64 >= bound,
        }
    }
}

impl<'a> Arguments<'a> {
    /// Refuses arguments other than `known`, unless they are empty.
    pub fn only(&self, known: &[&str]) -> Result<(), String> {
        let is_empty = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::String(text) => text.is_empty(),
            Value::Array(values) => values.is_empty(),
            _ => false,
        };
        let mut others = self.0.iter().filter(|(name, value)| {
            let is_known = known.contains(&name.as_str());
            !is_known && !is_empty(value)
        });
        match others.next() {
            None => Ok(()),
            Some((name, _)) if known.is_empty() => Err(format!("has no arguments, but `{name}` is given")),
            Some((name, _)) => Err(format!(
                "has no argument `{name}`; it has `{}`",
                known.join("`, `")
            )),
        }
    }

    fn value(&self, name: &str) -> Result<&'a Value, String> {
        let value = self.0.get(name).filter(|value| !value.is_null());
        value.ok_or_else(|| format!("needs the argument `{name}`"))
    }

    /// Returns a number, which is whole and not negative.
    pub fn number(&self, name: &str) -> Result<u64, String> {
        let value = self.value(name)?;
        // Tables with missing values have floating-point columns.
        let whole =
            |number: f64| ((0.0..1e15).contains(&number) && number.fract() == 0.0).then_some(number as u64);
        value
            .as_u64()
            .or_else(|| value.as_f64().and_then(whole))
            .ok_or_else(|| format!("needs a whole number as `{name}`, not {value}"))
    }

    /// Returns a text without the white space around it, which is not empty.
    pub fn text(&self, name: &str) -> Result<&'a str, String> {
        let value = self.value(name)?;
        match value.as_str().map(super::python::strip) {
            Some("") => Err(format!("needs a text as `{name}`, which is empty")),
            Some(text) => Ok(text),
            None => Err(format!("needs a text as `{name}`, not {value}")),
        }
    }

    /// Returns a list of texts, which is not empty.
    pub fn texts(&self, name: &str) -> Result<Vec<&'a str>, String> {
        let value = self.value(name)?;
        let texts = value.as_array().filter(|values| !values.is_empty());
        texts
            .and_then(|values| values.iter().map(Value::as_str).collect())
            .ok_or_else(|| format!("needs a list of texts as `{name}`, not {value}"))
    }

    /// Returns a relation.
    pub fn relation(&self, name: &str) -> Result<Relation, String> {
        match self.text(name)? {
            "less than" => Ok(Relation::LessThan),
            "at least" => Ok(Relation::AtLeast),
            other => Err(format!(
                "needs `less than` or `at least` as `{name}`, not `{other}`"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_whole_and_given() {
        let object = json!({"a": 3, "b": 300.0, "c": -1, "d": 0, "e": null, "f": "3", "g": 1.5});
        let arguments = Arguments(object.as_object().unwrap());
        let numbers: Vec<_> = "abcdefgh"
            .chars()
            .map(|name| arguments.number(&name.to_string()).ok())
            .collect();
        assert_eq!(
            numbers,
            [Some(3), Some(300), None, Some(0), None, None, None, None]
        );
        assert_eq!(
            arguments.number("h").unwrap_err(),
            "needs the argument `h`".to_string()
        );
    }

    #[test]
    fn unknown_arguments_are_refused_unless_they_are_empty() {
        let object = json!({"num_words": 3, "letter": null, "keyword": "", "frequency": 0});
        assert_eq!(
            Arguments(object.as_object().unwrap()).only(&["num_words"]),
            Ok(())
        );
        let object = json!({"num_word": 3});
        let error = Arguments(object.as_object().unwrap()).only(&["num_words"]);
        assert_eq!(
            error.unwrap_err(),
            "has no argument `num_word`; it has `num_words`"
        );
    }

    #[test]
    fn relations_compare() {
        assert!(Relation::LessThan.holds(2, 3) && !Relation::LessThan.holds(3, 3));
        assert!(Relation::AtLeast.holds(3, 3) && !Relation::AtLeast.holds(2, 3));
        let object = json!({"relation": "more than"});
        let error = Arguments(object.as_object().unwrap()).relation("relation");
        assert!(error.unwrap_err().contains("not `more than`"));
    }
}

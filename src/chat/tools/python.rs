//! Calls as Python writes them: `name(city="Paris", days=3)`, with literals as arguments. Written
//! by Llama 3.2 and 4, in brackets, and by OLMo 3, one to a line.

use serde_json::{Map, Number, Value, json};

use super::call::{ArgumentSchemas, Call};

/// The deepest nesting of lists and dictionaries.
const DEEPEST: usize = 64;

/// Reads `[f(…), g(…)]`.
pub fn listed(text: &str) -> Option<Vec<Call>> {
    let inside = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    let mut reader = Reader {
        rest: inside,
        depth: 0,
    };
    let mut calls = Vec::new();
    loop {
        calls.push(reader.call()?);
        let goes_on = reader.take(',');
        if reader.is_at_end() {
            return Some(calls);
        }
        if !goes_on {
            return None;
        }
    }
}

/// Reads one call after another, or such a list.
pub fn calls(text: &str, _: &ArgumentSchemas) -> Option<Vec<Call>> {
    if text.trim_start().starts_with('[') {
        return listed(text);
    }
    let mut reader = Reader { rest: text, depth: 0 };
    let mut calls = vec![reader.call()?];
    while !reader.is_at_end() {
        calls.push(reader.call()?);
    }
    Some(calls)
}

/// Whether an answer may be a list of calls; none if that is not known yet.
pub fn may_be_listed(text: &str) -> Option<bool> {
    let inside = text.strip_prefix('[')?.trim_start();
    let name = inside.find(|c| !is_of_name(c))?;
    Some(name > 0 && inside[name..].starts_with('('))
}

/// Whether a letter may be in the name of a tool.
fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_-.:/".contains(c)
}

/// Reads from the beginning of what is left.
struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn is_at_end(&mut self) -> bool {
        self.skip_space();
        self.rest.is_empty()
    }

    /// Takes a sign, if it is next.
    fn take(&mut self, sign: char) -> bool {
        self.skip_space();
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Takes the letters at the beginning that satisfy `is_part`; none if there are none.
    fn word(&mut self, is_part: impl Fn(char) -> bool) -> Option<&'a str> {
        self.skip_space();
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    fn call(&mut self) -> Option<Call> {
        let name = self.word(is_of_name)?;
        let mut arguments = Map::new();
        self.take('(').then_some(())?;
        while !self.take(')') {
            let argument = self.word(|c| c.is_alphanumeric() || c == '_' || c == '-')?;
            self.take('=').then_some(())?;
            let value = self.value()?;
            arguments.insert(argument.to_owned(), value);
            if !self.take(',') {
                self.take(')').then_some(())?;
                break;
            }
        }
        Call::new(name, &Value::Object(arguments))
    }

    /// Takes a literal.
    fn value(&mut self) -> Option<Value> {
        self.skip_space();
        match self.rest.chars().next()? {
            '"' | '\'' => self.text().map(Value::String),
            '[' => self.items('[', ']').map(Value::Array),
            '(' => self.items('(', ')').map(Value::Array),
            '{' => self.dictionary(),
            c if c.is_ascii_digit() || "+-.".contains(c) => self.number(),
            _ => match self.word(|c| c.is_ascii_alphabetic())? {
                "True" | "true" => Some(json!(true)),
                "False" | "false" => Some(json!(false)),
                "None" | "null" => Some(Value::Null),
                _ => None,
            },
        }
    }

    /// Takes values between brackets.
    fn items(&mut self, open: char, close: char) -> Option<Vec<Value>> {
        self.nested(|reader| {
            let mut items = Vec::new();
            reader.take(open);
            while !reader.take(close) {
                items.push(reader.value()?);
                if !reader.take(',') {
                    reader.take(close).then_some(())?;
                    break;
                }
            }
            Some(items)
        })
    }

    fn dictionary(&mut self) -> Option<Value> {
        self.nested(|reader| {
            let mut fields = Map::new();
            reader.take('{');
            while !reader.take('}') {
                let name = match reader.value()? {
                    Value::String(text) => text,
                    Value::Number(number) => number.to_string(),
                    _ => return None,
                };
                reader.take(':').then_some(())?;
                let value = reader.value()?;
                fields.insert(name, value);
                if !reader.take(',') {
                    reader.take('}').then_some(())?;
                    break;
                }
            }
            Some(Value::Object(fields))
        })
    }

    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if self.depth == DEEPEST {
            return None;
        }
        self.depth += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn number(&mut self) -> Option<Value> {
        let word = self.word(|c| c.is_ascii_alphanumeric() || "+-._".contains(c))?;
        let plain = word.replace('_', "");
        if let Ok(number) = plain.parse::<i64>() {
            return Some(json!(number));
        }
        match plain.parse::<u64>() {
            Ok(number) => Some(json!(number)),
            // Larger ones lose digits, as they do in JSON.
            Err(_) => Number::from_f64(plain.parse().ok()?).map(Value::Number),
        }
    }

    /// Takes a text in single, double or triple quotes.
    fn text(&mut self) -> Option<String> {
        let quote = ["\"\"\"", "'''", "\"", "'"]
            .into_iter()
            .find(|quote| self.rest.starts_with(quote))?;
        let mut rest = &self.rest[quote.len()..];
        let mut text = String::new();
        loop {
            if let Some(behind) = rest.strip_prefix(quote) {
                self.rest = behind;
                return Some(text);
            }
            let mut letters = rest.chars();
            match letters.next()? {
                '\\' => escape(&mut letters, &mut text)?,
                letter => text.push(letter),
            }
            rest = letters.as_str();
        }
    }
}

/// Takes what follows a backslash, and appends what it stands for.
fn escape(letters: &mut std::str::Chars<'_>, text: &mut String) -> Option<()> {
    let letter = letters.next()?;
    let digits = match letter {
        'x' => 2,
        'u' => 4,
        'U' => 8,
        _ => 0,
    };
    let meant = match letter {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        '0' => '\0',
        '\n' => return Some(()),
        '\\' | '\'' | '"' => letter,
        _ if digits > 0 => {
            let code = u32::from_str_radix(letters.as_str().get(..digits)?, 16).ok()?;
            letters.nth(digits - 1);
            char::from_u32(code)?
        }
        // As Python does with what it does not know.
        other => {
            text.push('\\');
            other
        }
    };
    text.push(meant);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Vec<(String, Value)>> {
        let calls = calls(text, &ArgumentSchemas::default())?;
        let read = |call: Call| (call.name, serde_json::from_str(&call.arguments).unwrap());
        Some(calls.into_iter().map(read).collect())
    }

    #[test]
    fn literals_of_python_are_read() {
        for (literal, want) in [
            ("'San Francisco'", json!("San Francisco")),
            (r#""it's \"so\"\n\u00e9\x41\d""#, json!("it's \"so\"\n\u{e9}A\\d")),
            ("\"\"\"two \"\n\" lines\"\"\"", json!("two \"\n\" lines")),
            ("''", json!("")),
            ("-3", json!(-3)),
            ("1_000", json!(1000)),
            ("18446744073709551615", json!(u64::MAX)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("1e30", json!(1e30)),
            ("2.5e3", json!(2500.0)),
            ("True", json!(true)),
            ("None", json!(null)),
            ("[1, [2], ('a', False,)]", json!([1, [2], ["a", false]])),
            ("{'a': {'b': []}, 3: 4}", json!({ "a": { "b": [] }, "3": 4 })),
        ] {
            let got = read(&format!("f(x = {literal}, y=1)"));
            assert_eq!(
                got,
                Some(vec![("f".to_owned(), json!({ "x": want, "y": 1 }))]),
                "{literal}"
            );
        }
        for bad in [
            "f(x=1",
            "f(x=)",
            "f(1)",
            "f(x=y)",
            "f x",
            "(x=1)",
            "f(x='a)",
            "f(x=[1)",
            "f(x=1e999)",
            "f(x='\\ud800')",
            "",
            "f(x=1) or so",
            "[f()",
            "[]",
            "[f() g()]",
            "[f(),, g()]",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
        let deep = format!("f(x={}{})", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(read(&deep), None);
    }

    #[test]
    fn several_calls_stand_in_brackets_or_behind_one_another() {
        let want = vec![
            ("a".to_owned(), json!({})),
            ("b.c-d".to_owned(), json!({ "x": ")" })),
        ];
        for text in [
            "[a(), b.c-d(x=')')]",
            " [ a( ) ,b.c-d(x=')',),] ",
            "a()\nb.c-d(x=')')",
        ] {
            assert_eq!(read(text), Some(want.clone()), "{text}");
        }
    }

    #[test]
    fn a_list_of_calls_is_told_from_other_lists_at_its_beginning() {
        for (text, want) in [
            ("[", None),
            ("[ get_w", None),
            ("[get_weather(", Some(true)),
            ("[get_weather]", Some(false)),
            ("[1, 2]", Some(false)),
            ("[\"a\"]", Some(false)),
            ("[(", Some(false)),
        ] {
            assert_eq!(may_be_listed(text), want, "{text}");
        }
    }
}

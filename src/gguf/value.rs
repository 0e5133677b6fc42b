//! Values of metadata.

/// A value. Widths that no key needs are widened when they are read.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// An integer without sign, of up to 32 bits.
    U32(u32),
    /// An integer of up to 32 bits.
    I32(i32),
    /// An integer without sign.
    U64(u64),
    /// An integer.
    I64(i64),
    /// A single.
    F32(f32),
    /// A double.
    F64(f64),
    /// Yes or no.
    Bool(bool),
    /// A text.
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
    /// A list of integers, or of yes (1) and no (0).
    Integers(Vec<i64>),
    /// A list of singles.
    Floats(Vec<f32>),
}

/// Numbers that stand for types of values in files.
pub mod type_id {
    /// `u8`.
    pub const U8: u32 = 0;
    /// `i8`.
    pub const I8: u32 = 1;
    /// `u16`.
    pub const U16: u32 = 2;
    /// `i16`.
    pub const I16: u32 = 3;
    /// `u32`.
    pub const U32: u32 = 4;
    /// `i32`.
    pub const I32: u32 = 5;
    /// `f32`.
    pub const F32: u32 = 6;
    /// One byte, 0 or 1.
    pub const BOOL: u32 = 7;
    /// Length in bytes, as `u64`, and UTF-8.
    pub const TEXT: u32 = 8;
    /// Type of the elements, their number as `u64`, and the elements.
    pub const ARRAY: u32 = 9;
    /// `u64`.
    pub const U64: u32 = 10;
    /// `i64`.
    pub const I64: u32 = 11;
    /// `f64`.
    pub const F64: u32 = 12;
}

impl Value {
    /// Returns an integer of any width.
    pub fn integer(&self) -> Option<i64> {
        match *self {
            Value::U32(value) => Some(value.into()),
            Value::I32(value) => Some(value.into()),
            Value::U64(value) => value.try_into().ok(),
            Value::I64(value) => Some(value),
            _ => None,
        }
    }

    /// Returns a number. A single becomes the double of its shortest decimal, so that 1e-6 is what
    /// was meant by it.
    pub fn number(&self) -> Option<f64> {
        match *self {
            Value::F32(value) => Some(decimal(value)),
            Value::F64(value) => Some(value),
            _ => self.integer().map(|value| value as f64),
        }
    }

    /// Returns what kind of value this is, for messages.
    pub fn shown(&self) -> String {
        match self {
            Value::U32(value) => value.to_string(),
            Value::I32(value) => value.to_string(),
            Value::U64(value) => value.to_string(),
            Value::I64(value) => value.to_string(),
            Value::F32(value) => value.to_string(),
            Value::F64(value) => value.to_string(),
            Value::Bool(value) => value.to_string(),
            Value::Text(value) => format!("`{}`", ewe::text::one_line(value, 60)),
            Value::Texts(values) => format!("a list of {}", ewe::text::counted(values.len(), "text")),
            Value::Integers(values) => format!("a list of {}", ewe::text::counted(values.len(), "integer")),
            Value::Floats(values) => format!("a list of {}", ewe::text::counted(values.len(), "number")),
        }
    }
}

/// Returns the double of the shortest decimal that is this single.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn singles_become_the_decimals_that_were_meant() {
        assert_eq!(Value::F32(1e-6).number(), Some(1e-6));
        assert_eq!(Value::F32(1e6).number(), Some(1e6));
        assert_eq!(Value::U64(u64::MAX).integer(), None);
        assert_eq!(Value::I32(-3).number(), Some(-3.0));
        assert!(Value::F32(f32::NAN).number().unwrap().is_nan());
    }
}

//! The numbers of a `range`, computed when needed.

use super::Value;

/// Returns the length of a range; 0 for any other value.
pub fn range_length(range: &Value) -> usize {
    let Value::Range(start, stop, step) = *range else {
        return 0;
    };
    let (start, stop, step) = (i128::from(start), i128::from(stop), i128::from(step));
    let length = match step > 0 {
        true => (stop - start + step - 1).div_euclid(step),
        false => (start - stop - step - 1).div_euclid(-step),
    };
    usize::try_from(length.max(0)).unwrap_or(usize::MAX)
}

/// Returns the numbers of a range.
pub fn range_items(range: &Value) -> impl Iterator<Item = Value> + use<> {
    let (start, step) = match *range {
        Value::Range(start, _, step) => (i128::from(start), i128::from(step)),
        _ => (0, 1),
    };
    (0..range_length(range)).map(move |index| Value::Int(start + step * index as i128))
}

//! Checks that the constants of a recipe are within bounds.

use std::ops::RangeInclusive;

/// # Errors
///
/// Unless the constant `name` is in `range`.
pub(super) fn within(name: &str, value: f64, range: RangeInclusive<f64>) -> Result<(), String> {
    if range.contains(&value) {
        Ok(())
    } else {
        Err(format!(
            "`{name}` is {value}: want a number from {} to {}",
            range.start(),
            range.end()
        ))
    }
}

/// # Errors
///
/// Unless the constant `name` is at least `least`.
pub(super) fn at_least(name: &str, value: usize, least: usize) -> Result<(), String> {
    if value >= least {
        Ok(())
    } else {
        Err(format!("`{name}` is {value}: want at least {least}"))
    }
}

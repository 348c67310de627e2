//! Rounds figures, so that the answer is the same on every machine.

use std::time::Duration;

/// Hours, to three decimals.
pub(super) fn hours(d: Duration) -> f64 {
    round(d.as_secs_f64() / 3600.0, 3)
}

/// A number, rounded to this many decimals.
pub(super) fn round(number: f64, digits: i32) -> f64 {
    let factor = 10f64.powi(digits);
    (number * factor).round() / factor
}

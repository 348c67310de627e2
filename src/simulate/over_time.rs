//! The axes of a plot over simulated time. The time of day is below.

use std::time::Duration;

use muster_reconciler::time::Time;
use muster_simulator::tally::Series;

use super::field;
use crate::plot::{Axis, Drawn, Plane, across, on_axes, ticks};

/// Round times, in hours, for the ticks of such an axis.
const CLOCK_STEPS: [f64; 12] = [0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 12.0, 24.0, 48.0, 96.0, 168.0];

/// Draws a plot over time, with its axes.
pub fn over_time<F>(size: (u32, u32), label: &str, series: &Series, y: &Axis<'_>, body: F) -> anyhow::Result<String>
where
    F: FnOnce(&mut Plane<'_, '_>) -> Drawn,
{
    let low = since_midnight(series.begin).as_secs_f64() / 3600.0;
    let whole = series.step.as_secs_f64() / 3600.0 * series.waiting.len() as f64;
    let say = |hours: &f64| clock(series.begin, whole, *hours);
    let x = Axis { low, high: low + whole, ticks: ticks(low, low + whole, across(size), &CLOCK_STEPS), say: &say };
    on_axes(size, label, &x, y, body)
}

/// The middle of a step, in hours since midnight.
pub fn middle(series: &Series, nth: usize) -> f64 {
    (since_midnight(series.begin).as_secs_f64() + series.step.as_secs_f64() * (nth as f64 + 0.5)) / 3600.0
}

/// The label of a time in hours since the midnight (UTC) before `begin`: a time of day, or a date if the plot spans more
/// than two days.
fn clock(begin: Time, whole_h: f64, hours: f64) -> String {
    let midnight = begin - since_midnight(begin);
    let said = field::said(midnight + Duration::from_secs_f64((hours * 3600.0).max(0.0)));
    let part = if whole_h > 48.0 { 5..10 } else { 11..16 };
    said.get(part).unwrap_or_default().to_owned()
}

fn since_midnight(at: Time) -> Duration {
    Duration::from_millis(at.as_millis() % 86_400_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::trace::MONDAY;

    #[test]
    fn ticks_of_a_clock_are_round() {
        assert_eq!(ticks(23.8, 48.5, 6, &CLOCK_STEPS), [24.0, 30.0, 36.0, 42.0, 48.0]);
    }

    #[test]
    fn a_clock_for_a_day_and_a_calendar_for_a_week() {
        let begin = MONDAY - Duration::from_secs(600);
        assert_eq!(clock(begin, 24.0, 30.0), "06:00");
        assert_eq!(clock(begin, 100.0, 48.0), "01-06");
    }
}

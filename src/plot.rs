//! What all plots have in common: an SVG for an HTML page, its colours, and two axes with round ticks.

use std::time::Duration;

use anyhow::{Context, anyhow};
use muster_reconciler::time::human;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

/// The colour of text and of the most important line. A colour serves as a name: the page's style sheet finds it by its
/// value and replaces it.
pub const INK: RGBColor = RGBColor(0x16, 0x19, 0x1d);
/// The colour of axes and grid.
pub const GRID: RGBColor = RGBColor(0xd5, 0xda, 0xe1);
/// The colour of the first of two lines.
pub const FIRST: RGBColor = RGBColor(0x0b, 0x57, 0xd0);
/// The colour of the second of two lines.
pub const SECOND: RGBColor = RGBColor(0xcc, 0x4a, 0x7a);

/// An empty plot.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws one plot, and removes what an HTML page does not need from the SVG.
pub fn draw((width, height): (u32, u32), label: &str, plot: impl FnOnce(&Area<'_>) -> Drawn) -> anyhow::Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        let drawn = plot(&area).and_then(|()| area.present());
        drawn.map_err(|error| anyhow!("{error}")).with_context(|| format!("failed to draw the plot `{label}`"))?;
    }
    let (_, inner) = svg.split_once('>').with_context(|| format!("the plot `{label}` is no SVG"))?;
    Ok(format!("<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">{inner}"))
}

/// Text of this height, in the units of the SVG.
pub fn font(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

/// A wait in seconds, for people.
pub fn seconds(s: f64) -> String {
    if s < 0.5 { "0".into() } else { human(Duration::from_secs_f64(s.round())).to_string() }
}

/// The ticks from `low` to `high`: multiples of the first of `steps` that needs no more than `most` ticks.
pub fn ticks(low: f64, high: f64, most: usize, steps: &[f64]) -> Vec<f64> {
    let fits = |step: &&f64| (high - low) / **step <= most as f64;
    let step = steps.iter().find(fits).copied().unwrap_or((high - low) / most as f64);
    let first = (low / step).ceil() as i64;
    (first..).map(|n| n as f64 * step).take_while(|tick| *tick <= high).collect()
}

/// Round times, in seconds, for an axis of waits.
pub const WAIT_STEPS: [f64; 16] =
    [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0, 28_800.0];
/// Round numbers, for an axis of counts.
pub const COUNT_STEPS: [f64; 15] =
    [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0, 20_000.0, 50_000.0];

/// One axis: its range, its ticks and what they say.
pub struct Axis<'a> {
    /// The value at which the axis begins.
    pub low: f64,
    /// The value at which the axis ends.
    pub high: f64,
    /// The values that have a line and a label.
    pub ticks: Vec<f64>,
    /// The label of a value.
    pub say: &'a dyn Fn(&f64) -> String,
}

/// A linear axis with given ticks. plotters' own `with_key_points` cannot be used with numbers that plotters formats
/// itself.
pub struct Ticked {
    line: RangedCoordf64,
    ticks: Vec<f64>,
}

impl Ticked {
    fn of(axis: &Axis<'_>) -> Ticked {
        Ticked { line: (axis.low..axis.high).into(), ticks: axis.ticks.clone() }
    }
}

impl Ranged for Ticked {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.line.map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.line.range()
    }
}

/// The chart that a plot draws on.
pub type Plane<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Ticked, Ticked>>;
/// The result of drawing. Drawing into a string never fails.
pub type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Draws two axes, and what `body` draws on them.
pub fn on_axes<F>(size: (u32, u32), label: &str, x: &Axis<'_>, y: &Axis<'_>, body: F) -> anyhow::Result<String>
where
    F: FnOnce(&mut Plane<'_, '_>) -> Drawn,
{
    draw(size, label, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .margin_right(24)
            .x_label_area_size(26)
            .y_label_area_size(58)
            .build_cartesian_2d(Ticked::of(x), Ticked::of(y))?;
        chart
            .configure_mesh()
            .x_labels(x.ticks.len())
            .y_labels(y.ticks.len())
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .label_style(font(13))
            .x_label_formatter(x.say)
            .y_label_formatter(y.say)
            .draw()?;
        body(&mut chart)
    })
}

/// How many labels fit side by side.
pub fn across((width, _): (u32, u32)) -> usize {
    usize::try_from(width / 75).unwrap_or(5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks(0.0, 130.0, 6, &WAIT_STEPS), [0.0, 30.0, 60.0, 90.0, 120.0]);
        assert_eq!(ticks(0.0, 1.05, 6, &COUNT_STEPS), [0.0, 1.0]);
        assert!(ticks(0.0, 1e9, 6, &COUNT_STEPS).len() <= 7);
    }

    #[test]
    fn a_wait_is_told_in_words() {
        assert_eq!([0.0, 12.0, 90.0].map(seconds), ["0", "12s", "1m 30s"]);
    }
}

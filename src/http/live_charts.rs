//! The charts of the live page, as SVG by `plotters`. A colour serves as a name, as in the report of `muster simulate`. The
//! style sheet finds each colour by its value and replaces it, so that one drawing serves a light and a dark screen.

use muster_operations::watch::WatchPoint;
use muster_reconciler::reason::count;
use muster_reconciler::stage::Stage;
use muster_reconciler::view::{HourView, RunnerView, SpanView};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::plot::{Axis, FIRST, GRID, INK, WAIT_STEPS, draw, font, on_axes, seconds, ticks};

/// The width of the waterfall on a wide screen, in the units of the SVG.
pub const WIDE: u32 = 1100;
/// The width of the waterfall on a phone.
pub const NARROW: u32 = 390;
/// The height of a row of the waterfall.
const ROW: u32 = 20;

/// What a runner did until it reached a stage, in the order of its start. The style sheet has the same colours, and the legend has
/// the same words.
pub const STAGES: [(Stage, RGBColor, &str); 8] = [
    (Stage::Launched, RGBColor(0x8b, 0x6f, 0xc9), "EC2 answers"),
    (Stage::Script, RGBColor(0x5f, 0x7f, 0xd6), "boots"),
    (Stage::Configured, RGBColor(0x2f, 0x8f, 0xb8), "is configured"),
    (Stage::Secret, RGBColor(0x3d, 0x9a, 0x9a), "reads its secret"),
    (Stage::Unpacked, RGBColor(0x8d, 0x84, 0x53), "unpacks"),
    (Stage::Listener, RGBColor(0xb0, 0x7a, 0x2c), "starts the runner"),
    (Stage::Online, RGBColor(0x2f, 0x8f, 0x5b), "comes online"),
    (Stage::Started, RGBColor(0xc9, 0x78, 0x0e), "waits for a job"),
];

/// A sparkline: queued jobs as a line over runners as an area. It has no axes, because the shape says enough, and the label
/// has the numbers.
pub fn spark(label: &str, past: &[WatchPoint]) -> anyhow::Result<String> {
    let top = past.iter().map(|p| p.queued.max(p.runners)).max().unwrap_or_default().max(1);
    let last = past.len().saturating_sub(1).max(1) as f64;
    draw((140, 36), &escaped(label), |area| {
        let mut chart = ChartBuilder::on(area).margin(2).build_cartesian_2d(0.0..last, 0.0..f64::from(top) * 1.05)?;
        let of = |get: fn(&WatchPoint) -> u32| past.iter().enumerate().map(move |(nth, p)| (nth as f64, f64::from(get(p))));
        chart.draw_series(AreaSeries::new(of(|p| p.runners), 0.0, GRID))?;
        chart.draw_series(LineSeries::new(of(|p| p.queued), FIRST.stroke_width(2)))?;
        Ok(())
    })
}

/// How long jobs waited in each hour of the last day: half of them as an area, nine of ten as a line. Empty if fewer than two hours
/// were seen.
pub fn hours(pool: &str, hours: &[HourView], now: u64) -> anyhow::Result<String> {
    const HOUR_MS: u64 = 3_600_000;
    let seen: Vec<(f64, SpanView)> =
        hours.iter().filter_map(|hour| Some((24.0 - (now.saturating_sub(hour.at) / HOUR_MS) as f64, hour.waits?))).collect();
    let (Some((_, first)), Some((_, last))) = (seen.first(), seen.last()) else { return Ok(String::new()) };
    if seen.len() < 2 {
        return Ok(String::new());
    }
    let label = format!(
        "{}, waits by the hour: 9 of 10 jobs within {} at first, within {} now",
        escaped(pool),
        seconds(first.most_seconds),
        seconds(last.most_seconds)
    );
    let top = seen.iter().map(|(_, told)| told.most_seconds).fold(1.0, f64::max) * 1.05;
    draw((140, 36), &label, |area| {
        let mut chart = ChartBuilder::on(area).margin(2).build_cartesian_2d(0.0..24.0, 0.0..top)?;
        chart.draw_series(AreaSeries::new(seen.iter().map(|(at, told)| (*at, told.median_seconds)), 0.0, GRID))?;
        chart.draw_series(LineSeries::new(seen.iter().map(|(at, told)| (*at, told.most_seconds)), FIRST.stroke_width(2)))?;
        Ok(())
    })
}

/// Each runner's start as a bar, with one piece for each stage. Empty if there is no runner.
pub fn falls(width: u32, runners: &[&RunnerView]) -> anyhow::Result<String> {
    if runners.is_empty() {
        return Ok(String::new());
    }
    let rows = runners.len();
    let reached = runners.iter().flat_map(|r| r.stages.iter().map(|s| s.after_seconds));
    let high = reached.fold(1.0, f64::max) * 1.02;
    let label = format!("the starts of the last {}, by stage", count(rows, "runner"));
    let size = (width, ROW * u32::try_from(rows).unwrap_or(1) + 44);
    let narrow = width < 600;
    let x = Axis { low: 0.0, high, ticks: ticks(0.0, high, if narrow { 4 } else { 10 }, &WAIT_STEPS), say: &|s| seconds(*s) };
    let y = Axis { low: 0.0, high: rows as f64, ticks: Vec::new(), say: &|_| String::new() };
    on_axes(size, &label, &x, &y, |chart| {
        for (nth, runner) in runners.iter().enumerate() {
            let (low, high) = ((rows - nth) as f64 - 0.85, (rows - nth) as f64 - 0.15);
            let mut from = 0.0;
            for stage in &runner.stages {
                let Some((_, color, _)) = STAGES.iter().find(|(of, ..)| *of == stage.stage) else { continue };
                chart.draw_series([Rectangle::new([(from, low), (stage.after_seconds, high)], color.filled())])?;
                from = stage.after_seconds;
            }
            // The end of an instance's id is enough to tell it apart. The table has the whole id.
            let id = &runner.instance;
            let short = id.get(id.len().saturating_sub(6)..).unwrap_or(id);
            let style = font(12).color(&INK).pos(Pos::new(HPos::Right, VPos::Center));
            chart.draw_series([EmptyElement::at((0.0, (low + high) / 2.0)) + Text::new(short.to_owned(), (-6, 0), style)])?;
        }
        Ok(())
    })
}

/// Escapes a text for an attribute. The name of a pool has nothing to escape, but this function cannot know that.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use muster_reconciler::view::StageView;

    use super::*;

    #[test]
    fn every_stage_has_a_colour_and_the_style_sheet_knows_it() {
        let css = include_str!("assets/live.css");
        for (stage, RGBColor(r, g, b), _) in STAGES {
            assert!(css.contains(&format!("#{r:02X}{g:02X}{b:02X}")), "{stage}");
        }
        assert_eq!(STAGES.map(|(stage, ..)| stage), Stage::ALL);
    }

    #[test]
    fn a_start_is_a_bar_of_stages_and_a_label_is_escaped() {
        let stage = |stage, after_seconds| StageView { stage, after_seconds };
        let stages = vec![stage(Stage::Launched, 1.0), stage(Stage::Online, 31.5)];
        let runner = RunnerView { instance: "i-0123456789abcdef0".into(), stages, ..RunnerView::default() };
        let svg = falls(WIDE, &[&runner]).expect("drawn");
        assert!(svg.contains("#8B6FC9") && svg.contains("#2F8F5B") && svg.contains("bcdef0"), "{svg}");
        assert_eq!(falls(WIDE, &[]).expect("drawn"), "");
        let svg = spark("a \"b\"", &[WatchPoint { queued: 1, runners: 0 }, WatchPoint { queued: 3, runners: 2 }]).expect("drawn");
        assert!(svg.contains("aria-label=\"a &quot;b&quot;\""), "{svg}");
    }
}

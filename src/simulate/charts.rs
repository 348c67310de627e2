//! The plots of the HTML report, as SVG by `plotters`. A colour serves as a name here. The page's style sheet
//! finds each colour by its value and replaces it, so that one drawing serves a light and a dark screen.

use std::time::Duration;

use muster_simulator::tally::Doing;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::answer::ForecastRun;
use super::over_time::{middle, over_time};
use crate::plot::{Axis, COUNT_STEPS, FIRST, GRID, INK, SECOND, WAIT_STEPS, across, draw, font, on_axes, seconds, ticks};

/// What instances do, in the colours of the live page.
pub const DOING: [(Doing, RGBColor); 5] = [
    (Doing::Working, RGBColor(0xc9, 0x78, 0x0e)),
    (Doing::Idle, RGBColor(0x2f, 0x8f, 0x5b)),
    (Doing::Booting, RGBColor(0x5f, 0x7f, 0xd6)),
    (Doing::Starting, RGBColor(0x8b, 0x6f, 0xc9)),
    (Doing::Ending, RGBColor(0x85, 0x8d, 0x97)),
];
/// The colours of the markets.
pub const MARKETS: [(&str, RGBColor); 2] = [("spot", RGBColor(0x2f, 0x8f, 0xb8)), ("on-demand", RGBColor(0xb0, 0x7a, 0x2c))];

/// The size of a plot on a wide screen. Every plot is drawn twice, because the text of a wide drawing is
/// unreadable on a phone.
pub const WIDE: (u32, u32) = (860, 280);
/// The size of a plot on a phone.
pub const NARROW: (u32, u32) = (390, 250);

/// The highest 90th percentile of a run's steps, in seconds. Two runs are drawn to one scale.
pub fn highest_wait(run: &ForecastRun) -> f64 {
    run.series.waits.iter().filter_map(|(p50, p90)| p90.or(*p50)).max().unwrap_or_default().as_secs_f64()
}

/// The median and the 90th percentile of the waits, by the time at which the jobs were queued.
pub fn waits(size: (u32, u32), run: &ForecastRun, top: f64) -> anyhow::Result<String> {
    let series = &run.series;
    let high = top.max(1.0) * 1.05;
    let y = Axis { low: 0.0, high, ticks: ticks(0.0, high, 6, &WAIT_STEPS), say: &|s| seconds(*s) };
    over_time(size, "Queue wait over time", series, &y, |chart| {
        for (color, of) in [(SECOND, 1), (FIRST, 0)] {
            let point = |(nth, w): (usize, &(Option<Duration>, Option<Duration>))| {
                let wait = if of == 0 { w.0 } else { w.1 };
                wait.map(|w| (middle(series, nth), w.as_secs_f64()))
            };
            let points: Vec<Option<(f64, f64)>> = series.waits.iter().enumerate().map(point).collect();
            // A step in which no job was queued has no wait, so the line has a gap there.
            for line in points.split(Option::is_none).filter(|line| !line.is_empty()) {
                let line: Vec<(f64, f64)> = line.iter().flatten().copied().collect();
                match line[..] {
                    [alone] => drop(chart.draw_series([Circle::new(alone, 2, color.filled())])?),
                    _ => drop(chart.draw_series(LineSeries::new(line, color.stroke_width(2)))?),
                }
            }
        }
        Ok(())
    })
}

/// The highest number of instances, or of jobs that need a runner, in any step of a run.
pub fn highest_level(run: &ForecastRun) -> f64 {
    let s = &run.series;
    let instances = (0..s.waiting.len()).map(|nth| s.instances.values().map(|row| row[nth]).sum::<f64>());
    let jobs = s.waiting.iter().zip(&s.running).map(|(w, r)| w + r);
    instances.chain(jobs).fold(0.0, f64::max)
}

/// Instances by what they do, as layers. The line above them is the jobs that need a runner: waiting and
/// running ones.
pub fn instances(size: (u32, u32), run: &ForecastRun, top: f64) -> anyhow::Result<String> {
    let series = &run.series;
    let high = top.max(1.0) * 1.05;
    let say = |n: &f64| super::table::number(*n as u64);
    let y = Axis { low: 0.0, high, ticks: ticks(0.0, high, 6, &COUNT_STEPS), say: &say };
    over_time(size, "Instances by what they do, and jobs that want a runner", series, &y, |chart| {
        // The layers are drawn from the top one down. Each covers the whole height, so that lower layers
        // cover it.
        for layer in (0..DOING.len()).rev() {
            let level = |nth: usize| DOING[..=layer].iter().map(|(d, _)| series.instances[d][nth]).sum::<f64>();
            let points = (0..series.waiting.len()).map(|nth| (middle(series, nth), level(nth)));
            chart.draw_series(AreaSeries::new(points, 0.0, DOING[layer].1))?;
        }
        let demand = (0..series.waiting.len()).map(|nth| (middle(series, nth), series.waiting[nth] + series.running[nth]));
        chart.draw_series(LineSeries::new(demand, INK.stroke_width(2)))?;
        Ok(())
    })
}

/// The share of jobs that waited no longer than a time, with one line for each run.
pub fn distribution(size: (u32, u32), runs: &[ForecastRun]) -> anyhow::Result<String> {
    const POINTS: usize = 200;
    let upto = |run: &ForecastRun| run.waits.get(run.waits.len() * 99 / 100).or(run.waits.last()).copied().unwrap_or_default();
    let longest = runs.iter().map(upto).max().unwrap_or_default().as_secs_f64().max(1.0);
    let x = Axis { low: 0.0, high: longest, ticks: ticks(0.0, longest, across(size), &WAIT_STEPS), say: &|s| seconds(*s) };
    let shares = vec![0.0, 0.25, 0.5, 0.75, 0.9, 1.0];
    let y = Axis { low: 0.0, high: 1.0, ticks: shares, say: &|share| format!("{:.0}%", share * 100.0) };
    on_axes(size, "Distribution of queue waits", &x, &y, |chart| {
        for (run, color) in runs.iter().zip([FIRST, SECOND]) {
            let all = (run.waits.len() as u64 + run.total.unstarted).max(1) as f64;
            let share = |nth: usize| {
                let x = longest * nth as f64 / POINTS as f64;
                (x, run.waits.partition_point(|w| w.as_secs_f64() <= x) as f64 / all)
            };
            chart.draw_series(LineSeries::new((0..=POINTS).map(share), color.stroke_width(2)))?;
        }
        Ok(())
    })
}

/// One bar for each run, with its markets side by side. None: nothing has a price.
pub fn cost(size: (u32, u32), runs: &[ForecastRun]) -> anyhow::Result<Option<String>> {
    let dearest = runs.iter().map(|r| r.cost.total).fold(0.0, f64::max);
    if dearest <= 0.0 {
        return Ok(None);
    }
    let height = 50 + 44 * u32::try_from(runs.len()).unwrap_or(1);
    let drawn = draw((size.0, height), "Cost by market", |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .margin_right(30)
            .x_label_area_size(26)
            .y_label_area_size(30)
            .build_cartesian_2d(0.0..dearest * 1.05, 0.0..runs.len() as f64)?;
        chart
            .configure_mesh()
            .x_labels(if size.0 > 500 { 10 } else { 4 })
            .disable_y_axis()
            .disable_y_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .label_style(font(13))
            .x_label_formatter(&|cost| if dearest > 20.0 { format!("{cost:.0}") } else { format!("{cost:.2}") })
            .draw()?;
        for (nth, run) in runs.iter().enumerate() {
            let (low, high) = ((runs.len() - nth) as f64 - 0.8, (runs.len() - nth) as f64 - 0.2);
            let mut from = 0.0;
            for (market, color) in MARKETS {
                let to = from + run.cost.by_market.get(market).map_or(0.0, |m| m.cost);
                chart.draw_series([Rectangle::new([(from, low), (to, high)], color.filled())])?;
                from = to;
            }
            if runs.len() > 1 {
                let name = ["A", "B"][nth.min(1)];
                let place = (0.0, (low + high) / 2.0);
                let style = font(15).pos(Pos::new(HPos::Right, VPos::Center));
                chart.draw_series([EmptyElement::at(place) + Text::new(name, (-8, 0), style)])?;
            }
        }
        Ok(())
    })?;
    Ok(Some(drawn))
}

//! The answer as one HTML page, which refers to nothing outside of itself. It suits a browser, a mail or a ticket, on any
//! screen.

use anyhow::Context;
use askama::Template;
use muster_simulator::tally::Doing;
use plotters::style::RGBColor;

use super::answer::{Compared, ForecastAnswer, ForecastRow, ForecastRun};
use super::{charts, table};
use crate::plot;

/// One plot in its two sizes.
struct Plot {
    wide: String,
    narrow: String,
}

impl Plot {
    fn of(draw: impl Fn((u32, u32)) -> anyhow::Result<String>) -> anyhow::Result<Plot> {
        Ok(Plot { wide: draw(charts::WIDE)?, narrow: draw(charts::NARROW)? })
    }
}

/// One run, with its plots.
struct RunPart<'a> {
    /// `A` or `B`. Empty if there is only one run.
    letter: &'static str,
    run: &'a ForecastRun,
    waits: Plot,
    instances: Plot,
}

/// A colour of the plots, and the style sheet's name for it.
struct Tint {
    hex: String,
    name: &'static str,
}

#[derive(Template)]
#[template(path = "simulate.html")]
struct ForecastPage<'a> {
    answer: &'a ForecastAnswer,
    parts: Vec<RunPart<'a>>,
    distribution: Plot,
    cost: Option<Plot>,
    tints: Vec<Tint>,
}

/// Makes the page.
///
/// # Errors
/// When a plot or the page cannot be drawn, which would be a bug.
pub fn page(answer: &ForecastAnswer) -> anyhow::Result<String> {
    let runs = &answer.runs;
    // Two runs are drawn to one scale.
    let top = |of: fn(&ForecastRun) -> f64| runs.iter().map(of).fold(0.0, f64::max);
    let (top_wait, top_level) = (top(charts::highest_wait), top(charts::highest_level));
    let part = |(nth, run): (usize, &'_ ForecastRun)| -> anyhow::Result<(Plot, Plot, &'static str)> {
        let letter = if runs.len() > 1 { ["A", "B"][nth.min(1)] } else { "" };
        let waits = Plot::of(|size| charts::waits(size, run, top_wait))?;
        Ok((waits, Plot::of(|size| charts::instances(size, run, top_level))?, letter))
    };
    let mut parts = Vec::new();
    for (nth, run) in runs.iter().enumerate() {
        let (waits, instances, letter) = part((nth, run))?;
        parts.push(RunPart { letter, run, waits, instances });
    }
    let cost = match (charts::cost(charts::WIDE, runs)?, charts::cost(charts::NARROW, runs)?) {
        (Some(wide), Some(narrow)) => Some(Plot { wide, narrow }),
        _ => None,
    };
    let distribution = Plot::of(|size| charts::distribution(size, runs))?;
    let page = ForecastPage { answer, parts, distribution, cost, tints: tints() };
    page.render().context("failed to fill in the report's template")
}

fn tints() -> Vec<Tint> {
    let hex = |RGBColor(r, g, b): RGBColor| format!("#{r:02X}{g:02X}{b:02X}");
    let mut all = vec![
        Tint { hex: hex(plot::INK), name: "ink" },
        Tint { hex: hex(plot::GRID), name: "line" },
        Tint { hex: hex(plot::FIRST), name: "first" },
        Tint { hex: hex(plot::SECOND), name: "second" },
    ];
    all.extend(charts::DOING.iter().map(|(doing, color)| Tint { hex: hex(*color), name: doing.as_str() }));
    all.extend(charts::MARKETS.iter().map(|(market, color)| Tint { hex: hex(*color), name: market }));
    all
}

impl ForecastPage<'_> {
    fn weather(&self) -> String {
        format!("{:?}", self.answer.asked.weather).to_lowercase()
    }

    fn doing(&self) -> [&'static str; 5] {
        charts::DOING.map(|(doing, _)| doing.as_str())
    }

    fn lives(&self) -> [&'static str; 5] {
        Doing::ALL.map(Doing::as_str)
    }

    fn number(&self, n: &u64) -> String {
        table::number(*n)
    }

    fn decimal(&self, x: &f64) -> String {
        table::decimal(*x)
    }

    fn percent(&self, share: &f64) -> String {
        table::percent(*share)
    }

    fn wait(&self, row: &ForecastRow, seconds: &Option<f64>) -> String {
        table::wait(row, *seconds)
    }

    fn hours_of(&self, row: &ForecastRow, what: &str) -> String {
        table::decimal(row.hours.get(what).or(row.instance_hours.get(what)).copied().unwrap_or_default())
    }

    fn compared(&self, figure: &Compared) -> [String; 4] {
        table::compared(figure, self.answer)
    }

    fn rows<'r>(&self, run: &'r ForecastRun) -> Vec<&'r ForecastRow> {
        let pools = if run.pools.len() > 1 { run.pools.as_slice() } else { &[] };
        pools.iter().chain([&run.total]).collect()
    }
}

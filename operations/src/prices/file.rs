//! What an hour of each instance type costs: a small file that the user writes, or an example, which is marked as such.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use muster_reconciler::manifest::{Lone, Os, Problem, Problems, Text};
use muster_reconciler::market::Market;
use serde::Deserialize;

/// The example, which also documents the format.
pub const EXAMPLE: &str = include_str!("example-prices.yaml");

/// A price file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Prices {
    /// The day on which the prices held, as the file says it: `2026-06-17`.
    pub as_of: String,
    /// The currency, such as `USD`. It is printed, and compared with the currency of other prices.
    pub currency: String,
    /// Prices under Linux, by instance type.
    pub linux: BTreeMap<String, Price>,
    /// Prices under Windows, licence included, by instance type.
    pub windows: BTreeMap<String, Price>,
    /// Where the prices come from, for people. This is not a field of the file.
    #[serde(skip)]
    pub source: String,
    /// Whether this is the built-in example, whose prices nobody pays. This is not a field of the file.
    #[serde(skip)]
    pub example: bool,
}

/// What an hour of an instance type costs. A market that is left out has no price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Price {
    /// The price of an on-demand hour.
    pub on_demand: Option<f64>,
    /// The price of a spot hour. For a simulation, this is the average over the simulated time.
    pub spot: Option<f64>,
}

impl Prices {
    /// The built-in example.
    pub fn example() -> Prices {
        let text = Text { file: "example-prices.yaml".into(), body: EXAMPLE.into() };
        let mut prices = read(&text).unwrap_or_default();
        prices.source = "the built-in EXAMPLE table; pass your own with --prices".into();
        prices.example = true;
        prices
    }

    /// The price of an hour. None: the file has no such price.
    pub fn hour(&self, os: Os, instance_type: &str, market: Market) -> Option<f64> {
        let table = match os {
            Os::Linux => &self.linux,
            Os::Windows => &self.windows,
        };
        let price = table.get(instance_type)?;
        match market {
            Market::Spot => price.spot,
            Market::OnDemand => price.on_demand,
        }
    }
}

/// Reads the price file at `path`.
///
/// # Errors
/// When the file cannot be read, or with every problem in it.
pub fn load(path: &Path) -> anyhow::Result<Prices> {
    let body = std::fs::read_to_string(path).with_context(|| format!("cannot read the prices {}", path.display()))?;
    let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(read(&Text { file, body }).map_err(Problems)?)
}

/// Reads a price file.
///
/// # Errors
/// Every problem in the file, with its line.
pub fn read(text: &Text) -> Result<Prices, Vec<Problem>> {
    let mut lone = Lone::<Prices>::read(text);
    if chrono::NaiveDate::parse_from_str(&lone.value.as_of, "%Y-%m-%d").is_err() {
        lone.refuse("asOf", "required: write the day on which the prices held, such as 2026-06-17");
    }
    if lone.value.currency.is_empty() {
        lone.refuse("currency", "required: write a currency, such as USD");
    }
    if lone.value.linux.is_empty() && lone.value.windows.is_empty() {
        lone.refuse("linux", "there is no price; write some, such as `m7i.large: {onDemand: 0.1, spot: 0.04}`");
    }
    let all = [("linux", lone.value.linux.clone()), ("windows", lone.value.windows.clone())];
    for (os, table) in all {
        for (name, price) in table {
            for (market, value) in [("onDemand", price.on_demand), ("spot", price.spot)] {
                if value.is_some_and(|v| !(0.0..1000.0).contains(&v)) {
                    lone.refuse(&format!("{os}.{name}.{market}"), "no price of an hour; write a number from 0 to 1000");
                }
            }
            if price == Price::default() {
                lone.refuse(&format!("{os}.{name}"), "has no price; write onDemand, spot or both");
            }
        }
    }
    let (mut prices, problems) = lone.finish();
    prices.source.clone_from(&text.file);
    if problems.is_empty() { Ok(prices) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(body: &str) -> Text {
        Text { file: "p.yaml".into(), body: body.into() }
    }

    #[test]
    fn the_example_is_readable_and_says_that_it_is_one() {
        let prices = read(&text(EXAMPLE)).expect("a good file");
        assert_eq!(prices.hour(Os::Linux, "m7i.large", Market::OnDemand), Some(0.1008));
        assert_eq!(prices.hour(Os::Windows, "m7i.large", Market::OnDemand), None);
        let example = Prices::example();
        assert!(example.example && example.source.contains("EXAMPLE") && !example.linux.is_empty());
    }

    #[test]
    fn bad_prices_are_named() {
        let body = "currency: EUR\nlinux:\n  m7i.large: {onDemand: -1}\n  m5.large: {}\n  c5.large: {sopt: 0.1, onDemand: 2}\n";
        let said: Vec<String> = read(&text(body)).expect_err("four problems").iter().map(ToString::to_string).collect();
        let starts = [
            "p.yaml:1: asOf: required",
            "p.yaml:3: linux.m7i.large.onDemand: no price of an hour",
            "p.yaml:4: linux.m5.large: has no price",
            "p.yaml:5: linux.c5.large.sopt: unknown field; did you mean `spot`?",
        ];
        assert_eq!(said.len(), starts.len(), "{said:#?}");
        for (line, start) in said.iter().zip(starts) {
            assert!(line.starts_with(start), "{line} / {start}");
        }
        for empty in ["", "asOf: 2026-01-01\ncurrency: USD\n"] {
            assert!(read(&text(empty)).is_err(), "{empty:?}");
        }
    }
}

//! What the instances cost, by market, and how many of their hours have a price.

use std::collections::BTreeMap;

use muster_operations::prices::Prices;
use muster_reconciler::manifest::Os;
use muster_reconciler::market::Market;
use muster_simulator::tally::Figures;
use serde::Serialize;

use super::rounding::{hours, round};

/// The cost by market, and the share of the hours that it covers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// The cost of each market.
    pub by_market: BTreeMap<&'static str, MarketCost>,
    /// The cost of all hours that have a price.
    pub total: f64,
    /// The share of the billed hours that have a price, 0 to 1. None: nothing was billed.
    pub coverage: Option<f64>,
    /// Billed hours without a price, by OS, type and market, such as `windows m7i.xlarge (spot)`.
    pub unpriced: BTreeMap<String, f64>,
}

/// One market's cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MarketCost {
    /// The billed hours.
    pub hours: f64,
    /// How many of these hours have a price.
    pub priced_hours: f64,
    /// The cost of the hours with a price.
    pub cost: f64,
}

impl Cost {
    /// Adds what EC2 bills for the instances of a pool. Returns the pool's cost. None: hours are billed, and none has a price.
    pub fn add(&mut self, figures: &Figures, os: Os, prices: &Prices) -> Option<f64> {
        let (mut cost, mut priced) = (0.0, figures.billed.is_empty());
        for ((market, instance_type), billed) in &figures.billed {
            let (billed, price) = (hours(*billed), prices.hour(os, instance_type, *market));
            let m = self.by_market.entry(market.as_str()).or_default();
            m.hours += billed;
            match price {
                Some(price) => {
                    m.priced_hours += billed;
                    m.cost += billed * price;
                    self.total += billed * price;
                    cost += billed * price;
                    priced = true;
                }
                None => *self.unpriced.entry(unpriced(os, instance_type, *market)).or_default() += billed,
            }
        }
        priced.then_some(cost)
    }

    /// Computes the coverage, and rounds all numbers.
    pub fn settle(&mut self) {
        let (all, priced) = self.by_market.values().fold((0.0, 0.0), |(a, p), m| (a + m.hours, p + m.priced_hours));
        self.coverage = (all > 0.0).then(|| round(priced / all, 4));
        self.total = round(self.total, 4);
        for m in self.by_market.values_mut() {
            *m = MarketCost { hours: round(m.hours, 3), priced_hours: round(m.priced_hours, 3), cost: round(m.cost, 4) };
        }
        self.unpriced.values_mut().for_each(|h| *h = round(*h, 3));
    }
}

fn unpriced(os: Os, instance_type: &str, market: Market) -> String {
    let windows = if os == Os::Windows { "windows " } else { "" };
    format!("{windows}{instance_type} ({})", market.as_str())
}

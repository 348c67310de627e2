//! What boxes cost, by market, and how much of their hours have a price at all.

use std::collections::BTreeMap;

use muster_operations::prices::Prices;
use muster_reconciler::manifest::Os;
use muster_reconciler::market::Market;
use muster_simulator::tally::Figures;
use serde::Serialize;

use super::rounding::{hours, round};

/// Cost by market, and how much of the hours it covers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// By market.
    pub by_market: BTreeMap<&'static str, MarketCost>,
    /// Of all hours that have a price.
    pub total: f64,
    /// The share of the billed hours that have a price, 0 to 1. None: nothing was billed.
    pub coverage: Option<f64>,
    /// Types without a price: `windows m7i.xlarge (spot)` -> hours.
    pub unpriced: BTreeMap<String, f64>,
}

/// One market's cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MarketCost {
    /// Billed.
    pub hours: f64,
    /// Of these, with a price.
    pub priced_hours: f64,
    /// What they cost.
    pub cost: f64,
}

impl Cost {
    /// Adds what a pool's boxes are billed for.
    pub fn add(&mut self, figures: &Figures, os: Os, prices: &Prices) {
        for ((market, instance_type), billed) in &figures.billed {
            let (billed, price) = (hours(*billed), prices.hour(os, instance_type, *market));
            let m = self.by_market.entry(market.as_str()).or_default();
            m.hours += billed;
            match price {
                Some(price) => {
                    m.priced_hours += billed;
                    m.cost += billed * price;
                    self.total += billed * price;
                }
                None => *self.unpriced.entry(unpriced(os, instance_type, *market)).or_default() += billed,
            }
        }
    }

    /// Works out the coverage, and rounds.
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

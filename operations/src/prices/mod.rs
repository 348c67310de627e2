//! What an hour of each instance type costs. Prices come from up to three sources: the user's own list, AWS, and a list that
//! Terraform wrote. A price that no source has stays unknown; it is never zero.
//!
//! For each type, system and market, the first of these sources that has a price wins:
//!
//! 1. the user's list (`muster run --prices`), because only the user knows the effect of an agreement or a savings plan;
//! 2. AWS's own answer (`muster_cloud::prices`), which is read once a day;
//! 3. the fallback list (`--fallback-prices`), which Terraform writes during an apply.

pub mod file;

use std::collections::{BTreeMap, BTreeSet};

use muster_reconciler::manifest::{Os, Spec};
use muster_reconciler::market::Market;
use serde::{Deserialize, Serialize};

pub use file::Prices;

/// An instance type under an operating system.
pub type MachineKind = (Os, String);

/// The prices of one market, as AWS gave them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MarketPrices {
    /// When the prices were read, in milliseconds since 1970.
    pub at: u64,
    /// The currency, such as `USD`.
    pub currency: String,
    /// The price of an hour of each instance type.
    pub hours: BTreeMap<MachineKind, f64>,
}

/// All prices, and which of them the pools need.
#[derive(Clone, Debug, Default)]
pub struct Book {
    own: Option<Prices>,
    read: BTreeMap<Market, MarketPrices>,
    fallback: Option<Prices>,
    trouble: BTreeMap<String, String>,
    wanted: BTreeSet<(Market, MachineKind)>,
}

/// One price, and where it comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PriceView {
    /// The price of one hour, in the book's currency.
    pub hour: f64,
    /// The source of the price: `AWS`, or the file of the list.
    pub source: String,
    /// The day on which the price held, such as `2026-11-29`.
    pub as_of: String,
}

/// An instance type that the pools use, with its prices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TypeView {
    /// The instance type, such as `m7i.large`.
    pub instance_type: String,
    /// The operating system: `linux` or `windows`.
    pub os: Os,
    /// The on-demand price. None: it is unknown.
    pub on_demand: Option<PriceView>,
    /// The spot price. AWS's is the mean of the pools' zones. None: it is unknown.
    pub spot: Option<PriceView>,
}

/// The whole book, for `muster get prices` and the API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BookView {
    /// The currency, such as `USD`. It is empty if no price is known.
    pub currency: String,
    /// The instance types that the pools use.
    pub types: Vec<TypeView>,
    /// How many prices the pools' types and markets need.
    pub wanted: usize,
    /// How many of these prices are known.
    pub known: usize,
    /// Why prices could not be read, one sentence for each cause.
    pub trouble: Vec<String>,
}

impl From<Prices> for Book {
    fn from(own: Prices) -> Book {
        Book::new(Some(own), None)
    }
}

impl Book {
    /// Makes a book of the lists that do not change. A list without any price counts as no list.
    pub fn new(own: Option<Prices>, fallback: Option<Prices>) -> Book {
        let some = |list: Option<Prices>| list.filter(|list| !(list.linux.is_empty() && list.windows.is_empty()));
        let mut book = Book { own: some(own), fallback: some(fallback), ..Book::default() };
        book.check_currencies();
        book
    }

    /// Takes over the prices that AWS gave for a market.
    pub fn hear(&mut self, market: Market, read: MarketPrices) {
        self.read.insert(market, read);
        self.check_currencies();
    }

    /// Notes why `what` cannot be read. None: `what` was read.
    pub fn note_trouble(&mut self, what: &str, why: Option<String>) {
        match why {
            Some(why) => self.trouble.insert(what.to_owned(), why),
            None => self.trouble.remove(what),
        };
    }

    /// Why `what` cannot be read. None: there is no trouble with `what`.
    pub fn trouble_of(&self, what: &str) -> Option<&str> {
        self.trouble.get(what).map(String::as_str)
    }

    /// Sets which prices matter: those of the pools' types in the markets that the pools buy in.
    pub fn want(&mut self, wanted: BTreeSet<(Market, MachineKind)>) {
        self.wanted = wanted;
    }

    /// The currency of all prices that the book tells: that of the first source that has prices. A source in another currency is
    /// left out.
    pub fn currency(&self) -> &str {
        let own = self.own.iter().map(|list| list.currency.as_str());
        let read = self.read.values().filter(|read| !read.hours.is_empty()).map(|read| read.currency.as_str());
        let fallback = self.fallback.iter().map(|list| list.currency.as_str());
        own.chain(read).chain(fallback).next().unwrap_or_default()
    }

    /// The price of an hour. None: no source has it.
    pub fn hour(&self, os: Os, instance_type: &str, market: Market) -> Option<f64> {
        self.find(os, instance_type, market).map(|(hour, _)| hour)
    }

    /// How many prices of a market are needed and not known.
    pub fn unknown(&self, market: Market) -> usize {
        let lacks = |(of, (os, name)): &&(Market, MachineKind)| *of == market && self.hour(*os, name, market).is_none();
        self.wanted.iter().filter(lacks).count()
    }

    /// When AWS's prices of a market were last read, in milliseconds since 1970. None: never.
    pub fn read_at(&self, market: Market) -> Option<u64> {
        self.read.get(&market).map(|read| read.at)
    }

    /// Where the prices come from, and of which day they are, in one line. The line is empty if there are no prices.
    pub fn source(&self) -> String {
        let list = |list: &Prices| match (list.source.as_str(), list.as_of.as_str()) {
            (source, _) if list.example => source.to_owned(),
            (source, as_of) => format!("{source} of {as_of}"),
        };
        let read: Vec<String> = self
            .read
            .iter()
            .filter(|(_, read)| !read.hours.is_empty() && read.currency == self.currency())
            .map(|(market, read)| format!("AWS's {} prices of {}", market.as_str(), day(read.at)))
            .collect();
        let own = self.own.iter().map(list);
        let fallback = self.fallback.iter().filter(|list| list.currency == self.currency()).map(list);
        own.chain(read).chain(fallback).collect::<Vec<_>>().join(", then ")
    }

    /// Why prices could not be read, one sentence for each cause.
    pub fn trouble(&self) -> Vec<String> {
        self.trouble.values().cloned().collect()
    }

    /// Every instance type that the pools use, with the prices that are known.
    pub fn view(&self) -> BookView {
        let kinds: BTreeSet<&MachineKind> = self.wanted.iter().map(|(_, kind)| kind).collect();
        let of = |(os, name): &MachineKind, market| self.find(*os, name, market).map(|(_, price)| price);
        let one = |kind: &&MachineKind| TypeView {
            instance_type: kind.1.clone(),
            os: kind.0,
            on_demand: of(kind, Market::OnDemand),
            spot: of(kind, Market::Spot),
        };
        let unknown = self.unknown(Market::Spot) + self.unknown(Market::OnDemand);
        BookView {
            currency: self.currency().to_owned(),
            types: kinds.iter().map(one).collect(),
            wanted: self.wanted.len(),
            known: self.wanted.len() - unknown,
            trouble: self.trouble(),
        }
    }

    fn find(&self, os: Os, instance_type: &str, market: Market) -> Option<(f64, PriceView)> {
        let list = |list: &Prices| {
            let hour = list.hour(os, instance_type, market).filter(|_| list.currency == self.currency())?;
            Some((hour, PriceView { hour, source: list.source.clone(), as_of: list.as_of.clone() }))
        };
        let read = || {
            let read = self.read.get(&market).filter(|read| read.currency == self.currency())?;
            let hour = *read.hours.get(&(os, instance_type.to_owned()))?;
            Some((hour, PriceView { hour, source: "AWS".into(), as_of: day(read.at) }))
        };
        self.own.as_ref().and_then(list).or_else(read).or_else(|| self.fallback.as_ref().and_then(list))
    }

    /// Prices of two currencies cannot be added. Notes which source is left out because its currency is another one.
    fn check_currencies(&mut self) {
        let currency = self.currency().to_owned();
        let lists = self.read.values().map(|read| ("AWS's prices".to_owned(), read.currency.clone()));
        let lists = lists.chain(self.fallback.iter().map(|list| (list.source.clone(), list.currency.clone())));
        let odd = lists.filter(|(_, other)| *other != currency);
        let said =
            odd.map(|(source, other)| format!("{source} are in {other}, the other prices in {currency}: they are left out"));
        let said: BTreeSet<String> = said.collect();
        self.note_trouble("currency", (!said.is_empty()).then(|| said.into_iter().collect::<Vec<_>>().join("; ")));
    }
}

/// The prices that a set of pools needs.
pub fn wanted(spec: &Spec) -> BTreeSet<(Market, MachineKind)> {
    let mut wanted = BTreeSet::new();
    for pool in spec.pools.values() {
        let instance = &pool.spec.instance;
        for market in pool.markets() {
            wanted.extend(instance.types.iter().map(|name| (*market, (instance.os, name.clone()))));
        }
    }
    wanted
}

/// The day of a time, in UTC, such as `2026-11-29`.
fn day(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(chrono::DateTime::from_timestamp_millis);
    at.map(|at| at.format("%Y-%m-%d").to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests;

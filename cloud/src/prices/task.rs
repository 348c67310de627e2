//! The controller's daily read of AWS's prices. Whatever goes wrong here costs prices and nothing else: the task cannot reach the
//! core, every call has a time limit, and the end of this task does not end the process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use muster_operations::prices::{Book, MachineKind, MarketPrices, wanted};
use muster_operations::watch::Watch;
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::manifest::{Os, Spec};
use muster_reconciler::market::Market;
use muster_reconciler::reason::count;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::aws::prices::{PriceApi, Spot, answer};
use crate::retry::Delay;

/// The time between two reads.
const EVERY: Duration = Duration::from_secs(24 * 3600);
/// The first and the longest delay after a read that failed. A read that IAM refuses is repeated only after [`EVERY`], like a
/// read that succeeded.
const RETRY: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(4 * 3600));
/// The wait after a change of the pools' types, because manifests are often changed several times in a row.
const SETTLE: Duration = Duration::from_secs(5);
/// The most types whose on-demand price is asked for in one read; each takes at least one call. The prices of further types stay
/// unknown, and the trouble says so.
const TYPES: usize = 200;

/// Reads AWS's prices; see the module's documentation.
#[derive(Debug)]
pub struct PriceTask {
    /// The adapter that asks AWS for prices.
    pub api: PriceApi,
    /// The manifests that are in force.
    pub spec: watch::Receiver<Arc<Spec>>,
    /// The book with the user's lists, which AWS's prices are added to.
    pub book: Book,
    /// Shows the prices, and computes costs with them.
    pub watch: Arc<Watch>,
}

/// What the manifests say that matters for prices.
#[derive(Clone, Debug, Default, PartialEq)]
struct PriceSettings {
    wanted: BTreeSet<(Market, MachineKind)>,
    subnets: BTreeSet<String>,
}

impl PriceSettings {
    fn of(spec: &Spec) -> PriceSettings {
        let subnets = spec.pools.values().flat_map(|pool| pool.spec.instance.subnets.iter().cloned()).collect();
        PriceSettings { wanted: wanted(spec), subnets }
    }

    fn kinds(&self, market: Market) -> BTreeSet<&MachineKind> {
        self.wanted.iter().filter(|(of, _)| *of == market).map(|(_, kind)| kind).collect()
    }
}

/// Why the prices of a market were not read.
#[derive(Debug)]
struct PriceUnread {
    /// The cause, in one sentence.
    why: String,
    /// Whether another try may soon succeed.
    passes: bool,
}

impl PriceUnread {
    fn of(failure: &Failure, action: &str) -> PriceUnread {
        let refused = failure.kind == FailureKind::Refused;
        let way = if refused {
            format!("; allow {action} to the controller's role, or give a list with --prices")
        } else {
            String::new()
        };
        PriceUnread { why: format!("{}{way}", failure.message), passes: !refused }
    }
}

impl PriceTask {
    /// Reads prices until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut delay = Delay::new(RETRY.0, RETRY.1);
        let mut order = PriceSettings::of(&self.spec.borrow_and_update());
        loop {
            let again = tokio::select! {
                () = stop.cancelled() => return,
                again = self.read(&order) => again,
            };
            let wait = if again {
                delay.next_delay()
            } else {
                delay.reset();
                EVERY
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                changed = changed(&mut self.spec, &order) => order = changed,
            }
        }
    }

    /// Reads the prices of both markets once. True: a part of them should be tried again soon.
    async fn read(&mut self, order: &PriceSettings) -> bool {
        self.book.want(order.wanted.clone());
        self.watch.set_prices(self.book.clone());
        let mut again = false;
        for market in [Market::Spot, Market::OnDemand] {
            let kinds = order.kinds(market);
            if kinds.is_empty() {
                self.told(market.as_str(), None);
                continue;
            }
            let read = match market {
                Market::Spot => self.spot(&kinds, &order.subnets).await,
                Market::OnDemand => self.on_demand(&kinds).await,
            };
            match read {
                Ok(hours) => {
                    let (known, asked) = (hours.len(), kinds.len());
                    tracing::info!(market = market.as_str(), known, asked, "read AWS's prices");
                    let region = self.api.region().unwrap_or_default();
                    self.book.hear(market, MarketPrices { at: now_ms(), currency: answer::currency(region).into(), hours });
                    self.told(market.as_str(), None);
                }
                Err(unread) => {
                    again |= unread.passes;
                    self.told(market.as_str(), Some(unread.why));
                }
            }
            self.watch.set_prices(self.book.clone());
        }
        again
    }

    /// The mean of the zones that the pools have subnets in, or of all zones if the pools' zones cannot be looked up.
    async fn spot(
        &mut self,
        kinds: &BTreeSet<&MachineKind>,
        subnets: &BTreeSet<String>,
    ) -> Result<BTreeMap<MachineKind, f64>, PriceUnread> {
        let subnets: Vec<String> = subnets.iter().cloned().collect();
        let zones = match self.api.zones(&subnets).await {
            Ok(zones) => {
                self.told("zones", None);
                zones.into_iter().collect()
            }
            Err(error) => {
                let why = PriceUnread::of(&error, "ec2:DescribeSubnets").why;
                self.told("zones", Some(format!("{why}; until then a spot price is the mean of all zones")));
                BTreeSet::new()
            }
        };
        let types: BTreeSet<String> = kinds.iter().map(|(_, name)| name.clone()).collect();
        let systems: BTreeSet<Os> = kinds.iter().map(|(os, _)| *os).collect();
        let (types, systems): (Vec<_>, Vec<_>) = (types.into_iter().collect(), systems.into_iter().collect());
        let prices = self.api.spot(&types, &systems).await;
        Ok(mean(&prices.map_err(|error| PriceUnread::of(&error, "ec2:DescribeSpotPriceHistory"))?, &zones))
    }

    /// Asks for one type after the other, so that a price list with a rate limit is not overrun.
    async fn on_demand(&mut self, kinds: &BTreeSet<&MachineKind>) -> Result<BTreeMap<MachineKind, f64>, PriceUnread> {
        let region = self.api.region().unwrap_or_default().to_owned();
        if !self.api.has_list() {
            let why = format!("AWS has no Price List API in the partition of {region}; give on-demand prices with --prices");
            return Err(PriceUnread { why, passes: false });
        }
        let mut hours = BTreeMap::new();
        for (os, name) in kinds.iter().take(TYPES) {
            let products = self.api.products(name, *os).await.map_err(|error| PriceUnread::of(&error, "pricing:GetProducts"))?;
            for text in &products {
                match answer::on_demand(text, &region, answer::currency(&region)) {
                    Ok(Some(found)) if found.os == *os && found.instance_type == *name => {
                        hours.entry((*os, name.clone())).or_insert(found.hour);
                    }
                    Ok(_) => {}
                    Err(error) => tracing::debug!(instance_type = name, "cannot read a product of the price list: {error}"),
                }
            }
        }
        let left = kinds.len().saturating_sub(TYPES);
        let more = count(left, "more instance type");
        let why = format!("muster asks about {TYPES} instance types at most: the on-demand price of {more} stays unknown");
        self.told("types", (left > 0).then_some(why));
        Ok(hours)
    }

    /// Notes the trouble with `what`, and logs it if it is new.
    fn told(&mut self, what: &str, why: Option<String>) {
        let known = self.book.trouble_of(what).map(gist);
        if let Some(why) = why.as_deref().filter(|why| known != Some(gist(why))) {
            tracing::warn!(what, "prices cannot be read: {why}");
        }
        self.book.note_trouble(what, why);
    }
}

/// The message without the request's id, which differs each time.
fn gist(why: &str) -> &str {
    why.split(" (request id").next().unwrap_or(why)
}

/// Waits until the manifests want something else than `order`, and returns what they want then.
async fn changed(spec: &mut watch::Receiver<Arc<Spec>>, order: &PriceSettings) -> PriceSettings {
    loop {
        if spec.changed().await.is_err() {
            // The sender ends only with the process.
            return std::future::pending().await;
        }
        if PriceSettings::of(&spec.borrow()) != *order {
            tokio::time::sleep(SETTLE).await;
            let now = PriceSettings::of(&spec.borrow_and_update());
            if now != *order {
                return now;
            }
        }
    }
}

/// The mean of each type's prices over `zones`, or over all zones if `zones` is empty.
fn mean(prices: &[Spot], zones: &BTreeSet<String>) -> BTreeMap<MachineKind, f64> {
    // EC2 may give two prices for one zone. The later one holds.
    let mut latest: BTreeMap<(MachineKind, &str), (i64, f64)> = BTreeMap::new();
    for price in prices.iter().filter(|price| zones.is_empty() || zones.contains(&price.zone)) {
        let held = latest.entry(((price.os, price.instance_type.clone()), &price.zone)).or_insert((price.since_s, price.hour));
        if price.since_s > held.0 {
            *held = (price.since_s, price.hour);
        }
    }
    let mut by_kind: BTreeMap<MachineKind, Vec<f64>> = BTreeMap::new();
    for ((kind, _), (_, hour)) in latest {
        by_kind.entry(kind).or_default().push(hour);
    }
    by_kind.into_iter().map(|(kind, hours)| (kind, hours.iter().sum::<f64>() / hours.len() as f64)).collect()
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spot_price_is_the_mean_of_the_pools_zones_latest_prices() {
        let price = |zone: &str, hour, since_s| Spot {
            instance_type: "m7i.large".into(),
            os: Os::Linux,
            zone: zone.into(),
            hour,
            since_s,
        };
        let prices = [price("a", 0.02, 5), price("a", 0.04, 9), price("b", 0.06, 1), price("c", 0.50, 1)];
        let of = |zones: &[&str]| {
            let zones = zones.iter().map(|&zone| zone.to_owned()).collect();
            mean(&prices, &zones).get(&(Os::Linux, "m7i.large".to_owned())).map(|hour| (hour * 1e6).round() / 1e6)
        };
        assert_eq!(of(&["a", "b"]), Some(0.05));
        assert_eq!(of(&[]), Some(0.2));
        assert_eq!(of(&["d"]), None, "no price in the pools' zones: unknown");
    }

    #[test]
    fn the_same_refusal_of_another_request_is_no_news() {
        let refused = |id: &str| format!("read spot prices: UnauthorizedOperation: no (request id {id}); allow it");
        assert_eq!(gist(&refused("a-1")), gist(&refused("b-2")));
        assert_ne!(gist(&refused("a-1")), gist("read spot prices: timeout"));
    }
}

//! Which offerings to ask EC2 for: the pool's types x subnets, without those that EC2 lately refused.
//!
//! All pools share one memory, because an offering that EC2 refuses to one pool is refused to others, too. If EC2 does not say
//! which offering it means, only the pool that asked leaves alone what it asked for. [`crate::refusal`] says what each error code
//! is about; see docs/decisions/0008.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::effect::{Launch, Launched};
use crate::failure::OfferingError;
use crate::ids::PoolName;
use crate::manifest::InstanceSettings;
use crate::market::{Market, Offering};
use crate::quota::QuotaClass;
use crate::reason::{RefusedOffering, Shortage};
use crate::refusal::{CodeScope, INTERRUPTED, Refusal, SHORT};
use crate::time::Time;

/// A pool that has nothing else to ask for asks for a closed offering again this long after the refusal, even if the offering is
/// closed for longer. Somebody may have mended the cause.
pub const ASK_AGAIN: Duration = Duration::from_secs(600);

/// The offerings that EC2 lately refused.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unavailable {
    closed: BTreeMap<ClosedFor, Closed>,
}

/// A closed set of offerings: muster leaves them alone for a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ClosedFor {
    /// One type, in one subnet or (None) in all.
    Offering(Market, Arc<str>, Option<Arc<str>>),
    /// All types in one subnet, on both markets.
    Subnet(Arc<str>),
    /// All types of a quota, on one market.
    Quota(Market, QuotaClass),
    /// One type in one subnet, for one pool. EC2 refused the pool's request and did not say which of its offerings it meant.
    Own(PoolName, Market, Offering),
}

/// Since when a set is closed, until when, and by which code.
#[derive(Clone, Debug, PartialEq)]
struct Closed {
    since: Time,
    until: Time,
    code: Arc<str>,
    /// EC2's message.
    message: Arc<str>,
}

impl Closed {
    /// The time from which a pool that has nothing else to ask for asks for this again.
    fn asked_again(&self) -> Time {
        self.until.min(self.since + ASK_AGAIN)
    }
}

/// What a pool may ask EC2 for now.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// The pool may ask for these offerings on this market.
    Ask(Market, Vec<Offering>),
    /// The pool may ask for nothing before this time, for this reason.
    Wait(Time, Shortage),
}

/// Errors in an answer that are not about offerings. At each kind, the first error is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Beside<'a> {
    /// The request itself or its token is wrong.
    pub wrong: Option<&'a OfferingError>,
    /// There were too many calls.
    pub throttled: Option<&'a OfferingError>,
    /// EC2 failed, and the same request may work in a moment.
    pub again: Option<&'a OfferingError>,
}

impl Unavailable {
    /// Notes what EC2 refused to a launch that fell short. Of the launch's offerings, those that EC2 refused are closed. The
    /// quota or the subnet of a refused offering may be closed with it.
    ///
    /// If the answer has an error, then some offering of the launch is closed, or the result says why none is. Otherwise the pool
    /// would repeat the same launch at once, and hear the same.
    pub fn note<'a>(&mut self, launch: &Launch, answer: &'a Launched, now: Time) -> Beside<'a> {
        for i in &answer.instances {
            let key = ClosedFor::Offering(i.market, i.instance_type.clone(), i.subnet.clone());
            self.closed.remove(&key);
            if let Some(subnet) = i.subnet.clone() {
                let own = Offering { instance_type: i.instance_type.clone(), subnet };
                self.closed.remove(&ClosedFor::Own(launch.pool.clone(), i.market, own));
            }
        }
        let untried = |e: &&OfferingError| Refusal::of(&e.code).scope == CodeScope::Untried;
        let nothing_else = answer.errors.iter().all(|e| untried(&e));
        let tried: Vec<&OfferingError> = answer.errors.iter().filter(|e| nothing_else || !untried(e)).collect();
        // If EC2 says this of all offerings that it tried, the request is wrong. If of some only, these offerings are.
        let whole = answer.instances.is_empty()
            && tried.iter().all(|e| matches!(Refusal::of(&e.code).scope, CodeScope::Request | CodeScope::Token));
        let mut beside = Beside::default();
        for e in tried {
            let refusal = Refusal::of(&e.code);
            let named = e.instance_type.is_some() || e.subnet.is_some();
            match refusal.scope {
                CodeScope::Throttled => drop(beside.throttled.get_or_insert(e)),
                CodeScope::Again => drop(beside.again.get_or_insert(e)),
                CodeScope::Token => drop(beside.wrong.get_or_insert(e)),
                CodeScope::Request if whole || !named => drop(beside.wrong.get_or_insert(e)),
                CodeScope::Request => self.close(keys(launch, e, refusal), e, ASK_AGAIN, now),
                CodeScope::Offering | CodeScope::Subnet | CodeScope::Quota | CodeScope::Asked | CodeScope::Untried => {
                    self.close(keys(launch, e, refusal), e, refusal.holds, now);
                }
            }
        }
        if let (true, Some(e)) = (beside == Beside::default() && !self.closes_some(launch, now), answer.errors.first()) {
            let own = |o: &Offering| ClosedFor::Own(launch.pool.clone(), launch.market, o.clone());
            let holds = Refusal::of(&e.code).holds.max(SHORT);
            self.close(launch.offerings.iter().map(own).collect(), e, holds, now);
        }
        beside
    }

    /// Whether the pool would leave out some of the launch's offerings if it asked again now.
    fn closes_some(&self, launch: &Launch, now: Time) -> bool {
        let closed = |o: &Offering| self.blocked(&launch.pool, launch.market, o, now);
        launch.offerings.iter().any(|o| closed(o).is_some_and(|c| c.asked_again() > now))
    }

    fn close(&mut self, keys: BTreeSet<ClosedFor>, e: &OfferingError, holds: Duration, now: Time) {
        let closed = Closed { since: now, until: now + holds, code: e.code.as_str().into(), message: e.message.as_str().into() };
        self.closed.extend(keys.into_iter().map(|key| (key, closed.clone())));
    }

    /// EC2 took a spot instance of this kind back, so the offering is short of capacity. Closes the offering.
    pub fn interrupted(&mut self, instance_type: &Arc<str>, subnet: Option<&Arc<str>>, now: Time) {
        let key = ClosedFor::Offering(Market::Spot, instance_type.clone(), subnet.cloned());
        let (until, code) = (now + INTERRUPTED.holds, INTERRUPTED.code.into());
        self.closed.insert(key, Closed { since: now, until, code, message: Arc::default() });
    }

    /// How many closed sets there are on a market now: offerings, subnets and quotas. A subnet counts on both markets.
    pub fn count(&self, market: Market, now: Time) -> usize {
        let of = |key: &ClosedFor| match key {
            ClosedFor::Offering(m, ..) | ClosedFor::Quota(m, _) | ClosedFor::Own(_, m, _) => *m == market,
            ClosedFor::Subnet(_) => true,
        };
        self.closed.iter().filter(|(key, closed)| of(key) && closed.until > now).count()
    }

    /// Forgets the sets that are closed no longer.
    pub fn expire(&mut self, now: Time) {
        self.closed.retain(|_, closed| closed.until > now);
    }

    /// Somebody changed the manifests. Opens all sets whose refusal does not pass by itself.
    pub fn reconsider(&mut self) {
        self.closed.retain(|_, closed| closed.until.since(closed.since) <= SHORT);
    }

    /// What closes an offering to a pool now. If there are several causes, the one that lasts longest. None: the offering is
    /// open.
    fn blocked(&self, pool: &PoolName, market: Market, o: &Offering, now: Time) -> Option<&Closed> {
        let kind = || o.instance_type.clone();
        let mut keys = vec![
            ClosedFor::Offering(market, kind(), Some(o.subnet.clone())),
            ClosedFor::Offering(market, kind(), None),
            ClosedFor::Subnet(o.subnet.clone()),
            ClosedFor::Own(pool.clone(), market, o.clone()),
        ];
        keys.extend(QuotaClass::of(&o.instance_type).map(|class| ClosedFor::Quota(market, class)));
        let closed = keys.iter().filter_map(|key| self.closed.get(key)).filter(|closed| closed.until > now);
        closed.max_by_key(|closed| closed.asked_again())
    }

    /// What the pool may ask for now on its own markets.
    pub fn choose(&self, name: &PoolName, pool: &InstanceSettings, now: Time) -> Choice {
        self.choose_on(name, pool, pool.market.markets(), now)
    }

    /// What the pool may ask for now on one of these markets. The second market is asked only while every offering of the first one
    /// is closed.
    pub fn choose_on(&self, name: &PoolName, pool: &InstanceSettings, markets: &[Market], now: Time) -> Choice {
        let all = offerings(pool);
        let that = |market: Market, open: &dyn Fn(Option<&Closed>) -> bool| {
            let some: Vec<Offering> = all.iter().filter(|o| open(self.blocked(name, market, o, now))).cloned().collect();
            (!some.is_empty()).then_some(Choice::Ask(market, some))
        };
        let open = markets.iter().find_map(|market| that(*market, &|closed| closed.is_none()));
        let again = || markets.iter().find_map(|market| that(*market, &|closed| closed.is_some_and(|c| c.asked_again() <= now)));
        open.or_else(again).unwrap_or_else(|| {
            let pairs = markets.iter().flat_map(|market| all.iter().map(move |o| (market, o)));
            let closed: Vec<&Closed> = pairs.filter_map(|(market, o)| self.blocked(name, *market, o, now)).collect();
            let until = closed.iter().map(|c| c.asked_again()).min().unwrap_or(now + SHORT);
            Choice::Wait(until, shortage(markets, all.len(), &closed))
        })
    }
}

fn offerings(pool: &InstanceSettings) -> Vec<Offering> {
    let of = |t: &String| {
        let offering = |s: &String| Offering { instance_type: t.as_str().into(), subnet: s.as_str().into() };
        pool.subnets.iter().map(offering).collect::<Vec<_>>()
    };
    pool.types.iter().flat_map(of).collect()
}

/// What an error closes for all pools. Empty: the error does not say which offering or subnet it means.
fn keys(launch: &Launch, e: &OfferingError, refusal: Refusal) -> BTreeSet<ClosedFor> {
    let market = launch.market;
    let exact = |o: &Offering| ClosedFor::Offering(market, o.instance_type.clone(), Some(o.subnet.clone()));
    let fits = |o: &&Offering| {
        e.instance_type.as_ref().is_none_or(|t| *t == o.instance_type) && e.subnet.as_ref().is_none_or(|s| *s == o.subnet)
    };
    let asked: Vec<&Offering> = launch.offerings.iter().filter(fits).collect();
    let mut keys: BTreeSet<ClosedFor> = match (refusal.scope, &e.instance_type, &e.subnet) {
        (CodeScope::Subnet, _, Some(subnet)) => [ClosedFor::Subnet(subnet.clone())].into(),
        (CodeScope::Quota, ..) => {
            let classes: BTreeSet<Option<QuotaClass>> = asked.iter().map(|o| QuotaClass::of(&o.instance_type)).collect();
            match (classes.len(), classes.first()) {
                (1, Some(Some(class))) => [ClosedFor::Quota(market, *class)].into(),
                // EC2 did not say which of several quotas is used up.
                _ => asked.iter().map(|o| exact(o)).collect(),
            }
        }
        // EC2 may refuse a whole request for one of its subnets or types. Then only EC2's message names the culprit.
        (CodeScope::Subnet, _, None) => {
            let named = asked.iter().filter(|o| names(&e.message, &o.subnet));
            named.map(|o| ClosedFor::Subnet(o.subnet.clone())).collect()
        }
        (CodeScope::Offering, None, None) => {
            let said = |o: &Offering| (names(&e.message, &o.instance_type), names(&e.message, &o.subnet));
            let (types, subnets) = (asked.iter().any(|o| said(o).0), asked.iter().any(|o| said(o).1));
            let named = |o: &&&Offering| (!types || said(o).0) && (!subnets || said(o).1);
            let known = types || subnets || refusal.holds <= SHORT;
            asked.iter().filter(|o| known && named(o)).map(|o| exact(o)).collect()
        }
        _ => asked.iter().map(|o| exact(o)).collect(),
    };
    if let (true, Some(t)) = (keys.is_empty(), &e.instance_type) {
        // EC2 names an offering that the launch did not ask for. EC2 is believed, and this offering is closed.
        keys.insert(ClosedFor::Offering(market, t.clone(), e.subnet.clone()));
    }
    keys
}

/// Whether a message has the name as a word of its own.
fn names(message: &str, name: &str) -> bool {
    message.split(|c: char| !c.is_ascii_alphanumeric() && !".-".contains(c)).any(|word| word.trim_end_matches('.') == name)
}

/// Why nothing can be asked for: the error codes, the most frequent first.
fn shortage(markets: &[Market], offerings: usize, closed: &[&Closed]) -> Shortage {
    let mut by_code: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for c in closed {
        by_code.entry(&c.code).or_insert((0, &c.message)).0 += 1;
    }
    let mut refused: Vec<RefusedOffering> = by_code
        .into_iter()
        .map(|(code, (offerings, said))| RefusedOffering { code: code.into(), offerings, message: said.into() })
        .collect();
    refused.sort_by_key(|r| std::cmp::Reverse(r.offerings));
    Shortage { markets: markets.to_vec(), offerings, refused }
}

#[cfg(test)]
mod tests;

//! Which offerings to ask EC2 for: the pool's types x subnets, less those that lately had no capacity.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::effect::{Market, Offering, OfferingError};
use crate::manifest::{InstanceSettings, MarketPolicy};
use crate::time::Time;

/// How long an offering without capacity is left alone. Karpenter's figure.
pub const MEMORY: Duration = Duration::from_secs(180);

/// EC2's error codes that speak of one offering's capacity.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>
const OFFERING_CODES: [&str; 7] = [
    "InsufficientInstanceCapacity",
    "InsufficientCapacity",
    "UnfulfillableCapacity",
    "Unsupported",
    "InsufficientFreeAddressesInSubnet",
    "SpotMaxPriceTooLow",
    "ReservationCapacityExceeded",
];

/// Codes that speak of a whole market: an account's limit, or a missing spot role.
const MARKET_CODES: [&str; 4] = [
    "MaxSpotInstanceCountExceeded",
    "VcpuLimitExceeded",
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
    "MaxFleetCountExceeded",
];

/// Offerings that lately had no capacity.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unavailable {
    until: BTreeMap<Key, (Time, String)>,
}

/// Market, type and subnet; None stands for all of them.
type Key = (Market, Option<Arc<str>>, Option<Arc<str>>);

/// What may be asked for now.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// These, bought so.
    Ask(Market, Vec<Offering>),
    /// Nothing before then; why.
    Wait(Time, String),
}

impl Unavailable {
    /// Notes what EC2 could not give. Returns false when the error is of another kind: the request itself is wrong.
    pub fn note(&mut self, market: Market, error: &OfferingError, now: Time) -> bool {
        let whole = MARKET_CODES.contains(&error.code.as_str());
        if !whole && !OFFERING_CODES.contains(&error.code.as_str()) {
            return false;
        }
        let (kind, subnet) = if whole { (None, None) } else { (error.instance_type.clone(), error.subnet.clone()) };
        self.until.insert((market, kind, subnet), (now + MEMORY, error.code.clone()));
        true
    }

    /// Spot took back a box of this kind: its offering is short of capacity.
    pub fn interrupted(&mut self, instance_type: &Arc<str>, subnet: Option<&Arc<str>>, now: Time) {
        let key = (Market::Spot, Some(instance_type.clone()), subnet.cloned());
        self.until.insert(key, (now + MEMORY, "interrupted".into()));
    }

    /// Offerings (type and subnet, or whole markets) that are left alone now, by market.
    pub fn count(&self, market: Market, now: Time) -> usize {
        self.until.iter().filter(|((of, _, _), (until, _))| *of == market && *until > now).count()
    }

    /// Forgets what is past.
    pub fn expire(&mut self, now: Time) {
        self.until.retain(|_, (until, _)| *until > now);
    }

    fn blocked(&self, market: Market, o: &Offering, now: Time) -> Option<&(Time, String)> {
        let (kind, subnet) = (Some(o.instance_type.clone()), Some(o.subnet.clone()));
        [(market, kind.clone(), subnet), (market, kind, None), (market, None, Some(o.subnet.clone())), (market, None, None)]
            .iter()
            .filter_map(|key| self.until.get(key).filter(|(until, _)| *until > now))
            .max_by_key(|(until, _)| *until)
    }

    /// What the pool may ask for now: spot first where the pool says so, on-demand once every spot offering is exhausted.
    pub fn choose(&self, pool: &InstanceSettings, now: Time) -> Choice {
        let markets: &[Market] = match pool.market {
            MarketPolicy::Spot => &[Market::Spot],
            MarketPolicy::OnDemand => &[Market::OnDemand],
            MarketPolicy::SpotThenOnDemand => &[Market::Spot, Market::OnDemand],
        };
        let all: Vec<Offering> = pool
            .types
            .iter()
            .flat_map(|t| {
                pool.subnets.iter().map(move |s| Offering { instance_type: t.as_str().into(), subnet: s.as_str().into() })
            })
            .collect();
        let mut first_free: Option<(Time, &str)> = None;
        for market in markets {
            let open: Vec<Offering> = all.iter().filter(|o| self.blocked(*market, o, now).is_none()).cloned().collect();
            if !open.is_empty() {
                return Choice::Ask(*market, open);
            }
            for (until, code) in all.iter().filter_map(|o| self.blocked(*market, o, now)) {
                if first_free.is_none_or(|(t, _)| *until < t) {
                    first_free = Some((*until, code));
                }
            }
        }
        let (until, code) = first_free.unwrap_or((now + MEMORY, "no offerings"));
        let bought = markets.iter().map(|m| m.as_str()).collect::<Vec<_>>().join(" and ");
        Choice::Wait(until, format!("EC2 has no {bought} capacity in any of {} offerings ({code})", all.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> InstanceSettings {
        InstanceSettings { types: vec!["a".into(), "b".into()], subnets: vec!["x".into(), "y".into()], ..Default::default() }
    }

    fn error(code: &str, kind: Option<&str>, subnet: Option<&str>) -> OfferingError {
        OfferingError {
            instance_type: kind.map(Into::into),
            subnet: subnet.map(Into::into),
            code: code.into(),
            message: String::new(),
        }
    }

    fn asked(u: &Unavailable, now: Time) -> String {
        match u.choose(&pool(), now) {
            Choice::Ask(m, os) => {
                format!(
                    "{} {}",
                    m.as_str(),
                    os.iter().map(|o| format!("{}{}", o.instance_type, o.subnet)).collect::<Vec<_>>().join(",")
                )
            }
            Choice::Wait(_, why) => why,
        }
    }

    #[test]
    fn an_offering_without_capacity_is_left_alone_for_three_minutes() {
        let (mut u, now) = (Unavailable::default(), Time::from_millis(5));
        assert!(u.note(Market::Spot, &error("InsufficientInstanceCapacity", Some("a"), Some("x")), now));
        assert_eq!(asked(&u, now), "spot ay,bx,by");
        assert_eq!(asked(&u, now + MEMORY), "spot ax,ay,bx,by");
        assert_eq!((u.count(Market::Spot, now), u.count(Market::OnDemand, now), u.count(Market::Spot, now + MEMORY)), (1, 0, 0));
    }

    #[test]
    fn when_spot_is_exhausted_on_demand_takes_over_and_then_nothing_does() {
        let (mut u, now) = (Unavailable::default(), Time::from_millis(5));
        assert!(u.note(Market::Spot, &error("MaxSpotInstanceCountExceeded", Some("a"), Some("x")), now));
        assert_eq!(asked(&u, now), "on-demand ax,ay,bx,by");
        u.note(Market::OnDemand, &error("InsufficientFreeAddressesInSubnet", None, Some("x")), now);
        assert_eq!(asked(&u, now), "on-demand ay,by");
        u.note(Market::OnDemand, &error("VcpuLimitExceeded", None, None), now);
        assert!(asked(&u, now).contains("no spot and on-demand capacity in any of 4 offerings (MaxSpotInstanceCountExceeded)"));
    }

    #[test]
    fn a_wrong_request_is_not_a_lack_of_capacity() {
        assert!(!Unavailable::default().note(Market::Spot, &error("InvalidParameterValue", None, None), Time::ZERO));
    }

    #[test]
    fn spot_that_took_a_box_back_has_none_of_its_kind_for_three_minutes() {
        let (mut u, now) = (Unavailable::default(), Time::from_millis(5));
        u.interrupted(&"a".into(), Some(&"y".into()), now);
        assert_eq!(asked(&u, now), "spot ax,bx,by");
        u.interrupted(&"b".into(), None, now);
        let last = now + MEMORY - Duration::from_millis(1);
        assert_eq!(asked(&u, last), "spot ax");
        assert_eq!(asked(&u, now + MEMORY), "spot ax,ay,bx,by");
    }

    #[test]
    fn what_is_past_is_forgotten_and_nothing_else() {
        let (mut u, now) = (Unavailable::default(), Time::from_millis(5));
        u.interrupted(&"a".into(), None, now);
        u.expire(now + MEMORY - Duration::from_millis(1));
        assert_ne!(u, Unavailable::default());
        u.expire(now + MEMORY);
        assert_eq!(u, Unavailable::default());
    }

    #[test]
    fn a_pool_waits_until_the_first_offering_of_any_market_is_free_again() {
        let (mut u, now, later) = (Unavailable::default(), Time::from_millis(5), Time::from_millis(9_005));
        u.note(Market::Spot, &error("VcpuLimitExceeded", None, None), later);
        u.note(Market::OnDemand, &error("VcpuLimitExceeded", None, None), now);
        assert!(matches!(u.choose(&pool(), later), Choice::Wait(until, _) if until == now + MEMORY));
        // Of two words on one offering the longer holds.
        let mut u = Unavailable::default();
        u.note(Market::Spot, &error("UnfulfillableCapacity", Some("a"), Some("x")), now);
        u.note(Market::Spot, &error("UnfulfillableCapacity", Some("a"), None), later);
        let narrow = InstanceSettings {
            types: vec!["a".into()],
            subnets: vec!["x".into()],
            market: MarketPolicy::Spot,
            ..InstanceSettings::default()
        };
        assert!(matches!(u.choose(&narrow, later), Choice::Wait(until, _) if until == later + MEMORY));
        let on_demand = InstanceSettings { market: MarketPolicy::OnDemand, ..narrow.clone() };
        assert!(matches!(u.choose(&on_demand, later), Choice::Ask(Market::OnDemand, _)));
        let none = InstanceSettings { types: Vec::new(), ..narrow };
        assert!(matches!(u.choose(&none, later), Choice::Wait(until, _) if until == later + MEMORY));
    }
}

//! The capacity that EC2 has left of each offering, and the token buckets of AWS's APIs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::market::{Market, Offering};
use muster_reconciler::quota::QuotaClass;
use muster_reconciler::refusal::{CodeScope, REFUSALS};
use muster_reconciler::time::Time;

use crate::faults::Fault;
use crate::nature::Nature;
use crate::rng::Rng;

/// The length of an epoch, in which the capacity stays as it was decided.
const EPOCH: Duration = Duration::from_secs(300);

/// How much capacity EC2 has left, and what else makes it refuse an offering.
#[derive(Debug, Default)]
pub(super) struct Stock {
    /// The epoch in which the capacity was last decided, and how many instances are left in it.
    left: BTreeMap<(Offering, Market), (u64, u32)>,
    /// The epoch, and whether the account's quota of these families is used up in it.
    used_up: BTreeMap<(Market, QuotaClass), (u64, bool)>,
    /// The epoch, and whether the subnet has no free addresses in it.
    full: BTreeMap<Arc<str>, (u64, bool)>,
    /// Whether the zone of the offering's subnet lacks the instance type, for the whole run.
    lacks: BTreeMap<Offering, bool>,
}

impl Stock {
    /// EC2's error code when the account's quota for the instance type is used up. None: it is not.
    pub fn quota_error(&mut self, instance_type: &str, market: Market, nature: &mut Nature) -> Option<&'static str> {
        let epoch = epoch(nature.now());
        let state = self.used_up.entry((market, QuotaClass::of(instance_type)?)).or_insert((0, false));
        if state.0 != epoch {
            *state = (epoch, nature.hits(Fault::MarketClosed));
        }
        (state.1 && nature.luck.active).then_some(match market {
            Market::Spot => "MaxSpotInstanceCountExceeded",
            Market::OnDemand => "VcpuLimitExceeded",
        })
    }

    /// Takes one instance of the offering, or gives EC2's error code and message. The capacity is decided anew in each
    /// epoch.
    pub fn take(&mut self, offering: &Offering, market: Market, nature: &mut Nature) -> Result<(), (&'static str, &'static str)> {
        let epoch = epoch(nature.now());
        let lacks = *self.lacks.entry(offering.clone()).or_insert_with(|| nature.hits(Fault::NotOffered));
        let full = self.full.entry(Arc::clone(&offering.subnet)).or_insert((0, false));
        if full.0 != epoch {
            *full = (epoch, nature.hits(Fault::SubnetFull));
        }
        let full = full.1;
        let left = self.left.entry((offering.clone(), market)).or_insert((0, u32::MAX));
        if left.0 != epoch {
            // On-demand runs out a third as often as spot.
            let dry = nature.strikes(Fault::NoCapacity).is_some_and(|mut r| market == Market::Spot || r.chance(0.3));
            let few = nature.strikes(Fault::LittleCapacity).map(|mut r| 1 + u32::try_from(r.below(3)).unwrap_or_default());
            *left = (epoch, if dry { 0 } else { few.unwrap_or(u32::MAX) });
        }
        if !nature.luck.active {
            return Ok(());
        }
        if lacks {
            let said = "Your requested instance type is not supported in your requested Availability Zone.";
            return Err(("InvalidFleetConfiguration", said));
        }
        if full {
            return Err(("InsufficientFreeAddressesInSubnet", "There are not enough free addresses in subnet."));
        }
        let has = left.1 > 0;
        left.1 = left.1.saturating_sub(1);
        let said = match market {
            Market::Spot => "There is no Spot capacity available that matches your request.",
            Market::OnDemand => "We currently do not have sufficient capacity.",
        };
        has.then_some(()).ok_or(("InsufficientInstanceCapacity", said))
    }

    /// A refusal that has no cause in this world: a code of [`REFUSALS`], or a code that is not among them.
    pub fn odd_refusal(nature: &mut Nature) -> Option<(&'static str, Rng)> {
        let mut rng = nature.strikes(Fault::OddRefusal)?;
        // Only a token that another request has used leads to the codes about tokens.
        let codes: Vec<&str> = REFUSALS.iter().filter(|r| r.scope != CodeScope::Token).map(|r| r.code).collect();
        let nth = usize::try_from(rng.below(codes.len() as u64 + 1)).unwrap_or_default();
        Some((codes.get(nth).copied().unwrap_or("BrandNewCode"), rng))
    }
}

fn epoch(now: Time) -> u64 {
    now.as_millis() / u64::try_from(EPOCH.as_millis()).unwrap_or(1)
}

/// A token bucket. A call takes one token, and tokens come back at a steady rate.
#[derive(Clone, Debug)]
pub(super) struct TokenBucket {
    burst: f64,
    per_second: f64,
    tokens: f64,
    at: Time,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(burst: f64, per_second: f64, now: Time) -> TokenBucket {
        TokenBucket { burst, per_second, tokens: burst, at: now }
    }

    /// The bucket that AWS has for the call. None: no call of muster's comes near its limit.
    ///
    /// <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html>,
    /// <https://docs.aws.amazon.com/general/latest/gr/ssm.html> (PutParameter: 3 a second; the burst is our guess).
    pub fn of(api: &str, now: Time) -> Option<TokenBucket> {
        let (burst, per_second) = match api {
            "CreateFleet" => (50.0, 5.0),
            "TerminateInstances" => (100.0, 5.0),
            "CreateTags" => (100.0, 10.0),
            "DescribeInstances" => (100.0, 20.0),
            "PutParameter" => (10.0, 3.0),
            _ => return None,
        };
        Some(TokenBucket::new(burst, per_second, now))
    }

    /// Takes one token. False: the bucket is empty.
    pub fn take(&mut self, now: Time) -> bool {
        self.tokens = (self.tokens + now.since(self.at).as_secs_f64() * self.per_second).min(self.burst);
        self.at = now;
        let granted = self.tokens >= 1.0;
        if granted {
            self.tokens -= 1.0;
        }
        granted
    }
}

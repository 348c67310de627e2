//! A plan in one sentence, and its reason.

use super::{Counts, Plan};
use crate::reason::{Blocked, PoolReason, Wants, count, instances};
use crate::time::Time;

impl From<&Counts> for Wants {
    fn from(c: &Counts) -> Wants {
        Wants { wanted: c.wanted, jobs: c.counting, taken: c.unexplained, floor: c.floor, supply: c.supply }
    }
}

impl Plan {
    /// Why the pool has as many runners as it has.
    pub fn reason(&self) -> PoolReason {
        let c = &self.counts;
        match (&self.blocked, &self.launch) {
            _ if self.pool_gone => PoolReason::PoolGone { runners: c.occupied },
            (Some(blocked), _) => PoolReason::Blocked(blocked.clone()),
            (None, Some(launch)) => PoolReason::Launching { count: launch.count, market: launch.market },
            (None, None) if c.wanted == 0 && c.occupied == 0 && c.queued == 0 => PoolReason::NoDemand,
            (None, None) => PoolReason::Supplied,
        }
    }

    /// The plan in one sentence.
    pub fn say(&self, now: Time) -> String {
        let c = &self.counts;
        if self.pool_gone {
            let (left, they) = (count(c.occupied, "runner"), if c.occupied == 1 { "it becomes" } else { "they become" });
            return match c.occupied {
                0 => "no longer in the manifests; no runner is left".into(),
                _ => format!("no longer in the manifests; {left} left, ending as {they} idle"),
            };
        }
        let mut text = if c.wanted == 0 && c.occupied == 0 && c.queued == 0 {
            "no job is queued and no runner exists".to_owned()
        } else {
            format!("{}, {} of {}", Wants::from(c), c.occupied, count(c.max, "runner"))
        };
        if c.queued > c.counting {
            let waiting = c.queued - c.counting;
            let do_not = if waiting == 1 { "does" } else { "do" };
            text += &format!("; {} {do_not} not count yet", count(waiting, "queued job"));
        }
        if let Some(l) = &self.launch {
            text += &format!("; launches {}", instances(l.count, "", l.market));
        }
        if let Some(tripped) = &self.breaker {
            text += &format!("; {}", tripped.say(now));
        }
        if let Some(b) = &self.blocked {
            let off = *b == Blocked::Max && c.max == 0;
            let says = if off { "is switched off by `capacity.max: 0`".to_owned() } else { b.say(now) };
            text += &format!("; the pool {says}");
        }
        text
    }
}

//! Isolation: what happens in one pool, App, market or account limit delays another pool's single need by at most one round of
//! the budget that they share, and never by the other's backlog.
//!
//! Judged are
//! - capacity: a pool leaves alone, or buys on-demand, only what EC2 has refused it, or refused another pool of the same quota
//!   class, or in a subnet that they share;
//! - redeliveries: a failed delivery is asked for again within a minute of the time at which it is due, and a second more for
//!   each other one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_reconciler::effect::{Action, DeliverySighting, Effect, Input, Launch, Launched};
use muster_reconciler::event::Ec2EventKind;
use muster_reconciler::fact::Fact;
use muster_reconciler::ids::{AppName, DeliveryId, Payer, PoolName};
use muster_reconciler::manifest::MarketPolicy;
use muster_reconciler::market::Market;
use muster_reconciler::plan::Plan;
use muster_reconciler::quota::QuotaClass;
use muster_reconciler::reason::Blocked;
use muster_reconciler::refusal::{Refusal, SHORT, Scope};
use muster_reconciler::time::{Time, human};

use super::Invariant;
use crate::Simulation;

/// How much later than EC2's refusal the controller may hear of it.
const HEARD: Duration = Duration::from_secs(30);
/// What a process may leave alone, if EC2 says of a part of the request that it is wrong.
const WRONG_PART: Duration = Duration::from_secs(600);
/// A failed delivery is due so long after the sweep that shows it, and twice as long with each further attempt.
const REDELIVERY: Duration = Duration::from_secs(30);
/// How late it may be asked for, and a second more for each other one.
const ASKED_WITHIN: Duration = Duration::from_secs(60);

/// What one process did for each pool.
#[derive(Debug, Default)]
pub(super) struct Isolation {
    /// When each failed delivery is due to be asked for again. FAR: it was.
    lost: BTreeMap<(AppName, DeliveryId), Time>,
}

/// Something that EC2 refused, or took back.
#[derive(Debug)]
pub(super) struct Refused {
    until: Time,
    pool: PoolName,
    market: Market,
    classes: BTreeSet<Option<QuotaClass>>,
    /// The subnets that it refused as a whole, on both markets.
    subnets: BTreeSet<String>,
}

fn classes<'a>(types: impl IntoIterator<Item = &'a str>) -> BTreeSet<Option<QuotaClass>> {
    types.into_iter().map(QuotaClass::of).collect()
}

impl Isolation {
    /// Takes in a complete look at an App's failed deliveries.
    pub(super) fn hear_lost(&mut self, app: &AppName, rows: &[DeliverySighting], now: Time) {
        let mut newest: BTreeMap<&str, (DeliveryId, u32)> = BTreeMap::new();
        for row in rows.iter().filter(|r| r.action.as_deref() == Some("queued")) {
            let (id, attempts) = newest.entry(&row.guid).or_insert((row.id, 0));
            (*id, *attempts) = ((*id).max(row.id), *attempts + 1);
        }
        let before = std::mem::take(&mut self.lost);
        self.lost.extend(before.iter().filter(|((of, _), _)| of != app).map(|(key, due)| (key.clone(), *due)));
        for (id, attempts) in newest.into_values() {
            let key = (app.clone(), id);
            let due = before.get(&key).copied().unwrap_or(now + REDELIVERY.saturating_mul(1 << (attempts - 1).min(6)));
            self.lost.insert(key, due);
        }
    }
}

impl Simulation {
    /// Judges an effect when the controller sends it.
    pub(super) fn judge_turn(&mut self, effect: &Effect) {
        if let Action::Redeliver { app, delivery } = &effect.action {
            // If the ask fails, another is due after a pause, which L5 knows.
            self.oracle.process_view.isolation.lost.insert((app.clone(), *delivery), Time::FAR);
        }
    }

    /// Judges what the controller told of itself.
    pub(crate) fn judge_fact(&mut self, fact: &Fact, now: Time) {
        if let Fact::Planned { pool } = fact {
            let plan = self.controller.as_ref().and_then(|c| c.newest_plans().find(|(name, _)| *name == pool)?.1).cloned();
            if let Some(plan) = plan {
                self.judge_plan(&plan, now);
            }
        }
    }

    fn judge_plan(&mut self, plan: &Plan, now: Time) {
        if let Some(Blocked::Capacity { .. }) = &plan.blocked {
            self.judge_capacity(&plan.pool, "leaves alone", now);
        } else if plan.launch.as_ref().is_some_and(|l| l.market == Market::OnDemand) {
            self.judge_capacity(&plan.pool, "buys on-demand for want of", now);
        }
    }

    /// Whether spot, or for a pool without spot on-demand, was refused to the pool or to one that shares what was refused.
    fn judge_capacity(&mut self, name: &PoolName, does: &str, now: Time) {
        let Some(pool) = self.spec.pools.get(name) else { return };
        let settings = &pool.spec.instance;
        let market = match settings.market {
            MarketPolicy::OnDemand if does.starts_with("buys") => return,
            MarketPolicy::OnDemand => Market::OnDemand,
            MarketPolicy::Spot | MarketPolicy::SpotThenOnDemand => Market::Spot,
        };
        let own = classes(settings.types.iter().map(String::as_str));
        let shares = |r: &Refused| {
            r.market == market && (r.pool == *name || !r.classes.is_disjoint(&own))
                || settings.subnets.iter().any(|s| r.subnets.contains(s))
        };
        if !self.oracle.refused.iter().any(|r| r.until > now && shares(r)) {
            let what = format!("pool {name} {does} {market}, which EC2 refused to other families alone");
            self.oracle.blame(Invariant::Isolation, now, what);
        }
    }

    /// EC2 answered a launch: what it refused may be left alone.
    pub(crate) fn note_refusals(&mut self, launch: &Launch, answer: &Launched) {
        let now = self.nature.now();
        self.oracle.refused.retain(|r| r.until > now);
        for e in &answer.errors {
            let refusal = Refusal::of(&e.code);
            let subnet = refusal.scope == Scope::Subnet;
            let named = |s: &str| e.subnet.as_ref().is_none_or(|is| **is == *s);
            let subnets = launch.offerings.iter().map(|o| o.subnet.to_string()).filter(|s| subnet && named(s));
            let holds = if refusal.holds.is_zero() { WRONG_PART } else { refusal.holds };
            self.oracle.refused.push(Refused {
                until: now + holds + HEARD,
                pool: launch.pool.clone(),
                market: launch.market,
                classes: classes(launch.offerings.iter().map(|o| &*o.instance_type)),
                subnets: subnets.collect(),
            });
        }
    }

    /// EC2 says that it takes an instance back, after which its offering may be left alone.
    pub(crate) fn note_interruption(&mut self, input: &Input) {
        let Input::Ec2(event) = input else { return };
        let Some(instance) = self.cloud.instances().get(&event.instance) else { return };
        if event.kind == Ec2EventKind::SpotInterruption {
            self.oracle.refused.push(Refused {
                until: self.nature.now() + SHORT,
                pool: instance.pool.clone(),
                market: Market::Spot,
                classes: classes([&**instance.instance_type()]),
                subnets: BTreeSet::new(),
            });
        }
    }

    /// A lost webhook is asked for again, however much else is asked of GitHub.
    pub(super) fn look_at_lost_webhooks(&mut self, now: Time) {
        for app in self.spec.apps.keys() {
            let limited = self.oracle.process_view.limited(&Payer::itself(app), now);
            for ((of, _), due) in &mut self.oracle.process_view.isolation.lost {
                if limited && of == app {
                    *due = (*due).max(now);
                }
            }
        }
        let lost = &self.oracle.process_view.isolation.lost;
        let within = ASKED_WITHIN + Duration::from_secs(lost.len() as u64);
        let late = lost.iter().find(|(_, due)| **due + within < now).map(|((app, id), due)| {
            let late = human(now.since(*due));
            format!("webhook delivery {id} of App {app} failed, is due since {late}, and was not asked for again")
        });
        if let Some(what) = late.filter(|_| self.controller.is_some()) {
            self.oracle.blame(Invariant::Isolation, now, what);
        }
    }
}

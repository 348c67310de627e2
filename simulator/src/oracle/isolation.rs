//! Isolation: what happens in one pool, App, market or account limit delays another pool's single need by at most one round of
//! the budget that they share, and never by the other's backlog.
//!
//! Judged are
//! - turns: while a pool's instance waits for its configuration, or one of its jobs for its check, no other pool gets more
//!   than [`TURNS`] of these calls;
//! - room: a pool that has nothing on the way is never held back by the configurations of others;
//! - boot failures: a pool does not count more of them than instances that this process tried to configure;
//! - capacity: a pool leaves alone, or buys on-demand, only what EC2 has refused it, or refused another pool of the same quota
//!   class, or in a subnet that they share;
//! - redeliveries: a failed delivery is asked for again within a minute of the time at which it is due, and a second more for
//!   each other one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_reconciler::controller::Controller;
use muster_reconciler::demand::Job;
use muster_reconciler::effect::{Action, DeliverySighting, Effect, Input, Launch, Launched, Outcome};
use muster_reconciler::event::{Ec2EventKind, JobState};
use muster_reconciler::fact::Fact;
use muster_reconciler::failure::FailureKind;
use muster_reconciler::ids::{AppName, DeliveryId, EffectId, InstanceId, Payer, PoolName};
use muster_reconciler::manifest::{MarketPolicy, RunnerPool, Spec};
use muster_reconciler::market::Market;
use muster_reconciler::plan::Plan;
use muster_reconciler::quota::QuotaClass;
use muster_reconciler::reason::Blocked;
use muster_reconciler::refusal::{CodeScope, Refusal, SHORT};
use muster_reconciler::runner::{Configured, Phase, Runner};
use muster_reconciler::time::{Time, human};

use super::{Invariant, Oracle, Truth};

/// How many calls another pool may get while a pool waits: one round, what a full budget admits at once, and what is sent
/// before the waiting pool is planned.
const TURNS: u32 = 6;
/// A pool is planned at the latest so long after something of it changed, or after a pause that followed a failure.
const PLANNED: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(11)];
/// After so many configurations in a row without an answer, a pool goes on with one at a time.
const DOWN: u32 = 3;
/// How old a job is when GitHub is asked about it for the first time.
const CHECK_AFTER: Duration = Duration::from_secs(120);
/// How much later than EC2's refusal the controller may hear of it.
const HEARD: Duration = Duration::from_secs(30);
/// What a process may leave alone, if EC2 says of a part of the request that it is wrong.
const WRONG_PART: Duration = Duration::from_secs(600);
/// A failed delivery is due so long after the sweep that shows it, and twice as long with each further attempt.
const REDELIVERY: Duration = Duration::from_secs(30);
/// How late it may be asked for, and a second more for each other one.
const ASKED_WITHIN: Duration = Duration::from_secs(60);

/// The calls that pools take turns at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Configure,
    Check,
}

/// What one process did for each pool.
#[derive(Debug, Default)]
pub(super) struct Isolation {
    /// How many calls each other pool got while this one waited.
    overtaken: BTreeMap<(Turn, PoolName), BTreeMap<PoolName, u32>>,
    /// Configurations that are under way.
    configures: BTreeMap<EffectId, PoolName>,
    /// Pools whose last configuration was refused.
    refused: BTreeSet<PoolName>,
    /// How many configurations in a row GitHub or SSM did not answer, by pool.
    unanswered: BTreeMap<PoolName, u32>,
    /// Instances that this process tried to configure.
    tried: BTreeMap<PoolName, BTreeSet<InstanceId>>,
    boot_failures: BTreeMap<PoolName, usize>,
    /// When each failed delivery is due to be asked for again. FAR: it was.
    lost: BTreeMap<(AppName, DeliveryId), Time>,
}

/// Something that EC2 refused, or took back.
#[derive(Debug)]
pub(super) struct RefusedLaunch {
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

    /// Takes in an input that the controller is about to get.
    pub(super) fn hear(&mut self, input: &Input) {
        let Input::Outcome(id, outcome) = input else { return };
        let Some(pool) = self.configures.remove(id) else { return };
        match outcome {
            Outcome::Configured { .. } => drop((self.refused.remove(&pool), self.unanswered.remove(&pool))),
            Outcome::Failed(f) | Outcome::NotHandedOver(f) => match f.kind {
                FailureKind::Refused | FailureKind::NotFound => drop(self.refused.insert(pool)),
                kind if kind.may_have_worked() => *self.unanswered.entry(pool).or_default() += 1,
                _ => {}
            },
            _ => {}
        }
    }

    /// A pool gets a call while these others wait. Some: one of them has waited for too many.
    fn takes(&mut self, turn: Turn, pool: &PoolName, waiting: &BTreeSet<PoolName>) -> Option<String> {
        self.overtaken.retain(|(of, waits), _| *of != turn || waits != pool && waiting.contains(waits));
        waiting.iter().find_map(|waits| {
            let others = self.overtaken.entry((turn, waits.clone())).or_default();
            let n = others.entry(pool.clone()).or_default();
            *n += 1;
            (*n > TURNS).then(|| format!("pool {waits} waits for its turn ({turn:?}), and pool {pool} got {n} meanwhile"))
        })
    }
}

/// Whether the instance could be configured now, and could have been for long enough that its pool was planned meanwhile.
fn ready(r: &Runner, pool: &RunnerPool, deadline: Duration, now: Time) -> bool {
    let phase = r.phase(deadline, now);
    r.launched_here()
        && matches!(r.configured(), Configured::No | Configured::Unsure)
        && matches!(phase, Phase::Launching | Phase::Booting)
        && r.supplies(Some(pool), phase)
        && r.is_free(now)
        && now.since(r.not_before()) >= PLANNED[usize::from(r.last_error().is_some())]
        && r.bound_to().is_none_or(|list| *list == pool.list_id())
}

impl Oracle {
    /// Judges an effect when the controller sends it.
    pub(super) fn judge_turn(&mut self, effect: &Effect, truth: Truth<'_>) {
        let Some(controller) = truth.controller else { return };
        let now = truth.now();
        let (turn, pool, waiting) = match &effect.action {
            Action::Configure(c) => {
                let pool = c.name.pool.clone();
                let isolation = &mut self.process_view.isolation;
                isolation.configures.insert(effect.id, pool.clone());
                isolation.tried.entry(pool.clone()).or_default().insert(c.name.instance.clone());
                (Turn::Configure, pool, self.wait_for_configuration(truth))
            }
            Action::CheckJob { app, repo, job } => {
                let of = controller.view().demand.jobs().get(job).and_then(|j| j.pool()).cloned().unwrap_or_default();
                let payer = truth.spec.payer(app, repo);
                (Turn::Check, of.clone(), wait_for_checks(controller, truth.spec, &payer, now))
            }
            Action::Redeliver { app, delivery } => {
                // If the ask fails, another is due after a pause, which L5 knows.
                self.process_view.isolation.lost.insert((app.clone(), *delivery), Time::FAR);
                return;
            }
            _ => return,
        };
        let waiting = waiting.into_iter().filter(|name| *name != pool).collect();
        if let Some(what) = self.process_view.isolation.takes(turn, &pool, &waiting) {
            self.blame(Invariant::Isolation, now, what);
        }
    }

    /// The pools of which an instance waits for its configuration, and for nothing but its turn.
    fn wait_for_configuration(&self, truth: Truth<'_>) -> BTreeSet<PoolName> {
        let Some(controller) = truth.controller else { return BTreeSet::new() };
        let now = truth.now();
        let mut waiting = BTreeSet::new();
        for r in controller.view().world.runners().values() {
            let Some(pool) = truth.spec.pools.get(r.pool()).filter(|_| !waiting.contains(r.pool())) else { continue };
            let view = &self.process_view;
            let down = view.isolation.unanswered.get(r.pool()).is_some_and(|n| *n >= DOWN);
            let limited = down || view.limited(&pool.list_id().payer(), now) || view.isolation.refused.contains(r.pool());
            if !limited && ready(r, pool, truth.spec.boot_deadline(r.pool()), now) {
                waiting.insert(r.pool().clone());
            }
        }
        waiting
    }

    /// Judges what the controller told of itself. `process` is the number of the process.
    pub(crate) fn judge_fact(&mut self, fact: &Fact, process: u32, truth: Truth<'_>) {
        match fact {
            Fact::BootFailed { pool, .. } => {
                let isolation = &mut self.process_view.isolation;
                let failures = isolation.boot_failures.entry(pool.clone()).or_default();
                *failures += 1;
                let failures = *failures;
                let ours = isolation.tried.get(pool).map_or(0, BTreeSet::len);
                // An earlier process may have tried to configure what it launched.
                let mark = format!("p{process}-");
                let found =
                    truth.cloud.instances().values().filter(|i| i.pool == *pool && !i.intent().as_str().starts_with(&mark));
                let tried = ours + found.count();
                if failures > tried {
                    let what =
                        format!("pool {pool} counts {failures} boot failures, and {tried} instances were to be configured");
                    self.blame(Invariant::Isolation, truth.now(), what);
                }
            }
            Fact::JobJudged { job, verdict, .. } => {
                self.judge_verdict(*job, *verdict, truth);
                self.judge_swing(fact, truth);
            }
            Fact::BreakerOpened { .. } | Fact::BreakerClosed { .. } => self.judge_swing(fact, truth),
            Fact::Planned { pool } => {
                let plan = truth.controller.and_then(|c| c.newest_plans().find(|(name, _)| *name == pool)?.1);
                if let Some(plan) = plan {
                    self.judge_plan(plan, truth);
                }
            }
            _ => {}
        }
    }

    fn judge_plan(&mut self, plan: &Plan, truth: Truth<'_>) {
        let starting: u32 = [Phase::Launching, Phase::Booting].iter().filter_map(|p| plan.counts.phases.get(p)).sum();
        if plan.blocked == Some(Blocked::Pace) && plan.launch.is_none() && starting == 0 {
            let what = format!("pool {} has nothing on the way, and the configurations of others leave it no room", plan.pool);
            self.blame(Invariant::Isolation, truth.now(), what);
        }
        if let Some(Blocked::Capacity { .. }) = &plan.blocked {
            self.judge_capacity(&plan.pool, "leaves alone", truth);
        } else if plan.launch.as_ref().is_some_and(|l| l.market == Market::OnDemand)
            // Jobs that run again may want on-demand instances, and so may a breaker.
            && plan.counts.on_demand <= plan.counts.on_demand_supply
            && plan.breaker.is_none()
        {
            self.judge_capacity(&plan.pool, "buys on-demand for want of", truth);
        }
    }

    /// Whether spot, or for a pool without spot on-demand, was refused to the pool or to one that shares what was refused.
    fn judge_capacity(&mut self, name: &PoolName, does: &str, truth: Truth<'_>) {
        let now = truth.now();
        let Some(pool) = truth.spec.pools.get(name) else { return };
        let settings = &pool.spec.instance;
        let market = match settings.market {
            MarketPolicy::OnDemand if does.starts_with("buys") => return,
            MarketPolicy::OnDemand => Market::OnDemand,
            MarketPolicy::Spot | MarketPolicy::SpotThenOnDemand => Market::Spot,
        };
        let own = classes(settings.types.iter().map(String::as_str));
        let shares = |r: &RefusedLaunch| {
            r.market == market && (r.pool == *name || !r.classes.is_disjoint(&own))
                || settings.subnets.iter().any(|s| r.subnets.contains(s))
        };
        if !self.refused.iter().any(|r| r.until > now && shares(r)) {
            let what = format!("pool {name} {does} {market}, which EC2 refused to other families alone");
            self.blame(Invariant::Isolation, now, what);
        }
    }

    /// EC2 answered a launch: what it refused may be left alone.
    pub(crate) fn note_refusals(&mut self, launch: &Launch, answer: &Launched, now: Time) {
        self.refused.retain(|r| r.until > now);
        for e in &answer.errors {
            let refusal = Refusal::of(&e.code);
            let subnet = refusal.scope == CodeScope::Subnet;
            let named = |s: &str| e.subnet.as_ref().is_none_or(|is| **is == *s);
            let subnets = launch.offerings.iter().map(|o| o.subnet.to_string()).filter(|s| subnet && named(s));
            let holds = if refusal.holds.is_zero() { WRONG_PART } else { refusal.holds };
            self.refused.push(RefusedLaunch {
                until: now + holds + HEARD,
                pool: launch.pool.clone(),
                market: launch.market,
                classes: classes(launch.offerings.iter().map(|o| &*o.instance_type)),
                subnets: subnets.collect(),
            });
        }
    }

    /// EC2 says that it takes an instance back, after which its offering may be left alone.
    pub(crate) fn note_interruption(&mut self, input: &Input, truth: Truth<'_>) {
        let Input::Ec2(event) = input else { return };
        let Some(instance) = truth.cloud.instances().get(&event.instance) else { return };
        if event.kind == Ec2EventKind::SpotInterruption {
            self.refused.push(RefusedLaunch {
                until: truth.now() + SHORT,
                pool: instance.pool.clone(),
                market: Market::Spot,
                classes: classes([&**instance.instance_type()]),
                subnets: BTreeSet::new(),
            });
        }
    }

    /// A lost webhook is asked for again, however much else is asked of GitHub.
    pub(super) fn look_at_lost_webhooks(&mut self, truth: Truth<'_>, now: Time) {
        for app in truth.spec.apps.keys() {
            let limited = self.process_view.limited(&Payer::itself(app), now);
            for ((of, _), due) in &mut self.process_view.isolation.lost {
                if limited && of == app {
                    *due = (*due).max(now);
                }
            }
        }
        let lost = &self.process_view.isolation.lost;
        let within = ASKED_WITHIN + Duration::from_secs(lost.len() as u64);
        let late = lost.iter().find(|(_, due)| **due + within < now).map(|((app, id), due)| {
            let late = human(now.since(*due));
            format!("webhook delivery {id} of App {app} failed, is due since {late}, and was not asked for again")
        });
        if let Some(what) = late.filter(|_| truth.controller.is_some()) {
            self.blame(Invariant::Isolation, now, what);
        }
    }
}

/// The pools of which a job waits to be asked about.
fn wait_for_checks(controller: &Controller, spec: &Spec, payer: &Payer, now: Time) -> BTreeSet<PoolName> {
    let view = controller.view();
    let waits = view.demand.jobs().values().filter(|j| {
        let old = now.since(j.first_seen) >= CHECK_AFTER;
        j.event.state == JobState::Queued && !j.check.in_flight && now >= j.check.not_before && old
    });
    let of = |j: &Job| {
        let pool = j.pool()?;
        (spec.payer(&spec.pools.get(pool)?.list_id().app, &j.event.repo) == *payer).then(|| pool.clone())
    };
    waits.filter_map(of).collect()
}

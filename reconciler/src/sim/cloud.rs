//! EC2 and SSM: fleets by client token, capacity that runs out, instances that start and end, pages that lag, secrets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::effect::{
    Failure, FailureKind, InstanceSighting, Launch, Launched, LaunchedInstance, Market, Offering, OfferingError,
};
use crate::event::{Ec2Event, Ec2EventKind, InstanceState};
use crate::ids::{InstanceId, Intent, PoolName, RunnerId};
use crate::time::Time;

use super::agenda::{Agenda, Event};
use super::faults::WorldOptions;
use super::rng::{Rng, Spread};

/// Capacity changes this often.
const CAPACITY_EPOCH: Duration = Duration::from_secs(300);
/// EC2 shows a terminated instance for about an hour.
const SHOWN_AFTER_END: Duration = Duration::from_secs(3600);
/// Rows of one DescribeInstances page; small, so that small runs have several.
const PAGE: usize = 10;

/// EC2 and SSM.
#[derive(Debug)]
pub struct Cloud {
    instances: BTreeMap<InstanceId, Instance>,
    fleets: BTreeMap<Intent, (Arc<Launch>, Launched)>,
    /// JIT secrets in SSM, by instance.
    pub(super) secrets: BTreeMap<InstanceId, Secret>,
    capacity: BTreeMap<(Offering, Market), (u64, u32)>,
    buckets: BTreeMap<&'static str, Bucket>,
    launched: u64,
    rng: Rng,
}

/// One instance.
#[derive(Debug)]
pub struct Instance {
    /// The `muster:pool` tag.
    pub pool: PoolName,
    intent: Intent,
    launched_at: Time,
    instance_type: Arc<str>,
    subnet: Arc<str>,
    market: Market,
    /// What it was, from when: DescribeInstances answers as of a little while ago.
    changes: Vec<Change>,
    /// Spot has announced its end.
    pub(super) interrupted: bool,
}

#[derive(Clone, Debug)]
struct Change {
    at: Time,
    state: InstanceState,
    draining: bool,
    reason: Option<&'static str>,
}

/// One JIT secret.
#[derive(Clone, Debug)]
pub(super) struct Secret {
    /// The registration that it is for; None: a registration token.
    pub runner: Option<RunnerId>,
    /// What the box needs to register by itself.
    pub configure: Arc<crate::effect::Configure>,
    /// When its instance ended (or it was put, if that was later).
    pub orphan_since: Option<Time>,
}

/// A token bucket on the other side: (burst, per second).
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Time,
}

impl Instance {
    fn latest(&self) -> Option<&Change> {
        self.changes.last()
    }

    /// Its true state.
    pub fn state(&self) -> InstanceState {
        self.latest().map_or(InstanceState::Pending, |c| c.state)
    }

    /// Pending or running.
    pub fn live(&self) -> bool {
        matches!(self.state(), InstanceState::Pending | InstanceState::Running)
    }

    /// When it was launched.
    pub fn launched_at(&self) -> Time {
        self.launched_at
    }

    /// How it was bought.
    pub fn market(&self) -> Market {
        self.market
    }

    /// What it is, such as `m7i.large`.
    pub fn instance_type(&self) -> &Arc<str> {
        &self.instance_type
    }

    /// When it came into this state; None: it never was in it.
    pub fn entered(&self, state: InstanceState) -> Option<Time> {
        self.changes.iter().find(|c| c.state == state).map(|c| c.at)
    }

    /// Whether spot has announced its end, or ended it without a word.
    pub fn taken_back(&self) -> bool {
        self.interrupted || self.latest().is_some_and(|c| c.reason == Some("Server.SpotInstanceTermination"))
    }
}

impl Cloud {
    pub(super) fn new(seed: u64) -> Cloud {
        Cloud {
            instances: BTreeMap::new(),
            fleets: BTreeMap::new(),
            secrets: BTreeMap::new(),
            capacity: BTreeMap::new(),
            buckets: BTreeMap::new(),
            launched: 0,
            rng: Rng::new(seed, "cloud"),
        }
    }

    /// All instances that EC2 still shows.
    pub fn instances(&self) -> &BTreeMap<InstanceId, Instance> {
        &self.instances
    }

    /// Instances ever launched.
    pub fn launched(&self) -> u64 {
        self.launched
    }

    /// The pool's live instances.
    pub fn live(&self, pool: &PoolName) -> u32 {
        u32::try_from(self.instances.values().filter(|i| i.pool == *pool && i.live()).count()).unwrap_or(u32::MAX)
    }

    /// The pool's live instances in words, for a failure's message.
    pub(super) fn describe_live(&self, pool: &PoolName) -> String {
        let said = |(id, i): (&InstanceId, &Instance)| {
            let draining = i.latest().is_some_and(|c| c.draining);
            format!("{id} {:?}{}", i.state(), if draining { " draining" } else { "" })
        };
        self.instances.iter().filter(|(_, i)| i.pool == *pool && i.live()).map(said).collect::<Vec<_>>().join(", ")
    }

    /// Takes one token of the API's bucket. Sizes are AWS's own:
    /// <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html>
    pub(super) fn admit(&mut self, api: &'static str, now: Time) -> bool {
        let (burst, rate) = match api {
            "CreateFleet" => (50.0, 5.0),
            "TerminateInstances" => (100.0, 5.0),
            "CreateTags" => (100.0, 10.0),
            "DescribeInstances" => (100.0, 20.0),
            "PutParameter" => (10.0, 3.0),
            _ => return true,
        };
        let bucket = self.buckets.entry(api).or_insert(Bucket { tokens: burst, at: now });
        bucket.tokens = (bucket.tokens + now.since(bucket.at).as_secs_f64() * rate).min(burst);
        bucket.at = now;
        let granted = bucket.tokens >= 1.0;
        if granted {
            bucket.tokens -= 1.0;
        }
        granted
    }

    /// CreateFleet of type `instant`. The same token and request give the same answer and launch nothing more; the same
    /// token with another request is refused.
    pub(super) fn create_fleet(
        &mut self,
        launch: &Arc<Launch>,
        options: &WorldOptions,
        faulty: bool,
        agenda: &mut Agenda,
    ) -> Result<Launched, Failure> {
        if let Some((before, answer)) = self.fleets.get(&launch.intent) {
            if **before == **launch {
                return Ok(answer.clone());
            }
            let message = format!("CreateFleet {}: IdempotentParameterMismatch", launch.intent);
            return Err(Failure::new(FailureKind::Conflict, message));
        }
        if launch.count == 0 || launch.offerings.is_empty() {
            return Err(Failure::new(FailureKind::Refused, format!("CreateFleet {}: nothing was asked for", launch.intent)));
        }
        let mut answer = Launched::default();
        let mut offerings = launch.offerings.clone();
        while (answer.instances.len() as u64) < u64::from(launch.count) && !offerings.is_empty() {
            let nth = usize::try_from(self.rng.below(offerings.len() as u64)).unwrap_or_default();
            if self.take_capacity(&offerings[nth], launch.market, options, faulty, agenda.now) {
                answer.instances.push(self.start(launch, &offerings[nth], options, faulty, agenda));
            } else {
                let Offering { instance_type, subnet } = offerings.remove(nth);
                let (code, message) = match launch.market {
                    Market::Spot => {
                        ("InsufficientInstanceCapacity", "There is no Spot capacity available that matches your request.")
                    }
                    Market::OnDemand => ("InsufficientInstanceCapacity", "We currently do not have sufficient capacity."),
                };
                answer.errors.push(OfferingError {
                    instance_type: Some(instance_type),
                    subnet: Some(subnet),
                    code: code.into(),
                    message: message.into(),
                });
            }
        }
        self.fleets.insert(launch.intent.clone(), (Arc::clone(launch), answer.clone()));
        Ok(answer)
    }

    /// Whether the offering has one more. What an offering has left is drawn anew every five minutes.
    fn take_capacity(&mut self, offering: &Offering, market: Market, o: &WorldOptions, faulty: bool, now: Time) -> bool {
        let epoch = now.as_millis() / u64::try_from(CAPACITY_EPOCH.as_millis()).unwrap_or(1);
        let (none, little, few) =
            (self.rng.chance(o.faults.no_capacity), self.rng.chance(o.faults.little_capacity), 1 + self.rng.below(3));
        let key = (offering.clone(), market);
        let left = self.capacity.entry(key).or_insert((0, u32::MAX));
        if left.0 != epoch {
            // On-demand runs out far less often.
            let dry = none && (market == Market::Spot || few == 1);
            *left = (
                epoch,
                if dry {
                    0
                } else if little {
                    u32::try_from(few).unwrap_or(1)
                } else {
                    u32::MAX
                },
            );
        }
        if faulty && left.1 == 0 {
            return false;
        }
        left.1 = left.1.saturating_sub(1);
        true
    }

    fn start(
        &mut self,
        l: &Launch,
        offering: &Offering,
        o: &WorldOptions,
        faulty: bool,
        agenda: &mut Agenda,
    ) -> LaunchedInstance {
        self.launched += 1;
        let id: InstanceId = format!("i-{:05x}{:012x}", self.launched, self.rng.draw() & 0xffff_ffff_ffff).into();
        let now = agenda.now;
        let (doomed, after) = (self.rng.chance(o.faults.interruption), self.rng.within(Spread::secs(60, 1200)));
        let unwarned = self.rng.chance(o.faults.unwarned);
        agenda.after(self.rng.within(o.start), Event::Running(id.clone()));
        if doomed && faulty && l.market == Market::Spot {
            agenda.after(after, if unwarned { Event::Reclaimed(id.clone()) } else { Event::Warning(id.clone()) });
        }
        self.instances.insert(
            id.clone(),
            Instance {
                pool: l.pool.clone(),
                intent: l.intent.clone(),
                launched_at: now,
                instance_type: Arc::clone(&offering.instance_type),
                subnet: Arc::clone(&offering.subnet),
                market: l.market,
                changes: vec![Change { at: now, state: InstanceState::Pending, draining: false, reason: None }],
                interrupted: false,
            },
        );
        LaunchedInstance {
            id,
            instance_type: Arc::clone(&offering.instance_type),
            subnet: Some(Arc::clone(&offering.subnet)),
            market: l.market,
        }
    }

    /// Changes an instance's state, and says so through EventBridge (unless that message is lost). False: it was past that.
    pub(super) fn become_state(
        &mut self,
        id: &InstanceId,
        state: InstanceState,
        reason: Option<&'static str>,
        o: &WorldOptions,
        faulty: bool,
        agenda: &mut Agenda,
    ) -> bool {
        let (lost, delay) = (self.rng.chance(o.faults.notify_loss), self.rng.within(o.notify));
        let ending = self.rng.within(Spread::secs(5, 40));
        let Some(instance) = self.instances.get_mut(id) else { return false };
        let Some(last) = instance.latest().cloned() else { return false };
        if last.state >= state {
            return false;
        }
        instance.changes.push(Change { at: agenda.now, state, reason: reason.or(last.reason), ..last });
        match state {
            InstanceState::ShuttingDown => agenda.after(ending, Event::Terminated(id.clone())),
            InstanceState::Terminated => agenda.after(SHOWN_AFTER_END, Event::Forgotten(id.clone())),
            _ => {}
        }
        if state >= InstanceState::ShuttingDown
            && let Some(secret) = self.secrets.get_mut(id)
        {
            secret.orphan_since.get_or_insert(agenda.now);
        }
        if !(lost && faulty) {
            agenda.after(delay, Event::Notify(Ec2Event { instance: id.clone(), kind: Ec2EventKind::State(state) }));
        }
        true
    }

    pub(super) fn instance_mut(&mut self, id: &InstanceId) -> Option<&mut Instance> {
        self.instances.get_mut(id)
    }

    /// CreateTags `muster:drain`. False: no such instance.
    pub(super) fn tag_drain(&mut self, id: &InstanceId, now: Time) -> bool {
        let Some(instance) = self.instances.get_mut(id) else { return false };
        if let Some(last) = instance.latest().cloned() {
            instance.changes.push(Change { at: now, draining: true, ..last });
        }
        true
    }

    pub(super) fn forget(&mut self, id: &InstanceId) {
        self.instances.remove(id);
    }

    /// DescribeInstances, all pages: each answers as of its own moment.
    pub(super) fn describe(&mut self, o: &WorldOptions, faulty: bool, now: Time) -> Vec<InstanceSighting> {
        let mut rows = Vec::with_capacity(self.instances.len());
        let mut as_of = now;
        for (nth, (id, instance)) in self.instances.iter().enumerate() {
            if nth % PAGE == 0 {
                let lag = self.rng.within(o.describe_lag);
                as_of = if faulty { now - lag } else { now - lag.min(Duration::from_secs(2)) };
            }
            let Some(change) = instance.changes.iter().rev().find(|c| c.at <= as_of) else { continue };
            rows.push(InstanceSighting {
                id: id.clone(),
                pool: instance.pool.clone(),
                intent: Some(instance.intent.clone()),
                state: change.state,
                launched_at: instance.launched_at,
                instance_type: Arc::clone(&instance.instance_type),
                subnet: Some(Arc::clone(&instance.subnet)),
                market: instance.market,
                draining: change.draining,
                state_reason: change.reason.map(str::to_owned),
            });
        }
        rows
    }
}

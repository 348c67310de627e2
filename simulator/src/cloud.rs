//! EC2 and SSM: fleets by client token, instances that start and end, sweeps whose pages are late, and secrets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::effect::{InstanceSighting, Launch, Launched, LaunchedInstance};
use muster_reconciler::event::{Ec2Event, Ec2EventKind, InstanceState};
use muster_reconciler::failure::{Failure, FailureKind, OfferingError};
use muster_reconciler::ids::{InstanceId, Intent, ListId, PoolName, RunnerId};
use muster_reconciler::manifest::Spec;
use muster_reconciler::market::{Market, Offering};
use muster_reconciler::refusal::{CodeScope, Refusal};
use muster_reconciler::tags;
use muster_reconciler::time::Time;
use muster_reconciler::verdict::Cause;

use crate::capacity::{Stock, TokenBucket};
use crate::event::{Deadline, Event};
use crate::faults::Fault;
use crate::nature::Nature;
use crate::rng::{Rng, Spread};

/// How long EC2 shows a terminated instance: about an hour.
const SHOWN_AFTER_END: Duration = Duration::from_secs(3600);
/// The time from spot's warning to the end of the instance.
const SPOT_NOTICE: Duration = Duration::from_secs(120);
/// How many rows one page of DescribeInstances has. It is small, so that small runs have several pages.
pub(super) const PAGE: usize = 10;

/// The true state of EC2 and SSM.
#[derive(Debug)]
pub struct Cloud {
    instances: BTreeMap<InstanceId, TrueInstance>,
    /// How many instances are pending or running in each pool. This is an index of `instances`.
    live: BTreeMap<PoolName, u32>,
    fleets: BTreeMap<Intent, (Arc<Launch>, Launched)>,
    /// The runners' secrets in SSM, by instance.
    pub(super) secrets: BTreeMap<InstanceId, Secret>,
    stock: Stock,
    buckets: BTreeMap<&'static str, Option<TokenBucket>>,
    launched: u64,
    ended: BTreeMap<Ending, u64>,
    rng: Rng,
}

/// What ended an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// The instance itself, because its job was over or it failed to start.
    Itself,
    /// The instance itself, because the controller asked it to, by a drain.
    Drain,
    /// TerminateInstances.
    Termination,
    /// EC2 took the spot instance back.
    Spot,
}

/// One instance at EC2.
#[derive(Debug)]
pub struct TrueInstance {
    /// The pool, from the tag `muster:pool`.
    pub pool: PoolName,
    intent: Intent,
    list_id: ListId,
    /// The tag `muster:max-lifetime`.
    max_lifetime: Duration,
    launched_at: Time,
    instance_type: Arc<str>,
    subnet: Arc<str>,
    market: Market,
    /// Each state of the instance with its begin. DescribeInstances may show an earlier state than the last.
    changes: Vec<Moment>,
    /// EC2 has announced that it takes the instance back.
    interrupted: bool,
    /// What the instance says against itself in its tag.
    own_word: Option<Cause>,
}

#[derive(Clone, Debug)]
struct Moment {
    at: Time,
    state: InstanceState,
    draining: bool,
    reason: Option<&'static str>,
}

/// One runner's secret in SSM.
#[derive(Clone, Debug)]
pub(super) struct Secret {
    /// The registration that the secret is for. None: the secret is a registration token.
    pub runner: Option<RunnerId>,
    /// What the instance needs to register itself.
    pub configure: Arc<muster_reconciler::effect::Configure>,
    /// The later of two times: when the instance ended, and when the secret was written. None while the instance lives.
    pub orphan_since: Option<Time>,
}

impl TrueInstance {
    /// The `maxLifetime` that somebody wrote for the instance's pool: now, or when it was launched.
    pub fn max_lifetime(&self, spec: &Spec) -> Duration {
        spec.pools.get(&self.pool).map_or(self.max_lifetime, |p| p.spec.runner.max_lifetime.get())
    }

    fn latest(&self) -> Option<&Moment> {
        self.changes.last()
    }

    /// The true state of the instance, which the controller may not know yet.
    pub fn state(&self) -> InstanceState {
        self.latest().map_or(InstanceState::Pending, |c| c.state)
    }

    /// Whether the instance is pending or running.
    pub fn live(&self) -> bool {
        matches!(self.state(), InstanceState::Pending | InstanceState::Running)
    }

    /// Whether the instance has the tag `muster:drain`.
    pub(super) fn draining(&self) -> bool {
        self.latest().is_some_and(|c| c.draining)
    }

    /// Whether EC2 has announced that it takes the instance back.
    pub(super) fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// The launch that made the instance, from the tag `muster:intent`.
    pub(super) fn intent(&self) -> &Intent {
        &self.intent
    }

    /// When CreateFleet launched the instance.
    pub fn launched_at(&self) -> Time {
        self.launched_at
    }

    /// Whether the instance is spot or on-demand.
    pub fn market(&self) -> Market {
        self.market
    }

    /// The instance type, such as `m7i.large`.
    pub fn instance_type(&self) -> &Arc<str> {
        &self.instance_type
    }

    /// When the instance entered this state. None: it never did.
    pub fn entered(&self, state: InstanceState) -> Option<Time> {
        self.changes.iter().find(|c| c.state == state).map(|c| c.at)
    }

    /// Whether EC2 has announced that it takes the spot instance back, or has taken it back without a warning.
    pub fn taken_back(&self) -> bool {
        self.interrupted || self.latest().is_some_and(|c| c.reason == Some("Server.SpotInstanceTermination"))
    }
}

/// How many offerings an instant fleet tries, by other people's measurements (docs/decisions/0008).
const TRIES: usize = 3;

fn refused(Offering { instance_type, subnet }: Offering, code: &str, said: &str) -> OfferingError {
    OfferingError { instance_type: Some(instance_type), subnet: Some(subnet), code: code.into(), message: said.into() }
}

/// EC2 refuses the whole request. The answer is the one that the adapter would make of this code.
fn refused_whole(launch: &Launch, code: &str) -> Result<OfferingError, Failure> {
    let message = format!("CreateFleet {}: {code}", launch.intent);
    match Refusal::known(code) {
        Some(known) if known.of_offerings() => {
            Ok(OfferingError { instance_type: None, subnet: None, code: code.into(), message })
        }
        Some(Refusal { scope: CodeScope::Throttled, .. }) => Err(Failure::new(FailureKind::Throttled, message)),
        Some(Refusal { scope: CodeScope::Again, .. }) => Err(Failure::new(FailureKind::Unavailable, message)),
        _ => Err(Failure::new(FailureKind::Refused, message)),
    }
}

impl Cloud {
    pub(super) fn new(seed: u64) -> Cloud {
        Cloud {
            instances: BTreeMap::new(),
            live: BTreeMap::new(),
            fleets: BTreeMap::new(),
            secrets: BTreeMap::new(),
            stock: Stock::default(),
            buckets: BTreeMap::new(),
            launched: 0,
            ended: BTreeMap::new(),
            rng: Rng::new(seed, "cloud"),
        }
    }

    /// All instances that EC2 still shows, by id.
    pub fn instances(&self) -> &BTreeMap<InstanceId, TrueInstance> {
        &self.instances
    }

    /// How many instances were launched since the start of the run.
    pub fn launched(&self) -> u64 {
        self.launched
    }

    /// How many instances each cause has ended.
    pub fn ended(&self) -> &BTreeMap<Ending, u64> {
        &self.ended
    }

    /// How many instances of the pool are pending or running.
    pub fn live(&self, pool: &PoolName) -> u32 {
        self.live.get(pool).copied().unwrap_or_default()
    }

    /// The pools that have live instances, with their number.
    pub(super) fn populated(&self) -> impl Iterator<Item = (&PoolName, u32)> {
        self.live.iter().filter(|(_, n)| **n > 0).map(|(pool, n)| (pool, *n))
    }

    /// The pool's live instances in words, for the message of a failure.
    pub(super) fn describe_live(&self, pool: &PoolName) -> String {
        let said = |(id, i): (&InstanceId, &TrueInstance)| {
            format!("{id} {:?}{}", i.state(), if i.draining() { " draining" } else { "" })
        };
        self.instances.iter().filter(|(_, i)| i.pool == *pool && i.live()).map(said).collect::<Vec<_>>().join(", ")
    }

    /// Takes one token from the API's bucket. False: the bucket is empty, so the call is throttled.
    pub(super) fn admit(&mut self, api: &'static str, now: Time) -> bool {
        self.buckets.entry(api).or_insert_with(|| TokenBucket::of(api, now)).as_mut().is_none_or(|bucket| bucket.take(now))
    }

    /// CreateFleet of type `instant`. A repeated request with the same token gets the same answer and launches nothing
    /// more. Another request with the same token is refused. True: the request is a repeated one.
    pub(super) fn create_fleet(&mut self, launch: &Arc<Launch>, nature: &mut Nature) -> Result<(Launched, bool), Failure> {
        if let Some((before, answer)) = self.fleets.get(&launch.intent) {
            if **before == **launch {
                return Ok((answer.clone(), true));
            }
            let message = format!("CreateFleet {}: IdempotentParameterMismatch", launch.intent);
            return Err(Failure::new(FailureKind::Conflict, message));
        }
        if launch.count == 0 || launch.offerings.is_empty() {
            return Err(Failure::new(FailureKind::Refused, format!("CreateFleet {}: nothing was asked for", launch.intent)));
        }
        let mut answer = Launched::default();
        let mut offerings = launch.offerings.clone();
        if let Some((code, mut rng)) = Stock::odd_refusal(nature) {
            if rng.chance(0.4) {
                answer.errors.push(refused_whole(launch, code)?);
                offerings.clear();
            } else {
                let all = rng.chance(0.5);
                let (odd, rest) = offerings.into_iter().partition(|_| all || rng.chance(0.4));
                let odd: Vec<Offering> = odd;
                answer.errors.extend(odd.into_iter().map(|o| refused(o, code, "EC2 has its reasons.")));
                offerings = rest;
            }
        }
        let tries = if nature.hits(Fault::Untried) { TRIES } else { usize::MAX };
        self.refuse_quotas(launch, &mut offerings, &mut answer, nature)?;
        while (answer.instances.len() as u64) < u64::from(launch.count) && !offerings.is_empty() {
            let nth = usize::try_from(self.rng.below(offerings.len() as u64)).unwrap_or_default();
            match self.stock.take(&offerings[nth], launch.market, nature) {
                Ok(()) => answer.instances.push(self.start(launch, &offerings[nth], nature)),
                Err((code, said)) => answer.errors.push(refused(offerings.remove(nth), code, said)),
            }
            if answer.errors.len() >= tries {
                let said = "Unable to fulfill capacity due to your request configuration.";
                answer.errors.extend(offerings.drain(..).map(|o| refused(o, "UnfulfillableCapacity", said)));
            }
        }
        self.fleets.insert(launch.intent.clone(), (Arc::clone(launch), answer.clone()));
        Ok((answer, false))
    }

    /// Takes out the offerings whose quota is used up. If all of them are, EC2 refuses the request as a whole.
    fn refuse_quotas(
        &mut self,
        launch: &Launch,
        offerings: &mut Vec<Offering>,
        answer: &mut Launched,
        nature: &mut Nature,
    ) -> Result<(), Failure> {
        let code =
            |o: &Offering, stock: &mut Stock, nature: &mut Nature| stock.quota_error(&o.instance_type, launch.market, nature);
        let codes: Vec<_> = offerings.iter().map(|o| code(o, &mut self.stock, nature)).collect();
        if let Some(first) = codes.iter().copied().collect::<Option<Vec<_>>>().and_then(|all| all.first().copied()) {
            answer.errors.push(refused_whole(launch, first)?);
            offerings.clear();
            return Ok(());
        }
        for (offering, code) in std::mem::take(offerings).into_iter().zip(codes) {
            match code {
                Some(code) => answer.errors.push(refused(offering, code, "You have reached a limit of your account.")),
                None => offerings.push(offering),
            }
        }
        Ok(())
    }

    fn start(&mut self, l: &Launch, offering: &Offering, nature: &mut Nature) -> LaunchedInstance {
        self.launched += 1;
        let id: InstanceId = format!("i-{:05x}{:012x}", self.launched, self.rng.draw() & 0xffff_ffff_ffff).into();
        let now = nature.now();
        let starts = self.rng.within_tail(nature.takes().start);
        nature.after(starts, Event::Running(id.clone()));
        if l.market == Market::Spot
            && let Some(mut doom) = nature.strikes(Fault::Interruption)
        {
            let unwarned = nature.hits(Fault::Unwarned);
            let when = doom.within(Spread::secs(5, 1200));
            nature.after(when, if unwarned { Event::Reclaimed(id.clone()) } else { Event::Warning(id.clone()) });
        }
        *self.live.entry(l.pool.clone()).or_default() += 1;
        self.instances.insert(
            id.clone(),
            TrueInstance {
                pool: l.pool.clone(),
                intent: l.intent.clone(),
                list_id: l.list_id.clone(),
                max_lifetime: l
                    .tags
                    .get(tags::MAX_LIFETIME)
                    .and_then(|s| s.parse().ok())
                    .map_or(Duration::MAX, Duration::from_secs),
                launched_at: now,
                instance_type: Arc::clone(&offering.instance_type),
                subnet: Arc::clone(&offering.subnet),
                market: l.market,
                changes: vec![Moment { at: now, state: InstanceState::Pending, draining: false, reason: None }],
                interrupted: false,
                own_word: None,
            },
        );
        LaunchedInstance {
            id,
            instance_type: Arc::clone(&offering.instance_type),
            subnet: Some(Arc::clone(&offering.subnet)),
            market: l.market,
        }
    }

    /// Changes an instance's state, and sends a notification through EventBridge. False: the instance was past that state
    /// already.
    pub(super) fn become_state(
        &mut self,
        id: &InstanceId,
        state: InstanceState,
        reason: Option<&'static str>,
        nature: &mut Nature,
    ) -> bool {
        let Some(instance) = self.instances.get_mut(id) else { return false };
        let Some(last) = instance.latest().cloned() else { return false };
        if last.state >= state {
            return false;
        }
        let was_live = instance.live();
        instance.changes.push(Moment { at: nature.now(), state, reason: reason.or(last.reason), ..last });
        if was_live
            && !instance.live()
            && let Some(n) = self.live.get_mut(&instance.pool)
        {
            *n = n.saturating_sub(1);
            let ending = match reason {
                Some("Client.UserInitiatedShutdown") => Ending::Termination,
                Some("Server.SpotInstanceTermination") => Ending::Spot,
                _ if last.draining => Ending::Drain,
                _ => Ending::Itself,
            };
            *self.ended.entry(ending).or_default() += 1;
        }
        match state {
            InstanceState::ShuttingDown => {
                let ending = self.rng.within(Spread::secs(5, 40));
                nature.after(ending, Event::Terminated(id.clone()));
            }
            InstanceState::Terminated => nature.after(SHOWN_AFTER_END, Event::Forgotten(id.clone())),
            _ => {}
        }
        if state >= InstanceState::ShuttingDown
            && let Some(secret) = self.secrets.get_mut(id)
        {
            secret.orphan_since.get_or_insert(nature.now());
        }
        self.notify(Ec2Event { instance: id.clone(), kind: Ec2EventKind::State(state) }, nature);
        true
    }

    /// Sends a notification through EventBridge to the queue, unless a fault loses it.
    pub(super) fn notify(&mut self, event: Ec2Event, nature: &mut Nature) {
        let delay = self.rng.within(nature.takes().notify);
        if nature.hits(Fault::NotifyLoss) {
            return;
        }
        let late = nature.strikes(Fault::NotifyLate).map(|mut r| r.within(Spread::secs(10, 400))).unwrap_or_default();
        nature.after(delay + late, Event::Notify(event));
    }

    /// EC2 gives its two-minute warning. An instance without a job ends itself at once; one with a job works on. False: EC2
    /// gives no warning, because the faults are over or the instance has ended.
    pub(super) fn warn(&mut self, id: &InstanceId, nature: &mut Nature) -> bool {
        let comes = !nature.hits(Fault::FalseWarning);
        let active = nature.luck.active;
        let Some(instance) = self.instances.get_mut(id).filter(|i| i.live() && active) else { return false };
        instance.interrupted = comes;
        nature.say(format_args!("spot warns {id}"));
        self.notify(Ec2Event { instance: id.clone(), kind: Ec2EventKind::SpotInterruption }, nature);
        if comes {
            nature.act_after(Duration::from_secs(4), id, Deadline::PowerOff("spot takes it back"));
            nature.after(SPOT_NOTICE, Event::Reclaimed(id.clone()));
        }
        true
    }

    /// Whether EC2 takes the spot instance back now. After the end of the faults, it takes only those that it has warned.
    pub(super) fn reclaims(&self, id: &InstanceId, nature: &Nature) -> bool {
        self.instances.get(id).is_some_and(|i| i.live() && (nature.luck.active || i.interrupted))
    }

    /// Puts the tag `muster:drain` on an instance, as CreateTags does. False: there is no such instance.
    pub(super) fn tag_drain(&mut self, id: &InstanceId, now: Time) -> bool {
        let Some(instance) = self.instances.get_mut(id) else { return false };
        if let Some(last) = instance.latest().cloned() {
            instance.changes.push(Moment { at: now, draining: true, ..last });
        }
        true
    }

    /// The instance says this against itself in its tag.
    pub(super) fn tag_own_word(&mut self, id: &InstanceId, cause: Cause) {
        if let Some(instance) = self.instances.get_mut(id) {
            instance.own_word = Some(cause);
        }
    }

    pub(super) fn forget(&mut self, id: &InstanceId) {
        self.instances.remove(id);
    }

    /// How many pages a sweep of EC2 has.
    pub(super) fn pages(&self) -> u64 {
        self.instances.len().div_ceil(PAGE).max(1) as u64
    }

    /// All pages of DescribeInstances. Each page shows the state of a moment of its own.
    pub(super) fn describe(&mut self, nature: &Nature) -> Vec<InstanceSighting> {
        let now = nature.now();
        let mut rows = Vec::with_capacity(self.instances.len());
        let mut as_of = now;
        for (nth, (id, instance)) in self.instances.iter().enumerate() {
            if nth % PAGE == 0 {
                let lag = self.rng.within(nature.takes().describe_lag);
                as_of = if nature.luck.active { now - lag } else { now - lag.min(Duration::from_secs(2)) };
            }
            let Some(change) = instance.changes.iter().rev().find(|c| c.at <= as_of) else { continue };
            rows.push(InstanceSighting {
                id: id.clone(),
                pool: instance.pool.clone(),
                list_id: Some(instance.list_id.clone()),
                intent: Some(instance.intent.clone()),
                max_lifetime: Some(instance.max_lifetime),
                state: change.state,
                launched_at: instance.launched_at,
                instance_type: Arc::clone(&instance.instance_type),
                subnet: Some(Arc::clone(&instance.subnet)),
                market: instance.market,
                draining: change.draining,
                stages: Vec::new(),
                own_word: instance.own_word,
                runner_version: None,
                state_reason: change.reason.map(str::to_owned),
            });
        }
        rows
    }
}

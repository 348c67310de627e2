//! Launches that were asked for and have no certain answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::World;
use crate::effect::{Launch, Launched, Source};
use crate::ids::{InstanceId, Intent, PoolName};
use crate::launch::LaunchRecord;
use crate::runner::CONSISTENCY_LAG;
use crate::stage::Stage;
use crate::time::Time;

/// How often a launch without a certain answer is asked for. After that, a sweep shows what came of the launch.
const LAUNCH_ATTEMPTS: u32 = 4;

/// A launch that was asked for and has no certain answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    launch: Arc<Launch>,
    first_asked: Time,
    last_asked: Time,
    attempts: u32,
    call: Call,
    /// The words of the operator who wants the instances to end; may be empty. None: nobody wants that.
    ordered: Option<String>,
    /// A predecessor asked first. It may have configured the instances already, so they are found instances.
    inherited: bool,
    /// Whether a sweep has been complete since. Until then, an inherited launch can't be repeated.
    looked: bool,
    /// Instances of this launch that sweeps have shown meanwhile.
    seen: BTreeSet<InstanceId>,
}

/// The state of the last call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    UnderWay,
    /// This call, or an earlier one, ended without a certain answer.
    Unanswered,
    /// The launch is never repeated, because another request has taken its token, or because a predecessor had the answer. A sweep
    /// shows what came of it.
    LeftToSweep,
}

impl Pending {
    /// The request. A repeated call sends the same bytes.
    pub fn launch(&self) -> &Arc<Launch> {
        &self.launch
    }

    /// The pool that the instances are for.
    pub fn pool(&self) -> &PoolName {
        &self.launch.pool
    }

    /// Whether a call is under way.
    pub fn is_under_way(&self) -> bool {
        self.call == Call::UnderWay
    }

    /// Whether a predecessor asked for the launch first.
    pub fn is_inherited(&self) -> bool {
        self.inherited
    }

    /// Whether the launch may be repeated now. The waits after the calls are 2, 4 and 8 s.
    pub fn may_be_repeated(&self, now: Time) -> bool {
        self.call == Call::Unanswered
            && self.attempts < LAUNCH_ATTEMPTS
            && now >= self.last_asked + Duration::from_secs(1 << self.attempts.min(6))
    }

    /// The number of instances that may still turn up.
    pub fn outstanding(&self) -> u32 {
        self.launch.count.saturating_sub(u32::try_from(self.seen.len()).unwrap_or(u32::MAX))
    }

    /// A sweep shows an instance of this launch. Returns the words of the operator who wants the launch's instances to end. None: a
    /// predecessor asked for the instance first.
    pub(super) fn shows(&mut self, id: &InstanceId) -> Option<Option<String>> {
        self.seen.insert(id.clone());
        (!self.inherited).then(|| self.ordered.clone())
    }
}

impl World {
    /// The launches without a certain answer, by intent.
    pub fn pending(&self) -> &BTreeMap<Intent, Pending> {
        &self.pending
    }

    /// The number of instances that may still turn up, over the launches that `counts` picks.
    pub fn outstanding(&self, counts: impl Fn(&Launch) -> bool) -> u32 {
        self.pending.values().filter(|p| counts(&p.launch)).map(Pending::outstanding).sum()
    }

    /// Notes a launch, just before its first call.
    pub fn launch_asked(&mut self, launch: Arc<Launch>, now: Time) {
        let intent = launch.intent.clone();
        let (call, seen) = (Call::UnderWay, BTreeSet::new());
        let pending = Pending {
            launch,
            first_asked: now,
            last_asked: now,
            attempts: 1,
            call,
            ordered: None,
            inherited: false,
            looked: true,
            seen,
        };
        self.pending.insert(intent, pending);
    }

    /// Takes over a launch of the predecessor's. Without an answer it is asked for again, with the same token.
    pub fn inherit_launch(&mut self, record: &LaunchRecord, now: Time) {
        let mut launch = record.launch.clone();
        let call = match &record.launched {
            Some(instances) if instances.is_empty() => return,
            Some(instances) => {
                Arc::make_mut(&mut launch).count = u32::try_from(instances.len()).unwrap_or(u32::MAX);
                Call::LeftToSweep
            }
            None => Call::Unanswered,
        };
        let (intent, seen) = (launch.intent.clone(), BTreeSet::new());
        let pending = Pending {
            launch,
            first_asked: now,
            last_asked: now,
            attempts: 1,
            call,
            ordered: None,
            inherited: true,
            looked: false,
            seen,
        };
        self.pending.insert(intent, pending);
    }

    /// Notes another call of a launch, just before the call.
    pub fn launch_repeated(&mut self, intent: &Intent, now: Time) {
        if let Some(p) = self.pending.get_mut(intent) {
            (p.call, p.last_asked, p.attempts) = (Call::UnderWay, now, p.attempts + 1);
        }
    }

    /// Takes in EC2's answer. The instances in the answer are ours from now on. Returns how many of the launch's count are
    /// missing.
    pub fn launch_answered(&mut self, intent: &Intent, answer: &Launched, now: Time) -> u32 {
        if let Some(pending) = self.pending.get_mut(intent).filter(|p| p.inherited) {
            let missing = pending.launch.count.saturating_sub(u32::try_from(answer.instances.len()).unwrap_or(u32::MAX));
            Arc::make_mut(&mut pending.launch).count -= missing;
            (pending.call, pending.last_asked) = (Call::LeftToSweep, now);
            return missing;
        }
        let Some(pending) = self.pending.remove(intent) else { return 0 };
        for i in &answer.instances {
            let runner = self.entry(&i.id, pending.pool(), pending.first_asked);
            runner.given_by_ec2(i, &pending.launch.list_id, pending.ordered.as_ref());
            self.reached(&i.id, Stage::Launched, now);
        }
        pending.launch.count.saturating_sub(u32::try_from(answer.instances.len()).unwrap_or(u32::MAX))
    }

    /// The call ended, and nobody knows whether the launch took effect.
    pub fn launch_unanswered(&mut self, intent: &Intent, now: Time) {
        if let Some(p) = self.pending.get_mut(intent) {
            (p.call, p.last_asked) = (Call::Unanswered, now);
        }
    }

    /// Another request has taken the launch's token, so the launch is never repeated. A sweep shows what came of the launch.
    pub fn launch_token_taken(&mut self, intent: &Intent, now: Time) {
        if let Some(p) = self.pending.get_mut(intent) {
            (p.call, p.last_asked) = (Call::LeftToSweep, now);
        }
    }

    /// The last call certainly did not take effect. If an earlier call got no answer, a sweep shows what came of that call.
    ///
    /// Decision 0010, row 5.
    pub fn launch_refused(&mut self, intent: &Intent) {
        match self.pending.get_mut(intent) {
            Some(p) if p.attempts > 1 => p.call = Call::Unanswered,
            _ => drop(self.pending.remove(intent)),
        }
    }

    /// An operator wants the instances of a pool's launches to end. Returns the number of instances that may still turn up.
    pub fn order_launches_to_end(&mut self, pool: &PoolName, why: &str) -> u32 {
        for p in self.pending.values_mut().filter(|p| p.pool() == pool) {
            p.ordered = Some(why.to_owned());
        }
        self.outstanding(|launch| launch.pool == *pool)
    }

    /// Gives up on launches whose outcome nobody knows, once a sweep must have shown whatever came of them. Returns the pools of
    /// these launches.
    pub fn give_up_launches(&mut self) -> Vec<PoolName> {
        let Some(began) = self.swept(&Source::Instances) else { return Vec::new() };
        // A successor's first sweep may come late. Its time to ask for what it inherited begins then.
        for p in self.pending.values_mut().filter(|p| !p.looked) {
            (p.looked, p.last_asked) = (true, p.last_asked.max(began));
        }
        let over = |p: &Pending| !p.is_under_way() && (began >= p.last_asked + CONSISTENCY_LAG || p.outstanding() == 0);
        let out: Vec<Intent> = self.pending.iter().filter(|(_, p)| over(p)).map(|(i, _)| i.clone()).collect();
        out.iter().filter_map(|i| self.pending.remove(i)).map(|p| p.launch.pool.clone()).collect()
    }
}

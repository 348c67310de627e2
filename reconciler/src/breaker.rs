//! A pool's breaker: after some interruptions of instances with jobs, the pool buys on-demand for a while. Then one spot instance tries.
//!
//! What counts is read from the records of the runners whenever the pool is planned. So it does not matter whether EC2's notice came,
//! came twice, or only a sweep told EC2's reason for the end: an instance counts once. A new process begins with a closed breaker.
//!
//! Decision 0026.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::InstanceId;
use crate::manifest::SpotBreaker;
use crate::market::Market;
use crate::reason::Tripped;
use crate::runner::Runner;
use crate::time::Time;

/// When EC2 has refused the spot instance that would have tried, another one tries this much later. Jobs must not wait for the trial.
const PROBE_AGAIN: Duration = Duration::from_secs(600);

/// The markets of a pool whose breaker is open. If EC2 has no on-demand capacity, a job on spot is better than a job that waits.
pub const WHILE_TRIPPED: &[Market] = &[Market::OnDemand, Market::Spot];

/// What a pool's breaker remembers.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    /// The instances with jobs that spot took back, and when muster learnt that. Each is kept for as long as its runner is known, so
    /// that it counts once.
    taken_back: BTreeMap<InstanceId, Time>,
    /// Interruptions up to this time do not count any more, because the breaker has closed since. None: all count.
    closed_at: Option<Time>,
    /// None: the breaker is closed.
    tripped: Option<Tripped>,
    /// Whether spot took back an instance since the last look.
    news: bool,
    /// Whether a spot instance tries now.
    probed: bool,
}

/// What has just happened to a breaker.
#[derive(Clone, Debug, PartialEq)]
pub enum Swing {
    /// The breaker opened.
    Opened,
    /// Spot took an instance back while one tried, so the breaker is open for another while.
    OpenedAgain,
    /// The breaker closed, because this instance has served without an interruption.
    Closed(InstanceId),
}

impl Breaker {
    /// Takes in what is known of the pool's runners. `known` says whether a runner is still known. None: nothing has changed.
    pub fn look<'a>(
        &mut self,
        settings: &SpotBreaker,
        runners: impl Iterator<Item = (&'a InstanceId, &'a Runner)> + Clone,
        known: impl Fn(&InstanceId) -> bool,
        now: Time,
    ) -> Option<Swing> {
        if settings.interruptions == 0 {
            *self = Breaker::default();
            return None;
        }
        let (within, open_for) = (settings.within.get(), settings.open_for.get());
        for (id, _) in runners.clone().filter(|(_, r)| r.loses_job_to_spot()) {
            self.lost_job(id, now);
        }
        let news = std::mem::take(&mut self.news);
        self.taken_back.retain(|id, at| now.since(*at) < within || known(id));
        let Some(tripped) = &mut self.tripped else {
            let counts = |at: &&Time| now.since(**at) < within && self.closed_at.is_none_or(|closed| **at > closed);
            let interruptions = u32::try_from(self.taken_back.values().filter(counts).count()).unwrap_or(u32::MAX);
            if interruptions < settings.interruptions {
                return None;
            }
            self.tripped = Some(Tripped { interruptions, within, until: now + open_for });
            self.probed = false;
            return Some(Swing::Opened);
        };
        let probing = now >= tripped.until;
        let mut probes = runners.filter(|(_, r)| probing && r.bought_on_spot_since(tripped.until));
        if news || probes.clone().any(|(_, r)| r.taken_back()) {
            tripped.until = now + open_for;
            self.probed = false;
            return probing.then_some(Swing::OpenedAgain);
        }
        self.probed = probes.clone().any(|(_, r)| r.gone_at().is_none());
        let (id, _) = probes.find(|(_, r)| r.left_to_serve(open_for, now))?;
        (self.tripped, self.closed_at) = (None, Some(now));
        Some(Swing::Closed(id.clone()))
    }

    /// Spot took this instance back from its job. It counts once.
    pub fn lost_job(&mut self, instance: &InstanceId, now: Time) {
        self.news |= !self.taken_back.contains_key(instance);
        self.taken_back.entry(instance.clone()).or_insert(now);
    }

    /// EC2 did not give the spot instance that was to try, or gave no certain answer.
    pub fn spot_refused(&mut self, now: Time) {
        if let Some(tripped) = self.tripped.as_mut().filter(|tripped| tripped.until <= now && !self.probed) {
            tripped.until = now + PROBE_AGAIN;
        }
    }

    /// What opened the breaker. None: the breaker is closed.
    pub fn tripped(&self) -> Option<&Tripped> {
        self.tripped.as_ref()
    }

    /// Whether a spot instance may try now.
    pub fn lets_one_try(&self, now: Time) -> bool {
        !self.probed && self.tripped.as_ref().is_some_and(|tripped| tripped.until <= now)
    }
}

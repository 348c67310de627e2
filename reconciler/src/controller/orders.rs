//! How the controller takes an operator's orders ([`crate::steer`]).

use std::collections::{BTreeMap, BTreeSet};

use super::Controller;
use crate::cases::CaseState;
use crate::ids::{InstanceId, JobId, PoolName};
use crate::journal::{What, Whom};
use crate::reason::{EventReason, OrderAnswer, OrderRefusal};
use crate::steer::{Order, Pause};
use crate::time::Time;

impl Controller {
    /// Takes an order and returns the answer for the operator. The next steps carry out the order.
    ///
    /// # Errors
    /// When the order names a pool or runner that does not exist.
    pub fn order(&mut self, order: &Order, now: Time) -> Result<OrderAnswer, OrderRefusal> {
        if let Some(recorder) = &mut self.recorder {
            recorder.order(order, now);
        }
        match order {
            Order::Pause(pool, why) => {
                self.known(pool)?;
                let before = self.paused.contains_key(pool);
                let pause = self.paused.entry(pool.clone()).or_insert_with(|| Pause { since: now, why: why.clone() }).clone();
                self.note_order(What::Paused, Whom::pool(pool), why, now);
                let answer = if before { OrderAnswer::PausedBefore } else { OrderAnswer::Paused };
                Ok(answer(pool.clone(), pause))
            }
            Order::Resume(pool) => {
                let was = self.paused.remove(pool);
                if was.is_none() {
                    self.known(pool)?;
                    return Ok(OrderAnswer::NotPaused(pool.clone()));
                }
                self.note_order(What::Resumed, Whom::pool(pool), "", now);
                Ok(OrderAnswer::Resumed(pool.clone()))
            }
            Order::DrainRunner(id, why) => {
                let Some(runner) = self.world.runners().get(id) else { return Err(OrderRefusal::NoRunner(id.clone())) };
                let whom = Whom::runner(runner.pool(), id);
                let answer = match (runner.drain(), runner.gone_at()) {
                    (_, Some(_)) => return Ok(OrderAnswer::RunnerGone(id.clone())),
                    (Some(_), _) => OrderAnswer::RunnerAskedBefore(id.clone()),
                    (None, _) => OrderAnswer::RunnerAsked(id.clone()),
                };
                self.order_drain(id, why);
                self.note_order(What::DrainOrdered, whom, why, now);
                Ok(answer)
            }
            Order::DrainPool(pool, why) => {
                self.known(pool)?;
                let runners =
                    self.world.runners().iter().filter(|(_, r)| r.pool() == pool && r.gone_at().is_none() && r.drain().is_none());
                let ids: Vec<InstanceId> = runners.map(|(id, _)| id.clone()).collect();
                for id in &ids {
                    self.order_drain(id, why);
                }
                // Instances of launches without a certain answer belong to the pool, too.
                let asked = ids.len() as u64 + u64::from(self.world.order_launches_to_end(pool, why));
                self.note_order(What::DrainOrdered, Whom::pool(pool), why, now);
                let paused = self.paused.contains_key(pool);
                Ok(OrderAnswer::PoolAsked { pool: pool.clone(), runners: asked, paused })
            }
            Order::RerunJob(job, why) => self.rerun_job(*job, why, now),
            Order::RerunPool(pool, why) => {
                self.known(pool)?;
                let runs: BTreeSet<_> = self.cases.aside().filter(|case| case.pool == *pool).map(|case| case.event.run).collect();
                match self.run_again(&runs, why, now) {
                    0 => Err(OrderRefusal::NothingLost(pool.clone())),
                    jobs => Ok(OrderAnswer::JobsAgain { jobs }),
                }
            }
        }
    }

    /// The other lost jobs of the run run again, too. Otherwise GitHub would begin an attempt without them, and take no other order.
    fn rerun_job(&mut self, job: JobId, why: &str, now: Time) -> Result<OrderAnswer, OrderRefusal> {
        if matches!(self.cases.get(job).map(|case| &case.state), Some(CaseState::Lost { .. })) {
            return Ok(OrderAnswer::JobAgainBefore(job));
        }
        let run = self.cases.aside().find(|case| case.event.job == job).map(|case| case.event.run);
        let Some(run) = run else { return Err(OrderRefusal::NotLost(job)) };
        let jobs = self.run_again(&[run].into(), why, now);
        Ok(OrderAnswer::JobsAgain { jobs })
    }

    /// Sets the pools that an earlier process was asked to pause. Must be called before the first manifests come in.
    pub fn set_paused(&mut self, paused: BTreeMap<PoolName, Pause>) {
        self.paused = paused;
    }

    fn known(&self, pool: &PoolName) -> Result<(), OrderRefusal> {
        let runners = || self.world.runners().values().any(|r| r.pool() == pool);
        if self.spec.pools.contains_key(pool) || runners() {
            return Ok(());
        }
        let names: Vec<&str> = self.spec.pools.keys().map(PoolName::as_str).collect();
        Err(OrderRefusal::NoPool(pool.clone(), names.join(", ")))
    }

    fn order_drain(&mut self, id: &InstanceId, why: &str) {
        if let Some(runner) = self.world.runner_mut(id) {
            runner.order_to_end(why);
        }
    }

    fn note_order(&mut self, what: What, whom: Whom, why: &str, now: Time) {
        if let Some(pool) = &whom.pool {
            let pool = pool.clone();
            self.mark(&pool, now);
        }
        self.journal.note(now, what, whom, EventReason::ByOperator { why: why.to_owned() });
    }
}

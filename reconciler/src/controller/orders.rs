//! The controller takes an operator's orders ([`crate::steer`]).

use std::collections::BTreeMap;

use super::Controller;
use crate::ids::{InstanceId, PoolName};
use crate::journal::{What, Whom};
use crate::reason::{EventReason, count};
use crate::steer::{Order, Pause, Refusal};
use crate::time::Time;

impl Controller {
    /// Takes an order, and says what comes of it. What is to be done follows with the next steps.
    ///
    /// # Errors
    /// When there is no such pool or runner.
    pub fn order(&mut self, order: &Order, now: Time) -> Result<String, Refusal> {
        match order {
            Order::Pause(pool, why) => {
                self.known(pool)?;
                let pause = Pause { since: now, why: why.clone() };
                let said = match self.paused.get(pool) {
                    Some(_) => format!("pool {pool} was paused already"),
                    None => format!("pool {pool} is paused: it launches nothing, and its runners go on"),
                };
                self.paused.entry(pool.clone()).or_insert(pause);
                self.note_order(What::Paused, Whom::pool(pool), why, now);
                Ok(said)
            }
            Order::Resume(pool) => {
                let was = self.paused.remove(pool);
                if was.is_none() {
                    self.known(pool)?;
                    return Ok(format!("pool {pool} was not paused"));
                }
                self.note_order(What::Resumed, Whom::pool(pool), "", now);
                Ok(format!("pool {pool} goes on"))
            }
            Order::DrainRunner(id, why) => {
                let Some(runner) = self.world.runners().get(id) else { return Err(Refusal::NoRunner(id.clone())) };
                let whom = Whom::runner(runner.pool(), id);
                let said = match (runner.drain(), runner.gone_at()) {
                    (_, Some(_)) => return Ok(format!("runner {id} is gone already")),
                    (Some(_), _) => format!("runner {id} is asked to end already"),
                    (None, _) => format!("runner {id} is asked to end once it is idle; a job on it runs to its end"),
                };
                self.wish(id, why);
                self.note_order(What::DrainOrdered, whom, why, now);
                Ok(said)
            }
            Order::DrainPool(pool, why) => {
                self.known(pool)?;
                let boxes =
                    self.world.runners().iter().filter(|(_, r)| r.pool() == pool && r.gone_at().is_none() && r.drain().is_none());
                let ids: Vec<InstanceId> = boxes.map(|(id, _)| id.clone()).collect();
                for id in &ids {
                    self.wish(id, why);
                }
                let mut asked = ids.len() as u64;
                // What was asked for and is not known yet is of the pool too.
                for pending in self.world.pending_all_mut().filter(|p| p.launch.pool == *pool) {
                    asked += u64::from(pending.outstanding());
                    pending.wish = Some(why.clone());
                }
                self.note_order(What::DrainOrdered, Whom::pool(pool), why, now);
                let more =
                    if self.paused.contains_key(pool) { "" } else { "; new ones are launched for jobs, as it is not paused" };
                let when = if asked == 1 { "is asked to end once it is idle" } else { "are asked to end once they are idle" };
                Ok(format!("{} of pool {pool} {when}{more}", count(asked, "runner")))
            }
        }
    }

    /// The pools that an earlier process was asked to pause. To be told before the manifests.
    pub fn set_paused(&mut self, paused: BTreeMap<PoolName, Pause>) {
        self.paused = paused;
    }

    fn known(&self, pool: &PoolName) -> Result<(), Refusal> {
        let boxes = || self.world.runners().values().any(|r| r.pool() == pool);
        if self.spec.pools.contains_key(pool) || boxes() {
            return Ok(());
        }
        let names: Vec<&str> = self.spec.pools.keys().map(PoolName::as_str).collect();
        Err(Refusal::NoPool(pool.clone(), names.join(", ")))
    }

    fn wish(&mut self, id: &InstanceId, why: &str) {
        if let Some(runner) = self.world.runner_mut(id) {
            runner.wish_to_end(why);
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

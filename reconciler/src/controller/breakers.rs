//! Opens and closes the pools' breakers, and tells of it.

use super::Controller;
use super::pool_state::PoolState;
use crate::breaker::Swing;
use crate::cases::Case;
use crate::effect::Launch;
use crate::fact::Fact;
use crate::ids::PoolName;
use crate::journal::{Journal, What, Whom};
use crate::manifest::Spec;
use crate::market::Market;
use crate::plan::Member;
use crate::reason::EventReason;
use crate::time::Time;
use crate::verdict::{Cause, JobVerdict};
use crate::world::World;

/// Takes in what is known of a pool's runners.
///
/// Decision 0026.
pub(super) fn look(
    spec: &Spec,
    world: &World,
    state: &mut PoolState,
    journal: &mut Journal,
    pool: (&PoolName, &[Member<'_>]),
    now: Time,
) -> Option<Fact> {
    let (name, runners) = pool;
    let settings = spec.pools.get(name)?.spec.instance.breaker;
    let runners = runners.iter().map(|(id, runner, _)| (*id, *runner));
    let swing = state.breaker.look(&settings, runners, |id| world.runners().contains_key(id), now)?;
    if let Swing::Closed(instance) = &swing {
        journal.note(now, What::BreakerClosed, Whom::runner(name, instance), EventReason::BreakerClosed);
        return Some(Fact::BreakerClosed { pool: name.clone() });
    }
    let (tripped, again) = (state.breaker.tripped()?.clone(), swing == Swing::OpenedAgain);
    let why = EventReason::BreakerOpened { tripped, open_for: settings.open_for.get(), again };
    journal.note(now, What::BreakerOpened, Whom::pool(name), why);
    Some(Fact::BreakerOpened { pool: name.clone() })
}

impl Controller {
    /// It is known what ended a job. An event may have told the job's end before anything told that spot took the instance back.
    pub(super) fn note_verdict(&mut self, case: &Case, verdict: JobVerdict, now: Time) {
        let counts = self.spec.pools.get(&case.pool).is_some_and(|p| p.spec.instance.breaker.interruptions > 0);
        if counts
            && verdict == JobVerdict::Infrastructure(Cause::Interruption)
            && let Some(state) = self.pools.get_mut(&case.pool)
        {
            state.breaker.lost_job(&case.instance, now);
            self.mark(&case.pool, now);
        }
    }

    /// A launch gave no instance, or fewer than asked for. The spot instance that was to try may be among the missing ones.
    pub(super) fn note_missing_spot(&mut self, launch: &Launch, now: Time) {
        if let Some(state) = self.pools.get_mut(&launch.pool).filter(|_| launch.market == Market::Spot) {
            state.breaker.spot_refused(now);
        }
    }
}

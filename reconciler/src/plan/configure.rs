//! Which runners get their configuration now.

use super::{Member, Planner};
use crate::effect::Source;
use crate::reason::{Refused, StepReason};
use crate::runner::{Act, Configured, Phase, Runner};
use crate::time::Time;

impl Planner<'_> {
    /// Configures the runners that wait for their configuration. A runner that this process found, and did not launch, may have
    /// its configuration from a predecessor. Sweeps of GitHub's list and of the secrets, since our start, show that.
    ///
    /// Decision 0010, row 2.
    pub(super) fn configure(&mut self, runners: &[Member<'_>], refused: Option<&(Time, Refused)>) {
        let Some(pool) = self.pool else { return };
        // When GitHub or SSM refuses one configuration of a pool, it refuses them all. The pool then retries with a single
        // instance until one succeeds.
        let mut left = match refused {
            Some((until, _)) if self.now < *until || runners.iter().any(|(_, r, p)| p.is_supply() && r.effect_under_way()) => {
                return;
            }
            Some(_) => 1,
            None => usize::MAX,
        };
        let world = self.view.world;
        let told = world.swept(&Source::Runners(pool.list_id())).is_some() && world.swept(&Source::Secrets).is_some();
        for (id, r, phase) in runners {
            if !matches!(phase, Phase::Launching | Phase::Booting | Phase::Configured) {
                continue;
            }
            let stays = r.unanswered().is_none() && r.is_free(self.now);
            let waits = stays && *phase != Phase::Configured;
            let young = r.up_for(self.now) < self.boot_deadline();
            let sure = r.launched_here() || told && r.instance().is_some() && young;
            let halfway = stays && *phase == Phase::Configured && told && self.left_halfway(r);
            // A runner that is bound to a list is configured for that list, or not at all.
            let fits = r.bound_to().is_none_or(|list| *list == pool.list_id());
            if (waits && sure || halfway) && fits && !self.planned(id) && left > 0 {
                left -= 1;
                let why = match r.configured() {
                    Configured::Unsure => StepReason::PerhapsRegistered,
                    Configured::Seen => StepReason::HalfConfigured,
                    Configured::No | Configured::Yes(_) => StepReason::Boots,
                };
                self.step(id, Act::Configure, why);
            }
        }
    }

    /// Whether a predecessor minted the configuration and died before it handed the configuration over. The signs are: the runner
    /// is offline, there is no secret, and half of the boot deadline is over. If the instance has read the secret after all, the
    /// runner fails to register and is replaced. It has no job.
    ///
    /// Decision 0010, row 7.
    fn left_halfway(&self, r: &Runner) -> bool {
        let offline = r.listed().is_some_and(|g| !g.is_in_use());
        let waited = self.now.since(r.first_seen()) >= self.boot_deadline() / 2;
        r.configured() == Configured::Seen && offline && !r.has_secret() && waited && r.instance().is_some()
    }
}

//! Which runners get their configuration now.

use super::{Gate, Planner, Runners};
use crate::effect::Source;
use crate::reason::StepReason;
use crate::runner::{Act, Configured, Phase, Runner};

impl Planner<'_> {
    /// Runners that wait for their configuration. One that was found, not launched by this process, may have been configured
    /// by a predecessor: GitHub's list and the secrets, seen since our start, tell that.
    ///
    /// Decision 0010, row 2.
    pub(super) fn configure(&mut self, runners: &Runners<'_>, gate: &Gate) {
        let Some(pool) = self.pool else { return };
        // What one runner is refused, all are: one at a time asks again, until one is not.
        let mut left = match &gate.refused {
            Some((until, _)) if self.now < *until || runners.iter().any(|(_, r, p)| p.is_supply() && r.effect_under_way()) => {
                return;
            }
            Some(_) => 1,
            None => usize::MAX,
        };
        let world = self.view.world;
        let told = world.swept(&Source::Runners(pool.forge())).is_some() && world.swept(&Source::Secrets).is_some();
        for (id, r, phase) in runners {
            let stays = r.unanswered().is_none() && r.is_free(self.now);
            let waits = stays && matches!(phase, Phase::Launching | Phase::Booting);
            let young = r.up_for(self.now) < self.boot_deadline();
            let sure = r.launched_here() || told && r.instance().is_some() && young;
            let halfway = stays && *phase == Phase::Configured && told && self.left_halfway(r);
            // For the list of its launch, or not at all.
            let fits = r.bound_to().is_none_or(|list| *list == pool.forge());
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

    /// A predecessor minted its configuration and may have died before it handed it over: offline, no secret, and half of
    /// its boot deadline gone. Should the runner have read it after all, it fails to register and is replaced; it has no job.
    ///
    /// Decision 0010, row 7.
    fn left_halfway(&self, r: &Runner) -> bool {
        let offline = r.listed().is_some_and(|g| !g.is_in_use());
        let waited = self.now.since(r.first_seen()) >= self.boot_deadline() / 2;
        r.configured() == Configured::Seen && offline && !r.has_secret() && waited && r.instance().is_some()
    }
}

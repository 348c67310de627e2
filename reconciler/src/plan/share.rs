//! How much of a pool the jobs of each repository have.

use std::collections::BTreeMap;

use super::Member;
use crate::demand::Demand;

/// The runners that each repository has, or that are launched for it. GitHub compares names without regard to case.
pub(super) struct Shares {
    most: u32,
    taken: BTreeMap<String, u32>,
}

impl Shares {
    /// The runners that have a job. A runner whose job nobody told counts for no repository.
    pub(super) fn taken(most: u32, demand: &Demand, runners: &[Member<'_>]) -> Shares {
        let mut shares = Shares { most, taken: BTreeMap::new() };
        for job in runners.iter().filter_map(|(_, runner, _)| demand.running_on(runner)) {
            *shares.of(&job.event.repo) += 1;
        }
        shares
    }

    /// Takes one more runner for a repository. Returns whether the repository may have it.
    pub(super) fn take(&mut self, repo: &str) -> bool {
        let most = self.most;
        let taken = self.of(repo);
        let fits = *taken < most;
        *taken += u32::from(fits);
        fits
    }

    fn of(&mut self, repo: &str) -> &mut u32 {
        self.taken.entry(repo.to_ascii_lowercase()).or_default()
    }
}

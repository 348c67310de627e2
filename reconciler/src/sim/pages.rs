//! The calls that a sweep takes beyond its first: one for each further page of the real API. The simulated pages are
//! smaller, so that small runs have several; what is counted is what would be called.

use crate::effect::Source;

use super::World;

impl World {
    /// Counts the further pages of a sweep that has just been answered.
    pub(super) fn count_pages(&mut self, source: &Source) {
        let (api, rows, page) = match source {
            // Page sizes: `src/aws/ec2.rs`, `src/github/runners.rs`, `src/aws/ssm.rs`.
            Source::Instances => ("DescribeInstances", self.cloud.instances().len(), 1000),
            Source::Runners(list) => {
                let of_list = |pool| self.spec.pools.get(pool).is_some_and(|p| p.forge() == *list);
                let rows = self.forge.registrations().values().filter(|r| of_list(&r.name.pool)).count();
                ("ListRunners", rows, 100)
            }
            Source::Secrets => ("GetParametersByPath", self.cloud.secrets.len(), 50),
        };
        *self.calls.entry(api).or_default() += (rows.div_ceil(page) as u64).saturating_sub(1);
    }
}

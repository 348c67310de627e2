//! What complete sweeps show.

use std::collections::{BTreeMap, BTreeSet};

use super::{Elsewhere, Stillborn, World};
use crate::effect::{InstanceSighting, RunnerSighting, Source};
use crate::event::InstanceState;
use crate::ids::{InstanceId, ListId, PoolName, RunnerId};
use crate::time::Time;
use crate::verdict::MachineEnd;

impl World {
    /// Takes in a complete sweep of the instances, which began at `began`.
    pub fn saw_instances(&mut self, seen: &[InstanceSighting], began: Time, now: Time) {
        let (mut shown, mut late) = (BTreeSet::new(), BTreeMap::new());
        for s in seen {
            shown.insert(&s.id);
            // Also an instance that has ended settles what came of its launch.
            let ordered = s.intent.as_ref().and_then(|i| self.pending.get_mut(i)).and_then(|p| p.shows(&s.id));
            if s.state == InstanceState::Terminated && !self.runners.contains_key(&s.id) {
                let looked = |list: &ListId| self.freshness(&Source::Runners(list.clone())).is_some_and(|f| f.previous.is_some());
                self.left_lists.extend(s.list_id.clone().filter(|list| !looked(list)));
                if let Some(end) = self.watched.get_mut(&s.id) {
                    *end = MachineEnd { reason: s.state_reason.clone(), own_word: s.own_word };
                }
                continue;
            }
            let runner = self.entry(&s.id, &s.pool, now);
            if let Some(ordered) = ordered {
                runner.found_to_be_ours(ordered.as_ref());
            }
            // An event may tell that an instance ended before a sweep tells why.
            if runner.end_is_unexplained() && s.state_reason.is_some() {
                let (tried, reason) = (runner.tried(), s.state_reason.clone());
                let (pool, instance) = (s.pool.clone(), s.id.clone());
                late.insert(&s.id, Stillborn { pool, instance, tried, reason, late: true });
            }
            runner.shown_by_ec2(s, began, now);
            let reads_stages = runner.reads_stages(&s.stages);
            if !self.elsewhere.is_empty() {
                self.find_row(&s.id, now);
            }
            if reads_stages {
                for (stage, at) in &s.stages {
                    self.reached(&s.id, *stage, *at);
                }
            }
        }
        for runner in self.runners.iter_mut().filter(|(id, _)| !shown.contains(id)).map(|(_, runner)| runner) {
            runner.missed_by_ec2(began);
        }
        self.stillborn.extend(late.into_values());
        self.sweep_done(Source::Instances, began);
        self.bury(now);
    }

    /// Takes in a complete sweep of one list of runners. `seen` is None when nothing changed since the last sweep. Returns the new
    /// registrations that have the name of a runner of ours and are not its registration, because its own is in another list. Whoever
    /// may register a runner in some list can choose such a name.
    ///
    /// Decision 0023.
    pub fn saw_runners(
        &mut self,
        list_id: &ListId,
        seen: Option<&[RunnerSighting]>,
        began: Time,
        now: Time,
    ) -> Vec<(InstanceId, RunnerId)> {
        let (mut listed, mut impostors) = (BTreeSet::new(), Vec::new());
        for s in seen.unwrap_or_default() {
            listed.insert(s.name.instance.clone());
            if self.is_elsewhere(list_id, s, &mut impostors) {
                continue;
            }
            let runner = self.entry(&s.name.instance, &s.name.pool, now);
            runner.shown_by_list(list_id, s, now);
        }
        if seen.is_some() {
            self.elsewhere.retain(|(id, list), _| list != list_id || listed.contains(id));
        }
        for (id, runner) in &mut self.runners {
            runner.list_swept(list_id, seen.is_some().then(|| listed.contains(id)), began);
        }
        let ids: Vec<InstanceId> =
            self.runners.iter().filter(|(_, r)| r.registration().is_some()).map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.note_presence(&id, now);
        }
        self.sweep_done(Source::Runners(list_id.clone()), began);
        if self.freshness(&Source::Runners(list_id.clone())).is_some_and(|f| f.previous.is_some()) {
            self.left_lists.remove(list_id);
        }
        self.bury(now);
        impostors
    }

    /// Whether the row is in another list than the list of the runner with this name. New rows of somebody else are added to
    /// `impostors`.
    fn is_elsewhere(&mut self, list_id: &ListId, s: &RunnerSighting, impostors: &mut Vec<(InstanceId, RunnerId)>) -> bool {
        let id = &s.name.instance;
        let key = (id.clone(), list_id.clone());
        let known = self.elsewhere.get(&key).filter(|known| known.row.id == s.id);
        let was_foreign = known.is_some_and(|known| known.foreign);
        let Some(runner) = self.runners.get(id) else {
            if !was_foreign {
                self.elsewhere.remove(&key);
            }
            return was_foreign;
        };
        let Some(own) = runner.list().filter(|own| *own != list_id) else {
            self.elsewhere.remove(&key);
            return false;
        };
        // Another App in the same organisation sees the same runners. Their own App's list tells of them.
        if !own.scope.to_string().eq_ignore_ascii_case(&list_id.scope.to_string()) {
            let foreign = runner.instance().is_some() || runner.launched_here();
            if foreign && !was_foreign {
                impostors.push((id.clone(), s.id));
            }
            self.elsewhere.insert(key, Elsewhere { row: s.clone(), foreign });
        }
        true
    }

    /// EC2 says which list is the runner's own. If that list's row was taken for somebody else's, it is the runner's now.
    fn find_row(&mut self, id: &InstanceId, now: Time) {
        let Some(runner) = self.runners.get_mut(id).filter(|r| r.registration().is_none()) else { return };
        let Some(list) = runner.bound_to().cloned() else { return };
        if let Some(Elsewhere { row, .. }) = self.elsewhere.remove(&(id.clone(), list.clone())) {
            runner.shown_by_list(&list, &row, now);
        }
    }

    /// Takes in a complete sweep of the secrets. A secret shows that somebody configured its instance.
    pub fn saw_secrets(&mut self, seen: &[InstanceId], began: Time, now: Time) {
        let there: BTreeSet<&InstanceId> = seen.iter().collect();
        for id in seen {
            // The secret does not name a pool. The instance or the registration names the pool later.
            let runner = self.entry(id, &PoolName::default(), now);
            runner.secret_shown();
        }
        for (id, runner) in &mut self.runners {
            if !there.contains(id) {
                runner.secret_missed(began);
            }
        }
        self.sweep_done(Source::Secrets, began);
        self.bury(now);
    }
}

//! What each effect does when it takes effect. These are the simulator's counterparts of the adapters in `src/aws` and
//! `src/github`.

use std::sync::Arc;

use muster_reconciler::effect::{Action, Launch, Outcome, RunnerSighting, Source, Swept};
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::{EffectId, InstanceId, ListId as List, RunId};
use muster_reconciler::late::{NoticeKey, NoticeText};
use muster_reconciler::market::Market;
use muster_reconciler::rerun::Again;

use super::Simulation;
use crate::faults::Fault;
use crate::marks::Mark;
use crate::oracle::Invariant;
use crate::request::{Put, Request};

impl Simulation {
    fn rerun(&mut self, run: RunId, again: &Again) -> Outcome {
        match self.github.rerun(run, again, &mut self.nature) {
            Ok(ends) => {
                self.oracle.judge_rerun(run, &ends, self.nature.now());
                Outcome::Done
            }
            Err(failure) => Outcome::Failed(failure),
        }
    }

    fn cancel_run(&mut self, run: RunId) -> Outcome {
        match self.github.cancel_run(run, &mut self.nature) {
            Ok(()) => {
                let (oracle, truth) = self.judge();
                oracle.judge_cancellation(run, truth);
                Outcome::Done
            }
            Err(failure) => Outcome::Failed(failure),
        }
    }

    /// Carries out the action of a request. Err: only the first half of a Configure took effect, and this is the second
    /// half.
    pub(super) fn carry_out(&mut self, request: &Request) -> Result<Outcome, Box<Put>> {
        let now = self.nature.now();
        let outcome = match &request.effect.action {
            Action::Launch(launch) => self.create_fleet(launch, request),
            Action::Configure(c) => {
                let registry = &mut self.github.registry;
                let minted = registry
                    .refuses(c, &mut self.nature)
                    .and_then(|()| c.ephemeral.then(|| registry.mint(c, &mut self.nature)).transpose());
                match minted {
                    Ok(runner) => {
                        let (process, effect) = (request.process, request.effect.id);
                        return Err(Box::new(Put { process, effect, configure: c.clone(), runner }));
                    }
                    Err(failure) => Outcome::Failed(failure),
                }
            }
            Action::Drain(ids) => self.batch(ids, |world, id| {
                if world.cloud.tag_drain(id, now) {
                    world.machines.is_tagged(id, &mut world.nature);
                }
            }),
            Action::Terminate(ids) => self.batch(ids, |world, id| world.terminate(id, request)),
            Action::Deregister { runner, .. } => match self.github.registry.delete(*runner, now) {
                Ok(None) => Outcome::Done,
                Ok(Some(deleted)) => {
                    let id = &deleted.name.instance;
                    if deleted.killed.is_some() {
                        self.kill(id, request, "its runner was deregistered");
                    }
                    self.machines.loses_session(id, &mut self.nature);
                    Outcome::Done
                }
                Err(failure) => Outcome::Failed(failure),
            },
            Action::CheckJob { job, .. } => self.github.job(*job, &mut self.nature).map_or_else(Outcome::Failed, Outcome::Job),
            Action::LookAtRun { run, .. } => {
                let found = self.github.run(*run);
                // The jobs of a run that is over are a call of their own.
                if found.over {
                    *self.calls.entry("ListRunJobs").or_default() += 1;
                }
                Outcome::Run(found)
            }
            Action::Rerun { run, again, .. } => self.rerun(*run, again),
            Action::CancelRun { run, .. } => self.cancel_run(*run),
            Action::Tell(key, text) => self.tell(key, text, request),
            Action::Redeliver { delivery, .. } => {
                self.github.mail.attempt(*delivery, &mut self.nature);
                Outcome::Done
            }
            Action::Sweep(source) => self.sweep(source, request.effect.id),
            Action::Messages(op, ids) => {
                let outcome = self.queue.operate(*op, ids, now);
                self.arm_poll();
                outcome
            }
            Action::DeleteSecrets(ids) => self.batch(ids, |world, id| {
                world.cloud.secrets.remove(id);
            }),
        };
        self.marks.see_outcome(&request.effect.action, &outcome);
        Ok(outcome)
    }

    fn tell(&mut self, key: &NoticeKey, text: &NoticeText, request: &Request) -> Outcome {
        self.github.statuses.insert(key.clone(), text.state);
        if request.held {
            // A word that was in the hand of a stopped process may be the last one on this commit (decision 0029).
            self.github.statuses.remove(key);
        } else {
            let (oracle, truth) = self.judge();
            oracle.judge_notice(key, text, request.process, truth);
        }
        Outcome::Done
    }

    fn create_fleet(&mut self, launch: &Arc<Launch>, request: &Request) -> Outcome {
        match self.cloud.create_fleet(launch, &mut self.nature) {
            Ok((launched, replayed)) => {
                let (got, asked) = (launched.instances.len(), launch.count as usize);
                if got < asked {
                    self.marks.hit(if got == 0 { Mark::EmptyFleet } else { Mark::PartialFleet });
                }
                if replayed {
                    self.marks.hit(Mark::TokenReplayed);
                }
                let surprise = self.judge_whose(request.process, &launch.intent, replayed);
                let max = if surprise { u32::MAX } else { request.max };
                let (oracle, truth) = self.judge();
                oracle.allow(if surprise { launch.count.into() } else { 0 });
                oracle.note_refusals(launch, &launched, truth.now());
                if !replayed {
                    oracle.judge_fleet(launch, &launched, max, truth);
                }
                if self.nature.trace.kept() {
                    let spot = if launch.market == Market::Spot { "spot" } else { "on-demand" };
                    let ids: Vec<&str> = launched.instances.iter().map(|i| i.id.as_str()).collect();
                    self.nature.say(format_args!("EC2 launched {} {spot} of {} asked: {ids:?}", ids.len(), launch.count));
                }
                Outcome::Launched(launched)
            }
            Err(failure) => {
                if failure.kind == FailureKind::Conflict {
                    self.oracle.blame(Invariant::S5, self.nature.now(), failure.message.clone());
                }
                Outcome::Failed(failure)
            }
        }
    }

    /// Sweeps a source, page by page. A page that fails makes the whole sweep fail.
    fn sweep(&mut self, source: &Source, effect: EffectId) -> Outcome {
        let (name, pages) = match source {
            Source::Instances => ("DescribeInstances", self.cloud.pages()),
            Source::Runners(list) => ("ListRunners", self.github.registry.pages(list)),
            Source::Secrets => ("GetParametersByPath", 1),
            Source::Deliveries(_) => ("ListDeliveries", 1),
        };
        if let Some(mut at) = self.nature.strikes(Fault::PartialSweep) {
            let read = at.below(pages);
            *self.calls.entry(name).or_default() += read;
            let message = format!("{name}: page {} of {pages} failed", read + 1);
            return Outcome::Failed(Failure::new(FailureKind::Unavailable, message));
        }
        *self.calls.entry(name).or_default() += pages - 1;
        Outcome::Swept(match source {
            Source::Instances => Swept::Instances(self.cloud.describe(&self.nature)),
            Source::Runners(list) => Swept::Runners(self.list_runners(list, effect)),
            Source::Secrets => Swept::Secrets(self.cloud.secrets.keys().cloned().collect()),
            Source::Deliveries(_) => Swept::Deliveries(self.github.mail.list(self.nature.now())),
        })
    }

    /// Carries out TerminateInstances for one instance.
    fn terminate(&mut self, id: &InstanceId, request: &Request) {
        let now = self.nature.now();
        let Some(instance) = self.cloud.instances().get(id).filter(|i| i.live()) else { return };
        let (limit, age) = (instance.max_lifetime(&self.spec), now.since(instance.launched_at()));
        if !instance.interrupted() && age < limit {
            self.kill(id, request, "its instance was terminated");
        }
        if self.nature.hits(Fault::TerminateIgnored) {
            return self.nature.say(format_args!("EC2 says that it terminates {id}, and does not"));
        }
        self.nature.say(format_args!("EC2 terminates {id}"));
        self.instance_ends(id, "Client.UserInitiatedShutdown");
    }

    /// A request takes effect that ends what runs on an instance.
    fn kill(&mut self, id: &InstanceId, request: &Request, how: &str) {
        let (oracle, truth) = self.judge();
        if let Some(race) = oracle.judge_kill(id, request, how, truth) {
            self.marks.hit(Mark::KilledInRace);
            self.nature.say(format_args!("{race}"));
        }
    }

    fn batch(&mut self, ids: &[InstanceId], each: impl Fn(&mut Simulation, &InstanceId)) -> Outcome {
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for id in ids {
            if self.nature.hits(Fault::BatchMember) {
                failed.push((id.clone(), Failure::new(FailureKind::Unavailable, format!("{id}: InternalError"))));
            } else {
                each(self, id);
                done.push(id.clone());
            }
        }
        Outcome::Batch { done, failed }
    }

    /// The rows of a list. None: GitHub answers 304, because nothing has changed since this process last asked.
    fn list_runners(&mut self, list: &List, effect: EffectId) -> Option<Vec<RunnerSighting>> {
        let version = self.github.registry.version(list);
        if self.nature.options.etags && self.listed.get(list) == Some(&version) {
            return None;
        }
        let cluster = self.spec.controller.cluster().to_owned();
        let listed = self.github.registry.list(list, &cluster, &mut self.nature);
        // A row that is missing once costs nothing. Missing twice in a row, the runner looks gone, which may cost a launch.
        self.oracle.allow(u64::from(listed.lacks));
        // The process gets no ETag for a list that was not entirely true.
        self.listed.remove(list);
        if let Some(version) = listed.version {
            self.etags.insert(effect, (list.clone(), version));
        }
        Some(listed.rows)
    }
}

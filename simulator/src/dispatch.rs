//! What each event does when its time has come: it goes to the part of the world that it concerns.

use std::time::Duration;

use muster_reconciler::effect::{Input, Outcome};
use muster_reconciler::event::InstanceState;
use muster_reconciler::ids::JobId;

use crate::Simulation;
use crate::changes::{Change, Edit};
use crate::event::Event;
use crate::faults::Fault;
use crate::github::Given;
use crate::job_plan::JobPlan;
use crate::ledger::enterprise;
use crate::marks::Mark;
use crate::nature::WEATHER_EVERY;
use crate::oracle;

impl Simulation {
    /// Decides which spells, crashes and stops begin now.
    fn weather(&mut self) {
        self.nature.weather();
        let (crash, stop) = (self.nature.hits(Fault::Crash), self.nature.hits(Fault::CleanStop));
        if crash {
            self.crash_and_restart();
        } else if stop {
            self.stop_and_restart();
        }
        if self.nature.luck.active {
            self.nature.after(WEATHER_EVERY, Event::Weather);
        }
    }

    /// An operator changes a pool. The pool's instances may have been launched in vain, so the oracle allows for more
    /// launches.
    fn change(&mut self, change: &Change) {
        self.coming -= 1;
        let live = self.cloud.live(&change.pool);
        let mark = match &change.edit {
            Edit::Remove if live > 0 => Some(Mark::PoolRemoved),
            Edit::Restore if !self.spec.pools.contains_key(&change.pool) => Some(Mark::PoolRestored),
            Edit::Max(max) if live > *max => Some(Mark::MaxLowered),
            Edit::Labels(_) if live > 0 => Some(Mark::LabelsChanged),
            Edit::Scope(_) if live > 0 => Some(Mark::ScopeChanged),
            _ => None,
        };
        if let Some(mark) = mark {
            self.marks.hit(mark);
        }
        let before = self.truth().queued_for(&change.pool);
        self.nature.say(format_args!("---- pool {}: {:?}", change.pool, change.edit));
        self.set_spec(change.apply(&self.spec, &self.first_spec));
        let after = self.truth().queued_for(&change.pool);
        self.oracle.allow(u64::from(live) + before.max(after));
    }

    pub(super) fn dispatch(&mut self, event: Event) {
        match event {
            Event::Start => self.start(),
            Event::Weather => self.weather(),
            Event::Change(change) => self.change(&change),
            Event::Arrive(request) => self.arrive(&request),
            Event::Put(put) => self.put(&put),
            Event::Answer(process, effect, outcome) => {
                if process == self.process {
                    let read = self.etags.remove(&effect);
                    if let Outcome::Failed(failure) = &*outcome {
                        self.nature.say(format_args!("answer to {effect}: {}", failure.message));
                    } else if let Some((list, version)) = read {
                        self.listed.insert(list, version);
                    }
                    self.feed(Input::Outcome(effect, *outcome));
                }
            }
            Event::Limit(process, limit) => {
                if process == self.process {
                    self.feed(Input::GitHubLimit(*limit));
                }
            }
            Event::Poll => self.poll(),
            Event::Notify(note) => match self.controller {
                Some(_) => self.feed(Input::Ec2(note)),
                None => self.nature.after(Duration::from_secs(5), Event::Notify(note)),
            },
            Event::Send(mut job) => {
                job.enterprise = enterprise(&self.spec);
                self.nature.say(format_args!("webhook: job {} is {:?}", job.job, job.state));
                let (oracle, truth) = self.judge();
                oracle.excuse_stale(&job, truth);
                self.queue.send(*job, &mut self.nature);
                self.arm_poll();
            }
            Event::Queue(plan, run) => self.queue_job(*plan, run),
            Event::Assign => self.assign(),
            Event::Finish(job, conclusion) => self.finish_job(job, conclusion),
            Event::Cancel(job) => {
                if self.github.is_queued(job) {
                    self.finish_job(job, "cancelled");
                }
            }
            Event::LetGo(job) => self.github.let_go(job, &mut self.nature),
            Event::Stolen(job) => {
                let thief = self.thief(job);
                if self.github.steal(job, thief, &mut self.nature) {
                    self.nature.say(format_args!("a foreign runner takes job {job}"));
                }
            }
            Event::Offline(runner) => self.github.registry.offline(runner),
            Event::Running(id) => self.instance_starts(id),
            Event::Terminated(id) => {
                self.cloud.become_state(&id, InstanceState::Terminated, None, &mut self.nature);
                self.machines.remove(&id);
            }
            Event::Forgotten(id) => self.cloud.forget(&id),
            Event::Warning(id) => self.instance_is_warned(id),
            Event::Reclaimed(id) => self.instance_is_reclaimed(&id),
            Event::Booted(id) => self.instance_booted(id),
            Event::Fetch(id) => self.instance_fetches(id),
            Event::Register(id, tries) => self.runner_registers(id, tries),
            Event::SeesDrain(id) => self.instance_sees_drain(id),
            Event::Hang(id) => self.instance_hangs(&id),
            Event::PowerOff(id, why) => self.instance_powers_off(&id, why),
            Event::GivesUp(id) => self.instance_gives_up(id),
            Event::Check => self.check(),
        }
    }

    fn check(&mut self) {
        let (oracle, truth) = self.judge();
        oracle.note_floor(truth);
        oracle.look(truth);
        if truth.controller.is_some_and(|c| c.view().demand.jobs().values().any(|j| j.hold.is_some())) {
            self.marks.hit(Mark::HeldByGitHub);
        }
        self.nature.after(oracle::CHECK_EVERY, Event::Check);
    }

    fn queue_job(&mut self, plan: JobPlan, run: Option<muster_reconciler::ids::RunId>) {
        if run.is_none() {
            self.coming -= 1;
        }
        let labels = if self.nature.trace.kept() { plan.labels.join(",") } else { String::new() };
        let job = self.github.queue(plan, run, &mut self.nature);
        let again = if run.is_some() { " again, as a new job" } else { "" };
        self.nature.say(format_args!("job {job} [{labels}] is queued{again}"));
        let (oracle, truth) = self.judge();
        if let Some(job) = truth.github.jobs().get(&job) {
            let route = truth.route_of(job);
            oracle.job_queued(&route);
            self.marks.see_route(&route);
        }
    }

    fn assign(&mut self) {
        for given in self.github.assign(&mut self.nature) {
            match given {
                Given::Begun(job, runner) => {
                    let (oracle, truth) = self.judge();
                    let of = truth.github.registrations().get(&runner).map(|r| r.name.pool.clone());
                    let home = truth.github.jobs().get(&job).and_then(|j| truth.home(j));
                    // Another pool's runner took the job. An instance that was launched for the job has nothing to do, and
                    // the other pool lacks a runner.
                    oracle.allow(u64::from(of != home));
                    self.runner_takes(runner, job);
                }
                Given::Vain(runner) => self.runner_dies_at_once(runner),
            }
        }
    }

    fn finish_job(&mut self, job: JobId, conclusion: &'static str) {
        let Some(ended) = self.github.finish(job, conclusion, &mut self.nature) else { return };
        self.nature.say(format_args!("job {job} ends: {conclusion}"));
        let (oracle, truth) = self.judge();
        oracle.excuse_short(job, truth);
        if let Some(name) = ended {
            self.runner_is_done(&name.instance);
        }
    }
}

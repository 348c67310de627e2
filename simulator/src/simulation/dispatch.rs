//! What each event does when its time has come: it goes to the part of the world that it concerns.

use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::controller::Controller;
use muster_reconciler::effect::{Input, Outcome};
use muster_reconciler::event::{InstanceState, JobEvent};
use muster_reconciler::ids::{EffectId, InstanceId, JobId, RunnerId};
use muster_reconciler::reason::OrderAnswer;
use muster_reconciler::steer::Order;

use super::Simulation;
use crate::changes::{Change, Edit};
use crate::cloud::TrueInstance;
use crate::event::Event;
use crate::faults::Fault;
use crate::github::Given;
use crate::instances::Deed;
use crate::job_end::JobEnd;
use crate::job_plan::JobPlan;
use crate::ledger::enterprise;
use crate::marks::Mark;
use crate::nature::WEATHER_EVERY;
use crate::{oracle, strangers};

/// After this time, an operator gives an order again that the controller was not there to take.
const ORDER_AGAIN: Duration = Duration::from_secs(30);

impl Simulation {
    fn start(&mut self) {
        if self.team.is_some() {
            return self.join();
        }
        self.process += 1;
        self.oracle.new_process();
        self.listed.clear();
        self.etags.clear();
        self.nature.say(format_args!("---- controller process {} starts", self.process));
        let mut controller = Controller::new(&format!("p{}", self.process), self.now());
        controller.set_paused(self.paused.clone());
        if self.recorded.is_some() {
            controller.record("simulator", true);
        }
        self.controller = Some(controller);
        self.feed(Input::Spec(Arc::clone(&self.spec)));
        self.poll_at = None;
        self.arm_poll();
    }

    /// Plans the next receive call, for when a message is visible.
    pub(super) fn arm_poll(&mut self) {
        let Some(visible) = self.queue.next_visible() else { return };
        let at = visible.max(self.now()) + self.net.within(self.nature.takes().network);
        if self.poll_at.is_none_or(|planned| at < planned) {
            self.poll_at = Some(at);
            self.nature.agenda.at(at, Event::Poll);
        }
    }

    fn poll(&mut self) {
        if self.poll_at != Some(self.now()) {
            return;
        }
        self.poll_at = None;
        if self.controller.is_some() {
            let messages = self.queue.receive(&mut self.nature);
            if !messages.is_empty() {
                self.feed(Input::Messages(messages));
            }
            self.arm_poll();
        }
    }

    /// Decides which spells, crashes and stops begin now.
    fn weather(&mut self) {
        self.nature.weather();
        self.nature.fail_app(self.spec.apps.keys());
        let (crash, stop) = (self.nature.strikes(Fault::Crash), self.nature.hits(Fault::CleanStop));
        match crash {
            Some(mut chance) if self.team.is_some() => self.kill_one(&mut chance),
            Some(_) => self.crash_and_restart(),
            None if stop => self.stop_and_restart(),
            None => self.stop_one(),
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
            Edit::Pause if self.truth().queued_for(&change.pool) > 0 => Some(Mark::PoolPaused),
            _ => None,
        };
        if let Some(mark) = mark {
            self.marks.hit(mark);
        }
        if matches!(change.edit, Edit::Pause | Edit::Resume) {
            return self.steer(change);
        }
        // A process that starts while the pool is gone, or is another one, does not know of the notices.
        self.github.statuses.retain(|key, _| key.pool.as_ref() != Some(&change.pool));
        let before = self.truth().queued_for(&change.pool);
        self.nature.say(format_args!("---- pool {}: {:?}", change.pool, change.edit));
        self.set_spec(change.apply(&self.spec, &self.first_spec));
        let after = self.truth().queued_for(&change.pool);
        self.oracle.allow(u64::from(live) + before.max(after));
    }

    /// An operator pauses or resumes a pool, and tries again while the controller is down. The next order for the pool waits so long: a
    /// pause that is given after its end would hold for ever. Runners that end meanwhile are replaced when the pool is resumed.
    fn steer(&mut self, change: &Change) {
        let (now, pool) = (self.now(), &change.pool);
        let order = match change.edit {
            Edit::Pause => Order::Pause(pool.clone(), String::new()),
            _ => Order::Resume(pool.clone()),
        };
        let waits = self.ungiven.get(pool).is_some_and(|first| *first != change.edit);
        let Some(controller) = self.controller.as_mut().filter(|_| !waits) else {
            self.ungiven.entry(pool.clone()).or_insert_with(|| change.edit.clone());
            return self.change_at(now + ORDER_AGAIN, change.clone());
        };
        self.ungiven.remove(pool);
        match controller.order(&order, now) {
            Ok(OrderAnswer::Paused(_, pause)) => drop(self.paused.insert(pool.clone(), pause)),
            Ok(OrderAnswer::Resumed(_)) => drop(self.paused.remove(pool)),
            // A pool that is not in the manifests, or that was paused before.
            _ => return,
        }
        self.nature.say(format_args!("---- pool {pool}: {:?}", change.edit));
        self.oracle.steered(pool, now);
        let (live, queued) = (self.cloud.live(pool), self.truth().queued_for(pool));
        self.oracle.allow(u64::from(live) + queued);
    }

    pub(super) fn dispatch(&mut self, event: Event) {
        let Some(event) = self.reaches(event) else { return };
        match event {
            Event::Start => self.start(),
            Event::Weather => self.weather(),
            Event::Change(change) => self.change(&change),
            Event::Arrive(request) => self.arrive(&request),
            Event::Put(put) => self.put(&put),
            Event::Answer(process, ..) | Event::Limit(process, _) if process != self.process => {}
            Event::Answer(_, effect, outcome) => self.hear_answer(effect, *outcome),
            Event::Limit(_, limit) => self.feed(Input::GitHubLimit(*limit)),
            Event::Poll => self.poll(),
            Event::Notify(note) => match self.controller {
                Some(_) => self.feed(Input::Ec2(note)),
                None => self.nature.after(Duration::from_secs(5), Event::Notify(note)),
            },
            Event::Send(job) => self.tell_of_job(*job),
            Event::Queue(plan, run) => self.queue_job(*plan, run),
            Event::Assign => self.assign(),
            // The machine went first. GitHub gives the job up a little later.
            Event::Finish(job, end) if end != JobEnd::CutShort && self.github.has_lost_runner(job) => {}
            Event::Finish(job, end) => self.finish_job(job, end),
            Event::Break(job, cause) => self.machine_breaks(job, cause),
            Event::Cancel(job) => {
                if self.github.is_queued(job) {
                    self.finish_job(job, JobEnd::Cancel);
                }
            }
            Event::LetGo(job) => self.github.let_go(job, &mut self.nature),
            Event::Stolen(job) => {
                let thief = strangers::thief(&self.spec, &self.github.registry, job);
                self.github.registry.add_impostor(&thief, job.0 % 2 == 0, &mut self.nature);
                if self.github.steal(job, thief, &mut self.nature) {
                    self.nature.say(format_args!("a foreign runner takes job {job}"));
                }
            }
            Event::ImpostorLeaves(runner) => self.github.registry.impostor_leaves(runner),
            Event::Offline(runner) => self.github.registry.offline(runner),
            Event::Running(id) => self.instance_starts(&id),
            Event::Terminated(id) => self.instance_is_gone(&id),
            Event::Forgotten(id) => self.cloud.forget(&id),
            Event::Warning(id) => {
                if self.cloud.warn(&id, &mut self.nature) {
                    self.oracle.excuse_instance(&id);
                }
            }
            Event::Reclaimed(id) => {
                if self.cloud.reclaims(&id, &self.nature) {
                    self.oracle.excuse_instance(&id);
                    self.nature.say(format_args!("spot takes {id}"));
                    self.instance_ends(&id, "Server.SpotInstanceTermination");
                }
            }
            Event::Act(id, act) => {
                let (secrets, registry) = (&mut self.cloud.secrets, &mut self.github.registry);
                let deed = self.machines.act(&id, act, secrets, registry, &mut self.nature);
                self.follow(&id, deed);
            }
            Event::Check => self.check(),
            Event::LeaseTurn(process) => self.lease_turn(process),
            Event::LeaseWrite(write) => self.lease_write(*write),
            Event::LeaseAnswer(process, call, answer) => self.heard_of_lease(process, call, *answer),
            Event::Resume(process) => self.resume(process),
        }
    }

    /// The webhook of a job reaches the queue.
    fn tell_of_job(&mut self, mut job: JobEvent) {
        job.enterprise = enterprise(&self.spec);
        let waits = if job.waiting { ", and waits" } else { "" };
        self.nature.say(format_args!("webhook: job {} is {:?}{waits}", job.job, job.state));
        let (oracle, truth) = self.judge();
        oracle.excuse_stale(&job, truth);
        self.queue.send(job, &mut self.nature);
        self.arm_poll();
    }

    fn hear_answer(&mut self, effect: EffectId, outcome: Outcome) {
        let read = self.etags.remove(&effect);
        self.note_launch_ended(effect, &outcome);
        if let Outcome::Failed(failure) = &outcome {
            self.nature.say(format_args!("answer to {effect}: {}", failure.message));
        } else if let Some((list, version)) = read {
            self.listed.insert(list, version);
        }
        self.feed(Input::Outcome(effect, outcome));
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

    fn queue_job(&mut self, plan: JobPlan, run: Option<(muster_reconciler::ids::RunId, u32)>) {
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

    pub(super) fn finish_job(&mut self, job: JobId, end: JobEnd) {
        let Some(ended) = self.github.finish(job, end, &mut self.nature) else { return };
        self.nature.say(format_args!("job {job} ends: {end:?}"));
        if let Some(ledger) = &mut self.ledger {
            ledger.job_is_over(job, end, self.nature.now());
        }
        let (oracle, truth) = self.judge();
        oracle.excuse_short(job, truth);
        if let Some(name) = ended {
            self.machines.is_done(&name.instance, &mut self.nature);
        }
    }

    /// GitHub has given the runner a job.
    fn runner_takes(&mut self, runner: RunnerId, job: JobId) {
        let Some(id) = self.github.registry.instance_of(runner) else { return };
        self.machines.takes(&id, job);
        self.nature.say(format_args!("job {job} starts on {id}"));
    }

    /// GitHub has given the runner a job, and the runner dies before the job begins.
    fn runner_dies_at_once(&mut self, runner: RunnerId) {
        let Some(id) = self.github.registry.instance_of(runner) else { return };
        self.oracle.excuse_instance(&id);
        self.machines.dies_at_once(&id, &mut self.nature);
    }

    fn instance_starts(&mut self, id: &InstanceId) {
        if self.cloud.become_state(id, InstanceState::Running, None, &mut self.nature) {
            let draining = self.cloud.instances().get(id).is_some_and(TrueInstance::draining);
            let deed = self.machines.starts(id, draining, &mut self.nature);
            self.follow(id, deed);
        }
    }

    /// Applies to EC2, GitHub and the oracle what an instance did.
    fn follow(&mut self, id: &InstanceId, deed: Deed) {
        match deed {
            Deed::Nothing => {}
            Deed::Fails => self.oracle.excuse_instance(id),
            Deed::Online => {
                let (oracle, truth) = self.judge();
                oracle.excuse_late(id, truth);
                if let Some(ledger) = &mut self.ledger {
                    ledger.comes_online(id, self.nature.now());
                }
                self.nature.say(format_args!("instance {id} is online"));
            }
            Deed::Refused => {
                self.oracle.excuse_instance(id);
                self.instance_ends_itself(id, "its registration was refused");
            }
            Deed::EndsItself(why) => self.instance_ends_itself(id, why),
            Deed::Hangs(runner) => {
                self.oracle.excuse_instance(id);
                if let Some(runner) = runner {
                    self.github.registry.lost(runner, &mut self.nature);
                }
                self.nature.say(format_args!("instance {id} hangs"));
            }
        }
    }

    fn instance_ends_itself(&mut self, id: &InstanceId, why: &str) {
        self.nature.say(format_args!("instance {id} ends itself: {why}"));
        self.instance_ends(id, "Client.InstanceInitiatedShutdown");
    }

    /// The instance ends, for whatever reason. GitHub loses the runner, and the runner's job fails, if it had one.
    pub(super) fn instance_ends(&mut self, id: &InstanceId, reason: &'static str) {
        let (oracle, truth) = self.judge();
        oracle.judge_end(id, truth);
        self.cloud.become_state(id, InstanceState::ShuttingDown, Some(reason), &mut self.nature);
        if let Some(runner) = self.machines.ends(id) {
            self.github.registry.lost(runner, &mut self.nature);
        }
    }

    fn instance_is_gone(&mut self, id: &InstanceId) {
        self.cloud.become_state(id, InstanceState::Terminated, None, &mut self.nature);
        self.machines.is_gone(id);
        if let Some(ledger) = &mut self.ledger
            && let Some(instance) = self.cloud.instances().get(id)
        {
            ledger.is_gone(id, instance);
        }
    }
}

//! What each event does when its time has come: it goes to the part of the world that it concerns.

use std::time::Duration;

use muster_reconciler::effect::{Input, Outcome};
use muster_reconciler::event::{InstanceState, JobState};
use muster_reconciler::ids::{JobId, PoolName};
use muster_reconciler::matching::Route;

use crate::Simulation;
use crate::changes::{Change, Edit};
use crate::event::Event;
use crate::faults::Fault;
use crate::github::{Given, Job};
use crate::job_plan::JobPlan;
use crate::marks::Mark;
use crate::nature::WEATHER_EVERY;
use crate::oracle;

impl Simulation {
    /// Decides which spells, crashes and stops begin now.
    fn weather(&mut self) {
        self.nature.weather();
        self.nature.fail_app(self.spec.apps.keys());
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
        let before = self.queued_for(&change.pool);
        self.nature.say(format_args!("---- pool {}: {:?}", change.pool, change.edit));
        self.set_spec(change.apply(&self.spec, &self.first_spec));
        self.oracle.allowance += u64::from(live) + before.max(self.queued_for(&change.pool));
    }

    /// How many jobs are queued for the pool, in truth or as far as the controller knows.
    fn queued_for(&self, pool: &PoolName) -> u64 {
        let told = |id: &JobId| self.controller.as_ref().and_then(|c| c.view().demand.jobs().get(id)).map(|j| j.event.state);
        let queued = |id: &JobId, job: &Job| job.state == JobState::Queued || told(id) == Some(JobState::Queued);
        let jobs = self.github.jobs().iter().filter(|(id, j)| queued(id, j) && self.home(j).as_ref() == Some(pool));
        jobs.count() as u64
    }

    /// Adds what the warm floors have risen by. The oracle's S3 allows a launch for each.
    pub(super) fn note_floor(&mut self) {
        let now = self.nature.now();
        for (name, pool) in &self.spec.pools {
            let floor = pool.spec.capacity.idle_at(now);
            let before = self.oracle.floors.insert(name.clone(), floor).unwrap_or(0);
            self.oracle.floor += u64::from(floor.saturating_sub(before));
        }
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
                job.enterprise = self.enterprise();
                self.nature.say(format_args!("webhook: job {} is {:?}", job.job, job.state));
                self.excuse_stale(&job);
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
            Event::Running(id) => self.box_starts(id),
            Event::Terminated(id) => {
                self.cloud.become_state(&id, InstanceState::Terminated, None, &mut self.nature);
                self.machines.remove(&id);
            }
            Event::Forgotten(id) => self.cloud.forget(&id),
            Event::Warning(id) => self.box_is_warned(id),
            Event::Reclaimed(id) => self.box_is_reclaimed(&id),
            Event::Booted(id) => self.box_booted(id),
            Event::Fetch(id) => self.box_fetches(id),
            Event::Register(id, tries) => self.box_registers(id, tries),
            Event::SeesDrain(id) => self.box_sees_drain(id),
            Event::Hang(id) => self.box_hangs(&id),
            Event::PowerOff(id, why) => self.box_powers_off(&id, why),
            Event::GivesUp(id) => self.box_gives_up(id),
            Event::Check => {
                self.note_floor();
                self.look();
                self.nature.after(oracle::CHECK_EVERY, Event::Check);
            }
        }
    }

    fn queue_job(&mut self, plan: JobPlan, run: Option<muster_reconciler::ids::RunId>) {
        if run.is_none() {
            self.coming -= 1;
        }
        let labels = if self.nature.trace.kept() { plan.labels.join(",") } else { String::new() };
        let job = self.github.queue(plan, run, &mut self.nature);
        let again = if run.is_some() { " again, as a new job" } else { "" };
        self.nature.say(format_args!("job {job} [{labels}] is queued{again}"));
        if let Some(job) = self.github.jobs().get(&job) {
            let route = self.route_of(job);
            self.marks.see_route(&route);
            self.oracle.jobs += u64::from(matches!(route, Route::Pool(_)));
        }
    }

    fn assign(&mut self) {
        for given in self.github.assign(&mut self.nature) {
            match given {
                Given::Begun(job, runner) => {
                    let of = self.github.registrations().get(&runner).map(|r| r.name.pool.clone());
                    let home = self.github.jobs().get(&job).and_then(|j| self.home(j));
                    // Another pool's runner took the job. An instance that was launched for the job has nothing to do, and
                    // the other pool lacks a runner.
                    self.oracle.allowance += u64::from(of != home);
                    self.box_takes(runner, job);
                }
                Given::Vain(runner) => self.box_dies_at_once(runner),
            }
        }
    }

    fn finish_job(&mut self, job: JobId, conclusion: &'static str) {
        let Some(ended) = self.github.finish(job, conclusion, &mut self.nature) else { return };
        self.nature.say(format_args!("job {job} ends: {conclusion}"));
        self.excuse_short(job);
        if let Some(name) = ended {
            self.box_is_done(&name.instance);
        }
    }
}

//! Finds out what ended the jobs that did not succeed, and has GitHub run again what went down with its machine.

use std::collections::BTreeSet;

use super::Controller;
use crate::budget::Api;
use crate::cases::{Case, CaseState, Inquiry, REFUSALS, SETTLE, STEPS_UNTOLD, WATCHED};
use crate::demand::Job;
use crate::effect::{Action, JobSighting, Outcome, Source};
use crate::event::JobState;
use crate::fact::Fact;
use crate::failure::{Failure, FailureKind};
use crate::ids::{AppName, JobId, MessageId, Payer, PoolName, RunId};
use crate::journal::{What, Whom};
use crate::manifest::RerunMarket;
use crate::reason::{CallReason, EventReason};
use crate::rerun::{self, Again, NotAgain};
use crate::time::Time;
use crate::verdict::{self, Cause, Doubtful, JobVerdict, MachineEnd};
use crate::world::Named;

impl Controller {
    /// Opens the case of a job that is over, if it did not succeed and one of our runners had it.
    pub(super) fn open_case(&mut self, job: &Job, message: Option<MessageId>, now: Time) {
        if !matches!(job.event.conclusion.as_deref(), Some("failure" | "cancelled" | "timed_out")) {
            return;
        }
        let cluster = self.spec.controller.cluster();
        let (instance, pool, market) = match self.world.named(cluster, &job.event) {
            Named::NotOurs | Named::Impostor(..) => return,
            Named::Unknown(name) => (name.instance, name.pool, None),
            Named::Unproven(id, r) | Named::Proven(id, r) => (id.clone(), r.pool().clone(), r.shape().map(|s| s.market)),
        };
        let past = job.lost_runner.as_ref();
        let forgotten = past.map(|past| match (past.interrupted, past.ended_by_muster) {
            (true, _) => Cause::Interruption,
            (false, true) => Cause::Muster,
            (false, false) => Cause::Lost,
        });
        let case = Case {
            market: market.or(past.and_then(|past| past.shape.as_ref()).map(|shape| shape.market)),
            event: job.event.clone(),
            pool,
            instance,
            ended: now,
            messages: message.into_iter().collect(),
            forgotten,
            state: CaseState::Watched,
            inquiry: Inquiry::default(),
        };
        self.world.watch(&case.instance);
        if let Some(oldest) = self.cases.open(case) {
            self.judged(&oldest, JobVerdict::Unknown(Doubtful::Machine), now);
            self.forget(oldest, now);
        }
    }

    /// Goes on with every open case.
    pub(super) fn look_at_cases(&mut self, now: Time) {
        let (mut decided, mut late) = (Vec::new(), Vec::new());
        for (id, case) in self.cases.iter() {
            match case.state {
                CaseState::Watched => decided.extend(self.look_at_machine(case, now).map(|decision| (id, decision))),
                CaseState::Suspected(cause) => {
                    // Of a pool that is in no manifest, nobody may ask.
                    let given_up = now.since(case.ended) >= STEPS_UNTOLD || !self.spec.pools.contains_key(&case.pool);
                    decided.extend(given_up.then_some((id, Err(JobVerdict::Unknown(Doubtful::Untold(cause))))));
                }
                CaseState::Lost { until, .. } if now >= until && !case.inquiry.is_open() => late.push(id),
                CaseState::Lost { .. } => {}
            }
        }
        for (id, decision) in decided {
            match decision {
                Err(verdict) => self.close_case(id, verdict, now),
                Ok(cause) => {
                    if let Some(case) = self.cases.get_mut(id) {
                        case.state = CaseState::Suspected(cause);
                    }
                }
            }
        }
        for id in late {
            self.not_again(id, NotAgain::Late, now);
        }
        self.ask_about_cases(now);
    }

    /// What the machine of a case shows: Ok: this speaks against it; Err: the verdict. None: nothing yet.
    fn look_at_machine(&self, case: &Case, now: Time) -> Option<Result<Cause, JobVerdict>> {
        let swept = self.world.swept(&Source::Instances);
        // A machine that shut itself down while no process looked may have done so under its job. The job's steps tell.
        let unseen = |unseen: bool| unseen.then_some(Cause::Lost);
        let watched = case.ended >= self.world.started() + WATCHED;
        let (suspicion, well) = match self.world.runners().get(&case.instance) {
            Some(r) => (r.suspect(case.ended).or(unseen(r.ended_unseen(watched))), r.outlived(case.ended, watched)),
            None => {
                let end = self.world.watched_end(&case.instance);
                // EC2 names no one. muster remembers that it ended the instance itself.
                let ours = |cause| {
                    if cause == Cause::Terminated && case.forgotten == Some(Cause::Muster) { Cause::Muster } else { cause }
                };
                let suspect = end.and_then(MachineEnd::suspect).map(ours);
                (suspect.or(unseen(end.is_some_and(MachineEnd::by_itself))), false)
            }
        };
        let looked = swept.is_some_and(|began| began > case.ended);
        if let Some(cause) = suspicion.or(case.forgotten.filter(|_| looked)) {
            return Some(Ok(cause));
        }
        if well {
            return Some(Err(JobVerdict::Own));
        }
        (now.since(case.ended) >= SETTLE).then_some(Err(JobVerdict::Unknown(Doubtful::Machine)))
    }

    /// Asks GitHub for the steps of suspected jobs, and whether the runs of lost ones are over.
    fn ask_about_cases(&mut self, now: Time) {
        let due: Vec<JobId> = self.cases.iter().filter(|(_, case)| case.inquiry.is_due(now)).map(|(id, _)| id).collect();
        for id in due {
            let Some(case) = self.cases.get(id) else { continue };
            let (state, repo, run) = (case.state.clone(), case.event.repo.clone(), case.event.run);
            match state {
                CaseState::Watched => continue,
                CaseState::Lost { .. } if self.cases.undecided(run) || self.cases.is_asked_about(run, now) => continue,
                CaseState::Suspected(_) | CaseState::Lost { .. } => {}
            }
            let Some(app) = self.app_of(&case.pool) else { continue };
            if !self.budgets.take(&Api::Background(self.spec.payer(&app, &repo)), now) {
                continue;
            }
            if let Some(case) = self.cases.get_mut(id) {
                case.inquiry.asked(now);
            }
            match state {
                CaseState::Lost { .. } => self.emit(Action::LookAtRun { app, repo, run }, CallReason::RunOver, now),
                _ => self.emit(Action::CheckJob { app, repo, job: id }, CallReason::HowItEnded, now),
            }
        }
    }

    /// The App or token of a pool's list. None: the pool is in no manifest, so nobody may ask GitHub.
    fn app_of(&self, pool: &PoolName) -> Option<AppName> {
        self.spec.pools.get(pool).map(|p| p.list_id().app)
    }

    /// GitHub answered, or not, how a job ended.
    pub(super) fn steps_told(&mut self, id: JobId, payer: &Payer, outcome: Outcome, now: Time) {
        let Some(case) = self.cases.get_mut(id) else { return };
        case.inquiry.ended(matches!(outcome, Outcome::Job(_)), now);
        let CaseState::Suspected(cause) = case.state else { return };
        match outcome {
            Outcome::Job(JobSighting { state: Some(JobState::Completed), steps, attempt, .. }) => {
                match verdict::judge(cause, &steps) {
                    JobVerdict::Infrastructure(cause) => self.lost(id, cause, attempt, now),
                    verdict => self.close_case(id, verdict, now),
                }
            }
            // GitHub's answer is older than its event. It is asked again.
            Outcome::Job(_) => {}
            Outcome::Failed(f) => {
                if f.kind == FailureKind::Throttled {
                    self.budgets.throttled(&Api::Background(payer.clone()), now);
                }
                if matches!(f.kind, FailureKind::NotFound | FailureKind::Refused) {
                    self.close_case(id, JobVerdict::Unknown(Doubtful::Untold(cause)), now);
                }
            }
            other => debug_assert!(false, "a check can't end in {other:?}"),
        }
    }

    /// The machine was at fault. The case stays open if the job is to run again.
    fn lost(&mut self, id: JobId, cause: Cause, attempt: u32, now: Time) {
        let Some(case) = self.cases.get_mut(id) else { return };
        let settings = self.spec.pools.get(&case.pool).map(|p| p.spec.rerun.clone()).unwrap_or_default();
        let until = case.ended + settings.within.get();
        case.state = CaseState::Lost { cause, attempt, until, refusals: 0 };
        if !settings.causes.contains(&cause) {
            let case = case.clone();
            self.cases.set_aside(case);
            return self.close_case(id, JobVerdict::Infrastructure(cause), now);
        }
        case.inquiry = Inquiry::of_run(now);
        let case = case.clone();
        self.world.unwatch(&case.instance);
        self.judged(&case, JobVerdict::Infrastructure(cause), now);
        if attempt > settings.attempts {
            self.not_again(id, NotAgain::Attempts, now);
        }
    }

    /// GitHub answered, or not, how a run stands.
    pub(super) fn run_told(&mut self, (app, repo, run): (AppName, String, RunId), outcome: Outcome, now: Time) {
        let payer = self.spec.payer(&app, &repo);
        self.inquiries_end(run, matches!(outcome, Outcome::Run(_)), now);
        let sighting = match outcome {
            Outcome::Run(sighting) => sighting,
            Outcome::Failed(f) => return self.run_untold(run, &Api::Background(payer), f, now),
            other => return debug_assert!(false, "a look at a run can't end in {other:?}"),
        };
        for id in self.cases.lost_of(run) {
            let state = self.cases.get(id).map(|case| &case.state);
            if matches!(state, Some(CaseState::Lost { attempt, .. }) if *attempt < sighting.attempt) {
                self.not_again(id, NotAgain::Newer, now);
            }
        }
        let lost = self.cases.lost_of(run);
        // A job of the run may have ended since the question.
        if !sighting.over || lost.is_empty() || self.cases.undecided(run) {
            return;
        }
        match rerun::choose(&sighting.jobs, &lost) {
            Err(why) => self.none_again(run, why, now),
            // With a spent budget, the next look tries.
            Ok(_) if !self.budgets.take(&Api::Rerun(payer), now) => {}
            Ok(again) => {
                for id in lost {
                    if let Some(case) = self.cases.get_mut(id) {
                        case.inquiry.asked(now);
                    }
                }
                self.emit(Action::Rerun { app, repo, run, again }, CallReason::LostJobs, now);
            }
        }
    }

    fn inquiries_end(&mut self, run: RunId, answered: bool, now: Time) {
        for id in self.cases.lost_of(run) {
            if let Some(case) = self.cases.get_mut(id) {
                case.inquiry.ended(answered, now);
            }
        }
    }

    /// GitHub took the order to run jobs again, or not.
    pub(super) fn rerun_ended(&mut self, run: RunId, again: &Again, payer: &Payer, outcome: Outcome, now: Time) {
        self.inquiries_end(run, matches!(outcome, Outcome::Done), now);
        match outcome {
            Outcome::Done => {
                for id in self.cases.lost_of(run) {
                    let asked = match again {
                        Again::Failed => true,
                        Again::Job(job) => *job == id,
                    };
                    if asked { self.again_asked(id, again, now) } else { self.not_again(id, NotAgain::Beside, now) }
                }
            }
            // Nobody knows whether GitHub took it. The run's attempt tells.
            Outcome::Failed(f) if f.kind.may_have_worked() => {}
            Outcome::Failed(f) => self.run_untold(run, &Api::Rerun(payer.clone()), f, now),
            other => debug_assert!(false, "a rerun can't end in {other:?}"),
        }
    }

    /// GitHub does not tell of a run, or refuses to run it again.
    fn run_untold(&mut self, run: RunId, api: &Api, failure: Failure, now: Time) {
        match failure.kind {
            FailureKind::Throttled => self.budgets.throttled(api, now),
            FailureKind::NotFound => self.none_again(run, NotAgain::Gone, now),
            FailureKind::Refused | FailureKind::Conflict => {
                let mut given_up = Vec::new();
                for id in self.cases.lost_of(run) {
                    if let Some(Case { state: CaseState::Lost { refusals, .. }, .. }) = self.cases.get_mut(id) {
                        *refusals += 1;
                        given_up.extend((*refusals >= REFUSALS).then_some(id));
                    }
                }
                for id in given_up {
                    self.not_again(id, NotAgain::Refused { message: failure.message.clone() }, now);
                }
            }
            FailureKind::Ambiguous | FailureKind::Unavailable => {}
        }
    }

    fn again_asked(&mut self, id: JobId, again: &Again, now: Time) {
        let Some(case) = self.cases.close(id) else { return };
        let on_demand = self.spec.pools.get(&case.pool).is_some_and(|p| p.spec.rerun.market == RerunMarket::OnDemand);
        let why = EventReason::RunAgain { again: again.clone(), on_demand };
        self.journal.note(now, What::JobRerun, of_case(&case), why);
        self.facts.push(Fact::Rerun { pool: case.pool.clone(), result: "asked" });
        self.forget(case, now);
    }

    fn none_again(&mut self, run: RunId, why: NotAgain, now: Time) {
        for id in self.cases.lost_of(run) {
            self.not_again(id, why.clone(), now);
        }
    }

    fn not_again(&mut self, id: JobId, why: NotAgain, now: Time) {
        let Some(case) = self.cases.close(id) else { return };
        // In all other cases GitHub runs the job already, a person cancelled it, or it cannot run.
        if matches!(why, NotAgain::Attempts | NotAgain::Late | NotAgain::Refused { .. }) {
            self.cases.set_aside(case.clone());
        }
        self.facts.push(Fact::Rerun { pool: case.pool.clone(), result: why.as_str() });
        self.journal.note(now, What::JobNotRerun, of_case(&case), EventReason::NotRunAgain { why });
        self.forget(case, now);
    }

    /// Has GitHub run again what an operator names: the lost jobs of these runs. Returns their number.
    pub(super) fn run_again(&mut self, runs: &BTreeSet<RunId>, why: &str, now: Time) -> u64 {
        let taken = self.cases.take_aside(runs);
        let number = taken.len() as u64;
        for mut case in taken {
            let CaseState::Lost { cause, attempt, .. } = case.state else { continue };
            let within = self.spec.pools.get(&case.pool).map(|pool| pool.spec.rerun.within).unwrap_or_default();
            case.state = CaseState::Lost { cause, attempt, until: now + within.get(), refusals: 0 };
            case.inquiry = Inquiry::default();
            self.journal.note(now, What::RerunOrdered, of_case(&case), EventReason::ByOperator { why: why.to_owned() });
            if let Some(oldest) = self.cases.open(case) {
                self.judged(&oldest, JobVerdict::Unknown(Doubtful::Machine), now);
                self.forget(oldest, now);
            }
        }
        self.check_at = now;
        number
    }

    fn close_case(&mut self, id: JobId, verdict: JobVerdict, now: Time) {
        if let Some(case) = self.cases.close(id) {
            self.judged(&case, verdict, now);
            self.forget(case, now);
        }
    }

    fn judged(&mut self, case: &Case, verdict: JobVerdict, now: Time) {
        self.facts.push(Fact::JobJudged { job: case.event.job, pool: case.pool.clone(), market: case.market, verdict });
        self.note_verdict(case, verdict, now);
        let conclusion = case.event.conclusion.clone();
        let untold = !self.spec.pools.get(&case.pool).is_some_and(|p| p.spec.bootstrap.report_stages);
        self.journal.note(now, What::JobJudged, of_case(case), EventReason::Judged { verdict, conclusion, untold });
    }

    fn forget(&mut self, case: Case, now: Time) {
        self.world.unwatch(&case.instance);
        let unneeded = case.messages.into_iter().filter(|id| !self.late.needs(*id)).collect();
        self.delete_messages(unneeded, CallReason::Judged, now);
    }
}

fn of_case(case: &Case) -> Whom {
    Whom { job: Some(case.event.job), ..Whom::runner(&case.pool, &case.instance) }
}

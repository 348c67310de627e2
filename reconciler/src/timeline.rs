//! The longer answers to an operator's questions: what happened, what is awaited, and everything at one moment.

use std::time::Duration;

use crate::controller::Seen;
use crate::event::{JobEvent, JobState};
use crate::history::{SpotHistory, SpotRecord};
use crate::ids::{InstanceId, JobId, ListId, PoolName};
use crate::journal::Entry;
use crate::labels::listed;
use crate::mark::StateMark;
use crate::plan::{DRAIN_DEADLINE, END_GRACE};
use crate::reason::{AwaitedReason, Blocked, EventReason, JobReason, count};
use crate::runner::{Phase, Runner};
use crate::time::{Time, human};
use crate::versions::VersionEnds;
use crate::view::{
    Awaited, BudgetView, EventView, Explanation, LimitView, Snapshot, SpanView, SpotView, State, Switch, WaitsView,
};

/// The most entries of a pool's timeline. The newest are shown.
const POOL_ENTRIES: usize = 200;
/// The most offerings whose spot history is told as a fact of a pool. JSON has all.
const SPOT_FACTS: usize = 10;
/// The number of events in a snapshot.
const SNAPSHOT_EVENTS: usize = 100;

impl From<&Entry> for EventView {
    fn from(e: &Entry) -> EventView {
        EventView {
            seq: e.seq,
            at: e.at.as_millis(),
            what: e.what,
            bad: e.what.is_bad(),
            pool: e.whom.pool.as_ref().map(ToString::to_string),
            job: e.whom.job.map(|job| job.0),
            instance: e.whom.instance.as_ref().map(ToString::to_string),
            why: e.why.to_string(),
            code: e.why.clone().into(),
        }
    }
}

fn told(entries: &[&Entry]) -> Vec<EventView> {
    entries.iter().map(|e| EventView::from(*e)).collect()
}

impl Seen<'_> {
    /// The events after the number `after`, oldest first, at most `limit`.
    pub fn events(&self, after: u64, limit: usize) -> Vec<EventView> {
        self.journal.after(after).take(limit).map(EventView::from).collect()
    }

    /// The number of the last event.
    pub fn last_event(&self) -> u64 {
        self.journal.last()
    }

    /// Everything at one moment.
    pub fn snapshot(&self, now: Time) -> Snapshot {
        let events = self.journal.after(self.journal.last().saturating_sub(SNAPSHOT_EVENTS as u64));
        let attention = self.attention(now);
        // Before the first look at everything, nobody knows whether all is well.
        let well = self.well_since.or(self.all_seen().then_some(now)).filter(|_| attention.is_empty());
        let well_since = well.map(Time::as_millis);
        Snapshot {
            now: now.as_millis(),
            attention,
            well_since,
            pools: self.pools(now),
            jobs: self.jobs(now),
            runners: self.runners(now),
            events: events.rev().map(EventView::from).collect(),
            budgets: self
                .budgets
                .levels(now)
                .map(|(api, [level, capacity, per_second])| budget(api, level, capacity, per_second))
                .collect(),
            limits: self
                .budgets
                .github()
                .map(|(payer, resource, remaining, until)| LimitView {
                    app: payer.app.to_string(),
                    account: payer.account.as_deref().map(str::to_owned),
                    resource: resource.map(|resource| resource.as_str().to_owned()),
                    remaining,
                    until: until.as_millis(),
                })
                .collect(),
        }
    }

    /// All that there is to say about a job. None: nobody has heard of the job, or it is forgotten.
    pub fn explain_job(&self, id: JobId, now: Time) -> Option<Explanation> {
        let entries = self.journal.of_job(id);
        let known = self.demand.jobs().get(&id);
        let mut e = Explanation { timeline: told(&entries), ..self.explanation("job", id, now) };
        e.steps = self.job_steps(known, &entries, now);
        e.pool = entries.iter().rev().find_map(|entry| entry.whom.pool.as_ref()).map(ToString::to_string);
        match known {
            Some(job) => {
                (e.mark, e.links) =
                    (StateMark::of_job(&self.why(job, now)), self.job_links(&job.event.repo, job.event.run, id, job.pool()));
                e.pool = job.pool().map(ToString::to_string);
                let queue = job.pool().map(|pool| self.queue(pool, now));
                let view = self.job_view(id, job, queue.as_ref(), now);
                e.state = State::Job(view.state);
                e.facts.push(whose(&job.event));
                e.facts.push(format!(
                    "asks for [{}]; pool {}",
                    listed(&view.labels, ", "),
                    view.pool.as_deref().unwrap_or("none")
                ));
                e.facts.push(format!("heard of {} ago", human(now.since(job.first_seen))));
                e.facts.extend(view.wait.map(|wait| format!("expected start: {}", wait.say())));
                e.facts.extend(view.runner.map(|runner| format!("taken by {runner}")));
                (e.reason, e.code) = (view.reason, view.code);
                e.awaits = self.job_awaits(job, now);
                e.facts.extend(self.steps_taken(job));
                e.forgotten_before = self.forgotten(job.first_seen);
            }
            None if e.timeline.is_empty() => return None,
            None => {
                let last = entries.iter().rev().find(|entry| entry.whom.job == Some(id))?;
                let over = entries
                    .iter()
                    .rev()
                    .find_map(|entry| if let EventReason::Over { of, .. } = &entry.why { of.as_deref() } else { None });
                let told = over.map(whose);
                let conclusion = if let EventReason::Over { conclusion, .. } = &last.why { conclusion.clone() } else { None };
                let why = JobReason::Over { conclusion };
                e.mark = StateMark::of_job(&why);
                e.state = State::Job(JobState::Completed);
                (e.reason, e.code) = (why.say(now), why.into());
                e.facts.extend(self.cases.get(id).map(|case| case.say(now)));
                let kept = self.lately.job(id);
                // The journal forgets sooner than `lately`.
                e.facts.extend(told.or(kept.map(|job| format!("of {}, run {}", job.repo, job.run))));
                if let Some(over) = kept {
                    e.links = self.job_links(&over.repo, over.run, id, over.pool.as_ref());
                }
                let run = self.cases.aside().find(|case| case.event.job == id).map(|case| case.event.run);
                e.lost = self.cases.aside().filter(|case| Some(case.event.run) == run).count() as u64;
            }
        }
        Some(e)
    }

    /// All that there is to say about a runner. None: nobody knows the runner, or it is forgotten.
    pub fn explain_runner(&self, id: &InstanceId, now: Time) -> Option<Explanation> {
        let timeline = told(&self.journal.of_runner(id));
        let mut e = Explanation { timeline, ..self.explanation("runner", id, now) };
        e.pool = e.timeline.iter().rev().find_map(|event| event.pool.clone());
        e.steps = e.pool.as_deref().map(|pool| self.start_of(&pool.into(), id, now)).unwrap_or_default();
        (e.mark, e.links) = (StateMark::Ends, self.instance_links(id));
        match self.world.runners().get(id) {
            Some(runner) => {
                let view = self.runner_view(id, runner, now);
                let market = view.market.map(|market| market.as_str().to_owned());
                let made = view.instance_type.into_iter().chain(market).collect::<Vec<_>>().join(" ");
                e.state = State::Runner(view.phase);
                (e.mark, e.pool) = (view.mark, Some(view.pool.clone()));
                e.facts.push(format!("named {}, of pool {}", view.name, view.pool));
                let age = human(now.since(runner.first_seen()));
                e.facts.push(if made.is_empty() { format!("{age} old") } else { format!("{made}, {age} old") });
                e.facts.extend(view.job.map(|job| format!("seen with job {job}")));
                (e.reason, e.code) = (view.reason, view.code);
                e.awaits = self.runner_awaits(runner, now);
                e.forgotten_before = self.forgotten(runner.first_seen());
            }
            None if e.timeline.is_empty() => return None,
            None => {
                e.state = State::Runner(Phase::Gone);
                (e.reason, e.code) = e.timeline.last().map(|last| (last.why.clone(), last.code.clone())).unwrap_or_default();
            }
        }
        Some(e)
    }

    /// All that there is to say about a pool. None: neither a manifest nor a runner names the pool.
    pub fn explain_pool(&self, name: &PoolName, now: Time) -> Option<Explanation> {
        let view = self.pool(name, now)?;
        let mut entries = self.journal.of_pool(name);
        let cut = entries.len().saturating_sub(POOL_ENTRIES);
        let forgotten = (cut > 0).then(|| entries[cut].at.as_millis());
        entries.drain(..cut);
        let phases: Vec<String> = view.phases.iter().map(|(phase, n)| format!("{n} {}", phase.as_str())).collect();
        let blocked = self.newest_plan(name).and_then(|plan| plan.blocked.as_ref());
        let probe =
            self.tripped(name).filter(|tripped| tripped.until > now).map(|tripped| AwaitedReason::SpotProbe.by(tripped.until));
        let mut awaits: Vec<Awaited> =
            blocked.and_then(Blocked::awaits).map(|(what, until)| what.by(until)).into_iter().chain(probe).collect();
        awaits.sort_by_key(|awaited| awaited.until);
        let spot: Vec<SpotView> =
            self.history(name).map(SpotHistory::records).unwrap_or_default().into_iter().map(spot).collect();
        let mut facts = vec![
            format!("for {}: [{}]", view.scope, view.labels.join(", ")),
            format!(
                "{} wanted ({}, warm floor {}), {} supplied, {} at most",
                view.wanted,
                count(view.queued, "queued job"),
                view.idle_floor,
                view.supply,
                view.max
            ),
            if phases.is_empty() { "no runners".into() } else { format!("runners: {}", phases.join(", ")) },
        ];
        facts.extend(waits_facts(&view.waits));
        let lengths = self.waits(name).and_then(|waits| waits.lengths.day(now));
        facts.extend(lengths.map(|ran| {
            let (half, most) = (human(ran.median), human(ran.most));
            format!(
                "jobs that succeeded within the last day: half ran at most {half}, 9 of 10 at most {most} ({})",
                count(ran.count, "job")
            )
        }));
        facts.extend(self.versions().get(name).and_then(|versions| runner_program(versions, now)));
        facts.extend(spot.iter().take(SPOT_FACTS).map(spot_fact));
        facts.extend(view.warnings.iter().map(|warning| format!("warning: {warning}")));
        Some(Explanation {
            mark: view.mark,
            pool: Some(view.name.clone()),
            state: State::Pool(if view.paused { Switch::Paused } else { Switch::Active }),
            facts,
            reason: view.reason,
            code: view.code,
            spot,
            awaits,
            lost: self.cases.aside().filter(|case| case.pool == *name).count() as u64,
            timeline: told(&entries),
            forgotten_before: forgotten.or(self.forgotten(self.world.started())),
            ..self.explanation("pool", name, now)
        })
    }

    fn explanation(&self, kind: &str, id: impl ToString, now: Time) -> Explanation {
        Explanation { kind: kind.into(), id: id.to_string(), now: now.as_millis(), ..Explanation::default() }
    }

    /// The time since which no entry is missing, in milliseconds since 1970. None: no entry about a thing that began at `since`
    /// was dropped.
    fn forgotten(&self, since: Time) -> Option<u64> {
        let oldest = self.journal.after(0).next().filter(|e| e.seq > 1)?;
        (oldest.at > since).then(|| oldest.at.as_millis())
    }

    fn runner_awaits(&self, r: &Runner, now: Time) -> Vec<Awaited> {
        let deadline = self.spec.boot_deadline(r.pool());
        let settings = self.spec.pools.get(r.pool()).map(|p| &p.spec.runner);
        let mut all = match r.phase(deadline, now) {
            Phase::Launching | Phase::Booting | Phase::Configured => {
                vec![AwaitedReason::BootDeadline.by(r.boot_due(deadline))]
            }
            Phase::Idle => {
                let timeout = settings.map_or(Duration::ZERO, |s| s.idle_timeout.get());
                r.idle_since().map(|since| AwaitedReason::IdleTimeout.by(since + timeout)).into_iter().collect()
            }
            Phase::Draining => {
                let asked = r.drain().map(|ask| AwaitedReason::DrainDeadline.by(ask.at() + DRAIN_DEADLINE));
                asked.into_iter().collect()
            }
            Phase::Terminating => r.job().over().map(|(_, at)| AwaitedReason::EndGrace.by(at + END_GRACE)).into_iter().collect(),
            Phase::Busy | Phase::Interrupted | Phase::Failed | Phase::Gone => Vec::new(),
        };
        let limit = r.max_lifetime(self.spec.pools.get(r.pool())).filter(|_| r.gone_at().is_none());
        all.extend(limit.map(|limit| AwaitedReason::MaxLifetime.by(r.lives_since() + limit)));
        all
    }
}

/// Whose job it is. Whoever may push chooses these texts, so quotes show where they end.
fn whose(event: &JobEvent) -> String {
    let (title, branch) = (event.about.title(), &event.about.branch);
    let title = if title.is_empty() { String::new() } else { format!("{title:?} ") };
    let branch = if branch.is_empty() { String::new() } else { format!(", branch {branch:?}") };
    format!("{title}of {}{branch}, run {}", event.repo, event.run)
}

fn budget(api: &crate::budget::Api, level: f64, capacity: f64, per_second: f64) -> BudgetView {
    let app = api.payer().map(|payer| payer.app.to_string());
    let account = api.payer().and_then(|payer| payer.account.as_deref()).map(str::to_owned);
    BudgetView { api: api.as_str().into(), app, account, level, capacity, per_second }
}

fn spot((instance_type, subnet, record): (&str, Option<&str>, SpotRecord)) -> SpotView {
    SpotView {
        instance_type: instance_type.to_owned(),
        subnet: subnet.map(str::to_owned),
        instances: record.instances,
        interrupted: record.taken_back,
        hours: record.ran.as_secs_f64() / 3600.0,
    }
}

/// Says what became of the spot instances of one offering.
fn spot_fact(spot: &SpotView) -> String {
    let place = spot.subnet.as_ref().map_or_else(String::new, |subnet| format!(" in {subnet}"));
    let (instances, hours) = (count(spot.instances, "instance"), spot.hours);
    format!(
        "spot {}{place}: took back {} of {instances} with jobs, in {hours:.1} h, since muster started",
        spot.instance_type, spot.interrupted
    )
}

/// Says how long a pool's jobs wait.
fn waits_facts(waits: &WaitsView) -> Vec<String> {
    let say = |seconds: f64| human(Duration::from_secs(seconds.ceil() as u64)).to_string();
    let of = |what: &str, told: Option<SpanView>| {
        let told = told?;
        let (half, most) = (say(told.median_seconds), say(told.most_seconds));
        Some(format!("{what}: half within {half}, 9 of 10 within {most} ({})", count(told.count, "job")))
    };
    let oldest = waits.oldest_seconds.map(|age| format!("the oldest waiting job is {} old", human(Duration::from_secs(age))));
    let next = format!("expected start of the next job: {}", waits.next);
    let lately = [of("jobs started within the last hour", waits.hour), of("within the last day", waits.day)];
    oldest.into_iter().chain(Some(next)).chain(lately.into_iter().flatten()).collect()
}

/// Says which versions a pool runs, and for how long.
fn runner_program(versions: &[(ListId, String, VersionEnds)], now: Time) -> Option<String> {
    let one = |(_, version, ends): &(ListId, String, VersionEnds)| match ends.first() {
        Some((end, at)) if at > now => format!("{version} (GitHub stops {} it in {})", end.doing(), human(at.since(now))),
        Some((end, _)) => format!("{version} (GitHub has stopped {} it)", end.doing()),
        None => version.clone(),
    };
    let said: Vec<String> = versions.iter().map(one).collect();
    (!said.is_empty()).then(|| format!("runner program: {}", said.join(", ")))
}

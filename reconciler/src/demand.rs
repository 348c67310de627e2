//! A fold of events: which jobs want a runner, and which messages stand for them.
//!
//! A job's state only moves up, so folding is a join: commutative, associative, idempotent. A queued job keeps its
//! messages until it is known to have left the queue: the queue is the database. What is over leaves a tombstone, so
//! that a late `queued` never revives it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::defects::{self, Defect};
use crate::event::{JobEvent, JobState};
use crate::ids::{JobId, MessageId, PoolName, RunId};
use crate::manifest::Spec;
use crate::matching::{Route, route};
use crate::past::BoxPast;
use crate::reason::HoldReason;
use crate::time::Time;

/// GitHub drops a job that nobody took after 24 hours; so do we, and a tombstone lives as long.
/// <https://docs.github.com/en/actions/reference/limits#existing-system-limits>
pub const JOB_EXPIRY: Duration = Duration::from_secs(24 * 3600);

/// A self-hosted job may run for 5 days; a job in progress is forgotten a day later at the latest.
const RUNNING_EXPIRY: Duration = Duration::from_secs(6 * 24 * 3600);

/// A redelivered job waits this long for GitHub's word on it.
const CONFIRMATION: Duration = Duration::from_secs(10);

/// Tombstones at most; beyond it the oldest go first.
const TOMBSTONES: usize = 500_000;

/// First, and longest, wait before a job that GitHub leaves queued is counted again.
const HOLD: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(4 * 3600));

/// One job that is not over.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The join of all events heard of it.
    pub event: JobEvent,
    /// When this process first heard of it.
    pub first_seen: Time,
    /// When this process first heard that a runner took it. For its trace; decides nothing.
    pub started: Option<Time>,
    /// What its box was, if that is forgotten already. For its trace; decides nothing.
    pub lost_box: Option<BoxPast>,
    /// The messages that stand for it, all held. Empty once it has left the queue.
    pub messages: BTreeSet<MessageId>,
    /// Where it belongs.
    pub route: Route,
    /// Heard of by redelivery only: a predecessor may have launched for it.
    pub redelivered: bool,
    /// GitHub holds it back; it doesn't count.
    pub hold: Option<Hold>,
    /// The background check with GitHub.
    pub check: Check,
}

/// Why a queued job doesn't count at the moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Hold {
    /// Why.
    pub why: HoldReason,
    /// Since when.
    pub since: Time,
    /// Counts again from then on.
    pub until: Time,
    /// How often it has been held, this time included.
    pub times: u32,
}

/// When GitHub was, and is to be, asked about a job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Check {
    /// The last answer.
    pub answered: Option<Time>,
    /// How often we asked.
    pub times: u32,
    /// Not before this.
    pub not_before: Time,
    /// A question is under way.
    pub in_flight: bool,
}

impl Job {
    /// Whether a runner should exist for it: queued, past the pool's delay, and not held back.
    pub fn counts(&self, delay: Duration, now: Time) -> bool {
        self.event.state == JobState::Queued && !self.held(now) && now.since(self.first_seen) >= delay
    }

    /// Whether GitHub was asked if it is still queued, or had the time to answer: most redelivered jobs are over.
    pub fn confirmed(&self, now: Time) -> bool {
        self.check.answered.is_some() || now.since(self.first_seen) >= CONFIRMATION
    }

    /// When a redelivered job counts without GitHub's word.
    pub fn confirmed_by(&self) -> Time {
        self.first_seen + CONFIRMATION
    }

    /// Whether it is held back at the moment.
    pub fn held(&self, now: Time) -> bool {
        self.hold.as_ref().is_some_and(|h| now < h.until)
    }

    /// Since when it has counted without a break: when it was first heard of, or its last hold ended.
    pub fn counted_since(&self) -> Time {
        self.hold.as_ref().map_or(self.first_seen, |h| h.until)
    }

    /// The pool that it counts for.
    pub fn pool(&self) -> Option<&PoolName> {
        match &self.route {
            Route::Pool(name) => Some(name),
            Route::Unmatched(_) | Route::Foreign(_) => None,
        }
    }
}

/// What folding an event changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Folded {
    /// The job reached a state that it had not been known in.
    pub advanced: bool,
    /// The state before, if the job was known.
    pub before: Option<JobState>,
    /// Messages that nothing hangs on any more: to be deleted.
    pub settled: Vec<MessageId>,
    /// When the job was first heard of.
    pub first_seen: Option<Time>,
    /// Queued until taken by a runner, by GitHub's clock, if its events told both.
    pub true_wait: Option<Duration>,
    /// The job, if this ended it.
    pub ended: Option<Box<Job>>,
    /// The pools that this concerns.
    pub pools: BTreeSet<PoolName>,
}

/// All jobs that are not over, and the tombstones of those that are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Demand {
    jobs: BTreeMap<JobId, Job>,
    over: BTreeMap<JobId, Time>,
    /// Jobs that have been held, by run: an index of `jobs`.
    held: BTreeSet<(RunId, JobId)>,
}

impl Demand {
    /// Takes in one event; `message` is the message that brought it, with its receive count.
    ///
    /// An event that names a known job in another owner's repository changes nothing: a webhook secret of one owner must not speak
    /// of another's jobs. If the repository was transferred, the check with GitHub tells what became of a queued job.
    pub fn fold(&mut self, spec: &Spec, event: &JobEvent, message: Option<(MessageId, u32)>, now: Time) -> Folded {
        let mut folded = Folded::default();
        if self.over.contains_key(&event.job) && !defects::has(Defect::ReviveJobs) {
            folded.before = Some(JobState::Completed);
            folded.settled.extend(message.map(|(id, _)| id));
            return folded;
        }
        if let Some(known) = self.jobs.get(&event.job).filter(|known| !same_owner(&known.event, event)) {
            folded.before = Some(known.event.state);
            folded.settled.extend(message.map(|(id, _)| id));
            return folded;
        }
        let job = match self.jobs.entry(event.job) {
            std::collections::btree_map::Entry::Occupied(known) => {
                let job = known.into_mut();
                folded.before = Some(job.event.state);
                folded.advanced = event.state > job.event.state;
                let routed_by = (job.event.labels.clone(), job.event.repo.clone());
                join(&mut job.event, event);
                if routed_by != (job.event.labels.clone(), job.event.repo.clone()) {
                    job.route = route(spec, &job.event);
                }
                job
            }
            std::collections::btree_map::Entry::Vacant(new) => {
                folded.advanced = true;
                new.insert(Job {
                    event: event.clone(),
                    first_seen: now,
                    started: None,
                    lost_box: None,
                    messages: BTreeSet::new(),
                    route: route(spec, event),
                    redelivered: false,
                    hold: None,
                    check: Check::default(),
                })
            }
        };
        if let Some((id, count)) = message {
            job.redelivered |= job.messages.insert(id) && count > 1;
        }
        folded.first_seen = Some(job.first_seen);
        folded.true_wait = job.event.started_at.zip(job.event.queued_at).map(|(started, queued)| started.since(queued));
        folded.pools.extend(job.pool().cloned());
        if job.event.state == JobState::InProgress && job.started.is_none() {
            job.started = Some(now);
        }
        if job.event.state > JobState::Queued {
            folded.settled.extend(std::mem::take(&mut job.messages));
            if job.hold.take().is_some() {
                self.held.remove(&(job.event.run, event.job));
            }
        }
        let (run, over) = (job.event.run, job.event.state == JobState::Completed);
        if over {
            folded.ended = self.bury(event.job, now).map(Box::new);
        }
        if folded.advanced {
            self.resume_run(run, event.job, &mut folded.pools);
        }
        folded
    }

    /// An event of a run may mean that GitHub let its other jobs go: they count again.
    fn resume_run(&mut self, run: RunId, but: JobId, pools: &mut BTreeSet<PoolName>) {
        let ours: Vec<_> =
            self.held.range((run, JobId(0))..=(run, JobId(u64::MAX))).filter(|(_, id)| *id != but).copied().collect();
        for key in ours {
            self.held.remove(&key);
            if let Some(job) = self.jobs.get_mut(&key.1) {
                job.hold = None;
                pools.extend(job.pool().cloned());
            }
        }
    }

    fn bury(&mut self, id: JobId, now: Time) -> Option<Job> {
        let job = self.jobs.remove(&id);
        if let Some(job) = job.as_ref().filter(|j| j.hold.is_some()) {
            self.held.remove(&(job.event.run, id));
        }
        self.over.insert(id, now);
        while self.over.len() > TOMBSTONES {
            self.over.pop_first();
        }
        job
    }

    /// Finds every job's place anew; after the manifests changed.
    pub fn reroute(&mut self, spec: &Spec) {
        for job in self.jobs.values_mut() {
            job.route = route(spec, &job.event);
        }
    }

    /// Drops what is older than GitHub keeps it; returns the jobs that were dropped, with messages to delete.
    pub fn expire(&mut self, now: Time) -> Vec<Job> {
        self.over.retain(|_, at| now.since(*at) < JOB_EXPIRY);
        let limit = |j: &Job| if j.event.state == JobState::Queued { JOB_EXPIRY } else { RUNNING_EXPIRY };
        let late: Vec<JobId> = self.jobs.iter().filter(|(_, j)| now.since(j.first_seen) >= limit(j)).map(|(id, _)| *id).collect();
        late.into_iter().filter_map(|id| self.bury(id, now)).collect()
    }

    /// Holds a queued job back, for longer each time.
    pub fn hold(&mut self, id: JobId, why: HoldReason, now: Time) {
        let Some(job) = self.jobs.get_mut(&id).filter(|j| j.event.state == JobState::Queued) else { return };
        let times = job.hold.as_ref().map_or(0, |h| h.times) + 1;
        let backoff = HOLD.0.saturating_mul(1 << (times - 1).min(10)).min(HOLD.1);
        self.held.insert((job.event.run, id));
        job.hold = Some(Hold { why, since: now, until: now + backoff, times });
    }

    /// The defect of that name: the queued jobs of a pool are taken for done.
    pub(crate) fn drop_queued(&mut self, pool: &PoolName, now: Time) -> Vec<MessageId> {
        let ids: Vec<JobId> = self.queued(pool).map(|(id, _)| id).collect();
        let mut messages = Vec::new();
        for id in ids {
            messages.extend(self.jobs.get_mut(&id).map(|j| std::mem::take(&mut j.messages)).unwrap_or_default());
            self.bury(id, now);
        }
        messages
    }

    /// The jobs, by id.
    pub fn jobs(&self) -> &BTreeMap<JobId, Job> {
        &self.jobs
    }

    /// One job, to note a check.
    pub fn job_mut(&mut self, id: JobId) -> Option<&mut Job> {
        self.jobs.get_mut(&id)
    }

    /// Whether a job is known to be over.
    pub fn is_over(&self, id: JobId) -> bool {
        self.over.contains_key(&id)
    }

    /// Queued jobs of a pool.
    pub fn queued<'a>(&'a self, pool: &'a PoolName) -> impl Iterator<Item = (JobId, &'a Job)> {
        self.jobs.iter().filter(move |(_, j)| j.event.state == JobState::Queued && j.pool() == Some(pool)).map(|(id, j)| (*id, j))
    }
}

/// Whether the repositories of two events have one owner. GitHub compares names without regard to case.
fn same_owner(one: &JobEvent, other: &JobEvent) -> bool {
    let owner = |event: &JobEvent| event.repo.split('/').next().unwrap_or_default().to_ascii_lowercase();
    owner(one) == owner(other)
}

/// The join of two events of one job: of each field the greater, so that order never matters. Only state, runner and
/// conclusion ever differ, and those only grow.
fn join(known: &mut JobEvent, heard: &JobEvent) {
    debug_assert_eq!(known.job, heard.job);
    fn greater<T: Ord + Clone>(known: &mut T, heard: &T) {
        if *heard > *known {
            known.clone_from(heard);
        }
    }
    greater(&mut known.state, &heard.state);
    greater(&mut known.run, &heard.run);
    greater(&mut known.repo, &heard.repo);
    greater(&mut known.org, &heard.org);
    greater(&mut known.enterprise, &heard.enterprise);
    greater(&mut known.labels, &heard.labels);
    greater(&mut known.runner, &heard.runner);
    greater(&mut known.conclusion, &heard.conclusion);
    greater(&mut known.queued_at, &heard.queued_at);
    greater(&mut known.started_at, &heard.started_at);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn event(job: u64, state: JobState) -> JobEvent {
        JobEvent {
            job: JobId(job),
            run: RunId(job / 10),
            state,
            repo: "acme/web".into(),
            org: Some("acme".into()),
            enterprise: None,
            labels: vec!["self-hosted".into()],
            runner: (state > JobState::Queued).then(|| format!("c.p.i-{job}")),
            conclusion: (state == JobState::Completed).then(|| "success".into()),
            queued_at: None,
            started_at: None,
        }
    }

    fn fold_all(events: &[JobEvent]) -> Demand {
        let mut d = Demand::default();
        for e in events {
            d.fold(&Spec::default(), e, None, Time::ZERO);
        }
        d
    }

    fn any_event() -> impl Strategy<Value = JobEvent> {
        let state = prop_oneof![Just(JobState::Queued), Just(JobState::InProgress), Just(JobState::Completed)];
        (0..30u64, state, prop::option::of("[ab]"), prop::option::of("[ab]")).prop_map(|(job, state, runner, conclusion)| {
            JobEvent {
                runner: runner.filter(|_| state > JobState::Queued),
                conclusion: conclusion.filter(|_| state == JobState::Completed),
                ..event(job, state)
            }
        })
    }

    proptest! {
        #[test]
        fn fold_is_commutative_and_idempotent(events in prop::collection::vec(any_event(), 0..40), seed in any::<u64>()) {
            let once = fold_all(&events);
            let mut shuffled = events.clone();
            // A seeded Fisher-Yates; every event also comes twice.
            let mut s = seed;
            shuffled.extend(events.iter().cloned());
            for i in (1..shuffled.len()).rev() {
                s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                shuffled.swap(i, (s >> 33) as usize % (i + 1));
            }
            prop_assert_eq!(once, fold_all(&shuffled));
        }

        #[test]
        fn join_is_associative(a in any_event(), b in any_event(), c in any_event()) {
            let with_id = |e: JobEvent| JobEvent { job: JobId(1), run: RunId(1), ..e };
            let (a, b, c) = (with_id(a), with_id(b), with_id(c));
            let mut left = a.clone();
            join(&mut left, &b);
            join(&mut left, &c);
            let mut bc = b;
            join(&mut bc, &c);
            let mut right = a;
            join(&mut right, &bc);
            prop_assert_eq!(left, right);
        }
    }

    #[test]
    fn a_job_keeps_its_messages_until_it_left_the_queue() {
        let (mut d, spec) = (Demand::default(), Spec::default());
        assert!(d.fold(&spec, &event(1, JobState::Queued), Some((MessageId(1), 1)), Time::ZERO).settled.is_empty());
        assert!(d.fold(&spec, &event(1, JobState::Queued), Some((MessageId(2), 1)), Time::ZERO).settled.is_empty());
        let started = d.fold(&spec, &event(1, JobState::InProgress), Some((MessageId(3), 1)), Time::ZERO);
        assert_eq!(started.settled, [MessageId(1), MessageId(2), MessageId(3)]);
        assert_eq!(d.fold(&spec, &event(1, JobState::Queued), Some((MessageId(4), 2)), Time::ZERO).settled, [MessageId(4)]);
    }

    #[test]
    fn another_owners_event_changes_no_known_job() {
        let (mut d, spec) = (Demand::default(), Spec::default());
        d.fold(&spec, &event(1, JobState::Queued), Some((MessageId(1), 1)), Time::ZERO);
        let before = d.clone();
        let foreign = JobEvent { repo: "beta/web".into(), ..event(1, JobState::Completed) };
        let folded = d.fold(&spec, &foreign, Some((MessageId(2), 1)), Time::ZERO);
        assert_eq!((folded.advanced, folded.ended, folded.settled), (false, None, vec![MessageId(2)]));
        assert_eq!(d, before);
        let renamed = JobEvent { repo: "Acme/site".into(), ..event(1, JobState::Completed) };
        assert!(d.fold(&spec, &renamed, None, Time::ZERO).advanced, "the same owner, whatever the case and the repository");
    }

    #[test]
    fn what_is_over_stays_over() {
        let (mut d, spec) = (Demand::default(), Spec::default());
        d.fold(&spec, &event(1, JobState::Completed), None, Time::ZERO);
        let late = d.fold(&spec, &event(1, JobState::Queued), Some((MessageId(9), 1)), Time::ZERO);
        assert_eq!((late.advanced, late.settled), (false, vec![MessageId(9)]));
        assert!(d.jobs().is_empty() && d.is_over(JobId(1)));
    }

    #[test]
    fn a_redelivered_message_marks_its_job_unless_it_is_one_that_we_hold() {
        let (mut d, spec) = (Demand::default(), Spec::default());
        d.fold(&spec, &event(1, JobState::Queued), Some((MessageId(1), 3)), Time::ZERO);
        assert!(d.jobs()[&JobId(1)].redelivered);
        for count in 1..=2 {
            d.fold(&spec, &event(2, JobState::Queued), Some((MessageId(2), count)), Time::ZERO);
        }
        assert!(!d.jobs()[&JobId(2)].redelivered);
    }

    #[test]
    fn an_event_of_the_run_ends_a_hold_and_holds_grow() {
        let (mut d, spec) = (Demand::default(), Spec::default());
        d.fold(&spec, &event(11, JobState::Queued), None, Time::ZERO);
        d.hold(JobId(11), HoldReason::LeftQueued, Time::ZERO);
        let first = d.jobs()[&JobId(11)].hold.clone().expect("held");
        d.hold(JobId(11), HoldReason::LeftQueued, first.until);
        let second = d.jobs()[&JobId(11)].hold.clone().expect("held");
        assert_eq!(second.until.since(second.since), 2 * first.until.since(first.since));
        assert!(d.jobs()[&JobId(11)].held(second.since));
        d.fold(&spec, &event(12, JobState::Completed), None, Time::ZERO);
        assert!(!d.jobs()[&JobId(11)].held(second.since), "job 12 is of the same run");
    }

    #[test]
    fn what_was_heard_before_ends_no_hold() {
        let (mut d, spec) = (Demand::default(), Spec::default());
        for job in [11, 12] {
            d.fold(&spec, &event(job, JobState::Queued), None, Time::ZERO);
        }
        d.hold(JobId(11), HoldReason::LeftQueued, Time::ZERO);
        assert!(!d.fold(&spec, &event(12, JobState::Queued), None, Time::ZERO).advanced);
        assert!(d.jobs()[&JobId(11)].held(Time::ZERO));
    }

    #[test]
    fn a_job_started_when_that_was_first_heard() {
        let (mut d, spec) = (Demand::default(), Spec::default());
        let at = |s| Time::ZERO + Duration::from_secs(s);
        for (s, state, started) in
            [(1, JobState::Queued, None), (2, JobState::InProgress, Some(2)), (3, JobState::InProgress, Some(2))]
        {
            d.fold(&spec, &event(1, state), None, at(s));
            assert_eq!(d.jobs()[&JobId(1)].started, started.map(at));
        }
    }

    #[test]
    fn a_job_of_other_labels_finds_its_place_anew() {
        let (mut d, spec) = (Demand::default(), Spec::default());
        let bare = JobEvent { labels: vec![], ..event(1, JobState::Queued) };
        d.fold(&spec, &bare, None, Time::ZERO);
        assert!(matches!(d.jobs()[&JobId(1)].route, Route::Foreign(_)));
        d.fold(&spec, &event(1, JobState::Queued), None, Time::ZERO);
        assert!(matches!(d.jobs()[&JobId(1)].route, Route::Unmatched(_)));
    }

    #[test]
    fn jobs_expire_after_a_day_with_their_messages() {
        let (mut d, spec) = (Demand::default(), Spec::default());
        d.fold(&spec, &event(1, JobState::Queued), Some((MessageId(1), 1)), Time::ZERO);
        assert!(d.expire(Time::ZERO + DAY - Duration::from_secs(1)).is_empty());
        let expired = d.expire(Time::ZERO + DAY);
        assert_eq!(expired.iter().flat_map(|j| &j.messages).collect::<Vec<_>>(), [&MessageId(1)]);
        assert!(d.jobs().is_empty());
    }

    #[test]
    fn a_running_job_and_a_tombstone_expire_to_the_second() {
        let (mut d, spec) = (Demand::default(), Spec::default());
        let before = |limit: Duration| Time::ZERO + limit - Duration::from_secs(1);
        d.fold(&spec, &event(1, JobState::Completed), None, Time::ZERO);
        d.fold(&spec, &event(2, JobState::InProgress), None, Time::ZERO);
        d.expire(before(DAY));
        assert!(d.is_over(JobId(1)));
        d.expire(Time::ZERO + DAY);
        assert!(!d.is_over(JobId(1)));
        d.expire(before(6 * DAY));
        assert!(d.jobs().contains_key(&JobId(2)));
        d.expire(Time::ZERO + 6 * DAY);
        assert!(d.jobs().is_empty() && d.is_over(JobId(2)));
    }

    #[test]
    fn tombstones_are_bounded_and_the_oldest_go_first() {
        let (mut d, most) = (Demand::default(), TOMBSTONES as u64);
        (0..most).for_each(|job| drop(d.bury(JobId(job), Time::ZERO)));
        assert!(d.is_over(JobId(0)));
        d.bury(JobId(most), Time::ZERO);
        assert!(!d.is_over(JobId(0)) && d.is_over(JobId(1)) && d.is_over(JobId(most)));
    }

    #[test]
    fn a_hold_lasts_ten_minutes_then_twice_as_long_up_to_four_hours() {
        let (mut d, spec, mut now) = (Demand::default(), Spec::default(), Time::ZERO + Duration::from_secs(7));
        d.fold(&spec, &event(11, JobState::Queued), None, now);
        assert_eq!(d.jobs()[&JobId(11)].counted_since(), now);
        for minutes in [10, 20, 40, 80, 160, 240, 240] {
            d.hold(JobId(11), HoldReason::LeftQueued, now);
            let job = &d.jobs()[&JobId(11)];
            let until = now + Duration::from_secs(minutes * 60);
            assert_eq!(job.counted_since(), until);
            assert!(job.held(until - Duration::from_secs(1)) && !job.held(until));
            assert!(job.counts(Duration::ZERO, until) && !job.counts(Duration::ZERO, until - Duration::from_secs(1)));
            now = until;
        }
    }

    #[test]
    fn a_redelivered_job_is_confirmed_by_an_answer_or_after_ten_seconds() {
        let (mut d, spec) = (Demand::default(), Spec::default());
        d.fold(&spec, &event(1, JobState::Queued), None, Time::ZERO);
        let after = |ms| Time::ZERO + Duration::from_millis(ms);
        assert!(!d.jobs()[&JobId(1)].confirmed(after(9_999)) && d.jobs()[&JobId(1)].confirmed(after(10_000)));
        assert_eq!(d.jobs()[&JobId(1)].confirmed_by(), after(10_000));
        d.job_mut(JobId(1)).expect("known").check.answered = Some(Time::ZERO);
        assert!(d.jobs()[&JobId(1)].confirmed(after(0)));
    }
}

//! How long jobs wait, and what a queued job can expect. It is made of what was seen, and never promises more.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::controller::Seen;
use crate::demand::Job;
use crate::event::JobState;
use crate::ids::{JobId, PoolName};
use crate::reason::{Blocked, Expected};
use crate::stage::Stage;
use crate::time::Time;
use crate::view::{HourView, PlaceView, SpanView, WaitsView};
use crate::waits::{Times, WaitSpread};

/// So many jobs must have been seen before anything is expected of the next.
const ENOUGH: u32 = 5;
const HOUR: Duration = Duration::from_secs(3600);

/// The queued jobs of a pool that count, the oldest first.
pub(crate) struct JobQueue {
    places: BTreeMap<JobId, u32>,
    oldest: Option<Time>,
    /// The waits of the last hour and of the last day, if enough jobs have started.
    hour: Option<WaitSpread>,
    day: Option<WaitSpread>,
}

impl JobQueue {
    fn len(&self) -> u32 {
        u32::try_from(self.places.len()).unwrap_or(u32::MAX)
    }
}

impl Seen<'_> {
    /// The queues of all pools.
    pub(crate) fn queues(&self, now: Time) -> BTreeMap<&PoolName, JobQueue> {
        self.spec.pools.keys().map(|name| (name, self.queue(name, now))).collect()
    }

    /// The queued jobs of a pool that count, by age.
    pub(crate) fn queue(&self, name: &PoolName, now: Time) -> JobQueue {
        let delay = self.spec.pools.get(name).map_or(Duration::ZERO, |pool| pool.queue_delay());
        let above = self.newest_plan(name).map(|plan| &plan.above_share);
        let counts = |id: &JobId, job: &Job| job.counts(delay, now) && !above.is_some_and(|above| above.contains(id));
        let mut jobs: Vec<(Time, JobId)> =
            self.demand.queued(name).filter(|(id, job)| counts(id, job)).map(|(id, job)| (waits_since(job), id)).collect();
        jobs.sort_unstable();
        let oldest = jobs.first().map(|(at, _)| *at);
        let times = self.waits(name).map(|waits| &waits.jobs);
        let seen = |spread: fn(&Times, Time) -> Option<WaitSpread>| spread(times?, now).filter(|seen| seen.count >= ENOUGH);
        let places = (1..).zip(jobs).map(|(place, (_, id))| (id, place)).collect();
        JobQueue { places, oldest, hour: seen(Times::hour), day: seen(Times::day) }
    }

    /// How long the jobs of a pool wait.
    pub(crate) fn waits_view(&self, name: &PoolName, queue: &JobQueue, now: Time) -> WaitsView {
        let next = self.expected(name, queue.len().saturating_add(1), Duration::ZERO, queue, now);
        let known = self.waits(name);
        let jobs = known.map(|known| &known.jobs);
        let starts = known.and_then(|known| known.stages.get(&Stage::Online));
        let of = |times: Option<&Times>, spread: fn(&Times, Time) -> Option<WaitSpread>| Some(span(spread(times?, now)?));
        let mut hours: BTreeMap<Time, HourView> = BTreeMap::new();
        let view = |at: Time| HourView { at: at.as_millis(), ..HourView::default() };
        for (at, told, counts) in jobs.into_iter().flat_map(|times| times.hours(now)) {
            let hour = hours.entry(at).or_insert(view(at));
            (hour.waits, hour.wait_counts) = (Some(span(told)), counts);
        }
        for (at, told, counts) in starts.into_iter().flat_map(|times| times.hours(now)) {
            let hour = hours.entry(at).or_insert(view(at));
            (hour.starts, hour.start_counts) = (Some(span(told)), counts);
        }
        WaitsView {
            waiting: queue.len(),
            oldest_seconds: queue.oldest.map(|at| now.since(at).as_secs()),
            next: next.to_string(),
            next_word: next.word().into(),
            hour: of(jobs, Times::hour),
            day: of(jobs, Times::day),
            starts_hour: of(starts, Times::hour),
            starts_day: of(starts, Times::day),
            hours: hours.into_values().collect(),
        }
    }

    /// What a queued job can expect. None: it is not queued, or no pool takes it.
    pub(crate) fn place_view(&self, id: JobId, job: &Job, queue: &JobQueue, now: Time) -> Option<PlaceView> {
        let pool = job.pool().filter(|_| job.event.state == JobState::Queued)?;
        let place = queue.places.get(&id).copied();
        let expected = match place {
            Some(place) => self.expected(pool, place, now.since(waits_since(job)), queue, now),
            None => Expected::NotCounted,
        };
        let (said, word) = (expected.to_string(), expected.word().to_owned());
        Some(PlaceView { place, of: queue.len(), expected: said, expected_word: word })
    }

    /// When the job at this place, which has waited for `waited`, can expect a runner.
    fn expected(&self, name: &PoolName, place: u32, waited: Duration, queue: &JobQueue, now: Time) -> Expected {
        let plan = self.newest_plan(name);
        if self.paused.contains_key(name) {
            return Expected::Paused;
        }
        if self.not_served(name).is_some() || plan.is_some_and(|plan| plan.counts.max == 0) {
            return Expected::Stuck;
        }
        match plan.and_then(|plan| plan.blocked.as_ref()) {
            None | Some(Blocked::Pace) => {}
            Some(Blocked::Max) => {
                let Some(hour) = &queue.hour else { return Expected::TooFew };
                let span = now.since(self.world.started()).min(HOUR);
                return Expected::AtPace { about: span.saturating_mul(place) / hour.count };
            }
            Some(_) => return Expected::Stuck,
        }
        match queue.hour.as_ref().or(queue.day.as_ref()) {
            None => Expected::TooFew,
            Some(usual) if waited > usual.most => Expected::Longer { usual: usual.most },
            Some(usual) => Expected::Usually { within: usual.most },
        }
    }
}

/// Since when a job waits, without the time for which GitHub held it back.
fn waits_since(job: &Job) -> Time {
    job.event.queued_at.unwrap_or(job.first_seen).max(job.counted_since())
}

fn span(told: WaitSpread) -> SpanView {
    SpanView { count: told.count, median_seconds: told.median.as_secs_f64(), most_seconds: told.most.as_secs_f64() }
}

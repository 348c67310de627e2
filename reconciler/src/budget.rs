//! How many calls each API admits, as token buckets, so that muster never plans more calls than the other side takes.
//!
//! Sources: EC2's request token buckets <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html>, SSM's quotas
//! <https://docs.aws.amazon.com/general/latest/gr/ssm.html>, GitHub's limits
//! <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::effect::{GitHubLimit, Resource};
use crate::ids::Payer;
use crate::manifest::Limits;
use crate::time::Time;

/// An API, or a use of it, with a budget of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Api {
    /// EC2 CreateFleet.
    CreateFleet,
    /// EC2 TerminateInstances.
    Terminate,
    /// EC2 CreateTags.
    CreateTags,
    /// SSM PutParameter.
    SsmPut,
    /// GitHub's JIT configurations and registration tokens.
    Jit(Payer),
    /// GitHub's deletion of a registration. The end of an instance waits for it, so no request is kept in reserve before it.
    Deregister(Payer),
    /// GitHub's answers to questions that can wait: job checks and redeliveries. They leave a reserve to everything else.
    Background(Payer),
    /// GitHub's redeliveries of webhooks. A job that nobody knows of may wait for a redelivery, so no reserve is kept before it.
    Redeliver(Payer),
    /// Orders to run jobs again, or to cancel runs.
    Rerun(Payer),
    /// Statuses on commits.
    Status(Payer),
}

impl Api {
    /// The word in metrics: the call that the budget stands for.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Api::CreateFleet => "ec2.CreateFleet",
            Api::Terminate => "ec2.TerminateInstances",
            Api::CreateTags => "ec2.CreateTags",
            Api::SsmPut => "ssm.PutParameter",
            Api::Jit(_) => "github.GenerateJitConfig",
            Api::Deregister(_) => "github.DeleteRunner",
            Api::Background(_) => "github.GetJob",
            Api::Redeliver(_) => "github.RedeliverWebhook",
            Api::Rerun(_) => "github.RerunJobs",
            Api::Status(_) => "github.CreateCommitStatus",
        }
    }

    /// The payer at GitHub. None: the API is AWS's.
    pub const fn payer(&self) -> Option<&Payer> {
        match self {
            Api::Jit(payer)
            | Api::Deregister(payer)
            | Api::Background(payer)
            | Api::Redeliver(payer)
            | Api::Rerun(payer)
            | Api::Status(payer) => Some(payer),
            Api::CreateFleet | Api::Terminate | Api::CreateTags | Api::SsmPut => None,
        }
    }
}

/// The number of GitHub's requests that background questions leave to configurations and sweeps.
const RESERVE: u32 = 1000;

/// The usual time from the launch of an instance until it asks for its configuration.
pub const BOOT: Duration = Duration::from_secs(30);

/// A token bucket. `level` and `capacity` are in calls; `at` is the time of the last refill.
#[derive(Clone, Debug, PartialEq)]
struct Bucket {
    capacity: f64,
    per_second: f64,
    level: f64,
    at: Time,
}

impl Bucket {
    fn refill(&mut self, now: Time) {
        self.level = (self.level + now.since(self.at).as_secs_f64() * self.per_second).min(self.capacity);
        self.at = self.at.max(now);
    }
}

/// The budgets of all APIs. A bucket is made when it is first used.
#[derive(Clone, Debug, PartialEq)]
pub struct Budgets {
    limits: Limits,
    buckets: BTreeMap<Api, Bucket>,
    /// What GitHub's headers said last: the requests left, and until when this holds. GitHub has one limit for each payer and
    /// resource. A limit without a resource is a secondary limit, which holds for all requests of the payer.
    github: BTreeMap<(Payer, Option<Resource>), (u32, Time)>,
    /// The resource that a payer's configurations count against, as GitHub's headers said last. No page of GitHub's says it.
    configurations: BTreeMap<Payer, Resource>,
}

impl Budgets {
    /// Makes budgets whose buckets are all full.
    pub fn new(limits: Limits) -> Budgets {
        Budgets { limits, buckets: BTreeMap::new(), github: BTreeMap::new(), configurations: BTreeMap::new() }
    }

    /// Takes over changed limits. Then all buckets are new, and so full again. Equal limits change nothing.
    pub fn set_limits(&mut self, limits: Limits) {
        if self.limits != limits {
            self.limits = limits;
            self.buckets.clear();
        }
    }

    /// The bucket's capacity, and its refill per second. With the bucket for configurations, no minute ever sees more than the
    /// limit plus 5%.
    fn shape(&self, api: &Api) -> (f64, f64) {
        match api {
            Api::CreateFleet => (self.limits.create_fleet_per_second * 10.0, self.limits.create_fleet_per_second),
            Api::Terminate => (100.0, 5.0),
            Api::CreateTags => (100.0, 10.0),
            Api::SsmPut => (self.limits.ssm_put_per_second.max(1.0), self.limits.ssm_put_per_second),
            Api::Jit(_) => ((self.limits.jit_per_minute / 20.0).max(1.0), self.limits.jit_per_minute / 60.0),
            Api::Deregister(_) => (20.0, 1.0),
            // A redelivery may bring a job that is asked about, so the questions keep pace with the redeliveries.
            Api::Background(_) | Api::Redeliver(_) | Api::Rerun(_) => (20.0, 1.0),
            // GitHub admits 500 requests an hour that make content, which others make, too.
            // <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits>
            Api::Status(_) => (20.0, 0.1),
        }
    }

    fn bucket(&mut self, api: &Api, now: Time) -> &mut Bucket {
        let (capacity, per_second) = self.shape(api);
        let b = self.buckets.entry(api.clone()).or_insert(Bucket { capacity, per_second, level: capacity, at: now });
        b.refill(now);
        b
    }

    /// The budgets that were used so far. The three numbers are the calls that are admitted at once now, the most that can be
    /// admitted at once, and the calls that are added each second.
    pub fn levels(&self, now: Time) -> impl Iterator<Item = (&Api, [f64; 3])> {
        self.buckets.iter().map(move |(api, b)| {
            let mut b = b.clone();
            b.refill(now);
            (api, [b.level.max(0.0), b.capacity, b.per_second])
        })
    }

    /// What GitHub's headers said last: the requests left, and until when this holds. A limit without a resource is a secondary
    /// limit.
    pub fn github(&self) -> impl Iterator<Item = (&Payer, Option<Resource>, u32, Time)> {
        self.github.iter().map(|((payer, resource), (left, until))| (payer, *resource, *left, *until))
    }

    /// The resource that the payer's configurations count against.
    fn of_configurations(&self, payer: &Payer) -> Resource {
        self.configurations.get(payer).copied().unwrap_or(Resource::Registration)
    }

    /// The resource that a call counts against at GitHub.
    fn resource(&self, api: &Api) -> Resource {
        if let Api::Jit(payer) = api { self.of_configurations(payer) } else { Resource::Core }
    }

    /// When the next call is admitted: `now`, or later.
    pub fn admits_at(&mut self, api: &Api, now: Time) -> Time {
        let reserve = if matches!(api, Api::Background(_) | Api::Status(_)) { RESERVE } else { 0 };
        let gate = api.payer().map_or(now, |payer| self.gate(payer, self.resource(api), reserve, now));
        let b = self.bucket(api, now);
        let wait = ((1.0 - b.level) / b.per_second).max(0.0);
        gate.max(now + Duration::from_millis((wait * 1000.0).ceil() as u64))
    }

    /// The limits that hold for a request of the payer: the resource's limit and the secondary limit.
    fn met(&self, payer: &Payer, resource: Resource) -> impl Iterator<Item = (u32, Time)> {
        [Some(resource), None].into_iter().filter_map(move |of| self.github.get(&(payer.clone(), of)).copied())
    }

    fn gate(&self, payer: &Payer, resource: Resource, reserve: u32, now: Time) -> Time {
        let spent = self.met(payer, resource).filter(|(remaining, _)| *remaining <= reserve);
        spent.map(|(_, until)| until).fold(now, Time::max)
    }

    /// Takes one call from the budget. False: no call is admitted now.
    pub fn take(&mut self, api: &Api, now: Time) -> bool {
        if self.admits_at(api, now) > now {
            return false;
        }
        self.bucket(api, now).level -= 1.0;
        let resource = self.resource(api);
        if let Some(payer) = api.payer()
            && let Some((remaining, _)) = self.github.get_mut(&(payer.clone(), Some(resource)))
        {
            *remaining = remaining.saturating_sub(1);
        }
        true
    }

    /// The other side throttled muster, so its bucket had fewer tokens than ours. Empties ours.
    pub fn throttled(&mut self, api: &Api, now: Time) {
        self.bucket(api, now).level = 0.0;
    }

    /// Takes over what GitHub's headers said.
    pub fn note_github(&mut self, limit: &GitHubLimit, now: Time) {
        let until = now + limit.reset_after;
        // Two limits may be used up at once: an hour's and a burst's. The one that lasts longer holds.
        let key = (limit.payer.clone(), limit.resource);
        let held = self.github.get(&key).filter(|(left, _)| (*left, limit.remaining) == (0, 0));
        let until = held.map_or(until, |(_, held)| until.max(*held));
        self.github.insert(key, (limit.remaining, until));
        if let Some(resource) = limit.resource.filter(|_| limit.of_configuration) {
            self.configurations.insert(limit.payer.clone(), resource);
        }
    }

    /// The time until which GitHub's limit keeps the payer from asking questions. None: the payer may ask.
    pub fn questions_wait(&self, payer: &Payer, now: Time) -> Option<Time> {
        let gate = self.gate(payer, Resource::Core, 0, now);
        (gate > now).then_some(gate)
    }

    /// The time until which GitHub's limit keeps the payer's instances from being configured. None: they can be configured.
    pub fn configurations_wait(&self, payer: &Payer, now: Time) -> Option<Time> {
        let gate = self.gate(payer, self.of_configurations(payer), 0, now);
        (gate > now).then_some(gate)
    }

    /// The most instances that may be launched and not yet configured: as many as can be configured while an instance boots. More
    /// would wait for their configuration at the user's cost.
    pub fn unconfigured_limit(&self) -> u32 {
        let per_second = self.limits.ssm_put_per_second.min(self.limits.jit_per_minute / 60.0);
        (per_second * BOOT.as_secs_f64()).clamp(1.0, 1000.0) as u32
    }

    /// How many instances can still be configured before GitHub's limit is reset, and when the reset is. None: no limit is known,
    /// or the reset comes before an instance that is launched now has booted.
    pub fn github_leaves(&self, payer: &Payer, now: Time) -> Option<(u32, Time)> {
        let lasting = self.met(payer, self.of_configurations(payer)).filter(|(_, until)| *until > now + BOOT);
        lasting.min_by_key(|(left, until)| (*left, std::cmp::Reverse(*until)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payer() -> Payer {
        Payer::installation(&"a".into(), "acme")
    }

    fn left(remaining: u32) -> GitHubLimit {
        let reset_after = Duration::from_secs(60);
        GitHubLimit { payer: payer(), resource: Some(Resource::Core), of_configuration: false, remaining, reset_after }
    }

    fn left_to_configure(remaining: u32) -> GitHubLimit {
        GitHubLimit { resource: Some(Resource::Registration), of_configuration: true, ..left(remaining) }
    }

    fn spend(b: &mut Budgets, api: &Api, until: Duration) -> u32 {
        let (mut now, mut n) = (Time::ZERO, 0);
        while now.since(Time::ZERO) < until {
            while b.take(api, now) {
                n += 1;
            }
            now = b.admits_at(api, now).max(now + Duration::from_millis(1));
        }
        n
    }

    #[test]
    fn calls_keep_to_bucket_and_refill() {
        let minute = Duration::from_secs(60);
        let mut b = Budgets::new(Limits::default());
        assert!((349..=350).contains(&spend(&mut b, &Api::CreateFleet, minute)), "a bucket of 50, then 5 a second");
        assert!((180..=183).contains(&spend(&mut b, &Api::SsmPut, minute)));
        let jit = spend(&mut b, &Api::Jit(payer()), minute);
        assert!((180..=189).contains(&jit), "{jit}");
    }

    #[test]
    fn an_exhausted_github_limit_waits_for_its_reset_and_background_leaves_a_reserve() {
        let mut b = Budgets::new(Limits::default());
        let now = Time::ZERO;
        b.note_github(&left(RESERVE), now);
        assert!(b.take(&Api::Deregister(payer()), now));
        assert!(!b.take(&Api::Background(payer()), now));
        assert!(b.take(&Api::Redeliver(payer()), now), "a lost job waits for it");
        b.note_github(&left(0), now);
        b.note_github(&GitHubLimit { reset_after: Duration::from_secs(30), ..left(0) }, now);
        let api = Api::Deregister(payer());
        assert_eq!(b.admits_at(&api, now), now + Duration::from_secs(60), "the longer of two limits holds");
        assert!(b.take(&api, now + Duration::from_secs(60)));
    }

    #[test]
    fn one_spent_limit_holds_back_neither_another_resource_nor_another_installation() {
        let mut b = Budgets::new(Limits::default());
        let now = Time::ZERO;
        b.note_github(&left_to_configure(0), now);
        assert!(b.configurations_wait(&payer(), now).is_some() && b.questions_wait(&payer(), now).is_none());
        assert!(!b.take(&Api::Jit(payer()), now) && b.take(&Api::Deregister(payer()), now));
        let other = Payer::installation(&"a".into(), "umbrella");
        assert!(b.take(&Api::Jit(other.clone()), now) && b.github_leaves(&other, now).is_none());
        assert_eq!(b.github_leaves(&payer(), now), Some((0, now + Duration::from_secs(60))));

        let mut b = Budgets::new(Limits::default());
        b.note_github(&left(0), now);
        assert!(b.take(&Api::Jit(payer()), now) && !b.take(&Api::Deregister(payer()), now));
        assert!(b.take(&Api::Deregister(other), now));
    }

    #[test]
    fn a_secondary_limit_holds_for_all_that_the_payer_asks_whatever_is_left_of_a_resource() {
        let mut b = Budgets::new(Limits::default());
        let (now, wait) = (Time::ZERO, Duration::from_secs(90));
        b.note_github(&GitHubLimit { resource: None, reset_after: wait, ..left(0) }, now);
        b.note_github(&left(4000), now);
        b.note_github(&left_to_configure(9000), now);
        for api in [Api::Jit(payer()), Api::Deregister(payer()), Api::Background(payer())] {
            assert_eq!(b.admits_at(&api, now), now + wait, "{api:?}");
        }
        assert_eq!(b.github_leaves(&payer(), now), Some((0, now + wait)));
        assert!(b.take(&Api::Jit(payer()), now + wait));
        assert!(b.take(&Api::Jit(Payer::itself(&"a".into())), now), "the App itself is another payer");
    }

    #[test]
    fn what_configurations_count_against_is_githubs_word() {
        let (mut b, now) = (Budgets::new(Limits::default()), Time::ZERO);
        b.note_github(&GitHubLimit { of_configuration: true, ..left(0) }, now);
        assert!(b.configurations_wait(&payer(), now).is_some());
        b.note_github(&left_to_configure(9), now);
        assert!(b.configurations_wait(&payer(), now).is_none() && b.questions_wait(&payer(), now).is_some());
    }

    #[test]
    fn a_throttled_bucket_is_empty() {
        let mut b = Budgets::new(Limits::default());
        b.throttled(&Api::CreateFleet, Time::ZERO);
        assert!(!b.take(&Api::CreateFleet, Time::ZERO));
        assert!(b.take(&Api::CreateFleet, Time::from_millis(200)));
    }

    #[test]
    fn every_api_has_its_bucket_and_its_refill() {
        let limits = Limits { ssm_put_per_second: 0.5, jit_per_minute: 120.0, create_fleet_per_second: 2.0 };
        let hour = Duration::from_secs(3600);
        // (bucket, refill per hour).
        for (api, bucket, refill) in [
            (Api::CreateFleet, 20, 7_200),
            (Api::Terminate, 100, 18_000),
            (Api::CreateTags, 100, 36_000),
            (Api::SsmPut, 1, 1_800),
            (Api::Jit(payer()), 6, 7_200),
            (Api::Deregister(payer()), 20, 3_600),
            (Api::Background(payer()), 20, 3_600),
            (Api::Redeliver(payer()), 20, 3_600),
        ] {
            let mut b = Budgets::new(limits.clone());
            let at_once = (0..1_000).filter(|_| b.take(&api, Time::ZERO)).count();
            assert_eq!(at_once, bucket, "{api:?}");
            let mut b = Budgets::new(limits.clone());
            let all = spend(&mut b, &api, hour);
            assert!(all.abs_diff(bucket as u32 + refill) <= 2, "{api:?}: {all}");
        }
        assert_eq!(Budgets::new(limits).unconfigured_limit(), 15);
        let slow = Limits { ssm_put_per_second: 0.001, ..Limits::default() };
        assert_eq!(Budgets::new(slow).unconfigured_limit(), 1);
    }

    #[test]
    fn github_is_exhausted_until_its_reset_and_each_call_counts() {
        let mut b = Budgets::new(Limits::default());
        let (now, reset) = (Time::from_millis(7), Duration::from_secs(60));
        assert_eq!(b.questions_wait(&payer(), now), None);
        b.note_github(&left(2), now);
        assert!(b.take(&Api::Background(Payer::itself(&"a".into())), now), "the App's own limit is another");
        assert!(b.take(&Api::Deregister(payer()), now) && b.questions_wait(&payer(), now).is_none());
        assert!(b.take(&Api::Deregister(payer()), now));
        assert_eq!(b.questions_wait(&payer(), now), Some(now + reset));
        assert!(!b.take(&Api::Deregister(payer()), now) && b.take(&Api::CreateFleet, now));
        assert_eq!(b.questions_wait(&payer(), now + reset), None);
        b.note_github(&left_to_configure(1), now);
        assert!(b.take(&Api::Jit(payer()), now));
        assert_eq!(b.configurations_wait(&payer(), now), Some(now + reset));
        b.note_github(&left(RESERVE + 2), now);
        let asked = (0..9).filter(|_| b.take(&Api::Background(payer()), now)).count();
        assert_eq!(asked, 2, "the reserve is left alone");
    }

    #[test]
    fn changed_limits_hold_at_once_and_the_same_ones_fill_no_bucket() {
        let mut b = Budgets::new(Limits::default());
        b.throttled(&Api::CreateFleet, Time::ZERO);
        b.set_limits(Limits::default());
        assert!(!b.take(&Api::CreateFleet, Time::ZERO));
        b.set_limits(Limits { create_fleet_per_second: 0.1, ..Limits::default() });
        assert!(b.take(&Api::CreateFleet, Time::ZERO) && !b.take(&Api::CreateFleet, Time::ZERO));
        assert_eq!(b.admits_at(&Api::CreateFleet, Time::ZERO), Time::from_millis(10_000));
    }

    #[test]
    fn a_clock_that_goes_back_takes_nothing_away() {
        let mut b = Budgets::new(Limits::default());
        b.throttled(&Api::Deregister(payer()), Time::from_millis(5_000));
        assert!(!b.take(&Api::Deregister(payer()), Time::from_millis(1_000)));
        assert!(!b.take(&Api::Deregister(payer()), Time::from_millis(5_999)));
        assert!(b.take(&Api::Deregister(payer()), Time::from_millis(6_000)));
    }

    #[test]
    fn budgets_tell_what_they_hold_and_by_which_name() {
        let mut b = Budgets::new(Limits::default());
        assert!(b.take(&Api::SsmPut, Time::ZERO) && b.take(&Api::Jit(payer()), Time::ZERO));
        let levels: Vec<_> = b.levels(Time::ZERO).map(|(api, level)| (api.as_str(), level)).collect();
        assert_eq!(levels, [("ssm.PutParameter", [2.0, 3.0, 3.0]), ("github.GenerateJitConfig", [8.0, 9.0, 3.0])]);
        b.note_github(&left(7), Time::ZERO);
        let until = Time::from_millis(60_000);
        assert_eq!(b.github().collect::<Vec<_>>(), [(&payer(), Some(Resource::Core), 7, until)]);
        let apis = [Api::Jit(payer()), Api::Deregister(payer()), Api::Background(payer()), Api::Terminate];
        let payers = apis.each_ref().map(|api| api.payer().cloned());
        assert_eq!(payers, [Some(payer()), Some(payer()), Some(payer()), None]);
    }

    #[test]
    fn as_many_instances_are_launched_ahead_as_can_be_configured_in_half_a_minute() {
        let limit = |jit_per_minute, ssm_put_per_second| {
            Budgets::new(Limits { jit_per_minute, ssm_put_per_second, ..Limits::default() }).unconfigured_limit()
        };
        assert_eq!([limit(60.0, 3.0), limit(600.0, 3.0), limit(1.0, 3.0), limit(1e6, 1e6)], [30, 90, 1, 1000]);
    }
}

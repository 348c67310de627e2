//! One box: every sighting of it joined into one record, and that record into one phase.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::defects::{self, Defect};
use crate::effect::{Market, Stage};
use crate::event::InstanceState;
use crate::ids::{Forge, Intent, JobId, PoolName, RunnerId};
use crate::manifest::RunnerPool;
use crate::time::Time;

/// An own launch counts as supply for this long without EC2 showing it: EC2 is eventually consistent.
/// <https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>
pub const LAUNCH_LAG: Duration = Duration::from_secs(120);

/// How far behind EC2's answers may be at other times; an absence must have lasted longer.
pub const CONSISTENCY_LAG: Duration = Duration::from_secs(30);

/// This many complete sweeps in a row without it, each begun after it was first known: then it is absent.
pub const ABSENT_SWEEPS: u8 = 2;

/// Of a box that is gone: so many, before its registration is taken for gone as well. Nobody may look at that list again.
pub const BURIED_SWEEPS: u8 = 4;

/// A box that was only just configured gets this long (or its boot deadline, if that is shorter) to come online: that it
/// had to wait for its configuration is no fault of its own.
pub const REGISTER_GRACE: Duration = Duration::from_secs(60);

/// Everything known of one box. Any single sighting makes the record: an instance, a registration, a secret, an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Runner {
    /// From the instance's tag or the runner's name.
    pub pool: PoolName,
    /// When this process first knew of it; ages run from here.
    pub first_seen: Time,
    /// This process launched it, by this intent, at `first_seen`.
    pub launched_by: Option<Intent>,
    /// EC2's sighting; None while no complete sweep has shown it.
    pub instance: Option<Instance>,
    /// What CreateFleet said that it is, until a sweep shows it.
    pub shape: Option<Shape>,
    /// Complete instance sweeps in a row that did not show it.
    pub missed: u8,
    /// Whether its configuration was minted.
    pub configured: Configured,
    /// A JIT secret may lie in SSM.
    pub secret: bool,
    /// GitHub's sighting.
    pub registration: Option<Registration>,
    /// The one list in which it must be looked for: its tag says so from its launch on, and it is configured for no other.
    /// Without the tag, where a sweep showed it before this process touched it. None for a found box with neither: its
    /// pool may have moved, so no list's silence says anything of it, and it is never ended on such silence.
    pub forge: Option<Forge>,
    /// When the last complete look at that list began.
    pub list_seen: Option<Time>,
    /// What it was registered with, by this process or else as GitHub lists it.
    pub terms: Option<Arc<Terms>>,
    /// When it was first known to be online. Proof that it booted.
    pub online_at: Option<Time>,
    /// The stages of its start, as it told them itself, are counted.
    pub staged: bool,
    /// Idle without a break since then.
    pub idle_since: Option<Time>,
    /// GitHub's list turned busy then, before our eyes: its job may still be queued as far as events told. None for a
    /// runner that was found busy: its job is a predecessor's story.
    pub busy_since: Option<Time>,
    /// What events said of its job.
    pub job: JobEvidence,
    /// When it reached each [`Stage`] of its start, by its number; of a box that this process launched.
    pub reached: [Option<Time>; Stage::ALL.len()],
    /// An operator wants it to end, and why; its tag says so before long.
    pub wish: Option<String>,
    /// It was asked to end once it is idle.
    pub drain: Option<Drain>,
    /// EC2 announced that it takes it back.
    pub interrupted_at: Option<Time>,
    /// EC2 accepted our TerminateInstances.
    pub terminated_at: Option<Time>,
    /// Its registration was deleted by us: it can't get a job any more.
    pub deregistered: bool,
    /// When it was first found gone.
    pub gone_at: Option<Time>,
    /// An effect on it (configure, drain, terminate, deregister, secret) is under way.
    pub in_flight: bool,
    /// It is a drain or a terminate: the box no longer counts as supply, or a second one would be let go in its place.
    pub leaving: bool,
    /// No further effect before this: per-box backoff.
    pub not_before: Time,
    /// How often an effect on it failed in a row.
    pub failures: u32,
    /// The last failure's message, for people.
    pub last_error: Option<String>,
}

/// What a runner was registered with: it decides which jobs GitHub may give it, and never changes in a runner's life.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Terms {
    /// Where.
    pub forge: Forge,
    /// The runner group; None when only GitHub's list tells of the runner, which does not name its group.
    pub group: Option<String>,
    /// The labels.
    pub labels: Arc<[String]>,
}

impl Terms {
    /// Whether GitHub gives a runner with these terms the jobs that count for the pool, as far as known.
    pub fn serve(&self, pool: &RunnerPool) -> bool {
        let has = |label: &String| self.labels.iter().any(|l| l.eq_ignore_ascii_case(label));
        self.forge == pool.forge()
            && self.group.as_ref().is_none_or(|g| *g == pool.spec.github.runner_group)
            && pool.spec.labels.iter().all(has)
    }
}

/// EC2's sighting of a box.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// The newest state.
    pub state: InstanceState,
    /// When a sweep last showed it.
    pub seen_at: Time,
    /// When it was first known to be on its way out.
    pub ending_since: Option<Time>,
    /// LaunchTime, EC2's clock: for lifetimes only.
    pub launched_at: Time,
    /// What it is.
    pub shape: Shape,
    /// Why it ended, if EC2 said so.
    pub state_reason: Option<String>,
}

/// What a box is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Such as `m7i.large`.
    pub instance_type: Arc<str>,
    /// Such as `subnet-0abc`.
    pub subnet: Option<Arc<str>>,
    /// How it was bought.
    pub market: Market,
}

/// Whether a box's configuration was minted.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Configured {
    /// Not that we know.
    #[default]
    No,
    /// Our last try failed, and may have left a registration that no secret belongs to: it has to make way.
    Unsure,
    /// A registration or a secret says so; a predecessor did it, perhaps only by half.
    Seen,
    /// Yes; this process did it, or the box came online.
    Yes(Time),
}

/// GitHub's sighting of a runner.
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    /// GitHub's id.
    pub id: RunnerId,
    /// The list that it is in.
    pub forge: Forge,
    /// Connected.
    pub online: bool,
    /// Has a job, says GitHub; may lie.
    pub busy: bool,
    /// When we first knew of it.
    pub first_seen: Time,
    /// Complete runner sweeps in a row that did not list it.
    pub missed: u8,
}

/// What `workflow_job` events said of a box.
///
/// Events come in any order: the start of a reusable runner's next job may be told before the end of its last one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobEvidence {
    running: BTreeSet<JobId>,
    over: Option<(JobId, Time)>,
}

impl JobEvidence {
    /// A job started on it.
    pub fn started(&mut self, job: JobId) {
        if self.over.is_none_or(|(over, _)| over != job) {
            self.running.insert(job);
        }
    }

    /// A job on it is over; the box of an ephemeral runner ends with it.
    pub fn ended(&mut self, job: JobId, ephemeral: bool, now: Time) {
        self.running.remove(&job);
        if ephemeral {
            // Even an ephemeral runner gets a second job when its first was cancelled before it began.
            self.over = Some((self.over.map_or(job, |(other, _)| other.max(job)), now));
        }
    }

    /// Nothing was said, or of jobs of a reusable runner that are over.
    pub fn is_none(&self) -> bool {
        self.running.is_empty() && self.over.is_none()
    }

    /// Whether this job started on it and is not over.
    pub fn runs(&self, job: JobId) -> bool {
        self.running.contains(&job)
    }

    /// The newest job that started on it and is not over.
    pub fn running(&self) -> Option<JobId> {
        self.running.last().copied()
    }

    /// Its only job, which is over, and when that was told.
    pub fn over(&self) -> Option<(JobId, Time)> {
        self.over.filter(|_| self.running.is_empty())
    }
}

/// A box was asked to end once it is idle.
#[derive(Clone, Debug, PartialEq)]
pub struct Drain {
    /// When we asked, or first saw the tag.
    pub asked_at: Time,
    /// Why; unknown when a predecessor asked.
    pub why: Option<String>,
}

/// What a box is doing, as far as anybody can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Launched by us; EC2 does not show it yet.
    Launching,
    /// EC2 shows it; its configuration is not minted.
    Booting,
    /// Its configuration is minted; it was never online.
    Configured,
    /// Online without a job.
    Idle,
    /// Has a job.
    Busy,
    /// Asked to end, and not known to have a job.
    Draining,
    /// EC2 takes it back.
    Interrupted,
    /// Never came online in time, or is online no more.
    Failed,
    /// On its way out.
    Terminating,
    /// No instance any more.
    Gone,
}

impl Phase {
    /// All, in the order of a life.
    pub const ALL: [Phase; 10] = [
        Phase::Launching,
        Phase::Booting,
        Phase::Configured,
        Phase::Idle,
        Phase::Busy,
        Phase::Draining,
        Phase::Interrupted,
        Phase::Failed,
        Phase::Terminating,
        Phase::Gone,
    ];

    /// The word used in metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Launching => "launching",
            Phase::Booting => "booting",
            Phase::Configured => "configured",
            Phase::Idle => "idle",
            Phase::Busy => "busy",
            Phase::Draining => "draining",
            Phase::Interrupted => "interrupted",
            Phase::Failed => "failed",
            Phase::Terminating => "terminating",
            Phase::Gone => "gone",
        }
    }

    /// Whether it can still take a job.
    pub const fn is_supply(self) -> bool {
        matches!(self, Phase::Launching | Phase::Booting | Phase::Configured | Phase::Idle)
    }
}

/// What EC2 evidence says, in what matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ec2 {
    /// Launched by us, not shown yet, within EC2's lag.
    Requested,
    /// Never shown, but something else speaks of it.
    Unseen,
    /// Pending or running.
    Up,
    /// Shutting down, stopping or stopped; or EC2 accepted our terminate.
    Ending,
    /// Terminated, or absent.
    Ended,
}

/// What GitHub's evidence says, in what matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seat {
    /// Not listed, and never known online.
    None,
    /// Listed, never known online.
    Waiting,
    /// Online, not busy.
    Idle,
    /// Online or offline, busy.
    Busy,
    /// Was online; now offline or no longer listed.
    Lost,
}

/// The evidence that decides a phase: small and finite, so that every combination is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// EC2's.
    pub ec2: Ec2,
    /// Minted.
    pub configured: bool,
    /// GitHub's list.
    pub seat: Seat,
    /// Events said that a job started, and not that it ended.
    pub job_running: bool,
    /// Events said that its only job is over.
    pub job_over: bool,
    /// Asked to end.
    pub draining: bool,
    /// EC2 takes it back.
    pub interrupted: bool,
    /// Past the boot deadline.
    pub overdue: bool,
}

/// One phase for every combination of evidence. The order of the rules is the argument: what EC2 ends is ending whatever
/// GitHub says; a possible job outranks everything that could lead to a box's end.
pub fn phase(e: Evidence) -> Phase {
    if e.ec2 == Ec2::Ended {
        return Phase::Gone;
    }
    if e.ec2 == Ec2::Ending {
        return Phase::Terminating;
    }
    if e.interrupted {
        return Phase::Interrupted;
    }
    if e.job_over {
        return Phase::Terminating;
    }
    if e.job_running || e.seat == Seat::Busy {
        return Phase::Busy;
    }
    if e.draining {
        return Phase::Draining;
    }
    match e.seat {
        Seat::Idle => Phase::Idle,
        Seat::Lost => Phase::Failed,
        Seat::Busy => Phase::Busy,
        Seat::None | Seat::Waiting if e.overdue => Phase::Failed,
        Seat::Waiting => Phase::Configured,
        Seat::None if e.configured => Phase::Configured,
        Seat::None if e.ec2 == Ec2::Requested => Phase::Launching,
        Seat::None => Phase::Booting,
    }
}

impl Runner {
    /// A record with nothing in it yet.
    pub fn new(pool: PoolName, now: Time) -> Runner {
        Runner {
            pool,
            first_seen: now,
            launched_by: None,
            instance: None,
            shape: None,
            missed: 0,
            configured: Configured::No,
            secret: false,
            registration: None,
            forge: None,
            list_seen: None,
            terms: None,
            online_at: None,
            staged: false,
            idle_since: None,
            busy_since: None,
            job: JobEvidence::default(),
            reached: [None; Stage::ALL.len()],
            wish: None,
            drain: None,
            interrupted_at: None,
            terminated_at: None,
            deregistered: false,
            gone_at: None,
            in_flight: false,
            leaving: false,
            not_before: Time::ZERO,
            failures: 0,
            last_error: None,
        }
    }

    /// What decides its phase.
    pub fn evidence(&self, boot_deadline: Duration, now: Time) -> Evidence {
        Evidence {
            ec2: self.ec2(now),
            configured: self.is_configured(),
            seat: self.seat(),
            job_running: self.job.running().is_some(),
            job_over: self.job.over().is_some(),
            draining: self.drain.is_some(),
            interrupted: self.interrupted_at.is_some(),
            overdue: self.overdue(boot_deadline, now) && !defects::has(Defect::SupplyForEver),
        }
    }

    /// How long it has had to boot: since we launched it, or, for a box that was found, since EC2 did.
    pub fn up_for(&self, now: Time) -> Duration {
        let found = self.instance.as_ref().filter(|_| self.launched_by.is_none());
        now.since(found.map_or(self.first_seen, |i| i.launched_at.min(self.first_seen)))
    }

    /// Whether it had the time to boot, and its list, if it is known, was looked at since: a box that GitHub does not tell of
    /// may be online for long.
    fn overdue(&self, boot_deadline: Duration, now: Time) -> bool {
        let graced = match self.configured {
            Configured::Yes(at) => at + REGISTER_GRACE.min(boot_deadline),
            _ => self.first_seen,
        };
        let due = graced.max(self.first_seen + boot_deadline);
        let looked = self.forge.is_none() || self.list_seen.is_some_and(|seen| seen >= due);
        self.up_for(now) >= boot_deadline && now >= graced && looked
    }

    /// Its phase, for a pool with this boot deadline.
    pub fn phase(&self, boot_deadline: Duration, now: Time) -> Phase {
        phase(self.evidence(boot_deadline, now))
    }

    fn ec2(&self, now: Time) -> Ec2 {
        match &self.instance {
            Some(i) if i.state == InstanceState::Terminated => Ec2::Ended,
            _ if self.absent(now) => Ec2::Ended,
            _ if self.terminated_at.is_some() => Ec2::Ending,
            Some(i) if matches!(i.state, InstanceState::Pending | InstanceState::Running) => Ec2::Up,
            Some(_) => Ec2::Ending,
            None if self.launched_by.is_some() => Ec2::Requested,
            None => Ec2::Unseen,
        }
    }

    /// Not shown by several complete sweeps, over longer than EC2 may be behind. One stale page is no absence.
    fn absent(&self, now: Time) -> bool {
        if defects::has(Defect::MissingIsGone) {
            return self.missed > 0;
        }
        let shown = self.instance.as_ref().map_or(self.first_seen, |i| i.seen_at);
        let settled = self.launched_by.is_none() || now.since(self.first_seen) >= LAUNCH_LAG;
        self.missed >= ABSENT_SWEEPS && settled && now.since(shown) >= CONSISTENCY_LAG
    }

    fn seat(&self) -> Seat {
        let listed = self.registration.as_ref().filter(|r| r.missed < ABSENT_SWEEPS);
        match (listed, self.online_at) {
            (Some(r), _) if r.busy => Seat::Busy,
            (Some(r), _) if r.online => Seat::Idle,
            // An event told that it is online, and nobody has looked since.
            (_, Some(at)) if self.forge.is_some() && self.list_seen.is_none_or(|seen| seen <= at) => Seat::Idle,
            (_, Some(_)) => Seat::Lost,
            (Some(_), None) if self.configured == Configured::Unsure => Seat::None,
            (Some(_), None) => Seat::Waiting,
            (None, None) => Seat::None,
        }
    }

    /// Whether its configuration was minted, as far as anybody knows.
    pub fn is_configured(&self) -> bool {
        matches!(self.configured, Configured::Seen | Configured::Yes(_))
    }

    /// Its pool's labels, group or scope changed since it was registered: GitHub gives it none, or not all, of the pool's jobs.
    pub fn outdated(&self, pool: &RunnerPool) -> bool {
        self.forge.as_ref().is_some_and(|f| *f != pool.forge()) || self.terms.as_ref().is_some_and(|t| !t.serve(pool))
    }

    /// It was online and ended by itself, unasked, and no event told of a job: it had one, whose events are still to come.
    /// Since when.
    pub fn ended_unexplained(&self) -> Option<Time> {
        let unasked = self.drain.is_none() && self.interrupted_at.is_none() && self.terminated_at.is_none() && !self.leaving;
        let quiet = self.online_at.is_some() && self.job.is_none();
        self.instance.as_ref().and_then(|i| i.ending_since).filter(|_| unasked && quiet && self.busy_since.is_none())
    }

    /// The list that has something to tell of it.
    pub fn list(&self) -> Option<&Forge> {
        self.registration.as_ref().map(|g| &g.forge).or(self.forge.as_ref())
    }

    /// Whether it can take one of the pool's jobs, now or when it has booted.
    pub fn supplies(&self, pool: Option<&RunnerPool>, phase: Phase) -> bool {
        phase.is_supply() && !self.leaving && !pool.is_some_and(|p| self.outdated(p))
    }

    /// What it is made of, as far as known.
    pub fn shape(&self) -> Option<&Shape> {
        self.instance.as_ref().map(|i| &i.shape).or(self.shape.as_ref())
    }

    /// Any sign, in any source, that a job may be running on it.
    pub fn may_have_job(&self) -> bool {
        self.job.running().is_some() || self.registration.as_ref().is_some_and(|r| r.busy || r.online)
    }

    /// It is known that it can't have, and can't get, a job: nobody ever minted a configuration for it.
    pub fn never_configured(&self) -> bool {
        self.launched_by.is_some()
            && self.configured == Configured::No
            && self.registration.is_none()
            && self.online_at.is_none()
            && self.job.is_none()
            && !self.secret
    }

    /// Notes that an effect on it failed: the next waits 1, 2, 4 .. 64 s, or as long as the other side said.
    pub fn back_off(&mut self, error: String, retry_after: Option<Duration>, now: Time) {
        let wait = Duration::from_secs(1 << self.failures.min(6)).max(retry_after.unwrap_or_default());
        self.failures += 1;
        let wait = if defects::has(Defect::NoBackoff) { Duration::ZERO } else { wait };
        self.not_before = now + wait;
        self.last_error = Some(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EC2: [Ec2; 5] = [Ec2::Requested, Ec2::Unseen, Ec2::Up, Ec2::Ending, Ec2::Ended];
    const SEATS: [Seat; 5] = [Seat::None, Seat::Waiting, Seat::Idle, Seat::Busy, Seat::Lost];

    fn all_evidence() -> impl Iterator<Item = Evidence> {
        EC2.into_iter().flat_map(|ec2| {
            SEATS.into_iter().flat_map(move |seat| {
                (0..64u8).map(move |bits| {
                    let bit = |n: u8| bits & (1 << n) != 0;
                    Evidence {
                        ec2,
                        seat,
                        configured: bit(0),
                        job_running: bit(1),
                        job_over: bit(2),
                        draining: bit(3),
                        interrupted: bit(4),
                        overdue: bit(5),
                    }
                })
            })
        })
    }

    /// The table, said a second time and differently: for each phase, exactly when.
    fn expected(e: &Evidence) -> Phase {
        let alive = !matches!(e.ec2, Ec2::Ending | Ec2::Ended);
        let quiet = alive && !e.interrupted && !e.job_over;
        let free = quiet && !e.job_running && e.seat != Seat::Busy;
        let table = [
            (Phase::Gone, e.ec2 == Ec2::Ended),
            (Phase::Terminating, e.ec2 == Ec2::Ending || (alive && !e.interrupted && e.job_over)),
            (Phase::Interrupted, alive && e.interrupted),
            (Phase::Busy, quiet && (e.job_running || e.seat == Seat::Busy)),
            (Phase::Draining, free && e.draining),
            (Phase::Idle, free && !e.draining && e.seat == Seat::Idle),
            (
                Phase::Failed,
                free && !e.draining && (e.seat == Seat::Lost || (e.overdue && matches!(e.seat, Seat::None | Seat::Waiting))),
            ),
            (
                Phase::Configured,
                free && !e.draining && !e.overdue && (e.seat == Seat::Waiting || (e.seat == Seat::None && e.configured)),
            ),
            (
                Phase::Launching,
                free && !e.draining && !e.overdue && e.seat == Seat::None && !e.configured && e.ec2 == Ec2::Requested,
            ),
            (
                Phase::Booting,
                free && !e.draining
                    && !e.overdue
                    && e.seat == Seat::None
                    && !e.configured
                    && matches!(e.ec2, Ec2::Up | Ec2::Unseen),
            ),
        ];
        let hits: Vec<Phase> = table.iter().filter(|(_, holds)| *holds).map(|(p, _)| *p).collect();
        assert_eq!(hits.len(), 1, "{e:?} fits {hits:?}");
        hits[0]
    }

    #[test]
    fn every_combination_of_evidence_has_one_phase() {
        let mut seen = std::collections::BTreeSet::new();
        let mut count = 0;
        for e in all_evidence() {
            assert_eq!(phase(e), expected(&e), "{e:?}");
            seen.insert(phase(e));
            count += 1;
        }
        assert_eq!(count, 5 * 5 * 64);
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), Phase::ALL, "every phase can occur");
    }

    #[test]
    fn a_possible_job_is_never_taken_for_supply_or_for_free() {
        for e in all_evidence().filter(|e| e.job_running || e.seat == Seat::Busy) {
            assert!(!phase(e).is_supply(), "{e:?}");
            assert!(!matches!(phase(e), Phase::Draining | Phase::Failed), "{e:?}");
        }
    }

    #[test]
    fn a_drained_or_interrupted_box_is_never_supply() {
        for e in all_evidence().filter(|e| e.draining || e.interrupted) {
            assert!(!phase(e).is_supply(), "{e:?}");
        }
    }

    /// Each job's events in order, the jobs' against each other in any.
    #[test]
    fn the_order_in_which_jobs_are_told_of_does_not_matter() {
        let (a, b, at) = (JobId(1), JobId(2), Time::ZERO);
        type Tell = fn(&mut JobEvidence, JobId, bool);
        let start: Tell = |e, job, _| e.started(job);
        let end: Tell = |e, job, ephemeral| e.ended(job, ephemeral, Time::ZERO);
        let (a, b) = ([(a, start), (a, end)], [(b, start), (b, end)]);
        for ephemeral in [false, true] {
            for told_of_a in 0..=2 {
                for told_of_b in 0..=2 {
                    let mut seen = Vec::new();
                    for turn in 0..1u32 << (told_of_a + told_of_b) {
                        let (mut first, mut second) = (a[..told_of_a].iter(), b[..told_of_b].iter());
                        let mut told = JobEvidence::default();
                        for bit in 0..told_of_a + told_of_b {
                            let next = if turn >> bit & 1 == 0 { first.next() } else { second.next() };
                            if let Some((job, tell)) = next {
                                tell(&mut told, *job, ephemeral);
                            }
                        }
                        if first.next().is_none() && second.next().is_none() {
                            seen.push(told);
                        }
                    }
                    assert!(seen.iter().all(|told| *told == seen[0]), "{seen:?}");
                    assert_eq!(seen[0].runs(JobId(1)), told_of_a == 1);
                    assert_eq!(seen[0].runs(JobId(2)), told_of_b == 1);
                    let over = ephemeral && told_of_a != 1 && told_of_b != 1 && told_of_a + told_of_b > 0;
                    assert_eq!(seen[0].over().is_some(), over);
                }
            }
        }
        let mut told = JobEvidence::default();
        told.ended(JobId(1), true, at);
        told.started(JobId(1));
        assert_eq!(told.over(), Some((JobId(1), at)), "a start told after the end");
    }

    #[test]
    fn an_own_launch_counts_until_seen_or_expired() {
        let deadline = Duration::from_secs(300);
        let mut r = Runner::new("p".into(), Time::ZERO);
        r.launched_by = Some("t".into());
        r.missed = 9;
        assert_eq!(r.phase(deadline, Time::ZERO + Duration::from_secs(60)), Phase::Launching);
        assert_eq!(r.phase(deadline, Time::ZERO + LAUNCH_LAG), Phase::Gone);
    }

    fn at(secs: u64) -> Time {
        Time::ZERO + Duration::from_secs(secs)
    }

    /// One that this process launched at 0, shown by EC2 in `state` at 10 s.
    fn shown(state: InstanceState) -> Runner {
        let shape = Shape { instance_type: "m7i.large".into(), subnet: None, market: Market::Spot };
        let instance =
            Instance { state, seen_at: at(10), ending_since: None, launched_at: Time::ZERO, shape, state_reason: None };
        let mut r = Runner::new("p".into(), Time::ZERO);
        (r.launched_by, r.instance) = (Some("t".into()), Some(instance));
        r
    }

    fn seated(online: bool, busy: bool) -> Option<Registration> {
        let forge = Forge { app: "main".into(), scope: "org/acme".parse().expect("a scope") };
        Some(Registration { id: RunnerId(1), forge, online, busy, first_seen: at(11), missed: 0 })
    }

    fn drained() -> Option<Drain> {
        Some(Drain { asked_at: at(20), why: None })
    }

    /// Changes a record from which something follows, so that it must not follow any more.
    type Change = fn(&mut Runner);

    #[test]
    fn a_box_that_ended_by_itself_after_it_was_online_is_unexplained_and_nothing_less_is() {
        let mut r = shown(InstanceState::ShuttingDown);
        r.online_at = Some(at(12));
        r.instance.as_mut().expect("shown").ending_since = Some(at(30));
        assert_eq!(r.ended_unexplained(), Some(at(30)));
        let changes: [Change; 9] = [
            |r| r.drain = drained(),
            |r| r.interrupted_at = Some(at(20)),
            |r| r.terminated_at = Some(at(20)),
            |r| r.leaving = true,
            |r| r.online_at = None,
            |r| r.job.started(JobId(1)),
            |r| r.job.ended(JobId(1), true, at(20)),
            |r| r.busy_since = Some(at(20)),
            |r| r.instance.as_mut().expect("shown").ending_since = None,
        ];
        for (i, change) in changes.iter().enumerate() {
            let mut r = r.clone();
            change(&mut r);
            assert_eq!(r.ended_unexplained(), None, "change {i}");
        }
    }

    #[test]
    fn one_that_was_never_configured_shows_no_trace_of_it() {
        let r = shown(InstanceState::Running);
        assert!(r.never_configured());
        let changes: [Change; 8] = [
            |r| r.launched_by = None,
            |r| r.configured = Configured::Unsure,
            |r| r.configured = Configured::Seen,
            |r| r.configured = Configured::Yes(at(9)),
            |r| r.registration = seated(false, false),
            |r| r.online_at = Some(at(12)),
            |r| r.job.started(JobId(1)),
            |r| r.secret = true,
        ];
        for (i, change) in changes.iter().enumerate() {
            let mut r = r.clone();
            change(&mut r);
            assert!(!r.never_configured(), "change {i}");
        }
    }

    #[test]
    fn each_sign_of_a_job_alone_suffices() {
        let r = shown(InstanceState::Running);
        assert!(!r.may_have_job());
        let changes: [(Change, bool); 5] = [
            (|r| r.job.started(JobId(1)), true),
            (|r| r.registration = seated(true, false), true),
            (|r| r.registration = seated(false, true), true),
            (|r| r.registration = seated(false, false), false),
            (|r| r.job.ended(JobId(1), true, at(20)), false),
        ];
        for (i, (change, may)) in changes.iter().enumerate() {
            let mut r = r.clone();
            change(&mut r);
            assert_eq!(r.may_have_job(), *may, "change {i}");
        }
    }

    #[test]
    fn what_ec2_shows_and_what_it_was_told_make_the_phase() {
        let deadline = Duration::from_secs(300);
        let phase_of = |state, terminated: bool| {
            let mut r = shown(state);
            r.terminated_at = terminated.then(|| at(11));
            r.phase(deadline, at(12))
        };
        for state in [InstanceState::Pending, InstanceState::Running] {
            assert_eq!(phase_of(state, false), Phase::Booting);
            assert_eq!(phase_of(state, true), Phase::Terminating, "EC2 took our request");
        }
        for state in [InstanceState::Stopping, InstanceState::Stopped, InstanceState::ShuttingDown] {
            assert_eq!(phase_of(state, false), Phase::Terminating);
        }
        assert_eq!(phase_of(InstanceState::Terminated, false), Phase::Gone);
        assert_eq!(Runner::new("p".into(), Time::ZERO).phase(deadline, at(1)), Phase::Booting, "something else speaks of it");
    }

    #[test]
    fn an_absence_takes_two_sweeps_and_longer_than_ec2_lags() {
        let mut r = shown(InstanceState::Running);
        let gone = |r: &Runner, now| r.phase(Duration::MAX, now) == Phase::Gone;
        let late = Time::ZERO + LAUNCH_LAG;
        r.missed = ABSENT_SWEEPS - 1;
        assert!(!gone(&r, late));
        r.missed = ABSENT_SWEEPS;
        assert!(gone(&r, late) && !gone(&r, late - Duration::from_secs(1)));
        r.instance.as_mut().expect("shown").seen_at = late;
        assert!(!gone(&r, late + CONSISTENCY_LAG - Duration::from_secs(1)) && gone(&r, late + CONSISTENCY_LAG));
        // A found one has no launch whose lag must be waited for.
        let mut found = Runner::new("p".into(), Time::ZERO);
        found.missed = ABSENT_SWEEPS;
        assert!(!gone(&found, at(29)) && gone(&found, Time::ZERO + CONSISTENCY_LAG));
    }

    #[test]
    fn the_boot_deadline_counts_from_the_launch_and_waits_for_a_look() {
        let deadline = Duration::from_secs(300);
        let mut r = shown(InstanceState::Running);
        assert_eq!((r.phase(deadline, at(299)), r.phase(deadline, at(300))), (Phase::Booting, Phase::Failed));
        // Its list is known: it may be online, as far as the last look goes.
        r.forge = seated(false, false).map(|s| s.forge);
        r.list_seen = Some(at(299));
        assert_eq!(r.phase(deadline, at(400)), Phase::Booting);
        r.list_seen = Some(at(300));
        assert_eq!(r.phase(deadline, at(400)), Phase::Failed);
        // One that was found counts from its launch, long before.
        let mut found = shown(InstanceState::Running);
        (found.launched_by, found.first_seen) = (None, at(1_000));
        found.instance.as_mut().expect("shown").launched_at = at(800);
        assert_eq!(found.up_for(at(1_050)), Duration::from_secs(250));
        assert_eq!(r.up_for(at(50)), Duration::from_secs(50));
    }

    #[test]
    fn the_seat_at_github_makes_the_phase() {
        let deadline = Duration::from_secs(300);
        let phase_of = |change: Change| {
            let mut r = shown(InstanceState::Running);
            r.forge = seated(false, false).map(|s| s.forge);
            change(&mut r);
            r.phase(deadline, at(60))
        };
        let table: [(Change, Phase); 9] = [
            (|r| r.registration = seated(true, false), Phase::Idle),
            (|r| r.registration = seated(true, true), Phase::Busy),
            (|r| r.registration = seated(false, true), Phase::Busy),
            (|r| r.registration = seated(false, false), Phase::Configured),
            (|r| (r.registration, r.configured) = (seated(false, false), Configured::Unsure), Phase::Booting),
            (|r| (r.registration, r.online_at, r.list_seen) = (seated(false, false), Some(at(20)), Some(at(30))), Phase::Failed),
            (|r| (r.online_at, r.list_seen) = (Some(at(20)), Some(at(20))), Phase::Idle),
            (|r| (r.online_at, r.list_seen, r.forge) = (Some(at(20)), None, None), Phase::Failed),
            (|r| r.configured = Configured::Yes(at(20)), Phase::Configured),
        ];
        for (i, (change, phase)) in table.iter().enumerate() {
            assert_eq!(phase_of(*change), *phase, "row {i}");
        }
        // Not listed any more: it had two sweeps to turn up.
        let mut r = shown(InstanceState::Running);
        (r.registration, r.online_at, r.list_seen) = (seated(true, false), Some(at(20)), Some(at(30)));
        r.registration.as_mut().expect("seated").missed = ABSENT_SWEEPS - 1;
        assert_eq!(r.phase(deadline, at(60)), Phase::Idle);
        r.registration.as_mut().expect("seated").missed = ABSENT_SWEEPS;
        assert_eq!(r.phase(deadline, at(60)), Phase::Failed);
    }

    #[test]
    fn backoff_doubles_up_to_a_minute_or_as_long_as_the_other_side_said() {
        let mut r = shown(InstanceState::Running);
        for wait in [1, 2, 4, 8, 16, 32, 64, 64] {
            r.back_off("no".into(), None, at(100));
            assert_eq!(r.not_before, at(100 + wait));
        }
        r.back_off("later".into(), Some(Duration::from_secs(500)), at(100));
        assert_eq!((r.not_before, r.failures, r.last_error.as_deref()), (at(600), 9, Some("later")));
    }

    #[test]
    fn terms_serve_a_pool_that_asks_for_no_more() {
        let mut pool = RunnerPool::default();
        pool.spec.github.app = "main".into();
        pool.spec.github.scope = "org/acme".parse().expect("a scope");
        pool.spec.labels = vec!["self-hosted".into(), "Linux".into()];
        let labels = ["linux".to_owned(), "self-hosted".to_owned(), "gpu".to_owned()];
        let terms = Terms { forge: pool.forge(), group: Some("Default".into()), labels: labels.into() };
        let fits = |change: fn(&mut Terms), pool: &RunnerPool| {
            let mut t = terms.clone();
            change(&mut t);
            t.serve(pool)
        };
        assert!(fits(|_| {}, &pool) && fits(|t| t.group = None, &pool));
        assert!(!fits(|t| t.group = Some("other".into()), &pool));
        assert!(!fits(|t| t.labels = ["linux".to_owned()].into(), &pool));
        assert!(!fits(|t| t.forge.scope = "org/other".parse().expect("a scope"), &pool));
        let mut r = shown(InstanceState::Running);
        assert!(!r.outdated(&pool) && r.supplies(Some(&pool), Phase::Idle));
        r.terms = Some(Arc::new(Terms { labels: Arc::default(), ..terms.clone() }));
        assert!(r.outdated(&pool) && !r.supplies(Some(&pool), Phase::Idle) && r.supplies(None, Phase::Idle));
        r.terms = None;
        r.forge = Some(Forge { app: "other".into(), scope: terms.forge.scope.clone() });
        assert!(r.outdated(&pool));
        (r.forge, r.leaving) = (None, true);
        assert!(!r.supplies(Some(&pool), Phase::Idle));
        assert_eq!(r.list(), None);
        r.registration = seated(true, false);
        assert_eq!(r.list(), Some(&terms.forge));
    }

    #[test]
    fn phases_have_their_words() {
        let words: Vec<&str> = Phase::ALL.iter().map(|p| p.as_str()).collect();
        let expected = "launching booting configured idle busy draining interrupted failed terminating gone";
        assert_eq!(words.join(" "), expected);
    }
}

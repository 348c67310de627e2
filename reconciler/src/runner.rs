//! One box: every sighting of it joined into one record, and that record into one phase.

mod job;
mod phase;

pub use job::JobEvidence;
pub use phase::{Ec2, Evidence, Phase, Seat, phase};

use std::sync::Arc;
use std::time::Duration;

use crate::defects::{self, Defect};
use crate::effect::Configure;
use crate::event::InstanceState;
use crate::ids::{Forge, Intent, PoolName, RunnerId};
use crate::manifest::RunnerPool;
use crate::market::Market;
use crate::reason::StepReason;
use crate::stage::Stage;
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
///
/// Decision 0010, row 27.
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
    /// An operator wants it to end, in the operator's words, which may be empty. It is no supply, and is asked until its tag says so.
    pub wish: Option<String>,
    /// It was asked to end once it is idle.
    pub drain: Option<Drain>,
    /// It was asked to end, or ended, and no certain answer came. Until EC2 shows what came of it, it is no supply, or another
    /// one would be let go in its place.
    pub unanswered: Option<Drain>,
    /// EC2 announced that it takes it back.
    pub interrupted_at: Option<Time>,
    /// EC2 accepted our TerminateInstances.
    pub terminated_at: Option<Time>,
    /// Its registration was deleted by us: it can't get a job any more.
    pub deregistered: bool,
    /// When it was first found gone.
    pub gone_at: Option<Time>,
    /// It ended before it was online, and not because we asked.
    pub stillborn: bool,
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
    /// The terms of a configuration that was minted as asked.
    pub fn of(asked: &Configure) -> Terms {
        Terms { forge: asked.forge.clone(), group: Some(asked.group.clone()), labels: asked.labels.clone().into() }
    }

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
    ///
    /// Decision 0010, row 11.
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

/// A box was asked to end once it is idle.
#[derive(Clone, Debug, PartialEq)]
pub struct Drain {
    /// When we asked, or first saw the tag.
    pub asked_at: Time,
    /// Why; unknown when a predecessor asked.
    pub why: Option<StepReason>,
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
            stillborn: false,
            in_flight: false,
            leaving: false,
            unanswered: None,
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

    /// How long it has had to boot, since EC2 launched it.
    pub fn up_for(&self, now: Time) -> Duration {
        now.since(self.born())
    }

    /// A box that was found is older than our sight of it. One of ours may be younger than the first ask for it: that may have
    /// been repeated for long. EC2's clock is trusted between that ask and its showing the box.
    ///
    /// Decision 0010, row 8.
    fn born(&self) -> Time {
        match &self.instance {
            Some(i) if self.launched_by.is_none() => i.launched_at.min(self.first_seen),
            Some(i) => i.launched_at.min(i.seen_at).max(self.first_seen),
            None => self.first_seen,
        }
    }

    /// When it must be online, if its list was looked at since.
    pub fn boot_due(&self, boot_deadline: Duration) -> Time {
        self.born().max(self.first_seen) + boot_deadline
    }

    /// Whether it had the time to boot, and its list, if it is known, was looked at since: a box that GitHub does not tell of
    /// may be online for long.
    ///
    /// Decision 0010, row 15.
    fn overdue(&self, boot_deadline: Duration, now: Time) -> bool {
        let graced = match self.configured {
            Configured::Yes(at) => at + REGISTER_GRACE.min(boot_deadline),
            _ => self.first_seen,
        };
        let due = graced.max(self.boot_due(boot_deadline));
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
    ///
    /// Decision 0010, row 1.
    fn absent(&self, now: Time) -> bool {
        if defects::has(Defect::MissingIsGone) {
            return self.missed > 0;
        }
        let shown = self.instance.as_ref().map_or(self.first_seen, |i| i.seen_at);
        let settled = self.launched_by.is_none() || now.since(self.first_seen) >= LAUNCH_LAG;
        self.missed >= ABSENT_SWEEPS && settled && now.since(shown) >= CONSISTENCY_LAG
    }

    /// Decision 0010, rows 16, 38.
    fn seat(&self) -> Seat {
        let listed = self.registration.as_ref().filter(|r| r.missed < ABSENT_SWEEPS);
        // A list that was begun before its job's end was told may show it with that job. Should it have another one, the next list
        // or the job's own event says so; it is let go on neither's silence (see `may_have_job`).
        let freed = self.list_seen.is_some_and(|seen| self.job.freed_since(seen));
        match (listed, self.online_at) {
            (Some(r), _) if r.busy && !freed => Seat::Busy,
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
        let unasked =
            self.drain.is_none() && self.interrupted_at.is_none() && self.terminated_at.is_none() && !self.may_be_leaving();
        let quiet = self.online_at.is_some() && self.job.is_none();
        self.instance.as_ref().and_then(|i| i.ending_since).filter(|_| unasked && quiet && self.busy_since.is_none())
    }

    /// The list that has something to tell of it.
    pub fn list(&self) -> Option<&Forge> {
        self.registration.as_ref().map(|g| &g.forge).or(self.forge.as_ref())
    }

    /// Whether it can take one of the pool's jobs, now or when it has booted.
    ///
    /// Decision 0010, rows 13, 32.
    pub fn supplies(&self, pool: Option<&RunnerPool>, phase: Phase) -> bool {
        phase.is_supply() && self.wish.is_none() && !self.may_be_leaving() && !pool.is_some_and(|p| self.outdated(p))
    }

    /// It was decided that it ends, and whether that came to pass is not known yet.
    pub fn may_be_leaving(&self) -> bool {
        self.leaving || self.unanswered.is_some()
    }

    /// What it is made of, as far as known.
    pub fn shape(&self) -> Option<&Shape> {
        self.instance.as_ref().map(|i| &i.shape).or(self.shape.as_ref())
    }

    /// Whether an effect on this runner may begin: none is under way, and its backoff is over.
    pub fn is_free(&self, now: Time) -> bool {
        !self.in_flight && now >= self.not_before
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

    /// Notes that an effect on it failed: the next waits 1, 2, 4 .. 64 s, or as long as the other side said. Not as long as GitHub
    /// said: that is the installation's budget to keep, while other things are due for the box.
    pub fn back_off(&mut self, error: String, retry_after: Option<Duration>, now: Time) {
        let wait = Duration::from_secs(1 << self.failures.min(6)).max(retry_after.unwrap_or_default());
        self.failures += 1;
        let wait = if defects::has(Defect::NoBackoff) { Duration::ZERO } else { wait };
        self.not_before = now + wait;
        self.last_error = Some(error);
    }
}

#[cfg(test)]
mod tests;

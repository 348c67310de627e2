//! The judge of a run. It knows the ground truth, which the controller never sees, and holds it against the invariants.
//!
//! Safety is judged when the controller sends an effect ([`process_view`]), when the effect takes effect ([`harm`]), and
//! now and then for the whole world ([`invariants`]). Liveness is judged after the faults have ended ([`quiescence`]). The
//! names S1 to L5 are those of the design's proof.
//!
//! The oracle reads the world as a `Truth`, and changes nothing in it. What the oracle must remember, it keeps in [`Oracle`].

mod breaker;
mod harm;
mod invariants;
mod isolation;
mod late;
mod pause;
mod process_view;
mod quiescence;
mod retry;
mod share;
mod truth;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use muster_reconciler::effect::Input;
use muster_reconciler::ids::{InstanceId, Intent, JobId, PoolName};
use muster_reconciler::late::{NoticeKey, StatusState};
use muster_reconciler::time::Time;

pub(super) use invariants::CHECK_EVERY;
pub(super) use process_view::ProcessView;
pub use quiescence::Unrest;
pub(super) use truth::Truth;
pub use verdict::Verdicts;

/// What must hold in every run: S1 to S10 for safety, L1 to L5 for liveness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// No termination and no deregistration kills a job. There are three exceptions: `maxLifetime`, an instance that EC2
    /// takes back anyway, and a race. In a race the controller had not heard of the job, which had started less than
    /// [`RACE`] before the request was sent.
    S1,
    /// After a launch, the pool has no more live instances than its `max` was when the request was sent.
    S2,
    /// There are no more launches than jobs, warm floors, replacements of lost instances, and what wrong or late news must
    /// cost (see [`harm`]).
    S3,
    /// Only our own instances, registrations and secrets are touched.
    S4,
    /// One intent makes one fleet. No two processes share an intent, and no request is changed under its token.
    S5,
    /// No secret outlives its instance by more than 25 minutes.
    S6,
    /// The calls of one process stay within the published rates, and no call is made to GitHub that GitHub has just told
    /// the process not to make.
    S7,
    /// Nothing is launched, drained or ended before the first complete sweep of the instances. No registered runner's
    /// instance is ended before the first complete sweep of its list.
    S8,
    /// Within one process, a job's state never goes back.
    S9,
    /// A plan depends only on what is known. A second plan of the same moment is the same, and so is a plan after a sweep's
    /// rows came in another order.
    S10,
    /// A queued job has a runner on the way, or its pool says why not.
    L1,
    /// The controller knows every instance, and no instance outlives `maxLifetime` by more than 30 minutes.
    L2,
    /// Registrations without an instance are removed.
    L3,
    /// After faults and jobs have ended, the world comes to rest and stays so.
    L4,
    /// Nothing that failed is tried again before its backoff is over.
    L5,
    /// A pool that is said to be not served by GitHub has got no job in that time, as far as the process heard.
    /// What muster says of a job is true, once GitHub's last word on the job has been known for 90 s: a job that GitHub says waits
    /// is held, and no other job is said to wait by GitHub's word. No more jobs of a pool are said to be held by idle runners than
    /// runners sat idle for four minutes.
    Truth,
    /// No job asks for an instance in vain. GitHub has not just said that the job may not start yet. And a job that was over and
    /// two minutes old when the process first heard of it does not count before GitHub had a minute to say so.
    Vain,
    /// No job waits because of a hold for longer than 45 minutes after GitHub would give the job to a runner.
    Wait,
    /// No runner is asked to end as offline that has been online for three minutes.
    Works,
    /// What happens in one pool, App, market or account limit delays another pool's single need by at most one round of the
    /// budget that they share (see [`isolation`]).
    Isolation,
    /// A pool whose breaker is open buys on-demand, and goes back to spot by one instance (see [`breaker`]).
    Breaker,
    /// No job that failed by itself, or that somebody cancelled, is said to have gone down with its machine, and none is run again
    /// by muster.
    Verdict,
    /// No run is cancelled whose jobs GitHub keeps waiting, or whose jobs have not waited for as long as the pool's `startWithin`
    /// says. No commit says for ever that jobs wait. A job that no pool takes, or whose pool GitHub does not serve, is told on its commit in
    /// time and once.
    Late,
    /// A paused pool launches nothing, and its jobs are told so. A pool that was resumed is paused no more (see [`pause`]).
    Pause,
    /// No repository has more instances of a pool launched for it than `capacity.perRepository` says, and a job above that is told so
    /// (see [`share`]).
    Share,
    /// Of several processes, one holds the lease. The others do nothing. EC2 launches nothing of which the holder of the lease does not
    /// know.
    Lease,
    /// Every job, pool and runner has a reason. The controller's wake-up time moves on. No message of a waiting job becomes
    /// a dead letter.
    Sound,
}

impl Invariant {
    /// The name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Invariant::S1 => "S1",
            Invariant::S2 => "S2",
            Invariant::S3 => "S3",
            Invariant::S4 => "S4",
            Invariant::S5 => "S5",
            Invariant::S6 => "S6",
            Invariant::S7 => "S7",
            Invariant::S8 => "S8",
            Invariant::S9 => "S9",
            Invariant::S10 => "S10",
            Invariant::L1 => "L1",
            Invariant::L2 => "L2",
            Invariant::L3 => "L3",
            Invariant::L4 => "L4",
            Invariant::L5 => "L5",
            Invariant::Breaker => "breaker",
            Invariant::Verdict => "verdict",
            Invariant::Late => "late",
            Invariant::Pause => "pause",
            Invariant::Share => "share",
            Invariant::Lease => "lease",
            Invariant::Truth => "truth",
            Invariant::Vain => "vain",
            Invariant::Wait => "wait",
            Invariant::Works => "works",
            Invariant::Isolation => "isolation",
            Invariant::Sound => "sound",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Something that must never happen, and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The invariant that was violated.
    pub invariant: Invariant,
    /// When the violation was noticed.
    pub at: Time,
    /// What happened, and to what.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// The controller cannot know of a job that started less than this before a request was sent, because webhooks take
/// seconds.
pub const RACE: std::time::Duration = std::time::Duration::from_secs(10);

/// How many jobs of one run may be killed in such a race.
const RACES: u64 = 2;

/// How many violations of one invariant are recorded.
const EACH: usize = 20;

/// The violations so far, and what must be remembered to find more.
#[derive(Debug, Default)]
pub struct Oracle {
    /// The violations so far, in order. Of each invariant, only the first 20 are recorded.
    pub violations: Vec<Violation>,
    /// How many jobs were killed in a race.
    pub races: u64,
    /// What was said of jobs that did not succeed.
    pub verdicts: Verdicts,
    /// What the current process has heard and sent.
    process_view: ProcessView,
    /// The first process that used each intent.
    intents: BTreeMap<Intent, u32>,
    /// The launches that each process found in the lease when it took it.
    inherited: BTreeSet<(Intent, u32)>,
    /// A process goes on that was stopped, and sends at once what it had wanted to send earlier. The other side throttles what is too
    /// much.
    pub(super) going_on: bool,
    /// How many jobs were killed by a call that a process had in its hand while it was stopped (decision 0029).
    pub late_kills: u64,
    /// Every instance that we ever launched.
    instances: BTreeSet<InstanceId>,
    /// Instances that could not do what they were launched for, by no fault of the controller.
    excused: BTreeSet<InstanceId>,
    /// How many launches are allowed for other reasons (see [`harm`]).
    allowance: u64,
    /// How many jobs were queued that a pool takes, reruns included.
    jobs: u64,
    /// The sum of all rises of warm floors. Each rise of one allows one launch.
    floor: u64,
    /// The warm floor of each pool, at the last check.
    floors: BTreeMap<PoolName, u32>,
    /// How many checks were made.
    looks: u64,
    /// How many sweeps of the instances the controller has got.
    instance_sweeps: u64,
    /// Since when each pool has wanted runners without a launch and without a reason.
    mute: BTreeMap<PoolName, Time>,
    /// Jobs that waited without a good reason at the last check.
    stuck: BTreeSet<JobId>,
    /// Since when each runner is idle, as far as the checks saw.
    idle: BTreeMap<InstanceId, Time>,
    /// The runners of each pool that sat idle for long, at any time.
    sat_idle: BTreeMap<PoolName, BTreeSet<InstanceId>>,
    /// Since when each instance's runner is online, as far as the checks saw.
    online: BTreeMap<InstanceId, Time>,
    /// What EC2 has refused of late, or taken back.
    refused: Vec<isolation::RefusedLaunch>,
    /// Since when each pool has had room and launched nothing.
    roomy: BTreeMap<PoolName, Time>,
    /// Since when more jobs of a repository are said to get a runner of a pool than its share has room for, and which all the time.
    above: BTreeMap<(PoolName, String), (Time, BTreeSet<JobId>)>,
    /// When an operator last paused or resumed each pool.
    steered: BTreeMap<PoolName, Time>,
    /// When the manifests last changed.
    spec_changed: Time,
    /// What each process told each commit last, and when.
    told: BTreeMap<(u32, NoticeKey), (StatusState, Time)>,
    /// The jobs whose machine failed under them and told nobody.
    untold: BTreeSet<JobId>,
}

impl Oracle {
    pub(super) fn blame(&mut self, invariant: Invariant, at: Time, what: String) {
        // A broken rule is news once. A thousand repetitions would hide the other violations.
        if self.violations.iter().filter(|v| v.invariant == invariant).count() < EACH {
            self.violations.push(Violation { invariant, at, what });
        }
    }

    /// A new process of the controller starts, and knows nothing.
    pub(super) fn new_process(&mut self) {
        self.process_view = ProcessView::default();
        self.told.clear();
        self.above.clear();
    }

    /// Another process is looked at from now on. Returns what the one before knew.
    pub(super) fn change_process(&mut self, view: ProcessView) -> ProcessView {
        std::mem::replace(&mut self.process_view, view)
    }

    /// A process has taken the lease, and found these launches there.
    pub(super) fn inherits(&mut self, process: u32, launches: &BTreeSet<Intent>) {
        self.inherited.extend(launches.iter().map(|intent| (intent.clone(), process)));
        self.process_view.inherits(launches);
        self.told.clear();
        self.above.clear();
    }

    /// The manifests have changed.
    pub(super) fn new_spec(&mut self, truth: Truth<'_>) {
        self.note_floor(truth);
        self.spec_changed = truth.now();
        self.process_view.new_spec();
    }

    /// The controller is about to get an input.
    pub(super) fn hear(&mut self, input: &Input, truth: Truth<'_>) {
        self.process_view.hear(input, truth.spec.controller.cluster(), truth.now());
        self.hear_of_spot(input, truth);
    }
}

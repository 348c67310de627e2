//! What goes into the core and what comes out of it: [`Input`], [`Effect`] and [`Outcome`].
//!
//! The driver (and the simulator) carry out every effect and answer each with one [`Input::Outcome`] of the same id,
//! a time-out included. Effects hold all that is needed to carry them out, so an adapter decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::event::{Ec2Event, InstanceState, JobEvent, JobState};
use crate::ids::{
    AppName, DeliveryId, EffectId, Forge, InstanceId, Intent, JobId, MessageId, Payer, PoolName, RunId, RunnerId, RunnerName,
};
use crate::manifest::{Allocation, Spec};
use crate::market::{Market, Offering};
use crate::reason::Reason;
use crate::stage::Stage;
use crate::tags;
use crate::time::Time;

/// Everything that the core can be told.
#[derive(Clone, Debug)]
pub enum Input {
    /// The manifests, at start and whenever they changed.
    Spec(Arc<Spec>),
    /// Messages of the job queue, each held until an effect releases or deletes it.
    Messages(Vec<JobMessage>),
    /// An EC2 notification. Its message is gone: a lost one is healed by the next sweep.
    Ec2(Ec2Event),
    /// How an effect ended.
    Outcome(EffectId, Outcome),
    /// GitHub's rate-limit headers, from any answer.
    /// <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>
    GitHubLimit(GitHubLimit),
    /// Nothing; time passed.
    Tick,
    /// Stop: release what is held, start nothing.
    Shutdown,
}

/// A readable message of the job queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobMessage {
    /// This process's number for the message; the same for every delivery of it.
    pub id: MessageId,
    /// SQS's ApproximateReceiveCount: 1 on the first delivery ever.
    pub receive_count: u32,
    /// What it says.
    pub event: JobEvent,
}

/// What GitHub still admits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitHubLimit {
    /// Whose limit.
    pub payer: Payer,
    /// Of which resource; None: a secondary limit, which holds for everything that the payer asks.
    pub resource: Option<Resource>,
    /// Whether the answer that tells it was one to a configuration: configurations count against this resource.
    pub of_configuration: bool,
    /// Requests left in the window (`x-ratelimit-remaining`).
    pub remaining: u32,
    /// Until the window ends (`x-ratelimit-reset`), or until a secondary limit lifts (`retry-after`).
    pub reset_after: Duration,
}

/// What GitHub counts apart from each other (`x-ratelimit-resource`), as far as muster asks for it.
/// <https://docs.github.com/en/rest/rate-limit/rate-limit>
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// Everything but:
    #[default]
    Core,
    /// configurations of runners.
    Registration,
}

impl Resource {
    /// All of them.
    pub const ALL: [Resource; 2] = [Resource::Core, Resource::Registration];

    /// GitHub's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Resource::Core => "core",
            Resource::Registration => "actions_runner_registration",
        }
    }
}

/// One thing to do, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// Comes back with the outcome.
    pub id: EffectId,
    /// What to do.
    pub action: Action,
    /// Why.
    pub reason: Reason,
}

/// The things that muster does. Few, typed, and each safe to do twice.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// One CreateFleet of type `instant`. Outcome: [`Outcome::Launched`].
    Launch(Arc<Launch>),
    /// Mint a JIT configuration (or registration token) and put it where the instance looks. Outcome: [`Outcome::Configured`],
    /// [`Outcome::NotHandedOver`], or Failed when nothing was minted for certain (Ambiguous and Unavailable: nobody knows).
    Configure(Configure),
    /// Tag the instances `muster:drain`. Outcome: [`Outcome::Batch`].
    Drain(Vec<InstanceId>),
    /// End the instances. Outcome: [`Outcome::Batch`].
    Terminate(Vec<InstanceId>),
    /// Delete a registration. Outcome: [`Outcome::Done`]; a missing one is done too. GitHub refuses (Conflict) when busy.
    Deregister {
        /// The list that it is in.
        forge: Forge,
        /// GitHub's id.
        runner: RunnerId,
        /// Its name.
        name: RunnerName,
    },
    /// Ask GitHub how far a job is. Outcome: [`Outcome::Job`], or Failed(NotFound).
    CheckJob {
        /// Whose credentials.
        app: AppName,
        /// `OWNER/NAME`.
        repo: String,
        /// The job.
        job: JobId,
    },
    /// Ask GitHub to deliver a webhook once more. Outcome: [`Outcome::Done`].
    Redeliver {
        /// Whose webhook.
        app: AppName,
        /// The attempt that failed.
        delivery: DeliveryId,
    },
    /// Look at a whole source. Outcome: [`Outcome::Swept`] if complete, else Failed: half a sweep is none.
    Sweep(Source),
    /// Do something with held messages. Outcome: [`Outcome::Done`] or Failed.
    Messages(MessageOp, Vec<MessageId>),
    /// Delete the JIT secrets of instances that are gone. Missing ones are done too. Outcome: [`Outcome::Batch`].
    DeleteSecrets(Vec<InstanceId>),
}

/// What can be done with held messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageOp {
    /// Keep them invisible for this much longer (seconds, from now).
    Extend {
        /// Visibility timeout, 1..=43,200 s.
        seconds: u32,
    },
    /// Make them visible at once; a successor takes them.
    Release,
    /// The job has left the queue: delete them.
    Delete,
}

/// A launch: the same value, byte for byte, for every retry of one intent.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateFleet.html>
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// The ClientToken, and the `muster:intent` tag.
    pub intent: Intent,
    /// For which pool.
    pub pool: PoolName,
    /// Where the instances will register.
    pub forge: Forge,
    /// How many.
    pub count: u32,
    /// Launch template, by name (version `$Default`).
    pub template: String,
    /// What may be launched, in order of preference.
    pub offerings: Vec<Offering>,
    /// How it is bought.
    pub market: Market,
    /// Spot allocation strategy.
    pub allocation: Allocation,
    /// All tags for instance, volume and fleet, muster's own included.
    pub tags: BTreeMap<String, String>,
}

impl Launch {
    /// The launch of `count` instances of a pool; None: there is no such pool.
    pub fn of(
        spec: &Spec,
        pool: &PoolName,
        intent: Intent,
        count: u32,
        market: Market,
        offerings: &[Offering],
    ) -> Option<Launch> {
        let manifest = spec.pools.get(pool)?;
        let (settings, forge) = (&manifest.spec.instance, manifest.forge());
        let cluster = spec.controller.cluster();
        let mut all_tags = spec.controller.spec.tags.clone();
        all_tags.extend(settings.tags.clone());
        let own = [
            ("Name", format!("{cluster}.{pool}")),
            (tags::CLUSTER, cluster.to_owned()),
            (tags::POOL, pool.to_string()),
            (tags::INTENT, intent.to_string()),
            (tags::LIST, forge.as_tag()),
        ];
        for (key, value) in own {
            if key != "Name" || !all_tags.contains_key(key) {
                all_tags.insert(key.to_owned(), value);
            }
        }
        Some(Launch {
            intent,
            pool: pool.clone(),
            forge,
            count,
            template: manifest.launch_template(cluster),
            offerings: offerings.to_vec(),
            market,
            allocation: settings.allocation,
            tags: all_tags,
        })
    }
}

/// The instance's configuration, to be minted and handed over.
#[derive(Clone, Debug, PartialEq)]
pub struct Configure {
    /// The instance, and the runner's name.
    pub name: RunnerName,
    /// Where it registers.
    pub forge: Forge,
    /// The runner group's name. Not used for repository scopes.
    pub group: String,
    /// The runner's labels.
    pub labels: Vec<String>,
    /// The jobs' directory, as a JIT configuration says it; with a registration token the instance says it itself.
    pub work_directory: String,
    /// JIT (one job) or registration token (many).
    pub ephemeral: bool,
    /// A registration of this name exists already (the last try ended in Conflict): if it is offline, delete it and mint again.
    pub replace: bool,
}

/// What can be swept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Our instances: one filtered, paginated DescribeInstances.
    Instances,
    /// The runners of one list at GitHub that bear our cluster's name.
    Runners(Forge),
    /// The JIT secrets that lie in SSM.
    Secrets,
    /// The webhooks of the last 24 hours that GitHub could not deliver, of one App.
    Deliveries(AppName),
}

impl Source {
    /// Whose limit at GitHub it counts against. None: it is no question to GitHub.
    pub fn payer(&self) -> Option<Payer> {
        match self {
            Source::Runners(forge) => Some(forge.payer()),
            Source::Deliveries(app) => Some(Payer::itself(app)),
            Source::Instances | Source::Secrets => None,
        }
    }
}

/// How an effect ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Done, with nothing to tell.
    Done,
    /// CreateFleet answered.
    Launched(Launched),
    /// The instance can fetch its configuration now.
    Configured {
        /// GitHub's id, when minted as JIT (a registration token names no runner yet).
        runner: Option<RunnerId>,
    },
    /// The configuration was minted, and handing it over failed: what was minted has to make way for the next try.
    NotHandedOver(Failure),
    /// A batch, each member on its own.
    Batch {
        /// Done, or already so.
        done: Vec<InstanceId>,
        /// Not done, and why.
        failed: Vec<(InstanceId, Failure)>,
    },
    /// GitHub's answer about a job.
    Job(JobSighting),
    /// A complete sweep.
    Swept(Swept),
    /// It did not work, or nobody knows whether it did.
    Failed(Failure),
}

/// CreateFleet's answer. Errors are per offering and come with partial success.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Launched {
    /// What was launched.
    pub instances: Vec<LaunchedInstance>,
    /// What could not be.
    pub errors: Vec<OfferingError>,
}

/// One launched instance.
#[derive(Clone, Debug, PartialEq)]
pub struct LaunchedInstance {
    /// Its id.
    pub id: InstanceId,
    /// Its type.
    pub instance_type: Arc<str>,
    /// Its subnet, if EC2 said it.
    pub subnet: Option<Arc<str>>,
    /// How it was bought.
    pub market: Market,
}

/// One offering that could not be launched.
#[derive(Clone, Debug, PartialEq)]
pub struct OfferingError {
    /// Which; without type or subnet, the whole request was refused.
    pub instance_type: Option<Arc<str>>,
    /// Which.
    pub subnet: Option<Arc<str>>,
    /// EC2's error code, such as `InsufficientInstanceCapacity`.
    pub code: String,
    /// EC2's message.
    pub message: String,
}

/// Why something did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind: decides what to do.
    pub kind: FailureKind,
    /// What was attempted, on what, and what the other side said.
    pub message: String,
    /// Not before this, when the other side said so (`retry-after`).
    pub retry_after: Option<Duration>,
    /// AWS's error code, such as `UnauthorizedOperation`; None when there is none. For people and checks; decides nothing.
    pub code: Option<String>,
}

impl Failure {
    /// A failure with no word on when to come back.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Failure {
        Failure { kind, message: message.into(), retry_after: None, code: None }
    }
}

/// The kinds of failure that call for different behaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Too many calls (RequestLimitExceeded, ThrottlingException, 403/429 with rate-limit headers).
    Throttled,
    /// The other side could not (5xx), or was not reached: it hardly took effect, and nothing relies on that.
    Unavailable,
    /// No answer (time-out, connection lost): it may have taken effect.
    Ambiguous,
    /// Something of that name exists, or the thing is busy (409, GitHub's 422 on a busy runner).
    Conflict,
    /// There is no such thing (404, InvalidInstanceID.NotFound, missing launch template).
    NotFound,
    /// Wrong request or no permission; the same again will not help before somebody changes something.
    Refused,
}

impl FailureKind {
    /// Whether it may have taken effect all the same: no answer came, or one that proves little.
    pub const fn may_have_worked(self) -> bool {
        matches!(self, FailureKind::Ambiguous | FailureKind::Unavailable)
    }

    /// The word used in metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            FailureKind::Throttled => "throttled",
            FailureKind::Unavailable => "unavailable",
            FailureKind::Ambiguous => "ambiguous",
            FailureKind::Conflict => "conflict",
            FailureKind::NotFound => "not_found",
            FailureKind::Refused => "refused",
        }
    }
}

/// GitHub's answer about one job.
/// <https://docs.github.com/en/rest/actions/workflow-jobs#get-a-job-for-a-workflow-run>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSighting {
    /// The job.
    pub job: JobId,
    /// Its run.
    pub run: RunId,
    /// How far it is; None while GitHub holds it back (`waiting`, `pending`, `requested`).
    pub state: Option<JobState>,
    /// The runner that took it.
    pub runner: Option<String>,
    /// How it ended.
    pub conclusion: Option<String>,
}

/// What a complete sweep saw.
#[derive(Clone, Debug, PartialEq)]
pub enum Swept {
    /// Every instance that bears our cluster's tag, in any state.
    Instances(Vec<InstanceSighting>),
    /// Every runner of the list that bears our cluster's name; None: unchanged since the last sweep (304 on every page).
    Runners(Option<Vec<RunnerSighting>>),
    /// The instances that a JIT secret lies ready for.
    Secrets(Vec<InstanceId>),
    /// Failed attempts to deliver a `workflow_job`, the newest first.
    Deliveries(Vec<DeliverySighting>),
}

/// One attempt to deliver a `workflow_job` that failed. Each attempt is a row of its own.
/// <https://docs.github.com/en/rest/apps/webhooks#list-deliveries-for-an-app-webhook>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliverySighting {
    /// This attempt; later ones have greater numbers.
    pub id: DeliveryId,
    /// The event: the same in all attempts.
    pub guid: String,
    /// Such as `queued`.
    pub action: Option<String>,
    /// Our side's HTTP status; 0 or GitHub's own when there was none.
    pub status: u16,
}

/// One instance, as DescribeInstances shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceSighting {
    /// Its id.
    pub id: InstanceId,
    /// The `muster:pool` tag.
    pub pool: PoolName,
    /// The `muster:list` tag.
    pub forge: Option<Forge>,
    /// The `muster:intent` tag.
    pub intent: Option<Intent>,
    /// EC2's state.
    pub state: InstanceState,
    /// LaunchTime. A foreign clock: for lifetimes only.
    pub launched_at: Time,
    /// Such as `m7i.large`.
    pub instance_type: Arc<str>,
    /// Such as `subnet-0abc`.
    pub subnet: Option<Arc<str>>,
    /// How it was bought.
    pub market: Market,
    /// Whether it bears the `muster:drain` tag.
    pub draining: bool,
    /// The `muster:stages` tag: when the instance reached which stage, by its own clock.
    pub stages: Vec<(Stage, Time)>,
    /// StateReason's code or message when it ended, such as `Server.SpotInstanceTermination`.
    pub state_reason: Option<String>,
}

/// One runner, as GitHub lists it. `busy` lies now and then (actions/runner#4422).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerSighting {
    /// GitHub's id.
    pub id: RunnerId,
    /// Its name; always one of ours.
    pub name: RunnerName,
    /// Connected.
    pub online: bool,
    /// Has a job, says GitHub.
    pub busy: bool,
    /// The labels that it was registered with; rows that share them share this.
    pub labels: Arc<[String]>,
}

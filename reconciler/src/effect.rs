//! What goes into the core and what comes out of it: [`Input`], [`Effect`] and [`Outcome`].
//!
//! The driver (or the simulator) carries out every effect, and answers each with one [`Input::Outcome`] of the same id. A
//! time-out is an outcome, too. An effect holds all that is needed to carry it out, so an adapter decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::{Ec2Event, InstanceState, JobEvent, JobState};
use crate::failure::Failure;
use crate::groups::RunnerGroups;
use crate::ids::{
    AppName, DeliveryId, EffectId, InstanceId, Intent, JobId, ListId, MessageId, Payer, PoolName, RunId, RunnerId, RunnerName,
};
use crate::late::{NoticeKey, NoticeText};
use crate::manifest::Spec;
use crate::market::Market;
use crate::reason::Reason;
use crate::release::RunnerReleases;
use crate::rerun::{Again, RunSighting};
use crate::serial::{perhaps_text, shared};
use crate::stage::Stage;
use crate::steer::Pause;
use crate::time::Time;
use crate::verdict::{Cause, StepEnd, StepKind};
use crate::versions::RunnerVersions;

pub use crate::launch::{Inheritance, Launch, Launched, LaunchedInstance};

/// Everything that the core can be told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// The manifests: at the start, and after each change.
    Spec(#[serde(with = "shared")] Arc<Spec>),
    /// Messages of the job queue. The core holds each message until an effect releases or deletes it.
    Messages(Vec<JobMessage>),
    /// An EC2 notification. Its message is already deleted from the queue. If a notification is lost, the next sweep shows the
    /// same.
    Ec2(Ec2Event),
    /// The releases of the runner program that the next launches name. An instance that was launched before keeps its own.
    Releases(RunnerReleases),
    /// What GitHub says of the runner groups that the pools name: all that is known, each time.
    Groups(RunnerGroups),
    /// What GitHub says of the versions in use: all that is known, each time.
    Versions(RunnerVersions),
    /// The end of an effect.
    Outcome(EffectId, Outcome),
    /// GitHub's rate-limit headers, from any answer of GitHub's.
    /// <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>
    GitHubLimit(GitHubLimit),
    /// Nothing happened, but time has passed.
    Tick,
    /// This process holds the lease from now on, and these pools are paused. With a lease this comes once; without one, never.
    Lead(Inheritance, BTreeMap<PoolName, Pause>),
    /// The process stops: the core releases its messages and starts nothing more.
    Shutdown,
}

/// A message of the job queue that could be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobMessage {
    /// The number that this process gave the message. Every delivery of the message has the same number.
    pub id: MessageId,
    /// SQS's ApproximateReceiveCount: 1 for the first delivery ever.
    pub receive_count: u32,
    /// The event in the message.
    pub event: JobEvent,
}

/// How many requests GitHub still admits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GitHubLimit {
    /// The credential and the account whose limit this is.
    pub payer: Payer,
    /// The resource that is limited. None: a secondary limit, which holds for all requests of the payer.
    pub resource: Option<Resource>,
    /// Whether the headers came with the answer to a configuration. If so, configurations count against this resource.
    pub of_configuration: bool,
    /// The requests that are left in the window (`x-ratelimit-remaining`).
    pub remaining: u32,
    /// The time until the window ends (`x-ratelimit-reset`), or until a secondary limit lifts (`retry-after`).
    pub reset_after: Duration,
}

/// A group of requests that GitHub counts separately (`x-ratelimit-resource`). Only the groups that muster's requests belong to
/// are here.
/// <https://docs.github.com/en/rest/rate-limit/rate-limit>
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// All requests except configurations.
    #[default]
    Core,
    /// Configurations of runners.
    Registration,
}

impl Resource {
    /// All resources.
    pub const ALL: [Resource; 2] = [Resource::Core, Resource::Registration];

    /// GitHub's name of the resource, in `x-ratelimit-resource`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Resource::Core => "core",
            Resource::Registration => "actions_runner_registration",
        }
    }
}

/// One call, or one batch of calls, that muster makes, with its reason.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// The id that the outcome has, too.
    pub id: EffectId,
    /// The calls to make.
    pub action: Action,
    /// The reason, for people and metrics. Its sentence also becomes the value of the tag `muster:drain`. No adapter decides
    /// anything by it.
    pub reason: Reason,
}

/// The kinds of effect. Each is safe to carry out twice.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// One CreateFleet call of type `instant`. Outcome: [`Outcome::Launched`].
    Launch(Arc<Launch>),
    /// Mint a JIT configuration or a registration token, and put it where the instance looks for it. Outcome:
    /// [`Outcome::Configured`], [`Outcome::NotHandedOver`] or Failed. After Failed(Ambiguous) and Failed(Unavailable), nobody
    /// knows whether something was minted; after any other Failed, nothing was minted.
    Configure(Configure),
    /// Tag the instances with `muster:drain`. Outcome: [`Outcome::Batch`].
    Drain(Vec<InstanceId>),
    /// Terminate the instances. Outcome: [`Outcome::Batch`].
    Terminate(Vec<InstanceId>),
    /// Delete a registration. Outcome: [`Outcome::Done`], also when there is no such registration. GitHub refuses (Conflict)
    /// while the runner is busy.
    Deregister {
        /// The list that has the registration.
        list_id: ListId,
        /// The registration's id at GitHub.
        runner: RunnerId,
        /// The runner's name.
        name: RunnerName,
    },
    /// Ask GitHub for the state of a job. Outcome: [`Outcome::Job`], or Failed(NotFound).
    CheckJob {
        /// The App or token whose credentials are used.
        app: AppName,
        /// `OWNER/NAME`.
        repo: String,
        /// The job.
        job: JobId,
    },
    /// Ask GitHub whether a workflow run is over, and how its jobs ended. Outcome: [`Outcome::Run`], or Failed(NotFound).
    LookAtRun {
        /// The App or token whose credentials are used.
        app: AppName,
        /// `OWNER/NAME`.
        repo: String,
        /// The workflow run.
        run: RunId,
    },
    /// Ask GitHub to run jobs of a run again. Outcome: [`Outcome::Done`]. GitHub refuses (Refused, Conflict) while the run is not over.
    Rerun {
        /// The App or token whose credentials are used.
        app: AppName,
        /// `OWNER/NAME`.
        repo: String,
        /// The workflow run.
        run: RunId,
        /// The jobs.
        again: Again,
    },
    /// Ask GitHub to cancel a workflow run. Outcome: [`Outcome::Done`]. GitHub refuses (Conflict) if the run is over.
    CancelRun {
        /// The App or token whose credentials are used.
        app: AppName,
        /// `OWNER/NAME`.
        repo: String,
        /// The workflow run.
        run: RunId,
    },
    /// Write a status on a commit. Outcome: [`Outcome::Done`].
    Tell(NoticeKey, NoticeText),
    /// Ask GitHub to deliver a webhook once more. Outcome: [`Outcome::Done`].
    Redeliver {
        /// The App whose webhook it is.
        app: AppName,
        /// The attempt that failed.
        delivery: DeliveryId,
    },
    /// Sweep a whole source. Outcome: [`Outcome::Swept`] if the sweep is complete, else Failed. Half a sweep proves nothing.
    Sweep(Source),
    /// Extend, release or delete held messages. Outcome: [`Outcome::Done`] or Failed.
    Messages(MessageOp, Vec<MessageId>),
    /// Delete the JIT secrets of instances that are gone. A secret that does not exist counts as deleted. Outcome:
    /// [`Outcome::Batch`].
    DeleteSecrets(Vec<InstanceId>),
}

/// What can be done with held messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageOp {
    /// Keep the messages invisible for longer.
    Extend {
        /// The visibility timeout from now on, 1..=43,200 s.
        seconds: u32,
    },
    /// Make the messages visible at once, for the next process.
    Release,
    /// Delete the messages, because their jobs have left the queue.
    Delete,
}

/// The configuration of an instance, which is to be minted and handed over.
#[derive(Clone, Debug, PartialEq)]
pub struct Configure {
    /// The runner's name, which holds the instance's id.
    pub name: RunnerName,
    /// The list in which the instance registers.
    pub list_id: ListId,
    /// The name of the runner group. Not used for repository scopes.
    pub group: String,
    /// The runner's labels.
    pub labels: Vec<String>,
    /// The jobs' directory in a JIT configuration. With a registration token, the instance sets the directory itself.
    pub work_directory: String,
    /// True: a JIT configuration, for one job. False: a registration token, for many jobs.
    pub ephemeral: bool,
    /// Whether a registration with this name may exist already, left by an earlier try or process. An offline one is then deleted
    /// before the minting.
    pub replace: bool,
}

/// What can be swept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// This cluster's instances: one filtered, paginated DescribeInstances.
    Instances,
    /// The runners of one list at GitHub whose names begin with this cluster's name.
    Runners(ListId),
    /// The JIT secrets in SSM.
    Secrets,
    /// One App's webhooks of the last 24 hours that GitHub could not deliver.
    Deliveries(AppName),
}

impl Source {
    /// The payer at GitHub whose limit a sweep of this source counts against. None: the source is not at GitHub.
    pub fn payer(&self) -> Option<Payer> {
        match self {
            Source::Runners(list_id) => Some(list_id.payer()),
            Source::Deliveries(app) => Some(Payer::itself(app)),
            Source::Instances | Source::Secrets => None,
        }
    }
}

/// The end of an effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The call worked, and its answer has nothing to tell.
    Done,
    /// CreateFleet answered, perhaps with fewer instances than asked for.
    Launched(Launched),
    /// The instance can fetch its configuration now.
    Configured {
        /// GitHub's id of the runner. None for a registration token, because it names no runner yet.
        runner: Option<RunnerId>,
    },
    /// The configuration was minted, but could not be handed over. The next try has to delete the registration that was minted.
    NotHandedOver(Failure),
    /// The end of each member of a batch.
    Batch {
        /// The members that are done, or were so before.
        done: Vec<InstanceId>,
        /// The members that are not done, with the failures.
        failed: Vec<(InstanceId, Failure)>,
    },
    /// GitHub's answer about a job.
    Job(JobSighting),
    /// GitHub's answer about a workflow run.
    Run(RunSighting),
    /// A complete sweep.
    Swept(Swept),
    /// The call did not work, or nobody knows whether it worked.
    Failed(Failure),
}

/// GitHub's answer about one job.
/// <https://docs.github.com/en/rest/actions/workflow-jobs#get-a-job-for-a-workflow-run>
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobSighting {
    /// The job.
    pub job: JobId,
    /// The workflow run of the job.
    pub run: RunId,
    /// The state of the job. None: GitHub holds the job back (`waiting`, `pending`, `requested`).
    pub state: Option<JobState>,
    /// The name of the runner that took the job.
    pub runner: Option<String>,
    /// GitHub's id of that runner.
    pub runner_id: Option<RunnerId>,
    /// The conclusion of the job, such as `success`.
    pub conclusion: Option<String>,
    /// Which attempt of the run the job belongs to: 1 for the first.
    pub attempt: u32,
    /// How the job's steps ended, in their order. Empty: no step has begun, or GitHub tells none.
    pub steps: Vec<(StepKind, StepEnd)>,
}

/// The result of a complete sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Swept {
    /// Every instance with this cluster's tag, in any state.
    Instances(Vec<InstanceSighting>),
    /// Every runner of the list whose name begins with this cluster's name. None: nothing has changed since the last sweep (304
    /// on every page).
    Runners(Option<Vec<RunnerSighting>>),
    /// The instances for which a JIT secret is in SSM.
    Secrets(Vec<InstanceId>),
    /// The failed attempts to deliver a `workflow_job`, the newest first.
    Deliveries(Vec<DeliverySighting>),
}

/// One failed attempt to deliver a `workflow_job`. GitHub lists each attempt separately.
/// <https://docs.github.com/en/rest/apps/webhooks#list-deliveries-for-an-app-webhook>
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliverySighting {
    /// The number of the attempt. A later attempt has a greater number.
    pub id: DeliveryId,
    /// The id of the event, which is the same for all its attempts.
    pub guid: String,
    /// The action of the event, such as `queued`.
    pub action: Option<String>,
    /// The HTTP status of muster's answer. If there was no answer, it is 0 or a status of GitHub's own.
    pub status: u16,
}

/// One instance, as DescribeInstances shows it.
#[derive(Clone, Debug, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceSighting {
    /// The id of the instance.
    pub id: InstanceId,
    /// The value of the `muster:pool` tag.
    pub pool: PoolName,
    /// The list in the `muster:list` tag. None: there is no such tag, or it cannot be read.
    pub list_id: Option<ListId>,
    /// The value of the `muster:intent` tag.
    pub intent: Option<Intent>,
    /// The value of the `muster:max-lifetime` tag. None: there is no such tag, or it cannot be read.
    pub max_lifetime: Option<Duration>,
    /// EC2's state of the instance.
    pub state: InstanceState,
    /// EC2's LaunchTime. EC2's clock is not ours, so only lifetimes are computed from this time.
    pub launched_at: Time,
    /// The instance type, such as `m7i.large`.
    #[serde(with = "shared")]
    pub instance_type: Arc<str>,
    /// The subnet, such as `subnet-0abc`.
    #[serde(with = "perhaps_text")]
    pub subnet: Option<Arc<str>>,
    /// The market on which the instance was bought.
    pub market: Market,
    /// Whether the instance has the `muster:drain` tag.
    pub draining: bool,
    /// The times in the `muster:stages` tag, by the instance's own clock.
    pub stages: Vec<(Stage, Time)>,
    /// What the instance says against itself in the same tag, once it ends.
    pub own_word: Option<Cause>,
    /// The version of the runner program in the same tag, such as `2.337.0`. None: the instance did not tell, or told no version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_version: Option<String>,
    /// The code or message of EC2's StateReason for the end, such as `Server.SpotInstanceTermination`.
    pub state_reason: Option<String>,
}

/// One runner, as GitHub lists it. `busy` is wrong now and then (actions/runner#4422).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunnerSighting {
    /// The runner's id at GitHub.
    pub id: RunnerId,
    /// The runner's name, which always is a name of this cluster.
    pub name: RunnerName,
    /// Whether the runner is connected to GitHub.
    pub online: bool,
    /// Whether the runner has a job, by GitHub's word.
    pub busy: bool,
    /// The labels with which the runner was registered. Runners with equal labels share one allocation.
    #[serde(with = "shared")]
    pub labels: Arc<[String]>,
    /// The version of the runner program, such as `2.337.0`. None: GitHub does not tell, as before the runner was ever online.
    #[serde(with = "perhaps_text")]
    pub version: Option<Arc<str>>,
}

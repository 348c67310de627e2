//! Carries out one effect with the adapters. This module decides nothing, because an effect says everything that is needed.

use std::sync::{Arc, PoisonError, RwLock};

use muster_reconciler::effect::{Action, Configure, Outcome, Source};
use muster_reconciler::failure::Failure;
use muster_reconciler::manifest::{ControllerManifest, Queues};
use tokio::sync::Semaphore;

use crate::aws::Aws;
use crate::aws::InstanceSecret;
use crate::aws::ec2::arn_of;
use crate::ingest::Receipts;
use crate::lease::Fence;
use muster_github::GitHub;

/// The most effects at GitHub that run side by side, without sweeps. GitHub asks for modest concurrency; its secondary limit is
/// 100.
const GITHUB_AT_ONCE: usize = 24;
/// The most effects at AWS that run side by side, without sweeps and without changes of messages.
const AWS_AT_ONCE: usize = 32;

/// Carries out effects. All clones share the same limits and the same GitHub clients.
#[derive(Clone, Debug)]
pub struct Executor {
    aws: Aws,
    github: Arc<RwLock<GitHub>>,
    receipts: Receipts,
    cluster: Arc<str>,
    queues: Arc<Queues>,
    secrets_key: Arc<RwLock<Option<String>>>,
    fence: Fence,
    github_places: Arc<Semaphore>,
    aws_places: Arc<Semaphore>,
}

impl Executor {
    /// Makes the executor of a cluster.
    pub fn new(aws: Aws, github: GitHub, receipts: Receipts, controller: &ControllerManifest) -> Executor {
        Executor {
            aws,
            github: Arc::new(RwLock::new(github)),
            receipts,
            cluster: controller.cluster().into(),
            queues: Arc::new(controller.spec.queues.clone()),
            secrets_key: Arc::new(RwLock::new(controller.spec.secrets_key.clone())),
            fence: Fence::default(),
            github_places: Arc::new(Semaphore::new(GITHUB_AT_ONCE)),
            aws_places: Arc::new(Semaphore::new(AWS_AT_ONCE)),
        }
    }

    /// Makes no change unless the fence admits it.
    #[must_use]
    pub fn with_fence(self, fence: Fence) -> Executor {
        Executor { fence, ..self }
    }

    /// Takes new GitHub clients, after the Apps or tokens changed. Effects that begin from now on use them.
    pub fn set_github(&self, github: GitHub) {
        *self.github.write().unwrap_or_else(PoisonError::into_inner) = github;
    }

    /// Takes another KMS key for the instances' secrets. Secrets that are stored from now on are under it.
    pub fn set_secrets_key(&self, key: Option<String>) {
        *self.secrets_key.write().unwrap_or_else(PoisonError::into_inner) = key;
    }

    /// The clients in force.
    pub(crate) fn github(&self) -> GitHub {
        self.github.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Carries out one effect. A failure is an outcome, too. Every adapter has a time limit for its calls.
    pub async fn carry_out(&self, action: &Action, reason: &str) -> Outcome {
        // `acquire` fails only when a semaphore is closed, and nobody closes these. If one were closed, the effect would run
        // without the limit.
        let _place = match action {
            Action::Configure(_)
            | Action::Deregister { .. }
            | Action::CheckJob { .. }
            | Action::LookAtRun { .. }
            | Action::Rerun { .. }
            | Action::CancelRun { .. }
            | Action::Tell(..)
            | Action::Redeliver { .. } => self.github_places.acquire().await.ok(),
            Action::Launch(_) | Action::Drain(_) | Action::Terminate(_) | Action::DeleteSecrets(_) => {
                self.aws_places.acquire().await.ok()
            }
            Action::Sweep(_) | Action::Messages(..) => None,
        };
        if let Err(failure) = self.fence.admit(action).await {
            return Outcome::Failed(failure);
        }
        let outcome = self.call(action, reason).await;
        self.fence.ended(action, &outcome);
        outcome
    }

    async fn call(&self, action: &Action, reason: &str) -> Outcome {
        match action {
            Action::Launch(launch) => self.aws.ec2.launch(launch).await,
            Action::Configure(c) => self.configure(c).await.unwrap_or_else(Outcome::Failed),
            Action::Drain(ids) => self.aws.ec2.drain(ids, reason).await,
            Action::Terminate(ids) => self.aws.ec2.terminate(ids).await,
            Action::Deregister { list_id, runner, .. } => self.github().delete(list_id, *runner).await,
            Action::Redeliver { app, delivery } => self.github().redeliver(app, *delivery).await,
            Action::CheckJob { app, repo, job } => self.github().get(app, repo, *job).await,
            Action::LookAtRun { app, repo, run } => self.github().run(app, repo, *run).await,
            Action::Rerun { app, repo, run, again } => self.github().rerun(app, repo, *run, again).await,
            Action::CancelRun { app, repo, run } => self.github().cancel(app, repo, *run).await,
            Action::Tell(key, text) => self.github().tell(&self.cluster, key, text).await,
            Action::Sweep(Source::Instances) => self.aws.ec2.sweep(&self.cluster).await,
            Action::Sweep(Source::Runners(list_id)) => self.github().list(list_id, &self.cluster).await,
            Action::Sweep(Source::Deliveries(app)) => self.github().deliveries(app).await,
            Action::Sweep(Source::Secrets) => self.aws.ssm.list_secrets(&self.cluster).await,
            Action::Messages(op, ids) => self.receipts.carry_out(&self.aws.sqs, &self.queues.jobs, *op, ids).await,
            Action::DeleteSecrets(ids) => self.aws.ssm.delete_secrets(&self.cluster, ids).await,
        }
    }

    async fn configure(&self, c: &Configure) -> Result<Outcome, Failure> {
        let (runner, secret) = self.github().configure(c).await?;
        let arn = self.aws.region.as_deref().and_then(|region| arn_of(&self.queues.jobs, region, &c.name.instance));
        let key = self.secrets_key.read().unwrap_or_else(PoisonError::into_inner).clone();
        let (cluster, instance) = (&*self.cluster, &c.name.instance);
        let secret = InstanceSecret { cluster, instance, arn: arn.as_deref(), key: key.as_deref(), value: &secret };
        let put = self.aws.ssm.put_secret(secret).await;
        Ok(put.map_or_else(Outcome::NotHandedOver, |()| Outcome::Configured { runner }))
    }
}

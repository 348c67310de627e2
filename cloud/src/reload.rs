//! Takes over changed manifests without a restart. If a change is invalid, the last valid manifests stay in force, and the
//! log says so.

use std::sync::Arc;
use std::time::Duration;

use muster_message::keyring::Keyring;
use muster_operations::metrics::Metrics;
use muster_operations::observer::Observer;
use muster_reconciler::effect::{GitHubLimit, Input};
use muster_reconciler::manifest::{self, Spec, Text};
use secrecy::SecretString;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::executor::Executor;
use crate::manifests::Manifests;
use crate::secrets::{self, Secrets};
use muster_github::{Credentials, GitHub};

/// How often secrets are read anew, so that a rotated secret works without a restart.
const ROTATION: Duration = Duration::from_secs(300);

/// What a change of the manifests reaches.
#[derive(Debug)]
pub struct Reload {
    /// Where the manifests are.
    pub manifests: Manifests,
    /// Reads the secrets that the manifests refer to.
    pub secrets: Secrets,
    /// The manifests in force.
    pub spec: watch::Sender<Arc<Spec>>,
    /// The webhook secrets in force.
    pub webhook_secrets: watch::Sender<Arc<Keyring>>,
    /// The token for orders. None: orders are refused.
    pub admin_token: watch::Sender<Option<SecretString>>,
    /// The token for looking. None: everybody may look.
    pub view_token: watch::Sender<Option<SecretString>>,
    /// What a change reaches in the controller. None: this process runs no controller.
    pub controller: Option<Controlled>,
    /// Counts reloads.
    pub metrics: Arc<Metrics>,
}

/// What a change reaches in a process that runs the controller.
pub struct Controlled {
    /// The inputs of the core.
    pub inputs: mpsc::Sender<Input>,
    /// Gets the new GitHub clients.
    pub executor: Executor,
    /// The Apps and tokens in force.
    pub credentials: Vec<Credentials>,
    /// Where GitHub's rate limits go.
    pub limits: mpsc::UnboundedSender<GitHubLimit>,
    /// Is told of calls to GitHub.
    pub observer: Observer,
}

impl std::fmt::Debug for Controlled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controlled").field("executor", &self.executor).finish_non_exhaustive()
    }
}

/// The error of a change that a running process cannot take over: the fields of the Controller that changed.
#[derive(Debug, thiserror::Error)]
#[error("the Controller's {} changed: restart muster for that; until then no other change is taken over", self.0.join(", "))]
struct NeedsRestart(Vec<&'static str>);

/// The fields that a running process is built on and that differ between two manifests of the Controller.
fn built_on(a: &manifest::ControllerManifest, b: &manifest::ControllerManifest) -> Vec<&'static str> {
    let changed = [
        ("`metadata.name`", a.cluster() != b.cluster()),
        ("`queues`", a.spec.queues != b.spec.queues),
        ("`listen`", a.spec.listen != b.spec.listen),
        ("`region`", a.spec.region != b.spec.region),
        ("`lease`", a.spec.lease != b.spec.lease),
        ("`record`", a.spec.record != b.spec.record),
    ];
    changed.into_iter().filter_map(|(field, differs)| differs.then_some(field)).collect()
}

impl Reload {
    /// Watches the manifests until `stop`. `in_force` are the manifests at the start.
    pub async fn run(mut self, in_force: Vec<Text>, stop: CancellationToken) {
        let mut seen = Some(in_force);
        let mut doubted = None;
        let mut rotated = tokio::time::Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.manifests.place().look()) => {}
            }
            match self.manifests.read().await {
                // The manifests may have been read while they were being written. Runners of a pool that is gone are
                // drained, which cannot be undone, so such manifests are read twice.
                Ok(texts)
                    if [&seen, &doubted].iter().all(|known| known.as_ref() != Some(&texts)) && self.lacks_a_pool(&texts) =>
                {
                    doubted = Some(texts);
                }
                Ok(texts) if seen.as_ref() != Some(&texts) => {
                    doubted = None;
                    let result = self.take(&texts).await;
                    self.metrics.manifest_reload(result.is_ok());
                    seen = match result {
                        Ok(()) => {
                            tracing::info!(place = %self.manifests.place(), "took over changed manifests");
                            Some(texts)
                        }
                        // A secret that could not be read may be readable at the next look, so the same manifests count as
                        // news then.
                        Err(error) if !error.is::<manifest::Problems>() && !error.is::<NeedsRestart>() => {
                            tracing::warn!("cannot take over changed manifests yet, the last good ones stay in force: {error:#}");
                            None
                        }
                        Err(error) => {
                            tracing::error!("changed manifests are not valid, the last good ones stay in force: {error:#}");
                            Some(texts)
                        }
                    };
                }
                Ok(_) => doubted = None,
                Err(error) => tracing::warn!("cannot look for changed manifests: {error:#}"),
            }
            if rotated.elapsed() >= ROTATION {
                rotated = tokio::time::Instant::now();
                self.rotate().await;
            }
        }
    }

    /// Whether a pool in force is missing in these manifests.
    fn lacks_a_pool(&self, texts: &[Text]) -> bool {
        let spec = self.spec.borrow();
        manifest::load(texts).is_ok_and(|new| spec.pools.keys().any(|pool| !new.pools.contains_key(pool)))
    }

    async fn take(&mut self, texts: &[Text]) -> anyhow::Result<()> {
        let spec = manifest::load(texts)?;
        let old = self.spec.borrow().clone();
        let changed = built_on(&old.controller, &spec.controller);
        if !changed.is_empty() {
            return Err(NeedsRestart(changed).into());
        }
        let webhook = self.secrets.webhook(&spec).await?;
        if let Some(c) = &mut self.controller {
            c.take_apps(self.secrets.credentials(&spec).await?)?;
            c.executor.set_secrets_key(spec.controller.spec.secrets_key.clone());
        }
        let spec = Arc::new(spec);
        self.webhook_secrets.send_replace(webhook);
        self.spec.send_replace(spec.clone());
        if let Some(c) = &self.controller {
            // The send fails only when the process stops.
            let _ = c.inputs.send(Input::Spec(spec)).await;
        }
        Ok(())
    }

    /// Reads all secrets anew, because private keys, tokens and webhook secrets may have been replaced.
    async fn rotate(&mut self) {
        let spec = self.spec.borrow().clone();
        match self.secrets.webhook(&spec).await {
            Ok(secrets) => drop(self.webhook_secrets.send_replace(secrets)),
            Err(error) => tracing::warn!("cannot read the webhook secrets anew, the known ones stay in force: {error:#}"),
        }
        self.rotate_tokens(&spec).await;
        let Some(c) = &mut self.controller else { return };
        if let Err(error) = self.secrets.credentials(&spec).await.and_then(|apps| c.take_apps(apps)) {
            tracing::warn!(
                "cannot take over the GitHub Apps' private keys and the tokens anew, the known ones stay in force: {error:#}"
            );
        }
    }

    /// Reads the tokens of the admin listener anew.
    async fn rotate_tokens(&self, spec: &Spec) {
        let looking = new_or_known(self.secrets.view_token(spec).await, &self.view_token, "the token for looking");
        // Only the controller takes orders.
        let orders = match &self.controller {
            Some(_) => new_or_known(self.secrets.admin_token(spec).await, &self.admin_token, "the token for orders"),
            None => None,
        };
        if let Err(error) = secrets::distinct(orders.as_ref(), looking.as_ref()) {
            tracing::warn!("cannot take over the tokens of the admin listener, the known ones stay in force: {error:#}");
            return;
        }
        self.view_token.send_replace(looking);
        self.admin_token.send_replace(orders);
    }
}

/// A secret that was read anew, or the known one if that failed.
fn new_or_known(
    read: anyhow::Result<Option<SecretString>>,
    known: &watch::Sender<Option<SecretString>>,
    what: &str,
) -> Option<SecretString> {
    read.unwrap_or_else(|error| {
        tracing::warn!("cannot read {what} anew, the known one stays in force: {error:#}");
        known.borrow().clone()
    })
}

impl Controlled {
    /// Uses these Apps from now on. The clients of unchanged Apps keep what they remember: tokens, groups, lists.
    fn take_apps(&mut self, apps: Vec<Credentials>) -> anyhow::Result<()> {
        if apps != self.credentials {
            self.executor.set_github(GitHub::new(apps.clone(), self.limits.clone(), self.observer.clone())?);
            self.credentials = apps;
            tracing::info!("took over changed GitHub Apps or tokens");
        }
        Ok(())
    }
}

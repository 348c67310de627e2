//! The webhook secrets that are in force, and which App each of them speaks for. A token of an enterprise (`GitHubToken`) counts
//! as an App here.
//!
//! GitHub signs its deliveries with these secrets ([`crate::signature`]). muster seals its own messages on the queue with
//! keys that are derived from them ([`crate::seal`]).

use muster_reconciler::event::JobEvent;
use muster_reconciler::ids::{AppName, RunnerName};
use muster_reconciler::manifest::{RunnerPool, Spec};
use muster_reconciler::matching::{self, Route};
use secrecy::{ExposeSecret as _, SecretString};

use crate::seal_key::SealKey;

/// One webhook secret.
#[derive(Debug)]
pub struct WebhookKey {
    pub(crate) secret: SecretString,
    pub(crate) seal: SealKey,
    /// The Apps that list the secret. Several Apps may share one secret.
    apps: Vec<AppName>,
    /// Those of these Apps that list the secret first.
    first_of: Vec<AppName>,
}

impl WebhookKey {
    /// The first App that lists the secret.
    pub fn app(&self) -> AppName {
        self.apps.first().cloned().unwrap_or_default()
    }
}

/// All webhook secrets, in the order of the manifests.
#[derive(Debug, Default)]
pub struct Keyring(Vec<WebhookKey>);

/// The signature or the seal is right, but its App may not speak of this job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is signed with a webhook secret of `{signer}`, but the pools or the runner of the job belong to `{owner}`: list the secret in \
     webhookSecrets of `{owner}` if it may speak for that one, too"
)]
pub struct ForeignKey {
    /// The first App that lists the secret.
    pub signer: AppName,
    /// The App of the pool that serves the job, or of the runner that runs the job.
    pub owner: AppName,
    /// Whether pools of both Apps cover the repository. GitHub then tells each event to both Apps, and the delivery to the owner
    /// counts.
    pub overlap: bool,
}

impl Keyring {
    /// Makes a keyring of Apps and their secrets. An App's first secret is the one to sign with. An empty secret is left out,
    /// because anybody could sign with it.
    pub fn new(apps: impl IntoIterator<Item = (AppName, Vec<SecretString>)>) -> Keyring {
        let mut keys: Vec<WebhookKey> = Vec::new();
        for (app, secrets) in apps {
            for (n, secret) in secrets.into_iter().filter(|s| !s.expose_secret().is_empty()).enumerate() {
                let first_of = if n == 0 { vec![app.clone()] } else { Vec::new() };
                match keys.iter_mut().find(|key| key.secret.expose_secret() == secret.expose_secret()) {
                    Some(key) => {
                        key.apps.push(app.clone());
                        key.first_of.extend(first_of);
                    }
                    None => keys.push(WebhookKey { seal: SealKey::derive(&secret), secret, apps: vec![app.clone()], first_of }),
                }
            }
        }
        Keyring(keys)
    }

    /// Whether there is no secret at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first key for which `fits` is true.
    pub(crate) fn find(&self, fits: impl Fn(&WebhookKey) -> bool) -> Option<&WebhookKey> {
        self.0.iter().find(|key| fits(key))
    }

    /// The key that seals a message for `signer`: the secret that all Apps of `signer` list first, or else `signer` itself.
    ///
    /// During a rotation of secrets, GitHub may still sign with the old secret. A message that is sealed with the new secret can
    /// be read for longer. A new secret that only one of the Apps lists does not speak for the other Apps, so it must not seal
    /// their messages.
    pub fn current<'a>(&'a self, signer: &'a WebhookKey) -> &'a WebhookKey {
        self.find(|key| signer.apps.iter().all(|app| key.first_of.contains(app))).unwrap_or(signer)
    }

    /// Checks that `signer` may speak of a job whose pool `route` says. The first rule that applies decides:
    ///
    /// - The event names a runner of this cluster: the App of that runner's pool has to list the secret. If the pool covers the
    ///   repository, this is enough, because GitHub may give a job to any runner whose labels match.
    /// - A pool takes the job: the pool's App has to list the secret.
    /// - Pools cover the repository: the App of at least one of them has to list the secret.
    ///
    /// The signer is believed if no rule applies, and for an App that lists no secret.
    pub fn authorize(&self, signer: &WebhookKey, spec: &Spec, event: &JobEvent, route: &Route) -> Result<(), ForeignKey> {
        let covers = |pool: &RunnerPool| matching::covers(&pool.spec.github.scope, event);
        let signers = |pool: &RunnerPool| signer.apps.contains(&pool.list_id().app);
        let speaks = |pool: &RunnerPool| {
            let app = pool.list_id().app;
            signer.apps.contains(&app) || self.find(|key| key.apps.contains(&app)).is_none()
        };
        let covering: Vec<&RunnerPool> = spec.pools.values().filter(|pool| covers(pool)).collect();
        let foreign = |pool: &RunnerPool| ForeignKey {
            signer: signer.app(),
            owner: pool.list_id().app,
            overlap: covers(pool) && covering.iter().any(|pool| signers(pool)),
        };
        if let Some(pool) = pool_of_runner(spec, event) {
            if !speaks(pool) {
                return Err(foreign(pool));
            }
            if covers(pool) {
                return Ok(());
            }
        }
        let taken_by = match route {
            Route::Pool(name) => spec.pools.get(name),
            Route::Unmatched(_) | Route::Foreign(_) => None,
        };
        let owners = taken_by.as_ref().map_or(covering.as_slice(), std::slice::from_ref);
        match owners.first() {
            Some(owner) if !owners.iter().any(|pool| speaks(pool)) => Err(foreign(owner)),
            _ => Ok(()),
        }
    }
}

/// The pool of the runner that the event names. None: the event names no runner of this cluster, or its pool is gone.
fn pool_of_runner<'a>(spec: &'a Spec, event: &JobEvent) -> Option<&'a RunnerPool> {
    let name = RunnerName::parse_ours(event.runner.as_deref()?, spec.controller.cluster())?;
    spec.pools.get(&name.pool)
}

#[cfg(test)]
mod tests {
    use muster_reconciler::event::{JobAbout, JobState};
    use muster_reconciler::ids::{JobId, RunId, Scope};
    use muster_reconciler::matching::route;

    use super::*;

    fn keyring(apps: &[(&str, &[&str])]) -> Keyring {
        Keyring::new(apps.iter().map(|(app, list)| ((*app).into(), list.iter().map(|s| SecretString::from(*s)).collect())))
    }

    fn key<'a>(keyring: &'a Keyring, secret: &str) -> &'a WebhookKey {
        keyring.find(|key| key.secret.expose_secret() == secret).expect("a known secret")
    }

    fn spec(pools: &[(&str, &str, &str)]) -> Spec {
        let pool = |(name, app, scope): &(&str, &str, &str)| {
            let mut pool = RunnerPool::default();
            pool.spec.github.app = Some((*app).into());
            pool.spec.github.scope = scope.parse::<Scope>().expect("a scope");
            pool.spec.labels = vec!["self-hosted".into(), (*name).into()];
            ((*name).into(), pool)
        };
        Spec { pools: pools.iter().map(pool).collect(), ..Spec::default() }
    }

    fn job(repo: &str) -> JobEvent {
        JobEvent {
            job: JobId(1),
            run: RunId(1),
            state: JobState::Completed,
            waiting: false,
            attempt: None,
            about: JobAbout::default(),
            repo: repo.into(),
            org: None,
            enterprise: None,
            labels: vec!["self-hosted".into()],
            runner: None,
            runner_id: None,
            conclusion: None,
            queued_at: None,
            started_at: None,
        }
    }

    /// A job for the pool of this name.
    fn job_for(pool: &str, repo: &str) -> JobEvent {
        JobEvent { labels: vec!["self-hosted".into(), pool.into()], ..job(repo) }
    }

    fn authorized(keys: &Keyring, secret: &str, spec: &Spec, event: &JobEvent) -> Result<(), ForeignKey> {
        keys.authorize(key(keys, secret), spec, event, &route(spec, event))
    }

    fn foreign(signer: &str, owner: &str, overlap: bool) -> Result<(), ForeignKey> {
        Err(ForeignKey { signer: signer.into(), owner: owner.into(), overlap })
    }

    #[test]
    fn an_app_speaks_for_its_own_pools_only() {
        let keys = keyring(&[("a", &["of a"]), ("b", &["of b"])]);
        let spec = spec(&[("x", "a", "org/acme"), ("y", "b", "org/beta")]);
        for event in [job("acme/web"), job_for("x", "acme/web"), job_for("no pool", "acme/web")] {
            assert_eq!(authorized(&keys, "of a", &spec, &event), Ok(()), "{event:?}");
            assert_eq!(authorized(&keys, "of b", &spec, &event), foreign("b", "a", false), "{event:?}");
        }
        assert_eq!(authorized(&keys, "of b", &spec, &job("gamma/web")), Ok(()), "no pool covers it");
    }

    #[test]
    fn the_pool_that_takes_the_job_decides_where_pools_of_two_apps_cover_it() {
        let keys = keyring(&[("a", &["of a"]), ("b", &["of b"])]);
        let spec = spec(&[("x", "a", "org/acme"), ("y", "b", "repo/acme/web")]);
        for (pool, ours, other) in [("x", "a", "b"), ("y", "b", "a")] {
            let event = job_for(pool, "acme/web");
            assert_eq!(authorized(&keys, &format!("of {ours}"), &spec, &event), Ok(()), "{pool}");
            assert_eq!(authorized(&keys, &format!("of {other}"), &spec, &event), foreign(other, ours, true), "{pool}");
        }
    }

    #[test]
    fn a_runner_is_spoken_for_by_the_app_of_its_pool() {
        let keys = keyring(&[("a", &["of a"]), ("b", &["of b"])]);
        let mut spec = spec(&[("x", "a", "org/acme"), ("y", "b", "org/beta")]);
        spec.controller.metadata.name = "prod".into();
        let on = |runner: &str| JobEvent { runner: Some(runner.into()), ..job_for("x", "acme/web") };
        assert_eq!(authorized(&keys, "of a", &spec, &on("prod.x.i-1")), Ok(()));
        assert_eq!(authorized(&keys, "of a", &spec, &on("prod.y.i-1")), foreign("a", "b", false), "a's job, b's runner");
        assert_eq!(
            authorized(&keys, "of b", &spec, &on("prod.y.i-1")),
            foreign("b", "a", false),
            "b's runner, not b's repository"
        );
        for stranger in ["staging.y.i-1", "prod.gone.i-1", "laptop"] {
            assert_eq!(authorized(&keys, "of a", &spec, &on(stranger)), Ok(()), "{stranger}");
        }
    }

    /// GitHub gives a job to any runner whose labels match. So the pool that muster launched for need not be the pool that runs
    /// the job.
    #[test]
    fn a_job_that_another_apps_runner_took_is_told_by_that_app() {
        let keys = keyring(&[("a", &["of a"]), ("b", &["of b"])]);
        let mut spec = spec(&[("x", "a", "org/acme"), ("y", "b", "repo/acme/web")]);
        spec.controller.metadata.name = "prod".into();
        let taken = JobEvent { runner: Some("prod.y.i-1".into()), ..job_for("x", "acme/web") };
        assert_eq!(authorized(&keys, "of b", &spec, &taken), Ok(()));
        assert_eq!(authorized(&keys, "of a", &spec, &taken), foreign("a", "b", true));
    }

    #[test]
    fn what_cannot_be_told_is_believed() {
        let two = spec(&[("x", "a", "org/acme"), ("y", "b", "repo/acme/web")]);
        let keys = keyring(&[("a", &["of a"]), ("b", &["of b"])]);
        for secret in ["of a", "of b"] {
            let nowhere = job_for("no pool", "acme/web");
            assert_eq!(authorized(&keys, secret, &two, &nowhere), Ok(()), "no pool takes it, and both Apps have one there");
        }
        let one = spec(&[("x", "without secrets", "org/acme")]);
        assert_eq!(authorized(&keys, "of a", &one, &job("acme/web")), Ok(()));
        let shared = keyring(&[("a", &["same"]), ("b", &["same"])]);
        let spec = spec(&[("x", "b", "org/acme")]);
        assert_eq!(authorized(&shared, "same", &spec, &job("acme/web")), Ok(()), "one secret for two Apps");
    }

    #[test]
    fn the_first_secret_of_the_same_app_is_the_current_one() {
        let keys = keyring(&[("a", &["", "a new", "a old"]), ("b", &["b new", "b old"])]);
        for (signer, current) in [("a old", "a new"), ("a new", "a new"), ("b old", "b new")] {
            assert_eq!(keys.current(key(&keys, signer)).secret.expose_secret(), current, "{signer}");
        }
        assert!(keyring(&[("a", &["", ""])]).is_empty());
    }

    #[test]
    fn a_shared_secret_is_rotated_without_sealing_for_one_app_alone() {
        let spec = spec(&[("x", "a", "org/acme"), ("y", "b", "org/beta")]);
        for (a, b, signer, current) in [
            (&["new a", "shared"][..], &["shared"][..], "shared", "shared"),
            (&["shared"], &["new b", "shared"], "shared", "shared"),
            (&["new a", "shared"], &["new b", "shared"], "shared", "shared"),
            (&["new", "shared"], &["new", "shared"], "shared", "new"),
            (&["shared"], &["new b", "shared"], "new b", "new b"),
        ] {
            let keys = keyring(&[("a", a), ("b", b)]);
            let sealer = keys.current(key(&keys, signer));
            assert_eq!(sealer.secret.expose_secret(), current, "{a:?} {b:?}");
            let event = job_for("y", "beta/web");
            assert_eq!(keys.authorize(sealer, &spec, &event, &route(&spec, &event)), Ok(()), "{a:?} {b:?}");
        }
    }
}

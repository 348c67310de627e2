//! The webhook secrets in force, and for which App each of them speaks. An enterprise's token (`GitHubToken`) counts as an App here.
//!
//! GitHub signs its deliveries with them ([`crate::http::signature`]), and muster seals its own queue messages with keys
//! derived from them ([`crate::seal`]).

use muster_reconciler::event::JobEvent;
use muster_reconciler::ids::AppName;
use muster_reconciler::manifest::Spec;
use muster_reconciler::matching;
use secrecy::{ExposeSecret as _, SecretString};

use crate::seal::SealKey;

/// One webhook secret.
#[derive(Debug)]
pub struct Key {
    pub(crate) secret: SecretString,
    pub(crate) seal: SealKey,
    /// The Apps that list the secret. Several may share one.
    apps: Vec<AppName>,
}

/// All webhook secrets, in the order of the manifests.
#[derive(Debug, Default)]
pub struct Keyring(Vec<Key>);

/// A signature or seal that is right, by an App that has no say over this job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is signed with a webhook secret of `{signer}`, and the pools that could serve the job belong to `{owner}`: list the secret \
     in webhookSecrets of `{owner}` if it may speak for that one, too"
)]
pub struct ForeignKey {
    /// Whose secret it was.
    pub signer: AppName,
    /// Whose pools cover the job.
    pub owner: AppName,
}

impl Keyring {
    /// Of Apps with their secrets, the first of which is the one to sign with. An empty secret is left out: anybody could sign with it.
    pub fn new(apps: impl IntoIterator<Item = (AppName, Vec<SecretString>)>) -> Keyring {
        let mut keys: Vec<Key> = Vec::new();
        for (app, secrets) in apps {
            for secret in secrets.into_iter().filter(|s| !s.expose_secret().is_empty()) {
                match keys.iter_mut().find(|key| key.secret.expose_secret() == secret.expose_secret()) {
                    Some(key) => key.apps.push(app.clone()),
                    None => keys.push(Key { seal: SealKey::derive(&secret), secret, apps: vec![app.clone()] }),
                }
            }
        }
        Keyring(keys)
    }

    /// Whether there is no secret at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first key that `fits`.
    pub(crate) fn find(&self, fits: impl Fn(&Key) -> bool) -> Option<&Key> {
        self.0.iter().find(|key| fits(key))
    }

    /// The first secret of the App that `signer` belongs to. During a rotation GitHub may still sign with the old secret; a message
    /// that is sealed with the new one can be read for longer.
    pub fn current<'a>(&'a self, signer: &'a Key) -> &'a Key {
        self.find(|key| key.apps.iter().any(|app| signer.apps.contains(app))).unwrap_or(signer)
    }

    /// Whether `signer` may speak of a job: one of the pools whose scope covers it belongs to an App of that secret. Where no pool
    /// covers the job, or one does whose App lists no secret, this cannot be told, and the signer is believed.
    pub fn authorize(&self, signer: &Key, spec: &Spec, event: &JobEvent) -> Result<(), ForeignKey> {
        let mut owner = None;
        for pool in spec.pools.values().filter(|pool| matching::covers(&pool.spec.github.scope, event)) {
            let app = pool.forge().app;
            if signer.apps.contains(&app) || self.find(|key| key.apps.contains(&app)).is_none() {
                return Ok(());
            }
            owner.get_or_insert(app);
        }
        match owner {
            None => Ok(()),
            Some(owner) => Err(ForeignKey { signer: signer.apps.first().cloned().unwrap_or_default(), owner }),
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_reconciler::event::JobState;
    use muster_reconciler::ids::{JobId, RunId, Scope};
    use muster_reconciler::manifest::RunnerPool;

    use super::*;

    fn keyring(apps: &[(&str, &[&str])]) -> Keyring {
        Keyring::new(apps.iter().map(|(app, list)| ((*app).into(), list.iter().map(|s| SecretString::from(*s)).collect())))
    }

    fn key<'a>(keyring: &'a Keyring, secret: &str) -> &'a Key {
        keyring.find(|key| key.secret.expose_secret() == secret).expect("a known secret")
    }

    fn spec(pools: &[(&str, &str, &str)]) -> Spec {
        let pool = |(name, app, scope): &(&str, &str, &str)| {
            let mut pool = RunnerPool::default();
            pool.spec.github.app = Some((*app).into());
            pool.spec.github.scope = scope.parse::<Scope>().expect("a scope");
            ((*name).into(), pool)
        };
        Spec { pools: pools.iter().map(pool).collect(), ..Spec::default() }
    }

    fn job(repo: &str) -> JobEvent {
        JobEvent {
            job: JobId(1),
            run: RunId(1),
            state: JobState::Completed,
            repo: repo.into(),
            org: None,
            enterprise: None,
            labels: vec!["self-hosted".into()],
            runner: None,
            conclusion: None,
            queued_at: None,
            started_at: None,
        }
    }

    #[test]
    fn an_app_speaks_for_its_own_pools_only() {
        let keys = keyring(&[("a", &["of a"]), ("b", &["of b"])]);
        let spec = spec(&[("x", "a", "org/acme"), ("y", "b", "org/beta")]);
        assert_eq!(keys.authorize(key(&keys, "of a"), &spec, &job("acme/web")), Ok(()));
        let foreign = keys.authorize(key(&keys, "of b"), &spec, &job("acme/web"));
        assert_eq!(foreign, Err(ForeignKey { signer: "b".into(), owner: "a".into() }));
        assert_eq!(keys.authorize(key(&keys, "of b"), &spec, &job("gamma/web")), Ok(()), "no pool covers it");
    }

    #[test]
    fn what_cannot_be_told_is_believed() {
        let two = spec(&[("x", "a", "org/acme"), ("y", "b", "repo/acme/web")]);
        let keys = keyring(&[("a", &["of a"]), ("b", &["of b"])]);
        for secret in ["of a", "of b"] {
            assert_eq!(keys.authorize(key(&keys, secret), &two, &job("acme/web")), Ok(()), "both Apps have a pool for it");
        }
        let one = spec(&[("x", "without secrets", "org/acme")]);
        assert_eq!(keys.authorize(key(&keys, "of a"), &one, &job("acme/web")), Ok(()));
        let shared = keyring(&[("a", &["same"]), ("b", &["same"])]);
        let spec = spec(&[("x", "b", "org/acme")]);
        assert_eq!(shared.authorize(key(&shared, "same"), &spec, &job("acme/web")), Ok(()), "one secret for two Apps");
    }

    #[test]
    fn the_first_secret_of_the_same_app_is_the_current_one() {
        let keys = keyring(&[("a", &["a new", "a old"]), ("b", &["b new", "b old"])]);
        for (signer, current) in [("a old", "a new"), ("a new", "a new"), ("b old", "b new")] {
            assert_eq!(keys.current(key(&keys, signer)).secret.expose_secret(), current, "{signer}");
        }
        assert!(keyring(&[("a", &["", ""])]).is_empty());
    }
}

//! `muster doctor` looks at everything that muster will need, and says what is wrong before the first job would show it. It
//! changes nothing: it reads, and asks EC2 for dry runs.
//!
//! A check is a question, which [`look`] and the adapters ask, and a judgement of the answer, which is a pure function. All
//! checks run side by side. No check takes longer than [`PATIENCE`] at a time, and no check prevents another one.

mod app;
mod bucket;
mod finding;
mod hook;
mod identity;
pub mod live;
mod look;
mod permissions;
mod queues;
mod quotas;
mod templates;
mod token;
mod types;
mod versions;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, join_all};
use muster_reconciler::manifest::{GitHubApp, GitHubToken, SecretRef, Spec};
use secrecy::SecretString;
use tokio::time::timeout;

use crate::aws::{Aws, S3};
use crate::secrets::{Secrets, distinct, long_enough};
pub use finding::{Finding, Verdict};
use look::Look;
use muster_github::{Credentials, GitHub, Proof};
use queues::Purpose;

/// The longest wait for one check, or for one part of a check whose parts need each other.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The longest wait for one answer of GitHub. It is shorter than [`PATIENCE`], so that a time-out names GitHub's call and not the
/// check.
const ANSWER: Duration = Duration::from_secs(8);

/// A check that is under way.
type RunningCheck<'a> = LocalBoxFuture<'a, Vec<Finding>>;

/// Makes every check. References of the form `file:` are relative to `base`.
pub async fn examine(spec: &Spec, base: &Path) -> Vec<Finding> {
    let settings = &spec.controller.spec;
    let cluster = spec.controller.cluster();
    let config = Aws::config(settings.region.as_deref()).await;
    let (aws, look) = (Aws::new(&config), Look::new(&config));
    let secrets = Secrets::new(aws.clone(), base);
    let mut checks: Vec<RunningCheck<'_>> = vec![bounded("credentials", identity::check(&look, &settings.queues.jobs))];
    let (jobs, dead, events) = (Some(&settings.queues.jobs), &settings.queues.dead_letters, &settings.queues.ec2_events);
    for (purpose, url) in [(Purpose::Jobs, jobs), (Purpose::DeadLetters, dead.as_ref()), (Purpose::Ec2Events, events.as_ref())] {
        let Some(url) = url else { continue };
        checks.push(bounded(purpose.check(), queues::check(&look, purpose, url, dead.as_deref())));
    }
    checks.push(bounded("bucket", bucket::check(&aws.s3, spec)));
    for (name, pool) in &spec.pools {
        let look = &look;
        checks.push(bounded(format!("launch template {name}"), async move {
            let (seen, mut found) = templates::check(look, pool, cluster).await;
            found.extend(permissions::launch(look, spec, name, &seen).await);
            found
        }));
    }
    checks.push(bounded("permission to end instances", permissions::instances(&look, cluster)));
    checks.push(bounded("parameters", permissions::parameters(&aws.ssm, cluster)));
    checks.push(async { vec![permissions::untried()] }.boxed_local());
    checks.push(bounded("instance types", types::check(&look, spec)));
    let listen = &settings.listen;
    for (check, reference) in [("listen.adminToken", &listen.admin_token), ("listen.viewToken", &listen.view_token)] {
        let (Some(reference), secrets) = (reference, &secrets) else { continue };
        checks.push(bounded(check, async move { vec![admin_token(secrets, check, reference).await] }));
    }
    if let (Some(orders), Some(looking), secrets) = (&listen.admin_token, &listen.view_token, &secrets) {
        checks.push(bounded("listen.viewToken", one_token(secrets, orders, looking)));
    }
    for (name, app) in &spec.apps {
        checks.push(github(spec, name.as_str(), app, &secrets, &aws.s3).boxed_local());
    }
    for (name, token) in &spec.tokens {
        checks.push(enterprise(spec, name.as_str(), token, &secrets, &aws.s3).boxed_local());
    }
    join_all(checks).await.into_iter().flatten().collect()
}

/// Makes every check of one App. Each part has its own time limit, because all parts need the App's key first.
async fn github(spec: &Spec, name: &str, app: &GitHubApp, secrets: &Secrets, s3: &S3) -> Vec<Finding> {
    let of_hook = readable_all(secrets, format!("webhook secret of App {name}"), &app.spec.webhook_secrets);
    let (mut found, key) = tokio::join!(of_hook, secret(secrets, &app.spec.private_key));
    let client = match key.and_then(|key| client(name, &app.spec.api_url, Proof::App(app.spec.app_id, key))) {
        Ok(client) => client,
        Err(error) => {
            let next = "put the App's private key, whole and unchanged, where spec.privateKey points";
            found.push(Finding::failed(format!("private key of App {name}"), format!("{error:#}"), next));
            let next = "mend the private key first";
            found.push(Finding::unchecked(format!("App {name}"), "without its key nothing can be asked of GitHub", next));
            return found;
        }
    };
    let client = &client;
    let mut checks = vec![
        bounded(format!("App {name}"), async move { vec![app::check(client, name, app, spec).await] }),
        bounded(format!("webhook of App {name}"), hook::check(client, name)),
    ];
    for list_id in app::list_ids(spec, name) {
        let what = format!("installation on {}", list_id.scope);
        checks.push(bounded(what, async move { app::check_list(client, s3, spec, &list_id).await }));
    }
    found.extend(join_all(checks).await.into_iter().flatten());
    found
}

/// Makes every check of one GitHubToken.
async fn enterprise(spec: &Spec, name: &str, token: &GitHubToken, secrets: &Secrets, s3: &S3) -> Vec<Finding> {
    let of_hook = readable_all(secrets, format!("webhook secret of token {name}"), &token.spec.webhook_secrets);
    let (mut found, secret) = tokio::join!(of_hook, secret(secrets, &token.spec.token));
    let client = match secret.and_then(|secret| client(name, &token.spec.api_url, Proof::Token(secret))) {
        Ok(client) => client,
        Err(error) => {
            let next = "put a personal access token (classic) where spec.token points";
            found.push(Finding::failed(format!("token {name}"), format!("{error:#}"), next));
            return found;
        }
    };
    let client = &client;
    let mut checks = vec![bounded(format!("token {name}"), async move { vec![token::check(client, name).await] })];
    for list_id in app::list_ids(spec, name) {
        checks.push(bounded(format!("runner groups of {}", list_id.scope), async move {
            app::check_groups(client, s3, spec, &list_id).await
        }));
    }
    found.extend(join_all(checks).await.into_iter().flatten());
    found.push(token::deliveries(name));
    found
}

/// Reads a secret. It is an error if this takes longer than [`PATIENCE`].
async fn secret(secrets: &Secrets, reference: &SecretRef) -> anyhow::Result<SecretString> {
    let late = |_| anyhow::anyhow!("reading {reference} took longer than {} s", PATIENCE.as_secs());
    timeout(PATIENCE, secrets.resolve(reference)).await.map_err(late)?
}

async fn readable_all(secrets: &Secrets, check: String, references: &[SecretRef]) -> Vec<Finding> {
    let check = &check;
    let each = |reference| bounded(check.clone(), async move { vec![readable(secrets, check, reference).await] });
    join_all(references.iter().map(each)).await.concat()
}

fn client(name: &str, api_url: &str, proof: Proof) -> anyhow::Result<GitHub> {
    let credentials = Credentials { name: name.into(), api_url: api_url.to_owned(), proof };
    let (limits, _unread) = tokio::sync::mpsc::unbounded_channel();
    GitHub::with_timeout(vec![credentials], limits, Arc::new(|_, _, _| ()), ANSWER)
}

/// Whether a secret can be read. The finding never contains the secret.
async fn readable(secrets: &Secrets, check: &str, reference: &SecretRef) -> Finding {
    match secrets.resolve(reference).await {
        Ok(_) => Finding::ok(check, format!("{reference} is readable")),
        Err(error) => {
            let next = "put the value there, or correct the reference; an ssm: reference needs ssm:GetParameter";
            Finding::failed(check, format!("{error:#}"), next)
        }
    }
}

/// Whether a token of the admin listener can be read, and is long enough.
async fn admin_token(secrets: &Secrets, check: &str, reference: &SecretRef) -> Finding {
    match secrets.resolve(reference).await.map(|token| long_enough(reference, &token)) {
        Ok(Err(short)) => {
            Finding::failed(check, short.to_string(), "put a longer token there; muster does not start with this one")
        }
        _ => readable(secrets, check, reference).await,
    }
}

/// Whether the two tokens of the admin listener are one. A token that cannot be read has a finding of its own.
async fn one_token(secrets: &Secrets, orders: &SecretRef, looking: &SecretRef) -> Vec<Finding> {
    let (Ok(orders), Ok(looking)) = (secrets.resolve(orders).await, secrets.resolve(looking).await) else { return Vec::new() };
    let next = "put another token in one of the two places; muster does not start with these";
    let failed = |same: anyhow::Error| Finding::failed("listen.viewToken", same.to_string(), next);
    distinct(Some(&orders), Some(&looking)).err().map(failed).into_iter().collect()
}

/// A check with a time limit. If the limit passes, the finding says so.
fn bounded<'a>(name: impl Into<String>, check: impl Future<Output = Vec<Finding>> + 'a) -> RunningCheck<'a> {
    let name = name.into();
    async move {
        timeout(PATIENCE, check).await.unwrap_or_else(|_| {
            let seen = format!("no answer within {} s", PATIENCE.as_secs());
            vec![Finding::failed(
                name,
                seen,
                "see that this machine has a way there (network, proxy, endpoint), and run doctor again",
            )]
        })
    }
    .boxed_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_is_a_failure_and_keeps_none_from_its_end() {
        let fine = bounded("a", async { vec![Finding::ok("a", "fine")] });
        let hangs = bounded("b", std::future::pending());
        let found: Vec<Finding> = join_all([hangs, fine]).await.into_iter().flatten().collect();
        assert_eq!(
            found.iter().map(|f| (f.check.as_str(), f.verdict)).collect::<Vec<_>>(),
            [("b", Verdict::Failed), ("a", Verdict::Ok)]
        );
    }
}

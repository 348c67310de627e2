//! What the field test needs before it begins: the pool, what kind of pool it is, and what must stay out of the report.

use std::collections::BTreeMap;

use muster_reconciler::ids::PoolName;
use muster_reconciler::manifest::{RunnerPool, Spec};

use super::super::look::Look;
use super::TestWish;
use super::report::Hidden;
use muster_github::field::Repo;

/// The pool that the user named, or else the only pool whose scope contains the repository.
pub(super) fn choose<'a>(spec: &'a Spec, wish: &TestWish) -> anyhow::Result<(&'a PoolName, &'a RunnerPool)> {
    let owner = wish.repo.split('/').next().unwrap_or_default();
    let fits = |pool: &RunnerPool| {
        let scope = pool.list_id().scope.to_string();
        let within = scope.starts_with("enterprise/") || scope.eq_ignore_ascii_case(&format!("org/{owner}"));
        within || scope.eq_ignore_ascii_case(&format!("repo/{}", wish.repo))
    };
    if let Some(name) = &wish.pool {
        let found = spec.pools.iter().find(|(known, _)| known.as_str() == name);
        let (name, pool) = found.ok_or_else(|| anyhow::anyhow!("there is no pool `{name}` in the manifests"))?;
        anyhow::ensure!(fits(pool), "pool `{name}` is for {}, which {} is not in", pool.list_id().scope, wish.repo);
        return Ok((name, pool));
    }
    let mut fitting = spec.pools.iter().filter(|(_, pool)| fits(pool) && pool.spec.capacity.max > 0);
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => anyhow::bail!("no pool takes jobs of {}; name another repository with --repo", wish.repo),
        _ => anyhow::bail!("several pools may take jobs of {}; name one with --pool", wish.repo),
    }
}

pub(super) fn kind_of(pool: &RunnerPool) -> BTreeMap<&'static str, String> {
    let instance = &pool.spec.instance;
    [
        ("system", word(&instance.os)),
        ("architecture", word(&instance.architecture)),
        ("lifetime", word(&pool.spec.runner.lifetime)),
        ("market", word(&instance.market)),
        ("types", instance.types.join(", ")),
        ("zones", instance.subnets.len().to_string()),
    ]
    .into()
}

/// A value as manifests write it, such as `spot-then-on-demand`.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// What is replaced in the report. The account is known from AWS's answer and from the URLs of the queues.
pub(super) async fn hidden(look: &Look, spec: &Spec, wish: &TestWish, repo: &Repo) -> Hidden {
    if wish.with_account {
        return Hidden::default();
    }
    let asked = look.probe.call("sts.GetCallerIdentity", "ask AWS who this is", look.sts.get_caller_identity().send()).await;
    let mut all = Vec::new();
    if let Ok(answer) = asked {
        all.extend(answer.arn().map(|arn| (arn.to_owned(), "CALLER")));
        all.extend(answer.account().map(|account| (account.to_owned(), "ACCOUNT")));
    }
    let queues = &spec.controller.spec.queues;
    let urls = [Some(&queues.jobs), queues.dead_letters.as_ref(), queues.ec2_events.as_ref()];
    let number = |part: &&str| part.len() == 12 && part.bytes().all(|b| b.is_ascii_digit());
    let parts = urls.into_iter().flatten().flat_map(|url| url.split('/')).filter(number);
    all.extend(parts.map(|part| (part.to_owned(), "ACCOUNT")));
    all.push((repo.name.clone(), "OWNER/NAME"));
    all.push((repo.owner().to_owned(), "OWNER"));
    Hidden(all)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::workflow;
    use super::*;

    fn spec(scopes: &[&str]) -> Spec {
        let mut spec = Spec::default();
        for (nth, scope) in scopes.iter().enumerate() {
            let mut pool = RunnerPool::default();
            pool.spec.github.scope = scope.parse().expect("a scope");
            spec.pools.insert(format!("p{nth}").as_str().into(), pool);
        }
        spec
    }

    fn wish(repo: &str, pool: Option<&str>) -> TestWish {
        TestWish {
            repo: repo.into(),
            git_ref: "main".into(),
            file: workflow::FILE.into(),
            pool: pool.map(str::to_owned),
            patience: Duration::from_secs(1),
            with_account: false,
        }
    }

    #[test]
    fn the_pool_is_the_one_that_can_take_the_job() {
        let spec = spec(&["org/acme", "repo/other/app", "org/third"]);
        let chosen =
            |repo: &str, pool| choose(&spec, &wish(repo, pool)).map(|(name, _)| name.to_string()).map_err(|e| e.to_string());
        assert_eq!(chosen("acme/web", None), Ok("p0".into()));
        assert_eq!(chosen("other/app", None), Ok("p1".into()));
        assert!(chosen("other/web", None).is_err_and(|why| why.contains("no pool takes jobs of other/web")));
        assert!(chosen("acme/web", Some("p2")).is_err_and(|why| why.contains("org/third")));
        assert!(chosen("acme/web", Some("p9")).is_err_and(|why| why.contains("no pool `p9`")));
        let twice = self::spec(&["org/acme", "org/acme"]);
        assert!(choose(&twice, &wish("acme/web", None)).is_err_and(|why| why.to_string().contains("--pool")));
    }
}

//! Clusters that need no files. The demo and the tests run them.

use std::sync::Arc;

use muster_reconciler::ids::Scope;
use muster_reconciler::manifest::{
    Architecture, Capacity, ControllerManifest, GitHubApp, GitHubAppSpec, GitHubToken, GitHubTokenSpec, InstanceSettings,
    Lifetime, Metadata, PoolGitHub, RunnerPool, RunnerPoolSpec, RunnerSettings, SecretRef, Span, Spec,
};

/// The organisation that owns the repositories of all jobs.
pub const ORG: &str = "acme";

/// A pool of ephemeral runners for the whole organisation, with two instance types in two subnets.
pub fn pool(name: &str, labels: &[&str], max: u32) -> RunnerPool {
    let types = ["m7i.large", "m6i.large"];
    RunnerPool {
        metadata: Metadata { name: name.into() },
        spec: RunnerPoolSpec {
            github: PoolGitHub { app: Some("main".into()), scope: Scope::Org(ORG.into()), ..PoolGitHub::default() },
            labels: labels.iter().map(|l| (*l).to_owned()).collect(),
            capacity: Capacity { max, ..Capacity::default() },
            instance: InstanceSettings {
                types: types.map(str::to_owned).to_vec(),
                subnets: vec!["subnet-a".into(), "subnet-b".into()],
                ..InstanceSettings::default()
            },
            ..RunnerPoolSpec::default()
        },
    }
}

/// A GitHub App.
pub(crate) fn app(name: &str) -> GitHubApp {
    let secret = |variable: &str| SecretRef::Env(variable.to_owned());
    let (private_key, webhook_secrets) = (secret("MUSTER_PRIVATE_KEY"), vec![secret("MUSTER_WEBHOOK_SECRET")]);
    let spec = GitHubAppSpec { app_id: 1, private_key, webhook_secrets, ..GitHubAppSpec::default() };
    GitHubApp { metadata: Metadata { name: name.to_owned() }, spec }
}

/// A personal access token.
pub(crate) fn token(name: &str) -> GitHubToken {
    let token = SecretRef::Env("MUSTER_TOKEN_OF_GITHUB".to_owned());
    let spec = GitHubTokenSpec { token, ..GitHubTokenSpec::default() };
    GitHubToken { metadata: Metadata { name: name.to_owned() }, spec }
}

/// A cluster with these pools and one GitHub App.
pub fn cluster(name: &str, pools: impl IntoIterator<Item = RunnerPool>) -> Arc<Spec> {
    let app = app("main");
    let controller = ControllerManifest { metadata: Metadata { name: name.into() }, ..ControllerManifest::default() };
    Arc::new(Spec {
        controller,
        apps: [("main".into(), app)].into(),
        tokens: Default::default(),
        pools: pools.into_iter().map(|p| (p.metadata.name.as_str().into(), p)).collect(),
    })
}

/// The demo's cluster: a large pool, a small one that fills up, and a warm one of reusable runners.
pub fn demo() -> Arc<Spec> {
    let linux = pool("linux-x64", &["self-hosted", "linux", "x64"], 30);
    let mut arm = pool("linux-arm64", &["self-hosted", "linux", "arm64"], 6);
    arm.spec.instance.architecture = Architecture::Arm64;
    arm.spec.instance.types = vec!["m7g.large".into(), "m6g.large".into()];
    let mut warm = pool("warm", &["self-hosted", "linux", "x64", "quick"], 8);
    warm.spec.capacity.idle = 2;
    warm.spec.priority = 200;
    warm.spec.runner =
        RunnerSettings { lifetime: Lifetime::Reusable, idle_timeout: Span::secs(180), ..RunnerSettings::default() };
    cluster("demo", [linux, arm, warm])
}

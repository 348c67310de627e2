//! A whole stage: moto with a world, the double of GitHub, the stand-in for the instances, and a running muster. It also
//! has the sentence that ends nearly every scenario: nothing is left.

use std::time::Duration;

use super::github::{GitHub, Runner};
use super::instances::{Habits, Instances};
use super::moto::{Depth, Moto, World};
use super::muster::{self, Muster, Pool};
use super::{eventually, same};

/// The cluster of every scene.
pub const CLUSTER: &str = "c1";
/// A repository of the organisation in which the App is installed.
pub const REPO: &str = "acme/app";
/// The labels of the pool [`linux`].
pub const LABELS: [&str; 3] = ["self-hosted", "linux", "x64"];

/// The pool that most scenes have.
pub fn linux() -> Pool {
    Pool::new("linux", &LABELS)
}

/// The message that muster's webhook puts on the queue for a queued job of [`REPO`].
pub fn job_message(job: u64) -> String {
    format!(r#"{{"v":1,"job":{job},"run":1,"state":"queued","repo":"{REPO}","labels":["self-hosted","linux"]}}"#)
}

/// Everything that a scenario needs. The fields are dropped in this order: muster comes first, and the double's verdict
/// last.
pub struct Scene {
    pub muster: Muster,
    /// The stand-in for the instances.
    pub instances: Instances,
    pub moto: Moto,
    /// The world that muster is told to use.
    pub world: World,
    pub github: GitHub,
}

impl Scene {
    /// Sets the stage, and waits until muster is ready. None: the test is skipped (see [`Moto::start`]).
    pub async fn start(pools: &[Pool], habits: Habits) -> Option<Scene> {
        let mut scene = Scene::prepare(pools, habits).await?;
        scene.muster.spawn();
        scene.muster.ready().await;
        Some(scene)
    }

    /// Sets the stage. muster does not run yet.
    pub async fn prepare(pools: &[Pool], habits: Habits) -> Option<Scene> {
        let moto = Moto::start().await?;
        let names: Vec<&str> = pools.iter().map(Pool::name).collect();
        let world = moto.create_world(CLUSTER, &names).await;
        let github = GitHub::start().await;
        let instances = Instances::start(&moto, &github, &world, habits).await;
        let muster = Muster::prepare(&moto, &github, &world, pools);
        Some(Scene { muster, instances, moto, world, github })
    }

    /// Queues `count` jobs for the pool [`linux`].
    pub fn queue_jobs(&self, count: usize) -> Vec<u64> {
        (0..count).map(|_| self.github.queue_job(REPO, &["self-hosted", "linux"])).collect()
    }

    /// Waits until all jobs are completed at GitHub.
    pub async fn all_done(&self, deadline: Duration) {
        eventually(deadline, "all jobs are completed", || async {
            let open: Vec<u64> = self.github.jobs().iter().filter(|j| j.status != "completed").map(|j| j.id).collect();
            same(open, Vec::new())
        })
        .await;
    }

    /// Waits until nothing is left: no live instance, no registration of ours, no secret and no message, and muster knows
    /// of no job and no runner.
    pub async fn all_gone(&self, deadline: Duration) {
        eventually(deadline, "nothing is left", || async {
            let seen = self.moto.snapshot().await;
            let alive: Vec<String> = seen.instances.iter().filter(|i| i.alive()).map(|i| i.id.clone()).collect();
            let runners = self.registrations().into_iter().map(|r| r.name);
            let secrets: Vec<String> = seen.parameters.into_iter().filter(|p| p.contains("/runners/")).collect();
            let queue = seen.queues.get(&format!("{CLUSTER}-jobs")).copied().unwrap_or_default();
            same((alive, runners.collect(), secrets, queue), (vec![], Vec::<String>::new(), vec![], Depth::default()))?;
            same(self.left_in("jobs", "state", "completed").await, vec![])?;
            same(self.left_in("runners", "phase", "gone").await, vec![])
        })
        .await;
        assert_eq!(self.github.killed(), Vec::<u64>::new(), "a job was killed");
    }

    /// The items of muster's own view that are not in the last state of their kind.
    async fn left_in(&self, what: &str, field: &str, last: &str) -> Vec<String> {
        let items = self.muster.api(what).await;
        items.into_iter().filter(|item| item[field] != last).map(|item| item.to_string()).collect()
    }

    /// Our registrations at GitHub.
    pub fn registrations(&self) -> Vec<Runner> {
        let prefix = format!("{CLUSTER}.");
        self.github.runners().into_iter().filter(|r| r.name.starts_with(&prefix)).collect()
    }

    /// The phases of muster's runners that are not gone, in alphabetical order.
    pub async fn phases(&self) -> Vec<String> {
        let items = self.muster.api("runners").await;
        let mut phases: Vec<String> = items.iter().filter_map(|r| Some(r["phase"].as_str()?.to_owned())).collect();
        phases.retain(|phase| phase != "gone");
        phases.sort();
        phases
    }

    /// How many instances were ever launched.
    pub async fn launched(&self) -> usize {
        self.moto.instances().await.len()
    }

    /// How many jobs each instance ran, without those that ran none.
    pub fn jobs_per_instance(&self) -> Vec<usize> {
        self.instances.stories().values().map(|s| s.jobs.len()).filter(|n| *n > 0).collect()
    }

    /// Panics if muster shows a credential to anybody: in its log, on its page, in the API's answers, in a metric, in the tag of an
    /// instance or in the name of a parameter.
    pub async fn assert_no_secrets_shown(&self) {
        self.muster.assert_no_secrets_logged(&self.github);
        let mut shown = Vec::new();
        for path in ["/", "/metrics", "/api/v1/about", "/api/v1/snapshot", "/api/v1/events", "/api/v1/prices"] {
            shown.push((path, self.muster.page(path).await));
        }
        shown.push(("the instances' tags", format!("{:?}", self.moto.instances().await)));
        shown.push(("the parameters' names", self.moto.secrets().await.join(" ")));
        for secret in muster::secrets(&self.github) {
            for (place, text) in &shown {
                assert!(!text.contains(&secret), "{place} shows a secret that begins with {}", &secret[..secret.len().min(4)]);
            }
        }
    }
}

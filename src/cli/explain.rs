//! `muster explain job/ID | runner/ID | pool/NAME`: where it stands and why, asked of the running controller.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use muster_reconciler::time::human;
use muster_reconciler::view::{JobView, PoolView, RunnerView};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::http::client;

/// How long the controller may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// `muster explain`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What: `job/ID`, `runner/INSTANCE-ID` (or the runner's whole name), or `pool/NAME`.
    what: Thing,
    /// The running controller's admin listener.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9090", env = "MUSTER_CONTROLLER")]
    controller: String,
}

#[derive(Clone, Debug)]
enum Thing {
    Job(u64),
    Runner(String),
    Pool(String),
}

impl std::str::FromStr for Thing {
    type Err = String;
    fn from_str(text: &str) -> Result<Thing, String> {
        match text.split_once('/') {
            Some(("job", id)) => id
                .parse()
                .map(Thing::Job)
                .map_err(|_| format!("`{id}` is no job's id; GitHub's ids are numbers, such as job/29679449526")),
            Some(("runner", id)) if !id.is_empty() => Ok(Thing::Runner(id.to_owned())),
            Some(("pool", name)) if !name.is_empty() => Ok(Thing::Pool(name.to_owned())),
            _ => Err("write job/ID, runner/INSTANCE-ID or pool/NAME".to_owned()),
        }
    }
}

#[derive(Deserialize)]
struct Items<T> {
    items: Vec<T>,
}

#[derive(Deserialize)]
struct Ended {
    ended: Option<String>,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("failed to start the runtime")?;
        let said = runtime.block_on(self.explain())?;
        for line in &said {
            println!("{line}");
        }
        Ok(if said.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    /// What there is to say, by line; nothing, when nobody knows of it: then it is told on stderr.
    async fn explain(&self) -> anyhow::Result<Vec<String>> {
        match &self.what {
            Thing::Job(id) => {
                let jobs: Vec<JobView> = self.list("jobs").await?;
                let found = jobs.into_iter().find(|j| j.id == *id).map(job);
                Ok(found.unwrap_or_else(|| unknown("job", id, "it is over, or no event told of it")))
            }
            Thing::Pool(name) => {
                let pools: Vec<PoolView> = self.list("pools").await?;
                let found = pools.into_iter().find(|p| p.name == *name).map(pool);
                Ok(found.unwrap_or_else(|| {
                    unknown("pool", name, "`muster explain` knows the pools of the running controller's manifests")
                }))
            }
            Thing::Runner(id) => {
                let runners: Vec<RunnerView> = self.list("runners").await?;
                let instance = id.rsplit('.').next().unwrap_or(id);
                let found = runners.into_iter().find(|r| r.instance == instance);
                let over = found.as_ref().is_none_or(|r| matches!(r.phase.as_str(), "failed" | "terminating" | "gone"));
                let mut said = found.map(runner).unwrap_or_default();
                if over {
                    match self.ended(instance).await {
                        Ok(Some(reason)) => said.push(format!("the box itself said: ended: {reason}")),
                        Ok(None) => {
                            said.push("its console says nothing of its end (EC2 shows a console some minutes late)".into())
                        }
                        Err(error) => eprintln!("muster: its console cannot be read: {error:#}"),
                    }
                }
                Ok(if said.is_empty() {
                    unknown("runner", id, "a runner is forgotten a minute after its box is gone")
                } else {
                    said
                })
            }
        }
    }

    async fn list<T: DeserializeOwned>(&self, kind: &str) -> anyhow::Result<Vec<T>> {
        let answer = self.get(&format!("{kind}?limit=100000")).await;
        let body =
            answer.with_context(|| format!("failed to ask the controller at {}; name it with --controller", self.controller))?;
        Ok(serde_json::from_slice::<Items<T>>(&body).with_context(|| format!("its answer is not the {kind} API's"))?.items)
    }

    async fn ended(&self, instance: &str) -> anyhow::Result<Option<String>> {
        let body = self.get(&format!("runners/{instance}/ended")).await?;
        Ok(serde_json::from_slice::<Ended>(&body).context("its answer is not the API's")?.ended)
    }

    async fn get(&self, path: &str) -> anyhow::Result<bytes::Bytes> {
        client::get(&format!("{}/api/v1/{path}", self.controller.trim_end_matches('/')), PATIENCE).await
    }
}

fn unknown(kind: &str, id: impl std::fmt::Display, why: &str) -> Vec<String> {
    eprintln!("muster: the controller knows of no {kind} {id}: {why}");
    Vec::new()
}

fn job(j: JobView) -> Vec<String> {
    let age = human(Duration::from_secs(j.age_seconds));
    let mut said = vec![
        format!("job {} of {}: {}, heard of {age} ago", j.id, j.repo, j.state),
        format!("asks for [{}]; pool {}", j.labels.join(", "), j.pool.as_deref().unwrap_or("none")),
    ];
    said.extend(j.runner.map(|runner| format!("taken by {runner}")));
    said.push(j.reason);
    said
}

fn pool(p: PoolView) -> Vec<String> {
    let phases: Vec<String> = p.phases.iter().map(|(phase, n)| format!("{n} {phase}")).collect();
    vec![
        format!("pool {} for {}: [{}]", p.name, p.scope, p.labels.join(", ")),
        format!(
            "{} wanted ({} queued jobs, warm floor {}), {} supplied, {} at most",
            p.wanted, p.queued, p.idle_floor, p.supply, p.max
        ),
        if phases.is_empty() { "no boxes".to_owned() } else { phases.join(", ") },
        p.reason,
    ]
}

fn runner(r: RunnerView) -> Vec<String> {
    let age = human(Duration::from_secs(r.age_seconds));
    let made: Vec<String> = r.instance_type.into_iter().chain(r.market).collect();
    let mut said = vec![format!("runner {}: {}, {} known for {age}", r.name, r.phase, made.join(" "))];
    said.extend(r.job.map(|job| format!("seen with job {job}")));
    said.push(r.reason);
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_explained_is_read_or_refused_with_the_way_out() {
        assert!(matches!("job/17".parse(), Ok(Thing::Job(17))));
        assert!(matches!("runner/i-0a".parse(), Ok(Thing::Runner(id)) if id == "i-0a"));
        assert!(matches!("pool/linux".parse(), Ok(Thing::Pool(name)) if name == "linux"));
        for bad in ["", "job", "job/x", "runner/", "box/i-0a"] {
            let said = bad.parse::<Thing>().expect_err(bad);
            assert!(said.contains("job/"), "{bad}: {said}");
        }
    }
}

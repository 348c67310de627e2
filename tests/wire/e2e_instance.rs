//! The whole system with the real boot script: a signed webhook, SQS, the compiled binary, moto, and on each instance the
//! boot script itself, until nothing is left. Only the runner is a stand-in. What it would hear from GitHub is passed on by
//! files.

use crate::support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use support::instances::Habits;
use support::linux::{LinuxInstance, Site, has};
use support::scene::{CLUSTER, Scene, linux};
use support::{PATIENCE, ms, secs};

/// How many jobs the run has.
const JOBS: usize = 20;
/// How long each job takes.
const JOB: Duration = ms(500);

/// One instance, and how far its runner has come.
struct Life {
    machine: LinuxInstance,
    runner: Option<u64>,
    job: Option<(u64, Option<Instant>)>,
    over: bool,
}

/// The id of the runner, which GitHub's runner would read in its JIT configuration.
fn runner_id(machine: &LinuxInstance) -> Option<u64> {
    let environment = machine.read("control/environment");
    let jit = environment.lines().find_map(|line| line.strip_prefix("ACTIONS_RUNNER_INPUT_JITCONFIG="))?;
    let config: Value = serde_json::from_slice(&BASE64_STANDARD.decode(jit).ok()?).ok()?;
    config["runner_id"].as_u64()
}

impl Life {
    /// Passes on what happened between the runner and GitHub, and between the instance and EC2.
    async fn go_on(&mut self, scene: &Scene) {
        let github = &scene.github;
        if self.runner.is_none() && self.machine.heard("listening") {
            self.runner = runner_id(&self.machine);
            github.runner_online(self.runner.expect("the runner has its configuration"));
        }
        if let (Some(runner), None) = (self.runner, self.job)
            && let Ok(Some(job)) = github.job_of(runner)
        {
            self.machine.tell("job", "");
            self.job = Some((job, None));
        }
        match &mut self.job {
            Some((_, since @ None)) if self.machine.heard("working") => *since = Some(Instant::now()),
            Some((job, Some(since))) if since.elapsed() >= JOB && !self.machine.heard("finish") => {
                // GitHub has the result before the worker ends.
                github.finish_job(*job, "success");
                self.machine.tell("finish", "");
            }
            _ => {}
        }
        if !self.over && !self.machine.read("ended").is_empty() {
            self.over = true;
            if let Some(runner) = self.runner {
                github.runner_gone(runner);
            }
            // The instance's shutdown behaviour is to terminate, which is no API call of the instance.
            scene.moto.ec2.terminate_instances().instance_ids(&self.machine.id).send().await.expect("EC2 ends it");
        }
    }
}

#[tokio::test]
async fn twenty_jobs_from_their_webhooks_through_the_real_script_to_zero() {
    if !(has("dash") && has("bash")) {
        return;
    }
    let pool = linux().set("capacity.max", JOBS).set("runner.bootDeadline", "4m");
    let Some(scene) = Scene::start(&[pool], Habits { paused: true, ..Habits::default() }).await else { return };
    let site = Arc::new(Site::of(scene.moto.clone(), scene.world.clone()).await);
    let mut lives: BTreeMap<String, Life> = BTreeMap::new();
    let began = Instant::now();
    scene.queue_jobs(JOBS);
    loop {
        assert!(began.elapsed() < secs(240) * PATIENCE, "not done: {:?}", scene.github.jobs());
        for instance in scene.moto.instances().await {
            if instance.alive() && instance.tag("muster:cluster") == CLUSTER && !lives.contains_key(&instance.id) {
                let shell = if lives.len().is_multiple_of(2) { "dash" } else { "bash" };
                let tags = ["muster:cluster", "muster:pool", "muster:list"].map(|name| (name, instance.tag(name)));
                let mut machine = LinuxInstance::of(&site, instance.id.clone(), shell, &tags).await;
                machine.set("MUSTER_BOOT_DEADLINE", 200);
                machine.set("MUSTER_REPORT_STAGES", "yes");
                machine.boot();
                lives.insert(instance.id.clone(), Life { machine, runner: None, job: None, over: false });
            }
            if let Some(life) = lives.get(&instance.id)
                && !instance.tag("muster:drain").is_empty()
            {
                life.machine.imds.tag("muster:drain", instance.tag("muster:drain"));
            }
        }
        for life in lives.values_mut() {
            life.go_on(&scene).await;
        }
        if scene.github.jobs().iter().all(|job| job.status == "completed") && lives.values().all(|life| life.over) {
            break;
        }
        tokio::time::sleep(ms(50)).await;
    }
    let took = began.elapsed();
    for life in lives.values_mut() {
        let reason = life.machine.ends(secs(10)).await;
        assert_eq!(reason, "the runner is done", "{}", life.machine.story());
    }
    let jobs: BTreeSet<u64> = lives.values().filter_map(|life| Some(life.job?.0)).collect();
    assert_eq!((jobs.len(), lives.len()), (JOBS, JOBS), "each job had an instance of its own");
    scene.all_gone(secs(60)).await;
    let metrics = scene.muster.metrics().await;
    let told = r#"muster_runner_stage_seconds_count{pool="linux",stage="listener"}"#;
    let stages: Vec<&str> = metrics.lines().filter(|line| line.starts_with("muster_runner_stage_seconds_")).collect();
    let counted = metrics.lines().find_map(|line| line.strip_prefix(told)).map(str::trim);
    println!("{JOBS} jobs ran on {JOBS} instances in {took:.1?}; the controller saw the stages {counted:?}");
    for stage in ["script", "secret", "unpacked", "listener", "online"] {
        let of = |kind: &str| {
            let head = format!("muster_runner_stage_seconds_{kind}{{pool=\"linux\",stage=\"{stage}\"}} ");
            stages.iter().find_map(|line| line.strip_prefix(head.as_str())).and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0)
        };
        println!("{stage}: mean {:.1} s of {}", of("sum") / of("count").max(1.0), of("count"));
    }
}

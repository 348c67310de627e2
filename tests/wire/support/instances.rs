//! A stand-in for the instances. Seen from outside, it does what the boot script does on a real instance. It waits for its
//! secret, reads and deletes it, and comes online at the double. It runs a job, obeys the drain tag when it is idle, and
//! ends its instance itself. (A real instance shuts down, and shutdown means terminate.)

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use muster_cloud::aws_sdk_ssm::config::Credentials;
use muster_cloud::{aws_sdk_ec2, aws_sdk_ssm};
use serde_json::Value;

use super::github::Double;
use super::moto::{Instance, Moto, SECRET_ACCESS_KEY, Snapshot, TEST_KEY, World, instance_key, sdk};
use super::ms;

/// How one instance behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// The instance does what it should.
    Normal,
    /// The instance never boots, so it never reads its secret.
    NeverBoots,
    /// The instance boots only after this long.
    BootsLate(Duration),
    /// The instance reads its secret, comes online, and never ends a job.
    Hangs,
}

/// The settings of all instances. A change takes effect at once.
#[derive(Clone)]
pub struct Habits {
    /// The time from the launch until the instance looks for its secret.
    pub boot: Duration,
    /// How long a job takes.
    pub job: Duration,
    /// How the n-th instance behaves, from 0, in the order of launching.
    pub behaviour: Arc<dyn Fn(usize) -> Behaviour + Send + Sync>,
    /// While this is true, instances do nothing at all.
    pub paused: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Habits { boot: ms(100), job: ms(300), behaviour: Arc::new(|_| Behaviour::Normal), paused: false }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Booting { since: Instant },
    Online { runner: u64 },
    Working { runner: u64, job: u64, until: Instant },
    Ended,
}

/// What became of an instance, for assertions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Story {
    /// The id of the runner that the instance became. None: it has not read its secret.
    pub runner: Option<u64>,
    /// The jobs that the instance ran.
    pub jobs: Vec<u64>,
    /// Whether the instance ended itself, and no TerminateInstances ended it.
    pub ended_itself: bool,
    /// Whether the instance ended because it was drained.
    pub drained: bool,
}

struct Known {
    phase: Phase,
    behaviour: Behaviour,
    story: Story,
}

/// All instances of one cluster. Dropping it ends the stand-in.
pub struct Instances {
    habits: Arc<Mutex<Habits>>,
    stories: Arc<Mutex<BTreeMap<String, Story>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Instances {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Instances {
    /// Watches `moto` for instances of the world's cluster.
    pub async fn start(moto: &Moto, github: &Double, world: &World, habits: Habits) -> Instances {
        // The shutdown is no API call of the instance. It makes its real calls with its own credentials.
        let config = sdk(moto.url(), TEST_KEY).await;
        let habits = Arc::new(Mutex::new(habits));
        let stories = Arc::new(Mutex::new(BTreeMap::new()));
        let site = Site {
            http: reqwest::Client::new(),
            state_url: format!("{}/_state", moto.url()),
            ec2: aws_sdk_ec2::Client::new(&config),
            ssm: aws_sdk_ssm::Client::new(&config),
            github: github.clone(),
            cluster: world.cluster.clone(),
            habits: habits.clone(),
            stories: stories.clone(),
        };
        Instances { habits, stories, task: tokio::spawn(site.run()) }
    }

    /// Changes the settings.
    pub fn habits(&self, change: impl FnOnce(&mut Habits)) {
        change(&mut self.habits.lock().expect("no panic under this lock"));
    }

    /// What became of each instance, by id.
    pub fn stories(&self) -> BTreeMap<String, Story> {
        self.stories.lock().expect("no panic under this lock").clone()
    }
}

struct Site {
    http: reqwest::Client,
    state_url: String,
    ec2: aws_sdk_ec2::Client,
    ssm: aws_sdk_ssm::Client,
    github: Double,
    cluster: String,
    habits: Arc<Mutex<Habits>>,
    stories: Arc<Mutex<BTreeMap<String, Story>>>,
}

impl Site {
    async fn run(self) {
        let mut instances: BTreeMap<String, Known> = BTreeMap::new();
        loop {
            tokio::time::sleep(ms(60)).await;
            let habits = self.habits.lock().expect("no panic under this lock").clone();
            if habits.paused {
                continue;
            }
            let Some(seen) = self.look().await else { continue };
            for instance in seen.instances.iter().filter(|i| i.tag("muster:cluster") == self.cluster) {
                let number = instances.len();
                let known = instances.entry(instance.id.clone()).or_insert_with(|| Known {
                    phase: Phase::Booting { since: Instant::now() },
                    behaviour: (habits.behaviour)(number),
                    story: Story::default(),
                });
                self.step(known, instance, &seen, &habits).await;
                self.tell(known, instance);
            }
        }
    }

    fn tell(&self, known: &Known, instance: &Instance) {
        self.stories.lock().expect("no panic under this lock").insert(instance.id.clone(), known.story.clone());
    }

    async fn look(&self) -> Option<Snapshot> {
        let request = self.http.post(&self.state_url).json(&serde_json::json!({ "region": super::moto::REGION }));
        request.send().await.ok()?.json().await.ok()
    }

    async fn step(&self, known: &mut Known, instance: &Instance, seen: &Snapshot, habits: &Habits) {
        let draining = !instance.tag("muster:drain").is_empty();
        if known.phase == Phase::Ended {
            return;
        }
        if !instance.alive() {
            if let Some(runner) = known.story.runner {
                self.github.runner_gone(runner);
            }
            known.phase = Phase::Ended;
            return;
        }
        match known.phase {
            Phase::Booting { since } => {
                let boot = match known.behaviour {
                    Behaviour::NeverBoots => return,
                    Behaviour::BootsLate(span) => span,
                    _ => habits.boot,
                };
                let name = format!("/muster/{}/runners/{}", self.cluster, instance.id);
                if since.elapsed() < boot || !seen.parameters.contains(&name) {
                    return;
                }
                let Some(runner) = self.fetch_secret(&name, &instance.id).await else { return };
                known.story.runner = Some(runner);
                if self.github.runner_online(runner) {
                    known.phase = Phase::Online { runner };
                } else {
                    self.end(known, instance).await; // run.sh exits when its registration is gone, and the instance ends
                }
            }
            Phase::Online { runner } => match self.github.job_of(runner) {
                Ok(Some(job)) => {
                    known.story.jobs.push(job);
                    known.phase = Phase::Working { runner, job, until: Instant::now() + habits.job };
                }
                Ok(None) if draining => {
                    known.story.drained = true;
                    self.github.runner_gone(runner);
                    self.end(known, instance).await;
                }
                Ok(None) => {}
                Err(()) => self.end(known, instance).await,
            },
            Phase::Working { runner, job, until } => {
                let over = self.github.job(job).status == "completed";
                if !over && (until > Instant::now() || known.behaviour == Behaviour::Hangs) {
                    return;
                }
                self.github.finish_job(job, "success");
                match self.github.job_of(runner) {
                    Ok(Some(next)) => {
                        known.story.jobs.push(next);
                        known.phase = Phase::Working { runner, job: next, until: Instant::now() + habits.job };
                    }
                    Ok(None) => known.phase = Phase::Online { runner },
                    Err(()) => self.end(known, instance).await,
                }
            }
            Phase::Ended => {}
        }
    }

    /// Reads and deletes the secret, and returns the id of the runner. The double itself makes the JIT configurations, and
    /// puts the id in them.
    async fn fetch_secret(&self, name: &str, instance: &str) -> Option<u64> {
        let own = Credentials::new(instance_key(instance), SECRET_ACCESS_KEY, None, None, "instance profile");
        let ssm = aws_sdk_ssm::Client::from_conf(self.ssm.config().to_builder().credentials_provider(own).build());
        let read = ssm.get_parameter().name(name).with_decryption(true).send().await.ok()?;
        let value = read.parameter()?.value()?.to_owned();
        assert_eq!(
            read.parameter()?.r#type(),
            Some(&aws_sdk_ssm::types::ParameterType::SecureString),
            "{name} must be a SecureString"
        );
        ssm.delete_parameter().name(name).send().await.ok()?;
        match serde_json::from_str::<Value>(&value) {
            Ok(settings) => self.github.register_with_token(&settings), // reusable: config.sh
            Err(_) => {
                let config: Value = serde_json::from_slice(&BASE64_STANDARD.decode(value).ok()?).ok()?;
                config["runner_id"].as_u64()
            }
        }
    }

    async fn end(&self, known: &mut Known, instance: &Instance) {
        known.story.ended_itself = true;
        known.phase = Phase::Ended;
        // The story is told first, because a test that sees the end asks for it at once.
        self.tell(known, instance);
        self.ec2.terminate_instances().instance_ids(&instance.id).send().await.ok();
    }
}

//! The controller over time, told by hand: inputs in, effects out, each answered as the test says.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::controller::Controller;
use muster_reconciler::effect::{
    Action, Configure, DeliverySighting, Effect, Fact, Failure, FailureKind, GitHubLimit, Input, InstanceSighting, JobMessage,
    Launched, LaunchedInstance, Market, Outcome, RunnerSighting, Source, Stage, Swept,
};
use muster_reconciler::event::{InstanceState, JobEvent, JobState};
use muster_reconciler::ids::{DeliveryId, Forge, InstanceId, JobId, MessageId, PoolName, RunId, RunnerId, RunnerName};
use muster_reconciler::manifest::{RunnerPool, Spec};
use muster_reconciler::sim::example;
use muster_reconciler::time::Time;

const BEGIN: Time = Time::from_millis(1_000_000_000);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A box of the test's world: EC2 shows it in `state`, GitHub's list as `seat` says.
#[derive(Clone, Debug)]
struct Box {
    pool: PoolName,
    state: InstanceState,
    labels: Arc<[String]>,
    forge: Option<Forge>,
    /// The `muster:list` tag.
    list: Option<Forge>,
    /// The `muster:stages` tag.
    stages: Vec<(Stage, Time)>,
    /// (online, busy).
    seat: Option<(bool, bool)>,
}

/// An obliging world: everything works at once, unless a test says otherwise.
struct Scene {
    core: Controller,
    now: Time,
    spec: Spec,
    boxes: BTreeMap<InstanceId, Box>,
    /// Every effect, with its time, sweeps aside.
    done: Vec<(Time, Effect)>,
    swept: Vec<(Time, Source)>,
    facts: Vec<Fact>,
    /// What GitHub says to a configuration.
    configure: fn(&Configure) -> Option<Failure>,
    /// Boxes come online as soon as they are configured.
    come_online: bool,
    jobs: u64,
    /// Drains stay without an answer.
    hold_drains: bool,
    undelivered: Vec<DeliverySighting>,
}

impl Scene {
    fn new(pools: impl IntoIterator<Item = RunnerPool>) -> Scene {
        let spec = Spec::clone(&example::cluster("c", pools));
        let mut scene = Scene {
            core: Controller::new("p", BEGIN),
            now: BEGIN,
            spec,
            boxes: BTreeMap::new(),
            done: Vec::new(),
            swept: Vec::new(),
            facts: Vec::new(),
            configure: |_| None,
            come_online: true,
            jobs: 0,
            hold_drains: false,
            undelivered: Vec::new(),
        };
        scene.take_spec();
        scene
    }

    fn take_spec(&mut self) {
        self.feed(Input::Spec(Arc::new(self.spec.clone())));
    }

    fn pool(&mut self, name: &str) -> &mut RunnerPool {
        self.spec.pools.get_mut(&PoolName::from(name)).unwrap()
    }

    /// Queues jobs with these labels.
    fn queue(&mut self, n: u64, labels: &[&str]) {
        let message = |job| JobMessage {
            id: MessageId(job),
            receive_count: 1,
            event: JobEvent {
                job: JobId(job),
                run: RunId(job),
                state: JobState::Queued,
                repo: "acme/web".into(),
                org: Some("acme".into()),
                enterprise: None,
                labels: labels.iter().map(|l| (*l).to_owned()).collect(),
                runner: None,
                conclusion: None,
            },
        };
        let messages = (self.jobs..self.jobs + n).map(message).collect();
        self.jobs += n;
        self.feed(Input::Messages(messages));
    }

    fn feed(&mut self, input: Input) {
        let mut todo = self.core.step(self.now, input);
        while !todo.is_empty() {
            for effect in std::mem::take(&mut todo) {
                let held = self.hold_drains && matches!(effect.action, Action::Drain(_));
                let outcome = self.carry_out(&effect.action);
                match &effect.action {
                    Action::Sweep(source) => self.swept.push((self.now, source.clone())),
                    _ => self.done.push((self.now, effect.clone())),
                }
                if !held {
                    todo.extend(self.core.step(self.now, Input::Outcome(effect.id, outcome)));
                }
            }
        }
        self.facts.extend(self.core.take_facts());
    }

    fn carry_out(&mut self, action: &Action) -> Outcome {
        let batch = |ids: &[InstanceId]| Outcome::Batch { done: ids.to_vec(), failed: Vec::new() };
        match action {
            Action::Launch(l) => {
                let ids: Vec<InstanceId> =
                    (0..l.count).map(|n| format!("i-{:08x}{:09x}", self.boxes.len() + n as usize, 0).into()).collect();
                for id in &ids {
                    let new = Box {
                        pool: l.pool.clone(),
                        state: InstanceState::Running,
                        labels: Arc::default(),
                        forge: None,
                        list: Some(l.forge.clone()),
                        stages: Vec::new(),
                        seat: None,
                    };
                    self.boxes.insert(id.clone(), new);
                }
                let instance =
                    |id| LaunchedInstance { id, instance_type: "m7i.large".into(), subnet: None, market: Market::Spot };
                Outcome::Launched(Launched { instances: ids.into_iter().map(instance).collect(), errors: Vec::new() })
            }
            Action::Configure(c) => {
                if let Some(failure) = (self.configure)(c) {
                    return Outcome::Failed(failure);
                }
                let online = self.come_online;
                let b = self.boxes.get_mut(&c.name.instance).unwrap();
                (b.labels, b.forge) = (c.labels.clone().into(), Some(c.forge.clone()));
                b.seat = Some((online, false));
                Outcome::Configured { runner: Some(self.id(&c.name.instance)) }
            }
            Action::Terminate(ids) => {
                for id in ids {
                    self.boxes.get_mut(id).unwrap().state = InstanceState::Terminated;
                }
                batch(ids)
            }
            Action::Drain(ids) | Action::DeleteSecrets(ids) => batch(ids),
            Action::Deregister { name, .. } => {
                self.boxes.get_mut(&name.instance).unwrap().seat = None;
                Outcome::Done
            }
            Action::CheckJob { .. } => Outcome::Failed(Failure::new(FailureKind::NotFound, "404")),
            Action::Messages(..) | Action::Redeliver { .. } => Outcome::Done,
            Action::Sweep(Source::Deliveries(_)) => Outcome::Swept(Swept::Deliveries(self.undelivered.clone())),
            Action::Sweep(Source::Instances) => Outcome::Swept(Swept::Instances(self.boxes.iter().map(sighting).collect())),
            Action::Sweep(Source::Secrets) => Outcome::Swept(Swept::Secrets(Vec::new())),
            Action::Sweep(Source::Runners(forge)) => {
                if !self.spec.apps.contains_key(&forge.app) {
                    return Outcome::Failed(Failure::new(FailureKind::Refused, "no such App"));
                }
                let row = |(id, b): (&InstanceId, &Box)| {
                    let (online, busy) = b.seat.filter(|_| b.forge.as_ref() == Some(forge))?;
                    let name = RunnerName { cluster: "c".into(), pool: b.pool.clone(), instance: id.clone() };
                    Some(RunnerSighting { id: self.id(id), name, online, busy, labels: b.labels.clone() })
                };
                Outcome::Swept(Swept::Runners(Some(self.boxes.iter().filter_map(row).collect())))
            }
        }
    }

    fn id(&self, instance: &InstanceId) -> RunnerId {
        RunnerId(1 + self.boxes.keys().position(|id| id == instance).unwrap() as u64)
    }

    /// Lets time pass.
    fn pass(&mut self, long: Duration) {
        let until = self.now + long;
        while self.now < until {
            self.now = self.core.next_wake().max(self.now + Duration::from_millis(10)).min(until);
            self.feed(Input::Tick);
        }
    }

    /// Everything that was done, except with messages and job checks, since `from`.
    fn acts(&self, from: Time) -> Vec<&Action> {
        let told = |a: &&Action| !matches!(a, Action::Messages(..) | Action::CheckJob { .. });
        self.done.iter().filter(|(at, _)| *at >= from).map(|(_, e)| &e.action).filter(told).collect()
    }

    fn live(&self, pool: &str) -> Vec<InstanceId> {
        let live = |b: &Box| b.pool.as_str() == pool && b.state == InstanceState::Running;
        self.boxes.iter().filter(|(_, b)| live(b)).map(|(id, _)| id.clone()).collect()
    }
}

fn sighting((id, b): (&InstanceId, &Box)) -> InstanceSighting {
    InstanceSighting {
        id: id.clone(),
        pool: b.pool.clone(),
        forge: b.list.clone(),
        intent: None,
        state: b.state,
        launched_at: BEGIN,
        instance_type: "m7i.large".into(),
        subnet: None,
        market: Market::Spot,
        draining: false,
        stages: b.stages.clone(),
        state_reason: None,
    }
}

fn linux() -> RunnerPool {
    example::pool("linux", &["self-hosted", "linux"], 20)
}

/// What the boxes were registered with no longer serves the pool: they are no supply, and are asked to end.
#[test]
fn a_pools_new_label_is_served_by_new_boxes_at_once() {
    let mut scene = Scene::new([linux()]);
    scene.queue(2, &["self-hosted", "linux"]);
    scene.pass(secs(60));
    let old = scene.live("linux");
    assert_eq!(old.len(), 2);
    let changed = scene.now;
    scene.pool("linux").spec.labels.push("gpu".into());
    scene.take_spec();
    scene.pass(secs(5));
    let acts = scene.acts(changed);
    assert!(acts.iter().any(|a| matches!(a, Action::Drain(ids) if *ids == old)), "{acts:?}");
    assert!(acts.iter().any(|a| matches!(a, Action::Launch(l) if l.count == 2)), "the jobs still wait: {acts:?}");
    let reasons: Vec<_> = scene.core.runners(scene.now).into_iter().map(|r| r.reason).collect();
    assert!(reasons.iter().any(|r| r.contains("labels, runner group or scope changed")), "{reasons:?}");
}

/// A label less, and boxes that still have it: GitHub gives them all of the pool's jobs.
#[test]
fn a_label_that_a_pool_gave_up_makes_no_box_outdated() {
    let mut scene = Scene::new([linux()]);
    scene.queue(2, &["linux"]);
    scene.pass(secs(60));
    let changed = scene.now;
    scene.pool("linux").spec.labels.remove(0);
    scene.take_spec();
    scene.pass(secs(30));
    assert_eq!(scene.acts(changed), Vec::<&Action>::new());
}

#[test]
fn a_pools_new_runner_group_is_served_by_new_boxes() {
    let mut scene = Scene::new([linux()]);
    scene.queue(1, &["linux"]);
    scene.pass(secs(60));
    scene.pool("linux").spec.github.runner_group = "other".into();
    scene.take_spec();
    scene.pass(secs(5));
    let groups: Vec<&str> = scene
        .done
        .iter()
        .filter_map(|(_, e)| if let Action::Configure(c) = &e.action { Some(c.group.as_str()) } else { None })
        .collect();
    assert_eq!(groups, ["Default", "other"]);
}

/// A successor knows what the boxes were registered with from GitHub's list.
#[test]
fn labels_that_changed_while_nobody_ran_are_noticed() {
    let mut scene = Scene::new([linux()]);
    scene.queue(1, &["linux"]);
    scene.pass(secs(60));
    let old = scene.live("linux");
    scene.pool("linux").spec.labels.push("gpu".into());
    scene.core = Controller::new("p2", scene.now);
    scene.take_spec();
    let began = scene.now;
    scene.pass(secs(30));
    assert!(scene.acts(began).iter().any(|a| matches!(a, Action::Drain(ids) if *ids == old)), "{:?}", scene.acts(began));
}

fn refuses_gpu(c: &Configure) -> Option<Failure> {
    (c.name.pool.as_str() == "gpu").then(|| Failure::new(FailureKind::Refused, "the runner group `gpu` does not exist"))
}

/// One pool's group is misspelt. It launches what it may once, then tries with one box; the other pool is not held up.
#[test]
fn a_pool_that_cannot_be_configured_starves_no_other() {
    let gpu = example::pool("gpu", &["self-hosted", "gpu"], 200);
    let mut scene = Scene::new([gpu, example::pool("linux", &["self-hosted", "linux"], 200)]);
    (scene.configure, scene.come_online) = (refuses_gpu, false);
    scene.queue(150, &["gpu"]);
    scene.pass(secs(2));
    let began = scene.now;
    scene.queue(60, &["linux"]);
    scene.pass(secs(40));
    assert_eq!(scene.live("linux").len(), 60, "linux is not paced by boxes that nobody can configure");
    let tries =
        |from: Time| scene.acts(from).iter().filter(|a| matches!(a, Action::Configure(c) if refuses_gpu(c).is_some())).count();
    assert!((1..=4).contains(&tries(began)), "{} tries in 40 s", tries(began));
    let gpu = scene.core.pools(scene.now).into_iter().find(|p| p.name == "gpu").unwrap();
    assert!(gpu.reason.contains("the runner group `gpu` does not exist"), "{}", gpu.reason);

    // Somebody makes the group: within two minutes the boxes are configured, without a change of manifests.
    scene.configure = |_| None;
    let mended = scene.now;
    scene.pass(secs(125));
    let configured =
        scene.acts(mended).iter().filter(|a| matches!(a, Action::Configure(c) if c.name.pool.as_str() == "gpu")).count();
    assert!(configured > 1, "{configured}");
}

/// What GitHub has left is kept for boxes: a failed box's registration goes at once, job checks wait.
#[test]
fn a_failed_box_is_deregistered_though_github_has_little_left() {
    let mut scene = Scene::new([linux()]);
    scene.come_online = false;
    scene.queue(1, &["linux"]);
    scene.pass(secs(10));
    scene.feed(Input::GitHubLimit(GitHubLimit { app: "main".into(), remaining: 500, reset_after: secs(3000) }));
    scene.pass(secs(400));
    let acts = scene.acts(BEGIN);
    assert!(acts.iter().any(|a| matches!(a, Action::Deregister { .. })), "{acts:?}");
    assert!(!scene.done.iter().any(|(_, e)| matches!(e.action, Action::CheckJob { .. })));
}

/// Nobody can look into the list any more: the record goes with the instance, and the list is not asked for ever.
#[test]
fn a_box_whose_app_was_removed_is_forgotten_once_it_is_gone() {
    let mut scene = Scene::new([linux()]);
    scene.queue(1, &["linux"]);
    scene.pass(secs(60));
    scene.spec.pools.clear();
    scene.spec.apps.clear();
    scene.take_spec();
    scene.pass(secs(30));
    for b in scene.boxes.values_mut() {
        b.state = InstanceState::Terminated;
    }
    scene.pass(secs(120));
    assert_eq!(scene.core.runners(scene.now), []);
    let quiet = scene.now;
    scene.pass(secs(600));
    assert!(!scene.swept.iter().any(|(at, s)| *at >= quiet && matches!(s, Source::Runners(_))));
    let gone = scene.facts.iter().filter(|f| matches!(f, Fact::RunnerGone { .. })).count();
    assert_eq!(gone, 1, "told once");
}

/// GitHub never delivers a webhook twice by itself: what it could not deliver is asked for, once.
#[test]
fn a_queued_event_that_github_could_not_deliver_is_asked_for() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(61));
    let failed = DeliverySighting { id: DeliveryId(7), guid: "x".into(), action: Some("queued".into()), status: 503 };
    scene.undelivered = vec![failed];
    scene.pass(secs(600));
    let asked = scene.done.iter().filter(|(_, e)| matches!(e.action, Action::Redeliver { delivery: DeliveryId(7), .. })).count();
    assert_eq!(asked, 1);
}

/// Two boxes too many, of which one is being ended: that is one, not two.
#[test]
fn a_box_on_its_way_out_is_no_reason_to_let_another_go() {
    let mut pool = linux();
    pool.spec.capacity.idle = 2;
    let mut scene = Scene::new([pool]);
    scene.pass(secs(60));
    assert_eq!(scene.live("linux").len(), 2);
    scene.pool("linux").spec.capacity.idle = 1;
    scene.hold_drains = true;
    let began = scene.now;
    scene.take_spec();
    scene.pass(secs(720));
    let drained: Vec<&Action> = scene.acts(began).into_iter().filter(|a| matches!(a, Action::Drain(_))).collect();
    assert!(matches!(drained[..], [Action::Drain(ids)] if ids.len() == 1), "{drained:?}");
}

/// Nothing tells a successor that there was no predecessor, or that EC2 shows all that it launched (seed 55145).
#[test]
fn nothing_is_launched_before_a_predecessors_boxes_must_be_visible() {
    let mut scene = Scene::new([linux()]);
    scene.queue(1, &["self-hosted", "linux"]);
    let began = scene.now;
    scene.pass(secs(120));
    let launched = scene.done.iter().filter(|(_, e)| matches!(e.action, Action::Launch(_))).map(|(at, _)| at.since(began));
    let swept = scene.swept.iter().filter(|(_, s)| *s == Source::Instances).map(|(at, _)| at.since(began));
    let first = swept.filter(|since| *since >= secs(30)).min().unwrap();
    assert_eq!(first, secs(30), "the sweep that lets launches begin is not late");
    let launched: Vec<_> = launched.collect();
    assert!(matches!(launched[..], [at] if at >= first && at < secs(32)), "{launched:?}");
}

/// When the box reached which stage of its start is counted once, from the launch on; its words may be anybody's.
#[test]
fn the_stages_that_a_box_tells_are_counted_once() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(35));
    scene.queue(1, &["self-hosted", "linux"]);
    scene.pass(secs(5));
    let asked = scene.done.iter().find(|(_, e)| matches!(e.action, Action::Launch(_))).unwrap().0;
    let ms = |n| (asked + Duration::from_millis(n)).as_millis();
    let tag = format!("script={},secret={}, nonsense=1,unpacked=soon,listener={}", ms(9_000), ms(9_500), ms(12_000));
    scene.boxes.values_mut().for_each(|b| b.stages = Stage::parse_tag(&tag));
    scene.facts.clear();
    scene.pass(secs(120));
    let told = |f: &Fact| match f {
        Fact::RunnerReached { stage, after, .. } if *stage != Stage::Online => Some((*stage, *after)),
        _ => None,
    };
    let told: Vec<_> = scene.facts.iter().filter_map(told).collect();
    let expected = [(Stage::Script, 9_000), (Stage::Secret, 9_500), (Stage::Listener, 12_000)];
    assert_eq!(told, expected.map(|(stage, ms)| (stage, Duration::from_millis(ms))));
}

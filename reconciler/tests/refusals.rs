//! What EC2 and GitHub refuse: which pools are affected, and what a person is told.
#![allow(clippy::unwrap_used, missing_docs)]

mod scene;

use muster_reconciler::effect::{Action, Configure, Input, Launch, Launched, Outcome};
use muster_reconciler::event::{Ec2Event, Ec2EventKind, InstanceState, JobState};
use muster_reconciler::fact::Fact;
use muster_reconciler::failure::{Failure, FailureKind, OfferingError};
use muster_reconciler::journal::What;
use muster_reconciler::manifest::{MarketPolicy, RunnerPool};
use muster_reconciler::market::Market;
use muster_reconciler::reason::{Backoff, Blocked, BootFailure, Code, EventReason, JobReason};
use muster_reconciler::refusal;
use muster_reconciler::time::Time;
use scene::{BEGIN, Scene, linux, message, pool, secs};

fn pool_of(name: &str, types: &[&str], market: MarketPolicy) -> RunnerPool {
    let mut pool = pool(name, &["self-hosted", name], 20);
    pool.spec.instance.types = types.iter().map(|t| (*t).to_owned()).collect();
    pool.spec.instance.market = market;
    pool
}

/// EC2 refuses every offering of the launch with this code.
fn every(launch: &Launch, code: &str, message: &str) -> Outcome {
    let one = |o: &muster_reconciler::market::Offering| OfferingError {
        instance_type: Some(o.instance_type.clone()),
        subnet: Some(o.subnet.clone()),
        code: code.into(),
        message: message.into(),
    };
    Outcome::Launched(Launched { instances: Vec::new(), errors: launch.offerings.iter().map(one).collect() })
}

fn launches(scene: &Scene, from: Time) -> Vec<(String, Market, u64)> {
    let told = |(at, e): &(Time, muster_reconciler::effect::Effect)| match &e.action {
        Action::Launch(l) if *at >= from => Some((l.pool.to_string(), l.market, at.since(from).as_secs())),
        _ => None,
    };
    scene.done.iter().filter_map(told).collect()
}

fn reason(scene: &Scene, pool: &str) -> Code {
    scene.core.seen().pools(scene.now).into_iter().find(|p| p.name == pool).unwrap().code
}

fn job_reason(scene: &Scene, job: u64) -> Code {
    scene.core.seen().jobs(scene.now).into_iter().find(|j| j.id == job).unwrap().code
}

/// The words of EC2 or GitHub that a pool is blocked by.
fn refused(why: &Code) -> Option<&str> {
    match why {
        Code::Blocked(Blocked::Refused { why, .. } | Blocked::Backoff { why: Backoff::LaunchFailed(why), .. }) => {
            Some(&why.message)
        }
        _ => None,
    }
}

/// The page is made from the list. To renew the page, write what this test prints.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test reads the page that it holds to the list")]
fn the_page_of_ec2s_codes_is_the_list() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ec2-errors.md");
    let written = std::fs::read_to_string(page).unwrap();
    let table = refusal::table();
    assert!(written.ends_with(&format!("\n{table}")), "docs/ec2-errors.md is to end with:\n{table}");
}

/// New accounts have no vCPUs for GPUs. That must not affect a pool of other families (aws/karpenter-provider-aws#1556,
/// #5789).
#[test]
fn a_quota_that_one_pool_has_used_up_moves_no_other_to_on_demand() {
    let pools = ["gpu", "linux"].map(|name| {
        let types: &[&str] = if name == "gpu" { &["g5.xlarge"] } else { &["m7i.large", "c7i.large"] };
        pool_of(name, types, MarketPolicy::SpotThenOnDemand)
    });
    for whole in [false, true] {
        let mut scene = Scene::new(pools.clone());
        scene.launch = if whole {
            |l: &Launch| {
                let e = OfferingError {
                    instance_type: None,
                    subnet: None,
                    code: "MaxSpotInstanceCountExceeded".into(),
                    message: "no".into(),
                };
                (l.pool.as_str() == "gpu").then(|| Outcome::Launched(Launched { instances: Vec::new(), errors: vec![e] }))
            }
        } else {
            |l: &Launch| {
                (l.pool.as_str() == "gpu").then(|| every(l, "MaxSpotInstanceCountExceeded", "Max spot instance count exceeded"))
            }
        };
        scene.pass(secs(35));
        let began = scene.now;
        scene.queue(1, &["gpu"]);
        scene.pass(secs(2));
        scene.queue(1, &["linux"]);
        scene.pass(secs(2));
        let bought: Vec<_> = launches(&scene, began).into_iter().map(|(pool, market, _)| (pool, market)).collect();
        let gpu = |market| ("gpu".to_owned(), market);
        assert_eq!(bought, [gpu(Market::Spot), gpu(Market::OnDemand), ("linux".to_owned(), Market::Spot)]);
    }
}

fn whole(code: &str, message: &str) -> Outcome {
    let e = OfferingError { instance_type: None, subnet: None, code: code.into(), message: message.into() };
    Outcome::Launched(Launched { instances: Vec::new(), errors: vec![e] })
}

/// One pool's manifest names a subnet that does not exist, and EC2 refuses its whole request. A pool with the same types
/// and the good subnets gets its runners at once. So does the first pool, if EC2 names the subnet.
#[test]
fn a_dead_subnet_of_one_pool_keeps_no_other_from_the_good_ones() {
    for named in [true, false] {
        let mut pools = ["dead", "linux"].map(|name| pool_of(name, &["m7i.large", "c7i.large"], MarketPolicy::SpotThenOnDemand));
        for pool in &mut pools {
            pool.spec.instance.subnets = vec!["subnet-a".into(), "subnet-b".into()];
        }
        pools[0].spec.instance.subnets.push("subnet-dead".into());
        let mut scene = Scene::new(pools);
        scene.launch = if named {
            |l| {
                let dead = l.offerings.iter().any(|o| &*o.subnet == "subnet-dead");
                dead.then(|| whole("InvalidSubnetID.NotFound", "The subnet ID 'subnet-dead' does not exist"))
            }
        } else {
            |l| {
                let dead = l.offerings.iter().any(|o| &*o.subnet == "subnet-dead");
                dead.then(|| whole("InvalidSubnetID.NotFound", "The subnet ID does not exist"))
            }
        };
        scene.pass(secs(35));
        let mut began = scene.now;
        // Each further try of the first pool must not make the other pool remember the refusal again.
        for round in 0..4 {
            scene.queue(1, &["dead"]);
            scene.pass(secs(3));
            scene.queue(1, &["linux"]);
            scene.pass(secs(3));
            let bought = launches(&scene, began);
            let of = |pool: &str| bought.iter().filter(|(p, ..)| p == pool).map(|(_, market, _)| *market).collect::<Vec<_>>();
            assert_eq!(of("linux"), [Market::Spot], "named: {named}; {bought:?}");
            assert!(of("dead").len() <= 2, "named: {named}; {bought:?}");
            // No job is left for which a held job's trial would launch.
            scene.cancel(2 * round);
            scene.cancel(2 * round + 1);
            scene.pass(secs(620));
            began = scene.now;
        }
        assert_eq!(scene.live("dead").is_empty(), !named);
    }
}

/// An answer about a subnet that nobody asked for closes none of the offerings that were asked for.
#[test]
fn a_refusal_of_something_else_is_not_asked_for_at_the_budgets_pace() {
    let mut scene = Scene::new([pool_of("linux", &["m7i.large"], MarketPolicy::SpotThenOnDemand)]);
    scene.launch = |_| {
        let subnet = Some("subnet-elsewhere".into());
        let (code, message) = ("InsufficientInstanceCapacity".into(), "no".into());
        let e = OfferingError { instance_type: None, subnet, code, message };
        Some(Outcome::Launched(Launched { instances: Vec::new(), errors: vec![e] }))
    };
    scene.pass(secs(35));
    let began = scene.now;
    scene.queue(1, &["linux"]);
    scene.pass(secs(600));
    let asked = launches(&scene, began).len();
    assert!((2..=10).contains(&asked), "{asked} launches in ten minutes");
}

/// CreateFleet answers so about a type that a zone lacks (aws/karpenter-provider-aws#6483). muster launches on-demand at
/// once, and leaves spot of that type alone for hours.
#[test]
fn a_type_that_spot_does_not_offer_is_bought_on_demand_at_once() {
    let mut scene = Scene::new([pool_of("linux", &["r5d.4xlarge"], MarketPolicy::SpotThenOnDemand)]);
    scene.launch = |l| (l.market == Market::Spot).then(|| every(l, "InvalidFleetConfiguration", "is not supported in your zone"));
    scene.pass(secs(35));
    let began = scene.now;
    scene.queue(1, &["linux"]);
    scene.pass(secs(3));
    let bought = launches(&scene, began);
    assert!(matches!(&bought[..], [(_, Market::Spot, 0), (_, Market::OnDemand, at)] if *at < 2), "{bought:?}");
    scene.pass(secs(1800));
    let later = scene.now;
    scene.queue(1, &["linux"]);
    scene.pass(secs(3));
    assert!(launches(&scene, later).iter().all(|(_, market, _)| *market == Market::OnDemand), "{:?}", launches(&scene, later));
}

/// EC2 reports a missing iam:PassRole for each offering, inside an answer. No other offering or market would help.
#[test]
fn what_is_wrong_with_the_request_backs_the_pool_off_and_buys_nothing_else() {
    let mut scene = Scene::new([pool_of("linux", &["m7i.large"], MarketPolicy::SpotThenOnDemand)]);
    scene.launch = |l| Some(every(l, "UnauthorizedOperation", "not authorized to perform iam:PassRole"));
    scene.pass(secs(35));
    let began = scene.now;
    scene.queue(1, &["linux"]);
    scene.pass(secs(20));
    let bought = launches(&scene, began);
    assert!(matches!(&bought[..], [(_, Market::Spot, 0)]), "{bought:?}");
    for told in [reason(&scene, "linux"), job_reason(&scene, 0)] {
        assert_eq!(refused(&told), Some("UnauthorizedOperation: not authorized to perform iam:PassRole"), "{told:?}");
    }
}

/// No code starves another pool, keeps the pool from its instance for ever, or is asked about without end.
#[test]
fn a_pool_gets_its_instance_once_ec2_gives_in_whatever_it_said_before() {
    for code in refusal::REFUSALS.iter().map(|r| r.code).chain(["BrandNewCode"]) {
        let mut scene = Scene::new([pool_of("linux", &["m7i.large"], MarketPolicy::SpotThenOnDemand)]);
        scene.pass(secs(35));
        let began = scene.now;
        // A function pointer holds no data, so the code travels in a tag of the pool.
        scene.pool("linux").spec.instance.tags.insert("code".into(), code.into());
        scene.take_spec();
        scene.launch = |l| Some(every(l, &l.tags["code"], "so it is"));
        scene.queue(1, &["linux"]);
        scene.pass(secs(3600));
        let asked = launches(&scene, began).len();
        assert!((2..=60).contains(&asked), "{code}: {asked} launches in an hour");
        scene.launch = |_| None;
        scene.pass(secs(601));
        assert_eq!(scene.runners.len(), 1, "{code}");
    }
}

const FULL: &str = "GitHub: 422: Runner group 1 has reached max limit of 10000 runners.";

fn full(_: &Configure) -> Option<Failure> {
    Some(Failure::new(FailureKind::Refused, FULL))
}

/// Refused configurations are told where people look, from the first one on. They do not count as failures to start.
#[test]
fn what_github_says_of_configurations_is_told_by_job_and_pool() {
    let mut scene = Scene::new([linux()]);
    scene.configure = full;
    scene.pass(secs(35));
    scene.queue(6, &["linux"]);
    scene.pass(secs(5));
    for _ in 0..30 {
        for told in [reason(&scene, "linux"), job_reason(&scene, 0)] {
            assert_eq!(refused(&told), Some(FULL), "{told:?}");
        }
        scene.pass(secs(30));
    }
    assert!(!scene.facts.iter().any(|f| matches!(f, Fact::BootFailed { .. })));
    scene.configure = |_| None;
    scene.pass(secs(400));
    assert_eq!(refused(&reason(&scene, "linux")), None);
}

/// A pool with enough runners says nothing of an instance that could not be configured.
#[test]
fn a_refusal_that_keeps_no_job_waiting_is_not_told_of_the_jobs() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(35));
    scene.queue(1, &["linux"]);
    scene.pass(secs(20));
    let why = job_reason(&scene, 0);
    assert!(matches!(&why, Code::Job(JobReason::IdleRunner { idle: 1, .. })), "{why:?}");
}

const KEY: &str = "Client.InternalError: Client error on launch";

/// EC2 ends an instance at its launch, for example because of a key that it may not use (terraform-aws-github-runner#3422).
/// The pool says why, whether a sweep or an event tells it first.
#[test]
fn why_ec2_ended_instances_at_their_launch_is_told_by_the_pool() {
    for by_event in [false, true] {
        let mut scene = Scene::new([linux()]);
        scene.come_online = false;
        scene.pass(secs(35));
        scene.queue(1, &["linux"]);
        let ended = BootFailure::EndedByEc2 { said: KEY.into() };
        let mut told = Vec::new();
        for _ in 0..30 {
            scene.pass(secs(3));
            for id in scene.live("linux") {
                let b = scene.runners.get_mut(&id).unwrap();
                (b.state, b.why) = (InstanceState::Terminated, Some(KEY.into()));
                if by_event {
                    let kind = Ec2EventKind::State(InstanceState::Terminated);
                    scene.feed(Input::Ec2(Ec2Event { instance: id, kind }));
                }
            }
            told.push(reason(&scene, "linux"));
        }
        let blames = |why: &Code| matches!(why, Code::Blocked(Blocked::Backoff { why: Backoff::BootFailures { last, .. }, .. }) if *last == ended);
        assert!(told.iter().any(blames), "{told:#?}");
        assert!(scene.runners.len() <= 6, "{} instances in 90 s", scene.runners.len());
        let said: Vec<Code> =
            scene.core.seen().events(0, 999).into_iter().filter(|e| e.what == What::BootFailed).map(|e| e.code).collect();
        assert!(
            said.iter().any(|code| matches!(code, Code::Event(EventReason::NotStarted { why, .. }) if *why == ended)),
            "{said:#?}"
        );
    }
}

/// GitHub has sent such events (actions/actions-runner-controller#1370).
#[test]
fn a_job_that_is_over_is_over_whatever_labels_its_event_has() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(35));
    scene.queue(1, &["linux"]);
    let mut over = message(0, JobState::Completed, &[]);
    over.event.conclusion = Some("cancelled".into());
    scene.feed(Input::Messages(vec![over]));
    assert!(scene.core.seen().jobs(scene.now).is_empty());
    // The end of a job that nobody has heard of changes nothing.
    scene.feed(Input::Messages(vec![message(99, JobState::Completed, &[])]));
    scene.pass(secs(60));
    assert!(scene.core.seen().jobs(scene.now).is_empty());
    assert!(launches(&scene, BEGIN).is_empty(), "{:?}", launches(&scene, BEGIN));
}

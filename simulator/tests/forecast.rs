//! What `muster simulate` is made of: jobs run through the simulated world, and the figures of the run.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::ids::Scope;
use muster_reconciler::manifest::{RunnerPool, Span, Spec};
use muster_simulator::conditions::{Conditions, Overrides, Weather};
use muster_simulator::forecast::{Forecast, LEAD, Question, forecast};
use muster_simulator::tally::{Doing, Figures, Tally};
use muster_simulator::{BEGIN, JobEnd, JobPlan, Simulation, WorldOptions, example};

const LINUX: &[&str] = &["self-hosted", "linux", "x64"];

fn job(at_s: u64, takes_s: u64, labels: &[&str]) -> JobPlan {
    JobPlan {
        at: BEGIN + Duration::from_secs(at_s),
        takes: Duration::from_secs(takes_s),
        labels: labels.iter().map(|l| (*l).to_owned()).collect(),
        repo: "acme/web".into(),
        cancel_after: None,
    }
}

fn question(pools: impl IntoIterator<Item = RunnerPool>, jobs: Vec<JobPlan>) -> Question {
    Question {
        spec: example::cluster("test", pools),
        jobs,
        from: BEGIN,
        until: BEGIN,
        conditions: Conditions::new(Weather::Calm, &Overrides::default()),
        seed: 1,
    }
}

fn run(question: &Question) -> Forecast {
    let forecast = forecast(question, |_| {});
    assert_eq!(forecast.report.violations, []);
    forecast
}

fn all(forecast: &Forecast) -> Figures {
    Tally::new(forecast).figures(None)
}

fn linux(max: u32) -> RunnerPool {
    example::pool("linux-x64", LINUX, max)
}

#[test]
fn on_a_calm_day_each_job_has_its_instance_within_four_minutes() {
    let f = run(&question([linux(50)], (0..30).map(|i| job(i * 20, 300, LINUX)).collect()));
    let figures = all(&f);
    assert_eq!((figures.jobs, figures.instances, figures.unstarted, figures.lost), (30, 30, 0, 0));
    // GitHub gives an idle runner to any job that waits, so an unlucky job waits longer than its own instance takes.
    let (p50, max) = (figures.waits.p50.unwrap(), figures.waits.max.unwrap());
    assert!(p50 >= Duration::from_secs(20) && max <= Duration::from_secs(240), "{figures:?}");
    // Each job works for five minutes, and the instances' time is accounted for entirely.
    assert_eq!(figures.spent[&Doing::Working], Duration::from_secs(30 * 300));
    let lived: Duration = f.instances.iter().map(|b| b.gone.unwrap().since(b.launched)).sum();
    assert_eq!(figures.spent.values().sum::<Duration>(), lived);
    let billed: Duration = figures.billed.values().sum();
    assert!(billed > figures.spent[&Doing::Working] && billed < lived, "{billed:?} of {lived:?}");
    assert!((10..=30).contains(&figures.peak), "{figures:?}");
    assert_eq!(f.unrouted, []);
}

#[test]
fn a_ledger_changes_nothing() {
    let hash = |ledger: bool| {
        let mut world = Simulation::new(7, example::cluster("test", [linux(5)]), WorldOptions::swarm(7));
        if ledger {
            world.keep_ledger();
        }
        for i in 0..20 {
            world.submit(job(30 + i * 60, 200, LINUX));
        }
        world.run_for(Duration::from_secs(7200));
        world.report()
    };
    assert_eq!(hash(true), hash(false));
}

#[test]
fn the_same_question_has_the_same_answer() {
    let mut q = question([linux(10)], (0..40).map(|i| job(i * 30, 400, LINUX)).collect());
    q.conditions = Conditions::new(Weather::Rough, &Overrides::default());
    let (a, b) = (run(&q), run(&q));
    assert_eq!((&a.instances, &a.jobs, &a.report), (&b.instances, &b.jobs, &b.report));
    q.seed = 2;
    assert_ne!(a.instances, run(&q).instances);
}

#[test]
fn a_small_pool_makes_jobs_wait_and_never_exceeds_its_max() {
    let f = run(&question([linux(4)], (0..40).map(|_| job(0, 600, LINUX)).collect()));
    let figures = all(&f);
    assert_eq!((figures.peak, figures.jobs), (4, 40));
    assert!(figures.waits.max.unwrap() > Duration::from_secs(5400), "ten rounds of ten minutes: {figures:?}");
    let series = Tally::new(&f).series(100);
    assert!(series.waiting.iter().any(|n| *n > 30.0) && series.instances[&Doing::Working].iter().all(|n| *n <= 4.0));
}

#[test]
fn jobs_that_no_pool_takes_are_told_with_the_controllers_reason() {
    let mut off = example::pool("off", &["self-hosted", "gpu"], 0);
    off.spec.priority = 1;
    let jobs = vec![
        job(0, 60, LINUX),
        job(1, 60, &["self-hosted", "windows"]),
        job(2, 60, &["self-hosted", "windows"]),
        job(3, 60, &["ubuntu-latest"]),
        job(4, 60, &["self-hosted", "gpu"]),
    ];
    let f = run(&question([linux(4), off], jobs));
    let said: Vec<(&str, u64)> = f.unrouted.iter().map(|u| (u.reason.as_str(), u.jobs)).collect();
    assert_eq!(said[0].1, 2);
    assert!(said[0].0.contains(r#"but it lacks ["windows"]"#), "{said:?}");
    assert!(said[1].0.contains("does not ask for self-hosted"), "{said:?}");
    // The pool is switched off. Its job waits, and the controller says why.
    assert_eq!(f.unstarted.len(), 1);
    assert!(f.unstarted[0].reason.contains("pool off"), "{:?}", f.unstarted);
    let figures = all(&f);
    assert_eq!((figures.jobs, figures.unstarted, figures.waits.max), (2, 1, None));
    assert!(f.end.since(f.begin) < Duration::from_secs(3 * 3600), "the run does not wait for a job that can never start");
}

#[test]
fn spot_takes_instances_back_and_a_lost_job_is_rerun_when_somebody_does() {
    let certain = Overrides { interruption: Some(1.0), unwarned: Some(1.0), ..Overrides::default() };
    let mut q = question([linux(20)], (0..10).map(|i| job(i * 10, 1500, LINUX)).collect());
    q.conditions = Conditions::new(Weather::Calm, &certain);
    let lost = all(&run(&q));
    assert_eq!((lost.jobs, lost.taken_back), (10, lost.instances));
    assert!(lost.lost >= 5 && lost.lost == lost.lost_to_spot, "{lost:?}");
    let rerun = Overrides { interruption: Some(0.3), rerun_lost_after: Some(Span::secs(120)), ..certain };
    q.conditions = Conditions::new(Weather::Calm, &rerun);
    let f = run(&q);
    let figures = all(&f);
    assert!(f.reruns > 0 && f.reruns == figures.lost && figures.jobs == 10 + f.reruns, "{figures:?}");
    assert_eq!(f.jobs.iter().filter(|j| j.end == Some(JobEnd::Success)).count(), 10);
}

#[test]
fn a_warm_floor_stands_ready_before_the_first_job_and_idles() {
    let mut warm = linux(10);
    warm.spec.capacity.idle = 3;
    let mut q = question([warm], vec![job(0, 60, LINUX)]);
    q.until = BEGIN + Duration::from_secs(3600);
    let f = run(&q);
    let figures = all(&f);
    assert!(figures.waits.max.unwrap() < Duration::from_secs(5), "{figures:?}");
    assert!(figures.spent[&Doing::Idle] > Duration::from_secs(3 * 3600), "{figures:?}");
    assert_eq!(f.begin, BEGIN - LEAD);
}

#[test]
fn a_pool_of_an_enterprise_takes_its_jobs() {
    let mut pool = linux(4);
    pool.spec.github.scope = Scope::Enterprise("big-co".into());
    let spec: Arc<Spec> = example::cluster("test", [pool]);
    let f = run(&Question { spec, ..question([], vec![job(0, 60, LINUX)]) });
    assert_eq!((all(&f).jobs, all(&f).unstarted), (1, 0));
}

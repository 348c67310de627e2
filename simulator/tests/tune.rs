//! A search of `muster tune` where the best answer is known.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::manifest::{MarketPolicy, RunnerPool, Spec};
use muster_reconciler::market::Market;
use muster_simulator::conditions::{Conditions, Overrides, Weather};
use muster_simulator::tune::Workbench;
use muster_simulator::tune::knobs::{Knob, KnobSetting};
use muster_simulator::tune::measure::Measure;
use muster_simulator::tune::search::{Finalist, Lab, Quest, TuneFindings, TuneRun, Unchosen, search};
use muster_simulator::tune::split::Split;
use muster_simulator::{BEGIN, JobPlan, example};

const LABELS: &[&str] = &["self-hosted", "linux", "x64"];

/// Twenty jobs at nine o'clock each day, and one at noon and at three.
fn mornings(days: u64) -> Vec<JobPlan> {
    let job = |day: u64, second: u64| JobPlan {
        at: BEGIN + Duration::from_secs(day * 86_400 + second),
        takes: Duration::from_secs(300),
        labels: LABELS.iter().map(|l| (*l).to_owned()).collect(),
        repo: "acme/web".into(),
        cancel_after: None,
    };
    let day = |day| (0..20).map(move |n| job(day, 9 * 3600 + n)).chain([job(day, 12 * 3600), job(day, 15 * 3600)]);
    (0..days).flat_map(day).collect()
}

/// A lab that runs at most so many variants' runs.
struct BenchLab<'a> {
    bench: &'a Workbench,
    left: usize,
}

impl Lab for BenchLab<'_> {
    fn measure(&mut self, runs: &[TuneRun], must: bool) -> Option<Vec<Measure>> {
        if !must {
            self.left = self.left.checked_sub(runs.len())?;
        }
        let price = |_, _: &str, market| Some(if market == Market::Spot { 0.04 } else { 0.1 });
        let run = |run: &TuneRun| self.bench.run(run, &price);
        let (first, second) = runs.split_at(runs.len() / 2);
        Some(std::thread::scope(|scope| {
            let first = scope.spawn(|| first.iter().map(run).collect::<Vec<_>>());
            let second: Vec<Measure> = second.iter().map(run).collect();
            [first.join().unwrap(), second].concat()
        }))
    }
}

fn quest(base: &Arc<Spec>, bench: &Workbench, goal: &str) -> Quest {
    let (burst, singles) = bench.suggestions(base, |_, market| market == MarketPolicy::Spot);
    Quest {
        base: Arc::clone(base),
        goal: goal.parse().unwrap(),
        budget: None,
        may_lose: 0.0,
        split: bench.split.clone(),
        burst,
        weights: bench.weights(),
        singles,
        candidates: 20,
        seeds: 2,
        seed: 1,
    }
}

fn bench(jobs: Vec<JobPlan>) -> Workbench {
    let split = Split::of(&jobs).unwrap();
    let conditions = Conditions::new(Weather::Calm, &Overrides::default());
    Workbench { jobs, split, conditions, pools: vec!["linux".into()] }
}

fn pool(max: u32) -> RunnerPool {
    example::pool("linux", LABELS, max)
}

fn hunt(quest: &Quest, bench: &Workbench, left: usize) -> TuneFindings {
    let found = search(quest, &mut BenchLab { bench, left });
    assert_eq!(found.violations, Vec::<String>::new());
    for it in &found.frontier {
        assert!(!found.frontier.iter().any(|other| other.standing().beats(&it.standing())), "{it:?} is beaten: {found:#?}");
    }
    assert!(found.frontier.windows(2).all(|pair| pair[0].cost.mean < pair[1].cost.mean), "{found:#?}");
    found
}

fn floor(finalist: &Finalist) -> Option<KnobSetting> {
    finalist.variant.settings().map(|(_, setting)| setting.clone()).find(|setting| setting.knob() == Knob::Floor)
}

#[test]
fn a_burst_each_morning_is_met_by_a_floor_of_the_morning() {
    let (base, bench) = (example::cluster("c", [pool(30)]), bench(mornings(3)));
    let quest = quest(&base, &bench, "p90 wait <= 10s");
    let found = hunt(&quest, &bench, usize::MAX);
    assert!(found.today.met == 0 && found.today.wait.min > 10.0, "today misses the goal: {:?}", found.today);
    let chosen = &found.frontier[found.chosen.unwrap()];
    let Some(KnobSetting::Floor(0, schedules)) = floor(chosen) else { panic!("no floor by the clock: {chosen:#?}") };
    assert!(schedules.iter().any(|s| s.cron.starts_with("50 8 ") && s.idle >= 18), "{schedules:?}");
    assert!((chosen.met, chosen.within.min >= 0.9) == (2, true), "{chosen:?}");
    // A floor all day long serves the same jobs for 20 runners times 24 hours.
    assert!(chosen.cost.mean < 0.04 * 20.0 * 24.0 / 4.0, "{chosen:?}");
    assert_eq!(found.judged_by, 22, "the third day judges");
    assert_eq!(found, hunt(&quest, &bench, usize::MAX), "the same question has the same answer");
}

#[test]
fn a_goal_that_nothing_meets_says_the_best_and_a_budget_is_kept() {
    let (base, bench) = (example::cluster("c", [pool(6)]), bench(mornings(3)));
    let found = hunt(&Quest { candidates: 10, ..quest(&base, &bench, "max wait <= 1s") }, &bench, usize::MAX);
    assert_eq!(found.chosen, Err(Unchosen::GoalUnmet));
    let best = found.frontier.last().unwrap();
    assert!(best.wait.mean > 1.0 && best.full == ["linux".into()], "six runners are too few: {best:?}");
    let easy = Quest { candidates: 10, budget: Some(0.001), ..quest(&base, &bench, "p50 wait <= 1h") };
    assert_eq!(hunt(&easy, &bench, usize::MAX).chosen, Err(Unchosen::OverBudget));
}

#[test]
fn a_search_whose_time_is_over_judges_what_it_has() {
    let (base, bench) = (example::cluster("c", [pool(30)]), bench(mornings(3)));
    let quest = quest(&base, &bench, "p90 wait <= 10s");
    let none = hunt(&quest, &bench, 0);
    assert!(none.cut_short && none.frontier.len() == 1 && none.frontier[0].variant.is_empty(), "{none:#?}");
    assert_eq!(none.chosen, Err(Unchosen::GoalUnmet));
}

//! One step of the core with a marked pool at 10,000 runners and 10,000 queued jobs, and how much memory the core takes.
//!
//! `cargo bench --no-default-features --bench step`. Prints figures; asserts none.

mod crowd;

use std::time::{Duration, Instant};

use crowd::{JOBS, RUNNERS, answer, job};
use muster_reconciler::effect::Input;

const ROUNDS: u32 = 200;

fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kb = status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    kb.unwrap_or(f64::NAN) / 1024.0
}

fn main() {
    let before = resident_mb();
    let mut now = crowd::BEGIN;
    let (mut core, mut sweep_times) = crowd::core();
    let mut fold_and_plan = Vec::new();
    let mut plan_only = Vec::new();
    for round in 0..ROUNDS {
        now = now + Duration::from_millis(60);
        // One event marks the pool; 50 ms later it is planned.
        core.step(now, Input::Messages(vec![job(JOBS + u64::from(round))]));
        now = now + Duration::from_millis(51);
        let began = Instant::now();
        let effects = core.step(now, Input::Tick);
        plan_only.push(began.elapsed());
        for effect in effects {
            if let Some(outcome) = answer(&effect) {
                let began = Instant::now();
                core.step(now, Input::Outcome(effect.id, outcome));
                fold_and_plan.push(began.elapsed());
            }
        }
        core.take_facts();
    }
    plan_only.sort();
    sweep_times.extend(fold_and_plan);
    sweep_times.sort();
    println!("core at {RUNNERS} runners and {JOBS} queued jobs");
    println!(
        "  step with the marked pool: median {:?}, worst of {ROUNDS} {:?}",
        plan_only[plan_only.len() / 2],
        plan_only[plan_only.len() - 1]
    );
    println!("  step that takes in a whole sweep: worst {:?}", sweep_times[sweep_times.len() - 1]);
    let after = resident_mb();
    println!("  resident: {after:.1} MB, {:.1} MB of it the core's and the last sweep's", after - before);
}

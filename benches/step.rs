//! How the core grows: the time of a step, of a sweep and of a plan of all pools, from 1,000 to 100,000 runners and as many queued
//! jobs, over 1 to 500 pools; and how much memory the core takes.
//!
//! `cargo bench --no-default-features --bench step`; with `-- 10000 20` for 10,000 of each over 20 pools alone. Prints figures; asserts
//! none.

mod crowd;

use std::time::Duration;

use crowd::{Crowd, LARGE};
use muster_reconciler::effect::Input;

const ROUNDS: u64 = 200;

fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kb = status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    kb.unwrap_or(f64::NAN) / 1024.0
}

/// The processor time that this thread has had. Other work on the machine does not count. The kernel brings the figure up to date when
/// the thread gives way.
fn spent() -> Duration {
    std::thread::yield_now();
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(told.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or_default())
}

fn main() {
    let before = resident_mb();
    println!(
        "processor time of a step in ms: with one pool to plan (the median of {ROUNDS}), with all pools to plan (the worst), with a \
         whole sweep; and of the take-in of all messages"
    );
    println!("{:>8} {:>6} {:>8} {:>8} {:>8} {:>10}", "each", "pools", "median", "worst", "sweep", "messages");
    let asked: Vec<u64> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    if let [each, pools] = asked[..] {
        return measure(Crowd { each, pools });
    }
    measure(LARGE);
    let after = resident_mb();
    println!("  resident: {after:.1} MB, {:.1} MB of it the core's and the last sweep's", after - before);
    for pools in [1, 20, 500] {
        for each in [1_000, 10_000, 100_000] {
            measure(Crowd { each, pools });
        }
    }
}

fn measure(crowd: Crowd) {
    let mut now = crowd::BEGIN;
    let (mut core, mut sweeps, messages) = crowd.core(spent);
    let mut steps = Vec::new();
    for round in 0..ROUNDS {
        now = now + Duration::from_millis(60);
        // One event marks the pool; 50 ms later it is planned.
        core.step(now, Input::Messages(vec![crowd.job(crowd.each + round)]));
        now = now + Duration::from_millis(51);
        let began = spent();
        let effects = core.step(now, Input::Tick);
        steps.push(spent().saturating_sub(began));
        for effect in effects {
            if let Some(outcome) = crowd.answer(&effect) {
                let began = spent();
                core.step(now, Input::Outcome(effect.id, outcome));
                sweeps.push(spent().saturating_sub(began));
            }
        }
        core.take_facts();
    }
    steps.sort();
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    let (median, worst) = (steps[steps.len() / 2], steps[steps.len() - 1]);
    let sweep = sweeps.into_iter().max().unwrap_or_default();
    println!(
        "{:>8} {:>6} {:>8.2} {:>8.2} {:>8.1} {:>10.0}",
        crowd.each,
        crowd.pools,
        ms(median),
        ms(worst),
        ms(sweep),
        ms(messages),
    );
}

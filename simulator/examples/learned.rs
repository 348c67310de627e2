//! Would `allocation: learned` lose fewer box-hours than EC2's own order? It is a calculation beside the simulated world, because that
//! world interrupts all offerings alike. `cargo run --release -p muster-simulator --example learned`
//!
//! Six types in three subnets have hidden interruption rates, which drift. The same jobs run twice, and each job has the same luck both
//! times. EC2's order sees each rate of now, more or less well. The learned order gives EC2 only the third of the offerings that
//! lost the fewest instances per hour so far, as a controller that was never restarted would have seen it.
#![expect(clippy::print_stdout, reason = "an example that prints a table")]

use muster_simulator::rng::Rng;

const OFFERINGS: usize = 18;
const DAYS: u64 = 14;
const TRACES: u64 = 30;
/// Half of the instance-hours that were seen this many days ago count.
const HALF_LIFE_DAYS: f64 = 2.0;
/// The average share of instances that are interrupted in an hour, and how much the offerings differ (standard deviation of the
/// logarithm). With 1.0, the worst of 18 is interrupted about 35 times as often as the best.
const RATE_PER_HOUR: f64 = 0.02;
const DIFFER: f64 = 1.0;

fn normal(rng: &mut Rng) -> f64 {
    (0..12).map(|_| rng.unit()).sum::<f64>() - 6.0
}

/// What one offering showed so far.
#[derive(Clone, Copy, Default)]
struct OfferingSeen {
    hours: f64,
    interrupted: f64,
}

impl OfferingSeen {
    /// The estimated rate. Without evidence, it is the average.
    fn rate(self) -> f64 {
        (self.interrupted + 2.0) / (self.hours + 2.0 / RATE_PER_HOUR)
    }
}

/// Box-hours lost by EC2's order and by the learned order on one trace.
fn lost(seed: u64, jobs_a_day: u64, drift_hours: f64, sight: f64) -> [f64; 2] {
    let mut rng = Rng::new(seed, "learned");
    let fixed: Vec<f64> = (0..OFFERINGS).map(|_| normal(&mut rng)).collect();
    let mut moving: Vec<f64> = (0..OFFERINGS).map(|_| normal(&mut rng)).collect();
    let mut seen = [OfferingSeen::default(); OFFERINGS];
    let mut lost = [0.0; 2];
    let step = 24.0 / jobs_a_day as f64;
    // The rates, and what EC2 sees of them, change about every ten minutes.
    let renewed = (jobs_a_day / 144).max(1);
    // A rate that never drifts is the fixed part alone; another one is half fixed, half moving.
    let (stays, moves) = if drift_hours.is_finite() { (0.5_f64.sqrt(), 0.5_f64.sqrt()) } else { (1.0, 0.0) };
    let keep = if drift_hours.is_finite() { (-step * renewed as f64 / drift_hours).exp() } else { 1.0 };
    let mut fresh = [0.0; OFFERINGS];
    for nth in 0..DAYS * jobs_a_day {
        if nth.is_multiple_of(renewed) {
            for (at, level) in moving.iter_mut().enumerate() {
                *level = *level * keep + (1.0 - keep * keep).sqrt() * normal(&mut rng);
                let truth = stays * fixed[at] + moves * *level;
                fresh[at] = sight * truth + (1.0 - sight * sight).sqrt() * normal(&mut rng);
            }
        }
        let rate = |at: usize| RATE_PER_HOUR * (DIFFER * (stays * fixed[at] + moves * moving[at]) - DIFFER * DIFFER / 2.0).exp();
        let mut order: Vec<usize> = (0..OFFERINGS).collect();
        order.sort_by(|a, b| seen[*a].rate().total_cmp(&seen[*b].rate()));
        // EC2 does not always have the capacity, so a third of the offerings is out at any time.
        let there: Vec<bool> = (0..OFFERINGS).map(|_| rng.chance(0.67)).collect();
        let best = |of: &[usize]| {
            let there = of.iter().copied().filter(|at| there[*at]);
            there.min_by(|a, b| fresh[*a].total_cmp(&fresh[*b])).unwrap_or(of[0])
        };
        let chosen = [best(&(0..OFFERINGS).collect::<Vec<_>>()), best(&order[..OFFERINGS / 3])];
        let (takes, luck) = ((0.05 + 1.95 * rng.unit().powi(3)), -(1.0 - rng.unit()).ln());
        for (which, at) in chosen.into_iter().enumerate() {
            let until = luck / rate(at);
            // The first two days are for learning.
            if nth >= 2 * jobs_a_day && until < takes {
                lost[which] += until;
            }
        }
        let at = chosen[1];
        let until = luck / rate(at);
        let forget = 0.5_f64.powf(step / 24.0 / HALF_LIFE_DAYS);
        for one in &mut seen {
            (one.hours, one.interrupted) = (one.hours * forget, one.interrupted * forget);
        }
        seen[at].hours += takes.min(until);
        seen[at].interrupted += f64::from(u8::from(until < takes));
    }
    lost
}

fn main() {
    println!("{TRACES} traces of {} days, {OFFERINGS} offerings; ± is one standard error", DAYS - 2);
    println!("jobs a day | rates drift in | EC2 sees | box-hours lost, EC2's order | learned order | learned / EC2's");
    for jobs_a_day in [10_000, 500] {
        for (name, drift) in [("never", f64::INFINITY), ("a day", 24.0), ("an hour", 1.0)] {
            for sight in [0.0, 0.3, 0.6, 0.9] {
                let all: Vec<[f64; 2]> = (0..TRACES).map(|seed| lost(seed, jobs_a_day, drift, sight)).collect();
                let mean = |which: usize| all.iter().map(|one| one[which]).sum::<f64>() / TRACES as f64;
                let ratios: Vec<f64> = all.iter().map(|[ec2, learned]| learned / ec2).collect();
                let ratio = ratios.iter().sum::<f64>() / TRACES as f64;
                let spread = (ratios.iter().map(|one| (one - ratio).powi(2)).sum::<f64>() / (TRACES - 1) as f64).sqrt();
                let error = spread / (TRACES as f64).sqrt();
                let (ec2, learned) = (mean(0), mean(1));
                println!("{jobs_a_day} | {name} | {sight:.1} | {ec2:.1} | {learned:.1} | {ratio:.2} ± {error:.2}");
            }
        }
    }
}

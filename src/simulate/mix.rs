//! Draws the jobs of a workload. Each kind of job is a Poisson stream whose rate follows the clock. Each kind has random
//! numbers of its own, so that one more kind changes no other.

use std::time::Duration;

use chrono::{Datelike, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use muster_reconciler::reason::count;
use muster_reconciler::time::{Time, human};
use muster_simulator::JobPlan;
use muster_simulator::rng::Rng;

use super::Recording;
use super::workload::{Checked, Lasts, RateSlot, WorkloadKind};

/// The time within which all jobs of a batch are queued.
const BATCH_WITHIN_MS: u64 = 2000;
/// The 90th percentile of the standard normal distribution.
const Z90: f64 = 1.281_551_565_545;

/// Draws the jobs, in the order of queueing. The same seed draws the same jobs.
pub fn draw(workload: &Checked, seed: u64) -> Recording {
    let mut jobs: Vec<JobPlan> = Vec::new();
    for (kind, slots) in workload.kinds.iter().zip(&workload.rates) {
        let mut rng = Rng::new(seed, &format!("workload {}", kind.name));
        for at in arrivals(&mut rng, workload, kind, slots) {
            jobs.extend((0..kind.batch).map(|_| JobPlan {
                at: at + Duration::from_millis(rng.below(BATCH_WITHIN_MS)),
                takes: lasts(&mut rng, &kind.duration),
                labels: kind.labels.clone(),
                repo: kind.repo.clone().unwrap_or_default(),
                cancel_after: None,
            }));
        }
    }
    jobs.sort_by_key(|j| j.at);
    let drawn = format!(
        "{}, drawn from {} for {}",
        count(jobs.len(), "job"),
        count(workload.kinds.len(), "kind"),
        human(workload.length)
    );
    Recording { jobs, from: workload.begin, until: workload.begin + workload.length, notes: vec![drawn] }
}

/// When batches come: a stream at the highest rate, which is thinned to the rate of each hour.
fn arrivals(rng: &mut Rng, workload: &Checked, kind: &WorkloadKind, slots: &[RateSlot]) -> Vec<Time> {
    let most = slots.iter().map(|s| s.per_hour).fold(0.0, f64::max);
    if most <= 0.0 {
        return Vec::new();
    }
    let per_second = most / f64::from(kind.batch) / 3600.0;
    let (mut all, mut after) = (Vec::new(), 0.0);
    loop {
        after += -(1.0 - rng.unit()).ln() / per_second;
        if after >= workload.length.as_secs_f64() {
            return all;
        }
        let at = workload.begin + Duration::from_secs_f64(after);
        if rng.chance(per_hour(slots, workload.zone, at) / most) {
            all.push(at);
        }
    }
}

/// The rate at this time.
fn per_hour(slots: &[RateSlot], zone: Tz, at: Time) -> f64 {
    let ms = i64::try_from(at.as_millis()).unwrap_or_default();
    let Some(local) = Utc.timestamp_millis_opt(ms).single().map(|t| t.with_timezone(&zone)) else { return 0.0 };
    let (day, hour) = (local.weekday().num_days_from_monday(), local.hour());
    slots.iter().find(|s| s.weekdays >> day & 1 == 1 && s.hours >> hour & 1 == 1).map_or(0.0, |s| s.per_hour)
}

fn lasts(rng: &mut Rng, d: &Lasts) -> Duration {
    match (d.exactly, d.min.zip(d.max), d.median.zip(d.p90)) {
        (Some(exactly), ..) => exactly.get(),
        (_, Some((min, max)), _) => min.get() + (max.get() - min.get()).mul_f64(rng.unit()),
        (.., Some((median, p90))) => {
            let sigma = (p90.get().as_secs_f64() / median.get().as_secs_f64()).ln() / Z90;
            // Box and Muller (1958).
            let (u, v) = (1.0 - rng.unit(), rng.unit());
            let z = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
            let seconds = median.get().as_secs_f64() * (sigma * z).exp();
            Duration::from_secs_f64(seconds.clamp(1.0, super::field::LONGEST_JOB.as_secs_f64()))
        }
        _ => Duration::from_secs(1),
    }
}

#[cfg(test)]
mod tests {
    use super::super::workload;
    use super::*;
    use muster_reconciler::manifest::Text;
    use muster_simulator::conditions::Weather;

    fn drawn(body: &str, seed: u64) -> Recording {
        let text = Text { file: "w".into(), body: body.into() };
        draw(&workload::read(&text, Weather::Calm, false).expect("a workload"), seed)
    }

    const OFFICE: &str = "
length: 7d
timezone: Europe/Amsterdam
kinds:
  - name: test
    labels: [x]
    duration: {median: 4m, p90: 12m}
    rates: [{weekdays: MON-FRI, hours: 9-16, perHour: 60}]
    batch: 3
";

    #[test]
    fn jobs_come_at_their_hours_and_at_their_rate() {
        let jobs = drawn(OFFICE, 1).jobs;
        // 5 days of 8 hours at 60: 2,400 on average; batches of 3 spread it more than single jobs would.
        assert!((2150..2650).contains(&jobs.len()), "{}", jobs.len());
        for job in &jobs {
            let since_monday = job.at.since(super::super::trace::MONDAY).as_secs() + 3600;
            let (day, hour) = (since_monday / 86_400, since_monday / 3600 % 24);
            assert!(day < 5 && (9..=17).contains(&hour), "day {day}, hour {hour}");
        }
        assert!(jobs.is_sorted_by_key(|j| j.at));
    }

    #[test]
    fn durations_have_the_median_and_p90_that_were_asked_for() {
        let mut takes: Vec<u64> = drawn(OFFICE, 2).jobs.iter().map(|j| j.takes.as_secs()).collect();
        takes.sort_unstable();
        let (median, p90) = (takes[takes.len() / 2], takes[takes.len() * 9 / 10]);
        assert!((215..265).contains(&median) && (630..810).contains(&p90), "{median} {p90}");
    }

    #[test]
    fn a_seed_is_a_stream_and_a_kind_does_not_disturb_another() {
        assert_eq!(drawn(OFFICE, 1), drawn(OFFICE, 1));
        assert_ne!(drawn(OFFICE, 1).jobs, drawn(OFFICE, 2).jobs);
        let more = format!("{OFFICE}  - {{name: gpu, labels: [gpu], duration: {{exactly: 5m}}, rates: [{{perHour: 9}}]}}\n");
        let only_test: Vec<JobPlan> = drawn(&more, 1).jobs.into_iter().filter(|j| j.labels == ["x"]).collect();
        assert_eq!(only_test, drawn(OFFICE, 1).jobs);
    }
}

//! A stream of jobs, drawn from a seed, with quiet times and bursts.

use std::time::Duration;

use muster_reconciler::time::Time;

use crate::job_plan::JobPlan;
use crate::rng::{Rng, Spread};

/// One kind of job in a stream.
#[derive(Clone, Debug)]
pub struct JobKind {
    /// How often this kind is drawn, relative to the other kinds' weights.
    pub weight: u32,
    /// The job's `runs-on`.
    pub labels: Vec<String>,
    /// How long a job of this kind runs.
    pub takes: Spread,
    /// A job is cancelled when it has waited this long. None: nobody cancels it.
    pub cancel_after: Option<Duration>,
    /// The repositories that a job may belong to, as `OWNER/NAME`.
    pub repos: Vec<String>,
}

/// The repositories of the example's organisation.
fn acme() -> Vec<String> {
    ["acme/web", "acme/api", "acme/tools"].map(str::to_owned).to_vec()
}

/// An endless stream of jobs, oldest first.
#[derive(Debug)]
pub struct JobStream {
    rng: Rng,
    kinds: Vec<JobKind>,
    /// The time between two pushes. Each push queues one job, or a burst of jobs.
    pause: Spread,
    at: Time,
    left_in_burst: u64,
}

impl JobStream {
    /// A stream whose first push comes one pause after `at`.
    pub fn new(seed: u64, at: Time, kinds: Vec<JobKind>, pause: Spread) -> JobStream {
        JobStream { rng: Rng::new(seed, "workload"), kinds, pause, at, left_in_burst: 0 }
    }

    /// Ordinary work, for tests: jobs for Linux on x64 and on arm64.
    pub fn ordinary(seed: u64, at: Time) -> JobStream {
        let kind = |weight, arch: &str| JobKind {
            weight,
            labels: ["self-hosted", "linux", arch].map(str::to_owned).to_vec(),
            takes: Spread::secs(20, 600),
            cancel_after: None,
            repos: acme(),
        };
        JobStream::new(seed, at, vec![kind(3, "x64"), kind(1, "arm64")], Spread::secs(2, 240))
    }

    /// The demo's jobs. Three pools work, and now and then a job is queued that no pool takes, until somebody cancels it.
    pub fn demo(seed: u64, at: Time) -> JobStream {
        let kind = |weight, labels: &[&str], takes, cancel_after| JobKind {
            weight,
            labels: labels.iter().map(|l| (*l).to_owned()).collect(),
            takes,
            cancel_after,
            repos: acme(),
        };
        let kinds = vec![
            kind(12, &["self-hosted", "linux", "x64"], Spread::secs(40, 420), None),
            kind(4, &["self-hosted", "linux", "arm64"], Spread::secs(60, 500), None),
            kind(4, &["self-hosted", "linux", "x64", "quick"], Spread::secs(10, 60), None),
            kind(1, &["self-hosted", "linux", "gpu"], Spread::secs(60, 300), Some(Duration::from_secs(600))),
            kind(1, &["self-hosted", "windows"], Spread::secs(60, 300), Some(Duration::from_secs(600))),
        ];
        JobStream::new(seed, at, kinds, Spread::secs(2, 60))
    }

    fn kind(&mut self) -> Option<JobKind> {
        let total: u64 = self.kinds.iter().map(|k| u64::from(k.weight)).sum();
        let mut nth = self.rng.below(total);
        self.kinds
            .iter()
            .find(|k| {
                let weight = u64::from(k.weight);
                let here = nth < weight;
                nth = nth.saturating_sub(weight);
                here
            })
            .cloned()
    }
}

impl Iterator for JobStream {
    type Item = JobPlan;

    fn next(&mut self) -> Option<JobPlan> {
        if self.left_in_burst > 0 {
            self.left_in_burst -= 1;
            self.at = self.at + self.rng.within(Spread::millis(20, 1500));
        } else {
            self.at = self.at + self.rng.within(self.pause);
            let burst = self.rng.chance(0.25);
            let size = 3 + self.rng.below(15);
            self.left_in_burst = if burst { size } else { 0 };
        }
        let kind = self.kind()?;
        Some(JobPlan {
            at: self.at,
            takes: self.rng.within(kind.takes),
            labels: kind.labels,
            repo: self.rng.pick(&kind.repos).cloned().unwrap_or_default(),
            cancel_after: kind.cancel_after,
        })
    }
}

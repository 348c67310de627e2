//! The scenarios that are crashed at every effect when none is named. Each is small, and together they have every kind of
//! effect: see `a_crash_after_any_effect_ends_where_the_run_without_one_does` in `tests/sim.rs`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::Judged;
use crate::changes::{Change, Edit};
use crate::scenario::Timed;
use crate::{BEGIN, Fault, JobPlan, Scenario, Schedule, Strike, example};
use muster_reconciler::manifest::{Lifetime, RunnerPool, Span};

const MINUTE: Duration = Duration::from_secs(60);

/// A built-in scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Example {
    /// Jobs all at once, in fair weather.
    Burst,
    /// Reusable runners and a warm floor, which an operator takes away: boxes are drained.
    Warm,
    /// Boxes that hang or fail while they start: they are ended, and cleaned up after.
    Broken,
    /// More jobs than boxes, lost webhooks and a clean stop: messages are held for long, released and asked for again.
    Unheard,
}

impl Example {
    /// All of them.
    pub const ALL: [Example; 4] = [Example::Burst, Example::Warm, Example::Broken, Example::Unheard];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Example::Burst => "burst",
            Example::Warm => "warm",
            Example::Broken => "broken",
            Example::Unheard => "unheard",
        }
    }

    /// By what its crashes are judged. It is made so that its end does not depend on luck.
    pub const fn judged(self) -> Judged {
        // A process that starts has GitHub send again what it could not deliver in the last day. Each of the two jobs that it so
        // hears of may be over, which nothing tells, and costs a box.
        let spare = if matches!(self, Example::Unheard) { 2 } else { 0 };
        Judged::ByEnd { spare }
    }

    /// What it is made of.
    pub fn scenario(self) -> Scenario {
        let mut pool = example::pool("linux-x64", &["self-hosted", "linux", "x64"], 12);
        match self {
            Example::Burst => calm(&pool, 6),
            Example::Warm => {
                pool.spec.capacity.idle = 2;
                pool.spec.runner.lifetime = Lifetime::Reusable;
                pool.spec.runner.idle_timeout = Span::secs(60);
                pool.spec.runner.max_lifetime = Span::secs(5 * 3600);
                let change = Change { pool: pool.metadata.name.as_str().into(), edit: Edit::Idle(0) };
                Scenario { changes: vec![Timed { at: BEGIN + 10 * MINUTE, change }], ..calm(&pool, 8) }
            }
            Example::Broken => {
                let faults =
                    [(Fault::BootHang, 1), (Fault::RegisterHang, 0), (Fault::RegisterFailure, 1), (Fault::BootFailure, 2)];
                struck(calm(&pool, 8), &faults)
            }
            Example::Unheard => {
                pool.spec.capacity.max = 2;
                struck(calm(&pool, 5), &[(Fault::WebhookLoss, 0), (Fault::WebhookLoss, 3), (Fault::CleanStop, 3)])
            }
        }
    }
}

impl fmt::Display for Example {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Example {
    type Err = String;
    fn from_str(text: &str) -> Result<Example, String> {
        let all = || Example::ALL.map(Example::as_str).join(", ");
        Example::ALL
            .into_iter()
            .find(|e| e.as_str() == text)
            .ok_or_else(|| format!("there is no example `{text}`, but: {}", all()))
    }
}

/// So many jobs at once.
fn calm(pool: &RunnerPool, jobs: u64) -> Scenario {
    let job = |nth: u64| JobPlan {
        at: BEGIN + Duration::from_secs(30) + Duration::from_millis(nth * 20),
        takes: 2 * MINUTE,
        labels: pool.spec.labels.clone(),
        repo: "acme/web".into(),
        cancel_after: None,
    };
    Scenario { disturbed: 20 * MINUTE, ..Scenario::calm(3, &example::cluster("crash", [pool.clone()]), (0..jobs).map(job)) }
}

fn struck(scenario: Scenario, faults: &[(Fault, u32)]) -> Scenario {
    let strikes = faults.iter().map(|(fault, nth)| Strike { fault: *fault, nth: *nth }).collect();
    Scenario { faults: Schedule::Fixed(strikes), ..scenario }
}

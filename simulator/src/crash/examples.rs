//! The scenarios for `muster sim --crash-each`, when the user names none. Each is small. Together they have every kind of
//! effect: see `a_crash_after_any_effect_ends_where_the_run_without_one_does` in `tests/sim.rs`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::Judged;
use crate::changes::{Change, Edit};
use crate::scenario::Timed;
use crate::{BEGIN, Fault, JobPlan, Scenario, Schedule, Strike, example};
use muster_reconciler::manifest::{LateAct, LateStep, Lifetime, RunnerPool, Span};
use muster_reconciler::verdict::Cause;

const MINUTE: Duration = Duration::from_secs(60);

/// A built-in scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Example {
    /// Several jobs are queued at once, and nothing goes wrong.
    Burst,
    /// Reusable runners and a warm floor, which an operator sets to zero. The runners are drained.
    Warm,
    /// Instances hang or fail while they start. muster ends them and cleans up.
    Broken,
    /// More jobs than runners, lost webhooks and a clean stop. muster holds messages for long, releases them and asks for
    /// webhooks again.
    Unheard,
    /// A machine hangs under its job, and muster has GitHub run the job again.
    Lost,
    /// A job waits for a full pool. muster tells of it, and has its run cancelled.
    Late,
}

impl Example {
    /// In the order in which they are listed.
    pub const ALL: [Example; 6] =
        [Example::Burst, Example::Warm, Example::Broken, Example::Unheard, Example::Lost, Example::Late];

    /// The name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Example::Burst => "burst",
            Example::Warm => "warm",
            Example::Broken => "broken",
            Example::Unheard => "unheard",
            Example::Lost => "lost",
            Example::Late => "late",
        }
    }

    /// How the scenario's crashes are judged. Each example is made so that its end does not depend on luck.
    pub fn judged(self) -> Judged {
        // A process that starts asks GitHub for the webhooks that it could not deliver in the last day. Each of the two
        // jobs that it so hears of may be over, which no source tells, and may cost an instance.
        // A crash may let the machine hang before it has the job.
        if self == Example::Lost {
            return Judged::ByInvariants;
        }
        let spare = if matches!(self, Example::Unheard) { 2 } else { 0 };
        Judged::ByEnd { spare }
    }

    /// The scenario itself.
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
            Example::Late => {
                pool.spec.capacity.max = 1;
                let step = |minutes: u64, act| LateStep { after: Span::secs(60 * minutes), act };
                pool.spec.start_within = vec![step(2, LateAct::Tell), step(6, LateAct::Cancel)];
                let mut scenario = calm(&pool, 2);
                scenario.jobs.iter_mut().for_each(|job| job.takes = 60 * MINUTE);
                scenario
            }
            Example::Lost => {
                pool.spec.rerun.causes = Cause::ALL.into_iter().collect();
                let mut scenario = struck(calm(&pool, 1), &[(Fault::OnlineHang, 0)]);
                // It hangs within ten minutes.
                scenario.jobs.iter_mut().for_each(|job| job.takes = 20 * MINUTE);
                scenario
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

/// A scenario in which this many jobs are queued almost at once.
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

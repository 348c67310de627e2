//! What may go wrong, and how often: a configuration that a test states or a seed draws (swarm testing: which faults
//! exist at all differs from seed to seed, because a fault that is always there hides what happens without it).

use std::time::Duration;

use super::rng::{Rng, Spread};

/// How the world behaves when all is well, and what goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct WorldOptions {
    /// EC2: from the call to `running`.
    pub start: Spread,
    /// The box: from `running` to looking for its configuration.
    pub boot: Spread,
    /// The box: from having its configuration to online at GitHub.
    pub register: Spread,
    /// Any API call: request on its way, and the answer on its way back.
    pub network: Spread,
    /// CreateFleet's answer takes this much longer.
    pub fleet: Spread,
    /// GitHub: from a free runner and a queued job to the job's start.
    pub assign: Spread,
    /// GitHub: from what happened to our queue.
    pub webhook: Spread,
    /// EventBridge: from what happened to our queue.
    pub notify: Spread,
    /// Each page of DescribeInstances answers as of this long ago. muster relies on less than 30 s.
    pub describe_lag: Spread,
    /// A drained box sees its tag after this long.
    pub drain_seen: Spread,
    /// An unchanged runner list answers 304.
    pub etags: bool,
    /// Lines of the trace kept for a failure's timeline.
    pub keep_lines: usize,
    /// What goes wrong.
    pub faults: Faults,
}

impl Default for WorldOptions {
    fn default() -> Self {
        WorldOptions {
            start: Spread::secs(3, 12),
            boot: Spread::secs(12, 45),
            register: Spread::secs(2, 8),
            network: Spread::millis(10, 120),
            fleet: Spread::millis(600, 2500),
            assign: Spread::millis(200, 2500),
            webhook: Spread::millis(300, 3000),
            notify: Spread::millis(300, 3000),
            describe_lag: Spread::millis(0, 2000),
            drain_seen: Spread::secs(1, 6),
            etags: true,
            keep_lines: 4000,
            faults: Faults::default(),
        }
    }
}

/// What goes wrong. Rates are probabilities, 0..=1, of each chance; all are zero by default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// From the start of the run; afterwards nothing goes wrong any more. None: for ever.
    pub last: Option<Duration>,
    /// An API call is refused (throttled or 5xx) and does nothing.
    pub refused: f64,
    /// An API call is never answered; half of these took effect.
    pub unanswered: f64,
    /// One member of a batch fails.
    pub batch_member: f64,
    /// An offering has no capacity for five minutes.
    pub no_capacity: f64,
    /// An offering has only a few instances left for five minutes.
    pub little_capacity: f64,
    /// A spot instance is taken back, 1 to 20 minutes after its start.
    pub interruption: f64,
    /// An interruption comes without its warning.
    pub unwarned: f64,
    /// An EventBridge message is lost.
    pub notify_loss: f64,
    /// A box ends itself while it boots.
    pub boot_failure: f64,
    /// A box hangs while it boots, and costs money for ever.
    pub boot_hang: f64,
    /// A box boots three to fifteen times slower.
    pub boot_slow: f64,
    /// A box takes its job, but neither heeds a drain nor ends itself.
    pub deaf: f64,
    /// A webhook is lost. `queued` is only late then: GitHub's deliveries are asked again after some minutes.
    pub webhook_loss: f64,
    /// A webhook comes twice.
    pub webhook_twice: f64,
    /// A webhook is minutes late, and so out of order.
    pub webhook_late: f64,
    /// SQS delivers a message again while it is held.
    pub redelivered: f64,
    /// GitHub says `busy: false` of a busy runner for up to a minute, and lets it be deleted.
    pub busy_lie: f64,
    /// A row is missing from a runner list.
    pub missing_row: f64,
    /// A job is taken by a runner that is none of ours.
    pub foreign: f64,
    /// A queued job is cancelled before long.
    pub cancelled: f64,
    /// GitHub holds a queued job back (a concurrency group) for 5 to 40 minutes.
    pub held: f64,
    /// Controller processes killed during the faulty time.
    pub crashes: u32,
}

impl WorldOptions {
    /// Mild weather, for the demo: now and then spot takes a box, has no capacity, a boot fails or GitHub holds a job back.
    pub fn mild() -> WorldOptions {
        let faults = Faults {
            no_capacity: 0.3,
            little_capacity: 0.2,
            interruption: 0.1,
            boot_failure: 0.03,
            held: 0.02,
            cancelled: 0.02,
            ..Faults::default()
        };
        WorldOptions { faults, keep_lines: 0, ..WorldOptions::default() }
    }

    /// A configuration drawn at random: each fault exists in about two of five seeds, at a rate of its own.
    pub fn swarm(seed: u64) -> WorldOptions {
        let mut rng = Rng::new(seed, "swarm");
        let mut rate = |most: f64| {
            let (exists, share) = (rng.chance(0.4), rng.unit());
            if exists { most * share } else { 0.0 }
        };
        let faults = Faults {
            last: Some(Duration::from_secs(40 * 60)),
            refused: rate(0.2),
            unanswered: rate(0.1),
            batch_member: rate(0.2),
            no_capacity: rate(0.6),
            little_capacity: rate(0.5),
            interruption: rate(0.4),
            unwarned: rate(1.0),
            notify_loss: rate(1.0),
            boot_failure: rate(0.3),
            boot_hang: rate(0.2),
            boot_slow: rate(0.3),
            deaf: rate(0.3),
            webhook_loss: rate(0.3),
            webhook_twice: rate(0.5),
            webhook_late: rate(0.4),
            redelivered: rate(0.3),
            busy_lie: rate(1.0),
            missing_row: rate(0.3),
            foreign: rate(0.3),
            cancelled: rate(0.3),
            held: rate(0.2),
            crashes: if rng.chance(0.5) { u32::try_from(1 + rng.below(5)).unwrap_or(1) } else { 0 },
        };
        let lag = [0, 2, 10, 25][usize::try_from(rng.below(4)).unwrap_or_default()];
        let slow_network = rng.chance(0.3);
        WorldOptions {
            describe_lag: Spread::secs(0, lag),
            network: if slow_network { Spread::millis(20, 4000) } else { Spread::millis(10, 120) },
            etags: rng.chance(0.7),
            faults,
            ..WorldOptions::default()
        }
    }
}

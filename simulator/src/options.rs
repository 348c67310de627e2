//! How the world behaves when all is well: how long everything takes. And the weather that the demo and the swarm have.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::faults::{Fault, Rates};
use crate::luck::{Faults, Schedule};
use crate::rng::{Rng, Spread};

/// How long everything takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Latencies {
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
}

impl Default for Latencies {
    fn default() -> Self {
        Latencies {
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
        }
    }
}

/// How the world behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct WorldOptions {
    /// How long everything takes.
    pub latencies: Latencies,
    /// An unchanged runner list answers 304.
    pub etags: bool,
    /// Lines of the trace kept for a failure's timeline.
    pub keep_lines: usize,
    /// What goes wrong.
    pub faults: Faults,
}

impl Default for WorldOptions {
    fn default() -> Self {
        WorldOptions { latencies: Latencies::default(), etags: true, keep_lines: 4000, faults: Faults::default() }
    }
}

impl WorldOptions {
    /// Mild weather, for the demo: now and then spot takes a box, has no capacity, a boot fails or GitHub holds a job back.
    pub fn mild() -> WorldOptions {
        let rates = [
            (Fault::NoCapacity, 0.3),
            (Fault::LittleCapacity, 0.2),
            (Fault::Interruption, 0.1),
            (Fault::BootFailure, 0.03),
            (Fault::Held, 0.02),
            (Fault::Cancelled, 0.02),
        ];
        WorldOptions { faults: Faults::drawn(rates, None), keep_lines: 0, ..WorldOptions::default() }
    }

    /// A configuration drawn at random (swarm testing): each fault exists in about one of three seeds, at a rate of its
    /// own, because a fault that is always there hides what happens without it.
    pub fn swarm(seed: u64) -> WorldOptions {
        let mut rng = Rng::new(seed, "swarm");
        let mut rates = Rates::default();
        for fault in Fault::ALL {
            let (exists, share) = (rng.chance(0.33), rng.unit());
            if exists {
                rates.set(*fault, fault.most() * share);
            }
        }
        let lag = [0, 2, 10, 25][usize::try_from(rng.below(4)).unwrap_or_default()];
        let network = if rng.chance(0.3) { Spread::millis(20, 4000) } else { Spread::millis(10, 120) };
        WorldOptions {
            latencies: Latencies { describe_lag: Spread::secs(0, lag), network, ..Latencies::default() },
            etags: rng.chance(0.7),
            faults: Faults { last: Some(Duration::from_secs(40 * 60)), schedule: Schedule::Drawn(rates.into()) },
            ..WorldOptions::default()
        }
    }
}

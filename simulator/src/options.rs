//! How long everything takes, and which faults the demo and the swarm of seeds have.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::faults::{Fault, Rates};
use crate::luck::{Faults, Schedule};
use crate::rng::{Rng, Spread};

/// How long everything takes when nothing goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Latencies {
    /// EC2: from the launch call to `running`.
    pub start: Spread,
    /// The instance: from `running` until it looks for its configuration.
    pub boot: Spread,
    /// The instance: from reading its configuration until it is online at GitHub.
    pub register: Spread,
    /// Any API call: the request's way, and the answer's way back, each.
    pub network: Spread,
    /// How much longer CreateFleet's answer takes than other answers.
    pub fleet: Spread,
    /// GitHub: from an idle runner and a queued job to the job's start.
    pub assign: Spread,
    /// GitHub: from a job's change until its webhook is on the job queue.
    pub webhook: Spread,
    /// EventBridge: from an instance's change until the notification is on the queue.
    pub notify: Spread,
    /// How old the state is that a page of DescribeInstances shows. muster relies on less than 30 s.
    pub describe_lag: Spread,
    /// How long a drained instance takes to see its tag.
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

/// How the world behaves, and what goes wrong in it.
#[derive(Clone, Debug, PartialEq)]
pub struct WorldOptions {
    /// How long everything takes when nothing goes wrong.
    pub latencies: Latencies,
    /// Whether GitHub answers 304 for an unchanged list of runners.
    pub etags: bool,
    /// How many lines of the trace are kept, for the timeline of a failure.
    pub keep_lines: usize,
    /// What goes wrong, and when.
    pub faults: Faults,
    /// How many controllers there are. Of two or more, one holds the lease and acts.
    pub controllers: u32,
}

impl Default for WorldOptions {
    fn default() -> Self {
        WorldOptions { latencies: Latencies::default(), etags: true, keep_lines: 4000, faults: Faults::default(), controllers: 1 }
    }
}

impl WorldOptions {
    /// The demo's world. Now and then EC2 takes a spot instance back or has no capacity, a boot fails, or GitHub holds a
    /// job back.
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

    /// Options drawn at random (swarm testing). Each fault exists in about one of three seeds, at a rate of its own,
    /// because a fault that is always there hides what happens without it.
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

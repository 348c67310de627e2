//! What a user of `muster simulate` assumes of the world: how fast instances start, how often EC2 takes spot instances
//! back, and how much capacity EC2 has.
//!
//! The simulator's own options have many faults, which serve to find defects. The conditions are few, and serve people who
//! plan capacity. [`Weather`] gives each condition a value, a workload file overrides single ones, and [`Conditions::said`]
//! prints the values that were used.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use muster_reconciler::manifest::Span;
use muster_reconciler::time::human;

use crate::faults::Fault;
use crate::luck::Faults;
use crate::options::{Latencies, WorldOptions};
use crate::rng::Spread;

/// How much goes wrong. Each variant gives every one of the [`Conditions`] a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weather {
    /// Nothing goes wrong.
    Calm,
    /// An ordinary day in a region with several instance types and zones to choose from.
    #[default]
    Mild,
    /// Spot is scarce, boots fail, and APIs and webhooks are unreliable.
    Rough,
}

/// A range of times. Most draws are near `min` and few near `max`, because a draw squares a uniform number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The shortest.
    pub min: Span,
    /// The longest.
    pub max: Span,
}

impl Range {
    const fn secs(min: u64, max: u64) -> Range {
        Range { min: Span::secs(min), max: Span::secs(max) }
    }

    fn spread(self) -> Spread {
        Spread { low: self.min.get(), high: self.max.get() }
    }

    /// Half of the draws are shorter than this.
    pub fn median(self) -> Duration {
        self.min.get() + self.max.get().saturating_sub(self.min.get()) / 4
    }
}

macro_rules! conditions {
    ($($(#[$doc:meta])* $name:ident: $kind:ty = $calm:expr, $mild:expr, $rough:expr;)*) => {
        /// Everything that a run assumes of the world. A share is a probability from 0 to 1.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(rename_all = "camelCase")]
        pub struct Conditions {
            $($(#[$doc])* pub $name: $kind,)*
            /// How long after a job was lost a person queues it again; muster does not. None: a job that was lost with its
            /// instance stays lost.
            pub rerun_lost_after: Option<Span>,
        }

        /// What a workload file says about the world. The weather decides each field that the file leaves out.
        #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
        #[serde(default, deny_unknown_fields, rename_all = "camelCase")]
        pub struct Overrides {
            $($(#[$doc])* pub $name: Option<$kind>,)*
            /// How long after a job was lost with its instance a person queues it again.
            pub rerun_lost_after: Option<Span>,
        }

        impl Conditions {
            /// The weather's conditions, except for those that the file overrides.
            pub fn new(weather: Weather, overrides: &Overrides) -> Conditions {
                Conditions {
                    $($name: overrides.$name.unwrap_or(match weather {
                        Weather::Calm => $calm,
                        Weather::Mild => $mild,
                        Weather::Rough => $rough,
                    }),)*
                    rerun_lost_after: overrides.rerun_lost_after,
                }
            }
        }
    };
}

conditions! {
    /// The time from the launch call to `running` at EC2.
    start: Range = Range::secs(3, 12), Range::secs(3, 12), Range::secs(3, 30);
    /// The time from `running` until the instance looks for its configuration.
    boot: Range = Range::secs(12, 45), Range::secs(12, 45), Range::secs(15, 90);
    /// The time from reading the configuration until the runner is online at GitHub.
    register: Range = Range::secs(2, 8), Range::secs(2, 8), Range::secs(2, 20);
    /// The share of spot instances that EC2 takes back, 1 to 20 minutes after their launch.
    interruption: f64 = 0.0, 0.03, 0.15;
    /// The share of these interruptions that come without the two-minute warning.
    unwarned: f64 = 0.0, 0.1, 0.3;
    /// The share of five-minute spans in which an offering (type and subnet) has no spot capacity. For on-demand, it is a
    /// third of this.
    no_capacity: f64 = 0.0, 0.1, 0.4;
    /// The share of five-minute spans in which an offering has one to three instances left.
    little_capacity: f64 = 0.0, 0.1, 0.3;
    /// The share of instances that end themselves while they boot.
    boot_failure: f64 = 0.0, 0.01, 0.05;
    /// The share of instances that boot three to fifteen times slower.
    boot_slow: f64 = 0.0, 0.02, 0.1;
    /// The share of instances that hang while they boot.
    boot_hang: f64 = 0.0, 0.0, 0.01;
    /// The share of API calls that are refused.
    api_refused: f64 = 0.0, 0.002, 0.03;
    /// The share of API calls that are never answered. Half of these take effect.
    api_unanswered: f64 = 0.0, 0.0, 0.01;
    /// The share of webhooks that are minutes late.
    webhook_late: f64 = 0.0, 0.002, 0.05;
    /// The share of webhooks that are lost. A lost `queued` comes after all, once muster has asked GitHub for it again.
    webhook_lost: f64 = 0.0, 0.0, 0.01;
}

impl Conditions {
    /// The fields that have impossible values, each with a message for people. Empty: all values are possible.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let shares = [
            ("interruption", self.interruption),
            ("unwarned", self.unwarned),
            ("noCapacity", self.no_capacity),
            ("littleCapacity", self.little_capacity),
            ("bootFailure", self.boot_failure),
            ("bootSlow", self.boot_slow),
            ("bootHang", self.boot_hang),
            ("apiRefused", self.api_refused),
            ("apiUnanswered", self.api_unanswered),
            ("webhookLate", self.webhook_late),
            ("webhookLost", self.webhook_lost),
        ];
        let bad = shares.into_iter().filter(|(_, share)| !(0.0..=1.0).contains(share));
        let mut problems: Vec<_> =
            bad.map(|(name, share)| (name, format!("{share} is no share; write a number from 0 to 1, such as 0.05"))).collect();
        for (name, range) in [("start", self.start), ("boot", self.boot), ("register", self.register)] {
            if range.min > range.max {
                problems.push((name, format!("min {} is longer than max {}; swap them", range.min, range.max)));
            }
        }
        problems
    }

    /// The options of a simulation under these conditions.
    pub fn options(&self) -> WorldOptions {
        let rates = [
            (Fault::Refused, self.api_refused),
            (Fault::Unanswered, self.api_unanswered),
            (Fault::NoCapacity, self.no_capacity),
            (Fault::LittleCapacity, self.little_capacity),
            (Fault::Interruption, self.interruption),
            (Fault::Unwarned, self.unwarned),
            (Fault::BootFailure, self.boot_failure),
            (Fault::BootSlow, self.boot_slow),
            (Fault::BootHang, self.boot_hang),
            (Fault::WebhookLate, self.webhook_late),
            (Fault::WebhookLoss, self.webhook_lost),
        ];
        let (start, boot, register) = (self.start.spread(), self.boot.spread(), self.register.spread());
        let latencies = Latencies { start, boot, register, ..Latencies::default() };
        WorldOptions { latencies, keep_lines: 0, faults: Faults::drawn(rates, None), ..WorldOptions::default() }
    }

    /// The conditions in sentences, for people.
    pub fn said(&self) -> Vec<String> {
        let range = |r: Range| format!("{} to {}, half of them under {}", r.min, r.max, human(r.median()));
        let share = |share: f64| format!("{}%", (share * 1000.0).round() / 10.0);
        let mut said = vec![
            format!("EC2 takes {} from the call to running", range(self.start)),
            format!("an instance boots in {}, and registers in {}; all pools alike", range(self.boot), range(self.register)),
            format!(
                "boots: {} fail, {} are 3 to 15 times slower, {} hang",
                share(self.boot_failure),
                share(self.boot_slow),
                share(self.boot_hang)
            ),
            format!(
                "spot takes back {} of its instances, 1 to 20 minutes after their launch, {} of them without a warning",
                share(self.interruption),
                share(self.unwarned)
            ),
            format!(
                "every 5 minutes each offering (type and subnet) has no spot capacity with a chance of {}, and 1 to 3 instances \
                 left with {}; on-demand runs dry a third as often",
                share(self.no_capacity),
                share(self.little_capacity)
            ),
            format!("API calls: {} are refused, {} are never answered", share(self.api_refused), share(self.api_unanswered)),
            format!("webhooks: {} are minutes late, {} are lost", share(self.webhook_late), share(self.webhook_lost)),
        ];
        said.push(match self.rerun_lost_after {
            Some(after) => format!("a job that is lost with its instance is rerun by somebody after {after}"),
            None => "a job that is lost with its instance stays lost, unless its pool's spec.rerun says otherwise".into(),
        });
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_overrides_single_assumptions_and_no_others() {
        let overrides = Overrides { interruption: Some(0.5), ..Overrides::default() };
        let (mild, changed) = (Conditions::new(Weather::Mild, &Overrides::default()), Conditions::new(Weather::Mild, &overrides));
        assert_eq!(changed, Conditions { interruption: 0.5, ..mild });
        assert!(changed.said().iter().any(|line| line.starts_with("spot takes back 50%")), "{:?}", changed.said());
        assert_eq!(changed.options().faults.rate(Fault::Interruption), 0.5);
    }

    #[test]
    fn in_calm_weather_nothing_goes_wrong() {
        let calm = Conditions::new(Weather::Calm, &Overrides::default());
        assert!(Fault::ALL.iter().all(|fault| calm.options().faults.rate(*fault) == 0.0));
        assert_eq!(calm.problems(), []);
    }

    #[test]
    fn impossible_assumptions_are_named() {
        let overrides = Overrides { boot: Some(Range::secs(9, 3)), no_capacity: Some(1.5), ..Overrides::default() };
        let problems = Conditions::new(Weather::Calm, &overrides).problems();
        assert_eq!(problems.iter().map(|p| p.0).collect::<Vec<_>>(), ["noCapacity", "boot"]);
        assert!(problems[0].1.contains("from 0 to 1"), "{problems:?}");
    }
}

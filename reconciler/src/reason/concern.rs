//! What somebody should do something about, and what to do.

use super::{Backoff, Misfit, NotServed, Refused, Shortage, Unmatched, count, words};
use crate::ids::{InstanceId, PoolName};
use crate::labels::quoted;
use crate::steer::Pause;
use crate::time::{Time, human};

/// Something that somebody should do something about.
#[derive(Clone, Debug, PartialEq)]
pub enum Concern {
    /// The runners of a pool fail to start, or cannot be launched.
    Failing {
        /// The pool.
        pool: PoolName,
        /// The failures.
        why: Backoff,
        /// The last instance that failed to start. None: nothing was launched.
        instance: Option<InstanceId>,
    },
    /// GitHub or SSM refuses to configure the new runners of a pool.
    Refused {
        /// The pool.
        pool: PoolName,
        /// The refusal.
        why: Refused,
    },
    /// An operator paused a pool.
    Paused {
        /// The pool.
        pool: PoolName,
        /// The operator's pause.
        pause: Pause,
    },
    /// A pool with `capacity.max: 0` has jobs that no other pool takes.
    SwitchedOff {
        /// The pool.
        pool: PoolName,
    },
    /// GitHub gives nothing to the runners of a pool.
    NotServed {
        /// The pool.
        pool: PoolName,
        /// What shows it.
        why: NotServed,
    },
    /// EC2 has no capacity for a pool.
    NoCapacity {
        /// The pool.
        pool: PoolName,
        /// EC2's refusals.
        why: Shortage,
    },
    /// A pool has as many instances as its max allows, and its jobs wait.
    Full {
        /// The runners that the pool has, and the launches under way.
        has: u32,
        /// The pool.
        pool: PoolName,
        /// The most instances that the pool may have.
        max: u32,
    },
    /// No pool takes some jobs.
    Unplaceable(Unmatched),
    /// The runners of jobs are gone, and nobody has run the jobs again.
    Lost {
        /// The pool.
        pool: PoolName,
        /// Whether an order of an operator has some of them run again.
        again: bool,
    },
    /// The runners of a pool got jobs of repositories that the pool does not list.
    Foreign {
        /// The pool.
        pool: PoolName,
    },
    /// Events name a runner of ours with another id than GitHub gave it.
    NameTaken {
        /// The runner's instance.
        instance: InstanceId,
    },
    /// GitHub holds jobs of a pool back for long, and does not say so.
    HeldLong {
        /// The pool.
        pool: PoolName,
    },
    /// A source was not seen whole for long.
    Stale {
        /// What was not seen, in words that fit after "all of".
        what: String,
        /// Why the last sweep failed. None: it has not ended.
        error: Option<String>,
    },
    /// GitHub admits few more requests.
    GitHubLimit {
        /// The GitHubApp or GitHubToken, and its account if there is one.
        whose: String,
        /// The requests that are left.
        left: u32,
        /// The reset of the limit.
        until: Time,
    },
    /// GitHub ends, or has ended, the version of the runner program that a pool runs.
    Version {
        /// The pool.
        pool: PoolName,
        /// What GitHub does, and when, in one sentence.
        said: String,
        /// What to do about it.
        way_out: &'static str,
    },
}

words! { Concern {
    Failing => "failing",
    Refused => "refused",
    Paused => "paused",
    SwitchedOff => "switched_off",
    NotServed => "not_served",
    NoCapacity => "no_capacity",
    Full => "full",
    Unplaceable => "unplaceable",
    Lost => "lost",
    Foreign => "foreign_job",
    NameTaken => "name_taken",
    HeldLong => "held_long",
    Stale => "stale",
    GitHubLimit => "github_limit",
    Version => "version",
}}

impl Concern {
    /// What is the matter, in one sentence without a full stop. When it began and how many jobs wait are told beside it.
    pub fn say(&self, now: Time) -> String {
        match self {
            Concern::Failing { pool, why: why @ Backoff::BootFailures { .. }, .. } => {
                format!("Pool {pool} gets no runners: {why}")
            }
            Concern::Failing { pool, why, .. } => format!("Pool {pool} cannot launch: {why}"),
            Concern::Refused { pool, why } => format!("Pool {pool} cannot configure its new runners: {why}"),
            Concern::Paused { pool, pause } if pause.why.is_empty() => format!("Pool {pool} is paused by an operator"),
            Concern::Paused { pool, pause } => format!("Pool {pool} is paused by an operator: {}", pause.why),
            Concern::SwitchedOff { pool } => {
                format!("Pool {pool} is switched off (capacity.max is 0), and no other pool takes its jobs")
            }
            Concern::NotServed { pool, .. } => {
                format!("GitHub gives nothing to the idle runners of pool {pool}, although jobs match")
            }
            Concern::NoCapacity { pool, why } => format!("EC2 launches nothing for pool {pool}: {why}"),
            Concern::Full { pool, has, max } => {
                format!("Pool {pool} is full: it has {} of {max} and more jobs wait", count(*has, "runner"))
            }
            Concern::Unplaceable(why) => unplaceable(why),
            Concern::Lost { pool, .. } => format!("Jobs of pool {pool} lost their runners within the last hour"),
            Concern::Foreign { pool } => {
                format!("Runners of pool {pool} got jobs of repositories that the pool does not list, within the last hour")
            }
            Concern::NameTaken { instance } => {
                format!("Another runner has the name of our runner {instance}, as was seen within the last hour")
            }
            Concern::HeldLong { pool } => {
                format!("Jobs of pool {pool} have waited for more than an hour, and idle runners did not get them")
            }
            Concern::Stale { what, error: Some(error) } => format!("muster could not see all of {what}: {error}"),
            Concern::Stale { what, error: None } => format!("muster has not seen all of {what}"),
            Concern::GitHubLimit { whose, left, until } => format!(
                "GitHub's rate limit of {whose} has {} left; it is reset in {}",
                count(*left, "request"),
                human(until.since(now))
            ),
            Concern::Version { pool, said, .. } => format!("Pool {pool}: {said}"),
        }
    }

    /// What to do about it, in one sentence without a full stop.
    pub fn way_out(&self) -> String {
        match self {
            Concern::Failing { instance: Some(instance), why: Backoff::BootFailures { .. }, .. } => {
                format!("Read the last words of instance {instance}, and correct the image or the boot script")
            }
            Concern::Failing { .. } | Concern::Refused { .. } => "Run muster doctor, and correct what it names".into(),
            Concern::Paused { pool, .. } => format!("Resume it when the reason is gone: muster resume pool/{pool}"),
            Concern::SwitchedOff { .. } => "Raise capacity.max, or give the labels to another pool".into(),
            Concern::NotServed { why, .. } => {
                let version = why.versions.join(", ");
                let version = if version.is_empty() { version } else { format!(" ({version})") };
                format!("Check the runners' version{version}, their runner group, and https://www.githubstatus.com")
            }
            Concern::NoCapacity { .. } => "Add instance types or subnets, or let the pool buy on-demand".into(),
            Concern::Full { .. } => "Raise capacity.max, or see which repository fills the pool".into(),
            Concern::Unplaceable(Unmatched::NoLabels) => "Add a pool's labels beside the group in runs-on".into(),
            Concern::Unplaceable(Unmatched::Unserved { .. }) => "Add a pool whose github.scope covers the repository".into(),
            Concern::Unplaceable(Unmatched::Misfit { misfit: Misfit::Lacks { .. }, .. }) => {
                "Give the labels to a pool, or correct runs-on".into()
            }
            Concern::Unplaceable(Unmatched::Misfit { misfit: Misfit::Unasked { .. }, .. }) => {
                "Name these labels in runs-on, too, or let the pool take jobs that do not".into()
            }
            Concern::Lost { pool, again: true } => {
                format!("Run them again: muster rerun pool/{pool}; or let muster do it by itself: rerun.causes of the pool")
            }
            Concern::Lost { .. } => "Run them again at GitHub, or let muster do it: rerun.causes of the pool".into(),
            Concern::Foreign { .. } => "Give the pool a runner group of its own with selected repositories".into(),
            Concern::NameTaken { .. } => "Find out who registers runners with this name".into(),
            Concern::HeldLong { .. } => {
                "Check their concurrency groups and environments, and which repositories the runner group admits".into()
            }
            Concern::Stale { .. } => "Run muster doctor; until then muster ends nothing that it cannot see".into(),
            Concern::GitHubLimit { .. } => {
                "Find out what else uses this App or token; muster waits for the reset by itself".into()
            }
            Concern::Version { way_out, .. } => capitalised(way_out),
        }
    }
}

fn unplaceable(why: &Unmatched) -> String {
    match why {
        Unmatched::NoLabels => "Jobs name a runner group and no label, so no pool can be found for them".into(),
        Unmatched::Unserved { repo } => format!("No pool serves {repo}"),
        Unmatched::Misfit { misfit: Misfit::Lacks { labels }, .. } => {
            format!("No pool takes jobs that ask for {}", quoted(labels))
        }
        Unmatched::Misfit { nearest, misfit: Misfit::Unasked { labels } } => {
            format!("Pool {nearest} takes only jobs that also ask for {}, and no other pool takes the others", quoted(labels))
        }
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_begin_with_a_capital_and_have_no_full_stop_of_their_own() {
        let pool = || PoolName::from("linux");
        let lacks = Misfit::Lacks { labels: vec!["gpu".into()] };
        let refused = || Refused { kind: crate::failure::FailureKind::Refused, message: "no permission".into() };
        let all = [
            Concern::Failing { pool: pool(), why: Backoff::LaunchFailed(refused()), instance: None },
            Concern::Refused { pool: pool(), why: refused() },
            Concern::Paused { pool: pool(), pause: Pause { since: Time::ZERO, why: String::new() } },
            Concern::SwitchedOff { pool: pool() },
            Concern::NotServed { pool: pool(), why: NotServed { since: Time::ZERO, versions: vec!["2.1.0".into()] } },
            Concern::Full { pool: pool(), has: 1, max: 1 },
            Concern::Unplaceable(Unmatched::Misfit { nearest: pool(), misfit: lacks }),
            Concern::Unplaceable(Unmatched::NoLabels),
            Concern::Lost { pool: pool(), again: true },
            Concern::Foreign { pool: pool() },
            Concern::NameTaken { instance: "i-1".into() },
            Concern::HeldLong { pool: pool() },
            Concern::Stale { what: "the instances at EC2".into(), error: None },
            Concern::GitHubLimit { whose: "main on acme".into(), left: 1, until: Time::ZERO },
            Concern::Version { pool: pool(), said: "GitHub stops it".into(), way_out: "set another" },
        ];
        for concern in all {
            for said in [concern.say(Time::ZERO), concern.way_out()] {
                let first = said.chars().next().expect("it says something");
                assert!(first.is_uppercase() || said.starts_with("muster"), "{said}");
                assert!(!said.ends_with('.') && !said.contains("  "), "{said}");
            }
        }
        let left = Concern::GitHubLimit { whose: "main on acme".into(), left: 1, until: Time::from_millis(60_000) };
        assert_eq!(left.say(Time::ZERO), "GitHub's rate limit of main on acme has 1 request left; it is reset in 1m");
    }
}

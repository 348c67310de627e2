//! What the tests' emulators assume of AWS and GitHub, compared with what was seen. These functions are pure, so a report is
//! judged in the same way everywhere.

use muster_reconciler::market::Market;
use muster_reconciler::reason::count;
use serde::Serialize;

use super::seen::{InstanceSeen, Sight};
use muster_github::field::{Headers, Twice};

/// What is known of an assumption after the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stands {
    /// AWS or GitHub behaves as the emulators do.
    Holds,
    /// AWS or GitHub behaves otherwise, so muster was tested with something else than the real world.
    Differs,
    /// Nothing was seen that confirms or refutes the assumption.
    NotSeen,
}

impl Stands {
    /// The same in words, for the report.
    pub const fn as_str(self) -> &'static str {
        match self {
            Stands::Holds => "as assumed",
            Stands::Differs => "DIFFERS",
            Stands::NotSeen => "not seen",
        }
    }
}

/// One assumption.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Assumption {
    /// The name of the assumption. Reports of different people use the same names.
    pub id: &'static str,
    /// What the emulators do.
    pub emulators: &'static str,
    /// What was seen.
    pub seen: String,
    /// Whether the assumption holds.
    pub stands: Stands,
}

/// Everything that the assumptions are compared with.
#[derive(Debug, Default)]
pub(super) struct Observed<'a> {
    pub job: Option<&'a std::collections::BTreeMap<Sight, u64>>,
    pub run_instance: Option<&'a InstanceSeen>,
    pub idle_instance: Option<&'a InstanceSeen>,
    pub jit: Option<&'a Headers>,
    pub twice: Option<&'a Twice>,
    pub last_words: Option<&'a Option<String>>,
}

impl Observed<'_> {
    fn job(&self, mark: Sight) -> Option<u64> {
        self.job?.get(&mark).copied()
    }

    fn of_instance(&self, mark: Sight) -> Option<u64> {
        self.run_instance?.marks.get(&mark).copied()
    }
}

/// The seconds between two times in milliseconds since 1970. They are never below zero, because the clocks of two systems may
/// differ.
fn seconds(from: Option<u64>, to: Option<u64>) -> Option<f64> {
    Some((to? as f64 - from? as f64).max(0.0) / 1000.0)
}

type Sighting = Option<(String, bool)>;

fn within(what: &str, seconds: Option<f64>, at_most: f64) -> Sighting {
    seconds.map(|s| (format!("{s:.1} s {what}"), s <= at_most))
}

/// Every assumption, each with what was seen.
pub(super) fn judge(e: &Observed<'_>) -> Vec<Assumption> {
    [of_launch(e), of_run(e), of_end(e), of_limits(e)].concat()
}

fn assumption(id: &'static str, emulators: &'static str, seen: Sighting) -> Assumption {
    let (seen, stands) = match seen {
        Some((seen, true)) => (seen, Stands::Holds),
        Some((seen, false)) => (seen, Stands::Differs),
        None => ("nothing".into(), Stands::NotSeen),
    };
    Assumption { id, emulators, seen, stands }
}

fn of_launch(e: &Observed<'_>) -> Vec<Assumption> {
    let delay = seconds(e.job(Sight::Queued), e.job(Sight::WebhookHeard));
    let answer = e.run_instance.map(|b| {
        let kind = b.view.instance_type.as_deref().unwrap_or("no type");
        let told = format!("{kind}, {}", b.view.market.map_or("no market", Market::as_str));
        (told, b.view.instance_type.is_some() && b.view.market.is_some())
    });
    let market = e.run_instance.and_then(|b| {
        let (launched, shown) = (b.view.market?, b.market?);
        Some((format!("{launched} launched, {shown} shown"), launched == shown))
    });
    let tagged = e.run_instance.and_then(|b| b.tagged);
    let tags = tagged.map(|tagged| (if tagged { "they were" } else { "they were not" }.to_owned(), tagged));
    vec![
        assumption(
            "webhook-delay",
            "the webhook of a queued job comes within 10 s",
            within("from GitHub's own time of the job until the controller heard", delay, 10.0),
        ),
        assumption("fleet-answer", "CreateFleet's answer names the instance, its type and its market", answer),
        assumption("market", "DescribeInstances tells the same market as the launch", market),
        assumption("describe-lag", "DescribeInstances shows an instance within 5 s of CreateFleet's answer", describe_lag(e)),
        assumption("tags-at-launch", "the tags are there when an instance is first shown", tags),
    ]
}

fn of_run(e: &Observed<'_>) -> Vec<Assumption> {
    let busy = e.run_instance.filter(|b| b.row.is_some()).map(|b| {
        let busy = b.marks.contains_key(&Sight::BusySeen);
        (if busy { "it did" } else { "it was looked at each second and never did" }.to_owned(), busy)
    });
    let gone = seconds(e.job(Sight::JobEnded), e.of_instance(Sight::RegistrationGone));
    vec![
        assumption("secret-deleted-by-instance", "the instance deletes its secret once it has read it", secret(e)),
        assumption("busy", "GitHub's row of the runner says busy while a job runs", busy),
        assumption(
            "registration-gone",
            "an ephemeral runner's registration is gone within 10 s of its job's end",
            within("from the job's end until the row was gone", gone, 10.0),
        ),
    ]
}

fn of_end(e: &Observed<'_>) -> Vec<Assumption> {
    let code = e.run_instance.and_then(|b| b.end_code.clone());
    let notice = seconds(e.run_instance.and_then(|b| b.end_at), e.of_instance(Sight::InstanceGone));
    let words = e.last_words.map(|words| {
        let late = || "nothing yet (EC2 shows a console some minutes late)".to_owned();
        (words.clone().unwrap_or_else(late), words.is_some())
    });
    vec![
        assumption(
            "ends-itself",
            "an instance that has done its job shuts itself down, and EC2 says so (Client.InstanceInitiatedShutdown)",
            code.map(|code| (code.clone(), code == "Client.InstanceInitiatedShutdown")),
        ),
        assumption(
            "end-notice",
            "the controller knows of an instance's end within 60 s (EventBridge, or the next sweep)",
            within("from EC2's own time of the end until the controller knew", notice, 60.0),
        ),
        assumption("drain-heard", "an idle instance sees its drain tag in the metadata, and is ending within 60 s", drain(e)),
        assumption("console", "the instance's last words are on its console when it is gone", words),
    ]
}

fn describe_lag(e: &Observed<'_>) -> Sighting {
    let lag = seconds(e.of_instance(Sight::Launched), e.of_instance(Sight::Ec2ShowsIt))?;
    let unknown = e.run_instance.map_or(0, |b| b.unknown_to_ec2);
    Some((
        format!("{lag:.1} s, looked at about each second; EC2 said {} that it knows no such instance", count(unknown, "time")),
        lag <= 5.0,
    ))
}

fn secret(e: &Observed<'_>) -> Sighting {
    let b = e.run_instance?;
    b.marks.get(&Sight::SecretGone)?;
    if b.secret_deleted_by_controller {
        return Some(("the controller deleted it".into(), false));
    }
    Some(match seconds(b.marks.get(&Sight::SecretStored).copied(), b.marks.get(&Sight::SecretGone).copied()) {
        Some(lay) => (format!("the instance did; it was seen lying for {lay:.1} s"), true),
        None => ("the instance did, between two looks".into(), true),
    })
}

fn drain(e: &Observed<'_>) -> Sighting {
    let b = e.idle_instance?;
    let ended = [Sight::InstanceEnding, Sight::InstanceTerminated, Sight::InstanceGone]
        .iter()
        .filter_map(|mark| b.marks.get(mark))
        .min()
        .copied();
    within("from the order until the instance was ending", seconds(b.marks.get(&Sight::DrainAsked).copied(), ended), 60.0)
}

fn of_limits(e: &Observed<'_>) -> Vec<Assumption> {
    let resource = |headers: &Headers| {
        let name = headers.resource.clone().unwrap_or_else(|| "no x-ratelimit-resource".into());
        let left = headers.remaining.map_or_else(|| "no x-ratelimit-remaining".into(), |left| format!("{left} left"));
        format!("{name}, {left}")
    };
    vec![
        assumption(
            "jit-limit",
            "generate-jitconfig is paid from a resource of its own, `actions_runner_registration`",
            e.jit.map(|headers| (resource(headers), headers.resource.as_deref() == Some("actions_runner_registration"))),
        ),
        assumption(
            "list-limit",
            "the list of runners is paid from the resource `core`, and says what is left",
            e.twice.map(|twice| {
                (resource(&twice.first), twice.first.resource.as_deref() == Some("core") && twice.first.remaining.is_some())
            }),
        ),
        assumption(
            "etag",
            "the list of runners has an ETag, and an unchanged list is a 304 that costs nothing",
            e.twice.map(|twice| {
                let etag = if twice.first.etag.is_some() { "an ETag" } else { "no ETag" };
                let again = if twice.unchanged { "304" } else { "a whole answer" };
                let free = twice.first.remaining.is_some() && twice.first.remaining == twice.second.remaining;
                let cost =
                    if free { "it cost nothing" } else { "the count of requests left changed (others may have asked, too)" };
                (format!("{etag}, then {again}; {cost}"), twice.first.etag.is_some() && twice.unchanged)
            }),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<'a>(all: &'a [Assumption], id: &str) -> &'a Assumption {
        all.iter().find(|a| a.id == id).expect("there is one")
    }

    #[test]
    fn what_was_not_seen_is_neither_right_nor_wrong() {
        let all = judge(&Observed::default());
        assert!(all.iter().all(|a| a.stands == Stands::NotSeen), "{all:#?}");
        let mut ids: Vec<&str> = all.iter().map(|a| a.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all.len(), "each has a name of its own");
    }

    #[test]
    fn a_difference_is_told_as_one() {
        let job = [(Sight::Queued, 1_000), (Sight::WebhookHeard, 3_500), (Sight::JobEnded, 60_000)].into();
        let mut seen = InstanceSeen {
            end_code: Some("Client.UserInitiatedShutdown".into()),
            tagged: Some(false),
            unknown_to_ec2: 3,
            ..InstanceSeen::default()
        };
        seen.marks = [
            (Sight::Launched, 10_000),
            (Sight::Ec2ShowsIt, 18_000),
            (Sight::RegistrationGone, 61_000),
            (Sight::SecretGone, 20_000),
        ]
        .into();
        seen.secret_deleted_by_controller = true;
        let headers = Headers { resource: Some("core".into()), remaining: Some(999), etag: None };
        let all = judge(&Observed { job: Some(&job), run_instance: Some(&seen), jit: Some(&headers), ..Observed::default() });
        assert_eq!(of(&all, "webhook-delay").seen, "2.5 s from GitHub's own time of the job until the controller heard");
        for holds in ["webhook-delay", "registration-gone"] {
            assert_eq!(of(&all, holds).stands, Stands::Holds, "{holds}");
        }
        for differs in ["describe-lag", "tags-at-launch", "secret-deleted-by-instance", "ends-itself", "jit-limit"] {
            assert_eq!(of(&all, differs).stands, Stands::Differs, "{differs}");
        }
        assert!(of(&all, "jit-limit").seen.contains("core, 999 left"));
        assert!(of(&all, "describe-lag").seen.contains("3 times"));
    }
}

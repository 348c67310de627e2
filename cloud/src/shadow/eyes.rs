//! The adapters of a shadow. They read, and have no method that changes anything: whoever holds one of them can launch, tag, end,
//! register and delete nothing.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types;
use chrono::NaiveDateTime;
use muster_github::{AnyRunner, Credentials, GitHub};
use muster_operations::observer::Observer;
use muster_operations::shadow::BoxSeen;
use muster_reconciler::effect::Outcome;
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::{AppName, JobId, ListId};
use muster_reconciler::market::Market;
use muster_reconciler::time::Time;
use tokio::sync::mpsc;

use crate::aws::{Aws, Probe};

/// The most pages of one look: a million instances.
const PAGES: usize = 1_000;

/// Looks at the instances with one tag.
#[derive(Clone, Debug)]
pub struct BoxEyes {
    client: Client,
    key: String,
    value: String,
}

impl BoxEyes {
    /// Looks at the instances with this tag, in this region.
    pub async fn open(region: Option<&str>, key: &str, value: &str) -> BoxEyes {
        let client = Client::new(&Aws::config(region).await);
        BoxEyes { client, key: key.to_owned(), value: value.to_owned() }
    }

    /// All instances with the tag, those that ended within the last hour included.
    ///
    /// # Errors
    /// When a page cannot be read.
    pub async fn look(&self) -> Result<Vec<BoxSeen>, Failure> {
        let (key, value) = (&self.key, &self.value);
        let filter = types::Filter::builder().name(format!("tag:{key}")).values(value).build();
        let (mut seen, mut next) = (Vec::new(), None);
        for page in 1..=PAGES {
            let call = self.client.describe_instances().filters(filter.clone()).max_results(1_000).set_next_token(next);
            let what = format!("look at the instances with the tag {key}={value}, page {page}");
            let answer = Probe::default().call("ec2.DescribeInstances", &what, call.send()).await?;
            seen.extend(answer.reservations().iter().flat_map(|reservation| reservation.instances()).filter_map(sighting));
            next = answer.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if next.is_none() {
                return Ok(seen);
            }
        }
        let message = format!("look at the instances with the tag {key}={value}: no end after {PAGES} pages");
        Err(Failure::new(FailureKind::Refused, message))
    }
}

/// What a shadow keeps of an instance. None: the instance has no id, which EC2 never does.
fn sighting(instance: &types::Instance) -> Option<BoxSeen> {
    let state = instance.state().and_then(|state| state.name());
    let down = [types::InstanceStateName::ShuttingDown, types::InstanceStateName::Terminated];
    let stopped = [types::InstanceStateName::Stopping, types::InstanceStateName::Stopped];
    let up = !state.is_some_and(|state| down.contains(state) || stopped.contains(state));
    let millis = instance.launch_time().and_then(|at| at.to_millis().ok()).and_then(|ms| u64::try_from(ms).ok());
    let reason = instance.state_reason().and_then(|said| said.code().or(said.message()).map(str::to_owned));
    Some(BoxSeen {
        id: instance.instance_id()?.into(),
        instance_type: instance.instance_type().map_or("unknown", |t| t.as_str()).to_owned(),
        market: match instance.instance_lifecycle() {
            Some(types::InstanceLifecycleType::Spot) => Market::Spot,
            _ => Market::OnDemand,
        },
        windows: instance.platform().is_some_and(|platform| platform.as_str().eq_ignore_ascii_case("windows")),
        launched_at: Time::from_millis(millis.unwrap_or(0)),
        up,
        ended_at: instance.state_transition_reason().filter(|_| !up).and_then(ended_at),
        reason: reason.filter(|text| !up && !text.is_empty()),
    })
}

/// The time in `User initiated (2026-12-03 05:06:07 GMT)`. EC2 does not always tell one.
fn ended_at(reason: &str) -> Option<Time> {
    let (_, time) = reason.rsplit_once('(')?;
    let at = NaiveDateTime::parse_from_str(time.get(..19)?, "%Y-%m-%d %H:%M:%S").ok()?;
    u64::try_from(at.and_utc().timestamp_millis()).ok().map(Time::from_millis)
}

/// Looks at runners and jobs at GitHub.
#[derive(Clone, Debug)]
pub struct GitHubEyes(GitHub);

impl GitHubEyes {
    /// Looks with these credentials, which need to read only.
    ///
    /// # Errors
    /// When a private key or a URL is wrong.
    pub fn new(credentials: Vec<Credentials>, observer: Observer) -> anyhow::Result<GitHubEyes> {
        // A shadow asks so little that it needs no budget.
        let (limits, _) = mpsc::unbounded_channel();
        Ok(GitHubEyes(GitHub::new(credentials, limits, observer)?))
    }

    /// All runners of a list.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub async fn runners(&self, list: &ListId) -> Result<Vec<AnyRunner>, Failure> {
        self.0.everyone(list).await
    }

    /// GitHub's answer about one job.
    pub async fn job(&self, app: &AppName, repo: &str, job: JobId) -> Outcome {
        self.0.get(app, repo, job).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_instance_is_read_where_ec2_tells_it() {
        let at = ended_at("User initiated (2026-12-03 05:06:07 GMT)").expect("a time");
        assert_eq!(at.as_millis(), 1_780_463_167_000 + 15_811_200_000);
        assert_eq!(ended_at("Server.SpotInstanceTermination"), None);
        assert_eq!(ended_at("User initiated"), None);
    }
}

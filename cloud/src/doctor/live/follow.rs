//! Follows one job and the instances that are launched for it, by asking every source that knows something, again and again. It
//! changes nothing. If a source cannot be asked, one line of the report says so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use muster_reconciler::effect::{Outcome, Swept};
use muster_reconciler::ids::{InstanceId, ListId};
use muster_reconciler::journal::What;
use muster_reconciler::market::Market;
use muster_reconciler::tags;
use muster_reconciler::view::JobView;

use super::super::finding::is_refusal;
use super::super::look::Look;
use super::controller::RunningController;
use super::seen::{InstanceSeen, Sight};
use super::workflow;
use crate::aws::Ssm;
use muster_github::GitHub;
use muster_github::field::Repo;

/// The time between two looks at the controller.
const TICK: Duration = Duration::from_millis(250);
/// EC2, SSM and GitHub are asked only at every fourth look, because SSM admits few calls a second, and GitHub 5,000 an hour.
const SLOW: u32 = 4;
/// The most instances that are followed. In a busy pool, instances are launched for other jobs, too.
const INSTANCES: usize = 3;

/// The sources to ask.
pub(super) struct Places<'a> {
    pub controller: &'a RunningController,
    pub github: &'a GitHub,
    pub look: &'a Look,
    pub ssm: &'a Ssm,
    pub list_id: ListId,
    pub repo: Repo,
    pub cluster: &'a str,
    pub pool: &'a str,
}

/// A job, and the instances that were launched after it.
pub(super) struct Follow {
    /// The run, if GitHub told its id.
    pub run: Option<u64>,
    /// The job, once it is known.
    pub job: Option<u64>,
    /// The instance that took the job.
    pub taken_by: Option<String>,
    /// When each thing happened to the job, in milliseconds since 1970.
    pub marks: BTreeMap<Sight, u64>,
    /// How the job ended, as the controller says.
    pub conclusion: Option<String>,
    /// The instances that were launched since the test asked for the run.
    pub instances: BTreeMap<String, InstanceSeen>,
    /// Why the job is in its state, as the controller says.
    pub reason: String,
    /// Why an instance of the pool never came online while the job waited. None: this did not happen.
    pub boot_failed: Option<String>,
    /// The sources that could not be asked, each with the first cause.
    pub unasked: BTreeMap<&'static str, String>,
    known_jobs: BTreeSet<u64>,
    known_instances: BTreeSet<String>,
    ticks: u32,
}

pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl Follow {
    /// Begins to follow. The jobs and instances that exist now do not belong to the test.
    pub async fn begin(at: &Places<'_>) -> anyhow::Result<Follow> {
        let (jobs, runners) = tokio::try_join!(at.controller.jobs(), at.controller.runners(at.pool))?;
        Ok(Follow {
            run: None,
            job: None,
            taken_by: None,
            marks: BTreeMap::new(),
            conclusion: None,
            instances: BTreeMap::new(),
            reason: String::new(),
            boot_failed: None,
            unasked: BTreeMap::new(),
            known_jobs: jobs.into_iter().map(|job| job.id).collect(),
            known_instances: runners.into_iter().map(|runner| runner.instance).collect(),
            ticks: 0,
        })
    }

    /// Notes when something happened to the job. Only the first time counts.
    pub fn mark(&mut self, mark: Sight, at_ms: u64) {
        self.marks.entry(mark).or_insert(at_ms);
    }

    /// Whether something was seen, of the job or of the instance that took it.
    pub fn has(&self, mark: Sight) -> bool {
        self.marks.contains_key(&mark) || self.the_instance().is_some_and(|(_, seen)| seen.marks.contains_key(&mark))
    }

    /// The instance that took the job. Until an instance takes the job, this is the first one that was launched since.
    pub fn the_instance(&self) -> Option<(&String, &InstanceSeen)> {
        let launched = |seen: &InstanceSeen| seen.marks.get(&Sight::Launched).copied().unwrap_or(u64::MAX);
        match &self.taken_by {
            Some(id) => self.instances.get_key_value(id),
            None => self.instances.iter().min_by_key(|(_, seen)| launched(seen)),
        }
    }

    /// Waits for [`TICK`], then looks at everything once.
    pub async fn tick(&mut self, at: &Places<'_>) {
        tokio::time::sleep(TICK).await;
        if self.job.is_none() {
            self.find_job(at).await;
        }
        self.look_at_job(at).await;
        self.look_at_runners(at).await;
        if self.ticks.is_multiple_of(SLOW) {
            self.look_outside(at).await;
        }
        self.ticks += 1;
    }

    /// Finds the test's job. It is the job of the test's run. If GitHub told no run, it is a new job of which GitHub says that it
    /// belongs to the test's workflow.
    async fn find_job(&mut self, at: &Places<'_>) {
        if let Some(run) = self.run
            && !self.marks.contains_key(&Sight::Queued)
        {
            match at.github.run_jobs(&at.repo, run).await {
                Ok(jobs) => {
                    if let Some(job) = jobs.first() {
                        self.queued_at(&job.created_at);
                        self.job = Some(job.id);
                    }
                }
                Err(failure) => self.cannot("the run's jobs", failure.message),
            }
            return;
        }
        let jobs = match at.controller.jobs().await {
            Ok(jobs) => jobs,
            Err(error) => return self.cannot("the controller", error.to_string()),
        };
        let new: Vec<JobView> = jobs.into_iter().filter(|job| !self.known_jobs.contains(&job.id)).collect();
        for job in new.iter().filter(|job| job.repo.eq_ignore_ascii_case(&at.repo.name)) {
            match at.github.run_job(&at.repo, job.id).await {
                Ok(Some(found)) if found.workflow_name.as_deref() == Some(workflow::NAME) => {
                    self.queued_at(&found.created_at);
                    (self.job, self.run) = (Some(found.id), Some(found.run_id));
                    return;
                }
                Ok(_) => drop(self.known_jobs.insert(job.id)),
                Err(failure) => self.cannot("the job", failure.message),
            }
        }
    }

    fn queued_at(&mut self, rfc3339: &str) {
        let at = chrono::DateTime::parse_from_rfc3339(rfc3339).ok().and_then(|at| u64::try_from(at.timestamp_millis()).ok());
        if let Some(at) = at {
            self.mark(Sight::Queued, at);
        }
    }

    async fn look_at_job(&mut self, at: &Places<'_>) {
        let Some(job) = self.job else { return };
        let told = match at.controller.explain("job", &job.to_string()).await {
            Ok(Some(told)) => told,
            Ok(None) => return,
            Err(error) => return self.cannot("the controller", error.to_string()),
        };
        self.reason.clone_from(&told.reason);
        for event in &told.timeline {
            let ours = event.job == Some(job);
            match event.what {
                What::JobQueued if ours => self.mark(Sight::WebhookHeard, event.at),
                What::Launch => self.mark(Sight::LaunchDecided, event.at),
                What::BootFailed => self.boot_failed = Some(event.why.clone()),
                What::JobStarted if ours => {
                    self.mark(Sight::JobStarted, event.at);
                    self.taken_by = event.instance.clone().or(self.taken_by.take());
                }
                What::JobCompleted if ours => {
                    self.mark(Sight::JobEnded, event.at);
                    self.conclusion = event.code.read_text("conclusion").map(str::to_owned);
                }
                _ => {}
            }
        }
    }

    async fn look_at_runners(&mut self, at: &Places<'_>) {
        let views = match at.controller.runners(at.pool).await {
            Ok(views) => views,
            Err(error) => return self.cannot("the controller", error.to_string()),
        };
        let mut listed = BTreeSet::new();
        for view in views {
            let ours = self.taken_by.as_ref() == Some(&view.instance);
            let new = !self.known_instances.contains(&view.instance) && self.instances.len() < INSTANCES;
            if !ours && !new && !self.instances.contains_key(&view.instance) {
                continue;
            }
            let told = at.controller.explain("runner", &view.instance).await.ok().flatten();
            self.instances.entry(view.instance.clone()).or_default().hear(&view, told.as_ref());
            listed.insert(view.instance);
        }
        // An instance that is gone leaves the list between two looks. The controller remembers its timeline for a while, and the
        // timeline says when the instance was gone.
        let left =
            |(id, seen): &(&String, &mut InstanceSeen)| !listed.contains(*id) && !seen.marks.contains_key(&Sight::InstanceGone);
        for (id, seen) in self.instances.iter_mut().filter(left) {
            match at.controller.explain("runner", id).await {
                Ok(Some(told)) => seen.hear(&seen.view.clone(), Some(&told)),
                Ok(None) => seen.mark(Sight::InstanceGone, now_ms()),
                Err(_) => {}
            }
        }
    }

    /// Looks at SSM and GitHub, side by side, and then at EC2's instances.
    async fn look_outside(&mut self, at: &Places<'_>) {
        let ids: Vec<String> = self
            .instances
            .iter()
            .filter(|(_, seen)| !seen.marks.contains_key(&Sight::InstanceTerminated))
            .map(|(id, _)| id.clone())
            .collect();
        let row_of = self.the_instance().map(|(_, seen)| seen.view.name.clone());
        let row = async {
            match &row_of {
                Some(name) => Some(at.github.row(&at.list_id, name).await),
                None => None,
            }
        };
        let secrets = async { if self.instances.is_empty() { None } else { Some(at.ssm.list_secrets(at.cluster).await) } };
        let (secrets, row) = tokio::join!(secrets, row);
        let now = now_ms();
        match secrets {
            Some(Outcome::Swept(Swept::Secrets(lying))) => self.hear_secrets(&lying, now),
            Some(Outcome::Failed(failure)) => self.cannot("SSM's secrets", failure.message),
            _ => {}
        }
        match row {
            Some(Ok(row)) => self.hear_row(row.map(|row| row.busy), now),
            Some(Err(failure)) => self.cannot("the runner's row at GitHub", failure.message),
            None => {}
        }
        for id in ids {
            self.look_at_instance(at, &id).await;
        }
    }

    fn hear_secrets(&mut self, lying: &[InstanceId], now: u64) {
        for (id, seen) in &mut self.instances {
            if lying.iter().any(|lies| lies.as_str() == id) {
                seen.mark(Sight::SecretStored, now);
            } else if seen.marks.contains_key(&Sight::Configured) {
                // The secret may have been stored and read between two looks.
                seen.mark(Sight::SecretGone, now);
            }
        }
    }

    fn hear_row(&mut self, busy: Option<bool>, now: u64) {
        let Some(id) = self.the_instance().map(|(id, _)| id.clone()) else { return };
        let Some(seen) = self.instances.get_mut(&id) else { return };
        match busy {
            Some(true) => seen.mark(Sight::BusySeen, now),
            None if seen.row.is_some() => seen.mark(Sight::RegistrationGone, now),
            _ => {}
        }
        seen.row = busy.or(seen.row);
    }

    /// Asks EC2 for one instance.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html>
    async fn look_at_instance(&mut self, at: &Places<'_>, id: &str) {
        let call = at.look.ec2.describe_instances().instance_ids(id);
        let answer = at.look.probe.call("ec2.DescribeInstances", &format!("look at {id}"), call.send()).await;
        let now = now_ms();
        let Some(seen) = self.instances.get_mut(id) else { return };
        let instance = match &answer {
            Ok(answer) => answer.reservations().iter().flat_map(|reservation| reservation.instances()).next(),
            Err(error) if error.code.starts_with("InvalidInstanceID.") => None,
            Err(error) if is_refusal(&error.failure) => {
                let why = format!("{}; allow ec2:DescribeInstances to see it", error.failure.message);
                return self.cannot("EC2's instances", why);
            }
            Err(error) => return self.cannot("EC2's instances", error.failure.message.clone()),
        };
        let Some(instance) = instance else {
            // EC2 forgets an ended instance after an hour or so. If EC2 never showed the instance, EC2 does not show it yet.
            seen.unknown_to_ec2 += u32::from(!seen.marks.contains_key(&Sight::Ec2ShowsIt));
            return;
        };
        if !seen.marks.contains_key(&Sight::Ec2ShowsIt) {
            seen.tagged = Some(instance.tags().iter().any(|tag| tag.key() == Some(tags::CLUSTER)));
            seen.market = Some(if instance.instance_lifecycle().is_some() { Market::Spot } else { Market::OnDemand });
        }
        seen.mark(Sight::Ec2ShowsIt, now);
        seen.state = instance.state().and_then(|state| state.name()).map(|name| name.as_str().to_owned()).unwrap_or_default();
        match seen.state.as_str() {
            "shutting-down" | "stopping" => seen.mark(Sight::InstanceEnding, now),
            "terminated" => seen.mark(Sight::InstanceTerminated, now),
            _ => return,
        }
        seen.end_code = instance.state_reason().and_then(|reason| reason.code()).map(str::to_owned);
        seen.end_at = instance.state_transition_reason().and_then(transition);
    }

    fn cannot(&mut self, what: &'static str, why: String) {
        self.unasked.entry(what).or_insert(why);
    }
}

/// Reads the time in `User initiated (2026-11-29 14:00:00 GMT)`, in milliseconds since 1970.
fn transition(text: &str) -> Option<u64> {
    let inside = text.split_once('(')?.1.split_once(')')?.0.trim_end_matches(" GMT").trim_end_matches(" UTC");
    let at = chrono::NaiveDateTime::parse_from_str(inside, "%Y-%m-%d %H:%M:%S").ok()?;
    u64::try_from(at.and_utc().timestamp_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ec2s_time_of_an_end_is_read_from_its_reason() {
        assert_eq!(transition("User initiated (2026-11-29 00:00:00 GMT)"), Some(1_795_910_400_000));
        for other in ["", "User initiated", "Server.SpotInstanceTermination", "x (soon)"] {
            assert_eq!(transition(other), None, "{other}");
        }
    }
}
